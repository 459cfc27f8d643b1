"""Slots: what fills one keeps the ports that `accepts` states, by name and by type. One finding for one filler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from assembler.facts.model import Facts, NodeFacts
from assembler.facts.types.found import Arrival
from assembler.facts.types.match import FLOATS, INTS, match
from assembler.facts.types.signature import signature
from assembler.graph.model import Accepted, Graph, Kept
from assembler.source.parse import did_you_mean
from assembler.source.wording import listed
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Definition, Inline, Port
from assembler_schemas.shape import Type, parse_port_type
from assembler_schemas.span import Span

MAX_ROWS = 24
"""Of the table in a finding; a filler may have many more ports than its slot keeps."""


class Row(NamedTuple):
    """One port of the slot beside the filler's."""

    side: str
    name: str
    keeps: str
    """The slot's type; "" where the slot does not speak of it."""
    has: str
    """The filler's type; "" where it has no such port."""
    wrong: bool
    size: str = ""
    """`d = 16`: what a name of the slot's type means here, where the filler's size is another."""


def check(graph: Graph, facts: Facts) -> list[Diagnostic]:
    """Fillers that do not keep the ports of their slot, each said once: at the first place where it does not."""
    if not graph.accepted:
        return []
    from assembler.facts.types.why import locate

    found: dict[tuple[str, Span, tuple[Kept, ...]], list[tuple[Accepted, list[Row]]]] = {}
    for item in graph.accepted:
        place = locate(graph, facts, item.address)
        rows = table(item, place[2] if place is not None and not place[3] else None)
        if any(row.wrong for row in rows):
            found.setdefault((item.slot, item.filler, item.ports), []).append((item, rows))
    return [_mismatch(*places[0], len(places) - 1) for places in found.values()]


def table(item: Accepted, facts: NodeFacts | None) -> list[Row]:
    """Slot and filler port by port: what the slot keeps first, then what only the filler has."""
    types = {(kept.side, kept.name): _type(facts, kept) for kept in item.ports}
    wrong = _unlike(item, types)
    rows = []
    for kept in item.ports:
        port = (item.takes if kept.side == "in" else item.gives).get(kept.name)
        have = types[kept.side, kept.name]
        at = (kept.side, kept.name)
        rows.append(Row(*at, kept.port.type, _shown(port, have), port is None or at in wrong, wrong.get(at, "")))
    for side, ports in (("in", item.takes), ("out", item.gives)):
        for name, port in ports.items():
            if (side, name) not in types and not port.loss:
                rows.append(Row(side, name, "", _shown(port, _type_at(facts, side, name)), False))
    return rows


def _unlike(item: Accepted, types: dict[tuple[str, str], Type | None]) -> dict[tuple[str, str], str]:
    """The ports whose types are not what the slot keeps. One definition holds both sides, so that a name means one size across them."""
    definition = Definition({f"{kept.side}.{kept.name}": kept.port for kept in item.ports}, {}, Inline(""))
    arrivals = {f"{side}.{name}": [Arrival(kind)] for (side, name), kind in types.items() if kind is not None}
    findings = match(signature(definition), arrivals, {}, frozenset(), None).findings
    unlike = {}
    for finding in findings:
        side, _, name = finding.port.partition(".")
        unlike[side, name] = f"{finding.name} = {finding.wanted}" if finding.name.isidentifier() and finding.other else ""
    unlike.update(((kept.side, kept.name), "") for kept in item.ports if types[kept.side, kept.name] is None and not _same_sort(kept, item))
    return unlike


def _same_sort(kept: Kept, item: Accepted) -> bool:
    """Of a port that nothing feeds here, whose sizes are therefore open: whether floats stand against floats, masks against masks."""
    port = (item.takes if kept.side == "in" else item.gives).get(kept.name)
    if port is None or not port.type:
        return True
    one, two = parse_port_type(kept.port.type).dtype, parse_port_type(port.type).dtype
    return any(one in sort and two in sort for sort in (FLOATS, INTS, {"bool"}))


def _type(facts: NodeFacts | None, kept: Kept) -> Type | None:
    return _type_at(facts, kept.side, kept.name)


def _type_at(facts: NodeFacts | None, side: str, name: str) -> Type | None:
    if facts is None:
        return None
    if side == "out":
        return facts.outputs.get(name)
    given = facts.inputs.get(name, ())
    return given[0] if given else None


def _shown(port: Port | None, have: Type | None) -> str:
    """The filler's type where it is known, else as the kind spells it."""
    return "" if port is None else str(have) if have is not None else port.type or "any"


# --- saying it ---
def _mismatch(item: Accepted, rows: Sequence[Row], others: int) -> Diagnostic:
    bad = [row for row in rows if row.wrong]
    spans = {(kept.side, kept.name): kept.span for kept in item.ports}
    if len(bad) == 1:
        says = f"{_about(bad[0])}{f', and the slot keeps {bad[0].keeps}' if bad[0].has else ''}{f' with {bad[0].size}' if bad[0].size else ''}"
    else:
        says = f"does not keep {listed([row.name for row in bad])}"
    where = f" at `{item.address}`" + (f" and {others} more place{'s' * (others > 1)}" if others else "")
    return Diagnostic(
        "slot-mismatch", f"what fills the slot `{item.slot}`{where} {says}", item.filler, label=_about(bad[0]) if len(bad) == 1 else f"{len(bad)} ports differ",
        related=(*(Note("kept by the slot", spans[row.side, row.name]) for row in bad), Note("\n".join(rendered(rows)))),
        help=_help(item, rows, bad),
    )  # fmt: skip


def _about(row: Row) -> str:
    """`gives [batch 32] at y`; `has no input x`."""
    if not row.has:
        return f"has no input `{row.name}`" if row.side == "in" else f"gives no `{row.name}`"
    return f"{'takes' if row.side == 'in' else 'gives'} {row.has} at `{row.name}`"


def _help(item: Accepted, rows: Sequence[Row], bad: Sequence[Row]) -> str:
    missing = [row for row in bad if not row.has]
    if len(bad) == 1 and missing:
        free = [row.name for row in rows if row.side == missing[0].side and not row.keeps]
        close = did_you_mean(missing[0].name, free)
        if close:
            return close
    if missing:
        names = listed([row.name for row in missing])
        return f"fill the slot with something that has {names}, or take {names} out of `accepts`"
    return "fill the slot with something that keeps the type, or change `accepts`"


def rendered(rows: Sequence[Row]) -> list[str]:
    """Both interfaces side by side; `!` marks what differs."""
    lines = [("", "", "", "the slot keeps", "the filler has")]
    lines += [("!" if row.wrong else "", row.side, row.name, row.keeps or "-", row.has or "-") for row in rows[:MAX_ROWS]]
    wide = [max(len(line[i]) for line in lines) for i in range(5)]
    shown = ["  ".join(f"{cell:<{size}}" for cell, size in zip(line, wide, strict=True)).rstrip() for line in lines]
    return shown + ([f"and {len(rows) - MAX_ROWS} more ports of the filler"] if len(rows) > MAX_ROWS else [])
