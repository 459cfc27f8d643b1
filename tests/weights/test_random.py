"""Random recipes: a folder gives each back to the last bit, and a file of its bare state dict fills another one whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import assembler
from assembler.weights.header import read_header
from tests.fuzz.generate import generate

torch.set_num_threads(1)


def _judge(seed: int, tmp_path: Path) -> None:
    sample = generate(seed)
    recipe = assembler.recipe(sample.tree, sample.overrides)
    model, other = assembler.build(recipe, seed=1), assembler.build(recipe, seed=2)
    wanted = model.state_dict(keep_vars=True)
    if not wanted:
        return
    assembler.save(model, tmp_path / "run")
    found = assembler.load_model(tmp_path / "run", allow_nonfinite=True)
    again = found.state_dict(keep_vars=True)
    assert list(again) == list(wanted)
    for key, value in wanted.items():
        assert torch.equal(again[key], value) or value.isnan().any(), key
        assert (again[key].dtype, again[key].requires_grad, isinstance(again[key], nn.Parameter)) == (value.dtype, value.requires_grad, isinstance(value, nn.Parameter)), key
    assert _ties(wanted) == _ties(again)
    assert len(read_header(tmp_path / "run" / "model.safetensors").entries) == len({id(value) for value in wanted.values()})
    save_file({key: value.detach().clone() for key, value in wanted.items()}, tmp_path / "bare.safetensors")
    assert assembler.load_weights(other, tmp_path / "bare.safetensors", allow_nonfinite=True).whole
    assert all(torch.equal(value, wanted[key]) or value.isnan().any() for key, value in other.state_dict().items())


def _ties(state: dict[str, torch.Tensor]) -> list[list[str]]:
    groups: dict[int, list[str]] = {}
    for key, value in state.items():
        groups.setdefault(id(value), []).append(key)
    return [group for group in groups.values() if len(group) > 1]


@pytest.mark.parametrize("start", range(0, 40, 8))
def test_a_random_recipe_comes_back(start: int, tmp_path: Path) -> None:
    for seed in range(start, start + 8):
        (tmp_path / str(seed)).mkdir()
        _judge(seed, tmp_path / str(seed))


@pytest.mark.campaign
@pytest.mark.parametrize("start", range(1_000, 1_500, 50))
def test_random_recipes_come_back_in_the_long_campaign(start: int, tmp_path: Path) -> None:
    for seed in range(start, start + 50):
        (tmp_path / str(seed)).mkdir()
        _judge(seed, tmp_path / str(seed))
