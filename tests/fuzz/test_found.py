"""What random recipes found, each as the smallest recipe that shows it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

import assembler
from assembler.assemble import plan
from assembler.compiler.build import build as build_plan
from assembler.compiler.build import probed
from assembler.report.data import to_data
from tests.fuzz.oracle import check_text

X = {"x": "[batch 6 12]"}


def _model(nodes: dict[str, Any], inputs: dict[str, Any] | None = None, **more: Any) -> nn.Module:
    outputs = more.pop("outputs", {"out": list(nodes)[-1]})
    recipe = {"name": "found", "inputs": inputs or X, "nodes": nodes, "outputs": outputs, **more}
    report = assembler.check(recipe)
    assert report.ok, str(report)
    return assembler.build(recipe, seed=0)


def test_option_named_like_a_node_key_reaches_its_kind() -> None:
    model = _model({"wide": {"kind": "cast", "dtype": "f64", "from": "x"}})
    assert model(torch.rand(2, 6, 12)).dtype == torch.float64


def test_cast_asked_for_on_an_edge_knows_its_dtype() -> None:
    model = _model(
        {"map": {"kind": "linear", "out": 3, "from": {"port": "x", "adapt": "cast"}}}, {"x": "f64 [batch 6 12]"}
    )
    assert model(torch.rand(2, 6, 12, dtype=torch.float64)).dtype == torch.float32


def test_copies_of_a_kind_by_rank_keep_their_rank_behind_a_norm() -> None:
    model = _model({"even": {"kind": "group_norm", "groups": 2, "norm": "out", "repeat": 2, "from": "x"}})
    assert model(torch.rand(2, 6, 12)).shape == (2, 6, 12)


def test_post_norm_of_a_repeated_part_stands_in_its_bus_though_a_rule_holds() -> None:
    part = {"kind": "linear", "out": 12, "norm": "post", "repeat": 2}
    rules = {"frozen": {"at": "stream", "set": {"freeze": True}}}
    model = _model({"stream": {"kind": "bus", "parts": {"write": part}, "from": "x"}}, rules=rules)
    assert model(torch.rand(2, 6, 12)).shape == (2, 6, 12)


def test_a_rule_on_the_last_copy_keeps_apart_from_types_that_change_from_copy_to_copy() -> None:
    rules = {"own": {"at": "turn.-1", "set": {"seed": 3}}}
    model = _model({"turn": {"kind": "permute", "repeat": 2, "from": "x"}}, rules=rules)
    assert model(torch.rand(2, 6, 12)).shape == (2, 6, 12)


@pytest.mark.parametrize("copy", [0, 1, 2])
def test_a_copy_of_identity_can_be_read_and_joins_what_it_is_joined_to(copy: int) -> None:
    nodes = {
        "keep": {"kind": "identity", "repeat": 3, "from": "x"},
        "both": {"kind": "stack", "from": [f"keep.{copy}", "x"]},
    }
    assert _model(nodes)(torch.rand(2, 6, 12)).shape == (2, 6, 2, 12)


@pytest.mark.parametrize("share", [True, False])
def test_a_value_that_is_stream_and_memory_of_a_repeat_stays_the_memory_of_every_copy(share: bool) -> None:
    look: dict[str, Any] = {"kind": "cross_attention", "heads": 2, "repeat": 2, "from": {"x": "x", "memory": "x"}}
    model = _model({"look": {**look, "share": share}})
    copies = [model.look, model.look] if share else list(model.look)  # type: ignore[arg-type]
    x = torch.rand(2, 6, 12)
    torch.testing.assert_close(model(x), copies[1](copies[0](x, x), x))  # type: ignore[operator]


def test_copies_whose_width_changes_still_get_the_whole_memory() -> None:
    look = {"kind": "cross_attention", "heads": 2, "out": 8, "repeat": 2, "from": {"x": "x", "memory": "x"}}
    assert _model({"look": look})(torch.rand(2, 6, 12)).shape == (2, 6, 8)


@pytest.mark.parametrize("kind", ["gate", "sequence", "bus"])
def test_a_value_that_enters_shared_copies_twice_is_there_for_each_of_them(kind: str) -> None:
    look = {"kind": "cross_attention", "heads": 2}
    node: dict[str, Any] = {"kind": kind, "parts": {"look": look}, "from": {"x": "x", "memory": "x"}}
    if kind == "gate":
        node = {"kind": "gate", "from": {"base": "x", "gate": "x"}}
    assert _model({"again": {**node, "repeat": 2, "share": True}})(torch.rand(2, 6, 12)).shape == (2, 6, 12)


def test_the_probe_shows_each_output_of_a_copy_though_nobody_reads_it() -> None:
    recipe = {
        "inputs": X,
        "nodes": {
            "stream": {
                "kind": "bus",
                "repeat": 2,
                "parts": {
                    "drop": {"kind": "dropout"},
                    "both": {
                        "kind": "parallel",
                        "join": "concat",
                        "parts": {"a": {"kind": "activation"}, "b": {"kind": "identity"}},
                    },
                },
                "from": "x",
            },
        },
        "outputs": {"one": "stream.1.both", "two": "stream.1.drop", "end": "stream"},
    }
    made = plan(recipe)
    seen: dict[str, tuple[int, ...]] = {}
    twin = probed(made, build_plan(made, seed=0), lambda address, value: seen.update({address: tuple(value.shape)}))
    twin(torch.rand(2, 6, 12))
    assert {seen[f"stream.{copy}.both"] for copy in (0, 1) if f"stream.{copy}.both" in seen} == {(2, 6, 24)}


def test_two_nouns_are_one_finding_and_not_what_follows_from_taking_both() -> None:
    report = check_text(
        """\
