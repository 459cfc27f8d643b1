"""Mixtures: `moe`, `route` and `compete`, and the joins of a `parallel`, of whose parts there may be several members."""

from __future__ import annotations

from typing import Any

from tests.fuzz.containers import Inside, make_part
from tests.fuzz.decorate import decorate
from tests.fuzz.draw import Draw
from tests.fuzz.rules import KEEPING, ROWS
from tests.fuzz.rules_join import GATES, gate_options, gate_taps
from tests.fuzz.scope import make_leaf
from tests.fuzz.sizes import plus, size, times
from tests.fuzz.value import Made, Options, Type, Value

MAPS = ("linear", "mlp", "swiglu", "glu", "low_rank", "zero")
"""Kinds that give any width."""
ROUTERS = ("linear", "mlp", "swiglu", "glu", "low_rank")
LOSSES = ("balance", "z_loss", "balance_weight")
DTYPES = ("f32", "f64", "bf16")


def make_moe(draw: Draw, x: Value, inside: Inside, first: str | None) -> Made | None:
    """Experts alike by number, or by name with a count of each."""
    if not _may_route(x):
        return None
    with draw.by_row():
        experts = _experts(draw, x, inside, 1 if draw.chance(0.55) else draw.pick((2, 2, 3)))
        shared = _expert(draw, x, inside, experts[0].type) if experts and draw.wants("moe", "shared", 0.25) else None
    if not experts:
        return None
    counts = [draw.pick((1, 2, 3))] if len(experts) == 1 else [draw.pick((1, 1, 2)) for _ in experts]
    total = sum(counts)
    options = gate_options(draw, total, "moe", capacity=inside.streaming or shared is not None)
    if total == 1:
        options["top_k"] = 1
    options |= _plain(draw, "moe", {**GATES, "z_loss": (0.0, 0.1), "jitter": (0.1,)})
    if len(experts) == 1 and draw.chance(0.6):
        spec: dict[str, Any] = {"kind": "moe", "experts": draw.spell(total), "expert": experts[0].spec}
        if shared is None and draw.wants("moe", "shared", 0.25):
            spec["shared"] = draw.pick((1, 2))
    else:
        spec = {"kind": "moe", "experts": _counted(draw, experts, counts)}
    if shared is not None:
        spec["shared"] = shared.spec
    made = _mixed(draw, "moe", spec, options, x, [*experts, *([shared] if shared else [])], total)
    made.cover("feature", "moe_alike" if "expert" in spec else "moe_named")
    if "shared" in spec:
        made.cover("option", "moe", "shared", "part" if shared else "stated")
    if "jitter" in options:
        made.taps.append(("jitter", Type(x.type.dims, "dense", x.type.dtype), "jitter"))
    return made


def make_route(draw: Draw, x: Value, inside: Inside, first: str | None) -> Made | None:
    """Parts by name, one or two of which a router chooses."""
    if not _may_route(x):
        return None
    with draw.by_row():
        experts = _experts(draw, x, inside, draw.pick((1, 2, 2, 3)))
        router = _router(draw, x, inside, len(experts)) if draw.wants("route", "router", 0.7) else None
    if not experts:
        return None
    options: Options = {}
    if len(experts) > 1 and draw.wants("route", "top_k", 0.3):
        options["top_k"] = 2
    if draw.wants("route", "weighted", 0.3):
        options["weighted"] = False
        if "top_k" not in options and draw.wants("route", "straight_through", 0.8):
            options["straight_through"] = draw.pick(("dense", "winner"))
    if draw.wants("route", "balance", 0.3):
        options["balance"] = draw.pick(("switch", "importance", "bias"))
    options |= _plain(draw, "route", {"temperature": (0.5, 2.0), "z_loss": (0.01,), "balance_weight": (0.1,)})
    return _chosen(draw, "route", x, experts, router, {"top_k": 1, "balance": "none", **options}, options)


