"""`kind: graph`: a recipe inside a recipe, with port types, names and vars of its own."""

from __future__ import annotations

import re
from typing import Any

from tests.fuzz.containers import make_container
from tests.fuzz.decorate import Slots, decorate
from tests.fuzz.draw import Draw
from tests.fuzz.rules import KINDS, LEAVES, MIXTURES, ROWS
from tests.fuzz.scope import Scope, make_leaf
from tests.fuzz.sizes import Size, plus, rename, size, times
from tests.fuzz.value import Made, Type, Value

ROWWISE = frozenset(
    [
        "linear",
        "mlp",
        "swiglu",
        "geglu",
        "reglu",
        "glu",
        "low_rank",
        "zero",
        "activation",
        "dropout",
        "scale",
        "softmax",
        "identity",
        "detach",
        "layer_norm",
        "rms_norm",
        "add",
        "multiply",
        "mean",
        "gate",
    ]
)
GRAPH_ROWS = (
    *sorted(ROWS),
    *sorted(ROWWISE - ROWS),
    "blend",
    "multi_blend",
    "median",
    "vote",
    "attend",
    "select",
    "combine",
    *MIXTURES,
)
"""What may stand in a graph that is an expert."""
STEMS = ("b", "t", "u", "v", "s")


def make_node(draw: Draw, kind: str, x: Value, scope: Any, slots: Slots, depth: int = 0) -> Made | None:
    """Any kind on a value of a graph."""
    if kind in LEAVES:
        return make_leaf(draw, kind, x, scope)
    return make_container(draw, kind, x, scope, slots, depth)


def type_text(draw: Draw, kind: Type) -> str:
    """A port type as the recipe states it."""
    dims = []
    for dim in kind.dims:
        number = dim.number
        dims.append(str(draw.spell(number, p=0.2)).replace(" ", "") if number is not None else dim.text)
    words = {"mask": ["mask"], "ids": [f"ids({kind.vocab})"], "image": ["image"], "probs": ["probs"]}.get(
        kind.medium, []
    )
    if kind.is_float and kind.dtype != "f32":
        words = [*words, kind.dtype]
    return " ".join([*words, f"[{' '.join(dims)}]"])


def make_graph(draw: Draw, x: Value, scope: Any, slots: Slots, depth: int, part: bool) -> Made | None:
    names: dict[str, Size] = {}
    inner = Scope(draw, root=False)
    local = f"own_{len(draw.vars)}_{draw.rng.randrange(100)}"
    own = {local: draw.width()} if draw.wants("graph", "vars", 0.3) else {}
    draw.vars.update(own)
    mirror = draw.chance(0.35)
    outer = [x]
    if not part and draw.chance(0.35):
        outer += list(draw.shuffled(scope.partners(lambda kind: kind.medium != "mask", but=x))[:1])
    for place, value in enumerate(outer):
        kind = Type(
            tuple(_inside(draw, dim, names, mirror) for dim in value.type.dims),
            value.type.medium,
            value.type.dtype,
            value.type.vocab,
        )
        inner.inputs["xyz"[place]] = kind
        inner.values.append(Value("xyz"[place], kind, "input", zero=value.zero))
    inner.covers["feature", "nested_graph"] += 1
    _grow(draw, inner, slots, depth, part)
    made = _close(draw, inner, outer, names, own, part, slots)
    for name in own:
        draw.vars.pop(name, None)
    return made


def _inside(draw: Draw, dim: Size, names: dict[str, Size], mirror: bool) -> Size:
    """How a graph spells a size of the outside: the number, the same names, or names of its own."""
    if dim.number is not None:
        return dim
    if mirror and dim.spelled and all(isinstance(atoms[0], str) for atoms, _ in dim.terms if atoms):
        affine = all(len(atoms) <= 1 for atoms, _ in dim.terms) and len(dim.names) == 1
        if affine:
            names.update((same, size(same)) for same in dim.names)
            return dim
    for known, outside in names.items():
        if outside == dim:
            return size(known)
    name = draw.alias(STEMS[len(names) % len(STEMS)], dim)
    factor = _factor(dim)
    if factor > 1 and draw.chance(0.6):
        for place in (0, 1):
            draw.sizes[place][name.text] //= factor
        names[name.text] = _divided(dim, factor)
        return times(name, factor)
    names[name.text] = dim
    return name


