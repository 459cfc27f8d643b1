"""Signal scale through a mixture: from scores to gates, from gates to the sum of experts, and back.

The steps between scores and gates are made of one draw of scores, so each is known by what it is on that
way (`Plan`) and not by its moments alone. A rule here asks that first, and else is the rule of other values.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from typing import Any

from assembler.facts.scale import join, moments_gates, norm
from assembler.facts.scale import pointwise as scale_pointwise
from assembler.facts.scale.join import rest
from assembler.facts.scale.moments_gates import Law, Plan
from assembler.facts.scale.part import Part, part, refined
from assembler.facts.scale.place import Run
from assembler.facts.scale.signal import Signal, Unknown, Value

LOOSE = 30.0
"""Band of a gradient that only a mean over the batch makes: an order of size, lost beside any other."""
UNEVEN = 0.8
"""Relative deviation of an expert's share of the batch from which chance decides how many rows it drops."""
STEADY = 0.05
"""Relative variance below which 1 / x is taken as nearly linear."""

Back = tuple[Signal | Unknown | None, ...]


# --- from scores to what is chosen ---
def _laws(x: Signal, score: str) -> tuple[Law, ...]:
    return tuple(_law(item, x.shape[-1], score) for item in x.parts)


def _law(item: Part, n: int, score: str) -> Law:
    tokens, samples = ((item.c - item.m**2) / item.v, (item.b - item.m**2) / item.v) if item.v > 0 else (1.0, 1.0)
    return Law(n, item.m, item.v, tokens, samples, score)


