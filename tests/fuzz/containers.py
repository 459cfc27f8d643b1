"""Containers around leaves: sequence, parallel, bus and graph, nested, with inputs passed by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fuzz.decorate import Slots, add_repeat, decorate, set_norm
from tests.fuzz.draw import Draw
from tests.fuzz.rules import JOINS, KEEPING, LEAVES, PARTS
from tests.fuzz.scope import Scope, make_leaf
from tests.fuzz.sizes import plus, size
from tests.fuzz.value import Made, Type, Value

DEPTH = 3
TRIES = 6


class Inside:
    """What rules may ask for inside a container: only what is passed on by name."""

    joins = False
    root = False

    def __init__(self, passed: dict[str, Value], slots: Slots, depth: int) -> None:
        self.passed = passed
        self.slots = slots
        self.depth = depth

    def partners(self, test: Callable[[Type], bool], but: Value | None = None) -> list[Value]:
        return []

    def ask(self, kind: Type) -> None:
        return None

    def twin(self, x: Value) -> Value:
        raise AssertionError("there are no joins inside a container")


def make_container(
    draw: Draw, kind: str, x: Value, scope: Any, slots: Slots, depth: int = 0, part: bool = False
) -> Made | None:
    """A valid use of a container kind on a value, or None."""
    if not x.type.is_float or x.type.medium not in ("dense", "image", "probs") or x.type.rank < 1 or depth >= DEPTH:
        return None
    if kind == "graph":
        from tests.fuzz.subgraph import make_graph

        return make_graph(draw, x, scope, slots, depth, part)
    passed, first = ({}, None) if part else _pass_on(draw, kind, x, scope)
    inside = Inside({**scope.passed, **passed}, slots, depth + 1)
    flow = Value(x.address, Type(x.type.dims, "dense", x.type.dtype), x.kind, x.stated)
    made = _FILL[kind](draw, flow, inside, first)
    if made is None:
        return None
    made.cover("kind", kind)
    if not part:
        made.spec["from"] = {"x": [(x, {})], **{label: [(value, {})] for label, value in passed.items()}}
        if passed:
            made.cover("feature", "passed_by_name")
            made.plain = False
        for label in passed:
            made.cover("feature", f"passed_{label}")
    if (kind == "bus" and draw.chance(0.45)) or draw.chance(0.1):
        add_repeat(draw, made, flow.type)
    made.plain = made.plain and "repeat" not in made.spec
    return made


def _pass_on(draw: Draw, kind: str, x: Value, scope: Any) -> tuple[dict[str, Value], str | None]:
    """Inputs that go into a container by name, and the kind of the part that is sure to take them."""
    if not draw.wants("container", "passed", 0.2) or x.type.rank < 3 or x.type.last is None or x.type.dtype != "f32":
        return {}, None
    word = draw.pick(("mask", "memory", "gate"))
    if word == "mask":
        wanted = Type(x.type.dims[:-1], "mask", "bool")
        found = scope.partners(lambda kind: kind == wanted) or [scope.ask(wanted)]
        return ({"mask": found[0]}, "attention") if found[0] else ({}, None)
    if word == "gate":
        like = scope.partners(lambda other: other[0] == x.type.dims and other.is_float and other.dtype == "f32", but=x)
        return ({"gate": draw.pick(like)}, "gate") if like else ({}, None)
    lead = x.type.dims[:-2]
    memories = scope.partners(
        lambda other: (
            other.is_float
            and other.dtype == "f32"
            and other.rank == x.type.rank
            and other.dims[:-2] == lead
            and other.last is not None
        )
    )
    if not memories:
        return {}, None
    passed = {"memory": draw.pick(memories)}
    wanted = Type(passed["memory"].type.dims[:-1], "mask", "bool")
    masks = scope.partners(lambda other: other == wanted)
    if masks and draw.chance(0.6):
        passed["memory_mask"] = draw.pick(masks)
    return passed, "cross_attention"


# --- parts ---
def make_part(
    draw: Draw,
    x: Value,
    inside: Inside,
    test: Callable[[Type], bool],
    kinds: tuple[str, ...],
    keep: bool,
    in_bus: bool = False,
) -> Made | None:
    """A part that takes `x` and gives something that passes `test`."""
    for _ in range(TRIES):
        made: Made | None
        if inside.depth < DEPTH and draw.chance(0.18):
            container = draw.pick(("sequence", "parallel", "graph", *(() if in_bus else ("bus",))))
            made = make_container(draw, container, x, inside, inside.slots, inside.depth, part=True)
        elif draw.chance(0.12) and x.type.medium == "dense" and not inside.passed:
            made = inside.slots.use(draw, x.type)
        else:
            made = make_leaf(draw, draw.pick(kinds), x, inside, keep=keep, part=True)
            if made is not None and draw.chance(0.12):
                made = inside.slots.wrap(draw, made)
        if made is not None and (not made.main and not made.others) and test(made.type):
            before = made.type
            decorated = decorate(draw, made, x.type, part=True, in_bus=in_bus, rate=0.5)
            return decorated if decorated.type == before or test(decorated.type) else None
    return None


def taking_part(draw: Draw, kind: str, x: Value, inside: Inside) -> Made | None:
    """The part that takes what is passed by name."""
    for _ in range(TRIES):
        made = make_leaf(draw, kind, x, inside, keep=True, part=True)
        if made is not None and made.type.dims == x.type.dims:
            if kind == "cross_attention" and "memory_mask" in inside.passed:
                made.spec["from"] = {"mask": "memory_mask"}
                made.cover("feature", "passed_renamed")
            return made
    return None


def _collect(kind: str, parts: dict[str, Made], type_: Type) -> Made:
    spec: dict[str, Any] = {"kind": kind, "parts": {name: part.spec for name, part in parts.items()}}
    made = Made(kind, spec, type_, [], stated=False, chain=1 + sum(part.chain for part in parts.values()))
    for name, part in parts.items():
        made.covers.extend(part.covers)
        made.taps.append((name, part.type, part.kind))
    return made


def _named(parts: dict[str, Made], made: Made) -> str:
    return f"{made.kind[:16]}_{len(parts)}"


# --- the three kinds ---
def _sequence(draw: Draw, x: Value, inside: Inside, first: str | None) -> Made | None:
    parts: dict[str, Made] = {}
    here = x
    before = ""
    for place in range(draw.pick((1, 2, 2, 3))):
        made = (
            taking_part(draw, first, here, inside)
            if first and not place
            else make_part(draw, here, inside, lambda kind: kind.is_float, PARTS, keep=False)
        )
        if made is None:
            if first and not place:
                return None
            continue
        if before and "norm" not in made.spec:
            made.cover("pair", before, made.kind)
        parts[_named(parts, made)] = made
        here = Value("", made.type, made.kind)
        before = made.kind if "norm" not in made.spec else ""
    return _collect("sequence", parts, here.type) if parts else None


def _parallel(draw: Draw, x: Value, inside: Inside, first: str | None) -> Made | None:
    join = draw.pick(JOINS)
    parts: dict[str, Made] = {}
    made = (
        taking_part(draw, first, x, inside)
        if first
        else make_part(
            draw,
            x,
            inside,
            lambda kind: kind.is_float and kind.rank >= (2 if join == "concat" else 1),
            PARTS,
            keep=False,
        )
    )
    if made is None:
        return None
    parts[_named(parts, made)] = made
    goal = made.type
    for _ in range(draw.pick((1, 1, 2))):
        other = make_part(
            draw,
            x,
            inside,
            lambda kind: _joins(join, kind, goal),
            (*((made.kind,) if made.kind in LEAVES else ()), *KEEPING),
            keep=goal.dims == x.type.dims,
        )
        if other is None and _joins(join, x.type, goal):
            other = make_leaf(draw, "identity", x, inside, part=True)
        if other is not None:
            parts[_named(parts, other)] = other
    if len(parts) < 2 or len({id(part.spec) for part in parts.values()}) < 2:
        return None
    width = goal.dims[-1]
    if join == "concat":
        width = size(0)
        for part in parts.values():
            width = plus(width, part.type.dims[-1])
    found = _collect("parallel", parts, Type((*goal.dims[:-1], width), "dense", goal.dtype))
    if join != "add" or draw.chance(0.2):
        found.spec["join"] = join
        found.spec["parts"] = found.spec.pop("parts")
    if join != "add":
        found.cover("option", "parallel", "join", join)
    return found if draw.fits(found.type) else None


def _joins(join: str, kind: Type, goal: Type) -> bool:
    if kind.dtype != goal.dtype or kind.rank != goal.rank:
        return False
    return kind.dims[:-1] == goal.dims[:-1] if join == "concat" else kind.dims == goal.dims


def _bus(draw: Draw, x: Value, inside: Inside, first: str | None) -> Made | None:
    parts: dict[str, Made] = {}
    goal = x.type
    if first is not None:
        made = taking_part(draw, first, x, inside)
        if made is None:
            return None
        parts[_named(parts, made)] = made
    adapted = _widened(draw, x, inside) if draw.wants("bus", "adapter", 0.12) else None
    for _ in range(draw.pick((1, 2, 2))):
        made = make_part(
            draw,
            x,
            inside,
            lambda kind: (kind.dims, kind.dtype) == (goal.dims, goal.dtype),
            KEEPING,
            keep=True,
            in_bus=True,
        )
        if made is not None:
            parts[_named(parts, made)] = made
    if adapted is not None:
        parts[_named(parts, adapted)] = adapted
    if not parts:
        return None
    found = _collect("bus", parts, Type(goal.dims, "dense", goal.dtype))
    if adapted is not None:
        found.cover("feature", "adapter_auto")
    elif draw.chance(0.5) and all(part.rule is None or not part.rule.many for part in parts.values()):
        place = draw.pick(("pre", "out", "both", "post"))
        if set_norm(draw, found, place, [goal]):
            found.cover("feature", f"bus_norm_{place}")
            found.spec["parts"] = found.spec.pop("parts")
    return found


def _widened(draw: Draw, x: Value, inside: Inside) -> Made | None:
    """A part that writes another width than the stream, which nothing states."""
    if x.type.last is None or x.type.dtype != "f32" or x.type.rank < 2 or x.type.last > 64:
        return None
    names = draw.shuffled(("activation", "dropout", "identity", "scale"))[:2]
    parts: dict[str, Made] = {}
    for name in names:
        made = make_leaf(draw, name, x, inside, part=True)
        if made is None:
            return None
        parts[_named(parts, made)] = made
    width = plus(x.type.dims[-1], x.type.dims[-1])
    found = _collect("parallel", parts, x.type.with_last(width))
    found.spec = {"kind": "parallel", "join": "concat", "parts": found.spec["parts"]}
    found.cover("option", "parallel", "join", "concat")
    found.cover("kind", "parallel")
    return found


_FILL: dict[str, Callable[[Draw, Value, Inside, str | None], Made | None]] = {
    "sequence": _sequence,
    "parallel": _parallel,
    "bus": _bus,
}

__all__ = ["LEAVES", "Scope", "make_container"]
