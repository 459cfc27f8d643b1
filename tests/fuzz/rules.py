"""The table of all kinds."""

from __future__ import annotations

from tests.fuzz import rules_attention, rules_bridge, rules_grid, rules_join, rules_row, rules_token
from tests.fuzz.value import Rule

LEAVES: dict[str, Rule] = {
    rule.kind: rule
    for room in (rules_row, rules_grid, rules_attention, rules_token, rules_join, rules_bridge)
    for rule in room.RULES
}
MIXTURES = ("moe", "route", "compete")
CONTAINERS = ("graph", "sequence", "parallel", "bus", *MIXTURES)
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
PARTS = tuple(kind for kind, rule in LEAVES.items() if not rule.many and kind not in ("embedding", "gating", "expand"))
"""Kinds that can stand in a container, fed by their place."""
JOINS = (
    "add",
    "mean",
    "multiply",
    "concat",
    "stack",
    "gate",
    "blend",
    "multi_blend",
    "median",
    "vote",
    "attend",
    "select",
)
ROWS = frozenset(
    [
        *("linear", "mlp", "swiglu", "geglu", "reglu", "glu", "low_rank", "zero", "activation", "dropout", "scale"),
        *(
            "softmax",
            "identity",
            "detach",
            "layer_norm",
            "rms_norm",
            "straight_through",
            "gumbel",
            "vector_quantize",
            "jitter",
        ),
    ]
)
"""Kinds that make of each row something by itself: an expert is made of these."""


def size_options(kind: str) -> tuple[str, ...]:
    return LEAVES[kind].sizes if kind in LEAVES else ()
