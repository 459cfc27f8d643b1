"""What is known of values and weights besides their types: the flow of a graph, and what is proven of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from assembler.facts.flow import Flow, flow
from assembler.facts.model import Because, Facts
from assembler.facts.norm.analysis import Norm, norm
from assembler.facts.norm.analysis import why as norm_why
from assembler.facts.zero.analysis import Zero, zero
from assembler.graph.model import Graph


class Signals(NamedTuple):
    """Norm states, and what is zero, equal and learning, of one graph without conflicts."""

    flow: Flow
    norm: Norm
    zero: Zero


def signals(graph: Graph, facts: Facts) -> Signals | None:
    """None for a graph that is too large to be unfolded (`flow.MAX_USES`)."""
    found = flow(graph, facts)
    return None if found is None else Signals(found, norm(found), zero(found))


# --- addresses ---
def value_at(found: Flow, address: str) -> int | None:
    """The value at a port, at an input port, or that a node's address means; of many copies the first."""
    address = _first_copies(address)
    for table in (found.inputs, found.places):
        if address in table:
            return table[address]
    for use in found.uses:
        if use.address == address and len(use.outputs) == 1:
            return next(iter(use.outputs.values()))
        node, _, port = address.rpartition(".")
        if use.address == node and port in use.inputs:
            return use.inputs[port][0]
    below = [value for name, value in found.places.items() if name.rpartition(".")[0] == address]
    return below[0] if len(set(below)) == 1 else None


def weight_at(found: Flow, address: str) -> int | None:
    """The parameter with this key, or that this use shares or ties; of many copies the first."""
    node = _first_copies(address)
    for use in found.uses:
        if node.startswith(f"{use.address}."):
            number = use.weights.get(node[len(use.address) + 1 :])
            if number is not None:
                return number
    return None


def _first_copies(address: str) -> str:
    """`stack.*.think.y` and `stack.2:.think.y` -> the first copy that is meant."""
    return ".".join(_first(part) for part in address.split("."))


def _first(part: str) -> str:
    start, colon, _ = part.partition(":")
    return "0" if part == "*" else (start or "0") if colon else part


# --- derivations ---
def why_norm(found: Signals, value: int) -> Sequence[Because]:
    from assembler.facts.norm import notes

    return (*norm_why(found.flow, found.norm, value), *notes.notes(found.flow, found.norm, value))


def why_value(found: Signals, value: int) -> Sequence[Because]:
    from assembler.facts.zero import why as zero_why

    return zero_why.why_value(found.flow, found.zero, value)


def why_weight(found: Signals, weight: int) -> Sequence[Because]:
    from assembler.facts.zero import why as zero_why

    return zero_why.why_weight(found.flow, found.zero, weight)
