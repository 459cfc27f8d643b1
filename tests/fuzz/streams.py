"""A `bus` with several streams: each part reads and adds to one of them, and may look at the others."""

from __future__ import annotations

from typing import Any

from tests.fuzz.containers import Inside, collect, make_part, named
from tests.fuzz.decorate import DEPTHS, set_norm
from tests.fuzz.draw import Draw
from tests.fuzz.rules import KEEPING
from tests.fuzz.scope import make_leaf
from tests.fuzz.value import Made, Type, Value

LABELS = ("z", "side", "other", "memory")


def make_streams(draw: Draw, x: Value, scope: Any, inside: Inside) -> Made | None:
    """A bus on a value and on one or two others of the graph, or None."""
    if not _streams(x.type) or x.zero or draw.rows:
        return None
    others = [value for value in scope.partners(_streams, but=x) if not value.zero and value.address != x.address]
    if not others:
        return None
    labels = draw.shuffled(LABELS)[: draw.pick((1, 1, 2))]
    feeds = {"x": x, **{label: draw.pick(others) for label in labels}}
    flows = {label: Value("", Type(value.type.dims), value.kind, value.stated) for label, value in feeds.items()}
    write = draw.pick(("linear", "zero")) if draw.chance(0.15) else ""
    parts: dict[str, Made] = {}
    for own in draw.shuffled([*flows, *(draw.pick(sorted(flows)) for _ in range(draw.pick((0, 1, 2))))]):
        made = _looking(draw, flows, own, inside) if draw.chance(0.4) else None
        made = made or _adding(draw, flows[own], inside, zeros=not write)
        if own != "x" or draw.chance(0.1):
            made.spec["stream"] = own
        parts[named(parts, made)] = made
    found = collect("bus", parts, flows["x"].type)
    found.others = [(label, flows[label].type, "bus") for label in labels]
    found.plain = False
    if write:
        found.spec = {"kind": "bus", "write": write, "parts": found.spec["parts"]}
        found.taps = []
        found.cover("option", "bus", "write", write)
    elif draw.chance(0.5):
        _norm(draw, found, parts, flows)
    _repeat(draw, found, flows)
    found.spec["from"] = {label: [(value, {})] for label, value in feeds.items()}
    for key in (("kind", "bus"), ("feature", "streams"), *([("feature", "streams_three")] if len(flows) > 2 else [])):
        found.cover(*key)
    return found if all(draw.fits(flow.type) for flow in flows.values()) else None


def _streams(kind: Type) -> bool:
    return kind.medium == "dense" and kind.dtype == "f32" and kind.rank >= 2 and kind.last not in (None, 1)


def _adding(draw: Draw, flow: Value, inside: Inside, zeros: bool) -> Made:
    made = make_part(
        draw, flow, inside, lambda kind: (kind.dims, kind.dtype) == (flow.type.dims, "f32"), KEEPING, keep=True,
        in_bus=True, zeros=zeros,
    )  # fmt: skip
    if made is None:
        made = make_leaf(draw, "linear", flow, inside, keep=True, part=True)
    assert made is not None, "a stream has a width that is a number"
    return made


def _looking(draw: Draw, flows: dict[str, Value], own: str, inside: Inside) -> Made | None:
    """A part that attends to another stream as it stands there."""
    here = flows[own].type
    fit = [label for label, flow in flows.items() if label != own and flow.type.dims[:-2] == here.dims[:-2]]
    fit = [label for label in fit if flows[label].type.rank == here.rank and here.rank >= 3]
    if not fit:
        return None
    label = draw.pick(sorted(fit))
    seeing = Inside({"memory": flows[label]}, inside.slots, inside.depth, True)
    made = make_leaf(draw, "cross_attention", flows[own], seeing, keep=True, part=True)
    if made is None or made.type.dims != here.dims:
        return None
    if label != "memory":
        made.spec["from"] = {"memory": label}
    made.cover("feature", "streams_looking")
    return made


def _norm(draw: Draw, found: Made, parts: dict[str, Made], flows: dict[str, Value]) -> None:
    """The norm of all parts, where it fits every stream."""
    place = draw.pick(("pre", "out", "both", "post"))
    if all(part.rule is None or not part.rule.many for part in parts.values()) and set_norm(
        draw, found, place, [flow.type for flow in flows.values()]
    ):
        found.spec["parts"] = found.spec.pop("parts")


def _repeat(draw: Draw, found: Made, flows: dict[str, Value]) -> None:
    """Copies hand on every stream."""
    unfit = any("capacity" in part for part in found.spec["parts"].values())
    if unfit or not draw.chance(0.5):
        return
    count = draw.pick(DEPTHS)
    found.spec["repeat"] = draw.spell(count)
    found.chain *= count
    found.cover("option", "node", "repeat", "stated")
    found.taps = []
    if draw.chance(0.25):
        found.spec["share"] = True
        found.cover("option", "node", "share", "True")
        return
    place = draw.rng.randrange(count)
    label = draw.pick(sorted(flows.keys() - {"x"}))
    found.taps = [(str(place), found.type, "bus"), (f"{place}.{label}", flows[label].type, "bus")]
    found.cover("feature", "streams_repeat")


__all__ = ["make_streams"]
