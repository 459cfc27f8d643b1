"""Signal scale through sums and products of values, element by element."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from typing import Any

from assembler.facts.scale.course import summed
from assembler.facts.scale.part import Part, common, few, refined, sum_of, summed_up
from assembler.facts.scale.place import Run, broadcast, fit, shapes_of, signal_of
from assembler.facts.scale.signal import Given, Signal, Unknown, Value

ROOTS = 64
"""Atoms of a product that are remembered, the newest first."""
HOLLOW = 0.7
"""Share of a sum from which its rows are as unlike as those of one addend."""
FEW_BENT = 0.3
"""Share of a sum that may be far from Gaussian."""


# --- add ---
def add(run: Run, at: Mapping[str, Any], *xs: Value) -> Value:
    scale = at.get("scale", 1)
    if len(xs) == 1:
        return _times(xs[0], scale)
    x, bias = xs[0], xs[1]
    if scale == 1 and len(xs) == 2 and isinstance(bias, Given) and isinstance(x, Signal) and x.shape[-1:] == bias.shape:
        if not bias.mean and not bias.var:
            return x  # A bias that starts as zeros.
        if len(x.parts) == 1 and x.roles[-1] == "f" and bias.label not in x.parts[0].atoms:
            return _biased(run, x, bias)
    shape, roles = shapes_of(xs)
    kept = [x for x in xs if not isinstance(x, Given) or x.mean or x.var]
    if len(kept) == 1 and isinstance(kept[0], Signal) and kept[0].shape == shape:
        return _times(kept[0], scale)
    if all(isinstance(x, Given) for x in xs):
        return Given(shape, sum(x.mean for x in xs if isinstance(x, Given)) * scale, sum(x.var for x in xs if isinstance(x, Given)) * scale**2, label=run.fresh.next())
    total: Signal | None = None
    for x in xs:
        here = broadcast(run, signal_of(x, shape, roles), shape, roles)
        total = here if total is None else both(run, total, here)
    assert total is not None
    return total if scale == 1 else total.of(item.scaled(scale) for item in total.parts)



def _biased(run: Run, x: Signal, bias: Given) -> Signal:
    """Plus one number for each feature, the same for all tokens and samples."""
    (item,) = x.parts
    more, share = bias.q + 2 * item.m * bias.mean, item.q / (item.q + bias.q)
    atoms = few({**item.atoms, bias.label: (sqrt(bias.var), 1.0, 1.0)}, run.fresh) if bias.var else item.atoms
    whole = summed_up(item.n, item.m + bias.mean, atoms, item.q + more, item.c + more, item.b + more)
    skew = x.skew * (item.v / whole.v) ** 1.5 if x.skew else 0.0
    course = summed(x.course, None, share) if x.course else None
    narrow = x.narrow if x.source is not None or not x.narrow else share * x.lean + (1 - share) / max(1, x.width)
    bent, hollow = x.bent and share > FEW_BENT, x.hollow and share > HOLLOW
    return Signal(x.shape, x.roles, (whole,), x.curve, share * x.noise, 1.0, share * share * x.ripple, skew, 0.0, x.source, x.together, narrow, bent, hollow, course, share * x.early)


def _times(x: Value, scale: float) -> Value:
    if scale == 1 or not isinstance(x, (Signal, Given)):
        return x
    if isinstance(x, Given):
        return x._replace(mean=x.mean * scale, var=x.var * scale**2, eye=False)
    return x.of(item.scaled(scale) for item in x.parts)


def both(run: Run, a: Signal, b: Signal) -> Signal:
    """The sum of two values, or of the gradients that reach one. Each is promised within its band, so the sum within their mean by size."""
    if len(a.parts) == 1 and len(b.parts) == 1:
        parts: tuple[Part, ...] = (sum_of((a.parts[0], b.parts[0]), run.fresh),)
        own, other = a.parts[0].q, b.parts[0].q
    else:
        sizes, label = common(a.parts, b.parts), run.fresh.next()
        cut = zip(refined(a.parts, sizes, label), refined(b.parts, sizes, label), strict=True)
        parts = tuple(sum_of(pair, run.fresh) for pair in cut)
        own, other = a.q, b.q
    share = own / (own + other) if own + other > 0 else 1.0
    left = 1 - share
    source, together = (a.source, a.together) if b.c >= other else (None, 0.0)  # a bias, the same for all tokens
    narrow = a.narrow if source is not None else share * a.lean + left * b.lean if a.narrow or b.narrow else 0.0
    return Signal(
        a.shape,
        a.roles,
        parts,
        a.curve if a.curve > b.curve else b.curve,
        share * a.noise + left * b.noise if a.noise or b.noise else 0.0,
        share * a.band + left * b.band if a.band != b.band else a.band,
        (share * sqrt(a.ripple) + left * sqrt(b.ripple)) ** 2 if a.ripple or b.ripple else 0.0,
        _skewed(a, b) if a.skew or b.skew else 0.0,
        source=source,
        together=together,
        narrow=narrow,
        bent=(a.bent and share > FEW_BENT) or (b.bent and left > FEW_BENT),
        hollow=(a.hollow or b.hollow) and share * a.hollow + left * b.hollow > HOLLOW,
        course=summed(a.course, b.course, share) if a.course or b.course else None,
        early=share * a.early + left * b.early if a.early or b.early else 0.0,
        law=_law(a, b, share) if a.law or b.law else None,
    )


def _law(a: Signal, b: Signal, share: float) -> tuple[str, float, float, float, float] | None:
    """Of a sum of gradients; what is said of a value's moments is not said of a sum."""
    larger = a if share >= 0.5 else b
    if larger.law is not None and larger.law[0] == "scores":  # Beside it comes what a loss says of the batch: next to nothing.
        return larger.law
    first, second = _passed(a), _passed(b)
    return ("passed", share * first + (1 - share) * second, (a.law or b.law or ("", 0.0, 0.0))[2], 0.0, 0.0) if first or second else None


