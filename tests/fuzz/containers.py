"""Containers around leaves: sequence, parallel, bus and graph, nested, with inputs passed by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fuzz.decorate import Slots, add_repeat, decorate
from tests.fuzz.draw import Draw
from tests.fuzz.rules import JOINS, KEEPING, LEAVES, MIXTURES, PARTS, ROWS
from tests.fuzz.scope import Scope, make_leaf
from tests.fuzz.value import Made, Type, Value

DEPTH = 3
TRIES = 6


class Inside:
    """What rules may ask for inside a container: only what is passed on by name."""

    joins = False
    root = False

    def __init__(self, passed: dict[str, Value], slots: Slots, depth: int, streaming: bool = False) -> None:
        self.passed = passed
        self.slots = slots
        self.depth = depth
        self.streaming = streaming
        """What stands here is added to a stream by itself."""

    def partners(self, test: Callable[[Type], bool], but: Value | None = None) -> list[Value]:
        return []

    def ask(self, kind: Type) -> None:
        return None

    def twin(self, x: Value) -> Value:
        raise AssertionError("there are no joins inside a container")


def make_container(
    draw: Draw, kind: str, x: Value, scope: Any, slots: Slots, depth: int = 0, part: bool = False, in_bus: bool = False
) -> Made | None:
    """A valid use of a container kind on a value, or None."""
    if not x.type.is_float or x.type.medium not in ("dense", "image", "probs") or x.type.rank < 1 or depth >= DEPTH:
        return None
    if kind == "graph":
        from tests.fuzz.subgraph import make_graph

        return make_graph(draw, x, scope, slots, depth, part)
    if kind == "bus" and not part and draw.wants("bus", "stream", 0.05):
        from tests.fuzz.streams import make_streams

        streams = make_streams(draw, x, scope, Inside(dict(scope.passed), slots, depth + 1, True))
        if streams is not None:
            return streams
    passed, first = ({}, None) if part or kind in MIXTURES else _pass_on(draw, kind, x, scope)
    inside = Inside({**scope.passed, **passed}, slots, depth + 1, in_bus)
    flow = Value(x.address, Type(x.type.dims, "dense", x.type.dtype), x.kind, x.stated, x.zero)
    made = _fill(kind)(draw, flow, inside, first)
    if made is None or (part and "scored" in made.options):
        return None
    if "scored" in made.options:  # The container is fed the scores of its join beside the stream.
        passed = {**passed, "scores": scope.mapped(flow, made.options["scored"])}
    made.cover("kind", kind)
    if not part:
        made.spec["from"] = {"x": [(x, {})], **{label: [(value, {})] for label, value in passed.items()}}
        if passed.keys() - {"scores"}:
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
    zeros: bool = True,
    beside: bool = False,
) -> Made | None:
    """A part that takes `x` and gives something that passes `test`.

    `zeros`: it may be zeros whatever comes in. `beside`: it stands beside others of its sort, and has no `repeat`.
    """
    if draw.rows:
        kinds = tuple(kind for kind in kinds if kind in ROWS)
    for _ in range(TRIES):
        made: Made | None
        if inside.depth < DEPTH and draw.chance(0.18):
            container = draw.pick(("sequence", "parallel", "graph", *(() if in_bus else ("bus",)), *MIXTURES))
            made = make_container(draw, container, x, inside, inside.slots, inside.depth, True, in_bus)
        elif draw.chance(0.12) and x.type.medium == "dense" and not inside.passed:
            made = inside.slots.use(draw, x.type)
        else:
            made = make_leaf(draw, draw.pick(kinds), x, inside, keep=keep, part=True)
            if made is not None and draw.chance(0.12):
                made = inside.slots.wrap(draw, made)
        if made is not None and (not made.main and not made.others) and test(made.type) and (zeros or not made.zeros):
            before = made.type
            if beside and "repeat" in made.spec:
                continue
            decorated = decorate(draw, made, x.type, part=True, in_bus=in_bus, rate=0.5, beside=beside)
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


def collect(kind: str, parts: dict[str, Made], type_: Type) -> Made:
    spec: dict[str, Any] = {"kind": kind, "parts": {name: part.spec for name, part in parts.items()}}
    made = Made(kind, spec, type_, [], stated=False, chain=1 + sum(part.chain for part in parts.values()))
    for name, part in parts.items():
        made.covers.extend(part.covers)
        made.taps.append((name, part.type, part.kind))
    return made


def named(parts: dict[str, Made], made: Made) -> str:
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
        parts[named(parts, made)] = made
        here = Value("", made.type, made.kind, zero=here.zero or made.zeros or here.type.last == 1)
        before = made.kind if "norm" not in made.spec else ""
    return collect("sequence", parts, here.type) if parts else None


def _parallel(draw: Draw, x: Value, inside: Inside, first: str | None) -> Made | None:
    join = draw.pick((*JOINS[:4], *JOINS))
    members = draw.pick((1, 2, 2, 3)) if draw.wants("parallel", "members", 0.25) and not first else 0
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
            beside=members > 0,
        )
    )
    if made is None:
        return None
    parts[named(parts, made)] = made
    goal = made.type
    for _ in range(draw.pick((1, 1, 2))):
        other = make_part(
            draw,
            x,
            inside,
            lambda kind: _joins(join, kind, goal),
            (*((made.kind,) if made.kind in LEAVES else ()), *KEEPING),
            keep=goal.dims == x.type.dims,
            beside=members > 0,
        )
        if other is None and _joins(join, x.type, goal):
            other = make_leaf(draw, "identity", x, inside, part=True)
        if other is not None:
            parts[named(parts, other)] = other
    count = max(members, 1) * len(parts)
    if (len(parts) < 2 and members < 2) or len({id(part.spec) for part in parts.values()}) < len(parts):
        return None
    from tests.fuzz.mixtures import joined_type, spelled_join

    kind = joined_type(draw, join, list(parts.values()), max(members, 1), x)
    if kind is None:
        return None
    found = collect("parallel", parts, kind)
    if join != "add" or draw.chance(0.2):
        found.spec["join"] = spelled_join(draw, join, count, found)
        found.spec["parts"] = found.spec.pop("parts")
    if join != "add":
        found.cover("option", "parallel", "join", join)
    if join == "select":
        found.options["scored"] = count
    if members:
        found.spec["members"] = draw.spell(members)
        found.cover("option", "parallel", "members", "stated")
        found.taps = [(f"{name}.{draw.rng.randrange(members)}", part.type, part.kind) for name, part in parts.items()]
        found.chain *= members
    return found if draw.fits(found.type) else None


def _joins(join: str, kind: Type, goal: Type) -> bool:
    if kind.dtype != goal.dtype or kind.rank != goal.rank:
        return False
    return kind.dims[:-1] == goal.dims[:-1] if join == "concat" else kind.dims == goal.dims


def _fill(kind: str) -> Callable[[Draw, Value, Inside, str | None], Made | None]:
    if kind in ("sequence", "parallel"):
        return _sequence if kind == "sequence" else _parallel
    from tests.fuzz import buses, mixtures

    makers = {
        "bus": buses.make_bus,
        "moe": mixtures.make_moe,
        "route": mixtures.make_route,
        "compete": mixtures.make_compete,
    }
    return makers[kind]


__all__ = ["LEAVES", "Scope", "make_container"]
