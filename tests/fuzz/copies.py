"""Steps that name what stands already: many copies in one address, one more use of anything, streams."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.fuzz.rules import LEAVES
from tests.fuzz.steps import Grower
from tests.fuzz.value import Made, Value

JOINS = ("add", "mean", "median", "multiply", "concat", "stack")
"""Joins that take any number of values of one type."""


def address_many(grower: Grower) -> bool:
    """A join of the copies that `stack.*` or a slice names, perhaps with others beside them."""
    draw, scope = grower.draw, grower.scope
    for attempt in range(20):
        names = [name for name, made in scope.made.items() if made.copies]
        if not names or attempt > 14:
            grower.grow(draw.pick(("linear", "mlp", "bus")), grower.base(fresh=False), rate=6.0)
            continue
        name = draw.pick(names)
        made = scope.made[name]
        if made.type.last is None or made.type.rank < 2 or made.zeros or any(read.zero for read in made.reads):
            continue
        word = draw.pick([word for word in ("*", "0:2", "::2", "1:") if _count(word, made.copies) > 1 or draw.chance(0.3)])
        feeds = [Value(f"{name}.{word}", made.type, made.kind)]
        count = _count(word, made.copies)
        if count < 2 or draw.chance(0.3):
            feeds.append(Value(f"{name}.-1", made.type, made.kind))
            count += 1
        kind = draw.pick(JOINS)
        out = LEAVES[kind].out({}, {"x": [made.type] * count})
        if out is None or not draw.fits(out):
            continue
        join = Made(kind, {"kind": kind, "from": {"*": [(value, {}) for value in feeds]}}, out, [], plain=False, stated=False)
        join.cover("kind", kind)
        join.cover("feature", "address_many")
        scope.add(join)
        return True
    return False


def _count(word: str, copies: int) -> int:
    start, _, rest = word.partition(":")
    stop, _, step = rest.partition(":")
    return copies if word == "*" else len(range(copies)[slice(*(int(item) if item else None for item in (start, stop, step)))])


def again(grower: Grower, word: str) -> bool:
    """One more use (`same`, `like`) of a node that is more than a bare leaf: of copies, of a container, with its norms."""
    draw, scope = grower.draw, grower.scope
    for _ in range(12):
        names = [name for name, made in scope.made.items() if _whole(made) and (word == "like" or not _differs(made))]
        if not names:
            grower.grow(draw.pick(("bus", "sequence", "parallel", "moe")), grower.base(fresh=False))
            continue
        old = scope.made[draw.pick(names)]
        name = next(name for name, made in scope.made.items() if made is old)
        fit = [value for value in scope.values if value.type == old.reads[0].type and value.zero <= old.reads[0].zero]
        made = Made(old.kind, {word: name, "from": {old.rule.first if old.rule else "x": [(draw.pick(fit), {})]}}, old.type, [], plain=False, stated=False)
        made.chain = old.chain
        made.covers = [key for key in old.covers if key == ("kind", "zero")]
        made.cover("kind", old.kind)
        made.cover("feature", f"{word}_whole")
        scope.add(made)
        return True
    return False


def _whole(made: Made) -> bool:
    """Whether all that it is fed is one value by its first port, and all that it gives one value."""
    plain = isinstance(made.spec.get("from"), str) and len(made.reads) == 1 and not made.main and not made.others
    open_ = made.rule is not None and "out" in made.options and not {"out", "slot"} & made.spec.keys()  # Its readers decide.
    known = made.rule is not None or made.kind not in LEAVES  # Of one more use nobody knows the port.
    return plain and known and not made.plain and not open_ and not {"same", "like", "tie"} & made.spec.keys()


def _differs(made: Made) -> bool:
    """Whether another use would not be the same: what drops rows must stand on a stream; and the keys of copies that hold
    a leaf and its norm are the first use's, so that addresses do not foretell them."""
    return "capacity" in repr(made.spec) or (made.rule is not None and {"norm", "repeat"} <= made.spec.keys())


def streams(grower: Grower, feature: str) -> bool:
    draw = grower.draw
    draw.wanted = {("bus", "stream")}
    try:
        for attempt in range(16):
            x = grower.base(fresh=attempt > 8)
            if x.type.rank < 2 or x.type.last is None:
                continue
            grower.grow("bus", x, rate=0.2)
            if grower.scope.covers["feature", feature]:
                return True
    finally:
        draw.wanted = set()
    return False


STEPS: dict[str, Callable[[Grower], bool]] = {
    "address_many": address_many,
    "same_whole": partial(again, word="same"),
    "like_whole": partial(again, word="like"),
    **{name: partial(streams, feature=name) for name in ("streams", "streams_three", "streams_looking", "streams_repeat")},
}
