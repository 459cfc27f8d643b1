"""Which unknown size is what: linear equations over sizes, everything else waits.

Unknowns are names that start with `?`; all other names are rigid. Every size is at least 1.
An equation is solved for an unknown as soon as that has one answer; until then it is suspended
(`waiting`) and looked at again when one of its unknowns is bound. So what is determined does not
depend on the order of the equations, but for which of two equal unknowns stands for both.

Incomplete on purpose: unknowns inside floors, what follows from "every size is at least 1" for
several equations together, and large entangled systems. What is concluded is always true.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from assembler.facts.types.linear import (
    BELOW_ONE,
    TOO_COMPLEX,
    TOO_LARGE,
    UNEQUAL,
    Impossible,
    never_zero,
    occurrences,
    quotient,
    quotient_of_names,
    simplified,
)
from assembler.facts.types.waiting import MAX_EQUATION, Equation, Waiting
from assembler_schemas.dim import (
    MAX_PRODUCT,
    Atom,
    Dim,
    DimLimit,
    Poly,
    atoms,
    combine,
    exact_divide,
    floor_divide,
    lower_bound,
    name,
    names,
    substitute,
    variables,
)

MAX_TRIED: Final = 8
"""Unknowns with a factor of several terms that we try to solve one equation for."""


class Clash(NamedTuple):
    """Two sizes that cannot be equal, and which reason of `linear` that has. They are as they were
    given: `Unifier.resolve` says what they are."""

    left: Dim
    right: Dim
    tag: object
    reason: str


class Suspended(NamedTuple):
    """Two sizes that must be equal, with more unknowns than that determines."""

    left: Dim
    right: Dim
    tag: object


class Demand(NamedTuple):
    """What run-time sizes must keep: `left` is a "multiple_of" / "at_most" `right`."""

    relation: str
    left: Dim
    right: Dim
    tag: object


class Unifier:
    """A growing set of equations between sizes, and what follows from them."""

    def __init__(self) -> None:
        self.conflicts: list[Clash] = []
        self._values: dict[str, Dim] = {}
        """Unknown -> value, which may hold unknowns that were bound later."""
        self._tags: dict[str, object] = {}
        self._seen: dict[str, int] = {}
        """Unknown -> when it was first seen."""
        self._hinted: set[str] = set()
        self._waiting = Waiting()
        self._positive: set[Dim] = set()
        self._exact: set[Atom] = set()
        """What demands have made certain: values, and floors, that are at least 1."""

    def fresh(self, hint: str = "") -> Poly:
        """A new unknown. Of two that turn out equal, one with a hint stands for both."""
        text = f"?{hint}"
        if not hint or text in self._seen:
            text = f"{text}'{len(self._seen)}"
        self._seen[text] = len(self._seen)
        if hint:
            self._hinted.add(text)
        return name(text)

    @property
    def suspended(self) -> list[Suspended]:
        """The equations that still wait, in the order in which they began to."""
        return [Suspended(item.left, item.right, item.tag) for item in self._waiting]

    # --- saying ---
    def equal(self, left: Dim, right: Dim, tag: object = None) -> bool:
        """Both are one size. False where that, or what now follows from it, is impossible; then
        `conflicts` says which equation broke and why."""
        if left == right:
            return True
        return self._run([Equation(left, right, tag)])

    def product(self, whole: Dim, a: Dim, b: Dim, tag: object = None) -> bool:
        """`whole` = `a` * `b`; waits until at most one of them is unknown."""
        try:
            right = self.resolve(a) * self.resolve(b)
        except DimLimit as error:
            self.conflicts.append(Clash(whole, a, tag, error.reason))
            return False
        return self.equal(whole, right, tag)

    def divide(self, a: Dim, b: Dim, tag: object = None) -> Dim:
        """`a` / `b`, without a remainder: the quotient, or an unknown `q` with `a` = `b` * `q`."""
        a, b = self.resolve(a), self.resolve(b)
        quotient = exact_divide(a, b)
        if quotient is not None:
            return quotient
        unknown = self.fresh()
        self.product(a, b, unknown, tag)
        return self.resolve(unknown)

    def bind(self, variable: Poly | str, value: Dim, tag: object = None) -> bool:
        """`variable`, an unknown alone, is `value` (it gives way, not `value`'s unknowns)."""
        text = variable if isinstance(variable, str) else next(iter(variable.names))
        value = self.resolve(value)
        if text in self._values or text in names(value) or self._impossible(value):
            return self.equal(name(text), value, tag)
        return self._run(self._bind(text, value, tag))

    # --- asking ---
    def resolve(self, dim: Dim) -> Dim:
        """`dim` with everything put in that is known of its unknowns.

        What grows past all bounds is a conflict, and stays as it is.
        """
        result = self._expanded(dim)
        return result if isinstance(result, int) else self._waiting.value(result)

    def _expanded(self, dim: Dim) -> Dim:
        """With the values of its unknowns put in. Values on the way are shortened, so that long
        chains are walked once."""
        stack = self._bound(dim)
        if not stack:
            return dim
        while stack:
            text = stack[-1]
            inner = self._bound(self._values.get(text, 0))
            todo = [one for one in inner if self._bound(self._values[one])]
            if todo:
                stack.extend(todo)
                continue
            stack.pop()
            if inner:
                self._shorten(text)
        try:
            return substitute(dim, self._values)
        except DimLimit as error:
            self.conflicts.append(Clash(dim, dim, None, error.reason))
            return dim

    def _bound(self, dim: Dim) -> list[str]:
        """Unknowns of `dim` that have a value."""
        if isinstance(dim, int):
            return []
        return [text for text in sorted(dim.names) if text in self._values]

    def _shorten(self, text: str) -> None:
        value = self._values[text]
        try:
            short = substitute(value, self._values)
            if isinstance(short, int) and short > MAX_PRODUCT:
                raise DimLimit(TOO_LARGE)
        except DimLimit as error:
            # Free again, so that nothing that uses it grows further.
            del self._values[text]
            self.conflicts.append(Clash(name(text), value, self._tags.pop(text), error.reason))
        else:
            self._values[text] = short

    # --- solving ---
    def _run(self, todo: Iterable[Equation]) -> bool:
        before = len(self.conflicts)
        queue = deque(todo)
        while queue:
            equation = queue.popleft()
            try:
                queue.extend(self._settle(equation))
            except Impossible as error:
                self.conflicts.append(Clash(equation.left, equation.right, equation.tag, error.reason))
            except DimLimit as error:
                self.conflicts.append(Clash(equation.left, equation.right, equation.tag, error.reason))
        return len(self.conflicts) == before

    def _settle(self, equation: Equation) -> list[Equation]:
        """Solve one equation, or suspend it. Returns those that are to be looked at again."""
        self._waiting.withdraw(equation)
        # What other rows have taken out of it since must not come back: they rely on it.
        start = equation.rest
        if start is None:
            start = combine(((self._expanded(equation.left), 1), (self._expanded(equation.right), -1)))
        rest = _checked(self._expanded(start))
        answer = self._solved(rest) if rest is not None else None
        if rest is not None and answer is None:
            rest = _checked(self._waiting.reduce(rest))
            answer = self._solved(rest) if rest is not None else None
        if rest is None:
            return []
        if answer is None:
            return self._waiting.add(equation, rest)
        unknown, value = answer
        if self._impossible(value):
            raise Impossible(BELOW_ONE)
        return self._bind(unknown, value, equation.tag)

    @staticmethod
    def _impossible(value: Dim) -> bool:
        """Whether it can be no size, whatever its names stand for."""
        most = lower_bound(-value)
        return most is not None and most >= 0

    def _bind(self, text: str, value: Dim, tag: object) -> list[Equation]:
        """Returns the equations that waited for it."""
        self._values[text] = value
        self._tags[text] = tag
        return self._waiting.wake(text)

    def _solved(self, rest: Poly) -> tuple[str, Dim] | None:
        """An unknown of `rest` = 0 that has one answer, and that answer."""
        count: dict[str, int] = {}
        for monomial in rest.terms:
            for text in occurrences(monomial):
                count[text] = count.get(text, 0) + 1
        alone = [
            monomial[0]
            for monomial, factor in rest.terms.items()
            if len(monomial) == 1 and abs(factor) == 1 and isinstance(monomial[0], str)
        ]
        free = [text for text in alone if text[0] == "?" and count[text] == 1]
        if free:
            unknown = min(free, key=self._gives_way)
            factor = rest.terms[unknown,]
            return unknown, combine(((rest, -factor), (name(unknown), 1)))
        for unknown in sorted(sorted(variables(rest)), key=self._gives_way)[:MAX_TRIED]:
            value = quotient(rest, unknown)
            if value is not None:
                return unknown, value
        return None

    def _gives_way(self, text: str) -> tuple[bool, int, int]:
        """The unknown to eliminate is the least: first those without a hint, then those that few
        equations wait for (or merging would be quadratic), then the newest."""
        first = self._seen.setdefault(text, len(self._seen))
        return text in self._hinted, self._waiting.count(text), -first

    # --- the end ---
    def demands(self) -> list[Demand]:
        """Close what only run-time sizes hold open: `2*?h = seq` makes `?h` floor(seq / 2) and
        demands that seq is a multiple of 2. Then every range that a solved size needs.

        To be called once all equations are said; what is suspended afterwards is undetermined.
        """
        found: list[Demand] = []
        queue = deque(self._waiting)
        while queue:
            equation = queue.popleft()
            parts = quotient_of_names(equation.rest) if equation.waits and isinstance(equation.rest, Poly) else None
            if parts is None:
                continue
            unknown, whole, divisor = parts
            found.append(Demand("multiple_of", whole, divisor, equation.tag))
            # The demand takes the place of the equation itself.
            self._waiting.withdraw(equation)
            value = floor_divide(whole, divisor)
            if self._least(whole) >= 1:
                self._positive.add(value)
                self._exact |= {atom for atom in atoms(value) if value == Poly({(atom,): 1})}
            woken = self._bind(unknown, value, equation.tag)
            self._run(woken)
            queue.extend(woken)
        return found + self._ranges()

    def _ranges(self) -> list[Demand]:
        found: dict[Dim, Demand] = {}
        for text in list(self._values):
            value = self.resolve(name(text))
            if not variables(value) and value not in self._positive and self._least(value) < 1:
                found.setdefault(value, Demand("at_most", 1, value, self._tags.get(text)))
        return list(found.values())

    def _least(self, value: Dim) -> int:
        """A lower bound of `value` that knows which floors a demand made at least 1; 0 for none."""
        if isinstance(value, int):
            return value
        plain = combine(
            (Poly({tuple("_" if atom in self._exact else atom for atom in monomial): 1}) if monomial else 1, factor)
            for monomial, factor in value.terms.items()
        )
        return lower_bound(plain) or 0


def _checked(rest: Dim) -> Poly | None:
    """`rest` = 0 in its simplest form; None where that says nothing. Raises `Impossible`."""
    if isinstance(rest, int):
        if rest:
            raise Impossible(UNEQUAL)
        return None
    if len(rest.terms) > MAX_EQUATION:
        raise Impossible(TOO_COMPLEX)
    rest = simplified(rest)
    if never_zero(rest):
        raise Impossible(BELOW_ONE)
    return rest
