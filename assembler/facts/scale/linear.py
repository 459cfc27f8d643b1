"""Signal scale through products with parameters, and of matrices of values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod, sqrt
from typing import Any, NamedTuple

from assembler.facts.scale.part import Part, few, part, refined
from assembler.facts.scale.place import Run
from assembler.facts.scale.signal import Given, Signal, Unknown, Value, counted, tokens

HANIN = 5.0
"""Variance of log q for one relu layer of width 1 (Hanin and Nica 2019)."""


# --- matmul ---
class Spec(NamedTuple):
    a: str
    b: str
    out: str
    summed: str
    rest: bool
    lost: str
    """Axes of one factor alone that are summed: none of what is known here."""


@lru_cache(maxsize=256)
def _spec(text: str) -> Spec:
    left, out = text.replace(" ", "").split("->")
    a, b = left.replace("...", "").split(",")
    out = out.replace("...", "")
    lost = "".join(sorted((set(a) ^ set(b)) - set(out)))
    return Spec(a, b, out, "".join(letter for letter in a if letter in b and letter not in out), "..." in text, lost)


def matmul(run: Run, at: Mapping[str, Any], a: Value, b: Value) -> Value:
    spec = _spec(at["spec"])
    if spec.lost:
        return Unknown(f"`matmul` sums axis `{spec.lost[0]}` of one factor alone")
    if isinstance(a, Signal) and isinstance(b, Given):
        return _by_weight(run, at["spec"], True, a, b)
    if isinstance(a, Given) and isinstance(b, Signal):
        return _by_weight(run, at["spec"], False, b, a)
    sizes = _sizes(spec, a, b)
    if isinstance(a, Given) and isinstance(b, Given):
        k = prod(sizes[letter] for letter in spec.summed)
        mean = k * a.mean * b.mean
        return Given(tuple(sizes[letter] for letter in spec.out), mean, k * a.q * b.q + k * (k - 1) * (a.mean * b.mean) ** 2 - mean**2, label=run.fresh.next())
    if isinstance(a, Signal) and isinstance(b, Signal):
        return _by_value(run, spec, sizes, a, b)
    return Unknown("`matmul` of what has no moments")


def _sizes(spec: Spec, a: Any, b: Any) -> dict[str, int]:
    sizes = dict(zip(reversed(spec.a), reversed(a.shape), strict=False))
    sizes.update(zip(reversed(spec.b), reversed(b.shape), strict=False))
    return sizes


class Way(NamedTuple):
    """What the sizes of a product with a parameter say. `k`: how many products are summed; `mixes`: over tokens; `alike`:
    the parameter is the same for all tokens; `wide`: of a matrix, how many features it gives; `width`: features of one token."""

    k: int
    shape: tuple[int, ...]
    roles: str
    n: int
    mixes: bool
    alike: bool
    wide: int
    width: int


@lru_cache(maxsize=4096)
def _way(text: str, first: bool, shape: tuple[int, ...], roles: str, weight: tuple[int, ...]) -> Way:
    spec = _spec(text)
    letters, of = (spec.a, spec.b) if first else (spec.b, spec.a)
    sizes = dict(zip(reversed(letters), reversed(shape), strict=False))
    sizes.update(zip(reversed(of), reversed(weight), strict=False))
    cut = len(shape) - len(letters)
    role = dict(zip(letters, roles[cut:], strict=True))
    mixes = any(role[letter] == "t" for letter in spec.summed)
    out = (*shape[:cut], *(sizes[letter] for letter in spec.out))
    moved = roles[:cut] + "".join(role.get(letter, "t" if mixes else "f") for letter in spec.out)
    alike = not mixes and not any(role.get(letter) == "t" for letter in of)
    wide = next((sizes[letter] for letter in of if letter in spec.out), 1)
    return Way(prod(sizes[letter] for letter in spec.summed), out, moved, tokens(out, moved), mixes, alike, wide, counted(out, moved, "f"))


def _by_weight(run: Run, spec: str, first: bool, x: Signal, w: Given) -> Value:
    way = _way(spec, first, x.shape, x.roles, w.shape)
    k = way.k
    if w.eye and len(w.shape) == 2 and not way.mixes:
        return x._replace(shape=way.shape, roles=way.roles, parts=tuple(item.scaled(sqrt(min(1.0, k / way.wide))) for item in x.parts), law=None)
    label = run.fresh.next()
    if w.number in run.often and not w.mean and way.alike and not any(run.tables.get(atom, (-1,))[0] == w.number for item in x.parts for atom in item.atoms):
        parts = [seen(run, w.number, item, k * w.var) for item in x.parts]
    else:
        parts = [_row(item, k, w, label, way.alike, run.tables) for item in x.parts]
    if way.mixes or (parts[0].n if len(parts) == 1 else sum([item.n for item in parts])) != way.n:
        parts = list(refined(parts, [way.n], label))
    noise = x.noise + HANIN * x.curve / k
    if way.mixes:
        return Signal(way.shape, way.roles, tuple(parts), 0.0, noise, uneven=w.spread / k)
    lean = x.lean
    # tr (W C W')^2 of m rows of independent weights.
    narrow = min(1.0, lean + (1 + lean) / max(1, way.width))
    return Signal(way.shape, way.roles, tuple(parts), 0.0, noise, 1.0, x.ripple, uneven=w.spread / k, source=x.parts, together=lean, narrow=narrow, course=x.course, early=x.early)


def seen(run: Run, of: int | str, x: Part, gain: float, shared: float = 1.0) -> Part:
    """Through a linear map that is used elsewhere too, atom by atom: what it makes of the same atom is the same.
    `shared`: how much of an atom's correlation between tokens and samples is left."""
    atoms = {run.image(of, atom): (a * sqrt(gain), t * shared, b * shared) for atom, (a, t, b) in x.atoms.items()}
    if x.m:
        atoms[run.image(of, -1)] = (x.m * sqrt(gain), shared, shared)
    return Part(x.n, 0.0, few(atoms, run.fresh) if gain > 0 else {})


