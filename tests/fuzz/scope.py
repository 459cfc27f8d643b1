"""A graph that grows: its nodes, the values that can be read, and how one more leaf is added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tests.fuzz.draw import Draw
from tests.fuzz.rules import KEEPING, LEAVES, ROWS
from tests.fuzz.sizes import size
from tests.fuzz.value import Choice, Inputs, Key, Made, Options, Rule, Type, Value

TWIN, MAP = "?twin", "?map"
"""The addresses of values that nodes of their own will make."""


class Scope:
    """Nodes of one graph (the recipe, or a `kind: graph` inside it)."""

    joins = True

    def __init__(self, draw: Draw, root: bool = True, prefix: str = "") -> None:
        self.draw = draw
        self.root = root
        self.prefix = prefix
        self.nodes: dict[str, dict[str, Any]] = {}
        self.inputs: dict[str, Type] = {}
        self.optional: set[str] = set()
        self.values: list[Value] = []
        self.read: set[str] = set()
        self.covers: Counter[Key] = Counter()
        self.made: dict[str, Made] = {}
        self.passed: dict[str, Value] = {}
        self.slots: dict[str, tuple[dict[str, Any], str, Options]] = {}
        """Slot -> filler, kind, options (numbers)."""

    # --- what rules may ask ---
    def partners(self, test: Callable[[Type], bool], but: Value | None = None) -> list[Value]:
        return [value for value in self.values if value is not but and test(value.type)]

    def ask(self, kind: Type) -> Value | None:
        """An input of that type (a mask, a bias): made only when the node is added."""
        if not self.root or not all(dim.spelled for dim in kind.dims):
            return None
        return Value(f"?input {len(self.inputs)}", kind, "input")

    def twin(self, x: Value) -> Value:
        return Value(TWIN, x.type, "")

    def mapped(self, x: Value, width: int) -> Value:
        """What a linear map to that width makes of `x`."""
        return Value(MAP, x.type.with_last(size(width)), "linear")

    # --- adding ---
    def new_name(self, stem: str) -> str:
        stem = stem if len(stem) < 20 else stem[:20]
        number = len(self.nodes) + len(self.inputs)
        while f"{stem}_{number}" in self.nodes or f"{stem}_{number}" in self.inputs:
            number += 1
        return f"{stem}_{number}"

    def new_input(self, kind: Type, stem: str, optional: bool = False) -> Value:
        name = self.new_name(stem)
        self.inputs[name] = kind
        if optional:
            self.optional.add(name)
        value = Value(name, kind, "input")
        if not optional or kind.medium == "mask":
            self.values.append(value)  # Only ports that are optional themselves take masks.
        return value

    def settle(self, wish: Value, x: Value, port: str) -> Value:
        """A wished value made real: an input, or a node beside `x` that gives its type."""
        if wish.address.startswith("?input"):
            self.covers["feature", "optional_input"] += 1
            return self.new_input(
                wish.type, port if wish.type.medium == "mask" else f"{port}_in", optional=self.draw.chance(0.3)
            )
        if wish.address == MAP:
            made = make_leaf(self.draw, "linear", x, self, force={"out": wish.type.last})
            assert made is not None, "a width that is a number can be mapped"
            return self.add(made)
        if wish.address != TWIN:
            return wish
        kinds = [kind for kind in self.draw.shuffled(KEEPING) if not self.draw.rows or kind in ROWS]
        for kind in (*kinds, "identity"):
            made = make_leaf(self.draw, kind, x, self, keep=True)
            if made is not None and made.type.dims == x.type.dims and made.type.dtype == x.type.dtype:
                return self.add(made)
        raise AssertionError("identity keeps every float")

    def add(self, made: Made, name: str | None = None) -> Value:
        """Put a node in; its main output can be read from now on."""
        name = name or self.new_name(made.kind)
        made.spec = _settled(self, made)
        self.nodes[name] = made.spec
        self.made[name] = made
        self.read.update(value.address for value in made.reads)
        self.covers.update(made.covers)
        zero = made.zeros or any(read.zero or read.type.last == 1 for read in made.reads)  # A norm of one is zero.
        value = Value(f"{name}.{made.main}" if made.main else name, made.type, made.kind, made.stated, zero)
        self.values.append(value)
        below = (*made.others, *made.taps)
        self.values.extend(Value(f"{name}.{at}", kind, source, zero=zero) for at, kind, source in below)
        return value

    def unread(self) -> list[Value]:
        """Outputs of nodes that nobody reads so far (taps need no reader)."""
        taps = {f"{name}.{below}" for name, made in self.made.items() for below, _, _ in made.taps}
        open_ = [value for value in self.values if value.address not in self.read and value.address not in taps]
        return [value for value in open_ if value.address.split(".")[0] in self.nodes]


def _settled(scope: Scope, made: Made) -> dict[str, Any]:
    """The YAML of a node whose `from` still holds wishes."""
    feeds = made.spec.pop("from", None)
    if feeds is None:
        return made.spec
    first = next(iter(feeds.values()))[0][0]
    written: dict[str, Any] = {}
    for port, items in feeds.items():
        addresses = []
        for value, words in items:
            real = scope.settle(value, first, port)
            made.reads.append(real)
            between = _between(words)
            if between:
                made.plain = False
                made.cover("pair", real.kind, between)
                made.cover("pair", between, made.kind)
            else:
                made.cover("pair", real.kind, made.kind)
            addresses.append({"port": real.address, **words} if words else real.address)
        written[port] = addresses if len(addresses) > 1 or port == "*" else addresses[0]
    made.spec["from"] = _short(written, made, scope.draw)
    return made.spec


def _between(words: Mapping[str, Any]) -> str:
    """The kind of the node that an edge's words put in."""
    adapt = words.get("adapt", "detach" if words.get("detach") else "")
    word = str(adapt["kind"] if isinstance(adapt, dict) else adapt)
    return {"conv": "conv2d", "pool": "mean_pool"}.get(word, word)


