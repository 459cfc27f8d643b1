"""Sizes: an integer, or a polynomial over names, kept in one normal form.

What lives here is arithmetic only. How sizes are spelled is in `expression`, what a port
holds in `shape`, which unknown equals what in `assembler.facts.types.unify`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import gcd
from typing import Any

MAX_SIZE = 2**31 - 1
"""The largest size of one axis."""
MAX_PRODUCT = 2**63 - 1
"""The largest coefficient or intermediate value."""
MAX_TERMS = 256
"""More terms than this are refused: no port means them, and they make every step slow."""
MAX_FLOOR_DEPTH = 16


_set = object.__setattr__


class DimLimit(ArithmeticError):
    """A size grew beyond what we compute with. `reason` is "too complex" or "too large"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Floor:
    """The atom `floor(argument / divisor)`. Made by `floor_divide` only, which keeps it canonical."""

    __slots__ = ("_hash", "argument", "depth", "divisor", "size", "text")

    argument: Poly
    divisor: int
    depth: int
    size: int
    text: str
    _hash: int

    def __init__(self, argument: Poly, divisor: int) -> None:
        floors = [atom for monomial in argument.terms for atom in monomial if isinstance(atom, Floor)]
        depth = 1 + max((floor.depth for floor in floors), default=0)
        size = len(argument.terms) + sum(floor.size for floor in floors)
        if depth > MAX_FLOOR_DEPTH or size > MAX_TERMS or divisor > MAX_PRODUCT:
            raise DimLimit("too complex")
        inner = show(argument)
        if len(argument.terms) > 1:
            inner = f"({inner})"
        values = (argument, divisor, depth, size, f"floor({inner} / {divisor})", hash((argument, divisor)))
        for slot, value in zip(("argument", "divisor", "depth", "size", "text", "_hash"), values, strict=True):
            _set(self, slot, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Floor never changes")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Floor):
            return NotImplemented
        return self._hash == other._hash and self.divisor == other.divisor and self.argument == other.argument

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return Floor, (self.argument, self.divisor)

    def __repr__(self) -> str:
        return self.text


Atom = str | Floor
Monomial = tuple[Atom, ...]
"""Atoms in order, repeated for powers; `()` is the constant."""


class Poly:
    """A polynomial that is not a constant: monomial -> coefficient, none of them zero.

    Equal polynomials are `==`, whatever way they were made. `+ - *` take and give `Dim`s; a result
    that is constant is an `int`. Raises `DimLimit` where a result is too large to be of use.
    """

    __slots__ = ("_hash", "_names", "terms")

    terms: Mapping[Monomial, int]
    _hash: int
    _names: frozenset[str] | None

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        """Trusts `terms`; everybody else calls `name` and computes."""
        _set(self, "terms", terms)
        _set(self, "_hash", hash(frozenset(terms.items())))
        _set(self, "_names", None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Poly never changes")

    def __reduce__(self) -> tuple[Any, ...]:
        return Poly, (dict(self.terms),)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Poly):
            return False
        return self._hash == other._hash and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Poly({show(self)})"

    @property
    def names(self) -> frozenset[str]:
        """Every name in it, also inside floors."""
        known = self._names
        if known is None:
            known = _names_of(self)
            _set(self, "_names", known)
        return known

    def __add__(self, other: Dim) -> Dim:
        return combine(((self, 1), (other, 1)))

    __radd__ = __add__

    def __sub__(self, other: Dim) -> Dim:
        return combine(((self, 1), (other, -1)))

    def __rsub__(self, other: int) -> Dim:
        return combine(((other, 1), (self, -1)))

    def __neg__(self) -> Poly:
        return Poly({monomial: -factor for monomial, factor in self.terms.items()})

    def __mul__(self, other: Dim) -> Dim:
        if isinstance(other, int):
            return combine(((self, other),))
        total: dict[Monomial, int] = {}
        for left, a in self.terms.items():
            for right, b in other.terms.items():
                monomial = _sorted(left + right)
                total[monomial] = total.get(monomial, 0) + a * b
            if len(total) > 4 * MAX_TERMS:
                raise DimLimit("too complex")
        return _dim(total)

    __rmul__ = __mul__


Dim = int | Poly


def name(text: str) -> Poly:
    """The size called `text`: a run-time size, or (`?...`) an unknown of the solver."""
    return Poly({(text,): 1})


def _atom_key(atom: Atom) -> tuple[bool, str]:
    return (False, atom) if isinstance(atom, str) else (True, atom.text)


def _sorted(atoms: Monomial) -> Monomial:
    return tuple(sorted(atoms, key=_atom_key)) if len(atoms) > 1 else atoms


def _dim(terms: dict[Monomial, int]) -> Dim:
    """Normal form of a sum of terms. Takes `terms` over."""
    if 0 in terms.values():
        terms = {monomial: factor for monomial, factor in terms.items() if factor}
    if not terms:
        return 0
    if len(terms) == 1 and () in terms:
        return terms[()]
    if len(terms) > MAX_TERMS:
        raise DimLimit("too complex")
    if max(terms.values()) > MAX_PRODUCT or min(terms.values()) < -MAX_PRODUCT:
        raise DimLimit("too large")
    return Poly(terms)


def combine(parts: Iterable[tuple[Dim, int]]) -> Dim:
    """The sum of `dim * factor` over `parts`, in one pass."""
    total: dict[Monomial, int] = {}
    for dim, factor in parts:
        if isinstance(dim, int):
            total[()] = total.get((), 0) + dim * factor
        else:
            for monomial, value in dim.terms.items():
                total[monomial] = total.get(monomial, 0) + value * factor
    return _dim(total)


def exact_divide(a: Dim, b: Dim) -> Dim | None:
    """`a / b` where `b` divides `a` whatever the names stand for; else None (also for `b` = 0)."""
    if isinstance(b, int):
        if b == 0:
            return None
        if isinstance(a, int):
            return None if a % b else a // b
        if any(factor % b for factor in a.terms.values()):
            return None
        return Poly({monomial: factor // b for monomial, factor in a.terms.items()})
    if isinstance(a, int):
        return None if a else 0
    return _long_division(a, b)


def _long_division(a: Poly, b: Poly) -> Dim | None:
    lead, factor = max(b.terms.items(), key=_rank)
    quotient: dict[Monomial, int] = {}
    rest: Dim = a
    while isinstance(rest, Poly):
        monomial, value = max(rest.terms.items(), key=_rank)
        left = _without(monomial, lead)
        if left is None or value % factor or len(quotient) > MAX_TERMS:
            return None
        quotient[left] = value // factor
        rest = rest - _dim({left: value // factor}) * b
    return _dim(quotient) if rest == 0 else None


def _rank(term: tuple[Monomial, int]) -> tuple[int, list[tuple[bool, str]]]:
    """An order of monomials that multiplication keeps (degree, then lexicographic), so that each
    step of a division takes the leading term away."""
    return len(term[0]), [_atom_key(atom) for atom in term[0]]


def _without(monomial: Monomial, part: Monomial) -> Monomial | None:
    rest = list(monomial)
    for atom in part:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def floor_divide(a: Dim, k: int) -> Dim:
    """`floor(a / k)`, `k` > 0, canonical.

    Whole multiples of `k` leave the floor (so what stays has coefficients in 0..k-1), common
    factors are cancelled, a floor inside is merged: floor((floor(x / m) + y) / k) is
    floor((x + m*y) / (m*k)).
    """
    if k < 1:
        raise ValueError("the divisor of a floor is at least 1")
    outside: Dim = 0
    while isinstance(a, Poly):
        whole = _dim({monomial: factor // k for monomial, factor in a.terms.items()})
        inside = {monomial: factor % k for monomial, factor in a.terms.items() if factor % k}
        constant = inside.pop((), 0)
        outside = outside + whole
        if not inside:
            return outside
        common = gcd(k, *inside.values())
        inside = {monomial: factor // common for monomial, factor in inside.items()}
        k //= common
        if constant // common:
            inside[()] = constant // common
        nested = min((m[0] for m, f in inside.items() if _lone_floor(m, f)), key=_atom_key, default=None)
        if not isinstance(nested, Floor):
            return outside + Poly({(Floor(Poly(inside), k),): 1})
        del inside[(nested,)]
        a = nested.argument + _dim(inside) * nested.divisor
        k *= nested.divisor
    return outside + a // k


def _lone_floor(monomial: Monomial, factor: int) -> bool:
    return factor == 1 and len(monomial) == 1 and isinstance(monomial[0], Floor)


def window(size: Dim, kernel: Dim, stride: int, padding: Dim = 0, dilation: Dim = 1) -> Dim:
    """How many places a window of `kernel` takes along `size` (convolution, pooling)."""
    return floor_divide(size + 2 * padding - dilation * (kernel - 1) - 1, stride) + 1


def atoms(dim: Dim) -> frozenset[Atom]:
    """The atoms of `dim` itself; what is inside a floor is not listed."""
    return frozenset(atom for monomial in dim.terms for atom in monomial) if isinstance(dim, Poly) else frozenset()


def _names_of(poly: Poly) -> frozenset[str]:
    found: set[str] = set()
    for monomial in poly.terms:
        for atom in monomial:
            if isinstance(atom, str):
                found.add(atom)
            else:
                found |= atom.argument.names
    return frozenset(found)


_NONE: frozenset[str] = frozenset()


def names(dim: Dim) -> frozenset[str]:
    """Every name in `dim`, also inside floors, unknowns included."""
    return dim.names if isinstance(dim, Poly) else _NONE


def variables(dim: Dim) -> frozenset[str]:
    """The solver's unknowns (`?...`) in `dim`, also inside floors."""
    return frozenset(text for text in dim.names if text[0] == "?") if isinstance(dim, Poly) else _NONE


def substitute(dim: Dim, values: Mapping[str, Dim]) -> Dim:
    """`dim` with names replaced, all at once. Names without a value stay."""
    if isinstance(dim, int) or not any(text in values for text in dim.names):
        return dim
    parts: list[tuple[Dim, int]] = []
    for monomial, factor in dim.terms.items():
        product: Dim = 1
        for atom in monomial:
            if isinstance(atom, str):
                product = product * (values[atom] if atom in values else name(atom))
            else:
                # The depth of floors is bounded by MAX_FLOOR_DEPTH.
                product = product * floor_divide(substitute(atom.argument, values), atom.divisor)
        parts.append((product, factor))
    return combine(parts)


def evaluate(dim: Dim, values: Mapping[str, int]) -> int:
    """The number that `dim` is. Raises `KeyError` for a name without a value."""
    if isinstance(dim, int):
        return dim
    total = 0
    for monomial, factor in dim.terms.items():
        for atom in monomial:
            factor *= values[atom] if isinstance(atom, str) else evaluate(atom.argument, values) // atom.divisor
        total += factor
    return total


def show(dim: Dim) -> str:
    """As recipes and cards spell it: `2*d + 1`, `h*w`, `floor((h + 1) / 2)`."""
    if isinstance(dim, int):
        return str(dim)
    text = ""
    for monomial, factor in sorted(dim.terms.items(), key=_reading_order):
        words = [atom if isinstance(atom, str) else atom.text for atom in monomial]
        if abs(factor) != 1 or not words:
            words.insert(0, str(abs(factor)))
        sign = ("-" if factor < 0 else "") if not text else (" - " if factor < 0 else " + ")
        text += sign + "*".join(words)
    return text


def _reading_order(term: tuple[Monomial, int]) -> tuple[bool, int, list[tuple[bool, str]]]:
    return term[1] < 0, -len(term[0]), [_atom_key(atom) for atom in term[0]]


def lower_bound(dim: Dim) -> int | None:
    """A value that `dim` is never below while every name is at least 1; None where none is known."""
    if isinstance(dim, int):
        return dim
    total = 0
    for monomial, factor in dim.terms.items():
        if monomial and factor < 0:
            return None
        least = factor
        for atom in monomial:
            if not isinstance(atom, str):
                # Nothing inside a canonical floor is negative, so its bound is known.
                least *= (lower_bound(atom.argument) or 0) // atom.divisor
        total += least
    return total
