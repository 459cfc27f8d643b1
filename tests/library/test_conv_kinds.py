"""Convolution, pooling and statistics norms: the card's verdict on a geometry is torch's verdict."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from assembler.library import registry
from assembler.testing.built import dim_size, make, read_port
from assembler.testing.reference import number
from assembler_schemas.kind import Definition

torch.set_num_threads(1)

Sizes = dict[str, int]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _define(name: str, options: dict[str, Any], rank: int | None = None) -> Definition:
    kind = registry.kind(name)
    assert kind is not None
    valid = kind.options.model_validate(options)
    return kind.define(valid, rank) if kind.by_rank else kind.define(valid)


def _accepts(definition: Definition, sizes: Sizes, training: bool = True) -> bool:
    """What inference will say: every demand holds, every output axis has at least one place."""
    holds = {"multiple_of": lambda a, b: a % b == 0, "at_most": lambda a, b: a <= b, "equal": lambda a, b: a == b}
    for need in definition.requires:
        if need.training and not training:
            continue
        if not holds[need.relation](number(need.left, sizes), number(need.right, sizes)):
            return False
    return all(dim_size(dim, sizes) >= 1 for dim in read_port(definition.outputs["y"].type).dims)


def _torch_runs(definition: Definition, sizes: Sizes, training: bool = True) -> tuple[int, ...] | None:
    """The output's shape, or None where torch refuses to build or to run forward or backward."""
    assert not isinstance(definition.build, str)
    shape = [dim_size(dim, sizes) for dim in read_port(definition.inputs["x"].type).dims]
    try:
        x = torch.randn(shape, requires_grad=True)
        y: Tensor = make(definition.build, sizes).train(training)(x)  # type: ignore[arg-type]
        y.sum().backward()
    except (RuntimeError, ValueError):
        return None
    return tuple(y.shape)


def _pair(draw: random.Random, low: int, high: int, axes: int) -> Any:
    """A number, or for two axes half the time one for each."""
    if axes == 2 and draw.random() < 0.5:
        return [draw.randint(low, high), draw.randint(low, high)]
    return draw.randint(low, high)


def _agree(definition: Definition, sizes: Sizes) -> bool:
    """Card and torch agree, on the shape too; says whether they accept."""
    runs = _torch_runs(definition, sizes)
    accepted = _accepts(definition, sizes)
    assert accepted == (runs is not None), (definition.build, sizes, runs)
    if runs is not None:
        assert runs == tuple(dim_size(dim, sizes) for dim in read_port(definition.outputs["y"].type).dims)
    return accepted


@pytest.mark.parametrize("axes", [1, 2])
def test_a_convolution_fits_where_the_card_says_so(axes: int) -> None:
    draw = random.Random(axes)
    verdicts = []
    for _ in range(300):
        options = {
            "kernel": _pair(draw, 1, 5, axes),
            "stride": _pair(draw, 1, 4, axes),
            "padding": _pair(draw, 0, 2, axes),
            "dilation": _pair(draw, 1, 3, axes),
            "groups": draw.choice([1, 1, 2, 3]),
            "bias": draw.random() < 0.5,
        }
        sizes = {"batch": draw.randint(1, 2), "in": draw.choice([2, 3, 4, 6]), "out": draw.choice([2, 3, 6, 12])}
        sizes |= {name: draw.randint(1, 9) for name in ("length", "h", "w")}
        verdicts.append(_agree(_define(f"conv{axes}d", options), sizes))
    assert 50 < sum(verdicts) < 250


@pytest.mark.parametrize("kind", ["max_pool2d", "avg_pool2d"])
def test_a_pool_fits_where_the_card_says_so(kind: str) -> None:
    draw = random.Random(3)
    verdicts = []
    for _ in range(300):
        options = {"kernel": _pair(draw, 1, 5, 2), "padding": _pair(draw, 0, 2, 2)}
        if draw.random() < 0.5:
            options["stride"] = _pair(draw, 1, 4, 2)
        sizes = {"batch": 1, "ch": 2, "h": draw.randint(1, 7), "w": draw.randint(1, 7)}
        verdicts.append(_agree(_define(kind, options), sizes))
    assert 50 < sum(verdicts) < 250


PLACES: list[Sizes] = [
    {"length": length, "h": h, "w": w} for length, h, w in [(1, 1, 1), (2, 1, 2), (3, 2, 1), (1, 1, 1)]
]


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_group_norm_over_a_single_value_is_refused_as_torch_does(rank: int) -> None:
    verdicts = []
    for groups, width, batch, places in itertools.product([1, 2, 3], [1, 2, 3, 4, 6], [1, 2], PLACES):
        sizes = {"batch": batch, "d": width, **places}
        verdicts.append(_agree(_define("group_norm", {"groups": groups}, rank), sizes))
    assert any(verdicts)
    assert not all(verdicts)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_batch_norm_over_a_single_value_is_refused_in_training_only(rank: int) -> None:
    for batch, places in itertools.product([1, 2], PLACES):
        sizes = {"batch": batch, "d": 3, **places}
        definition = _define("batch_norm", {}, rank)
        _agree(definition, sizes)
        assert _accepts(definition, sizes, training=False)
        assert _torch_runs(definition, sizes, training=False) is not None
    assert not _accepts(_define("batch_norm", {}, rank), {"batch": 1, "d": 3, **PLACES[0]})


