"""Signal scale through weighted sums of many values, and through their median."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod, sqrt
from typing import Any, NamedTuple

from assembler.facts.scale.join import gathered, rest
from assembler.facts.scale.mix import MOST
from assembler.facts.scale.moments import below, normal
from assembler.facts.scale.part import Part, common, few, part, refined, sum_of
from assembler.facts.scale.place import Run, broadcast, fit, shapes_of, signal_of
from assembler.facts.scale.pointwise import far, kappa, uneven
from assembler.facts.scale.signal import Given, Signal, Unknown, Value


# --- blend ---
class Weights(NamedTuple):
    """Moments of the weights of one run of tokens: the mean, the second moment of one, and its mean product with
    itself at another token or in another sample. They are taken to sum to nearly one number."""

    m: float
    q: float
    c: float
    b: float
    left: float
    """What a gradient that reaches a weight is multiplied by on its way to the score."""

    def apart(self, n: int, square: float) -> float:
        """The mean product of two weights, given that of one with itself."""
        return (n * self.m**2 - square) / (n - 1) if n > 1 else 0.0


def blend(run: Run, at: Mapping[str, Any], *operands: Value) -> Value:
    weight, values = _apart(run, at, operands)
    known = _known(weight, at, len(values))
    if known is not None:
        scaled = [
            x.of(item.scaled(factor) for item in x.parts) for x, factor in zip(values, known, strict=True) if factor
        ]
        return gathered(run, scaled) if scaled else values[0].of(item.scaled(0.0) for item in values[0].parts)
    if not isinstance(weight, Signal):
        return Unknown("a blend by weights that are drawn")
    by = at.get("by")
    reason = _beyond(weight, by)
    if reason:
        return Unknown(reason)
    sizes: Sequence[float] = [item.n for item in weight.parts]
    for x in values:
        sizes = common(x.parts, refined(weight.parts, sizes, run.fresh.next()))
    label = run.fresh.next()
    rows = zip(refined(weight.parts, sizes, label), *(refined(x.parts, sizes, label) for x in values), strict=True)
    parts = tuple(_mixed(run, label, _weights(row[0], len(values), by, weight.ripple), row[1:]) for row in rows)
    total = sum(x.q for x in values)
    noise = sum(x.q * x.noise for x in values) / total if total > 0 else 0.0
    return Signal(
        values[0].shape, values[0].roles, parts, max(x.curve for x in values), noise, bent=any(x.bent for x in values)
    )


def _apart(run: Run, at: Mapping[str, Any], operands: Sequence[Value]) -> tuple[Value | None, list[Signal]]:
    """The weights, and the values that they weigh."""
    weight, *values = (None, *operands) if at.get("weights") is not None else operands
    shape, roles = shapes_of([item for item in values if item is not None])
    return weight, [broadcast(run, signal_of(item, shape, roles), shape, roles) for item in values if item is not None]


def _known(weight: Value | None, at: Mapping[str, Any], n: int) -> tuple[float, ...] | None:
    """What each value is multiplied by, where that is known."""
    by = at.get("by")
    if weight is None:
        return tuple(at["weights"])
    if n == 1 and by in ("softmax", "share"):
        return (1.0,)
    if not isinstance(weight, Given) or (weight.var and not weight.entries):
        return None
    each = weight.entries or (weight.mean,) * n
    if by == "sigmoid":
        share = 1 / (1 + math.exp(-each[0]))
        return share, 1 - share
    grown = [math.exp(item - max(each)) if by == "softmax" else abs(item) for item in each]
    total = math.fsum(grown)
    return each if by is None else tuple(item / total for item in grown) if total > 0 else None


def _beyond(weight: Signal, by: str | None) -> str:
    """Why a blend by these weights is not predicted."""
    if by in ("share", "sigmoid"):
        return f"a blend by `{by}` of values"
    if by == "softmax" and far(weight):
        return "`softmax` of what is far from Gaussian"
    most = max(item.v for item in weight.parts)
    return (
        f"a softmax whose scores vary by {most:.3g}: which value counts is chance"
        if by == "softmax" and most > MOST
        else ""
    )


def _weights(w: Part, n: int, by: str | None, ripple: float) -> Weights:
    if by is None:
        return Weights(w.m, w.q, w.c, w.b, 1.0)
    square, left = uneven(w.v, n, ripple)
    shared, samples = (max(0.0, item - w.m**2) for item in (w.c, w.b))
    return Weights(1 / n, square, min(square, kappa(shared, n) / n), min(square, kappa(samples, n) / n), left)


def _mixed(run: Run, label: int, w: Weights, xs: Sequence[Part]) -> Part:
    """Sum w_i x_i, the weights independent of the values: w's mean times their sum keeps its atoms."""
    n, total = len(xs), sum_of(xs, run.fresh)
    own = [sum(getattr(x, name) for x in xs) for name in ("q", "c", "b")]
    q, c, b = (
        square * mine + w.apart(n, square) * (whole - mine)
        for square, mine, whole in zip((w.q, w.c, w.b), own, (total.q, total.c, total.b), strict=True)
    )
    linear = {atom: (a * w.m, t, s) for atom, (a, t, s) in total.atoms.items()}
    return rest(run, label, total.n, w.m * total.m, q, c, b, linear)


