"""Expectations of several Gaussians at once: the largest of them, and their softmax. No torch, no numpy."""

from __future__ import annotations

import math
import random
from functools import lru_cache
from typing import NamedTuple

from assembler.facts.scale.moments import below, normal


@lru_cache(maxsize=1024)
def largest(k: float) -> tuple[float, float]:
    """Mean and variance of the largest of k independent standard normals (k >= 1, also between whole numbers)."""
    mean = square = 0.0
    steps = 400
    for i in range(steps):
        z = -8 + 16 * (i + 0.5) / steps
        w = 16 / steps * k * normal(z) * below(z) ** (k - 1)
        mean += w * z
        square += w * z * z
    return mean, square - mean * mean


def harmonic_like(n: float, a: float) -> float:
    """The sum of 1/(t - 1 + a) for t = 1 .. n."""
    return _digamma(n + a) - _digamma(a)


def _digamma(x: float) -> float:
    total = 0.0
    while x < 6:
        total -= 1 / x
        x += 1
    f = 1 / (x * x)
    return total + math.log(x) - 0.5 / x - f * (1 / 12 - f * (1 / 120 - f / 252))


def _trigamma(x: float) -> float:
    total = 0.0
    while x < 6:
        total += 1 / (x * x)
        x += 1
    f = 1 / (x * x)
    return total + 1 / x + f / 2 + f / x * (1 / 6 - f * (1 / 30 - f / 42))


# --- softmax ---
_STEP, _EDGE, _STEPS = 0.3, 5.4, 96
_COARSEST = 0.6
"""Of logarithms: what is integrated is analytic within pi / 2 of them, so sums of such steps are right to 1e-6."""


@lru_cache(maxsize=256)
def _laplace(s2: float, most: int) -> tuple[float, list[tuple[float, float, float, float, float]]]:
    """Of e = exp(z), z ~ N(0, s2): E (t e)^k exp(-t e), k = 0 .. 4, where log t goes by equal steps; for up to `most` of them."""
    s = math.sqrt(s2)
    fine = min(_STEP, _COARSEST / s)
    count = math.ceil(2 * _EDGE / fine)
    nodes = [-_EDGE + 2 * _EDGE * i / count for i in range(count + 1)]
    grown = [(math.exp(s * z), 2 * _EDGE / count * normal(z)) for z in nodes]
    wide = 2 * _EDGE * s + math.log(most) + 10
    steps = max(_STEPS, math.ceil(wide / _COARSEST))
    start, rows = -math.log(most) - _EDGE * s - 7, []
    for i in range(steps):
        t = math.exp(start + wide / steps * i)
        a = b = c = d = f = 0.0
        for e, weight in grown:
            te = t * e
            if te > 700:
                break
            x = weight * math.exp(-te)
            a += x
            x *= te
            b += x
            x *= te
            c += x
            x *= te
            d += x
            f += x * te
        rows.append((min(1.0, a), b, c, d, f))
    return wide / steps, rows


def _squares(s2: float, n: int, most: int) -> tuple[float, float]:
    step, rows = _laplace(s2, most)
    p2 = p3 = p4 = p22 = 0.0
    for a, _, c, d, f in rows:
        # t^(j+k) times both laplace transforms, and dt = t d(log t).
        base = step * a ** (n - 2)
        p2 += base * c * a
        p3 += base * d * a / 2
        p4 += base * f * a / 6
        p22 += base * c * c / 6
    return p2, max(0.0, p2 - 2 * p3 + p4 + (n - 1) * p22)


@lru_cache(maxsize=1024)
def softmax_squares(s2: float, n: int) -> tuple[float, float]:
    """Of p, the softmax of n independent N(0, s2): E p_i^2, and E p_i^2 (1 - 2 p_i + sum p^2), what a gradient is multiplied by.

    E of exp(a z_1 + b z_2) over a power of the sum S = sum exp(z) by S^-k = int t^(k-1) exp(-t S) dt / (k-1)!.
    """
    if n < 2 or s2 <= 0:
        return 1 / n**2, (1 / n**2) * (1 - 1 / n)
    return _squares(s2, n, n)


