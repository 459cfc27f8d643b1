"""A smaller recipe that still shows a disagreement: whatever can be left out is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.fuzz.generate import Sample


def shrink(sample: Sample, fails: Callable[[Sample], bool], rounds: int = 3) -> Sample:
    """The sample without whatever can be left out while it still fails: outputs, then nodes nobody needs."""
    for _ in range(rounds):
        before = sample.text
        for output in list(sample.tree["outputs"]):
            if len(sample.tree["outputs"]) > 1:
                smaller = _without(sample, output)
                if fails(smaller):
                    sample = smaller
        if sample.text == before:
            break
    return sample


def _without(sample: Sample, output: str) -> Sample:
    tree = {**sample.tree, "outputs": {key: value for key, value in sample.tree["outputs"].items() if key != output}}
    return trimmed(sample, tree)


def trimmed(sample: Sample, tree: dict[str, Any]) -> Sample:
    """A tree without the nodes, inputs, slots and rules that no output needs."""
    nodes, needed = tree["nodes"], set()
    todo = [str(value).split(".")[0] for value in tree["outputs"].values()]
    words = {key: _all_words(spec) for key, spec in nodes.items()}
    while todo:
        name = todo.pop()
        if name in nodes and name not in needed:
            needed.add(name)
            todo.extend(word.split(".")[0] for word in words[name])
    kept = {key: spec for key, spec in nodes.items() if key in needed}
    used = (
        set().union(*(words[key] for key in kept), {str(value) for value in tree["outputs"].values()})
        if kept
        else set()
    )
    used |= {word for spec in tree.get("slots", {}).values() for word in _all_words(spec)}
    result = {**tree, "nodes": kept, "inputs": {key: value for key, value in tree["inputs"].items() if key in used}}
    if "slots" in tree:
        result["slots"] = {key: spec for key, spec in tree["slots"].items() if key in used}
    if "rules" in tree:
        result["rules"] = {
            key: rule for key, rule in tree["rules"].items() if str(rule.get("at", "?")).split(".")[0] in needed
        }
    result = {key: value for key, value in result.items() if value or key not in ("slots", "rules")}
    made = sample.with_tree(result)
    return replace(made, inputs={key: kind for key, kind in sample.inputs.items() if key in result["inputs"]})


def _all_words(tree: Any) -> set[str]:
    found: set[str] = set()
    todo = [tree]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
        elif isinstance(item, str):
            found.add(item)
    return found
