"""Where the values of a step stand: shapes and roles, aligned; parameters as values; what a rule is handed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod, sqrt
from typing import Any

from assembler.facts.scale.part import Fresh, Part, part, refined
from assembler.facts.scale.signal import Given, Signal, Unknown, Value, tokens


@dataclass(slots=True, eq=False, repr=False)
class Run:
    """What the rules share. `row`: the values of the use that runs, `places`: where in it each name stands. `tables`: atom -> (weight, rows) of a table it is a row of."""

    fresh: Fresh
    tables: dict[int, tuple[int, int]]
    row: Sequence[Value] = ()
    places: Mapping[str, int] = field(default_factory=dict)
    slices: dict[tuple[int, int, int], int] = field(default_factory=dict)
    """(atom, start, stop) -> atom of that run of its features: other features are independent."""
    extra: dict[str, Signal] = field(default_factory=dict)
    """Gradients of values that a step names in an attribute."""
    often: frozenset[int] = frozenset()
    """Numbers of the weights that are used more than once."""
    images: dict[tuple[int | str, int], int] = field(default_factory=dict)
    """(map, atom) -> what that map makes of the atom: values that share an atom share its image."""
    roots: dict[int, frozenset[int]] = field(default_factory=dict)
    """Atom that a product made -> the atoms that it is a product of."""

    hard: set[int] = field(default_factory=set)
    """Atoms of one-hot choices."""
    stacks: dict[int, tuple[int, tuple[float, ...]]] = field(default_factory=dict)
    """Atom of values along an axis of their own -> the axis from the end, and the mean products of two of them, pair by pair."""
    softmaxes: dict[int, tuple[float, ...]] = field(default_factory=dict)
    """Atom of a softmax -> the variance of its scores, for each part of the tokens."""
    reads: dict[tuple[int, int, int], tuple[list[Any], int]] = field(default_factory=dict)
    """What attention reads (`mix.Read`), by its attributes, queries and keys."""
    pooled: bool = False
    """Whether neighbouring places may correlate more than others, from an average pool before (forward or back)."""

    chance: float = 0.0
    """Relative deviation of how much of a gradient each of many values gets in one initialisation, where a step found one."""

    def image(self, of: int | str, atom: int) -> int:
        """The atom that one map makes of another, wherever it is used."""
        key = (of, atom)
        if key not in self.images:
            self.images[key] = self.fresh.next()
        return self.images[key]

    def named(self, name: str | None) -> Value | None:
        """The value that an attribute names; None where it is not fed."""
        place = self.places.get(name) if name is not None else None
        return None if place is None else self.row[place]


def shapes_of(xs: Sequence[Value]) -> tuple[tuple[int, ...], str]:
    """Shape and roles of what several values give element by element."""
    return _aligned(tuple([(x.shape, "" if isinstance(x, Given) else x.roles) for x in xs if not isinstance(x, Unknown)]))


@lru_cache(maxsize=4096)
def _aligned(xs: tuple[tuple[tuple[int, ...], str], ...]) -> tuple[tuple[int, ...], str]:
    rank = max(len(shape) for shape, _ in xs)
    whole, roles = [1] * rank, ["f"] * rank
    for shape, named in xs:
        start = rank - len(shape)
        for i, size in enumerate(shape):
            if size > whole[start + i] or (named and size == whole[start + i]):
                whole[start + i] = max(size, whole[start + i])
                if named:
                    roles[start + i] = named[i]
    return tuple(whole), "".join(roles)


def signal_of(x: Value, shape: tuple[int, ...], roles: str) -> Signal:
    """A parameter as a value of this shape: the same for all tokens and samples that it has no axis for."""
    if isinstance(x, Signal):
        return x
    assert isinstance(x, Given)
    n, across, samples = _repeated(x.shape, shape, roles)
    atoms = {x.label: (sqrt(x.var), across, samples)} if x.var > 0 else {}
    return Signal(shape, roles, (Part(n, x.mean, atoms),))


@lru_cache(maxsize=4096)
def _repeated(own_shape: tuple[int, ...], shape: tuple[int, ...], roles: str) -> tuple[int, float, float]:
    """Tokens, and how alike two of them and two samples are of a parameter of `own_shape`."""
    n = tokens(shape, roles)
    own = prod(size for size, role in zip(reversed(own_shape), reversed(roles), strict=False) if role == "t")
    return n, (n / own - 1) / (n - 1) if n > 1 else 1.0, 1 / own


def broadcast(run: Run, x: Signal, shape: tuple[int, ...], roles: str) -> Signal:
    """A value repeated along the axes that it lacks."""
    if x.shape == shape:
        return x if x.roles == roles else x._replace(roles=roles)
    n, own = tokens(shape, roles), x.n
    if n == own:
        return x._replace(shape=shape, roles=roles, law=None)
    label = run.fresh.next()
    item = refined(x.parts, [own], label)[0]
    same = (n / own - 1) / (n - 1) if n > 1 else 1.0
    whole = part(n, label, item.q, same * item.q + (1 - same) * item.c, item.b, item.m)
    return Signal(shape, roles, (whole,), x.curve, x.noise, x.band, x.ripple)


def fit(run: Run, g: Signal, x: Signal) -> Signal:
    """A gradient of a broadcast value, back at the value: summed over the axes along which it was repeated."""
    if g.shape == x.shape and len(g.parts) == len(x.parts):
        return g
    n, own = g.n, x.n
    label = run.fresh.next()
    if prod(g.shape) == prod(x.shape):
        return g._replace(shape=x.shape, roles=x.roles, parts=refined(g.parts, [item.n for item in x.parts], label), law=None)
    over = prod(g.shape) / prod(x.shape)
    t = n / own
    other = over / t
    item = refined(g.parts, [n], label)[0]
    q = other * t * (item.q + (t - 1) * item.c)
    back = part(own, label, q, other * t * t * item.c)
    return x.even(g, back, label)
