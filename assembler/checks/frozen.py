"""`--frozen` beside a lock: what is not as it was locked, and which value of the recipe moved it.

What moved a value is tried, not guessed: a value of the recipe that is another one than it was is put
back, by itself, and what is as it was locked then was moved by it.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from assembler.checks.locked import Lock, place_of, read_lock, stated
from assembler.facts.flow import MAX_USES
from assembler.source.recipe import Recipe
from assembler.source.tree import Value, value_of
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.span import Span

MAX_TRIED = 8
"""Values that are put back one by one: each costs a check. With more of them all stand in one finding."""
MAX_SHOWN = 6
MAX_DEPTH = 64
"""Keys of a path of the lock; no recipe nests deeper."""

Again = Callable[[Value], Lock | None]
"""The lock of another tree; None if it does not check."""


class Moved(NamedTuple):
    """One thing that is not as it was locked."""

    address: str
    """Of a node; empty for what concerns all nodes of a kind."""
    what: str
    before: str
    now: str

    def __str__(self) -> str:
        where = f"`{self.address}`" if self.address else ""
        if not self.what:
            return f"{where} is new, {self.now}" if not self.before else f"{where} is gone, {self.before}"
        return f"{where}{': ' if where else ''}{self.what} is {self.now or 'not there'}, locked {f'as {self.before}' if self.before else 'without it'}"


class Cause(NamedTuple):
    """Values of the recipe that belong together and are not what they were: path -> (locked, now)."""

    name: str
    span: Span
    values: Mapping[str, tuple[Any, Any]]


_NONE = object()
"""A path that one of two recipes does not state."""


def beside(file: str) -> tuple[Lock | None, list[Diagnostic]]:
    """The lock that lies beside a recipe's file, or what is wrong with it; nothing where there is none."""
    path = place_of(file)
    return read_lock(path) if file and os.path.lexists(path) else (None, [])


def check(lock: Lock, now: Lock | None, recipe: Recipe, overrides: Sequence[str], again: Again) -> list[Diagnostic]:
    """One finding for each value of the recipe that moved something, one for what no value moved.

    `now`: None for a graph that is too large to be unfolded, of which there is no lock.
    """
    if now is None:
        text = f"the graph unfolds into more than {MAX_USES:,} uses of kinds, of which no lock tells anything"
        return [Diagnostic("lock-differs", text, Span(recipe.file), help="make it shallower, or take the lock away")]
    every = differences(lock, now)
    if not every:
        return []
    name, anew = os.path.basename(place_of(recipe.file)), f"`assembler lock {shlex.quote(recipe.file)} --force`"
    causes = list(_causes(lock, recipe, overrides))
    found: list[Diagnostic] = []
    left = dict.fromkeys(every)
    for cause in causes if len(causes) <= MAX_TRIED else ():
        moved = _restored(lock, recipe, [cause], again, every)
        if moved:
            found.append(_moved_by([cause], moved, name, anew))
            left = {item: None for item in left if item not in set(moved)}
    together = _restored(lock, recipe, causes, again, list(left)) if left and causes else []
    if together:
        found.append(_moved_by(causes, together, name, anew))
        left = {item: None for item in left if item not in set(together)}
    if left:
        why = "with all values as they were locked the recipe does not check" if together is None else "no value of the recipe moved it"
        found.append(_moved_by_nobody(list(left), why, name, anew, Span(recipe.file)))
    return found


# --- what differs ---
def differences(lock: Lock, now: Lock) -> list[Moved]:
    """All that two locks hold differently, but for what the recipes state."""
    found = [
        Moved("", f"the version of `{kind}`", str(lock["kinds"][kind]), str(version))
        for kind, version in now["kinds"].items()
        if lock["kinds"].get(kind, version) != version
    ]
    if lock["nodes"] == now["nodes"] and lock["adapters"] == now["adapters"]:
        return found
    before, after = _by_skeleton(lock["nodes"]), _by_skeleton(now["nodes"])
    for skeleton in {**after, **before}:
        found.extend(_rows(before.get(skeleton, {}), after.get(skeleton, {}), now["adapters"], lock["adapters"]))
    return found


