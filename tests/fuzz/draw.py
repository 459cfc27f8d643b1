"""The dice: seeded choices, the sizes of run-time names, and how numbers are spelled."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.fuzz.sizes import Size, evaluate, size
from tests.fuzz.value import Rule, Type

T = TypeVar("T")
_FIRST = (5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61)
_SECOND = (7, 5, 13, 11, 19, 17, 29, 23, 37, 31, 43, 41, 53, 47, 61, 59)
WIDTHS = (4, 6, 8, 12, 16)


class Draw:
    """Every choice of one sample. `wanted` holds (kind, option) pairs that are to be covered."""

    def __init__(self, seed: int, wanted: Sequence[tuple[str, str]] = ()) -> None:
        self.rng = random.Random(seed)
        self.wanted = set(wanted)
        self.sizes: tuple[dict[str, int], dict[str, int]] = ({"batch": 2}, {"batch": 3})
        self.count = 0
        self.free = 0
        """How many run-time names the recipe's inputs have so far, `batch` apart."""
        self.shift = self.rng.randrange(4)
        self.vars: dict[str, int | str] = {}
        self.rows = 0
        """Above 0 inside an expert: what stands there looks at one row at a time."""
        self.causal = self.chooses = False
        """Something is causal; some experts choose among all rows. Not both."""

    # --- choices ---
    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def pick(self, items: Sequence[T]) -> T:
        return items[self.rng.randrange(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        found = list(items)
        self.rng.shuffle(found)
        return found

    def width(self) -> int:
        return self.pick(WIDTHS)

    def wants(self, kind: str, option: str, p: float = 0.12) -> bool:
        """Whether an option shall leave its default: because it is wanted, or by chance."""
        return (kind, option) in self.wanted or self.chance(p)

    def plain(self, rule: Rule, p: float = 0.12) -> dict[str, Any]:
        """Values of the options that change no type."""
        return {name: self.pick(values) for name, values in rule.plain.items() if self.wants(rule.kind, name, p)}

    @contextmanager
    def by_row(self) -> Iterator[None]:
        """Inside an expert."""
        self.rows += 1
        try:
            yield
        finally:
            self.rows -= 1

    def may_choose(self) -> bool:
        """Whether experts may choose their rows; nothing is causal from now on."""
        self.chooses = self.chooses or not self.causal
        return self.chooses

    def may_look(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options without `causal` where experts choose among all rows."""
        if options.get("causal") and self.chooses:
            return {name: value for name, value in options.items() if name not in ("causal", "window")}
        self.causal = self.causal or bool(options.get("causal"))
        return options

    # --- run-time names ---
    def name(self, stem: str) -> Size:
        """A name for a run-time size, with two concrete sizes that are coprime to each other and to the others'."""
        while stem in self.sizes[0]:
            self.count += 1
            stem = f"{stem.rstrip('0123456789')}{self.count}"
        place = self.free + self.shift
        self.free += 1
        self.sizes[0][stem] = _FIRST[place % len(_FIRST)]
        self.sizes[1][stem] = _SECOND[place % len(_SECOND)]
        return size(stem)

    def alias(self, stem: str, value: Size) -> Size:
        """A name inside a graph for a size of the outside."""
        name = stem
        while name in self.sizes[0] or name in self.vars:
            self.count += 1
            name = f"{stem}{self.count}"
        low, high = self.concrete(value)
        self.sizes[0][name], self.sizes[1][name] = low, high
        return size(name)

    def concrete(self, value: Size) -> tuple[int, int]:
        return evaluate(value, self.sizes[0]), evaluate(value, self.sizes[1])

    def positive(self, value: Size, low: int = 1) -> bool:
        return min(self.concrete(value)) >= low

    def fits(self, kind: Type | None, limit: int = 40_000) -> bool:
        """Every axis at least one long, and the whole small enough to run."""
        if kind is None:
            return False
        products = [1, 1]
        for dim in kind.dims:
            for place, number in enumerate(self.concrete(dim)):
                if number < 1:
                    return False
                products[place] *= number
        return max(products) <= limit and all(dim.number is None or dim.number <= 512 for dim in kind.dims)

    # --- spelling ---
    def spell(self, number: int, vars: Mapping[str, int | str] | None = None, p: float = 0.35) -> int | str:
        """A size as a recipe may write it: the number, a var, or an expression that comes to it."""
        known = {
            name: value for name, value in (vars if vars is not None else self.vars).items() if isinstance(value, int)
        }
        if not known or not self.chance(p):
            return number
        name = self.pick(sorted(known))
        value = known[name]
        ways: list[int | str] = [number]
        if value == number:
            ways += [name] * 3
        elif number % value == 0:
            ways += [f"{number // value}*{name}", f"{name}*{number // value}"]
        elif value % number == 0:
            ways.append(f"{name}//{value // number}")
        elif number > value:
            ways.append(f"{name} + {number - value}")
        else:
            ways.append(f"{name} - {value - number}")
        exact = [other for other, held in known.items() if held == number]
        return self.pick(exact) if exact and self.chance(0.5) else self.pick(ways[1:] or ways)
