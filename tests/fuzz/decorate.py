"""What any node may carry beside its options: norms, copies, freezing, a slot in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.fuzz.draw import Draw
from tests.fuzz.rules import LEAVES, MIXTURES, ROWS
from tests.fuzz.value import Made, Type

DEPTHS = (2, 3)


def decorate(
    draw: Draw, made: Made, x: Type, part: bool = False, in_bus: bool = False, rate: float = 1.0, beside: bool = False
) -> Made:
    """Norms, repeats and small keys, where the types allow them."""
    if draw.chance(0.18 * rate) or draw.wants(made.kind, "norm", 0):
        add_norm(draw, made, x, in_bus)
    if not beside and (draw.chance(0.15 * rate) or draw.wants(made.kind, "repeat", 0)):
        add_repeat(draw, made, x)
    if draw.chance(0.04):
        made.spec["freeze"] = True
        made.cover("option", "node", "freeze", "True")
    if draw.chance(0.04):
        made.spec["seed"] = draw.rng.randrange(1000)
        made.cover("option", "node", "seed", "stated")
    return made


# --- norms ---
def norm_kinds(draw: Draw, kinds: list[Type]) -> list[str]:
    """The norms that fit all of these types."""
    if any(kind.dtype != "f32" or kind.rank < 2 or kind.last in (None, 1) for kind in kinds):
        return []
    channels = not draw.rows and all(
        kind.rank in (2, 3, 4) and kind.dims[1].number is not None and draw.positive(kind.dims[0], 2) for kind in kinds
    )
    return ["layer_norm", "rms_norm", *(["batch_norm"] if channels else [])]


def add_norm(draw: Draw, made: Made, x: Type, in_bus: bool = False) -> bool:
    rule = LEAVES.get(made.kind)
    if "norm" in made.spec or made.kind in ("bus", "expand") or (rule is not None and rule.many) or "repeat" in made.spec:
        return False
    place = draw.pick(("pre", "out", "both", *(("post",) if in_bus else ())))
    if made.main:  # Of several outputs none is the one that a norm could stand behind.
        place = "pre"
    touched = {"pre": [x], "out": [made.type], "both": [x, made.type], "post": [x]}[place]
    if not set_norm(draw, made, place, touched):
        return False
    made.plain = False
    return True


def set_norm(draw: Draw, made: Made, place: str, touched: list[Type]) -> bool:
    kinds = norm_kinds(draw, touched)
    if not kinds:
        return False
    made.spec["norm"] = place
    made.cover("option", "node", "norm", place)
    kind = draw.pick(kinds)
    if kind == "batch_norm" and _inherited(list(made.spec.values())):
        kind = "rms_norm"
    if kind != "layer_norm" or draw.chance(0.2):
        made.spec["norm_kind"] = kind
    if kind != "layer_norm":
        made.cover("option", "node", "norm_kind", kind)
    made.cover("kind", kind)
    if made.type.medium != "dense" and place in ("out", "both"):
        made.type = Type(made.type.dims, "dense", made.type.dtype)
    return True


def _inherited(tree: Any) -> bool:
    """Whether a norm further in would be of the kind that is stated outside: that one must fit many types."""
    if isinstance(tree, list):
        return any(_inherited(item) for item in tree)
    if not isinstance(tree, dict):
        return False
    return ("norm" in tree and "norm_kind" not in tree) or any(_inherited(item) for item in tree.values())


# --- copies ---
def add_repeat(draw: Draw, made: Made, x: Type) -> bool:
    """Copies in a row; where each changes the type, the types are worked out one by one."""
    if "repeat" in made.spec or made.main or made.others or (made.rule is not None and made.rule.many):
        return False
    if made.kind == "expand":  # Copies hand x on, and the rule is about what it is like.
        return False
    if made.zeros and any(("kind", kind) in made.covers for kind in (*MIXTURES, "gating")):
        return False  # The next copy's router may be given zeros, a tie.
    if "capacity" in made.spec:  # The rows that a copy drops must be added to by a stream, not go on to the next.
        return False
    count = draw.pick(DEPTHS)
    types = _copies(draw, made, x, count)
    if types is None:
        return False
    steady = all(kind == x for kind in types)
    made.spec["repeat"] = draw.spell(count)
    made.cover("feature", "repeat_container" if made.rule is None else "repeat_leaf")
    made.cover("option", "node", "repeat", "stated")
    if not steady:
        made.cover("feature", "repeat_changing")
    made.plain = False
    inner, made.taps = made.taps, []
    if made.rule is not None and "norm" in made.spec:
        inner = []  # A copy with its norm gives one value.
    if steady and draw.chance(0.25):
        made.spec["share"] = True
        made.cover("feature", "repeat_share")
        made.cover("option", "node", "share", "True")
    else:
        made.copies = count if steady else 0
        place = draw.rng.randrange(count)
        last = place == count - 1 and draw.chance(0.3)
        made.taps = [
            ("-1" if last else str(place), types[place], made.kind),
            *((f"{place}.{at}", kind, source) for at, kind, source in inner[:2]),
        ]
    made.type = types[-1]
    made.chain *= count
    return True


def _copies(draw: Draw, made: Made, x: Type, count: int) -> list[Type] | None:
    """The type behind each copy, or None if they do not chain."""
    if (made.type.dims, made.type.dtype) == (x.dims, x.dtype) and x.medium in ("dense", made.type.medium):
        return [made.type] * count
    rule = made.rule
    if rule is None or rule.many or "norm" in made.spec or not x.is_float or made.type.dtype != x.dtype:
        return None
    types: list[Type] = []
    here = x
    for _ in range(count):
        out = rule.out(made.options, {**made.given, rule.first: [here]})
        if out is None or not draw.fits(out) or (rule.own and out.dtype not in rule.dtypes):
            return None
        types.append(out)
        here = out
    return types


# --- slots ---
def words(tree: Any, key: str) -> Iterator[str]:
    """Every text that stands under a key, at any depth."""
    if isinstance(tree, dict):
        if isinstance(tree.get(key), str):
            yield tree[key]
        for item in tree.values():
            yield from words(item, key)
    elif isinstance(tree, list):
        for item in tree:
            yield from words(item, key)


PLACE = ("from", "norm", "norm_kind", "repeat", "share", "freeze", "seed", "dtype")


class Slots:
    """The slots of a recipe: what fills each, by which options others may use it too."""

    def __init__(self) -> None:
        self.fillers: dict[str, dict[str, Any]] = {}
        self.kinds: dict[str, Made] = {}

    def wrap(self, draw: Draw, made: Made) -> Made:
        """Move what the node is into a new slot; the node then only names it."""
        name = f"slot_{len(self.fillers)}"
        stay = [key for key in PLACE if key != "dtype" or made.kind != "cast"]
        filler = {key: value for key, value in made.spec.items() if key not in stay}
        rest = {key: value for key, value in made.spec.items() if key in stay}
        place: dict[str, Any] = {"slot": name}
        if draw.wants("slot", "vars", 0.4):
            place |= self._argument(draw, made, filler)
        self.fillers[name] = filler
        made.spec = {**place, **rest}
        made.plain = False
        made.cover("feature", "slot")
        if made.rule is not None and "repeat" not in rest and "norm" not in rest and "vars" not in place:
            self.kinds[name] = made
        return made

    def _argument(self, draw: Draw, made: Made, filler: dict[str, Any]) -> dict[str, Any]:
        """One size of the filler becomes a var of it, handed over where it is used."""
        names = [
            name
            for name in (made.rule.sizes if made.rule else ())
            if name in filler and name not in ("in", "memory_in") and isinstance(made.options.get(name), int)
        ]
        if not names:
            return {}
        option = draw.pick(names)
        number = made.options[option]
        own = f"wide_{len(self.fillers)}"
        made.cover("feature", "slot_vars")
        filler["vars"] = {own: number if draw.chance(0.3) else draw.width()}
        doubled = number % 2 == 0 and draw.chance(0.3)
        filler[option] = f"2*{own}" if doubled else own
        wanted = number // 2 if doubled else number
        return {} if filler["vars"][own] == wanted else {"vars": {own: draw.spell(wanted)}}

    def needed(self, nodes: Any) -> dict[str, dict[str, Any]]:
        """The fillers that some place names; fillers may use slots themselves."""
        found: dict[str, Any] = {}
        todo: list[Any] = [nodes]
        while todo:
            for name in words(todo.pop(), "slot"):
                if name not in found:
                    found[name] = self.fillers[name]
                    todo.append(self.fillers[name])
        return {name: filler for name, filler in self.fillers.items() if name in found}

    def _known(self, draw: Draw, name: str) -> bool:
        """Whether a filler spells no var of a graph that stands elsewhere."""
        return all(own in draw.vars for own in re.findall(r"\bown_\w+", repr(self.fillers[name])))

    def use(self, draw: Draw, x: Type) -> Made | None:
        """One more use of a slot that fits this value."""
        for name in draw.shuffled(sorted(self.kinds)):
            old = self.kinds[name]
            rule = old.rule
            if (
                rule is None
                or rule.extra
                or (draw.rows and rule.kind not in ROWS)
                or not self._known(draw, name)
                or x.dtype != "f32"
                or rule.kind == "learned_position"
                or (rule.kind in ("batch_norm", "group_norm") and not (x.dims and draw.positive(x.dims[0], 2)))
            ):
                continue
            out = rule.out(old.options, {rule.first: [x]})
            if out is None or not draw.fits(out):
                continue
            made = Made(
                old.kind,
                {"slot": name},
                out,
                [],
                rule=rule,
                options=dict(old.options),
                given={rule.first: [x]},
                plain=False,
            )
            made.cover("feature", "slot_reused")
            made.cover("kind", old.kind)
            return made
        return None
