"""`assembler check RECIPE ... [KEY=VALUE ...]`: all findings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from assembler.commands.common import OK, OVERRIDES, UsageError, exit_code, parser_of, print_report, split
from assembler.report.terminal import write

if TYPE_CHECKING:
    from assembler.report.report import Report


class Checking(NamedTuple):
    """What `check` is asked to do, as its parser says it where no option is given."""

    arguments: list[str]
    format: str = "text"
    frozen: bool = False
    strict: bool = False
    scale: bool = False


def checking(words: list[str]) -> Checking:
    """What the words of `check` ask. Recipes and overrides alone need no argparse, whose import takes as long as a check of a hundred nodes."""
    if words and not any(word.startswith("-") for word in words):
        return Checking(words)
    parser = parser_of("check", "All findings about recipes. Several are checked one after another.", OVERRIDES)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|KEY=VALUE")
    parser.add_argument("--format", choices=("text", "json", "github", "sarif"), default="text",
                        help="json: one line a recipe, version 1; github: annotations of a workflow; sarif: one 2.1.0 log")  # fmt: skip
    parser.add_argument("--frozen", action="store_true", help="an adapter that the recipe does not ask for is an error")
    parser.add_argument("--strict", action="store_true", help="warnings count: exit 1")
    parser.add_argument("--scale", action="store_true", help="also what is estimated, not proven: how large values and gradients are at the start")
    return Checking(**vars(parser.parse_intermixed_args(words)))


def run(words: list[str]) -> int:
    asked = checking(words)
    paths, overrides = split(asked.arguments)
    if not paths:
        raise UsageError("check wants a recipe: assembler check RECIPE [KEY=VALUE ...]")
    from assembler.assemble import check
    from assembler.report.report import Report

    code = OK
    found: list[tuple[str, Report]] = []
    for path in dict.fromkeys({os.path.realpath(item): item for item in reversed(paths)}[os.path.realpath(p)] for p in paths):
        report = check(path, overrides, frozen=asked.frozen, scale=asked.scale)
        if asked.format == "sarif":
            found.append((path, Report(report.name, report.diagnostics)))  # without the graph
        else:
            _write(report, asked.format)
        code = max(code, exit_code(report, asked.strict))
    if asked.format == "sarif":
        from assembler import __version__
        from assembler.report.sarif import to_sarif

        write(to_sarif(found, __version__))
    return code


def _write(report: Report, form: str) -> None:
    if form == "json":
        from assembler.report.data import to_json

        write(to_json(report))
    elif form == "github":
        from assembler.report.github import to_github

        write(to_github(report))
    else:
        print_report(report)
