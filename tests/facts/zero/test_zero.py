"""Analysis Z on the named cases: what starts silent, what equals what, who learns at which step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from assembler.facts.flow import Flow
from assembler.facts.zero.analysis import Level, Zero, zero
from assembler.facts.zero.why import why_value, why_weight
from tests.facts.zero.zero_truth import NOISE, fed, flow_of, made, measured, values

MLP = {"kind": "mlp", "hidden": 16, "from": "x"}
Nodes = dict[str, Any]


def _flow(nodes: Nodes, start: dict[str, str] | None = None, x: str = "[3 5 8]", out: str | None = None, **inputs: str) -> Flow:
    return flow_of({"inputs": {"x": x, **inputs}, "nodes": nodes, "outputs": {"out": out or next(reversed(nodes))}}, start)


def _steps(found: Flow, said: Zero) -> dict[str, int | str | None]:
    return {item.address: "noise" if number in said.noise else said.steps[number] for number, item in enumerate(found.weights) if item.trainable}


def _linear(fed: Any, bias: bool = True) -> dict[str, Any]:
    return {"kind": "linear", "out": 8, "bias": bias, "from": fed}


def _mlp(activation: str) -> Nodes:
    return {"m": {**MLP, "activation": activation}, "y": {"kind": "add", "from": ["x", "m"]}}


ZEROS = {"m\\..*": "zeros"}
LORA = {"l": {"kind": "low_rank", "rank": 3, "from": "x", "out": 8}, "y": {"kind": "add", "from": ["x", "l"]}}
SCALED = {"m": MLP, "a": {"kind": "scale", "value": 0.0, "learned": True, "from": "m"}, "y": {"kind": "add", "from": ["x", "a"]}}
CHANNELS = {**SCALED, "a": {"kind": "scale", "value": 0.0, "learned": True, "channel": True, "from": "m"}}
LAST = {"m\\.down.*": "zeros"}
CONTROL = {"i": _linear("x"), "h": {"kind": "add", "from": ["x", "i"]}, "copy": {"kind": "mlp", "hidden": 16, "from": "h"}, "o": _linear("copy"), "y": {"kind": "add", "from": ["x", "o"]}}
BARE = {"i": _linear("x"), "o": _linear("i"), "y": {"kind": "add", "from": ["x", "o"]}}
CHAIN = {"f": _linear("x"), "z1": _linear("f"), "s1": {"kind": "add", "from": ["z1", "f"]}}
GATED = {"m": {"kind": "swiglu", "hidden": 16, "from": "x"}, "y": {"kind": "add", "from": ["x", "m"]}}
GLU = {"v": _linear("x", False), "g": _linear("x", False), "m": {"kind": "gate", "from": {"base": "v", "gate": "g"}}, "o": _linear("m")}
NORMED = {"m": MLP, "n": {"kind": "layer_norm", "from": "m"}, "y": {"kind": "add", "from": ["x", "n"]}}
FOUR: dict[str, int | str | None] = {"m.up.weight": None, "m.up.bias": None, "m.down.weight": None, "m.down.bias": 0}
ALIVE = dict.fromkeys(FOUR, 0)
ONE_LATE = {"m.up.weight": 1, "m.up.bias": 1, "m.down.weight": 1, "m.down.bias": 1}

NAMED: dict[str, tuple[Nodes, dict[str, str], dict[str, int | str | None]]] = {
    "lora": (LORA, {"l.up.*": "zeros"}, {"l.down.weight": 1, "l.up.weight": 0}),
    "lora, both zero": (LORA, {"l.*": "zeros"}, {"l.down.weight": None, "l.up.weight": None}),
    "mlp all zero, relu": (_mlp("relu"), ZEROS, FOUR),
    "mlp all zero, gelu": (_mlp("gelu"), ZEROS, FOUR),
    "mlp all zero, sigmoid": (_mlp("sigmoid"), ZEROS, {"m.up.weight": 1, "m.up.bias": 1, "m.down.weight": 0, "m.down.bias": 0}),
    "mlp, last layer zero": (_mlp("gelu"), LAST, {"m.up.weight": 1, "m.up.bias": 1, "m.down.weight": 0, "m.down.bias": 0}),
    "rezero": (SCALED, {}, {**ONE_LATE, "a.weight": 0}),
    "layer scale": (CHANNELS, {}, {**ONE_LATE, "a.weight": 0}),
    "flamingo": (
        {"m": MLP, "a": {"kind": "scale", "value": 0.0, "learned": True, "from": "m"}, "t": {"kind": "activation", "activation": "tanh", "from": "a"}, "y": {"kind": "add", "from": ["x", "t"]}},
        {}, {**ONE_LATE, "a.weight": 0},
    ),
    "rezero and last layer zero": (SCALED, LAST, {**dict.fromkeys(FOUR), "a.weight": None}),
    "layer scale and last layer zero": (CHANNELS, LAST, {**dict.fromkeys(FOUR), "a.weight": None}),
    "controlnet": (CONTROL, {"i\\..*": "zeros", "o\\..*": "zeros"}, {"i.weight": 1, "i.bias": 1, "copy.up.weight": 1, "copy.up.bias": 1, "copy.down.weight": 1, "copy.down.bias": 1, "o.weight": 0, "o.bias": 0}),
    "zero in, zero out, no residual": (BARE, {"i\\..*": "zeros", "o\\..*": "zeros"}, {"i.weight": None, "i.bias": None, "o.weight": None, "o.bias": 0}),
    "swiglu, both inputs zero": (GATED, {"m.gate.*": "zeros", "m.up.*": "zeros"}, {"m.gate.weight": None, "m.up.weight": None, "m.down.weight": None}),
    "glu with a sigmoid gate": (GLU, {"v.*": "zeros", "g.*": "zeros"}, {"v.weight": 0, "g.weight": 1, "o.weight": 1, "o.bias": 0}),
    "last layer zero, then a norm": (NORMED, LAST, {"m.up.weight": 1, "m.up.bias": 1, "m.down.weight": 0, "m.down.bias": 0, "n.weight": 1, "n.bias": 0}),
    "norm with gain zero": (NORMED, {"n.weight": "zeros"}, {**ONE_LATE, "n.weight": 0, "n.bias": 0}),
    "norm with gain zero and last layer zero": (NORMED, {**LAST, "n.weight": "zeros"}, {**dict.fromkeys(FOUR), "n.weight": None, "n.bias": 0}),
    "relu6 of zeros": (_mlp("relu6"), ZEROS, FOUR),
    "three zero maps with skips": (
        {"f": _linear("x", False), "a": _linear("f", False), "b": _linear("a", False), "c": _linear("b", False), "s": {"kind": "add", "from": ["c", "x"]}},
        {"[abc]\\..*": "zeros"}, {"f.weight": None, "a.weight": None, "b.weight": None, "c.weight": None},
    ),
    "attention, q and k zero": (
        {"m": {"kind": "attention", "heads": 2, "bias": False, "from": "x"}}, {"m\\.[qk].*": "zeros"},
        {"m.q.weight": None, "m.k.weight": None, "m.v.weight": 0, "m.out.weight": 0},
    ),
    "attention, v zero": (
        {"m": {"kind": "attention", "heads": 2, "bias": False, "from": "x"}}, {"m.v.*": "zeros"},
        {"m.q.weight": 1, "m.k.weight": 1, "m.v.weight": 0, "m.out.weight": 1},
    ),
    "the bias of keys cancels": (
        {"m": {"kind": "attention", "heads": 2, "from": "x"}}, {},
        {**{f"m.{part}.{key}": 0 for part in "qkv" for key in ("weight", "bias")}, "m.k.bias": "noise", "m.out.weight": 0, "m.out.bias": 0},
    ),
    "turned keys have a bias that counts": (
        {"m": {"kind": "attention", "heads": 2, "rotary": True, "from": "x"}}, {},
        {f"m.{part}.{key}": 0 for part in ("q", "k", "v", "out") for key in ("weight", "bias")},
    ),
    "nothing behind a detach": (
        {"a": _linear("x"), "d": {"kind": "detach", "from": "a"}, "b": _linear("d")}, {}, {"a.weight": None, "a.bias": None, "b.weight": 0, "b.bias": 0},
    ),
    "a frozen zero never moves": (
        {"a": _linear("x"), "b": {**_linear("a"), "freeze": True}, "y": {"kind": "add", "from": ["x", "b"]}}, {"b.weight": "zeros"}, {"a.weight": None, "a.bias": None},
    ),
    "a frozen map lets gradients through": ({"a": _linear("x"), "b": {**_linear("a"), "freeze": True}}, {}, {"a.weight": 0, "a.bias": 0}),
    "dropout of everything": (
        {"a": _linear("x"), "d": {"kind": "dropout", "p": 1.0, "from": "a"}, "b": _linear("d")}, {}, {"a.weight": None, "a.bias": None, "b.weight": None, "b.bias": 0},
    ),
    "softmax over one value": (
        {"a": {"kind": "linear", "out": 1, "from": "x"}, "b": {"kind": "softmax", "from": "a"}, "c": _linear("b")}, {}, {"a.weight": None, "a.bias": None, "c.weight": 0, "c.bias": 0},
    ),
    "one map twice": (
        {"a": _linear("x"), "b": {"same": "a", "from": "a"}, "c": _linear("b"), "y": {"kind": "add", "from": ["x", "c"]}}, {"a\\..*": "zeros"},
        {"a.weight": 1, "a.bias": 0, "c.weight": 1, "c.bias": 0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_named_cases(name: str) -> None:
    nodes, start, wanted = NAMED[name]
    found = _flow(nodes, start)
    said = zero(found)
    assert _steps(found, said) == wanted
    rows = measured(found, 4)
    for number, weight in enumerate(found.weights):
        if weight.trainable:
            seen = [row[number] or 0.0 for row in rows]
            first = next((place for place, value in enumerate(seen) if value > NOISE), None)
            assert first == (None if wanted[weight.address] == "noise" else wanted[weight.address]), (weight.address, seen)
            assert wanted[weight.address] == "noise" or any(seen) == (first is not None), "dead is exactly zero"


def test_a_chain_of_zero_maps_with_inner_skips() -> None:
    """Zhang 2023: the last one learns first, and each wakes the one before it."""
    found = _flow({"h": _linear("x", False), "a": _linear("h", False), "s": {"kind": "add", "from": ["a", "h"]}, "b": _linear("s", False), "t": {"kind": "add", "from": ["b", "x"]},
                   "c": _linear("t", False)}, {"[abc]\\..*": "zeros"})  # fmt: skip
    assert _steps(found, zero(found)) == {"h.weight": 2, "a.weight": 2, "b.weight": 1, "c.weight": 0}


def _gate(form: str) -> Nodes:
    return {"m": MLP, "y": {"kind": "gate", "form": form, "from": {"base": "x", "gate": "m"}}}


SILENT: dict[str, tuple[Nodes, dict[str, str], Level | None]] = {
    "add": (_mlp("gelu"), LAST, "bits"),
    "add, bias not zero": (_mlp("gelu"), {"m.down.weight": "zeros"}, None),
    "add, scaled": (SCALED, {}, "bits"),
    "add, behind a norm": (NORMED, {"n.weight": "zeros"}, "bits"),
    "add, behind a norm, layer zero": (NORMED, LAST, "bits"),
    "gate, one plus": (_gate("one_plus"), LAST, "bits"),
    "gate, twice the sigmoid": (_gate("double_sigmoid"), LAST, "bits"),
    "gate, sigmoid": (_gate("sigmoid"), LAST, None),
    "replace by eye": ({"y": _linear("x", False)}, {"y.weight": "eye"}, "bits"),
    "replace by eye, bias": ({"y": _linear("x")}, {"y.weight": "eye"}, None),
    "blend": (
        {"m": MLP, "less": {"kind": "scale", "value": -1.0, "from": "x"}, "change": {"kind": "add", "from": ["m", "less"]}, "part": {"kind": "scale", "value": 0.0, "learned": True, "from": "change"},
         "y": {"kind": "add", "from": ["x", "part"]}}, {}, "bits",
    ),
    "fixed blend of the same": (
        {"a": {"kind": "scale", "value": 0.3, "from": "x"}, "b": {"kind": "scale", "value": 0.7, "from": "x"}, "y": {"kind": "add", "from": ["a", "b"]}}, {}, "math",
    ),
    "mean of the same": ({"y": {"kind": "mean", "from": ["x", "x"]}}, {}, "bits"),
    "mean of three of the same": ({"y": {"kind": "mean", "from": ["x", "x", "x"]}}, {}, "math"),
    "dropout outside training": ({"y": {"kind": "dropout", "p": 0.5, "from": "x"}}, {}, "bits"),
    "norm of the host": ({"y": {"kind": "layer_norm", "from": "x"}}, {}, None),
    "there and back": ({"m": MLP, "up": {"kind": "add", "from": ["x", "m"]}, "less": {"kind": "scale", "value": -1.0, "from": "m"}, "y": {"kind": "add", "from": ["up", "less"]}}, {}, "math"),
    "a norm of gain one is none": ({"n": {"kind": "scale", "value": 1.0, "learned": True, "from": "x"}, "y": {"kind": "identity", "from": "n"}}, {}, "bits"),
}  # fmt: skip


@pytest.mark.parametrize("name", SILENT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_what_is_undisturbed_at_the_start(name: str, dtype: torch.dtype) -> None:
    nodes, start, level = SILENT[name]
    found = _flow(nodes, start)
    place = found.places["y.y"]
    assert zero(found).same(found.inputs["x"], place) == level
    torch.manual_seed(0)
    with torch.no_grad():
        inputs = fed(found, 0, dtype)
        after = values(found, made(found, dtype), inputs, training=False)[place]
    assert torch.equal(after, inputs["x"]) if level == "bits" else not torch.equal(after, inputs["x"]) or level == "math"
    if level == "math" and dtype == torch.float32:
        assert torch.allclose(after, inputs["x"], atol=1e-5, rtol=1e-5)


def test_copied_weights_give_the_same_value_until_they_move() -> None:
    found = _flow({"a": _linear("x"), "b": _linear("x"), "y": {"kind": "add", "from": ["a", "b"]}}, {"b.weight": "copy(a.weight)", "b.bias": "copy(a.bias)"})
    said = zero(found)
    assert said.same(found.places["a.y"], found.places["b.y"]) == "bits"
    assert _steps(found, said) == {"a.weight": 0, "a.bias": 0, "b.weight": 0, "b.bias": 0}


def test_two_uses_of_one_module_on_one_value_are_equal() -> None:
    found = _flow({"a": MLP, "b": {"same": "a", "from": "x"}, "c": {**MLP}, "y": {"kind": "add", "from": ["a", "b", "c"]}})
    said = zero(found)
    assert said.same(found.places["a.y"], found.places["b.y"]) == "bits"
    assert said.same(found.places["a.y"], found.places["c.y"]) is None


def test_states_inside_one_use() -> None:
    found = _flow({"m": MLP}, {"m.up.*": "zeros"})
    inside = zero(found).inside(0)
    assert inside["raised"].zero
    assert inside["hidden_values"].zero
    assert not inside["y"].zero


def test_a_derivation_names_the_weight_that_is_zero() -> None:
    found = _flow({"m": MLP, "s": {"kind": "scale", "value": 2.0, "from": "m"}, "y": {"kind": "add", "from": ["x", "s"]}}, LAST)
    said = zero(found)
    assert [(item.address, item.text) for item in why_value(found, said, found.places["s.y"])] == [
        ("s.y", "zero, since `m.y` is"), ("m.y", "zero, since `m.down.weight` starts as zeros"),
    ]  # fmt: skip
    assert [item.text for item in why_value(found, said, found.places["y.y"])] == ["the same as `x` at the start, bit for bit"]


def test_a_derivation_names_what_holds_a_gradient_back() -> None:
    found = _flow(SCALED, LAST)
    said = zero(found)
    numbers = {item.address: number for number, item in enumerate(found.weights)}
    lines = why_weight(found, said, numbers["m.up.weight"])
    assert [(item.address, item.text) for item in lines] == [
        ("m.up.weight", "never has a gradient"), ("a.weight", "starts as zeros, and no gradient ever moves it"),
    ]  # fmt: skip
