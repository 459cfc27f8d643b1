"""What each command does. Each takes the words after its name and returns the exit code.

What a command needs is imported inside it: `check` must start fast, and only `run` needs torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TextIO

from assembler.report.terminal import style_of, write

if TYPE_CHECKING:
    import argparse

    from assembler.facts.model import Facts
    from assembler.facts.scale import Scale
    from assembler.graph.model import Graph
    from assembler.report import Report
    from assembler.report.tree import Asked

OK, FINDINGS, USAGE = 0, 1, 2

STAGES = ("tree", "recipe", "graph", "facts", "plan", "text")
UNOPENED = frozenset({"file-not-found", "file-not-regular", "file-unreadable"})

OVERRIDES = """\
KEY=VALUE overrides follow Hydra's grammar: `vars.width=96` sets a key, `slots/ffn=moe` chooses a file of a
group, `+key=value` adds one, `~key` deletes one. Quote what holds spaces or brackets: 'vars.width=(2+2)*8'.
"""


class UsageError(Exception):
    """The command line makes no sense; the text says why."""


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
    parser = _parser("check", "All findings about recipes. Several are checked one after another.", OVERRIDES)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|KEY=VALUE")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: one line a recipe, version 1")
    parser.add_argument("--frozen", action="store_true", help="an adapter that the recipe does not ask for is an error")
    parser.add_argument("--strict", action="store_true", help="warnings count: exit 1")
    parser.add_argument("--scale", action="store_true", help="also what is estimated, not proven: how large values and gradients are at the start")
    return Checking(**vars(parser.parse_intermixed_args(words)))


def _check(words: list[str]) -> int:
    asked = checking(words)
    paths, overrides = split(asked.arguments)
    if not paths:
        raise UsageError("check wants a recipe: assembler check RECIPE [KEY=VALUE ...]")
    from assembler.assemble import check

    code = OK
    for path in dict.fromkeys({os.path.realpath(item): item for item in reversed(paths)}[os.path.realpath(p)] for p in paths):
        report = check(path, overrides, frozen=asked.frozen, scale=asked.scale)
        if asked.format == "json":
            from assembler.report.data import to_json

            write(to_json(report))
        else:
            _print_report(report)
        code = max(code, exit_code(report, asked.strict))
    return code


def _show(words: list[str]) -> int:
    parser = _parser("show", "Every node with its types, parameters and adapters; or another stage of the way.", OVERRIDES)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|KEY=VALUE")
    parser.add_argument("--depth", type=_positive, metavar="N", help="how many levels of the tree to open")
    parser.add_argument("--stage", choices=STAGES, default="tree", help="what to print (default: tree)")
    _about(parser)
    asked = parser.parse_intermixed_args(words)
    path, overrides = _one_recipe("show", asked.arguments)
    if asked.stage == "recipe":
        return _show_recipe(path, overrides)
    from assembler.assemble import check

    report = check(path, overrides)
    # Findings that stop nothing must not stand between what a program reads.
    if not report.ok:
        _print_report(report)
    elif report.diagnostics:
        _print_report(report, sys.stderr)
    if asked.stage in ("plan", "text"):
        if report.ok:
            write(_planned(asked.stage, path, overrides))
    elif report.graph is not None and report.facts is not None:
        write(_stage(asked, report, report.graph, report.facts))
    return exit_code(report)


def _about(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--norm", action="store_true", help="norm states: ln(-1), stream, raw, ...")
    parser.add_argument("--init", action="store_true", help="how weights start, what is zero, and when it learns")
    parser.add_argument("--scale", action="store_true", help="estimated second moments of values (q) and gradients (g), with their bands")


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
    estimated = _estimated(report) if asked.scale else None
    return lambda rows: columns(rows, known, wanted, estimated)


def _estimated(report: Report) -> Scale | None:
    from assembler.facts.scale import scale

    return scale(report.signals.flow, report.facts) if report.signals is not None and report.facts is not None else None


def _planned(stage: str, path: str, overrides: list[str]) -> str:
    from assembler.assemble import load, plan

    planned = plan(load(path, overrides))
    if stage == "plan":
        import pprint

        return pprint.pformat(planned, width=110, sort_dicts=False)
    from assembler.compiler.emit import emit

    return emit(planned)


def _show_recipe(path: str, overrides: list[str]) -> int:
    import yaml

    from assembler.assemble import RecipeError, load

    try:
        recipe = load(path, overrides)
    except RecipeError as problem:
        _print_report(problem.report)
        return exit_code(problem.report)
    write(yaml.safe_dump(recipe.tree.plain(), sort_keys=False, allow_unicode=False, width=120))
    return OK


def _why(words: list[str]) -> int:
    parser = _parser("why", "How a shape came about: `why digits.yaml head.x`; or a norm, a start, a scale.", OVERRIDES)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE ADDRESS|KEY=VALUE")
    _about(parser)
    asked = parser.parse_intermixed_args(words)
    plain, overrides = split(asked.arguments)
    if len(plain) != 2:
        raise UsageError("why wants a recipe and an address: assembler why RECIPE ADDRESS [KEY=VALUE ...]")
    from assembler.assemble import check

    report = check(plain[0], overrides)
    if report.graph is None or report.facts is None:
        _print_report(report)
        return exit_code(report)
    lines = _derived(asked, report, report.graph, report.facts, plain[1])
    if lines is None:
        _print_report(report)
        return exit_code(report)
    if not lines:
        raise UsageError(f"`{plain[1][:200]}` names nothing in {plain[0]}; `assembler show` lists the addresses")
    write("\n".join(style_of(sys.stdout).clean(line) for line in lines))
    return OK


def _derived(asked: argparse.Namespace, report: Report, graph: Graph, facts: Facts, address: str) -> list[str] | None:
    """The lines that are asked for, one part after another; None where errors stand in the way."""
    from assembler.facts.why import explain
    from assembler.report.signals import COLUMNS, why

    about = [name for name in COLUMNS if getattr(asked, name)]
    if not about:
        return explain(graph, facts, address)
    if report.signals is None:
        return None
    estimated = _estimated(report) if asked.scale else None
    found = [why(report.signals, address, name, estimated) for name in about]
    return [line for lines in found for line in lines or ()]


def _explain(words: list[str]) -> int:
    parser = _parser("explain", "What a code means, why it matters, a bad recipe and a good one.")
    parser.add_argument("code", nargs="?", metavar="CODE", help="without it: all codes")
    code = parser.parse_args(words).code
    from assembler.report.explain import explain, nearest_codes, render_codes

    page = render_codes() if code is None else explain(code)
    if page is None:
        near = nearest_codes(code)
        hint = f"did you mean {' or '.join(near)}?" if near else "`assembler explain` lists them"
        raise UsageError(f"there is no code `{code[:200]}`: {hint}")
    write(page)
    return OK


def _kinds(words: list[str]) -> int:
    parser = _parser("kinds", "The catalogue of kinds, or one kind with ports, options, defaults and an example.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="without it: all kinds")
    name = parser.parse_args(words).name
    from assembler.library import registry
    from assembler.report.catalogue import render_kind, render_kinds

    card = registry.kind(name) if name is not None else None
    if name is not None and card is None:
        near = registry.nearest(name[:64])
        hint = f"did you mean {' or '.join(near)}?" if near else "`assembler kinds` lists them"
        raise UsageError(f"there is no kind `{name[:200]}`: {hint}")
    write(render_kinds() if card is None else render_kind(card))
    return OK


def _schema(words: list[str]) -> int:
    parser = _parser("schema", "JSON Schema of recipes, for editors (draft-07).")
    parser.add_argument("-o", "--output", metavar="FILE.json", help="write it there instead of printing it")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    asked = parser.parse_args(words)
    from assembler.report.schema import render_schema

    return _give(render_schema(), asked.output, ".json", asked.force)


def _eject(words: list[str]) -> int:
    parser = _parser("eject", "Standalone, readable PyTorch source that imports torch only.", OVERRIDES)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|KEY=VALUE")
    parser.add_argument("-o", "--output", metavar="FILE.py", help="write it there instead of printing it")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    asked = parser.parse_intermixed_args(words)
    path, overrides = _one_recipe("eject", asked.arguments)
    from assembler.assemble import RecipeError, check, eject, load
    from assembler.report.output import OutputRefused, check_place

    try:
        if asked.output is not None:
            check_place(asked.output, ".py", asked.force, (path,))
    except OutputRefused as problem:
        raise UsageError(str(problem)) from problem
    report = check(path, overrides)
    if not report.ok:
        _print_report(report)
        return exit_code(report)
    if report.diagnostics:
        _print_report(report, sys.stderr)
    try:
        text = eject(load(path, overrides))
    except RecipeError as problem:  # the file changed in between, or a budget that only building knows
        _print_report(problem.report)
        return FINDINGS
    return _give(text, asked.output, ".py", asked.force, (path,))


def _new(words: list[str]) -> int:
    parser = _parser("new", "Write a starter recipe, NAME.yaml, into this folder.")
    parser.add_argument("name", metavar="NAME", help="letters, digits and _; a letter first")
    name = parser.parse_args(words).name.removesuffix(".yaml")
    from pathlib import Path

    from assembler.report.output import OutputRefused, create_file
    from assembler.report.starter import starter
    from assembler.source.names import NAME

    if NAME.match(name) is None or len(name) > 64:
        raise UsageError(f"`{name[:200]}` cannot name a recipe: letters a-z, digits and _, a letter first")
    try:
        create_file(Path(f"{name}.yaml"), starter(name))
    except OutputRefused as problem:
        raise UsageError(str(problem)) from problem
    say(f"wrote {name}.yaml; next: assembler check {name}.yaml")
    return OK


def _run(words: list[str]) -> int:
    parser = _parser("run", "Build the model, run it forward and backward, compare what was predicted with what is measured.", OVERRIDES)
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|KEY=VALUE")
    parser.add_argument("--input", metavar="FILE.safetensors", help="one tensor for each input; else they are generated")
    parser.add_argument("--size", action="append", default=[], metavar="NAME=N", help="a run-time size of generated inputs")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of generated inputs (default: 0)")
    asked = parser.parse_intermixed_args(words)
    path, overrides = _one_recipe("run", asked.arguments)
    sizes = dict(_size(item) for item in asked.size)
    from assembler.assemble import check

    report = check(path, overrides)
    if not report.ok:
        _print_report(report)
        return exit_code(report)
    if report.diagnostics:
        _print_report(report, sys.stderr)
    say("building and running ...")
    from assembler.lab.run import InputError, run

    try:
        lines, agrees = run(path, overrides, sizes, asked.input, asked.seed)
    except InputError as problem:
        raise UsageError(str(problem)) from problem
    write("\n".join(style_of(sys.stdout).clean(line) for line in lines))
    return OK if agrees else FINDINGS


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "new": _new, "check": _check, "show": _show, "why": _why, "explain": _explain, "kinds": _kinds, "schema": _schema,
    "eject": _eject, "run": _run,
}  # fmt: skip


# --- helpers ---
def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Recipes and overrides: an argument with `=`, or that begins with `+` or `~`, is an override."""
    overrides = [item for item in arguments if "=" in item or (item.startswith(("+", "~")) and not item.startswith("~/"))]
    return [item for item in arguments if item not in set(overrides)], overrides


