"""What the reader should know: adapters that stand in the graph, and conditions asserted at the entry."""

from __future__ import annotations

from collections.abc import Sequence

from assembler.facts.count import Counted
from assembler.facts.model import Facts, Guard
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.dim import show


def check(every: Sequence[Counted], facts: Facts) -> list[Diagnostic]:
    """One note for each adapter, with its cost, and for each condition on run-time sizes."""
    found = []
    for item in every:
        if item.node.adapter:
            given, out = next(iter(item.facts.inputs.values()), (None,))[0], next(iter(item.facts.outputs.values()), None)
            asked = "asked for" if item.node.adapter == "asked" else "unasked"
            from assembler.adapters import bridges

            known = bridges.bridge(item.node.kind.name, item.facts)
            does = f", {bridges.in_words(known)}" if known is not None else ""
            found.append(Diagnostic("adapter-inserted", f"`{item.address}` ({item.node.kind.name}, {asked}) takes {given} to {out}: {item.parameters * item.copies:,} parameters{does}", item.node.span))
    for guard in facts.guards:
        found.append(Diagnostic("entry-guard", f"asserted at the model's entry: {in_words(guard)} (`{guard.address}`: {_plain(guard.about)})", guard.span))
    return found


def _plain(about: str) -> str:
    """`axis -1 is patch*w`, as people count axes."""
    return about.replace("axis -1 ", "its last dim ").replace("axis -2 ", "its second-to-last dim ")


def in_words(guard: Guard) -> str:
    if guard.relation == "at_most" and guard.left == 1:
        return f"{show(guard.right)} is at least 1"
    words = {"multiple_of": "is a multiple of", "at_most": "is at most", "equal": "equals"}
    return f"{show(guard.left)} {words[guard.relation]} {show(guard.right)}"
