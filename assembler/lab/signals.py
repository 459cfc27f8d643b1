"""What is said of a model's start, measured: how parameters start, what is zero and silent, when weights learn, how large values are."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from assembler.checks.grafts import certificates
from assembler.compiler.build import build, probed
from assembler.compiler.plan import plan
from assembler.facts.flow import Flow
from assembler.facts.model import Facts
from assembler.facts.scale.analysis import scale
from assembler.facts.signals import Signals, signals
from assembler.facts.zero.analysis import Zero
from assembler.graph.model import Graph
from assembler.lab.moments import Measured, Moment, assumed, compared, measure
from assembler.lab.rows import Row
from assembler.lab.starts import measure_starts

RATE = 0.1
SMALL, DRAWS = 1_000_000, 12
"""Models of so many parameters at most are drawn so often for the sizes of values, larger ones three times."""
LARGE = 1e8
"""Second moments that half precision may not hold."""
SURE = 3.0
"""Standard errors that a measurement may lie beyond its band."""
CANCELS = 1e-3
"""A gradient that cancels is at most so large a part of the model's largest: what rounding leaves."""


def at_the_start(model: nn.Module, graph: Graph, facts: Facts, batch: Mapping[str, Tensor], sizes: Mapping[str, int], seed: int, alone: bool) -> Iterator[Row]:
    """Rows about a model that nobody trained. Nothing for a graph that is too large to be unfolded.

    `batch`: inputs that are like no others, as these claims assume; zeros and constants are not.
    `sizes`: run-time sizes at which values are estimated. `alone`: it is this very model whose values
    must be in their bands, not the mean of several.
    """
    known = signals(graph, facts)
    if known is None:
        return
    for weight, item in zip(known.flow.weights, measure_starts(model, known.flow), strict=True):
        if not (alone and weight.buffer):  # Running statistics move whenever a model runs, trained or not.
            yield Row("start", item.address, item.start, item.measured, holds=item.holds)
    yield from _zeros(model, graph, facts, batch, known)
    yield from _steps(model, batch, known.flow, known.zero, seed)
    yield from _sizes(model, graph, facts, sizes, known.flow, seed, alone)


# --- zero and silent ---
def _zeros(model: nn.Module, graph: Graph, facts: Facts, batch: Mapping[str, Tensor], known: Signals) -> Iterator[Row]:
    """Values outside training: zeros bit for bit, and the host's value where a graft is silent."""
    seen: dict[str, Tensor] = dict(batch)
    twin = probed(plan(graph, facts, dense=True), model, seen.__setitem__).eval()
    with torch.no_grad():
        twin(**batch)
    for address, value in known.flow.places.items():
        if known.zero.zero(value) and isinstance(seen.get(address), Tensor):
            other = int(torch.count_nonzero(seen[address]))
            yield Row("zero", address, "zeros", "zeros" if not other else f"{other} of {seen[address].numel()} elements are other")
    levels = {item.name: item.silent for item in certificates(graph, known.flow, known.zero)}
    for graft in graph.grafts:
        for match in graft.matches if levels[graft.name] is not None else ():
            before, after = seen.get(match.before), seen.get(match.after)
            if not match.inside and isinstance(before, Tensor) and isinstance(after, Tensor):
                yield Row("silent", match.after, f"as {match.before}", _difference(before, after), holds=_silent(before, after, levels[graft.name] == "bits"))


def _silent(before: Tensor, after: Tensor, bits: bool) -> bool:
    return torch.equal(before, after) if bits else torch.allclose(before, after, rtol=1e-5, atol=1e-5)


def _difference(before: Tensor, after: Tensor) -> str:
    if before.shape != after.shape:
        return f"of another shape, {list(after.shape)}"
    most = float((before.double() - after.double()).abs().max()) if before.numel() else 0.0
    return "the same, bit for bit" if torch.equal(before, after) else f"off by {most:.2g} at most"


# --- learning ---
def _steps(model: nn.Module, batch: Mapping[str, Tensor], flow: Flow, zero: Zero, seed: int) -> Iterator[Row]:
    """The first SGD step at which each trainable weight has a gradient other than zero."""
    said = {flow.weights[number].address: zero.steps[number] for number in range(len(flow.weights)) if flow.weights[number].trainable}
    noisy = {flow.weights[number].address for number in zero.noise}
    last = max((step for step in said.values() if step is not None), default=0)
    found, largest = first_steps(model, batch, last, seed)
    most = max((size for name, size in largest.items() if name not in noisy), default=0.0)
    for name, step in said.items():
        if name not in largest:
            continue  # another name of the same parameter stands in the table
        if name in noisy:
            yield Row("step", name, "cancels", f"{largest[name]:.1e} of {most:.1e}", holds=largest[name] <= CANCELS * most)
        else:
            yield Row("step", name, _step(step), _step(found.get(name)))


def _step(step: int | None) -> str:
    return "never" if step is None else f"at step {step}"


