"""The text of one file, and where its offsets lie. What lives here turns offsets into spans."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property

from assembler_schemas.diagnostic import Edit, Fix
from assembler_schemas.span import Span

_BREAK = re.compile(r"\r?\n")


class Source:
    """A decoded text under the name that spans show. Offsets count characters from 0."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text

    @cached_property
    def starts(self) -> list[int]:
        """The offset at which each line starts."""
        return [0, *(match.end() for match in _BREAK.finditer(self.text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1."""
        line = bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1

    def offset(self, line: int, column: int) -> int:
        """The offset of a line and a column (both from 1), within the text."""
        return min(self.starts[min(line, len(self.starts)) - 1] + column - 1, len(self.text))

    def span(self, start: int, end: int, path: str = "") -> Span:
        return Span(self.file, *self.place(start), *self.place(max(start, end)), path)

    def of(self, span: Span) -> str:
        """What stands at `span`."""
        return self.text[self.offset(span.line, span.column) : self.offset(span.end_line, span.end_column)]

    def line(self, offset: int) -> str:
        """The whole line, without its break, in which an offset lies."""
        row = bisect_right(self.starts, offset)
        end = self.starts[row] if row < len(self.starts) else len(self.text)
        return self.text[self.starts[row - 1] : end].rstrip("\r\n")

    def line_end(self, offset: int) -> int:
        """The offset behind the last word of the line in which `offset` lies; a comment does not count."""
        start = self.starts[bisect_right(self.starts, offset) - 1]
        line = self.line(offset)
        note = re.search(r"(?:^|[ \t])#", line[offset - start :])
        return start + len(line[: offset - start + note.start() if note else None].rstrip())

    def word_end(self, offset: int, flow: bool) -> int:
        """The offset behind the unquoted value that starts at `offset`; in a flow, before `,`, `]` or `}`."""
        end = self.line_end(offset)
        stop = re.search(r"[,\]}]", self.text[offset + 1 : end]) if flow else None
        return offset + 1 + len(self.text[offset + 1 : offset + 1 + stop.start()].rstrip()) if stop else end


def quoted(text: str) -> str:
    """The text in double quotes, as YAML reads it back."""
    body = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + body.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") + '"'


def shown(text: str, most: int = 60) -> str:
    """The text as messages quote it: one line, cut, between backticks, what does not print as its code point."""
    line = visible(" ".join(text[: 4 * most].split()))
    return f"`{line if len(line) <= most else line[: most - 1] + '…'}`"


def visible(text: str) -> str:
    """The text with everything that does not print written as `\\u202e`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def replace(span: Span, text: str, maybe: bool = False) -> Fix:
    """The fix that writes `text` in place of what stands at `span`."""
    return Fix((Edit(span, text),), "maybe" if maybe else "safe")
