"""Every weight that a model has, by key, before there is a model; and which of them another model has too.

What is swapped, loaded, locked and compared is told apart by this. Nothing here knows tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from assembler.facts.flow import Flow
from assembler.graph.address import upwards


class Held(NamedTuple):
    """One parameter or buffer, once, however often it is used."""

    key: str
    """In the `state_dict`, at the node that owns it: `encoder.3.think.up.weight`."""
    node: str
    """Address of the node that owns it: `encoder.3.think`."""
    kind: str
    name: str
    """On the card: `up.weight`."""
    shape: tuple[int, ...]
    init: str
    """How it starts, as the cards say it."""
    trainable: bool
    buffer: bool


class Changed(NamedTuple):
    """A weight whose key both models have, and that is not the same weight."""

    before: Held
    after: Held

    @property
    def why(self) -> str:
        if self.before.kind != self.after.kind:
            return f"{self.before.kind} became {self.after.kind}"
        return f"{shape_text(self.before.shape)} became {shape_text(self.after.shape)}"


class Survey(NamedTuple):
    """What of a model's weights another one keeps. Every weight of either stands in exactly one list."""

    kept: tuple[tuple[Held, Held], ...]
    """(before, after): the same node, kind, name and shape; the keys differ where it moved."""
    changed: tuple[Changed, ...]
    new: tuple[Held, ...]
    dropped: tuple[Held, ...]


def held(flow: Flow) -> tuple[Held, ...]:
    """Every weight of a graph, in the order in which the graph meets its owners."""
    return tuple(
        Held(item.address, item.address.removesuffix(f".{item.key}"), item.node.kind.name, item.key, item.shape, item.init, item.trainable, item.buffer)
        for item in flow.weights
    )


def compare(before: Sequence[Held], after: Sequence[Held], moved: Mapping[str, str] | None = None) -> Survey:
    """What survives. `moved`: address before -> address after, of a node or of anything above it.

    A weight survives where its node is of the same kind and it has the same name and shape there:
    a part that another replaced keeps nothing, though a key of both may read the same.
    """
    there = {item.key: item for item in after}
    kept: list[tuple[Held, Held]] = []
    changed: list[Changed] = []
    dropped: list[Held] = []
    for item in before:
        other = there.pop(renamed(item.key, moved or {}), None)
        if other is None:
            dropped.append(item)
        elif (item.kind, item.name, item.shape) == (other.kind, other.name, other.shape):
            kept.append((item, other))
        else:
            changed.append(Changed(item, other))
    return Survey(tuple(kept), tuple(changed), tuple(there.values()), tuple(dropped))


def renamed(key: str, moved: Mapping[str, str]) -> str:
    """A key by its new name: the longest address above it that moved decides."""
    for address in upwards(key):
        if address in moved:
            return moved[address] + key[len(address) :]
    return key


def shape_text(shape: Sequence[int]) -> str:
    """As shapes are shown everywhere: `[64 128]`."""
    return f"[{' '.join(map(str, shape))}]"
