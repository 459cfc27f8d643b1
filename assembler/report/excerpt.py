"""Excerpts: a line of a recipe or an override, with a mark under the exact columns."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from assembler.report.terminal import Style, width_of
from assembler_schemas.span import Span

MAX_BYTES = 4 << 20


class Mark(NamedTuple):
    """A place to underline, with what is said under it. `primary`: ^^^, else ---."""

    span: Span
    label: str
    primary: bool


class Sources:
    """Lines of the files that spans name: from memory, or read once, bounded, regular files only."""

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        self._texts = dict(texts or {})
        self._lines: dict[str, list[str]] = {}

    def line(self, file: str, number: int) -> str | None:
        """Line `number` (from 1) without its break, or None if there is no such line to be had."""
        if file not in self._lines:
            text = self._texts.get(file)
            self._lines[file] = _split(_read(file) if text is None else text)
        lines = self._lines[file]
        return lines[number - 1] if 0 < number <= len(lines) else None


def _split(text: str) -> list[str]:
    """As the reader counts: LF, CRLF and a lone CR end a line, nothing else does."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _read(file: str) -> str:
    try:
        # Not blocking: the name may be a pipe by now.
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError):
        return ""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return ""
    with os.fdopen(handle, "rb") as stream:
        try:
            data = stream.read(MAX_BYTES)
        except OSError:  # a disk, a share that is gone: what is said of the file is said without its lines
            return ""
    return data.decode("utf-8", "replace").removeprefix("\ufeff")


def marked(line: str, marks: list[Mark], room: int, style: Style) -> tuple[str, list[str]]:
    """The shown part of a line, at most `room` columns wide, and one row a mark.

    Columns count in characters; what is shown may be wider (tabs, East Asian characters) or be
    escaped, and the marks follow it. The part is chosen so that the first mark is seen.
    """
    spots = [_columns(line, mark.span) for mark in marks]
    start = _window(line, spots, room, style)
    shown, offsets = _show(line, start, room, style)
    rows = []
    for mark, (first, last) in sorted(zip(marks, spots, strict=True), key=lambda pair: (pair[1], not pair[0].primary)):
        left = offsets[min(max(first - start, 0), len(offsets) - 1)]
        right = offsets[min(max(last - start, 0), len(offsets) - 1)]
        ink = ("^" if mark.primary else "-") * max(1, min(right, room) - left)
        label = style.clean(mark.label, 500)
        rows.append(" " * left + style.paint(f"{ink} {label}".rstrip(), "error" if mark.primary else "frame"))
    return shown, rows


def _columns(line: str, span: Span) -> tuple[int, int]:
    """First character and end (exclusive), from 0, of a span on its first line."""
    first = min(max(span.column - 1, 0), len(line))
    if span.end_line > span.line or (span.override is not None and not span.column):
        return first, max(first, len(line.rstrip()))
    return first, min(max(span.end_column - 1, first), len(line))


def _window(line: str, spots: list[tuple[int, int]], room: int, style: Style) -> int:
    """The first character to show."""
    first = min(left for left, _ in spots)
    last = max(right for _, right in spots)
    if len(line) <= room and width_of("".join(map(style.cell, line))) <= room:
        return 0
    if last <= room * 2 // 3 and line[:last].isascii() and line[:last].isprintable():
        return 0
    return max(0, first - room // 3)


def _show(line: str, start: int, room: int, style: Style) -> tuple[str, list[int]]:
    """Cleaned text from character `start` on, and the column at which each character begins.

    The last entry of the columns is where the text ends.
    """
    dots = style.ellipsis
    lead = dots if start else ""
    cells, offsets, column = [lead], [], width_of(lead)
    for position in range(start, len(line)):
        cell = style.cell(line[position])
        more = width_of(cell)
        rest = position + 1 < len(line)
        if column + more + (width_of(dots) if rest else 0) > room:
            cells.append(dots)
            break
        offsets.append(column)
        cells.append(cell)
        column += more
    offsets.append(column)
    return "".join(cells).rstrip(), offsets
