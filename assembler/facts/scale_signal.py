"""The abstract value of analysis S: second moments of a value by what they are made of.

A value is `m + sum a_k e_k`: a mean that its channels share, and atoms, uncorrelated, of zero mean
and unit second moment. Each atom has a correlation between two tokens of one sample and one
between two samples. Values that share an atom interfere as they do in the model: x + x has 4 q.
Gradients are values of the same sort, with m = 0.

Each axis has a role: `b` samples, `t` tokens (positions, places of an image), `f` features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from math import prod, sqrt
from typing import NamedTuple

from assembler.facts.moments_gates import Plan
from assembler.facts.scale_course import Course

MOST = 8
"""Atoms of one value. Beyond it the smallest are one: what they would have done to one another is lost."""

Atoms = Mapping[int, tuple[float, float, float]]
"""Label -> size a, correlation between tokens, correlation between samples."""


class Part:
    """A run of tokens that are alike. `n`: how many tokens; second moments `q` of one element, `c` between
    two tokens of a sample, `b` between two samples (at any two places)."""

    __slots__ = ("atoms", "b", "c", "m", "n", "q")

    def __init__(self, n: float, m: float, atoms: Atoms) -> None:
        self.n, self.m = n, m
        q = c = b = m * m
        for a, tokens, samples in atoms.values():
            a *= a
            q += a
            c += a * tokens
            b += a * samples
        self.atoms, self.q, self.c, self.b = atoms, q, c, b

    @property
    def v(self) -> float:
        return self.q - self.m * self.m

    def scaled(self, s: float) -> Part:
        return Part(self.n, self.m * s, {k: (a * s, t, b) for k, (a, t, b) in self.atoms.items()})

    def with_n(self, n: float) -> Part:
        return self if n == self.n else Part(n, self.m, self.atoms)


class Fresh:
    """Labels of new atoms."""

    __slots__ = ("next",)

    def __init__(self) -> None:
        self.next = count().__next__


def part(n: float, label: int, q: float, c: float = 0.0, b: float = 0.0, m: float = 0.0) -> Part:
    """One fresh atom with these second moments, the mean's own among them."""
    mm = m * m
    v = q - mm
    if v <= 1e-300:
        return Part(n, m, {})
    return Part(n, m, {label: (sqrt(v), _within((c - mm) / v), _within((b - mm) / v))})


def _within(r: float) -> float:
    return 1.0 if r > 1 else -1.0 if r < -1 else r


class Signal(NamedTuple):
    """What is estimated of one value. `n` tokens in all parts together."""

    shape: tuple[int, ...]
    roles: str
    parts: tuple[Part, ...]
    curve: float = 0.0
    """How much the last activation's shape makes a finite width fluctuate: 1 for relu, 0 for smooth ones."""
    noise: float = 0.0
    """Variance of log q that finite widths make: the sum of 5/n since the last norm (Hanin and Nica 2019)."""
    band: float = 1.0
    """Of a gradient: the factor within which it is promised, without `noise`."""
    ripple: float = 0.0
    """Relative variance, from token to token, of the mean square over features: a norm's gradient goes with E 1/v."""
    skew: float = 0.0
    """Third central moment over v^1.5: sums of what relu gives keep it, and relu of them feels it."""
    uneven: float = 0.0
    """Relative variance, from channel to channel, of the variance: each is a sum with weights of its own."""
    law: tuple[str, float, float, float, float] | None = None
    """f of a Gaussian: fn, mean, variance, correlation between tokens, between samples."""
    source: tuple[Part, ...] | None = None
    """Of what a weight made: the parts of what it read, and `together`. Keys and values of one source are not independent."""
    together: float = 0.0
    """1 / dimensions of the source, and what rotation leaves of it."""
    narrow: float = 0.0
    """1 / dimensions that its tokens vary in (tr C^2 / (tr C)^2 of their covariance); 0: as many as it has features."""
    bent: bool = False
    """Far from Gaussian: an activation, a product or a softmax, and no sum over features since."""
    hollow: bool = False
    """Some rows are nearly nothing beside others: 1 / v of a norm behind is theirs."""
    course: Course | None = None
    """How large its tokens are by position, behind causal attention."""
    plan: Plan | None = None
    """Of what becomes the gates of a mixture."""
    rows: tuple[Signal, ...] | None = None
    """Of values along an axis of their own: each of them."""

    @property
    def n(self) -> float:
        return sum(item.n for item in self.parts) if len(self.parts) > 1 else self.parts[0].n

    @property
    def width(self) -> int:
        """Features of one token."""
        return prod(size for size, role in zip(self.shape, self.roles, strict=True) if role == "f")

    @property
    def q(self) -> float:
        return _mean(self.parts, "q") if len(self.parts) > 1 else self.parts[0].q

    @property
    def m(self) -> float:
        return sqrt(sum(item.n * item.m**2 for item in self.parts) / self.n) if len(self.parts) > 1 else self.parts[0].m

    @property
    def c(self) -> float:
        return pairs(self.parts) if len(self.parts) > 1 else self.parts[0].c

    @property
    def b(self) -> float:
        return _mean(self.parts, "b") if len(self.parts) > 1 else self.parts[0].b

    @property
    def lean(self) -> float:
        """1 / dimensions that its tokens vary in."""
        return max(self.narrow, 1 / max(1, self.width))

    def of(self, parts: Iterable[Part]) -> Signal:
        """Like this one, with other moments."""
        return self._replace(parts=tuple(parts), law=None, plan=None, rows=None)

    def reached(self, g: Signal, parts: Sequence[Part], band: float = 0.0) -> Signal:
        """A gradient of these moments that reaches it, made of the gradient `g` and promised at most as narrowly."""
        return Signal(self.shape, self.roles, tuple(parts), 0.0, g.noise, max(band, g.band), course=g.course)

    def even(self, g: Signal, item: Part, label: int, band: float = 0.0) -> Signal:
        """The same of moments that are those of every token."""
        return self.reached(g, refined((item,), [part.n for part in self.parts], label) if len(self.parts) > 1 else (item.with_n(self.parts[0].n),), band)


