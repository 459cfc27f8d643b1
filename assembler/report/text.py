"""The report as text: each finding with excerpts of both ends, as rustc prints them."""

from __future__ import annotations

from collections.abc import Iterable

from assembler.report.excerpt import Mark, Sources, marked
from assembler.report.report import LEVELS, Report
from assembler.report.terminal import Style
from assembler_schemas.diagnostic import Diagnostic, Fix
from assembler_schemas.span import Span

PRINTED = 50
MARKS = 12


def render(report: Report, style: Style | None = None) -> str:
    """All findings, at most `PRINTED` of them in full, and one closing line."""
    style = style or Style()
    sources = Sources(report.sources)
    lines: list[str] = []
    for item in report.diagnostics[:PRINTED]:
        lines += [*render_diagnostic(item, sources, style), ""]
    rest = report.diagnostics[PRINTED:]
    if rest:
        lines += [f"{style.ellipsis} and {count_text(rest)} more (--format json lists them)", ""]
    lines += [style.clean(line) for line in _grafts(report)]
    lines.append(closing(report, style))
    return "\n".join(lines) + "\n"


def _grafts(report: Report) -> list[str]:
    found = report.certificates
    if not found:
        return []
    from assembler.report.signals import certified

    return [*map(certified, found), ""]


def closing(report: Report, style: Style) -> str:
    """One line: the recipe's name and how many findings of which level."""
    name = style.clean(report.name, 80) or "recipe"
    found = count_text(report.diagnostics)
    if report.ok:
        size = _size(report)
        return f"{name}: {', '.join([style.paint('ok', 'help'), *size, *([found] if found else [])])}"
    return f"{name}: {style.paint(found, 'error')}"


def _size(report: Report) -> list[str]:
    if report.graph is None or report.facts is None:
        return []
    from assembler.report.tree import summary

    return [summary(report.graph, report.facts)]


def count_text(items: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`; empty for none."""
    counts = dict.fromkeys(LEVELS, 0)
    for item in items:
        counts[item.level] += 1
    return ", ".join(f"{n} {level}{'s' if n > 1 else ''}" for level, n in counts.items() if n)


def render_diagnostic(item: Diagnostic, sources: Sources, style: Style) -> list[str]:
    """The lines of one finding."""
    marks = [Mark(item.span, item.label, True)]
    marks += [Mark(note.span, note.message, False) for note in item.related if _placed(note.span)]
    groups = _groups([mark for mark in marks if _placed(mark.span)])
    last = max((mark.span.line for group in groups for mark in group if mark.span.file and mark.span.override is None), default=0)
    gutter = max(2, len(str(last)))
    lines = [f"{style.paint(f'{item.level}[{item.code}]', item.level)}: {style.paint(style.clean(item.message), 'bold')}"]
    for number, group in enumerate(groups):
        lines += _group(group, "-->" if number == 0 else ":::", gutter, sources, style)
    for note in item.related:
        if not _placed(note.span):
            lines += _remark("note", note.message, gutter, style)
    if len(marks) > MARKS:
        lines += _remark("note", f"{len(marks) - MARKS} more places are not shown", gutter, style)
    advice = item.help or _fix_text(item.fix)
    if advice:
        lines += _remark("help", advice, gutter, style)
    return lines


def _placed(span: Span) -> bool:
    return bool(span.file or span.config) or span.override is not None


def _groups(marks: list[Mark]) -> list[list[Mark]]:
    """Marks of one file, one override or one entry of a mapping together; in the order in which they are first named."""
    groups: dict[tuple[str, int], list[Mark]] = {}
    for mark in marks[:MARKS]:
        span = mark.span
        key = (span.config or span.file, -1) if span.override is None else (span.override, span.index)
        groups.setdefault(key, []).append(mark)
    return list(groups.values())


def _group(marks: list[Mark], arrow: str, gutter: int, sources: Sources, style: Style) -> list[str]:
    span = marks[0].span
    room = style.width - gutter - 3
    frame = style.paint(" " * (gutter + 1) + "|", "frame")
    if span.override is not None:
        head = f"override {span.index + 1}, on the command line or in Python"
        shown, rows = marked(span.override, marks, room, style)
        body = [frame, f"{frame} {shown}", *(f"{frame} {row}" for row in rows)]
    elif span.config:
        head = style.clean(span.config, 300)
        shown, rows = marked(span.text, marks, room, style)
        body = [frame, f"{frame} {shown}", *(f"{frame} {row}" for row in rows)] if span.text else []
    else:
        place = f":{span.line}:{span.column}" if span.line else ""
        head = style.clean(span.file, 300) + place
        body = _excerpt(marks, frame, gutter, room, sources, style)
    return [f"{' ' * gutter}{style.paint(arrow, 'frame')} {head}", *body]


def _excerpt(marks: list[Mark], frame: str, gutter: int, room: int, sources: Sources, style: Style) -> list[str]:
    by_line: dict[int, list[Mark]] = {}
    for mark in marks:
        by_line.setdefault(mark.span.line, []).append(mark)
    lines: list[str] = []
    for number in sorted(by_line):
        text = sources.line(marks[0].span.file, number)
        if text is None:
            lines += [f"{frame} {style.clean(mark.label, 500)}" for mark in by_line[number] if mark.label]
            continue
        shown, rows = marked(text, by_line[number], room, style)
        lines.append(f"{style.paint(f'{number:>{gutter}} |', 'frame')} {shown}".rstrip())
        lines += [f"{frame} {row}" for row in rows]
    return [frame, *lines] if lines else []


def _remark(kind: str, text: str, gutter: int, style: Style) -> list[str]:
    """`= help: ...`; a text of several lines goes on below itself."""
    lead = f"{' ' * (gutter + 1)}{style.paint('=', 'frame')} {style.paint(kind, 'help' if kind == 'help' else 'bold')}: "
    first, *more = text.split("\n")[:40]
    indent = " " * (gutter + 5 + len(kind))
    return [lead + style.clean(first), *(indent + style.clean(line) for line in more)]


def _fix_text(fix: Fix | None) -> str:
    if fix is None or not fix.edits:
        return ""
    edit = fix.edits[0]
    return f"write `{edit.text}` there" if edit.text else "remove it"
