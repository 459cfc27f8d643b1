"""Recipe trees as YAML text, with the line of every key path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str | int, ...]
WIDTH = 150
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.*+/ -]*\Z")
_BLOCK = frozenset({"nodes", "parts", "inputs", "outputs", "slots", "rules"})
"""Mappings whose entries stand on lines of their own."""


@dataclass(slots=True)
class Page:
    """The text, and the line (from 1) on which each key path stands."""

    lines: list[str] = field(default_factory=list)
    where: dict[Path, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def line(self, *path: str | int) -> int:
        """The line of a path, or of the nearest thing above it that has one."""
        while path not in self.where and path:
            path = path[:-1]
        return self.where.get(path, 1)


def scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if "e" not in repr(value) or "." in repr(value) else repr(value).replace("e", ".0e")
    if isinstance(value, int):
        return str(value)
    text = str(value)
    plain = _PLAIN.match(text) and text.lower() not in {
        "null",
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
        "~",
    }
    return text if plain and not text.endswith(" ") and " #" not in text else f'"{text}"'


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def render(tree: dict[str, Any]) -> Page:
    """The page of a tree: short values on one line, long ones and those with parts as blocks."""
    page = Page()
    _block(page, tree, (), 0)
    return page


def _block(page: Page, tree: dict[str, Any], path: Path, depth: int) -> None:
    for key, value in tree.items():
        here = (*path, key)
        text = flow(value)
        head = "  " * depth + f"{key}: "
        if isinstance(value, dict) and value and (key in _BLOCK or _opens(value) or len(head) + len(text) > WIDTH):
            page.lines.append(head.rstrip())
            page.where[here] = len(page.lines)
            _block(page, value, here, depth + 1)
        else:
            page.lines.append(head + text)
            for each in _paths(value, here):
                page.where[each] = len(page.lines)


def _opens(value: dict[str, Any]) -> bool:
    return "nodes" in value or "parts" in value


def _paths(value: Any, path: Path) -> Iterable[Path]:
    yield path
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    for key, item in items:
        yield from _paths(item, (*path, key))
