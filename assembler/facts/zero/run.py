"""One pass of analysis Z over a flow, forward and backward; uses of one definition on like values are judged once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assembler.facts.flow import Flow, Use, Weight
from assembler.facts.zero import alive
from assembler.facts.zero.alive import PLAIN, Gradient, Mode, merge
from assembler.facts.zero.rules import EYE
from assembler.facts.zero.rules import RULES as FORWARD
from assembler.facts.zero.values import (
    ALL,
    MOST_TERMS,
    NOTHING,
    ONE,
    ZERO,
    Atom,
    Body,
    Form,
    Value,
    attribute,
    constant,
    form,
    sums,
    zeros,
)
from assembler_schemas.kind import Definition, Step

Environment = Mapping[str, tuple[Value, ...]]
Numbers = dict[Hashable, int]
"""What is known of equality so far: a description -> its number, as `bits` and `math` hold it."""


@dataclass(slots=True, eq=False, repr=False)
class Ran:
    """The body of one use on values that are named as they come, so that alike uses have one."""

    body: Body
    environment: Environment
    back: dict[tuple[Mode, tuple[Gradient | None, ...]], Mapping[str, tuple[Gradient | None, ...]]] = field(default_factory=dict)


@dataclass(slots=True, eq=False, repr=False)
class Pass:
    """All values and bodies, at one step of the training."""

    values: list[Value]
    ran: list[Ran]


def starts(weight: Weight) -> Value:
    """What is known of a weight at the start; its `bits` are for the caller to name where that is nothing."""
    if weight.shape:
        single = ALL - {place - len(weight.shape) for place, size in enumerate(weight.shape) if size != 1}
    else:
        single = ALL
    text = weight.init
    if text == "zeros":
        return zeros(single)
    if text == "ones":
        return constant(1.0, single)
    if text.startswith("constant("):
        value = float(text[9:-1])
        return constant(value, single)
    if text.startswith("numbers("):
        each = ("constant", tuple(float(item) for item in text[8:-1].split(",")))
        return Value(each, frozenset({(each, 1.0)}), single, single)
    if text == "eye" and len(weight.shape) == 2 and weight.shape[0] == weight.shape[1]:
        return Value(EYE, frozenset({(EYE, 1.0)}), single, single)
    return Value("", NOTHING, single, single)


def source_of(number: int, weights: Sequence[Weight], places: Mapping[str, int]) -> int:
    """Where a chain of `copy(address)` ends."""
    seen: set[int] = set()
    while number not in seen and weights[number].init.startswith("copy("):
        seen.add(number)
        number = places.get(weights[number].init[5:-1], number)
    return number


class Runner:
    """Passes over one flow. What was judged in one is known in the next."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        places = {item.address: number for number, item in enumerate(flow.weights)}
        self.sources = [source_of(number, flow.weights, places) for number in range(len(flow.weights))]
        """For each weight the one whose values it starts with: itself, but for copies."""
        self.starts = [starts(flow.weights[source])._replace(single=starts(flow.weights[number]).single) for number, source in enumerate(self.sources)]
        self._known: dict[Hashable, Ran] = {}
        self._numbers: Numbers = {}
        self._asks: dict[int, tuple[bool, bool]] = {}

    def special(self, weight: int) -> bool:
        """Whether a weight's start says more than that it is some number."""
        return self.starts[weight].bits != "" or self.flow.weights[weight].init.startswith("copy(")

    @property
    def random(self) -> bool:
        """Whether some kind behaves in another way in training."""
        return any(self._about(use.definition)[1] for use in self.flow.uses)

    def _about(self, definition: Definition) -> tuple[bool, bool]:
        found = self._asks.get(id(definition))
        if found is None:
            sizes = any(isinstance(step.attributes.get(key), str) for step in definition.body for key in ("scale", "exponent", "groups", "p", "start", "stop"))
            training = any(step.attributes.get("fn") in ("dropout", "gumbel", "gaussian", "jitter") or step.attributes.get("kind") in ("batch", "group") for step in definition.body)
            sizes = sizes or any(step.attributes.get("kind") == "group" or step.op == "choose" for step in definition.body)
            found = self._asks[id(definition)] = (sizes, training)
        return found

    # --- forward ---
    def forward(self, training: bool, changed: frozenset[int] = frozenset()) -> Pass:
        """`changed`: weights that have left their start by now."""
        flow = self.flow
        values: list[Value] = [ZERO] * len(flow.makers)
        self.roots = [number if number in changed or source in changed else source for number, source in enumerate(self.sources)]
        for name, number in flow.inputs.items():
            made = self._number(("input", name))
            values[number] = Value(made, frozenset({(made, 1.0)}))
        weights = [left(item) if place in changed else item for place, item in enumerate(self.starts)]
        ran: list[Ran] = []
        seen: set[int] = set()
        for use in flow.uses:
            for port, numbers in use.inputs.items():
                for place, number in enumerate(numbers):
                    if flow.makers[number] < 0 and number not in seen:
                        seen.add(number)
                        values[number] = values[number]._replace(single=ones(use, port, place), even=ones(use, port, place))
            ran.append(self._use(use, values, weights, training))
        return Pass(values, ran)

    def _use(self, use: Use, values: list[Value], weights: Sequence[Value], training: bool) -> Ran:
        names: dict[Atom, int] = {}
        forms: dict[Form, int] = {}
        fed = {port: tuple([_local(values[number], names, forms) for number in numbers]) for port, numbers in use.inputs.items()}
        own = {}
        for key, number in use.weights.items():
            item = weights[number]
            own[key] = named(key, item)
        asks, random = self._about(use.definition)
        known = (id(use.definition), id(use.facts) if asks else 0, training and random, tuple(fed.items()), tuple(own.values()))
        found = self._known.get(known)
        if found is None:
            found = self._known[known] = run(use, fed, own, training)
        self._give(use, found, values, names, forms)
        return found

    def _give(self, use: Use, ran: Ran, values: list[Value], names: Mapping[Atom, int], forms: Mapping[Form, int]) -> None:
        """The outputs, in the names of the whole flow."""
        bits = {place: atom for atom, place in names.items()}
        math = {place: item for item, place in forms.items()}
        me: Hashable = None
        for port, number in use.outputs.items():
            local = ran.environment.get(port, (None,))[0]
            if local is None:
                local = Value(("step", port), frozenset({(("step", port), 1.0)}))
            if me is None and (_own(local.bits) or any(_own(atom) for atom, _ in local.math)):
                # Of what has no body nothing is known: two of them are never equal. What draws is not, in training.
                dice = use.address if not use.definition.body or (ran.body.training and self._about(use.definition)[1]) else ""
                me = self._number((id(ran), tuple(names), tuple(forms), tuple([self.roots[number] for number in use.weights.values()]), dice))
            values[number] = local._replace(bits=self._atom(local.bits, me, bits, use), math=self._form(local.math, me, math, use))

    def _atom(self, atom: Any, me: Hashable, bits: Mapping[int, Atom], use: Use) -> Atom:
        if isinstance(atom, tuple) and atom[0] == "port":
            return bits[atom[1]]
        if not isinstance(atom, tuple) or atom[0] == "constant":
            known: Atom = atom
            return known
        return self._number(("weight", self.roots[use.weights[atom[1]]]) if atom[0] == "weight" else (me, atom[1]))

    def _form(self, found: Form, me: Hashable, math: Mapping[int, Form], use: Use) -> Form:
        if len(found) == 1:
            ((atom, number),) = found
            if number == 1.0 and isinstance(atom, tuple) and atom[0] == "form":
                return math[atom[1]]
        parts: list[tuple[Atom, float]] = []
        for atom, number in found:
            if isinstance(atom, tuple) and atom[0] == "form":
                parts += [(inner, item * number) for inner, item in math[atom[1]]]
            else:
                parts.append((self._atom(atom, me, {}, use), number))
        whole = form(sums(parts))
        return whole if len(whole) <= MOST_TERMS else frozenset({(self._number(whole), 1.0)})

    def _number(self, key: Hashable) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    # --- backward ---
    def backward(self, at: Pass, mode: Mode) -> tuple[list[Gradient | None], set[int]]:
        """What arrives at each value, and the weights to which something does."""
        flow = self.flow
        arrived: list[Gradient | None] = [None] * len(flow.makers)
        for number in flow.outputs.values():
            arrived[number] = PLAIN
        found: set[int] = set()
        for use, ran in zip(reversed(flow.uses), reversed(at.ran), strict=True):
            given = tuple([arrived[number] for number in use.outputs.values()])
            if all(item is None for item in given):
                continue
            local = ran.back.get((mode, given))
            if local is None:
                local = ran.back[mode, given] = back(use.definition, ran, dict(zip(use.outputs, given, strict=True)), mode)
            for port, numbers in use.inputs.items():
                for number, item in zip(numbers, local[port], strict=True):
                    if item is not None:
                        arrived[number] = merge(arrived[number], item)
            for key, weight in use.weights.items():
                if local[key][0] is not None:
                    found.add(weight)
        return arrived, found


