"""Second moments of a run of tokens by what they are made of, and what becomes of runs that are cut, merged and added.

A run is `m + sum a_k e_k`: a mean that its channels share, and atoms, uncorrelated, of zero mean and unit second moment.
Each atom has a correlation between two tokens of one sample and one between two samples. Runs that share an atom
interfere as they do in the model: x + x has 4 q.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from math import sqrt

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
        ss = s * s
        return summed_up(self.n, self.m * s, {k: (a * s, t, b) for k, (a, t, b) in self.atoms.items()}, self.q * ss, self.c * ss, self.b * ss)

    def with_n(self, n: float) -> Part:
        return self if n == self.n else summed_up(n, self.m, self.atoms, self.q, self.c, self.b)


def summed_up(n: float, m: float, atoms: Atoms, q: float, c: float, b: float) -> Part:
    """Without adding up again what is known."""
    found = _empty(Part)
    found.n, found.m, found.atoms, found.q, found.c, found.b = n, m, atoms, q, c, b
    return found


_empty: Callable[[type[Part]], Part] = object.__new__


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
    tokens, samples = (c - mm) / v, (b - mm) / v
    if not (-1 <= tokens <= 1 and -1 <= samples <= 1):
        tokens, samples = _within(tokens), _within(samples)
    return summed_up(n, m, {label: (sqrt(v), tokens, samples)}, q, mm + v * tokens, mm + v * samples)


def _within(r: float) -> float:
    return 1.0 if r > 1 else -1.0 if r < -1 else r


def mean_of(parts: Sequence[Part], name: str) -> float:
    """Of one of its moments, over all tokens."""
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
    return part(n, label, mean_of(parts, "q"), pairs(parts), mean_of(parts, "b"), mean)


def refined(parts: Sequence[Part], sizes: Sequence[float], label: int) -> tuple[Part, ...]:
    """The same tokens, cut into runs of these sizes."""
    if len(parts) == 1:
        one = parts[0]
        return (one.with_n(sizes[0]),) if len(sizes) == 1 else tuple(one.with_n(n) for n in sizes)
    if len(parts) == len(sizes) and all(item.n == n for item, n in zip(parts, sizes, strict=True)):
        return tuple(parts)
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


def sum_of(values: Sequence[Part], fresh: Fresh) -> Part:
    """Their sum, token by token."""
    atoms: dict[int, tuple[float, float, float]] = dict(values[0].atoms)
    mean = values[0].m
    if len(values) == 2 and atoms.keys().isdisjoint(values[1].atoms):
        a, b = values
        both = 2 * mean * b.m
        atoms.update(b.atoms)
        return summed_up(a.n, mean + b.m, few(atoms, fresh), a.q + b.q + both, a.c + b.c + both, a.b + b.b + both)
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
