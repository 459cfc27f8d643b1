"""One finding: what is wrong, where, why it is so, and the edit that mends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from assembler_schemas.codes import CODES
from assembler_schemas.span import NOWHERE, Span

Level = Literal["error", "warning", "note"]


class Note(NamedTuple):
    """A second place that belongs to a finding, with what is to be said of it."""

    message: str
    span: Span = NOWHERE


class Edit(NamedTuple):
    """Replace the text of `span` (end exclusive; empty span = insert) by `text`."""

    span: Span
    text: str


class Fix(NamedTuple):
    """Edits that mend a finding. `safe` ones may be applied unseen; `maybe` wants a look."""

    edits: tuple[Edit, ...]
    applicability: Literal["safe", "maybe"] = "safe"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. The message is lower-case, has no full stop and stands alone.

    The message says what is wrong; only `help` says what to do. `label` is the word under the
    caret. `related` holds the other end, and why a value is what it is.
    """

    code: str
    message: str
    span: Span = NOWHERE
    label: str = ""
    related: tuple[Note, ...] = ()
    help: str = ""
    fix: Fix | None = None
    level: Level = field(default="error")

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", CODES[self.code].level)
