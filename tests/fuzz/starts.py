"""How parameters start: `init` at any place of a finished recipe, and what must then hold of the built model."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.fuzz.decorate import words
from tests.fuzz.steps import Grower
from tests.fuzz.value import Made

Tree = dict[str, Any]
Claim = tuple[str, str, str]
"""What must be measured: ("zeros", value, ""), ("equal", value, value), ("copied", node, node)."""

MODES = ("default", "xavier", "kaiming", "orthogonal", "orthogonal(0.5)", "normal(0.02)", "normal(spread)", "trunc_normal(0.05)")
WRITERS = ("linear", "mlp", "swiglu", "geglu", "reglu", "glu", "attention", "cross_attention")
COPIED = (*WRITERS, "low_rank", "conv1d", "conv2d", "embedding", "patch_embed")


def start(grower: Grower, tree: Tree, closing: list[str]) -> list[Claim]:
    """Put `init` here and there; what it promises of values."""
    return put(MAKERS, 0.05, grower, tree, closing)


def put(makers: Mapping[str, Callable[[Grower, Tree], list[Claim] | None]], chance: float, grower: Grower, tree: Tree, closing: list[str]) -> list[Claim]:
    """Let some makers add to a recipe, and those that are still wanted; what they promise of values."""
    claims: list[Claim] = []
    for feature, maker in makers.items():
        if feature in closing or grower.draw.chance(chance):
            found = maker(grower, tree)
            if found is not None:
                claims += found
                grower.scope.covers["feature", feature] += 1
    return claims


def lent(tree: Tree) -> set[str]:
    """Nodes of which something has one more use, or whose parameters are another's."""
    found = {address.split(".")[0] for word in ("same", "like", "copy") for address in words(tree, word)}
    for spec in specs(tree):
        for target in spec["tie"].values() if isinstance(spec.get("tie"), dict) else ():
            found.add(target.split(".")[0])
    return found


def specs(tree: Any) -> Iterator[Tree]:
    """Every mapping of a tree."""
    todo = [tree]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            yield item
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)


def frozen(tree: Tree, name: str) -> bool:
    """Whether something at a node of the recipe may be frozen."""
    rules = [rule["at"] for rule in tree.get("rules", {}).values() if "freeze" in rule["set"]]
    return "freeze" in tree or "freeze" in repr((tree["nodes"][name], tree.get("slots"))) or any(at.split(".")[0] == name for at in rules)


def _mode(grower: Grower, tree: Tree) -> str:
    """How matrices start; one orthogonal matrix is none of several members that are stacked."""
    mode = grower.draw.pick([mode for mode in MODES if "orthogonal" not in mode or "stacked_mlp" not in repr(tree)])
    if "spread" in mode:
        tree["vars"] = {**tree.get("vars", {}), "spread": 0.03}
    return mode


def _weights(grower: Grower, tree: Tree) -> Any:
    mode = _mode(grower, tree)
    return mode if grower.draw.chance(0.5) else {"weights": mode}


# --- weights ---
def _recipe(grower: Grower, tree: Tree) -> list[Claim] | None:
    tree["init"] = _weights(grower, tree)
    return []


def _open(tree: Tree, used: bool = True) -> list[str]:
    """Nodes of the recipe that own what is in them and say nothing of how it starts."""
    barred = {"same", "tie", "init", "like"}
    taken = lent(tree) if not used else set()
    return [name for name, spec in tree["nodes"].items() if not barred & spec.keys() and name not in taken]


def _node(grower: Grower, tree: Tree) -> list[Claim] | None:
    names = _open(tree)
    if not names:
        return None
    tree["nodes"][grower.draw.pick(names)]["init"] = _weights(grower, tree)
    return []


def _rule(grower: Grower, tree: Tree) -> list[Claim] | None:
    names = _open(tree, used=False)
    if not names:
        return None
    name = grower.draw.pick(names)
    spec = tree["nodes"][name]
    below = ".*" if "repeat" in spec and "share" not in spec and grower.draw.chance(0.5) else ""
    tree.setdefault("rules", {})["init_rule"] = {"at": f"{name}{below}", "set": {"init": _weights(grower, tree)}}
    return []


