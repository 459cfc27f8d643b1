"""Analysis S: how large values and gradients are at initialisation, estimated by mean field.

Second moments go forward through the bodies of all uses, and a gradient's go back from an
independent unit cotangent at every output. What it assumes, its formulas and how exact it is:
docs/contracts-scale.md. An estimate is never a proof: of zeros and identities, ask analysis Z.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from assembler.facts import scale_mix, scale_norm, scale_pointwise
from assembler.facts.flow import Flow, Use
from assembler.facts.model import Facts
from assembler.facts.scale_join import gathered
from assembler.facts.scale_place import Run
from assembler.facts.scale_rules import Ready, ready
from assembler.facts.scale_signal import Fresh, Given, Ids, Part, Signal, Unknown, Value, part, tokens
from assembler.facts.scale_start import givens, nominal
from assembler_schemas.dim import evaluate
from assembler_schemas.shape import Type

FORWARD_BAND, BACKWARD_BAND = 1.3, 1.5
LEAD = 2
"""The one axis that stands for `...`, as in generated inputs."""
LARGEST = 1e76
"""Second moments beyond it are beyond float32."""
CHANCE = 0.75
"""Relative deviation of a gradient from one initialisation to the next from which none is promised."""
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
    """The same of g: how many rows choose an expert hangs on its router's weights."""


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
        self.ready: dict[tuple[int, int], list[Ready]] = {}
        self.envs: list[dict[str, tuple[Value, ...]] | None] = []
        self.gradients: dict[int, list[Signal | Unknown]] = {}
        self.doubts: dict[int, float] = {}
        self.scores: list[Score] = []
        self.norms: list[Normed] = []

    def done(self) -> Scale:
        for name, value in self.flow.inputs.items():
            self.values[value] = self.input(self.kinds.get(name))
        for index, use in enumerate(self.flow.uses):
            self.envs.append(self.forward(index, use))
        self.run.pooled = False
        for value in self.flow.outputs.values():
            found = self.values[value]
            if isinstance(found, Signal):
                self.reach(value, _unit(found, self.run.fresh))
            elif isinstance(found, Unknown):
                self.reach(value, found)
        for index in range(len(self.flow.uses) - 1, -1, -1):
            self.backward(self.flow.uses[index], self.envs[index])
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
            return scale_pointwise.softmax(self.run, {"axis": -1}, signal)
        return signal

    # --- forward ---
    def forward(self, index: int, use: Use) -> dict[str, tuple[Value, ...]] | None:
        env: dict[str, tuple[Value, ...]] = {port: tuple(self.values[value] for value in values) for port, values in use.inputs.items()}
        env.update({key: (self.weights[weight],) for key, weight in use.weights.items()})
        if not use.definition.body:
            for value in use.outputs.values():
                self.values[value] = Unknown(f"kind `{use.node.kind.name}` has no body")
            return None
        self.run.env = env
        for step in self.steps(use):
            env[step.output] = (self.step(index, use, step, env),)
        for port, value in use.outputs.items():
            self.values[value] = _value(env[port][0], self.run)
        return env

    def step(self, index: int, use: Use, step: Ready, env: Mapping[str, tuple[Value, ...]]) -> Value:
        operands = [value for name in step.inputs for value in env[name]]
        for value in operands[:1] if step.op == "straight_through" else operands:  # Forward the other does not matter.
            if isinstance(value, Unknown):
                return value
        try:
            found = step.rule(self.run, step.at, *operands)
        except ArithmeticError:
            return Unknown("numbers beyond what a float holds")
        if isinstance(found, Signal) and not all(item.q < LARGEST for item in found.parts):
            return Unknown("beyond what float32 holds")
        if step.op == "norm" and isinstance(operands[0], Signal):
            eps = step.at.get("eps")
            self.norms.append(Normed(index, min(scale_norm.variance(scale_norm.placed(operands[0], step.at), step.at)), scale_norm.EPS_F32 if eps is None else eps))
        q, k = operands[:2] if step.op == "softmax_mix" else (None, None)
        if isinstance(q, Signal) and isinstance(k, Signal):
            self.scores.append(Score(index, scale_mix.score_variance(self.run, step.at, q, k)))
        return found

    def steps(self, use: Use) -> list[Ready]:
        many = next((len(use.inputs.get(port, ())) for port, card in use.definition.inputs.items() if card.many), 0)
        key = (id(use.facts), many)
        if key not in self.ready:
            self.ready[key] = ready(use, many, self.sizes)
        return self.ready[key]

    # --- backward ---
    def reach(self, value: int, gradient: Signal | Unknown, doubt: float = 0.0) -> None:
        # What several bring is as sure as their sum.
        self.doubts[value] = 0.0 if value in self.gradients else doubt
        self.gradients.setdefault(value, []).append(gradient)

    def sum(self, value: int) -> Signal | Unknown | None:
        """What reaches a value; None where nothing does."""
        found = self.gradients.get(value)
        if not found:
            return None
        unknown = next((item for item in found if isinstance(item, Unknown)), None)
        if unknown is not None:
            return unknown
        known = [item for item in found if isinstance(item, Signal)]
        if len(known) > 1:
            self.gradients[value] = [gathered(self.run, known)]
        return self.gradients[value][0]

    def backward(self, use: Use, env: dict[str, tuple[Value, ...]] | None) -> None:
        given = {port: found for port, value in use.outputs.items() if (found := self.sum(value)) is not None}
        if not given:
            return
        unknown = next((item for item in given.values() if isinstance(item, Unknown)), None)
        if env is None:
            unknown = Unknown(f"kind `{use.node.kind.name}` has no body")
        if unknown is not None or env is None:
            for values in use.inputs.values():
                for value in values:
                    self.reach(value, unknown or Unknown(""))
            return
        self.run.env = env
        back: dict[tuple[str, int], list[Signal]] = {(port, 0): [item] for port, item in given.items() if isinstance(item, Signal)}
        blocked: list[str] = []
        for step in reversed(self.steps(use)):
            here = back.pop((step.output, 0), None)
            out = env[step.output][0]
            if here is None:
                continue
            if not isinstance(out, Signal):
                blocked += [out.reason] if isinstance(out, Unknown) else []
                continue
            self.step_back(step, here[0] if len(here) == 1 else gathered(self.run, here), out, env, back, blocked)
        doubt = max(self.doubts.get(value, 0.0) for value in use.outputs.values())
        for port, values in use.inputs.items():
            for place, value in enumerate(values):
                reached = back.get((port, place))
                if blocked:
                    self.reach(value, Unknown(blocked[0]))
                elif reached:
                    self.reach(value, gathered(self.run, reached), max(doubt, self.run.chance if len(values) > 1 else 0.0))
        self.run.chance = 0.0

    def step_back(self, step: Ready, g: Signal, out: Signal, env: Mapping[str, tuple[Value, ...]], back: dict[tuple[str, int], list[Signal]], blocked: list[str]) -> None:
        places = [(name, place) for name in step.inputs for place in range(len(env[name]))]
        operands = [env[name][place] for name, place in places]
        for at, found in zip(places, step.back(self.run, step.at, g, out, *operands), strict=True):
            if isinstance(found, Unknown):
                blocked.append(found.reason)
            elif found is not None:
                back.setdefault(at, []).append(found)
        for name, found in self.run.extra.items():
            back.setdefault((name, 0), []).append(found)
        self.run.extra.clear()

    # --- results ---
    def estimate(self, value: int) -> Estimate:
        found, gradient = self.values[value], self.sum(value)
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
        loose = "only a loss over the batch reaches it" if gradient.band > WIDEST else "how many rows choose this expert is chance" if self.doubts.get(value, 0.0) > CHANCE else ""
        if loose:
            return Estimate(found.q, c, found.m, None, None, band, no_gradient=loose, size=math.prod(found.shape), doubt=doubt)
        wide = gradient.band * math.exp(2 * math.sqrt(gradient.noise))
        return Estimate(
            found.q, c, found.m, gradient.q, gradient.c if c is not None else None, band, wide, size=math.prod(found.shape), doubt=doubt, gradient_doubt=self.doubts.get(value, 0.0)
        )


def _unit(value: Signal, fresh: Fresh) -> Signal:
    label = fresh.next()
    return Signal(value.shape, value.roles, tuple(part(item.n, label, 1.0) for item in value.parts), band=BACKWARD_BAND)


def _value(found: Value, run: Run) -> Value:
    """A parameter that is an output by itself is a value."""
    if isinstance(found, Given):
        atoms = {found.label: (math.sqrt(found.var), 1.0, 1.0)} if found.var > 0 else {}
        return Signal(found.shape, "f" * len(found.shape), (Part(1, found.mean, atoms),))
    return found
