"""Rules of the joins of many values, and of the gates of mixtures."""

from __future__ import annotations

from typing import Any

from tests.fuzz.draw import Draw
from tests.fuzz.rules_row import Given, only_float
from tests.fuzz.rules_token import joined, like_choice
from tests.fuzz.sizes import size
from tests.fuzz.value import Choice, Inputs, Options, Rule, Type, Value

_STATED = ("stated",)


def _blend_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    found = like_choice(draw, x, scope)
    if found is None:
        return None
    options: Options = {}
    if draw.wants("blend", "learned", 0.4):
        options["learned"] = True
    if x.type.last is not None and x.type.dtype == "f32" and draw.wants("blend", "channel", 0.15):
        options = {"learned": True, "channel": True}
    return Choice(options, {"x": found.inputs["x"][:1]})


def _blend_out(options: Options, given: Given) -> Type | None:
    out = joined({}, given)
    return None if out is None or len(given["x"]) != 2 or (options.get("channel") and out.last is None) else out


def _multi_blend_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    found = like_choice(draw, x, scope)
    if found is None or not draw.wants("multi_blend", "weights", 0.4):
        return found
    return Choice({"weights": [draw.pick((1, 2, 0.5)) for _ in range(1 + len(found.inputs["x"]))]}, found.inputs)


def _multi_blend_out(options: Options, given: Given) -> Type | None:
    fits = "weights" not in options or len(options["weights"]) == len(given["x"])
    return joined({}, given) if fits else None


def _vote_out(options: Options, given: Given) -> Type | None:
    out = joined({}, given)
    return Type(out.dims, "probs", out.dtype) if out is not None else None


def _attend_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    found = like_choice(draw, x, scope)
    if found is None or x.type.last is None or x.type.rank < 2:
        return None

    def asks(kind: Type) -> bool:
        return (
            kind.is_float
            and kind.dtype == x.type.dtype
            and kind.dims[:-1] == x.type.dims[:-1]
            and kind.last is not None
        )

    options: Options = {"hidden": draw.width()} if draw.wants("attend", "hidden", 0.4) else {}
    return Choice(options, {**found.inputs, "query": [draw.pick([x, *scope.partners(asks, but=x)])]})


def _attend_out(options: Options, given: Given) -> Type | None:
    out = joined({}, given)
    query = given.get("query", [None])[0]
    if out is None or query is None or out.last is None or query.last is None:
        return None
    return out if query.dims[:-1] == out.dims[:-1] and query.dtype == out.dtype else None


def _scored(x: Value, inputs: Inputs, scope: Any) -> list[Value] | None:
    """Scores for each of the values that are joined: a linear map of the first, so that they are no probabilities."""
    if x.type.last is None or x.type.rank < 2 or x.type.dtype != "f32":
        return None
    return [scope.mapped(x, 1 + len(inputs["x"]))]


def _select_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    found = like_choice(draw, x, scope)
    scores = _scored(x, found.inputs, scope) if found is not None else None
    if found is None or scores is None:
        return None
    options: Options = {}
    if draw.wants("select", "straight_through", 0.4):
        options["straight_through"] = draw.pick(("dense", "none"))
    elif draw.wants("select", "weighted", 0.3):
        options["weighted"] = True
    return Choice(options, {**found.inputs, "scores": scores})


def _combine_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    found = like_choice(draw, x, scope)
    gates = _scored(x, found.inputs, scope) if found is not None else None
    return Choice({}, {**found.inputs, "gates": gates}) if found is not None and gates is not None else None


def _weighed(port: str) -> Any:
    def out(options: Options, given: Given) -> Type | None:
        values, weights = joined({}, given), given.get(port, [None])[0]
        if values is None or weights is None or weights.dims != (*values.dims[:-1], size(len(given["x"]))):
            return None
        return values if weights.dtype == values.dtype else None

    return out


# --- gates ---
def _gating_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    last = x.type.last
    if not x.type.is_float or x.type.dtype != "f32" or x.type.medium == "probs" or last is None or not 2 <= last <= 16:
        return None
    if x.zero:  # Equal scores for all are an error.
        return None
    options = gate_options(draw, last, "gating", capacity=False)
    if draw.wants("gating", "experts", 0.2):
        options["experts"] = last
    if options.get("router") == "noisy_topk":
        if not scope.joins:
            return None
        return Choice(options, {"noise": [scope.mapped(x, last)]})
    return Choice(options, {})