class Given(NamedTuple):
    """A parameter: independent entries of one mean and variance. `number`: of `Flow.weights`, -1 for none."""

    shape: tuple[int, ...]
    mean: float
    var: float
    eye: bool = False
    number: int = -1
    label: int = -1
    """Of the atom that it is as a value."""
    spread: float = 2.0
    """Relative variance of a squared entry: 2 of a normal one, 0.8 of a uniform one."""
    entries: tuple[float, ...] = ()
    """Its elements one by one, where each starts as a number of its own."""

    @property
    def q(self) -> float:
        return self.mean**2 + self.var


class Ids(NamedTuple):
    """Ids, each as likely as any other; or a mask, all true. Neither has moments."""

    shape: tuple[int, ...]
    roles: str
    vocabulary: int
    tokens: float | None = None
    """How often two tokens of a sample have one id; None: as often as independent ones, 1 / vocabulary."""
    samples: float | None = None
    """The same of two samples."""
    near: tuple[int, Signal] | None = None
    """(table, value): ids of the rows of that table that are nearest to the value."""


class Unknown(NamedTuple):
    """What is not predicted, and why not."""

    reason: str


Value = Signal | Given | Ids | Unknown


def _mean(parts: Sequence[Part], name: str) -> float:
    total: float = sum(item.n * getattr(item, name) for item in parts)
    return total / sum(item.n for item in parts)


def cross(a: Part, b: Part) -> float:
    """Between a token of one part and a token of another."""
    found = a.m * b.m
    for label, (size, r, _) in a.atoms.items():
        other = b.atoms.get(label)
        if other is not None:
            found += size * other[0] * (r + other[1]) / 2
    return found


def pairs(parts: Sequence[Part]) -> float:
    """The mean second moment between two different tokens."""
    n = sum(item.n for item in parts)
    if n <= 1:
        return 0.0
    total = sum(item.n * (item.n - 1) * item.c for item in parts)
    for i, a in enumerate(parts):
        for b in parts[i + 1 :]:
            total += 2 * a.n * b.n * cross(a, b)
    return total / (n * (n - 1))


def merged(parts: Sequence[Part], label: int) -> Part:
    """All parts as one: what is said of a token is then said of a mean one."""
    if len(parts) == 1:
        return parts[0]
    n = sum(item.n for item in parts)
    mean = sum(item.n * item.m for item in parts) / n
    return part(n, label, _mean(parts, "q"), pairs(parts), _mean(parts, "b"), mean)


def refined(parts: Sequence[Part], sizes: Sequence[float], label: int) -> tuple[Part, ...]:
    """The same tokens, cut into runs of these sizes."""
    if len(parts) == len(sizes) and all(item.n == n for item, n in zip(parts, sizes, strict=True)):
        return tuple(parts)
    if len(parts) == 1:
        return tuple(parts[0].with_n(n) for n in sizes)
    if len(sizes) == 1:
        return (merged(parts, label).with_n(sizes[0]),)
    found, start = [], 0.0
    for n in sizes:
        inside = list(window(parts, start, start + n))
        found.append(merged(inside, label) if inside else parts[-1].with_n(n))
        start += n
    return tuple(found)


def window(parts: Sequence[Part], start: float, stop: float) -> Iterator[Part]:
    """The parts between two tokens."""
    here = 0.0
    for item in parts:
        inside = min(stop, here + item.n) - max(start, here)
        if inside > 0:
            yield item.with_n(inside)
        here += item.n


def common(a: Sequence[Part], b: Sequence[Part]) -> list[float]:
    """Sizes of runs that both are constant on."""
    cuts = set()
    for parts in (a, b):
        here = 0.0
        for item in parts:
            here += item.n
            cuts.add(here)
    edges = sorted(cuts)
    return [stop - start for start, stop in zip([0.0, *edges], edges, strict=False)]


def tokens(shape: Sequence[int], roles: str) -> int:
    return prod(size for size, role in zip(shape, roles, strict=True) if role == "t")


def sum_of(values: Sequence[Part], fresh: Fresh) -> Part:
    """Their sum, token by token."""
    atoms: dict[int, tuple[float, float, float]] = dict(values[0].atoms)
    mean = values[0].m
    for item in values[1:]:
        mean += item.m
        for label, atom in item.atoms.items():
            old = atoms.get(label)
            atoms[label] = atom if old is None else (old[0] + atom[0], *atom[1:])
    return Part(values[0].n, mean, few(atoms, fresh))


def few(atoms: dict[int, tuple[float, float, float]], fresh: Fresh) -> Atoms:
    """At most MOST of them."""
    if len(atoms) <= MOST:
        return atoms
    order = sorted(atoms, key=lambda label: -abs(atoms[label][0]))
    kept = {label: atoms[label] for label in order[: MOST - 2]}
    q = c = b = 0.0
    for label in order[MOST - 2 :]:
        a, t, s = atoms[label]
        q, c, b = q + a * a, c + a * a * t, b + a * a * s
    if q > 0:
        kept[fresh.next()] = (sqrt(q), c / q, b / q)
    return kept


def mean_square(item: Part, counts: tuple[float, float]) -> float:
    """The second moment of the mean over so many tokens and features."""
    t, f = counts
    return (item.q + (t - 1) * item.c + (t * f - t) * item.m**2) / (t * f)
