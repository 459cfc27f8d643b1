"""`assembler eject RECIPE`: standalone PyTorch source."""

from __future__ import annotations

from assembler.commands.common import (
    FINDINGS,
    OVERRIDES,
    UsageError,
    exit_code,
    give,
    one_recipe,
    parser_of,
    passes,
    print_report,
)


def run(words: list[str]) -> int:
    parser = parser_of("eject", "Standalone, readable PyTorch source that imports torch only.", OVERRIDES)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|KEY=VALUE")
    parser.add_argument("-o", "--output", metavar="FILE.py", help="write it there instead of printing it")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    asked = parser.parse_intermixed_args(words)
    path, overrides = one_recipe("eject", asked.arguments)
    from assembler.assemble import RecipeError, check, eject, load
    from assembler.report.output import OutputRefused, check_place

    try:
        if asked.output is not None:
            check_place(asked.output, ".py", asked.force, (path,))
    except OutputRefused as problem:
        raise UsageError(str(problem)) from problem
    report = check(path, overrides)
    if not passes(report):
        return exit_code(report)
    try:
        text = eject(load(path, overrides))
    except RecipeError as problem:  # the file changed in between, or a budget that only building knows
        print_report(problem.report)
        return FINDINGS
    return give(text, asked.output, ".py", asked.force, (path,))
