"""What analysis Z knows of a value: which values it equals, and along which axes it is constant."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from assembler_schemas.kind import Definition, Step

Atom = Hashable
Form = frozenset[tuple[Atom, float]]
"""A sum of unknown values times numbers, in exact arithmetic. `ONE` is the number one; the empty sum is zero."""
Axes = frozenset[int]

ONE = "one"
NOTHING: Form = frozenset()
ALL: Axes = frozenset(range(-8, 0))
"""Axes are counted from the end; values with more of them are not told apart along the others."""
NO_AXES: Axes = frozenset()
MOST_TERMS = 4


class Value(NamedTuple):
    """What is known of one value."""

    bits: Atom
    """Values with one `bits` are equal bit for bit; `zero` is that of zeros."""
    math: Form
    """Values with one `math` are equal in exact arithmetic."""
    even: Axes = NO_AXES
    """Axes along which all its elements are equal, those of length one included."""
    single: Axes = NO_AXES
    """Axes of length one, and axes that it does not have."""

    @property
    def zero(self) -> bool:
        return self.bits == "zero"


ZERO = Value("zero", NOTHING, ALL)


class Body(NamedTuple):
    """What rules may ask of the use whose step they judge."""

    definition: Definition
    sizes: Mapping[str, object]
    fed: Mapping[str, object]
    training: bool


def zeros(single: Axes) -> Value:
    return ZERO if not single else ZERO._replace(single=single)


def constant(number: float, single: Axes = NO_AXES, exact: bool = True, name: Atom = "") -> Value:
    """All elements are `number`; not `exact`: up to rounding."""
    if number == 0.0 and exact:
        return zeros(single)
    return Value(("constant", number) if exact else name, form({ONE: number}), ALL, single)


def form(terms: Mapping[Atom, float]) -> Form:
    """Numbers that differ by rounding are one number."""
    return frozenset([(atom, number) for atom, item in terms.items() if (number := float(f"{item:.12g}"))])


def sums(parts: Iterable[tuple[Atom, float]]) -> dict[Atom, float]:
    """The factor of each atom; what is left by rounding where all of one cancels is nothing, however small the rest is."""
    terms: dict[Atom, float] = {}
    sizes: dict[Atom, float] = {}
    for atom, item in parts:
        terms[atom] = terms.get(atom, 0.0) + item
        sizes[atom] = sizes.get(atom, 0.0) + abs(item)
    return {atom: item for atom, item in terms.items() if abs(item) > 1e-12 * sizes[atom]}


def number_of(value: Value) -> float | None:
    """The number that all elements are, up to rounding; None if they are no known number."""
    if not value.math:
        return 0.0
    if len(value.math) == 1:
        ((atom, number),) = value.math
        return number if atom == ONE else None
    return None


def total(values: Sequence[Value], scale: float, name: Atom) -> Form:
    """The sum in exact arithmetic, times `scale`; the value `name` where that has too many terms."""
    terms = sums(part for value in values for part in value.math)
    found = form({atom: item * scale for atom, item in terms.items()})
    return found if len(found) <= MOST_TERMS else frozenset({(name, 1.0)})


def power_of_two(number: float) -> bool:
    return math.frexp(abs(number))[0] == 0.5


def common(values: Sequence[Value]) -> tuple[Axes, Axes]:
    """(even, single) of what is made of `values` element by element."""
    even, single = values[0].even, values[0].single
    for value in values[1:]:
        even, single = even & value.even, single & value.single
    return even, single


# --- axes under a reshape ---
@lru_cache(maxsize=4096)
def moved(pattern: str, axes: Axes) -> Axes:
    """The axes of the result all of whose parts are parts of `axes`."""
    left, right = (_names(side) for side in pattern.split("->"))
    shift = len(left) - len(right)
    inside = {name for axis in axes if -axis <= len(left) for name in left[axis]}
    behind = {axis + shift for axis in axes if -axis > len(left)} & ALL
    if shift > 0:
        behind |= {axis for axis in range(-8, -7 + shift - 1) if -8 in axes and -axis > len(right)}
    return frozenset(behind | {place - len(right) for place, names in enumerate(right) if all(name in inside for name in names)})


def moved_sum(pattern: str, axes: Axes) -> Axes | None:
    """Where axes along which a gradient sums to zero go, backward; None if one of them is joined with others."""
    left, right = pattern.split("->")
    back = f"{right}->{left}"
    found = moved(back, axes)
    return found if moved(pattern, found) >= axes else None


def _names(side: str) -> list[tuple[str, ...]]:
    """The axes of one side without `...`: the names in each, none for an axis of one."""
    return [tuple(name for name in (group or single).split() if name != "1") for group, single in re.findall(r"\(([^)]*)\)|([A-Za-z_0-9]+)", side)]


def dropped(axes: Axes, gone: Sequence[int], keep: bool) -> Axes:
    """Axes after a reduction over `gone`; those that stay as axes of one count as even."""
    if keep:
        return axes | frozenset(gone)
    return frozenset(axis + sum(1 for item in gone if item > axis) for axis in axes if axis not in gone) & ALL


# --- functions of each element ---
_GELU = math.sqrt(2 / math.pi)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(_GELU * (x + 0.044715 * x**3))),
    "silu": lambda x: x * _sigmoid(x),
    "tanh": math.tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "hardswish": lambda x: x * min(max(x + 3, 0.0), 6.0) / 6,
    "mish": lambda x: x * math.tanh(_softplus(x)),
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
}
EXACT_AT_ZERO = frozenset(FUNCTIONS) - {"softplus"}
"""Functions whose value at zero is a number that floats hold: 0 or, for `sigmoid`, 0.5."""


def attribute(step: Step, name: str) -> str:
    """The name of a value that an attribute names, or ""."""
    found = step.attributes.get(name)
    return found if isinstance(found, str) else ""
