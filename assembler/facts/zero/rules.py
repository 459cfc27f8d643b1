"""Analysis Z, forward: what each primitive does to values that are zero, equal to others or constant.

Values are those of a flow whose activations are finite (0 times infinity is not zero). -0.0 counts
as zero, as it does for `torch.equal`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from assembler.facts.flow import number
from assembler.facts.zero import blend
from assembler.facts.zero.values import (
    ALL,
    EXACT_AT_ZERO,
    FUNCTIONS,
    NO_AXES,
    NOTHING,
    Axes,
    Body,
    Value,
    common,
    constant,
    dropped,
    form,
    moved,
    number_of,
    power_of_two,
    total,
    zeros,
)
from assembler_schemas.kind import Step

EYE = "eye"
LINEAR = "...i,oi->...o"


def fresh(step: Step, even: Axes = NO_AXES, single: Axes = NO_AXES) -> Value:
    """A value of which nothing else is known."""
    return Value(("step", step.output), frozenset({(("step", step.output), 1.0)}), even | single, single)


# --- linear ---
def _matmul(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    a, b = operands
    if step.attributes["spec"] != LINEAR:
        return _zero_or(step, a.zero or b.zero)
    one = frozenset({-1}) if -2 in b.single else NO_AXES
    even, single = (a.even - {-1}) | one, (a.single - {-1}) | one
    if a.zero or b.zero:
        return zeros(single)
    if b.bits == EYE:
        return a
    return fresh(step, even, single)


def _zero_or(step: Step, zero: bool, even: Axes = NO_AXES, single: Axes = NO_AXES) -> Value:
    return zeros(single) if zero else fresh(step, even, single)


def _add(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    scale = float(number(step.attributes.get("scale", 1), body.sizes))
    even, single = common(operands)
    left = [item for item in operands if not item.zero]
    if not left or scale == 0.0:
        return zeros(single)
    first = left[0]
    made = fresh(step, even, single)
    known = [number_of(item) for item in left]
    if any(item.single - single for item in left):  # The result is of another shape.
        return made._replace(math=total(left, scale, made.bits))
    alike = all(item.bits == first.bits for item in left)
    count = len(left)
    if alike and count * scale == 1.0 and power_of_two(scale):
        return first
    if None not in known and all(item.bits == ("constant", value) for item, value in zip(left, known, strict=True)):
        return _number(step, sum(item for item in known if item is not None) * scale, single)
    return made._replace(math=total(left, scale, made.bits))


def _number(step: Step, value: float, single: Axes) -> Value:
    """Small sums and products of halves and whole numbers are exact in every float."""
    return constant(value, single, exact=value * 8 == int(value * 8) and abs(value) <= 16, name=("step", step.output))


def _multiply(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    factors = [float(number(step.attributes.get("scale", 1), body.sizes))]
    even, single = common(operands)
    if factors[0] == 0.0 or any(item.zero for item in operands):
        return zeros(single)
    rest = []
    for item in operands:
        known = number_of(item)
        if known is None:
            rest.append(item)
        else:
            factors.append(known)
    product = 1.0
    for factor in factors:
        product *= factor
    exact = all(item.bits == ("constant", number_of(item)) for item in operands if item not in rest)
    if not rest:
        return _number(step, product, single) if exact else constant(product, single, False, ("step", step.output))
    made = fresh(step, even, single)
    if len(rest) > 1 or rest[0].single - single:
        return made
    if exact and product == 1.0 and all(power_of_two(item) for item in factors):
        return rest[0]
    return made._replace(math=form({atom: item * product for atom, item in rest[0].math}))


def _conv(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    """What is alike in all examples stays so; along the other axes only if no zeros are put around."""
    x, weight = operands
    rank = rank_of(body)
    padded = number_or_largest(body, step.attributes.get("padding", 0)) > 0
    even = frozenset(axis for axis in x.even if axis <= -rank or (axis > 1 - rank and not padded))
    return _zero_or(step, x.zero or weight.zero, even, frozenset(axis for axis in x.single if axis <= -rank))


def rank_of(body: Body) -> int:
    """How many axes the first port has: kinds over channels state all of them."""
    return len(next(iter(body.definition.inputs.values())).type.partition("[")[2].strip("]").split())


def number_or_largest(body: Body, stated: object) -> float:
    """An attribute that is one number, or one for each axis."""
    items = stated if isinstance(stated, (tuple, list)) else (stated,)
    return max(float(number(item, body.sizes)) for item in items)


def _gather(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    return _zero_or(step, operands[0].zero)


# --- element by element ---
def _pointwise(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    (x,), fn = operands, step.attributes["fn"]
    if fn == "dropout":
        return _dropout(body, step, x)
    if fn in ("gaussian", "jitter"):
        return _random(body, step, x)
    if fn == "gumbel":
        return fresh(step, NO_AXES, x.single) if body.training else x
    if fn == "power":
        return _power(body, step, x)
    if fn == "identity":
        return x
    if fn in FUNCTIONS:
        known = number_of(x)
        if known is None:
            return fresh(step, x.even, x.single)
        at_zero = x.zero and fn in EXACT_AT_ZERO
        return constant(FUNCTIONS[fn](known), x.single, at_zero, ("step", step.output))
    if x.zero:
        return x
    if fn == "cast":
        return fresh(step, x.even, x.single)
    return fresh(step, x.even - {-1, -2}, x.single)


def _dropout(body: Body, step: Step, x: Value) -> Value:
    """Nothing outside training; all zeros in training at probability 1."""
    if not body.training or x.zero or not (p := float(number(step.attributes["p"], body.sizes))):
        return x
    return _zero_or(step, p >= 1.0, single=x.single)


def _random(body: Body, step: Step, x: Value) -> Value:
    """Times random numbers in training; times 1 (`jitter`) or 0 outside it."""
    if body.training and float(number(step.attributes.get("eps", 1), body.sizes)):
        return _zero_or(step, x.zero, single=x.single)
    return x if step.attributes["fn"] == "jitter" else zeros(x.single)


def _power(body: Body, step: Step, x: Value) -> Value:
    exponent = float(number(step.attributes["exponent"], body.sizes))
    if exponent == 1.0:
        return x
    if exponent == 0.0:
        return constant(1.0, x.single)
    return _zero_or(step, x.zero and exponent > 0.0, x.even, x.single)


# --- statistics ---
CENTERED = frozenset({"layer", "batch", "group"})
"""Norms that take a mean off."""


def normed_axes(body: Body, step: Step) -> Axes:
    """The axes whose elements share a mean, together; the channels too where a group has several."""
    kind = step.attributes["kind"]
    if kind in ("batch", "group"):
        rank = rank_of(body)
        alone = kind == "batch" or number(step.attributes["groups"], body.sizes) == body.sizes.get("d")
        return frozenset(axis for axis in range(-rank, 0) if (axis != 1 - rank or not alone) and (kind == "batch" or axis != -rank))
    return frozenset(step.attributes.get("axes", (-1,)))


def _norm(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    x, kind = operands[0], step.attributes["kind"]
    eps = step.attributes.get("eps")
    if kind == "batch" and not body.training:
        return _running(step, x, float(eps or 0.0))
    made = fresh(step, x.even, x.single)
    if eps is not None and eps == 0.0:
        return made
    if x.zero:
        return x
    axes = normed_axes(body, step)
    if kind == "layer" and axes <= x.single:
        return zeros(x.single)
    return made._replace(math=NOTHING) if kind in CENTERED and axes <= x.even else made


def _running(step: Step, x: Value, eps: float) -> Value:
    """Outside training: minus a buffer that starts as zeros, over the root of one that starts as ones."""
    if x.zero:
        return x
    return fresh(step, x.even, x.single)._replace(math=form({atom: item / (1.0 + eps) ** 0.5 for atom, item in x.math}))


def _softmax(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    (x,), axis = operands, step.attributes.get("axis", -1)
    return constant(1.0, x.single) if axis in x.single else fresh(step, x.even, x.single)


def _softmax_mix(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    q, k, v = operands[:3]
    single = (q.single - {-1}) | (v.single & {-1})
    even = v.even if -2 in v.even and step.attributes.get("mask") not in body.fed else NO_AXES
    if (-2 in k.even or -2 in q.even) and not step.attributes.get("causal", False) and len(operands) == 3:
        even |= {-2}  # All queries see the same scores, or none that differ.
    return _zero_or(step, v.zero, even, single)


def _reduce(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    (x,), gone, keep = operands, step.attributes["axes"], step.attributes.get("keep", False)
    if gone is None:
        return _zero_or(step, x.zero, ALL, ALL)
    even, single = dropped(x.even, gone, keep), dropped(x.single, gone, keep)
    masked = step.attributes.get("mask") in body.fed
    found = _zero_or(step, x.zero, NO_AXES if masked else even, single)
    alike = keep and step.attributes["kind"] == "mean" and not masked and not x.zero and frozenset(gone) <= x.even
    return found._replace(math=x.math) if alike else found  # The mean of what is equal is that, up to rounding.


def _pool(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    (x,) = operands
    padded = step.attributes["kind"] == "avg" and number_or_largest(body, step.attributes.get("padding", 0)) > 0
    return _zero_or(step, x.zero, x.even - {-1, -2} if padded else x.even, x.single - {-1, -2})


# --- shape ---
def _reshape(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    (x,), pattern = operands, step.attributes["pattern"]
    left, right = (side.strip() for side in pattern.split("->"))
    if left == right:
        return x
    even, single = moved(pattern, x.even), moved(pattern, x.single)
    if x.zero:
        return zeros(single)
    if number_of(x) is not None:
        return x._replace(single=single)
    return fresh(step, even, single)


def _concat(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    axis, new = step.attributes["axis"], step.attributes.get("new", False)
    even, single = common(operands)
    if new:
        even, single = (frozenset(at if at > axis else at - 1 for at in axes) & ALL for axes in (even, single))
    if len(operands) == 1 and not new:
        return operands[0]
    even, single = even - {axis}, single - {axis}
    if all(item.bits == operands[0].bits for item in operands) and number_of(operands[0]) is not None:
        return operands[0]._replace(single=single)
    return _zero_or(step, all(item.zero for item in operands), even, single)


def _select(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    (x,), axis = operands, step.attributes["axis"]
    start, stop = number(step.attributes.get("start", 0), body.sizes), number(step.attributes.get("stop"), body.sizes)
    one = frozenset({axis}) if isinstance(stop, int) and isinstance(start, int) and stop - start == 1 else NO_AXES
    if number_of(x) is not None:
        return x._replace(single=x.single | one)
    return fresh(step, x.even, x.single | one)


def _expand(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    (x,) = operands
    return x._replace(single=NO_AXES) if number_of(x) is not None else fresh(step, x.even)


def _detach(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    return operands[0]


# --- choices ---
def _argmax(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    """Of equal entries the first wins: its place is 0."""
    (x,), axis = operands, step.attributes.get("axis", -1)
    even, single = dropped(x.even, (axis,), False), dropped(x.single, (axis,), False)
    return _zero_or(step, axis in x.even, even, single)


def _one_hot_max(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    (x,), axis = operands, step.attributes.get("axis", -1)
    return constant(1.0, x.single) if axis in x.single else fresh(step, x.even - {axis}, x.single)


def _nearest(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    x, table = operands
    even, single = dropped(x.even, (-1,), False), dropped(x.single, (-1,), False)
    return _zero_or(step, -2 in table.even, even, single)


def _constant(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    if step.attributes["fn"] == "zero":
        return zeros(ALL)
    if step.attributes["fn"] == "zeros":
        return zeros(operands[0].single - {-1})
    single = (ALL - {-1, -2}) | operands[0].single
    name = ("constant", "sinusoid", step.attributes["base"])  # One code for all values of one shape.
    return Value(name, frozenset({(name, 1.0)}), single, single)


# --- mixtures ---
def _choose(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    """All are ones where as many are chosen as there are; else some are. Rows that are equal choose the same."""
    (x,) = operands
    experts = body.sizes.get("experts")
    if -1 in x.single or (isinstance(experts, int) and number(step.attributes["top_k"], body.sizes) >= experts):
        return constant(1.0, x.single)
    return fresh(step, NO_AXES, x.single)


def _crop(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    return _zero_or(step, operands[0].zero, NO_AXES, operands[0].single)


def _row_mean(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    (x,) = operands
    single, known = (ALL - {-1}) | (x.single & {-1}), number_of(x)
    if known is not None:
        return constant(known, single, x.zero or x.bits == ("constant", 1.0), ("step", step.output))
    return fresh(step, x.even & {-1}, single)


def _logsumexp(body: Body, step: Step, operands: Sequence[Value]) -> Value:
    (x,) = operands
    return x if -1 in x.single else fresh(step, x.even, x.single | {-1})


RULES: Mapping[str, Callable[[Body, Step, Sequence[Value]], Value]] = {
    "matmul": _matmul,
    "add": _add,
    "multiply": _multiply,
    "conv": _conv,
    "blend": blend.blend,
    "median": blend.median,
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
    "expand": _expand,
    "detach": _detach,
    "argmax": _argmax,
    "one_hot_max": _one_hot_max,
    "nearest": _nearest,
    "straight_through": _detach,
    "constant": _constant,
    "choose": _choose,
    "crop": _crop,
    "row_mean": _row_mean,
    "logsumexp": _logsumexp,
}
