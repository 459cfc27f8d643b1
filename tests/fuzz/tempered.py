"""A softmax of a softmax is an error: where a generated one may read probabilities, it states a temperature."""

from __future__ import annotations

from typing import Any

from tests.fuzz.starts import specs

LINEAR = frozenset(
    {"linear", "mlp", "swiglu", "geglu", "reglu", "low_rank", "conv1d", "conv2d", "attention", "cross_attention"}
)
"""What gives these is no distribution."""
SOFT = frozenset({"softmax", "straight_through", "gumbel", "gating"})
"""What takes a softmax of what it reads."""


def temper(tree: dict[str, Any]) -> None:
    """Every softmax of a recipe, but those that only ever read a linear map or an input of the recipe."""
    named = {str(node[key]) for node in specs(tree) for key in ("same", "like") if key in node}
    for node in specs(tree):
        if node.get("adapt") == "softmax":
            node["adapt"] = {"kind": "softmax", "temperature": 2.0}
        if node.get("kind") in SOFT and "temperature" not in node and not _plain(node, tree, named):
            node["temperature"] = 2.0


def _plain(node: dict[str, Any], tree: dict[str, Any], named: set[str]) -> bool:
    name = next((name for name, item in tree["nodes"].items() if item is node), None)
    source = node.get("from")
    if name is None or name in named or set(node) != {"kind", "from"} or not isinstance(source, str):
        return False
    before = tree["nodes"].get(source, {})
    return before.get("kind") in LINEAR or (source in tree["inputs"] and "probs" not in str(tree["inputs"][source]))