def softmax(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    found = scale_pointwise.softmax(run, at, x)
    if (
        not isinstance(found, Signal)
        or not isinstance(x, Signal)
        or at.get("axis", -1) not in (-1, len(x.shape) - 1)
        or x.roles[-1] != "f"
    ):
        return found
    return found._replace(plan=Plan("p", _laws(x, "softmax"), x.uneven, atoms=_atoms(x)))


def softmax_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> Back:
    return (g,) if _is_of_scores(g) else scale_pointwise.softmax_back(run, at, g, out, x)


def _is_of_scores(g: Signal) -> bool:
    """Whether a gradient came from gates, and so is that of the scores already."""
    return g.law is not None and g.law[0] == "scores"


def pointwise(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    fn = at["fn"]
    if fn == "power" and at.get("exponent") == -1 and isinstance(x, Signal):
        return _inverse(run, x)
    found = scale_pointwise.pointwise(run, at, x)
    if not isinstance(found, Signal) or not isinstance(x, Signal):
        return found
    if fn == "sigmoid" and x.roles[-1] == "f":
        return found._replace(plan=Plan("p", _laws(x, fn), x.uneven, atoms=_atoms(x)))
    if fn == "gaussian":  # Of a deviation that hardly varies it is Gaussian.
        return found._replace(bent=any(item.v > STEADY * item.q for item in x.parts))
    return found


def _inverse(run: Run, x: Signal) -> Value:
    """1 / x of what is far from zero: (1 + v/m^2) / m."""
    if any(item.v > STEADY * item.m**2 or item.m <= 0 for item in x.parts) and not (x.plan and x.plan.step == "sum"):
        return Unknown("power -1 of a value that may be negative or zero")
    label, parts = run.fresh.next(), []
    for item in x.parts:
        r = item.v / item.m**2
        linear = {atom: (-a / item.m**2, t, s) for atom, (a, t, s) in item.atoms.items()}
        shares = ((item.c - item.m**2) / item.m**2, (item.b - item.m**2) / item.m**2)
        c, b = ((1 + 2 * r + both) / item.m**2 for both in shares)
        parts.append(rest(run, label, item.n, (1 + r) / item.m, (1 + 3 * r) / item.m**2, c, b, linear))
    plan = x.plan._replace(step="inverse") if x.plan else None
    return Signal(x.shape, x.roles, tuple(parts), 0.0, x.noise, plan=plan)


def pointwise_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> Back:
    fn = at["fn"]
    if fn == "sigmoid" and _is_of_scores(g):
        return (g,)
    if fn == "power" and at.get("exponent") == -1 and isinstance(x, Signal):
        sizes = refined(g.parts, [item.n for item in x.parts], run.fresh.next())
        return (g.of(item.scaled(-1 / y.m**2) for item, y in zip(sizes, x.parts, strict=True)),)
    found = scale_pointwise.pointwise_back(run, at, g, out, x)
    if fn == "gaussian" and g.law is not None and _is_of_scores(g) and isinstance(x, Signal):
        # Noise that made an expert the chosen one is large where its gradient is not zero.
        _, lean, v, *_ = g.law
        more = 1 + (lean - 1) * min(1.0, x.q / v) if v > 0 else 1.0
        return tuple(item.of(y.scaled(sqrt(more)) for y in item.parts) for item in found if item is not None)
    return found


def choose(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    """Each row its `top_k` best experts, or each expert its best rows."""
    if not isinstance(x, Signal) or x.roles[-1] != "f":
        return x if isinstance(x, Unknown) else Unknown("a choice among parameters, or along tokens")
    start = x.plan or Plan("", _laws(x, ""), x.uneven, atoms=_atoms(x))
    if x.plan is None and x.bent:
        return Unknown("a choice by scores that are far from Gaussian")
    if any(law.v <= 0 for law in start.laws):
        return Unknown("a choice among equal scores: their order decides")
    more = {"score": "", "k": at["top_k"], "by": at["by"], "dropout": at.get("dropout", 0.0)}
    return _planned(run, x, start._replace(step="chosen", laws=tuple(law._replace(**more) for law in start.laws)))


def _atoms(x: Signal) -> frozenset[int]:
    return frozenset(atom for item in x.parts for atom in item.atoms)


def _planned(run: Run, x: Signal, plan: Plan) -> Signal:
    label, found = run.fresh.next(), []
    run.roots[label] = plan.atoms
    for item, law in zip(x.parts, plan.laws, strict=True):
        mean, (q, c, b), _ = moments_of(law, plan.kept)
        found.append(part(item.n, label, q, c, b, mean))
    return Signal(x.shape, x.roles, tuple(found), 0.0, x.noise, bent=True, plan=plan)


Three = tuple[float, float, float]


def moments_of(law: Law, kept: float) -> tuple[float, Three, Three]:
    """Mean, own and sums of `Gates`, where capacity keeps so much."""
    w = moments_gates.gates(law.rounded())
    (q, c, b), (whole, tokens, samples) = w.own, w.sums
    return (
        w.mean * kept,
        (q * kept, c * kept**2, b * kept**2),
        ((whole - law.n * q) * kept**2 + law.n * q * kept, tokens * kept**2, samples * kept**2),
    )


def chance(x: Signal) -> float:
    """Relative variance of an expert's share of the batch: each has scores of its own size, and rows that are alike choose alike."""
    assert x.plan is not None
    found = 0.0
    for item, law in zip(x.parts, x.plan.laws, strict=True):
        w = moments_gates.gates(law.rounded())
        q, c, b = w.own
        rows = (q + (item.n - 1) * c + (x.shape[0] - 1) * item.n * b) / (x.shape[0] * item.n * w.mean**2) - 1
        sizes = 0.0 if law.by == "expert" else x.plan.uneven / 4 * w.chance**2
        found += item.n / x.n * (max(0.0, rows) + sizes)
    return found


def crop(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    """How many rows are one too many: an expert's share of the batch is taken as Gaussian."""
    if not isinstance(x, Signal) or x.plan is None:
        return x if isinstance(x, Unknown) else Unknown("capacity of what is no choice")
    spread = sqrt(chance(x))
    if spread > UNEVEN:
        return Unknown("how many rows capacity drops: most of them choose alike")
    return _planned(run, x, x.plan._replace(kept=1 - moments_gates.over(1.0, spread, at["capacity"])))


# --- gates ---
def multiply(run: Run, at: Mapping[str, Any], *xs: Value) -> Value:
    plans = {x.plan.step: x for x in xs if isinstance(x, Signal) and x.plan is not None}
    p, chosen = plans.get("p"), plans.get("chosen")
    if p is None or chosen is None or p.plan is None or chosen.plan is None:
        return join.multiply(run, at, *xs)
    laws = tuple(
        law._replace(score=own.score, whole="inverse" in plans, m=own.m)
        for law, own in zip(chosen.plan.laws, p.plan.laws, strict=True)
    )
    return _planned(run, p, chosen.plan._replace(step="gates", laws=laws))


def multiply_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, *xs: Value) -> Back:
    if out.plan is None or out.plan.step != "gates":
        found = join.multiply_back(run, at, g, out, *xs)
        return tuple(
            item._replace(law=g.law) if item is not None and len(xs) == 1 and _is_of_scores(g) else item
            for item in found
        )
    back = _scores_back(run, g, out.plan)
    return tuple(back if isinstance(x, Signal) and x.plan is not None and x.plan.step == "p" else None for x in xs)


def _scores_back(run: Run, g: Signal, plan: Plan) -> Signal:
    """From gates to scores. `g.law`: how much of their gradients is one and the same."""
    share = g.law[1] if g.law is not None and g.law[0] == "shared" else 0.0
    label, parts, lean = run.fresh.next(), [], 0.0
    sizes = refined(g.parts, [item.n for item in g.parts] if len(g.parts) == len(plan.laws) else [g.n], label)
    for item, law in zip(sizes, plan.laws, strict=False):
        w = moments_gates.gates(law.rounded())
        left = plan.kept * ((1 - share) * w.left + share * w.shared)
        also = w.own[1] / w.own[0] if w.own[0] > 0 else 0.0
        parts.append(part(item.n, label, left * item.q, left * also * item.c))
        lean += item.n / g.n * w.lean
    return g.of(parts)._replace(law=("scores", lean, plan.laws[0].v, 0.0, 0.0))


def reduce(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    found = norm.reduce(run, at, x)
    if (
        isinstance(found, Signal)
        and isinstance(x, Signal)
        and x.plan is not None
        and x.plan.step == "gates"
        and at["kind"] == "sum"
    ):
        return found._replace(plan=x.plan._replace(step="sum"))
    return found


# --- over the batch ---
def row_mean(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    """One number for each feature: samples, and tokens of each, as far as they have something in common."""
    if not isinstance(x, Signal) or x.roles[0] != "b":
        return x if isinstance(x, Unknown) else Unknown("a mean over samples of what has none")
    item, label = refined(x.parts, [x.n], run.fresh.next())[0], run.fresh.next()
    q = (item.q + (item.n - 1) * item.c + (x.shape[0] - 1) * item.n * item.b) / (x.shape[0] * item.n)
    return Signal(x.shape[-1:], "f", (part(1, label, q, q, q, item.m),), 0.0, x.noise)


def row_mean_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> Back:
    if not isinstance(x, Signal):
        return (None,)
    rows, label = prod(x.shape[:-1]), run.fresh.next()
    q = g.q / rows**2
    return (x.reached(g, [part(item.n, label, q, q, q) for item in x.parts], LOOSE),)


def logsumexp(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    if not isinstance(x, Signal) or x.roles[-1] != "f" or scale_pointwise.far(x):
        return x if isinstance(x, Unknown) else Unknown("a logsumexp of what is far from Gaussian")
    n, label, parts = x.shape[-1], run.fresh.next(), []
    for item in x.parts:
        mean, v = moments_gates.logsumexp(float(f"{item.v:.3g}"), n)
        mean += item.m
        law = _law(item, n, "")
        parts.append(part(item.n, label, mean**2 + v, mean**2 + law.tokens * v, mean**2 + law.samples * v, mean))
    return Signal(x.shape[:-1], x.roles[:-1], tuple(parts), 0.0, x.noise)


def logsumexp_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> Back:
    """p g: the softmax of the scores."""
    if not isinstance(x, Signal):
        return (None,)
    n, label, parts = x.shape[-1], run.fresh.next(), []
    for item, y in zip(refined(g.parts, [p.n for p in x.parts], label), x.parts, strict=True):
        square = scale_pointwise.uneven(y.v, n, x.ripple)[0]
        parts.append(part(y.n, label, item.q * square, item.c / n**2))
    return (x.reached(g, parts),)
