"""Merging trees as Hydra does, with the recipe's own rule on top: a swap means replace.

A tree is never changed once another tree may share it: merging copies the mappings it writes into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum

from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic, Note

COMMON = frozenset({
    "from", "repeat", "share", "norm", "norm_kind", "init", "freeze", "seed", "dtype", "before", "after", "stream", "accepts"
})  # fmt: skip
"""Keys that every node has, and what a slot keeps whatever fills it: they survive a swap."""

IDENTITY = ("kind", "slot", "same", "like")
"""Keys that say what a node is: a change of one is a swap."""

NAMED = frozenset({"nodes", "parts", "experts", "slots", "rules", "grafts"})
"""Keys whose value names things: an entry that is `null` is removed."""

PLAIN = frozenset({
    "vars", "from", "inputs", "outputs", "tie", "sizes", "init", "where", "ports", "sites", "accepts"
})  # fmt: skip
"""Keys whose value holds names or data of the user's, where `kind` means nothing to us."""

MISSING = "???"


class Place(Enum):
    """What a mapping is: a thing with keys of ours, names of things, or data."""

    THING = 0
    NAMES = 1
    PLAIN = 2

    def below(self, key: str) -> Place:
        if self is Place.NAMES:
            return Place.THING
        if self is Place.PLAIN or key in PLAIN:
            return Place.PLAIN
        return Place.NAMES if key in NAMED else Place.THING


def place_of(path: Sequence[str]) -> Place:
    place = Place.THING
    for key in path:
        place = place.below(key)
    return place


def stamp(tree: Value, layer: int) -> None:
    """Write the layer into a tree that nobody else holds yet."""
    todo = [tree]
    while todo:
        value = todo.pop()
        value.layer = layer
        data = value.data
        if isinstance(data, dict):
            todo.extend(data.values())
        elif isinstance(data, list):
            todo.extend(data)


def shape(value: Value) -> str:
    return "mapping" if isinstance(value.data, dict) else "list" if isinstance(value.data, list) else "value"


def clash(path: str, new: Value, old: Value) -> Diagnostic:
    """A list cannot be merged into a mapping, nor the other way round; Hydra refuses it too."""
    return Diagnostic(
        "value-type", f"`{path}` is a {shape(new)} here and was a {shape(old)}", new.span,
        label=f"a {shape(new)}", related=(Note(f"a {shape(old)} here", old.span),),
        help="write both the same way, or set it to a single value first",
    )  # fmt: skip


def merge(base: Value, over: Value) -> tuple[Value, list[Diagnostic]]:
    """`base` with `over` merged into it: mappings by key, everything else replaced."""
    diagnostics: list[Diagnostic] = []
    root = Value(dict(base.data), base.span, base.key, over.layer)
    todo: list[tuple[Value, Value, Place, str]] = [(root, over, Place.THING, "")]
    while todo:
        into, new, place, path = todo.pop()
        if place is Place.THING:
            diagnostics.extend(_swap(into, new, path))
        for key, value in new.items():
            old = into.data.get(key)
            inner = f"{path}.{key}" if path else key
            if old is None:
                into.data[key] = value
            elif value.data == MISSING:
                continue
            elif isinstance(old.data, dict) and isinstance(value.data, dict):
                copied = Value(dict(old.data), old.span, old.key, value.layer)
                into.data[key] = copied
                todo.append((copied, value, place.below(key), inner))
            elif {shape(old), shape(value)} == {"mapping", "list"}:
                diagnostics.append(clash(inner, value, old))
            else:
                into.data[key] = value
    return root, diagnostics


def identity(value: Value) -> tuple[str, Value] | None:
    """What a mapping is, by its first identity key; a mapping with `nodes` alone is a graph."""
    for key in IDENTITY:
        found = value.get(key)
        if found is not None and isinstance(found.data, str):
            return key, found
    nodes = value.get("nodes")
    if nodes is not None and isinstance(nodes.data, dict):
        return "kind", Value("graph", nodes.key, nodes.key, nodes.layer)
    return None


def swapped(old: Value, new: Value) -> tuple[str, Value] | None:
    """The identity key that `new` states and that changes what `old` is."""
    before = identity(old)
    if before is None:
        return None
    for key in IDENTITY:
        stated = new.get(key)
        if stated is None or not isinstance(stated.data, str) or stated.data == MISSING:
            continue
        earlier = before[1] if before[0] == key else old.get(key)
        if earlier is None or earlier.data != stated.data:
            return key, stated
    return None


def swap_note(path: str, dropped: Sequence[str], old: tuple[str, Value], new: tuple[str, Value]) -> Diagnostic:
    names = ", ".join(f"`{name}`" for name in dropped[:12]) + (", ..." if len(dropped) > 12 else "")
    return Diagnostic(
        "swap-dropped",
        f"`{path or 'the recipe'}` is now `{new[0]}: {new[1].data}`; dropped what was set for "
        f"`{old[0]}: {old[1].data}`: {names}",
        new[1].span, label="swapped here",
        related=(Note(f"`{old[0]}: {old[1].data}` was set here", old[1].span),),
    )  # fmt: skip


def _swap(into: Value, new: Value, path: str) -> Iterator[Diagnostic]:
    """Drop from `into` (our copy) what earlier layers wrote for the thing that `new` replaces."""
    change = swapped(into, new)
    before = identity(into)
    if change is None or before is None:
        return
    gone = [key for key in into.data if key not in COMMON and key not in IDENTITY]
    into.data = {k: v for k, v in into.data.items() if k in COMMON or (k in IDENTITY and k in new.data)}
    into.span, into.key = new.span, new.key if new.key.line or new.key.override else into.key
    if gone:
        yield swap_note(path, gone, before, change)


def without_nulls(tree: Value) -> Value:
    """The tree without the `null` entries of `nodes`, `parts`, `slots`, `rules` and `grafts`."""
    found: list[tuple[str, ...]] = []
    todo: list[tuple[Value, Place, tuple[str, ...]]] = [(tree, Place.THING, ())]
    while todo:
        value, place, path = todo.pop()
        named = place is Place.NAMES
        for key, inner in value.items():
            data = inner.data
            if data is None:
                if named:
                    found.append((*path, key))
            elif type(data) is dict and (named or key not in PLAIN):
                todo.append((inner, Place.THING if named else place.below(key), (*path, key)))
    return _without(tree, found) if found else tree


def _without(tree: Value, paths: Sequence[tuple[str, ...]]) -> Value:
    """A copy of the tree without these entries; what is not touched is shared."""
    root = Value(dict(tree.data), tree.span, tree.key, tree.layer)
    copies: dict[tuple[str, ...], Value] = {(): root}
    for path in paths:
        for depth in range(1, len(path)):
            prefix = path[:depth]
            if prefix not in copies:
                parent = copies[prefix[:-1]]
                old = parent.data[prefix[-1]]
                copies[prefix] = Value(dict(old.data), old.span, old.key, old.layer)
                parent.data[prefix[-1]] = copies[prefix]
        del copies[path[:-1]].data[path[-1]]
    return root
