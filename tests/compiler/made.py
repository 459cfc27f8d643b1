"""From the text of a recipe to its graph and facts, as `assemble` does, for tests of the compiler."""

from __future__ import annotations

import yaml
from assembler.adapters.insert import adapt
from assembler.compiler.model import Plan
from assembler.compiler.plan import plan
from assembler.facts.infer import infer
from assembler.facts.model import Facts
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
    assert not wrong and not facts.conflicts, (wrong, facts.conflicts)
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
