"""Signal scale through the sum of a mixture's experts: each reads all rows, and its gate is 0 where it is not chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod, sqrt
from typing import Any

from assembler.facts.scale import linear as scale_linear
from assembler.facts.scale import moments_gates, shape
from assembler.facts.scale.blend import signs
from assembler.facts.scale.gates import Back, Three, chance, moments_of
from assembler.facts.scale.join import rest
from assembler.facts.scale.part import Part, common, few, part, refined, sum_of
from assembler.facts.scale.place import Run
from assembler.facts.scale.signal import Signal, Value

EACH = ("each", 0.0, 0.0, 0.0, 0.0)
"""Law of a gradient that is known row by row."""
ROUGH = 2.0
"""E v E 1/v - 1 of rows from which the ripple of v does not tell 1 / v."""


def concat(run: Run, at: Mapping[str, Any], *xs: Value) -> Value:
    found = shape.concat(run, at, *xs)
    if isinstance(found, Signal) and at.get("new", False) and at["axis"] == -2:
        rows = tuple(x for x in xs if isinstance(x, Signal))
        return found._replace(rows=rows) if len(rows) == len(xs) and len({x.shape for x in rows}) == 1 else found
    return found


def concat_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, *xs: Value) -> Back:
    return g.rows if g.rows is not None and g.law == EACH else shape.concat_back(run, at, g, out, *xs)


def _is_mixture(at: Mapping[str, Any], a: Value, b: Value) -> bool:
    if (
        at["spec"] != "...n,...nd->...d"
        or not isinstance(a, Signal)
        or not isinstance(b, Signal)
        or a.plan is None
        or b.rows is None
    ):
        return False
    return a.plan.step in ("chosen", "gates") and len(b.rows) == b.shape[-2] == a.shape[-1]


def matmul(run: Run, at: Mapping[str, Any], a: Value, b: Value) -> Value:
    if not _is_mixture(at, a, b):
        return scale_linear.matmul(run, at, a, b)
    assert isinstance(a, Signal)
    assert isinstance(b, Signal)
    assert b.rows is not None
    sizes: Sequence[float] = [item.n for item in a.parts]
    for x in b.rows:
        sizes = common(refined(a.parts, sizes, -1), x.parts)
    label = run.fresh.next()
    cut = zip(_along(a, sizes), *(refined(x.parts, sizes, label) for x in b.rows), strict=True)
    parts = tuple(_sum(run, label, row[0], row[1:]) for row in cut)
    total = sum(x.q for x in b.rows)
    noise = sum(x.q * x.noise for x in b.rows) / total if total > 0 else 0.0
    one = b.rows[0]
    bent = all(law.k == 1 for law in a.plan.laws) and any(x.bent for x in b.rows) if a.plan is not None else False
    return Signal(
        one.shape,
        one.roles,
        parts,
        max(x.curve for x in b.rows),
        noise,
        ripple=_ripple(a, b.rows),
        bent=bent,
        hollow=_hollow(a, b.rows),
    )


def _ripple(gates: Signal, rows: Sequence[Signal]) -> float:
    """Relative variance of a row's mean square: of which expert it got, and with which weight."""
    assert gates.plan is not None
    found, n = 0.0, len(rows)
    own, total, squares = sum(x.q * x.ripple for x in rows), sum(x.q for x in rows), sum(x.q**2 for x in rows)
    if total <= 0:
        return 0.0
    for item, law in zip(gates.parts, gates.plan.laws, strict=True):
        w = moments_gates.gates(law.rounded())
        fourth, whole = w.squares
        pair = (whole - n * fourth) / (n * (n - 1)) if n > 1 else 0.0
        spread = (fourth * squares + pair * (total**2 - squares)) / (w.own[0] * total) ** 2 - 1
        found += item.n / gates.n * max(0.0, spread)
    return found + own / total


def _hollow(gates: Signal, rows: Sequence[Signal]) -> bool:
    """Whether some rows have no expert, or small ones alone."""
    assert gates.plan is not None
    if gates.plan.kept < 1 or any(x.hollow for x in rows):
        return True
    sizes = tuple(x.q for x in rows)
    return any(
        moments_gates.gates(law.rounded()).empty > 0 or moments_gates.inverse(sizes, law.k) > ROUGH
        for law in gates.plan.laws
    )


