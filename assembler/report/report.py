"""Report: every finding about one recipe, and what is known of the model. Frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assembler_schemas.diagnostic import Diagnostic, Level

if TYPE_CHECKING:
    from assembler.checks.grafts import Certificate
    from assembler.facts.model import Facts
    from assembler.facts.signals import Signals
    from assembler.graph.model import Graph

LEVELS: tuple[Level, ...] = ("error", "warning", "note")
_RANK = {level: rank for rank, level in enumerate(LEVELS)}

Place = tuple[bool, str, int, int, int, str, str]


@dataclass(frozen=True)
class Report:
    """What a check found. Prints as text, and renders in a notebook.

    `graph` and `facts` are those of the mended graph; None where the recipe did not get so far.
    `signals`: norms, zeros and gradients; None too where something is wrong with the types, and for a
    graph that is too large to be unfolded.
    `sources` holds the text of files by the name that spans carry; what it lacks is read from disk
    when an excerpt is printed. A pickle of a report holds the findings, not the graph nor what is known of it.
    """

    name: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()
    graph: Graph | None = None
    facts: Facts | None = None
    signals: Signals | None = None
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "diagnostics", ordered(self.diagnostics))

    @property
    def ok(self) -> bool:
        """Whether the recipe can be built: no errors (warnings and notes are allowed)."""
        return not any(item.level == "error" for item in self.diagnostics)

    @property
    def certificates(self) -> list[Certificate]:
        """Of every graft: silent at the start or not, and when it learns. Empty where the recipe does not check."""
        if self.graph is None or self.signals is None or not self.graph.grafts:
            return []
        from assembler.checks.grafts import certificates

        return certificates(self.graph, self.signals.flow, self.signals.zero)

    @property
    def counts(self) -> dict[Level, int]:
        """How many findings there are of each level."""
        found: dict[Level, int] = dict.fromkeys(LEVELS, 0)
        for item in self.diagnostics:
            found[item.level] += 1
        return found

    def __str__(self) -> str:
        from assembler.report.text import render

        return render(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers pickle what they return; graph and facts, which hold code of kinds, stay where they were made.
        return Report, (self.name, self.diagnostics, None, None, None, dict(self.sources))

    def __deepcopy__(self, memo: object) -> Report:
        return self

    def _repr_html_(self) -> str:
        """For notebooks: the same text, in which nothing a recipe says is markup."""
        import html

        return f'<pre style="line-height:1.25">{html.escape(str(self))}</pre>'


def ordered(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Each finding once, errors first, then by place; equal for equal sets of findings."""
    once = dict.fromkeys(diagnostics)
    return tuple(sorted(once, key=lambda item: (_RANK[item.level], _place(item), item.code, item.message)))


def _place(item: Diagnostic) -> Place:
    span = item.span
    return (
        span.override is not None,
        span.file,
        span.index if span.override is not None else span.line,
        span.column,
        span.end_column,
        span.path,
        span.override or "",
    )
