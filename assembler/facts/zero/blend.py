"""Analysis Z of weighted sums of many values, and of their median: what weights are known to be, and the values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from assembler.facts.zero.values import (
    ALL,
    MOST_TERMS,
    Axes,
    Body,
    Value,
    common,
    dropped,
    form,
    number_of,
    sums,
    zeros,
)
from assembler_schemas.kind import Step


class Blended(NamedTuple):
    """The operands of a `blend`, told apart."""

    values: Sequence[Value]
    weight: Value | None
    """The operand that holds the weights; None where they are numbers of the card."""
    by: str | None
    known: tuple[float, ...] | None
    """What each value is multiplied by, where that is known."""
    exact: bool
    """`known` is so in floats too."""

    @property
    def convex(self) -> bool:
        """Whether the weights sum to 1, whatever they are."""
        return self.by is not None

    @property
    def even(self) -> Axes:
        """Axes of the values along which each weight is one number."""
        if self.weight is None or self.known is not None:
            return ALL
        return self.weight.even if self.by == "sigmoid" else dropped(self.weight.even, (-1,), False)

    @property
    def summed(self) -> Axes:
        """Axes of the values over which the gradient of a weight is a sum."""
        assert self.weight is not None
        return self.weight.single if self.by == "sigmoid" else dropped(self.weight.single, (-1,), False)

    @property
    def alike(self) -> bool:
        """Whether all values are one in exact arithmetic."""
        first = self.values[0]
        return all(item.math == first.math and item.single == first.single for item in self.values)


def blended(step: Step, operands: Sequence[Value]) -> Blended:
    numbers, by = step.attributes.get("weights"), step.attributes.get("by")
    if numbers is not None:
        return Blended(operands, None, None, tuple(numbers), True)
    weight, *values = operands
    known, exact = _known(weight, by, len(values))
    return Blended(values, weight, by, known, exact)


def _known(weight: Value, by: str | None, count: int) -> tuple[tuple[float, ...] | None, bool]:
    if count == 1 and by in ("softmax", "share"):
        return (1.0,), True
    if isinstance(weight.bits, tuple) and weight.bits[0] == "constant" and isinstance(weight.bits[1], tuple):
        each = weight.bits[1]
    else:
        number = number_of(weight)
        if number is None:
            return None, False
        each = (number,) * count
    if by is None:
        return each, weight.zero or weight.bits == ("constant", each[0])
    if by == "sigmoid":
        share = 1 / (1 + math.exp(-each[0]))
        return (share, 1 - share), False
    grown = [abs(item) if by == "share" else math.exp(item - max(each)) for item in each]
    total = math.fsum(grown)
    return (tuple(item / total for item in grown), by == "share") if total > 0 else (None, False)


def blend(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    """Of equal values their own value, in exact arithmetic; of one that has the whole weight, bit for bit."""
    found = blended(step, operands)
    even, single = common(found.values)
    name = ("step", step.output)
    made = Value(name, frozenset({(name, 1.0)}), (even & found.even) | single, single)
    if all(item.zero for item in found.values):
        return zeros(single)
    if found.known is None:
        return made._replace(math=found.values[0].math) if found.convex and found.alike else made
    left = [(item, factor) for item, factor in zip(found.values, found.known, strict=True) if factor and not item.zero]
    if not left:
        return zeros(single) if found.exact else made._replace(math=frozenset())
    if len(left) == 1 and left[0][1] == 1.0 and found.exact:
        return left[0][0]
    whole = form(sums((atom, item * factor) for value, factor in left for atom, item in value.math))
    return made._replace(math=whole) if len(whole) <= MOST_TERMS else made


def median(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    """What more than half of the values are, the median is: then it lies in the middle, whatever the others are."""
    even, single = common(operands)
    name = ("step", step.output)
    made = Value(name, frozenset({(name, 1.0)}), even | single, single)
    wanted = len(operands) - (len(operands) - 1) // 2
    for item in operands:
        if sum(other.bits == item.bits for other in operands) >= wanted:
            return item
    for item in operands:
        if sum(other.math == item.math and other.single == item.single for other in operands) >= wanted:
            return made._replace(math=item.math)
    return made
