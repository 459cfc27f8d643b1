"""The tree between bytes and a recipe: plain data whose every value knows its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from assembler_schemas.span import NOWHERE, Span

Data = None | bool | int | float | str | list["Value"] | dict[str, "Value"]


class Value:
    """One value of a recipe: its data, where it stands, where its key stands, and its layer.

    `layer` counts the files and, last, the overrides in the order in which they were merged: a
    later layer wins. Trees are shared and never changed once made; merging copies what it touches.
    """

    __slots__ = ("data", "key", "layer", "span")

    def __init__(self, data: Any, span: Span = NOWHERE, key: Span = NOWHERE, layer: int = 0) -> None:
        self.data = data
        self.span = span
        self.key = key
        self.layer = layer

    def __repr__(self) -> str:
        return f"Value({self.plain()!r}, {self.span})"

    def items(self) -> Iterator[tuple[str, Value]]:
        """Key and value of a mapping; nothing for anything else."""
        return iter(self.data.items()) if isinstance(self.data, dict) else iter(())

    def get(self, key: str) -> Value | None:
        return self.data.get(key) if isinstance(self.data, dict) else None

    def plain(self) -> Any:
        """The data without its places. Depth is bounded by the reader's budget."""
        if isinstance(self.data, dict):
            return {key: value.plain() for key, value in self.data.items()}
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        return self.data


def value_of(data: Any, span: Span = NOWHERE, layer: int = 0) -> Value:
    """Plain Python data as a tree that stands at `span` everywhere (Python callers, overrides)."""
    if isinstance(data, dict):
        return Value({str(k): value_of(v, span, layer) for k, v in data.items()}, span, span, layer)
    if isinstance(data, (list, tuple)):
        return Value([value_of(v, span, layer) for v in data], span, span, layer)
    return Value(data, span, span, layer)
