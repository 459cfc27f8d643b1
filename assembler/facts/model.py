"""Facts: the types that inference found, in the shape of the graph they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from assembler.graph.model import Edge, Node, Scope
from assembler_schemas.kind import Definition
from assembler_schemas.shape import Dim, Type
from assembler_schemas.span import NOWHERE, Span


class NodeFacts(NamedTuple):
    """What is known of one node: the type at every port, and every solved size.

    An input's type is that of the value *after* the edge (a `many` port lists each edge).
    `inner` holds a group's scope; `runs` a repeat's copies: (how many, facts of each of them),
    split further than the graph's runs where the types change from copy to copy.
    """

    inputs: Mapping[str, tuple[Type, ...]]
    outputs: Mapping[str, Type | None]
    """None: unknown, because of something that is said elsewhere."""
    sizes: Mapping[str, Dim] = MappingProxyType({})
    definition: Definition | None = None
    """A leaf's definition (for `by_rank` kinds the one for the rank that was found)."""
    inner: ScopeFacts | None = None
    runs: tuple[tuple[int, NodeFacts], ...] = ()


class ScopeFacts(NamedTuple):
    inputs: Mapping[str, Type | None]
    nodes: Mapping[str, NodeFacts]
    outputs: Mapping[str, Type | None]


class Guard(NamedTuple):
    """A condition on run-time sizes: `left` is a multiple of / at most / equal to `right`.

    Asserted once at the model's entry; both sides are over the names of the recipe's inputs.
    """

    relation: str
    left: Dim
    right: Dim
    address: str = ""
    span: Span = NOWHERE
    about: str = ""


class Conflict(NamedTuple):
    """What does not fit. `code` is the diagnostic's; the message is written by `checks`."""

    code: str
    address: str
    """The node, as an address pattern (`encoder.*.attend`)."""
    port: str = ""
    edge: Edge | None = None
    found: object = None
    wanted: object = None
    detail: Mapping[str, object] = MappingProxyType({})
    node: Node | None = None
    span: Span = NOWHERE


class Because(NamedTuple):
    """One step of a derivation: what is so at an address, and where it is written."""

    address: str
    text: str
    span: Span = NOWHERE


class Bridging(NamedTuple):
    """An edge whose width must change from `source` to `target`: a place for an adapter."""

    address: str
    port: str
    index: int  # type: ignore[assignment]
    source: Dim
    target: Dim
    edge: Edge
    node: Node
    scope: Scope | None
    """Of the node; None where the node is a copy of a repeat and the edge stands outside."""
    dtype: str = "float"
    """Of the value that crosses the edge: the adapter works in it."""


class Facts(NamedTuple):
    root: ScopeFacts
    guards: tuple[Guard, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    bridges: tuple[Bridging, ...] = ()
