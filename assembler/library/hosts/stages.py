"""Convolutions in stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from assembler.library.hosts.card import MAX_LAYERS, MAX_STAGES, HostCard, HostError, Read, Site, shown


class Stages(NamedTuple):
    """Convolutions in stages; all but the first halve the image. Paths hold the numbers of stage and layer."""

    stem: Callable[[Read], Stem]
    embeddings: Site
    layer: Site
    parts: Mapping[str, Site]
    """What a layer's sites are called, behind `h0_`. Where `type` is `last`, channels are the last axis."""
    pooled: str
    pooled_norm: str = ""

    def card(self, read: Read) -> HostCard:
        widths, depths = read.sizes("hidden_sizes", MAX_STAGES), read.sizes("depths", MAX_STAGES, MAX_LAYERS)
        if len(widths) != len(depths) or sum(depths) > MAX_LAYERS:
            wanted = f"one number for each of the {len(widths)} stages in `hidden_sizes`, {MAX_LAYERS:,} layers in all"
            raise HostError(f"`depths` is {wanted}, and this is {shown(depths)}", "depths")
        stem = self.stem(read)
        behind = 1 << (len(widths) - 1 + stem.halves_first)
        inputs = {"pixel_values": f"image [batch {read.size('num_channels')} {_area(behind * stem.times)}]"}
        outputs = {
            "last_hidden_state": f"[batch {widths[-1]} h w]",
            "pooler_output": f"[batch {widths[-1]}{self.pooled}]",
        }
        sites = {"embeddings": self.embeddings._replace(type=f"[batch {stem.width} {_area(behind)}]")}
        sites.update(self._layers(widths, depths))
        norms = {"last_hidden_state": self.layer.norm, "pooler_output": self.pooled_norm}
        return HostCard(inputs, outputs, sites, norms=norms)

    def _layers(self, widths: list[int], depths: list[int]) -> Iterator[tuple[str, Site]]:
        number = 0
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            area = _area(1 << (len(widths) - 1 - stage))
            for layer in range(depth):
                for name, part in self.parts.items():
                    dims = f"{area} {width}" if part.type == "last" else f"{width} {area}"
                    yield f"h{number}_{name}", Site(part.path.format(stage, layer), f"[batch {dims}]", part.norm)
                path = self.layer.path.format(stage, layer)
                yield f"h{number}", Site(path, f"[batch {width} {area}]", self.layer.norm)
                number += 1


class Stem(NamedTuple):
    width: int
    times: int
    """By how much the image is smaller behind the stem."""
    halves_first: bool
    """Whether the first stage halves it too."""


def _area(times: int) -> str:
    return "h w" if times == 1 else f"{times}*h {times}*w"
