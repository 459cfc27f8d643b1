"""Analysis Z: which values are exactly zero or equal to others at the start, and which weights learn, and when.

    found = zero(flow)
    found.zero(flow.places["encoder.0.think.y"])         # True: zeros, bit for bit
    found.same(before, after, "math")                    # equal in exact arithmetic, 1e-5 in floats
    found.steps[number]                                  # first SGD step at which a weight has a gradient
    why_value(flow, found, number), why_weight(flow, found, number)

Values are those outside training (no dropout, running statistics); steps are those of training by
plain SGD from the start. What is proven and what is not: docs/contracts-init.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

from assembler.facts.flow import Flow
from assembler.facts.zero.alive import Gradient, Mode
from assembler.facts.zero.plain import plain
from assembler.facts.zero.run import Pass, Runner, back
from assembler.facts.zero.values import Value

__all__ = ["Level", "Value", "Zero", "step_by_step", "zero"]

Level = Literal["bits", "math"]
MAX_STEPS = 64
"""SGD steps that are looked at. A weight that has no gradient by then counts as one that never has."""


class _Passes:
    """The passes over one flow, each when it is asked for."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    @cached_property
    def runner(self) -> Runner:
        return Runner(self.flow)

    @cached_property
    def still(self) -> Pass:
        """Outside training."""
        return self.runner.forward(training=False)

    @cached_property
    def first(self) -> Pass:
        """The first step of the training."""
        return self.runner.forward(training=True) if self.runner.random else self.still

    @cached_property
    def end(self) -> tuple[list[int | None], Pass, list[Gradient | None]]:
        """(steps in floats, the state after which no further weight comes alive, what arrives at each value then)."""
        return _steps(self.runner, self.first, "floats")


class Zero(NamedTuple):
    """What analysis Z found of one flow. Values and weights by their numbers there."""

    steps: tuple[int | None, ...]
    """For each weight the first step with a gradient other than zero, frozen weights as if they were
    not (they let gradients through and never change); None: never. Of a buffer nothing is asked."""
    noise: frozenset[int]
    """Weights whose gradient cancels: zero in exact arithmetic, and rounding noise in floats. Their
    `steps` are those of exact arithmetic."""
    reached: frozenset[int]
    """Weights to which autograd goes at all, whatever their numbers are."""
    plain: bool
    """No value that leaves a use or is normed is anything but some number, in training (`plain.py`)."""
    passes: _Passes

    @property
    def states(self) -> Sequence[Value]:
        """What is known of each value outside training."""
        return self.passes.still.values

    def zero(self, value: int, level: Level = "bits") -> bool:
        state = self.states[value]
        return state.zero if level == "bits" else not state.math

    def same(self, one: int, other: int) -> Level | None:
        """How equal two values are at the start; None where nothing is proven."""
        return _same(self.states[one], self.states[other])

    def inside(self, use: int) -> Mapping[str, Value]:
        """The states of all names in one use's body that are one value. Their roots hold within this body only."""
        return {name: values[0] for name, values in self.body(use).items() if len(values) == 1}

    def body(self, use: int) -> Mapping[str, tuple[Value, ...]]:
        """The states of all names in one use's body; a `many` port has several."""
        return self.passes.still.ran[use].environment

    def wakes(self, use: int, name: str) -> bool:
        """Whether a name in one use's body starts as zeros and is something else later in training."""
        return not self.plain and self.trained(use, start=True)[name][0].zero and not self.trained(use)[name][0].zero

    def trained(self, use: int, start: bool = False) -> Mapping[str, tuple[Value, ...]]:
        """The states in one use's body in training: at its start, or once no further weight comes alive."""
        return (self.passes.first if start else self.passes.end[1]).ran[use].environment

    def at_the_end(self, flow: Flow, use: int) -> tuple[Mapping[str, tuple[Value, ...]], Mapping[str, tuple[Gradient | None, ...]]]:
        """(values, gradients) by the names of one use's body, once no further weight comes alive."""
        _, last, arrived = self.passes.end
        item, ran = flow.uses[use], last.ran[use]
        given = {port: arrived[number] for port, number in item.outputs.items()}
        return ran.environment, back(item.definition, ran, given, "floats")

    def same_inside(self, use: int, one: str, other: str) -> Level | None:
        """How equal two values in the body of one use are."""
        states = self.inside(use)
        if one not in states or other not in states:
            return None
        return _same(states[one], states[other])


def _same(one: Value, other: Value) -> Level | None:
    """Sums are told apart by what is added, and not by the shape to which it is spread: that is asked besides."""
    if one.bits == other.bits:
        return "bits"
    return "math" if one.math == other.math and one.single == other.single else None


def zero(flow: Flow) -> Zero:
    """All of analysis Z: at once where every use is plain, else step by step. What is asked of values is worked out when it is."""
    found = plain(flow)
    return step_by_step(flow) if found is None else Zero(*found, True, _Passes(flow))


def step_by_step(flow: Flow) -> Zero:
    """Analysis Z of any flow. Linear in the uses, times the steps until no weight is left that could come alive."""
    passes = _Passes(flow)
    exact, floats = _steps(passes.runner, passes.first, "exact")[0], passes.end[0]
    noise = frozenset(number for number, (one, other) in enumerate(zip(exact, floats, strict=True)) if one != other)
    everywhere = frozenset(range(len(flow.weights)))
    reached = everywhere if None not in floats else frozenset(passes.runner.backward(passes.first, "reach")[1])
    return Zero(tuple(exact), noise, reached, False, passes)


def _steps(runner: Runner, first: Pass, mode: Mode) -> tuple[list[int | None], Pass, list[Gradient | None]]:
    """The greatest fixpoint: a weight is still until a gradient arrives, and some number from then on."""
    weights = runner.flow.weights
    steps: list[int | None] = [None] * len(weights)
    at, moved, copied = first, frozenset[int](), {source for number, source in enumerate(runner.sources) if number != source}
    for step in range(MAX_STEPS):
        arrived, found = runner.backward(at, mode)
        new = [number for number in found if steps[number] is None]
        for number in new:
            steps[number] = step
        free = [number for number in new if weights[number].trainable and (runner.special(number) or number in copied)]
        if not free or None not in steps:
            break
        moved |= frozenset(free)
        at = runner.forward(training=True, changed=moved)
    return steps, at, arrived

