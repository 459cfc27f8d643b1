"""Tokens, pools, gates and the kinds that adapters are, against references of a few lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

import assembler
from assembler.library import registry
from assembler.library.modules import ClsToken, LearnedTokens, LowRank, MeanPool, PatchEmbed
from assembler.testing.built import Built, read_port, use
from assembler.testing.sample import Sample, Shape

torch.set_num_threads(1)

LEADS: list[Shape] = [(), (3,), (2, 3)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _built(name: str, options: dict[str, Any], **shapes: Shape) -> Built:
    return use(name, Sample(options, shapes))


def _same_with_gradients(found: Tensor, expected: Tensor, *inputs: Tensor) -> None:
    weight = torch.randn_like(found)
    mine = torch.autograd.grad((found * weight).sum(), inputs)
    other = torch.autograd.grad((expected * weight).sum(), inputs)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("lead", LEADS)
def test_a_masked_mean_is_the_mean_of_what_is_kept(lead: Shape) -> None:
    x = torch.randn(*lead, 5, 4, requires_grad=True)
    mask = torch.rand(*lead, 5) > 0.5
    mask[..., 2] = True
    rows, keep = x.reshape(-1, 5, 4), mask.reshape(-1, 5)
    expected = torch.stack([row[k].mean(0) for row, k in zip(rows, keep, strict=True)]).reshape(*lead, 4)
    _same_with_gradients(MeanPool()(x, mask), expected, x)
    _same_with_gradients(MeanPool()(x), x.mean(-2), x)


def test_what_is_masked_never_reaches_the_mean_not_even_nan() -> None:
    x = torch.randn(1, 3, 4)
    x[0, 1] = float("nan")
    mask = torch.tensor([[True, False, True]])
    torch.testing.assert_close(MeanPool()(x, mask), x[:, [0, 2]].mean(1))


def test_the_mean_of_no_token_is_zero() -> None:
    x = torch.randn(2, 3, 4, requires_grad=True)
    y = MeanPool()(x, torch.zeros(2, 3, dtype=torch.bool))
    y.sum().backward()
    assert x.grad is not None
    assert not y.any()
    assert not x.grad.any()


def test_a_masked_mean_counts_right_in_bf16() -> None:
    x = torch.ones(1, 1000, 1, dtype=torch.bfloat16)
    assert MeanPool()(x, torch.ones(1, 1000, dtype=torch.bool)).item() == 1.0


@pytest.mark.parametrize("bias", [True, False])
def test_a_patch_is_a_linear_map_of_its_pixels_row_by_row(bias: bool) -> None:
    module = PatchEmbed(3, 5, 2, bias)
    x = torch.randn(2, 3, 4, 6, requires_grad=True)
    corners = [(i, j) for i in range(0, 4, 2) for j in range(0, 6, 2)]
    pixels = torch.stack([x[:, :, i : i + 2, j : j + 2].flatten(1) for i, j in corners], 1)
    expected = pixels @ module.proj.weight.flatten(1).T
    expected = expected + module.proj.bias if module.proj.bias is not None else expected
    _same_with_gradients(module(x), expected, x, module.proj.weight)


def test_patch_embed_equals_the_vision_transformer_of_transformers() -> None:
    from transformers.models.vit.configuration_vit import ViTConfig
    from transformers.models.vit.modeling_vit import ViTPatchEmbeddings

    theirs = ViTPatchEmbeddings(ViTConfig(hidden_size=8, image_size=12, patch_size=4, num_channels=3))
    mine = PatchEmbed(3, 8, 4)
    mine.proj.load_state_dict(theirs.projection.state_dict())
    x = torch.randn(2, 3, 12, 12)
    assert torch.equal(mine(x), theirs(x))


def test_patch_embed_takes_images_only_in_whole_patches() -> None:
    built = use("patch_embed", Sample({"patch": 16, "out": 768}, {"x": (1, 3, 224, 224)}, {"h": 14, "w": 14}))
    assert read_port(built.definition.inputs["x"].type).medium == "image"
    assert built.output_shape("y") == (1, 196, 768)
    with pytest.raises(AssertionError):
        use("patch_embed", Sample({"patch": 16, "out": 768}, {"x": (1, 3, 225, 224)}, {"h": 14, "w": 14}))


@pytest.mark.parametrize("lead", LEADS)
def test_the_class_token_comes_first_and_is_read_back(lead: Shape) -> None:
    module = ClsToken(4)
    x = torch.randn(*lead, 5, 4, requires_grad=True)
    rows = [torch.stack([module.weight, *row]) for row in x.reshape(-1, 5, 4)]
    _same_with_gradients(module(x), torch.stack(rows).reshape(*lead, 6, 4), x, module.weight)
    first = _built("cls_pool", {}, x=(6, 4)).module()(module(x))
    assert torch.equal(first, module.weight.expand(*lead, 4))


def test_reset_parameters_starts_the_class_token_again() -> None:
    module = ClsToken(5000)
    with torch.no_grad():
        module.weight.fill_(7.0)
    module.reset_parameters()
    assert abs(float(module.weight.detach().std()) - 0.02) < 0.001


@pytest.mark.parametrize("form", ["double_sigmoid", "one_plus"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gate_that_is_zero_leaves_the_base_as_it_is_to_the_bit(form: str, dtype: torch.dtype) -> None:
    base = torch.randn(3, 64).to(dtype)
    module = _built("gate", {"form": form}, base=(64,), gate=(64,)).module()
    assert torch.equal(module(base, torch.zeros_like(base)), base)


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("form", ["sigmoid", "tanh", "double_sigmoid", "one_plus"])
def test_a_gate_is_the_base_times_its_form(form: str, lead: Shape) -> None:
    base, gate = (torch.randn(*lead, 6, requires_grad=True) for _ in range(2))
    half = 1 / (1 + (-gate).exp())
    forms = {"sigmoid": half, "tanh": 2 / (1 + (-2 * gate).exp()) - 1, "double_sigmoid": 2 * half, "one_plus": 1 + gate}
    found = _built("gate", {"form": form}, base=(6,), gate=(6,)).module()(base, gate)
    _same_with_gradients(found, base * forms[form], base, gate)


@pytest.mark.parametrize("bias", [False, True])
def test_low_rank_is_one_matrix_of_that_rank(bias: bool) -> None:
    module = LowRank(6, 5, 2, bias)
    x = torch.randn(2, 3, 6, requires_grad=True)
    matrix = module.up.weight @ module.down.weight
    assert int(torch.linalg.matrix_rank(matrix)) == 2
    expected = x @ matrix.T + (module.up.bias if bias else 0.0)
    _same_with_gradients(module(x), expected, x, module.down.weight, module.up.weight)
    assert module.down.bias is None


def test_low_rank_has_the_parameters_of_lora() -> None:
    built = _built("low_rank", {"rank": 8, "out": 768}, x=(768,))
    count = sum(p.numel() for p in built.module().parameters())
    assert 24 * count == 294_912  # 12 layers of RoBERTa-base, q and v


def test_detach_passes_the_value_and_stops_the_gradient() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    y = _built("detach", {}, x=()).module()(x)
    assert torch.equal(y, x)
    assert not y.requires_grad


def test_cast_passes_gradients_in_the_dtype_they_came_from() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    y = _built("cast", {"dtype": "bf16"}, x=()).module()(x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32


def test_permute_says_where_each_axis_goes() -> None:
    built = _built("permute", {"order": [2, 0, 1]}, x=(3, 4, 5))
    x = torch.randn(3, 4, 5)
    y = built.module()(x)
    assert built.output_shape("y") == tuple(y.shape) == (5, 3, 4)
    assert y[1, 2, 3] == x[2, 3, 1]
    assert y.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_flatten_joins_the_axes_from_start_on(rank: int, start: int) -> None:
    shape = (2, 3, 4, 5)[:rank]
    kind = registry.kind("flatten")
    assert kind is not None
    definition = kind.define(kind.options.model_validate({"start": start}), rank)
    dims = read_port(definition.inputs["x"].type).dims
    if rank <= start:
        assert len(dims) == start + 1  # inference: the rank does not fit
        with pytest.raises((IndexError, RuntimeError)):
            torch.randn(shape).flatten(start)
        return
    x = torch.randn(shape)
    built = use("flatten", Sample({"start": start}, {"x": shape}))
    assert torch.equal(built.module()(x), x.reshape(*shape[:start], -1))
    assert built.output_shape("y") == tuple(x.flatten(start).shape)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("patch_embed", {}),
        ("patch_embed", {"patch": 0}),
        ("patch_embed", {"patch": [2, 2]}),
        ("mean_pool", {"axis": 1}),
        ("cls_token", {"d": 4}),
        ("expand", {"axis": 1}),
        ("expand", {"axis": []}),
        ("expand", {"axis": [-1, -1]}),
        ("learned_tokens", {}),
        ("learned_tokens", {"length": 0}),
        ("gate", {"form": "relu"}),
        ("permute", {"order": [0, 0, 1]}),
        ("permute", {"order": [1, 2, 3]}),
        ("permute", {"order": [-1, 0]}),
        ("permute", {"order": []}),
        ("permute", {"order": "021"}),
        ("permute", {"order": list(range(17))}),
        ("low_rank", {"rank": 0}),
        ("cast", {}),
        ("cast", {"dtype": "torch.float32"}),
        ("cast", {"dtype": "fp8"}),
        ("detach", {"x": 1}),
        ("flatten", {"start": -1}),
        ("flatten", {"start": True}),
    ],
)
def test_options_that_are_not_meant_are_refused(name: str, options: dict[str, Any]) -> None:
    kind = registry.kind(name)
    assert kind is not None
    with pytest.raises(ValidationError):
        kind.options.model_validate(options)


def test_permute_names_the_axes_that_order_must_hold() -> None:
    kind = registry.kind("permute")
    assert kind is not None
    with pytest.raises(ValidationError, match="names each axis 0 to 2 once"):
        kind.options.model_validate({"order": [0, 2, 2]})


@pytest.mark.parametrize(
    ("options", "x", "like", "wanted"),
    [
        ({}, (2, 3), (2, 7, 5), lambda x: x[:, None, :].repeat(1, 7, 1)),
        ({"axis": -1}, (2, 3), (2, 5, 7), lambda x: x[:, :, None].repeat(1, 1, 7)),
        ({"axis": [-2, -1]}, (2, 3), (2, 5, 7, 4), lambda x: x[:, :, None, None].repeat(1, 1, 7, 4)),
    ],
)
def test_expand_repeats_and_takes_no_memory(options: dict[str, Any], x: tuple[int, ...], like: tuple[int, ...], wanted: Callable[[Tensor], Tensor]) -> None:
    inputs = {name: f"[batch {' '.join(map(str, shape[1:]))}]" for name, shape in (("x", x), ("like", like))}
    model = assembler.build({"inputs": inputs, "nodes": {"y": {"kind": "expand", **options, "from": {"x": "x", "like": "like"}}}, "outputs": {"y": "y"}})
    value = torch.randn(x)
    found = model(value, torch.randn(like))
    assert torch.equal(found, wanted(value))
    assert found.untyped_storage().data_ptr() == value.untyped_storage().data_ptr()


def test_learned_tokens_want_no_gradient_where_none_is_asked_for() -> None:
    """Under no_grad a view of a parameter still wants one: torch's counter of operations ended in an assertion."""
    with torch.no_grad():
        assert not LearnedTokens(3, 4)(torch.zeros(2, 5, 6)).requires_grad


def test_learned_tokens_are_the_same_whatever_is_read_and_learn_from_every_row() -> None:
    module = LearnedTokens(3, 4)
    y = module(torch.full((5, 2, 9, 6), torch.nan))
    assert torch.equal(y, module.weight.expand(5, 2, 3, 4))
    y.sum().backward()
    assert module.weight.grad is not None
    assert torch.equal(module.weight.grad, torch.full((3, 4), 10.0))
