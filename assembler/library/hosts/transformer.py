"""Transformers over tokens and over patches of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from assembler.library.hosts.card import MAX_LAYERS, HostCard, HostError, Read, Site, shown


class Tokens(NamedTuple):
    """A transformer that reads ids. Paths hold `{}` where the layer's number stands."""

    embeddings: Site
    layer: Site
    attention: str
    mlp: str
    final: Site | None = None
    width: str = "hidden_size"
    layers: str = "num_hidden_layers"
    segments: bool = False
    """Whether it reads `token_type_ids`."""
    pooler: bool = False
    cache: bool = False
    """Whether forward hands out keys and values unless it is told not to."""

    def card(self, read: Read) -> HostCard:
        value = f"[batch seq {read.size(self.width)}]"
        inputs = {"input_ids": f"ids({read.size('vocab_size')}) [batch seq]", "attention_mask": "mask [batch seq]"}
        if self.segments:
            inputs["token_type_ids"] = f"ids({read.size('type_vocab_size')}) [batch seq]"
        outputs = {"last_hidden_state": value}
        if self.pooler and read.flag("add_pooling_layer", default=True):
            outputs["pooler_output"] = f"[batch {read.size(self.width)}]"
        sites = _stack(self, value, read.size(self.layers, MAX_LAYERS))
        optional = frozenset(inputs) - {"input_ids"}
        norms = {"last_hidden_state": (self.final or self.layer).norm, "pooler_output": "bounded"}
        return HostCard(
            inputs, outputs, sites, optional, {"use_cache": False} if self.cache else {}, _of(outputs, norms)
        )


class Patches(NamedTuple):
    """A transformer that reads an image, cut into patches."""

    embeddings: Site
    layer: Site
    attention: str
    mlp: str
    final: Site
    extra: int = 1
    """Tokens beside the patches."""
    any_size: bool = False
    """Whether its positions are stretched to whatever image comes; else it takes images of one size."""
    pooler: bool = False
    """Whether its pooler is a layer, which `add_pooling_layer: false` leaves out; else it is the first token."""

    def card(self, read: Read) -> HostCard:
        width, channels, patch = read.size("hidden_size"), read.size("num_channels"), read.pair("patch_size")
        if self.any_size:
            image, tokens = f"{patch[0]}*h {patch[1]}*w", f"h*w+{self.extra}"
        else:
            size = read.pair("image_size")
            if patch[0] > size[0] or patch[1] > size[1]:
                raise HostError(f"`patch_size` {shown(patch)} is larger than the image, {shown(size)}", "patch_size")
            image = f"{size[0]} {size[1]}"
            tokens = str((size[0] // patch[0]) * (size[1] // patch[1]) + self.extra)
        value = f"[batch {tokens} {width}]"
        outputs = {"last_hidden_state": value}
        if not self.pooler:
            outputs["pooler_output"] = f"[batch {width}]"
        elif read.flag("add_pooling_layer", default=True):
            outputs["pooler_output"] = f"[batch {read.size('pooler_output_size')}]"
        sites = _stack(self, value, read.size("num_hidden_layers", MAX_LAYERS))
        norms = {"last_hidden_state": self.final.norm, "pooler_output": "" if self.pooler else self.final.norm}
        inputs = {"pixel_values": f"image [batch {channels} {image}]"}
        return HostCard(inputs, outputs, sites, norms=_of(outputs, norms))


def _of(outputs: Mapping[str, str], norms: Mapping[str, str]) -> dict[str, str]:
    return {name: state for name, state in norms.items() if state and name in outputs}


def _stack(family: Tokens | Patches, value: str, layers: int) -> dict[str, Site]:
    """The sites of a transformer: all hold values of one type."""
    sites = {"embeddings": family.embeddings._replace(type=value)}
    for number in range(layers):
        sites[f"h{number}_attention"] = Site(family.attention.format(number), value)
        sites[f"h{number}_mlp"] = Site(family.mlp.format(number), value)
        sites[f"h{number}"] = Site(family.layer.path.format(number), value, family.layer.norm)
    if family.final is not None:
        sites["final"] = family.final._replace(type=value)
    return sites
