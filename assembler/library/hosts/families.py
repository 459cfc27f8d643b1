"""The families that have a card, and the two questions that can be asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from assembler.library.hosts.card import (
    CHANNEL_NORM,
    LAYER_NORM,
    MAX_STAGES,
    RMS_NORM,
    STREAM,
    HostCard,
    HostError,
    Read,
    Site,
    shown,
)
from assembler.library.hosts.stages import Stages, Stem
from assembler.library.hosts.transformer import Patches, Tokens

Family = Tokens | Patches | Stages


def card(config: Mapping[str, Any]) -> HostCard:
    """The card of a host. Raises `HostError`: an unknown family, a key that is missing, a value that is no size."""
    read = Read(config)
    return _family(read).card(read)


def host(config: Any) -> dict[str, Any]:
    """Of a Transformers configuration (or its `config.json` as a mapping): only what its card needs, for `host:` in a recipe."""
    stated = config if isinstance(config, Mapping) else config.to_dict()
    read = Read(stated)
    _family(read).card(read)
    return {key: read.config[key] for key in ("model_type", *sorted(read.used - {"model_type"}))}


def families() -> list[str]:
    """Every `model_type` that has a card, in alphabetical order."""
    return sorted(_FAMILIES)


def _family(read: Read) -> Family:
    name = read.get("model_type")
    if isinstance(name, str) and name in _FAMILIES:
        return _FAMILIES[name]
    near = get_close_matches(name, _FAMILIES, 1) if isinstance(name, str) and len(name) <= 64 else []
    meant = f"; did you mean `{near[0]}`?" if near else ""
    raise HostError(f"no host card for {shown(name)}{meant} (there are {', '.join(families())})", "model_type")


# --- the table ---
def _resnet_stem(read: Read) -> Stem:
    return Stem(read.size("embedding_size"), 4, read.flag("downsample_in_first_stage"))


def _convnext_stem(read: Read) -> Stem:
    return Stem(read.sizes("hidden_sizes", MAX_STAGES)[0], read.size("patch_size", 1 << 20), False)


_BERT = Tokens(
    embeddings=Site("embeddings", "", LAYER_NORM),
    layer=Site("encoder.layer.{}", "", LAYER_NORM),
    attention="encoder.layer.{}.attention.output.dense",
    mlp="encoder.layer.{}.output.dense",
    segments=True,
    pooler=True,
)
_DISTILBERT = Tokens(
    embeddings=Site("embeddings", "", LAYER_NORM),
    layer=Site("transformer.layer.{}", "", LAYER_NORM),
    attention="transformer.layer.{}.attention",
    mlp="transformer.layer.{}.ffn",
    width="dim",
    layers="n_layers",
)
_GPT2 = Tokens(
    embeddings=Site("drop", ""),
    layer=Site("h.{}", "", STREAM),
    attention="h.{}.attn",
    mlp="h.{}.mlp",
    final=Site("ln_f", "", LAYER_NORM),
    width="n_embd",
    layers="n_layer",
    cache=True,
)
_LLAMA = Tokens(
    embeddings=Site("embed_tokens", ""),
    layer=Site("layers.{}", "", STREAM),
    attention="layers.{}.self_attn",
    mlp="layers.{}.mlp",
    final=Site("norm", "", RMS_NORM),
    cache=True,
)
_VIT = Patches(
    embeddings=Site("embeddings", ""),
    layer=Site("layers.{}", "", STREAM),
    attention="layers.{}.attention",
    mlp="layers.{}.mlp",
    final=Site("layernorm", "", LAYER_NORM),
    pooler=True,
)
_DINOV2 = Patches(
    embeddings=Site("embeddings", ""),
    layer=Site("encoder.layer.{}", "", STREAM),
    attention="encoder.layer.{}.layer_scale1",
    mlp="encoder.layer.{}.layer_scale2",
    final=Site("layernorm", "", LAYER_NORM),
    any_size=True,
)
_RESNET = Stages(
    stem=_resnet_stem,
    embeddings=Site("embedder", ""),
    layer=Site("encoder.stages.{}.layers.{}", ""),
    parts={},  # the shortcut is added to a branch's result in place: whoever read it there would see the sum
    pooled=" 1 1",
)
_CONVNEXT = Stages(
    stem=_convnext_stem,
    embeddings=Site("embeddings", "", CHANNEL_NORM),
    layer=Site("encoder.stages.{}.layers.{}", "", STREAM),
    parts={
        "conv": Site("encoder.stages.{}.layers.{}.dwconv", ""),
        "mlp": Site("encoder.stages.{}.layers.{}.pwconv2", "last"),
    },
    pooled="",
    pooled_norm=LAYER_NORM,
)

_FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("bert", "camembert", "roberta", "xlm-roberta"), _BERT),
    "distilbert": _DISTILBERT,
    "gpt2": _GPT2,
    **dict.fromkeys(("gemma", "llama", "mistral", "qwen2", "qwen3"), _LLAMA),
    "vit": _VIT,
    "dinov2": _DINOV2,
    "resnet": _RESNET,
    **dict.fromkeys(("convnext", "convnextv2"), _CONVNEXT),
}
