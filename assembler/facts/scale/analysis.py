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
from assembler.facts.scale.join import gathered
from assembler.facts.scale.part import Fresh, Part, part
from assembler.facts.scale.place import Run
from assembler.facts.scale.rules import Program, Ready, ready
from assembler.facts.scale.signal import Given, Ids, Signal, Unknown, Value, tokens
from assembler.facts.scale.start import givens, nominal
from assembler_schemas.dim import evaluate
from assembler_schemas.shape import Type

FORWARD_BAND, BACKWARD_BAND = 1.3, 1.5
LEAD = 2
"""The one axis that stands for `...`, as in generated inputs."""
LARGEST = 1e76
"""Second moments beyond it are beyond float32."""
WIDEST = 9.0
"""A band beyond it promises nothing."""

class Estimate(NamedTuple):
    """What is predicted of one value. None where nothing is: `reason` says why, `no_gradient` of the gradient."""

    q: float | None = None
    """Second moment of an element."""
    c: float | None = None
    """Mean product of the same channel at two tokens of a sample; None without tokens."""
    m: float | None = None
    """Root of the mean square of a token's mean over its features."""
    g: float | None = None
    """Second moment of an element of the gradient."""
    cg: float | None = None
    band: float = 1.0
    """q is promised between q / band and q * band."""
    gradient_band: float = 1.0
    reason: str = ""
    no_gradient: str = ""
    size: int = 0
    """How many elements it has."""
    doubt: float = 0.0
    """Relative standard deviation of q as one initialisation shows it: what all samples share is drawn once for each feature."""
    gradient_doubt: float = 0.0
    """The same of g: how many rows choose an expert hangs on its router's weights, so g is the mean over initialisations (or over
    the experts of one), and any single expert may be far from it."""


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
        return Scale(tuple(self.estimate(number) for number in range(len(self.values))), self.sizes, tuple(self.scores), tuple(self.norms))

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
        for step in program.steps:
            row.append(self.step(index, step, row))
        for port, value in use.outputs.items():
            self.values[value] = _value(row[program.places[port]])
        return row

    def step(self, index: int, step: Ready, row: Sequence[Value]) -> Value:
        operands = [row[place] for place in step.reads]
        for value in operands[:1] if step.op == "straight_through" else operands:  # Forward the other does not matter.
            if isinstance(value, Unknown):
                return value
        try:
            found = step.rule(self.run, step.at, *operands)
        except ArithmeticError:
            return Unknown("numbers beyond what a float holds")
        if isinstance(found, Signal):
            for item in found.parts:
                if not item.q < LARGEST:
                    return Unknown("beyond what float32 holds")
        if step.op == "norm":
            self.normed(index, step, operands[0])
        elif step.op == "softmax_mix" and isinstance(operands[0], Signal) and isinstance(operands[1], Signal):
            self.scores.append(Score(index, mix.score_variance(self.run, step.at, operands[0], operands[1])))
        return found

    def normed(self, index: int, step: Ready, x: Value) -> None:
        if isinstance(x, Signal):
            eps = step.at.get("eps")
            v = min(scale_norm.variance(scale_norm.placed(x, step.at), step.at))
            self.norms.append(Normed(index, v, scale_norm.EPS_F32 if eps is None else eps))

    def program(self, use: Use) -> Program:
        key = (id(use.facts), *((port, len(values)) for port, values in use.inputs.items()))
        found = self.programs.get(key)
        if found is None:
            found = self.programs[key] = ready(use, self.sizes)
        return found

    # --- backward ---
    def reach(self, value: int, gradient: Signal | Unknown, doubt: float = 0.0) -> None:
        before = self.gradients.get(value)
        # What several bring is as sure as their sum.
        self.doubts[value] = doubt if before is None else 0.0
        self.gradients[value] = gradient if before is None else _both(self.run, before, gradient)

    def backward(self, use: Use, row: list[Value] | None) -> None:
        given = {port: found for port, value in use.outputs.items() if (found := self.gradients.get(value)) is not None}
        if not given:
            return
        unknown = next((item for item in given.values() if isinstance(item, Unknown)), None)
        if row is None:
            unknown = Unknown(f"kind `{use.node.kind.name}` has no body")
        if unknown is not None or row is None:
            for values in use.inputs.values():
                for value in values:
                    self.reach(value, unknown or Unknown(""))
            return
        program = self.program(use)
        self.run.row, self.run.places = row, program.places
        back: list[Signal | None] = [None] * program.size
        for port, item in given.items():
            back[program.places[port]] = item if isinstance(item, Signal) else None
        blocked: list[str] = []
        for step in program.reversed:
            here, out = back[step.output], row[step.output]
            if here is None:
                continue
            if isinstance(out, Signal):
                self.step_back(step, here, out, row, back, blocked)
            elif isinstance(out, Unknown):
                blocked.append(out.reason)
        doubt = max([self.doubts.get(value, 0.0) for value in use.outputs.values()])
        for port, start, count in program.feeds:
            for place, value in enumerate(use.inputs[port], start):
                reached = back[place]
                if blocked:
                    self.reach(value, Unknown(blocked[0]))
                elif reached is not None:
                    self.reach(value, reached, max(doubt, self.run.chance if count > 1 else 0.0))
        self.run.chance = 0.0

    def step_back(self, step: Ready, g: Signal, out: Signal, row: Sequence[Value], back: list[Signal | None], blocked: list[str]) -> None:
        reached = [*zip(step.reads, step.back(self.run, step.at, g, out, *[row[place] for place in step.reads]), strict=True)]
        if self.run.extra:
            reached += [(self.run.places[name], item) for name, item in self.run.extra.items()]
            self.run.extra.clear()
        for place, found in reached:
            if isinstance(found, Unknown):
                blocked.append(found.reason)
            elif found is not None:
                before = back[place]
                back[place] = found if before is None else gathered(self.run, [before, found])

    # --- results ---
    def estimate(self, value: int) -> Estimate:
        found, gradient = self.values[value], self.gradients.get(value)
        if isinstance(found, Unknown):
            return Estimate(reason=found.reason, no_gradient=found.reason)
        if isinstance(found, Ids):
            return Estimate(reason="no number of its own: ids or a mask", no_gradient="no gradient: ids or a mask")
        assert isinstance(found, Signal)
        band = FORWARD_BAND * math.exp(2 * math.sqrt(found.noise))
        c = found.c if found.n > 1 else None
        doubt = math.sqrt(2 / max(1, found.width)) * found.b / found.q if found.q > 0 else 0.0
        if isinstance(gradient, Unknown):
            return Estimate(found.q, c, found.m, None, None, band, no_gradient=gradient.reason, size=math.prod(found.shape), doubt=doubt)
        if gradient is None:
            return Estimate(found.q, c, found.m, 0.0, 0.0 if c is not None else None, band, size=math.prod(found.shape), doubt=doubt)
        if not gradient.q < LARGEST:
            return Estimate(found.q, c, found.m, None, None, band, no_gradient="beyond what float32 holds", size=math.prod(found.shape), doubt=doubt)
        if gradient.band > WIDEST:
            return Estimate(found.q, c, found.m, None, None, band, no_gradient="only a loss over the batch reaches it", size=math.prod(found.shape), doubt=doubt)
        wide = gradient.band * math.exp(2 * math.sqrt(gradient.noise))
        return Estimate(
            found.q, c, found.m, gradient.q, gradient.c if c is not None else None, band, wide, size=math.prod(found.shape), doubt=doubt, gradient_doubt=self.doubts.get(value, 0.0)
        )


def _both(run: Run, a: Signal | Unknown, b: Signal | Unknown) -> Signal | Unknown:
    if isinstance(a, Unknown) or isinstance(b, Unknown):
        return a if isinstance(a, Unknown) else b
    return gathered(run, [a, b])


def _unit(value: Signal, fresh: Fresh) -> Signal:
    label = fresh.next()
    return Signal(value.shape, value.roles, tuple(part(item.n, label, 1.0) for item in value.parts), band=BACKWARD_BAND)


def _value(found: Value) -> Value:
    """A parameter that is an output by itself is a value."""
    if isinstance(found, Given):
        atoms = {found.label: (math.sqrt(found.var), 1.0, 1.0)} if found.var > 0 else {}
        return Signal(found.shape, "f" * len(found.shape), (Part(1, found.mean, atoms),))
    return found
