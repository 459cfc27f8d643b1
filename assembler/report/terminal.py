"""What a terminal can show: colour, width, characters. Everything that is printed passes here."""

from __future__ import annotations

import os
import sys
import unicodedata
from functools import lru_cache
from typing import NamedTuple, TextIO

MIN_WIDTH, MAX_WIDTH = 40, 400
TAB = 4

_COLOURS = {
    "error": "1;31", "warning": "1;33", "note": "1;36", "help": "1;32", "frame": "1;34", "bold": "1", "dim": "2",
    "added": "1;35",
}  # fmt: skip


class Style(NamedTuple):
    """How to print: `width` in columns, colour or none, and the encoding ("" = any character)."""

    width: int = 100
    colour: bool = False
    encoding: str = ""

    def paint(self, text: str, name: str) -> str:
        return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if self.colour and text else text

    def cell(self, char: str) -> str:
        """One character as it is shown: itself, or its escape where it would steer the terminal
        or cannot be encoded."""
        return _cell(char, self.encoding)

    def clean(self, text: str, limit: int = 2000) -> str:
        """`text` on one line, escaped, cut after `limit` characters with a count of the rest."""
        head = text[:limit]
        shown = head if head.isascii() and head.isprintable() else "".join(map(self.cell, head))
        return shown if len(text) <= limit else f"{shown}{self.ellipsis} ({len(text) - limit} more characters)"

    @property
    def ellipsis(self) -> str:
        return "…" if self.can("…") else "..."

    def can(self, text: str) -> bool:
        """Whether the output can hold `text`."""
        if not self.encoding:
            return True
        try:
            text.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True


@lru_cache(maxsize=4096)
def _cell(char: str, encoding: str) -> str:
    if char == "\t":
        return " " * TAB
    category = unicodedata.category(char)
    # Control, format (bidi, zero width), surrogate, private, unassigned; line and paragraph separators.
    if category[0] == "C" or category in ("Zl", "Zp"):
        return _escape(char)
    return char if Style(encoding=encoding).can(char) else _escape(char)


def _escape(char: str) -> str:
    named = {"\n": "\\n", "\r": "\\r"}.get(char)
    code = ord(char)
    return named or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def width_of(text: str) -> int:
    """Terminal columns that already cleaned text takes: East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


@lru_cache(maxsize=4096)
def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def style_of(stream: TextIO | None) -> Style:
    """What fits a stream: colour only on a terminal, without NO_COLOR; its width and encoding."""
    terminal = stream is not None and _is_terminal(stream)
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    # A wide fixed width where nobody looks at a terminal: output does not depend on who runs it.
    width = _columns_of(stream) if terminal and stream is not None else 100
    encoding = (getattr(stream, "encoding", "") or "").lower().replace("_", "-")
    return Style(max(MIN_WIDTH, min(width, MAX_WIDTH)), colour, "" if encoding in ("utf-8", "utf8") else encoding)


def _columns_of(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 100
    except (OSError, ValueError):
        return 100


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def write(text: str, stream: TextIO | None = None) -> None:
    """Print to a stream (standard output), which may be closed already or break while we write."""
    out = sys.stdout if stream is None else stream
    if out is None:
        return
    out.write(text if text.endswith("\n") or not text else text + "\n")
    out.flush()
