"""Small recipes as text: what is said about them and where, and what is known of every node."""

from __future__ import annotations

import re
import textwrap

from assembler.assemble import examine
from assembler.facts.count import totals
from assembler.report.report import Report
from assembler.report.walk import Row, walk
from assembler.source.parse import parse
from assembler.source.text import read_text
from assembler_schemas.diagnostic import Diagnostic

MARK = re.compile(r"[ \t]*#~ ([a-z -]+)$", re.MULTILINE)


def check(text: str, *, frozen: bool = False) -> Report:
    """Everything `check` finds in a recipe's text, in this process and without a file."""
    tree, found = read_text(textwrap.dedent(text).encode(), "recipe.yaml")
    assert tree is not None, found
    recipe, more = parse(tree)
    return examine(recipe, [*found, *more], frozen)


def good(text: str) -> Report:
    """A recipe without errors or warnings."""
    report = check(text)
    loud = [item for item in report.diagnostics if item.level != "note"]
    assert not loud, "\n".join(map(str, loud))
    return report


def codes(report: Report) -> list[tuple[str, int]]:
    """Code and line of each finding."""
    return sorted((item.code, item.span.line) for item in report.diagnostics)


def bad(text: str, *, frozen: bool = False, notes: bool = False) -> Diagnostic:
    """A recipe in which every finding stands at its mark `#~ code` (several: divided by spaces), and none elsewhere.

    Returns the first finding.
    """
    text = textwrap.dedent(text)
    wanted = sorted((code, text[: mark.start()].count("\n") + 1) for mark in MARK.finditer(text) for code in mark[1].split())
    report = check(MARK.sub("", text), frozen=frozen)
    found = [item for item in report.diagnostics if notes or item.level != "note" or any(item.code == code for code, _ in wanted)]
    shown = "\n".join(f"{item.span.line}: {item.code}: {item.message} | {item.help}" for item in found)
    assert sorted((item.code, item.span.line) for item in found) == wanted, shown
    return found[0]


def rows(report: Report) -> list[Row]:
    assert report.graph is not None
    assert report.facts is not None
    return walk(report.graph, report.facts)


def names(report: Report) -> list[str]:
    """The address of every node, in the order of the graph; copies as `*`, `3`, `0:3`."""
    return [row.address for row in rows(report)]


def kinds(report: Report) -> dict[str, str]:
    """Address -> kind, of leaves and groups."""
    return {row.address: row.kind for row in rows(report) if row.kind != "repeat"}


def outputs(report: Report) -> dict[str, str]:
    """Address -> the type of its first output, of every node."""
    found = {}
    for row in rows(report):
        assert row.facts is not None
        found[row.address] = str(next(iter(row.facts.outputs.values()), None))
    return found


def gives(report: Report) -> dict[str, str]:
    """The types of the model's own outputs."""
    assert report.facts is not None
    return {name: str(kind) for name, kind in report.facts.root.outputs.items()}


def inputs(report: Report, address: str) -> dict[str, list[str]]:
    """The types that reach each port of one node."""
    row = next(row for row in rows(report) if row.address == address)
    assert row.facts is not None
    return {port: [str(kind) for kind in kinds] for port, kinds in row.facts.inputs.items()}


def wires(report: Report, address: str = "") -> dict[str, dict[str, list[str]]]:
    """Node -> port -> what feeds it (`node.port`, or `.input` of the scope), in one scope."""
    assert report.graph is not None
    scope = report.graph.scope
    if address:
        row = next(row for row in rows(report) if row.address == address)
        scope = row.node.scope  # type: ignore[union-attr]
    return {
        name: {port: [f"{edge.source.node}.{edge.source.port}" for edge in edges] for port, edges in node.inputs.items()}
        for name, node in scope.nodes.items()
    }  # fmt: skip


def size(report: Report, address: str, name: str) -> object:
    """A solved size of one node."""
    row = next(row for row in rows(report) if row.address == address)
    assert row.facts is not None
    return row.facts.sizes[name]


def parameters(report: Report) -> int:
    assert report.graph is not None
    assert report.facts is not None
    return totals(report.graph, report.facts)[0]
