"""Rules: about many places at once; and who wins: slot filler < place of use < rule."""

from __future__ import annotations

import pytest

from tests.graph.recipes import bad, check, good, kinds, rows, size

STACK = """
inputs: {x: "[batch seq 8]"}
vars: {n: 4}
slots: {ffn: {kind: mlp, hidden: 3}, dense: {kind: mlp, hidden: 5}}
nodes:
  stack:
    kind: bus
    repeat: n
    norm: pre
    from: x
    parts:
      attend: {kind: attention, heads: 2}
      think: {slot: ffn}
outputs: {y: stack}
rules:
"""
UNUSED = STACK.replace(", dense: {kind: mlp, hidden: 5}", "")


def hidden(text: str) -> dict[str, object]:
    report = good(text)
    return {name: size(report, name, "hidden") for name, kind in kinds(report).items() if kind == "mlp"}


def test_a_rule_at_a_slice_swaps_a_part_of_the_first_copies() -> None:
    assert hidden(STACK + "  first: {at: stack.0:3.think, set: {slot: dense}}\n") == {"stack.0:3.think": 5, "stack.3.think": 3}


@pytest.mark.parametrize(
    ("at", "changed"),
    [("stack.*.think", {"stack.*.think": 7}), ("stack.-1.think", {"stack.0:3.think": 3, "stack.3.think": 7}),
     ("stack.::2.think", {"stack.0.think": 7, "stack.1.think": 3, "stack.2.think": 7, "stack.3.think": 3}),
     ("stack.1.think", {"stack.0.think": 3, "stack.1.think": 7, "stack.2:4.think": 3}), ("stack.1:.think", {"stack.0.think": 3, "stack.1:4.think": 7})],
)  # fmt: skip
def test_every_pattern_of_copies(at: str, changed: dict[str, int]) -> None:
    assert hidden(UNUSED + f"  r: {{at: '{at}', set: {{hidden: 7}}}}\n") == changed


def test_where_is_equality_on_effective_values_defaults_included() -> None:
    report = good(UNUSED + "  acts: {where: {activation: gelu}, set: {activation: relu}}\n")
    think = next(row for row in rows(report) if row.name == "think")
    assert think.node.options.activation == "relu"  # type: ignore[union-attr]


def test_a_rule_sets_a_key_of_the_bus_for_its_parts() -> None:
    report = good(UNUSED + "  peri: {where: {norm: pre}, set: {norm: both}}\n")
    assert [row.name for row in rows(report) if row.kind == "layer_norm"] == ["attend_pre_norm", "attend_out_norm", "think_pre_norm", "think_out_norm"]


def test_a_rule_freezes() -> None:
    report = good(UNUSED + "  frozen: {at: stack, set: {freeze: true}}\n")
    assert rows(report)[0].trainable == 0


def test_values_of_a_rule_are_read_where_the_rule_stands() -> None:
    assert hidden(UNUSED + "  r: {where: {kind: mlp}, set: {hidden: 3*n}}\n") == {"stack.*.think": 12}


def test_a_rule_wins_over_the_place_and_the_place_over_the_filler() -> None:
    place = UNUSED.replace("{slot: ffn}", "{slot: ffn, hidden: 4}")
    assert hidden(place + "  r: {where: {activation: relu}, set: {hidden: 9}}\n".replace("relu", "gelu")) == {"stack.*.think": 9}
    assert hidden(place.replace("rules:\n", "")) == {"stack.*.think": 4}


def test_a_rule_that_matches_nothing_is_an_error() -> None:
    bad(UNUSED + "  r: {at: stack.9.think, set: {hidden: 7}}  #~ rule-unmatched\n")
    bad(UNUSED + "  r: {where: {activation: tanh}, set: {hidden: 7}}  #~ rule-unmatched\n")
    bad(UNUSED + "  r: {at: stack.think, set: {hidden: 7}}  #~ rule-unmatched\n")


def test_two_rules_that_differ_on_one_key_of_one_place_are_an_error() -> None:
    bad(UNUSED + """  one: {at: stack.*.think, set: {hidden: 7}}
  two: {at: stack.1.think, set: {hidden: 9}}  #~ rule-conflict
""")


def test_two_rules_that_agree_or_set_different_keys_are_none() -> None:
    good(UNUSED + """  one: {at: stack.*.think, set: {hidden: 7}}
  two: {at: stack.1.think, set: {hidden: 7, activation: relu}}
""")


def test_an_option_that_a_rule_sets_is_checked_like_any() -> None:
    assert "unknown-option" in {item.code for item in check(UNUSED + "  r: {at: stack.*.think, set: {hiden: 7}}\n").diagnostics}


def test_rules_of_a_graph_inside_see_its_own_nodes_only() -> None:
    report = good("""
inputs: {x: "[batch 8]"}
nodes:
  g:
    kind: graph
    inputs: {z: "[... d]"}
    nodes: {a: {kind: mlp, hidden: 3, from: z}}
    outputs: {y: a}
    rules: {r: {where: {kind: mlp}, set: {hidden: 5}}}
    from: x
  b: {kind: mlp, hidden: 3, from: g}
outputs: {y: b}
""")
    assert (size(report, "g.a", "hidden"), size(report, "b", "hidden")) == (5, 3)
