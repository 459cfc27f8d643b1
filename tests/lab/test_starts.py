"""Starts measured on built models: right ones hold, every perturbed one turns red."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import assembler
from assembler.assemble import checked
from assembler.facts.flow import Flow, flow
from assembler.lab.starts import ENOUGH, Started, _hold, measure_starts

torch.set_num_threads(1)

RECIPES = Path(__file__).parents[2] / "recipes"
TEXT = """
name: every
init: {weights: normal(0.02)}
inputs: {x: "[batch 16]", tokens: "ids(50) [batch seq]", image: "image [batch 8 6 6]"}
nodes:
  embed: {kind: embedding, out: 16, init: trunc_normal(0.5), from: tokens}
  place: {kind: learned_position, length: 32, from: embed}
  stack: {kind: bus, repeat: 2, norm: pre, from: place, parts: {
    attend: {kind: attention, heads: 2, init: {write: zero}},
    think: {kind: mlp, hidden: 32, init: {weights: kaiming, write: small(0.001)}}}}
  pool: {kind: mean_pool, from: stack}
  one: {kind: linear, out: 16, init: identity, from: pool}
  two: {kind: linear, out: 16, init: orthogonal, from: one}
  three: {kind: linear, out: 16, init: {copy: two}, from: two}
  four: {kind: linear, out: 16, init: xavier, from: three}
  five: {kind: linear, out: 16, init: default, from: four}
  six: {kind: scale, value: 2.0, learned: true, from: five}
  seven: {kind: conv2d, out: 8, kernel: 3, padding: 1, groups: 2, init: identity, from: image}
  flat: {kind: flatten, from: seven}
  joined: {kind: concat, from: [six, flat]}
outputs: {y: joined}
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Flow]:
    path = tmp_path_factory.mktemp("starts") / "every.yaml"
    path.write_text(TEXT)
    found = flow(*checked(path))
    assert found is not None
    return path, found


def _wrong(rows: list[Started]) -> list[str]:
    return [row.address for row in rows if not row.holds]


def test_every_start_of_a_built_model_holds(whole: tuple[Path, Flow]) -> None:
    path, found = whole
    starts = {weight.address: weight.init for weight in found.weights}
    for seed in range(5):
        assert _wrong(measure_starts(assembler.build(path, seed=seed), found)) == []
    assert starts["embed.weight"] == "trunc_normal(0.5)"
    assert starts["place.weight"] == "normal(0.02)"
    assert starts["stack.1.attend.q.weight"] == "normal(0.02)"
    assert starts["stack.1.attend.q.bias"] == "zeros"
    assert starts["stack.0.attend.out.weight"] == starts["stack.0.attend.out.bias"] == "zeros"
    assert starts["stack.0.think.up.weight"] == f"normal({math.sqrt(2 / 16)!r})"
    assert starts["stack.0.think.down.weight"] == "normal(0.001)"
    assert starts["stack.0.think_pre_norm.weight"] == "ones"
    assert starts["one.weight"] == "eye"
    assert starts["two.weight"] == "orthogonal(1.0)"
    assert starts["three.weight"] == "copy(two.weight)"
    assert starts["four.weight"] == f"uniform({math.sqrt(6 / 32)!r})"
    assert starts["five.weight"] == starts["five.bias"] == "uniform(0.25)"
    assert starts["six.weight"] == "constant(2.0)"
    assert starts["seven.weight"] == "eye"


