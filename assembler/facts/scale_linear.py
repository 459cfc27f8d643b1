"""Signal scale through what is linear: products with parameters, sums, convolutions, tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod, sqrt
from typing import Any, NamedTuple

from assembler.facts.scale_place import Run, broadcast, fit, shapes_of, signal_of
from assembler.facts.scale_signal import (
    Given,
    Part,
    Signal,
    Unknown,
    Value,
    common,
    few,
    part,
    refined,
    sum_of,
    tokens,
)

HANIN = 5.0
"""Variance of log q for one relu layer of width 1 (Hanin and Nica 2019)."""


# --- matmul ---
class Spec(NamedTuple):
    a: str
    b: str
    out: str
    summed: str
    rest: bool


@lru_cache(maxsize=256)
def _spec(text: str) -> Spec:
    left, out = text.replace(" ", "").split("->")
    a, b = left.replace("...", "").split(",")
    out = out.replace("...", "")
    return Spec(a, b, out, "".join(letter for letter in a if letter in b and letter not in out), "..." in text)


def matmul(run: Run, at: Mapping[str, Any], a: Value, b: Value) -> Value:
    spec = _spec(at["spec"])
    lost = (set(spec.a) ^ set(spec.b)) - set(spec.out)
    if lost:
        return Unknown(f"`matmul` sums axis `{min(lost)}` of one factor alone")
    if isinstance(a, Signal) and isinstance(b, Given):
        return _by_weight(run, spec, spec.a, a, spec.b, b)
    if isinstance(a, Given) and isinstance(b, Signal):
        return _by_weight(run, spec, spec.b, b, spec.a, a)
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


def _by_weight(run: Run, spec: Spec, letters: str, x: Signal, of: str, w: Given) -> Value:
    sizes = _sizes(Spec(letters, of, "", "", False), x, w)
    k = prod(sizes[letter] for letter in spec.summed)
    cut = len(x.shape) - len(letters)
    roles = dict(zip(letters, x.roles[cut:], strict=True))
    mixes = any(roles[letter] == "t" for letter in spec.summed)
    new = "t" if mixes else "f"
    shape = (*x.shape[:cut], *(sizes[letter] for letter in spec.out))
    result = x.roles[:cut] + "".join(roles.get(letter, new) for letter in spec.out)
    if w.eye and len(of) == 2 and not mixes:
        wide = sizes[next(letter for letter in of if letter in spec.out)]
        return x._replace(shape=shape, roles=result, parts=tuple(item.scaled(sqrt(min(1.0, k / wide))) for item in x.parts), law=None)
    n = tokens(shape, result)
    common_to_tokens = not mixes and not any(roles.get(letter) == "t" for letter in of)
    label = run.fresh.next()
    parts = [_row(item, k, w, label, common_to_tokens, run.tables) for item in x.parts]
    if mixes or sum(item.n for item in parts) != n:
        parts = list(refined(parts, [n], label))
    noise = x.noise + HANIN * x.curve / k
    return Signal(shape, result, tuple(parts), 0.0, noise, ripple=0.0 if mixes else x.ripple, uneven=w.spread / k)


def _row(x: Part, k: int, w: Given, label: int, shared: bool, tables: Mapping[int, tuple[int, int]]) -> Part:
    """Sum over k elements of x times independent weights of mean mu: sigma^2 k q, and mu^2 times the square of the sum."""
    gain, mean = k * w.var, w.mean
    q, c, b = gain * x.q, gain * x.c * shared, gain * x.b * shared
    for atom, (a, _, _) in x.atoms.items():
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
    spec = _spec(at["spec"])
    return _weight_back(run, spec, spec.a, g, a, b), _weight_back(run, spec, spec.b, g, b, a)


def _weight_back(run: Run, spec: Spec, letters: str, g: Signal, x: Value, w: Value) -> Signal | None:
    if not isinstance(x, Signal):
        return None
    of = spec.b if letters == spec.a else spec.a
    sizes = _sizes(spec, *((x, w) if letters == spec.a else (w, x)))
    k = prod(sizes[letter] for letter in of if letter in spec.out and letter not in letters)
    label = run.fresh.next()
    if isinstance(w, Given):
        cut = len(x.shape) - len(letters)
        roles = dict(zip(letters, x.roles[cut:], strict=True))
        shared = not any(roles.get(letter) == "t" for letter in of)
        gain = k * w.q
        if w.eye and len(of) == 2:
            inside = sizes[next(letter for letter in of if letter in letters)]
            gain = min(1.0, k / inside)
        parts = [part(item.n, label, gain * item.q, gain * item.c * shared) for item in refined(g.parts, [item.n for item in x.parts], label)]
        return x.of(parts)._replace(noise=g.noise, band=g.band, ripple=g.ripple, curve=0.0)
    if not isinstance(w, Signal):
        return None
    item, y = refined(g.parts, [g.n], label)[0], refined(w.parts, [w.n], label)[0]
    over_tokens = any(letter in of and letter not in letters and role == "t" for letter, role in zip(spec.out, g.roles[len(g.roles) - len(spec.out) :], strict=True))
    q = k * item.q * y.q + (k * (k - 1) * item.c * y.c if over_tokens else 0.0)
    return x.of(refined((part(x.n, label, q, 0.0),), [p.n for p in x.parts], label))._replace(noise=g.noise, band=g.band, ripple=g.ripple)


# --- add ---
def add(run: Run, at: Mapping[str, Any], *xs: Value) -> Value:
    scale = at.get("scale", 1)
    if len(xs) == 1:
        return _times(xs[0], scale)
    shape, roles = shapes_of(xs)
    if all(isinstance(x, Given) for x in xs):
        return Given(shape, sum(x.mean for x in xs if isinstance(x, Given)) * scale, sum(x.var for x in xs if isinstance(x, Given)) * scale**2, label=run.fresh.next())
    total: Signal | None = None
    for x in xs:
        here = broadcast(run, signal_of(x, shape, roles), shape, roles)
        total = here if total is None else _sum(run, total, here)
    assert total is not None
    return total if scale == 1 else total.of(item.scaled(scale) for item in total.parts)


def _times(x: Value, scale: float) -> Value:
    if scale == 1 or not isinstance(x, (Signal, Given)):
        return x
    if isinstance(x, Given):
        return x._replace(mean=x.mean * scale, var=x.var * scale**2, eye=False)
    return x.of(item.scaled(scale) for item in x.parts)


def _sum(run: Run, a: Signal, b: Signal) -> Signal:
    if len(a.parts) == 1 and len(b.parts) == 1:
        parts: tuple[Part, ...] = (sum_of((a.parts[0], b.parts[0]), run.fresh),)
    else:
        sizes, label = common(a.parts, b.parts), run.fresh.next()
        cut = zip(refined(a.parts, sizes, label), refined(b.parts, sizes, label), strict=True)
        parts = tuple(sum_of(pair, run.fresh) for pair in cut)
    total = a.q + b.q
    share = a.q / total if total > 0 else 1.0
    noise, band = share * a.noise + (1 - share) * b.noise, share * a.band + (1 - share) * b.band
    ripple = (share * sqrt(a.ripple) + (1 - share) * sqrt(b.ripple)) ** 2 if a.ripple or b.ripple else 0.0
    skew = _skewed(a, b) if a.skew or b.skew else 0.0
    law = ("passed", share * _passed(a) + (1 - share) * _passed(b), (a.law or b.law or ("", 0.0, 0.0))[2], 0.0, 0.0) if _passed(a) or _passed(b) else None
    return Signal(a.shape, a.roles, parts, max(a.curve, b.curve), noise, band, ripple, skew, law=law)


def _passed(g: Signal) -> float:
    """How much of a gradient came along a skip from behind the next relu."""
    return g.law[1] if g.law is not None and g.law[0] == "passed" else 0.0


def _skewed(a: Signal, b: Signal) -> float:
    """Of a sum of independent values: third moments add."""
    first, second = a.parts[0].v, b.parts[0].v
    whole = first + second
    return (a.skew * first**1.5 + b.skew * second**1.5) / whole**1.5 if whole > 0 else 0.0


def gathered(run: Run, gradients: list[Signal]) -> Signal:
    """The sum of the gradients that reach one value. Each is promised within its band, so the sum within their mean by size."""
    total = gradients[0]
    for item in gradients[1:]:
        total = _sum(run, total, item)
    return total


def add_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, *xs: Value) -> tuple[Signal | None, ...]:
    scale = at.get("scale", 1)
    back = g if scale == 1 else g.of(item.scaled(scale) for item in g.parts)
    return tuple(fit(run, back, x) if isinstance(x, Signal) else None for x in xs)


# --- multiply ---
def multiply(run: Run, at: Mapping[str, Any], *xs: Value) -> Value:
    scale = at.get("scale", 1)
    if len(xs) == 1:
        return _times(xs[0], scale)
    shape, roles = shapes_of(xs)
    if all(isinstance(x, Given) for x in xs):
        mean, q = prod(x.mean for x in xs if isinstance(x, Given)), prod(x.q for x in xs if isinstance(x, Given))
        return Given(shape, mean * scale, (q - mean**2) * scale**2, label=run.fresh.next())
    total: Signal | None = None
    for x in xs:
        if isinstance(x, Given) and not x.var and total is not None and total.shape == shape:
            total = total.of(item.scaled(x.mean) for item in total.parts)
            continue
        here = broadcast(run, signal_of(x, shape, roles), shape, roles)
        total = here if total is None else _product(run, total, here)
    assert total is not None
    return total if scale == 1 else total.of(item.scaled(scale) for item in total.parts)


def _product(run: Run, a: Signal, b: Signal) -> Signal:
    sizes, label = common(a.parts, b.parts), run.fresh.next()
    cut = zip(refined(a.parts, sizes, label), refined(b.parts, sizes, label), strict=True)
    noise = a.noise + b.noise
    return Signal(a.shape, a.roles, tuple(_times_part(run, label, x, y) for x, y in cut), max(a.curve, b.curve), noise, max(a.band, b.band))


def _times_part(run: Run, label: int, x: Part, y: Part) -> Part:
    """x y of Gaussians (Isserlis): the linear part m_y x + m_x y keeps its atoms."""
    k = kt = kb = 0.0
    for atom, (a, t, s) in x.atoms.items():
        if atom in y.atoms:
            both = a * y.atoms[atom][0]
            k, kt, kb = k + both, kt + both * t, kb + both * s
    mm = x.m * y.m
    m = mm + k
    q = x.q * y.q + 2 * k * k + 4 * mm * k
    c = x.c * y.c + k * k + kt * kt + 2 * mm * (k + kt)
    b = x.b * y.b + k * k + kb * kb + 2 * mm * (k + kb)
    linear: dict[int, tuple[float, float, float]] = {}
    for item, factor in ((x, y.m), (y, x.m)):
        if factor:
            for atom, (a, t, s) in item.atoms.items():
                linear[atom] = (linear[atom][0] + a * factor if atom in linear else a * factor, t, s)
    return rest(run, label, x.n, m, q, c, b, linear)


def rest(run: Run, label: int, n: float, m: float, q: float, c: float, b: float, linear: dict[int, tuple[float, float, float]]) -> Part:
    """A part of these second moments: what `linear` does not explain is a fresh atom."""
    q, c, b = q - m * m, c - m * m, b - m * m
    for a, t, s in linear.values():
        a *= a
        q, c, b = q - a, c - a * t, b - a * s
    if q > 1e-12 * (m * m + abs(q)) and q > 1e-300:
        linear = few({**linear, label: (sqrt(q), min(max(c / q, -1.0), 1.0), min(max(b / q, -1.0), 1.0))}, run.fresh)  # type: ignore[assignment]
    return Part(n, m, linear)


def multiply_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, *xs: Value) -> tuple[Signal | None, ...]:
    scale = at.get("scale", 1)
    back = g if scale == 1 else g.of(item.scaled(scale) for item in g.parts)
    found: list[Signal | None] = []
    for index, x in enumerate(xs):
        if not isinstance(x, Signal):
            found.append(None)
            continue
        here = back
        for other in (*xs[:index], *xs[index + 1 :]):
            if isinstance(other, Given) and not other.var:
                here = here.of(item.scaled(other.mean) for item in here.parts)
            else:
                here = _gate_back(run, here, broadcast(run, signal_of(other, out.shape, out.roles), out.shape, out.roles))
        found.append(fit(run, here, x))
    return tuple(found)


def _gate_back(run: Run, g: Signal, y: Signal) -> Signal:
    """g y, the two independent."""
    label = run.fresh.next()
    y_parts = refined(y.parts, [item.n for item in g.parts], label)
    parts = []
    for item, other in zip(g.parts, y_parts, strict=True):
        linear = {atom: (a * other.m, t, s) for atom, (a, t, s) in item.atoms.items()} if other.m else {}
        parts.append(rest(run, label, item.n, 0.0, item.q * other.q, item.c * other.c, 0.0, linear))
    return g.of(parts)._replace(noise=g.noise + y.noise)
