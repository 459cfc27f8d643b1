"""Moments of a routing plan: the k largest of n Gaussian scores, drawn once with one seed. No torch, no numpy."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean
from typing import NamedTuple

DRAWS, FEWEST = 12_000, 150
"""Scores that are drawn, in rows of n, and rows at least: E w^2 is known to about 1 %."""


class Law(NamedTuple):
    """How gates come of a row of n independent scores N(m, v). Correlations of one score at two tokens and in two samples."""

    n: int
    m: float
    v: float
    tokens: float
    samples: float
    score: str = ""
    """`softmax` or `sigmoid`; empty where gates are 0 and 1."""
    k: int = 0
    by: str = "row"
    dropout: float = 0.0
    whole: bool = False
    """The gates of a row sum to 1."""

    def rounded(self) -> Law:
        """Nearly the same, so that few laws are ever drawn."""
        m = round(self.m, 2) if self.score == "sigmoid" else 0.0
        near = (round(min(1.0, max(0.0, r)) * 25) / 25 for r in (self.tokens, self.samples))
        return self._replace(m=m, v=float(f"{self.v:.3g}"), tokens=next(near), samples=next(near))


class Plan(NamedTuple):
    """What a value is on the way from scores to gates. `laws`: one for each part of the tokens."""

    step: str
    """`p`: weights of all experts; `chosen`; `gates`; `sum` of a row's; `inverse` of that sum."""
    laws: tuple[Law, ...]
    uneven: float = 0.0
    """Relative variance, from expert to expert, of the variance of its scores."""
    kept: float = 1.0
    """Share of the chosen that capacity leaves."""
    atoms: frozenset[int] = frozenset()
    """Of the scores: what gates are multiplied by is independent of them, or not predicted."""


class Gates(NamedTuple):
    """Of the gate w of one expert, and of the sum of all of a row."""

    mean: float
    own: tuple[float, float, float]
    """E w w': at the same place, at two tokens, in two samples."""
    sums: tuple[float, float, float]
    """The same of the sum."""
    left: float
    """What gradients of gates that are independent of one another are multiplied by on their way to the scores."""
    shared: float
    """The same of gradients that are all one."""
    lean: float
    """E of a score's square over v, each weighted by how much of the gradient reaches it."""
    chance: float
    """By how much E w^2 of an expert grows with the log of its scores' deviation."""
    squares: tuple[float, float]
    """E w^4, and E of the square of a row's sum of w^2."""
    empty: float
    """How many rows have no expert."""


