"""Ties and shared modules: one parameter has one shape."""

from __future__ import annotations

from collections.abc import Sequence

from assembler.facts.count import Counted, shapes
from assembler.facts.model import Facts, NodeFacts
from assembler.graph.address import own_copy
from assembler.graph.model import Graph
from assembler_schemas.diagnostic import Diagnostic, Note


def check(every: Sequence[Counted], graph: Graph, facts: Facts) -> list[Diagnostic]:
    """Tied parameters and further uses of one module that would need another shape."""
    found: list[Diagnostic] = []
    if not any(item.node.ties or item.node.same for item in every):
        return found
    from assembler.facts.types.why import locate

    for item in every:
        mine = shapes(item.facts)
        for own, target in item.node.ties.items():
            place = locate(graph, facts, own_copy(target, item.address))
            theirs = shapes(place[2]).get(place[3]) if place is not None else None
            if place is not None and theirs is not None and own in mine and theirs != mine[own]:
                found.append(Diagnostic("share-mismatch", f"`{item.address}.{own}` is tied to `{target}` and has another shape: {list(mine[own])} against {list(theirs)}",
                                        item.node.span, related=(Note(f"`{target}` belongs to this node", place[1].span),), help="make the sizes equal, or drop `tie`"))  # fmt: skip
        if item.node.same:
            place = locate(graph, facts, own_copy(item.node.same, item.address))
            if place is not None and _differ(item.facts, place[2]):
                found.append(Diagnostic("share-mismatch", f"`{item.address}` is one more use of `{item.node.same}`, but would need other shapes: {_first(mine, shapes(place[2]))}",
                                        item.node.span, related=(Note("the module", place[1].span),), help="feed it the same width, or write `like:` for weights of its own"))  # fmt: skip
    return found


def _differ(one: NodeFacts, two: NodeFacts) -> bool:
    """Whether two uses need other parameters. A shape that is unknown on one side differs from none."""
    if one.definition is None or two.definition is None:
        return False
    theirs = shapes(two)
    return one.definition.parameters.keys() != two.definition.parameters.keys() or any(theirs.get(name, shape) != shape for name, shape in shapes(one).items())


def _first(one: dict[str, tuple[int, ...]], two: dict[str, tuple[int, ...]]) -> str:
    return next((f"`{name}` {list(one[name])} against {list(two[name])}" for name in one if name in two and one[name] != two[name]), "other parameters")
