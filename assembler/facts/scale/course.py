"""Signal scale along the positions of causal attention: early ones read few tokens and are large, late ones are means of
many; and the gradient of what is read is largest at early positions, which all later ones read."""

from __future__ import annotations

from functools import lru_cache
from math import pi, sqrt
from typing import NamedTuple

from assembler.facts.scale.moments_row import harmonic_like

EACH, GROWTH = 12, 1.3
"""Positions that count one by one; from there on runs of positions stand for themselves, each so many times as long as the one before."""


class Course(NamedTuple):
    """Mean squares w(t) along positions t = 1 .. n, of mean 1: 1 - share + share f(t) / E f, f(t) = a / (t - 1 + a).

    The part that varies is a mean over the tokens before (of a gradient: a sum over those behind), so two tokens share of
    it what the later one has, times `common`: queries that differ read the same tokens with other weights. `under`: what it was divided by since, position by position; w is then of no certain mean.
    """

    n: float
    a: float
    share: float
    common: float = 1.0
    under: Course | None = None

    @property
    def bend(self) -> float:
        """What f(t) is multiplied by."""
        return self.share / self.mean if self.share else 0.0

    @property
    def mean(self) -> float:
        """E f."""
        return self.a * harmonic_like(self.n, self.a) / self.n

    @property
    def later(self) -> float:
        """E f of the later of two positions."""
        return 2 * self.a / (self.n * (self.n - 1)) * (self.n - self.a * harmonic_like(self.n, self.a))

    def inverse(self) -> float:
        """E 1/w."""
        flat, bend = max(1e-6, 1 - self.share), self.bend
        # 1 / (flat + bend f) = (1 - k / (t - 1 + a + k)) / flat, k = a bend / flat.
        k = self.a * bend / flat
        return (1 - k * harmonic_like(self.n, self.a + k) / self.n) / flat

    def beside(self, eps: float) -> Course:
        """With eps more at each position."""
        return self._replace(share=self.share / (1 + eps))


class Sums(NamedTuple):
    """Means over positions, and over pairs of them, of a course: `read` of w f, f the reader's; `pairs` of u u', the roots of
    what it was divided by; `shared` of u u' times what the pair has in common; then the same times f of the later one."""

    whole: float
    read: float
    pairs: float
    shared: float
    pairs_read: float
    shared_read: float
    pairs_early: float
    shared_early: float
    """Over the pairs of a prefix, as the mean over all prefixes, each as much as its pairs are of what attention reads."""


def sums(course: Course, a: float = 1.0) -> Sums:
    """`a`: of the attention that reads it."""
    over, flat, bend = course.a, 1 - course.share, course.bend
    under = course.under or Course(course.n, 1.0, 0.0)
    low, steep, other = 1 - under.share, under.bend, under.a
    whole = read = pairs = shared = pairs_read = shared_read = earlier = size = weight = pairs_early = shared_early = 0.0
    last = (0.0, 0.0)
    for before, count in _runs(course.n):
        own, f = over / (before + over), a / (before + a)
        square = 1 / (low + steep * other / (before + other))
        root = sqrt(square)
        w = count * (flat + bend * own) * square
        both = count * root * (earlier + (count - 1) / 2 * root)
        earlier += count * root
        whole, read = whole + w, read + w * f
        pairs, shared = pairs + both, shared + both * own
        pairs_read, shared_read = pairs_read + both * f, shared_read + both * own * f
        size += count
        if size > 1:
            some, of = count * (1 - 1 / (before + 1)), size * (size - 1) / 2
            here = pairs / of, shared / of
            last = here if count == 1 else last  # of a long run the mean of both its ends
            weight += some
            pairs_early, shared_early = pairs_early + some * (last[0] + here[0]) / 2, shared_early + some * (last[1] + here[1]) / 2
            last = here
    n, twice = course.n, 2 / (course.n * (course.n - 1))
    return Sums(whole / n, read / n, pairs * twice, shared * twice, pairs_read * twice, shared_read * twice, pairs_early / weight, shared_early / weight)


def readers(n: float, a: float, common: float) -> Course:
    """Of a gradient that comes from all later positions: the sum over s >= t of f(s) / s, right at t = 1 and far from it."""
    first = (harmonic_like(n, 1.0) - harmonic_like(n, a)) / (a - 1) if a > 1.001 else pi * pi / 6
    return Course(n, 1 / first, 1.0, common)


def divided(course: Course, c: float, by: Course) -> tuple[float, float, float]:
    """Of values of this course and of c, mean square, mean product of two and of two of a prefix, once each is divided by the root of `by`."""
    bend = course.bend * course.common
    base = c - bend * course.later if bend else c
    found = sums(course._replace(under=by))
    return found.whole, base * found.pairs + bend * found.shared, base * found.pairs_early + bend * found.shared_early


def read(course: Course, c: float, a: float) -> tuple[float, float]:
    """What causal attention reads of a gradient of this course and of c, for one of an even course: at one position, and in pairs."""
    found, even = sums(course, a), Course(course.n, a, 0.0)
    bend = course.bend * course.common
    base = (c * found.whole - bend * found.shared) / found.pairs
    pairs = base * found.pairs_read + bend * found.shared_read
    return found.read / (found.whole * even.mean), pairs / (found.whole * even.later)


@lru_cache(maxsize=256)
def _runs(n: float) -> tuple[tuple[float, float], ...]:
    """Runs of positions: how many tokens stand before the middle one, and how many the run has."""
    found, start = [], 0.0
    while start < n:
        count = min(n - start, max(1.0, start * (GROWTH - 1)) if start >= EACH else 1.0)
        found.append((start + (count - 1) / 2, count))
        start += count
    return tuple(found)


def summed(a: Course | None, b: Course | None, share: float) -> Course | None:
    """Of a sum of two, of which the first is so much."""
    first, second = share * a.share if a else 0.0, (1 - share) * b.share if b else 0.0
    larger = a if first >= second else b
    return larger._replace(share=first + second) if larger is not None else None
