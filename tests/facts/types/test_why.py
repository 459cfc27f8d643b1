"""`assembler why`: each size of a type, back to the line that decided it."""

from __future__ import annotations

import re

import pytest

from assembler.facts.types.why import explain
from tests.graph.recipes import good

TEXT = """inputs: {x: "[batch seq 8]"}
nodes:
  up: {kind: linear, out: 6, from: x}
  stack:
    kind: bus
    repeat: 2
    norm: pre
    from: up
    parts: {think: {kind: mlp, hidden: 5}}
  open: {kind: linear, from: x}
  sum: {kind: add, from: [open, stack]}
outputs: {y: sum}
"""


def lines(address: str) -> list[int]:
    """The lines of the recipe that the explanation of the last axis names."""
    report = good(TEXT)
    assert report.graph is not None
    assert report.facts is not None
    text = explain(report.graph, report.facts, address)
    assert text, f"nothing said of {address}"
    start = max(i for i, line in enumerate(text) if line.startswith("  axis -1"))
    return [int(number) for line in text[start:] for number in re.findall(r"recipe.yaml:(\d+)", line)]


@pytest.mark.parametrize(
    ("address", "last"),
    [("up", 3), ("up.y", 3), ("up.x", 1), ("stack", 3), ("stack.1.think", 3), ("stack.*.think.x", 3), ("stack.0", 3), ("sum", 10)],
)
def test_the_last_line_is_the_one_that_decided(address: str, last: int) -> None:
    assert lines(address)[-1] == last


def test_an_input_is_explained_by_its_own_line() -> None:
    report = good(TEXT)
    assert report.graph is not None
    assert report.facts is not None
    assert "recipe.yaml:1" in explain(report.graph, report.facts, "x")[1]


def test_nothing_is_said_of_what_is_not_there() -> None:
    report = good(TEXT)
    assert report.graph is not None
    assert report.facts is not None
    assert explain(report.graph, report.facts, "nothing") == []
