"""Shapes of the values in one body, and what its products cost: rules of the primitives (docs/primitives.md) over sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from assembler.facts.count import shapes
from assembler.facts.model import NodeFacts
from assembler.facts.number import number
from assembler.library.cards import pattern as patterns
from assembler_schemas.dim import Dim, exact_divide, name, window
from assembler_schemas.kind import Step

Shape = tuple[Dim, ...]
"""A row of axes that no one spells (`...`) is one axis: its elements count."""
COSTED = frozenset({"matmul", "conv", "softmax_mix", "nearest"})


class Unknown(Exception):
    """A shape, or a cost, that cannot be said."""


class Body:
    """The shapes of one use's values by name; a port for many values has several."""

    def __init__(self, facts: NodeFacts) -> None:
        self.sizes = facts.sizes
        self.shapes: dict[str, list[Shape]] = {
            port: [((name(kind.lead),) if kind.lead else ()) + kind.dims for kind in kinds] for port, kinds in facts.inputs.items()
        }
        self.shapes.update({key: [shape] for key, shape in shapes(facts).items()})

    def number(self, stated: Any) -> Any:
        try:
            return number(stated, self.sizes)
        except (KeyError, TypeError) as problem:
            raise Unknown from problem


def cost(facts: NodeFacts) -> Dim:
    """Floating point operations of one use. Unknown where its body or its sizes do not say."""
    assert facts.definition is not None
    body = Body(facts)
    whole: Dim = 0
    for step in facts.definition.body:
        operands = [shape for key in step.inputs for shape in body.shapes.get(key, [])]
        if step.op in COSTED:
            shape, made = _COSTS[step.op](body, step, operands)
            whole = whole + 2 * made
        else:
            shape = _SHAPES.get(step.op, _same)(body, step, operands)
        body.shapes[step.output] = [shape]
    return whole


def _times(items: Sequence[Dim]) -> Dim:
    return math.prod(items, start=1)


def _broadcast(shapes: Sequence[Shape]) -> Shape:
    """Aligned at the right; axes of one are repeated."""
    found: list[Dim] = []
    for place in range(-max(map(len, shapes)), 0):
        sizes = {shape[place] for shape in shapes if len(shape) >= -place} - {1}
        if len(sizes) > 1:
            raise Unknown
        found.append(sizes.pop() if sizes else 1)
    return tuple(found)


# --- what is counted ---
Cost = Callable[[Body, Step, Sequence[Shape]], tuple[Shape, Dim]]


def _matmul(body: Body, step: Step, operands: Sequence[Shape]) -> tuple[Shape, Dim]:
    sides, out = _spec(step.attributes["spec"])
    lead = _broadcast([shape[: len(shape) - len(letters)] for shape, letters in zip(operands, sides, strict=True)])
    sizes = {letter: size for shape, letters in zip(operands, sides, strict=True) for letter, size in zip(letters, shape[len(shape) - len(letters) :], strict=True)}
    return (*lead, *(sizes[letter] for letter in out)), _times([*lead, *sizes.values()])


@lru_cache(maxsize=256)
def _spec(text: str) -> tuple[list[str], str]:
    left, right = text.split("->")
    return [side.replace(".", "") for side in left.split(",")], right.replace(".", "")


def _conv(body: Body, step: Step, operands: Sequence[Shape]) -> tuple[Shape, Dim]:
    x, weight = operands
    axes = len(weight) - 2
    batch, places = x[: len(x) - axes - 1], _windows(body, step, x[len(x) - axes :], weight[2:])
    return (*batch, weight[0], *places), _times([*batch, *places, *weight])


def _windows(body: Body, step: Step, sizes: Shape, kernel: Shape) -> Shape:
    def each(key: str, usual: int) -> list[Any]:
        stated = step.attributes.get(key, usual)
        return [body.number(item) for item in (stated if isinstance(stated, (list, tuple)) else [stated] * len(sizes))]

    return tuple(map(window, sizes, kernel, each("stride", 1), each("padding", 0), each("dilation", 1)))


def _attention(body: Body, step: Step, operands: Sequence[Shape]) -> tuple[Shape, Dim]:
    q, k, v = operands[:3]
    rows = _times(q[:-1])
    return (*q[:-1], v[-1]), rows * k[-2] * q[-1] + rows * k[-2] * v[-1]


