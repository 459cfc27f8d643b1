"""What fault operators are made of: places in a tree, values to misuse, the broken recipe itself."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from tests.fuzz.generate import Sample
from tests.fuzz.rules import LEAVES
from tests.fuzz.sizes import evaluate
from tests.fuzz.text import Page, Path, render
from tests.fuzz.value import Type

Nature = Literal["structure", "run", "policy"]
Spec = dict[str, Any]


@dataclass(slots=True)
class Broken:
    """A recipe with one fault: its text, and the lines on which it may be reported."""

    text: str
    overrides: list[str]
    lines: frozenset[int]
    real: Callable[[], object] | None = None
    """What torch would do with it: must raise. Only for faults that could be built at all."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A way to break a recipe. `nature`: `structure` (there is nothing that could be built), `run`
    (`real` raises), or `policy` (it would run, and a rule of ours forbids it)."""

    name: str
    codes: tuple[str, ...]
    nature: Nature
    apply: Callable[[Site], Broken | None]


@dataclass(slots=True)
class Site:
    """A sample that is about to be broken: a tree of its own, and the dice."""

    sample: Sample
    rng: random.Random
    tree: Spec = field(init=False)

    def __post_init__(self) -> None:
        self.tree = copy.deepcopy(self.sample.tree)

    # --- looking around ---
    def leaves(self, test: Callable[[Spec], bool] = lambda spec: True, top: bool = False) -> list[Path]:
        """Paths of leaves written out (not slots, not copies of others), in mixed order."""
        found = [
            path
            for path, spec in _places(self.tree, ())
            if spec.get("kind") in LEAVES and test(spec) and not (top and (len(path) > 2 or path[0] != "nodes"))
        ]
        self.rng.shuffle(found)
        return found

    def at(self, path: Path) -> Spec:
        here: Any = self.tree
        for key in path:
            here = here[key]
        return here  # type: ignore[no-any-return]

    def overruled(self, path: Path, key: str) -> bool:
        """Whether a rule, or a place that uses a slot's filler, may say something else than what stands here."""
        if any(key in rule.get("set", {}) for rule in self.tree.get("rules", {}).values()):
            return True
        return path[0] == "slots" and any(
            key in spec for _, spec in _places(self.tree, ()) if spec.get("slot") == path[1]
        )

    def value(self, test: Callable[[Type], bool]) -> tuple[str, Type] | None:
        """The address and type of some value of the recipe."""
        fit = [
            (address, kind)
            for address, kind in self.sample.types.items()
            if kind.is_float and kind.dtype == "f32" and test(kind) and self._there(address)
        ]
        return self.rng.choice(fit) if fit else None

    def _there(self, address: str) -> bool:
        """Its width is written down: nothing that is inferred backwards may decide it anew."""
        first = address.split(".")[0]
        if first in self.tree["inputs"]:
            return not isinstance(self.tree["inputs"][first], dict)  # An optional one feeds few ports.
        if first not in self.tree["nodes"]:
            return False
        spec = self.tree["nodes"][first]
        made = self.sample.made.get(first)
        return (made is None or made.type.last is None or made.stated) and "out" in spec and spec.get("kind") in LEAVES

    # --- breaking ---
    def node(self, spec: Spec, name: str = "bad_node", read: bool = True) -> Path:
        """One more node, given out so that it matters."""
        self.tree["nodes"][name] = spec
        if read:
            self.tree["outputs"][f"of_{name}"[:40]] = name
        return ("nodes", name)

    def input(self, text: str, name: str = "bad_input") -> str:
        self.tree.setdefault("inputs", {})[name] = text
        return name

    def done(self, *paths: Path, real: Callable[[], object] | None = None) -> Broken:
        """The broken recipe; the fault may be reported at any of the paths, or at the node of one."""
        page = render(self.tree)
        lines = {page.line(*path) for path in paths} | {page.line(*_node(path)) for path in paths}
        return Broken(page.text, self.sample.overrides, frozenset(lines), real)

    def page(self) -> Page:
        return render(self.tree)


def known_source(site: Site, test: Callable[[Type], bool]) -> tuple[str, Type] | None:
    """Some value whose sizes are all known, run-time names included."""
    return site.value(lambda kind: all(dim.names <= set(site.sample.sizes[0]) for dim in kind.dims) and test(kind))


def tensor(site: Site, kind: Type) -> torch.Tensor:
    """Zeros of a type, at the first assignment of sizes."""
    return torch.zeros([evaluate(dim, site.sample.sizes[0]) for dim in kind.dims])


def _node(path: Path) -> Path:
    """The node that a path leads through last."""
    for end in range(len(path), 1, -1):
        if path[end - 2] in ("nodes", "parts", "slots", "inputs", "outputs", "rules"):
            return path[:end]
    return path


def _places(tree: Spec, path: Path) -> Iterator[tuple[Path, Spec]]:
    todo: list[tuple[Path, Spec]] = [(path, tree)]
    while todo:
        at, here = todo.pop()
        for word in ("nodes", "parts", "slots"):
            for name, spec in here.get(word, {}).items():
                yield (*at, word, name), spec
                todo.append(((*at, word, name), spec))
