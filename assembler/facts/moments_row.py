"""Expectations of several Gaussians at once: the largest of them, and their softmax. No torch, no numpy."""

from __future__ import annotations

import math
import random
from functools import lru_cache
from typing import NamedTuple

from assembler.facts.moments import below, normal


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


# --- softmax ---
_STEP, _EDGE = 0.3, 5.4
_NODES = [(z, _STEP * normal(z)) for z in (-_EDGE + _STEP * i for i in range(int(2 * _EDGE / _STEP) + 1))]


@lru_cache(maxsize=1024)
def softmax_squares(s2: float, n: int) -> tuple[float, float]:
    """Of p, the softmax of n independent N(0, s2): E p_i^2, and E p_i^2 (1 - 2 p_i + sum p^2), what a gradient is multiplied by.

    E of exp(a z_1 + b z_2) over a power of the sum S = sum exp(z) by S^-k = int t^(k-1) exp(-t S) dt / (k-1)!.
    """
    if n < 2 or s2 <= 0:
        return 1 / n**2, (1 / n**2) * (1 - 1 / n)
    s = math.sqrt(s2)
    grown = [(math.exp(s * z), weight) for z, weight in _NODES]
    mean = math.log(n) + s2 / 2
    p2 = p3 = p4 = p22 = 0.0
    steps, step = 96, (2 * _EDGE * s + math.log(n) + 10) / 96
    for i in range(steps):
        t = math.exp(-mean - _EDGE * s - 7 + step * i)
        laplace = [0.0] * 5
        for e, weight in grown:
            x = weight * math.exp(-t * e)
            for power in range(5):
                laplace[power] += x
                x *= t * e
        # t^(a+b) times both laplace transforms, and dt = t d(log t).
        base = step * min(1.0, laplace[0]) ** (n - 2)
        p2 += base * laplace[2] * laplace[0]
        p3 += base * laplace[3] * laplace[0] / 2
        p4 += base * laplace[4] * laplace[0] / 6
        p22 += base * laplace[2] ** 2 / 6
    return p2, max(0.0, p2 - 2 * p3 + p4 + (n - 1) * p22)


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