def blend_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, *operands: Value) -> tuple[Signal | None, ...]:
    weight, values = _apart(run, at, operands)
    known = _known(weight, at, len(values))
    if known is not None:
        backs = [g.of(item.scaled(factor) for item in g.parts) for factor in known]
    else:
        assert isinstance(weight, Signal)
        rows = refined(weight.parts, [item.n for item in g.parts], run.fresh.next())
        backs = shared_out(
            run, g, [_weights(row, len(values), at.get("by"), weight.ripple) for row in rows], len(values)
        )
    originals = operands if weight is None else operands[1:]
    found = [fit(run, back, x) if isinstance(x, Signal) else None for back, x in zip(backs, originals, strict=True)]
    first = () if weight is None else (None if known is not None else _weights_back(run, at, g, weight, values),)
    return (*first, *found)


def shared_out(run: Run, g: Signal, weights: Sequence[Weights], n: int) -> list[Signal]:
    """The gradients w_i g of n values. The weights sum to one number, so what sets the gradients apart cancels in
    their sum: two by two they have opposite signs, the last three of an odd number sum to zero."""
    rows: list[list[Part]] = [[] for _ in range(n)]
    for item, w in zip(g.parts, weights, strict=True):
        label = run.fresh.next()
        linear = {atom: (a * w.m, t, s) for atom, (a, t, s) in item.atoms.items()}
        whole = rest(run, label, item.n, 0.0, w.q * item.q, w.c * item.c, 0.0, linear)
        apart = whole.atoms.get(label)
        for row, own in zip(rows, signs(run, n), strict=True):
            atoms = {atom: found for atom, found in whole.atoms.items() if atom != label}
            if apart is not None:
                atoms.update({atom: (sign * apart[0], *apart[1:]) for atom, sign in own.items()})
            row.append(Part(item.n, 0.0, few(atoms, run.fresh)))
    return [g.of(row) for row in rows]


def signs(run: Run, n: int) -> list[dict[int, float]]:
    """For each of n values atoms of unit size together, whose sum over the values is zero."""
    found: list[dict[int, float]] = []
    while n - len(found) >= 2 and n - len(found) != 3:
        atom = run.fresh.next()
        found += [{atom: 1.0}, {atom: -1.0}]
    if n - len(found) == 3:
        three = [run.fresh.next() for _ in range(3)]
        found += [{atom: (2 if atom == own else -1) / sqrt(6) for atom in three} for own in three]
    return found or [{run.fresh.next(): 1.0}]


def _weights_back(
    run: Run, at: Mapping[str, Any], g: Signal, weight: Value | None, values: Sequence[Signal]
) -> Signal | None:
    """Of w_i the product of g and x_i, summed over the elements that it weighs; of its score only what sets x_i apart."""
    if not isinstance(weight, Signal):
        return None
    n, label = len(values), run.fresh.next()
    wide = prod(g.shape) * n / prod(weight.shape)
    xs = [refined(x.parts, [x.n], label)[0] for x in values]
    total, item = sum_of(xs, run.fresh), refined(g.parts, [g.n], label)[0]
    w = _weights(refined(weight.parts, [weight.n], label)[0], n, at.get("by"), weight.ripple)
    q, c = sum(x.q for x in xs) / n, sum(x.c for x in xs) / n
    cross_q, cross_c = (
        (whole - n * mine) / (n * (n - 1)) if n > 1 else mine for mine, whole in ((q, total.q), (c, total.c))
    )
    law = (
        "shared",
        max(0.0, min(1.0, cross_q / q)) if q > 0 else 0.0,
        0.0,
        0.0,
        0.0,
    )  # of which a softmax behind takes away
    if at.get("by") == "softmax":
        q, c, law = q - cross_q, c - cross_c, None  # type: ignore[assignment]
    back = part(weight.n, label, w.left * wide * item.q * max(0.0, q), w.left * wide * item.c * c)
    return weight.even(g, back, label)._replace(law=law)


