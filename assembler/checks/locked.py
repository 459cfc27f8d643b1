"""What a lock holds: what the library made of a recipe, besides what the recipe says itself.

    {"lock": 1, "recipe": "digits", "fingerprint": "5f0c...",
     "kinds": {"attention": 1, ...},                    versions of the kinds that are used
     "adapters": {"head_x_adapter": {"kind": "linear", "sizes": {"in": 64, "out": 32}, "why": "adapter for head.x"}},
     "nodes": {"encoder.*.attend": {"kind": "attention", "copies": 4,
                                    "sizes": {"in": 64, ...},       those that the recipe leaves open
                                    "types": {"x": "[batch 16 64]", ...}, "norms": {"y": "raw"}, "zeros": [],
                                    "starts": {"q.weight": "uniform(0.125), step 0", ...}}},
     "stated": {"vars.width": 64, ...}}                 the recipe, key by key: what moved a value is found by it

The text is JSON, a line for each entry, so that two of them are compared line by line; adapters, nodes and what
is stated are lists there, whose entries begin with the address (`at`), since one may be longer than a key. It is
read by the reader of recipes, with its limits: of a lock nothing is believed but numbers and texts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from assembler.facts.account import Account, accounts, folded
from assembler.facts.model import Facts
from assembler.facts.signals import signals
from assembler.graph.model import Graph
from assembler.source.recipe import Recipe
from assembler.source.text import MAX_BYTES, read, read_text
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import Span

VERSION = 1
SAID_ONLY = frozenset({"name", "description", "$schema", "recipe", "defaults", "moved"})
"""Keys of a recipe that change no node."""

Lock = dict[str, Any]


# --- made ---
def lock_of(recipe: Recipe, graph: Graph, facts: Facts) -> Lock | None:
    """The lock of a recipe that checks; None for a graph that is too large to be unfolded (`flow.MAX_USES`).

    `graph`: without what no output needs.
    """
    known = signals(graph, facts)
    if known is None:
        return None
    every = accounts(known)
    rows = folded(every.items(), every)
    kinds = {item.kind: item.version for item in sorted(every.values(), key=lambda item: item.version)}
    """The newest that is used: the plain name means it, and a node that means another says so."""
    nodes = {address: _node(item, copies, kinds) for address, item, copies in rows}
    made: Lock = {
        "lock": VERSION,
        "recipe": recipe.name or graph.name,
        "kinds": dict(sorted(kinds.items())),
        "adapters": {address: _adapter(item) for address, item, _ in rows if item.adapter},
        "nodes": nodes,
        "stated": {path: value.plain() for path, value in stated(recipe.tree).items()},
    }
    return made | {"fingerprint": fingerprint(made)}


def fingerprint(lock: Lock) -> str:
    """Of the contract: equal if and only if kinds, sizes, types, norm states and starts of all nodes are."""
    text = json.dumps([lock["kinds"], lock["nodes"]], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _node(item: Account, copies: int, kinds: Mapping[str, int]) -> dict[str, Any]:
    learns = dict(item.learns)
    starts = {name: f"{start}, {learns[name]}" if name in learns else start for name, start in item.starts}
    made: dict[str, Any] = {"kind": item.kind if item.version == kinds[item.kind] else f"{item.kind}@{item.version}"}
    if copies > 1:
        made["copies"] = copies
    return made | {"sizes": dict(item.open), "types": dict(item.types), "norms": dict(item.norms), "zeros": list(item.zeros), "starts": starts}


def _adapter(item: Account) -> dict[str, Any]:
    return {"kind": item.kind, "sizes": dict(item.open or item.types), "why": item.cause or f"adapt: {item.kind}"}


def stated(tree: Value) -> dict[str, Value]:
    """Every value that the resolved recipe states, by its key path. A list is one value."""
    found: dict[str, Value] = {}
    todo = [(key, value) for key, value in tree.items() if key not in SAID_ONLY][::-1]
    while todo:
        path, value = todo.pop()
        inner = [(f"{path}.{key}", item) for key, item in value.items()]
        if inner:
            todo.extend(inner[::-1])
        else:
            found[path] = value
    return found


# --- written ---
def text_of(lock: Lock) -> str:
    """As a file holds it: JSON with one entry a line."""
    lines = ["{"]
    for key in ("lock", "recipe", "fingerprint", "kinds", "adapters", "nodes", "stated"):
        value, comma = lock[key], "" if key == "stated" else ","
        if not isinstance(value, dict) or not value:
            lines.append(f" {_json(key)}: {_json([] if value == {} and key != 'kinds' else value)}{comma}")
            continue
        if key == "kinds":
            entries = [f"{_json(name)}: {_json(item)}" for name, item in value.items()]
        elif key == "stated":
            entries = [_json([name, item]) for name, item in value.items()]
        else:
            entries = [_json({"at": name, **item}) for name, item in value.items()]
        start, end = "{}" if key == "kinds" else "[]"
        lines += [f" {_json(key)}: {start}", ",\n".join(f"  {entry}" for entry in entries), f" {end}{comma}"]
    return "\n".join([*lines, "}\n"])


def _json(value: Any) -> str:
    """Beyond the first plane letters stand for themselves: as two halves YAML does not know them."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(letter if letter < "\x7f" or ord(letter) > 0xFFFF else f"\\u{ord(letter):04x}" for letter in text)