@lru_cache(maxsize=256)
def gates(law: Law) -> Gates:
    """Three places are drawn at once: a token, another of its sample, one of another sample."""
    draw = random.Random(0)  # noqa: S311
    count = max(FEWEST, DRAWS // law.n)
    places = (1.0, law.tokens, law.samples)
    rows: list[list[list[float]]] = [[], [], []]
    stays: list[list[bool] | None] = []
    for _ in range(count):
        first = [draw.gauss(0.0, 1.0) for _ in range(law.n)]
        stays.append(_stays(draw, law) if law.dropout else None)
        for place, r in enumerate(places):
            rows[place].append(
                first
                if r >= 1
                else [r * z + math.sqrt(1 - r * r) * draw.gauss(0.0, 1.0) for z in first]
                if r > 0 or law.dropout
                else []
            )
    weights = [_weights(law, found, stays) if found[0] else [] for found in rows]
    mean = fmean(w for row in weights[0] for w in row)
    own, sums = [], []
    for other in weights:
        # Of independent scores nothing need be drawn.
        own.append(
            fmean(a * b for x, y in zip(weights[0], other, strict=True) for a, b in zip(x, y, strict=True))
            if other
            else mean**2
        )
        sums.append(
            fmean(math.fsum(x) * math.fsum(y) for x, y in zip(weights[0], other, strict=True))
            if other
            else (law.n * mean) ** 2
        )
    back = [_back(law, z, w) for z, w in zip(rows[0], weights[0], strict=True)]
    left = fmean(math.fsum(row) for row, _ in back) / law.n
    shared = fmean(item for _, item in back) / law.n
    leaning = (
        fmean(
            math.fsum(a * b * b for a, b in zip(row, z, strict=True)) for (row, _), z in zip(back, rows[0], strict=True)
        )
        / law.n
    )
    grown = fmean(
        w * w * (a * a - 1) for x, y in zip(weights[0], rows[0], strict=True) for w, a in zip(x, y, strict=True)
    )
    return Gates(mean, (own[0], own[1], own[2]), (sums[0], sums[1], sums[2]), left, shared, leaning / left if left > 0 else 1.0, grown / own[0] if own[0] > 0 else 0.0,
                 (fmean(w**4 for row in weights[0] for w in row), fmean(math.fsum(w * w for w in row) ** 2 for row in weights[0])), fmean(not any(row) for row in weights[0]))  # fmt: skip


def _stays(draw: random.Random, law: Law) -> list[bool]:
    """Which experts are not dropped out: one draw for all rows of a step, and `k` stay always."""
    found = [draw.random() for _ in range(law.n)]
    least = sorted(found, reverse=True)[law.k - 1]
    return [item >= law.dropout or item >= least for item in found]


def _scores(law: Law, z: Sequence[float]) -> list[float]:
    s = math.sqrt(law.v)
    if law.score == "sigmoid":
        return [1 / (1 + math.exp(-max(-700.0, law.m + s * item))) for item in z]
    top = max(z)
    grown = [math.exp(s * (item - top)) for item in z]
    total = math.fsum(grown)
    return [item / total for item in grown]


def _weights(law: Law, rows: Sequence[Sequence[float]], stays: Sequence[list[bool] | None]) -> list[list[float]]:
    scores = [_scores(law, z) for z in rows]
    if law.by == "expert":
        every = sorted((p for row in scores for p in row), reverse=True)
        least = every[max(0, round(len(every) * law.k / law.n) - 1)]
        return [[(p if law.score else 1.0) if p >= least else 0.0 for p in row] for row in scores]
    found = []
    for z, p, open_ in zip(rows, scores, stays, strict=True):
        order = sorted((e for e in range(law.n) if open_ is None or open_[e]), key=z.__getitem__, reverse=True)[: law.k]
        total = math.fsum(p[e] for e in order) if law.whole else 1.0
        row = [0.0] * law.n
        for e in order:
            row[e] = p[e] / total if law.score else 1.0
        found.append(row)
    return found


def _back(law: Law, z: Sequence[float], w: Sequence[float]) -> tuple[list[float], float]:
    """For each score s_j the sum over gates of (dw_e/ds_j)^2; and the sum over scores of (sum over gates of dw_e/ds_j)^2."""
    if not law.score:
        return [0.0] * law.n, 0.0
    p = _scores(law, z)
    if law.score == "sigmoid" and not law.whole:
        diagonal = [a * a * (1 - b) ** 2 for a, b in zip(w, p, strict=True)]
        return diagonal, math.fsum(diagonal)
    square = math.fsum(a * a for a in w)
    if law.whole:  # A softmax among the chosen ones.
        bend = [1 - b if law.score == "sigmoid" else 1.0 for b in p]
        return [(a * c) ** 2 * (1 - 2 * a + square) for a, c in zip(w, bend, strict=True)], 0.0
    total = math.fsum(w)
    each = [b * b * square + a * a * (1 - 2 * b) for a, b in zip(w, p, strict=True)]
    return each, math.fsum((a - b * total) ** 2 for a, b in zip(w, p, strict=True))


@lru_cache(maxsize=256)
def logsumexp(v: float, n: int) -> tuple[float, float]:
    """Mean and variance of log(sum exp z) of n independent N(0, v)."""
    draw, s = random.Random(0), math.sqrt(v)  # noqa: S311
    found = []
    for _ in range(max(FEWEST, DRAWS // n)):
        row = [draw.gauss(0.0, s) for _ in range(n)]
        top = max(row)
        found.append(top + math.log(math.fsum(math.exp(item - top) for item in row)))
    mean = fmean(found)
    return mean, fmean((item - mean) ** 2 for item in found)


def inverse(sizes: Sequence[float], k: int) -> float:
    """E v E 1/v of the sum v of k of these numbers, drawn without putting back; less 1."""
    if min(sizes) <= 0 and k == 1:
        return math.inf
    draw = random.Random(0)  # noqa: S311
    sums = (
        [math.fsum(draw.sample(sizes, k)) for _ in range(400)]
        if 1 < k < len(sizes)
        else [math.fsum(sizes)]
        if k > 1
        else sizes
    )
    return fmean(sums) * fmean(1 / item for item in sums) - 1 if min(sums) > 0 else math.inf


def over(mean: float, spread: float, limit: float) -> float:
    """E max(0, x - limit) of a Gaussian."""
    if spread <= 0:
        return max(0.0, mean - limit)
    a = (limit - mean) / spread
    return spread * (math.exp(-a * a / 2) / math.sqrt(2 * math.pi) - a * math.erfc(a / math.sqrt(2)) / 2)


__all__ = ["Gates", "Law", "Plan", "gates", "inverse", "logsumexp", "over"]
