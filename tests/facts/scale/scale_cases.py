"""Recipes that analysis S is measured on: those of contracts 3.3, convolutions, and every shipped one at small widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assembler.assemble import checked, load, recipe
from assembler.facts.model import Facts
from assembler.graph.model import Graph

RECIPES = Path(__file__).parents[3] / "recipes"


@dataclass(frozen=True)
class Case:
    """A recipe, the sizes at which it is run, and how many seeds are averaged."""

    name: str
    source: Mapping[str, Any] | str
    sizes: Mapping[str, int]
    overrides: Sequence[str] = ()
    seeds: int = 3

    def graph(self) -> tuple[Graph, Facts]:
        if isinstance(self.source, str):
            return checked(load(RECIPES / f"{self.source}.yaml", self.overrides))
        return checked(recipe(self.source, self.overrides))


def _mlp(name: str, activation: str, init: str, width: int = 256) -> Case:
    layers = {"map": {"kind": "linear", "out": width}, "act": {"kind": "activation", "activation": activation}}
    nodes = {"body": {"kind": "sequence", "repeat": 10, "init": init, "from": "x", "parts": layers}}
    return Case(f"mlp x10 {name}", {"inputs": {"x": f"[batch {width}]"}, "nodes": nodes, "outputs": {"y": "body"}}, {"batch": 64}, seeds=4)


def _stack(name: str, norm: Any, init: str, causal: bool, ffn: Mapping[str, Any] | None = None) -> Case:
    """d = 128, n = 64, 4 heads, 6 blocks."""
    parts = {"attend": {"kind": "attention", "heads": 4, "causal": causal, "init": init}, "think": {**(ffn or {"kind": "mlp"}), "init": init}}
    nodes: dict[str, Any] = {"stack": {"kind": "bus", "repeat": 6, "norm": norm, "from": "x", "parts": parts}}
    last = "stack"
    if norm == "pre":
        nodes["final"] = {"kind": "layer_norm", "from": "stack"}
        last = "final"
    shown = f"{name} {'causal' if causal else 'bidirectional'}"
    return Case(shown, {"inputs": {"x": "[batch seq 128]"}, "nodes": nodes, "outputs": {"y": last}}, {"batch": 4, "seq": 64})


def _gate(form: str) -> Case:
    nodes = {
        "base": {"kind": "linear", "out": 128, "from": "x"},
        "open": {"kind": "linear", "out": 128, "from": "x"},
        "gated": {"kind": "gate", "form": form, "from": {"base": "base", "gate": "open"}},
        "twice": {"kind": "gate", "form": form, "from": {"base": "base", "gate": "base"}},
        "head": {"kind": "linear", "out": 64, "from": "gated"},
        "other": {"kind": "linear", "out": 64, "from": "twice"},
    }
    return Case(f"gate {form}", {"inputs": {"x": "[batch 128]"}, "nodes": nodes, "outputs": {"y": "head", "z": "other"}}, {"batch": 128})


def _joins() -> Case:
    nodes = {
        "same": {"kind": "activation", "activation": "relu", "from": "x"},
        "sum": {"kind": "add", "from": ["x", "same"]},
        "a": {"kind": "mlp", "activation": "relu", "from": "sum"},
        "b": {"kind": "mlp", "activation": "gelu", "from": "sum"},
        "mean": {"kind": "mean", "from": ["a", "b"]},
        "row": {"kind": "concat", "from": ["mean", "sum"]},
        "grouped": {"kind": "rearrange", "pattern": "b s (g d) -> b s g d", "sizes": {"g": 4}, "from": "row"},
        "flat": {"kind": "rearrange", "pattern": "b s g d -> b s (g d)", "from": "grouped"},
        "logits": {"kind": "linear", "out": 64, "from": "flat"},
        "soft": {"kind": "softmax", "from": "logits"},
        "head": {"kind": "linear", "out": 32, "from": "soft"},
        "glu": {"kind": "glu", "out": 64, "from": "flat"},
        "pool": {"kind": "mean_pool", "from": "glu"},
    }
    return Case("joins", {"inputs": {"x": "[batch seq 128]"}, "nodes": nodes, "outputs": {"y": "head", "z": "pool"}}, {"batch": 16, "seq": 24})


def _images(norm: Mapping[str, Any], pool: str) -> Case:
    nodes: dict[str, Any] = {
        "stem": {"kind": "conv2d", "out": 32, "kernel": 3, "padding": 1, "from": "image"},
        "clean": {**norm, "from": "stem"},
        "act": {"kind": "activation", "activation": "relu", "from": "clean"},
        "small": {"kind": pool, **({"kernel": 3, "stride": 2, "padding": 1} if pool == "max_pool2d" else {"kernel": 2}), "from": "act"},
    }
    last = "small"
    for i in range(2):
        nodes |= {
            f"up{i}": {"kind": "conv2d", "out": 32, "kernel": 3, "padding": 1, "bias": False, "from": last},
            f"norm{i}": {**norm, "from": f"up{i}"},
            f"act{i}": {"kind": "activation", "activation": "relu", "from": f"norm{i}"},
            f"down{i}": {"kind": "conv2d", "out": 32, "kernel": 3, "padding": 1, "from": f"act{i}"},
            f"sum{i}": {"kind": "add", "from": [f"down{i}", last]},
        }
        last = f"sum{i}"
    nodes["places"] = {"kind": "rearrange", "pattern": "b c h w -> b (h w) c", "from": last}
    nodes["pool"] = {"kind": "mean_pool", "from": "places"}
    nodes["head"] = {"kind": "linear", "out": 10, "from": "pool"}
    return Case(f"conv {norm['kind']} {pool}", {"inputs": {"image": "image [batch 3 16 16]"}, "nodes": nodes, "outputs": {"y": "head"}}, {"batch": 16})


STATIC: list[Case] = [
    _mlp("relu kaiming", "relu", "kaiming"), _mlp("relu default", "relu", "default"), _mlp("gelu xavier", "gelu", "xavier"),
    _mlp("tanh xavier", "tanh", "xavier"), _mlp("tanh orthogonal", "tanh", "orthogonal"), _mlp("silu normal", "silu", "normal(0.08)"),
    *(_stack(f"{place}-norm {name}", norm, init, causal)
      for place, norm in (("pre", "pre"), ("post", "post"), ("peri", "both"))
      for name, init in (("torch", "default"), ("normal(0.02)", "normal(0.02)"), ("xavier", "xavier"))
      for causal in (False, True)),
    _stack("pre-norm swiglu", "pre", "default", False, {"kind": "swiglu"}), _stack("pre-norm geglu", "pre", "default", True, {"kind": "geglu"}),
    *(_gate(form) for form in ("sigmoid", "tanh", "double_sigmoid", "one_plus")),
    _joins(),
    *(_images({"kind": norm, **more}, pool) for norm, more in (("batch_norm", {}), ("group_norm", {"groups": 4})) for pool in ("max_pool2d", "avg_pool2d")),
]  # fmt: skip

SHIPPED: list[Case] = [
    Case("digits", "digits", {"batch": 16}),
    Case("ensemble", "ensemble", {"batch": 16}),
    Case("two_towers", "two_towers", {"batch": 16, "seq": 16, "patches": 16}),
    Case("bert", "bert", {"batch": 8, "seq": 24}, ("vars.vocab=200", "vars.length=32", "vars.width=64", "vars.heads=4", "vars.depth=3")),
    Case("gpt2", "gpt2", {"batch": 8, "seq": 32}, ("vars.vocab=200", "vars.length=64", "vars.width=64", "vars.heads=4", "vars.depth=3")),
    Case("vit", "vit", {"batch": 16}, ("vars.size=32", "vars.patch=8", "vars.width=64", "vars.heads=4", "vars.depth=4")),
    Case("llama", "llama", {"batch": 8, "seq": 32}, ("vars.vocab=200", "vars.width=64", "vars.heads=4", "vars.kv_heads=2", "vars.depth=3", "vars.hidden=128")),
    Case("resnet50", "resnet50", {"batch": 16, "h": 64, "w": 64}, ("vars.mid=16", "vars.out=64")),
    Case("translate", "translate", {"batch": 8, "source_length": 24, "target_length": 32}, ("vars.vocab=300", "vars.width=64", "vars.heads=4", "vars.depth=2")),
]  # fmt: skip
