"""Predictions beside measurements, and how they print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

NOTHING = "nothing"
STARTED = frozenset(("start", "zero", "silent", "step", "q", "g"))
"""Sorts of rows that training undoes."""


class Row(NamedTuple):
    """One thing that was predicted. `what`: edge, input, output, count, key, gradient; of a model at its
    start also start, zero, silent, step, q (second moment of a value), g (of its gradient)."""

    what: str
    address: str
    predicted: str
    measured: str
    note: str = ""
    holds: bool | None = None
    """Whether the measurement is what was predicted; None: where both are the same text."""

    @property
    def agrees(self) -> bool:
        return self.predicted == self.measured if self.holds is None else self.holds

    @property
    def label(self) -> str:
        return self.address if self.what in ("edge", "count") else f"{self.what} {self.address}"


def table(rows: Sequence[Row]) -> list[str]:
    """Rows as aligned lines."""
    wide = max((len(row.label) for row in rows), default=0)
    said = max((len(row.predicted) for row in rows), default=0)
    return [f"{row.label:<{wide}}  predicted {row.predicted:<{said}}  measured {row.measured}{row.note}{'' if row.agrees else '   DIFFERS'}" for row in rows]
