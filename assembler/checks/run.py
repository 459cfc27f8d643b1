"""Every check over one graph and its facts. One cause, one diagnostic."""

from __future__ import annotations

from assembler.checks import cost, guards, optional, shares, slots, starts, types
from assembler.facts.count import leaves
from assembler.facts.model import Facts
from assembler.graph.model import Graph
from assembler_schemas.diagnostic import Diagnostic


def check(graph: Graph, facts: Facts) -> list[Diagnostic]:
    """What is wrong with a graph, and what its reader should know."""
    found = types.check(graph, facts) + optional.check(graph)
    if not found:
        every = list(leaves(graph, facts))
        found += shares.check(every, graph, facts)
        found += starts.check(every, graph, facts)
        found += slots.check(graph, facts)
        found += cost.check(every)
        found += guards.check(every, facts)
    return found
