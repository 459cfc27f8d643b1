"""Measuring runs a model in training mode, which moves its running statistics: what is measured next must not see that."""

from __future__ import annotations

import torch

import assembler
from assembler.lab.signals import first_steps
from tests.recipes.shipped import batch, path

torch.set_num_threads(1)


def test_the_search_for_first_steps_leaves_a_codebook_as_it_was() -> None:
    """It runs the model itself where one step is enough; a moved codebook changed the gradients that were measured after it."""
    model = assembler.build(assembler.load(path("vq"), ["vars.width=16", "vars.codes=32"]), seed=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps, _ = first_steps(model, batch("vq"), 0, 0)
    assert set(steps.values()) == {0}
    after = model.state_dict()
    assert "word.codebook" in before
    assert all(torch.equal(before[name], after[name]) for name in before)
