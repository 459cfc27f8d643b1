"""Flows run by the executable meaning of the primitives, and their gradients over some steps of SGD."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import assembler
from assembler.facts.flow import Flow, flow
from assembler.testing.reference import run_body

NOISE = 1e-9
"""Rounding noise of float64, against gradients of about one."""


def flow_of(recipe: Mapping[str, Any], start: Mapping[str, str] | None = None, trainable: Mapping[str, bool] | None = None) -> Flow:
    """The flow of a recipe; `start`: patterns of weights -> how they start instead."""
    report = assembler.check(assembler.recipe({"name": "sample", **recipe}))
    assert report.graph is not None
    assert report.facts is not None
    found = flow(report.graph, report.facts)  # What is dead is refused, and that is what is asked here.
    assert found is not None
    weights = []
    for item in found.weights:
        stated = next((text for pattern, text in (start or {}).items() if re.fullmatch(pattern, item.address)), item.init)
        weights.append(item._replace(init=stated))
    return found._replace(weights=tuple(weights))


def made(found: Flow, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The weights of a flow, as their starts say."""
    return [_made(item.init, item.shape).to(dtype).requires_grad_(item.trainable) for item in found.weights]


def _made(init: str, shape: tuple[int, ...]) -> Tensor:
    name, _, rest = init.partition("(")
    if name in ("zeros", "ones", "eye"):
        return torch.zeros(shape) if name == "zeros" else torch.ones(shape) if name == "ones" else torch.eye(*shape)
    if name == "constant":
        return torch.full(shape, float(rest[:-1]))
    if name == "numbers":
        return torch.tensor([float(item) for item in rest[:-1].split(",")], dtype=torch.float64)
    # Larger than the real ones: a gradient of a weight deep down is not to vanish in seven steps.
    return 0.5 * torch.randn(shape)


def fed(found: Flow, seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Inputs at the sizes that the recipe states, all numbers."""
    torch.manual_seed(seed)
    made: dict[str, Tensor] = {}
    for use in found.uses:
        for port, numbers in use.inputs.items():
            for number, kind in zip(numbers, use.facts.inputs[port], strict=True):
                name = next((name for name, item in found.inputs.items() if item == number), None)
                if name is None or name in made:
                    continue
                shape = tuple(int(str(dim)) for dim in kind.dims)
                if kind.medium == "ids":
                    made[name] = torch.randint(4, shape)
                elif kind.medium == "mask":
                    made[name] = torch.rand(shape) < 0.7
                else:
                    made[name] = torch.randn(shape, dtype=dtype)
    return made


def values(found: Flow, weights: list[Tensor], inputs: Mapping[str, Tensor], training: bool) -> list[Tensor]:
    """Every value of the flow, by number."""
    every: list[Tensor] = [torch.zeros(())] * len(found.makers)
    for name, number in found.inputs.items():
        if name in inputs:
            every[number] = inputs[name]
    for use in found.uses:
        parameters = {key: weights[number] for key, number in use.weights.items()}
        given = {port: [every[number] for number in numbers] for port, numbers in use.inputs.items()}
        sizes = {name: int(str(size)) for name, size in use.facts.sizes.items()}
        sizes.setdefault("n", max((len(item) for item in given.values()), default=1))
        made = run_body(use.definition, sizes, parameters, {port: item if use.definition.inputs[port].many else item[0] for port, item in given.items()}, training)
        for port, number in use.outputs.items():
            every[number] = made[port]
    return every


def measured(found: Flow, steps: int, seed: int = 0) -> list[list[float | None]]:
    """For each step the largest gradient of each trainable weight; None where autograd gives none."""
    torch.manual_seed(seed)
    weights = made(found)
    trained = [number for number, item in enumerate(found.weights) if item.trainable]
    rows: list[list[float | None]] = []
    factors: dict[int, Tensor] = {}
    for step in range(steps):
        every = values(found, weights, fed(found, 1000 * seed + step), training=True)
        outputs = [number for number in set(found.outputs.values()) if every[number].requires_grad]
        for number in outputs:
            factors.setdefault(number, torch.randn_like(every[number]))
        row: list[float | None] = [None] * len(weights)
        if outputs and trained:
            loss = torch.stack([(every[number] * factors[number]).sum() for number in outputs]).sum()
            grown = torch.autograd.grad(loss, [weights[number] for number in trained], allow_unused=True)
            with torch.no_grad():
                for number, gradient in zip(trained, grown, strict=True):
                    if gradient is not None:
                        row[number] = float(gradient.abs().max()) if gradient.numel() else 0.0
                        weights[number] -= 0.05 / (1 + 0.37 * step) * gradient / max(1.0, float(gradient.norm()))
        rows.append(row)
    return rows
