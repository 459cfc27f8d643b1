"""Steps for what is no kind and no option: adapters, sharing, inferred widths, taps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.fuzz import copies
from tests.fuzz.scope import make_leaf
from tests.fuzz.sizes import exact, size, times
from tests.fuzz.steps import Grower, decorate, existing
from tests.fuzz.value import FLOATS, Made, Type, Value

PINNED = ("linear", "mlp", "swiglu", "geglu", "reglu", "glu", "low_rank", "zero", "attention")
"""Kinds whose `in:` can say which width an edge must bring."""
TRANSPARENT = ("activation", "dropout", "identity", "scale", "layer_norm", "sinusoidal_position")


# --- adapters ---
def adapter(grower: Grower, word: str) -> bool:
    """An edge with `adapt: word` between two types that differ."""
    draw = grower.draw
    for attempt in range(10):
        source = _source(grower, word, fresh=attempt > 3)
        if source is None:
            continue
        mended = _mended(grower, word, source.type)
        if mended is None:
            continue
        target, said, width = mended
        x = Value(source.address, target, source.kind, zero=source.zero)
        words: dict[str, Any] = {
            "value": source,
            **({"adapt": said} if word != "detach" or draw.chance(0.5) else {"detach": True}),
        }
        made = _pinned(grower, x, words, width, word)
        if made is not None:
            made.cover("feature", "edge_detach" if "detach" in words else f"adapter_{word}")
            grower.scope.add(made)
            return True
    return False


def _source(grower: Grower, word: str, fresh: bool) -> Value | None:
    draw = grower.draw
    if word == "embedding":
        ids = existing(grower, lambda value: value.type.medium == "ids")
        return draw.pick(ids) if ids and not fresh else grower.ids()
    if word == "cast":
        wide = existing(grower, lambda value: value.type.is_float and value.type.dtype != "f32")
        if wide and not fresh:
            return draw.pick(wide)
        kind, stem = grower.template()
        return grower.new_input(Type(kind.dims, "dense", draw.pick(("f64", "bf16"))), stem)
    return grower.base(fresh)


def _mended(grower: Grower, word: str, kind: Type) -> tuple[Type, Any, int | None] | None:
    """What the adapter makes of a type, how the edge says it, and the width the consumer must state."""
    draw, width = grower.draw, grower.draw.width()
    if word == "cast":
        return (Type(kind.dims, "dense", "f32"), "cast", None) if kind.dtype in FLOATS[1:] else None
    if word == "embedding":
        return Type((*kind.dims, size(width))), "embedding", width
    if not kind.is_float or kind.dtype != "f32":
        return None
    if word in ("linear", "mlp", "low_rank"):
        if kind.last is None or kind.last == width or kind.rank < 2:
            return None
        said = draw.pick(({"kind": "low_rank", "rank": 2}, "low_rank")) if word == "low_rank" else word
        return kind.with_last(size(width)), said, width
    if word == "permute" and kind.rank == 3 and kind.dims[1] != kind.dims[2]:
        said = draw.pick(("permute", {"kind": "permute", "order": [0, 2, 1]}))
        return Type((kind.dims[0], kind.dims[2], kind.dims[1])), said, None
    if word == "patch_embed" and kind.rank == 4 and kind.dims[1].number is not None:
        rows, columns = exact(kind.dims[2], 2), exact(kind.dims[3], 2)
        return (
            (Type((kind.dims[0], times(rows, columns), size(width))), {"kind": "patch_embed", "patch": 2}, width)
            if rows and columns
            else None
        )
    if word == "conv" and kind.rank == 4 and kind.dims[1].number not in (None, width):
        return Type((kind.dims[0], size(width), *kind.dims[2:])), "conv", width
    if word == "pool" and kind.rank >= 3 and kind.last is not None:
        return Type((*kind.dims[:-2], kind.dims[-1])), "pool", None
    if word == "argmax" and kind.last is not None and kind.last > 1 and kind.rank >= 2:
        return Type(kind.dims[:-1], "ids", "int", kind.last), word, None
    if word in ("gumbel", "straight_through") and kind.last is not None and kind.rank >= 2:
        return Type(kind.dims, "probs"), {"kind": word, "temperature": 2.0}, None
    if word == "vector_quantize" and kind.last is not None and kind.rank >= 2:
        return Type(kind.dims), {"kind": word, "codes": 5}, None
    if word in ("softmax", "detach") and kind.last is not None and kind.rank >= 2:
        return Type(kind.dims, "probs" if word == "softmax" else "dense"), word, None
    return None


def _pinned(grower: Grower, x: Value, words: dict[str, Any], width: int | None, word: str) -> Made | None:
    """A consumer that leaves no doubt about what it takes."""
    draw, scope = grower.draw, grower.scope
    if word == "argmax":
        return make_leaf(draw, "embedding", x, scope, words=words, force={"vocab": x.type.vocab})
    if word == "conv":
        return make_leaf(draw, "conv2d", x, scope, words=words, force={"in": width})
    if word == "pool":
        like = existing(
            grower, lambda value: value.type.is_float and value.type.dims == x.type.dims and value.type.dtype == "f32"
        )
        if like:
            made = make_leaf(draw, "gate", x, scope, words=words)
            if made is not None:
                return made
    if word == "permute" and x.type.dims[1].number is not None and draw.chance(0.5):
        return make_leaf(draw, "conv1d", x, scope, words=words, force={"in": x.type.dims[1].number})
    if word == "cast":
        return make_leaf(
            draw, draw.pick(("linear", "layer_norm", "mlp", "conv2d", "attention", "cls_token")), x, scope, words=words
        )
    if x.type.last is None:
        return None
    return make_leaf(draw, draw.pick(PINNED), x, scope, words=words, force={"in": x.type.last})


# --- sharing ---
def share(grower: Grower, word: str) -> bool:
    """One more use of a node: with its weights (`same`), or of its definition (`like`)."""
    draw, scope = grower.draw, grower.scope
    names = [
        name
        for name, made in scope.made.items()
        if made.plain and made.rule is not None and not made.rule.many and not made.rule.extra and made.reads
    ]
    for name in draw.shuffled(names):
        old = scope.made[name]
        rule, was = old.rule, old.given.get(old.rule.first) if old.rule else None
        if rule is None or was is None or "dtype" in old.spec or rule.first not in old.given:
            continue
        for x in draw.shuffled(scope.values):
            if not _may_share(word, rule.kind, was[0], x, name):
                continue
            out = rule.out(old.options, {rule.first: [x.type]})
            if out is None or not draw.fits(out):
                continue
            made = Made(old.kind, {word: name, "from": {rule.first: [(x, {})]}}, out, [], plain=False)
            made.cover("feature", word)
            made.cover("kind", old.kind)
            scope.add(made)
            return True
    return False


def _may_share(word: str, kind: str, was: Type, x: Value, name: str) -> bool:
    if x.address.split(".")[0] == name and word == "same":
        return x.type == was
    if x.type.medium not in ("dense", was.medium) or x.type.dtype != was.dtype or x.type.vocab != was.vocab:
        return False
    if word == "like":
        return x.type.rank == was.rank and (kind != "learned_position" or x.type.dims[-2] == was.dims[-2])
    return x.type.rank == was.rank and x.type.dims[1:] == was.dims[1:] and x.type.dims[-1:] == was.dims[-1:]


def tie(grower: Grower) -> bool:
    """A head whose weight is the table of an embedding, or the weight of another linear map."""
    draw, scope = grower.draw, grower.scope
    owners = [
        (name, made)
        for name, made in scope.made.items()
        if made.kind in ("embedding", "linear") and made.plain and "dtype" not in made.spec
    ]
    if not owners:
        made, _ = grower.produce("embedding", fresh=True)
        if made is None:
            return False
        value = scope.add(made)
        owners = [(value.address, made)]
    name, owner = draw.pick(owners)
    given = owner.given["x"][0]
    rows = owner.options.get("vocab", given.vocab) if owner.kind == "embedding" else owner.options["out"]
    columns = owner.options["out"] if owner.kind == "embedding" else given.last
    fit = existing(
        grower, lambda value: value.type.is_float and value.type.dtype == "f32" and value.type.last == columns
    )
    if not fit or rows is None:
        return False
    made_ = make_leaf(draw, "linear", draw.pick(fit), scope, force={"out": rows})
    if made_ is None:
        return False
    made_.spec["tie"] = {"weight": f"{name}.weight"}
    made_.plain = False
    made_.cover("feature", "tie")
    scope.add(made_)
    return True


# --- inferred widths ---
def inferred(grower: Grower, through: bool) -> bool:
    """A node without `out:`, whose width follows from who reads it (through nodes between)."""
    draw, scope = grower.draw, grower.scope
    for attempt in range(8):
        made, _ = grower.produce(
            draw.pick(("linear", "linear", "low_rank", "embedding", "patch_embed")), fresh=attempt > 3
        )
        if made is None or "dtype" in made.spec or made.type.dtype != "f32":
            continue
        made.spec.pop("out", None)
        made.plain, made.stated = False, False
        x = scope.add(made)
        for _ in range(draw.pick((1, 2)) if through else 0):
            middle = make_leaf(draw, draw.pick(TRANSPARENT), x, scope)
            if middle is not None:
                x = scope.add(middle)
        end = make_leaf(draw, draw.pick(PINNED[:6]), x, scope, force={"in": x.type.last})
        if end is None:
            made.spec["out"] = made.options["out"]
            continue
        end.cover("feature", "inferred_through" if through else "inferred_out")
        scope.add(end)
        return True
    return False


# --- reading inside ---
def tap(grower: Grower) -> bool:
    """A reader of a value below a node: a copy of a repeat, a part, another output."""
    draw = grower.draw
    inner = existing(grower, lambda value: "." in value.address and value.type.is_float)
    for x in draw.shuffled(inner)[:6]:
        for kind in draw.shuffled(("linear", "activation", "add", "layer_norm", "mean_pool", "sequence"))[:3]:
            if grower.grow(kind, x, rate=0.2) is not None:
                grower.scope.covers["feature", "tap"] += 1
                return True
    return False


# --- mixtures ---
def carried_drops(grower: Grower) -> bool:
    """Gates that drop rows, in front of a sum that carries those past."""
    draw, scope = grower.draw, grower.scope
    for attempt in range(10):
        x = grower.base(fresh=attempt > 5)
        if x.zero or x.type.dtype != "f32" or x.type.last is None or x.type.rank < 2:
            continue
        count = draw.pick((2, 3))
        scores = scope.settle(scope.mapped(x, count), x, "scores")
        other = make_leaf(draw, "mlp", x, scope, keep=True)
        if other is None:
            continue
        spec = {
            "kind": "gating",
            "top_k": draw.pick((1, 2)),
            "capacity": draw.pick((0.5, 1.0)),
            "from": {"scores": [(scores, {})]},
        }
        gates = Made("gating", spec, scores.type, [], stated=False, plain=False)
        gates.cover("kind", "gating")
        weights, value = scope.add(gates), scope.add(other)
        mixed = {"kind": "combine", "from": {"gates": [(weights, {})], "x": [(x, {}), *[(value, {})] * (count - 1)]}}
        total = scope.add(Made("combine", mixed, Type(x.type.dims), [], stated=False, plain=False))
        summed = Made(
            "add",
            {"kind": "add", "from": {"*": [(x, {}), (total, {})]}},
            Type(x.type.dims),
            [],
            stated=False,
            plain=False,
        )
        summed.cover("feature", "carried_drops")
        scope.add(summed)
        return True
    return False


def mixed(grower: Grower, feature: str) -> bool:
    """A mixture, or a join with options, that is what is wanted."""
    for attempt in range(40):
        made, x = grower.produce("parallel" if feature == "join_options" else "moe", fresh=attempt > 5)
        if made is not None and x is not None and ("feature", feature) in made.covers:
            grower.add(decorate(grower.draw, made, x.type))
            return True
    return False


STEPS: dict[str, Callable[[Grower], bool]] = {
    "same": lambda grower: share(grower, "same"),
    "like": lambda grower: share(grower, "like"),
    "tie": tie,
    "inferred_out": lambda grower: inferred(grower, through=False),
    "inferred_through": lambda grower: inferred(grower, through=True),
    "tap": tap,
    "edge_detach": lambda grower: adapter(grower, "detach"),
    "carried_drops": carried_drops,
    **copies.STEPS,
    **{name: partial(mixed, feature=name) for name in ("moe_alike", "moe_named", "join_options")},
}
"""Feature -> the step that makes it; `adapter_*` are made by `adapter`."""
