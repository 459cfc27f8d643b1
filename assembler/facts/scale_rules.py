"""Which rule each primitive has, and the steps of a use with all numbers filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from assembler.facts import (
    scale_blend,
    scale_choice,
    scale_conv,
    scale_gates,
    scale_join,
    scale_mix,
    scale_mixture,
    scale_norm,
    scale_pointwise,
    scale_shape,
)
from assembler.facts.flow import Use
from assembler.facts.number import number
from assembler.facts.scale_signal import Signal, Unknown, Value
from assembler_schemas.dim import evaluate

Rule = Callable[..., Value]
Back = Callable[..., tuple[Signal | Unknown | None, ...]]
RULES: Mapping[str, tuple[Rule, Back]] = {
    "matmul": (scale_mixture.matmul, scale_mixture.matmul_back),
    "add": (scale_join.add, scale_join.add_back),
    "multiply": (scale_gates.multiply, scale_gates.multiply_back),
    "blend": (scale_blend.blend, scale_blend.blend_back),
    "median": (scale_blend.median, scale_blend.median_back),
    "conv": (scale_conv.conv, scale_conv.conv_back),
    "gather": (scale_conv.gather, scale_shape.nothing_back),
    "pointwise": (scale_gates.pointwise, scale_gates.pointwise_back),
    "softmax": (scale_gates.softmax, scale_gates.softmax_back),
    "pool": (scale_pointwise.pool, scale_pointwise.pool_back),
    "norm": (scale_norm.norm, scale_norm.norm_back),
    "reduce": (scale_gates.reduce, scale_norm.reduce_back),
    "softmax_mix": (scale_mix.softmax_mix, scale_mix.softmax_mix_back),
    "reshape": (scale_shape.reshape, scale_shape.reshape_back),
    "concat": (scale_mixture.concat, scale_mixture.concat_back),
    "select": (scale_shape.select, scale_shape.select_back),
    "expand": (scale_shape.expand, scale_shape.expand_back),
    "detach": (scale_shape.detach, scale_shape.nothing_back),
    "argmax": (scale_choice.argmax, scale_shape.nothing_back),
    "nearest": (scale_choice.nearest, scale_shape.nothing_back),
    "one_hot_max": (scale_choice.one_hot_max, scale_shape.nothing_back),
    "straight_through": (scale_choice.straight_through, scale_choice.straight_through_back),
    "constant": (scale_shape.constant, scale_shape.nothing_back),
    "choose": (scale_gates.choose, scale_shape.nothing_back),
    "crop": (scale_gates.crop, scale_shape.nothing_back),
    "row_mean": (scale_gates.row_mean, scale_gates.row_mean_back),
    "logsumexp": (scale_gates.logsumexp, scale_gates.logsumexp_back),
}


class Ready(NamedTuple):
    """A step with its numbers filled in. `output`, `reads`: places in the row of values of its use."""

    output: int
    op: str
    reads: tuple[int, ...]
    at: dict[str, Any]
    rule: Rule
    back: Back


class Program(NamedTuple):
    """The steps of a use. Its values stand in a row: what ports were fed, weights, and what each step makes."""

    steps: tuple[Ready, ...]
    reversed: tuple[Ready, ...]
    feeds: tuple[tuple[str, int, int], ...]
    """Of each port that is fed the first place, and how many values."""
    places: Mapping[str, int]
    """By name; of several values the first."""
    size: int


_NUMBERS = frozenset(("scale", "start", "stop", "width", "groups", "p", "exponent", "dropout", "padding", "stride", "dilation", "kernel", "eps", "base"))


def ready(use: Use, sizes: Mapping[str, int]) -> Program:
    """The program of all uses with the same facts whose ports are fed as many values."""
    many = next((len(use.inputs.get(port, ())) for port, card in use.definition.inputs.items() if card.many), 0)
    known: dict[str, Any] = {"n": many}
    known.update({name: evaluate(dim, sizes) for name, dim in use.facts.sizes.items()})
    rows: dict[str, range] = {}
    size = 0
    for name, count in (*((port, len(values)) for port, values in use.inputs.items()), *((key, 1) for key in use.weights)):
        rows[name] = range(size, size + count)
        size += count
    feeds = tuple((port, rows[port].start, len(rows[port])) for port in use.inputs)
    found = []
    for step in use.definition.body:
        at = {name: _filled(name, value, known) for name, value in step.attributes.items()}
        rule, back = RULES[step.op]
        found.append(Ready(size, step.op, tuple(place for name in step.inputs for place in rows[name]), at, rule, back))
        rows[step.output] = range(size, size + 1)
        size += 1
    return Program(tuple(found), tuple(reversed(found)), feeds, {name: row.start for name, row in rows.items() if row}, size)


def _filled(name: str, value: Any, known: Mapping[str, Any]) -> Any:
    if name == "sizes":
        return {axis: number(size, known) for axis, size in value.items()}
    if name not in _NUMBERS:
        return value
    if isinstance(value, (tuple, list)):
        return tuple(number(item, known) for item in value)
    return number(value, known)