def _short(written: dict[str, Any], made: Made, draw: Draw) -> Any:
    """`from` in one of its spellings."""
    if len(written) > 1:
        return written
    port, feeds = next(iter(written.items()))
    if port == "*":
        return feeds if draw.chance(0.7) else {"x": feeds}
    return feeds if draw.chance(0.8) else {port: feeds}


def make_leaf(
    draw: Draw, kind: str, x: Value, scope: Any, keep: bool = False, part: bool = False,
    words: Mapping[str, Any] | None = None, force: Mapping[str, Any] | None = None,
) -> Made | None:  # fmt: skip
    """A valid use of a leaf kind on a value, or None. `keep`: it gives the type that it takes.

    `part`: the place feeds it. `words`: what the edge itself says (`adapt`); the recipe then reads
    `words["value"]`, and `x` is what arrives behind the adapter. `force`: options that must be so.
    """
    rule = LEAVES[kind]
    if x.type.is_float and x.type.dtype not in rule.dtypes:
        return None
    choice = rule.choose(draw, x, scope)
    if choice is None:
        return None
    options = {**choice.options, **(force or {})}
    if words and any(value.address in (TWIN, MAP) for values in choice.inputs.values() for value in values):
        return None
    if keep and "out" in options:
        if x.type.last is None or kind.startswith("conv"):
            return None
        options["out"] = x.type.last
    given = types_in(rule, x, choice.inputs, scope, part)
    out = rule.out(options, given) if given is not None else None
    if out is None or not draw.fits(out):
        return None
    made = Made(kind, {"kind": kind}, out, [], rule=rule, stated=out.last is not None and "out" in options)
    made.options = draw.may_look({**options, **draw.plain(rule)})
    _write_options(draw, made)
    if x.type.is_float and x.type.dtype != "f32" and needs_dtype(rule, made.options):
        made.spec["dtype"] = x.type.dtype
        made.cover("option", "node", "dtype", x.type.dtype)
    made.given = given or {}
    made.taps = rule.taps(made.options, kind, x.type) if rule.taps and not part else []
    if not part:
        made.spec["from"] = _feeds(rule, x, choice.inputs, words)
    elif choice.inputs:
        return None
    return made


def needs_dtype(rule: Rule, options: Options) -> bool:
    if rule.kind in ("layer_norm", "rms_norm", "batch_norm", "group_norm"):
        return bool(options.get("affine", True)) or rule.kind == "batch_norm"
    return bool(options.get("learned", False)) if rule.kind == "scale" else rule.own


def types_in(rule: Rule, x: Value, inputs: Inputs, scope: Any, part: bool) -> dict[str, list[Type]] | None:
    """The types at every port that is fed, those that a container passes by name included."""
    given: dict[str, list[Type]] = {rule.first: [x.type]}
    for port, values in inputs.items():
        given.setdefault(port, []).extend(value.type for value in values)
    for port in rule.extra:
        if part and port in scope.passed and port not in given:
            given[port] = [scope.passed[port].type]
    return given


def _feeds(
    rule: Rule, x: Value, inputs: Inputs, words: Mapping[str, Any] | None
) -> dict[str, list[tuple[Value, dict[str, Any]]]]:
    said = {key: item for key, item in (words or {}).items() if key != "value"}
    source: Value = words["value"] if words else x
    first = [(source, said)]
    if rule.many:
        rest: dict[str, list[tuple[Value, dict[str, Any]]]] = {
            port: [(value, {}) for value in values] for port, values in inputs.items() if port != "x"
        }
        return {"x" if rest else "*": [*first, *((value, {}) for value in inputs.get("x", ()))], **rest}
    return {rule.first: first, **{port: [(value, {}) for value in values] for port, values in inputs.items()}}


def _write_options(draw: Draw, made: Made) -> None:
    """Options into the YAML, sizes spelled as numbers, vars or expressions."""
    kind = made.kind
    made.cover("kind", kind)
    rule = LEAVES[kind]
    for name, value in made.options.items():
        if name in rule.typed:
            made.cover("option", kind, name, str(value) if rule.typed[name] != ("stated",) else "stated")
        elif name in rule.plain:
            made.cover("option", kind, name, str(value))
        spelled = value
        if name in rule.sizes and isinstance(value, int):
            spelled = draw.spell(value)
            if not isinstance(spelled, int):
                made.cover("feature", "size_expression")
        made.spec[name] = spelled


__all__ = ["TWIN", "Choice", "Scope", "make_leaf", "needs_dtype", "types_in"]
