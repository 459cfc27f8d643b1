"""Sweeps: every variant of a recipe that some overrides ask for, checked one after another.

    for variant in sweep("model.yaml", ["slots/ffn=mlp,moe", "vars.width=range(64, 257, 64)"]):
        print(variant.overrides, variant.report.ok)

Nothing is kept but what variants share: the files are read and sorted once, and what analyses know of parts
that are alike is found again by their content.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from assembler.assemble import RecipeError, Source, examine, no_collection, read
from assembler.checks.echoes import without_echoes
from assembler.report.report import Report
from assembler.source.recipe import Recipe
from assembler.source.sweeps import Axis, grid
from assembler.source.variants import Variants
from assembler_schemas.diagnostic import Diagnostic

LIMIT = 10_000
"""Variants of one sweep, unless more are asked for."""

Read = Callable[[Sequence[str]], tuple[Recipe | None, list[Diagnostic]]]


class Variant(NamedTuple):
    """One set of overrides, and what a check of the recipe with them finds."""

    overrides: tuple[str, ...]
    """One for each argument of the sweep, in their order."""
    report: Report


class Sweep:
    """The variants of a sweep: each is checked when it is asked for, and none is kept. Prints as a table."""

    def __init__(self, source: Source, overrides: Sequence[str] = (), limit: int = LIMIT) -> None:
        """Raises:
        RecipeError: the recipe cannot be read at all, or an argument is no override; the report says which.
        TooMany: more than `limit` variants (a ValueError). They are counted, not expanded.
        """
        self._read, options = _reader(source)
        self.grid, wrong = grid(overrides, options, limit)
        if wrong:
            raise RecipeError(Report(diagnostics=tuple(wrong)))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The arguments with the overrides that each stands for."""
        return self.grid.axes

    def __len__(self) -> int:
        return self.grid.size

    def __iter__(self) -> Iterator[Variant]:
        for overrides in self.grid:
            yield Variant(overrides, self._check(overrides))

    def _check(self, overrides: Sequence[str]) -> Report:
        with no_collection():
            recipe, found = self._read(overrides)
            return Report(diagnostics=tuple(found)) if recipe is None else examine(recipe, found)

    def __str__(self) -> str:
        from assembler.compare.sweep_table import put, text

        lines: list[str] = []
        put(self, text(self), lines.append)
        return "".join(lines)


def sweep(source: Source, overrides: Sequence[str] = (), *, limit: int = LIMIT) -> Sweep:
    """All variants of a recipe: `overrides` in Hydra's grammar of sweeps (`a,b`, `range(1, 5)`, `choice(...)`, `glob(*)`
    over a group), any of which may state one value. The last one changes fastest. Each variant's report is that of
    `check` with its overrides.

    Raises:
        RecipeError: the recipe cannot be read at all, or an argument is no override; the report says which.
        TooMany: more than `limit` variants (a ValueError). They are counted, not expanded.
    """
    return Sweep(source, overrides, limit)


def _reader(source: Source) -> tuple[Read, Callable[[str], list[str]]]:
    """What reads a variant, and what names the files of a group."""
    if isinstance(source, (str, os.PathLike)):
        variants = Variants(source)
        if variants.tree is None:
            raise RecipeError(Report(diagnostics=tuple(variants.found)))

        def composed(overrides: Sequence[str]) -> tuple[Recipe | None, list[Diagnostic]]:
            recipe, found, more = variants.read(overrides)
            return recipe, [*found, *without_echoes(found, more)]

        return composed, variants.options
    recipe, found = read(source)
    if recipe is None:
        raise RecipeError(Report(diagnostics=tuple(found)))

    def applied(overrides: Sequence[str]) -> tuple[Recipe | None, list[Diagnostic]]:
        return read(recipe, overrides) if overrides else (recipe, found)

    return applied, lambda group: []
