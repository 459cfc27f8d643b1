"""What is said of a whole recipe, or beside its nodes: policies, inherited keys, moves, order, ports of slots, overrides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fuzz.decorate import words
from tests.fuzz.overlays import widened
from tests.fuzz.rules import ROWS
from tests.fuzz.starts import Tree, lent, specs
from tests.fuzz.steps import Grower


def say(grower: Grower, tree: Tree, overrides: list[str], closing: list[str]) -> None:
    """Put such keys into a finished recipe, where nothing in it speaks against them."""
    for feature, maker in MAKERS.items():
        if (feature in closing or grower.draw.chance(0.04)) and maker(grower, tree, overrides):
            grower.scope.covers["feature", feature] += 1


def _adapted(grower: Grower, tree: Tree) -> bool:
    """Whether an adapter may be wanted anywhere."""
    return bool(grower.scope.covers["feature", "adapter_auto"]) or "adapt" in repr(tree["nodes"]) + repr(tree.get("slots")) or widened(tree)


def _never(grower: Grower, tree: Tree, overrides: list[str]) -> bool:
    if "adapters" in tree or _adapted(grower, tree):
        return False
    tree["adapters"] = {"policy": "never"}
    return True


def _inside(grower: Grower, tree: Tree, overrides: list[str]) -> bool:
    """A graph inside has a policy of its own."""
    if _adapted(grower, tree):
        return False
    graphs = [spec for spec in specs(tree["nodes"]) if "nodes" in spec and "inputs" in spec]
    for spec in graphs[:2]:
        spec["adapters"] = {"policy": grower.draw.pick(("never", "explicit", "auto"))}
    return bool(graphs)


def _norm_kind(grower: Grower, tree: Tree, overrides: list[str]) -> bool:
    """The norm of all places that say `norm` and not which: they fit any norm of the last axis."""
    tree["norm_kind"] = grower.draw.pick(("rms_norm", "layer_norm", {"kind": "rms_norm", "eps": 1e-3}))
    return any("norm" in spec and "norm_kind" not in spec for spec in specs(tree["nodes"]))


def _freeze(grower: Grower, tree: Tree, overrides: list[str]) -> bool:
    """Everything is frozen; what starts as zeros would then stay so."""
    if "zero" in repr([spec["init"] for spec in specs(tree) if "init" in spec]) or "zero" in words(tree, "write"):
        return False
    tree["freeze"] = True
    return True


def _seed(grower: Grower, tree: Tree, overrides: list[str]) -> bool:
    tree["seed"] = grower.draw.rng.randrange(1000)
    return True


def _moved(grower: Grower, tree: Tree, overrides: list[str]) -> bool:
    """Old addresses that lead to nodes of the recipe, to copies and to parts of them."""
    draw, moved = grower.draw, {}
    for name in draw.shuffled(sorted(tree["nodes"]))[:2]:
        spec = tree["nodes"][name]
        copied = "repeat" in spec and "share" not in spec and "parts" in spec
        part = f".{draw.pick(sorted(spec['parts']))}" if "parts" in spec and "share" not in spec and ("repeat" not in spec or copied) else ""
        if spec.get("kind") in ("moe", "route", "compete"):
            part = ""
        moved[f"old_{name}.*{part and '.kept'}" if copied else f"old_{name}"] = f"{name}.*{part}" if copied else f"{name}{part}"
    tree["moved"] = moved
    return bool(moved)


def _order(grower: Grower, tree: Tree, overrides: list[str]) -> bool:
    """A part is written first and says where it stands."""
    fit = [spec for spec in tree["nodes"].values() if spec.get("kind") in ("bus", "sequence") and len(spec["parts"]) > 1]
    for spec in fit:
        *before, last = spec["parts"]
        spec["parts"] = {last: {**spec["parts"][last], "after": before[-1]}, **{name: spec["parts"][name] for name in before}}
    return bool(fit)


def _accepts(grower: Grower, tree: Tree, overrides: list[str]) -> bool:
    """The ports that a slot keeps: those of a filler that takes rows, at the one place where it stands."""
    uses = list(words(tree["nodes"], "slot")) + list(words(tree.get("slots", {}), "slot"))
    barred = lent(tree)
    for name, made in grower.scope.made.items():
        spec = tree["nodes"].get(name, {})
        slot = spec.get("slot")
        if slot is None or uses.count(slot) != 1 or made.kind not in ROWS or made.rule is None or name in barred:
            continue
        kind = made.given.get("x", [None])[0]
        if kind is None or not {"repeat", "norm", "dtype"}.isdisjoint(spec) or kind.dtype != "f32" or made.type.dims[:-1] != kind.dims[:-1]:
            continue
        if kind.medium != "dense" or made.type.medium != "dense" or kind.last is None or made.type.last is None:
            continue
        same = kind.last == made.type.last and grower.draw.chance(0.6)
        sides = ("d", "d") if same else (str(kind.last), str(made.type.last))
        tree["slots"][slot]["accepts"] = {"in": {"x": f"[... {sides[0]}]"}, "out": {"y": f"[... {sides[1]}]"}}
        return True
    return False


def _override(grower: Grower, tree: Tree, overrides: list[str]) -> bool:
    """A key of a node that the command line has the last word on, or adds."""
    fit = [name for name, spec in tree["nodes"].items() if spec.get("kind") in ("mlp", "swiglu", "geglu") and "dtype" not in spec]
    if not fit:
        return False
    name = grower.draw.pick(fit)
    plus = "" if "dropout" in tree["nodes"][name] else "+"
    overrides.append(f"{plus}nodes.{name}.dropout={grower.draw.pick((0, 0.25))}")
    return True


MAKERS: dict[str, Callable[[Grower, Tree, list[str]], Any]] = {
    "policy_never": _never,
    "policy_inside": _inside,
    "norm_kind_inherited": _norm_kind,
    "freeze_whole": _freeze,
    "seed_whole": _seed,
    "moved": _moved,
    "part_after": _order,
    "slot_accepts": _accepts,
    "override_node": _override,
}
"""Feature -> what says it; false where there is no place for it."""

__all__ = ["MAKERS", "say"]
