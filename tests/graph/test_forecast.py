"""What slots unfold into is counted on what is written: never too much, and before anything is built."""

from __future__ import annotations

import pytest

from assembler.graph.build import Builder
from assembler.graph.env import Env
from assembler.graph.forecast import forecast
from assembler.source.parse import parse
from assembler.source.recipe import Recipe
from assembler.source.text import read_text
from tests.graph.recipes import bad, check


def read(text: str) -> Recipe:
    tree, _ = read_text(text.encode(), "recipe.yaml")
    assert tree is not None
    return parse(tree)[0]


def doubling(count: int, more: str = "") -> str:
    slots = "".join(f"  s{i}: {{kind: sequence, parts: {{a: {{slot: s{i - 1}}}, b: {{slot: s{i - 1}}}}}}}\n" for i in range(1, count + 1))
    return f'inputs: {{x: "[batch 16]"}}\nslots:\n  s0: {{kind: linear, out: 16}}\n{slots}nodes: {{t: {{slot: s{count}, from: x}}}}\noutputs: {{y: t}}\n{more}'


def written(recipe: Recipe) -> int:
    """How many nodes the builder really drafts."""
    from assembler.graph.build import At

    builder = Builder()
    builder.graph(recipe.graph, Env(None, None, builder.say), At("", inherited={}), {})
    return builder.written


@pytest.mark.parametrize("count", [0, 1, 2, 5, 9])
def test_it_is_what_the_builder_drafts(count: int) -> None:
    recipe = read(doubling(count))
    assert forecast(recipe.graph.nodes["t"], recipe.graph.slots) == written(recipe) == 2 ** (count + 1) - 1


@pytest.mark.parametrize(
    "filler",
    [
        "{kind: graph, inputs: {v: '[batch 16]'}, nodes: {a: {kind: linear, out: 16, from: v}, b: {kind: linear, out: 16, from: a}}, outputs: {w: b}}",
        "{kind: sequence, parts: {a: {kind: linear, out: 16, repeat: 3}, b: {kind: sequence, parts: {c: {kind: linear, out: 16}}}}}",
        "{kind: bus, norm: pre, parts: {a: {kind: linear, out: 16}, b: {like: a}}}",
        "{slot: other}",
    ],
)
def test_it_is_never_more_than_the_builder_drafts(filler: str) -> None:
    recipe = read(f'inputs: {{x: "[batch 16]"}}\nslots:\n  s: {filler}\n  other: {{kind: linear, out: 16}}\nnodes: {{t: {{slot: s, from: x}}}}\noutputs: {{y: t}}\n')
    assert 1 <= forecast(recipe.graph.nodes["t"], recipe.graph.slots) <= written(recipe)


def test_what_doubles_forty_times_is_refused_before_the_first_node() -> None:
    recipe = read(doubling(40))
    assert forecast(recipe.graph.nodes["t"], recipe.graph.slots) == 2**41 - 1
    assert written(recipe) == 1
    assert bad(doubling(40).replace("nodes: {t:", "nodes:\n  t:").replace("from: x}}", "from: x} #~ limit-nodes")).code == "limit-nodes"


def test_what_stays_within_the_limit_is_built() -> None:
    assert not [item for item in check(doubling(10)).diagnostics if item.level == "error"]


def test_a_slot_in_a_circle_is_said_as_before() -> None:
    recipe = read("slots:\n  a: {slot: b}\n  b: {slot: a}\nnodes: {t: {slot: a}}\noutputs: {y: t}\n")
    assert forecast(recipe.graph.nodes["t"], recipe.graph.slots) == 1


def test_slots_deeper_than_it_looks_count_as_one() -> None:
    chain = "".join(f"  s{i}: {{slot: s{i - 1}}}\n" for i in range(1, 4000))
    recipe = read(f"slots:\n  s0: {{kind: linear, out: 16}}\n{chain}nodes: {{t: {{slot: s3999}}}}\noutputs: {{y: t}}\n")
    assert forecast(recipe.graph.nodes["t"], recipe.graph.slots) == 1


def test_a_rule_may_take_what_doubles_away() -> None:
    report = check(doubling(40, "rules: {less: {at: t, set: {kind: linear, out: 16}}}\n"))
    assert "limit-nodes" not in {item.code for item in report.diagnostics}


def test_a_long_chain_of_likes_is_one_finding_with_a_note() -> None:
    nodes = "".join(f"  n{i}: {{like: n{i - 1}, from: n{i - 1}}}\n" for i in range(1, 60))
    report = check(f'inputs: {{x: "[batch 16]"}}\nnodes:\n  n0: {{kind: linear, out: 16, from: x}}\n{nodes}outputs: {{y: n59}}\n')
    (finding,) = report.diagnostics
    assert (finding.code, finding.span.line) == ("slot-cycle", 35)
    assert [(note.message, note.span.line) for note in finding.related] == [("and here, and at 26 more places", 36)]
