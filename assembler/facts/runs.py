"""Copies of a repeat that are one node with one set of facts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from assembler.facts.model import NodeFacts
from assembler.graph.model import Group, Leaf, Repeat


def runs(node: Repeat, facts: NodeFacts) -> Iterator[tuple[range, int, Leaf | Group, NodeFacts]]:
    """(which copies, the number of their run in the graph, node, facts), in order; cut wherever the graph's runs or those
    of the facts end."""
    ends = list(accumulate(run.count for run in node.runs))
    start, number = 0, 0
    for count, found in facts.runs:
        stop = start + count
        while start < stop:
            if start >= ends[number]:
                number += 1
            end = min(stop, ends[number])
            yield range(start, end), number, node.runs[number].node, found
            start = end
