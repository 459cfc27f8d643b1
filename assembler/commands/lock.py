"""`assembler lock RECIPE`: what the library made of a recipe, kept beside it."""

from __future__ import annotations

from assembler.commands.common import (
    FINDINGS,
    OK,
    OVERRIDES,
    UsageError,
    clean,
    exit_code,
    give,
    one_recipe,
    parser_of,
    print_report,
    say,
)

MORE = """\
The lock is RECIPE's name with the ending .lock, in the same folder: JSON, an entry a line, meant for version control.
It holds what the recipe leaves open: adapters, inferred sizes, versions of kinds, and of every node the types, norm
states and starts. `assembler check --frozen RECIPE` refuses what is not as it was locked, and names what moved it.
"""


def run(words: list[str]) -> int:
    parser = parser_of("lock", "Write RECIPE.lock, or (--check) hold the recipe against it.", f"{MORE}\n{OVERRIDES}")
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|KEY=VALUE")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the lock is not what would be written, 2 where there is none")
    parser.add_argument("--force", action="store_true", help="replace a lock that says something else")
    asked = parser.parse_intermixed_args(words)
    path, overrides = one_recipe("lock", asked.arguments)
    from assembler.compare.lock import place_of

    target = place_of(path)
    return _check(path, target, overrides) if asked.check else _write(path, target, overrides, asked.force)


def _write(path: str, target: str, overrides: list[str], force: bool) -> int:
    from assembler.assemble import RecipeError
    from assembler.compare.lock import lock, text_of, unreadable

    try:
        text = text_of(lock(path, overrides))
    except RecipeError as problem:
        print_report(problem.report)
        return exit_code(problem.report)
    except ValueError as problem:
        raise UsageError(str(problem)) from problem
    refused = unreadable(text)
    if refused is not None:
        raise UsageError(f"the lock of {path} could not be read again: {refused.message}")
    return give(text, target, ".lock", force, (path,))


def _check(path: str, target: str, overrides: list[str]) -> int:
    import os

    from assembler.assemble import check
    from assembler.compare.lock import stale

    report = check(path, overrides, frozen=True)
    if not os.path.lexists(target) and report.graph is not None:
        raise UsageError(f"there is no lock {target}: `assembler lock {path}` writes it")
    if not report.ok:
        print_report(report)
        return exit_code(report)
    paths = stale(path, overrides)
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        say(f"nothing moved, but `{paths[0]}`{more} of the recipe is not what {clean(target)} notes: `assembler lock {clean(path)} --force`")
        return FINDINGS
    say(f"{clean(target)} holds")
    return OK
