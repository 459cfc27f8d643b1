"""Rules of the kinds that work along the last axis, and of those that change no shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.fuzz.draw import Draw
from tests.fuzz.sizes import size
from tests.fuzz.value import Choice, Options, Rule, Type, Value

ACTIVATIONS = [
    "relu",
    "gelu_tanh",
    "silu",
    "tanh",
    "sigmoid",
    "softplus",
    "elu",
    "leaky_relu",
    "relu6",
    "hardswish",
    "mish",
    "quick_gelu",
    "identity",
]
Given = Mapping[str, list[Type]]


def only_float(given: Given, port: str = "x", ranks: range = range(1, 9)) -> Type | None:
    kind = given[port][0]
    return kind if kind.is_float and kind.rank in ranks else None


# --- maps of the last axis ---
def _map_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given)
    if kind is None or kind.last is None or options.get("in", kind.last) != kind.last:
        return None
    return kind.with_last(size(options.get("out", kind.last)))


def _map_choice(kind: str, default_out: bool, hidden: bool = False) -> Callable[..., Choice | None]:
    def choose(draw: Draw, x: Value, scope: Any) -> Choice | None:
        if not x.type.is_float or x.type.last is None:
            return None
        options: Options = {}
        if draw.wants(kind, "in"):
            options["in"] = x.type.last
        if not default_out or draw.wants(kind, "out", 0.5):
            options["out"] = draw.width()
        if hidden and draw.wants(kind, "hidden", 0.4):
            options["hidden"] = draw.width()
        if kind == "low_rank" and draw.wants(kind, "rank", 0.6):
            options["rank"] = draw.pick((1, 2, 3))
        return Choice(options, {})

    return choose


def _map(
    kind: str,
    default_out: bool = True,
    hidden: bool = False,
    own: bool = True,
    sizes: tuple[str, ...] = (),
    **plain: Any,
) -> Rule:
    names = ("in", "out", *(("hidden",) if hidden else ()), *sizes)
    return Rule(
        kind, _map_choice(kind, default_out, hidden), _map_out, plain, dict.fromkeys(names, ("stated",)), names, own=own
    )


def _stacked_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    found = _map_choice("stacked_mlp", True, hidden=True)(draw, x, scope)
    if found is None or x.type.rank > 4 or x.type.dtype != "f32":
        return None
    return Choice({"members": draw.pick((1, 2, 3)), **found.options}, {})


def _stacked_out(options: Options, given: Given) -> Type | None:
    kind = _map_out(options, given)
    return None if kind is None else kind.dense(*kind.dims[:-1], size(options["members"]), kind.dims[-1])


# --- no change of shape ---
def _keep_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given)
    return Type(kind.dims, "dense", kind.dtype) if kind is not None else None


def _keep_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    return Choice({}, {}) if x.type.is_float else None


def _scale_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float:
        return None
    options: Options = {}
    if x.type.last is not None and draw.wants("scale", "channel"):
        options = {"learned": True, "channel": True}
    elif draw.wants("scale", "learned", 0.3):
        options = {"learned": True}
    return Choice(options, {})


def _scale_out(options: Options, given: Given) -> Type | None:
    kind = _keep_out(options, given)
    return None if kind is not None and options.get("channel") and kind.last is None else kind


def _softmax_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given)
    return Type(kind.dims, "probs", kind.dtype) if kind is not None else None


def _cast_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float:
        return None
    back = x.type.dtype != "f32"
    return Choice(
        {"dtype": "f32" if back and draw.chance(0.7) else draw.pick(("f64", "f64", "bf16", "f16", "f32"))}, {}
    )


def _cast_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given)
    return Type(kind.dims, "dense", options["dtype"]) if kind is not None else None


# --- norms of the last axis ---
def _norm_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    return Choice({}, {}) if x.type.is_float and x.type.last not in (None, 1) and x.type.rank >= 2 else None


def _norm_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given)
    return Type(kind.dims, "dense", kind.dtype) if kind is not None and kind.last not in (None, 1) else None


# --- embeddings and positions ---
def _embedding_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if x.type.medium != "ids" or x.type.vocab is None:
        return None
    options: Options = {"out": draw.width()}
    if draw.wants("embedding", "vocab", 0.3):
        options["vocab"] = x.type.vocab + draw.pick((0, 0, 3))
    if draw.wants("embedding", "padding"):
        options["padding"] = draw.rng.randrange(x.type.vocab)
    return Choice(options, {})


def _embedding_out(options: Options, given: Given) -> Type | None:
    kind = given["x"][0]
    if kind.medium != "ids" or kind.vocab is None or options.get("vocab", kind.vocab) < kind.vocab:
        return None
    return Type((*kind.dims, size(options["out"])))


def _position_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, ranks=range(3, 9))
    if kind is None or kind.last is None:
        return None
    length = kind.dims[-2].number
    if (length is None and "length" not in options) or (length is not None and options.get("length", length) < length):
        return None
    return Type(kind.dims, "dense", kind.dtype)


def _position_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or x.type.rank < 3 or x.type.last is None:
        return None
    length = x.type.dims[-2]
    if length.number is not None and not draw.wants("learned_position", "length", 0.4):
        return Choice({}, {})
    most = max(draw.concrete(length))
    return Choice({"length": most + draw.pick((0, 1, 7))}, {}) if most < 200 else None


def _sinusoidal_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, ranks=range(3, 9))
    return (
        Type(kind.dims, "dense", kind.dtype)
        if kind is not None and kind.last is not None and kind.last % 2 == 0
        else None
    )


def _sinusoidal_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    good = x.type.is_float and x.type.rank >= 3 and x.type.last is not None and x.type.last % 2 == 0
    return Choice({}, {}) if good else None


RULES = [
    _map("linear", default_out=False, bias=(False,)),
    _map("mlp", hidden=True, activation=tuple(ACTIVATIONS), dropout=(0.1, 0.5), bias=(False,)),
    *(_map(kind, hidden=True, bias=(True,), dropout=(0.1, 0.5)) for kind in ("swiglu", "geglu", "reglu")),
    Rule(
        "stacked_mlp", _stacked_choice, _stacked_out, {"activation": ("relu",), "dropout": (0.1,), "bias": (False,)},
        dict.fromkeys(("in", "out", "hidden", "members"), ("stated",)), ("in", "out", "hidden", "members"), own=True,
    ),
    _map("glu", bias=(False,)),
    _map("low_rank", default_out=False, sizes=("rank",), bias=(True,)),
    _map("zero", own=False),
    Rule("activation", _keep_choice, _keep_out, {"activation": tuple(ACTIVATIONS)}),
    Rule("dropout", _keep_choice, _keep_out, {"p": (0.0, 0.1)}),
    Rule("scale", _scale_choice, _scale_out, {"value": (0.5, -1.5)}, {"learned": (True,), "channel": (True,)}, own=True),
    Rule("softmax", _keep_choice, _softmax_out, {"temperature": (0.5, 2.0)}),
    Rule("identity", _keep_choice, _keep_out),
    Rule("detach", _keep_choice, _keep_out),
    Rule("cast", _cast_choice, _cast_out, {}, {"dtype": ("f64", "f32", "bf16", "f16")}),
    Rule("layer_norm", _norm_choice, _norm_out, {"eps": (1e-6, 0.001), "affine": (False,), "bias": (False,)}, own=True),
    Rule("rms_norm", _norm_choice, _norm_out, {"eps": (1e-6, 0.001), "affine": (False,)}, own=True),
    Rule(
        "embedding", _embedding_choice, _embedding_out, {},
        {"vocab": ("stated",), "out": ("stated",), "padding": ("stated",)}, ("vocab", "out"),
    ),
    Rule("learned_position", _position_choice, _position_out, {}, {"length": ("stated",)}, ("length",), own=True),
    Rule("sinusoidal_position", _sinusoidal_choice, _sinusoidal_out, {"base": (100.0, 500000.0)}),
]  # fmt: skip