def _passed(g: Signal) -> float:
    """How much of a gradient came along a skip from behind the next relu."""
    return g.law[1] if g.law is not None and g.law[0] == "passed" else 0.0


def _skewed(a: Signal, b: Signal) -> float:
    """Of a sum of independent values: third moments add."""
    first, second = a.parts[0].v, b.parts[0].v
    whole = first + second
    return (a.skew * first**1.5 + b.skew * second**1.5) / whole**1.5 if whole > 0 else 0.0


def gathered(run: Run, gradients: list[Signal]) -> Signal:
    total = gradients[0]
    for item in gradients[1:]:
        total = both(run, total, item)
    return total


def add_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, *xs: Value) -> tuple[Signal | None, ...]:
    scale = at.get("scale", 1)
    back = g if scale == 1 else g.of(item.scaled(scale) for item in g.parts)
    return tuple([fit(run, back, x) if isinstance(x, Signal) else None for x in xs])


# --- multiply ---
def multiply(run: Run, at: Mapping[str, Any], *xs: Value) -> Value:
    scale = at.get("scale", 1)
    if len(xs) == 1:
        return _times(xs[0], scale)
    if scale == 1 and len(xs) == 2 and _is_one(xs[0], xs[1]):
        return xs[0]
    shape, roles = shapes_of(xs)
    if all(isinstance(x, Given) for x in xs):
        mean, q = prod(x.mean for x in xs if isinstance(x, Given)), prod(x.q for x in xs if isinstance(x, Given))
        return Given(shape, mean * scale, (q - mean**2) * scale**2, label=run.fresh.next())
    values = [x for x in xs if isinstance(x, Signal)]
    if any(_meet(run, a, b) for i, a in enumerate(values) for b in values[i + 1 :]):
        return Unknown("factors of a product that hold one value several times")
    total: Signal | None = None
    for x in xs:
        if isinstance(x, Given) and not x.var and total is not None and total.shape == shape:
            total = total if x.mean == 1 else total.of(item.scaled(x.mean) for item in total.parts)
            continue
        here = broadcast(run, signal_of(x, shape, roles), shape, roles)
        if total is not None and _meet(run, total, here):
            return Unknown("factors of a product that hold one value several times")
        total = here if total is None else _product(run, total, here)
    assert total is not None
    return total if scale == 1 else total.of(item.scaled(scale) for item in total.parts)


def _is_one(x: Value, gain: Value) -> bool:
    """Whether a value is multiplied by ones, one for each feature."""
    return isinstance(gain, Given) and gain.mean == 1 and not gain.var and isinstance(x, Signal) and x.shape[-1:] == gain.shape


def _product(run: Run, a: Signal, b: Signal) -> Signal:
    sizes, label = common(a.parts, b.parts), run.fresh.next()
    cut = zip(refined(a.parts, sizes, label), refined(b.parts, sizes, label), strict=True)
    noise = a.noise + b.noise
    labels = frozenset(atom for item in (*a.parts, *b.parts) for atom in item.atoms)
    run.roots[label] = frozenset(sorted(labels.union(*(run.roots.get(atom, ()) for atom in labels)))[-ROOTS:])
    return Signal(a.shape, a.roles, tuple(_times_part(run, label, x, y) for x, y in cut), max(a.curve, b.curve), noise, max(a.band, b.band), bent=True)


def _meet(run: Run, a: Signal, b: Signal) -> bool:
    """Whether one factor is itself a product of what the other is made of: their moments are then of higher order."""
    if not run.roots:
        return False
    first, second = ({atom for item in x.parts for atom in item.atoms} for x in (a, b))
    return any(not other.isdisjoint(run.roots.get(atom, ())) for one, other in ((first, second), (second, first)) for atom in one)


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
    if scale == 1 and len(xs) == 2 and _is_one(xs[0], xs[1]) and isinstance(xs[0], Signal):
        return fit(run, g, xs[0]), None
    back = g if scale == 1 else g.of(item.scaled(scale) for item in g.parts)
    found: list[Signal | None] = []
    for index, x in enumerate(xs):
        if not isinstance(x, Signal):
            found.append(None)
            continue
        here, chosen = back, False
        for other in (*xs[:index], *xs[index + 1 :]):
            chosen = chosen or (isinstance(other, Signal) and all(run.hard.issuperset(item.atoms) and item.atoms for item in other.parts))
            if isinstance(other, Given) and not other.var:
                here = here if other.mean == 1 else here.of(item.scaled(other.mean) for item in here.parts)
            else:
                here = _gate_back(run, here, broadcast(run, signal_of(other, out.shape, out.roles), out.shape, out.roles))
        found.append(fit(run, here._replace(law=("largest", 0.0, 0.0, 0.0, 0.0)) if chosen else here, x))
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