def _by_skeleton(nodes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows that differ in which copies they are about stand together."""
    found: dict[str, dict[str, Any]] = {}
    for address, node in nodes.items():
        skeleton = ".".join("*" if part[:1].isdigit() or part == "*" else part for part in address.split("."))
        found.setdefault(skeleton, {})[address] = node
    return found


def _rows(before: Mapping[str, Any], after: Mapping[str, Any], adapters: Mapping[str, Any], locked: Mapping[str, Any]) -> Iterator[Moved]:
    if before == after:
        return
    first = next(iter(before), None)
    for address, node in after.items():
        old = before.get(address, before[first] if first is not None and len(before) == 1 else None)
        if old is None:
            yield Moved(address, "", "", _called(address, node, adapters))
        else:
            yield from _inside(address, old, node)
    for address, node in before.items():
        if address not in after and not (len(before) == 1 and after):
            yield Moved(address, "", _called(address, node, locked), "")


def _called(address: str, node: Mapping[str, Any], adapters: Mapping[str, Any]) -> str:
    return f"an adapter of kind `{node['kind']}`" if address in adapters else f"of kind `{node['kind']}`"


def _inside(address: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Moved]:
    if before["kind"] != now["kind"]:
        yield Moved(address, "the kind", before["kind"], now["kind"])
        return
    if before.get("copies", 1) != now.get("copies", 1):
        yield Moved(address, "the number of copies", str(before.get("copies", 1)), str(now.get("copies", 1)))
    for part, text in (("sizes", "`{}`"), ("types", "the type of `{}`"), ("norms", "the norm state of `{}`"), ("starts", "the start of `{}`")):
        for name in {**now[part], **before[part]}:
            old, new = before[part].get(name, ""), now[part].get(name, "")
            if old != new:
                yield Moved(address, text.format(name), str(old), str(new))
    if before["zeros"] != now["zeros"]:
        yield Moved(address, "what is zero at the start", ", ".join(map(str, before["zeros"])), ", ".join(map(str, now["zeros"])))


# --- what moved it ---
def _causes(lock: Lock, recipe: Recipe, overrides: Sequence[str]) -> Iterator[Cause]:
    """The values of the recipe that are not what they were, those of one override or one entry together."""
    now, before = stated(recipe.tree), lock["stated"]
    groups: dict[str, dict[str, tuple[Any, Any]]] = {}
    spans: dict[str, Span] = {}
    chosen = {_key(text): Span(override=text, index=index) for index, text in enumerate(overrides) if "/" in text.partition("=")[0]}
    for path in {**now, **before}:
        value = now.get(path)
        old, new = before.get(path, _NONE), value.plain() if value is not None else _NONE
        if _said(old) == _said(new) or path.count(".") >= MAX_DEPTH:
            continue
        span = value.span if value is not None else _above(recipe, path)
        entry = ".".join(path.split(".")[:2])
        name = span.override if span.override is not None else entry
        groups.setdefault(name, {})[path] = (old, new)
        spans.setdefault(name, chosen.get(entry, span))
    for name, values in groups.items():
        yield Cause(next(iter(values)) if len(values) == 1 else ".".join(next(iter(values)).split(".")[:2]), spans[name], values)


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~").partition("@")[0].replace("/", ".")


def _above(recipe: Recipe, path: str) -> Span:
    """Where the mapping stands in which a path is missing now."""
    here = recipe.tree
    span = Span(recipe.file)
    for part in path.split("."):
        inner = here.get(part)
        if inner is None:
            return span
        here, span = inner, inner.key
    return span


def _restored(lock: Lock, recipe: Recipe, causes: Sequence[Cause], again: Again, moved: Sequence[Moved]) -> list[Moved] | None:
    """What is as it was locked once these values are; None if the recipe does not check then."""
    plain = recipe.tree.plain()
    for cause in causes:
        for path, (old, _) in cause.values.items():
            _put(plain, path.split("."), old)
    found = again(value_of(plain))
    if found is None:
        return None
    still = set(differences(lock, found))
    return [item for item in moved if item not in still and not _still(item, still)]


def _still(item: Moved, still: set[Moved]) -> bool:
    """Whether the same thing differs yet, in another way."""
    return any((other.address, other.what) == (item.address, item.what) for other in still)


def _put(plain: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    """Set one value of plain data, or take it out with what is empty then."""
    ways: list[dict[str, Any]] = [plain]
    for part in parts[:-1]:
        inner = ways[-1].get(part)
        if not isinstance(inner, dict):
            if value is _NONE:
                return
            inner = ways[-1][part] = {}
        ways.append(inner)
    if value is not _NONE:
        ways[-1][parts[-1]] = value
        return
    for here, part in zip(ways[::-1], parts[::-1], strict=True):
        if part in here and (here is ways[-1] or here[part] == {}):
            del here[part]


# --- said ---
def _said(value: Any) -> str:
    return "" if value is _NONE else json.dumps(value, ensure_ascii=False)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else _said(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _as(old: Any) -> str:
    return "without it" if old is _NONE else f"as {_short(old)}"


def _both(old: Any, new: Any) -> str:
    return f"is {'not stated' if new is _NONE else _short(new)}, locked {_as(old)}"


def _moved_by(causes: Sequence[Cause], moved: Sequence[Moved], name: str, anew: str) -> Diagnostic:
    cause = causes[0]
    values = [(path, old, new) for item in causes for path, (old, new) in item.values.items()]
    path, old, new = values[0]
    count = len({item.address for item in moved})
    nodes = f"{count} nodes are" if count != 1 else "1 node is"
    if len(values) == 1:
        message = f"`{path}` {_both(old, new)}: by it {nodes} not what `{name}` holds"
    else:
        whose = f"`{cause.name}` is" if len(causes) == 1 else f"`{cause.name}` and {len(causes) - 1} more, together, are"
        message = f"{whose} not what was locked: by it {nodes} not what `{name}` holds"
    notes = [] if len(values) == 1 else _shortened([f"`{path}` {_both(old, new)}" for path, old, new in values])
    undo = "drop the override" if cause.span.override is not None else "put back what was locked"
    return Diagnostic("lock-differs", message, cause.span, label=f"locked {_as(old)}" if len(values) == 1 else "not what was locked",
                      related=(*notes, *_notes(moved)), help=f"{undo}, or lock what is meant now: {anew}")  # fmt: skip


def _moved_by_nobody(moved: Sequence[Moved], why: str, name: str, anew: str, span: Span) -> Diagnostic:
    first = moved[0]
    return Diagnostic("lock-differs", f"{why}, and {first}: not what `{name}` holds", span, related=tuple(_notes(moved[1:])),
                      help=f"the library may have changed: look at what moved, then lock it: {anew}")  # fmt: skip


def _notes(moved: Sequence[Moved]) -> list[Note]:
    """One line a node."""
    nodes: dict[str, list[Moved]] = {}
    for item in moved:
        nodes.setdefault(item.address, []).append(item)
    return _shortened([f"{items[0]}{f', and {len(items) - 1} more of it' if len(items) > 1 else ''}" for items in nodes.values()])


def _shortened(lines: Sequence[str]) -> list[Note]:
    notes = [Note(line) for line in lines[:MAX_SHOWN]]
    return [*notes, Note(f"and {len(lines) - MAX_SHOWN} more")] if len(lines) > MAX_SHOWN else notes