def test_every_perturbed_parameter_turns_red(whole: tuple[Path, Flow]) -> None:
    path, found = whole
    model = assembler.build(path, seed=3)
    drawn = {"normal", "uniform", "trunc_normal"}
    changes: dict[str, Callable[[Tensor, float], Tensor]] = {
        "scaled": lambda value, _: value * 3,
        "zeroed": lambda value, _: torch.zeros_like(value),
        "shifted": lambda value, size: value + 2 * size,
        "one element": lambda value, size: value.reshape(-1).index_fill(0, torch.tensor([0]), 50 * size).reshape(value.shape),
    }
    for weight in found.weights:
        kind = weight.init.partition("(")[0]
        value = model.get_parameter(weight.address)
        before = value.detach().clone()
        size = float(before.abs().max()) or 1.0
        for what, change in changes.items():
            after = change(before, size)
            if torch.equal(before, after) or (kind in drawn and what in ("scaled", "zeroed") and value.numel() < 100):
                continue  # nothing happened, or too few numbers to tell a variance by
            with torch.no_grad():
                value.copy_(after)
            red = _wrong(measure_starts(model, found))
            copied = ["three.weight"] if weight.address == "two.weight" else ["three.bias"] if weight.address == "two.bias" else []
            assert red == [weight.address, *copied], (weight.address, what)
        with torch.no_grad():
            value.copy_(before)
    assert _wrong(measure_starts(model, found)) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_starts_hold_in_every_dtype(whole: tuple[Path, Flow], dtype: torch.dtype) -> None:
    path, found = whole
    assert _wrong(measure_starts(assembler.build(path, seed=1, dtype=dtype), found)) == []


@pytest.mark.parametrize("name", ["digits", "gpt2"])
def test_cards_hold_in_shipped_recipes(name: str) -> None:
    small = ["vars.width=32", "vars.depth=2", "vars.heads=2"] if name == "gpt2" else []
    recipe = assembler.load(RECIPES / f"{name}.yaml", overrides=small)
    found = flow(*checked(recipe))
    assert found is not None
    assert _wrong(measure_starts(assembler.build(recipe, seed=0), found)) == []


LAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal(0.3)": lambda x: nn.init.normal_(x, std=0.3),
    "uniform(0.3)": lambda x: nn.init.uniform_(x, -0.3, 0.3),
    "trunc_normal(0.3)": lambda x: nn.init.trunc_normal_(x, std=0.3),
    "trunc_normal(0.02)": lambda x: nn.init.trunc_normal_(x, std=0.02),
    "trunc_normal(1.5)": lambda x: nn.init.trunc_normal_(x, std=1.5),
    "orthogonal(1.0)": nn.init.orthogonal_,
}


@pytest.mark.parametrize("start", LAWS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (40, 60), (500, 400)])
def test_what_torch_draws_holds(start: str, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    for _ in range(20):
        measured, holds = _hold(LAWS[start](torch.empty(shape)), start, {})
        assert holds, measured


@pytest.mark.parametrize("start", ["normal(0.3)", "uniform(0.3)", "trunc_normal(0.3)"])
def test_a_tenth_more_is_seen_in_a_large_matrix(start: str) -> None:
    torch.manual_seed(0)
    value = LAWS[start](torch.empty(300, 300))
    assert not _hold(value * 1.1, start, {})[1]
    assert not _hold(value * 0.9, start, {})[1]
    assert not _hold(value + 0.03, start, {})[1]


def test_the_bounds_are_bounds() -> None:
    """With a threshold of 1 in 20 for each statistic, at most 1 in 20 of right draws is beyond it."""
    from assembler.lab.starts import _LAWS, _moments

    torch.manual_seed(0)
    level, trials = -math.log(0.05), 2000
    for start, number in (("normal", 0.3), ("uniform", 0.3), ("trunc_normal", 0.3), ("trunc_normal", 1.5)):
        beyond: dict[str, int] = {}
        for _ in range(trials):
            value = LAWS[f"{start}({number})"](torch.empty(8, 4))
            for what, evidence in _LAWS[start](_moments(value, number), number).items():
                beyond[what] = beyond.get(what, 0) + (evidence > level)
        # One-sided bounds on both sides: twice the level.
        assert all(count <= 2 * 0.05 * trials for count in beyond.values()), (start, beyond)
    assert ENOUGH > 20


def test_a_model_on_meta_has_nothing_to_measure(whole: tuple[Path, Flow]) -> None:
    path, found = whole
    with pytest.raises(ValueError, match="is on meta"):
        measure_starts(assembler.build(path, device="meta"), found)
