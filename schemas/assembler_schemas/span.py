"""Where a key or a value was written: a place in a file, the override that set it, or a key of a Python mapping."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """A place in a recipe. Lines and columns count from 1, in characters; the end is exclusive.

    A value set on the command line has `override` (the whole override text) and `index` (its place
    on the command line, from 0); its columns then count inside that text.
    A value of a mapping from Python has `config`, its key path in the caller's configuration, and `text`, its entry as
    YAML would write it; columns count inside `text`, and lines are the order of the entries.
    """

    file: str = ""
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0
    path: str = ""
    override: str | None = None
    index: int = 0  # type: ignore[assignment]
    config: str = ""
    text: str = ""

    def at(self, path: str) -> Span:
        """The same place, said to hold the key path `path`."""
        return self._replace(path=path)

    def __str__(self) -> str:
        if self.override is not None:
            return f"override {self.override!r}"
        if self.config:
            return self.config
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


NOWHERE = Span()
