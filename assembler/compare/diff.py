"""What one recipe means that another does not: nodes, types, contracts, parameters, and which weights survive.

    found = assembler.diff("digits.yaml", ["slots/ffn=swiglu", "vars.depth=6"])
    found = assembler.diff("runs/7", "digits.yaml")       # a saved folder: what of its weights the recipe can use
    print(found)
    found.weights.survey.dropped

Two recipes that mean the same differ in nothing, however they are written. Nodes are found again by the role
they play (`facts/roles.py`) where they were renamed or moved. A type is that of a value, said where it is made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from assembler.assemble import Source
from assembler.checks.grafts import certificates
from assembler.compare.nodes import Aspect, Node, differing, texts
from assembler.compare.side import Side, side
from assembler.facts.flops import flops
from assembler.facts.moved import expanded
from assembler.facts.roles import roles
from assembler.facts.weights import Survey, compare
from assembler.report.signals import certified
from assembler.report.walk import active, total, walk
from assembler.source.recipe import Recipe
from assembler_schemas.dim import show


class Sizes(NamedTuple):
    """None where it is not known: of modules that are handed over."""

    parameters: int | None
    trainable: int | None
    active: int | None
    """What one row of the input goes through, where there are mixtures."""
    flops: str
    """Floating point operations of a forward pass, over the run-time sizes; empty where they cannot be said."""


class Weights(NamedTuple):
    """What of the weights before is there after."""

    survey: Survey
    before: Mapping[str, int]
    """Key -> bytes: of the file where there is one, else at 4 bytes a number."""
    after: Mapping[str, int]

    @property
    def moved(self) -> int:
        """How many of those that are kept have another key."""
        return sum(one.key != two.key for one, two in self.survey.kept)


class Diff(NamedTuple):
    """All that differs. Prints as text; `same` where nothing does."""

    before: str
    after: str
    ports: tuple[Aspect, ...]
    """Inputs and outputs of the recipes."""
    nodes: tuple[Node, ...]
    grafts: tuple[Aspect, ...]
    """Their certificates."""
    sizes: tuple[Sizes, Sizes]
    weights: Weights

    @property
    def same(self) -> bool:
        kept = self.weights.survey
        return not (self.ports or self.nodes or self.grafts or kept.changed or kept.new or kept.dropped)

    def __str__(self) -> str:
        from assembler.compare.diff_text import text

        return "\n".join(text(self))


def diff(before: Source, after: Source | Sequence[str], overrides: Sequence[str] = ()) -> Diff:
    """From one recipe to another, or to itself under overrides (a list of them). A path may be a folder that
    `assembler.save` wrote. RecipeError for one that does not check, ValueError where a graph is too large."""
    if isinstance(after, (str, os.PathLike, Recipe, Mapping)):
        return between(side(before), side(after, overrides))
    return between(side(before), side(before, [*after, *overrides]))


def between(one: Side, two: Side) -> Diff:
    """What differs between two recipes that check."""
    known = {old: str(new.data) for old, new in two.origin.recipe.moved.items()}
    match = roles(one.known.flow, two.known.flow, expanded(known, [use.address for use in one.known.flow.uses]) if known else None)
    weights = Weights(compare(one.held, two.held, match.moved), one.bytes, two.bytes)
    nodes = differing(one, two, match.pairs)
    ports = (*texts("input {}", _inputs(one), _inputs(two)), *texts("output {}", _outputs(one), _outputs(two)))
    grafts = tuple(texts("graft {}", _certified(one), _certified(two)))
    return Diff(one.name, two.name, ports, nodes, grafts, (_sizes(one), _sizes(two)), weights)


def _inputs(item: Side) -> dict[str, str]:
    return {name: str(kind) for name, kind in item.origin.facts.root.inputs.items()}


def _outputs(item: Side) -> dict[str, str]:
    return {name: str(kind) for name, kind in item.origin.facts.root.outputs.items() if name in item.origin.graph.scope.outputs}


def _certified(item: Side) -> dict[str, str]:
    if not item.origin.graph.grafts:
        return {}
    return {found.name: certified(found).partition("` ")[2] for found in certificates(item.origin.graph, item.known.flow, item.known.zero)}


def _sizes(item: Side) -> Sizes:
    rows = walk(item.origin.graph, item.origin.facts)
    parameters, trainable = total(rows)
    work = flops(item.origin.graph, item.origin.facts)
    return Sizes(parameters, trainable, active(rows), "" if work is None else show(work))


__all__ = ["Aspect", "Diff", "Node", "Side", "Sizes", "Weights", "between", "diff", "side"]
