"""Recipes changed at random, nobody knows how: whatever they are, `check` returns, and what it accepts runs.

Seeded faults (`faults.py`) know which finding they must get; these know nothing, and so reach what
nobody thought of: broken nodes that others read, norms on odd values, outputs that are read no more.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from assembler_schemas.dim import evaluate
from tests.fuzz.generate import Sample, generate
from tests.fuzz.oracle import Disagreement, check_text, run
from tests.fuzz.rules import KINDS

Path = tuple[str | int, ...]
CHANGED = ("nodes", "slots", "rules", "vars", "outputs")
"""What may change: the inputs stay, so that the sample still knows what to feed."""
FEEDS = ("from", "x", "memory", "mask", "gate", "base", "port")
WORDS = ("pre", "out", "both", "post", "layer_norm", "batch_norm", "f64", "bf16", "mean", "concat", "same", "relu")
KEYS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("norm", ("pre", "out", "both", "post")),
    ("norm_kind", ("rms_norm", "batch_norm", "group_norm", {"kind": "group_norm", "groups": 2})),
    ("repeat", (1, 2, 3)),
    ("share", (True,)),
    ("dtype", ("f64", "bf16", "f32")),
)


def judge_mutated(seed: int) -> Disagreement | None:
    """None if `check` returns, and the model of an accepted recipe is what was predicted."""
    sample = mutated(seed)
    try:
        report = check_text(sample.text, sample.overrides)
    except Exception as error:
        return Disagreement(seed, f"check raised {type(error).__name__}", f"{error}\n{sample.text}")
    if not report.ok or report.graph is None or report.facts is None:
        return None
    if not all(
        _holds(item.relation, item.left, item.right, sizes) for item in report.facts.guards for sizes in sample.sizes
    ):
        return None  # the model says so at its entry; it is for other sizes
    try:
        return run(sample, report.graph, report.facts)
    except Exception as error:
        return Disagreement(seed, f"accepted, and {type(error).__name__} when built or run", f"{error}\n{sample.text}")


def _holds(relation: str, left: Any, right: Any, sizes: dict[str, int]) -> bool:
    one, two = evaluate(left, sizes), evaluate(right, sizes)
    return {"multiple_of": two > 0 and one % max(two, 1) == 0, "at_most": one <= two, "equal": one == two}[relation]


def mutated(seed: int) -> Sample:
    sample = generate(seed)
    rng = random.Random(seed)
    tree = copy.deepcopy(sample.tree)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change(tree, rng)
    return replace(sample.with_tree(tree), types={}, claims=[])


def _change(tree: dict[str, Any], rng: random.Random) -> None:
    """One thing anywhere is left out, put in, or becomes another."""
    path = rng.choice([path for path in _paths(tree) if path[0] in CHANGED and len(path) > 1])
    parent, key = _at(tree, path[:-1]), path[-1]
    if rng.random() < 0.15:
        del parent[key]
        return
    here = parent[key]
    for kind, change in _CHANGES:
        if isinstance(here, kind):
            parent[key] = change(tree, path, here, rng)
            return


def _text(tree: dict[str, Any], path: Path, here: str, rng: random.Random) -> str:
    names = [*tree["nodes"], *tree["inputs"]]
    if path[-1] == "kind":
        return rng.choice(KINDS)
    if path[0] == "outputs" or path[-1] in FEEDS or "from" in path:
        return rng.choice(names) + rng.choice(("", "", ".0", ".-1", ".y"))
    return rng.choice(names if path[-1] in ("same", "like") else WORDS)


def _mapping(tree: dict[str, Any], path: Path, here: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    chance = rng.random()
    if not {"kind", "slot", "same", "like"} & here.keys() or chance < 0.2:
        return copy.deepcopy(rng.choice([item for at in _paths(tree) if isinstance(item := _at(tree, at), dict)]))  # type: ignore[no-any-return]
    if chance < 0.4 and tree["nodes"]:
        feeds = {"from": here["from"]} if "from" in here else {}
        return {rng.choice(("same", "like")): rng.choice(list(tree["nodes"])), **feeds}
    name, values = rng.choice(KEYS)
    return {**here, name: rng.choice(values)}


def _list(tree: dict[str, Any], path: Path, here: list[Any], rng: random.Random) -> list[Any]:
    return here[:-1] if rng.random() < 0.5 else [*here, rng.choice([*tree["nodes"], *tree["inputs"]])]


_CHANGES: tuple[tuple[type, Callable[[dict[str, Any], Path, Any, random.Random], Any]], ...] = (
    (bool, lambda tree, path, here, rng: not here),
    (int, lambda tree, path, here, rng: rng.choice((here + 1, max(1, here - 1), 2 * here, 1, 2, 3, 4, 6, 12))),
    (float, lambda tree, path, here, rng: rng.choice((0.0, 1.0, 2 * here, -here))),
    (str, _text),
    (dict, _mapping),
    (list, _list),
)


def _paths(tree: Any) -> Iterator[Path]:
    todo: list[tuple[Path, Any]] = [((), tree)]
    while todo:
        path, here = todo.pop()
        if path:
            yield path
        items = here.items() if isinstance(here, dict) else enumerate(here) if isinstance(here, list) else ()
        todo.extend(((*path, key), item) for key, item in items)


def _at(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree[key]
    return tree
