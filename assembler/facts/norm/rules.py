"""What each primitive (docs/primitives.md) does to the norm state of a value: one rule for each.

A rule is sound at init: what it says of the result is so for every value of which its operands'
states are so, up to the norm's own eps (a row without variance stays without), and up to dropout,
of which it speaks in expectation. docs/contracts-norm.md lists the rules with what they rest on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any, NamedTuple

from assembler.facts.norm import blend
from assembler.facts.norm.state import RANDOM, RAW, SCALED, STREAM, ZERO, State, bound, bounded, join, value
from assembler.facts.number import number
from assembler_schemas.kind import Definition, Step


class Body(NamedTuple):
    """What a rule may ask about the use around its step."""

    definition: Definition
    sizes: Mapping[str, Any]
    fed: Mapping[str, Any]
    """Ports that something feeds."""
    made: Mapping[str, str]
    """Step output -> its operation."""


# --- sums and products ---
def _add(body: Body, step: Step, operands: Sequence[State]) -> State:
    scale = float(number(step.attributes.get("scale", 1), body.sizes))
    weights = [item for item in operands if item.kind == "weight"]
    values = [item for item in operands if item.kind != "weight"]
    if not values:
        gain = None if any(item.gain is None for item in weights) else scale * sum(item.gain or 0.0 for item in weights)
        return State("weight", (), gain, any(item.trained for item in weights))
    heavy = [item for item in values if not item.zero]
    shifted = any(item.trained for item in weights)
    if any(item.gain != 0.0 for item in weights):
        return STREAM if any(item.kind == "stream" for item in heavy) else RAW
    if not heavy:
        return _shift(values[0], shifted) if len(values) == 1 else ZERO
    if len(heavy) == 1:
        return _shift(_times(heavy[0], scale, False), shifted)
    if scale == 1.0:
        products = any(body.made.get(name) == "multiply" for name in step.inputs)
        return RAW if products else STREAM
    return _blend(heavy, scale)


def _shift(state: State, shifted: bool) -> State:
    """With a bias that starts as zeros."""
    return state._replace(shifted=True) if shifted and state.kind not in ("raw", "stream", "zero") else state


def _blend(heavy: Sequence[State], scale: float) -> State:
    """A weighted sum. Of simplexes it is one if the weights sum to 1; independent norms lose variance."""
    first = heavy[0]
    if first.kind == "simplex" and all(item[:3] == first[:3] for item in heavy):
        total = scale * len(heavy)
        return _times(reduce(join, heavy), 1.0 if math.isclose(total, 1.0) else total, False)
    bounds = [bound(item) for item in heavy]
    return RAW if None in bounds else bounded(abs(scale) * math.fsum(item or 0.0 for item in bounds), *heavy)


def _times(state: State, factor: float, trained: bool) -> State:
    """A value times one number, the same for all its elements at init."""
    if state.zero:
        return state._replace(trained=state.trained or trained) if state.kind in SCALED else ZERO
    if factor == 0.0 and state.kind not in SCALED:
        return ZERO
    if state.kind in ("raw", "stream"):
        return state
    gain = (state.gain or 0.0) * factor
    return State(state.kind, state.axes, gain, state.trained or trained, state.shifted) if math.isfinite(gain) else RAW


def _multiply(body: Body, step: Step, operands: Sequence[State]) -> State:
    factor: float | None = float(number(step.attributes.get("scale", 1), body.sizes))
    trained = False
    values = []
    for item in operands:
        if item.kind != "weight":
            values.append(item)
            continue
        trained = trained or item.trained
        factor = None if factor is None or item.gain is None else factor * item.gain
    if not values:
        return State("weight", (), factor, trained)
    if len(values) == 1:
        if factor is None:
            return ZERO if values[0].zero else RAW
        return _times(values[0], factor, trained)
    if factor == 0.0 or any(item.zero for item in values):
        return ZERO
    bounds = [bound(item) for item in values]
    if factor is None or None in bounds:
        return RAW
    return bounded(abs(factor) * math.prod(item or 0.0 for item in bounds), *values)


def _linear(body: Body, step: Step, operands: Sequence[State]) -> State:
    """matmul, conv: any size, but zero for zeros on either side."""
    return ZERO if any(item.gain == 0.0 or item.zero for item in operands) else RAW


def _gather(body: Body, step: Step, operands: Sequence[State]) -> State:
    return ZERO if operands[0].gain == 0.0 or operands[0].zero else RAW


# --- element by element ---
_SHRINKING = frozenset({"relu", "gelu", "gelu_tanh", "silu", "tanh", "elu", "leaky_relu", "relu6", "hardswish", "mish", "quick_gelu"})
"""0 stays 0, and no element grows."""
_LIMITS = {"tanh": 1.0, "sigmoid": 1.0, "relu6": 6.0}
_SAME = frozenset({"identity", "dropout", "cast", "gumbel", "jitter"})
"""Outside training, or in expectation."""


def _pointwise(body: Body, step: Step, operands: Sequence[State]) -> State:
    (x,), fn = operands, step.attributes["fn"]
    if fn in _SAME:
        return x
    if fn == "gaussian":
        return ZERO if x.zero else RAW
    if x.kind == "weight":
        return RANDOM if x.gain != 0.0 or fn in ("sigmoid", "softplus", "power") else x
    if fn == "rotary":
        return _rotary(x)
    if fn == "power":
        return ZERO if x.zero and number(step.attributes["exponent"], body.sizes) > 0 else RAW
    limit = _LIMITS.get(fn, math.inf)
    if fn in _SHRINKING:
        if x.zero:
            return ZERO
        known = bound(x)
        return bounded(limit if known is None else min(limit, known), x)
    return bounded(limit)


def _rotary(x: State) -> State:
    """A rotation of pairs of the last axis: the squares over it stay what they are, the mean does not."""
    if x.zero:
        return ZERO
    if x.kind in ("ln", "rms", "l2") and -1 in x.axes:
        return x._replace(kind="rms" if x.kind == "ln" else x.kind)
    known = bound(x)
    return RAW if known is None else bounded(math.sqrt(2.0) * known, x)


# --- statistics ---
def _norm(body: Body, step: Step, operands: Sequence[State]) -> State:
    (x,), kind = operands, step.attributes["kind"]
    axes = tuple(sorted(step.attributes.get("axes", (-1,))))
    if x.zero or x.gain == 0.0:
        return ZERO
    if kind in ("batch", "group"):
        rank = len(next(iter(body.definition.inputs.values())).type.strip("[]").split())
        axes = tuple(axis for axis in range(-rank, 0) if axis != 1 - rank) if kind == "batch" else tuple(range(1 - rank, 0))
        return State("bn" if kind == "batch" else "ln", axes)
    if kind == "rms":
        centered = x.kind == "ln" and x.axes == axes and not (x.trained or x.shifted)
        return State("ln" if centered else "rms", axes)
    return State("ln" if kind == "layer" else "l2", axes)


def _softmax(body: Body, step: Step, operands: Sequence[State]) -> State:
    return State("simplex", (step.attributes.get("axis", -1),))


def _softmax_mix(body: Body, step: Step, operands: Sequence[State]) -> State:
    """A mean over rows of `v`, or zeros where the mask lets nothing through."""
    v = operands[2]
    if v.zero:
        return ZERO
    if v.kind == "simplex" and v.axes == (-1,) and step.attributes.get("mask") not in body.fed:
        return v
    known = bound(v)
    return RAW if known is None else bounded(known, v)


def _reduce(body: Body, step: Step, operands: Sequence[State]) -> State:
    """The mean over other axes than its own leaves a simplex one, unless a mask may leave nothing of it."""
    (x,), axes = operands, step.attributes["axes"]
    known = bound(x)
    if axes is None:
        return ZERO if known == 0.0 else RAW if known is None or step.attributes["kind"] != "mean" else bounded(known, x)
    if known == 0.0:
        return ZERO
    if known is None or step.attributes["kind"] == "sum":
        return RAW
    if step.attributes["kind"] == "max":
        return bounded(known, x)
    if x.kind == "simplex" and not set(axes) & set(x.axes) and step.attributes.get("mask") not in body.fed:
        gone = () if step.attributes.get("keep", False) else axes
        return x._replace(axes=tuple(axis + sum(1 for item in gone if item > axis) for axis in x.axes))
    return bounded(known, x)


def _pool(body: Body, step: Step, operands: Sequence[State]) -> State:
    known = bound(operands[0])
    return RAW if known is None else ZERO if known == 0.0 else bounded(known, operands[0])


# --- shape ---
def _reshape(body: Body, step: Step, operands: Sequence[State]) -> State:
    (x,) = operands
    if not x.axes:
        return x
    axes, grown = _moved(step.attributes["pattern"], x.axes)
    if not axes or (grown and x.kind not in ("ln", "rms", "bn")):
        known = bound(x)
        return RAW if known is None else bounded(known, x)
    return x._replace(axes=axes)


@lru_cache(maxsize=1024)
def _moved(pattern: str, axes: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    """Where axes go: (all axes of the result that hold a part of them, whether one holds more).

    Runs of equal length, each with mean 0 and variance 1, have them together too.
    """
    left, right = (_axes(side) for side in pattern.split("->"))
    shift = len(left) - len(right)
    inside = {name for axis in axes if -axis <= len(left) for name in left[axis]}
    behind = {axis + shift for axis in axes if -axis > len(left)}
    kept = {place - len(right): names for place, names in enumerate(right) if inside & set(names)}
    return tuple(sorted(behind | set(kept))), any(set(names) - inside for names in kept.values())


def _axes(side: str) -> list[tuple[str, ...]]:
    """The axes of one side without `...`: the names in each, none for an axis of one."""
    return [tuple(name for name in (group or single).split() if name != "1") for group, single in re.findall(r"\(([^)]*)\)|([a-z_0-9]+)", side)]


def _concat(body: Body, step: Step, operands: Sequence[State]) -> State:
    axis = step.attributes["axis"]
    values = [value(item) for item in operands]
    if step.attributes.get("new", False):
        values = [item._replace(axes=tuple(at if at > axis else at - 1 for at in item.axes)) for item in values]
        return reduce(join, values)
    joined = reduce(join, values)
    if axis not in joined.axes or joined.kind in ("ln", "rms", "bn") or len(values) == 1:
        return joined
    return bounded(bound(joined) or 0.0, joined)


def _select(body: Body, step: Step, operands: Sequence[State]) -> State:
    """A slice of what is normed together is not normed."""
    (x,) = operands
    if step.attributes["axis"] not in x.axes or x.zero:
        return x
    known = bound(x)
    return RAW if known is None else bounded(known, x)


def _same(body: Body, step: Step, operands: Sequence[State]) -> State:
    return operands[0]


def _one_hot_max(body: Body, step: Step, operands: Sequence[State]) -> State:
    return State("simplex", (step.attributes.get("axis", -1),))


def _ids(body: Body, step: Step, operands: Sequence[State]) -> State:
    return RAW


def _constant(body: Body, step: Step, operands: Sequence[State]) -> State:
    return State("bounded") if step.attributes["fn"] == "sinusoid" else ZERO


# --- mixtures ---
def _choose(body: Body, step: Step, operands: Sequence[State]) -> State:
    """Zeros and ones; where each row chooses one expert, they sum to 1."""
    one = step.attributes["by"] == "row" and number(step.attributes["top_k"], body.sizes) == 1
    return State("simplex", (-1,)) if one else State("bounded")


def _crop(body: Body, step: Step, operands: Sequence[State]) -> State:
    (x,) = operands
    known = bound(x)
    return ZERO if x.zero else RAW if known is None else bounded(known, x)


def _row_mean(body: Body, step: Step, operands: Sequence[State]) -> State:
    (x,) = operands
    if x.zero or (x.kind == "simplex" and x.axes == (-1,)):
        return ZERO if x.zero else x
    known = bound(x)
    return RAW if known is None else bounded(known, x)


def _logsumexp(body: Body, step: Step, operands: Sequence[State]) -> State:
    return RAW


RULES: Mapping[str, Callable[[Body, Step, Sequence[State]], State]] = {
    "matmul": _linear,
    "conv": _linear,
    "blend": blend.blend,
    "median": blend.median,
    "add": _add,
    "multiply": _multiply,
    "gather": _gather,
    "pointwise": _pointwise,
    "norm": _norm,
    "softmax": _softmax,
    "softmax_mix": _softmax_mix,
    "reduce": _reduce,
    "pool": _pool,
    "reshape": _reshape,
    "concat": _concat,
    "select": _select,
    "expand": _same,
    "detach": _same,
    "argmax": _ids,
    "one_hot_max": _one_hot_max,
    "nearest": _ids,
    "straight_through": _same,
    "constant": _constant,
    "choose": _choose,
    "crop": _crop,
    "row_mean": _row_mean,
    "logsumexp": _logsumexp,
}
