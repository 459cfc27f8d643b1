"""How many nodes a graph will hold once its slots are filled: arithmetic on what is written, nothing is built.

Slots inside slots double at each level, so ten lines may ask for 2**40 nodes. What is counted is never
too much: what is not known beforehand counts as one, and the builder counts again while it builds.
"""

from __future__ import annotations

from collections.abc import Mapping

from assembler.source.recipe import Place, Slot

MAX_DEPTH = 128
"""Parts and slots within one another that are looked into; the builder stops at half as many parts."""


def forecast(place: Place, slots: Mapping[str, Slot]) -> int:
    """How many written nodes a place unfolds into, where these slots are known."""
    return _Count(slots).place(place, 0)


class _Count:
    def __init__(self, slots: Mapping[str, Slot]) -> None:
        self.slots = slots
        self.known: dict[str, int] = {}
        """Slot -> what its filler unfolds into; one while that is being counted."""

    def place(self, place: Place, depth: int) -> int:
        if depth > MAX_DEPTH:
            return 1
        item = place.fields.get("slot")
        if item is not None and isinstance(item.data, str):
            return self.slot(item.data, depth + 1)
        if place.graph is not None and place.graph.slots:
            return 1  # it looks ahead itself once it is built
        inside = place.graph.nodes if place.graph is not None else place.parts or {}
        return 1 + sum(self.place(item, depth + 1) for item in inside.values())

    def slot(self, name: str, depth: int) -> int:
        if name not in self.known:
            self.known[name] = 1
            slot = self.slots.get(name)
            if slot is not None and slot.filler is not None:
                self.known[name] = self.place(slot.filler, depth)
        return self.known[name]
