"""Carrying out value overrides on a tree, by Hydra's rules: `=` changes, `+` adds, `++` both, `~` deletes.

All overrides of a command line are one layer. Only the mappings on the touched paths are copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from assembler.source.grammar import Command
from assembler.source.merge import (
    COMMON,
    IDENTITY,
    MISSING,
    Place,
    clash,
    identity,
    place_of,
    shape,
    swap_note,
    swapped,
    without_nulls,
)
from assembler.source.tree import Value, value_of
from assembler.source.wording import listed, nearest, shorten
from assembler_schemas.diagnostic import Diagnostic, Edit, Fix, Note


class Refused(Exception):
    """A command that cannot be carried out; `args[0]` is the diagnostic."""


def carry_out(
    tree: Value, commands: Sequence[Command], groups: Callable[[], list[str]] = list, clean: bool = False
) -> tuple[Value, list[Diagnostic]]:
    """The tree after the commands; one that is refused changes nothing.

    `groups` names the groups that there are, for what looks like a choice from none of them. `clean`: no entry
    of the tree is null, so that one is looked for only where a command may have put it.
    """
    editor = Editor(tree, tree.layer + 1)
    diagnostics: list[Diagnostic] = []
    there: list[str] | None = None
    for command in commands:
        if command.package is not None or "/" in command.key:
            there = groups() if there is None else there
            diagnostics.append(_no_group(command, there))
            continue
        try:
            editor.carry_out(command)
        except Refused as refused:
            diagnostics.append(refused.args[0])
    diagnostics.extend(editor.drop_swapped(tree))
    plain = clean and all(type(command.value) in (int, float, str, bool) for command in commands)
    return editor.root if plain else without_nulls(editor.root), diagnostics


class Editor:
    """A tree in the making: copies each mapping once, and then writes into its copy."""

    def __init__(self, tree: Value, layer: int) -> None:
        self.layer = layer
        self._owned: dict[int, Value] = {}
        self._touched: dict[tuple[str, ...], None] = {}
        self.root = self._copy(tree)
        self.root.layer = layer

    def carry_out(self, command: Command) -> None:
        if command.operation == "delete":
            self._delete(command)
        elif command.operation == "add":
            self._add(command)
        else:
            self._set(command, force=command.operation == "force")

    # --- the three operations ---

    def _add(self, command: Command) -> None:
        there = self._find(command.path)
        holds = there is not None and there.data is not None and there.data != MISSING
        if there is not None and holds and not isinstance(command.value, (dict, list)):
            fix = Fix((Edit(command.span(0, 1), ""),), "maybe")
            raise Refused(Diagnostic(
                "override-conflict", f"`{command.key}` is there already", command.key_span(), label="there already",
                related=(Note("set here", there.span),), fix=fix,
                help=f"drop the `+`: {shorten(command.text[1:])}",
            ))  # fmt: skip
        self._set(command, force=True)

    def _set(self, command: Command, force: bool) -> None:
        path = command.path
        self._check(command, force)
        into = self.root
        for depth, key in enumerate(path[:-1]):
            into = self._enter(into, key, command, depth)
        last = _index(into, path[-1])
        old = _child(into, path[-1])
        span = command.value_span()
        new = value_of(command.value, span, self.layer)
        new.key = command.key_span(len(path) - 1)
        if old is not None and isinstance(old.data, dict) and isinstance(new.data, dict):
            self._merge(self._own(into, last), new, path)
        else:
            into.data[last] = new
        self._touched[tuple(path[:-1])] = None
        self._touched[tuple(path)] = None

    def _delete(self, command: Command) -> None:
        old = self._find(command.path)
        if old is None or old.data is None or old.data == MISSING:
            raise Refused(self._unknown(command, "nothing to delete"))
        if command.stated and command.value is not None and old.plain() != command.value:
            raise Refused(Diagnostic(
                "override-conflict",
                f"`{command.key}` is {shorten(repr(old.plain()))}, not {shorten(repr(command.value))}",
                command.value_span(), label="another value", related=(Note("set here", old.span),),
                help=f"write `~{command.key}` to delete it whatever it holds",
            ))  # fmt: skip
        into = self.root
        for depth, key in enumerate(command.path[:-1]):
            into = self._enter(into, key, command, depth)
        if isinstance(into.data, list):
            raise Refused(Diagnostic(
                "override-syntax", f"`{command.key}` is an item of a list, which cannot be deleted",
                command.key_span(), label="an item of a list", help="write the whole list",
            ))  # fmt: skip
        del into.data[command.path[-1]]
        self._touched[tuple(command.path[:-1])] = None

    # --- walking ---

    def _find(self, path: Sequence[str]) -> Value | None:
        value: Value | None = self.root
        for key in path:
            value = _child(value, key) if value is not None else None
        return value

    def _enter(self, into: Value, key: str, command: Command, depth: int) -> Value:
        """The mapping or list under `key`, as a copy of ours; an empty mapping where there is none."""
        slot = _index(into, key)
        child = _child(into, key)
        if child is None or not isinstance(child.data, (dict, list)):
            span = command.key_span(depth)
            into.data[slot] = self._keep(Value({}, span, span, self.layer))
            return into.data[slot]  # type: ignore[no-any-return]
        return self._own(into, slot)

    def _own(self, into: Value, slot: Any) -> Value:
        child = into.data[slot]
        if id(child) not in self._owned:
            into.data[slot] = self._copy(child)
        return into.data[slot]  # type: ignore[no-any-return]

    def _copy(self, value: Value) -> Value:
        data = dict(value.data) if isinstance(value.data, dict) else list(value.data)
        return self._keep(Value(data, value.span, value.key, value.layer))

    def _keep(self, value: Value) -> Value:
        self._owned[id(value)] = value
        return value

    # --- what Hydra refuses ---

    def _check(self, command: Command, force: bool) -> None:
        """Refuse before anything is written: a key that is not there, a list index, a clash of shapes."""
        value: Value | None = self.root
        for depth, key in enumerate(command.path):
            container = value is not None and isinstance(value.data, (dict, list))
            child = _child(value, key) if value is not None else None
            if value is not None and isinstance(value.data, list) and child is None:
                raise Refused(_no_item(command, depth, len(value.data)))
            if child is None and not force:
                raise Refused(self._unknown(command, "no such key"))
            value = child if container else None
        if value is not None:
            self._check_value(command, value, force)

    def _check_value(self, command: Command, old: Value, force: bool) -> None:
        new = value_of(command.value, command.value_span(), self.layer)
        todo = [(old, new, command.key)]
        while todo:
            before, after, path = todo.pop()
            if {shape(before), shape(after)} == {"mapping", "list"}:
                raise Refused(clash(path, after, before))
            if shape(before) != "mapping" or shape(after) != "mapping":
                continue
            for key, inner in after.items():
                below = before.get(key)
                if below is not None:
                    todo.append((below, inner, f"{path}.{key}"))
                elif not force:
                    raise Refused(Diagnostic(
                        "override-unknown", f"`{path}` has no key `{shorten(key)}`", command.value_span(),
                        label="a new key wants `+`", help=f"write +{shorten(command.text)} to add it",
                        fix=Fix((Edit(command.span(0, 0), "+"),), "maybe"),
                    ))  # fmt: skip

    def _merge(self, into: Value, new: Value, path: Sequence[str]) -> None:
        """A mapping merged into a mapping; `_check_value` has passed."""
        todo = [(into, new, tuple(path))]
        while todo:
            target, source, here = todo.pop()
            self._touched[here] = None
            for key, value in source.items():
                old = target.data.get(key)
                if old is not None and isinstance(old.data, dict) and isinstance(value.data, dict):
                    todo.append((self._own(target, key), value, (*here, key)))
                elif old is None or value.data != MISSING:
                    target.data[key] = value

    def _unknown(self, command: Command, label: str) -> Diagnostic:
        """The first segment that names nothing, with what is near it."""
        value, depth = self.root, 0
        while depth < len(command.path) - 1 and (child := _child(value, command.path[depth])) is not None:
            value, depth = child, depth + 1
        key = command.path[depth]
        owner = ".".join(command.path[:depth])
        near = nearest(key, [k for k, _ in value.items()])
        where = f"`{shorten(owner)}` has no key" if owner else "the recipe has no key"
        if _child(value, key) is not None:
            where = f"`{shorten(owner)}` holds nothing at" if owner else "the recipe holds nothing at"
        adds = command.operation != "delete"
        parts = [f"did you mean {listed(near)}?"] if near else []
        if not near and isinstance(value.data, dict) and value.data:
            parts.append(f"there: {listed(value.data)}")
        if adds:
            parts.append(f"a new key wants `+`: +{shorten(command.text)}")
        fix = Fix((Edit(command.span(0, 0), "+"),), "maybe") if adds and not near else None
        return Diagnostic(
            "override-unknown", f"{where} `{shorten(key)}`", command.key_span(depth), label=label,
            related=(Note(f"`{shorten(owner) or 'the recipe'}` is written here", value.span),),
            help="; ".join(parts).replace("?;", "?"), fix=fix,
        )  # fmt: skip

    # --- a swap means replace ---

    def drop_swapped(self, before: Value) -> list[Diagnostic]:
        """Drop what the files wrote for things that the overrides replaced, outermost first."""
        notes: list[Diagnostic] = []
        for path in sorted(self._touched, key=len):
            if place_of(path) is not Place.THING:
                continue
            old, new = _at(before, path), _at(self.root, path)
            if old is None or new is None or not isinstance(new.data, dict) or not isinstance(old.data, dict):
                continue
            change, was = swapped(old, new), identity(old)
            if change is None or was is None or change[1].layer != self.layer:
                continue
            gone = self._prune(new)
            if gone:
                notes.append(swap_note(".".join(path), gone, was, change))
        return notes

    def _prune(self, thing: Value) -> list[str]:
        """Keep what this layer wrote and the common keys; the names of what went."""
        gone: list[str] = []
        emptied: list[tuple[Value, str]] = []
        todo: list[tuple[Value, str, bool]] = [(thing, "", True)]
        while todo:
            value, prefix, top = todo.pop()
            for key, inner in list(value.data.items()):
                if (top and key in COMMON) or inner.layer == self.layer:
                    continue
                if id(inner) not in self._owned:
                    del value.data[key]
                    if not (top and key in IDENTITY):
                        gone.append(prefix + key)
                elif isinstance(inner.data, dict):
                    todo.append((inner, f"{prefix}{key}.", False))
                    emptied.append((value, key))
        for value, key in reversed(emptied):
            if not value.data[key].data:
                del value.data[key]
        return gone


def _at(tree: Value, path: Sequence[str]) -> Value | None:
    value: Value | None = tree
    for key in path:
        value = _child(value, key) if value is not None else None
    return value


def _index(into: Value, key: str) -> Any:
    return int(key) if isinstance(into.data, list) else key


def _child(value: Value, key: str) -> Value | None:
    if isinstance(value.data, list):
        return value.data[int(key)] if key.isdecimal() and len(key) < 10 and int(key) < len(value.data) else None
    return value.get(key)


def _no_item(command: Command, depth: int, length: int) -> Diagnostic:
    return Diagnostic(
        "override-unknown", f"`{'.'.join(command.path[:depth])}` is a list of {length}, without an item "
        f"`{shorten(command.path[depth])}`", command.key_span(depth), label="no such item",
        help="items count from 0; write the whole list to make it longer",
    )  # fmt: skip


def _no_group(command: Command, groups: Sequence[str]) -> Diagnostic:
    near = nearest(command.key, groups)
    spelled = f"a key is spelled with dots: {shorten(command.key.replace('/', '.'))}=..."
    help_ = f"did you mean {listed(near)}?" if near else f"there are {listed(groups)}" if groups else spelled
    return Diagnostic(
        "override-unknown", f"there is no group `{shorten(command.key)}` to choose from", command.key_span(),
        label="no such group", help=help_,
    )  # fmt: skip
