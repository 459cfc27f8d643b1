"""`assembler run`: build a recipe, run it forward and backward, compare with what was predicted."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from assembler import assemble
from assembler.facts.model import Facts, Guard
from assembler.report.report import Report
from assembler.report.tree import count, type_text
from assembler.report.walk import total, walk
from assembler_schemas.dim import evaluate, names, show
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


def run(path: str, overrides: Sequence[str], sizes: Mapping[str, int], inputs: str | None, seed: int) -> tuple[list[str], bool]:
    """What was predicted against what is measured, as lines, and whether all of it agrees.

    `sizes`: run-time sizes of generated inputs. `inputs`: a safetensors file with a tensor for each
    input instead. InputError where they do not fit the recipe.
    """
    recipe = assemble.load(path, overrides)
    report = assemble.check(recipe)
    if not report.ok or report.facts is None or report.graph is None:
        raise assemble.RecipeError(report)
    batch, chosen = _given(inputs, report.facts) if inputs else _generated(report.facts, sizes, seed)
    model = assemble.build(recipe, seed=seed)
    try:
        found = model(**batch)
    except (RuntimeError, TypeError, ValueError) as problem:
        if not inputs:
            raise
        raise InputError(f"{inputs} does not fit: {str(problem).splitlines()[0]}") from problem
    outputs = found if isinstance(found, dict) else {next(iter(report.facts.root.outputs)): found}
    rows = [*_inputs(batch), *_counts(report, model), *_outputs(report.facts, outputs, chosen)]
    wide = max(len(what) for what, _, _ in rows)
    lines = [f"{what:<{wide}}  predicted {said}  measured {seen}{'' if said == seen else '   DIFFERS'}" if said else f"{what:<{wide}}  {seen}" for what, said, seen in rows]
    lines += _gradients(model, outputs)
    agrees = all(said in ("", seen) for _, said, seen in rows)
    return [*lines, "prediction and measurement agree" if agrees else "prediction and measurement DIFFER: a bug of ours"], agrees


def _inputs(batch: Mapping[str, Tensor]) -> list[tuple[str, str, str]]:
    return [(f"input {name}", "", _seen(value)) for name, value in batch.items()]


def _counts(report: Report, model: nn.Module) -> list[tuple[str, str, str]]:
    if report.graph is None or report.facts is None:
        return []
    everything, trainable = total(walk(report.graph, report.facts))
    measured = list(model.parameters())
    return [
        ("parameters", count(everything), count(sum(item.numel() for item in measured))),
        ("trainable", count(trainable), count(sum(item.numel() for item in measured if item.requires_grad))),
    ]


def _outputs(facts: Facts, outputs: Mapping[str, Tensor], sizes: Mapping[str, int]) -> list[tuple[str, str, str]]:
    rows = []
    for name, kind in facts.root.outputs.items():
        value = outputs.get(name)
        seen = "nothing" if value is None else _seen(value)
        said = "?" if kind is None else _said(kind, sizes)
        if value is not None and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            seen += " (not finite)"
        rows.append((f"output {name}", said, seen))
    return rows


def _said(kind: Type, sizes: Mapping[str, int]) -> str:
    try:
        shape = [evaluate(dim, sizes) for dim in kind.dims]
    except KeyError:
        return type_text(kind)
    return _spell(DTYPES[kind.dtype], ((*LEAD,) if kind.lead else ()) + tuple(shape))


def _seen(value: Tensor) -> str:
    return _spell(value.dtype, tuple(value.shape))


def _spell(dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    return f"{str(dtype).removeprefix('torch.')} [{' '.join(map(str, shape))}]"


def _gradients(model: nn.Module, outputs: Mapping[str, Tensor]) -> list[str]:
    """Backward from all outputs at once, with random weights so that nothing cancels."""
    values = [item for item in outputs.values() if item.requires_grad]
    if not values:
        return ["backward: no output depends on a trainable parameter"]
    generator = torch.Generator().manual_seed(0)
    loss = sum((item * torch.randn(item.shape, generator=generator).to(item)).sum() for item in values)
    torch.autograd.backward(loss)  # type: ignore[arg-type]
    trainable = [(name, item) for name, item in model.named_parameters() if item.requires_grad]
    without = [name for name, item in trainable if item.grad is None]
    lines = [f"backward: {len(trainable) - len(without)} of {len(trainable)} trainable tensors have a gradient"]
    return lines + [f"  none at {name}" for name in without[:10]] + (["  ..."] if len(without) > 10 else [])


# --- inputs ---
def _given(path: str, facts: Facts) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Tensors of a safetensors file, and the run-time sizes that they have."""
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
    sizes: dict[str, int] = {}
    for name, kind in wanted.items():
        if kind is None or kind.lead:
            continue
        for dim, size in zip(kind.dims, batch[name].shape, strict=False):
            if show(dim) in names(dim):
                sizes.setdefault(show(dim), size)
    return batch, sizes


def _generated(facts: Facts, stated: Mapping[str, int], seed: int) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Random inputs of the declared types, at sizes that keep every condition of the model's entry."""
    kinds = {name: kind for name, kind in facts.root.inputs.items() if kind is not None}
    free = sorted({item for kind in kinds.values() for dim in kind.dims for item in names(dim)})
    unknown = [name for name in stated if name not in free]
    if unknown:
        raise InputError(f"`{unknown[0]}` is no run-time size of this recipe; it has {', '.join(free) or 'none'}")
    sizes = _sizes(free, stated, facts.guards)
    generator = torch.Generator().manual_seed(seed)
    return {name: _tensor(kind, sizes, generator) for name, kind in kinds.items()}, sizes


def _sizes(free: Sequence[str], stated: Mapping[str, int], guards: Sequence[Guard]) -> dict[str, int]:
    draw = random.Random(0)  # noqa: S311 - sizes, not secrets
    # Different sizes for different names, so that a mix-up shows.
    sizes = {name: stated.get(name, 2 + 3 * index) for index, name in enumerate(free)}
    for attempt in range(TRIES):
        if all(_holds(guard, sizes) for guard in guards):
            return sizes
        limit = 8 << min(attempt // 200, 7)
        sizes = {name: stated.get(name) or draw.randint(1, limit) for name in free}
    broken = next(guard for guard in guards if not _holds(guard, sizes))
    raise InputError(f"no sizes found at which {broken.left} {broken.relation.replace('_', ' ')} {broken.right}; state them: --size NAME=N")


def _holds(guard: Guard, sizes: Mapping[str, int]) -> bool:
    left, right = evaluate(guard.left, sizes), evaluate(guard.right, sizes)
    if guard.relation == "multiple_of":
        return right > 0 and left % right == 0
    return left <= right if guard.relation == "at_most" else left == right


def _tensor(kind: Type, sizes: Mapping[str, int], generator: torch.Generator) -> Tensor:
    shape = ((*LEAD,) if kind.lead else ()) + tuple(evaluate(dim, sizes) for dim in kind.dims)
    dtype: Any = DTYPES[kind.dtype]
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
