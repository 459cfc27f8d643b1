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
    passes,
    say,
    size,
)
from assembler.report.terminal import style_of, write


def run(words: list[str]) -> int:
    parser = parser_of("run", "Build the model, run it forward and backward, compare what was predicted with what is measured.", OVERRIDES)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|KEY=VALUE")
    parser.add_argument("--input", metavar="FILE.safetensors", help="one tensor for each input; else they are generated")
    parser.add_argument("--size", action="append", default=[], type=size, metavar="NAME=N", help="a run-time size of generated inputs")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of generated inputs (default: 0)")
    asked = parser.parse_intermixed_args(words)
    path, overrides = one_recipe("run", asked.arguments)
    from assembler.assemble import check

    report = check(path, overrides)
    if not passes(report):
        return exit_code(report)
    from assembler.graph.given import handed

    foreign = list(handed(report.graph)) if report.graph is not None else []
    if foreign:
        raise UsageError(f"`{foreign[0]}` is a module that only Python can hand over: assembler.verify(assembler.build(recipe, given={{{foreign[0]!r}: module}}))")
    say("building and running ...")
    from assembler.lab.run import InputError
    from assembler.lab.run import run as measured

    try:
        lines, agrees = measured(path, overrides, dict(asked.size), asked.input, asked.seed)
    except InputError as problem:
        raise UsageError(str(problem)) from problem
    write("\n".join(style_of(sys.stdout).clean(line) for line in lines))
    return OK if agrees else FINDINGS
