"""Second moments of a built model against analysis S: every edge's value and gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from assembler.compiler.build import build, probed
from assembler.compiler.plan import plan
from assembler.facts.flow import Flow, flow
from assembler.facts.model import Facts
from assembler.facts.scale.analysis import Scale, scale
from assembler.graph.model import Graph
from assembler.lab.inputs import generated

Measured = Mapping[str, tuple[float | None, float | None]]
"""Address -> second moment of the value, of its gradient; None where the tensor has none."""


class Moment(NamedTuple):
    """One prediction against its measurement. `what`: `q` of a value, `g` of its gradient."""

    what: str
    address: str
    predicted: float | None
    """None: not predicted; `reason` says why."""
    band: float
    """Promised between predicted / band and predicted * band."""
    measured: float
    reason: str = ""
    error: float = 0.0
    """Relative standard error of the measurement: few numbers were drawn for it."""
    over: tuple[str, ...] = ()
    """The edges whose mean it is: one, or all experts of a mixture."""
    sure: float = 2.0
    """Standard errors that the measurement may lie beyond its band."""

    @property
    def inside(self) -> bool:
        """Whether the promise holds; of what is not predicted nothing is promised."""
        if self.predicted is None:
            return True
        if self.predicted == 0:
            return self.measured == 0
        return self.predicted / self.band * self.least <= self.measured <= self.predicted * self.band * math.exp(self.sure * self.error)

    @property
    def least(self) -> float:
        """How much of a mean chance leaves at least: sums of squares are Gamma's, down to 0 where few rows choose an expert (Wilson and Hilferty 1931)."""
        return max(0.0, 1 - self.error**2 / 9 - self.sure * self.error / 3) ** 3


def assumed(facts: Facts, sizes: Mapping[str, int], seed: int, floating: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A batch as the analysis assumes it: N(0, 1), ids uniform, masks all true. `floating`: the model's own dtype."""
    batch = generated(facts, sizes, seed, floating)
    return {name: torch.ones_like(value) if value.dtype is torch.bool else value for name, value in batch.items()}


def measure(graph: Graph, facts: Facts, model: nn.Module, batch: Mapping[str, Tensor], seed: int = 0) -> Measured:
    """Every edge of a built model on one batch, in the mode (training or not) that it is in.

    The gradient is that of independent N(0, 1) cotangents at all outputs (1 or -1 at a loss), drawn under `seed`. The
    model's parameters, their gradients, its buffers and torch's random state stay as they are.
    """
    seen: dict[str, Tensor] = {}
    twin = probed(plan(graph, facts, dense=True), model, seen.__setitem__)
    fed = {name: value.detach().clone().requires_grad_(value.is_floating_point()) for name, value in batch.items()}
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng([]), torch.enable_grad():
        torch.manual_seed(seed)
        found = twin(**fed)
        outputs = list(found.values()) if isinstance(found, dict) else [found]
        reached = [value for value in outputs if value.requires_grad]
        wanted = {address: value for address, value in {**seen, **fed}.items() if isinstance(value, Tensor) and value.requires_grad}
        gradients: Sequence[Tensor | None] = [None] * len(wanted)
        if reached and wanted:
            # Of one number (a loss) only the sign is drawn: the square of a single normal says nothing.
            cotangents = [(draw if value.numel() > 1 else draw.sign()).to(value) for value in reached for draw in [torch.randn(value.shape)]]
            gradients = torch.autograd.grad(reached, list(wanted.values()), cotangents, allow_unused=True)
    with torch.no_grad():
        for buffer, value in before:
            buffer.copy_(value)
    slopes = {address: 0.0 if item is None else _second(item) for address, item in zip(wanted, gradients, strict=True)}
    return {address: (_second(value), slopes.get(address)) for address, value in {**seen, **fed}.items() if isinstance(value, Tensor) and value.is_floating_point()}


def _second(value: Tensor) -> float:
    return float(value.detach().double().square().mean())


def compared(flow: Flow, scale: Scale, runs: Sequence[Measured]) -> list[Moment]:
    """Predictions against the mean of several measurements (other seeds of the same model, or one), address by address.

    How many rows choose an expert is chance, so a mixture has one row more: the mean gradient of all its experts, at the
    port that they feed, where chance has cancelled.
    """
    rows: list[Moment] = []
    shown: dict[int, str] = {}
    for address in runs[0] if runs else ():
        number = flow.inputs.get(address, flow.places.get(address))
        if number is None:
            continue
        shown.setdefault(number, address)
        known = scale.values[number]
        values = [run[address] for run in runs]
        squares = [q for q, _ in values if q is not None]
        slopes = [g for _, g in values if g is not None]
        if squares:
            rows.append(Moment("q", address, known.q, known.band, sum(squares) / len(squares), known.reason, known.doubt / math.sqrt(len(squares)), (address,)))
        if slopes:
            rows.append(Moment("g", address, known.g, known.gradient_band, sum(slopes) / len(slopes), known.no_gradient, known.gradient_doubt / math.sqrt(len(slopes)), (address,)))
    return rows + _experts(flow, scale, shown, {row.address: row for row in rows if row.what == "g"})


def _experts(flow: Flow, scale: Scale, shown: Mapping[int, str], rows: Mapping[str, Moment]) -> list[Moment]:
    found: list[Moment] = []
    for use in flow.uses:
        for port, values in use.inputs.items():
            if len(values) > 1 and all(value in shown and scale.values[value].gradient_doubt > 0 for value in values):
                each = [rows[shown[value]] for value in values]
                predicted, measured = (sum(numbers) / len(each) for numbers in ([row.predicted or 0.0 for row in each], [row.measured for row in each]))
                found.append(Moment("g", f"{use.address}.{port}", predicted, max(row.band for row in each), measured, over=tuple(row.address for row in each)))
    return found


def tried(graph: Graph, facts: Facts, sizes: Mapping[str, int] | None = None, seeds: Sequence[int] = (0, 1, 2)) -> list[Moment]:
    """Build a recipe anew under each seed, in training mode, and hold the mean against the prediction. ValueError for a graph without a flow."""
    found = flow(graph, facts)
    if found is None:
        raise ValueError("the graph is too large to be unfolded")
    predicted = scale(found, facts, sizes)
    runs = []
    for seed in seeds:
        model = build(plan(graph, facts), seed=seed)
        runs.append(measure(graph, facts, model, assumed(facts, predicted.sizes, seed + 1000), seed))
    return compared(found, predicted, runs)
