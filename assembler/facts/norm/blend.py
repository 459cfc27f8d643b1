"""Norm states of weighted sums of many values, and of their median."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

from assembler.facts.norm.state import RAW, ZERO, State, bound, bounded, join, value
from assembler_schemas.kind import Step

if TYPE_CHECKING:
    from assembler.facts.norm.rules import Body


def blend(body: Body, step: Step, operands: Sequence[State]) -> State:
    """By weights that sum to 1, simplexes are one and bounds stay; independent norms lose variance."""
    numbers, by = step.attributes.get("weights"), step.attributes.get("by")
    weight, values = (None, operands) if numbers is not None else (operands[0], operands[1:])
    values = [value(item) for item in values]
    if all(item.zero for item in values) or (weight is not None and by is None and weight.zero):
        return ZERO
    if numbers is not None:
        values = [item for item, factor in zip(values, numbers, strict=True) if factor]
        convex = math.isclose(math.fsum(numbers), 1.0) and min(numbers) >= 0.0
    else:
        assert weight is not None
        convex = by is not None or (weight.kind == "simplex" and weight.gain == 1.0)
    if not values:
        return ZERO
    if not convex:
        return RAW
    first = values[0]
    if len(values) == 1 and by != "sigmoid":
        return first if weight is None or by is not None else RAW
    alike = all(item[:3] == first[:3] for item in values)
    if first.kind == "simplex" and alike and _by_row(body, step):
        return reduce(join, values)
    bounds = [bound(item) for item in values]
    return RAW if None in bounds else bounded(max(item or 0.0 for item in bounds), *values)


def _by_row(body: Body, step: Step) -> bool:
    """Whether each weight is one number for all elements along the last axis."""
    if "weights" in step.attributes:
        return True
    name = step.inputs[0]
    if name in body.definition.parameters:
        return len(body.definition.parameters[name].shape) == (step.attributes.get("by") != "sigmoid")
    return any(
        item.output == name and item.attributes.get("pattern", "").endswith(" 1 n") for item in body.definition.body
    )


def median(body: Body, step: Step, operands: Sequence[State]) -> State:
    values = [value(item) for item in operands]
    if len(values) == 1:
        return values[0]
    if sum(item.zero for item in values) >= len(values) - (len(values) - 1) // 2:
        return ZERO
    bounds = [bound(item) for item in values]
    return RAW if None in bounds else bounded(max(item or 0.0 for item in bounds), *values)
