"""A sweep as text, JSON lines or CSV: one line a variant, given on as soon as it is known.

Whatever a recipe or an override says stays within its cell: in text it is escaped as in every report, JSON is ASCII,
and CSV quotes by RFC 4180. A spreadsheet would run a cell of CSV that begins like a formula, quoted or not: such a
cell gets an apostrophe in front (OWASP, CSV injection); `plain_cell` takes it off again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from assembler.facts.flops import flops
from assembler.report.data import diagnostic_data
from assembler.report.report import Report
from assembler.report.terminal import Style, width_of
from assembler.report.text import count_text
from assembler.report.walk import active, total, walk
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.dim import DimLimit, show, substitute

if TYPE_CHECKING:
    from assembler.compare.sweep import Sweep, Variant

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""What makes a cell of CSV a formula, or would be taken for the apostrophe that keeps it from being one."""
CELL = 40
WIDTHS = {"parameters": 15, "flops": 21}
COLUMNS = ("verdict", "errors", "warnings", "parameters", "trainable", "active", "flops", "code", "message", "place")
"""Of CSV, behind the overrides."""


Sizes = Mapping[str, int]
"""Run-time sizes by name, at which operations are counted."""


class Size(NamedTuple):
    """How large a model is, in whole numbers; None where that cannot be said."""

    parameters: int | None
    trainable: int | None
    active: int | None
    """Parameters that one row of the input goes through, where that is fewer: with mixtures of experts."""


def size(report: Report) -> Size | None:
    """None of what does not check: an override that is refused is left out, and the rest would be another model."""
    if not report.ok or report.graph is None or report.facts is None:
        return None
    rows = walk(report.graph, report.facts)
    return Size(*total(rows), active(rows))


def work(report: Report, sizes: Sizes) -> int | str | None:
    """Floating point operations of a forward pass: a number, or a text over the sizes that are not given."""
    found = flops(report.graph, report.facts) if report.ok and report.graph is not None and report.facts is not None else None
    try:
        found = None if found is None else substitute(found, sizes)
    except DimLimit:  # more than 64 bits
        return None
    return found if found is None or isinstance(found, int) else show(found)


def first(report: Report) -> Diagnostic | None:
    """The first error; findings are in order, errors before all others."""
    return next((item for item in report.diagnostics if item.level == "error"), None)


def values(sweep: Sweep, variant: Variant) -> list[str]:
    """What the variant has for each axis that has several values."""
    return [text.partition("=")[2] for text, axis in zip(variant.overrides, sweep.axes, strict=True) if axis.swept]


class Form(NamedTuple):
    """How a sweep is written: a head, a line for each variant, and an end that is told how many check and how many do not."""

    head: str
    row: Callable[[Variant], str]
    foot: Callable[[int, int], str]


def put(sweep: Sweep, form: Form, write: Callable[[str], object]) -> int:
    """Write every line as soon as its variant is checked. How many variants do not check."""
    failed = 0
    write(form.head)
    for variant in sweep:
        write(form.row(variant))
        failed += not variant.report.ok
    write(form.foot(len(sweep) - failed, failed))
    return failed


# --- text ---
def text(sweep: Sweep, style: Style | None = None, sizes: Sizes | None = None) -> Form:
    """A table, as wide as what the axes hold, and a closing line. `sizes`: operations too, at these sizes."""
    style = style or Style()
    swept = [axis for axis in sweep.axes if axis.swept]
    widths = [min(CELL, max(width_of(style.clean(item)) for item in (axis.key, *(each.partition("=")[2] for each in axis.overrides)))) for axis in swept]

    def cells(items: Sequence[str]) -> list[str]:
        return [_cell(item, width, style) for item, width in zip(items, widths, strict=True)]

    def row(variant: Variant) -> str:
        return _line([*cells(values(sweep, variant)), *_numbers(variant.report, sizes), _verdict(variant.report, style)])

    def foot(passed: int, failed: int) -> str:
        whole = passed + failed
        return f"{whole:,} variant{'s' if whole != 1 else ''}: {passed:,} ok{f', {failed:,} with errors' if failed else ''}\n"

    named = ["parameters"] if sizes is None else ["parameters", "flops"]
    head = _line([*cells([axis.key for axis in swept]), *(f"{name:>{WIDTHS[name]}}" for name in named), "verdict"])
    return Form(head, row, foot)


