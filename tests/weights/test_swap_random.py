"""Every shipped recipe and many random ones: a random slot, a random part that fits, there and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import assembler
from tests.fuzz.generate import Sample, generate
from tests.fuzz.oracle import _inputs
from tests.recipes import shipped
from tests.weights.swapping import judge

SLOTTED = [name for name in shipped.NAMES if "slot: " in shipped.path(name).read_text(encoding="utf-8")]
CI, ALL = 60, 500
CHUNK = 20


@pytest.mark.parametrize("name", SLOTTED)
def test_a_slot_of_a_shipped_recipe_is_swapped_and_swapped_back(name: str) -> None:
    torch.set_num_threads(1)
    inputs = shipped.batch(name)
    recipe = assembler.load(shipped.path(name), shipped.SMALL[name])
    assert judge(recipe, lambda model: model(**inputs), seed=len(name)), "some part must fit"


def with_slots() -> Iterator[Sample]:
    """The random recipes that have a slot, in the order of their seeds."""
    seed = 0
    while True:
        sample = generate(seed)
        if sample.tree.get("slots"):
            yield sample
        seed += 1


def _run(start: int, stop: int, folder: Path) -> int:
    torch.set_num_threads(1)
    swapped = 0
    for number, sample in enumerate(with_slots()):
        if number >= stop:
            break
        if number < start:
            continue
        path = folder / f"sample{sample.seed}.yaml"
        path.write_text(sample.text, encoding="utf-8")

        def run(model: torch.nn.Module, sample: Sample = sample) -> object:
            torch.manual_seed(sample.seed)
            with torch.no_grad():
                return model(**_inputs(sample, 0))

        try:
            swapped += bool(judge(assembler.load(path, sample.overrides), run, sample.seed))
        except Exception as problem:
            raise AssertionError(f"seed {sample.seed}\n{sample.overrides}\n{sample.text}") from problem
    return swapped


def test_random_recipes_are_swapped_and_swapped_back(tmp_path: Path) -> None:
    assert _run(0, CI, tmp_path) >= CI * 0.9


@pytest.mark.campaign
@pytest.mark.parametrize("start", range(CI, ALL, CHUNK))
def test_random_recipes_of_the_campaign(start: int, tmp_path: Path) -> None:
    assert _run(start, start + CHUNK, tmp_path) >= CHUNK * 0.8
