"""Cost from arithmetic alone: what no machine could hold is refused before a tensor exists."""

from __future__ import annotations

from collections.abc import Sequence

from assembler.facts.count import Counted
from assembler_schemas.diagnostic import Diagnostic, Note

BUDGET = 10**12
"""Parameters beyond which a recipe is an error: 4 TB in float32."""
HUGE = 2 * 10**11
MAX_TENSOR = 2**63 - 1


def check(every: Sequence[Counted]) -> list[Diagnostic]:
    """Parameters against the budget, with the three biggest nodes; joins of a single value."""
    found: list[Diagnostic] = []
    total, biggest = 0, []
    joins: dict[int, str | None] = {}
    """Definition (nodes that are alike share it) -> its port for many values."""
    for item in every:
        total += item.parameters * item.copies
        if item.parameters:
            biggest.append((item.parameters * item.copies, item.address, item.node.span))
        number = id(item.node.definition)
        join = joins.get(number, "")
        if join == "":
            join = joins[number] = next((port for port, card in item.node.definition.inputs.items() if card.many), None)
        if join is not None and len(item.node.inputs.get(join, ())) == 1 and not item.node.cause:
            found.append(Diagnostic("join-of-one", f"`{item.address}` joins a single value", item.node.span, help="feed it another one, or remove it"))
    if total >= HUGE:
        biggest.sort(key=lambda row: -row[0])
        code = "budget-exceeded" if total >= BUDGET else "cost-huge"
        limit = f"; the budget is {BUDGET:,}" if total >= BUDGET else ""
        found.append(Diagnostic(code, f"{total:,} parameters: {total * 4 / 1e12:,.1f} TB in float32{limit}", biggest[0][2], label=f"{biggest[0][0]:,} of them",
                                related=tuple(Note(f"`{address}` has {count:,}", span) for count, address, span in biggest[1:3]), help="lower a size of the biggest nodes"))  # fmt: skip
    return found
