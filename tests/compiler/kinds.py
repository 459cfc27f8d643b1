"""One small recipe for every kind, with a symbolic batch and a symbolic length wherever the kind allows one."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import torch
import yaml

import assembler
from assembler.library.registry import names
from assembler.source.recipe import Recipe

ROWS = "{x: '[batch seq 8]'}"
IMAGE = "{x: '[batch 4 height width]'}"
TWO = "{x: '[batch seq 8]', z: '[batch seq 8]'}"
BUS = "repeat: 2, norm: pre, parts: {a: {kind: attention, heads: 2}, f: {kind: mlp, hidden: 12}}"

# What every other node is fed from: a layer in front, so that the kind has a gradient to pass on.
_FRONT = "front: {kind: linear, out: 8, from: x}"
_PIXEL = "front: {kind: conv2d, out: 4, kernel: 1, from: x}"

RECIPES: dict[str, tuple[str, str]] = {
    "linear": (ROWS, "k: {kind: linear, out: 5, from: x}"),
    "mlp": (ROWS, "k: {kind: mlp, hidden: 12, from: x}"),
    "stacked_mlp": (ROWS, "k: {kind: stacked_mlp, members: 3, hidden: 6, out: 5, from: x}"),
    "swiglu": (ROWS, "k: {kind: swiglu, hidden: 12, from: x}"),
    "geglu": (ROWS, "k: {kind: geglu, hidden: 12, from: x}"),
    "reglu": (ROWS, "k: {kind: reglu, hidden: 12, from: x}"),
    "glu": (ROWS, "k: {kind: glu, from: x}"),
    "activation": (ROWS, f"{_FRONT}, k: {{kind: activation, activation: silu, from: front}}"),
    "dropout": (ROWS, f"{_FRONT}, k: {{kind: dropout, p: 0.0, from: front}}"),
    "embedding": ("{x: 'ids(11) [batch seq]'}", "k: {kind: embedding, out: 6, padding: 0, from: x}"),
    "learned_position": (ROWS, "k: {kind: learned_position, length: 40, from: x}"),
    "sinusoidal_position": (ROWS, f"{_FRONT}, k: {{kind: sinusoidal_position, from: front}}"),
    "scale": (ROWS, "k: {kind: scale, learned: true, channel: true, from: x}"),
    "layer_norm": (ROWS, "k: {kind: layer_norm, from: x}"),
    "rms_norm": (ROWS, "k: {kind: rms_norm, from: x}"),
    "batch_norm": ("{x: '[batch 4 length]'}", "k: {kind: batch_norm, from: x}"),
    "group_norm": (IMAGE, "k: {kind: group_norm, groups: 2, from: x}"),
    "attention": (
        "{x: '[batch seq 8]', mask: {type: 'mask [batch seq]', optional: true}}",
        "k: {kind: attention, heads: 4, kv_heads: 2, causal: true, rotary: true, qk_norm: rms_norm, from: {x: x, mask: mask}}",
    ),
    "cross_attention": (
        "{x: '[batch seq 8]', memory: '[batch mem 6]', mask: 'mask [batch mem]'}",
        "k: {kind: cross_attention, heads: 2, from: {x: x, memory: memory, mask: mask}}",
    ),
    "gate": (TWO, f"{_FRONT}, k: {{kind: gate, repeat: 2, from: {{base: front, gate: z}}}}"),
    "conv1d": ("{x: '[batch 4 length]'}", "k: {kind: conv1d, out: 6, kernel: 5, stride: 2, dilation: 2, padding: 1, from: x}"),
    "conv2d": (IMAGE, "k: {kind: conv2d, out: 6, kernel: [3, 5], stride: [2, 1], padding: [1, 0], groups: 2, from: x}"),
    "max_pool2d": (IMAGE, f"{_PIXEL}, k: {{kind: max_pool2d, kernel: 3, stride: 2, padding: 1, from: front}}"),
    "avg_pool2d": (IMAGE, f"{_PIXEL}, k: {{kind: avg_pool2d, kernel: [2, 3], from: front}}"),
    "patch_embed": ("{x: 'image [batch 3 4*h 4*w]'}", "k: {kind: patch_embed, patch: 4, out: 6, from: x}"),
    "mean_pool": (
        "{x: '[batch seq 8]', mask: {type: 'mask [batch seq]', optional: true}}",
        f"{_FRONT}, k: {{kind: mean_pool, from: {{x: front, mask: mask}}}}",
    ),
    "cls_token": (ROWS, "k: {kind: cls_token, from: x}"),
    "cls_pool": (ROWS, f"{_FRONT}, k: {{kind: cls_pool, from: front}}"),
    "expand": ("{x: '[batch 8]', z: '[batch seq 6]'}", f"{_FRONT}, k: {{kind: expand, from: {{x: front, like: z}}}}"),
    "learned_tokens": (ROWS, "k: {kind: learned_tokens, length: 3, out: 6, from: x}"),
    "flatten": (ROWS, f"{_FRONT}, k: {{kind: flatten, from: front}}"),
    "rearrange": (ROWS, f"{_FRONT}, k: {{kind: rearrange, pattern: 'b (h p) d -> b h (p d)', sizes: {{p: 2}}, from: front}}"),
    "concat": (TWO, f"{_FRONT}, k: {{kind: concat, axis: -2, from: [front, z]}}, j: {{kind: concat, from: [k, k]}}"),
    "gating": (ROWS, f"{_FRONT}, p: {{kind: gating, top_k: 2, z_loss: 0.001, from: front}}, k: {{kind: multiply, from: [p, front]}}"),
    "combine": (ROWS, f"{_FRONT}, p: {{kind: linear, out: 2, from: x}}, k: {{kind: combine, from: {{gates: p, x: [front, x]}}}}"),
    "jitter": (ROWS, f"{_FRONT}, k: {{kind: jitter, eps: 0.0, from: front}}"),
    "stack": (TWO, f"{_FRONT}, k: {{kind: stack, from: [front, z]}}"),
    "add": (TWO, f"{_FRONT}, k: {{kind: add, from: [front, z]}}"),
    "multiply": (TWO, f"{_FRONT}, k: {{kind: multiply, from: [front, z]}}"),
    "mean": (TWO, f"{_FRONT}, k: {{kind: mean, from: [front, z]}}"),
    "blend": (TWO, f"{_FRONT}, k: {{kind: blend, weight: 0.3, learned: true, channel: true, from: [front, z]}}"),
    "multi_blend": (TWO, f"{_FRONT}, k: {{kind: multi_blend, weights: [0, 1, 2], mode: normalised, from: [front, z, x]}}"),
    "median": (TWO, f"{_FRONT}, k: {{kind: median, from: [front, z, x]}}"),
    "vote": (TWO, f"{_FRONT}, k: {{kind: vote, from: [front, z, x]}}, j: {{kind: add, from: [front, k]}}"),
    "attend": (TWO, f"{_FRONT}, k: {{kind: attend, hidden: 4, from: {{x: [front, z, x], query: z}}}}"),
    "select": (TWO, f"{_FRONT}, s: {{kind: linear, out: 3, from: x}}, k: {{kind: select, from: {{x: [front, z, x], scores: s}}}}"),
    "softmax": (ROWS, f"{_FRONT}, k: {{kind: softmax, temperature: 0.5, from: front}}"),
    "identity": (ROWS, f"{_FRONT}, k: {{kind: identity, repeat: 2, from: front}}"),
    "zero": (ROWS, f"{_FRONT}, z: {{kind: zero, from: front}}, k: {{kind: add, from: [z, front]}}"),
    "cast": (ROWS, f"{_FRONT}, k: {{kind: cast, dtype: f64, from: front}}"),
    "low_rank": (ROWS, "k: {kind: low_rank, out: 6, rank: 2, bias: true, from: x}"),
    "permute": (ROWS, f"{_FRONT}, k: {{kind: permute, from: front}}"),
    "detach": (TWO, f"{_FRONT}, d: {{kind: detach, from: front}}, k: {{kind: add, from: [front, d, z]}}"),
    "graph": (ROWS, "k: {kind: graph, inputs: {x: '[... d]'}, nodes: {a: {kind: linear, out: 8, from: x}, b: {kind: layer_norm, from: a}}, outputs: {y: b, z: a}, from: x}"),
    "sequence": (ROWS, "k: {kind: sequence, repeat: 2, from: x, parts: {a: {kind: linear, out: 8}, g: {kind: activation}}}"),
    "parallel": (ROWS, "k: {kind: parallel, join: concat, from: x, parts: {a: {kind: linear, out: 4}, b: {kind: mlp, out: 3}}}"),
    "bus": (ROWS, f"k: {{kind: bus, {BUS}, from: x}}"),
    "moe": (ROWS, f"{_FRONT}, k: {{kind: moe, experts: 4, shared: 1, expert: {{kind: mlp, hidden: 12, norm: pre}}, from: front}}"),
    "route": (ROWS, f"{_FRONT}, k: {{kind: route, router: {{kind: mlp}}, parts: {{a: {{kind: mlp, hidden: 12}}, b: {{kind: activation}}, c: {{kind: identity}}}}, from: front}}"),
    "compete": (ROWS, f"{_FRONT}, k: {{kind: compete, parts: {{a: {{kind: mlp, hidden: 12}}, b: {{kind: linear, out: 8}}}}, from: front}}"),
    "argmax": (ROWS, f"{_FRONT}, i: {{kind: argmax, from: front}}, e: {{kind: embedding, out: 8, from: i}}, k: {{kind: add, from: [e, front]}}"),
    "straight_through": (ROWS, f"{_FRONT}, k: {{kind: straight_through, temperature: 0.5, from: front}}"),
    "gumbel": (ROWS, f"{_FRONT}, k: {{kind: gumbel, temperature: 0.5, from: front}}"),
    "vector_quantize": (ROWS, f"{_FRONT}, k: {{kind: vector_quantize, codes: 7, from: front}}"),
    "no_loss": (ROWS, f"{_FRONT}, k: {{kind: identity, from: front}}"),
    "loss_sum": (ROWS, f"{_FRONT}, k: {{kind: identity, from: front}}"),
}
"""Kind -> inputs and nodes; the node `k` is the output. Of the two kinds for losses see `text`."""


def text(kind: str) -> str:
    inputs, nodes = RECIPES[kind]
    # Nobody writes these two: they are what `losses` becomes.
    losses = ", aux: losses" if kind in ("no_loss", "loss_sum", "vector_quantize", "moe", "gating") else ""
    last = "k.y, z: k.z" if kind == "graph" else "k, i: k.index" if kind == "vector_quantize" else "j" if ", j:" in nodes else "k"
    return f"{{name: one-{kind.replace('_', '-')}, inputs: {inputs}, nodes: {{{nodes}}}, outputs: {{y: {last}{losses}}}}}"


@cache
def recipe(kind: str) -> Recipe:
    return assembler.recipe(yaml.safe_load(text(kind)))


def values(kind: str, **sizes: int) -> dict[str, torch.Tensor]:
    """Inputs at these sizes; a name that none is given for is 6."""
    generator = torch.Generator().manual_seed(3)
    found: dict[str, torch.Tensor] = {}
    for name, item in yaml.safe_load(RECIPES[kind][0]).items():
        said: Any = item["type"] if isinstance(item, dict) else item
        dims = re.findall(r"\[(.*)\]", said)[0].split()
        shape = [eval(dim, {"__builtins__": {}}, {word: sizes.get(word, 6) for word in re.findall("[a-z]+", dim)}) for dim in dims]
        if said.startswith("ids"):
            found[name] = torch.randint(0, 11, shape, generator=generator)
        elif said.startswith("mask"):
            found[name] = torch.rand(shape, generator=generator) < 0.7
            found[name][..., 0] = True
        else:
            found[name] = torch.randn(shape, generator=generator)
    return found


def flat(out: Any) -> list[torch.Tensor]:
    return list(out.values()) if isinstance(out, dict) else [out]


ALL = [name for name in names() if name != "given"]
"""Kinds whose module a recipe alone can build: what is handed over has tests of its own (test_given.py)."""
