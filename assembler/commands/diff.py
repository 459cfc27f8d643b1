"""`assembler diff A B`, `assembler diff RECIPE KEY=VALUE ...`: what differs in meaning."""

from __future__ import annotations

import os
import sys

from assembler.commands.common import (
    FINDINGS,
    OK,
    OVERRIDES,
    UNOPENED,
    USAGE,
    UsageError,
    parser_of,
    print_report,
    split,
)
from assembler.report.terminal import style_of, write

MORE = """\
A and B are recipes, or folders that `assembler.save` wrote; overrides hold for the second. With one recipe and overrides
the recipe is held against itself. Recipes that mean the same differ in nothing, however they are written; a node that
was renamed or moved is found again by the role it plays. Sizes of weights are those of the file, else of 4 bytes a number.

  assembler diff model.yaml slots/ffn=swiglu
  assembler diff old.yaml new.yaml --weights
  assembler diff runs/7 model.yaml --format markdown
"""


def run(words: list[str]) -> int:
    parser = parser_of("diff", "What one recipe means that another does not: nodes, types, contracts, sizes, surviving weights.", f"{MORE}\n{OVERRIDES}")
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|FOLDER|KEY=VALUE")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    parser.add_argument("--weights", action="store_true", help="also list every weight that does not stay as it is")
    parser.add_argument("--exit-code", action="store_true", help="exit 1 where anything differs")
    asked = parser.parse_intermixed_args(words)
    paths, overrides = split(asked.arguments)
    if len(paths) == 1 and overrides:
        paths = [paths[0], paths[0]]
    if len(paths) != 2:
        raise UsageError("diff wants two recipes, or one and overrides: assembler diff A B, assembler diff RECIPE KEY=VALUE")
    from assembler.assemble import RecipeError
    from assembler.compare import diff_text
    from assembler.compare.diff import between, side
    from assembler.weights.header import WeightsError

    sides, code = [], OK
    for path, words in ((paths[0], []), (paths[1], overrides)):
        try:
            sides.append(side(path, words))
        except RecipeError as problem:
            print_report(problem.report)
            unopened = any(item.code in UNOPENED and not item.span.line for item in problem.report.diagnostics)
            code = max(code, USAGE if unopened else FINDINGS)
        except (WeightsError, FileNotFoundError) as problem:
            raise UsageError(str(problem)) from problem
        except ValueError as problem:
            raise UsageError(f"{os.path.basename(path)}: {problem}") from problem
    if len(sides) != 2:
        return code
    found = between(*sides)
    if asked.format == "json":
        write(diff_text.to_json(found))
    else:
        style = style_of(sys.stdout)
        lines = (diff_text.text if asked.format == "text" else diff_text.markdown)(found, asked.weights)
        write("\n".join(style.clean(part, 4_000) for line in lines for part in line.split("\n")))
    return FINDINGS if asked.exit_code and not found.same else OK
