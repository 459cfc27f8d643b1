"""Vars, slots and their arguments: where a name is looked up, and who gives it its value."""

from __future__ import annotations

import pytest

from tests.graph.recipes import bad, good, kinds, size

SLOTS = """
inputs: {x: "[batch 8]"}
vars: {w: 16}
slots: {f: {kind: mlp, hidden: 2*w, vars: {w: 5}}, g: {kind: mlp, hidden: 2*w}}
nodes:
  a: {slot: f, from: x}
  b: {slot: f, vars: {w: 2*w}, from: a}
  c: {slot: g, from: b}
outputs: {y: c}
"""


def test_arguments_win_over_a_fillers_defaults_and_are_read_outside() -> None:
    report = good(SLOTS)
    assert [size(report, name, "hidden") for name in "abc"] == [10, 64, 32]


def test_an_argument_that_the_filler_does_not_have_is_unknown() -> None:
    found = bad(SLOTS.replace("outputs: {y: c}", "  d: {slot: f, vars: {v: 3}, from: c}  #~ argument-unknown\noutputs: {y: d}"))
    assert "`w`" in found.help
    none = bad(SLOTS.replace("outputs: {y: c}", "  d: {slot: h, vars: {v: 3}, from: c}  #~ argument-unknown\noutputs: {y: d}").replace("slots: {", "slots: {h: {kind: mlp}, "))
    assert none.help == "give it a value there, which this one replaces: `vars: {v: ...}`"


def test_vars_use_one_another_in_any_order_and_a_cycle_is_whole() -> None:
    report = good('vars: {h: 4*w, w: 2}\ninputs: {x: "[batch w]"}\nnodes: {a: {kind: mlp, hidden: h, from: x}}\noutputs: {y: a}\n')
    assert size(report, "a", "hidden") == 8
    found = bad("""
vars:
  a: b + 1  #~ vars-cycle
  b: c
  c: a
inputs: {x: "[batch 8]"}
nodes: {n: {kind: linear, out: 3, from: x}}
outputs: {y: n}
""")
    assert "->" in found.message


def test_a_name_is_looked_up_from_the_place_of_use_outward() -> None:
    """A filler's names are those of where it is used, not of where it is written."""
    report = good("""
inputs: {x: "[batch 8]"}
vars: {w: 16}
slots: {f: {kind: mlp, hidden: w}}
nodes:
  g:
    kind: graph
    vars: {w: 3}
    inputs: {z: "[... d]"}
    nodes: {a: {slot: f, from: z}}
    outputs: {y: a}
    from: x
  b: {slot: f, from: g}
outputs: {y: b}
""".replace("w: 3", "w: 16"))
    assert size(report, "g.a", "hidden") == 16
    inner = bad("""
inputs: {x: "[batch 8]"}
vars: {w: 16}
slots: {f: {kind: mlp, hidden: w}}
nodes:
  g:
    kind: graph
    vars:
      w: 3  #~ vars-shadow
    inputs: {z: "[... d]"}
    nodes: {a: {slot: f, from: z}}
    outputs: {y: a}
    from: x
  b: {slot: f, from: g}
outputs: {y: b}
""")
    assert inner.level == "warning"


def test_a_graph_takes_arguments_like_a_slot() -> None:
    report = good("""
inputs: {x: "[batch 8]"}
slots:
  block:
    vars: {w: 2}
    inputs: {z: "[... d]"}
    nodes: {up: {kind: linear, out: w, from: z}}
    outputs: {y: up}
nodes:
  one: {slot: block, from: x}
  two: {slot: block, vars: {w: 5}, from: one}
outputs: {y: two}
""")
    assert [size(report, f"{name}.up", "out") for name in ("one", "two")] == [2, 5]


def test_a_word_may_be_a_var() -> None:
    report = good('vars: {act: relu, k: mlp}\ninputs: {x: "[batch 8]"}\nnodes: {a: {kind: k, activation: act, from: x}}\noutputs: {y: a}\n')
    assert kinds(report) == {"a": "mlp"}


def test_an_unused_var_is_said_also_inside() -> None:
    bad("""
inputs: {x: "[batch 8]"}
vars:
  v: 3  #~ vars-unused
nodes:
  g:
    kind: graph
    vars:
      q: 4  #~ vars-unused
    inputs: {z: "[... d]"}
    nodes: {a: {kind: mlp, from: z}}
    outputs: {y: a}
    from: x
outputs: {y: g}
""")


@pytest.mark.parametrize(("size_text", "code"), [("w % 2", "expression-syntax"), ("7 // 2", "expression-division"), ("wide", "expression-unknown"), ("w - 8", "dim-range"), ("1.5", "value-type")])
def test_a_size_is_an_exact_expression(size_text: str, code: str) -> None:
    bad(f"""
vars: {{w: 8}}
inputs: {{x: "[batch w]"}}
nodes:
  a: {{kind: linear, out: {size_text}, from: x}}  #~ {code}
outputs: {{y: a}}
""")


# --- slots ---
def test_an_unfilled_slot_an_unknown_slot_and_one_inside_itself() -> None:
    bad('inputs: {x: "[batch 8]"}\nslots:\n  f: {}  #~ slot-unfilled\nnodes: {a: {slot: f, from: x}}\noutputs: {y: a}\n')
    bad('inputs: {x: "[batch 8]"}\nslots: {f: {kind: mlp}}\nnodes:\n  a: {slot: f, from: x}\n  b: {slot: g, from: a}  #~ slot-unknown\noutputs: {y: b}\n')
    bad('inputs: {x: "[batch 8]"}\nslots:\n  f: {kind: sequence, parts: {a: {kind: mlp}, b: {slot: f}}}  #~ slot-cycle\nnodes: {a: {slot: f, from: x}}\noutputs: {y: a}\n')


def test_a_slot_filled_through_another_slot() -> None:
    report = good('inputs: {x: "[batch 8]"}\nslots: {f: {slot: g}, g: {kind: mlp, hidden: 3}}\nnodes: {a: {slot: f, from: x}}\noutputs: {y: a}\n')
    assert size(report, "a", "hidden") == 3


@pytest.mark.parametrize("kind", ["identity", "zero"])
def test_an_empty_slot_is_identity_or_zero(kind: str) -> None:
    good(f'inputs: {{x: "[batch 8]"}}\nslots: {{f: {{kind: {kind}}}}}\nnodes: {{a: {{kind: bus, from: x, parts: {{p: {{slot: f}}}}}}}}\noutputs: {{y: a}}\n')


def test_a_null_node_or_part_is_removed() -> None:
    """From overlays; in a single file it has nothing to remove and is a missing value."""
    bad('inputs: {x: "[batch 8]"}\nnodes:\n  a: {kind: mlp, from: x}\n  b: null  #~ missing-value\noutputs: {y: a}\n')
