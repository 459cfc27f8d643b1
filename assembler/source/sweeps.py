"""Sweeps: what an override that asks for several values stands for, counted before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

from assembler.source.grammar import Command, commands
from assembler.source.wording import listed, shorten
from assembler_schemas.diagnostic import Diagnostic


class TooMany(ValueError):
    """A sweep of more variants than are allowed; the text says how many."""


class Axis(NamedTuple):
    """One argument of a sweep and the overrides that it stands for: one, or one for each value."""

    key: str
    """`vars.width`, `+slots/ffn`."""
    overrides: tuple[str, ...]

    @property
    def swept(self) -> bool:
        return len(self.overrides) > 1


@dataclass(frozen=True)
class Grid:
    """All variants of a sweep: the product of its axes, the last one fastest."""

    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        return prod(len(axis.overrides) for axis in self.axes)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return product(*(axis.overrides for axis in self.axes))


Options = Callable[[str], list[str]]
"""The files that a group holds, by its name; nothing where there is no such group."""


def grid(arguments: Sequence[str], options: Options, limit: int) -> tuple[Grid, list[Diagnostic]]:
    """What the arguments ask for, and what is wrong with them; warnings are left to the variants.

    Raises:
        TooMany: more than `limit` variants. Nothing has been expanded by then.
    """
    found, diagnostics = commands(arguments, sweeps=True)
    wrong = [item for item in diagnostics if item.level == "error"]
    counts = []
    for command in found:
        count, refused = _count(command, options)
        counts.append(count)
        wrong += [refused] if refused is not None else []
    total = prod(counts)
    if total > limit:
        each = " x ".join(str(count) for count in counts if count > 1)
        raise TooMany(f"the sweep asks for {each if each == str(total) else f'{each} = {total}'} variants, more than {limit}")
    return Grid(() if wrong else tuple(_axis(command, options) for command in found)), wrong


def _count(command: Command, options: Options) -> tuple[int, Diagnostic | None]:
    """How many variants one argument asks for; 1, with the reason, where that cannot be said."""
    if not command.parsed.sweep:
        return 1, None
    from assembler.source.hydra_sweep import size

    there = options(command.key)
    count = size(command.parsed.raw, there)
    if count is None:
        return 1, Diagnostic(
            "override-sweep", f"`{shorten(command.text)}` names no list of values: {command.parsed.sweep}",
            command.value_span(), label="nothing to try one by one", help=f"write `{command.key}=choice(a, b)`, `{command.key}=a,b` or `{command.key}=range(1, 5)`",
        )  # fmt: skip
    if not count:
        group = "glob" in command.text
        return 1, Diagnostic(
            "override-sweep", f"`{shorten(command.text)}` is a sweep over no values", command.value_span(), label="no values",
            help=(f"the group `{command.key}` holds {listed(there)}" if there else f"there is no group `{command.key}`") if group else "a range goes from its first number up to its second, which it leaves out",
        )  # fmt: skip
    return count, None


def _axis(command: Command, options: Options) -> Axis:
    if not command.parsed.sweep:
        return Axis(command.key, (command.text,))
    from assembler.source.hydra_sweep import texts

    found = tuple(texts(command.parsed.raw, options(command.key)))
    return Axis(command.parsed.raw.get_key_element(), found)
