"""The defaults list of one file: its entries as Hydra takes them, each with its place; what is malformed is said.

Imported only where a recipe has defaults or overrides, because the entries are Hydra's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from assembler.source.hydra_bridge import ConfigEntry, GroupEntry
from assembler.source.merge import MISSING
from assembler.source.paths import check_relative
from assembler.source.tree import Value
from assembler.source.wording import shorten
from assembler_schemas.diagnostic import Diagnostic, Edit, Fix
from assembler_schemas.span import Span

HEADER_CHARACTERS = 512
_PACKAGE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*\Z")
_SPECIAL = ("", "_here_")
_KEYWORDS = ("optional", "override")
_FORM = "an entry is `- group: name`, `- group: [a, b]`, `- file` or `- _self_`"


@dataclass
class Entries:
    """The entries of one file, in order, and what was wrong with the others."""

    origin: str
    log: list[Any]
    found: list[Any] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def fault(self, code: str, message: str, span: Span, label: str = "", help: str = _FORM) -> None:
        self.diagnostics.append(Diagnostic(code, message, span, label=label, help=help))

    def add(self, entry: Any, span: Span) -> None:
        entry.span, entry.origin, entry.log = span, self.origin, self.log
        self.found.append(entry)


def entries_of(tree: Value, origin: str, log: list[Any]) -> Entries:
    """The `defaults` of the file `origin`; `log` is where placed entries will write themselves down."""
    entries = Entries(origin, log)
    defaults = tree.get("defaults")
    if defaults is None:
        return entries
    if not isinstance(defaults.data, list):
        entries.fault("defaults-syntax", "`defaults` is not a list", defaults.span, "a list is wanted")
        return entries
    for item in defaults.data:
        if isinstance(item.data, dict):
            _group(entries, item)
        elif isinstance(item.data, str):
            _config(entries, item)
        else:
            entries.fault("defaults-syntax", f"{shorten(repr(item.plain()))} is no defaults entry", item.span)
    return entries


def _config(entries: Entries, item: Value) -> None:
    name, package = _split(entries, item.data, item.span)
    if name is None or not _package(entries, package, item.span):
        return
    if name == "_self_" and package is not None:
        entries.fault("defaults-syntax", "`_self_` takes no package", item.span)
    elif name == "_self_" or _plain(entries, name, item.span, "file"):
        entries.add(ConfigEntry(path=name, package=package), item.span)


def _group(entries: Entries, item: Value) -> None:
    if len(item.data) != 1:
        what = "no group" if not item.data else "several keys"
        entries.fault("defaults-syntax", f"a defaults entry with {what}", item.span, "one key is wanted")
        return
    ((key, value),) = item.data.items()
    words = key.split()
    strange = [word for word in words[:-1] if word not in _KEYWORDS]
    if not words or strange:
        entries.fault(
            "defaults-syntax", f"{shorten(key)!r} is no group", value.key,
            help="only `optional` and `override` may stand before the group",
        )  # fmt: skip
        return
    group, package = _split(entries, words[-1], value.key)
    if group is None or not _package(entries, package, value.key) or not _plain(entries, group, value.key, "group"):
        return
    if not _names(entries, value):
        return
    names = [item.data for item in value.data] if isinstance(value.data, list) else value.data
    optional, override = "optional" in words[:-1], "override" in words[:-1]
    entry = GroupEntry(group=group, value=names, package=package, optional=optional, override=override)
    entries.add(entry, value.span)


def _names(entries: Entries, value: Value) -> bool:
    """Whether what is chosen from a group is a name, `null`, or a list of names."""
    items: Sequence[Value] = value.data if isinstance(value.data, list) else [value]
    faults = len(entries.diagnostics)
    for item in items:
        alone = item is value
        if item.data is None and alone:
            continue
        if not isinstance(item.data, str):
            wanted = "a text or a list of texts is wanted" if alone else "a text is wanted"
            entries.fault("defaults-syntax", f"{shorten(repr(item.plain()))} is no name", item.span, wanted)
        elif item.data == "_self_" or (item.data == MISSING and not alone):
            entries.fault("defaults-syntax", f"`{item.data}` cannot be chosen from a group", item.span)
        elif item.data.startswith("/"):
            entries.fault("path-outside", f"the name {shorten(item.data)!r} is an absolute path", item.span)
        elif item.data != MISSING:
            _plain(entries, item.data, item.span, "name")
    return len(entries.diagnostics) == faults


def _split(entries: Entries, text: str, span: Span) -> tuple[str | None, str | None]:
    """`group@package` as (group, package); (None, None) where it was refused."""
    if "${" in text:
        entries.fault(
            "interpolation", f"an interpolation in the defaults list: {shorten(text)!r}", span, "interpolation",
            "name the file, and choose another one with an override",
        )  # fmt: skip
        return None, None
    name, at, package = text.partition("@")
    return name, package if at else None


def _package(entries: Entries, package: str | None, span: Span) -> bool:
    if package is None or package in _SPECIAL or _PACKAGE.match(package):
        return True
    help_ = "a package is a key path (`model.slots.ffn`), `_global_` or `_here_`"
    entries.fault("defaults-syntax", f"{shorten(package)!r} is no package", span, "not a key path", help_)
    return False


def _plain(entries: Entries, name: str, span: Span, what: str) -> bool:
    """Whether `name` may be looked for at all; what is wrong with it is said."""
    if "${" in name:
        return _split(entries, name, span)[0] is not None
    if name == MISSING:
        entries.fault("defaults-syntax", f"`{MISSING}` names no file", span)
        return False
    absolute = name.startswith("/") or "/" not in entries.origin
    if absolute and name.lstrip("/").split("/")[0] == "hydra":
        entries.fault(
            "foreign-key", f"`{shorten(name)}` would steer Hydra", span, "not a group of recipes",
            "leave Hydra's own settings out of a recipe",
        )  # fmt: skip
        return False
    fault = check_relative(name, span, what)
    if fault is not None:
        entries.diagnostics.append(fault)
    return fault is None


def warn_self(entries: Entries, tree: Value, text: str) -> None:
    """A list that does not say where the file itself stands: Hydra puts it last."""
    defaults = tree.get("defaults")
    if defaults is None or not isinstance(defaults.data, list) or len(tree.data) < 2:
        return
    chosen = [e for e in entries.found if not e.is_override()]
    if not chosen or any(e.is_self() for e in chosen):
        return
    entries.diagnostics.append(Diagnostic(
        "defaults-self", "the defaults list does not say where `_self_` stands, so this file comes last",
        defaults.key if defaults.key.line else defaults.span, label="without `_self_`",
        help="add `- _self_` at the end to keep that order, or put it first", fix=_self_fix(defaults, text),
    ))  # fmt: skip


def _self_fix(defaults: Value, text: str) -> Fix | None:
    """Write `_self_` after the last entry, in the style of the list."""
    item = last = defaults.data[-1]
    while isinstance(last.data, (dict, list)) and last.data:
        last = list(last.data.values())[-1] if isinstance(last.data, dict) else last.data[-1]
    lines = text.split("\n")
    if not 0 < last.span.end_line <= len(lines):
        return None
    dash = re.match(r"(\s*)-\s", lines[item.span.line - 1])
    if dash is None or isinstance(last.data, (dict, list)):
        place = item.span._replace(line=item.span.end_line, column=item.span.end_column)
        return Fix((Edit(place, ", _self_"),))
    end = len(lines[last.span.end_line - 1].rstrip("\r")) + 1
    place = last.span._replace(line=last.span.end_line, column=end, end_line=last.span.end_line, end_column=end)
    return Fix((Edit(place, f"\n{dash.group(1)}- _self_"),))


def package_of(text: str) -> tuple[str | None, str]:
    """The package that the head of a file states (`# @package model`), and what is wrong with it."""
    for line in text[:HEADER_CHARACTERS].splitlines():
        line = line.strip()
        if line and not re.match(r"#\s*@", line):
            break
        words = line.lstrip("#").split()
        if not words or words[0] != "@package":
            continue
        if len(words) != 2 or not _PACKAGE.match(words[1]):
            return None, f"{shorten(line)!r} states no package"
        return words[1], ""
    return None, ""
