"""`bus`: a stream that each part adds to, as it is or through a norm or a linear map of its own."""

from __future__ import annotations

from typing import Any

from tests.fuzz.containers import Inside, collect, make_part, named, taking_part
from tests.fuzz.decorate import set_norm
from tests.fuzz.draw import Draw
from tests.fuzz.rules import KEEPING, PARTS
from tests.fuzz.scope import make_leaf
from tests.fuzz.sizes import plus, size
from tests.fuzz.value import Made, Type, Value


def make_bus(draw: Draw, x: Value, inside: Inside, first: str | None) -> Made | None:
    parts: dict[str, Made] = {}
    goal = x.type
    if first is not None:
        made = taking_part(draw, first, x, inside)
        if made is None:
            return None
        parts[named(parts, made)] = made
    heads = _heads(draw, x) if first is None else {}
    adapted = _widened(draw, x, inside) if not heads and draw.wants("bus", "adapter", 0.12) else None
    seen = Value("", x.type.with_last(size(heads["read"])), "linear", zero=x.zero) if "read" in heads else x
    for _ in range(draw.pick((1, 2, 2))):
        if heads.keys() == {"read"}:  # Its part must find back to the stream's width by itself.
            made = make_leaf(
                draw, draw.pick(("linear", "mlp", "swiglu")), seen, inside, part=True, force={"out": x.type.last}
            )
        else:
            made = make_part(
                draw,
                seen,
                inside,
                (lambda kind: _beside(kind, goal))
                if heads
                else (lambda kind: (kind.dims, kind.dtype) == (goal.dims, goal.dtype)),
                PARTS if heads and not draw.rows else KEEPING,
                keep=not heads,
                in_bus=True,
                zeros=not heads,
            )
        if made is not None:
            parts[named(parts, made)] = made
    if adapted is not None:
        parts[named(parts, adapted)] = adapted
    if not parts:
        return None
    found = collect("bus", parts, Type(goal.dims, "dense", goal.dtype))
    if heads:
        found.spec = {"kind": "bus", **heads, "parts": found.spec["parts"]}
        found.taps = []
        for name, value in heads.items():
            found.cover("option", "bus", name, "stated" if name == "read" else str(value))
    elif adapted is not None:
        found.cover("feature", "adapter_auto")
    elif draw.chance(0.5) and all(part.rule is None or not part.rule.many for part in parts.values()):
        place = draw.pick(("pre", "out", "both", "post"))
        if set_norm(draw, found, place, [goal]):
            found.cover("feature", f"bus_norm_{place}")
            found.spec["parts"] = found.spec.pop("parts")
    return found


def _heads(draw: Draw, x: Value) -> dict[str, Any]:
    """Maps between a bus and its parts, now and then; zeros are not written onto what may be zeros."""
    if x.type.last is None or x.type.dtype != "f32" or x.zero:
        return {}
    read = {"read": draw.width()} if draw.wants("bus", "read", 0.12) else {}
    write = {"write": draw.pick(("linear", "zero"))} if draw.wants("bus", "write", 0.12) else {}
    return {**read, **write}


def _beside(kind: Type, goal: Type) -> bool:
    """Whether a linear map of the last axis leads from one to the other."""
    return kind.is_float and kind.dims[:-1] == goal.dims[:-1] and kind.last is not None and kind.dtype == goal.dtype


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
        parts[named(parts, made)] = made
    width = plus(x.type.dims[-1], x.type.dims[-1])
    found = collect("parallel", parts, x.type.with_last(width))
    found.spec = {"kind": "parallel", "join": "concat", "parts": found.spec["parts"]}
    found.cover("option", "parallel", "join", "concat")
    found.cover("kind", "parallel")
    return found
