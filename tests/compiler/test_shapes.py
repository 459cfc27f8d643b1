"""Ranges of run-time sizes against every size up to a bound, tried one by one."""

from __future__ import annotations

from typing import Any

import pytest

from assembler.compiler.build import dynamic_shapes
from assembler.compiler.shapes import MAX_SIZE, Range, axes, holds
from assembler.facts.model import Guard
from tests.compiler.made import graph_of


def ranges_of(inputs: str, nodes: str, *outputs: str) -> tuple[dict[str, Range], tuple[Guard, ...], dict[str, Any]]:
    given = ", ".join(f"{name}: {name}" for name in outputs)
    graph, facts = graph_of(f"{{name: m, inputs: {inputs}, nodes: {nodes}, outputs: {{{given}}}}}")
    _, found = axes(graph, facts)
    return found, facts.guards, dynamic_shapes(graph, facts)


CASES = {
    "free": ("{x: '[b n 4]'}", "{k: {kind: linear, out: 2, from: x}}"),
    "at_least_a_window": ("{x: '[b 4 n]'}", "{k: {kind: conv1d, out: 2, kernel: 7, stride: 3, from: x}}"),
    "at_most_a_table": ("{x: '[b n 4]'}", "{k: {kind: learned_position, length: 9, from: x}}"),
    "even": ("{x: '[b n 4]'}", "{k: {kind: rearrange, pattern: 'b (h p) d -> b h (p d)', sizes: {p: 2}, from: x}}"),
    "even_and_at_most": (
        "{x: '[b n 4]'}",
        "{l: {kind: learned_position, length: 11, from: x}, k: {kind: rearrange, pattern: 'b (h p) d -> b h (p d)', sizes: {p: 4}, from: l}}",
    ),
    "a_multiple_with_a_rest": (
        "{x: '[b n 4]'}",
        "{c: {kind: cls_token, from: x}, k: {kind: rearrange, pattern: 'b (h p) d -> b h (p d)', sizes: {p: 3}, from: c}}",
    ),
    "two_multiples": (
        "{x: '[b n 4]'}",
        "{a: {kind: rearrange, pattern: 'b (h p) d -> b h (p d)', sizes: {p: 2}, from: x}, c: {kind: cls_token, from: x},"
        " d: {kind: rearrange, pattern: 'b (h p) d -> b h (p d)', sizes: {p: 3}, from: c},"
        " e: {kind: mean_pool, from: a}, f: {kind: mean_pool, from: d}, k: {kind: concat, from: [e, f]}}",
    ),
}


INSIDE = {"two_multiples": 4}
"""From this size on every axis that a node reads is 2 or more: torch.export takes 1 for a case of its own."""


@pytest.mark.parametrize("name", CASES)
def test_a_range_holds_exactly_the_sizes_that_the_entry_takes(name: str) -> None:
    found, guards, _ = ranges_of(*CASES[name], "k")
    item = found["n"]
    said = {item.step * n + item.offset for n in range(item.least, min(item.most, 200) + 1)}
    about = [guard for guard in guards if "n" in str(guard.left) + str(guard.right)]
    kept = {n for n in range(1, 100) if n >= INSIDE.get(name, 1) and all(holds(guard, {"n": n}) for guard in about)}
    assert {n for n in said if n < 100} == kept
    assert kept
    assert found["b"] == Range(1, 0, 1, MAX_SIZE)


def test_a_multiple_is_a_derived_dim_that_torch_can_read() -> None:
    _, _, shapes = ranges_of(*CASES["even"], "k")
    assert str(shapes["x"][1]) == "2*n_2"


def test_a_size_tied_to_another_by_a_condition_is_fixed_and_not_free() -> None:
    inputs = "{x: '[b n 4]', z: '[b m 4]'}"
    nodes = "{k: {kind: rearrange, pattern: 'b (h p) d -> b h (p d)', sizes: {p: 2}, from: x}, c: {kind: concat, axis: -2, from: [x, z]}, r: {kind: rearrange, pattern: 'b (h p) d -> b h (p d)', sizes: {p: 3}, from: c}}"
    found, guards, shapes = ranges_of(inputs, nodes, "r")
    assert any(guard.relation == "multiple_of" and guard.right == 3 for guard in guards)
    assert set(found) == {"b"}
    assert set(shapes["x"]) == set(shapes["z"]) == {0}