class Rows(NamedTuple):
    """Of the rows of attention's softmax, on average: sum p^2; sum p^2 (1 - 2 p + sum p^2); and the a for which
    a / (t - 1 + a) has the first, over t = 1 .. n where rows are causal."""

    one: float
    left: float
    a: float


SMALL, MESH = 0.25, 4
"""Variance of scores up to which a = e^s2 is right to 1 %; beyond it so many variances for each doubling are integrated."""


@lru_cache(maxsize=1024)
def rows(s2: float, n: int, causal: bool) -> Rows:
    """For n > 1 scores; between the variances that are integrated, by logarithms."""
    if s2 <= SMALL:
        a = math.exp(s2)
        if not causal:
            one = a / (n - 1 + a)
            return Rows(one, one * (1 - one), a)
        one = a * harmonic_like(n, a) / n
        return Rows(one, one - a * a * (_trigamma(a) - _trigamma(n + a)) / n, a)
    at = math.log2(s2 / SMALL) * MESH
    place = math.floor(at)
    low, high = (_integrated(SMALL * 2 ** (here / MESH), n, causal) for here in (place, place + 1))
    return Rows(*(x ** (1 - at + place) * y ** (at - place) for x, y in zip(low, high, strict=True)))


@lru_cache(maxsize=512)
def _integrated(s2: float, n: int, causal: bool) -> Rows:
    if not causal:
        p2, back = softmax_squares(s2, n)
        return Rows(n * p2, n * back, p2 * n * (n - 1) / (1 - p2 * n) if p2 * n < 1 else math.inf)
    one, left = 1.0, 0.0
    size, last = 1, (1.0, 0.0)
    while size < n:
        before, size = size, min(n, max(size + 1, round(size * math.sqrt(2))))
        p2, back = _squares(s2, size, n)
        here = size * p2, size * back
        # A straight line from one row that is integrated to the next.
        gap = size - before
        one += (gap * (here[0] + last[0]) + here[0] - last[0]) / 2
        left += (gap * (here[1] + last[1]) + here[1] - last[1]) / 2
        last = here
    return Rows(one / n, left / n, _matched(one / n, n, s2))


def _matched(one: float, n: int, most: float) -> float:
    """The a for which a / (t - 1 + a) is `one` on average over t = 1 .. n; its logarithm is at most `most`."""
    low, high = 0.0, min(most, 50.0)
    for _ in range(40):
        middle = (low + high) / 2
        a = math.exp(middle)
        low, high = (middle, high) if a * harmonic_like(n, a) / n < one else (low, middle)
    return math.exp(low)


DRAWS = 20_000
"""Normals that are drawn where no integral is at hand, in rows of n: the mean is known to about 1 %."""


class Winner(NamedTuple):
    """Of the largest p_w of a softmax p: E p_w, E p_w^2, and E p_w^2 (1 - 2 p_w + sum p^2), what a gradient of p_w is multiplied by."""

    mean: float
    square: float
    left: float


@lru_cache(maxsize=256)
def winner(s2: float, n: int) -> Winner:
    """p is the softmax of n independent N(0, s2). Drawn, always alike."""
    draw, s = random.Random(0), math.sqrt(max(0.0, s2))  # noqa: S311
    rows, sums = max(200, DRAWS // n), [0.0, 0.0, 0.0]
    for _ in range(rows):
        grown = [math.exp(draw.gauss(0.0, s)) for _ in range(n)]
        whole = math.fsum(grown)
        p = max(grown) / whole
        left = p * p * (1 - 2 * p + math.fsum(item * item for item in grown) / whole**2)
        sums = [sums[0] + p, sums[1] + p * p, sums[2] + left]
    return Winner(*(item / rows for item in sums))