@pytest.mark.parametrize(("name", "options"), [("batch_norm", {}), ("group_norm", {"groups": 2})])
@pytest.mark.parametrize("rank", [None, 1, 5])
def test_a_rank_without_a_norm_of_its_own_still_has_the_ports(name: str, options: dict[str, Any], rank: int) -> None:
    definition = _define(name, options, rank)
    assert (list(definition.inputs), list(definition.outputs)) == (["x"], ["y"])
    assert read_port(definition.inputs["x"].type).dims == ("batch", "d", "h", "w")


def test_batch_norm_keeps_running_statistics_as_torch_does() -> None:
    definition = _define("batch_norm", {"momentum": 0.5}, 3)
    mine = make(definition.build, {"d": 3})  # type: ignore[arg-type]
    theirs = nn.BatchNorm1d(3, momentum=0.5)
    for _ in range(3):
        x = torch.randn(4, 3, 5)
        assert torch.equal(mine(x), theirs(x))
    for key, value in theirs.state_dict().items():
        assert torch.equal(mine.state_dict()[key], value)
    assert torch.equal(mine.eval()(x), theirs.eval()(x))


def test_options_reach_the_convolution_of_torch() -> None:
    options = {"kernel": [2, 3], "stride": 2, "padding": [0, 1], "dilation": [1, 2], "groups": 2, "bias": False}
    mine = make(_define("conv2d", options).build, {"in": 4, "out": 6})  # type: ignore[arg-type]
    assert isinstance(mine, nn.Conv2d)
    x = torch.randn(2, 4, 9, 8)
    expected = F.conv2d(x, mine.weight, None, 2, (0, 1), (1, 2), 2)
    assert torch.equal(mine(x), expected)


def test_a_max_pool_never_takes_its_padding_and_an_average_pool_counts_it() -> None:
    x = -torch.ones(1, 1, 2, 2)
    options = {"kernel": 2, "stride": 2, "padding": 1}
    highest = make(_define("max_pool2d", options).build, {})(x)  # type: ignore[arg-type]
    mean = make(_define("avg_pool2d", options).build, {})(x)  # type: ignore[arg-type]
    assert bool((highest == -1).all())
    assert bool((mean == -0.25).all())


def test_a_resnet_stem_has_the_sizes_everybody_knows() -> None:
    conv = _define("conv2d", {"kernel": 7, "stride": 2, "padding": 3, "bias": False})
    sizes = {"batch": 1, "in": 3, "out": 64, "h": 224, "w": 224}
    assert [dim_size(d, sizes) for d in read_port(conv.outputs["y"].type).dims] == [1, 64, 112, 112]
    pool = _define("max_pool2d", {"kernel": 3, "stride": 2, "padding": 1})
    sizes = {"batch": 1, "ch": 64, "h": 112, "w": 112}
    assert [dim_size(d, sizes) for d in read_port(pool.outputs["y"].type).dims] == [1, 64, 56, 56]


def test_equal_options_are_equal_and_hashable_however_they_are_written() -> None:
    kind = registry.kind("conv2d")
    assert kind is not None
    a, b = (kind.options.model_validate({"kernel": kernel}) for kernel in ([3, 2], (3, 2)))
    assert a == b
    assert hash(a) == hash(b)
    assert kind.size_options == {"in", "out", "kernel", "stride", "padding", "dilation", "groups"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("conv1d", {}),
        ("conv1d", {"kernel": 0}),
        ("conv1d", {"kernel": [3, 3]}),
        ("conv1d", {"kernel": 3, "padding": -1}),
        ("conv1d", {"kernel": 3, "padding": "same"}),
        ("conv2d", {"kernel": [3]}),
        ("conv2d", {"kernel": [3, 3, 3]}),
        ("conv2d", {"kernel": [3, 0]}),
        ("conv2d", {"kernel": 3, "stride": 0}),
        ("conv2d", {"kernel": 3, "groups": True}),
        ("conv2d", {"kernel": 3, "in": 2**31}),
        ("max_pool2d", {"kernel": 2.0}),
        ("avg_pool2d", {}),
        ("group_norm", {}),
        ("group_norm", {"groups": 0}),
        ("batch_norm", {"momentum": 1.5}),
        ("batch_norm", {"eps": -1e-5}),
    ],
)
def test_options_that_are_not_meant_are_refused(name: str, options: dict[str, Any]) -> None:
    kind = registry.kind(name)
    assert kind is not None
    with pytest.raises(ValidationError):
        kind.options.model_validate(options)
