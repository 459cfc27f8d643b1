"""How the parameters of a leaf start: what its card says, and what `init` says instead.

Decided by role, never by name. A *matrix* is a parameter of two or more axes (tables of embeddings
and kernels included); its *layer* is what stands in the same submodule. `weights` is of every matrix,
and the rest of its layer (a bias) starts at zero; the gains of norms stand in layers without a matrix
and stay ones. `write` is of the parameters that the card marks `writes`. Fans are PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from assembler.facts.count import shapes
from assembler.facts.model import NodeFacts
from assembler.facts.number import number, start_of
from assembler.graph.init import touched
from assembler.graph.model import Leaf
from assembler_schemas.kind import Definition, Step

UNKNOWN = "unknown"
"""How a parameter starts that a plugin lists without saying so."""

Shape = tuple[int, ...]


def starts(node: Leaf, facts: NodeFacts) -> Mapping[str, str]:
    """Parameter (and buffer) key -> `zeros ones constant(c) numbers(a, b, ...) normal(s) trunc_normal(s)
    uniform(b) orthogonal(g) eye copy(address)`, numbers filled in.

    `uniform(b)` lies between -b and b; `trunc_normal(s)` is cut at -2 and 2, as torch's; `eye` of a
    kernel is Dirac's; `copy(a.up.weight)` takes the values of that parameter, `*` in it being the copy
    that asks.
    """
    definition = facts.definition or node.definition
    cards = {key: start_of(card.init, facts.sizes) for key, card in definition.parameters.items()}
    return {**cards, **stated(node, facts)} if node.init else cards


def stated(node: Leaf, facts: NodeFacts) -> dict[str, str]:
    """The starts that `init` gives: of parameters that the node owns."""
    definition, init = facts.definition or node.definition, node.init
    grafted = {key: start_of(card.init, facts.sizes) for key, card in definition.parameters.items() if card.stated} if definition.branches else {}
    if not init or node.same:
        return grafted
    known = shapes(facts)
    found: dict[str, str] = {}
    if "copy" in init:
        found = {key: f"copy({init['copy']}.{key})" for key in touched(definition, {"copy": ""})}
    elif init.get("weights", "default") != "default":
        found = {key: _drawn(init["weights"], _matrix(definition, key, known[key])) for key in touched(definition, {"weights": ""}) if key in known}
    if "write" in init:
        _write(init["write"], definition, facts, known, found)
    own = {key: found[key] for key in definition.parameters if key in found and key not in node.ties}
    return own | grafted


def _write(mode: str, definition: Definition, facts: NodeFacts, known: Mapping[str, Shape], found: dict[str, str]) -> None:
    writes = [key for key in touched(definition, {"write": ""}) if key in known]
    name = mode.partition("(")[0]
    if name == "identity":
        found.update(identity(definition, facts) or {})
    for key in writes:
        if name == "default":
            found.pop(key, None)
        elif name == "zero":
            found[key] = "zeros"
        elif name == "small":
            if len(_matrix(definition, key, known[key])) > 1:
                found[key] = f"normal({mode[6:-1]})"
        elif name != "identity":
            found[key] = _drawn(mode, _matrix(definition, key, known[key]))


def _matrix(definition: Definition, key: str, shape: Shape) -> Shape:
    """The shape of what starts by itself: of stacked members one."""
    return shape[1:] if definition.parameters[key].stacked else shape


def _drawn(mode: str, shape: Shape) -> str:
    """The start of one parameter under a mode of matrices."""
    if len(shape) < 2:
        return "zeros"
    field = math.prod(shape[2:])
    into, out = shape[1] * field, shape[0] * field
    if mode == "xavier":
        return f"uniform({math.sqrt(6 / (into + out))!r})"
    if mode == "kaiming":
        return f"normal({math.sqrt(2 / into)!r})"
    return mode


def identity(definition: Definition, facts: NodeFacts) -> dict[str, str] | None:
    """The starts under which a kind gives out what it takes, bit for bit; None where there are none.

    One linear map as wide as it is long, or a convolution that keeps every axis, with a bias or
    without; a factor; a shift. Every parameter belongs to the writing layer.
    """
    known = shapes(facts)
    found: dict[str, str] = {}
    here = next(iter(definition.inputs), "")
    shifts: dict[str, str] = {}
    for step in definition.body:
        first, *others = step.inputs
        if step.op == "reshape" and first in known:
            shifts[step.output] = first
            continue
        key = shifts.get(others[0], others[0]) if others else ""
        if first != here or len(others) != 1 or key not in known or key in found:
            return None
        start = _neutral(step, known[key], facts)
        if start is None:
            return None
        found[key], here = start, step.output
    owned = [key for key, card in definition.parameters.items() if not card.buffer]
    whole = set(found) == set(owned) and all(definition.parameters[key].writes for key in owned)
    return found if found and whole and here in definition.outputs else None


def _neutral(step: Step, shape: Shape, facts: NodeFacts) -> str | None:
    if step.op == "add":
        return "zeros"
    if step.op == "multiply":
        return "ones" if "scale" not in step.attributes else None
    if step.op == "matmul":
        return "eye" if step.attributes.get("spec") == "...i,oi->...o" and shape[0] == shape[1] else None
    if step.op == "conv":
        groups = number(step.attributes.get("groups", 1), facts.sizes)
        return "eye" if shape[0] == shape[1] * groups and _keeps_axes(step, shape[2:]) else None
    return None


def _keeps_axes(step: Step, kernel: Shape) -> bool:
    """Whether a convolution has a middle, steps by one, and gives out as many places as it takes."""
    strides, paddings, dilations = (_axes(step, name, usual, len(kernel)) for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1)))
    return all(
        size % 2 == 1 and stride == 1 and 2 * padding == dilation * (size - 1)
        for size, stride, padding, dilation in zip(kernel, strides, paddings, dilations, strict=True)
    )


def _axes(step: Step, name: str, usual: int, axes: int) -> tuple[int, ...]:
    value = step.attributes.get(name, usual)
    return (value,) * axes if isinstance(value, int) else tuple(value)