def exit_code(report: Report, strict: bool = False) -> int:
    """0, 1, or 2 where the recipe itself could not be opened."""
    if any(item.code in UNOPENED and not item.span.line and item.span.override is None for item in report.diagnostics):
        return USAGE
    return FINDINGS if not report.ok or (strict and report.counts["warning"]) else OK


def _parser(command: str, about: str, more: str = "") -> argparse.ArgumentParser:
    import argparse

    class Parser(argparse.ArgumentParser):
        """argparse, whose complaints are escaped before they reach a terminal."""

        def error(self, message: str) -> NoReturn:
            raise UsageError(f"{message}\n{self.format_usage().rstrip()}")

    return Parser(prog=f"assembler {command}", description=about, epilog=more, allow_abbrev=False,
                   formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip


def _one_recipe(command: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
    paths, overrides = split(arguments)
    if len(paths) != 1:
        raise UsageError(f"{command} wants one recipe: assembler {command} RECIPE [KEY=VALUE ...]")
    return paths[0], overrides


def _positive(text: str) -> int:
    import argparse

    if not (text.isascii() and text.isdecimal() and int(text[:10]) > 0 and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a positive number")
    return int(text)


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not (name.isidentifier() and number.isascii() and number.isdecimal() and 0 < len(number) < 10 and int(number)):
        raise UsageError(f"--size wants NAME=N, a positive number: `{text[:200]}`")
    return name, int(number)


def _print_report(report: Report, stream: TextIO | None = None) -> None:
    from assembler.report.text import render

    out = sys.stdout if stream is None else stream
    write(render(report, style_of(out)), out)


def _give(text: str, target: str | None, suffix: str, force: bool, inputs: tuple[str, ...] = ()) -> int:
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
    say(f"{done} {target}")
    return OK


def clean(text: str) -> str:
    return style_of(sys.stderr).clean(text)


def say(text: str) -> None:
    if sys.stderr is not None:
        write(text, sys.stderr)
