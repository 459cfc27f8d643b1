"""Symbolic sizes of the generator: polynomials over run-time names, written from scratch.

Nothing of the checker is used here: a shared mistake in arithmetic would hide itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Floor(NamedTuple):
    """`floor(value / divisor)`, where the division leaves a remainder that depends on a name."""

    value: Size
    divisor: int


Atom = str | Floor
Monomial = tuple[Atom, ...]


class Size(NamedTuple):
    """A sum of `coefficient * product of atoms`, in one fixed order, so that equal sizes compare equal."""

    terms: tuple[tuple[Monomial, int], ...]

    @property
    def number(self) -> int | None:
        """Its value if it holds no name."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @property
    def text(self) -> str:
        """As a port type spells it. ValueError if it holds a floor, which no recipe can write."""
        parts = []
        for atoms, factor in self.terms:
            if any(isinstance(atom, Floor) for atom in atoms):
                raise ValueError("a floor has no spelling in a recipe")
            names = "*".join(map(str, atoms))
            parts.append(str(factor) if not atoms else names if factor == 1 else f"{factor}*{names}")
        return "+".join(parts).replace("+-", "-") or "0"

    @property
    def names(self) -> frozenset[str]:
        found: set[str] = set()
        todo = [atom for atoms, _ in self.terms for atom in atoms]
        while todo:
            atom = todo.pop()
            if isinstance(atom, Floor):
                todo.extend(inner for atoms, _ in atom.value.terms for inner in atoms)
            else:
                found.add(atom)
        return frozenset(found)

    @property
    def spelled(self) -> bool:
        """Whether a port type could state it."""
        return not any(isinstance(atom, Floor) for atoms, _ in self.terms for atom in atoms)


def _order(term: tuple[Monomial, int]) -> tuple[int, str]:
    return (-len(term[0]), repr(term[0]))


def _make(terms: Mapping[Monomial, int]) -> Size:
    return Size(tuple(sorted(((atoms, factor) for atoms, factor in terms.items() if factor), key=_order)))


def size(value: int | str | Size) -> Size:
    if isinstance(value, Size):
        return value
    return _make({(): value}) if isinstance(value, int) else _make({(value,): 1})


def plus(one: Size, two: int | Size) -> Size:
    terms = dict(one.terms)
    for atoms, factor in size(two).terms:
        terms[atoms] = terms.get(atoms, 0) + factor
    return _make(terms)


def times(one: Size, two: int | Size) -> Size:
    terms: dict[Monomial, int] = {}
    for left, a in one.terms:
        for right, b in size(two).terms:
            atoms = tuple(sorted((*left, *right), key=repr))
            terms[atoms] = terms.get(atoms, 0) + a * b
    return _make(terms)


def exact(value: Size, divisor: int) -> Size | None:
    """value / divisor if every coefficient divides; None otherwise."""
    if any(factor % divisor for _, factor in value.terms):
        return None
    return _make({atoms: factor // divisor for atoms, factor in value.terms})


def floor(value: Size, divisor: int) -> Size:
    """floor(value / divisor); exact parts leave the floor, `floor((4h+3)/2)` is `2h+1`."""
    whole = {atoms: factor // divisor for atoms, factor in value.terms}
    rest = {atoms: factor % divisor for atoms, factor in value.terms if factor % divisor}
    if not any(atoms for atoms in rest):
        return _make(whole)
    left = _make(rest)
    return plus(_make(whole), _make({(Floor(left, divisor),): 1}))


def window(value: Size, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Size:
    """What a sliding window makes of an axis."""
    return plus(floor(plus(value, 2 * padding - dilation * (kernel - 1) - 1), stride), 1)


def evaluate(value: Size, sizes: Mapping[str, int]) -> int:
    total = 0
    for atoms, factor in value.terms:
        product = factor
        for atom in atoms:
            product *= evaluate(atom.value, sizes) // atom.divisor if isinstance(atom, Floor) else sizes[atom]
        total += product
    return total


def rename(value: Size, names: Mapping[str, Size]) -> Size:
    """Every name replaced; floors of what becomes divisible are worked out anew."""
    total = size(0)
    for atoms, factor in value.terms:
        product = size(factor)
        for atom in atoms:
            if isinstance(atom, Floor):
                product = times(product, floor(rename(atom.value, names), atom.divisor))
            else:
                product = times(product, names.get(atom, size(atom)))
        total = plus(total, product)
    return total
