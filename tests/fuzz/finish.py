"""The last steps: outputs, slots and vars that are used, rules over what stands, overrides."""

from __future__ import annotations

import re
from typing import Any

from tests.fuzz.decorate import words
from tests.fuzz.rules_row import ACTIVATIONS
from tests.fuzz.steps import Grower
from tests.fuzz.subgraph import type_text

Tree = dict[str, Any]


def close(grower: Grower, closing: list[str]) -> tuple[Tree, list[str]]:
    """The whole tree, and the overrides that belong to it."""
    scope, draw = grower.scope, grower.draw
    outputs = _outputs(grower, closing)
    slots = grower.slots.needed(scope.nodes)
    tree: Tree = {"name": f"sample_{draw.rng.randrange(10_000)}"}
    if draw.chance(0.2):
        tree = {"recipe": 1, **tree}
    inputs: Tree = {}
    for name, kind in scope.inputs.items():
        text = type_text(draw, kind)
        inputs[name] = {"type": text, "optional": True} if name in scope.optional else text
    nodes = dict(draw.shuffled(list(scope.nodes.items()))) if draw.chance(0.3) else dict(scope.nodes)
    body: Tree = {"inputs": inputs, "nodes": nodes, "outputs": outputs}
    if slots:
        body["slots"] = slots
    rules = _rules(grower, nodes, closing)
    if rules:
        body["rules"] = rules
    if "policy_explicit" in closing and not scope.covers["feature", "adapter_auto"]:
        body["adapters"] = {"policy": draw.pick(("explicit", "auto"))}
        scope.covers["feature", "policy_explicit"] += body["adapters"]["policy"] == "explicit"
    vars_, overrides = _vars(grower, body, closing)
    if vars_:
        tree["vars"] = vars_
    return {**tree, **body}, overrides


def _outputs(grower: Grower, closing: list[str]) -> Tree:
    """Everything that nobody reads is given out; sometimes more."""
    scope, draw = grower.scope, grower.draw
    unread = scope.unread()
    for name in [name for name in scope.inputs if name not in scope.read]:
        del scope.inputs[name]
    taps = [value for value in scope.values if "." in value.address and value not in unread and value.type.is_float]
    if taps and draw.chance(0.2):
        unread.append(draw.pick(taps))
        scope.covers["feature", "tap"] += 1
    labels = ["y"] if len(unread) == 1 else [f"out_{place}" for place in range(len(unread))]
    found: Tree = {label: value.address for label, value in zip(labels, unread, strict=True)}
    for value in unread:
        scope.covers["pair", value.kind, "output"] += 1
    if "losses_output" in closing:
        found["aux_loss"] = "losses"
        scope.covers["feature", "losses_output"] += 1
    return found


def _vars(grower: Grower, body: Tree, closing: list[str]) -> tuple[Tree, list[str]]:
    """The vars that something uses; one may come from an override, one from an expression."""
    draw, scope = grower.draw, grower.scope
    text = repr(body)
    found: Tree = {name: value for name, value in draw.vars.items() if re.search(rf"\b{name}\b", text)}
    overrides: list[str] = []
    numbers = [name for name, value in found.items() if isinstance(value, int)]
    if numbers and ("override" in closing or draw.chance(0.1)):
        name = draw.pick(numbers)
        overrides.append(f"vars.{name}={found[name]}")
        found[name] = found[name] + draw.pick((1, 2, 5))
        numbers.remove(name)
        scope.covers["feature", "override"] += 1
    if len(numbers) > 0 and ("vars_expression" in closing or draw.chance(0.15)):
        name = draw.pick(numbers)
        number = found[name]
        others = [other for other in numbers if other != name and number % found[other] == 0]
        if others:
            found[name] = f"{number // found[others[0]]}*{others[0]}"
        else:
            found = {"unit": 2 if number % 2 == 0 else 1, **found}
            found[name] = f"{number // found['unit']}*unit"
        scope.covers["feature", "vars_expression"] += 1
    return found, overrides


# --- rules ---
def _rules(grower: Grower, nodes: Tree, closing: list[str]) -> Tree:
    draw = grower.draw
    rules: Tree = {}
    makers = {
        "rule_at": _rule_at,
        "rule_where": _rule_where,
        "rule_slice": _rule_slice,
        "inherited_freeze": _rule_freeze,
    }
    for feature, maker in makers.items():
        if feature in closing or draw.chance(0.06):
            rule = maker(grower, nodes)
            if rule is not None:
                rules[feature.removeprefix("rule_") + "_rule"] = rule
                grower.scope.covers["feature", feature] += 1
    return rules


def _plain_leaves(nodes: Tree, kinds: tuple[str, ...]) -> list[str]:
    return [
        name
        for name, spec in nodes.items()
        if spec.get("kind") in kinds and "repeat" not in spec and "norm" not in spec
    ]


def _rule_at(grower: Grower, nodes: Tree) -> Tree | None:
    """One node by its address: an option that changes no type."""
    lent = set(words(nodes, "same"))  # What others use too is not changed in one place only.
    fit = _plain_leaves(nodes, ("mlp", "swiglu", "geglu", "dropout", "layer_norm", "group_norm"))
    names = [name for name in fit if name not in lent]
    if not names:
        return None
    name = grower.draw.pick(names)
    setting = {
        "mlp": {"dropout": 0.25},
        "swiglu": {"dropout": 0.25},
        "geglu": {"dropout": 0.25},
        "dropout": {"p": 0.25},
    }
    return {"at": name, "set": setting.get(nodes[name]["kind"], {"eps": 0.01})}


def _rule_where(grower: Grower, nodes: Tree) -> Tree | None:
    """All places with one activation get another."""
    names = _plain_leaves(nodes, ("mlp", "activation"))
    if not names:
        return None
    spec = nodes[grower.draw.pick(names)]
    here = spec.get("activation", "gelu")
    return {
        "where": {"activation": here},
        "set": {"activation": grower.draw.pick([word for word in ACTIVATIONS if word != here])},
    }


def _rule_slice(grower: Grower, nodes: Tree) -> Tree | None:
    """Some copies of a repeat are frozen."""
    names = [name for name, spec in nodes.items() if "repeat" in spec and "share" not in spec]
    if not names:
        return None
    name = grower.draw.pick(names)
    copies = grower.draw.pick(("0", "0:1", "*", "::2", "-1"))
    parts = nodes[name].get("parts")
    below = f".{grower.draw.pick(sorted(parts))}" if parts and grower.draw.chance(0.6) else ""
    return {"at": f"{name}.{copies}{below}", "set": {"seed": grower.draw.rng.randrange(100)}}


def _rule_freeze(grower: Grower, nodes: Tree) -> Tree | None:
    """A whole container (or any node) is frozen; one more use cannot freeze its module."""
    names = [name for name, spec in nodes.items() if "parts" in spec or "nodes" in spec] or list(nodes)
    name = grower.draw.pick(names)
    return {"at": name, "set": {"freeze": True}} if not [*words(nodes[name], "same")] else None