inputs: {x: "[batch 6 12]"}
nodes:
  both: {kind: add, from: [x, x]}
  norm: {slot: filler, from: x}
outputs: {out: norm, other: both}
slots:
  filler: {kind: layer_norm, like: both}
"""
    )
    assert [item.code for item in report.diagnostics if item.level == "error"] == ["place-conflict"]


def test_torch_still_crashes_where_the_oracle_steps_around_it() -> None:
    """When this fails, torch is mended: drop `_group_norm` of the oracle."""
    code = (
        "import torch; x = torch.rand(2, 9, 4, 12).permute(0, 3, 1, 2); torch.nn.GroupNorm(2, 12)(x).sum().backward()"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode != 0


@pytest.mark.parametrize("join", ["sequence", "concat"])
def test_behind_a_broken_part_nothing_is_known_as_if_it_did_not_stand_there(join: str) -> None:
    node = "kind: sequence" if join == "sequence" else f"kind: parallel\n    join: {join}"
    report = check_text(
        f"""\
inputs: {{x: "[batch seq 4]"}}
nodes:
  row:
    {node}
    parts:
      flat: {{kind: flatten}}
      wrong: {{kind: rearrange, pattern: "b (n d -> b"}}
      norm: {{kind: {"rms_norm" if join == "sequence" else "flatten"}}}
    from: x
  end: {{kind: linear, in: 7, out: 2, from: row}}
