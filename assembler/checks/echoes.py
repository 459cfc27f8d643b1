"""One cause, one diagnostic: what only follows from a finding of an earlier step is left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from assembler_schemas.diagnostic import Diagnostic, Note

LACKING = frozenset({"missing-key", "missing-value", "nodes-missing", "outputs-missing", "inputs-missing"})
"""Said of a mapping that lacks a key; one that was refused is not there."""
UNUSED = frozenset({"vars-unused", "slot-unused", "node-unused", "input-unused", "loss-uncollected"})
"""Said of what nobody uses; what was refused may have used it."""
NAMES = frozenset({"name-syntax", "name-reserved", "name-taken"})
"""A wrong name says nothing about what stands under it."""


def without_echoes(causes: Sequence[Diagnostic], later: Sequence[Diagnostic]) -> list[Diagnostic]:
    """`later` without what is said at, below or for want of a place that an error of `causes` refused."""
    refused = {_path(item) for item in causes if item.level == "error" and item.code not in NAMES}
    above = {path.rpartition(".")[0] for path in refused}
    all_refused = any(path.rpartition(".")[2] in _NAMED for path in refused)
    names = {name for path in refused for rest, _, name in (path.rpartition("."),) if rest.rpartition(".")[2] in _NAMED}
    unfed = any(item.code == "inputs-missing" for item in causes)
    broken = bool(refused) or any(item.level == "error" for item in later)
    return [
        item
        for item in later
        if not (
            _at_or_below(_path(item), refused)
            or (item.code in LACKING and _path(item) in above)
            or (item.code in UNUSED and broken)
            or (item.code == "dim-underdetermined" and refused)
            or (item.code == "address-unknown" and (all_refused or _name(item) in names))
            or (item.code == "value-type" and _path(item) in above)
            or (unfed and item.code == "address-unknown" and not item.help.startswith("did you mean"))
        )
    ]


def once(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Each finding once: a slot's filler is read again at every place that uses it."""
    kept: dict[tuple[object, ...], Diagnostic] = {}
    for item in found:
        text = item.span.line or item.span.override is not None
        kept.setdefault((item.code, item.message, *_place(item), "" if text else item.span.path), item)
    return list(kept.values())


def folded(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Errors about the types at one text as one, whatever the addresses at which a graph uses it."""
    kept: dict[tuple[object, ...], list[Diagnostic]] = {}
    for at, item in enumerate(found):
        told = item.level != "error" or not (item.span.line or item.span.override)
        about = tuple((_WHERE.sub("`", note.message), note.span) for note in item.related)
        key = (at,) if told else (item.code, _WHERE.sub("`", item.message), *_place(item), about)
        kept.setdefault(key, []).append(item)
    return [_with_count(every[0], len(every) - 1) for every in kept.values()]


def _with_count(item: Diagnostic, more: int) -> Diagnostic:
    if not more:
        return item
    return replace(item, related=(*item.related, Note(f"and so at {more} more place{'s' * (more > 1)} where this text is used")))


def without_doubts(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Without the warnings about a text of which an error says more."""
    wrong = {_place(item) for item in found if item.level == "error"}
    return [item for item in found if item.code != "old-scalar" or _place(item) not in wrong]


def _place(item: Diagnostic) -> tuple[object, ...]:
    return item.span.file, item.span.line, item.span.column, item.span.override


_WHERE = re.compile(r"`[^`]*\.")
"""All of an address but what it ends in: the name of a node or a port."""
_NAMED = frozenset({"nodes", "parts", "experts", "inputs"})
"""Mappings whose keys are what addresses name."""


def _name(item: Diagnostic) -> str:
    """The first name of an address that is unknown."""
    return item.message.partition("`")[2].partition("`")[0].partition(".")[0]


def _path(item: Diagnostic) -> str:
    return item.span.path.replace("[", ".").replace("]", "")


def _at_or_below(path: str, refused: set[str]) -> bool:
    while path:
        if path in refused:
            return True
        path = path.rpartition(".")[0]
    return False
