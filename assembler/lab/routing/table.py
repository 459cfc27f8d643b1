"""A report as a table: a line for each mixture, under it what a good one keeps to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assembler.lab.routing.report import Limits, Mixture, Report


def table(report: Report) -> str:
    """Aligned lines. What was not measured is left out where no mixture has it, and a dash elsewhere."""
    columns = _columns(report.limits)
    used = [column for column in columns if any(column[2](mixture) for mixture in report.mixtures)]
    lines = [[head for head, _, _ in used], [limit for _, limit, _ in used]]
    lines += [[text(mixture) or "-" for _, _, text in used] for mixture in report.mixtures]
    said = ["verdict", "", *(", ".join(mixture.verdict) or "-" for mixture in report.mixtures)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(used))]
    shown = [
        "  ".join(_place(word, width, place) for place, (word, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    text = [f"{line}  {end}".rstrip() for line, end in zip(shown, said, strict=True)]
    notes = [f"{mixture.name}: {note}" for mixture in report.mixtures for note in mixture.notes]
    of = sorted({mixture.information_of for mixture in report.mixtures if mixture.information_of})
    if of:
        notes.append(f"NMI: of first choices with {' or '.join(of)}; NMI and CKA in brackets: by chance alone")
    return "\n".join([*text, *notes])


def _place(word: str, width: int, place: int) -> str:
    return word.rjust(width) if place else word.ljust(width)


def _columns(limits: Limits) -> Sequence[tuple[str, str, _Text]]:
    return (
        ("mixture", "good:", lambda m: m.name or "Gating"),
        ("experts", "", lambda m: f"{m.top_k} of {m.experts}"),
        ("rows", "", lambda m: f"{m.rows:,}"),
        ("MaxVio", f"<= {limits.max_violation:g}", lambda m: f"{m.max_violation:.2f}"),
        ("dead", f"<= {limits.dead}", lambda m: str(m.dead)),
        ("H(load)", "", lambda m: f"{m.load_entropy:.2f}"),
        ("dropped", "", lambda m: f"{m.dropped:.1%}" if m.dropped else ""),
        ("unserved", "", lambda m: f"{m.unserved:.1%}" if m.unserved else ""),
        ("H(p)", f"{limits.saturated:g}-{limits.flat:g}", lambda m: _number(m.token_entropy)),
        ("lse²", "", lambda m: _number(m.squared_logsumexp)),
        (
            "NMI",
            f">= {limits.information:g}",
            lambda m: _beside(m.information, m.information_null[0] if m.information_null else None),
        ),
        ("CKA", f"<= {limits.cka:g}", lambda m: _beside(m.cka, m.cka_null)),
        ("shuffle", f">= {limits.shuffle:g}", lambda m: _number(m.shuffle)),
        ("flips", f"<= {limits.flips:g}", lambda m: _number(m.flips)),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _beside(value: float | None, null: float | None) -> str:
    return _number(value) + (f" ({null:.2f})" if value is not None and null is not None else "")


if TYPE_CHECKING:
    from collections.abc import Callable

    _Text = Callable[[Mixture], str]
