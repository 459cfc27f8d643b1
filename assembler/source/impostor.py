"""Files that are no recipes though they are named so: other languages, pointers, unfinished merges."""

from __future__ import annotations

import itertools
import re

from assembler.source.place import Source
from assembler_schemas.diagnostic import Diagnostic, Note

_FIRST_LINES = (
    ("a Git LFS pointer", re.compile(r"version https://git-lfs\.github\.com/spec/"), "fetch the file itself: `git lfs pull`"),
    ("an HTML or XML page", re.compile(r"<(?:!doctype|html|head|\?xml)\b|<\?xml", re.I), "download the file itself, not the page that shows it"),
    ("a Markdown fence", re.compile(r"```|~~~"), "keep the lines between the fences only"),
    ("Python", re.compile(r"(?:import [\w.]+|from [\w.]+ import .+|(?:async )?def \w+\(.*|class \w+\s*(?:\(.*\))?:)\s*(?:#.*)?$"),
     "a recipe is YAML; `assembler new NAME` writes one to start from"),
)  # fmt: skip
_ANY_LINES = (
    ("TOML", re.compile(r"^\[\[?[\w.\" -]+\]\]?[ \t]*(?:#.*)?\r?\n(?:[ \t]*(?:#.*)?\r?\n){0,50}[\w.\"-]+[ \t]*=[ \t]*\S", re.M),
     "write `key: value`, and indent what belongs to a section"),
    ("a Markdown fence", re.compile(r"^(?:```|~~~)", re.M), "keep the lines between the fences only"),
    ("Python", re.compile(r"^(?:import [\w.]+|from [\w.]+ import |def \w+\(|class \w+\b.*:)[^\n]*$", re.M),
     "a recipe is YAML; `assembler new NAME` writes one to start from"),
    ("TOML or Python", re.compile(r"\A(?:[ \t]*(?:#[^\n]*)?\r?\n){0,50}[\w.\"-]+[ \t]*=[ \t]*\S"),
     "write `key: value`, and indent what belongs to a section"),
)  # fmt: skip
_SIGNIFICANT = re.compile(r"^[ \t]*[^\s#]", re.M)
_CONFLICT = re.compile(r"^(<{7}|\|{7}|={7}|>{7})(?:[ \t][^\n]*)?\r?$", re.M)


def conflict(source: Source) -> Diagnostic | None:
    """Merge-conflict markers: the first is the place, the others of its block are related."""
    if "<<<<<<<" not in source.text and ">>>>>>>" not in source.text:
        return None
    marks = list(itertools.islice(_CONFLICT.finditer(source.text), 1000))
    if not any(m[1][0] in "<>" for m in marks):
        return None
    first, rest = marks[0], marks[1:4]
    notes = tuple(Note("and here", source.span(m.start(), m.end(1))) for m in rest)
    return Diagnostic("yaml-merge-conflict", "a merge conflict was left in the file", source.span(first.start(), first.end(1)),
                      related=notes, help="keep one side, and delete the marker lines")  # fmt: skip


def another_language(source: Source, thorough: bool = False) -> Diagnostic | None:
    """The text is no YAML by its first line; where parsing failed (`thorough`), by any line."""
    line = _SIGNIFICANT.search(source.text)
    start = line.start() if line else 0
    first = source.text[start : start + 400].split("\n", 1)[0].strip()
    for what, pattern, hint in _FIRST_LINES:
        if pattern.match(first):
            return _foreign(source, what, start, hint)
    if thorough:
        for what, pattern, hint in _ANY_LINES:
            found = pattern.search(source.text)
            if found:
                at = start if what.startswith("TOML or") else found.start()
                return _foreign(source, what, at, hint)
    return None


def _foreign(source: Source, what: str, at: int, hint: str) -> Diagnostic:
    span = source.span(at, max(at, source.line_end(at)))
    return Diagnostic("yaml-syntax", f"this looks like {what}, not like a recipe", span, help=hint)
