"""What a lock holds: what the library made of a recipe, besides what the recipe says itself.

    {"lock": 1, "recipe": "digits", "fingerprint": "5f0c...",
     "kinds": {"attention": 1, ...},                    versions of the kinds that are used
     "adapters": {"head_x_adapter": {"kind": "linear", "sizes": {"in": 64, "out": 32}, "why": "adapter for head.x"}},
     "nodes": {"encoder.*.attend": {"kind": "attention", "copies": 4,
                                    "sizes": {"in": 64, ...},       those that the recipe leaves open
                                    "types": {"x": "[batch 16 64]", ...}, "norms": {"y": "raw"}, "zeros": [],
                                    "starts": {"q.weight": "uniform(0.125), step 0", ...}}},
     "stated": {"vars.width": 64, ...}}                 the recipe, key by key: what moved a value is found by it

The text is JSON, a line for each entry, so that two of them are compared line by line. It is read by the
reader of recipes, with its limits: of a lock nothing is believed but numbers and texts.
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
from assembler.source.text import MAX_BYTES, read
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import Span

VERSION = 1
SAID_ONLY = frozenset({"name", "description", "$schema", "recipe", "defaults"})
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
    nodes = {address: _node(item, copies) for address, item, copies in rows}
    kinds = {item.kind: item.version for item in every.values()}
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


def _node(item: Account, copies: int) -> dict[str, Any]:
    learns = dict(item.learns)
    starts = {name: f"{start}, {learns[name]}" if name in learns else start for name, start in item.starts}
    made: dict[str, Any] = {"kind": item.kind}
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
        comma = "" if key == "stated" else ","
        value = lock[key]
        if isinstance(value, dict) and value:
            inner = ",\n".join(f"  {_json(name)}: {_json(item)}" for name, item in value.items())
            lines += [f" {_json(key)}: {{", inner, f" }}{comma}"]
        else:
            lines.append(f" {_json(key)}: {_json(value)}{comma}")
    return "\n".join([*lines, "}\n"])


def _json(value: Any) -> str:
    """Beyond the first plane letters stand for themselves: as two halves YAML does not know them."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(letter if letter.isascii() or ord(letter) > 0xFFFF else f"\\u{ord(letter):04x}" for letter in text)


def place_of(recipe: str | os.PathLike[str]) -> str:
    """Where the lock of a recipe's file lies: beside it, `digits.yaml` -> `digits.lock`."""
    return f"{os.path.splitext(os.fspath(recipe))[0]}.lock"


# --- read ---
def read_lock(path: str) -> tuple[Lock | None, list[Diagnostic]]:
    """A lock as it was written, or what is wrong with the file."""
    tree, found = read(path)
    errors = [item for item in found if item.level == "error"]
    if tree is None or errors:
        return None, errors
    wrong = _wrong(tree)
    return (tree.plain(), []) if wrong is None else (None, [wrong])


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
            return _broken(value.span, f"`{key}` is not a {'mapping' if wanted is dict else 'text'}")
    for key in ("adapters", "nodes"):
        for name, value in tree.data[key].items():
            bad = _entry(value, _PARTS[key])
            if bad is not None:
                return _broken(bad[0].span, f"`{key}.{name[:80]}`: {bad[1]}")
    bad_kind = next((value for _, value in tree.data["kinds"].items() if type(value.data) is not int), None)
    return _broken(bad_kind.span, "the version of a kind is not a whole number") if bad_kind is not None else None


_SHAPE: Mapping[str, type] = {"recipe": str, "fingerprint": str, "kinds": dict, "adapters": dict, "nodes": dict, "stated": dict}
_PARTS: Mapping[str, Mapping[str, type]] = {
    "adapters": {"kind": str, "sizes": dict, "why": str},
    "nodes": {"kind": str, "sizes": dict, "types": dict, "norms": dict, "zeros": list, "starts": dict},
}
_NAMES: Mapping[type, str] = {str: "text", dict: "mapping", list: "list"}


def _entry(value: Value, parts: Mapping[str, type]) -> tuple[Value, str] | None:
    if not isinstance(value.data, dict):
        return value, "it is not a mapping"
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


def too_large(text: str) -> bool:
    """Whether the reader would refuse a lock of this text."""
    return len(text.encode()) > MAX_BYTES


__all__ = ["Lock", "fingerprint", "lock_of", "place_of", "read_lock", "stated", "text_of", "too_large"]
