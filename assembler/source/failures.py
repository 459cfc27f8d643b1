"""What Hydra says when a composition fails, as diagnostics at the entry or override that caused it.

Hydra's exceptions carry a text only; the texts of 1.3.8 are matched here, and the log of entries
that Hydra placed gives the places. A text that is not known is passed on as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assembler.source import hydra_bridge
from assembler.source.grammar import Command
from assembler.source.wording import listed, nearest, shorten
from assembler_schemas.diagnostic import Diagnostic, Edit, Fix, Note
from assembler_schemas.span import NOWHERE, Span

if TYPE_CHECKING:
    from assembler.source.defaults import Files


@dataclass(frozen=True)
class Failure:
    """One cause: the override to set aside, or the missing file to take as empty, or neither."""

    diagnostic: Diagnostic
    command: Command | None = None
    missing: str = ""


@dataclass(frozen=True)
class _Case:
    files: Files
    commands: Sequence[Command]

    def entries(self, wanted: Callable[[Any], bool]) -> list[Any]:
        return [entry for entry in self.files.log if wanted(entry)]

    def by_key(self, key: str) -> list[Any]:
        """Group entries of an override key, each written entry once."""
        found: dict[Span, Any] = {}
        for entry in self.files.log:
            if isinstance(entry, hydra_bridge.GroupEntry) and entry.get_override_key() == key:
                found[entry.span] = entry
        return list(found.values())

    def command(self, key: str, operations: str = "set") -> Command | None:
        named = (c for c in reversed(self.commands) if c.operation in operations and _choice(c) == key)
        return next(named, None)

    def asking(self, path: str) -> tuple[Span, Command | None]:
        """Who asked for the file `path`: an entry of a file, or an override."""
        for entry in reversed(self.files.log):
            if path not in _targets(entry):
                continue
            if not getattr(entry, "config_name_overridden", False):
                return entry.span, None
            key = entry.get_override_key()
            command = self.command(key)
            if command is not None:
                return command.value_span(), command
            written = [e for e in self.by_key(key) if e.is_override()]
            return (written[-1] if written else entry).span, None
        for command in reversed(self.commands):
            names = command.value if isinstance(command.value, list) else [command.value]
            if command.operation in ("add", "set") and any(f"{command.key}/{name}" == path for name in names):
                return command.value_span(), command
        return NOWHERE, None


def _choice(command: Command) -> str:
    return command.key if command.package is None else f"{command.key}@{command.package}"


def _targets(entry: Any) -> list[str]:
    return [] if entry.parent_base_dir is None else hydra_bridge.target(entry)


def explain(error: Exception, files: Files, commands: Sequence[Command]) -> Failure:
    """The diagnostic for what Hydra raised."""
    case = _Case(files, commands)
    if isinstance(error, (hydra_bridge.Endless, RecursionError)):
        return _endless(case)
    missing = getattr(error, "missing_cfg_file", None)
    if missing:
        return _missing(case, missing)
    text = str(error)
    for pattern, build in _CASES:
        match = re.search(pattern, text, re.DOTALL)
        if match:
            return build(case, *match.groups())
    first = shorten(text.strip().splitlines()[0] if text.strip() else type(error).__name__, 300)
    last = files.log[-1].span if files.log else NOWHERE
    return Failure(Diagnostic("defaults-conflict", f"Hydra refuses the defaults list: {first}", last))


def outside(files: Files, commands: Sequence[Command]) -> list[Diagnostic]:
    """The names that Hydra looked for and whose link leads out of the folder."""
    case = _Case(files, commands)
    return [
        Diagnostic(
            "path-outside", f"{shown} is, or lies behind, a link that leads outside", case.asking(name)[0],
            label="leads outside", help="put the file itself into the recipe's folder",
        )
        for name, shown in files.outside.items()
    ]  # fmt: skip


def _missing(case: _Case, path: str) -> Failure:
    if path in case.files.outside:
        return Failure(outside(case.files, case.commands)[0])
    span, command = case.asking(path)
    group, _, name = path.rpartition("/")
    options = case.files.options(group)
    near = nearest(name, options)
    if options:
        help_ = (f"did you mean {listed(near)}? " if near else "") + f"`{group or '.'}` holds {listed(options)}"
    else:
        groups = nearest(group, case.files.groups())
        help_ = f"there is no group `{group}`" + (f"; did you mean {listed(groups)}?" if groups else "")
    code = "override-unknown" if command is not None else "defaults-unknown"
    fix = None
    if near and span != NOWHERE and command is None:
        fix = _rename(span, near[0])
    diagnostic = Diagnostic(
        code, f"there is no file `{shorten(path)}.yaml`", span, label="no such file", help=help_, fix=fix
    )
    return Failure(diagnostic, command, path)


def _rename(span: Span, name: str) -> Fix | None:
    one_line = span.line == span.end_line and span.end_column > span.column
    return Fix((Edit(span, name),), "maybe") if one_line else None


def _endless(case: _Case) -> Failure:
    """The files that lead back to themselves, if that is it."""
    asks: dict[str, dict[str, Span]] = {}
    for entry in case.files.log:
        if not entry.is_self():
            for path in _targets(entry):
                asks.setdefault(entry.origin, {}).setdefault(path, entry.span)
    ring = _ring({name: list(targets) for name, targets in asks.items()})
    if not ring:
        limit = "the defaults lists ask for more files than a recipe may have"
        return Failure(Diagnostic("limit-nodes", limit, case.files.log[-1].span if case.files.log else NOWHERE,
                                  help="ask for fewer files; a part that stands in many places belongs under `slots:`"))  # fmt: skip
    steps = list(zip(ring, [*ring[1:], ring[0]], strict=True))
    path = " -> ".join(f"`{name}`" for name in [*ring[:8], *(["..."] if len(ring) > 8 else []), ring[0]])
    notes = tuple(Note(f"`{a}` asks for `{b}`", asks[a][b]) for a, b in steps[1:9])
    return Failure(Diagnostic(
        "defaults-conflict", f"the defaults lists lead back to themselves: {path}", asks[ring[0]][steps[0][1]],
        label="leads back", related=notes, help="take one of these entries out",
    ))  # fmt: skip


def _ring(asks: dict[str, list[str]]) -> list[str]:
    """One cycle among the files, or nothing."""
    done: set[str] = set()
    for start in asks:
        trail: list[str] = []
        todo: list[tuple[str, bool]] = [(start, True)]
        while todo:
            name, enter = todo.pop()
            if not enter:
                trail.pop()
                done.add(name)
            elif name in trail:
                return trail[trail.index(name) :]
            elif name not in done and name in asks:
                trail.append(name)
                todo.append((name, False))
                todo.extend((target, True) for target in asks[name])
    return []


def _two(case: _Case, key: str, message: str, help_: str) -> Failure:
    """Two entries, or an entry and an override, that want the same group."""
    spans = [entry.span for entry in case.by_key(key)]
    command = case.command(key, "add")
    if command is not None:
        spans.append(command.key_span())
    last = spans[-1] if spans else NOWHERE
    notes = tuple(Note("chosen here", span) for span in spans[:-1][:3])
    code = "override-conflict" if command is not None else "defaults-conflict"
    return Failure(Diagnostic(code, message, last, label="chosen again", related=notes, help=help_), command)


def _several(case: _Case, key: str) -> Failure:
    return _two(
        case, key, f"the group `{key}` is chosen twice, with different names",
        f"choose once; to change an earlier choice write `override {key}: name`, or `{key}=name` on the command line",
    )  # fmt: skip


def _again(case: _Case, key: str) -> Failure:
    return _two(case, key, f"`{key}` is in the defaults list twice", "choose once, or give one of them a package")


def _no_override(case: _Case, origin: str | None, key: str) -> Failure:
    chosen = {e.get_override_key() for e in case.files.log if isinstance(e, hydra_bridge.GroupEntry)}
    group = key.partition("@")[0]
    same = sorted(k for k in chosen if k.partition("@")[0] == group and k != key)
    near = same or nearest(key, chosen - {key})
    guess = f"did you mean {listed(near)}? " if near else ""
    message = f"nothing in the defaults list chooses `{shorten(key)}`, so there is nothing to override"
    command = case.command(key)
    if command is not None and origin is None:
        return Failure(Diagnostic(
            "override-unknown", message, command.key_span(), label="not chosen anywhere",
            help=f"{guess}to add it write +{shorten(command.text)}", fix=Fix((Edit(command.span(0, 0), "+"),), "maybe"),
        ), command)  # fmt: skip
    written = [entry for entry in case.by_key(key) if entry.is_override()]
    span = written[-1].span if written else NOWHERE
    help_ = f"{guess}drop `override` to choose it here"
    return Failure(Diagnostic("defaults-unknown", message, span, label="not chosen anywhere", help=help_))


def _no_deletion(case: _Case, what: str) -> Failure:
    key, _, name = what.partition("=")
    command = case.command(key, "delete")
    there = case.by_key(key)
    if command is None:
        return Failure(Diagnostic("override-unknown", f"there is no choice `{shorten(what)}` to delete"))
    if there and name:
        return Failure(Diagnostic(
            "override-conflict", f"the group `{key}` is not chosen as `{name}`", command.value_span(),
            label="another name", related=(Note("chosen here", there[-1].span),), help=f"write `~{key}`",
        ), command)  # fmt: skip
    chosen = {e.get_override_key() for e in case.files.log if isinstance(e, hydra_bridge.GroupEntry)}
    near = nearest(key, chosen)
    return Failure(Diagnostic(
        "override-unknown", f"nothing in the defaults list chooses `{shorten(key)}`", command.key_span(),
        label="nothing to delete", help=f"chosen are {listed(near or sorted(chosen))}" if chosen else "no group is chosen",
    ), command)  # fmt: skip


def _duplicate_self(case: _Case, path: str) -> Failure:
    file = case.files.get(path)
    spans = [entry.span for entry in file.entries if entry.is_self()] if file is not None else []
    return Failure(Diagnostic(
        "defaults-conflict", "`_self_` stands twice in one defaults list", spans[1] if len(spans) > 1 else NOWHERE,
        label="again", related=tuple(Note("the first one", span) for span in spans[:1]), help="take one of them out",
    ))  # fmt: skip


def _too_early(case: _Case, path: str, key: str) -> Failure:
    entries = [entry for entry in case.by_key(key) if entry.is_override()]
    return Failure(Diagnostic(
        "defaults-conflict", f"`override {key}` stands before an entry that is no override",
        entries[-1].span if entries else NOWHERE, label="too early", help="put the overrides last",
    ))  # fmt: skip


def _unchosen(case: _Case, key: str) -> Failure:
    entries = case.by_key(key)
    group = entries[-1].get_group_path() if entries else key.partition("@")[0]
    options = case.files.options(group)
    command = case.command(key, "set add")
    span = command.value_span() if command else entries[-1].span if entries else NOWHERE
    name = options[0] if options else "name"
    return Failure(Diagnostic(
        "missing-value", f"nothing is chosen for the group `{key}`", span, label="`???` asks for a choice",
        help=f"choose with {key}={name}" + (f"; `{group}` holds {listed(options)}" if options else ""),
    ))  # fmt: skip


_CASES: tuple[tuple[str, Callable[..., Failure]], ...] = (
    (r"^Multiple values for (.+?)\. To override", _several),
    (r"^(?:In '([^']+)': )?Could not override '([^']+)'", _no_override),
    (r"^Could not delete '([^']+)'\. No match", _no_deletion),
    (r"^(\S+) appears more than once in the final", _again),
    (r"^Duplicate _self_ defined in (\S+)", _duplicate_self),
    (r"In (\S+): Override '(\S+) : [^']*' is defined before", _too_early),
    (r"^You must specify '([^']+)'", _unchosen),
)
