"""The report as GitHub workflow commands: each finding an annotation at its line.

    ::error file=model.yaml,line=3,endLine=3,col=9,endColumn=14,title=unknown-kind::there is no kind `liner`

The runner reads a command a line; what is not a plain letter in one is escaped as its toolkit does
(actions/toolkit, `command.ts`): `%`, CR and LF, and in properties `:` and `,` too. Other control
letters are shown as everywhere in reports, so that a log shows what a recipe says and obeys none of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from assembler.report.report import Report
from assembler.report.terminal import Style
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import Span

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def to_github(report: Report) -> str:
    """One line for each finding; nothing where there is none."""
    return "".join(f"{_command(item)}\n" for item in report.diagnostics)


def _command(item: Diagnostic) -> str:
    properties = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in [*_place(item.span), ("title", item.code)])
    return f"::{_LEVELS[item.level]} {properties}::{_escaped(_message(item))}"


def _place(span: Span) -> Iterator[tuple[str, str]]:
    """What an override sets has no place in a file. Columns go with one line only, as GitHub takes them."""
    if not span.file or span.override is not None:
        return
    yield "file", Style().clean(span.file)
    if span.line:
        yield from (("line", str(span.line)), ("endLine", str(span.end_line)))
    if span.line and span.line == span.end_line:
        yield from (("col", str(span.column)), ("endColumn", str(span.end_column)))


def _message(item: Diagnostic) -> str:
    """What is wrong, where else, and what helps: a line each."""
    lines = [item.message]
    if item.span.override is not None:
        lines.append(f"in the {item.span}")
    lines += [f"{note.message} ({note.span})" if str(note.span) else note.message for note in item.related[:12]]
    lines += [f"help: {item.help}"] if item.help else []
    clean = Style().clean
    return "\n".join(clean(line) for text in lines for line in text.split("\n"))


def _escaped(text: str, more: str = "") -> str:
    for letter in "%\r\n" + more:
        text = text.replace(letter, f"%{ord(letter):02X}")
    return text
