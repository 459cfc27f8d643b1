"""A probe of a model's mixtures: the numbers, the limits that they are held against, and a verdict in words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from assembler.lab.routing import metrics
from assembler.lab.routing.probe import (
    Batch,
    Labels,
    Seen,
    experts,
    gatings,
    planned,
    recorded,
    row_labels,
    run,
    seen,
    still,
)

COLLAPSE, SATURATED, FLAT, UNSPECIALISED, THRASHING = (
    "collapse",
    "saturated router",
    "flat router",
    "no specialisation",
    "thrashing",
)
START = frozenset((COLLAPSE, SATURATED))
"""Verdicts that mean something before training."""
ENOUGH = 20
"""Assignments for each expert from which a load is judged, and rows for each cluster: fewer leave some out by chance."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a number is bad."""

    max_violation: float = 1.0
    dead: int = 0
    saturated: float = 0.05
    flat: float = 0.95
    information: float = 0.1
    """Of the NMI, which must also be three standard deviations above that of shuffled labels."""
    cka: float = 0.95
    shuffle: float = 1.1
    flips: float = 0.2


@dataclass(frozen=True, slots=True)
class Mixture:
    """One mixture, measured; `metrics` defines the numbers. None: not measured, `notes` say why where that is no choice of the caller's."""

    name: str
    experts: int
    top_k: int
    rows: int
    load: tuple[float, ...]
    max_violation: float
    dead: int
    load_entropy: float
    dropped: float
    unserved: float | None = None
    token_entropy: float | None = None
    squared_logsumexp: float | None = None
    information: float | None = None
    """NMI of the first choice with labels, or with clusters of what is routed."""
    information_null: tuple[float, float] | None = None
    """Mean and standard deviation with shuffled labels."""
    information_of: str | None = None
    cka: float | None = None
    cka_null: float | None = None
    """The same with the rows of each expert in an order of their own: what chance gives."""
    shuffle: float | None = None
    """Loss with this mixture's plan dealt to random rows / loss."""
    flips: float | None = None
    verdict: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    choice: Tensor | None = field(default=None, repr=False, compare=False)
    """The first choice of each row, for the flips of a later report."""


@dataclass(frozen=True, slots=True)
class Report:
    """Every mixture of a model on one probe. Prints as a table."""

    mixtures: tuple[Mixture, ...]
    limits: Limits

    @property
    def healthy(self) -> bool:
        return not any(mixture.verdict for mixture in self.mixtures)

    def __getitem__(self, name: str) -> Mixture:
        for mixture in self.mixtures:
            if mixture.name == name:
                return mixture
        raise KeyError(name)

    def to_json(self) -> str:
        """One object: `limits`, and `mixtures` with every number; what was not measured is null."""
        mixtures = [asdict(replace(mixture, choice=None)) for mixture in self.mixtures]
        for mixture in mixtures:
            del mixture["choice"]
        return json.dumps({"limits": asdict(self.limits), "mixtures": mixtures, "healthy": self.healthy}, indent=1)

    def __str__(self) -> str:
        from assembler.lab.routing.table import table

        return table(self)


def report(
    model: nn.Module,
    batch: Batch,
    labels: Labels | None = None,
    *,
    loss: Callable[[Any], Tensor] | None = None,
    before: Report | None = None,
    limits: Limits | None = None,
    trained: bool = True,
    seed: int = 0,
) -> Report:
    """Measure every mixture of `model` on a probe, in evaluation mode and without gradient; the model stays as it is.

    batch: a mapping of keywords, a tensor, or a tuple of arguments; a list is several batches (the experts are
    compared, and the loss taken, on the first). labels: integers of the first axes of what is routed
    ([batch] or [batch seq]), one tensor for each batch; without them rows are clustered, which any router
    follows to some degree. loss: from the model's output to a number, for the shuffle ratio. before: an
    earlier report on the same probe, for the flips. trained=False: only what is bad from the start is judged.
    ValueError if the model has no mixture, or if labels do not fit.
    """
    model = getattr(model, "_orig_mod", model)
    names = gatings(model)
    if not names:
        raise ValueError("the model has no mixture: no module of it is a `Gating`")
    batches = batch if isinstance(batch, list) else [batch]
    if not batches:
        raise ValueError("there is no batch to probe with")
    tags = None if labels is None else [labels] if isinstance(labels, Tensor) else list(labels)
    if tags is not None and len(tags) != len(batches):
        raise ValueError(f"{len(batches)} batches with labels for {len(tags)}")
    with still(model):
        with recorded(model) as calls:
            outputs = [run(model, item) for item in batches][:1]
        found = []
        for name, gating in names.items():
            if calls[name]:
                found.append(
                    _mixture(model, name, gating, seen(calls[name]), batches[0], outputs[0], tags, loss, before, seed)
                )
    return judged(found, limits or Limits(), trained)


