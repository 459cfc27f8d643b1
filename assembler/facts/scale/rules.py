"""Which rule each primitive has, and the steps of a use with all numbers filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from assembler.facts.flow import Use
from assembler.facts.number import number
from assembler.facts.scale import blend, choice, conv, gates, join, mix, mixture, norm, pointwise, shape
from assembler.facts.scale.signal import Signal, Unknown, Value
from assembler_schemas.dim import evaluate

Rule = Callable[..., Value]
Back = Callable[..., tuple[Signal | Unknown | None, ...]]
RULES: Mapping[str, tuple[Rule, Back]] = {
    "matmul": (mixture.matmul, mixture.matmul_back),
    "add": (join.add, join.add_back),
    "multiply": (gates.multiply, gates.multiply_back),
    "blend": (blend.blend, blend.blend_back),
    "median": (blend.median, blend.median_back),
    "conv": (conv.conv, conv.conv_back),
    "gather": (conv.gather, shape.nothing_back),
    "pointwise": (gates.pointwise, gates.pointwise_back),
    "softmax": (gates.softmax, gates.softmax_back),
    "pool": (pointwise.pool, pointwise.pool_back),
    "norm": (norm.norm, norm.norm_back),
    "reduce": (gates.reduce, norm.reduce_back),
    "softmax_mix": (mix.softmax_mix, mix.softmax_mix_back),
    "reshape": (shape.reshape, shape.reshape_back),
    "concat": (mixture.concat, mixture.concat_back),
    "select": (shape.select, shape.select_back),
    "expand": (shape.expand, shape.expand_back),
    "detach": (shape.detach, shape.nothing_back),
    "argmax": (choice.argmax, shape.nothing_back),
    "nearest": (choice.nearest, shape.nothing_back),
    "one_hot_max": (choice.one_hot_max, shape.nothing_back),
    "straight_through": (choice.straight_through, choice.straight_through_back),
    "constant": (shape.constant, shape.nothing_back),
    "choose": (gates.choose, shape.nothing_back),
    "crop": (gates.crop, shape.nothing_back),
    "row_mean": (gates.row_mean, gates.row_mean_back),
    "logsumexp": (gates.logsumexp, gates.logsumexp_back),
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
        return tuple(sorted((axis, number(size, known)) for axis, size in value.items()))
    if name not in _NUMBERS:
        return value
    if isinstance(value, (tuple, list)):
        return tuple(number(item, known) for item in value)
    return number(value, known)
