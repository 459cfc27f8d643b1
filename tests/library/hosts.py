"""Small hosts of every family, built from configurations of Transformers; nothing is downloaded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from assembler.library.hosts import HostCard
from assembler_schemas.shape import parse_port_type

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

WORDS = {"bert": 41, "camembert": 43, "roberta": 44, "xlm-roberta": 45, "distilbert": 46, "gpt2": 47, "gemma": 48, "llama": 49,
         "mistral": 50, "qwen2": 51, "qwen3": 52}  # fmt: skip
_PATCHES: dict[str, Any] = {
    "hidden_size": 15,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 22,
}
_BERT: dict[str, Any] = {**_PATCHES, "type_vocab_size": 3}
_LLAMA: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
                          "intermediate_size": 22, "head_dim": 8}  # fmt: skip
_STAGES: dict[str, Any] = {"hidden_sizes": [6, 8, 10], "depths": [2, 1, 1]}
_CONVNEXT: dict[str, Any] = {**_STAGES, "num_stages": 3, "layer_scale_init_value": 0.3}
SMALL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("bert", "camembert", "roberta", "xlm-roberta"), _BERT),
    "distilbert": {"dim": 15, "n_layers": 2, "n_heads": 3, "hidden_dim": 22},
    "gpt2": {"n_embd": 15, "n_layer": 2, "n_head": 3},
    **dict.fromkeys(("gemma", "llama", "mistral", "qwen2", "qwen3"), _LLAMA),
    "vit": _PATCHES | {"image_size": [12, 20], "patch_size": 4, "pooler_output_size": 7},
    "dinov2": _PATCHES | {"image_size": 20, "patch_size": 4, "layerscale_value": 0.3},
    "resnet": {**_STAGES, "embedding_size": 4, "layer_type": "basic", "num_channels": 2},
    **dict.fromkeys(("convnext", "convnextv2"), _CONVNEXT),
}
SIZES = ({"batch": 2, "seq": 5, "h": 1, "w": 3}, {"batch": 3, "seq": 7, "h": 2, "w": 5})
"""Coprime within each and from one to the other: no axis can pass for another."""


def config_of(family: str, **more: Any) -> Any:
    words = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    words |= {"vocab_size": WORDS[family]} if family in WORDS else {}
    return transformers.AutoConfig.for_model(family, **SMALL[family] | words | more)


def model_of(config: Any, **arguments: Any) -> nn.Module:
    """With norms that do more than norm (their gains and biases are drawn), of values that are not small beside their eps."""
    torch.manual_seed(0)
    model: nn.Module = transformers.AutoModel.from_config(config, **arguments).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.mul_(30)
            if "Norm" in type(module).__name__:
                for parameter in module.parameters(recurse=False):
                    parameter.normal_(1.0, 0.3)
    return model


def inputs_of(found: HostCard, sizes: dict[str, int]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    given = {}
    for name, text in found.inputs.items():
        kind, shape = parse_port_type(text), sizes_of(text, sizes)
        if kind.medium == "ids":
            assert kind.vocabulary is not None
            drawn = torch.randint(int(kind.vocabulary.evaluate({})), shape, generator=generator)
            given[name] = drawn.masked_fill(drawn == 1, 0)  # 1 is padding, whose embedding is zero
        else:
            given[name] = (
                torch.ones(shape, dtype=torch.bool)
                if kind.medium == "mask"
                else torch.randn(shape, generator=generator)
            )
    return given


def sizes_of(text: str, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(int(dim.evaluate(sizes)) for dim in parse_port_type(text).dims)


class Seen(dict[str, Tensor]):
    """What modules gave, by path; `ended`: the order in which they did; `entered`: what each
    was given first; `copies`: what they gave, before anything was done to it in place."""

    def __init__(self, model: nn.Module, given: dict[str, Tensor], **call: bool) -> None:
        super().__init__()
        self.entered: dict[str, Tensor] = {}
        self.ended: list[str] = []
        self.copies: dict[str, Tensor] = {}
        handles = [
            module.register_forward_hook(self._hook(path), with_kwargs=True) for path, module in model.named_modules()
        ]
        with torch.no_grad():
            self.out = model(**given, **call)
        for handle in handles:
            handle.remove()

    def _hook(self, path: str) -> Any:
        def hook(module: nn.Module, given: Any, more: Any, made: Any) -> None:
            first = made[0] if isinstance(made, tuple) else made
            if isinstance(first, Tensor):
                self[path] = first
                self.copies[path] = first.clone()
                self.ended.append(path)
            entered = [item for item in (*given, *more.values()) if isinstance(item, Tensor)]
            self.entered[path] = entered[0] if entered else torch.empty(0)

        return hook
