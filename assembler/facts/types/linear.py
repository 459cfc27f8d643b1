"""One equation `rest` = 0 between sizes, each at least 1: whether it can hold, and for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import gcd
from typing import Final

from assembler_schemas.dim import Atom, Dim, Monomial, Poly, combine, exact_divide, lower_bound, variables

UNEQUAL: Final = "unequal"
NO_INTEGER: Final = "no integer solution"
BELOW_ONE: Final = "a size would be below 1"
RIGID: Final = "rigid"
TOO_COMPLEX: Final = "too complex"
TOO_LARGE: Final = "too large"


class Impossible(Exception):
    """No sizes solve an equation."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def occurrences(monomial: Monomial) -> Iterable[str]:
    """The names in it, once for every time, also inside floors."""
    for atom in monomial:
        if isinstance(atom, str):
            yield atom
        else:
            yield from atom.argument.names


def has_unknown(monomial: Monomial) -> bool:
    """Whether an unknown stands in it, also inside floors."""
    return any(text[0] == "?" for text in occurrences(monomial))


def simplified(rest: Poly) -> Poly:
    """`rest` = 0 without the factors that every term has; names are at least 1, so never zero.

    Raises `Impossible` where no integers solve it.
    """
    monomials = iter(rest.terms)
    common: Counter[Atom] = Counter(atom for atom in next(monomials) if isinstance(atom, str))
    for monomial in monomials:
        common &= Counter(monomial)
    shared = tuple(common.elements())
    result = exact_divide(rest, Poly({shared: 1})) if shared else rest
    if not isinstance(result, Poly):
        raise Impossible(BELOW_ONE)
    if not variables(result):
        raise Impossible(RIGID)
    constant = result.terms.get((), 0)
    divisor = gcd(*(factor for monomial, factor in result.terms.items() if monomial))
    if constant % divisor:
        raise Impossible(NO_INTEGER)
    return Poly({monomial: factor // divisor for monomial, factor in result.terms.items()})


def never_zero(rest: Poly) -> bool:
    """Whether it is above or below zero whatever its names stand for."""
    low, high = lower_bound(rest), lower_bound(-rest)
    return (low is not None and low > 0) or (high is not None and high > 0)


def quotient(rest: Poly, unknown: str) -> Dim | None:
    """`unknown` from factor * unknown + others = 0, where the division is exact and the factor
    is never zero; else None."""
    factor: dict[Monomial, int] = {}
    others: dict[Monomial, int] = {}
    for monomial, value in rest.terms.items():
        times = sum(text == unknown for text in occurrences(monomial))
        if times > 1 or (times and unknown not in monomial):
            return None
        if times:
            index = monomial.index(unknown)
            factor[monomial[:index] + monomial[index + 1 :]] = value
        else:
            others[monomial] = value
    by = _sum(factor)
    if isinstance(by, int) or never_zero(by):
        return exact_divide(-_sum(others), by)
    return None


def quotient_of_names(rest: Poly) -> tuple[str, Dim, int] | None:
    """The unknown, the whole and the divisor, where `rest` = 0 says unknown = whole / divisor and
    nothing else in it is unknown."""
    unknowns = variables(rest)
    if len(unknowns) != 1:
        return None
    (unknown,) = unknowns
    divisor = rest.terms.get((unknown,), 0)
    whole = combine(((Poly({(unknown,): 1}), divisor), (rest, -1)))
    if not divisor or variables(whole):
        return None
    return (unknown, whole, divisor) if divisor > 0 else (unknown, -whole, -divisor)


def _sum(terms: dict[Monomial, int]) -> Dim:
    return combine((Poly({monomial: 1}) if monomial else 1, factor) for monomial, factor in terms.items())
