"""Analysis Z at once, for flows in which every use is plain.

A use is plain if values of which nothing is known give such values again, and if what it does to
gradients is the same at the start and after every weight with a gradient has moved. Then one pass
backward says all that the steps of `zero` would find: a gradient at once, or never. Whether a use is
plain is decided by the rules themselves, once for all uses that are alike.

Which values are equal does not matter here: the rules ask for it where a difference cancels, and a
body with a negative factor is not plain.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import count
from types import NoneType
from typing import Any, Literal, NamedTuple

from assembler.facts.flow import Flow, Use
from assembler.facts.model import NodeFacts
from assembler.facts.zero.alive import PLAIN, Gradient, Mode, merge
from assembler.facts.zero.run import Environment, Ran, back, left, named, ones, run, source_of, starts
from assembler.facts.zero.values import NO_AXES, ONE, Value
from assembler_schemas.kind import Definition

Carried = Gradient | Literal["noise"] | None
"""What arrives at a value: a gradient, one that is zero in exact arithmetic only, or nothing."""
MOST = 5_000
"""Answers and codes that are kept."""


class Found(NamedTuple):
    """`Zero.steps`, `Zero.noise` and `Zero.reached`."""

    steps: tuple[int | None, ...]
    noise: frozenset[int]
    reached: frozenset[int]


class Answer(NamedTuple):
    """What one use makes of what arrives at its outputs."""

    feeds: tuple[Carried, ...]
    """For each value at its ports, in order."""
    live: tuple[int, ...]
    """Places of the weights that have a gradient, those in `noise` besides."""
    noise: tuple[int, ...]
    still: tuple[int, ...]
    """Places of the weights without a gradient whose start says something, and is left if they ever have one."""


class _Start(NamedTuple):
    """A weight as far as it matters: what is known of its start, and whether a gradient moves it from there."""

    value: Value
    moves: bool


class _Tables:
    """Starts by number, and what was worked out with them. A pass keeps the tables with which it began."""

    current: _Tables

    def __init__(self) -> None:
        self.number = count()
        self.starts: dict[int, _Start] = {}
        self.numbers: dict[_Start, int] = {}
        self.codes: dict[tuple[str, tuple[int, ...], bool], int] = {}
        """(how a weight starts, its shape, whether it is trained) -> the number of its start."""
        self.answers: dict[tuple[Any, ...], tuple[NodeFacts, Answer | None]] = {}
        """By the identity of facts (they are held), what arrives, the codes of the weights, and how many values each port reads (of copies of a join the first reads more); None: not plain."""
        self.sorts: dict[int, tuple[Definition, Hashable]] = {}
        """By the identity of definitions (held): what of them matters here."""
        self.judged: dict[Hashable, Answer | None] = {}
        """By sort, instead of identity: uses that differ in nothing but their sizes are judged once."""

    @classmethod
    def now(cls) -> _Tables:
        current = cls.current
        if max(len(current.starts), len(current.codes), len(current.answers), len(current.sorts), len(current.judged)) > MOST:
            cls.current = _Tables()
        return cls.current

    def code(self, start: _Start) -> int:
        code = self.numbers.get(start)
        if code is None:
            code = next(self.number)
            self.starts[code] = start
            self.numbers[start] = code
        return code


_Tables.current = _Tables()


def plain(flow: Flow) -> Found | None:
    """What is found of a flow whose uses are all plain; None of any other."""
    tables = _Tables.now()
    codes = _codes(flow, tables)
    arrived: list[Carried] = [None] * len(flow.makers)
    for number in flow.outputs.values():
        arrived[number] = PLAIN
    live, noise, still = set[int](), set[int](), set[int]()
    given, readers, answers = len(flow.inputs), list[Use](), tables.answers
    for use in reversed(flow.uses):
        own = use.weights
        key = (id(use.facts), tuple([arrived[number] for number in use.outputs.values()]), tuple([codes[number] for number in own.values()]) if own else (), tuple([len(numbers) for numbers in use.inputs.values()]))
        known = answers.get(key)
        if known is None or known[0] is not use.facts:
            known = answers[key] = use.facts, _judged(use, key[1], key[2], tables)
        answer = known[1]
        if answer is None:
            return None
        feeds, place = answer.feeds, 0
        for numbers in use.inputs.values():
            for number in numbers:
                item = feeds[place]
                place += 1
                if number < given and (not readers or readers[-1] is not use):
                    readers.append(use)
                if item is not None:
                    here = arrived[number]
                    arrived[number] = item if here is None or here is item else _merged(here, item)
        if len(answer.live) == len(own):
            live.update(own.values())
        elif own:
            every = tuple(own.values())
            live.update([every[at] for at in answer.live])
            noise.update([every[at] for at in answer.noise])
            still.update([every[at] for at in answer.still])
    if any(_has_ones(use, given) for use in readers) or not noise.isdisjoint(live) or not (still.isdisjoint(live) and still.isdisjoint(noise)):
        return None  # Or of two uses of one weight only one moves it.
    steps: list[int | None] = [None] * len(codes)
    for number in live:
        steps[number] = 0
    return Found(tuple(steps), frozenset(noise), frozenset(live | noise))


def _merged(one: Carried, other: Carried) -> Carried:
    if one == "noise" or other == "noise":
        return other if one == "noise" else one
    return merge(one, other)


def _has_ones(use: Use, given: int) -> bool:
    """Whether an input of the recipe (numbered below `given`) has an axis of one."""
    return any(ones(use, port, place) for port, numbers in use.inputs.items() for place, number in enumerate(numbers) if number < given)


def _codes(flow: Flow, tables: _Tables) -> list[int]:
    """For each weight the number of its start."""
    weights, known = flow.weights, tables.codes.get
    found = [known((item.init, item.shape, item.trainable), -1) for item in weights]
    if -1 in found:
        places = {item.address: number for number, item in enumerate(weights)}
        for number, code in enumerate(found):
            if code < 0:  # Asked once more: those before it may be like it.
                item = weights[number]
                code = known((item.init, item.shape, item.trainable), -1)
                found[number] = code if code >= 0 else _code(number, flow, places, tables)
    return found


def _code(number: int, flow: Flow, places: Mapping[str, int], tables: _Tables) -> int:
    """Copies start as their source does, and what that is another flow need not say."""
    item = flow.weights[number]
    source = flow.weights[source_of(number, flow.weights, places)]
    value = starts(source)._replace(single=starts(item).single)
    code = tables.code(_Start(value, item.trainable and value.bits != ""))
    if not item.init.startswith("copy("):
        tables.codes[item.init, item.shape, item.trainable] = code
    return code


# --- one use ---
_SIZELESS = frozenset({"matmul", "add", "multiply", "pointwise", "norm", "softmax", "softmax_mix", "reduce", "expand", "detach", "reshape", "concat", "gather"})
"""Primitives whose rules ask for no size but one that an attribute states as a text."""
_WORDS = frozenset({"spec", "fn", "kind", "mask", "bias", "like", "pattern"})
"""Attributes whose texts are no sizes."""


def _judged(use: Use, given: tuple[Carried, ...], codes: tuple[int, ...], tables: _Tables) -> Answer | None:
    """The answer for one use; where the rules ask for no size, that for all of its sort."""
    definition = use.definition
    known = tables.sorts.get(id(definition))
    if known is None or known[0] is not definition:
        known = tables.sorts[id(definition)] = definition, _sort(definition)
    starts = [tables.starts[code] for code in codes]
    if known[1] is None:
        return _judge(use, given, starts)
    key = known[1], tuple([(port, len(numbers)) for port, numbers in use.inputs.items()]), tuple(use.outputs), tuple(use.weights), given, codes
    if key not in tables.judged:
        tables.judged[key] = _judge(use, given, starts)
    return tables.judged[key]


def _sort(definition: Definition) -> Hashable:
    """All that rules may ask of a definition; None where they may ask for sizes, or for what has no hash."""
    steps = []
    for step in definition.body:
        # How a reshape cuts is said by its pattern; into what sizes, no rule asks.
        attributes = tuple([item for item in step.attributes.items() if step.op != "reshape" or item[0] != "sizes"])
        texts = {key for key, item in attributes if isinstance(item, str)}
        if step.op not in _SIZELESS or not texts <= _WORDS or step.attributes.get("kind") in ("group", "batch"):
            return None
        if not all(isinstance(item, (str, int, float, tuple, NoneType)) for _, item in attributes):
            return None
        steps.append((step.output, step.op, step.inputs, tuple([(key, type(item), item) for key, item in attributes])))
    return tuple(definition.inputs.items()), tuple(steps)


def _judge(use: Use, given: Sequence[Carried], own: Sequence[_Start]) -> Answer | None:
    """What the rules say of one use on plain values, at the start and once its weights have moved."""
    at_start = _answer(use, given, [item.value for item in own])
    if at_start is None:
        return None
    still = tuple(place for place, item in enumerate(own) if item.moves and place not in at_start.live and place not in at_start.noise)
    for moved in ({*at_start.live}, {*at_start.live, *at_start.noise}):
        later = [left(item.value) if item.moves and place in moved else item.value for place, item in enumerate(own)]
        if _answer(use, given, later) != at_start:
            return None
    return at_start._replace(still=still)


def _answer(use: Use, given: Sequence[Carried], own: Sequence[Value]) -> Answer | None:
    """None where a value that leaves the use, or is normed in it, is not plain; or where numbers hold a gradient back."""
    number = count()
    fed = {port: tuple([_fresh(next(number)) for _ in numbers]) for port, numbers in use.inputs.items()}
    ran = run(use, fed, {key: named(key, value) for key, value in zip(use.weights, own, strict=True)}, training=True)
    if any(step.op == "blend" and "by" in step.attributes for step in use.definition.body):
        return None  # Shares of equal values have no gradient, and which values are equal is not known here.
    if not all(_is_plain(value) for values in _outward(use, ran.environment) for value in values) or not _adds_up(ran.environment):
        return None
    reach, floats, exact = (_back(use, ran, given, mode) for mode in ("reach", "floats", "exact"))
    feeds, places = [], dict[str, Carried]()
    for name in (*use.inputs, *use.weights):
        for one, two, three in zip(reach[name], floats[name], exact[name], strict=True):
            if (one is None) != (two is None):
                return None
            places[name] = None if two is None else "noise" if three is None else three
            if name in use.inputs:
                feeds.append(places[name])
    said = [places[name] for name in use.weights]
    return Answer(tuple(feeds), tuple(at for at, item in enumerate(said) if item is not None and item != "noise"), tuple(at for at, item in enumerate(said) if item == "noise"), ())


def _fresh(place: int) -> Value:
    return Value(("port", place), frozenset({(("form", place), 1.0)}))


def _outward(use: Use, environment: Environment) -> Iterator[tuple[Value, ...]]:
    """What leaves a use, and what is normed in it. A kind without a body gives values of which nothing is known."""
    yield from (environment[port] for port in use.outputs if port in environment)
    yield from (environment[step.inputs[0]] for step in use.definition.body if step.op == "norm")


def _is_plain(value: Value) -> bool:
    known = not isinstance(value.bits, tuple) or value.bits[0] == "constant"
    return not known and value.even == value.single == NO_AXES and any(atom != ONE for atom, _ in value.math)


def _adds_up(environment: Environment) -> bool:
    """Whether no sum in a body can cancel."""
    return all(number > 0.0 or atom == ONE for values in environment.values() for value in values for atom, number in value.math)


def _back(use: Use, ran: Ran, given: Sequence[Carried], mode: Mode) -> Mapping[str, tuple[Gradient | None, ...]]:
    gradients = [None if item is None or (item == "noise" and mode == "exact") else PLAIN if item == "noise" else item for item in given]
    if all(item is None for item in gradients):
        return {name: (None,) * len(values) for name, values in ran.environment.items()}
    return back(use.definition, ran, dict(zip(use.outputs, gradients, strict=True)), mode)
