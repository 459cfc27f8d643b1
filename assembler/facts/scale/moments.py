"""Expectations of a function of a Gaussian: what an activation does to a signal's moments.

For z ~ N(m, v): E f, E f^2, E f', E f'^2, and for two such z of correlation r: E f(z1) f(z2) and
E f'(z1) f'(z2) (Poole et al. 2016; the series is Mehler's). Piecewise polynomials are integrated in
closed form, the others by Gauss-Legendre panels that end where the function bends: kinks and wide
Gaussians, where Gauss-Hermite nodes fail, cost no accuracy. No torch, no numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

TERMS = 16
"""Of the Hermite series. The rest of its mass follows the tail of relu's, whose sum is known."""
Piece = tuple[float, float, float, float, float]
"""From, to, and the polynomial c0 + c1 x + c2 x^2 there."""


class Moments(NamedTuple):
    """Of f(z), z ~ N(m, v)."""

    m: float
    """E f."""
    q: float
    """E f^2."""
    slope: float
    """E f': what stays linear (Bussgang)."""
    chi: float
    """E f'^2: what the gradient's second moment is multiplied by."""
    series: tuple[float, ...]
    """Shares of E f^2 by Hermite degree 1, 2, ..."""
    slopes: tuple[float, ...]
    """Shares of E f'^2 by degree 0, 1, ..."""

    def cross(self, r: float) -> float:
        """E f(z1) f(z2) at correlation r."""
        head = 0.0
        for share in reversed(self.series):
            head = (head + share) * r
        mm = self.m * self.m
        return mm + head + (self.q - mm - sum(self.series)) * _tail(r, _EVEN, _even)

    def cross_slope(self, r: float) -> float:
        """E f'(z1) f'(z2) at correlation r."""
        head = 0.0
        for share in reversed(self.slopes):
            head = head * r + share
        return head + (self.chi - sum(self.slopes)) * _tail(r, _ODD, math.asin)


# --- what relu's series leaves beyond TERMS (Cho and Saul 2009) ---
def _even(r: float) -> float:
    return math.sqrt(1 - r * r) + r * math.asin(r)


def _arcsine(terms: int) -> list[float]:
    """Coefficients of asin(r) by degree."""
    found = [0.0] * (terms + 1)
    for k in range((terms - 1) // 2 + 1):
        found[2 * k + 1] = math.comb(2 * k, k) / (4**k * (2 * k + 1))
    return found


_ODD = _arcsine(TERMS - 1)[1::2]
_EVEN = [1.0] + [share / (2 * k + 2) for k, share in enumerate(_ODD)]
"""Of even degrees; those of odd ones are 0, and the other way round in _ODD."""


def _tail(r: float, known: Sequence[float], whole: Callable[[float], float]) -> float:
    r = min(max(r, -1.0), 1.0)
    head, rr = 0.0, r * r
    for share in reversed(known):
        head = head * rr + share
    if known is _ODD:
        head *= r
    return (whole(r) - head) / (whole(1.0) - sum(known))


# --- functions ---
_INF = math.inf
PIECES: dict[str, tuple[Piece, ...]] = {
    "identity": ((-_INF, _INF, 0, 1, 0),),
    "relu": ((0, _INF, 0, 1, 0),),
    "leaky_relu": ((-_INF, 0, 0, 0.01, 0), (0, _INF, 0, 1, 0)),
    "relu6": ((0, 6, 0, 1, 0), (6, _INF, 6, 0, 0)),
    "hardswish": ((-3, 3, 0, 0.5, 1 / 6), (3, _INF, 0, 1, 0)),
}
HOMOGENEOUS = ("identity", "relu", "leaky_relu")
"""f(s x) = s f(x)."""


def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    e = math.exp(x)
    return e / (1 + e)


def normal(x: float) -> float:
    """Density of N(0, 1)."""
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi) if abs(x) < 38 else 0.0


