"""Hosts by their cards in recipes: built and measured, with a graft behind the first layer that is silent, and learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import assembler
from assembler.library.hosts import card, families, host
from tests.library.hosts import SIZES, config_of, inputs_of, model_of

torch.set_num_threads(1)


def _recipe(config: Any) -> dict[str, Any]:
    """Every input and output of the card, and a graft behind the first layer."""
    found, stated = card(config.to_dict()), host(config)
    part = {"kind": "conv2d", "kernel": 3, "padding": 1} if "depths" in stated else {"kind": "mlp", "hidden": 5}
    return {
        "inputs": {name: {"type": text, "optional": name in found.optional} for name, text in found.inputs.items()},
        "nodes": {
            "host": {"kind": "given", "host": stated, "freeze": True, "from": {name: name for name in found.inputs}}
        },
        "grafts": {"side": {"write": "host.h0", "mode": "add", "init": "zero", "part": part}},
        "outputs": {name: f"host.{name}" for name in found.outputs},
    }


def _outputs(out: Any) -> dict[str, Tensor]:
    """By name, of one output too."""
    return out if isinstance(out, dict) else {"last_hidden_state": out}


@pytest.mark.parametrize("family", families())
def test_a_host_is_built_by_its_card_and_a_graft_in_it_is_silent_and_learns(family: str) -> None:
    config = config_of(family)
    found, module = card(config.to_dict()), model_of(config)
    given = [inputs_of(found, sizes) for sizes in SIZES]
    with torch.no_grad():
        alone = [
            {name: value.clone() for name, value in module(**item).items() if isinstance(value, Tensor)}
            for item in given
        ]
    model = assembler.build(_recipe(config), given={"host": module}, seed=0).eval()
    for item, wanted in zip(given, alone, strict=True):
        assert {name: value.equal(wanted[name]) for name, value in _outputs(model(**item)).items()} == dict.fromkeys(
            found.outputs, True
        )
    sum(value.square().sum() for value in _outputs(model(**given[0])).values()).backward()
    learns = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    ours = {name for name in model.state_dict() if not name.startswith("host.")}
    last = {"side.weight", "side.bias"} if "side.weight" in ours else {"side.down.weight", "side.down.bias"}
    assert learns == last  # what starts as zeros learns first; nothing of the host does
    assert ours == {name for name, p in model.named_parameters() if p.requires_grad}


def test_a_host_that_is_not_what_its_card_says_is_refused() -> None:
    with pytest.raises(assembler.RecipeError, match="is not the one that its `host` describes: `n_embd` is 15"):
        assembler.build(_recipe(config_of("gpt2", n_embd=18)), given={"host": model_of(config_of("gpt2"))})
