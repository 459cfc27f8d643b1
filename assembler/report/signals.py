"""Norms, starts and scales as text: columns of `show`, derivations of `why`, certificates of grafts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from assembler.checks.grafts import Certificate
from assembler.facts.flow import Flow
from assembler.facts.model import Because
from assembler.facts.scale.analysis import Scale
from assembler.facts.scale.why import derivation, shown
from assembler.facts.signals import Signals, value_at, weight_at, why_norm, why_value, why_weight
from assembler.report.walk import Row

COLUMNS = ("norm", "init", "scale")


# --- columns ---
def columns(rows: Sequence[Row], known: Signals, wanted: Sequence[str], estimated: Scale | None) -> list[str]:
    """For each row what is asked of its main output and its weights; of copies the first and, where it differs, the last."""
    values = _values(known.flow)
    weights: dict[str, list[int]] = {}
    for use in known.flow.uses:
        weights.setdefault(use.address, []).extend(number for number in use.weights.values() if not known.flow.weights[number].buffer)
    lines = []
    for first, last in _ends(rows):
        words = []
        for column in wanted:
            texts = [_cell(column, known, estimated, values.get(address), weights.get(address, ())) for address in (first, last)]
            words.append(" .. ".join(dict.fromkeys(text for text in texts if text)))
        lines.append(" | ".join(word for word in words if word))
    return lines


def _values(flow: Flow) -> dict[str, int]:
    """Node -> its first output."""
    found: dict[str, int] = {}
    for address, value in flow.places.items():
        found.setdefault(address.rpartition(".")[0], value)
    return found


def _ends(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """The addresses of the first and of the last copy that a row stands for."""
    ends: list[tuple[str, str]] = []
    for row in rows:
        above = ends[row.parent] if row.parent >= 0 else ("", "")
        if row.copies is None:
            here = (row.name, row.name)
        elif row.address == rows[row.parent].address:  # copies that share one set of weights
            here = ("", "")
        else:
            here = (str(row.copies.start), str(row.copies.stop - 1))
        ends.append((_below(above[0], here[0]), _below(above[1], here[1])))
    yield from ends


def _below(above: str, name: str) -> str:
    return f"{above}.{name}" if above and name else above or name


def _cell(column: str, known: Signals, estimated: Scale | None, value: int | None, weights: Sequence[int]) -> str:
    if column == "init":
        return _init(known, value, weights)
    if value is None:
        return ""
    if column == "norm":
        return str(known.norm.states[value])
    return shown(estimated.values[value]) if estimated is not None else ""


def _init(known: Signals, value: int | None, weights: Sequence[int]) -> str:
    """`zero`, how weights start, and the first steps at which they learn."""
    words = ["zero at the start"] if value is not None and known.zero.zero(value) else []
    if weights:
        words.append(", ".join(dict.fromkeys(known.flow.weights[number].init for number in weights)))
        trained = [number for number in weights if known.flow.weights[number].trainable]
        words.append(_learns([known.zero.steps[number] for number in trained if number not in known.zero.noise]) if trained else "frozen")
    return ", ".join(word for word in words if word)


def _learns(steps: Sequence[int | None]) -> str:
    found = sorted({step for step in steps if step is not None})
    words = [f"learns from step {' and '.join(map(str, found))}"] if found else []
    return ", ".join([*words, *(["never learns"] if None in steps else [])])


# --- derivations ---
def why(known: Signals, address: str, about: str, estimated: Scale | None = None) -> list[str] | None:
    """How the norm, the start or the scale at an address came about; None where the address names nothing."""
    value = value_at(known.flow, address)
    weight = weight_at(known.flow, address) if value is None and about == "init" else None
    if weight is not None:
        found = known.flow.weights[weight]
        return [f"{found.address} starts as {found.init}", *_lines(why_weight(known, weight))]
    if value is None:
        return None
    if about == "scale":
        return list(derivation(known.flow, estimated, value)) if estimated is not None else None
    if about == "norm":
        return _lines(why_norm(known, value))
    return _lines(why_value(known, value)) or [f"{address} is neither zero nor equal to another value at the start"]


def _lines(steps: Sequence[Because]) -> list[str]:
    return [f"`{step.address}` {step.text}" + (f"  ({step.span})" if step.span.line else "") for step in steps]


# --- grafts ---
def certified(item: Certificate) -> str:
    """One line: whether a graft is silent at the start, and when it learns."""
    places = "" if item.places == 1 else f" at {item.places} places"
    silent = {"bits": "silent at the start, bit for bit", "math": "silent at the start, within rounding", None: f"disturbs the host at the start, first at `{item.disturbs}`"}[item.silent]
    dead = [address for address, step in item.steps.items() if step is None]
    if dead:
        alive = f"`{dead[0]}`{f' and {len(dead) - 1} more' if len(dead) > 1 else ''} never learn{'s' if len(dead) == 1 else ''}"
    elif item.steps:
        alive = f"all of it learns by step {item.alive}"
    else:
        alive = "nothing of it learns"
    return f"graft `{item.name}` ({item.mode}){places}: {silent}; {alive}"


def certificate_data(item: Certificate) -> Mapping[str, object]:
    """A certificate for JSON."""
    return {
        "name": item.name, "mode": item.mode, "demanded": item.demanded, "places": item.places, "silent": item.silent,
        "disturbs": item.disturbs, "alive": item.alive, "steps": dict(item.steps),
    }  # fmt: skip