def named(key: str, start: Value) -> Value:
    """A weight as its use's body knows it."""
    return start._replace(bits=("weight", key), math=frozenset({(("weight", key), 1.0)})) if start.bits == "" else start


def left(start: Value) -> Value:
    """A weight that has left its start."""
    return Value("", NOTHING, start.single, start.single)


def _own(atom: Any) -> bool:
    return isinstance(atom, tuple) and atom[0] == "step"


def _local(value: Value, names: dict[Atom, int], forms: dict[Form, int]) -> Value:
    """A value under the name that it has within one use."""
    bits, math = value.bits, value.math
    if isinstance(bits, int):
        bits = ("port", names.setdefault(bits, len(names)))
    if math and not (len(math) == 1 and next(iter(math))[0] == ONE):
        math = frozenset({(("form", forms.setdefault(math, len(forms))), 1.0)})
    return value._replace(bits=bits, math=math)


def ones(use: Use, port: str, place: int) -> frozenset[int]:
    """The axes of length one of an input of the recipe."""
    types = use.facts.inputs.get(port, ())
    kind = types[place] if place < len(types) else None
    dims = kind.dims if kind is not None else ()
    return frozenset(at - len(dims) for at, dim in enumerate(dims) if dim == 1) & ALL


def run(use: Use, fed: Environment, weights: Mapping[str, Value], training: bool) -> Ran:
    environment: dict[str, tuple[Value, ...]] = {**fed, **{key: (value,) for key, value in weights.items()}}
    body = Body(use.definition, use.facts.sizes, use.inputs, training)
    for step in use.definition.body:
        operands = [value for name in names_of(step, environment) for value in environment[name]]
        found = FORWARD[step.op](body, step, operands)
        if not all(item.math or item.zero for item in operands):
            # Zero in exact arithmetic, and perhaps rounding noise in floats.
            exact = [item if item.math else zeros(item.single) for item in operands]
            truth = FORWARD[step.op](body, step, exact)
            found = found._replace(math=truth.math, even=truth.even)
        environment[step.output] = (found,)
    return Ran(body, environment)


def names_of(step: Step, environment: Environment) -> list[str]:
    """The operands of a step; a bias that is fed is the last."""
    bias = attribute(step, "bias")
    return [*(name for name in step.inputs if name in environment), *([bias] if bias in environment else [])]


def back(definition: Definition, ran: Ran, given: Mapping[str, Gradient | None], mode: Mode) -> Mapping[str, tuple[Gradient | None, ...]]:
    """What arrives at each name of a body: ports, weights and steps."""
    environment = ran.environment
    arrived: dict[str, list[Gradient | None]] = {name: [None] * len(values) for name, values in environment.items()}
    if not definition.body:
        return {name: (PLAIN,) * len(items) for name, items in arrived.items()}
    for name, gradient in given.items():
        arrived[name] = [gradient]
    for step in reversed(definition.body):
        gradient = arrived[step.output][0]
        if gradient is None:
            continue
        names = names_of(step, environment)
        operands = [value for name in names for value in environment[name]]
        parts = iter(alive.RULES[step.op](ran.body, step, operands, environment[step.output][0], gradient, mode))
        for name in names:
            here = arrived[name]
            for place in range(len(here)):
                here[place] = merge(here[place], next(parts))
    return {name: tuple(items) for name, items in arrived.items()}
