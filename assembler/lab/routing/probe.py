"""What the mixtures of a model do with a batch: their plans, and what each expert would make of every row.

A mixture is a module whose class is named `Gating` (built, ejected and handwritten models have one each of
their own). Nothing else is asked of a model: plans are read, and replaced, where that module returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Batch = Mapping[str, Any] | Sequence[Any] | Tensor
Labels = Tensor | Sequence[Tensor]
Plan = Callable[[Tensor], Tensor]
"""From the gates [... n] that a mixture chose to those that it is given instead."""

NEAR = 1e-3
"""A container's value is the sum over its experts if it is so near to it, relative to the largest expert."""

MOST = 2048
"""Rows on which experts are compared; of more, so many are taken at equal distances."""


class Seen(NamedTuple):
    """All rows that one mixture routed, in order."""

    gates: Tensor
    """[rows n]"""
    scores: Tensor
    """[rows n]"""
    leads: tuple[tuple[int, ...], ...]
    """The leading axes of each call: what its rows were."""


def gatings(model: nn.Module) -> dict[str, nn.Module]:
    """The mixtures of a model by the name of their `Gating`."""
    return {name: module for name, module in model.named_modules() if type(module).__name__ == "Gating"}


def run(model: nn.Module, batch: Batch) -> Any:
    """The model's output: a mapping is its keywords, a tensor its only argument, a tuple its arguments in order."""
    if isinstance(batch, Tensor):
        return model(batch)
    return model(**batch) if isinstance(batch, Mapping) else model(*batch)


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """Out of training and without gradient; every module's mode is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def recorded(model: nn.Module) -> Iterator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """Collects (gates, scores) of every call of every mixture."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    handles = []
    for name, module in gatings(model).items():
        found[name] = []
        handles.append(module.register_forward_hook(partial(_keep, found[name])))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _keep(calls: list[tuple[Tensor, Tensor]], _: nn.Module, given: tuple[Any, ...], made: tuple[Tensor, ...]) -> None:
    calls.append((made[0].detach(), given[0].detach()))


@contextmanager
def planned(gating: nn.Module, plan: Plan) -> Iterator[None]:
    """The mixture works by another plan: every call's gates are replaced."""
    handle = gating.register_forward_hook(lambda _, __, made: (plan(made[0]), *made[1:]))
    try:
        yield
    finally:
        handle.remove()


def seen(calls: Sequence[tuple[Tensor, Tensor]]) -> Seen:
    """The calls of one mixture as one table of rows."""
    n = calls[0][0].shape[-1]
    gates, scores = (torch.cat([call[place].reshape(-1, n) for call in calls]) for place in (0, 1))
    return Seen(gates, scores, tuple(tuple(call[0].shape[:-1]) for call in calls))


def row_labels(labels: Sequence[Tensor], leads: Sequence[tuple[int, ...]], name: str) -> Tensor:
    """One label for each row that a mixture routed: labels[i] is of the first axes of the i-th batch, and is repeated along the others.

    ValueError where they do not fit. A mixture that is used several times has the labels as often.
    """
    found = []
    for place, lead in enumerate(leads):
        label = labels[place * len(labels) // len(leads)]
        if tuple(label.shape) != lead[: label.dim()]:
            raise ValueError(
                f"labels {list(label.shape)} do not fit the rows {list(lead)} of `{name}`: they are of its first axes"
            )
        found.append(label.reshape(*label.shape, *[1] * (len(lead) - label.dim())).expand(lead).reshape(-1))
    return torch.cat(found)


class Experts(NamedTuple):
    """What every expert of a mixture makes of the same rows."""

    inputs: Tensor | None
    """What is routed, [rows d]; None where the mixture's container does not take it."""
    outputs: Tensor | None
    """[n rows out], of at most `MOST` rows; None where they cannot be told apart."""


def experts(model: nn.Module, name: str, batch: Batch) -> Experts:
    """The rows of one mixture and its experts' values on them, whatever the kernel.

    The container around the `Gating` is run again with gates of 1 for one expert, and of 0 for all: the
    difference is that expert. Whether that is so is checked (with all gates 1 the differences must add up);
    a container of which it does not hold is left for the next one outside it.
    """
    names = name.split(".")
    containers = {place: model.get_submodule(place) for place in (".".join(names[:cut]) for cut in range(len(names)))}
    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    handles = []
    for place, module in containers.items():

        def keep(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any], made: Any, place: str = place) -> None:
            calls.setdefault(place, (given, named))

        handles.append(module.register_forward_hook(keep, with_kwargs=True))
    gates: list[Tensor] = []
    with planned(model.get_submodule(name), lambda made: gates.append(made) or made):  # type: ignore[func-returns-value]
        try:
            run(model, batch)
        finally:
            for handle in handles:
                handle.remove()
    inputs: Tensor | None = None
    for place in reversed([place for place in containers if place in calls]):
        given, named = calls[place]
        found = _apart(containers[place], model.get_submodule(name), given, named, gates[0])
        inputs = inputs if inputs is not None else _rows(list(given) + list(named.values()), gates[0])
        if found is not None:
            return Experts(inputs, found)
    return Experts(inputs, None)


def _apart(
    container: nn.Module, gating: nn.Module, given: tuple[Any, ...], named: dict[str, Any], gates: Tensor
) -> Tensor | None:
    def value(weights: Tensor) -> Tensor | None:
        with planned(gating, lambda made: weights.to(made).expand_as(made)):
            made = container(*given, **named)
        outputs = (
            [made] if isinstance(made, Tensor) else list(made.values()) if isinstance(made, Mapping) else list(made)
        )
        rows = _rows(outputs, gates)
        return None if rows is None else rows[:: -(-len(rows) // MOST) or 1]

    n = gates.shape[-1]
    one = torch.eye(n, device=gates.device)
    base, whole = value(one[0] * 0), value(one.sum(0))
    if base is None or whole is None:
        return None
    single = [value(one[place]) for place in range(n)]
    found = torch.stack([item - base for item in single if item is not None])
    if found.shape[-1] == n and torch.equal(found[0], one[0].to(found).expand_as(found[0])):
        return None  # The gates themselves come out: the experts are further outside.
    largest = float(found.abs().max())
    together = float((found.sum(0) - (whole - base)).abs().max())
    return found if largest > 0 and together <= NEAR * max(largest, float(base.abs().max())) else None


def _rows(values: Sequence[Any], gates: Tensor) -> Tensor | None:
    """The first value with the rows of the gates, as [rows d]."""
    for value in values:
        if (
            isinstance(value, Tensor)
            and value.is_floating_point()
            and value.dim() == gates.dim()
            and value.shape[:-1] == gates.shape[:-1]
        ):
            return value.detach().reshape(-1, value.shape[-1])
    return None
