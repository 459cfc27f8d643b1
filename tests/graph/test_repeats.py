"""Copies in a row: own weights or shared ones, other inputs to all, losses summed, names and limits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from assembler.library import registry
from assembler_schemas.kind import Definition, Inline, Kind, Options, Port, step
from tests.graph.recipes import bad, gives, good, names, outputs, parameters, rows, wires

X = 'inputs: {x: "[batch seq 8]", m: "[batch mem 6]"}\n'
ONE = 'inputs: {x: "[batch seq 8]"}\n'


@pytest.fixture
def balanced() -> Iterator[None]:
    """A kind with a loss port of its own."""
    ports = {"y": Port("[... d]"), "balance_loss": Port("scalar []", loss=True)}
    body = (step("y", "pointwise", "x", fn="identity"), step("balance_loss", "constant", fn="zero"))
    registry.register(Kind("balanced", "x and a loss", Options, lambda options: Definition({"x": Port("[... d]")}, ports, Inline("{x}"), body=body), example="{kind: balanced}"))
    yield
    registry.unregister("balanced")


def test_every_other_input_goes_to_every_copy() -> None:
    report = good(X + "nodes: {a: {kind: cross_attention, heads: 2, repeat: 3, from: {x: x, memory: m}}}\noutputs: {y: a}\n")
    assert wires(report)["a"] == {"x": [".x"], "memory": [".m"]}
    assert names(report) == ["a", "a.*"]


def test_each_copy_has_its_own_weights_and_share_has_one_set() -> None:
    text = ONE + "nodes: {a: {kind: linear, out: 8, repeat: 3SHARE, from: x}}\noutputs: {y: a}\n"
    assert parameters(good(text.replace("SHARE", ""))) == 3 * 72
    assert parameters(good(text.replace("SHARE", ", share: true"))) == 72


def test_share_without_repeat_is_a_contradiction() -> None:
    bad(ONE + "nodes:\n  a: {kind: mlp, share: true, from: x}  #~ place-conflict\noutputs: {y: a}\n")


def test_shared_copies_cannot_change_the_width() -> None:
    found = bad(ONE + "nodes:\n  a: {kind: linear, out: 4, repeat: 2, share: true, from: x}  #~ share-mismatch\noutputs: {y: a}\n")
    assert "second copy" in found.message


def test_shared_containers_cannot_change_the_width() -> None:
    bad(ONE + "nodes:\n  a: {kind: sequence, repeat: 2, share: true, from: x, parts: {p: {kind: linear, out: 4}}}  #~ share-mismatch\noutputs: {y: a}\n")


def test_copies_may_change_the_width_where_each_has_its_own_weights() -> None:
    report = good(ONE + "nodes: {a: {kind: sequence, repeat: 3, from: x, parts: {p: {kind: linear, out: 4}}}}\noutputs: {y: a}\n")
    assert parameters(report) == 36 + 20 + 20
    assert [name for name in names(report) if name.endswith("p")] == ["a.0.p", "a.1:3.p"]


def test_copies_may_change_the_rank() -> None:
    report = good('inputs: {x: "[batch a b 8]"}\nnodes: {a: {kind: mean_pool, repeat: 2, from: x}}\noutputs: {y: a}\n')
    assert outputs(report) == {"a": "[batch 8]", "a.0": "[batch a 8]", "a.1": "[batch 8]"}


@pytest.mark.parametrize("count", [0, -1, "1 - 1"])
def test_fewer_than_one_copy_is_refused(count: object) -> None:
    bad(ONE + f"nodes:\n  a: {{kind: mlp, repeat: {count}, from: x}}  #~ value-range\noutputs: {{y: a}}\n")


def test_more_copies_than_can_be_built_are_refused_before_they_are() -> None:
    bad(ONE + "nodes:\n  a: {kind: activation, repeat: 10**9, from: x}  #~ limit-nodes\noutputs: {y: a}\n".replace("10**9", "1000000000"))


# --- losses ---
def test_losses_of_copies_add_up_in_each_group_and_reach_the_output(balanced: None) -> None:
    report = good(ONE + """
nodes:
  a: {kind: bus, repeat: 3, from: x, parts: {p: {kind: balanced}, q: {kind: balanced}}}
