"""What must hold of every swap, told by the two `state_dict`s and the outputs alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

import assembler
from assembler.assemble import Origin, RecipeError, origin
from assembler.source.recipe import Recipe
from assembler.weights.fit import At, files, slots_of, variant
from assembler.weights.swap import swap

X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


def recipe(filler: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "inputs": {"x": "[batch seq 8]"},
        "slots": {"ffn": filler or {"kind": "mlp", "hidden": 6}},
        "nodes": {
            "enc": {"kind": "bus", "repeat": 2, "norm": "pre", "from": "x", "parts": {"attend": {"kind": "attention", "heads": 2}, "think": {"slot": "ffn"}}},
            "head": {"kind": "linear", "out": 3, "from": "enc"},
        },
        "outputs": {"y": "head"},
        **more,
    }  # fmt: skip


def built(spec: dict[str, Any] | None = None, **more: Any) -> nn.Module:
    return assembler.build(spec or recipe(), seed=0, **more)


def again(model: nn.Module) -> nn.Module:
    """One built of the model's recipe, with the model's values."""
    found = origin(model)
    assert found is not None
    other = assembler.build(found.recipe).to(next(model.parameters()).dtype)
    other.load_state_dict(model.state_dict())
    return other.train(model.training)

PARTS: tuple[dict[str, Any], ...] = (
    {"kind": "identity"},
    {"kind": "mlp"},
    {"kind": "mlp", "hidden": 6, "activation": "relu"},
    {"kind": "swiglu", "hidden": 5},
    {"kind": "linear"},
    {"kind": "linear", "out": 3},
    {"kind": "linear", "out": 3, "init": "zero"},
    {"kind": "low_rank", "rank": 2},
    {"kind": "layer_norm"},
    {"kind": "rms_norm"},
    {"kind": "scale", "learned": True},
    {"kind": "activation", "activation": "tanh"},
    {"kind": "attention", "heads": 1},
    {"kind": "conv1d", "kernel": 3, "padding": 1},
    {"kind": "conv2d", "kernel": 3, "padding": 1},
    {"kind": "batch_norm"},
    {"kind": "moe", "experts": 3, "expert": {"kind": "mlp", "hidden": 4}},
    {"kind": "sequence", "parts": {"one": {"kind": "mlp", "hidden": 4}, "two": {"kind": "layer_norm"}}},
    {"kind": "parallel", "parts": {"one": {"kind": "identity"}, "two": {"kind": "mlp", "hidden": 4}}},
    {"kind": "bus", "repeat": 2, "norm": "pre", "parts": {"one": {"kind": "mlp", "hidden": 4}}},
)


def fitting(found: Origin, at: At, draw: random.Random) -> Iterator[Any]:
    """Parts of the list and files of the group that fit, in random order."""
    parts: list[Any] = [*PARTS, *files(found.recipe, at)]
    draw.shuffle(parts)
    for part in parts:
        try:
            variant(found, at, part)
        except RecipeError:
            continue
        yield part


def filler(recipe: Recipe, at: At) -> dict[str, Any]:
    """What fills the slot now, as a part."""
    value: Any = recipe.tree.plain()
    for key in at.path.split("."):
        value = value[key]
    return {key: item for key, item in value.items() if key != "accepts"}


def scramble(model: nn.Module, seed: int) -> None:
    """Every tensor another one, so that none is equal to another by how it starts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in {id(item): item for item in model.state_dict(keep_vars=True).values()}.values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * 0.2 + 0.4)
            else:
                tensor.copy_(torch.randint(1, 2**30, tensor.shape, generator=generator))


def copied(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor]) -> bool:
    return list(one) == list(two) and all(one[key].dtype == two[key].dtype and torch.equal(one[key], two[key]) for key in one)


def judge(recipe: Recipe, run: Callable[[nn.Module], Any], seed: int) -> str:
    """Swap a random slot by a random part that fits, look, undo, swap there and back. "" where no part fits."""
    draw = random.Random(seed)
    model = assembler.build(recipe, seed=seed).eval()
    found = origin(model)
    assert found is not None
    for at in draw.sample(list(slots_of(recipe).values()), len(slots_of(recipe))):
        part = next(fitting(found, at, draw), None)
        if part is not None:
            _undone(model, at, part, run, seed)
            _there_and_back(recipe, at, part, run, seed)
            return f"{at.address}: {part}"
    return ""


def _undone(model: nn.Module, at: At, part: Any, run: Callable[[nn.Module], Any], seed: int) -> None:
    """A trained model: the rest is as it was, the report is what the state_dicts say, undo gives the same output."""
    scramble(model, seed)
    before, objects, output = copied(model), model.state_dict(keep_vars=True), run(model)
    done = swap(model, at.address, part, seed=seed)
    after, now = copied(model), model.state_dict(keep_vars=True)

    equal = {key for key in before.keys() & after.keys() if before[key].dtype == after[key].dtype and torch.equal(before[key], after[key])}
    said = {item.key for item, _ in done.survey.kept}
    aliases = {key for key in equal - said if any(now[key] is now[other] for other in said)}
    assert equal == said | aliases
    assert all(now[key] is objects[key] for key in said)
    gone = {item.key for item in (*done.survey.dropped, *(item.before for item in done.survey.changed))}
    new = {item.key for item in (*done.survey.new, *(item.after for item in done.survey.changed))}
    assert said | gone <= before.keys()
    assert said | new <= after.keys()
    assert {id(now[key]) for key in after} == {id(now[key]) for key in said | new}

    built = assembler.build(done.after.recipe, seed=seed).eval()
    fresh = built.state_dict()
    assert list(fresh) == list(after)
    assert all(torch.equal(fresh[key], after[key]) for key in new), "new weights start as `build` starts them"
    built.load_state_dict(after)
    assert alike(run(built), run(model)), "the swapped model computes what one built of the changed recipe computes"

    scramble(_only_new(model, new), seed + 1)
    done.undo()
    assert same(copied(model), before)
    assert alike(run(model), output)


def _only_new(model: nn.Module, new: set[str]) -> nn.Module:
    """A stand-in whose state_dict holds the new weights only."""
    holder = nn.Module()
    for number, tensor in enumerate({id(item): item for key, item in model.state_dict(keep_vars=True).items() if key in new}.values()):
        if isinstance(tensor, nn.Parameter):
            holder.register_parameter(f"t{number}", tensor)
        else:
            holder.register_buffer(f"t{number}", tensor)
    return holder


def _there_and_back(recipe: Recipe, at: At, part: Any, run: Callable[[nn.Module], Any], seed: int) -> None:
    """An untrained model: with the seed of `build` the old part starts again as it did."""
    model = assembler.build(recipe, seed=seed).eval()
    before, output = copied(model), run(model)
    swap(model, at.address, part, seed=seed)
    swap(model, at.address, filler(recipe, at), seed=seed)
    assert same(copied(model), before)
    assert alike(run(model), output)


def alike(one: Any, two: Any) -> bool:
    """Bit for bit, and NaN equal to NaN."""
    if isinstance(one, torch.Tensor):
        return bool(torch.equal(torch.isnan(one), torch.isnan(two)) and torch.equal(torch.nan_to_num(one), torch.nan_to_num(two)))
    return list(one) == list(two) and all(alike(one[key], two[key]) for key in one)