def place_of(recipe: str | os.PathLike[str]) -> str:
    """Where the lock of a recipe's file lies: beside it, `digits.yaml` -> `digits.lock`."""
    return f"{os.path.splitext(os.fspath(recipe))[0]}.lock"


# --- read ---
def read_lock(path: str) -> tuple[Lock | None, list[Diagnostic]]:
    """A lock as it was written, or what is wrong with the file. A link is not followed: what it leads to would be printed."""
    if os.path.islink(path):
        return None, [_broken(Span(path), "it is a link")]
    tree, found = read(path)
    errors = [item for item in found if item.level == "error"]
    if tree is None or errors:
        return None, errors
    wrong = _wrong(tree)
    if wrong is not None:
        return None, [wrong]
    held: Lock = tree.plain()
    for key in ("adapters", "nodes"):
        held[key] = {item.pop("at"): item for item in held[key]}
    held["stated"] = dict(held["stated"])
    if fingerprint(held) != held["fingerprint"]:
        return None, [_broken(tree.data["fingerprint"].span, "its fingerprint is not that of what it holds")]
    return held, []


def _wrong(tree: Value) -> Diagnostic | None:
    """The first thing by which a mapping is no lock of this version."""
    version = tree.get("lock")
    if version is None or type(version.data) is not int:
        return _broken(tree.span._replace(end_line=tree.span.line, end_column=tree.span.column + 1), "it has no `lock: 1`")
    if version.data != VERSION:
        return _broken(version.span, f"it is of version {version.data}, and this release writes {VERSION}")
    for key, wanted in _SHAPE.items():
        value = tree.get(key)
        if value is None:
            return _broken(version.span, f"`{key}` is missing")
        if not isinstance(value.data, wanted):
            return _broken(value.span, f"`{key}` is not a {_NAMES[wanted]}")
    for key, check in (("kinds", _kind), ("adapters", _adapted), ("nodes", _noded), ("stated", _stated)):
        seen: set[str] = set()
        value = tree.data[key]
        for item in value.data.values() if isinstance(value.data, dict) else value.data:
            bad = check(item)
            if bad is not None:
                return _broken(bad[0].span, f"in `{key}`, {bad[1]}")
            if key != "kinds":
                name = item.data[0].data if key == "stated" else item.data["at"].data
                if name in seen:
                    return _broken(item.span, f"in `{key}`, `{name[:80]}` stands twice")
                seen.add(name)
    return None


_SHAPE: Mapping[str, type] = {"recipe": str, "fingerprint": str, "kinds": dict, "adapters": list, "nodes": list, "stated": list}
_NAMES: Mapping[type, str] = {str: "text", dict: "mapping", list: "list"}
Bad = tuple[Value, str] | None


def _kind(value: Value) -> Bad:
    return (value, "the version of a kind is not a whole number") if type(value.data) is not int else None


def _stated(value: Value) -> Bad:
    fits = isinstance(value.data, list) and len(value.data) == 2 and isinstance(value.data[0].data, str)
    return None if fits else (value, "an entry is not a path and its value")


def _adapted(value: Value) -> Bad:
    return _entry(value, {"at": str, "kind": str, "sizes": dict, "why": str})


def _noded(value: Value) -> Bad:
    return _entry(value, {"at": str, "kind": str, "sizes": dict, "types": dict, "norms": dict, "zeros": list, "starts": dict})


def _entry(value: Value, parts: Mapping[str, type]) -> Bad:
    if not isinstance(value.data, dict):
        return value, "an entry is not a mapping"
    for part, wanted in parts.items():
        item = value.get(part)
        if item is None or not isinstance(item.data, wanted):
            return item or value, f"`{part}` is not a {_NAMES[wanted]}"
        inner: Iterable[Value] = item.data.values() if isinstance(item.data, dict) else item.data if isinstance(item.data, list) else ()
        for leaf in inner:
            if type(leaf.data) not in (int, str):
                return leaf, f"`{part}` holds something else than numbers and texts"
    copies = value.get("copies")
    if copies is not None and type(copies.data) is not int:
        return copies, "`copies` is not a whole number"
    return None


def _broken(span: Span, why: str) -> Diagnostic:
    return Diagnostic("lock-broken", f"this is no lock that can be read: {why}", span, help="write it anew: `assembler lock RECIPE --force`, and look at what changed")


def unreadable(text: str) -> Diagnostic | None:
    """Why the reader would refuse a lock of this text: it is larger than a recipe may be, or a key of it longer."""
    if len(text.encode()) > MAX_BYTES:
        return Diagnostic("limit-file-size", f"it would be larger than the {MAX_BYTES // 2**20} MiB that are read again")
    _, found = read_text(text, "the lock")
    return next((item for item in found if item.level == "error"), None)


__all__ = ["Lock", "fingerprint", "lock_of", "place_of", "read_lock", "stated", "text_of", "unreadable"]
