"""The report as data: the JSON of `--format json`, version 1. Complete up to 5 MB, then counted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from assembler.adapters import bridges
from assembler.report.report import Report
from assembler.report.walk import Row, active, total, walk
from assembler_schemas.diagnostic import Diagnostic, Fix
from assembler_schemas.shape import Type
from assembler_schemas.span import Span

VERSION = 1
MAX_BYTES = 5_000_000
MAX_TEXT = 20_000
MAX_NODES = 20_000
"""Copies are listed one by one up to this many nodes, else as ranges."""

Data = dict[str, Any]


def to_json(report: Report, limit: int = MAX_BYTES) -> str:
    """One line of ASCII JSON, at most `limit` bytes long."""
    return json.dumps(to_data(report, limit), ensure_ascii=True, allow_nan=False, separators=(", ", ": "))


def to_data(report: Report, limit: int = MAX_BYTES) -> Data:
    """The report as plain data. What does not fit is counted, as `diagnostics_left_out`, `nodes_left_out`."""
    budget = _Budget(limit - 2_000)
    budget.take(_text(report.name))
    # Findings come first; a small part is kept for the model.
    diagnostics = budget.fill((diagnostic_data(item) for item in report.diagnostics), keep=limit // 10)
    data: Data = {"version": VERSION, "ok": report.ok, "recipe": _text(report.name), "diagnostics": diagnostics}
    if len(diagnostics) < len(report.diagnostics):
        data["diagnostics_left_out"] = len(report.diagnostics) - len(diagnostics)
    certificates = report.certificates
    if certificates:
        from assembler.report.signals import certificate_data

        data["grafts"] = budget.fill(dict(certificate_data(item)) for item in certificates)
    data["model"] = _model(report, budget)
    return data


class _Budget:
    """How many bytes of JSON are left."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, item: object, keep: int = 0) -> bool:
        size = len(json.dumps(item, ensure_ascii=True)) + 2
        if self.left - size < keep:
            return False
        self.left -= size
        return True

    def fill(self, items: Iterable[Data], keep: int = 0) -> list[Data]:
        found = []
        for item in items:
            if not self.take(item, keep):
                break
            found.append(item)
        return found


def _text(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text) - MAX_TEXT} more characters)"


def diagnostic_data(item: Diagnostic) -> Data:
    return {
        "code": item.code,
        "level": item.level,
        "message": _text(item.message),
        "span": span_data(item.span),
        "label": _text(item.label),
        "related": [{"message": _text(note.message), "span": span_data(note.span)} for note in item.related[:1000]],
        "help": _text(item.help),
        "fix": _fix(item.fix),
    }


def span_data(span: Span) -> Data:
    """A place: in a file, (with `override` instead of `file`) in an override, or a key path of a mapping; {} for none."""
    data: Data = {}
    if span.override is not None:
        data |= {"override": _text(span.override), "index": span.index}
    elif span.file:
        data["file"] = _text(span.file)
    if data and span.line:
        data |= {"line": span.line, "column": span.column, "end_line": span.end_line, "end_column": span.end_column}
    if span.config or span.path:
        data["path"] = _text(span.config or span.path)
    return data


def _fix(fix: Fix | None) -> Data | None:
    if fix is None:
        return None
    edits = [{"span": span_data(edit.span), "text": _text(edit.text)} for edit in fix.edits]
    return {"applicability": fix.applicability, "edits": edits}


