"""`assembler run RECIPE`: build, run, compare with what was predicted."""

from __future__ import annotations

import sys

from assembler.commands.common import (
    FINDINGS,
    OK,
    OVERRIDES,
    UsageError,
    exit_code,
    one_recipe,
    parser_of,
    print_report,
    say,
)
from assembler.report.terminal import style_of, write


def run(words: list[str]) -> int:
    parser = parser_of("run", "Build the model, run it forward and backward, compare what was predicted with what is measured.", OVERRIDES)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|KEY=VALUE")
    parser.add_argument("--input", metavar="FILE.safetensors", help="one tensor for each input; else they are generated")
    parser.add_argument("--size", action="append", default=[], metavar="NAME=N", help="a run-time size of generated inputs")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of generated inputs (default: 0)")
    asked = parser.parse_intermixed_args(words)
    path, overrides = one_recipe("run", asked.arguments)
    sizes = dict(_size(item) for item in asked.size)
    from assembler.assemble import check

    report = check(path, overrides)
    if not report.ok:
        print_report(report)
        return exit_code(report)
    if report.diagnostics:
        print_report(report, sys.stderr)
    from assembler.graph.given import handed

    foreign = list(handed(report.graph)) if report.graph is not None else []
    if foreign:
        raise UsageError(f"`{foreign[0]}` is a module that only Python can hand over: assembler.verify(assembler.build(recipe, given={{{foreign[0]!r}: module}}))")
    say("building and running ...")
    from assembler.lab.run import InputError
    from assembler.lab.run import run as measured

    try:
        lines, agrees = measured(path, overrides, sizes, asked.input, asked.seed)
    except InputError as problem:
        raise UsageError(str(problem)) from problem
    write("\n".join(style_of(sys.stdout).clean(line) for line in lines))
    return OK if agrees else FINDINGS


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not (name.isidentifier() and number.isascii() and number.isdecimal() and 0 < len(number) < 10 and int(number)):
        raise UsageError(f"--size wants NAME=N, a positive number: `{text[:200]}`")
    return name, int(number)
