"""What follows from a norm and is no fault: said where somebody asks about one value (`why RECIPE PORT --norm`).

A check is silent on both: every convolution before a batch norm has a size that does not matter, and
rms where layer norm is usual differs by a mean that is nearly zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from assembler.facts.flow import Flow, Use, named
from assembler.facts.model import Because
from assembler.facts.norm.analysis import Norm
from assembler_schemas.kind import Definition

_KEEPS = frozenset({"identity", "dropout", "cast"})
_MAPS = frozenset({"matmul", "conv"})
_HOPS = 64
"""Steps between a map and the norm that reads it."""


def notes(flow: Flow, found: Norm, number: int) -> tuple[Because, ...]:
    """What is worth knowing of the norms in the node that makes a value, each once."""
    if flow.makers[number] < 0:
        return ()
    use = flow.uses[flow.makers[number]]
    return (*_mean_left(flow, found, use, number), *_free_sizes(flow, use))


def _mean_left(flow: Flow, found: Norm, use: Use, number: int) -> Iterator[Because]:
    """`rms` is `ln` up to the mean of a row, which of independent values is small in a wide one."""
    state = found.states[number]
    if state.kind != "rms" or state.zero or state.axes != (-1,):
        return
    kind = next((use.facts.outputs.get(port) for port, item in use.outputs.items() if item == number), None)
    width = kind.dims[-1] if kind is not None and kind.dims else None
    size = f": of {width} independent values about {1 / math.sqrt(width):.2g} of their size" if isinstance(width, int) and width > 0 else ""
    yield Because(named(flow)[number], f"keeps the mean of each row, which a layer norm takes out{size}")


def _free_sizes(flow: Flow, use: Use) -> Iterator[Because]:
    """Weights whose size a norm divides out again: T. van Laarhoven 2017, L2 Regularization versus Batch and Weight Normalization."""
    for step in use.definition.body:
        if step.op != "norm":
            continue
        weight = _mapped(flow, use, step.inputs[0])
        if weight is not None and flow.weights[weight].trainable:
            found = flow.weights[weight]
            text = f"has a size that `{use.address}` divides out again: weight decay on it only sets its effective learning rate"
            yield Because(found.address, text, found.node.span)


def _mapped(flow: Flow, use: Use, name: str) -> int | None:
    """The weight of the linear map without bias whose result reaches a norm at this name of a use, and nobody else."""
    for _ in range(_HOPS):
        if name in use.inputs:
            values = use.inputs[name]
            if len(values) != 1 or flow.makers[values[0]] < 0 or _reads(flow, values[0]) != 1:
                return None
            use = flow.uses[flow.makers[values[0]]]
            name = next(port for port, item in use.outputs.items() if item == values[0])
        step = next((item for item in use.definition.body if item.output == name), None)
        if step is None or _steps(use.definition, name) > 1 or (name in use.outputs and _steps(use.definition, name) > 0):
            return None
        weights = [use.weights[item] for item in step.inputs if item in use.weights]
        if step.op in _MAPS:
            return weights[0] if len(weights) == 1 and len(step.inputs) == 2 and _uses(flow, weights[0]) == 1 else None
        kept = step.op == "reshape" or (step.op == "pointwise" and step.attributes["fn"] in _KEEPS)
        if not kept or weights:
            return None
        (name,) = step.inputs
    return None


def _steps(definition: Definition, name: str) -> int:
    """How often the body itself reads a name."""
    return sum(step.inputs.count(name) for step in definition.body)


def _reads(flow: Flow, number: int) -> int:
    """How often a value is read, the outputs of the recipe included."""
    return sum(values.count(number) for use in flow.uses for values in use.inputs.values()) + list(flow.outputs.values()).count(number)


def _uses(flow: Flow, weight: int) -> int:
    """How often a weight is used: a shared or tied one several times."""
    return sum(list(use.weights.values()).count(weight) for use in flow.uses)
