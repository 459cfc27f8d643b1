"""`verify` turns red when one initialisation of a shipped recipe is perturbed, and stays green when none is."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

import assembler
from assembler.assemble import load
from assembler.lab.verify import Verification
from tests.recipes.shipped import NAMES, SMALL, path

torch.set_num_threads(1)

SIZES: dict[str, Mapping[str, int]] = {
    "acmix": {"batch": 4}, "ensemble": {"batch": 4}, "film": {"batch": 4, "words": 5}, "fusion": {"batch": 2, "seq": 7}, "scales": {"batch": 4},
    "stream": {"batch": 2, "seq": 9}, "vq": {"batch": 4},
    "bert": {"batch": 2, "seq": 7}, "digits": {"batch": 4}, "experts": {"batch": 4, "seq": 9}, "gpt2": {"batch": 2, "seq": 7}, "llama": {"batch": 2, "seq": 7},
    "mixtral": {"batch": 4, "seq": 9}, "pythia": {"batch": 2, "seq": 7},
    "resnet50": {"batch": 4, "h": 32, "w": 32}, "translate": {"batch": 2, "source_length": 6, "target_length": 7},
    "two_towers": {"batch": 4, "seq": 5, "patches": 6}, "vit": {"batch": 2},
}  # fmt: skip
ENOUGH = 160
"""Elements from which a draw that is the same everywhere is too unlikely: below, it is one of many draws."""
SOME = 4
"""Parameters of each recipe that are perturbed in the daily run."""
RED = frozenset(("start", "zero", "step", "q", "g"))


def _larger(value: Tensor) -> Tensor:
    return value * 4


def _constant(value: Tensor) -> Tensor:
    return torch.full_like(value, float(value.square().mean().sqrt()))


def _nothing(value: Tensor) -> Tensor:
    return torch.zeros_like(value)


def _something(value: Tensor) -> Tensor:
    return torch.full_like(value, 0.5)


Mutation = Callable[[Tensor], Tensor]


def _mutations(value: Tensor) -> list[Mutation]:
    """What can be told of this parameter: zeros stay zeros when they grow, a constant stays one."""
    if not bool(value.any()):
        return [_something]
    drawn = bool((value != value.flatten()[0]).any())
    return [_larger, _nothing, *([_constant] if drawn and value.numel() >= ENOUGH else [])]


@contextmanager
def _perturbed(value: nn.Parameter, mutation: Mutation) -> Iterator[None]:
    before = value.detach().clone()
    with torch.no_grad():
        value.copy_(mutation(before))
    try:
        yield
    finally:
        with torch.no_grad():
            value.copy_(before)


def _built(name: str) -> nn.Module:
    return assembler.build(load(path(name), SMALL[name]), seed=3)


def _held(model: nn.Module, name: str) -> Verification:
    return assembler.verify(model, sizes=SIZES[name])


def _red(found: Verification) -> set[str]:
    return {row.what for row in found.rows if not row.agrees} & RED


def _survivors(name: str, wanted: list[tuple[str, Mutation]], model: nn.Module) -> list[tuple[str, str]]:
    parameters = dict(model.named_parameters())
    left = []
    for address, mutation in wanted:
        with _perturbed(parameters[address], mutation):
            if not _red(_held(model, name)):
                left.append((address, mutation.__name__))
    return left


@pytest.mark.parametrize("name", NAMES)
def test_one_parameter_that_starts_otherwise_turns_verify_red(name: str) -> None:
    model = _built(name)
    every = [(address, mutation) for address, value in model.named_parameters() for mutation in _mutations(value)]
    chosen = random.Random(name).sample(every, SOME)  # noqa: S311 - a choice of parameters
    assert not _survivors(name, chosen, model)
    found = _held(model, name)
    assert found.ok, str(found)


@pytest.mark.campaign
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_that_starts_otherwise_turns_verify_red(name: str) -> None:
    model = _built(name)
    assert not _survivors(name, [(address, mutation) for address, value in model.named_parameters() for mutation in _mutations(value)], model)
