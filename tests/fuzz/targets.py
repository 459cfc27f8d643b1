"""What there is to cover, and which part of it each seed takes on.

A sample is a function of its seed alone, so coverage is steered by rotation: seed `s` takes the
`s`-th slice of one fixed list, and a campaign goes round the list again and again.
"""

from __future__ import annotations

import random
from functools import cache

from tests.fuzz.rules import CONTAINERS, JOINS, KINDS, LEAVES, MIXTURES
from tests.fuzz.rules_join import CHOICES, GATES
from tests.fuzz.value import Key

PAIRS_EACH = 12
OPTIONS_EACH = 3
FEATURES_EACH = 2

RANKS: dict[str, frozenset[int]] = {
    "conv1d": frozenset({3}), "conv2d": frozenset({4}), "max_pool2d": frozenset({4}), "avg_pool2d": frozenset({4}), "patch_embed": frozenset({4}),
}  # fmt: skip
"""Ranks that a kind takes, where it is picky."""
GIVES: dict[str, frozenset[int]] = {**RANKS, "patch_embed": frozenset({3})}
"""Ranks that a kind gives, where it can only give some."""
IDS = ("input", "argmax", "vector_quantize")

ADAPTERS = (
    "linear",
    "mlp",
    "low_rank",
    "cast",
    "permute",
    "embedding",
    "patch_embed",
    "conv",
    "pool",
    "softmax",
    "detach",
    "argmax",
    "gumbel",
    "straight_through",
    "vector_quantize",
)
_SOME = ("stated",)
MIXED: dict[str, dict[str, tuple[object, ...]]] = {
    "moe": {**CHOICES, **GATES, "z_loss": (0.0, 0.1), "jitter": (0.1,), "shared": ("part", "stated")},
    "route": {
        "top_k": _SOME, "weighted": (False,), "straight_through": ("dense", "winner"), "balance": ("switch", "importance", "bias"),
        "temperature": (0.5, 2.0), "z_loss": (0.01,), "balance_weight": (0.1,), "router": ("part",),
    },
    "compete": {"straight_through": ("dense", "none"), "temperature": (0.5, 2.0), "selector": ("part",)},
    "parallel": {"members": _SOME},
    "bus": {"read": _SOME, "write": ("linear", "zero")},
}  # fmt: skip
"""Containers that have options of their own -> options -> values to cover."""
FEATURES = (
    *(f"adapter_{name}" for name in ADAPTERS), "adapter_auto", "edge_detach", "same", "like", "tie", "inferred_out", "inferred_through",
    "tap", "rule_at", "rule_where", "rule_slice", "vars_expression", "override", "optional_input", "losses_output", "derived_input",
    "passed_by_name", "slot", "slot_vars", "slot_reused", "size_expression", "policy_explicit", "inherited_freeze", "moe_alike", "moe_named", "join_options", "carried_drops",
    "streams", "streams_three", "streams_looking", "streams_repeat", "address_many", "same_whole", "like_whole", "init_recipe", "init_node", "init_small", "init_zero", "init_identity", "init_copy", "init_rule", "graft_add", "graft_gate", "graft_blend", "graft_replace", "graft_silent", "graft_concat", "graft_inner",
    "graft_copies", "graft_edge", "graft_input", "graft_two", "graft_adapter",
    "policy_never", "policy_inside", "norm_kind_inherited", "freeze_whole", "seed_whole", "moved", "part_after", "slot_accepts", "override_node",
)  # fmt: skip


def impossible(producer: str, consumer: str) -> str | None:
    """Why no valid recipe feeds one kind from the other, or None."""
    if consumer == "embedding" and producer not in IDS:
        return "embedding takes ids, and only inputs, `argmax` and `vector_quantize` give some"
    if producer == "argmax" and consumer != "embedding":
        return "argmax gives ids, and only embedding takes those"
    if producer == "zero" and consumer in (*MIXTURES, "gating"):
        return "a router of zeros is a tie"
    if (producer, consumer) in (
        ("softmax", "gating"),
        ("vote", "gating"),
        ("straight_through", "gating"),
        ("gumbel", "gating"),
    ):
        return "what a router says of probabilities is a softmax of a softmax"
    gives, takes = GIVES.get(producer), RANKS.get(consumer)
    if gives is not None and takes is not None and not gives & takes:
        return f"{producer} gives {_axes(gives)}, {consumer} takes {_axes(takes)}"
    return None


def _axes(ranks: frozenset[int]) -> str:
    return " or ".join(f"{rank} axes" for rank in sorted(ranks))


@cache
def pairs() -> tuple[tuple[str, str], ...]:
    """Every producer and consumer that can meet, in a fixed mixed order."""
    found = [(a, b) for a in ("input", *KINDS) for b in KINDS if impossible(a, b) is None]
    random.Random(1).shuffle(found)
    return tuple(found)


@cache
def options() -> tuple[Key, ...]:
    """Every non-default value of every option, in a fixed mixed order."""
    found: list[Key] = []
    for kind, rule in LEAVES.items():
        for name, values in (*rule.plain.items(), *rule.typed.items()):
            found.extend(("option", kind, name, str(value)) for value in values)
    found += [("option", "parallel", "join", word) for word in JOINS if word != "add"]
    found += [
        ("option", kind, name, str(value))
        for kind, names in MIXED.items()
        for name, values in names.items()
        for value in values
    ]
    for name, words in {
        "norm": ("pre", "out", "both", "post"),
        "norm_kind": ("rms_norm", "batch_norm"),
        "dtype": ("f64", "bf16"),
    }.items():
        found.extend(("option", "node", name, word) for word in words)
    found += [
        ("option", "node", name, word)
        for name, word in (("repeat", "stated"), ("share", "True"), ("freeze", "True"), ("seed", "stated"))
    ]
    random.Random(2).shuffle(found)
    return tuple(found)


def of_seed(seed: int) -> tuple[list[tuple[str, str]], list[Key], list[str]]:
    """The pairs, options and features that a seed is to cover."""
    return (
        [pairs()[(seed * PAIRS_EACH + i) % len(pairs())] for i in range(PAIRS_EACH)],
        [options()[(seed * OPTIONS_EACH + i) % len(options())] for i in range(OPTIONS_EACH)],
        [FEATURES[(seed * FEATURES_EACH + i) % len(FEATURES)] for i in range(FEATURES_EACH)],
    )


__all__ = ["ADAPTERS", "CONTAINERS", "FEATURES", "impossible", "of_seed", "options", "pairs"]