def below(x: float) -> float:
    """Of N(0, 1), what lies below."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _gelu(x: float) -> tuple[float, float]:
    share = below(x)
    return x * share, share + x * normal(x)


def _gelu_tanh(x: float) -> tuple[float, float]:
    k = math.sqrt(2 / math.pi)
    t = math.tanh(k * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 0.134145 * x * x)


def _silu(x: float, k: float = 1.0) -> tuple[float, float]:
    s = _sigmoid(k * x)
    return x * s, s + k * x * s * (1 - s)


def _tanh(x: float) -> tuple[float, float]:
    t = math.tanh(x)
    return t, 1 - t * t


def _logistic(x: float) -> tuple[float, float]:
    s = _sigmoid(x)
    return s, s * (1 - s)


def _softplus(x: float) -> tuple[float, float]:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x))), _sigmoid(x)


def _elu(x: float) -> tuple[float, float]:
    return (x, 1.0) if x > 0 else (math.expm1(x), math.exp(x))


def _mish(x: float) -> tuple[float, float]:
    t, s = math.tanh(_softplus(x)[0]), _sigmoid(x)
    return x * t, t + x * (1 - t * t) * s


SMOOTH: dict[str, Callable[[float], tuple[float, float]]] = {
    "gelu": _gelu, "gelu_tanh": _gelu_tanh, "silu": _silu, "quick_gelu": lambda x: _silu(x, 1.702), "tanh": _tanh,
    "sigmoid": _logistic, "softplus": _softplus, "elu": _elu, "mish": _mish,
}  # fmt: skip
"""x -> f(x), f'(x)."""


def at(fn: str, x: float, exponent: float = 1.0) -> tuple[float, float]:
    """f(x) and f'(x)."""
    if fn == "power":
        return x**exponent, exponent * x ** (exponent - 1) if exponent else 0.0
    if fn in PIECES:
        for low, high, c0, c1, c2 in PIECES[fn]:
            if low < x <= high:
                return c0 + c1 * x + c2 * x * x, c1 + 2 * c2 * x
        return 0.0, 0.0
    return SMOOTH[fn](x)


# --- expectations ---
@lru_cache(maxsize=8192)
def moments(fn: str, m: float, v: float, exponent: float = 1.0) -> Moments:
    """Of `fn` (docs/primitives.md; `power` wants a whole `exponent` >= 0) of N(m, v)."""
    s = math.sqrt(v)
    if s < 1e-30:
        y, slope = at(fn, m, exponent)
        return Moments(y, y * y, slope, slope * slope, (), (slope * slope,))
    if fn in PIECES:
        return _closed(PIECES[fn], m, s)
    f = SMOOTH[fn] if fn in SMOOTH else (lambda x: at(fn, x, exponent))
    return _quadrature(f, m, s)


def near(fn: str, m: float, v: float, exponent: float = 1.0) -> Moments:
    """The same at a point at most 0.05 % away, so that like layers share one evaluation; homogeneous functions exactly scaled."""
    if v <= 0:
        return moments(fn, m, 0.0, exponent)
    s = math.sqrt(v)
    if fn in HOMOGENEOUS:
        found = moments(fn, round(m / s, 3), 1.0)
        return Moments(found.m * s, found.q * v, found.slope, found.chi, tuple([share * v for share in found.series]), found.slopes)
    s = math.exp(round(math.log(s) * 1024) / 1024)
    return moments(fn, round(m / s, 3) * s, s * s, exponent)


def _hermite(z: float, terms: int) -> list[float]:
    """He_k(z) / sqrt(k!), k = 0 .. terms."""
    found = [1.0, z]
    for k in range(1, terms):
        found.append((z * found[k] - math.sqrt(k) * found[k - 1]) / math.sqrt(k + 1))
    return found


