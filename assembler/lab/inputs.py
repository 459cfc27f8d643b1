"""Inputs for a model: random ones of the declared types, or tensors of a file; and the sizes that they have."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from assembler.compiler.shapes import affine, holds
from assembler.facts.model import Facts, Guard
from assembler_schemas.dim import evaluate, names
from assembler_schemas.shape import Type

DTYPES = {
    "float": torch.float32, "f64": torch.float64, "f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16,
    "int": torch.int64, "i64": torch.int64, "i32": torch.int32, "bool": torch.bool,
}  # fmt: skip
TRIES = 2_000
LEAD = (2,)
"""The axes that stand for `...` in generated inputs."""


class InputError(ValueError):
    """The inputs asked for cannot be had; the text says why."""


def given(path: str, facts: Facts) -> dict[str, Tensor]:
    """The tensors of a safetensors file, one for each input of the recipe."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not os.path.isfile(path):
        raise InputError(f"there is no file {path}")
    try:
        batch = load_file(path)
    except (SafetensorError, OSError) as problem:
        raise InputError(f"{path} cannot be read as safetensors: {problem}") from problem
    wanted = facts.root.inputs
    if set(batch) != set(wanted):
        raise InputError(f"{path} holds {', '.join(sorted(batch)) or 'nothing'}; the recipe takes {', '.join(wanted)}")
    return batch


def generated(facts: Facts, stated: Mapping[str, int], seed: int, floating: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random inputs of the declared types, at sizes that keep every condition of the model's entry.

    `stated`: run-time sizes by name. `floating`: the model's own dtype. InputError where no such sizes are found.
    """
    kinds = {name: kind for name, kind in facts.root.inputs.items() if kind is not None}
    free = sorted({item for kind in kinds.values() for dim in kind.dims for item in names(dim)})
    unknown = [name for name in stated if name not in free]
    if unknown:
        raise InputError(f"`{unknown[0]}` is no run-time size of this recipe; it has {', '.join(free) or 'none'}")
    sizes = _chosen(free, stated, facts.guards)
    generator = torch.Generator().manual_seed(seed)
    return {name: _tensor(kind, sizes, generator, floating) for name, kind in kinds.items()}


def sizes_of(facts: Facts, batch: Mapping[str, Tensor]) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """The run-time sizes that a batch has, and the axes that stand for each `...`."""
    sizes: dict[str, int] = {}
    leads: dict[str, tuple[int, ...]] = {}
    for name, kind in facts.root.inputs.items():
        if kind is None or name not in batch:
            continue
        shape = tuple(batch[name].shape)
        cut = len(shape) - len(kind.dims)
        if kind.lead:
            leads.setdefault(kind.lead, shape[:cut])
        for dim, size in zip(kind.dims, shape[cut:], strict=False):
            item = affine(dim)
            if item is not None:
                sizes.setdefault(item.name, (size - item.rest) // item.factor)
    return sizes, leads


def _chosen(free: Sequence[str], stated: Mapping[str, int], guards: Sequence[Guard]) -> dict[str, int]:
    draw = random.Random(0)  # noqa: S311 - sizes, not secrets
    # Different sizes for different names, so that a mix-up shows.
    sizes = {name: stated.get(name, 2 + 3 * index) for index, name in enumerate(free)}
    for attempt in range(TRIES):
        if all(holds(guard, sizes) for guard in guards):
            return sizes
        limit = 8 << min(attempt // 200, 7)
        sizes = {name: stated.get(name) or draw.randint(1, limit) for name in free}
    broken = next(guard for guard in guards if not holds(guard, sizes))
    raise InputError(f"no sizes found at which {broken.left} {broken.relation.replace('_', ' ')} {broken.right}; state them: --size NAME=N")


def _tensor(kind: Type, sizes: Mapping[str, int], generator: torch.Generator, floating: torch.dtype) -> Tensor:
    shape = ((*LEAD,) if kind.lead else ()) + tuple(evaluate(dim, sizes) for dim in kind.dims)
    dtype: Any = floating if kind.dtype == "float" else DTYPES[kind.dtype]
    if kind.medium == "ids":
        high = evaluate(kind.vocabulary, sizes) if kind.vocabulary is not None else 2
        return torch.randint(high, shape, generator=generator, dtype=dtype)
    if dtype is torch.bool:
        mask = torch.rand(shape, generator=generator) < 0.8
        return mask.index_fill(-1, torch.tensor([0]), True) if mask.dim() else mask
    if not dtype.is_floating_point:
        return torch.randint(10, shape, generator=generator, dtype=dtype)
    value = torch.randn(shape, generator=generator)
    return (value.softmax(-1) if kind.medium == "probs" and value.dim() else value).to(dtype)
