"""Rules of attention: heads that fit, masks and biases that may be there, a memory of its own."""

from __future__ import annotations

from typing import Any

from tests.fuzz.draw import Draw
from tests.fuzz.rules_row import Given, only_float
from tests.fuzz.sizes import Size, size
from tests.fuzz.value import Choice, Inputs, Options, Rule, Type, Value


def _heads(draw: Draw, kind: str, width: int, options: Options) -> bool:
    """Heads, key heads and head width that fit together."""
    heads = draw.pick([item for item in (1, 2, 4) if width % item == 0])
    if draw.wants(kind, "head_dim", 0.2):
        options["head_dim"] = draw.pick((2, 4, 6))
        heads = draw.pick((1, 2, 3))
    options["heads"] = heads
    if draw.wants(kind, "kv_heads", 0.2):
        options["heads"] = heads = max(heads, 2) if "head_dim" in options or width % 2 == 0 else heads
        options["kv_heads"] = draw.pick([item for item in (1, 2, 3, 4) if heads % item == 0])
    if draw.wants(kind, "out", 0.3):
        options["out"] = draw.width()
    if draw.wants(kind, "in"):
        options["in"] = width
    return True


def _heads_fit(options: Options, width: int, rotary: bool = False) -> bool:
    heads = options["heads"]
    if options.get("in", width) != width or heads % options.get("kv_heads", heads):
        return False
    if "head_dim" not in options and width % heads:
        return False
    head = options.get("head_dim", width // heads)
    return not rotary or ((turned := options.get("rotary_dim", head)) <= head and turned % 2 == 0)


def mask_for(draw: Draw, scope: Any, dims: tuple[Size, ...]) -> Value | None:
    wanted = Type(dims, "mask", "bool")
    found: list[Value] = scope.partners(lambda kind: kind == wanted)
    asked: Value | None = draw.pick(found) if found else scope.ask(wanted)
    return asked


def _attention_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or x.type.rank < 3 or x.type.last is None:
        return None
    options: Options = {}
    _heads(draw, "attention", x.type.last, options)
    width = options.get("head_dim", x.type.last // options["heads"])
    if width % 2 == 0 and draw.wants("attention", "rotary", 0.2):
        options["rotary"] = True
        if draw.wants("attention", "rotary_dim", 0.3):
            options["rotary_dim"] = 2 * draw.pick(range(1, width // 2 + 1))
    if draw.wants("attention", "window", 0.1):
        options |= {"causal": True, "window": draw.pick((1, 2, 3))}
    inputs: Inputs = {}
    if draw.wants("attention", "mask") and (mask := mask_for(draw, scope, x.type.dims[:-1])):
        inputs["mask"] = [mask]
    if x.type.dtype == "f32" and draw.wants("attention", "bias_port", 0.08):
        bias = scope.ask(Type((size(options["heads"]), x.type.dims[-2], x.type.dims[-2])))
        inputs |= {"bias": [bias]} if bias else {}
    return Choice(options, inputs)


def _attention_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, ranks=range(3, 9))
    if kind is None or kind.last is None or not _heads_fit(options, kind.last, options.get("rotary", False)):
        return None
    if "mask" in given and given["mask"][0] != Type(kind.dims[:-1], "mask", "bool"):
        return None
    if "bias" in given and given["bias"][0].dims != (size(options["heads"]), kind.dims[-2], kind.dims[-2]):
        return None
    return kind.with_last(size(options.get("out", kind.last)))


def _cross_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or x.type.rank < 3 or x.type.last is None:
        return None
    options: Options = {}
    _heads(draw, "cross_attention", x.type.last, options)
    inputs: Inputs = {}
    memory = scope.passed.get("memory")
    if memory is None:
        lead = x.type.dims[:-2]
        fit = scope.partners(
            lambda kind: (
                kind.is_float
                and kind.rank == len(lead) + 2
                and kind.dims[:-2] == lead
                and kind.last is not None
                and kind.dtype == x.type.dtype
            )
        )
        memory = draw.pick(fit) if fit else x if scope.joins else None
        if memory is None:
            return None
        inputs["memory"] = [memory]
    if draw.wants("cross_attention", "memory_in"):
        options["memory_in"] = memory.type.last
    if draw.wants("cross_attention", "mask") and (mask := mask_for(draw, scope, memory.type.dims[:-1])):
        inputs["mask"] = [mask]
    if x.type.dtype == "f32" and draw.wants("cross_attention", "bias_port", 0.08):
        bias = scope.ask(Type((size(options["heads"]), x.type.dims[-2], memory.type.dims[-2])))
        inputs |= {"bias": [bias]} if bias else {}
    return Choice(options, inputs)


def _cross_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, ranks=range(3, 9))
    if kind is None or kind.last is None or "memory" not in given or not _heads_fit(options, kind.last):
        return None
    memory = given["memory"][0]
    good = (
        memory.is_float
        and memory.rank == kind.rank
        and memory.dims[:-2] == kind.dims[:-2]
        and memory.dtype == kind.dtype
    )
    if not good or memory.last is None or options.get("memory_in", memory.last) != memory.last:
        return None
    if "mask" in given and given["mask"][0] != Type(memory.dims[:-1], "mask", "bool"):
        return None
    if "bias" in given and given["bias"][0].dims != (size(options["heads"]), kind.dims[-2], memory.dims[-2]):
        return None
    return kind.with_last(size(options.get("out", kind.last)))


_HEADS = ("heads", "kv_heads", "head_dim", "in", "out")
_PLAIN = {"qk_norm": ("layer_norm", "rms_norm"), "bias": (False,), "out_bias": (False, True), "dropout": (0.1,), "scale": (0.5,)}


_STATED = ("stated",)
RULES = [
    Rule(
        "attention", _attention_choice, _attention_out, {**_PLAIN, "causal": (True,), "rotary_base": (500.0,)},
        dict.fromkeys((*_HEADS, "rotary", "window", "rotary_dim"), _STATED), (*_HEADS, "window"), own=True, extra=("mask", "bias"), dtypes=("f32", "f64"),
    ),
    Rule(
        "cross_attention", _cross_choice, _cross_out, _PLAIN, dict.fromkeys((*_HEADS, "memory_in"), _STATED),
        (*_HEADS, "memory_in"), own=True, extra=("memory", "mask", "bias"), dtypes=("f32", "f64"),
    ),
]  # fmt: skip
