"""Hydra's defaults lists over our own reader: which files compose, in which order, under which key.

Hydra asks for files by name; they are found below the recipe's folder and the search path, read by
our reader, each once, and Hydra sees nothing of them but their lists and package headers. Where it
stops, its complaint becomes a diagnostic at the entry or the override that caused it; the cause is
set aside and Hydra asked again, so that several causes are found at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from assembler.source import hydra_bridge
from assembler.source.entries import entries_of, package_of, warn_self
from assembler.source.failures import Failure, explain, outside
from assembler.source.grammar import Command
from assembler.source.merge import MISSING
from assembler.source.paths import SUFFIX, Outside, Root, check_relative, read_capped
from assembler.source.text import read_text
from assembler.source.tree import Value
from assembler.source.wording import shorten
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import Span

MAX_CAUSES = 16


@dataclass(frozen=True)
class File:
    """One file that was read: its tree without `defaults`, its entries as Hydra takes them."""

    tree: Value
    entries: tuple[Any, ...]
    package: str | None


@dataclass
class Files:
    """Finds and reads files, each once; what is wrong with them is collected."""

    roots: Sequence[Root]
    diagnostics: list[Diagnostic] = field(default_factory=list)
    log: list[Any] = field(default_factory=list)
    """The entries that Hydra has placed, in order: the last one is what it was at when it stopped."""
    assumed: set[str] = field(default_factory=set)
    """Files that are not there, taken as empty so that Hydra can go on."""
    outside: dict[str, str] = field(default_factory=dict)
    """Names whose link leads out of its root."""
    _files: dict[str, File] = field(default_factory=dict)

    def add(self, name: str, tree: Value, text: str) -> File:
        """A tree that was read under the config path `name`."""
        entries = entries_of(tree, name, self.log)
        warn_self(entries, tree, text)
        package, fault = package_of(text)
        if fault:
            span = tree.span._replace(line=1, column=1, end_line=1, end_column=2)
            entries.fault("defaults-syntax", fault, span, help="the header is `# @package model.slots.ffn`")
        self.diagnostics.extend(entries.diagnostics)
        data = {key: value for key, value in tree.data.items() if key != "defaults"}
        file = File(Value(data, tree.span, tree.key, tree.layer), tuple(entries.found), package)
        self._files[name] = file
        return file

    def get(self, name: str) -> File | None:
        """The file of the config path `name`, read on first use; None where there is none."""
        if name not in self._files:
            found = self._find(name)
            if found is not None:
                self._files[name] = self._read(name, *found)
            elif name in self.outside or name in self.assumed:
                self._files[name] = File(Value({}), (), None)
        return self._files.get(name)

    def load(self, name: str) -> tuple[Sequence[Any], str | None] | None:
        """What Hydra sees of a file."""
        file = self.get(name)
        return None if file is None else (file.entries, file.package)

    def exists(self, name: str) -> bool:
        return name in self._files or self._find(name) is not None

    def is_group(self, name: str) -> bool:
        return any(root.is_group(name) for root in self.roots)

    def options(self, group: str) -> list[str]:
        return sorted({option for root in self.roots for option in root.options(group)})

    def groups(self) -> list[str]:
        return sorted({group for root in self.roots for group in root.groups()})

    def _find(self, name: str) -> tuple[str, str] | None:
        """(real path, path as messages spell it) in the first root that has the file."""
        if check_relative(name, Span(), "file") is not None:
            return None
        relative = name if name.endswith(SUFFIX) else name + SUFFIX
        for root in self.roots:
            try:
                real = root.resolve(relative)
            except Outside as error:
                self.outside[name] = error.args[0]
                return None
            if real is not None and os.path.isfile(real):
                return real, root.show(relative)
        return None

    def _read(self, name: str, real: str, shown: str) -> File:
        data, fault = read_capped(real, shown, Span(file=shown))
        tree: Value | None = None
        if fault is not None:
            self.diagnostics.append(fault)
        elif data is not None:
            tree, found = read_text(data, shown)
            self.diagnostics.extend(found)
        if tree is None or not isinstance(tree.data, dict) or data is None:
            return File(Value({}), (), None)
        return self.add(name, tree, data.decode("utf-8-sig", "replace"))


@dataclass(frozen=True)
class Plan:
    """What composes: trees with the keys that they land at, and the overrides that set values."""

    uses: tuple[tuple[Value, str], ...]
    commands: tuple[Command, ...]
    complete: bool
    """False where a file is missing, or where Hydra refused the list: the tree is not the recipe."""


def plan(files: Files, primary: str, commands: Sequence[Command]) -> tuple[Plan, list[Diagnostic]]:
    """Ask Hydra, again after each cause that was set aside; what was found, in the order of the files."""
    planned, diagnostics = _plan(files, primary, commands)
    return planned, sorted(diagnostics, key=lambda d: (d.span.index, d.span.file, d.span.line, d.span.column))


def _plan(files: Files, primary: str, commands: Sequence[Command]) -> tuple[Plan, list[Diagnostic]]:
    left, diagnostics = _choices(files, commands)
    complete = True
    for _ in range(MAX_CAUSES):
        answer = _ask(files, primary, left)
        if isinstance(answer, Plan):
            away = outside(files, left)
            return Plan(answer.uses, answer.commands, complete and not away), [*diagnostics, *away]
        diagnostics.append(answer.diagnostic)
        complete = complete and answer.command is not None
        if answer.command is not None:
            left = [command for command in left if not _same_choice(command, answer.command)]
        elif answer.missing:
            files.assumed.add(answer.missing)
        else:
            break
    return Plan((), (), False), diagnostics


def _same_choice(one: Command, refused: Command) -> bool:
    """Whether `one` goes with what was refused: an earlier choice for the same group was not wanted any more."""
    if refused.operation != "set":
        return one is refused
    return (one.operation, one.key, one.package) == (refused.operation, refused.key, refused.package)


def _ask(files: Files, primary: str, commands: Sequence[Command]) -> Plan | Failure:
    files.log.clear()
    repository = hydra_bridge.Repository(files.load, files.exists, files.is_group, files.options)
    raws = [hydra_bridge.single(command.parsed) for command in commands]
    by_raw = {id(raw): command for raw, command in zip(raws, commands, strict=True)}
    try:
        uses, values = hydra_bridge.order(repository, primary, raws)
    except (hydra_bridge.Endless, *hydra_bridge.FAILURES) as error:
        return explain(error, files, commands)
    trees: list[tuple[Value, str]] = []
    for use in uses:
        file = files.get(use.path)
        if file is not None:
            trees.append((file.tree, use.package))
    return Plan(tuple(trees), tuple(by_raw[id(value)] for value in values), True)


def _choices(files: Files, commands: Sequence[Command]) -> tuple[list[Command], list[Diagnostic]]:
    """The commands without those that choose from a group what cannot be a file's name."""
    left: list[Command] = []
    diagnostics: list[Diagnostic] = []
    for command in commands:
        fault = None
        if not isinstance(command.value, dict) and files.is_group(command.key):
            fault = _choice_fault(command)
        if fault is None:
            left.append(command)
        else:
            diagnostics.append(fault)
    return left, diagnostics


def _choice_fault(command: Command) -> Diagnostic | None:
    if command.operation == "force":
        return Diagnostic(
            "override-syntax", f"`++` cannot choose from the group `{command.key}`", command.span(0, 2), label="here",
            help=f"write `{command.key}=...` to choose, `+{command.key}=...` to add",
        )  # fmt: skip
    items = command.value if isinstance(command.value, list) and command.operation != "delete" else [command.value]
    for item in items:
        if item is None and command.operation == "delete":
            continue
        if not isinstance(item, str) or item in ("", "_self_"):
            return Diagnostic(
                "override-syntax", f"{shorten(repr(item))} is no name in the group `{command.key}`",
                command.value_span(), label="a name is wanted", help=f"write `{command.key}=name`",
            )  # fmt: skip
        if item.startswith("/"):
            message = f"the name {shorten(item)!r} is an absolute path"
            return Diagnostic("path-outside", message, command.value_span(), label="leads outside")
        fault = None if item == MISSING else check_relative(item, command.value_span(), "name")
        if fault is not None:
            return fault
    return None