def make_compete(draw: Draw, x: Value, inside: Inside, first: str | None) -> Made | None:
    """Parts by name, of which one wins."""
    if not _may_route(x):
        return None
    with draw.by_row():
        experts = _experts(draw, x, inside, draw.pick((1, 2, 2, 3)))
        router = _router(draw, x, inside, len(experts)) if draw.wants("compete", "selector", 0.4) else None
    if not experts:
        return None
    options = _plain(draw, "compete", {"straight_through": ("dense", "none"), "temperature": (0.5, 2.0)}, 0.4)
    return _chosen(draw, "compete", x, experts, router, {"top_k": 1, "balance": "none"}, options)


def _chosen(
    draw: Draw, kind: str, x: Value, experts: list[Made], router: Made | None, meant: Options, options: Options
) -> Made:
    word = "router" if kind == "route" else "selector"
    spec: dict[str, Any] = {"kind": kind}
    if router is not None:
        spec[word] = router.spec
    spec["parts"] = {_part_name(made, place): made.spec for place, made in enumerate(experts)}
    parts = [*experts, *([router] if router else [])]
    made = _mixed(draw, kind, spec, options, x, parts, len(experts), meant)
    if router is not None:
        made.cover("option", kind, word, "part")
    return made


def _may_route(x: Value) -> bool:
    """A router is a map of a width that is a number, and equal scores for all are an error."""
    return x.type.last not in (None, 1) and x.type.dtype in DTYPES and not x.zero


def _plain(draw: Draw, kind: str, values: dict[str, tuple[Any, ...]], p: float = 0.12) -> Options:
    return {name: draw.pick(found) for name, found in values.items() if draw.wants(kind, name, p)}


def _mixed(
    draw: Draw, kind: str, spec: dict[str, Any], options: Options, x: Value, parts: list[Made], total: int,
    meant: Options | None = None,
) -> Made:  # fmt: skip
    """A mixture of parts that give one type, with what else can be read of it."""
    out = parts[0].type
    made = Made(kind, {}, Type(out.dims, "dense", out.dtype), [], stated=False, plain=False)
    made.chain = 4 + sum(part.chain for part in parts)
    for part in parts:
        made.covers.extend(part.covers)
    for name, value in options.items():
        stated = not isinstance(value, str | bool) and name in ("top_k", "capacity")
        made.cover("option", kind, name, "stated" if stated else str(value))
    if x.type.dtype != "f32":  # Losses of two dtypes have no sum.
        options = {name: value for name, value in options.items() if name not in LOSSES or value == "bias"}
        options |= {"moe": {"z_loss": 0.0, "balance": options.get("balance", "none")}}.get(kind, {})
        meant = {"balance": "none", **options}
    spelled = {name: draw.spell(value) if name == "top_k" else value for name, value in options.items()}
    made.spec = {"kind": spec.pop("kind"), **spelled, **spec}
    if x.type.dtype != "f32":
        made.spec["dtype"] = x.type.dtype
    meant = meant or {"z_loss": 0.001, **options}
    rows = x.type.dims[:-1]
    taps = gate_taps(meant, "gating", Type((size(total),), "dense", x.type.dtype))
    made.taps = [("load", Type((size(total),)), kind), *((f"gating.{at}", item, source) for at, item, source in taps)]
    if total > 1:
        made.taps.append(("gating.gates", Type((*rows, size(total)), "dense", x.type.dtype), "gating"))
    return made


# --- experts ---
def _experts(draw: Draw, x: Value, inside: Inside, count: int) -> list[Made]:
    """Parts that all give one type; the first gives no zeros."""
    found: list[Made] = []
    for _ in range(count):
        made = _expert(draw, x, inside, found[0].type if found else None)
        if made is not None:
            found.append(made)
    return found


def _expert(draw: Draw, x: Value, inside: Inside, goal: Type | None) -> Made | None:
    alone = Inside({}, inside.slots, inside.depth)
    if goal is None:
        return make_part(
            draw,
            x,
            alone,
            lambda kind: (
                kind.is_float
                and kind.dims[:-1] == x.type.dims[:-1]
                and kind.last is not None
                and kind.dtype == x.type.dtype
            ),
            (*ROWS_SORTED, *MAPS[:3]),
            keep=draw.chance(0.5),
            zeros=False,
            beside=True,
        )
    if goal.dims == x.type.dims:
        return make_part(
            draw,
            x,
            alone,
            lambda kind: (kind.dims, kind.dtype) == (goal.dims, goal.dtype),
            (*KEEPING, "zero"),
            keep=True,
            beside=True,
        )
    made = make_leaf(draw, draw.pick(MAPS), x, alone, part=True, force={"out": goal.last})
    return (
        decorate(draw, made, x.type, part=True, rate=0.5, beside=True)
        if made is not None and made.type.dims == goal.dims
        else None
    )


