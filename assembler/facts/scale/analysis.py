"""Analysis S: how large values and gradients are at initialisation, estimated by mean field.

Second moments go forward through the bodies of all uses, and a gradient's go back from an
independent unit cotangent at every output. What it assumes, its formulas and how exact it is:
docs/contracts-scale.md. An estimate is never a proof: of zeros and identities, ask analysis Z.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from assembler.facts.flow import Flow, Use
from assembler.facts.model import Facts
from assembler.facts.scale import mix, pointwise
from assembler.facts.scale import norm as scale_norm
from assembler.facts.scale.estimate import BEYOND, LARGEST, Estimate, estimate
from assembler.facts.scale.join import both
from assembler.facts.scale.part import Fresh, Part, part
from assembler.facts.scale.place import Run
from assembler.facts.scale.rules import Program, Ready, ready
from assembler.facts.scale.signal import Given, Ids, Signal, Unknown, Value, tokens
from assembler.facts.scale.start import givens, nominal
from assembler_schemas.dim import evaluate
from assembler_schemas.shape import Type

BACKWARD_BAND = 1.5
LEAD = 2
"""The one axis that stands for `...`, as in generated inputs."""
OVERFLOW, HUGE = Unknown("numbers beyond what a float holds"), Unknown(BEYOND)
WATCHED = ("norm", "softmax_mix")
"""Steps of which more is told than what they make."""


class Score(NamedTuple):
    """The scores of one attention: their variance along the keys."""

    use: int
    s2: float


class Normed(NamedTuple):
    """One norm: the variance that it divides by, and its eps."""

    use: int
    v: float
    eps: float


class Scale(NamedTuple):
    """`values` by the numbers of the flow. `sizes`: what run-time sizes were taken to be."""

    values: tuple[Estimate, ...]
    sizes: Mapping[str, int]
    scores: tuple[Score, ...]
    norms: tuple[Normed, ...]


def scale(flow: Flow, facts: Facts, sizes: Mapping[str, int] | None = None) -> Scale:
    """Every value of a flow. `sizes`: run-time names -> numbers; names without one get a nominal size (`nominal`).

    Assumes training mode, dense inputs and images of independent N(0, 1) elements, ids uniform
    over their vocabulary, masks all true, and at each output a gradient of independent N(0, 1).
    """
    return _Walk(flow, facts, nominal(facts, sizes or {})).done()


class _Walk:
    def __init__(self, flow: Flow, facts: Facts, sizes: dict[str, int]) -> None:
        self.flow, self.sizes = flow, sizes
        fresh = Fresh()
        first = fresh.next()
        for _ in flow.weights:
            fresh.next()
        uses = Counter(number for use in flow.uses for number in use.weights.values())
        self.run = Run(fresh, {}, often=frozenset(number for number, count in uses.items() if count > 1))
        self.weights = givens(flow, first)
        self.values: list[Value] = [Unknown("not computed")] * len(flow.makers)
        self.kinds = facts.root.inputs
        self.programs: dict[tuple[object, ...], Program] = {}
        self.rows: list[list[Value] | None] = []
        self.gradients: dict[int, Signal | Unknown] = {}
        self.doubts: dict[int, float] = {}
        self.scores: list[Score] = []
        self.norms: list[Normed] = []

    def done(self) -> Scale:
        for name, value in self.flow.inputs.items():
            self.values[value] = self.input(self.kinds.get(name))
        for index, use in enumerate(self.flow.uses):
            self.rows.append(self.forward(index, use))
        self.run.pooled = False
        for value in self.flow.outputs.values():
            found = self.values[value]
            if isinstance(found, Signal):
                self.reach(value, _unit(found, self.run.fresh))
            elif isinstance(found, Unknown):
                self.reach(value, found)
        for index in range(len(self.flow.uses) - 1, -1, -1):
            self.backward(self.flow.uses[index], self.rows[index])
        return Scale(tuple([estimate(value, self.gradients.get(number), self.doubts.get(number, 0.0)) for number, value in enumerate(self.values)]), self.sizes, tuple(self.scores), tuple(self.norms))

    def input(self, kind: Type | None) -> Value:
        if kind is None:
            return Unknown("an input without a type")
        shape = (LEAD,) * bool(kind.lead) + tuple(evaluate(dim, self.sizes) for dim in kind.dims)
        rank = len(shape)
        if kind.medium == "image":
            roles = ("bf" + "t" * (rank - 2))[:rank]
        elif kind.medium in ("ids", "mask") or kind.dtype.startswith(("i", "bool")):
            vocabulary = evaluate(kind.vocabulary, self.sizes) if kind.vocabulary is not None else 0
            return Ids(shape, ("b" + "t" * (rank - 1))[:rank], vocabulary)
        else:
            roles = "b" + "t" * (rank - 2) + "f" if rank > 1 else "f" * rank
        n, label = tokens(shape, roles), self.run.fresh.next()
        width = math.prod(size for size, role in zip(shape, roles, strict=True) if role == "f")
        signal = Signal(shape, roles, (part(n, label, 1.0),), ripple=2 / max(1, width))
        if kind.medium == "probs" and rank:
            return pointwise.softmax(self.run, {"axis": -1}, signal)
        return signal

    # --- forward ---
    def forward(self, index: int, use: Use) -> list[Value] | None:
        if not use.definition.body:
            for value in use.outputs.values():
                self.values[value] = Unknown(f"kind `{use.node.kind.name}` has no body")
            return None
        program = self.program(use)
        row: list[Value] = [self.values[value] for values in use.inputs.values() for value in values]
        row += [self.weights[weight] for weight in use.weights.values()]
        self.run.row, self.run.places = row, program.places
        dark = Unknown in map(type, row)
        for step in program.steps:
            found = _made(self.run, step, row, dark)
            row.append(found)
            dark = dark or isinstance(found, Unknown)
            if step.op in WATCHED and found is not OVERFLOW and found is not HUGE:
                self.watched(index, step, row)
        for port, value in use.outputs.items():
            self.values[value] = _value(row[program.places[port]])
        return row

    def watched(self, index: int, step: Ready, row: Sequence[Value]) -> None:
        x = row[step.reads[0]]
        if not isinstance(x, Signal):
            return
        if step.op == "norm":
            eps = step.at.get("eps")
            v = min(scale_norm.variance(scale_norm.placed(x, step.at), step.at))
            self.norms.append(Normed(index, v, scale_norm.EPS_F32 if eps is None else eps))
            return
        keys = row[step.reads[1]]
        if isinstance(keys, Signal):
            self.scores.append(Score(index, mix.score_variance(self.run, step.at, x, keys)))

    def program(self, use: Use) -> Program:
        key = (id(use.facts), *((port, len(values)) for port, values in use.inputs.items()))
        found = self.programs.get(key)
        if found is None:
            found = self.programs[key] = ready(use, self.sizes)
        return found

    # --- backward ---
    def reach(self, value: int, gradient: Signal | Unknown, doubt: float = 0.0) -> None:
        before = self.gradients.get(value)
        if doubt and before is None:
            self.doubts[value] = doubt
        elif self.doubts:
            self.doubts.pop(value, None)  # What several bring is as sure as their sum.
        self.gradients[value] = gradient if before is None else _both(self.run, before, gradient)

    def backward(self, use: Use, row: list[Value] | None) -> None:
        program = self.program(use) if row is not None else None
        back: list[Signal | None] = [None] * (program.size if program is not None else 0)
        unknown, asked = None, False
        for port, value in use.outputs.items():
            found = self.gradients.get(value)
            if found is None:
                continue
            asked = True
            if isinstance(found, Unknown):
                unknown = unknown or found
            elif program is not None:
                back[program.places[port]] = found
        if not asked:
            return
        if row is None or program is None:
            unknown = Unknown(f"kind `{use.node.kind.name}` has no body")
        if unknown is not None or row is None or program is None:
            for values in use.inputs.values():
                for value in values:
                    self.reach(value, unknown or Unknown(""))
            return
        self.run.row, self.run.places = row, program.places
        blocked: list[str] = []
        for step in program.reversed:
            here = back[step.output]
            if here is None:
                continue
            out = row[step.output]
            if isinstance(out, Signal):
                _reached(self.run, step, here, out, row, back, blocked)
            elif isinstance(out, Unknown):
                blocked.append(out.reason)
        doubt = max([self.doubts.get(value, 0.0) for value in use.outputs.values()]) if self.doubts else 0.0
        for port, start, count in program.feeds:
            for place, value in enumerate(use.inputs[port], start):
                reached = back[place]
                if blocked:
                    self.reach(value, Unknown(blocked[0]))
                elif reached is not None:
                    self.reach(value, reached, max(doubt, self.run.chance if count > 1 else 0.0))
        self.run.chance = 0.0


def _made(run: Run, step: Ready, row: Sequence[Value], dark: bool) -> Value:
    """`dark`: whether anything in the row is unknown."""
    if dark:
        for place in step.reads[:1] if step.op == "straight_through" else step.reads:  # Forward the other does not matter.
            value = row[place]
            if isinstance(value, Unknown):
                return value
    try:
        found = step.rule(run, step.at, *map(row.__getitem__, step.reads))
    except ArithmeticError:
        return OVERFLOW
    if isinstance(found, Signal):
        for item in found.parts:
            if not item.q < LARGEST:
                return HUGE
    return found


def _reached(run: Run, step: Ready, g: Signal, out: Signal, row: Sequence[Value], back: list[Signal | None], blocked: list[str]) -> None:
    found = step.back(run, step.at, g, out, *map(row.__getitem__, step.reads))
    places = step.reads
    if run.extra:
        found, places = (*found, *run.extra.values()), (*places, *[run.places[name] for name in run.extra])
        run.extra.clear()
    for place, item in zip(places, found, strict=True):
        if item is None:
            continue
        if isinstance(item, Unknown):
            blocked.append(item.reason)
        else:
            before = back[place]
            back[place] = item if before is None else both(run, before, item)


def _both(run: Run, a: Signal | Unknown, b: Signal | Unknown) -> Signal | Unknown:
    if isinstance(a, Unknown) or isinstance(b, Unknown):
        return a if isinstance(a, Unknown) else b
    return both(run, a, b)


def _unit(value: Signal, fresh: Fresh) -> Signal:
    label = fresh.next()
    return Signal(value.shape, value.roles, tuple(part(item.n, label, 1.0) for item in value.parts), band=BACKWARD_BAND)


def _value(found: Value) -> Value:
    """A parameter that is an output by itself is a value."""
    if isinstance(found, Given):
        atoms = {found.label: (math.sqrt(found.var), 1.0, 1.0)} if found.var > 0 else {}
        return Signal(found.shape, "f" * len(found.shape), (Part(1, found.mean, atoms),))
    return found