def judged(found: Sequence[Mapping[str, Any]], limits: Limits, trained: bool = True) -> Report:
    """A report of measurements (the fields of `Mixture`), with verdicts."""
    mixtures = []
    for fields in found:
        mixture = Mixture(**fields)
        verdict, notes = _verdict(mixture, limits), list(mixture.notes)
        if mixture.experts > 1 and mixture.rows * mixture.top_k < ENOUGH * mixture.experts and COLLAPSE in verdict:
            verdict.remove(COLLAPSE)
            notes.append(
                f"too few rows to judge the load: {mixture.rows * mixture.top_k} assignments to {mixture.experts} experts"
            )
        if mixture.shuffle is not None and mixture.shuffle >= limits.shuffle and _uninformed(mixture, limits):
            notes.append(
                f"who gets which row matters ({mixture.shuffle:.2f} times the loss at random), but not by {mixture.information_of}"
            )
        kept = tuple(word for word in verdict if trained or word in START)
        mixtures.append(replace(mixture, verdict=kept, notes=tuple(notes)))
    return Report(tuple(mixtures), limits)


def _verdict(found: Mixture, limits: Limits) -> list[str]:
    if found.experts == 1:
        return []
    bad = {
        COLLAPSE: found.max_violation > limits.max_violation or found.dead > limits.dead,
        SATURATED: found.token_entropy is not None and found.token_entropy < limits.saturated,
        FLAT: found.token_entropy is not None and found.token_entropy > limits.flat,
        UNSPECIALISED: _uninformed(found, limits)
        or (found.cka is not None and found.cka > limits.cka)
        or (found.shuffle is not None and found.shuffle < limits.shuffle),
        THRASHING: found.flips is not None and found.flips > limits.flips,
    }
    return [word for word, so in bad.items() if so]


def _uninformed(found: Mixture, limits: Limits) -> bool:
    """Whether the choice tells too little of the labels, or no more than chance."""
    mean, deviation = found.information_null or (0.0, 0.0)
    return found.information is not None and found.information < max(limits.information, mean + 3 * deviation)


def loads(f: Tensor, rows: int, name: str, gating: nn.Module) -> dict[str, Any]:
    """What the load of one mixture says. f: [n] shares of all assignments."""
    f = f.detach().float().cpu()
    return {
        "name": name, "experts": f.numel(), "top_k": int(getattr(gating, "top_k", 1)), "rows": rows, "load": tuple(f.tolist()),
        "max_violation": metrics.max_violation(f), "dead": metrics.dead(f), "load_entropy": metrics.load_entropy(f), "dropped": metrics.drop_rate(f),
    }  # fmt: skip


def _mixture(
    model: nn.Module, name: str, gating: nn.Module, rows: Seen, batch: Batch, output: Any, labels: Sequence[Tensor] | None,
    loss: Callable[[Any], Tensor] | None, before: Report | None, seed: int,
) -> dict[str, Any]:  # fmt: skip
    notes = []
    p = metrics.probabilities(rows.scores, getattr(gating, "score", "softmax"), getattr(gating, "temperature", 1.0))
    choice = metrics.first_choice(rows.gates, rows.scores)
    values = experts(model, name, batch)
    fields = loads(metrics.load(rows.gates, int(getattr(gating, "top_k", 1))), len(rows.gates), name, gating) | {
        "unserved": metrics.unserved(rows.gates), "token_entropy": metrics.token_entropy(p), "squared_logsumexp": metrics.squared_logsumexp(rows.scores),
        "choice": choice.cpu(),
    }  # fmt: skip
    tags, chosen = None, choice
    if labels is not None:
        tags, fields["information_of"] = row_labels(labels, rows.leads, name).to(choice.device), "labels"
    elif values.inputs is None:
        notes.append("no labels, and what is routed is not an input of its container")
    elif len(values.inputs) < ENOUGH * rows.gates.shape[-1]:
        notes.append(f"too few rows for clusters: {len(values.inputs)} in a batch for {rows.gates.shape[-1]} experts")
    else:
        tags = metrics.clusters(values.inputs, rows.gates.shape[-1], seed).to(choice.device)
        fields["information_of"], chosen = "clusters", choice[: len(tags)]
    if tags is not None:
        served = chosen >= 0
        fields["information"] = metrics.mutual_information(chosen[served], tags[served])
        fields["information_null"] = metrics.shuffled_information(chosen[served], tags[served], seed=seed)
    if values.outputs is None:
        notes.append("the experts cannot be told apart: their container is not their weighted sum")
    elif values.outputs.shape[1] < 2 * values.outputs.shape[2]:
        notes.append(
            f"too few rows to compare experts: {values.outputs.shape[1]} in a batch for {values.outputs.shape[2]} columns"
        )
    elif len(values.outputs) > 1:
        generator = torch.Generator().manual_seed(seed)
        mixed = torch.stack(
            [item[torch.randperm(len(item), generator=generator).to(item.device)] for item in values.outputs]
        )
        fields["cka"], fields["cka_null"] = (
            metrics.mean_cka(values.outputs, seed=seed),
            metrics.mean_cka(mixed, seed=seed),
        )
    if loss is not None:
        with planned(gating, lambda gates: metrics.shuffled(gates, seed)):
            random = float(loss(run(model, batch)))
        own = float(loss(output))
        fields["shuffle"] = random / own if own else math.inf
    if before is not None and (last := before[name].choice) is not None:
        fields["flips"] = metrics.flip_rate(last, choice.cpu())
    return {**fields, "notes": tuple(notes)}


__all__ = ["Limits", "Mixture", "Report", "judged", "loads", "report"]