outputs: {{out: end}}
"""
    )
    assert [item.code for item in report.diagnostics] == ["pattern-syntax"]


TWO = {
    "inputs": {"x": "[b 6 12]"},
    "nodes": {"p": {"kind": "activation", "from": "x"}, "q": {"kind": "mlp", "from": "x"}},
}


@pytest.mark.parametrize("use", ["sequence", "parallel", "bus", "repeat", "norm"])
def test_a_node_of_two_outputs_that_is_to_give_one_is_refused_not_built_without_it(use: str) -> None:
    both: dict[str, Any] = {**TWO, "outputs": {"p": "p", "q": "q"}}
    if use in ("repeat", "norm"):
        node = {**both, "from": "x", use: {"repeat": 2, "norm": "out"}[use]}
    else:
        node = {"kind": use, "parts": {"both": both, "more": {"kind": "dropout"}}, "from": "x"}
    outputs = {"p": "two.p", "q": "two.q"} if use == "norm" else {"out": "two"}
    report = assembler.check({"inputs": X, "nodes": {"two": node}, "outputs": outputs})
    assert [item.code for item in report.diagnostics] == ["port-ambiguous"]


@pytest.mark.parametrize("more", [{}, {"repeat": 2}])
def test_an_output_that_names_nothing_is_one_finding_and_not_also_that_its_graph_has_none(more: dict[str, int]) -> None:
    node = {**TWO, "outputs": {"p": "nowhere"}, "from": "x", **more}
    report = assembler.check({"inputs": X, "nodes": {"two": node}, "outputs": {"out": "two"}})
    assert [item.code for item in report.diagnostics] == ["address-unknown"]


def test_a_graph_that_gives_only_a_loss_is_said_to_give_no_value() -> None:
    node = {**TWO, "outputs": {"aux": "losses"}, "from": "x"}
    report = assembler.check({"inputs": X, "nodes": {"two": node}, "outputs": {"out": "two"}})
    assert [item.message for item in report.diagnostics if item.level == "error"] == ["`two` gives nothing but losses"]


ECHOES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "an output of a graph that reads a broken node": (
        {
            "pair": {
                "inputs": {"x": "[b 6 12]"},
                "nodes": {"p": {"kind": "linear", "outt": 3, "from": "x"}, "q": {"kind": "mlp", "from": "x"}},
                "outputs": {"p": "p", "q": "q"},
                "from": "x",
            },
            "join": {"kind": "add", "from": ["pair.p", "pair.q"]},
        },
        {},
        ["unknown-option"],
    ),
    "an input for a part that is broken, two containers further in": (
        {
            "row": {
                "kind": "sequence",
                "parts": {"ok": {"kind": "mlp"}, "inner": {"kind": "bus", "parts": {"look": {"kind": "cross_attention", "heads": 5.5}}}},
                "from": {"x": "x", "memory": "x"},
            }
        },
        {},
        ["value-type"],
    ),
    "a rule about copies of a node whose repeat is broken": (
        {"row": {"kind": "mlp", "repeat": "nowhere", "from": "x"}},
        {"at": "row.*", "set": {"seed": 3}},
        ["expression-unknown"],
    ),
    "a rule about a part of a node of an unknown kind": (
        {"row": {"kind": "sequense", "parts": {"one": {"kind": "mlp"}}, "from": "x"}},
        {"at": "row.one", "set": {"seed": 3}},
        ["unknown-kind"],
    ),
    "a rule about whatever is so, where something is broken": (
        {"row": {"kind": "sequense", "dropout": 0.5, "from": "x"}},
        {"where": {"dropout": 0.5}, "set": {"dropout": 0.1}},
        ["unknown-kind"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", ECHOES)
def test_what_only_follows_from_a_broken_place_is_not_said_of(which: str) -> None:
    nodes, rule, codes = ECHOES[which]
    recipe = {
        "inputs": X,
        "nodes": nodes,
        "outputs": {"out": list(nodes)[-1]},
        **({"rules": {"one": rule}} if rule else {}),
    }
    assert [item.code for item in assembler.check(recipe).diagnostics] == codes


def test_a_rule_that_matches_nothing_is_said_though_another_node_is_broken() -> None:
    nodes = {"row": {"kind": "mlp", "outt": 3, "from": "x"}, "end": {"kind": "mlp", "from": "x"}}
    rules = {"one": {"at": "end.*", "set": {"seed": 3}}}
    report = assembler.check({"inputs": X, "nodes": nodes, "outputs": {"a": "row", "b": "end"}, "rules": rules})
    assert {item.code for item in report.diagnostics} == {"unknown-option", "rule-unmatched"}


def test_a_circle_of_vars_leaves_the_others_their_values() -> None:
    vars = {"a": "b + 1", "b": "a + 1", "behind": "2*a", "c": 12, "d": "c - 4"}
    nodes = {
        "one": {"kind": "linear", "out": "behind", "from": "x"},
        "two": {"kind": "linear", "in": "d", "out": 3, "from": "x"},
    }
    report = assembler.check({"vars": vars, "inputs": X, "nodes": nodes, "outputs": {"a": "one", "b": "two"}})
    assert sorted(item.code for item in report.diagnostics) == ["shape-mismatch", "vars-cycle"]


def test_an_option_whose_name_is_misspelled_is_not_also_missing() -> None:
    nodes = {"look": {"kind": "attention", "headss": 2, "from": "x"}}
    report = assembler.check({"inputs": X, "nodes": nodes, "outputs": {"out": "look"}})
    assert [item.code for item in report.diagnostics] == ["unknown-option"]


def test_an_option_that_is_missing_is_said_beside_another_that_is_unknown() -> None:
    nodes = {"look": {"kind": "attention", "kernel": 2, "from": "x"}}
    report = assembler.check({"inputs": X, "nodes": nodes, "outputs": {"out": "look"}})
    assert sorted(item.code for item in report.diagnostics) == ["missing-key", "unknown-option"]


def test_what_is_wrong_with_a_filler_is_said_once_though_many_places_use_it() -> None:
    report = check_text(
        """\