def _nearest(body: Body, step: Step, operands: Sequence[Shape]) -> tuple[Shape, Dim]:
    """Squared distances are worked out as a product with the table."""
    x, table = operands
    return x[:-1], _times([*x[:-1], *table])


_COSTS: Mapping[str, Cost] = {"matmul": _matmul, "conv": _conv, "softmax_mix": _attention, "nearest": _nearest}


# --- shapes alone ---
Rule = Callable[[Body, Step, Sequence[Shape]], Shape]


def _same(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    """Element by element, along an axis, a choice in the shape of its input."""
    if not operands:
        raise Unknown
    return operands[0]


def _elements(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    return _broadcast(operands)


def _last(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    return operands[-1]


def _gather(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    table, ids = operands
    return (*ids, *table[1:])


def _reduce(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    (x,), gone = operands[:1], step.attributes["axes"]
    if gone is None:
        return ()
    axes = {axis % len(x) for axis in gone}
    return tuple(1 if at in axes else size for at, size in enumerate(x) if step.attributes.get("keep", False) or at not in axes)


def _pool(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    (x,) = operands
    kernel = body.number(step.attributes["kernel"]) if not isinstance(step.attributes["kernel"], (list, tuple)) else step.attributes["kernel"]
    pair = tuple(kernel) if isinstance(kernel, (list, tuple)) else (kernel, kernel)
    return (*x[:-2], *_windows(body, step, x[-2:], pair))


@lru_cache(maxsize=1024)
def _pattern(text: str) -> patterns.Pattern:
    return patterns.parse(text)


def _reshape(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    (x,), found = operands, _pattern(step.attributes["pattern"])
    sizes: dict[str, Dim] = {key: body.number(value) for key, value in step.attributes.get("sizes", {}).items()}
    cut = len(x) - len(found.left)
    if cut < 0:
        raise Unknown
    for names, whole in zip(found.left, x[cut:], strict=True):
        rest = [key for key in names if key not in sizes]
        if not rest:
            continue
        left = exact_divide(whole, _times([sizes[key] for key in names if key in sizes]))
        if len(rest) > 1 or left is None:
            raise Unknown
        sizes[rest[0]] = left
    return (*x[:cut], *(_times([sizes[key] for key in names]) for names in found.right))


def _concat(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    axis, first = step.attributes["axis"], operands[0]
    if step.attributes.get("new", False):
        at = axis % (len(first) + 1)
        return (*first[:at], len(operands), *first[at:])
    at = axis % len(first)
    whole: Dim = 0
    for shape in operands:
        whole = whole + shape[at]
    return (*first[:at], whole, *first[at + 1 :])


def _select(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    (x,), at = operands, step.attributes["axis"] % len(operands[0])
    start, stop = body.number(step.attributes.get("start", 0)), body.number(step.attributes.get("stop"))
    return (*x[:at], (x[at] if stop is None else stop) - start, *x[at + 1 :])


def _expand(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    (x,), (like, *_) = operands, body.shapes.get(step.attributes["like"]) or [()]
    return (*like[: len(like) - len(x)], *x)


def _dropped(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    """Ids of the entries along an axis."""
    x = operands[0]
    at = step.attributes.get("axis", -1) % len(x)
    return (*x[:at], *x[at + 1 :])


def _constant(body: Body, step: Step, operands: Sequence[Shape]) -> Shape:
    fn = step.attributes["fn"]
    if fn == "zero":
        return ()
    return (*operands[0][:-1], body.number(step.attributes["width"])) if fn == "zeros" else operands[0][-2:]


_SHAPES: Mapping[str, Rule] = {
    "add": _elements,
    "multiply": _elements,
    "blend": _last,
    "gather": _gather,
    "reduce": _reduce,
    "pool": _pool,
    "reshape": _reshape,
    "concat": _concat,
    "select": _select,
    "expand": _expand,
    "argmax": _dropped,
    "constant": _constant,
    "row_mean": lambda body, step, operands: operands[0][-1:],
    "logsumexp": lambda body, step, operands: (*operands[0][:-1], 1),
}