# --- median ---
UNLIKE = 2.0
"""Ratio of variances from which values are too different for the median of equal ones."""
OFF = 0.05
"""Square of a distance of means, in variances, from which they are."""
RELATED = 0.25
"""Difference of two covariances, in variances, from which some are too much nearer to one another than others."""


def median(run: Run, at: Mapping[str, Any], *xs: Value) -> Value:
    """Of Gaussians that share a part: the shared part, and the middle one of what each has alone."""
    if len(xs) == 1:
        return xs[0]
    values = [x for x in xs if isinstance(x, Signal)]
    if len(values) < len(xs):
        return Unknown("`median` of a parameter")
    if any(x.bent for x in values):
        return Unknown("`median` of what is far from Gaussian")
    sizes = [item.n for item in values[0].parts]
    for x in values[1:]:
        sizes = common(refined(values[0].parts, sizes, run.fresh.next()), x.parts)
    label = run.fresh.next()
    rows = list(zip(*(refined(x.parts, sizes, label) for x in values), strict=True))
    if any(_unlike(row) for row in rows):
        return Unknown("`median` of values that are unlike in size, or in what they share")
    return Signal(
        values[0].shape,
        values[0].roles,
        tuple(_middle(run, label, row) for row in rows),
        0.0,
        sum(x.noise for x in values) / len(values),
        bent=len(values) > 4,
    )


def _unlike(row: Sequence[Part]) -> bool:
    low, high = min(item.v for item in row), max(item.v for item in row)
    mean = sum(item.m for item in row) / len(row)
    shared = [
        sum(a * other.atoms[atom][0] for atom, (a, _, _) in item.atoms.items() if atom in other.atoms)
        for place, item in enumerate(row)
        for other in row[:place]
    ]
    related = max(shared) - min(shared) > RELATED * high
    return related or high > UNLIKE * low or any((item.m - mean) ** 2 > OFF * high for item in row)


def _middle(run: Run, label: int, row: Sequence[Part]) -> Part:
    n, total = len(row), sum_of(row, run.fresh)
    v = sum(item.v for item in row) / n
    alone = min(v, max(0.0, v - (total.v - n * v) / (n * (n - 1))))
    place, square = order(n, (n - 1) // 2)
    atoms = {atom: (a / n, t, s) for atom, (a, t, s) in total.atoms.items()}
    more = alone * max(0.0, square - 1 / n)
    if more > 0:
        # What is not linear in the values is of third order in them, or of second where the median is no odd function.
        power = 3 if n % 2 else 2
        r, s = (sum((getattr(item, name) - item.m**2) for item in row) / (n * v) for name in ("c", "b"))
        atoms[label] = (sqrt(more), r**power, s**power)
    return Part(total.n, total.m / n + sqrt(alone) * place, few(atoms, run.fresh))


@lru_cache(maxsize=256)
def order(n: int, place: int) -> tuple[float, float]:
    """Mean and variance of the one at `place` (0 is the smallest) of n independent normals."""
    step, count = 0.02, 400
    ways = math.lgamma(n + 1) - math.lgamma(place + 1) - math.lgamma(n - place)
    mean = second = whole = 0.0
    for i in range(-count, count + 1):
        z = i * step
        under, over = below(z), below(-z)
        weight = normal(z) * math.exp(ways + place * math.log(under) + (n - 1 - place) * math.log(over))
        mean, second, whole = mean + weight * z, second + weight * z * z, whole + weight
    return mean / whole, second / whole - (mean / whole) ** 2


def median_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, *xs: Value) -> tuple[Signal | None, ...]:
    """Each value is the chosen one as often as any other."""
    n = len(xs)
    if n == 1:
        return (g,)
    backs = shared_out(run, g, [Weights(1 / n, 1 / n, 1 / n**2, 0.0, 1.0)] * len(g.parts), n)
    return tuple(fit(run, back, x) if isinstance(x, Signal) else None for back, x in zip(backs, xs, strict=True))
