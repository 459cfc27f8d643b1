"""Random recipes for analysis Z: kinds on rows or on grids, zeros where it hurts, shared, frozen and cut nodes."""

from __future__ import annotations

import random
from typing import Any

WIDE = 6
_FUNCTIONS = ("relu", "relu", "gelu", "silu", "tanh", "sigmoid", "softplus", "elu", "leaky_relu", "relu6", "hardswish", "mish", "gelu_tanh", "quick_gelu")
_ROWS = (
    "linear", "linear", "linear", "mlp", "mlp", "activation", "activation", "add", "add", "add", "multiply", "gate", "scale", "scale", "layer_norm",
    "rms_norm", "attention", "attention", "cross_attention", "swiglu", "glu", "concat", "mean", "detach", "softmax", "identity", "zero",
    "learned_position", "low_rank", "sinusoidal_position", "reglu", "rearrange",
)  # fmt: skip
_GRIDS = ("conv2d", "conv2d", "conv2d", "batch_norm", "group_norm", "activation", "activation", "add", "add", "multiply", "scale", "max_pool2d", "avg_pool2d", "detach")
_SHARED = ("linear", "mlp", "attention", "conv2d", "layer_norm", "swiglu")


def drawn(seed: int) -> tuple[dict[str, Any], float]:
    """A recipe, and the share of its weights that start as zeros."""
    dice = random.Random(seed)
    grid = dice.random() < 0.2
    single = dice.random() < 0.15
    shape = f"[3 {WIDE} 4 4]" if grid else f"[3 {1 if single else 4} {WIDE}]"
    nodes: dict[str, Any] = {}
    known = ["x"]
    shared: dict[str, str] = {}
    for place in range(dice.randint(2, 12)):
        name = f"n{place}"
        kind = dice.choice(_GRIDS if grid else _ROWS)
        here = [known[-1] if dice.random() < 0.7 else dice.choice(known) for _ in range(2)]
        if kind in _SHARED and kind in shared and dice.random() < 0.3:
            nodes[name] = {"same": shared[kind], "from": here[0]}
        else:
            if kind == "concat":
                nodes[f"{name}c"] = {"kind": "concat", "from": here}
                name = f"{name}_map"
            nodes[name] = _node(dice, name, kind, here)
            if kind in _SHARED:
                shared[kind] = name
            if dice.random() < 0.1 and kind not in ("detach", "identity"):
                nodes[name]["freeze"] = True
        known.append(name)
    read = {item for node in nodes.values() for item in _sources(node["from"])}
    outputs = [name for name in nodes if name not in read] if dice.random() < 0.8 else [known[-1]]
    unread = [name for name in nodes if name not in read and name not in outputs]
    if unread:
        outputs += unread
    recipe = {"inputs": {"x": shape}, "nodes": nodes, "outputs": {f"out{place}": name for place, name in enumerate(outputs)}}
    share = dice.choice((0.0, 0.15, 0.4, 0.4, 0.7))
    return recipe, share


def starts(dice: random.Random, share: float, addresses: list[tuple[str, str, tuple[int, ...]]]) -> dict[str, str]:
    """By address: zeros for a share of the weights, `eye` and numbers for a few."""
    found = {}
    for address, init, shape in addresses:
        if "running" in address or "batches" in address or "map" in address:
            continue  # Buffers; a linear map of values side by side, of which it may be zero in part.
        if dice.random() < share:
            found[address] = "zeros"
        elif dice.random() < 0.05 and len(shape) == 2:
            found[address] = "eye"
        elif dice.random() < 0.05 and len(shape) < 2:
            found[address] = dice.choice(("ones", "constant(0.5)"))
        elif init == "zeros" and dice.random() < 0.5:
            found[address] = "normal(1.0)"
    return found


def _sources(fed: Any) -> list[str]:
    return [fed] if isinstance(fed, str) else list(fed.values()) if isinstance(fed, dict) else list(fed)


def _node(dice: random.Random, name: str, kind: str, fed: list[str]) -> dict[str, Any]:
    one = {"kind": kind, "from": fed[0]}
    bias = dice.random() < 0.7
    options: dict[str, dict[str, Any]] = {
        "linear": {"out": WIDE, "bias": bias},
        "mlp": {"hidden": 8, "out": WIDE, "bias": bias, "activation": dice.choice(_FUNCTIONS)},
        "activation": {"activation": dice.choice(_FUNCTIONS)},
        "scale": {"value": dice.choice((0.0, 0.0, 1.0, -1.0, 0.5)), "learned": dice.random() < 0.7},
        "attention": {"heads": 2, "bias": bias, "causal": dice.random() < 0.3, **_qk(dice), **({"rotary": True, "head_dim": 4} if dice.random() < 0.3 else {})},
        "swiglu": {"hidden": 8, "out": WIDE, "bias": bias},
        "reglu": {"hidden": 8, "out": WIDE, "bias": bias},
        "rms_norm": {"eps": 1e-5},  # The usual one is so small that a factor before the norm has a gradient below noise.
        "glu": {"out": WIDE, "bias": bias},
        "low_rank": {"rank": 3, "out": WIDE},
        "conv2d": {"out": WIDE, "kernel": 3, "padding": 1, "bias": bias},
        "group_norm": {"groups": dice.choice((1, 2, 3, 6))},
        "max_pool2d": {"kernel": 3, "stride": 1, "padding": 1},
        "avg_pool2d": {"kernel": 3, "stride": 1, "padding": 1},
        "learned_position": {"length": 4},
        "rearrange": {"pattern": dice.choice(("b s (h e) -> b s (e h)", "b s d -> b s d")), "sizes": {}},
    }
    if kind == "rearrange":
        pattern = dice.choice(("b s (h e) -> b s (e h)", "b s d -> b s d"))
        return {**one, "pattern": pattern, **({"sizes": {"h": 2}} if "h" in pattern else {})}
    if kind in ("add", "multiply", "mean"):
        return {"kind": kind, "from": fed}
    if kind == "gate":
        return {"kind": kind, "form": dice.choice(("sigmoid", "tanh", "double_sigmoid", "one_plus")), "from": {"base": fed[0], "gate": fed[1]}}
    if kind == "cross_attention":
        return {"kind": kind, "heads": 2, "out": WIDE, "bias": bias, **_qk(dice), "from": {"x": fed[0], "memory": fed[1]}}
    if kind == "concat":
        return {"kind": "linear", "out": WIDE, "bias": bias, "from": name.replace("_map", "c")}
    return {**one, **options.get(kind, {})}


def _qk(dice: random.Random) -> dict[str, Any]:
    return {"qk_norm": dice.choice(("layer_norm", "rms_norm"))} if dice.random() < 0.3 else {}
