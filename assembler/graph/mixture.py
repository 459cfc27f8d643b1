"""What a group of experts consists of, for those that treat it as one thing."""

from __future__ import annotations

from typing import NamedTuple

from assembler.graph.model import Group, Leaf, Scope

KINDS = frozenset({"moe", "route", "compete"})
"""Groups whose node `mix` sums experts by their gates: each runs only for the rows that chose it."""


class Mixture(NamedTuple):
    """The nodes of a mixture."""

    gating: Leaf
    mix: Leaf
    experts: tuple[str, ...]
    """Names of the nodes that are summed; a repeat stands for its copies side by side."""

    @property
    def top_k(self) -> int:
        """Experts that each row runs (with `expert_choice` on average)."""
        return int(getattr(self.gating.options, "top_k", 1))


def mixture_of(node: Group) -> Mixture | None:
    """The mixture that a group is."""
    return mixture_in(node.scope) if node.kind in KINDS else None


def mixture_in(scope: Scope) -> Mixture | None:
    """The mixture that a scope holds; None where what it is made of is not all there (something of it is wrong)."""
    mix = next((node for node in scope.nodes.values() if isinstance(node, Leaf) and node.kind.name == "combine"), None)
    if mix is None or not mix.inputs.get("gates"):
        return None
    gating = scope.nodes.get(mix.inputs["gates"][0].source.node)
    if not isinstance(gating, Leaf):
        return None
    return Mixture(gating, mix, tuple(dict.fromkeys(edge.source.node for edge in mix.inputs.get("x", ()))))