def first_steps(model: nn.Module, batch: Mapping[str, Tensor], last: int, seed: int) -> tuple[dict[str, int], dict[str, float]]:
    """Parameter -> first step (up to `last`) with a gradient other than zero, and its largest gradient at the first step.

    Plain SGD in training mode on one batch, towards fixed random directions of all outputs. The model is left alone.
    """
    work = copy.deepcopy(model) if last else model
    trained = [(name, item) for name, item in work.named_parameters() if item.requires_grad]
    steps: dict[str, int] = {}
    largest: dict[str, float] = dict.fromkeys((name for name, _ in trained), 0.0)
    before, running = model.training, [(buffer, buffer.clone()) for buffer in model.buffers()]
    work.train()
    try:
        for step in range(last + 1):
            torch.manual_seed(seed)
            for (name, item), gradient in zip(trained, _gradients(work, batch, [item for _, item in trained]), strict=True):
                if gradient is None:
                    continue
                size = float(gradient.abs().max()) if gradient.numel() else 0.0
                largest[name] = size if step == 0 else largest[name]
                if size:
                    steps.setdefault(name, step)
                if step < last:
                    item.data.sub_(gradient, alpha=RATE)
    finally:
        model.train(before)
        with torch.no_grad():
            for buffer, value in running:
                buffer.copy_(value)
    return steps, largest


def _gradients(model: nn.Module, batch: Mapping[str, Tensor], wanted: Sequence[Tensor]) -> Sequence[Tensor | None]:
    with torch.enable_grad():
        found = model(**batch)
        outputs = [value for value in (found.values() if isinstance(found, dict) else [found]) if value.requires_grad]
        if not outputs or not wanted:
            return [None] * len(wanted)
        towards = [torch.randn(value.shape).to(value) / math.sqrt(value.numel() or 1) for value in outputs]
        return torch.autograd.grad(outputs, list(wanted), towards, allow_unused=True)


# --- how large ---
def _sizes(model: nn.Module, graph: Graph, facts: Facts, stated: Mapping[str, int], flow: Flow, seed: int, alone: bool) -> Iterator[Row]:
    """Second moments of values and gradients in training mode, as estimated for independent N(0, 1) inputs.

    A band is of the mean over all initialisations, and narrow models differ from draw to draw. So the
    recipe is drawn again: the mean of the draws is held against the band, or, `alone`, the model
    itself; either with the error that the spread of the draws shows.
    """
    dtypes = {item.dtype for item in model.parameters() if item.is_floating_point()}
    own = next(iter(dtypes)) if len(dtypes) == 1 else torch.float32
    estimated = scale(flow, facts, stated)
    device = next((item.device for item in model.parameters()), torch.device("cpu"))

    def run(one: nn.Module, number: int) -> Measured:
        batch = assumed(facts, estimated.sizes, seed + 1000 + number, own)
        return _training(one, graph, facts, {name: value.to(device) for name, value in batch.items()}, seed + number)

    text = plan(graph, facts)
    if text.given:
        return  # nothing is estimated behind a module that is not ours, and there is one of it, not many draws
    few = text.parameters > SMALL
    draws = [run(model, 0)] + [run(build(text, device=device, dtype=own, seed=seed + number), number) for number in range(1, 3 if few else DRAWS)]
    shown = draws[:1] if alone else draws
    for item in compared(flow, estimated, shown):
        error = _spread(draws, item) / (1 if alone else math.sqrt(len(draws)))
        yield _moment(item._replace(error=max(error, item.error), sure=SURE))


def _training(model: nn.Module, graph: Graph, facts: Facts, batch: Mapping[str, Tensor], seed: int) -> Measured:
    before = model.training
    try:
        return measure(graph, facts, model.train(), batch, seed)
    finally:
        model.train(before)


def _spread(draws: Sequence[Measured], of: Moment) -> float:
    """Relative standard deviation of a second moment over the draws."""
    place = ("q", "g").index(of.what)
    rows = [[value for address in of.over if (value := draw.get(address, (None, None))[place]) is not None] for draw in draws]
    values = [mean for row in rows if row and (mean := statistics.fmean(row)) and math.isfinite(mean)]
    return statistics.stdev(values) / statistics.fmean(values) if len(values) > 1 else 0.0


def _moment(item: Moment) -> Row:
    if item.predicted is None:
        return Row(item.what, item.address, f"not predicted: {item.reason}", f"{item.measured:.3g}", holds=True)
    if not math.isfinite(item.measured):
        return Row(item.what, item.address, f"{item.predicted:.3g}", f"{item.measured}", holds=item.predicted > LARGE)
    band = f" ({item.predicted / item.band:.3g} to {item.predicted * item.band:.3g})" if item.predicted else ""
    return Row(item.what, item.address, f"{item.predicted:.3g}{band}", f"{item.measured:.3g}", holds=item.inside)


__all__ = ["at_the_start", "first_steps"]
