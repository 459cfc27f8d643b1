"""The table of all kinds."""

from __future__ import annotations

from tests.fuzz import rules_attention, rules_grid, rules_row, rules_token
from tests.fuzz.value import Rule

LEAVES: dict[str, Rule] = {
    rule.kind: rule for rule in (*rules_row.RULES, *rules_grid.RULES, *rules_attention.RULES, *rules_token.RULES)
}
CONTAINERS = ("graph", "sequence", "parallel", "bus")
KINDS = (*LEAVES, *CONTAINERS)

KEEPING = (
    "activation",
    "dropout",
    "identity",
    "scale",
    "layer_norm",
    "rms_norm",
    "mlp",
    "swiglu",
    "glu",
    "attention",
    "batch_norm",
    "linear",
)
"""Kinds that can give a value of the type they take."""
PARTS = tuple(kind for kind, rule in LEAVES.items() if not rule.many and kind != "embedding")
"""Kinds that can stand in a container, fed by their place."""
JOINS = ("add", "mean", "multiply", "concat")


def size_options(kind: str) -> tuple[str, ...]:
    return LEAVES[kind].sizes if kind in LEAVES else ()
