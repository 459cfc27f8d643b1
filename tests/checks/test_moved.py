"""`moved` in a recipe: it leads from old addresses to addresses of the recipe, and changes nothing else."""

from __future__ import annotations

from typing import Any

import pytest

import assembler
from assembler.facts.moved import MAX_MOVED

NODES = {
    "trunk": {"kind": "bus", "repeat": 3, "norm": "pre", "from": "x", "parts": {"think": {"kind": "mlp"}, "look": {"kind": "attention", "heads": 2}}},
    "loop": {"kind": "bus", "repeat": 2, "share": True, "from": "trunk", "parts": {"think": {"kind": "mlp"}}},
    "final": {"kind": "layer_norm", "from": "loop"},
    "head": {"kind": "linear", "out": 4, "from": "final"},
}  # fmt: skip


def recipe(moved: Any) -> dict[str, Any]:
    return {"inputs": {"x": "[batch seq 8]"}, "nodes": NODES, "outputs": {"y": "head"}, "moved": moved}


@pytest.mark.parametrize("new", ["trunk", "trunk.0", "trunk.2.think", "trunk.1.think.up.weight", "head", "head.weight", "trunk.0.think_pre_norm", "loop", "loop.think"])
def test_a_new_address_is_any_node_or_weight_of_the_recipe(new: str) -> None:
    assert assembler.check(recipe({"old.place": new})).diagnostics == ()


@pytest.mark.parametrize(("old", "new"), [("a.*", "trunk.*"), ("a.*.b", "trunk.*.think"), ("a.*.b.*", "trunk.*.think")])
def test_a_star_is_the_same_copy_on_both_sides(old: str, new: str) -> None:
    found = [item.code for item in assembler.check(recipe({old: new})).diagnostics]
    assert found == ([] if old.count("*") == new.count("*") else ["address-unknown"])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("a", "trnk", "did you mean `trunk`?"), ("a", "trunk.3", "`trunk.3` names nothing"), ("a", "trunk.0.thnk", "did you mean `think`"), ("a", "loop.0.thin", "names nothing"),
        ("a", "trunk.-1", "counts copies"), ("a.0:2", "trunk", "counts copies"), ("A!", "trunk", "no address"), ("a", "", "no address"), ("a", "x", "names nothing"),
    ],
)  # fmt: skip
def test_an_address_that_leads_nowhere_is_one_finding(old: str, new: str, says: str) -> None:
    (found,) = assembler.check(recipe({old: new})).diagnostics
    assert found.code == "address-unknown"
    assert says in f"{found.message} {found.help}"


@pytest.mark.parametrize(
    ("moved", "code"),
    [([], "value-type"), ("a", "value-type"), ({"a": 1}, "value-type"), ({"a": None}, "value-type"), (None, "missing-value"), ({"a": {"b": "trunk"}}, "value-type")],
)
def test_what_is_no_mapping_of_texts_is_one_finding(moved: Any, code: str) -> None:
    assert [item.code for item in assembler.check(recipe(moved)).diagnostics] == [code]


def test_there_is_an_end_to_how_many_are_looked_at() -> None:
    found = assembler.check(recipe({f"a{i}": "trunk" for i in range(MAX_MOVED + 1)})).diagnostics
    assert [item.code for item in found] == ["limit-nodes"]


def test_it_changes_nothing_of_the_model() -> None:
    plain = {key: value for key, value in recipe({}).items() if key != "moved"}
    assert assembler.eject(recipe({"old": "trunk"})) == assembler.eject(plain)
