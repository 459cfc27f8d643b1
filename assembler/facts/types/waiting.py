"""The equations that wait for an unknown, kept as reduced rows: several together can say what none
says alone, whatever the order in which they come.

Columns are monomials. A waiting equation owns one, its pivot, which is taken out of all other rows
(Gauss-Jordan in integers, as equations come). The work on each equation is bounded, so large
entangled systems are reduced less, never wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import gcd
from typing import Final

from assembler.facts.types.linear import has_unknown
from assembler_schemas.dim import Dim, DimLimit, Monomial, Poly, combine, exact_divide, variables

MAX_EQUATION: Final = 64
"""An equation of more terms is refused: entangled on purpose, or past what a message can show."""
MAX_ROW: Final = 16
"""Rows are not reduced where that would make them longer than this."""
MAX_FACTOR: Final = 2**31
"""Nor where a coefficient would: what is solved from such rows soon outgrows 64 bits."""
MAX_STEPS: Final = 8
"""Rows that one equation is reduced by, and rows that it reduces, each time it begins to wait."""
MAX_REWRITES: Final = 8
"""How often others may rewrite one equation: this makes an end certain."""


class Equation:
    """`left` = `right`. `rest` is what must come to zero; None before it has waited."""

    __slots__ = ("heard", "left", "pivot", "rest", "rewrites", "right", "tag", "waits")

    def __init__(self, left: Dim, right: Dim, tag: object) -> None:
        self.left = left
        self.right = right
        self.tag = tag
        self.rest: Dim | None = None
        self.waits = False
        self.pivot: Monomial | None = None
        """The column that it owns while it waits; None where others own all of its columns."""
        self.heard: set[str] = set()
        """The unknowns that it is listed under."""
        self.rewrites = 0


class Waiting:
    """The suspended equations."""

    def __init__(self) -> None:
        self._under: dict[str, list[Equation]] = {}
        self._rows: dict[Poly, Equation] = {}
        self._pivots: dict[Monomial, Equation] = {}

    def __iter__(self) -> Iterator[Equation]:
        """In the order in which they began to wait."""
        return iter(self._rows.values())

    def count(self, unknown: str) -> int:
        """About how many wait for it."""
        return len(self._under.get(unknown, ()))

    def wake(self, unknown: str) -> list[Equation]:
        """Those that wait for an unknown which now has a value. They wait no longer: no row may
        hold an unknown that is solved, or reducing by it would bring that back."""
        woken = [item for item in self._under.pop(unknown, ()) if item.waits]
        for item in woken:
            self.withdraw(item)
        return woken

    def withdraw(self, equation: Equation) -> None:
        """It waits no longer."""
        if equation.waits and isinstance(equation.rest, Poly):
            equation.waits = False
            del self._rows[equation.rest]
            if equation.pivot is not None:
                del self._pivots[equation.pivot]

    def reduce(self, rest: Poly) -> Dim:
        """`rest` without the columns that waiting equations own."""
        result: Dim = rest
        for _ in range(MAX_STEPS):
            if isinstance(result, int):
                break
            pivot = next((monomial for monomial in result.terms if monomial in self._pivots), None)
            shorter = None if pivot is None else _eliminated(result, self._pivots[pivot], pivot)
            if shorter is None:
                break
            result = shorter
        return result

    def value(self, dim: Poly) -> Dim:
        """`dim` as the rows determine it; itself where they do not."""
        if not any(monomial in self._pivots for monomial in dim.terms):
            return dim
        column = ("?",)
        rest = self.reduce(Poly({**dim.terms, column: -1}))
        factor = rest.terms[column] if isinstance(rest, Poly) else 0
        others = combine(((rest, 1), (Poly({column: 1}), -factor)))
        result = None if variables(others) else exact_divide(-others, factor)
        return dim if result is None else result

    def add(self, equation: Equation, rest: Poly) -> list[Equation]:
        """`rest` = 0 waits. Returns the equations that it rewrites; those wait no longer."""
        equation.rest = rest
        if rest in self._rows or -rest in self._rows:
            return []
        columns = [monomial for monomial in rest.terms if has_unknown(monomial) and monomial not in self._pivots]
        equation.pivot = min(columns, key=lambda monomial: self._cost(monomial, rest.terms[monomial]), default=None)
        equation.waits = True
        self._rows[rest] = equation
        rewritten: list[Equation] = []
        if equation.pivot is not None:
            self._pivots[equation.pivot] = equation
            rewritten = self._rewrite(equation, equation.pivot)
        for text in sorted(variables(rest) - equation.heard):
            equation.heard.add(text)
            self._under.setdefault(text, []).append(equation)
        return rewritten

    def _cost(self, monomial: Monomial, factor: int) -> tuple[bool, int, int]:
        """The best pivot costs least: products first, so that what they leave is linear; then what
        stands in few rows; then small factors."""
        lone = len(monomial) == 1 and isinstance(monomial[0], str)
        return lone, min(self.count(text) for text in variables(Poly({monomial: 1}))), abs(factor)

    def _rewrite(self, owner: Equation, pivot: Monomial) -> list[Equation]:
        found: list[Equation] = []
        unknown = min(variables(Poly({pivot: 1})), key=lambda text: (self.count(text), text))
        for other in list(islice(self._under.get(unknown, ()), MAX_STEPS)):
            if other is owner or not other.waits or not isinstance(other.rest, Poly) or pivot not in other.rest.terms:
                continue
            shorter = _eliminated(other.rest, owner, pivot) if other.rewrites < MAX_REWRITES else None
            if shorter is not None:
                self.withdraw(other)
                other.rest = shorter
                other.rewrites += 1
                found.append(other)
        return found


def _eliminated(rest: Poly, owner: Equation, pivot: Monomial) -> Dim | None:
    """`rest` minus as much of `owner`'s row as takes `pivot` away; None where that grows too large."""
    row = owner.rest
    if not isinstance(row, Poly):
        return None
    a, b = rest.terms[pivot], row.terms[pivot]
    common = gcd(a, b)
    try:
        result = combine(((rest, b // common), (row, -a // common)))
    except DimLimit:
        return None
    if isinstance(result, int):
        return result
    short = len(result.terms) <= max(MAX_ROW, len(rest.terms))
    small = all(abs(factor) <= MAX_FACTOR for monomial, factor in result.terms.items() if monomial)
    return result if short and small else None