def _row(x: Part, k: int, w: Given, label: int, shared: bool, tables: Mapping[int, tuple[int, int]]) -> Part:
    """Sum over k elements of x times independent weights of mean mu: sigma^2 k q, and mu^2 times the square of the sum."""
    gain, mean = k * w.var, w.mean
    q, c, b = gain * x.q, gain * x.c * shared, gain * x.b * shared
    for atom, (a, _, _) in x.atoms.items() if tables else ():
        known = tables.get(atom)
        if known is not None and known[0] == w.number:
            q += a * a * k * k * w.var / known[1]  # a row of the table meets itself among `known[1]` rows
    if not mean:
        return part(x.n, label, q, c, b)
    own = mean * mean * k
    rest = own * (k - 1) * x.m**2
    q, c, b = q + own * x.q + rest, c + own * x.c + rest, b + own * x.b + rest
    # A mean weight gives every output the same sum: to all features of a token it is their mean.
    return part(x.n, label, q, c, b, sqrt(own * x.q + rest))


def _by_value(run: Run, spec: Spec, sizes: dict[str, int], a: Signal, b: Signal) -> Value:
    """Two values, taken as independent of one another."""
    k = prod(sizes[letter] for letter in spec.summed)
    lead = max(a.shape[: len(a.shape) - len(spec.a)], b.shape[: len(b.shape) - len(spec.b)], key=len)
    roles = dict(zip(reversed(spec.b), reversed(b.roles), strict=False)) | dict(zip(reversed(spec.a), reversed(a.roles), strict=False))
    longest = a if len(a.shape) - len(spec.a) == len(lead) else b
    result = longest.roles[: len(lead)] + "".join(roles[letter] for letter in spec.out)
    shape = (*lead, *(sizes[letter] for letter in spec.out))
    over_tokens = any(roles[letter] == "t" for letter in spec.summed)
    label = run.fresh.next()
    x, y = refined(a.parts, [a.n], label)[0], refined(b.parts, [b.n], label)[0]
    shared = x.c * y.c if over_tokens else (x.m * y.m) ** 2
    m = k * x.m * y.m
    q = k * x.q * y.q + k * (k - 1) * shared
    c = k * x.c * y.c + k * (k - 1) * shared
    return Signal(shape, result, (part(tokens(shape, result), label, q, c, k * x.b * y.b + k * (k - 1) * (x.m * y.m) ** 2, m),))


def matmul_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, a: Value, b: Value) -> tuple[Signal | None, ...]:
    return _reached(run, at["spec"], True, g, a, b), _reached(run, at["spec"], False, g, b, a)


def _reached(run: Run, spec: str, first: bool, g: Signal, x: Value, w: Value) -> Signal | None:
    if not isinstance(x, Signal):
        return None
    return _weight_back(run, spec, first, g, x, w) if isinstance(w, Given) else _value_back(run, spec, first, g, x, w)


@lru_cache(maxsize=4096)
def _way_back(text: str, first: bool, shape: tuple[int, ...], roles: str, weight: tuple[int, ...]) -> tuple[int, bool, int]:
    """How many products reach an element; whether the parameter is the same for all tokens; of a matrix, how many features it reads."""
    spec = _spec(text)
    letters, of = (spec.a, spec.b) if first else (spec.b, spec.a)
    sizes = dict(zip(reversed(letters), reversed(shape), strict=False))
    sizes.update(zip(reversed(of), reversed(weight), strict=False))
    role = dict(zip(letters, roles[len(shape) - len(letters) :], strict=True))
    k = prod(sizes[letter] for letter in of if letter in spec.out and letter not in letters)
    return k, not any(role.get(letter) == "t" for letter in of), next((sizes[letter] for letter in of if letter in letters), 1)


def _weight_back(run: Run, spec: str, first: bool, g: Signal, x: Signal, w: Given) -> Signal:
    k, alike, inside = _way_back(spec, first, x.shape, x.roles, w.shape)
    label = run.fresh.next()
    gain = min(1.0, k / inside) if w.eye and len(w.shape) == 2 else k * w.q
    cut = g.parts if len(g.parts) == len(x.parts) == 1 and g.parts[0].n == x.parts[0].n else refined(g.parts, [item.n for item in x.parts], label)
    if alike and w.number in run.often:
        return x.reached(g, [seen(run, -1 - w.number, item, gain) for item in cut])
    return x.reached(g, [part(item.n, label, gain * item.q, gain * item.c * alike) for item in cut])


def _value_back(run: Run, text: str, first: bool, g: Signal, x: Signal, w: Value) -> Signal | None:
    spec = _spec(text)
    letters, of = (spec.a, spec.b) if first else (spec.b, spec.a)
    if not isinstance(w, Signal):
        return None
    sizes = _sizes(spec, *((x, w) if first else (w, x)))
    k = prod(sizes[letter] for letter in of if letter in spec.out and letter not in letters)
    label = run.fresh.next()
    item, y = refined(g.parts, [g.n], label)[0], refined(w.parts, [w.n], label)[0]
    over_tokens = any(letter in of and letter not in letters and role == "t" for letter, role in zip(spec.out, g.roles[len(g.roles) - len(spec.out) :], strict=True))
    q = k * item.q * y.q + (k * (k - 1) * item.c * y.c if over_tokens else 0.0)
    return x.even(g, part(x.n, label, q, 0.0), label)
