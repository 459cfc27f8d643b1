"""From a recipe's file and overrides to one tree: defaults, groups and overrides, each value with its place.

Hydra decides which files compose, in which order, under which key, and what an override means
(`hydra_bridge`); the merging is ours. Without defaults and without overrides Hydra is not imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from assembler.source.merge import merge, stamp, without_nulls
from assembler.source.paths import Root, read_capped, roots, shipped
from assembler.source.text import read
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic

if TYPE_CHECKING:
    from assembler.source.grammar import Command

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\Z")
_HEAD = 2048
MAX_PACKAGE = 64


def compose(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    search: Sequence[str | os.PathLike[str]] | None = None,
) -> tuple[Value | None, list[Diagnostic]]:
    """The recipe at `path` with its defaults and `overrides` merged in.

    Groups are looked for in the recipe's folder, then in `search` (default: the shipped recipes).
    The tree is None where the recipe cannot be read or its defaults cannot be composed; an override
    that cannot be carried out is left out.
    """
    shown = os.fspath(path)
    tree, diagnostics = read(path, name=shown)
    if tree is None or not isinstance(tree.data, dict):
        return None, diagnostics
    data, _ = read_capped(os.path.realpath(shown), shown)
    text = data or b""
    if not overrides and "defaults" not in tree.data and b"@package" not in text[:_HEAD]:
        return without_nulls(tree), diagnostics
    places = roots(os.path.dirname(shown), [shipped()] if search is None else search)
    composed, found = _compose(tree, text.decode("utf-8-sig", "replace"), shown, overrides, places)
    return composed, once_a_line([*diagnostics, *found])


def apply(tree: Value, overrides: Sequence[str], clean: bool = False) -> tuple[Value, list[Diagnostic]]:
    """A loaded tree with value overrides carried out; only the mappings on their paths are copied.

    `clean`: no entry of it is null.
    """
    if not overrides:
        return tree, []
    from assembler.source.edit import carry_out
    from assembler.source.grammar import commands

    found, diagnostics = commands(overrides)
    changed, refused = carry_out(tree, found, clean=clean)
    return changed, [*diagnostics, *refused]


def _compose(
    tree: Value, text: str, shown: str, overrides: Sequence[str], places: Sequence[Root]
) -> tuple[Value | None, list[Diagnostic]]:
    from assembler.source.edit import carry_out
    from assembler.source.grammar import commands

    wanted, diagnostics = commands(overrides)
    merged = merge_files(tree, text, shown, wanted, places)
    diagnostics += merged.found
    if merged.tree is None:
        return None, diagnostics
    if not merged.commands:
        return without_nulls(merged.tree), diagnostics
    changed, found = carry_out(merged.tree, merged.commands, merged.groups)
    return changed, [*diagnostics, *found]


class Merged(NamedTuple):
    """All files of a composition as one tree, with its null entries; None where they do not compose."""

    tree: Value | None
    commands: tuple[Command, ...]
    """What sets values, and chooses no file."""
    groups: Callable[[], list[str]]
    found: list[Diagnostic]
    refused: bool
    """Whether something was said of the defaults or of a choice."""


def merge_files(tree: Value, text: str, shown: str, wanted: Sequence[Command], places: Sequence[Root]) -> Merged:
    """The recipe's file with the files that its defaults and the choices among `wanted` name merged in."""
    from assembler.source.defaults import Files, plan

    files = Files(places)
    stem = os.path.splitext(os.path.basename(shown))[0]
    name = stem if _FILE_NAME.match(stem) else "_recipe_"
    files.add(name, tree, text)
    planned, refused = plan(files, name, wanted)
    said = [*files.diagnostics, *refused]
    if not planned.complete or any(d.level == "error" for d in files.diagnostics):
        return Merged(None, (), files.groups, said, bool(refused))
    merged, found = _merge_all(tree, planned.uses)
    return Merged(merged, planned.commands, files.groups, [*said, *found], bool(refused))


def once_a_line(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Without what the reader has said already of the same line: it looks for these two everywhere."""
    seen: set[tuple[str, str, int]] = set()
    kept: list[Diagnostic] = []
    for diagnostic in found:
        place = (diagnostic.code, diagnostic.span.file, diagnostic.span.line)
        if diagnostic.code not in ("interpolation", "foreign-key") or not diagnostic.span.file or place not in seen:
            kept.append(diagnostic)
        seen.add(place)
    return kept


def _merge_all(primary: Value, uses: Sequence[tuple[Value, str]]) -> tuple[Value, list[Diagnostic]]:
    """The trees merged in order, each at its key; each is one layer."""
    diagnostics: list[Diagnostic] = []
    merged = Value({}, primary.span, primary.key)
    stamped: set[int] = set()
    for layer, (tree, package) in enumerate(uses):
        if id(tree) in stamped:
            tree = copied(tree)
        stamped.add(id(tree))
        stamp(tree, layer)
        path = [part for part in package.split(".") if part]
        if len(path) > MAX_PACKAGE:
            message = f"the file lands at a key of more than {MAX_PACKAGE} parts"
            diagnostics.append(Diagnostic("limit-depth", message, tree.span, help="no recipe nests that deep"))
            continue
        steered = path[0] == "hydra" if path else "hydra" in tree.data
        if steered:
            diagnostics.append(_steers(tree, path))
            continue
        for key in reversed(path):
            tree = Value({key: tree}, tree.span, tree.key, layer)
        merged, found = merge(merged, tree)
        diagnostics += found
    return merged, diagnostics


def _steers(tree: Value, path: Sequence[str]) -> Diagnostic:
    span = tree.span if path else tree.data["hydra"].key
    return Diagnostic(
        "foreign-key", "`hydra` would steer Hydra", span, label="not a key of recipes",
        help="leave Hydra's own settings out of a recipe",
    )  # fmt: skip


def copied(tree: Value) -> Value:
    """The same tree in objects of its own: a file that is used at two keys is two layers."""
    root = Value(tree.data, tree.span, tree.key, tree.layer)
    todo = [root]
    while todo:
        value = todo.pop()
        if isinstance(value.data, dict):
            value.data = {k: Value(v.data, v.span, v.key, v.layer) for k, v in value.data.items()}
            todo.extend(value.data.values())
        elif isinstance(value.data, list):
            value.data = [Value(v.data, v.span, v.key, v.layer) for v in value.data]
            todo.extend(value.data)
    return root
