"""The key `init`: what it may say, who inherits it, who wins, and who owns a start."""

from __future__ import annotations

import pytest

from assembler.facts.flow import flow
from assembler.graph.rewrite import prune
from assembler_schemas.diagnostic import Diagnostic
from tests.graph.recipes import check, good

ONE = 'inputs: {{x: "[batch 16]"}}\nnodes:\n  one: {{kind: linear, out: 16, {init}, from: x}}\noutputs: {{y: one}}\n'
CARD = "uniform(0.25)"


def starts(text: str) -> dict[str, str]:
    """Address -> start, norms left out."""
    report = good(text)
    assert report.graph is not None
    assert report.facts is not None
    found = flow(report.graph._replace(scope=prune(report.graph.scope)), report.facts)
    assert found is not None
    return {weight.address: weight.init for weight in found.weights if "norm" not in weight.address}


def only(text: str) -> Diagnostic:
    """The one finding about a recipe."""
    found = [item for item in check(text).diagnostics if item.level != "note"]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("init", "weight", "bias"),
    [
        ("init: default", CARD, CARD),
        ("init: null", CARD, CARD),
        ("init: zero", "zeros", "zeros"),
        ("init: small", "normal(0.01)", CARD),
        ("init: small(1e-3)", "normal(0.001)", CARD),
        ("init: identity", "eye", "zeros"),
        ("init: xavier", "uniform(0.4330127018922193)", "zeros"),
        ("init: kaiming", "normal(0.3535533905932738)", "zeros"),
        ("init: orthogonal", "orthogonal(1.0)", "zeros"),
        ("init: orthogonal(0.5)", "orthogonal(0.5)", "zeros"),
        ("init: normal(0.02)", "normal(0.02)", "zeros"),
        ("init: normal( 2 )", "normal(2.0)", "zeros"),
        ("init: trunc_normal(0.02)", "trunc_normal(0.02)", "zeros"),
        ("init: {weights: xavier, write: zero}", "zeros", "zeros"),
        ("init: {weights: xavier, write: small}", "normal(0.01)", "zeros"),
        ("init: {weights: xavier, write: default}", CARD, CARD),
        ("init: {write: normal(0.5)}", "normal(0.5)", "zeros"),
    ],
)
def test_modes(init: str, weight: str, bias: str) -> None:
    assert starts(ONE.format(init=init)) == {"one.weight": weight, "one.bias": bias}


@pytest.mark.parametrize(
    ("init", "code", "says"),
    [
        ("init: xaver", "value-range", "there is no init mode 'xaver'"),
        ("init: 3", "value-type", "`init` is a mode"),
        ("init: [zero]", "value-type", "`init` is a mode"),
        ("init: {weight: xavier}", "unknown-key", "`init` has no key `weight`"),
        ("init: {weights: 3}", "value-type", "`weights` of `init` is a mode"),
        ("init: {weights: zero}", "value-range", "`zero` is said of the writing layer"),
        ("init: {weights: small(0.1)}", "value-range", "`small` is said of the writing layer"),
        ("init: normal", "value-range", "`normal` wants its standard deviation"),
        ("init: normal()", "value-range", "`normal` wants its standard deviation"),
        ("init: normal(0)", "value-range", "the number of `normal` is '0'"),
        ("init: normal(-1)", "value-range", "the number of `normal` is '-1'"),
        ("init: normal(inf)", "value-range", "the number of `normal` is 'inf'"),
        ("init: normal(nan)", "value-range", "the number of `normal` is 'nan'"),
        ("init: normal(1e9)", "value-range", "the number of `normal` is '1e9'"),
        ("init: normal(width)", "value-range", "the number of `normal` is 'width'"),
        ("init: xavier(2)", "value-range", "`xavier` takes no number"),
        ("init: normal(1)(2)", "value-range", "there is no init mode"),
        ("init: {weights: xavier, copy: one}", "place-conflict", "`copy` takes all values"),
        ("init: {copy: nowhere}", "share-unknown", "`nowhere` names no node whose values"),
        ("init: {copy: one}", "init-circle", "`one.weight` copies what copies it"),
    ],
)
def test_what_is_wrong_is_said_once(init: str, code: str, says: str) -> None:
    found = only(ONE.format(init=init))
    assert found.code == code
    assert says in found.message
    assert found.help