outputs: {y: a, aux: losses}
""")
    assert wires(report, "a.*")["losses"] == {"x": ["p.balance_loss", "q.balance_loss"]}
    assert wires(report)["losses"] == {"x": ["a.losses"]}
    assert gives(report)["aux"] == "scalar f32 []"


def test_a_loss_that_reaches_no_output_is_said_with_its_fix(balanced: None) -> None:
    found = bad(ONE + "nodes:\n  a: {kind: balanced, repeat: 2, from: x}  #~ loss-uncollected\noutputs: {y: a}\n")
    assert "aux_loss: losses" in found.help


def test_a_loss_that_somebody_reads_is_not_collected_twice(balanced: None) -> None:
    report = good(ONE + "nodes: {a: {kind: balanced, from: x}, b: {kind: balanced, from: a}}\noutputs: {y: b, own: a.balance_loss, aux: losses}\n")
    assert wires(report)["losses"] == {"x": ["b.balance_loss"]}


def test_a_nodes_address_is_never_its_loss(balanced: None) -> None:
    assert gives(good(ONE + "nodes: {a: {kind: balanced, from: x}}\noutputs: {y: a, aux: losses}\n"))["y"] == "[batch seq 8]"


def test_losses_are_zero_where_there_are_none() -> None:
    report = good(ONE + "nodes: {a: {kind: mlp, from: x}}\noutputs: {y: a, aux: losses}\n")
    assert gives(report)["aux"] == "scalar f32 []"


# --- freeze, seed, dtype ---
@pytest.mark.parametrize("key", ["freeze: true", "seed: 7"])
@pytest.mark.parametrize("place", ["top", "container", "part"])
def test_freeze_and_seed_hold_for_everything_inside(key: str, place: str) -> None:
    text = f"""
{key if place == 'top' else ''}
inputs: {{x: "[batch seq 8]"}}
nodes:
  a: {{kind: bus, repeat: 2, norm: pre, from: x, {key + ', ' if place == 'container' else ''}parts: {{p: {{kind: sequence, {key + ', ' if place == 'part' else ''}parts: {{q: {{kind: mlp}}}}}}}}}}
outputs: {{y: a}}
"""
    report = good(text)
    made = {row.name: row.node for row in rows(report) if row.kind in ("mlp", "layer_norm")}
    name, value = key.split(": ")
    for leaf in made.values():
        assert getattr(leaf, name) == (True if value == "true" else int(value))


def test_the_inside_has_the_last_word() -> None:
    report = good("freeze: true\n" + ONE + "nodes: {a: {kind: linear, out: 8, freeze: false, from: x}, b: {kind: linear, out: 8, from: a}}\noutputs: {y: b}\n")
    assert [row.trainable for row in rows(report)] == [72, 0]


# --- before and after ---
@pytest.mark.parametrize(("key", "order"), [("after: a", "acb"), ("before: a", "cab"), ("after: b", "abc"), ("before: b", "acb")])
def test_before_and_after_give_a_part_its_place(key: str, order: str) -> None:
    report = good(ONE + f"nodes: {{s: {{kind: sequence, from: x, parts: {{a: {{kind: mlp}}, b: {{kind: mlp}}, c: {{kind: mlp, {key}}}}}}}}}\noutputs: {{y: s}}\n")
    assert list(wires(report, "s")) == list(order)


def test_before_and_after_that_cannot_hold() -> None:
    bad(ONE + """nodes:
  s:
    kind: sequence
    from: x
    parts:
      a: {kind: mlp, after: b}  #~ order-conflict
      b: {kind: mlp, after: a}
outputs: {y: s}
""")


def test_a_bus_directly_inside_a_bus_is_refused() -> None:
    bad(ONE + "nodes:\n  s: {kind: bus, from: x, parts: {p: {kind: bus, parts: {q: {kind: mlp}}}}}  #~ bus-in-bus\noutputs: {y: s}\n")


def test_copies_that_change_the_number_of_axes_say_nothing_of_a_size_that_is_open() -> None:
    """Axes of the first copy's output were held equal to those of its input though there is one less of them (random seed 1059)."""
    report = good("inputs: {x: '[batch seq 6 8]'}\n" + """nodes:
  low: {kind: low_rank, rank: 2, from: x}
  glu: {kind: swiglu, in: 4, from: low}
  pools: {kind: mean_pool, repeat: 2, from: low}
outputs: {a: glu, b: pools}
""")
    assert report.facts is not None
    assert str(report.facts.root.outputs["b"]) == "[batch 4]"
