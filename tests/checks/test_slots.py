"""A slot's `accepts`: the ports that whatever fills it keeps, by name and by type."""

from __future__ import annotations

import pytest

from assembler.assemble import check

ACCEPTS = {"in": {"x": "[... seq d]"}, "out": {"y": "[... seq d]"}}


def codes(filler, accepts=ACCEPTS, **more):
    recipe = {
        "inputs": {"x": "[batch seq 16]"},
        "slots": {"ffn": {"accepts": accepts, **filler}},
        "nodes": {"think": {"slot": "ffn", "from": "x"}, **more.pop("nodes", {})},
        "outputs": {"features": "think"},
        **more,
    }
    return [item.code for item in check(recipe).diagnostics]


@pytest.mark.parametrize("filler", [{"kind": "mlp"}, {"kind": "attention", "heads": 4}, {"kind": "identity"}])
def test_a_filler_that_keeps_its_ports_passes(filler):
    assert codes(filler) == []


@pytest.mark.parametrize("filler", [{"kind": "mean_pool"}, {"kind": "cls_token"}, {"kind": "linear", "out": 8}])
def test_a_name_means_one_size_across_both_sides_of_accepts(filler):
    assert codes(filler) == ["slot-mismatch"]


def found(filler, accepts=ACCEPTS, **more):
    recipe = {
        "inputs": {"x": "[batch seq 16]"},
        "slots": {"ffn": {"accepts": accepts, **filler}},
        "nodes": {"think": {"slot": "ffn", "from": "x"}},
        "outputs": {"features": "think"},
        **more,
    }
    return check(recipe).diagnostics


def test_one_filler_is_one_finding_however_many_ports_differ():
    item = only(found({"kind": "linear", "out": 8}, {"in": {"mask": "mask [... seq]"}, "out": {"z": "[... d]", "y": "[... seq 16]"}}))
    assert item.message == "what fills the slot `ffn` at `think` does not keep `mask`, `z`, `y`"
    assert item.related[-1].message.split("\n") == [
        "              the slot keeps  the filler has",
        "!  in   mask  mask [... seq]  -",
        "!  out  z     [... d]         -",
        "!  out  y     [... seq 16]    [batch seq 8]",
        "   in   x     -               [batch seq 16]",
    ]


def test_a_name_that_means_another_size_is_told_with_the_size():
    item = only(found({"kind": "linear", "out": 8}))
    assert item.message == "what fills the slot `ffn` at `think` gives [batch seq 8] at `y`, and the slot keeps [... seq d] with d = 16"


def test_a_filler_that_fails_at_several_places_is_one_finding_that_counts_them():
    nodes = {"one": {"slot": "ffn", "from": "x"}, "two": {"slot": "ffn", "from": "x"}, "think": {"kind": "add", "from": ["one", "two"]}}
    item = only(found({"kind": "linear", "out": 8}, nodes=nodes))
    assert item.message.startswith("what fills the slot `ffn` at `one` and 1 more place gives")


def test_a_missing_port_offers_the_port_of_the_filler_that_is_spelled_like_it():
    item = only(found({"kind": "attention", "heads": 2}, {"in": {"maks": "mask [... seq]"}}))
    assert item.help == "did you mean `mask`?"


def test_a_port_that_nothing_feeds_here_is_still_of_the_sort_that_the_slot_keeps():
    item = only(found({"kind": "attention", "heads": 2}, {"in": {"mask": "[... seq]"}}))
    assert item.message == "what fills the slot `ffn` at `think` takes mask [... seq] at `mask`, and the slot keeps [... seq]"
    assert found({"kind": "attention", "heads": 2}, {"in": {"mask": "mask [... seq]"}}) == ()


def only(diagnostics):
    assert [item.code for item in diagnostics] == ["slot-mismatch"]
    return diagnostics[0]


def test_a_slot_is_held_inside_copies_and_said_once():
    nodes = {"think": {"kind": "sequence", "repeat": 3, "from": "x", "parts": {"ffn": {"slot": "ffn"}}}}
    assert codes({"kind": "cls_token"}, nodes=nodes) == ["slot-mismatch"]


def test_vars_in_accepts_are_worked_out_where_the_slot_stands():
    stated = {"out": {"y": "[... 2*width]"}}
    assert codes({"kind": "linear", "out": 32}, stated, vars={"width": 16}) == []
    assert codes({"kind": "linear", "out": 24}, stated, vars={"width": 16}) == ["slot-mismatch"]


def test_accepts_survives_a_swap_of_the_filler(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        'inputs: {x: "[batch seq 16]"}\n'
        'slots: {ffn: {accepts: {out: {"y": "[... 16]"}}, kind: mlp, hidden: 8}}\n'
        "nodes: {think: {slot: ffn, from: x}}\n"
        "outputs: {features: think}\n"
    )
    report = check(recipe, ["slots.ffn.kind=linear", "+slots.ffn.out=4"])
    assert [item.code for item in report.diagnostics] == ["slot-mismatch", "swap-dropped"]
    assert "accepts" not in report.diagnostics[1].message


@pytest.mark.parametrize(
    ("accepts", "code"),
    [
        ("mlp", "value-type"),
        ({"in": "x"}, "value-type"),
        ({"inn": {}}, "unknown-key"),
        ({"in": {"x": "[a, b]"}}, "port-type-syntax"),
    ],
)
def test_accepts_that_cannot_be_read_is_an_error(accepts, code):
    assert codes({"kind": "mlp"}, accepts) == [code]
