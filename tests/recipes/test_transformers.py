"""The shipped recipes against Transformers: the same weights give the same numbers, in float32."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assembler
from tests.recipes.shipped import SMALL, batch, path

torch.set_num_threads(1)

VOCAB, WIDTH, HEADS, DEPTH, LENGTH = 101, 32, 4, 2, 32
"""As in SMALL."""

Table = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _pair(name: str, make: Callable[[Any], nn.Module], config: Any, table: Table, *more: str) -> tuple[nn.Module, nn.Module]:
    """Our model (with `more` overrides) with the weights of theirs, and theirs: no gain is one in it, and no bias zero."""
    theirs = make(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    ours = assembler.build(assembler.load(path(name), (*SMALL[name], *more)), seed=0).eval()
    found: dict[str, Tensor] = {}
    for key, value in theirs.state_dict().items():
        matches = [(match, to) for pattern, to in table if (match := re.fullmatch(pattern, key))]
        assert len(matches) == 1, f"{key} has {len(matches)} places in our model"
        found |= dict(_parts(matches[0][0].expand(matches[0][1]), value))
    ours.load_state_dict(found, strict=True)
    return ours, theirs


def _parts(key: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """`{q,k,v}` in our key: three in a row. `^T` behind it: transposed. `^1`: without axes of one in front."""
    key, _, turn = key.partition("^")
    if turn == "T":
        value = value.T
    if turn == "1":
        value = value.flatten() if value.shape[:2] == (1, 1) else value.squeeze(0)
    head, braces, rest = key.partition("{")
    if not braces:
        yield key, value
        return
    names, _, tail = rest.partition("}")
    for name, part in zip(names.split(","), value.chunk(names.count(",") + 1), strict=True):
        yield f"{head}{name}{tail}", part


_GPT2_BLOCK = r"transformer\.h\.(\d+)\."
GPT2: Table = [
    (r"transformer\.wte\.weight", "embed.weight"),
    (r"transformer\.wpe\.weight", "place.weight"),
    (_GPT2_BLOCK + r"ln_1\.(\w+)", r"stack.\1.attend_pre_norm.\2"),
    (_GPT2_BLOCK + r"attn\.c_attn\.weight", r"stack.\1.attend.{q,k,v}.weight^T"),
    (_GPT2_BLOCK + r"attn\.c_attn\.bias", r"stack.\1.attend.{q,k,v}.bias"),
    (_GPT2_BLOCK + r"attn\.c_proj\.weight", r"stack.\1.attend.out.weight^T"),
    (_GPT2_BLOCK + r"attn\.c_proj\.bias", r"stack.\1.attend.out.bias"),
    (_GPT2_BLOCK + r"ln_2\.(\w+)", r"stack.\1.think_pre_norm.\2"),
    (_GPT2_BLOCK + r"mlp\.c_fc\.weight", r"stack.\1.think.up.weight^T"),
    (_GPT2_BLOCK + r"mlp\.c_fc\.bias", r"stack.\1.think.up.bias"),
    (_GPT2_BLOCK + r"mlp\.c_proj\.weight", r"stack.\1.think.down.weight^T"),
    (_GPT2_BLOCK + r"mlp\.c_proj\.bias", r"stack.\1.think.down.bias"),
    (r"transformer\.ln_f\.(\w+)", r"final.\1"),
    (r"lm_head\.weight", "head.weight"),
]


def test_gpt2_gives_the_logits_and_gradients_of_transformers() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCAB, n_positions=LENGTH, n_embd=WIDTH, n_layer=DEPTH, n_head=HEADS, bos_token_id=0, eos_token_id=0
    )
    ours, theirs = _pair("gpt2", GPT2LMHeadModel, config, GPT2)
    ids = batch("gpt2", length=LENGTH)["ids"]
    mine, wanted = ours(ids), theirs(ids).logits
    torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5)
    mine.square().mean().backward()
    wanted.square().mean().backward()
    # The table is read at both ends: as embedding and as head.
    assert ours.get_parameter("head.weight") is ours.get_parameter("embed.weight")
    for key, their_key in (("embed", "transformer.wte"), ("stack.0.think.up", "transformer.h.0.mlp.c_fc")):
        grad, their_grad = ours.get_parameter(f"{key}.weight").grad, theirs.get_parameter(f"{their_key}.weight").grad
        assert grad is not None
        assert their_grad is not None
        torch.testing.assert_close(grad, their_grad if key == "embed" else their_grad.T, rtol=1e-4, atol=1e-6)


_BERT_LAYER = r"encoder\.layer\.(\d+)\."
BERT: Table = [
    (r"embeddings\.word_embeddings\.(\w+)", r"words.\1"),
    (r"embeddings\.position_embeddings\.(\w+)", r"place.\1"),
    (r"embeddings\.token_type_embeddings\.(\w+)", r"sides.\1"),
    (r"embeddings\.LayerNorm\.(\w+)", r"norm.\1"),
    (_BERT_LAYER + r"attention\.self\.(q|k|v)\w+\.(\w+)", r"encoder.\1.attend.\2.\3"),
    (_BERT_LAYER + r"attention\.output\.dense\.(\w+)", r"encoder.\1.attend.out.\2"),
    (_BERT_LAYER + r"attention\.output\.LayerNorm\.(\w+)", r"encoder.\1.attend_post_norm.\2"),
    (_BERT_LAYER + r"intermediate\.dense\.(\w+)", r"encoder.\1.think.up.\2"),
    (_BERT_LAYER + r"output\.dense\.(\w+)", r"encoder.\1.think.down.\2"),
    (_BERT_LAYER + r"output\.LayerNorm\.(\w+)", r"encoder.\1.think_post_norm.\2"),
    (r"pooler\.dense\.(\w+)", r"pooler.\1"),
]


def test_bert_gives_the_hidden_states_and_the_pooled_output_of_transformers_with_a_mask() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH, max_position_embeddings=LENGTH,
    )  # fmt: skip
    ours, theirs = _pair("bert", BertModel, config, BERT)
    given = batch("bert", length=LENGTH)
    mask = given["mask"]
    mine = ours(given["ids"], given["segment"], mask)
    wanted = theirs(given["ids"], attention_mask=mask.long(), token_type_ids=given["segment"])
    # Nobody reads what is computed for masked tokens.
    torch.testing.assert_close(mine["hidden"][mask], wanted.last_hidden_state[mask], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine["pooled"], wanted.pooler_output, rtol=1e-5, atol=1e-5)


_VIT_LAYER = r"vit\.layers\.(\d+)\."
VIT: Table = [
    (r"vit\.embeddings\.cls_token", "cls.weight^1"),
    (r"vit\.embeddings\.position_embeddings", "place.weight^1"),
    (r"vit\.embeddings\.patch_embeddings\.projection\.(\w+)", r"patches.proj.\1"),
    (_VIT_LAYER + r"layernorm_before\.(\w+)", r"encoder.\1.attend_pre_norm.\2"),
    (_VIT_LAYER + r"attention\.(q|k|v)_proj\.(\w+)", r"encoder.\1.attend.\2.\3"),
    (_VIT_LAYER + r"attention\.o_proj\.(\w+)", r"encoder.\1.attend.out.\2"),
    (_VIT_LAYER + r"layernorm_after\.(\w+)", r"encoder.\1.think_pre_norm.\2"),
    (_VIT_LAYER + r"mlp\.fc1\.(\w+)", r"encoder.\1.think.up.\2"),
    (_VIT_LAYER + r"mlp\.fc2\.(\w+)", r"encoder.\1.think.down.\2"),
    (r"vit\.layernorm\.(\w+)", r"final.\1"),
    (r"classifier\.(\w+)", r"head.\1"),
]


def test_vit_gives_the_logits_of_transformers() -> None:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH, num_labels=7, layer_norm_eps=1e-6,
    )  # fmt: skip
    ours, theirs = _pair("vit", ViTForImageClassification, config, VIT)
    image = batch("vit")["image"]
    torch.testing.assert_close(ours(image), theirs(image).logits, rtol=1e-5, atol=1e-5)


_LLAMA_LAYER = r"model\.layers\.(\d+)\."
LLAMA: Table = [
    (r"model\.embed_tokens\.weight", "embed.weight"),
    (_LLAMA_LAYER + r"input_layernorm\.weight", r"stack.\1.attend_pre_norm.weight"),
    (_LLAMA_LAYER + r"self_attn\.(q|k|v)_proj\.weight", r"stack.\1.attend.\2.weight"),
    (_LLAMA_LAYER + r"self_attn\.o_proj\.weight", r"stack.\1.attend.out.weight"),
    (_LLAMA_LAYER + r"post_attention_layernorm\.weight", r"stack.\1.think_pre_norm.weight"),
    (_LLAMA_LAYER + r"mlp\.(gate|up|down)_proj\.weight", r"stack.\1.think.\2.weight"),
    (r"model\.norm\.weight", "final.weight"),
    (r"lm_head\.weight", "head.weight"),
]


def test_llama_with_grouped_queries_gives_the_logits_of_transformers() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, num_key_value_heads=2,
        intermediate_size=48, rms_norm_eps=1e-5,
    )  # fmt: skip
    ours, theirs = _pair("llama", LlamaForCausalLM, config, LLAMA)
    ids = batch("llama", length=LENGTH)["ids"]
    torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-5, atol=1e-5)


def test_mistral_with_a_window_shorter_than_the_text_gives_the_logits_of_transformers() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, num_key_value_heads=2,
        intermediate_size=48, rms_norm_eps=1e-5, sliding_window=5,
    )  # fmt: skip
    ours, theirs = _pair("llama", MistralForCausalLM, config, LLAMA, "+nodes.stack.parts.attend.window=5")
    ids = batch("llama", length=LENGTH)["ids"]
    mine = ours(ids)
    torch.testing.assert_close(mine, theirs(ids).logits, rtol=1e-5, atol=1e-5)
    # Through two layers of window 5 the last token sees nine, itself and the eight before it, and no tenth.
    for place, seen in ((-9, True), (-10, False)):
        other = ids.clone()
        other[:, place] = (other[:, place] + 1) % VOCAB
        assert torch.equal(ours(other)[:, -1], mine[:, -1]) != seen


_NEOX_LAYER = r"gpt_neox\.layers\.(\d+)\."
_NEOX_BLOCK = r"stack.\1.both."
PYTHIA: Table = [
    (r"gpt_neox\.embed_in\.weight", "embed.weight"),
    (_NEOX_LAYER + r"input_layernorm\.(\w+)", _NEOX_BLOCK + r"attend_pre_norm.\2"),
    (_NEOX_LAYER + r"attention\.query_key_value\.(\w+)", _NEOX_BLOCK + r"attend.{q,k,v}.\2"),
    (_NEOX_LAYER + r"attention\.dense\.(\w+)", _NEOX_BLOCK + r"attend.out.\2"),
    (_NEOX_LAYER + r"post_attention_layernorm\.(\w+)", _NEOX_BLOCK + r"think_pre_norm.\2"),
    (_NEOX_LAYER + r"mlp\.dense_h_to_4h\.(\w+)", _NEOX_BLOCK + r"think.up.\2"),
    (_NEOX_LAYER + r"mlp\.dense_4h_to_h\.(\w+)", _NEOX_BLOCK + r"think.down.\2"),
    (r"gpt_neox\.final_layer_norm\.(\w+)", r"final.\1"),
    (r"(lm_head|embed_out)\.weight", "head.weight"),
]


def test_pythia_gives_the_logits_of_transformers() -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=4 * WIDTH,
        max_position_embeddings=LENGTH, use_parallel_residual=True, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    )  # fmt: skip

    def threes(made: GPTNeoXConfig) -> nn.Module:
        """Theirs, whose state holds all queries, all keys, all values: theirs are cut head by head."""
        model = GPTNeoXForCausalLM(made)
        state = type(model).state_dict

        def sorted_out(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
            found = state(model, *args, **kwargs)
            cut = {key: value.unflatten(0, (HEADS, 3, -1)).transpose(0, 1).flatten(0, 2) for key, value in found.items() if "query_key_value" in key}
            return {**found, **cut}

        model.state_dict = sorted_out
        return model

    ours, theirs = _pair("pythia", threes, config, PYTHIA)
    ids = batch("pythia", length=LENGTH)["ids"]
    torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-5, atol=1e-5)


_MIXTRAL_EXPERTS = r"model\.layers\.(\d+)\.mlp\.experts\."
MIXTRAL: Table = [row for row in LLAMA if "mlp" not in row[0]] + [
    (_LLAMA_LAYER + r"mlp\.gate\.weight", r"stack.\1.think.router.weight"),
    (_MIXTRAL_EXPERTS + r"(\d+)\.gate_up_proj", r"stack.\1.think.experts.\2.{gate,up}.weight"),
    (_MIXTRAL_EXPERTS + r"(\d+)\.down_proj", r"stack.\1.think.experts.\2.down.weight"),
]


def test_mixtral_gives_the_logits_of_transformers_and_its_gradients() -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, num_key_value_heads=2,
        intermediate_size=24, rms_norm_eps=1e-5, num_local_experts=4, num_experts_per_tok=2,
    )  # fmt: skip

    def apart(made: MixtralConfig) -> nn.Module:
        """Theirs, whose state holds each expert by itself: theirs are stacked."""
        model = MixtralForCausalLM(made)
        state = type(model).state_dict

        def unstacked(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
            found = {}
            for key, value in state(model, *args, **kwargs).items():
                head, experts, tail = key.partition(".experts.")
                found |= {f"{head}.experts.{index}.{tail}": item for index, item in enumerate(value)} if experts else {key: value}
            return found

        model.state_dict = unstacked
        return model

    ours, theirs = _pair("mixtral", apart, config, MIXTRAL)
    ids = batch("mixtral", length=LENGTH)["ids"]
    mine, wanted = ours(ids)["logits"], theirs(ids).logits
    torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5)
    mine.square().mean().backward()
    wanted.square().mean().backward()
    for index in range(4):
        got = ours.get_parameter(f"stack.0.think.experts.{index}.down.weight").grad
        experts = theirs.get_parameter("model.layers.0.mlp.experts.down_proj").grad
        assert got is not None
        assert experts is not None
        torch.testing.assert_close(got, experts[index], rtol=1e-4, atol=1e-6)
    router = theirs.get_parameter("model.layers.0.mlp.gate.weight").grad
    assert router is not None
    torch.testing.assert_close(ours.get_parameter("stack.0.think.router.weight").grad, router, rtol=1e-4, atol=1e-6)
