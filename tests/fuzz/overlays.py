"""Grafts on a finished recipe: in every mode, on nodes, edges, inputs, copies and inside kinds; what is silent must be."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from tests.fuzz.draw import Draw
from tests.fuzz.sizes import size
from tests.fuzz.starts import Claim, Tree, lent, put
from tests.fuzz.steps import Grower
from tests.fuzz.value import Made, Type, Value

INNER = {
    "mlp": ("up", "down"), "swiglu": ("gate", "up", "down"), "geglu": ("gate", "up", "down"), "reglu": ("gate", "up", "down"),
    "glu": ("linear",), "attention": ("q", "k", "v", "out"), "cross_attention": ("q", "k", "v", "out"), "low_rank": ("down", "up"),
}  # fmt: skip
"""Kind -> its linear maps over the last axis."""
BARRED = ("combine", "gating", "select")
"""What is weighed and dropped must be added to a stream as it is."""


class Place(NamedTuple):
    """Where a graft may stand."""

    write: str
    type: Type
    reads: tuple[Value, ...] = ()
    """What else it may read: what is there before."""
    shown: str = ""
    """The value that must stay as it is, where the probe shows it under an address of its own."""


def lay(grower: Grower, tree: Tree, closing: list[str]) -> list[Claim]:
    """Put grafts onto a recipe; what is demanded to be silent must leave its host as it is."""
    claims = put(MAKERS, 0.04, grower, tree, closing)
    text = repr(tree.get("grafts"))
    spelled = {name: value for name, value in grower.draw.vars.items() if name not in tree.get("vars", {}) and re.search(rf"\b{name}\b", text)}
    if spelled:  # Vars that nothing before used.
        tree["vars"] = {**tree.get("vars", {}), **spelled}
    return claims


# --- places ---
def _fits(kind: Type) -> bool:
    return kind.medium == "dense" and kind.dtype == "f32" and kind.rank >= 2 and kind.last not in (None, 1)


def _may_stand(made: Made, spec: Tree) -> bool:
    """Whether its value may be another: nothing in it drops rows, and it is not zeros by itself."""
    dropping = made.kind in BARRED or "capacity" in repr(spec)
    open_ = made.rule is not None and "out" in made.options and "out" not in spec and "slot" not in spec  # Its readers decide.
    return _fits(made.type) and not made.main and not made.zeros and not dropping and not open_ and not any(read.zero for read in made.reads)


def _nodes(grower: Grower, tree: Tree) -> list[Place]:
    """Nodes of the recipe, each with what stands before it."""
    found: list[Place] = []
    given = tree["inputs"].keys() - grower.scope.optional
    before: list[Value] = [value for value in grower.scope.values if value.kind == "input" and value.address in given]
    for name, made in grower.scope.made.items():
        spec = tree["nodes"].get(name)
        if spec is not None and _may_stand(made, spec):
            shown = name if "norm" not in spec and "repeat" not in spec and not {"same", "like"} & spec.keys() else ""
            found.append(Place(name, made.type, tuple(before), shown))
            before.append(Value(name, made.type, made.kind))
    return found


def _edges(grower: Grower, tree: Tree) -> list[Place]:
    found = []
    for name, made in grower.scope.made.items():
        spec = tree["nodes"].get(name, {})
        if made.rule is None or made.rule.many or not made.plain or not isinstance(spec.get("from"), str):
            continue
        kind = made.given[made.rule.first][0]
        if _fits(kind) and made.reads and not made.reads[0].zero and made.reads[0].type == kind:
            found.append(Place(f"{name}.{made.rule.first}", kind))
    return found


def _inputs(grower: Grower, tree: Tree) -> list[Place]:
    return [Place(name, kind) for name, kind in grower.scope.inputs.items() if _fits(kind) and name not in grower.scope.optional and name in tree["inputs"]]


def _copies(grower: Grower, tree: Tree) -> list[Place]:
    """Copies of containers, and parts of the buses that are repeated."""
    found, taken = [], lent(tree)
    for name, made in grower.scope.made.items():
        spec = tree["nodes"].get(name, {})
        if not made.copies or "parts" not in spec or name in taken or not _may_stand(made, spec) or made.kind not in ("bus", "sequence", "parallel"):
            continue
        words = [*map(str, range(made.copies)), "*", "-1", "0:2", "1:"]
        found += [Place(f"{name}.{word}", made.type) for word in words]
        found += [Place(f"{name}.{place}", made.type, (Value(f"{name}.0", made.type, made.kind),)) for place in range(1, made.copies)]
        if made.kind == "bus" and ("feature", "adapter_auto") not in made.covers and not {"read", "write"} & spec.keys() and spec.get("norm", "pre") == "pre":
            plain = [part for part, item in spec["parts"].items() if not {"stream", "repeat", "norm", "init", "same"} & item.keys() and item.get("kind") in INNER]
            found += [Place(f"{name}.{word}.{part}", made.type) for word in words for part in plain]
    return found


# --- parts ---
def _part(draw: Draw, read: Type, width: int, writes: bool) -> Tree:
    """What reads a value and gives the width. `writes`: it ends in a linear map of its own."""
    out = {} if read.last == width else {"out": width}
    found: list[Tree] = [
        {"kind": "mlp", "hidden": draw.width(), **out},
        {"kind": "linear", **out},
        {"kind": "linear", "out": draw.spell(width), "bias": False},
        {"kind": "low_rank", "rank": 2, "out": width},
        {"kind": "swiglu", "hidden": draw.width(), **out},
        {"kind": "sequence", "parts": {"first": {"kind": "mlp", **out}, "second": {"kind": "dropout"}}},
        {"kind": "sequence", "parts": {"squash": {"kind": "activation"}, "last": {"kind": "linear", "out": width}}},
    ]
    if read.rank == 3:
        found.append({"kind": "attention", "heads": 1, **out})
    if not writes and read.last == width:
        found.append({"kind": "bus", "norm": "pre", "parts": {"think": {"kind": "mlp"}, "more": {"kind": "swiglu"}}})
        found.append({"inputs": {"h": "[... d]"}, "nodes": {"f": {"kind": "mlp", "from": "h"}, "g": {"kind": "scale", "from": "f"}}, "outputs": {"y": "g"}})
    part = draw.pick(found)
    if draw.chance(0.15) and not writes:
        part["init"] = "xavier"
    return part


def _read(draw: Draw, place: Place) -> Value | None:
    """Another value that a part may read: of the same places, perhaps of another width."""
    fit = [value for value in place.reads if _fits(value.type) and not value.zero and value.type.dims[:-1] == place.type.dims[:-1]]
    return draw.pick(fit) if fit and draw.chance(0.5) else None


def _scale(draw: Draw, silent: bool) -> Any:
    return draw.pick(("learned", {"learned": True, "channel": True}, {"learned": True, "value": 0.1}) if silent else (0.5, "learned", {"learned": True, "value": 0.1, "channel": True}))


def _graft(grower: Grower, tree: Tree, place: Place, mode: str, silent: bool) -> Tree:
    """One graft, in some form that its mode has."""
    draw, width = grower.draw, place.type.last
    assert width is not None
    graft: Tree = {"write": place.write, "mode": mode}
    read = _read(draw, place)
    if read is not None:
        graft["read"] = read.address
    scaled = mode != "concat" and not (mode == "replace" and silent) and draw.chance(0.35)
    if scaled:
        graft["scale"] = _scale(draw, silent) if mode != "blend" or not silent else draw.pick(("learned", {"learned": True, "channel": True}))
    if mode == "gate" and draw.chance(0.6):
        graft["form"] = draw.pick(("one_plus", "double_sigmoid") if silent else ("one_plus", "double_sigmoid", "sigmoid", "tanh"))
    if draw.chance(0.3) and not (silent and mode in ("replace", "concat")):
        graft["norm"] = draw.pick(("pre", "out", "both") if silent or mode in ("concat", "replace") else ("pre", "out", "both", "post"))
        if draw.chance(0.4):
            graft["norm_kind"] = draw.pick(("rms_norm", {"kind": "rms_norm", "eps": 1e-3}, {"kind": "layer_norm", "eps": 1e-3}))
    if silent:
        graft["init"] = "identity" if mode == "replace" else draw.pick(("zero", "identity"))
    kind = read.type if read is not None else place.type
    if mode == "replace" and silent:
        graft.pop("read", None)
        graft["part"] = draw.pick(({"kind": "identity"}, {"kind": "linear", "out": width}))
    elif mode == "replace":
        graft["part"] = _part(draw, kind, width, writes=True)
        if graft["part"].get("kind") == "linear":
            graft["part"]["out"] = width
    else:
        graft["part"] = _part(draw, kind, draw.width() if mode == "concat" else width, writes=silent)
        if mode == "concat" and graft["part"].get("kind") == "linear":
            graft["part"]["out"] = draw.width()
    return graft


def _silent(mode: str, name: str, place: Place) -> list[Claim]:
    word = {"add": "add", "gate": "gate", "blend": "blend"}.get(mode)
    return [("equal", f"{name}_{word}", place.shown)] if word and place.shown else []


def _put(grower: Grower, tree: Tree, graft: Tree) -> str:
    grafts = tree.setdefault("grafts", {})
    name = f"graft_{len(grafts)}"
    grafts[name] = graft
    return name


def _free(tree: Tree, places: list[Place]) -> list[Place]:
    """Places where no other graft stands, nor inside or around."""
    return [place for place in places if place.write.split(".")[0] not in laid(tree)]


def laid(tree: Tree) -> set[str]:
    """Nodes and inputs of the recipe that grafts write, or something of them."""
    written = [graft["write"] for graft in tree.get("grafts", {}).values()]
    return {(item if isinstance(item, str) else item["port"]).split(".")[0] for item in written}


def _stated(grower: Grower) -> bool:
    """Whether no width of the recipe is known from its readers alone, which a graft may cut off."""
    return not any(grower.scope.covers["feature", name] for name in ("inferred_out", "inferred_through"))


# --- modes ---
def _mode(grower: Grower, tree: Tree, mode: str, silent: bool | None = None) -> list[Claim] | None:
    draw = grower.draw
    places = _free(tree, [*_nodes(grower, tree), *(_edges(grower, tree) if mode == "replace" or draw.chance(0.3) else [])])
    if not places:
        return None
    if mode == "replace" and not _stated(grower):
        return None
    place = draw.pick(places)
    quiet = draw.chance(0.5) if silent is None else silent
    graft = _graft(grower, tree, place, mode, quiet)
    name = _put(grower, tree, graft)
    return _silent(mode, name, place) if quiet else []


def _at(grower: Grower, tree: Tree, where: Callable[[Grower, Tree], list[Place]]) -> list[Claim] | None:
    places = _free(tree, where(grower, tree))
    if not places:
        return None
    draw = grower.draw
    _put(grower, tree, _graft(grower, tree, draw.pick(places), draw.pick(("add", "gate", "blend", *(["replace"] if _stated(grower) else []))), draw.chance(0.4)))
    return []


def _concat(grower: Grower, tree: Tree) -> list[Claim] | None:
    """Beside a value that only linear maps read, which take what comes."""
    draw = grower.draw
    places = [place for place in _nodes(grower, tree) if place.type.dims]
    if not places:
        return None
    source, count = draw.pick(places), len(tree["nodes"])
    host, width = f"beside_{count}", draw.width()
    tree["nodes"][host] = {"kind": "mlp", "out": width, "from": source.write}
    for at in range(draw.pick((1, 2))):
        tree["nodes"][f"taking_{count + at}"] = {"kind": "linear", "out": draw.width(), "from": host}
        tree["outputs"][f"taken_{count + at}"] = f"taking_{count + at}"
    place = Place(host, source.type.with_last(size(width)), source.reads)
    _put(grower, tree, _graft(grower, tree, place, "concat", draw.chance(0.5)))
    return []


def _two(grower: Grower, tree: Tree) -> list[Claim] | None:
    """Two at one place: sums need no order, anything else says it."""
    places = _free(tree, _nodes(grower, tree))
    if not places:
        return None
    draw, place = grower.draw, grower.draw.pick(places)
    plain = draw.chance(0.5)
    first = _put(grower, tree, _graft(grower, tree, place, "add" if plain else draw.pick(("add", "gate", "blend")), draw.chance(0.3)))
    second = _graft(grower, tree, place, "add" if plain else draw.pick(("add", "gate", "blend")), draw.chance(0.3))
    _put(grower, tree, second if plain else {**second, "after": draw.pick((first, [first]))})
    return []


def _inner(grower: Grower, tree: Tree) -> list[Claim] | None:
    """Inside a kind (LoRA): a part of one module is added to what one of its linear maps gives."""
    draw, taken = grower.draw, lent(tree)
    names = [
        name for name, made in grower.scope.made.items()
        if made.plain and made.kind in INNER and tree["nodes"].get(name, {}).get("kind") == made.kind and name not in taken and made.type.dtype == "f32"
        and not {"init", "tie", "dtype"} & tree["nodes"][name].keys() and not made.zeros and not any(read.zero for read in made.reads)
    ]  # fmt: skip
    places = _free(tree, [Place(name, grower.scope.made[name].type) for name in names])
    if not places:
        return None
    name = draw.pick(places).write
    inside = f"{name}.{draw.pick(INNER[grower.scope.made[name].kind])}"
    graft: Tree = {"write": inside, "mode": "add"}
    if draw.chance(0.6):
        graft["read"] = f"{inside}.x"
    if draw.chance(0.6):
        graft["init"] = "zero"
    if draw.chance(0.3):
        graft["scale"] = draw.pick((0.5, "learned"))
    graft["part"] = draw.pick(({"kind": "low_rank", "rank": 2}, {"kind": "linear", "bias": False}, {"kind": "mlp", "hidden": draw.width()}))
    _put(grower, tree, graft)
    return []


def _adapter(grower: Grower, tree: Tree) -> list[Claim] | None:
    """A part of another width: bridged where it is asked for, or unasked, where the policy lets it."""
    places = _free(tree, _nodes(grower, tree))
    if not places or "adapters" in tree:
        return None
    draw, place = grower.draw, grower.draw.pick(places)
    mode = draw.pick(("add", "gate", "blend"))
    graft = {"write": {"port": place.write, "adapt": draw.pick(("linear", "mlp", "low_rank"))}, "mode": mode, "part": {"kind": "mlp", "out": 10}}
    other = next((value for value in place.reads if _fits(value.type) and value.type.dims[:-1] == place.type.dims[:-1] and value.type.last != place.type.last), None)
    if other is not None and draw.chance(0.5):  # The part gives the width that it takes, which is another one.
        graft = {"write": place.write, "read": other.address, "mode": mode, "part": {"kind": "mlp"}}
    elif draw.chance(0.4):
        graft = {"write": place.write, "read": {"port": place.write, "adapt": draw.pick(("linear", "mlp"))}, "mode": mode, "part": {"kind": "mlp", "in": 10, "out": place.type.last}}
    if draw.chance(0.3) and isinstance(graft["write"], dict):
        graft["init"] = "zero"
    _put(grower, tree, graft)
    return []


def widened(tree: Tree) -> bool:
    """Whether a graft may need an adapter."""
    return any(re.search(r"'adapt'|'part': \{'kind': 'mlp'\}", repr(graft)) for graft in tree.get("grafts", {}).values())


MAKERS: dict[str, Callable[[Grower, Tree], list[Claim] | None]] = {
    **{f"graft_{mode}": partial(_mode, mode=mode) for mode in ("add", "gate", "blend", "replace")},
    "graft_silent": lambda grower, tree: _mode(grower, tree, grower.draw.pick(("add", "gate", "blend")), silent=True),
    "graft_concat": _concat,
    "graft_inner": _inner,
    "graft_copies": partial(_at, where=_copies),
    "graft_edge": partial(_at, where=_edges),
    "graft_input": partial(_at, where=_inputs),
    "graft_two": _two,
    "graft_adapter": _adapter,
}
"""Feature -> what lays it onto a recipe; None where there is no place for it."""

__all__ = ["MAKERS", "laid", "lay", "widened"]
