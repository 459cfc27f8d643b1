"""From the text of a recipe to its graph and facts, as `assemble` does, for tests of the compiler."""

from __future__ import annotations

import torch
import yaml

from assembler.adapters.insert import adapt
from assembler.compiler.model import Plan
from assembler.compiler.plan import plan
from assembler.facts.model import Facts
from assembler.facts.types.infer import infer
from assembler.graph.build import build
from assembler.graph.model import Graph
from assembler.source.parse import parse
from assembler.source.tree import value_of


def graph_of(text: str) -> tuple[Graph, Facts]:
    """Graph and facts of a recipe that has no errors."""
    recipe, found = parse(value_of(yaml.safe_load(text)), "recipe.yaml")
    graph, more = build(recipe)
    facts = infer(graph)
    graph, facts, adapted = adapt(graph, facts)
    wrong = [d for d in (*found, *more, *adapted) if d.level == "error"]
    assert not wrong, wrong
    assert not facts.conflicts, facts.conflicts
    return graph, facts


def plan_of(text: str) -> Plan:
    return plan(*graph_of(text))


DIGITS = """
name: digits
description: small images to ten classes
vars: {width: 64, heads: 4, depth: 4, classes: 10}
inputs: {image: "image f32 [batch 1 8 8]"}
nodes:
  patches: {kind: patch_embed, patch: 2, out: width, from: image}
  place: {kind: learned_position, from: patches}
  encoder:
    kind: bus
    repeat: depth
    norm: pre
    from: place
    parts:
      attend: {kind: attention, heads: heads}
      think: {kind: mlp, hidden: 4*width, activation: gelu}
  final: {kind: layer_norm, from: encoder}
  pool: {kind: mean_pool, from: final}
  head: {kind: linear, out: classes, from: pool}
outputs: {logits: head, aux_loss: losses}
"""

TOWERS = """
name: two-towers
inputs: {words: "[batch seq 384]", pixels: "[batch patches 192]"}
nodes:
  text: {kind: mean_pool, from: words}
  image: {kind: mean_pool, from: pixels}
  fuse: {kind: gate, from: {base: text, gate: {port: image, adapt: mlp}}}
  head: {kind: linear, out: 10, from: fuse}
outputs: {logits: head}
"""

TAPS = """
name: taps
inputs: {words: "[batch seq 32]"}
nodes:
  stack: {kind: linear, out: 32, repeat: 6, from: words}
  enc:
    kind: bus
    repeat: 5
    norm: pre
    from: {x: stack, memory: words}
    parts:
      attend: {kind: attention, heads: 4}
      cross: {kind: cross_attention, heads: 4}
      think: {kind: swiglu, hidden: 64}
  mixer: {kind: add, from: [stack.1, stack.3, enc.2, enc.1.think, enc]}
outputs: {y: mixer, tap: enc.0}
"""

SHARE = """
name: share
inputs: {x: "[batch seq 32]", mask: {type: "mask [batch seq]", optional: true}}
nodes:
  loop:
    kind: bus
    repeat: 3
    share: true
    from: {x: x, mask: mask}
    parts: {a: {kind: attention, heads: 2, bias: false}, f: {kind: mlp, freeze: true, seed: 5}}
  first: {kind: linear, out: 32, from: loop.1}
  again: {same: first, from: loop}
  many: {kind: linear, out: 32, repeat: 3, from: again}
  again2: {same: many, repeat: 3, from: many}
  acts: {kind: activation, repeat: 2, from: again2}
  head: {kind: linear, out: 32, bias: false, from: acts, tie: {weight: first.weight}, dtype: f32}
  m: {kind: mean, from: [head, acts, again, first]}
outputs: {y: m}
"""

NEST = """
name: nest
inputs: {image: "image [batch 3 8*h 8*w]", ids: "ids(100) [batch seq]"}
nodes:
  p: {kind: patch_embed, patch: 4, out: 16, from: image}
  e: {kind: embedding, out: 16, from: ids}
  enc:
    kind: sequence
    repeat: 2
    from: p
    parts:
      one: {kind: parallel, parts: {a: {kind: linear, out: 16}, b: {kind: linear, out: 16}}}
      two: {kind: sequence, repeat: 2, parts: {l: {kind: linear, out: 16}, n: {kind: layer_norm}}}
  d: {kind: cross_attention, heads: 2, from: {x: e, memory: enc}}
outputs: {y: d, z: enc}
"""

ALL = {"digits": DIGITS, "towers": TOWERS, "taps": TAPS, "share": SHARE, "nest": NEST}


def values_for(plan: Plan, batch: int = 2, size: int = 6) -> dict[str, torch.Tensor]:
    """Random inputs for a plan of this file: every free name is `size`, but for `batch`."""
    found = {}
    for item in plan.inputs:
        dims = item.type[item.type.index("[") + 1 : -1].split()
        shape = [eval(dim, {}, _Sizes(batch, size)) for dim in dims]
        if item.type.startswith("ids"):
            found[item.name] = torch.randint(0, 100, shape)
        elif item.type.startswith("mask"):
            found[item.name] = torch.ones(shape, dtype=torch.bool)
        else:
            found[item.name] = torch.randn(shape)
    return found


class _Sizes(dict[str, int]):
    def __init__(self, batch: int, size: int) -> None:
        super().__init__(batch=batch)
        self.size = size

    def __missing__(self, name: str) -> int:
        return self.size
