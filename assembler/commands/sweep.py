"""`assembler sweep RECIPE KEY=VALUE,VALUE ...`: every variant checked, one table."""

from __future__ import annotations

import sys

from assembler.commands.common import (
    FINDINGS,
    OK,
    UsageError,
    exit_code,
    one_recipe,
    parser_of,
    positive,
    print_report,
    size,
)
from assembler.report.terminal import style_of, write

MORE = """\
Values follow Hydra's grammar of sweeps: `vars.width=64,128`, `vars.depth=range(2,13,2)`, `slots/ffn=mlp,moe`,
'slots/ffn=glob(*)' over the files of a group, `name='a,b'` is one value. Every combination is checked, the last
argument changing fastest; an argument with one value holds for all. Their number is computed first.

  assembler sweep model.yaml slots/ffn=mlp,swiglu vars.width=256,512
  assembler sweep model.yaml 'slots/ffn=glob(*)' 'vars.heads=range(2,17,2)' --format csv > sweep.csv

Exit codes: 0 every variant checks, 1 one does not, 2 bad usage, too many variants, or a recipe that cannot be opened.
"""


def run(words: list[str]) -> int:
    parser = parser_of("sweep", "Checks every variant of a recipe; one table of verdicts and parameters.", MORE)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|KEY=VALUE,VALUE")
    parser.add_argument("--format", choices=("text", "json", "csv"), default="text", help="json: one line a variant")
    parser.add_argument("--limit", type=positive, metavar="N", help="most variants (10000)")
    parser.add_argument("--size", action="append", default=[], type=size, metavar="NAME=N",
                        help="a run-time size (batch=1, seq=1024); the table then counts the operations of a forward pass")  # fmt: skip
    asked = parser.parse_intermixed_args(words)
    path, overrides = one_recipe("sweep", asked.arguments)
    if not overrides:
        raise UsageError("sweep wants something to vary: assembler sweep RECIPE KEY=VALUE,VALUE")
    from assembler.assemble import RecipeError
    from assembler.compare.sweep import LIMIT, Sweep
    from assembler.compare.sweep_table import csv_lines, json_lines, put, text
    from assembler.source.sweeps import TooMany

    try:
        found = Sweep(path, overrides, asked.limit or LIMIT)
    except TooMany as problem:
        raise UsageError(f"{problem}; --limit N allows more") from problem
    except RecipeError as problem:
        print_report(problem.report)
        return exit_code(problem.report)
    sizes = dict(asked.size)
    if asked.format == "text":
        return FINDINGS if put(found, text(found, style_of(sys.stdout), sizes or None), write) else OK
    form = csv_lines(found, sizes) if asked.format == "csv" else json_lines(sizes)
    return FINDINGS if put(found, form, _to_a_terminal if sys.stdout is not None and sys.stdout.isatty() else write) else OK


def _to_a_terminal(line: str) -> None:
    """Lines for programs hold what a recipe says as it is; before a terminal it is escaped."""
    write(style_of(sys.stdout).clean(line.removesuffix("\n"), len(line)))