def _numbers(report: Report, sizes: Sizes | None) -> list[str]:
    known = size(report)
    found: list[int | str | None] = [known.parameters if known is not None else None]
    found += [work(report, sizes)] if sizes is not None else []
    return [f"{f'{item:,}' if isinstance(item, int) else item or '-':>{width}}" for item, width in zip(found, WIDTHS.values(), strict=False)]


def _verdict(report: Report, style: Style) -> str:
    wrong = first(report)
    if wrong is not None:
        errors = count_text([item for item in report.diagnostics if item.level == "error"])
        return f"{style.paint(errors, 'error')}: {style.clean(f'{wrong.code}: {wrong.message}', 300)}"
    known, said = size(report), count_text(report.diagnostics)
    more = [f"{known.active:,} active"] if known is not None and known.active is not None else []
    return ", ".join([style.paint("ok", "help"), *more, *([said] if said else [])])


def _cell(text: str, width: int, style: Style) -> str:
    shown = style.clean(text)
    while width_of(shown) > width:
        shown = shown[: -1 - len(style.ellipsis) if shown.endswith(style.ellipsis) else -len(style.ellipsis)] + style.ellipsis
    return shown + " " * (width - width_of(shown))


def _line(cells: Sequence[str]) -> str:
    return "  ".join(cells).rstrip() + "\n"


# --- JSON ---
def json_lines(sizes: Sizes | None = None) -> Form:
    """One object a line: the overrides, the verdict, the size, and the first error as `check --format json` has it."""
    return Form("", lambda variant: _object(variant, sizes or {}), _no_foot)


def _object(variant: Variant, sizes: Sizes) -> str:
    report = variant.report
    wrong, known = first(report), size(report)
    data: dict[str, Any] = {"version": 1, "overrides": list(variant.overrides), "ok": report.ok}
    data.update((level, number) for level, number in report.counts.items())
    data |= known._asdict() if known is not None else dict.fromkeys(Size._fields)
    data["flops"] = work(report, sizes)
    data["first"] = diagnostic_data(wrong) if wrong is not None else None
    return json.dumps(data, ensure_ascii=True, allow_nan=False) + "\n"


# --- CSV ---
def csv_lines(sweep: Sweep, sizes: Sizes | None = None) -> Form:
    """A head, and one record a variant: the values of the axes, then `COLUMNS`. Empty where a size is unknown."""

    def row(variant: Variant) -> str:
        report = variant.report
        wrong, known, counts = first(report), size(report), report.counts
        said = [wrong.code, wrong.message, str(wrong.span)] if wrong is not None else ["", "", ""]
        numbers = known if known is not None else (None, None, None)
        return _record([*values(sweep, variant), "ok" if report.ok else "error", counts["error"], counts["warning"], *numbers, work(report, sizes or {}), *said])

    return Form(_record([*(axis.key for axis in sweep.axes if axis.swept), *COLUMNS]), row, _no_foot)


def _no_foot(passed: int, failed: int) -> str:
    return ""


def _record(cells: Sequence[object]) -> str:
    out = io.StringIO()
    # It quotes what holds a letter of its line end: CR too is to be in quotes.
    csv.writer(out, lineterminator="\r\n").writerow([harmless_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return out.getvalue().removesuffix("\r\n") + "\n"


def harmless_cell(text: str) -> str:
    """A text that no spreadsheet runs."""
    return f"'{text}" if text.startswith(FORMULA) and not _number(text) else text


def plain_cell(text: str) -> str:
    """The text that `harmless_cell` was given."""
    return text[1:] if text.startswith("'") else text


def _number(text: str) -> bool:
    """`-4` and `+1e-3` are numbers and no formulas."""
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
