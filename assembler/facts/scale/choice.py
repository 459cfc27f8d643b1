"""Signal scale through choices: the largest entry, the nearest code, noise that makes a choice a draw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from assembler.facts.scale.join import rest
from assembler.facts.scale.moments import below, normal
from assembler.facts.scale.moments_row import largest
from assembler.facts.scale.part import Part, part, refined
from assembler.facts.scale.place import Run
from assembler.facts.scale.signal import Given, Ids, Signal, Unknown, Value

_MEAN, _VARIANCE = 0.5772156649015329, math.pi**2 / 6
"""Of the standard Gumbel distribution."""


def argmax(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    """Each place wins as often as any other, over all weights."""
    if not isinstance(x, Signal) or x.roles[at.get("axis", -1)] != "f":
        return Unknown("`argmax` of a parameter, or along tokens")
    axis = at.get("axis", -1) % len(x.shape)
    item, n = refined(x.parts, [x.n], run.fresh.next())[0], x.shape[axis]
    tokens, samples = _correlations(item)
    return Ids(
        x.shape[:axis] + x.shape[axis + 1 :],
        x.roles[:axis] + x.roles[axis + 1 :],
        n,
        agreement(tokens, n),
        agreement(samples, n),
    )


def nearest(run: Run, at: Mapping[str, Any], x: Value, table: Value) -> Value:
    """|c|^2 - 2 x c is a Gaussian over the codes c, and so correlated between two x as the two parts of its variance say."""
    if not isinstance(x, Signal) or not isinstance(table, Given) or table.mean or not table.var or x.roles[-1] != "f":
        return Unknown("the nearest of what is no table of random rows")
    if table.number in run.often:
        return Unknown(
            "codes of a table that is used more than once: each use moves them, or reads what another has coded"
        )
    item, codes = refined(x.parts, [x.n], run.fresh.next())[0], table.shape[0]
    own = table.spread * table.var
    tokens, samples = ((own + 4 * both) / (own + 4 * item.q) for both in (item.c, item.b))
    return Ids(
        x.shape[:-1],
        x.roles[:-1],
        codes,
        agreement(tokens, codes),
        agreement(samples, codes),
        (table.label, x._replace(parts=(item,))),
    )


def code(run: Run, table: Given, ids: Ids, x: Signal) -> Signal:
    """The nearest of K rows: it leans towards x, which it holds `lean` times, and short rows are nearer than long ones."""
    (item,), width = x.parts, table.shape[-1]
    mean, var = largest(table.shape[0])
    toward = 4 * item.q / (table.spread * table.var + 4 * item.q)
    lean = mean * math.sqrt(toward * table.var / (width * item.q)) if item.q > 0 else 0.0
    shorter = mean * math.sqrt(table.spread * (1 - toward) / width)
    q = table.var * max(0.0, 1 + toward * (mean * mean + var - 1) / width - shorter)
    c, b = (
        often * q + (1 - often) * lean * lean * both
        for often, both in ((ids.tokens or 0.0, item.c), (ids.samples or 0.0, item.b))
    )
    linear = {atom: (a * lean, t, s) for atom, (a, t, s) in item.atoms.items()}
    return Signal(
        (*ids.shape, width), ids.roles + "f", (rest(run, run.fresh.next(), item.n, lean * item.m, q, c, b, linear),)
    )


def _correlations(x: Part) -> tuple[float, float]:
    return ((x.c - x.m**2) / x.v, (x.b - x.m**2) / x.v) if x.v > 0 else (1.0, 1.0)


def one_hot_max(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    """One of n features is 1: q and m are exact. Two tokens agree as often as the places of two correlated rows' largest do."""
    if not isinstance(x, Signal):
        return Unknown("`one_hot_max` of a parameter")
    axis = at.get("axis", -1)
    if x.roles[axis] != "f":
        return Unknown("`one_hot_max` along tokens")
    n = x.shape[axis]
    return Signal(x.shape, x.roles, tuple(_chosen(run, item, n) for item in x.parts), 0.0, 0.0, bent=True)


def _chosen(run: Run, x: Part, n: int) -> Part:
    tokens, samples = ((x.c - x.m**2) / x.v, (x.b - x.m**2) / x.v) if x.v > 0 else (1.0, 1.0)
    label = run.fresh.next()
    run.hard.add(label)
    axis, products = run.stacks.get(next(iter(x.atoms), -1), (0, ()))
    if axis < -1 and x.v > 0:
        # Of choices along the last axis: how often two of the values choose the same.
        run.stacks[label] = (axis, tuple(agreement((item - x.m**2) / x.v, n) / n for item in products))
    return part(x.n, label, 1 / n, agreement(tokens, n) / n, agreement(samples, n) / n, 1 / n)


def agreement(r: float, n: int) -> float:
    """How often the largest of n normals and the largest of n others are at one place, pair by pair correlated by r."""
    if n == 1 or r >= 1:
        return 1.0
    return max(0.0, 2 / n - _agreement(round(-r, 2), n)) if r < 0 else _agreement(round(r, 2), n)


_STEPS, _EDGE = 28, 5.0


@lru_cache(maxsize=1024)
def _agreement(r: float, n: int) -> float:
    """n times the integral of f(a, b) F(a, b)^(n - 1), for f and F of two normals that share a part of size sqrt(r)."""
    if r >= 1:
        return 1.0
    step = 2 * _EDGE / _STEPS
    nodes = [-_EDGE + step * (i + 0.5) for i in range(_STEPS)]
    shared, own = math.sqrt(r), math.sqrt(1 - r)
    # The outer places are where the largest of n lies: around the root of 2 log n, as wide as one normal.
    under = [
        [(below((a - shared * u) / own), normal((a - shared * u) / own) / own, step * normal(u)) for u in nodes]
        for a in nodes
    ]
    total = whole = 0.0
    for i, first in enumerate(under):
        for j, second in enumerate(under[: i + 1]):
            density = sum(w * f * g for (_, f, w), (_, g, _) in zip(first, second, strict=True))
            below_both = sum(w * f * g for (f, _, w), (g, _, _) in zip(first, second, strict=True))
            twice = (1 if i == j else 2) * step * step
            total += twice * n * density * min(1.0, below_both) ** (n - 1)
            whole += twice * density
    return min(1.0, max(1 / n, total / whole if whole > 0 else 1.0))


def gumbel(run: Run, x: Signal) -> Signal:
    """Plus noise that no two elements share."""
    label = run.fresh.next()
    return x.of(_noisy(run, label, item) for item in x.parts)._replace(bent=True)


def _noisy(run: Run, label: int, x: Part) -> Part:
    shift = 2 * x.m * _MEAN + _MEAN**2
    return rest(run, label, x.n, x.m + _MEAN, x.q + shift + _VARIANCE, x.c + shift, x.b + shift, dict(x.atoms))


def straight_through(run: Run, at: Mapping[str, Any], hard: Value, soft: Value) -> Value:
    return hard


def straight_through_back(
    run: Run, at: Mapping[str, Any], g: Signal, out: Signal, hard: Value, soft: Value
) -> tuple[Signal | Unknown | None, ...]:
    return None, g if isinstance(soft, Signal) else soft if isinstance(soft, Unknown) else None
