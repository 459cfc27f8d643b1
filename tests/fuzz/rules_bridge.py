"""Rules of the bridges between media: ids and choices made of logits, codes, and the jitter of routers."""

from __future__ import annotations

from typing import Any

from tests.fuzz.draw import Draw
from tests.fuzz.rules_row import Given, only_float
from tests.fuzz.value import Choice, Options, Rule, Type, Value


def _logits_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    return Choice({}, {}) if x.type.is_float and x.type.rank else None


def _ids_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    fits = x.type.is_float and x.type.rank > 1 and x.type.last is not None and x.type.last > 1
    return Choice({}, {}) if fits else None


def _ids_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given)
    return None if kind is None or kind.last is None else Type(kind.dims[:-1], "ids", "int", kind.last)


def _probs_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given)
    return Type(kind.dims, "probs", kind.dtype) if kind is not None else None


def _codes_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or x.type.last is None or x.type.rank < 2:
        return None
    return Choice({"codes": draw.pick((3, 5, 8))}, {})


def _codes_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given)
    return Type(kind.dims, "dense", kind.dtype) if kind is not None and kind.last is not None else None


def _code_taps(options: Options, kind: str, x: Type) -> list[tuple[str, Type, str]]:
    """Which code it is, and the loss that holds x near it."""
    ids = Type(x.dims[:-1], "ids", "int", options["codes"])
    return [("index", ids, kind), ("commit_loss", Type((), "scalar", x.dtype), kind)]


def _jitter_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    return Choice({}, {}) if x.type.is_float and x.type.rank else None


def _jitter_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given)
    return Type(kind.dims, "dense", kind.dtype) if kind is not None else None


RULES = [
    Rule("argmax", _ids_choice, _ids_out),
    Rule("straight_through", _logits_choice, _probs_out, {"temperature": (0.5, 2.0)}),
    Rule("gumbel", _logits_choice, _probs_out, {"temperature": (0.5, 2.0), "hard": (False,)}),
    Rule(
        "vector_quantize", _codes_choice, _codes_out,
        {"commit": (0.5, 0.0), "ema": (False,), "decay": (0.9,), "eps": (1e-3,)}, {"codes": ("stated",)}, ("codes",),
        own=True, taps=_code_taps, dtypes=("f32",),
    ),
    Rule("jitter", _jitter_choice, _jitter_out, {"eps": (0.1, 0.0)}),
]  # fmt: skip
