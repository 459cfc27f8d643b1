"""The steps by which a recipe grows: one pair of kinds, one option, one feature at a time."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.decorate import Slots, decorate
from tests.fuzz.draw import Draw
from tests.fuzz.rules import KINDS, LEAVES
from tests.fuzz.scope import Scope, make_leaf
from tests.fuzz.sizes import Size, size, times
from tests.fuzz.subgraph import make_node
from tests.fuzz.value import Key, Made, Type, Value

TRIES = 48
MOST_NAMES = 9
"""Run-time names of one recipe: so many primes are small enough."""
STEMS = {"seq": "seq", "h": "h", "w": "w", "length": "length"}


class Grower:
    """One recipe while it grows."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.scope = Scope(draw)
        self.slots = Slots()
        self.axes: dict[str, Size] = {"batch": size("batch")}

    # --- inputs ---
    def axis(self, stem: str) -> Size:
        """The run-time size `seq` (or `h`, ...) of this recipe; now and then a second one."""
        if stem not in self.axes or (self.draw.chance(0.12) and self.draw.free < MOST_NAMES):
            self.axes[stem] = self.draw.name(stem)
        return self.axes[stem]

    def template(self) -> tuple[Type, str]:
        """A type for a new input."""
        draw, batch = self.draw, self.axes["batch"]
        width = size(draw.width())
        shapes: list[Callable[[], tuple[Type, str]]] = [
            lambda: (Type((batch, self.axis("seq"), width)), "tokens"),
            lambda: (Type((batch, self.axis("seq"), width)), "tokens"),
            lambda: (Type((batch, size(draw.pick((6, 8))), width)), "rows"),
            lambda: (Type((batch, width)), "vector"),
            lambda: (
                Type((batch, size(draw.pick((2, 4))), times(self.axis("h"), 2), times(self.axis("w"), 2)), "image"),
                "image",
            ),
            lambda: (
                Type((batch, size(draw.pick((4, 6))), times(self.axis("h"), 4), times(self.axis("w"), 2))),
                "maps",
            ),
            lambda: (Type((batch, size(4), size(8), size(12)), "image"), "image"),
            lambda: (Type((batch, width, self.axis("length"))), "signal"),
            lambda: (Type((batch, size(2), self.axis("seq"), width)), "groups"),
            lambda: (Type((batch, size(2), size(4), size(6), width)), "cube"),
        ]
        for _ in range(20):
            kind, stem = draw.pick(shapes)()
            if draw.fits(kind, 12_000):
                return kind, stem
        return Type((batch, width)), "vector"

    def new_input(self, kind: Type, stem: str) -> Value:
        if any(factor > 1 and atoms for dim in kind.dims for atoms, factor in dim.terms):
            self.scope.covers["feature", "derived_input"] += 1
        return self.scope.new_input(kind, stem)

    def ids(self) -> Value:
        shape = self.draw.pick(
            (
                (self.axes["batch"], self.axis("seq")),
                (self.axes["batch"], size(3), self.axis("seq")),
                (self.axes["batch"], size(6)),
            )
        )
        return self.new_input(Type(shape, "ids", "int", self.draw.pick((11, 20, 37))), "ids")

    def base(self, fresh: bool) -> Value:
        """A float value to start from: one that is there, or a new input."""
        floats = [value for value in self.scope.values if value.type.is_float]
        if floats and not fresh:
            return self.draw.pick(floats)
        kind, stem = self.template()
        like = [
            value
            for value in floats
            if value.kind == "input" and value.type.rank == kind.rank and value.type.medium == kind.medium
        ]
        return self.draw.pick(like) if like and self.draw.chance(0.6) else self.new_input(kind, stem)

    # --- steps ---
    def grow(self, kind: str, x: Value, rate: float = 1.0) -> Value | None:
        made = make_node(self.draw, kind, x, self.scope, self.slots)
        if made is None:
            return None
        return self.add(decorate(self.draw, made, x.type, rate=rate))

    def add(self, made: Made) -> Value:
        if made.rule is not None and made.plain and not made.rule.many and self.draw.chance(0.06):
            made = self.slots.wrap(self.draw, made)
        return self.scope.add(made)

    def pair(self, producer: str, consumer: str) -> bool:
        """One edge from a node of one kind to a node of the other."""
        ready = [value for value in self.scope.values if value.kind == producer]
        for x in self.draw.shuffled(ready)[:4]:
            if self.grow(consumer, x, rate=0.3) is not None:
                return True
        for attempt in range(TRIES):
            made, source = self.produce(producer, fresh=attempt >= TRIES // 2)
            if made is None and producer != "input":
                continue
            if made is None:
                if source is not None and self.grow(consumer, source, rate=0.3) is not None:
                    return True
                continue
            trial = Value("?", made.type, made.kind, zero=made.zeros or source.zero if source else made.zeros)
            if make_node(self.draw, consumer, trial, self.scope, self.slots) is None:
                continue
            x = self.scope.add(made)
            return any(self.grow(consumer, x, rate=0.3) is not None for _ in range(6))
        return False

    def produce(self, kind: str, fresh: bool) -> tuple[Made | None, Value | None]:
        """A node of that kind that is not added yet (for `input`: the input itself)."""
        if kind == "input":
            if self.draw.chance(0.1):
                return None, self.ids()
            return None, self.base(fresh=True)
        if kind == "embedding":
            ids = [value for value in self.scope.values if value.type.medium == "ids"]
            x = self.draw.pick(ids) if ids and self.draw.chance(0.7) else self.ids()
        else:
            x = self.base(fresh)
        return make_node(self.draw, kind, x, self.scope, self.slots), x

    def option(self, key: Key) -> bool:
        """A node with that value of that option."""
        _, kind, _name, _value = key
        owner = "embedding" if kind == "embedding" else kind
        for attempt in range(TRIES * 2):
            chosen = owner if owner != "node" else self.draw.pick(sorted(LEAVES))
            made, x = self.produce(chosen, fresh=attempt > 2)
            if made is None or x is None:
                continue
            made = decorate(self.draw, made, x.type, rate=4.0 if owner == "node" else 0.2)
            if key in made.covers:
                self.scope.add(made)
                return True
        return False

    def random(self) -> None:
        """Any kind, most often on what was made last."""
        for _ in range(6):
            floats = [value for value in self.scope.values if value.type.is_float]
            x = floats[-1] if floats and self.draw.chance(0.5) else self.base(fresh=False)
            if self.grow(self.draw.pick(KINDS), x) is not None:
                return


def existing(grower: Grower, test: Callable[[Value], bool]) -> list[Value]:
    return [value for value in grower.scope.values if test(value)]


__all__ = ["Grower", "decorate", "existing", "make_leaf"]
