"""One recipe read once, for many sets of overrides: what they do not touch is read and sorted once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from assembler.source.edit import carry_out
from assembler.source.grammar import Command, commands
from assembler.source.merge import without_nulls
from assembler.source.override import Merged, copied, merge_files, once_a_line
from assembler.source.parse import parse
from assembler.source.paths import Root, read_capped, roots, shipped
from assembler.source.recipe import Recipe
from assembler.source.text import read
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic

MOST = 64
"""Choices of files that are kept, each with the whole recipe that they make."""


class _Base(NamedTuple):
    """What the files make, before any value is set."""

    merged: Merged
    clean: bool
    """No entry of the tree is null."""
    recipe: Recipe | None
    found: list[Diagnostic]
    """What was said while `recipe` was sorted."""


class Variants:
    """The recipe at a path. `tree` is None where it cannot be read at all; `found` says why.

    The file is read once; the others are for each new choice among them.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.shown = os.fspath(path)
        self.tree, self.found = read(path, name=self.shown)
        if self.tree is not None and not isinstance(self.tree.data, dict):
            self.tree = None
        self.text = ""
        self.places: list[Root] = []
        if self.tree is not None:
            data, _ = read_capped(os.path.realpath(self.shown), self.shown)
            self.text = (data or b"").decode("utf-8-sig", "replace")
            self.places = roots(os.path.dirname(self.shown), [shipped()])
        self._bases: dict[tuple[tuple[int, str], ...], _Base] = {}

    def options(self, group: str) -> list[str]:
        """The files of a group."""
        return sorted({option for root in self.places for option in root.options(group)})

    def read(self, overrides: Sequence[str]) -> tuple[Recipe | None, list[Diagnostic], list[Diagnostic]]:
        """The recipe with overrides, what `compose` says of its text, and what `parse` says of its keys."""
        if self.tree is None:
            return None, self.found, []
        wanted, said = commands(overrides)
        base, values = self._base(self.tree, wanted)
        said += base.merged.found
        if base.merged.tree is None or base.recipe is None:
            return None, once_a_line([*self.found, *said]), []
        if not values:
            return base.recipe, once_a_line([*self.found, *said]), base.found
        tree, refused = carry_out(base.merged.tree, values, base.merged.groups, clean=base.clean)
        recipe, more = parse(tree, self.shown, base.recipe)
        return recipe, once_a_line([*self.found, *said, *refused]), more

    def _base(self, tree: Value, wanted: Sequence[Command]) -> tuple[_Base, Sequence[Command]]:
        """What the choices among the commands make of the files, and the commands that set values."""
        chosen = [command for command in wanted if self._chooses(command)]
        key = tuple((command.index, command.text) for command in chosen)
        known = self._bases.pop(key, None)
        if known is not None:
            self._bases[key] = known  # the last used stay longest
            return known, [command for command in wanted if not self._chooses(command)]
        merged = merge_files(copied(tree), self.text, self.shown, wanted, self.places)
        if merged.tree is None:
            return _Base(merged, False, None, []), ()
        whole = without_nulls(merged.tree)
        base = _Base(merged, whole is merged.tree, *parse(whole, self.shown))
        if not merged.refused:
            while len(self._bases) >= MOST:
                del self._bases[next(iter(self._bases))]
            self._bases[key] = base
        return base, merged.commands

    def _chooses(self, command: Command) -> bool:
        """Whether Hydra takes it for the choice of a file."""
        return not isinstance(command.value, dict) and any(root.is_group(command.key) for root in self.places)
