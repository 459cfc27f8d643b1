"""The checks at the model's entry: one readable message, also where a size is derived or an input may be missing."""

from __future__ import annotations

import re

import pytest
import torch

from assembler.compiler.build import build
from assembler.compiler.emit import emit
from assembler.compiler.entry import entries
from assembler.compiler.model import Argument, Bind, Check
from assembler.facts.model import Guard
from assembler_schemas.dim import name
from assembler_schemas.shape import Type
from tests.compiler.made import DIGITS, NEST, SHARE, plan_of

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("recipe", "values", "message"),
    [
        (DIGITS, {"image": torch.zeros(2, 1, 8, 9)}, "input `image`, axis 3 is 8; found torch.Size([2, 1, 8, 9])"),
        (DIGITS, {"image": torch.zeros(2, 8, 8)}, "input `image` is image f32 [batch 1 8 8]; found torch.Size([2, 8, 8])"),
        (DIGITS, {"image": torch.zeros(2, 1, 8, 8, dtype=torch.float64)}, "input `image` is torch.float32; found torch.float64"),
        (NEST, {"image": torch.zeros(2, 3, 8, 12), "ids": torch.zeros(2, 3, dtype=torch.long)}, "input `image`, axis 3 is 8*w"),
        (NEST, {"image": torch.zeros(2, 3, 8, 8), "ids": torch.zeros(3, 3, dtype=torch.long)}, "input `ids`, axis 0 is batch"),
        (NEST, {"image": torch.zeros(2, 3, 8, 8), "ids": torch.zeros(2, 3)}, "input `ids` is torch.int64 or torch.int32"),
        (SHARE, {"x": torch.zeros(2, 5, 32), "mask": torch.ones(2, 4, dtype=torch.bool)}, "input `mask`, axis 1 is seq"),
        (SHARE, {"x": torch.zeros(2, 5, 32), "mask": torch.ones(2, 5)}, "input `mask` is torch.bool"),
    ],
)
def test_the_message_names_input_axis_expected_and_found(recipe: str, values: dict[str, torch.Tensor], message: str) -> None:
    model = build(plan_of(recipe))
    with pytest.raises(RuntimeError, match=re.escape(message)):
        model(**values)


def test_a_derived_size_is_checked_and_exported_with_its_name() -> None:
    model = build(plan_of(NEST))
    ids = torch.zeros(2, 3, dtype=torch.long)
    program = torch.export.export(model, (torch.zeros(2, 3, 16, 24), ids), strict=True)
    assert program is not None
    compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
    assert compiled(torch.zeros(2, 3, 16, 24), ids)["y"].shape == (2, 3, 16)
    with pytest.raises(Exception, match=r"axis 2 is 8\*h"):
        compiled(torch.zeros(2, 3, 17, 24), ids)


def test_a_guard_on_run_time_sizes_is_asserted_once() -> None:
    made = plan_of("{name: m, inputs: {x: '[batch seq 8]'}, nodes: {p: {kind: learned_position, length: 10, from: x}}, outputs: {y: p}}")
    model = build(made)
    assert emit(made).count("seq is at most 10") == 1
    assert model(torch.zeros(1, 10, 8)).shape == (1, 10, 8)
    with pytest.raises(RuntimeError, match="p: seq is at most 10"):
        model(torch.zeros(1, 11, 8))


def _lines(dims: tuple[object, ...], *guards: Guard) -> list[str]:
    kind = Type("dense", "float", dims)  # type: ignore[arg-type]
    found = entries([Argument("x", "x", "[...]")], {"x": kind}, guards)
    lines = [line for entry in found for line in entry.lines]
    return [line.condition if isinstance(line, Check) else f"{line.name} = {line.value}" for line in lines if isinstance(line, (Check, Bind))]


def test_sums_and_products_are_solved_where_one_name_is_new() -> None:
    a, b = name("a"), name("b")
    lines = _lines((2 * a + 1, a * b, a, a + b))
    assert "a = x_shape[2]" in lines
    assert "x_shape[0] == 2 * a + 1" in lines
    assert "b = x_shape[3] - a" in lines
    assert "x_shape[1] == a * b" in lines
    lines = _lines((3 * a + 1, a))
    assert "x_shape[0] == 3 * a + 1" in lines
    lines = _lines((3 * a + 1,), Guard("multiple_of", a, 2, "n"))
    assert lines[2:] == ["x_shape[0]".join(("(", " - 1) % 3 == 0")), "a = (x_shape[0] - 1) // 3", "a % 2 == 0"] or "a % 2 == 0" in lines


def test_names_that_no_condition_asks_for_are_not_bound() -> None:
    assert not [line for line in _lines((name("a"), 4)) if line.startswith("a =")]


def test_an_input_behind_an_optional_one_must_still_be_given() -> None:
    made = plan_of(
        "{name: m, inputs: {mask: {type: 'mask [b s]', optional: true}, x: '[b s 8]'}, nodes: {a: {kind: attention, heads: 2,"
        " from: {x: x, mask: mask}}}, outputs: {y: a}}"
    )
    model = build(made)
    assert model(x=torch.zeros(1, 2, 8)).shape == (1, 2, 8)
    assert model(torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2, 8)).shape == (1, 2, 8)
    with pytest.raises(RuntimeError, match="input `x` is given"):
        model()
