"""Attention against torch, against Transformers, and against itself written out slowly."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from assembler.library import registry
from assembler.library.modules import Attention, CrossAttention
from assembler.testing.built import use
from assembler.testing.reference import number
from assembler.testing.sample import Sample

torch.set_num_threads(1)

HEADS, SEQ, MEM, WIDTH, MEMORY_WIDTH = 4, 5, 7, 16, 12


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _stir(module: nn.Module) -> nn.Module:
    """Moves gains away from one and biases from zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return module


def _slow(
    module: Any,
    x: Tensor,
    memory: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    causal: bool = False,
    base: float | None = None,
) -> Tensor:
    """One head after another, explicit softmax, for x: [batch seq in]."""
    e, heads = module.head_dim, module.q.out_features // module.head_dim
    group = heads * e // module.k.out_features
    q, k, v = module.q(x), module.k(memory), module.v(memory)
    joined = []
    for h in range(heads):
        at, kv_at = slice(h * e, (h + 1) * e), slice(h // group * e, (h // group + 1) * e)
        qh = q[..., at] if module.q_norm is None else module.q_norm(q[..., at])
        kh = k[..., kv_at] if module.k_norm is None else module.k_norm(k[..., kv_at])
        if base is not None:
            qh, kh = _turn(qh, base), _turn(kh, base)
        score = torch.einsum("bse,bte->bst", qh, kh) / math.sqrt(e)
        if bias is not None:
            score = score + bias[h]
        allowed = torch.ones_like(score, dtype=torch.bool)
        if causal:
            allowed = allowed.tril()
        if mask is not None:
            allowed = allowed & mask[:, None, :]
        weight = torch.where(allowed, (score - score.amax(-1, keepdim=True).detach()).exp(), 0.0)
        joined.append(weight / weight.sum(-1, keepdim=True).clamp(min=1e-300) @ v[..., kv_at])
    out: Tensor = module.out(torch.cat(joined, -1))
    return out


def _turn(x: Tensor, base: float) -> Tensor:
    """Rotary positions as a multiplication of complex numbers."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * base ** (-torch.arange(half, dtype=x.dtype) / half)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((turned.real, turned.imag), -1)


def _same_with_gradients(module: nn.Module, found: Tensor, expected: Tensor, *inputs: Tensor) -> None:
    wanted = [*module.parameters(), *inputs]
    weight = torch.randn_like(found)
    # A gradient may be exactly zero (the bias of k, without rotary): compared all the same.
    mine = torch.autograd.grad((found * weight).sum(), wanted, retain_graph=True)
    other = torch.autograd.grad((expected * weight).sum(), wanted, retain_graph=True, materialize_grads=True)
    torch.testing.assert_close(found, expected)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b)


SWITCHES = list(itertools.product([False, True], [4, 2, 1], [False, True], [False, True], [False, True]))


@pytest.mark.parametrize("qk_norm", [None, "layer_norm", "rms_norm"])
@pytest.mark.parametrize(("causal", "kv_heads", "rotary", "masked", "biased"), SWITCHES)
def test_all_options_together_equal_the_slow_reference(
    causal: bool, kv_heads: int, rotary: bool, masked: bool, biased: bool, qk_norm: str | None
) -> None:
    base = 100.0 if rotary else None
    module = Attention(WIDTH, 9, HEADS, kv_heads, 6, causal=causal, rotary_base=base, qk_norm=qk_norm)
    _stir(module).double()
    x = torch.randn(3, SEQ, WIDTH, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(3, SEQ) > 0.4 if masked else None
    bias = torch.randn(HEADS, SEQ, SEQ, dtype=torch.float64, requires_grad=True) if biased else None
    expected = _slow(module, x, x, mask, bias, causal, base)
    _same_with_gradients(module, module(x, mask, bias), expected, x, *([] if bias is None else [bias]))


@pytest.mark.parametrize("qk_norm", [None, "layer_norm", "rms_norm"])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_cross_attention_equals_the_slow_reference(
    kv_heads: int, masked: bool, biased: bool, qk_norm: str | None
) -> None:
    module = CrossAttention(WIDTH, MEMORY_WIDTH, 9, HEADS, kv_heads, 6, qk_norm=qk_norm)
    _stir(module).double()
    x = torch.randn(3, SEQ, WIDTH, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(3, MEM, MEMORY_WIDTH, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(3, MEM) > 0.4 if masked else None
    bias = torch.randn(HEADS, SEQ, MEM, dtype=torch.float64, requires_grad=True) if biased else None
    expected = _slow(module, x, memory, mask, bias)
    found = module(x, memory, mask, bias)
    _same_with_gradients(module, found, expected, x, memory, *([] if bias is None else [bias]))


@pytest.mark.parametrize("lead", [(), (1,), (2, 3), (2, 1, 2)])
def test_any_number_of_leading_axes(lead: tuple[int, ...]) -> None:
    module = Attention(WIDTH, 9, HEADS, 2, causal=True, rotary_base=100.0)
    cross = CrossAttention(WIDTH, MEMORY_WIDTH, 9, HEADS)
    x, memory = torch.randn(*lead, SEQ, WIDTH), torch.randn(*lead, MEM, MEMORY_WIDTH)
    mask, memory_mask = torch.rand(*lead, SEQ) > 0.4, torch.rand(*lead, MEM) > 0.4
    bias, memory_bias = torch.randn(HEADS, SEQ, SEQ), torch.randn(HEADS, SEQ, MEM)
    count = math.prod(lead)
    rows, memory_rows = x.reshape(count, SEQ, WIDTH), memory.reshape(count, MEM, MEMORY_WIDTH)
    alone = torch.cat([module(rows[i : i + 1], mask.reshape(count, -1)[i : i + 1], bias) for i in range(count)])
    torch.testing.assert_close(module(x, mask, bias), alone.reshape(*lead, SEQ, 9))
    found = cross(x, memory, memory_mask, memory_bias)
    expected = cross(rows, memory_rows, memory_mask.reshape(count, -1), memory_bias)
    torch.testing.assert_close(found, expected.reshape(*lead, SEQ, 9))


def _copied(torchs: nn.MultiheadAttention, mine: Any) -> None:
    """The weights of `nn.MultiheadAttention` in our layout."""
    with torch.no_grad():
        packed = torchs.in_proj_weight
        separate = (torchs.q_proj_weight, torchs.k_proj_weight, torchs.v_proj_weight)
        weights = separate if packed is None else packed.chunk(3)
        for linear, weight, bias in zip((mine.q, mine.k, mine.v), weights, torchs.in_proj_bias.chunk(3), strict=True):
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
        mine.out.load_state_dict(torchs.out_proj.state_dict())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_multihead_attention_of_torch(causal: bool, masked: bool) -> None:
    theirs = _stir(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True))
    mine = Attention(WIDTH, WIDTH, HEADS, causal=causal)
    _copied(theirs, mine)  # type: ignore[arg-type]
    x = torch.randn(3, SEQ, WIDTH, requires_grad=True)
    mask = torch.rand(3, SEQ) > 0.4
    mask[:, 0] = True
    ahead = torch.ones(SEQ, SEQ, dtype=torch.bool).triu(1) if causal else None
    padding = ~mask if masked else None
    expected, _ = theirs(x, x, x, key_padding_mask=padding, attn_mask=ahead, need_weights=False)
    found = mine(x, mask if masked else None)
    torch.testing.assert_close(found, expected)
    a, b = (torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected))
    torch.testing.assert_close(a, b)


def test_cross_attention_equals_multihead_attention_of_torch() -> None:
    theirs = nn.MultiheadAttention(WIDTH, HEADS, kdim=MEMORY_WIDTH, vdim=MEMORY_WIDTH, batch_first=True)
    _stir(theirs)
    mine = CrossAttention(WIDTH, MEMORY_WIDTH, WIDTH, HEADS)
    _copied(theirs, mine)
    x, memory = torch.randn(3, SEQ, WIDTH), torch.randn(3, MEM, MEMORY_WIDTH, requires_grad=True)
    mask = torch.rand(3, MEM) > 0.4
    mask[:, 0] = True
    expected, _ = theirs(x, memory, memory, key_padding_mask=~mask, need_weights=False)
    found = mine(x, memory, mask)
    torch.testing.assert_close(found, expected)
    a, b = (torch.autograd.grad(y.square().sum(), memory)[0] for y in (found, expected))
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("length", [1, 7, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotary_is_llamas_to_the_bit(length: int, dtype: torch.dtype) -> None:
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    from assembler.library.modules.attention import _rotary_table, _rotate

    config = LlamaConfig(hidden_size=64, num_attention_heads=4, rope_theta=10000.0)
    q, k = torch.randn(2, 4, length, 16, dtype=dtype), torch.randn(2, 2, length, 16, dtype=dtype)
    cos, sin = LlamaRotaryEmbedding(config)(q, torch.arange(length)[None])
    expected = apply_rotary_pos_emb(q, k, cos, sin)
    table = _rotary_table(q, 10000.0, q.shape[-1])
    assert torch.equal(_rotate(q, *table), expected[0])
    assert torch.equal(_rotate(k, *table), expected[1])


def test_equals_the_attention_of_llama_with_its_weights_under_other_names() -> None:
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

    config = LlamaConfig(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, attn_implementation="sdpa")
    theirs = LlamaAttention(config, layer_idx=0).eval()
    mine = Attention(32, 32, 4, 2, causal=True, rotary_base=10000.0, bias=False)
    names = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "o_proj"}
    state = theirs.state_dict()
    mine.load_state_dict({f"{name}.weight": state[f"{old}.weight"] for name, old in names.items()})
    x = torch.randn(2, 9, 32)
    angles = LlamaRotaryEmbedding(config)(x, torch.arange(9)[None])
    torch.testing.assert_close(mine(x), theirs(x, angles, None)[0])


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_that_may_look_at_nothing_gets_zeros_and_finite_gradients(
    causal: bool, biased: bool, dtype: torch.dtype
) -> None:
    module = Attention(WIDTH, WIDTH, HEADS, causal=causal, out_bias=False).to(dtype)
    x = torch.randn(2, SEQ, WIDTH, dtype=dtype, requires_grad=True)
    mask = torch.ones(2, SEQ, dtype=torch.bool)
    mask[0] = False
    mask[1, 0] = False  # left padding: with `causal` the first token is alone with itself
    bias = torch.randn(HEADS, SEQ, SEQ, dtype=dtype) if biased else None
    y = module(x, mask, bias)
    assert torch.equal(y[0], torch.zeros_like(y[0]))
    assert bool((y[1, 0] == 0).all()) == causal
    assert y[1, 1:].isfinite().all()
    y.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (x, *module.parameters()))


@pytest.mark.parametrize("causal", [False, True])
def test_padding_changes_nothing_for_the_tokens_that_count(causal: bool) -> None:
    module = Attention(WIDTH, WIDTH, HEADS, 2, causal=causal, rotary_base=100.0)
    short = torch.randn(2, SEQ, WIDTH)
    long = torch.cat((short, torch.randn(2, 3, WIDTH) * 100), 1)
    mask = torch.arange(SEQ + 3).expand(2, -1) < SEQ
    torch.testing.assert_close(module(long, mask)[:, :SEQ], module(short))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_causal_rows_never_see_later_tokens(masked: bool, biased: bool) -> None:
    module = Attention(WIDTH, WIDTH, HEADS, causal=True)
    x = torch.randn(2, SEQ, WIDTH, requires_grad=True)
    mask = torch.ones(2, SEQ, dtype=torch.bool) if masked else None
    bias = torch.randn(HEADS, SEQ, SEQ) if biased else None
    module(x, mask, bias)[:, 2].sum().backward()
    assert x.grad is not None
    assert bool((x.grad[:, 3:] == 0).all())
    assert bool((x.grad[:, :3] != 0).all())


def test_rotary_scores_depend_on_the_distance_only() -> None:
    module = Attention(WIDTH, WIDTH, 1, causal=True, rotary_base=100.0)
    x = torch.randn(1, 3, WIDTH)
    shifted = torch.cat((torch.randn(1, 4, WIDTH), x), 1)
    mask = torch.arange(7)[None] >= 4
    torch.testing.assert_close(module(shifted, mask)[:, 4:], module(x))


def test_one_token_is_the_value_map_then_the_output_map() -> None:
    module = Attention(WIDTH, 9, HEADS, causal=True, rotary_base=10000.0, qk_norm="rms_norm")
    x = torch.randn(3, 1, WIDTH)
    torch.testing.assert_close(module(x), module.out(module.v(x)))


@pytest.mark.parametrize("masked", [False, True])
def test_dropout_acts_in_training_only_and_keeps_the_mean(masked: bool) -> None:
    module = Attention(WIDTH, WIDTH, HEADS, dropout=0.5)
    plain = Attention(WIDTH, WIDTH, HEADS)
    plain.load_state_dict(module.state_dict())
    x = torch.randn(1, SEQ, WIDTH).expand(4000, -1, -1)
    mask = (torch.arange(SEQ) < 3).expand(4000, -1) if masked else None
    expected = plain(x, mask)
    torch.testing.assert_close(module.eval()(x, mask), expected)
    dropped = module.train()(x, mask)
    assert not torch.allclose(dropped[0], dropped[1])
    torch.testing.assert_close(dropped.mean(0), expected[0], atol=0.03, rtol=0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_runs_under_autocast_though_masks_and_biases_are_float32(masked: bool, biased: bool) -> None:
    module = Attention(WIDTH, WIDTH, HEADS, 2, causal=True, rotary_base=100.0, qk_norm="layer_norm")
    x = torch.randn(2, SEQ, WIDTH)
    mask = torch.rand(2, SEQ) > 0.4 if masked else None
    bias = torch.randn(HEADS, SEQ, SEQ) if biased else None
    expected = module(x, mask, bias)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(x, mask, bias)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)


def test_rotary_keeps_its_angles_in_bf16_at_long_lengths() -> None:
    from assembler.library.modules.attention import _rotary_table

    low = _rotary_table(torch.zeros(3000, 8, dtype=torch.bfloat16), 10000.0, 8)
    high = _rotary_table(torch.zeros(3000, 8, dtype=torch.float64), 10000.0, 8)
    for a, b in zip(low, high, strict=True):
        torch.testing.assert_close(a.double(), b, atol=0.01, rtol=0)


def test_nothing_but_parameters_is_kept() -> None:
    module = Attention(WIDTH, WIDTH, HEADS, rotary_base=10000.0, causal=True)
    assert list(module.state_dict()) == [f"{m}.{p}" for m in ("q", "k", "v", "out") for p in ("weight", "bias")]
    assert not list(module.buffers())


@pytest.mark.parametrize(
    ("options", "width", "count"),
    [
        ({"heads": 12}, 768, 4 * 768**2 + 4 * 768),  # GPT-2, BERT, ViT-B
        ({"heads": 32, "bias": False}, 4096, 4 * 4096**2),  # Llama-2 7B
        ({"heads": 64, "kv_heads": 8, "bias": False}, 8192, 2 * 8192**2 + 2 * 8192 * 8 * 128),  # Llama-2 70B
        ({"heads": 14, "kv_heads": 2, "out_bias": False}, 896, 2 * 896**2 + 896 + 2 * (896 + 1) * 128),  # Qwen2 0.5B
    ],
)
def test_the_card_counts_the_parameters_of_known_models(options: dict[str, Any], width: int, count: int) -> None:
    built = use("attention", Sample(options, {"x": (1, width)}))
    shapes = [p.shape for p in built.definition.parameters.values()]
    assert sum(math.prod(number(size, built.sizes) for size in shape) for shape in shapes) == count


@pytest.mark.parametrize(
    ("options", "left", "right"),
    [
        ({"heads": 4, "in": 10}, "in", "heads"),
        ({"heads": 4, "in": 8, "kv_heads": 3}, "heads", "kv_heads"),
        ({"heads": 4, "in": 8, "kv_heads": 8}, "heads", "kv_heads"),
        ({"heads": 4, "in": 12, "rotary": True}, "head_dim", "2"),
        ({"heads": 4, "in": 10, "head_dim": 3, "rotary": True}, "head_dim", "2"),
    ],
)
def test_sizes_that_cannot_be_cut_break_a_demand_of_the_card(options: dict[str, Any], left: str, right: str) -> None:
    kind = registry.kind("attention")
    assert kind is not None
    definition = kind.define(kind.options.model_validate(options))
    sizes = dict(definition.sizes)
    sizes.setdefault("head_dim", sizes["in"] // sizes["heads"])
    broken = [r for r in definition.requires if number(r.left, sizes) % number(r.right, sizes)]
    assert [(r.relation, r.left, r.right) for r in broken] == [("multiple_of", left, right)]
    assert all(r.about for r in broken)


def test_a_stated_head_width_frees_the_model_width_from_the_heads() -> None:
    built = use("attention", Sample({"heads": 4, "head_dim": 6}, {"x": (5, 10)}))
    assert built.module()(torch.randn(5, 10)).shape == (5, 10)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"heads": 0},
        {"heads": True},
        {"heads": "4"},
        {"heads": 2.0},
        {"heads": 4, "kv_heads": 0},
        {"heads": 4, "dropout": 1.5},
        {"heads": 4, "dropout": float("nan")},
        {"heads": 4, "qk_norm": "batch_norm"},
        {"heads": 4, "rotary_base": 0.0},
        {"heads": 4, "causal": 1},
        {"heads": 4, "window": 3},
        {"heads": 4, "causal": True, "window": 0},
        {"heads": 4, "rotary_dim": 2},
        {"heads": 4, "scale": 0.0},
        {"heads": 4, "in_features": 8},
    ],
)
def test_options_that_are_not_meant_are_refused(options: dict[str, Any]) -> None:
    kind = registry.kind("attention")
    assert kind is not None
    with pytest.raises(ValidationError):
        kind.options.model_validate(options)


@pytest.mark.parametrize("option", ["causal", "window", "rotary", "rotary_base", "rotary_dim"])
def test_cross_attention_has_no_positions_of_its_own(option: str) -> None:
    kind = registry.kind("cross_attention")
    assert kind is not None
    assert option not in kind.options.model_fields
    assert not kind.define(kind.options.model_validate({"heads": 2})).inputs["memory"].optional


@pytest.mark.parametrize("shape", [(0, SEQ, WIDTH), (0, 2, SEQ, WIDTH)])
def test_an_empty_batch_has_empty_results_as_in_torch(shape: tuple[int, ...]) -> None:
    x, memory = torch.zeros(shape), torch.zeros(*shape[:-2], MEM, WIDTH)
    assert Attention(WIDTH, WIDTH, heads=HEADS)(x).shape == shape
    assert CrossAttention(WIDTH, WIDTH, WIDTH, heads=HEADS)(x, memory).shape == shape