def _series(coefficients: Sequence[float], s: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Shares of f and of f' from E f(z) He_k / sqrt(k!), k = 0 .. TERMS."""
    return tuple(a * a for a in coefficients[1:]), tuple(k * a * a / (s * s) for k, a in enumerate(coefficients) if k)


def _closed(pieces: Sequence[Piece], m: float, s: float) -> Moments:
    q = slope = chi = 0.0
    coefficients = [0.0] * (TERMS + 1)
    for low, high, c0, c1, c2 in pieces:
        a, b = (low - m) / s, (high - m) / s
        d0, d1, d2 = c0 + c1 * m + c2 * m * m, (c1 + 2 * c2 * m) * s, c2 * s * s
        p = _powers(a, b)
        q += d0 * d0 * p[0] + 2 * d0 * d1 * p[1] + (d1 * d1 + 2 * d0 * d2) * p[2] + 2 * d1 * d2 * p[3] + d2 * d2 * p[4]
        slope += (d1 * p[0] + 2 * d2 * p[1]) / s
        chi += (d1 * d1 * p[0] + 4 * d1 * d2 * p[1] + 4 * d2 * d2 * p[2]) / (s * s)
        j = _integrals(a, b, TERMS + 2)
        for k in range(TERMS + 1):
            # z He_k = He_{k+1} + k He_{k-1}, all divided by sqrt(k!).
            up, down = math.sqrt(k + 1), math.sqrt(k)
            first = up * j[k + 1] + (down * j[k - 1] if k else 0.0)
            second = up * math.sqrt(k + 2) * j[k + 2] + (2 * k + 1) * j[k] + (down * math.sqrt(k - 1) * j[k - 2] if k > 1 else 0.0)
            coefficients[k] += d0 * j[k] + d1 * first + d2 * second
    return Moments(coefficients[0], q, slope, chi, *_series(coefficients, s))


def _powers(a: float, b: float) -> list[float]:
    """The integrals of z^p times the normal density from a to b, p = 0 .. 4."""
    low, high = normal(a), normal(b)
    found = [below(b) - below(a), low - high]
    for p in range(2, 5):
        edge = (a ** (p - 1) * low if low else 0.0) - (b ** (p - 1) * high if high else 0.0)
        found.append(edge + (p - 1) * found[p - 2])
    return found


def _integrals(a: float, b: float, terms: int) -> list[float]:
    """The integrals of He_k / sqrt(k!) times the normal density from a to b."""
    low, high = normal(a), normal(b)
    left = _hermite(a, terms) if low else [0.0] * (terms + 1)
    right = _hermite(b, terms) if high else [0.0] * (terms + 1)
    return [below(b) - below(a)] + [(low * left[k - 1] - high * right[k - 1]) / math.sqrt(k) for k in range(1, terms + 1)]


_LEGENDRE = (
    (0.1488743389816312, 0.2955242247147529), (0.4333953941292472, 0.2692667193099963), (0.6794095682990244, 0.2190863625159821),
    (0.8650633666889845, 0.1494513491505806), (0.9739065285171717, 0.0666713443086881),
)  # fmt: skip
_WIDE = (-9.0, -5.0, -2.5, 0.0, 2.5, 5.0, 9.0)
_BENDS = (-6.0, -2.5, -1.0, 0.0, 1.0, 2.5, 6.0)


def _quadrature(f: Callable[[float], tuple[float, float]], m: float, s: float) -> Moments:
    edges = sorted({*_WIDE, *(z for x in _BENDS if -9 < (z := (x - m) / s) < 9)})
    q = slope = chi = 0.0
    coefficients = [0.0] * (TERMS + 1)
    for a, b in pairwise(edges):
        middle, half = (a + b) / 2, (b - a) / 2
        for node, weight in _LEGENDRE:
            for z in (middle - half * node, middle + half * node):
                w = weight * half * normal(z)
                y, d = f(m + s * z)
                q += w * y * y
                slope += w * d
                chi += w * d * d
                wy = w * y
                for k, h in enumerate(_hermite(z, TERMS)):
                    coefficients[k] += wy * h
    return Moments(coefficients[0], q, slope, chi, *_series(coefficients, s))


def skewed_relu(m: float, v: float, skew: float) -> tuple[Moments, float]:
    """Of relu where the argument's third central moment is skew v^1.5 (Gram and Charlier's density); and the result's own skew."""
    found, s = near("relu", m, v), math.sqrt(v)
    t = m / s
    density, share = normal(t), below(t)
    lean = skew / 6 * (t * t - 1) * density
    mean, q = found.m - skew / 6 * t * density * s, found.q + skew / 3 * density * v
    third = s**3 * ((t**3 + 3 * t) * share + (t * t + 2) * density + skew * share)
    left = q - mean * mean
    own = (third - 3 * mean * q + 2 * mean**3) / left**1.5 if left > 0 else 0.0
    return found._replace(m=mean, q=q, slope=found.slope + lean, chi=found.chi + lean), own
