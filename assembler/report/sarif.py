"""Reports as SARIF 2.1.0 (OASIS), for code scanning: rules from the pages of the codes, findings with their places and fixes.

Columns count characters and ends are exclusive, as in spans (`columnKind: unicodeCodePoints`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from assembler.report.explain import explain
from assembler.report.report import Report
from assembler_schemas.codes import CODES
from assembler_schemas.diagnostic import Diagnostic, Fix, Note
from assembler_schemas.span import Span

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MAX_BYTES = 5_000_000
"""Of findings; what does not fit is counted. Code scanning takes twice that, compressed."""
MAX_TEXT = 20_000
MAX_RELATED = 100

Data = dict[str, Any]


def to_sarif(reports: Iterable[tuple[str, Report]], version: str, limit: int = MAX_BYTES) -> str:
    """One log with one run: all findings about recipes, each with the name of its file. ASCII."""
    rules: dict[str, int] = {}
    """Code -> its place in the list of rules."""
    results: list[Data] = []
    left, out = limit, 0
    for file, report in reports:
        for item in report.diagnostics:
            result = _result(item, file, rules.get(item.code, len(rules)))
            left -= len(json.dumps(result)) + 2
            if left < 0:
                out += 1
                continue
            rules.setdefault(item.code, len(rules))
            results.append(result)
    driver = {"name": "assembler", "version": version, "rules": [_rule(code) for code in rules]}
    run: Data = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "invocations": [_invocation(out)], "results": results}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=True, allow_nan=False, indent=1)


def _invocation(out: int) -> Data:
    found: Data = {"executionSuccessful": True}
    if out:
        found["toolExecutionNotifications"] = [{"level": "warning", "message": {"text": f"{out} more findings are left out"}}]
    return found


def _rule(code: str) -> Data:
    page = explain(code) or ""
    told = [block for block in page.partition("```")[0].strip().split("\n\n")[2:] if block.strip()]
    return {
        "id": code,
        "shortDescription": {"text": CODES[code].summary},
        "fullDescription": {"text": "\n\n".join(told) or CODES[code].summary},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"level": CODES[code].level},
    }


def _result(item: Diagnostic, file: str, rule: int) -> Data:
    text = item.message
    if item.span.override is not None:
        text += f" (in the {item.span})"
    if item.help:
        text += f"\nhelp: {item.help}"
    result: Data = {"ruleId": item.code, "ruleIndex": rule, "level": item.level, "message": {"text": _text(text)}, "locations": [_location(item.span, file)]}
    if item.related:
        result["relatedLocations"] = [_related(number, note) for number, note in enumerate(item.related[:MAX_RELATED])]
    fix = _fix(item.fix) if item.fix is not None else None
    if fix is not None:
        result["fixes"] = [fix]
    return result


def _location(span: Span, file: str) -> Data:
    """Every finding is in a file: one about an override, in the recipe that it was given to."""
    placed = bool(span.file) and span.override is None
    found: Data = {"physicalLocation": _physical(span if placed else Span(file=file))}
    if span.path:
        found["logicalLocations"] = [{"fullyQualifiedName": _text(span.path), "kind": "member"}]
    return found


def _related(number: int, note: Note) -> Data:
    found: Data = {"id": number, "message": {"text": _text(note.message)}}
    if note.span.file and note.span.override is None:
        found["physicalLocation"] = _physical(note.span)
    return found


def _physical(span: Span) -> Data:
    found: Data = {"artifactLocation": {"uri": uri(span.file)}}
    if span.line:
        found["region"] = _region(span)
    return found


def _region(span: Span) -> Data:
    return {"startLine": span.line, "startColumn": span.column, "endLine": span.end_line, "endColumn": span.end_column}


def _fix(fix: Fix) -> Data | None:
    """The edits by file; None where one changes an override, which is no file."""
    if not fix.edits or any(not edit.span.file or edit.span.override is not None or not edit.span.line for edit in fix.edits):
        return None
    changes: dict[str, list[Data]] = {}
    for edit in fix.edits:
        changes.setdefault(edit.span.file, []).append({"deletedRegion": _region(edit.span), "insertedContent": {"text": edit.text}})
    described = "mends it" if fix.applicability == "safe" else "may be what is meant"
    return {"description": {"text": described}, "artifactChanges": [_change(name, edits) for name, edits in changes.items()]}


def _change(file: str, edits: Sequence[Data]) -> Data:
    return {"artifactLocation": {"uri": uri(file)}, "replacements": list(edits)}


def uri(file: str) -> str:
    """A relative path stays relative, to wherever the log is read; an absolute one is a `file:` URI (RFC 3986, RFC 8089)."""
    path = file.replace(os.sep, "/")
    quoted = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in _bytes(path))
    return f"file://{'' if path.startswith('/') else '/'}{quoted}" if os.path.isabs(file) else quoted


def _bytes(path: str) -> bytes:
    try:
        return path.encode("utf-8", "surrogateescape")  # the bytes of a file's name that are no text
    except UnicodeEncodeError:  # half of a pair, which no file is called
        return path.encode("utf-8", "surrogatepass")


_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")
"""Bytes that stand for themselves in a path of a URI."""


def _text(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text) - MAX_TEXT} more characters)"
