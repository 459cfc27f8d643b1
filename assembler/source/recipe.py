"""The recipe: what the YAML says, sorted into graphs and places; names not yet resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from assembler.source.tree import Value
from assembler_schemas.span import NOWHERE, Span

INHERITED = ("norm_kind", "freeze", "seed", "dtype", "init")
"""Keys that hold for everything inside, from any container up to the recipe."""
NOUNS = ("kind", "slot", "same", "like")
"""The keys of which a place has exactly one: they say what stands there."""

GRAPH_KEYS = frozenset(
    ["recipe", "name", "description", "$schema", "defaults", "vars", "inputs", "nodes", "outputs", "slots", "rules", "grafts", "adapters", "moved"]
)
PLACE_KEYS = frozenset(
    ["kind", "slot", "same", "like", "from", "repeat", "share", "norm", "norm_kind", "init", "freeze", "seed", "dtype", "tie", "vars", "before", "after", "stream"]
)
"""What every node and part has; anything else is an option of its kind."""
PART_OPTIONS = frozenset(["expert", "experts", "router", "selector", "shared"])
"""Options of the kinds with experts that may hold a part (`experts`: parts by name) instead of a value."""
GRAFT_KEYS = frozenset(["read", "write", "mode", "form", "scale", "norm", "norm_kind", "init", "after", "part"])


@dataclass(frozen=True, slots=True)
class Place:
    """A node or a part as it is written: its keys, and the parts or the graph inside it."""

    name: str
    path: str
    """Key path in the file: `nodes.encoder.parts.attend`."""
    span: Span
    """Of the name, where there is one; else of the whole mapping."""
    fields: Mapping[str, Value]
    parts: Mapping[str, Place] | None = None
    graph: GraphSpec | None = None
    notes: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What later steps read off this place, so that they read it once: it lives as long as the place, and no other
    place has it, one that looks the same included (its spans are others)."""


class Slot(NamedTuple):
    """A replaceable place: what fills it (None: nothing yet), and the ports it must keep."""

    name: str
    span: Span
    filler: Place | None
    accepts: Value | None = None


class Rule(NamedTuple):
    """Something said about many places at once."""

    name: str
    span: Span
    at: Value | None
    where: Mapping[str, Value]
    set: Mapping[str, Value]


class Graft(NamedTuple):
    """A part that is laid onto nodes from outside: what it reads, and where it merges."""

    name: str
    path: str
    span: Span
    fields: Mapping[str, Value]
    """All but the part."""
    part: Place


class GraphSpec(NamedTuple):
    """One graph as it is written: the recipe itself, or `kind: graph` inside it."""

    path: str
    span: Span
    vars: Mapping[str, Value] = MappingProxyType({})
    inputs: Mapping[str, Value] = MappingProxyType({})
    nodes: Mapping[str, Place] = MappingProxyType({})
    outputs: Mapping[str, Value] = MappingProxyType({})
    slots: Mapping[str, Slot] = MappingProxyType({})
    rules: Mapping[str, Rule] = MappingProxyType({})
    grafts: Mapping[str, Graft] = MappingProxyType({})
    inherited: Mapping[str, Value] = MappingProxyType({})
    """What the recipe's own top level says of everything inside."""
    policy: str = ""
    """auto, explicit or never; empty where the graph does not say: then as around it."""


class Recipe(NamedTuple):
    """A whole recipe, read and sorted. `tree` is what it was read from; overrides apply to that."""

    name: str
    graph: GraphSpec
    tree: Value
    description: str = ""
    file: str = ""
    span: Span = NOWHERE
    clean: bool = False
    """Nothing was said while it was sorted, so that a part of it which an override leaves alone need not be sorted again."""
    moved: Mapping[str, Value] = MappingProxyType({})
    """Old address -> new address: where weights that were kept before a part moved belong now. Nothing else asks for it."""
