"""Modules that were handed over: their weights are not ours, so they are neither saved nor asked for unless somebody says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import assembler
from assembler.weights.header import WeightsError, read_header

torch.set_num_threads(1)

RECIPE = {
    "inputs": {"x": "[batch seq 6]"},
    "nodes": {
        "host": {"kind": "given", "ports": {"in": {"x": "[batch seq 6]"}, "out": {"y": "[batch seq 5]"}}, "sites": {"h1": "layers.1 [batch seq 8]"}, "freeze": True, "from": {"x": "x"}},
        "head": {"kind": "linear", "out": 3, "from": "host.y"},
    },
    "grafts": {"side": {"write": "host.h1", "mode": "add", "init": "zero", "part": {"kind": "mlp", "hidden": 4}}},
    "outputs": {"z": "head"},
}  # fmt: skip
OURS = ["head.bias", "head.weight", "side.down.bias", "side.down.weight", "side.up.bias", "side.up.weight"]


class Host(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 5)
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for layer in self.layers:
            h = layer(h)
        found: Tensor = self.last(h)
        return found


@pytest.fixture
def model() -> nn.Module:
    made = assembler.build(RECIPE, given={"host": Host()}, seed=1)
    with torch.no_grad():
        for parameter in made.side.parameters():
            parameter.normal_()
    return made


def test_only_what_is_ours_is_saved_and_it_works_on_another_copy_of_the_host(model: nn.Module, tmp_path: Path) -> None:
    assembler.save(model, tmp_path / "run")
    assert sorted(read_header(tmp_path / "run" / "model.safetensors").entries) == OURS
    host = Host()
    kept = [item.detach().clone() for item in host.parameters()]
    found = assembler.load_model(tmp_path / "run", given={"host": host})
    x = torch.randn(2, 3, 6)
    assert torch.equal(found(x), model(x))
    assert all(torch.equal(one, two) for one, two in zip(kept, host.parameters(), strict=True))
    assert not any(item.requires_grad for item in host.parameters())
    other = assembler.build(RECIPE, given={"host": Host()}, seed=5)
    assert assembler.load_weights(other, tmp_path / "run").whole
    assert torch.equal(other(x), model(x))


def test_a_folder_wants_the_module_that_was_handed_over_and_measures_it(model: nn.Module, tmp_path: Path) -> None:
    assembler.save(model, tmp_path / "run")
    with pytest.raises(ValueError, match="`host`"):
        assembler.load_model(tmp_path / "run")
    wrong = Host()
    wrong.last = nn.Linear(8, 4)
    with pytest.raises(assembler.RecipeError, match=r"`host.y` is stated as"):
        assembler.load_model(tmp_path / "run", given={"host": wrong})


def test_the_host_is_saved_and_loaded_when_asked(model: nn.Module, tmp_path: Path) -> None:
    assembler.save(model, tmp_path / "run", given=True)
    assert set(OURS) < set(read_header(tmp_path / "run" / "model.safetensors").entries)
    x = torch.randn(2, 3, 6)
    assert torch.equal(assembler.load_model(tmp_path / "run", given={"host": Host(7)})(x), model(x))
    other = assembler.build(RECIPE, given={"host": Host(7)}, seed=5)
    assert assembler.load_weights(other, tmp_path / "run" / "model.safetensors").whole
    assert torch.equal(other(x), model(x))


def test_a_file_with_a_part_of_a_host_lacks_the_rest(model: nn.Module, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({key: value for key, value in model.state_dict().items() if key != "host.first.bias"}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"host +9 +1"):
        assembler.load_weights(model, tmp_path / "w.safetensors")