def _factor(dim: Size) -> int:
    factors = [abs(factor) for _, factor in dim.terms]
    return next((item for item in (4, 2) if all(factor % item == 0 for factor in factors)), 1)


def _divided(dim: Size, factor: int) -> Size:
    total = size(0)
    for atoms, coefficient in dim.terms:
        product = size(coefficient // factor)
        for atom in atoms:
            product = times(product, size(atom) if isinstance(atom, str) else Size((((atom,), 1),)))
        total = plus(total, product)
    return total


def _grow(draw: Draw, inner: Scope, slots: Slots, depth: int, part: bool) -> None:
    """A few nodes; inside a part one after another, so that a single output remains."""
    for _ in range(draw.pick((2, 3, 4))):
        newest = inner.values[-1] if inner.nodes else inner.values[0]
        for _ in range(6):
            x = newest if part or draw.chance(0.6) else draw.pick(inner.values)
            kind = draw.pick(KINDS if not draw.rows else GRAPH_ROWS)
            made = make_node(draw, kind, x, inner, slots, depth + 1)
            if made is not None and not (part and (made.main or made.others)):
                made = decorate(draw, made, x.type, rate=0.5)
                made.taps = made.taps if not part else []
                inner.add(made)
                break
    for name, given in list(inner.inputs.items()):
        if name not in inner.read and given.is_float:
            made = make_leaf(draw, "identity", next(value for value in inner.values if value.address == name), inner)
            if made is not None:
                inner.add(made)


def _close(
    draw: Draw, inner: Scope, outer: list[Value], names: dict[str, Size], own: dict[str, int], part: bool, slots: Slots
) -> Made | None:
    outputs = inner.unread()
    if not outputs or any(name not in inner.read for name in inner.inputs) or (part and len(outputs) != 1):
        return None
    if not all(
        set().union(*(dim.names for dim in value.type.dims)) <= set(names) for value in outputs if value.type.dims
    ):
        return None
    types = [Type(tuple(rename(dim, names) for dim in value.type.dims), *value.type[1:]) for value in outputs]
    if not all(draw.fits(kind) for kind in types):
        return None
    labels = ["y"] if len(outputs) == 1 else [f"out_{place}" for place in range(len(outputs))]
    spec: dict[str, Any] = {"kind": "graph"} if draw.chance(0.5) else {}
    texts = {name: type_text(draw, kind) for name, kind in inner.inputs.items()}
    spelled = repr((inner.nodes, inner.inputs, texts, slots.needed(inner.nodes)))
    used = {name: number for name, number in own.items() if re.search(rf"\b{name}\b", spelled)}
    made = Made("graph", spec, types[0], [], main=labels[0] if len(labels) > 1 else "", plain=False)
    if len(texts) == 1 and not inner.slots and draw.wants("graph", "row", 0.4) and _rowwise(inner):
        last = inner.inputs["x"].last
        texts = {
            "x": f"[... {last if last is not None else 'd'}]"
            if inner.inputs["x"].dtype == "f32" and inner.inputs["x"].medium == "dense"
            else texts["x"]
        }
        made.cover("feature", "graph_row")
    if used:
        spec["vars"] = used
        made.cover("feature", "graph_vars")
    spec |= {
        "inputs": texts,
        "nodes": inner.nodes,
        "outputs": {label: value.address for label, value in zip(labels, outputs, strict=True)},
    }
    made.others = [(label, kind, "graph") for label, kind in zip(labels[1:], types[1:], strict=True)]
    made.chain = 1 + sum(item.chain for item in inner.made.values())
    made.covers = [key for key, count in inner.covers.items() for _ in range(count)] + made.covers
    made.cover("kind", "graph")
    made.cover("feature", "recipe_as_node" if "kind" not in spec else "kind_graph")
    if len(labels) > 1:
        made.cover("feature", "graph_outputs")
    if not part:
        made.spec["from"] = {name: [(value, {})] for name, value in zip(inner.inputs, outer, strict=True)}
    return made


def _rowwise(inner: Scope) -> bool:
    return all(made.kind in ROWWISE and "norm" not in made.spec for made in inner.made.values())