inputs: {x: "[batch 6 12]"}
slots:
  f: {kind: linear, out: nowhere}
nodes:
  one: {slot: f, from: x}
  two: {slot: f, from: x}
  row: {kind: bus, repeat: 3, parts: {three: {slot: f}, four: {slot: f}}, from: x}
outputs: {a: one, b: two, c: row}
"""
    )
    assert [item.code for item in report.diagnostics] == ["expression-unknown"]


def test_why_two_leading_axes_differ_is_told_of_those_axes() -> None:
    report = check_text(
        """\
inputs: {x: "[3 batch 10]", z: "[5 batch 10]"}
nodes:
  keep: {kind: identity, from: x}
  other: {kind: linear, out: 10, from: z}
  join: {kind: gate, from: {base: keep, gate: other}}
outputs: {out: join}
"""
    )
    (item,) = report.diagnostics
    assert item.message == "`other.y` does not fit `join.gate`: axis -3 5 against 3"
    assert [note.message for note in item.related] == ["the input `z` is [5 batch 10]", "the input `x` is [3 batch 10]"]


def test_one_more_use_of_a_module_whose_shapes_are_unknown_is_no_misfit() -> None:
    nodes = {
        "one": {"kind": "linear", "outt": 3, "from": "x"},
        "deep": {
            "kind": "sequence",
            "parts": {"gone": {"kind": "activation", "from": "one"}, "map": {"kind": "mlp", "out": 4}},
            "from": "x",
        },
        "again": {"same": "deep.map", "from": "x"},
    }
    report = assembler.check({"inputs": X, "nodes": nodes, "outputs": {"a": "one", "b": "deep", "c": "again"}})
    assert [item.code for item in report.diagnostics if item.level == "error"] == ["unknown-option"]


LINEAR = {"kind": "linear", "out": 12}
UNREAD: dict[str, tuple[dict[str, Any], str, set[str]]] = {
    "a part beside the one that is read": (
        {"row": {"kind": "parallel", "join": "concat", "parts": {"one": LINEAR, "two": LINEAR}, "from": "x"}},
        "row.two",
        {"row.two"},
    ),
    "a node behind an output of a graph that nobody reads": (
        {
            "pair": {
                "inputs": {"x": "[b 6 12]"},
                "nodes": {"p": {**LINEAR, "from": "x"}, "q": {**LINEAR, "from": "x"}},
                "outputs": {"p": "p", "q": "q"},
                "from": "x",
            }
        },
        "pair.q",
        {"pair.q"},
    ),
    "what feeds a module that only its other uses call": (
        {"one": {**LINEAR, "from": "x"}, "two": {**LINEAR, "from": "one"}, "again": {"same": "two", "from": "x"}},
        "again",
        {"again", "two"},
    ),
    "what feeds a parameter that only others are tied to": (
        {"one": {**LINEAR, "from": "x"}, "two": {**LINEAR, "from": "one"}, "tied": {**LINEAR, "tie": {"weight": "two.weight"}, "from": "x"}},
        "tied",
        {"tied", "two"},
    ),
    "a part beside a shared one": (
        {
            "row": {"kind": "sequence", "parts": {"one": LINEAR, "two": LINEAR}, "from": "x"},
            "again": {"same": "row.two", "from": "x"},
        },
        "again",
        {"again", "row.two"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", UNREAD)
def test_what_is_not_built_is_not_counted(which: str) -> None:
    nodes, output, owners = UNREAD[which]
    recipe = {"inputs": X, "nodes": nodes, "outputs": {"out": output}}
    model = assembler.build(recipe, seed=0)
    assert {name.rpartition(".")[0] for name in model.state_dict()} == owners
    measured = sum(value.numel() for value in model.parameters())
    assert to_data(assembler.check(recipe))["model"]["parameters"] == measured == plan(recipe).parameters


def test_shared_copies_of_unknown_sizes_are_no_misfit() -> None:
    parts = {
        "one": {"kind": "linear", "outt": 3},
        "two": {"kind": "gate", "from": {"gate": "one"}},
        "three": {"kind": "mlp"},
    }
    nodes = {"row": {"kind": "sequence", "parts": parts, "repeat": 2, "share": True, "from": "x"}}
    report = assembler.check({"inputs": X, "nodes": nodes, "outputs": {"out": "row"}})
    assert [item.code for item in report.diagnostics] == ["unknown-option"]


def test_why_a_size_is_so_ends_where_a_node_is_broken() -> None:
    report = check_text(
        """\