def _router(draw: Draw, x: Value, inside: Inside, total: int) -> Made | None:
    """A part that gives the scores; a plain one is told how many."""
    made = make_leaf(
        draw, draw.pick(ROUTERS), x, Inside({}, inside.slots, inside.depth), part=True, force={"out": total}
    )
    if made is None:
        return None
    if draw.chance(0.5):
        made.spec.pop("out")
    if draw.chance(0.3) and x.type.dtype == "f32" and x.type.rank > 1:
        made.spec["norm"] = "pre"
    elif draw.chance(0.3):
        made.spec = {
            "kind": "sequence",
            "parts": {"squash": {"kind": "activation", "activation": "tanh"}, "score": {**made.spec, "out": total}},
        }
        made.cover("kind", "sequence")
    return made


def _counted(draw: Draw, experts: list[Made], counts: list[int]) -> dict[str, Any]:
    found = {}
    for place, (made, count) in enumerate(zip(experts, counts, strict=True)):
        more = {"count": draw.spell(count)} if count > 1 or draw.chance(0.1) else {}
        found[_part_name(made, place)] = {**made.spec, **more}
    return found


def _part_name(made: Made, place: int) -> str:
    return f"{made.kind[:16]}_{place}"


# --- what joins the values of a `parallel` ---
def joined_type(draw: Draw, join: str, parts: list[Made], members: int, x: Value) -> Type | None:
    """What a join makes of the values, or None where it cannot stand."""
    goal, count = parts[0].type, members * len(parts)
    if join == "concat":
        width = size(0)
        for part in parts:
            width = plus(width, times(part.type.dims[-1], members))
        return Type((*goal.dims[:-1], width), "dense", goal.dtype)
    if join in ("gate", "blend"):
        return Type(goal.dims, "dense", goal.dtype) if count == 2 and (join == "gate" or goal.dtype == "f32") else None
    if join == "multi_blend":
        return Type(goal.dims, "dense", goal.dtype) if goal.dtype == "f32" else None
    if join == "stack":
        return None if draw.rows else Type((*goal.dims[:-1], size(count), goal.dims[-1]), "dense", goal.dtype)
    if join == "attend":
        fits = goal.last is not None and x.type.last is not None and goal.dims[:-1] == x.type.dims[:-1]
        return Type(goal.dims, "dense", goal.dtype) if fits and x.type.dtype == goal.dtype == "f32" else None
    if join == "select":
        fits = goal.dims[:-1] == x.type.dims[:-1] and x.type.last is not None and x.type.rank > 1
        return Type(goal.dims, "dense", goal.dtype) if fits and x.type.dtype == goal.dtype == "f32" else None
    return Type(goal.dims, "probs" if join == "vote" else "dense", goal.dtype)


def spelled_join(draw: Draw, join: str, count: int, made: Made) -> Any:
    """A join as a word, or as a mapping with options."""
    if draw.chance(0.5):
        return join
    found: dict[str, Any] = {"kind": join}
    if join == "concat":
        found["axis"] = -1
    elif join == "gate":
        found["form"] = draw.pick(("tanh", "one_plus"))
    elif join == "blend":
        found |= draw.pick(({"weight": 0.25}, {"learned": True}))
    elif join == "multi_blend":
        found |= draw.pick(({"weights": [draw.pick((1, 2, 0.5)) for _ in range(count)]}, {"mode": "normalised"}))
    elif join == "attend":
        found |= draw.pick(({"hidden": draw.width()}, {"bias": False}))
    elif join == "select":
        found |= draw.pick(({"straight_through": "dense"}, {"weighted": True}))
    made.cover("feature", "join_options")
    return found


ROWS_SORTED = tuple(sorted(ROWS))

__all__ = ["joined_type", "make_compete", "make_moe", "make_route", "spelled_join"]