def _model(report: Report, budget: _Budget) -> Data | None:
    if report.graph is None or report.facts is None:
        return None
    rows = walk(report.graph, report.facts)
    parameters, trainable = total(rows)
    root = report.facts.root
    unfold = _leaves(rows) <= MAX_NODES
    listed = list(_nodes(rows, unfold))
    model: Data = {"parameters": parameters, "trainable": trainable}
    used = active(rows)
    if used is not None:
        model["active"] = used
    # Interfaces are as long as the recipe: they are counted against the budget like nodes.
    model["adapters"] = _within(budget, [(address, address) for address, row, _ in listed if row.adapter], list)
    model["inputs"] = _within(budget, [(name, _type(kind)) for name, kind in root.inputs.items()], dict)
    model["outputs"] = _within(budget, [(name, _type(kind)) for name, kind in root.outputs.items()], dict)
    nodes: Data = {}
    for address, row, copies in listed:
        entry = _node(row, copies)
        if not budget.take({address: entry}):
            model["nodes_left_out"] = len(listed) - len(nodes)
            break
        nodes[address] = entry
    return model | {"nodes": nodes}


def _within(budget: _Budget, items: list[tuple[str, str | None]], shape: type) -> Any:
    kept = [(name, text) for name, text in items if budget.take({name: text})]
    return dict(kept) if shape is dict else [name for name, _ in kept]


def _leaves(rows: list[Row]) -> int:
    """How many leaves there are, every copy counted."""
    copies: list[int] = []
    found = 0
    for row in rows:
        above = copies[row.parent] if row.parent >= 0 else 1
        copies.append(above * (len(row.copies) if row.copies is not None and _indexed(rows, row) else 1))
        found += copies[-1] if row.kind != "repeat" and not row.children else 0
    return found


def _indexed(rows: list[Row], row: Row) -> bool:
    """Whether the copies of this run have addresses of their own (they do not where weights are shared)."""
    return row.copies is not None and row.address != rows[row.parent].address


def _nodes(rows: list[Row], unfold: bool) -> Iterator[tuple[str, Row, int]]:
    """Every leaf with its address: copy after copy, or (not unfolded) one for each range of copies.

    The number says how many copies an address stands for.
    """
    todo = [(index, "", 1) for index, row in reversed(list(enumerate(rows))) if row.parent < 0]
    while todo:
        index, prefix, copies = todo.pop()
        row = rows[index]
        if row.copies is not None and not _indexed(rows, row):
            addresses = [prefix]
        else:
            names = map(str, row.copies) if row.copies is not None and unfold else [row.name]
            addresses = [f"{prefix}.{name}" if prefix else name for name in names]
            copies *= len(row.copies) if row.copies is not None and not unfold else 1
        if not row.children:
            if row.kind != "repeat":
                yield from ((address, row, copies) for address in addresses)
            continue
        todo.extend((child, address, copies) for address in reversed(addresses) for child in reversed(row.children))


def _node(row: Row, copies: int) -> Data:
    known = row.facts
    entry: Data = {
        "kind": row.kind,
        "in": {name: _types(kinds) for name, kinds in known.inputs.items()} if known else {},
        "out": {name: _type(kind) for name, kind in known.outputs.items()} if known else {},
        "parameters": _each(row),
    }
    if row.node.cause:
        entry["cause"] = _text(row.node.cause)
    if known is not None and known.definition is not None:
        effect = bridges.gradient(known.definition)
        found = bridges.bridge(row.kind, known) if row.adapter else None
        if found is not None:
            entry |= {"macs": found.macs, "loses": found.loses, "gradient": effect}
        elif effect in ("estimated", "none"):
            entry["gradient"] = effect
    if not row.built:
        entry["built"] = False
    same = getattr(row.node, "same", "")
    if same:
        entry["same"] = same
    if copies > 1:
        entry["copies"] = copies
    return entry


def _type(kind: Type | None) -> str | None:
    return None if kind is None else _text(str(kind))


def _types(kinds: tuple[Type | None, ...]) -> str | list[str | None] | None:
    """One type, or (for a port of many edges) a list of them."""
    return _type(kinds[0]) if len(kinds) == 1 else [_type(kind) for kind in kinds]


def _each(row: Row) -> int | None:
    """Parameters of one copy."""
    return row.parameters // row.weights if row.parameters and row.weights else row.parameters