inputs: {x: "[batch 3 5]", z: "[batch 4 5]"}
nodes:
  end: {kind: stack, from: [late, z]}
  late: {kind: mean, from: [gone, x]}
  gone: {kind: identity, from: wrong}
  wrong: {kind: patch_embed, from: x}
outputs: {out: end}
"""
    )
    assert [item.code for item in report.diagnostics] == ["shape-mismatch", "missing-key"]


@pytest.mark.parametrize("norm", ["out", "both"])
def test_a_norm_behind_copies_of_a_graph_whose_output_is_broken_is_put_nowhere(norm: str) -> None:
    node = {**TWO, "outputs": {"p": "nowhere"}, "from": "x", "repeat": 2, "norm": norm}
    report = assembler.check({"inputs": X, "nodes": {"two": node}, "outputs": {"out": "two"}})
    assert [item.code for item in report.diagnostics] == ["address-unknown"]


def test_a_width_that_the_text_of_a_kind_spells_must_be_a_number() -> None:
    report = assembler.check(
        {"inputs": {"x": "[batch 3 w]"}, "nodes": {"none": {"kind": "zero", "from": "x"}}, "outputs": {"out": "none"}}
    )
    assert [item.message for item in report.diagnostics] == [
        "`out` of `none` is w, known only at run time, and it is built as a number"
    ]


@pytest.mark.parametrize("where", ["at the use", "around it"])
def test_one_more_use_of_a_module_cannot_have_another_dtype(where: str) -> None:
    use = {"same": "one", "from": "x"}
    around = {"kind": "sequence", "dtype": "f64", "parts": {"two": {"same": "one"}}, "from": "x"}
    nodes = {"one": {**LINEAR, "from": "x"}, "again": {**use, "dtype": "f64"} if where == "at the use" else around}
    inputs = {"x": "[batch 6 12]"}
    report = assembler.check({"inputs": inputs, "nodes": nodes, "outputs": {"a": "one", "b": "again"}})
    assert "share-mismatch" in [item.code for item in report.diagnostics]


@pytest.mark.parametrize("order", [["x", "z"], ["z", "x"], ["x", "x", "z"]])
def test_two_floats_are_not_joined_whichever_comes_first(order: list[str]) -> None:
    recipe = {
        "inputs": {**X, "z": "bf16 [batch 6 12]"},
        "nodes": {"sum": {"kind": "add", "from": order}},
        "outputs": {"y": "sum"},
    }
    assert [item.code for item in assembler.check({"name": "found", **recipe}).diagnostics] == ["dtype-mismatch"]


def test_zeros_that_a_kind_gives_are_not_put_down_to_shares_that_start_alike() -> None:
    nodes = {
        "none": {"kind": "zero", "out": 12, "from": "x"},
        "mean": {"kind": "multi_blend", "from": ["none", "none"]},
        "head": {"kind": "linear", "out": 3, "bias": False, "from": "mean"},
    }
    report = assembler.check({"name": "found", "inputs": X, "nodes": nodes, "outputs": {"y": "head"}})
    assert [item.code for item in report.diagnostics] == ["cut-parameter"], report
    assert "`none` gives zeros" in report.diagnostics[0].message


@pytest.mark.parametrize("kind", ["add", "mean", "median", "concat"])
def test_the_first_copy_of_a_join_reads_more_than_the_others(kind: str) -> None:
    nodes = {
        "join": {"kind": kind, "repeat": 2, "from": ["x", "z"]},
        "head": {"kind": "linear", "out": 2, "from": "join"},
    }
    model = _model(nodes, {**X, "z": "[batch 6 12]"})
    assert model(torch.rand(2, 6, 12), torch.rand(2, 6, 12)).shape == (2, 6, 2)


@pytest.mark.parametrize("kind", ["attend", "vote", "multi_blend"])
def test_copies_of_a_join_that_is_a_module_take_one_value(kind: str) -> None:
    fed: Any = {"x": ["x", "z"], "query": "x"} if kind == "attend" else ["x", "z"]
    report = assembler.check(
        {
            "name": "found",
            "inputs": {**X, "z": "[batch 6 12]"},
            "nodes": {"join": {"kind": kind, "repeat": 2, "from": fed}},
            "outputs": {"y": "join"},
        }
    )
    assert [item.code for item in report.diagnostics if item.level == "error"] == ["place-conflict"], report
