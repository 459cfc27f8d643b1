"""Random recipes that are valid by construction; the checker is never asked.

`generate(seed)` grows a recipe from values whose types it tracks by rules of its own
(`rules_*.py`), and returns the text together with what must be true of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.draw import Draw
from tests.fuzz.features import STEPS, adapter
from tests.fuzz.finish import close
from tests.fuzz.overlays import laid, lay
from tests.fuzz.sizes import Size
from tests.fuzz.starts import Claim, start
from tests.fuzz.steps import Grower
from tests.fuzz.targets import FEATURES, of_seed
from tests.fuzz.tempered import temper
from tests.fuzz.text import Page, render
from tests.fuzz.value import Key, Made, Type
from tests.fuzz.whole import say

EXTRA = 3
"""Random nodes beside those that a seed is to cover."""


@dataclass(slots=True)
class Sample:
    """A recipe, how to run it, and what is expected of it."""

    seed: int
    tree: dict[str, Any]
    overrides: list[str]
    inputs: dict[str, Type]
    optional: frozenset[str]
    sizes: tuple[dict[str, int], dict[str, int]]
    """Every run-time name at two assignments of pairwise coprime sizes."""
    types: dict[str, Type]
    """Address -> expected type, for what can be read at the top."""
    covers: Counter[Key]
    nodes: int
    made: dict[str, Made] = field(default_factory=dict)
    page: Page = field(default_factory=Page)
    claims: list[Claim] = field(default_factory=list)
    """What must be measured of values and parameters beside types."""

    @property
    def text(self) -> str:
        return self.page.text

    def with_tree(self, tree: dict[str, Any]) -> Sample:
        """The same sample over another tree (a fault, or a smaller reproducer)."""
        return Sample(
            self.seed,
            tree,
            self.overrides,
            self.inputs,
            self.optional,
            self.sizes,
            self.types,
            self.covers,
            self.nodes,
            self.made,
            render(tree),
            self.claims,
        )


def generate(seed: int) -> Sample:
    """The recipe of a seed: always the same one."""
    pairs, options, features = of_seed(seed)
    grower = Grower(Draw(seed))
    draw = grower.draw
    _vars(draw)
    for producer, consumer in pairs:
        grower.pair(producer, consumer)
    for key in options:
        draw.wanted = {(key[1], key[2])}
        if key[2] in ("rotary_base", "rotary_dim"):
            draw.wanted.add((key[1], "rotary"))
        grower.option(key)
        draw.wanted = set()
    for _ in range(EXTRA):
        grower.random()
    closing = list(features)
    for feature in [*features, *(name for name in FEATURES if draw.chance(0.06))]:
        _feature(grower, feature, closing)
    tree, overrides = close(grower, closing)
    temper(tree)
    claims = start(grower, tree, closing)
    silent = lay(grower, tree, closing)
    claims = [*(claim for claim in claims if not laid(tree) & {name.split(".")[0] for name in claim[1:]}), *silent]
    say(grower, tree, overrides, closing)
    return _sample(seed, grower, tree, overrides, claims)


def _vars(draw: Draw) -> None:
    """A few vars; one may be worked out from another."""
    for name in draw.shuffled(("width", "wide", "heads_all", "depth"))[: draw.pick((1, 2, 3))]:
        draw.vars[name] = 2 if name in ("heads_all", "depth") else draw.width()


def _feature(grower: Grower, feature: str, closing: list[str]) -> None:
    draw = grower.draw
    if feature.startswith("adapter_") and feature != "adapter_auto":
        adapter(grower, feature.removeprefix("adapter_"))
    elif feature in STEPS:
        STEPS[feature](grower)
    elif feature in ("adapter_auto", "passed_by_name", "optional_input", "slot_vars"):
        draw.wanted = {("bus", "adapter"), ("container", "passed"), ("attention", "mask"), ("slot", "vars")}
        for _ in range(6):
            kind = draw.pick(("bus", "sequence", "parallel", "attention", "mean_pool"))
            if feature == "adapter_auto":
                kind = "bus"
            grower.grow(kind, grower.base(fresh=False))
            if grower.scope.covers["feature", feature]:
                break
        draw.wanted = set()
    elif feature in ("slot", "slot_reused"):
        _slot(grower)
    else:
        closing.append(feature)


def _slot(grower: Grower) -> None:
    """A leaf in a slot, and perhaps a second use of a slot that is there."""
    draw = grower.draw
    for _ in range(6):
        x = grower.base(fresh=False)
        made = grower.slots.use(draw, x.type) if draw.chance(0.6) and x.type.medium == "dense" else None
        if made is not None:
            made.spec["from"] = (
                {"x": [(x, {})]}
                if made.rule and made.rule.first == "x"
                else {made.rule.first if made.rule else "x": [(x, {})]}
            )
            grower.scope.add(made)
            return
        made, _ = grower.produce(draw.pick(("linear", "mlp", "swiglu", "conv1d", "sequence")), fresh=False)
        if made is not None and "from" in made.spec and (made.rule is None or made.plain):
            grower.scope.add(grower.slots.wrap(draw, made))
            return


def _sample(seed: int, grower: Grower, tree: dict[str, Any], overrides: list[str], claims: list[Claim]) -> Sample:
    scope, draw = grower.scope, grower.draw
    names: set[str] = set()
    for kind in scope.inputs.values():
        for dim in kind.dims:
            names |= Size.names.fget(dim)  # type: ignore[attr-defined]
    sizes = tuple({name: table[name] for name in sorted(names)} for table in draw.sizes)
    types = {value.address: value.type for value in scope.values}
    count = sum(made.chain for made in scope.made.values())
    return Sample(
        seed, tree, overrides, dict(scope.inputs), frozenset(scope.optional), sizes, types,  # type: ignore[arg-type]
        scope.covers, count, dict(scope.made), render(tree), claims,
    )  # fmt: skip
