"""Analysis Z, backward: where each primitive lets a gradient through.

Three questions are asked of the same rules. `floats`: where may a gradient other than zero arrive;
`exact`: the same in exact arithmetic, where what always cancels (a bias before a batch norm, a bias
of all keys before a softmax) is zero; `reach`: where does autograd go at all, whatever the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from assembler.facts.flow import number
from assembler.facts.zero.blend import blended
from assembler.facts.zero.rules import CENTERED, LINEAR, normed_axes
from assembler.facts.zero.values import Axes, Body, Value, moved_sum
from assembler_schemas.kind import Step

Mode = Literal["floats", "exact", "reach"]
Gradient = frozenset[Axes]
"""A gradient other than zero: the sets of axes over which, together, it always sums to zero."""
PLAIN: Gradient = frozenset()
Given = Sequence[Gradient | None]
"""For each operand what arrives there; None: nothing, or zeros."""

AT_ZERO = frozenset({"relu", "relu6"})
"""Functions whose derivative at zero is zero, as torch defines it."""


def none(value: Value, mode: Mode) -> bool:
    """Whether a value is zero, as far as gradients are concerned."""
    return mode != "reach" and (value.zero or (mode == "exact" and not value.math))


def merge(one: Gradient | None, other: Gradient | None) -> Gradient | None:
    """The sum of two gradients of one value."""
    return other if one is None else one if other is None else one & other


def onto(gradient: Gradient, operand: Value, result: Value, mode: Mode) -> Gradient | None:
    """What arrives at an operand that is broadcast: the sum over the axes that it does not have."""
    if mode == "exact" and any(axes <= operand.single for axes in gradient):
        return None
    return gradient if operand.single <= result.single else PLAIN


def through(gradient: Gradient, factor: Value) -> Gradient:
    """Times a value: sums stay zero along axes along which it is constant."""
    return frozenset(axes for axes in gradient if axes <= factor.even) if gradient else gradient


# --- linear ---
def _matmul(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    a, b = operands
    if step.attributes["spec"] != LINEAR:
        return (None if none(b, mode) else PLAIN, None if none(a, mode) else PLAIN)
    rows = frozenset(axes for axes in g if -1 not in axes)
    cancels = mode == "exact" and any(axes <= a.even for axes in rows)
    return (None if none(b, mode) else rows, None if none(a, mode) or cancels else PLAIN)


def _add(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    if mode != "reach" and number(step.attributes.get("scale", 1), body.sizes) == 0:
        return [None] * len(operands)
    return [onto(g, item, result, mode) for item in operands]


def _multiply(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    if mode != "reach" and number(step.attributes.get("scale", 1), body.sizes) == 0:
        return [None] * len(operands)
    zeros = [none(item, mode) for item in operands]
    found: list[Gradient | None] = []
    for place, item in enumerate(operands):
        others = [other for at, other in enumerate(operands) if at != place]
        if sum(zeros) > zeros[place]:
            found.append(None)
            continue
        passed = g
        for other in others:
            passed = through(passed, other)
        found.append(onto(passed, item, result, mode))
    return found


def _blend(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    """A softmax over one value has no gradient; weights that sum to 1 do not matter where all values are one."""
    found = blended(step, operands)
    passed = frozenset(axes for axes in g if axes <= found.even)
    stopped = found.known if found.exact and mode != "reach" else None
    to_values = [None if stopped is not None and stopped[place] == 0.0 else passed for place in range(len(found.values))]
    if found.weight is None:
        return to_values
    single = found.convex and len(found.values) == 1
    same = mode == "exact" and found.convex and found.alike
    even = frozenset[int]().union(found.values[0].even).intersection(*(item.even for item in found.values), found.summed)
    cancels = mode == "exact" and any(axes <= even for axes in g)
    if mode != "reach" and (all(none(item, mode) for item in found.values) or same or cancels or (single and found.by == "softmax")):
        return [None, *to_values]
    return [frozenset({frozenset({-1})}) if found.by == "softmax" else PLAIN, *to_values]


def _median(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    return [g if len(operands) == 1 else PLAIN] * len(operands)


def _conv(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    x, weight = operands
    return (None if none(weight, mode) else PLAIN, None if none(x, mode) else PLAIN)


def _gather(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    return (PLAIN, None)


# --- element by element ---
def _pointwise(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    (x,), fn = operands, step.attributes["fn"]
    if mode == "reach" or fn in ("identity", "cast", "gumbel"):
        return (g,)
    if fn == "dropout":
        p = float(number(step.attributes["p"], body.sizes)) if body.training else 0.0
        return (None if p >= 1.0 else PLAIN if p else g,)
    if fn == "power":
        exponent = float(number(step.attributes["exponent"], body.sizes))
        return (None if exponent == 0.0 or (exponent > 1.0 and none(x, mode)) else through(g, x),)
    if fn == "gaussian" and not body.training:
        return (None,)
    if fn in ("rotary", "gaussian", "jitter"):
        return (PLAIN,)
    return (None if fn in AT_ZERO and none(x, mode) else through(g, x),)


# --- statistics ---
def _norm(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    """Nothing is held back, zeros as input or not. Where a mean is taken off, the gradient sums to zero."""
    x, kind = operands[0], step.attributes["kind"]
    axes = normed_axes(body, step)
    if mode != "reach" and kind == "layer" and axes <= x.single:
        return (None,)
    if kind == "batch" and not body.training:
        return (g,)
    return (frozenset({axes}) if kind in CENTERED and axes else PLAIN,)


def _softmax(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    axis = step.attributes.get("axis", -1)
    if mode != "reach" and axis in operands[0].single:
        return (None,)
    return (frozenset({frozenset({axis})}),)


def _softmax_mix(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    """With one key, or rows of `v` that are all alike, the weights do not matter; what is added to all
    keys alike does not either."""
    q, k, v = operands[:3]
    rest = len(operands) - 3
    if mode != "reach" and (none(v, mode) or -2 in k.single or (mode == "exact" and -2 in v.even)):
        return (None, None, PLAIN, *[None] * rest)
    to_q = None if none(k, mode) or (mode == "exact" and -2 in k.even) else PLAIN
    to_k = None if none(q, mode) else frozenset({frozenset({-2})})
    bias = [onto(frozenset({frozenset({-1})}), item, item, mode) for item in operands[3:]]
    return (to_q, to_k, PLAIN, *bias)


def _reduce(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    return (PLAIN,)


# --- shape ---
def _reshape(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    return (frozenset(back for axes in g if (back := moved_sum(step.attributes["pattern"], axes)) is not None) if g else g,)


def _concat(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    kept = PLAIN if step.attributes.get("new", False) else frozenset(axes for axes in g if step.attributes["axis"] not in axes)
    return [kept] * len(operands)


def _select(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    return (g,)


def _expand(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    return (onto(g, operands[0], result, mode),)


def _nothing(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    return [None] * len(operands)


def _straight_through(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    """What is chosen forward gets nothing; the gradient is that of the other, whatever either is."""
    return (None, g)


def _row_mean(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    return (g & frozenset({frozenset({-1})}),)


def _logsumexp(body: Body, step: Step, operands: Sequence[Value], result: Value, g: Gradient, mode: Mode) -> Given:
    return (PLAIN,)


Rule = Callable[[Body, Step, Sequence[Value], Value, Gradient, Mode], Given]
RULES: Mapping[str, Rule] = {
    "matmul": _matmul,
    "add": _add,
    "multiply": _multiply,
    "blend": _blend,
    "median": _median,
    "conv": _conv,
    "gather": _gather,
    "pointwise": _pointwise,
    "norm": _norm,
    "softmax": _softmax,
    "softmax_mix": _softmax_mix,
    "reduce": _reduce,
    "pool": _reduce,
    "reshape": _reshape,
    "concat": _concat,
    "select": _select,
    "expand": _expand,
    "detach": _nothing,
    "argmax": _nothing,
    "one_hot_max": _nothing,
    "nearest": _nothing,
    "straight_through": _straight_through,
    "constant": _nothing,
    "choose": _nothing,
    "crop": _nothing,
    "row_mean": _row_mean,
    "logsumexp": _logsumexp,
}