STACK = """
inputs: {x: "[batch seq 8]"}
vars: {std: 0.5, start: orthogonal}
{TOP}
nodes:
  stack: {kind: bus, repeat: 2, norm: pre, {BUS}from: x, parts: {
    attend: {kind: attention, heads: 2{ATTEND}},
    think: {kind: mlp, hidden: 8{THINK}}}}
outputs: {y: stack}
"""


def stack(**parts: str) -> dict[str, str]:
    text = STACK
    for key in ("TOP", "BUS", "ATTEND", "THINK"):
        text = text.replace(f"{{{key}}}", parts.get(key.lower(), ""))
    if "std" not in text.replace("std: 0.5", ""):
        text = text.replace("std: 0.5, ", "")
    if "start" not in text.replace("start: orthogonal", ""):
        text = text.replace("start: orthogonal", "")
    text = text.replace("vars: {}\n", "")
    return starts(text)


def test_weights_are_inherited_from_the_recipe_and_from_a_container_and_default_undoes_them() -> None:
    top = stack(top="init: {weights: normal(std)}")
    assert {top[f"stack.{i}.attend.{m}.weight"] for i in (0, 1) for m in "qkv"} == {"normal(0.5)"}
    assert top["stack.1.attend.out.weight"] == top["stack.0.think.down.weight"] == "normal(0.5)"
    assert {start for address, start in top.items() if address.endswith("bias")} == {"zeros"}
    inner = stack(top="init: normal(0.5)", bus="init: start, ")
    assert inner["stack.0.think.up.weight"] == inner["stack.1.attend.q.weight"] == "orthogonal(1.0)"
    own = stack(bus="init: xavier, ", think=", init: default")
    assert own["stack.0.think.up.weight"] == own["stack.0.think.up.bias"] == "uniform(0.35355339059327373)"
    assert own["stack.0.attend.q.weight"] == "uniform(0.6123724356957945)"


def test_write_stands_beside_what_is_inherited() -> None:
    found = stack(top="init: normal(0.5)", attend=", init: zero", think=", init: {write: small(0.125)}")
    assert found["stack.0.attend.out.weight"] == found["stack.0.attend.out.bias"] == "zeros"
    assert found["stack.0.attend.q.weight"] == found["stack.0.think.up.weight"] == "normal(0.5)"
    assert found["stack.1.think.down.weight"] == "normal(0.125)"
    assert found["stack.1.think.down.bias"] == "zeros"


def test_rules_set_init_role_by_role_and_copies_may_differ() -> None:
    found = stack(top="rules: {last: {at: stack.-1.think, set: {init: zero}}, all: {where: {kind: attention}, set: {init: {weights: xavier}}}}", think=", init: kaiming")
    assert found["stack.0.think.down.weight"] == found["stack.0.think.up.weight"] == "normal(0.5)"
    assert found["stack.1.think.down.weight"] == "zeros"
    assert found["stack.1.think.up.weight"] == "normal(0.5)"
    assert found["stack.0.attend.q.weight"] == "uniform(0.6123724356957945)"


def test_a_slot_s_filler_keeps_what_its_place_does_not_say() -> None:
    text = 'inputs: {x: "[batch 8]"}\nslots: {ffn: {kind: mlp, hidden: 8, vars: {s: 0.5}, init: normal(s)}}\nnodes:\n  one: {slot: ffn, init: zero, from: x}\noutputs: {y: one}\n'
    found = starts(text)
    assert found == {"one.up.weight": "normal(0.5)", "one.up.bias": "zeros", "one.down.weight": "zeros", "one.down.bias": "zeros"}
    assert starts(text.replace("init: zero", "init: null"))["one.up.weight"] == "uniform(0.35355339059327373)"


