"""The traps of grafting that `init_for_grafting`, `OutputGraft` and their like fall into: each is right here, or refused.

The numbers are those of the table of traps in the issue: what is written there as the right meaning.
"""

from __future__ import annotations

import pytest

from assembler.facts.flow import flow
from tests.graph.recipes import bad, check, good, kinds, outputs, rows

HOST = """
inputs: {x: "[batch seq 16]"}
nodes:
  body: {kind: mlp, from: x}
  head: {kind: linear, out: 4, from: body}
outputs: {y: head}
grafts:
"""


def test_2_a_sigmoid_gate_cannot_be_silent():
    found = bad(HOST + "  side: {write: body, mode: gate, form: sigmoid, init: zero, part: {kind: linear}}   #~ gate-not-silent")
    assert found.help == "write `form: one_plus`, h * (1 + part), or `form: double_sigmoid`, h * 2σ(part)"


def test_3_the_factor_of_a_blend_is_used_as_it_is():
    report = good(HOST + "  side: {write: body, mode: blend, scale: 1, part: {kind: linear, out: 16}}")
    node = next(row.node for row in rows(report) if row.address == "side_scale")
    assert (node.options.value, node.options.learned) == (1.0, False)  # type: ignore[union-attr]


def test_3_a_softmax_over_weights_cannot_be_silent():
    found = bad(HOST + "  side: {write: body, mode: multi_blend, init: zero, part: {kind: linear}}   #~ value-range")
    assert "write `mode: blend`" in found.help


@pytest.mark.parametrize("part", ["{kind: mlp, hidden: 8}", "{kind: swiglu, hidden: 8}", "{kind: attention, heads: 2}", "{kind: low_rank, rank: 2}"])
def test_13_zero_is_of_the_writing_layer_whatever_it_is_called(part: str):
    report = good(HOST + f"  side: {{write: body, mode: add, init: zero, part: {part}}}")
    assert report.graph is not None
    assert report.facts is not None
    unfolded = flow(report.graph, report.facts)
    assert unfolded is not None
    started = {weight.address: weight.init for weight in unfolded.weights if weight.address.startswith("side.")}
    writes = {weight.address for weight in unfolded.weights if weight.writes}
    assert {address for address, init in started.items() if init == "zeros"} == {address for address in started if address in writes}


def test_14_small_is_no_demand_of_a_graft():
    found = bad(HOST + "  side: {write: body, mode: add, init: small, part: {kind: linear}}   #~ value-range")
    assert "its own `init`" in found.help


def test_15_there_is_no_identity_for_an_mlp():
    found = bad(HOST + "  side: {write: body, mode: replace, init: identity, part: {kind: mlp}}   #~ replace-not-silent")
    assert "write `mode: add`" in found.help


def test_16_a_zero_layer_in_front_of_a_norm():
    found = bad(HOST + "  side: {write: body, mode: add, norm: out, init: zero, part: {kind: mlp, init: zero}}   #~ norm-after-zero")
    assert found.help == "drop the part's `init`: the norm's gain starts at 0 instead"


def test_16_the_gain_of_the_norm_starts_at_zero_instead():
    report = good(HOST + "  side: {write: body, mode: add, norm: out, init: zero, part: {kind: mlp}}")
    started = {row.address: row.node.init for row in rows(report) if row.address.startswith("side")}  # type: ignore[union-attr]
    assert started == {"side": {}, "side_out_norm": {"write": "zero"}, "side_add": {}}


def test_17_each_norm_has_the_width_of_its_side():
    report = check(HOST + "  side: {write: {port: body, adapt: linear}, mode: add, norm: both, part: {kind: linear, out: 6}}")
    assert (outputs(report)["side_pre_norm"], outputs(report)["side_out_norm"]) == ("[batch seq 16]", "[batch seq 6]")


def test_18_every_parameter_of_a_graft_is_one_of_the_model():
    report = check(HOST + "  side: {read: {port: x, adapt: mlp}, write: {port: body, adapt: linear}, mode: add, part: {kind: linear, in: 8, out: 6}}")
    assert kinds(report)["side_x_adapter"] == "mlp"
    assert report.graph is not None
    assert report.facts is not None
    unfolded = flow(report.graph, report.facts)
    assert unfolded is not None
    assert {weight.address.partition(".")[0] for weight in unfolded.weights} == {"body", "head", "side", "side_x_adapter", "side_add_side_adapter"}


def test_24_no_projection_is_put_in_unsaid():
    report = check(HOST.replace("[batch seq 16]\"}", "[batch seq 16]\", z: \"[batch seq 24]\"}") + "  side: {read: z, write: body, mode: add, part: {kind: mlp, hidden: 8}}")
    assert [item.code for item in report.diagnostics] == ["adapter-inserted"]
    assert kinds(good(HOST + "  side: {write: body, mode: add, part: {kind: mlp, hidden: 8}}")).keys() == {"body", "side", "side_add", "head"}


def test_25_readers_are_checked_again_after_a_concat():
    bad(HOST.replace("out: 4, from: body}", "in: 16, out: 4, from: body}   #~ shape-mismatch") + "  side: {write: body, mode: concat, part: {kind: linear, out: 6}}")


@pytest.mark.parametrize(("read", "help"), [("2", "write it into later copies: `stack.3`"), ("3", "read an earlier copy, or write it behind `stack`")])
def test_a_copy_read_too_late_is_not_offered_a_copy_that_does_not_exist(read: str, help: str):
    found = bad(f"""
inputs: {{x: "[batch 8]"}}
nodes:
  stack: {{kind: sequence, repeat: 4, from: x, parts: {{a: {{kind: linear, out: 8}}, b: {{kind: mlp, hidden: 8}}}}}}
outputs: {{y: stack}}
grafts:
  side: {{read: stack.{read}.b, write: stack.1.a, mode: add, part: {{kind: linear, out: 8}}}}   #~ graph-cycle
""")
    assert found.help == help
