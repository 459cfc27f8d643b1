"""One cause, one diagnostic, across the steps from text to types."""

from __future__ import annotations

import pytest

from assembler.assemble import check


def found(tmp_path, text):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8")
    return [item.code for item in check(recipe).diagnostics]


HEAD = 'inputs: {x: "[batch 16]"}\noutputs: {logits: head}\n'


@pytest.mark.parametrize(
    ("node", "code"),
    [
        ("!Linear {out: 4, from: x}", "yaml-tag"),
        ("{_target_: torch.nn.Linear, from: x}", "foreign-key"),
        ("{kind: linear, out: '{{ width }}', from: x}", "yaml-template"),
        ("{kind: linear, out: *width, from: x}", "yaml-alias"),
        ("{kind: linear, out: 100000000000000000000, from: x}", "limit-int-digits"),
        ("{kind: linear, out: 1_000, from: x}", "value-type"),
        ('{kind: linear, out: 4, from: "x\u200b"}', "yaml-control-character"),
    ],
)
def test_what_the_text_refuses_is_not_said_again_by_the_graph(tmp_path, node, code):
    assert found(tmp_path, f"{HEAD}nodes:\n  head: {node}\n") == [code]


def test_a_second_cause_is_still_said(tmp_path):
    text = f"{HEAD}nodes:\n  one: !Linear {{out: 4, from: x}}\n  head: {{kind: linear, outt: 4, from: x}}\n"
    assert found(tmp_path, text) == ["yaml-tag", "unknown-option"]


def test_what_may_be_used_by_something_broken_is_not_called_unused(tmp_path):
    text = f"{HEAD}vars: {{width: 4}}\nnodes:\n  head: {{kind: lienar, out: width, from: x}}\n"
    assert found(tmp_path, text) == ["unknown-kind"]


def test_without_inputs_no_address_is_unknown_but_a_typing_error_is(tmp_path):
    head = "outputs: {logits: head}\nnodes:\n  hidden: {kind: linear, out: 4, from: x}\n  head: {kind: linear, out: 4, from: "
    assert found(tmp_path, head + "hidden}\n") == ["inputs-missing"]
    assert found(tmp_path, head + "hiden}\n") == ["inputs-missing", "address-unknown"]


def test_a_name_for_two_things_makes_no_circle(tmp_path):
    assert found(
        tmp_path, f"{HEAD}nodes:\n  x: {{kind: linear, out: 4, from: x}}\n  head: {{kind: linear, out: 4, from: x}}\n"
    ) == ["name-taken"]


def test_a_value_fed_to_a_port_that_is_not_there_counts_as_read(tmp_path):
    text = 'inputs: {x: "[batch 16]", m: "[batch 16]"}\nnodes:\n  head: {kind: linear, out: 4, from: {x: x, mask: m}}\noutputs: {logits: head}\n'
    assert found(tmp_path, text) == ["port-unknown"]


def test_ids_where_floats_are_wanted_are_one_finding(tmp_path):
    text = (
        'inputs: {x: "ids(9) [batch seq]"}\nnodes:\n  head: {kind: linear, out: 4, from: x}\noutputs: {logits: head}\n'
    )
    assert found(tmp_path, text) == ["dtype-mismatch"]


def test_a_misfit_inside_a_filler_is_one_finding_that_counts_the_places(tmp_path):
    text = """\
inputs: {x: "[batch 4]"}
outputs: {y: row}
slots:
  f: {kind: sequence, parts: {a: {kind: linear, out: 5}, b: {kind: linear, in: 6, out: 4}}}
nodes:
  one: {slot: f, from: x}
  row: {kind: bus, repeat: 3, parts: {two: {slot: f}, three: {slot: f}}, from: one}
"""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8")
    (item,) = check(recipe).diagnostics
    assert item.message == "`one.a.y` does not fit `one.b.x`: last dim 5 against 6"
    assert item.related[-1].message == "and so at 2 more places where this text is used"


def test_two_misfits_at_one_text_are_two_findings(tmp_path):
    nodes = "nodes:\n  one: {kind: linear, out: 3, from: x}\n  two: {kind: linear, out: 5, from: x}\n"
    wide = "  head: {kind: cross_attention, heads: 1, in: 4, memory_in: 4, from: {x: two, memory: one}}\n"
    assert found(tmp_path, HEAD.replace("16]", "seq 16]") + nodes + wide) == ["shape-mismatch", "shape-mismatch"]