# --- the writing layer ---
def _small(grower: Grower, tree: Tree) -> list[Claim] | None:
    names = [name for name in _open(tree) if tree["nodes"][name].get("kind") in WRITERS]
    if not names:
        return None
    word = grower.draw.pick(("small", "small(0.001)", "small(spread)"))
    if "spread" in word:
        tree["vars"] = {**tree.get("vars", {}), "spread": 0.03}
    init = grower.draw.pick((word, {"write": word}, {"write": word, "weights": _mode(grower, tree)}))
    tree["nodes"][grower.draw.pick(names)]["init"] = init
    return []


def _zero(grower: Grower, tree: Tree) -> list[Claim] | None:
    """A part of a bus that starts as nothing: its stream is what came in, and nobody reads the part by itself."""
    found = []
    for name in _open(tree):
        spec, made = tree["nodes"][name], grower.scope.made.get(name)
        if spec.get("kind") != "bus" or made is None or {"read", "write"} & spec.keys() or frozen(tree, name):
            continue
        if spec.get("norm", "pre") not in ("pre", "post") or made.zeros or any(value.zero for value in made.reads):
            continue
        found += [(name, part) for part in spec["parts"] if _may_be_zero(tree, name, part)]
    if not found:
        return None
    name, part = grower.draw.pick(found)
    spec = tree["nodes"][name]
    spec["parts"][part]["init"] = grower.draw.pick(("zero", {"write": "zero"}, {"write": "zero", "weights": _mode(grower, tree)}))
    copy_ = "" if "repeat" not in spec else None if "share" in spec else ".0"
    return [("zeros", f"{name}{copy_}.{part}", "")] if copy_ is not None else []


def _may_be_zero(tree: Tree, name: str, part: str) -> bool:
    spec = tree["nodes"][name]["parts"][part]
    kind = spec.get("kind") or tree.get("slots", {}).get(spec.get("slot"), {}).get("kind")
    read = re.search(rf"\b{name}\b[\w.*:-]*\.{part}\b", repr((tree["nodes"], tree["outputs"])))
    return kind in WRITERS and spec.get("norm", "pre") in ("pre", "post") and not {"repeat", "init"} & spec.keys() and not read


def _identity(grower: Grower, tree: Tree) -> list[Claim] | None:
    """A linear map as wide as it is long gives out what it takes, to the last bit."""
    fit = [name for name in _open(tree, used=False) if _square(grower.scope.made.get(name)) and isinstance(tree["nodes"][name].get("from"), str)]
    if not fit:
        return None
    name = grower.draw.pick(fit)
    tree["nodes"][name]["init"] = grower.draw.pick(("identity", {"write": "identity"}, {"write": "identity", "weights": _mode(grower, tree)}))
    source = tree["nodes"][name]["from"]
    normed = {"norm", "same", "like"} & tree["nodes"].get(source, {}).keys()  # Then what stands under its address is not yet normed.
    return [("equal", name, source)] if not normed else []


def _square(made: Made | None) -> bool:
    if made is None or not made.plain or made.rule is None or made.kind != "linear" or "kind" not in made.spec:
        return False
    kind = made.given["x"][0]
    return kind.last == made.options.get("out") and kind.dtype == "f32" and kind.medium == "dense"


# --- copies of values ---
def _copy(grower: Grower, tree: Tree) -> list[Claim] | None:
    """A node like another that starts with its values."""
    names = [name for name in _open(tree) if _copied(grower.scope.made.get(name), tree["nodes"][name])]
    if not names:
        return None
    name = grower.draw.pick(names)
    made, spec = grower.scope.made[name], copy.deepcopy(tree["nodes"][name])
    source = name if "repeat" not in spec else f"{name}.{grower.draw.rng.randrange(made.copies)}"
    spec.pop("repeat", None)
    twin = f"twin_of_{name}"
    tree["nodes"][twin] = {**spec, "init": {"copy": source}}
    tree["outputs"][twin] = twin
    return [("copied", twin, source)]


def _copied(made: Made | None, spec: Tree) -> bool:
    if made is None or made.rule is None or spec.get("kind") not in COPIED or "norm" in spec or "share" in spec:
        return False
    return made.plain or ("repeat" in spec and made.copies > 0 and isinstance(spec["from"], str))


MAKERS: dict[str, Callable[[Grower, Tree], list[Claim] | None]] = {
    "init_recipe": _recipe,
    "init_node": _node,
    "init_small": _small,
    "init_zero": _zero,
    "init_identity": _identity,
    "init_copy": _copy,
    "init_rule": _rule,
}
"""Feature -> what puts it into a recipe; None where there is no place for it."""

__all__ = ["MAKERS", "Claim", "frozen", "lent", "put", "specs", "start"]
