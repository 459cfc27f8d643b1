"""`moved`: the new addresses of a recipe's parts are addresses of this recipe."""

from __future__ import annotations

from collections.abc import Mapping

from assembler.facts.moved import MAX_MOVED, bad_move
from assembler.graph.address import Segment, copies, parse_address
from assembler.graph.model import Graph, Group, Leaf, Node, Repeat, Scope
from assembler.source.parse import did_you_mean
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic


def check(moved: Mapping[str, Value], graph: Graph) -> list[Diagnostic]:
    """Entries that are no addresses, or that lead nowhere."""
    found: list[Diagnostic] = []
    for number, (old, value) in enumerate(moved.items()):
        new = str(value.data)
        if number == MAX_MOVED:
            return [*found, Diagnostic("limit-nodes", f"`moved` holds more than {MAX_MOVED:,} entries", value.key, help="say it of what stands around, or with `*` for every copy")]
        wrong = bad_move(old, new)
        if wrong:
            found.append(Diagnostic("address-unknown", wrong, value.span.at(f"moved.{old}"), help="write `old.address: new.address`; `*` is the same copy on both sides"))
            continue
        near = _lost(graph.scope, parse_address(new))
        if near is not None:
            found.append(Diagnostic("address-unknown", f"`{new}` names nothing here", value.span.at(f"moved.{old}"), label="the new address",
                                    help=near or "`assembler show` lists the addresses"))  # fmt: skip
    return found


def _lost(scope: Scope, address: tuple[Segment, ...] | str) -> str | None:
    """None where an address of a node (or of a weight of one) names something; else what may be meant."""
    here: list[Scope | Node] = [scope]
    for segment in address:
        if any(isinstance(item, Leaf) for item in here):
            break  # the rest is the name of a weight
        inside = [item.scope if isinstance(item, Group) else item for item in here]
        here = [node for item in inside for node in _below(item, segment)]
        if not here:
            names = [name for item in inside if isinstance(item, Scope) for name in item.nodes]
            return did_you_mean(str(segment), names)
    return None


def _below(item: Scope | Node, segment: Segment) -> list[Node]:
    """The nodes that one segment of an address leads to. Copies that are alike are one."""
    if isinstance(item, Scope):
        return [item.nodes[segment]] if isinstance(segment, str) and segment in item.nodes else []
    if isinstance(item, Repeat) and not item.share:
        chosen, first = copies(segment, item.count), 0
        found: list[Node] = []
        for run in item.runs:
            if chosen and (len(chosen) == item.count or first <= chosen[0] < first + run.count):
                found.append(run.node)
            first += run.count
        return found
    if isinstance(item, Repeat):
        inner = item.runs[0].node
        return _below(inner.scope, segment) if isinstance(inner, Group) else [inner]
    return []