def test_a_copy_takes_the_values_of_the_first_in_its_chain_and_of_its_own_number() -> None:
    found = starts("""
inputs: {x: "[batch 8]"}
nodes:
  stack: {kind: sequence, repeat: 3, from: x, parts: {
    a: {kind: linear, out: 8},
    b: {kind: linear, out: 8, init: {copy: a}}}}
  c: {kind: linear, out: 8, init: {copy: stack.1.b}, from: stack}
  d: {kind: linear, out: 8, init: {copy: c, write: zero}, from: c}
outputs: {y: d}
""")
    assert [found[f"stack.{i}.b.weight"] for i in range(3)] == [f"copy(stack.{i}.a.weight)" for i in range(3)]
    assert found["c.weight"] == "copy(stack.1.a.weight)"
    assert found["d.weight"] == found["d.bias"] == "zeros"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ("two: {same: one, init: zero, from: one}", "init-owner"),
        ("two: {kind: linear, out: 16, tie: {bias: one.bias}, init: xavier, from: one}", "init-owner"),
        ("two: {kind: mlp, hidden: 16, init: {copy: one}, from: one}", "init-copy"),
        ("two: {kind: linear, out: 8, init: {copy: one}, from: one}", "init-copy"),
        ("two: {kind: linear, out: 8, init: identity, from: one}", "init-no-identity"),
        ("two: {kind: mlp, hidden: 16, init: identity, from: one}", "init-no-identity"),
        ("two: {kind: glu, out: 16, init: identity, from: one}", "init-no-identity"),
        ("two: {kind: low_rank, rank: 16, out: 16, init: identity, from: one}", "init-no-identity"),
        ("two: {kind: layer_norm, init: identity, from: one}", "init-no-identity"),
        ("two: {kind: layer_norm, init: small, from: one}", "init-no-writer"),
        ("two: {kind: dropout, init: small, from: one}", "init-no-writer"),
        ("two: {kind: activation, init: zero, from: one}", "init-no-writer"),
        ("two: {kind: scale, value: 1.0, learned: true, init: small, from: one}", "init-no-writer"),
        ("two: {kind: scale, value: 1.0, init: zero, from: one}", "init-no-writer"),
        ("two: {kind: sequence, init: zero, from: one, parts: {a: {kind: linear}}}", "init-no-writer"),
        ("two: {kind: sequence, init: {copy: one}, from: one, parts: {a: {kind: linear}}}", "init-no-writer"),
    ],
)
def test_starts_that_cannot_be(more: str, code: str) -> None:
    text = f'inputs: {{x: "[batch 16]"}}\nnodes:\n  one: {{kind: linear, out: 16, from: x}}\n  {more}\noutputs: {{y: two}}\n'
    assert only(text).code == code


def test_only_weights_stand_at_the_top_of_a_recipe() -> None:
    assert only("init: zero\n" + ONE.format(init="bias: true")).code == "init-no-writer"
    assert only("init: nonsense\n" + ONE.format(init="bias: true")).code == "value-range"


def test_what_is_inherited_passes_over_what_others_own() -> None:
    found = starts("""
init: normal(0.5)
inputs: {tokens: "ids(9) [batch seq]"}
nodes:
  embed: {kind: embedding, out: 8, from: tokens}
  head: {kind: linear, out: 9, tie: {weight: embed.weight}, from: embed}
  again: {same: head, from: embed}
  both: {kind: add, from: [head, again]}
rules: {linears: {where: {kind: linear}, set: {init: xavier}}}
outputs: {y: both}
""")
    assert found == {"embed.weight": "normal(0.5)", "head.bias": "zeros"}


def test_an_adapter_starts_as_the_node_that_it_serves_but_never_silent() -> None:
    found = starts("""
init: orthogonal
inputs: {x: "[batch 16]"}
nodes:
  one: {kind: linear, in: 8, out: 4, init: zero, from: {x: {port: x, adapt: linear}}}
outputs: {y: one}
""")
    assert found == {"one_x_adapter.weight": "orthogonal(1.0)", "one_x_adapter.bias": "zeros", "one.weight": "zeros", "one.bias": "zeros"}


def test_copies_that_start_alike_are_told_once() -> None:
    report = check("""
inputs: {x: "[batch 16]"}
nodes:
  stack: {kind: linear, repeat: 5, out: 16, init: {copy: stack.0}, from: x}
outputs: {y: stack}
""")
    assert [item.code for item in report.diagnostics] == ["init-circle"]