def gate_options(draw: Draw, total: int, kind: str, capacity: bool = True) -> Options:
    """How rows choose among `total` experts, in a combination that means something."""
    options: Options = {}
    top_k = draw.pick([k for k in (1, 1, 2, 2, 3) if k <= total])
    if top_k != 2 or draw.chance(0.3):
        options["top_k"] = top_k
    router = draw.pick(("noisy_topk", "expert_choice")) if draw.wants(kind, "router", 0.35) else "topk"
    if router == "expert_choice" and not draw.may_choose():
        router = "noisy_topk"
    if router != "topk":
        options["router"] = router
    rows = router != "expert_choice"
    if draw.wants(kind, "score", 0.25):
        options["score"] = "sigmoid"
    if draw.wants(kind, "weighted", 0.15):
        options["weighted"] = False
        if rows and top_k == 1 and draw.wants(kind, "straight_through", 0.7):
            options["straight_through"] = draw.pick(("dense", "winner"))
    elif draw.wants(kind, "renormalize", 0.25):
        options["renormalize"] = rows and top_k > 1 and draw.chance(0.5)
    if rows and draw.wants(kind, "balance", 0.5):
        options["balance"] = draw.pick(("switch", "importance", "bias", "none"))
    if rows and capacity and draw.wants(kind, "capacity", 0.3):
        options["capacity"] = draw.pick((0.5, 1.0, 1.25))
    return options


def _gating_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, "scores")
    if kind is None or kind.last is None or options.get("top_k", 2) > kind.last:
        return None
    return Type(kind.dims, "dense", kind.dtype)


def gate_taps(options: Options, kind: str, x: Type) -> list[tuple[str, Type, str]]:
    """What else a `gating` gives: the load and its losses."""
    found = [("load", Type((x.dims[-1],)), kind)]
    balance = options.get("balance", "none" if options.get("router") == "expert_choice" else "switch")
    if balance in ("switch", "importance"):
        found.append(("balance_loss", Type((), "scalar", x.dtype), kind))
    if options.get("z_loss"):
        found.append(("z_loss", Type((), "scalar", x.dtype), kind))
    return found


GATES: dict[str, tuple[Any, ...]] = {
    "temperature": (0.5, 2.0),
    "balance_weight": (0.1,),
    "bias_rate": (0.01,),
    "z_loss": (0.01,),
    "expert_dropout": (0.3,),
}
"""Options of gates without influence on which others may stand beside them."""
CHOICES: dict[str, tuple[Any, ...]] = {
    "top_k": _STATED,
    "router": ("noisy_topk", "expert_choice"),
    "score": ("sigmoid",),
    "renormalize": ("True", "False"),
    "weighted": ("False",),
    "straight_through": ("dense", "winner"),
    "capacity": _STATED,
    "balance": ("switch", "importance", "bias", "none"),
}

RULES = [
    Rule("blend", _blend_choice, _blend_out, {"weight": (0.25, 0.9)}, {"learned": ("True",), "channel": ("True",)}, own=True, many=True),
    Rule(
        "multi_blend", _multi_blend_choice, _multi_blend_out, {"mode": ("normalised",), "learned": (False,)},
        {"weights": _STATED}, own=True, many=True,
    ),
    Rule("median", like_choice, joined, many=True),
    Rule("vote", like_choice, _vote_out, many=True),
    Rule(
        "attend", _attend_choice, _attend_out, {"bias": (False,)}, {"hidden": _STATED}, ("hidden",), own=True, many=True,
        extra=("query",), dtypes=("f32", "f64"),
    ),
    Rule(
        "select", _select_choice, _weighed("scores"), {}, {"straight_through": ("dense", "none"), "weighted": ("True",)},
        many=True, extra=("scores",),
    ),
    Rule("combine", _combine_choice, _weighed("gates"), many=True, extra=("gates",)),
    Rule("gating", _gating_choice, _gating_out, GATES, {"experts": _STATED, **CHOICES, "capacity": ()}, ("experts", "top_k"), first="scores", own=True, extra=("noise",), taps=gate_taps),
]  # fmt: skip
