"""Every check over one graph and its facts. One cause, one diagnostic."""

from __future__ import annotations

from assembler.checks import alike, cost, guards, learning, norms, optional, shares, slots, starts, types
from assembler.facts.count import leaves
from assembler.facts.flow import MAX_USES
from assembler.facts.model import Facts
from assembler.facts.signals import Signals
from assembler.graph.model import Graph
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import NOWHERE


def check(graph: Graph, facts: Facts) -> list[Diagnostic]:
    """What is wrong with a graph, and what its reader should know."""
    found = types.check(graph, facts) + optional.check(graph)
    if not found:
        every = list(leaves(graph, facts))
        if any(item.node.kind.name == "gating" for item in every):
            from assembler.checks import mixtures

            found += mixtures.check(every, graph)
        found += shares.check(every, graph, facts)
        found += starts.check(every, graph, facts)
        found += slots.check(graph, facts)
        found += cost.check(every)
        found += guards.check(every, facts)
    return found


def prove(graph: Graph, facts: Facts, signals: Signals | None) -> list[Diagnostic]:
    """What is wrong with the values and weights of a graph of which nothing else is."""
    if signals is None:
        span = next((node.span for node in graph.scope.nodes.values()), NOWHERE)
        text = f"the graph unfolds into more than {MAX_USES:,} uses of kinds: its norms, zeros and gradients are not examined"
        return [Diagnostic("not-unfolded", text, span, help="examine a shallower copy of it: fewer copies of a repeat behave alike")]
    found = [*starts.circle(signals.flow), *norms.check(graph, facts, signals.flow, signals.norm)]
    # A norm of one value gives zeros, so its gain does not learn: one cause, one finding.
    single = {item.span for item in found if item.code == "norm-of-one"}
    found += [item for item in learning.check(signals.flow, signals.zero) if item.span not in single]
    found += alike.check(signals.flow)
    if any(sort[0].node.kind.name == "gating" for sort in signals.flow.sorts):
        from assembler.checks import mixtures

        found += mixtures.prove(signals.flow, signals.zero)
    if graph.grafts:
        from assembler.checks import grafts

        found += grafts.check(graph, signals.flow, signals.zero)
    return found
