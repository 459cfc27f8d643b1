"""Slots: what fills one keeps the ports that `accepts` states, with their types."""

from __future__ import annotations

from assembler.facts.match import Arrival, Finding, match
from assembler.facts.model import Facts, NodeFacts
from assembler.facts.signature import signature
from assembler.graph.model import Accepted, Graph
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Definition, Inline
from assembler_schemas.shape import Type


def check(graph: Graph, facts: Facts) -> list[Diagnostic]:
    """What fills a slot and gives or takes other types than the slot keeps, once for each place."""
    places: dict[tuple[str, str], list[Accepted]] = {}
    for item in graph.accepted:
        places.setdefault((item.slot, item.address), []).append(item)
    if not places:
        return []
    from assembler.facts.why import locate

    found: dict[tuple[object, ...], Diagnostic] = {}
    for (_, address), kept in places.items():
        place = locate(graph, facts, address)
        if place is None:
            continue
        # One definition holds both sides, so that a name means one size across them.
        definition = Definition({f"{item.side}.{item.name}": item.port for item in kept}, {}, Inline(""))
        types = {f"{item.side}.{item.name}": _type(place[2], item) for item in kept}
        arrivals = {port: [Arrival(kind)] for port, kind in types.items() if kind is not None}
        matched = match(signature(definition), arrivals, {}, frozenset(), None)
        by_port = {f"{item.side}.{item.name}": item for item in kept}
        for finding in matched.findings:
            diagnostic = _mismatch(by_port[finding.port], types[finding.port], finding)
            found.setdefault((diagnostic.span, diagnostic.message.partition("`: ")[2], diagnostic.related), diagnostic)
    return list(found.values())


def _type(facts: NodeFacts, item: Accepted) -> Type | None:
    if item.side == "out":
        return facts.outputs.get(item.name)
    given = facts.inputs.get(item.name, ())
    return given[0] if given else None


def _mismatch(item: Accepted, have: Type | None, finding: Finding) -> Diagnostic:
    takes = "takes" if item.side == "in" else "gives"
    return Diagnostic(
        "slot-mismatch", f"what fills the slot `{item.slot}` {takes} {have} at `{item.address}.{item.name}`, and the slot keeps {item.port.type}",
        item.filler, label=f"{takes} {have}", related=(Note("kept by the slot", item.span),),
        help="fill the slot with something that keeps the type, or change `accepts`",
    )  # fmt: skip
