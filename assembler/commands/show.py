"""`assembler show RECIPE [KEY=VALUE ...]`: every node, or another stage of the way."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from assembler.commands.common import (
    OK,
    OVERRIDES,
    about_signals,
    estimated,
    exit_code,
    one_recipe,
    parser_of,
    passes,
    positive,
    print_report,
)
from assembler.report.terminal import style_of, write

if TYPE_CHECKING:
    import argparse

    from assembler.facts.model import Facts
    from assembler.graph.model import Graph
    from assembler.report import Report
    from assembler.report.tree import Asked

STAGES = ("tree", "recipe", "graph", "facts", "plan", "text")


def run(words: list[str]) -> int:
    parser = parser_of("show", "Every node with its types, parameters and adapters; or another stage of the way.", OVERRIDES)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|KEY=VALUE")
    parser.add_argument("--depth", type=positive, metavar="N", help="how many levels of the tree to open")
    parser.add_argument("--stage", choices=STAGES, default="tree", help="what to print (default: tree)")
    about_signals(parser)
    asked = parser.parse_intermixed_args(words)
    path, overrides = one_recipe("show", asked.arguments)
    if asked.stage == "recipe":
        return _show_recipe(path, overrides)
    from assembler.assemble import check

    report = check(path, overrides)
    passed = passes(report)
    if asked.stage in ("plan", "text"):
        if passed:
            write(_planned(asked.stage, path, overrides))
    elif report.graph is not None and report.facts is not None:
        write(_stage(asked, report, report.graph, report.facts))
    return exit_code(report)


def _stage(asked: argparse.Namespace, report: Report, graph: Graph, facts: Facts) -> str:
    from assembler.report import tree

    stage = asked.stage

    if stage == "graph":
        return tree.render_graph(graph, style_of(sys.stdout))
    if stage == "facts":
        return tree.render_facts(graph, facts, style_of(sys.stdout))
    return tree.render_tree(graph, facts, asked.depth, style_of(sys.stdout), _asked(asked, report))


def _asked(asked: argparse.Namespace, report: Report) -> Asked | None:
    """The columns that are wanted beside types."""
    from assembler.report.signals import COLUMNS, columns

    wanted = [name for name in COLUMNS if getattr(asked, name)]
    known = report.signals
    if not wanted or known is None:
        return None
    scales = estimated(report) if asked.scale else None
    return lambda rows: columns(rows, known, wanted, scales)


def _planned(stage: str, path: str, overrides: list[str]) -> str:
    from assembler.assemble import load, plan

    planned = plan(load(path, overrides))
    if stage == "plan":
        import pprint

        return pprint.pformat(planned, width=110, sort_dicts=False)
    from assembler.compiler.emit import emit

    return emit(planned)


def _show_recipe(path: str, overrides: list[str]) -> int:
    from assembler.assemble import RecipeError, load
    from assembler.source.dump import to_yaml

    try:
        recipe = load(path, overrides)
    except RecipeError as problem:
        print_report(problem.report)
        return exit_code(problem.report)
    write(to_yaml(recipe.tree.plain()))
    return OK
