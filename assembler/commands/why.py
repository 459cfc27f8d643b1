"""`assembler why RECIPE ADDRESS`: how one shape, norm, start or scale came about."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from assembler.commands.common import (
    OK,
    OVERRIDES,
    UsageError,
    about_signals,
    estimated,
    exit_code,
    parser_of,
    print_report,
    split,
)
from assembler.report.terminal import style_of, write

if TYPE_CHECKING:
    import argparse

    from assembler.facts.model import Facts
    from assembler.graph.model import Graph
    from assembler.report import Report



def run(words: list[str]) -> int:
    parser = parser_of("why", "How a shape came about: `why digits.yaml head.x`; or a norm, a start, a scale.", OVERRIDES)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE ADDRESS|KEY=VALUE")
    about_signals(parser)
    asked = parser.parse_intermixed_args(words)
    plain, overrides = split(asked.arguments)
    if len(plain) != 2:
        raise UsageError("why wants a recipe and an address: assembler why RECIPE ADDRESS [KEY=VALUE ...]")
    from assembler.assemble import check

    report = check(plain[0], overrides)
    if report.graph is None or report.facts is None:
        print_report(report)
        return exit_code(report)
    lines = _derived(asked, report, report.graph, report.facts, plain[1])
    if lines is None:
        print_report(report)
        return exit_code(report)
    if not lines:
        raise UsageError(f"`{plain[1][:200]}` names nothing in {plain[0]}; `assembler show` lists the addresses")
    write("\n".join(style_of(sys.stdout).clean(line) for line in lines))
    return OK


def _derived(asked: argparse.Namespace, report: Report, graph: Graph, facts: Facts, address: str) -> list[str] | None:
    """The lines that are asked for, one part after another; None where errors stand in the way."""
    from assembler.facts.types.why import explain
    from assembler.graph.given import site_of
    from assembler.report.signals import COLUMNS, why

    about = [name for name in COLUMNS if getattr(asked, name)]
    address = site_of(graph, address)
    if not about:
        return explain(graph, facts, address)
    if report.signals is None:
        return None
    scales = estimated(report) if asked.scale else None
    found = [why(report.signals, address, name, scales) for name in about]
    return [line for lines in found for line in lines or ()]
