"""What commands share: their parsers, how words are split, where findings and files go.

What a command needs is imported inside it: `check` must start fast, and only `run` needs torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from assembler.report.terminal import style_of, write

if TYPE_CHECKING:
    import argparse

    from assembler.facts.scale.analysis import Scale
    from assembler.report import Report

OK, FINDINGS, USAGE = 0, 1, 2

UNOPENED = frozenset({"file-not-found", "file-not-regular", "file-unreadable"})

WITHOUT_PLUGINS = frozenset({"new", "explain", "convert"})
"""Commands that read no recipe: the others take `--use` and `--no-plugins`, which `cli` sees to."""

OVERRIDES = """\
KEY=VALUE overrides follow Hydra's grammar: `vars.width=96` sets a key, `slots/ffn=moe` chooses a file of a
group, `+key=value` adds one, `~key` deletes one. Quote what holds spaces or brackets: 'vars.width=(2+2)*8'.
"""


class UsageError(Exception):
    """The command line makes no sense; the text says why."""


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Recipes and overrides: an argument with `=`, or that begins with `+` or `~`, is an override; but what can only be
    a path, or is a YAML file that is there, is a recipe (a sweep keeps its runs in folders such as `runs/lr=0.1`)."""
    overrides = [item for item in arguments if ("=" in item or (item.startswith(("+", "~")) and not item.startswith("~/"))) and not _path(item)]
    return [item for item in arguments if item not in set(overrides)], overrides


def _path(text: str) -> bool:
    return text.startswith(("./", "../")) or os.path.isabs(text) or (text.endswith((".yaml", ".yml")) and os.path.isfile(text))


def exit_code(report: Report, strict: bool = False) -> int:
    """0, 1, or 2 where the recipe itself could not be opened."""
    if any(item.code in UNOPENED and not item.span.line and item.span.override is None for item in report.diagnostics):
        return USAGE
    return FINDINGS if not report.ok or (strict and report.counts["warning"]) else OK


def parser_of(command: str, about: str, more: str = "") -> argparse.ArgumentParser:
    import argparse

    class Parser(argparse.ArgumentParser):
        """argparse, whose complaints are escaped before they reach a terminal."""

        def parse_intermixed_args(self, args: Any = None, namespace: Any = None) -> Any:
            """argparse's loses what follows `--`; what begins with a dash there is a path."""
            words = list(args or ())
            end = words.index("--") if "--" in words else len(words)
            return super().parse_intermixed_args([*words[:end], *(f"./{word}" if word.startswith("-") and word != "-" else word for word in words[end + 1 :])], namespace)

        def error(self, message: str) -> NoReturn:
            raise UsageError(f"{message}\n{self.format_usage().rstrip()}")

    parser = Parser(prog=f"assembler {command}", description=about, epilog=more, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    if command not in WITHOUT_PLUGINS:  # Said here, done before: `cli` takes these words out.
        parser.add_argument("--use", metavar="MODULE", default=argparse.SUPPRESS, help="import package.module first: it declares kinds of its own (docs/plugins.md)")
        parser.add_argument("--no-plugins", action="store_true", default=argparse.SUPPRESS, help="import no installed plugin, whatever kinds a recipe names")
    return parser


def one_recipe(command: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
    paths, overrides = split(arguments)
    if len(paths) != 1:
        raise UsageError(f"{command} wants one recipe: assembler {command} RECIPE [KEY=VALUE ...]")
    return paths[0], overrides


def passes(report: Report) -> bool:
    """Whether a command goes on. Findings that stop it are printed; others go where a program does not read."""
    if not report.ok:
        print_report(report)
    elif report.diagnostics:
        print_report(report, sys.stderr)
    return report.ok


def size(text: str) -> tuple[str, int]:
    """`NAME=N` of `--size`: a run-time size."""
    import argparse

    name, _, number = text.partition("=")
    if not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text[:200]!r} is not NAME=N")
    return name, positive(number)


def positive(text: str) -> int:
    import argparse

    if not (text.isascii() and text.isdecimal() and int(text[:10]) > 0 and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a positive number")
    return int(text)


def about_signals(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--norm", action="store_true", help="norm states: ln(-1), stream, raw, ...")
    parser.add_argument("--init", action="store_true", help="how weights start, what is zero, and when it learns")
    parser.add_argument("--scale", action="store_true", help="estimated second moments of values (q) and gradients (g), with their bands")


def estimated(report: Report) -> Scale | None:
    from assembler.facts.scale.analysis import scale

    return scale(report.signals.flow, report.facts) if report.signals is not None and report.facts is not None else None


def print_report(report: Report, stream: TextIO | None = None) -> None:
    from assembler.report.text import render

    out = sys.stdout if stream is None else stream
    write(render(report, style_of(out)), out)


def give(text: str, target: str | None, suffix: str, force: bool, inputs: tuple[str, ...] = ()) -> int:
    if target is None:
        write(text)
        return OK
    from assembler.report.output import OutputRefused, write_file

    try:
        done = write_file(target, text, suffix, force, inputs)
    except OutputRefused as problem:
        if problem.diff:
            write("\n".join(map(clean, problem.diff.split("\n"))))
        raise UsageError(str(problem)) from problem
    say(f"{done} {clean(target)}")
    return OK


def clean(text: str) -> str:
    return style_of(sys.stderr).clean(text)


def say(text: str) -> None:
    if sys.stderr is not None:
        write(text, sys.stderr)