def _along(gates: Signal, sizes: Sequence[float]) -> list[tuple[float, Three, Three]]:
    """Moments of the gates for each run of tokens."""
    assert gates.plan is not None
    found, here, place, end = [], 0.0, 0, gates.parts[0].n
    for n in sizes:
        while here >= end - 1e-6 and place + 1 < len(gates.parts):
            place += 1
            end += gates.parts[place].n
        found.append(moments_of(gates.plan.laws[place], gates.plan.kept))
        here += n
    return found


def _sum(run: Run, label: int, w: tuple[float, Three, Three], xs: Sequence[Part]) -> Part:
    """Sum w_e x_e, gates independent of the experts' weights: their mean times the sum keeps its atoms."""
    mean, own, sums = w
    n, total = len(xs), sum_of(xs, run.fresh)
    found = []
    for name, square, both in zip(("q", "c", "b"), own, sums, strict=True):
        mine = sum(getattr(x, name) for x in xs)
        apart = (both - n * square) / (n * (n - 1)) if n > 1 else 0.0
        found.append(square * mine + apart * (getattr(total, name) - mine))
    linear = {atom: (a * mean, t, s) for atom, (a, t, s) in total.atoms.items()}
    return rest(run, label, total.n, mean * total.m, found[0], found[1], found[2], linear)


def matmul_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, a: Value, b: Value) -> Back:
    if not _is_mixture(at, a, b):
        return scale_linear.matmul_back(run, at, g, out, a, b)
    assert isinstance(a, Signal)
    assert isinstance(b, Signal)
    assert b.rows is not None
    assert a.plan is not None
    run.chance = max(sqrt(chance(a)), 1.0 if any(law.dropout for law in a.plan.laws) else 0.0)  # An expert that is dropped gets nothing.
    backs = _experts_back(run, g, a, len(b.rows))
    found = tuple(
        x.reached(g, refined(back.parts, [item.n for item in x.parts], run.fresh.next()))
        for back, x in zip(backs, b.rows, strict=True)
    )
    values = b.even(g, part(b.n, run.fresh.next(), sum(x.q for x in found) / len(found)), -1)
    return _gates_back(run, g, a, b.rows), values._replace(rows=found, law=EACH)


def _experts_back(run: Run, g: Signal, gates: Signal, n: int) -> list[Signal]:
    """w_e g. What the gates of a row have in common is the same for all; what sets them apart cancels in their sum."""
    rows: list[list[Part]] = [[] for _ in range(n)]
    apart = signs(run, n)
    for item, (mean, own, sums) in zip(g.parts, _along(gates, [item.n for item in g.parts]), strict=True):
        label, (q, c, _), (whole, tokens, _) = run.fresh.next(), own, sums
        linear = {atom: (a * mean, t, s) for atom, (a, t, s) in item.atoms.items()}
        same = rest(run, label, item.n, 0.0, whole / n**2 * item.q, tokens / n**2 * item.c, 0.0, linear).atoms
        square, pair = max(0.0, q - whole / n**2) * item.q, (c - tokens / n**2) * item.c
        for row, sign in zip(rows, apart, strict=True):
            own_atoms = (
                {atom: (sqrt(square) * size, pair / square, 0.0) for atom, size in sign.items()} if square > 0 else {}
            )
            row.append(Part(item.n, 0.0, few({**same, **own_atoms}, run.fresh)))
    return [g.of(row) for row in rows]


def _gates_back(run: Run, g: Signal, gates: Signal, rows: Sequence[Signal]) -> Signal:
    """Of a gate the product of g and its expert's value, summed over features. `law`: what all experts' values share."""
    n, label = len(rows), run.fresh.next()
    wide = prod(rows[0].shape) / prod(rows[0].shape[:-1])
    xs = [refined(x.parts, [x.n], label)[0] for x in rows]
    total, item = sum_of(xs, run.fresh), refined(g.parts, [g.n], label)[0]
    q, c = sum(x.q for x in xs) / n, sum(x.c for x in xs) / n
    cross = (total.q - n * q) / (n * (n - 1)) if n > 1 else q
    back = part(gates.n, label, wide * item.q * q, wide * item.c * c)
    law = ("shared", max(0.0, min(1.0, cross / q)) if q > 0 else 0.0, 0.0, 0.0, 0.0)
    return gates.even(g, back, label)._replace(law=law)
