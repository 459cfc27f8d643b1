"""What of a file a model takes: as a value, and as the table that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from assembler.facts.weights import Changed, Held, shape_text
from assembler.graph.address import starred
from assembler.weights.header import WeightsError, printable

if TYPE_CHECKING:
    from assembler.lab.starts import Started

ROWS = 40
"""Nodes, moves or weights that a table lists; the rest are counted."""


class Loaded(NamedTuple):
    """What became of every weight of a file and of a model. Nothing stands in two lists."""

    file: str
    kept: tuple[tuple[Held, Held], ...]
    """(in the file, in the model): loaded."""
    changed: tuple[Changed, ...]
    """The same key, but another kind or shape: not loaded."""
    new: tuple[Held, ...]
    """The model's, not in the file: as they were."""
    dropped: tuple[Held, ...]
    """The file's, not in the model."""
    left: tuple[str, ...] = ()
    """The file's keys that were not asked for."""
    suggested: Mapping[str, str] = MappingProxyType({})
    """Old address -> new address: moves that would let the model keep more. Guesses, never taken unasked."""
    broken: tuple[Started, ...] = ()
    """What the recipe promises of the start (zero, the identity, a copy) and is so no more."""

    @property
    def whole(self) -> bool:
        """Whether the file and the model agree on every weight that was asked for."""
        return not (self.changed or self.new or self.dropped)

    def __str__(self) -> str:
        total = len(self.kept) + len(self.changed) + len(self.new)
        lines = [f"{printable(self.file)}: {len(self.kept)} of {total} weights fit"]
        if not self.whole:
            lines += ["", *_table(self)]
        lines += _listed(_together((item.after.key, item.why) for item in self.changed), "changed:")
        # Of nodes that are new or gone as a whole the table says enough.
        part = {item.node for _, item in self.kept}
        lines += _listed(_together((item.key, shape_text(item.shape)) for item in self.new if item.node in part), "new in nodes that were there:")
        lines += _listed(_together((item.key, shape_text(item.shape)) for item in self.dropped if item.node in part), "dropped from nodes that are still there:")
        lines += _listed([f"  {old}: {new}" for old, new in self.suggested.items()], "did these move? then say moved:")
        lines += _listed([f"  {item.address}: starts as {item.start} in the recipe; {item.measured}" for item in self.broken], "no longer as the recipe starts them:")
        return "\n".join(lines)


class WeightsMismatch(WeightsError):
    """A file that does not hold what a model needs. `loaded` says all of it; nothing was written."""

    def __init__(self, loaded: Loaded, advice: str) -> None:
        super().__init__(f"{loaded}\n\nnothing was loaded: {advice}")
        self.loaded = loaded


def _together(items: Iterable[tuple[str, str]]) -> list[str]:
    """Lines about weights, those of like copies in one."""
    alike = Counter((starred(key), what) for key, what in items)
    return [f"  {printable(key)}: {what}{f' ({count} copies)' if count > 1 else ''}" for (key, what), count in alike.items()]


def _listed(lines: Sequence[str], title: str) -> list[str]:
    if not lines:
        return []
    rest = len(lines) - ROWS
    return ["", title, *lines[:ROWS], *([f"  and {rest} more"] if rest > 0 else [])]


def _table(found: Loaded) -> list[str]:
    """A row for each node that is not kept whole; copies together."""
    columns = {
        "kept": Counter(starred(item.node) for _, item in found.kept),
        "changed": Counter(starred(item.after.node) for item in found.changed),
        "new": Counter(starred(item.node) for item in found.new),
        "dropped": Counter(starred(item.node) for item in found.dropped),
    }
    nodes = dict.fromkeys(node for name in ("changed", "new", "dropped") for node in columns[name])
    head = ("node", *columns)
    rows = [(printable(node) or "(the model)", *(str(count[node] or "") for count in columns.values())) for node in nodes]
    rest = len(rows) - ROWS
    rows = rows[:ROWS]
    wide = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    lines = ["  ".join(cell.ljust(wide[0]) if not place else cell.rjust(wide[place]) for place, cell in enumerate(row)).rstrip() for row in (head, *rows)]
    return [*lines, *([f"and {rest} more nodes"] if rest > 0 else [])]


__all__ = ["Loaded", "WeightsMismatch"]
