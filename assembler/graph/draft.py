"""Drafts: the graph while it is being built. Edges and exports are still added; then it freezes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from assembler.graph.env import Env
from assembler.graph.feed import NONE, Feeds
from assembler.graph.model import UNSAID, Edge, Graph, Group, Leaf, Node, Ref, Repeat, Run, Scope, new_leaf
from assembler.graph.options import Chosen
from assembler.graph.shared import Shared
from assembler.source.recipe import Place
from assembler_schemas.kind import Kind, Port
from assembler_schemas.span import NOWHERE, Span

STREAM = "x"
"""A container's first input, whatever the label in `from`."""
ANY = Port("")
"""A container's input or output: it has the type of what it is fed."""


@dataclass(slots=True, eq=False, repr=False)
class Draft:
    """A node that is being built: a leaf (`chosen`), a group (`inner`) or a repeat (`runs`)."""

    name: str
    address: str
    span: Span = NOWHERE
    cause: str = ""
    ports: dict[str, Port] = field(default_factory=dict)
    gives: dict[str, Port] = field(default_factory=dict)
    main: str = ""
    edges: dict[str, list[Edge]] = field(default_factory=dict)
    kind: Kind | None = None
    chosen: Chosen | None = None
    inner: ScopeDraft | None = None
    runs: list[tuple[int, Draft]] = field(default_factory=list)
    share: bool = False
    taps: dict[str, None] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    """Input of single copies -> the tap of an earlier copy that feeds it."""
    beside: str = ""
    """For copies side by side: the output that each of them gives."""
    skipped: bool = False
    """An expert: it is run on the rows that chose it, so nothing inside it can be read from outside."""
    said: dict[str, Any] = field(default_factory=dict)
    """freeze, seed, dtype, same, ties, init: what a leaf carries beside its options."""
    after: Ref | None = None
    """Where its main output is really read: behind its `out` norm."""
    stretches: list[Draft] = field(default_factory=list)
    """Of a module that is handed over and that grafts stand inside: what of it runs before, up to a site each."""
    moved: dict[str, Ref] = field(default_factory=dict)
    """An output beside the main one -> what a graft put in its place."""
    reads: str = ""
    """The node in front of it that takes its first input: its `pre` norm."""
    feeds: Feeds = NONE
    implicit: Ref | None = None
    """What its place feeds to its first input, unless its own `from` does."""
    sees: Mapping[Ref, Ref] = field(default_factory=dict)
    """Streams of the bus around, as they came in -> as they stand where this part stands."""
    streams: tuple[str, ...] = ()
    """What copies hand on beside their main stream: inputs that are outputs of the same name."""
    path: str = ""
    shared: Shared | None = None
    part: bool = False
    """Stands in a container, whose other inputs reach it by name."""
    misfed: bool = False
    """Whether `from` names an input that it does not have: what it lacks then is not said too."""
    broken: bool = False
    """Something of it is wrong and said; edges from it are left out in silence."""
    weight: int = 1
    """How many leaves it unfolds into."""

    @property
    def first(self) -> str:
        return next(iter(self.ports), "")

    @property
    def count(self) -> int:
        return sum(count for count, _ in self.runs)

    @property
    def values(self) -> list[Ref]:
        """What it gives on: one value, or one of each copy that stands beside others."""
        if self.beside:
            return [Ref(self.name, f"{index}.{self.beside}") for index in range(self.count)]
        return [self.after or Ref(self.name, self.main)]

    def give(self) -> None:
        """A group gives out what its scope does."""
        assert self.inner is not None
        self.gives = {name: Port("", loss=name in self.inner.losses) for name in self.inner.outputs}
        self.main = self.inner.main

    def freeze(self) -> Node:
        inputs = {port: tuple(edges) for port, edges in self.edges.items() if edges}
        if not self.runs and self.inner is None:
            assert self.kind is not None
            assert self.chosen is not None
            options, definition, spans = self.chosen
            if self.said:
                return Leaf(self.name, inputs, self.span, self.cause, self.kind, options, definition, spans, **self.said)
            return new_leaf((self.name, inputs, self.span, self.cause, self.kind, options, definition, spans, *UNSAID))
        common: dict[str, Any] = {"name": self.name, "inputs": inputs, "span": self.span, "cause": self.cause}
        if self.runs:
            losses = tuple(port for port, given in self.gives.items() if given.loss)
            runs = tuple(Run(count, node.freeze()) for count, node in self.runs)  # type: ignore[arg-type]
            return Repeat(**common, runs=runs, streams=((self.first, self.main or self.beside), *((name, name) for name in self.streams)), share=self.share, taps=tuple(self.taps), losses=losses, links=dict(self.links), beside=bool(self.beside))
        assert self.inner is not None
        return Group(**common, scope=self.inner.freeze(), kind=self.kind.name if self.kind else "graph", same=self.said.get("same", ""))


@dataclass(slots=True, eq=False, repr=False)
class ScopeDraft:
    """The inside of a graph or container while it is being built."""

    address: str
    env: Env
    outer: ScopeDraft | None = None
    """Where a name that is not found here may be looked up; None for a closed graph."""
    inputs: dict[str, Port] = field(default_factory=dict)
    offered: frozenset[str] = frozenset()
    """Inputs that parts may take by name."""
    taken: dict[str, None] = field(default_factory=dict)
    tunnels: dict[str, tuple[str, Span]] = field(default_factory=dict)
    """Own input -> the outer address that something inside reads by it, and where it says so."""
    nodes: dict[str, Draft] = field(default_factory=dict)
    outputs: dict[str, Ref] = field(default_factory=dict)
    main: str = ""
    losses: dict[str, None] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    """Names of the nodes that will stand here, before they are built."""
    places: Mapping[str, tuple[Place, Env]] = field(default_factory=dict)
    """The nodes as they are written, for `same` and `like`."""
    policy: str = ""
    """When an adapter may stand here; empty: as in the scope around."""
    streams: tuple[str, ...] = ()
    """Of a bus: the inputs beside the first one that parts write."""
    fed_by_slot: bool = False
    """A slot's filler stands somewhere inside."""

    def add(self, draft: Draft) -> Draft:
        self.nodes[draft.name] = draft
        return draft

    def free(self, name: str) -> str:
        while name in self.nodes or name in self.known or name in self.inputs:
            name += "_"
        return name

    def freeze(self) -> Scope:
        nodes = {draft.name: draft.freeze() for draft in self.ordered() if not draft.broken}
        return Scope(dict(self.inputs), nodes, dict(self.outputs), self.main, tuple(self.losses), self.policy or "auto")

    def needs(self) -> dict[str, set[str]]:
        """Node -> the nodes of this scope that feed it."""
        return {
            name: {edge.source.node for edges in draft.edges.values() for edge in edges if edge.source.node}
            for name, draft in self.nodes.items()
        }  # fmt: skip

    def in_order(self) -> bool:
        """Whether each node already stands behind what feeds it."""
        seen = {""}
        for name, draft in self.nodes.items():
            for edges in draft.edges.values():
                for edge in edges:
                    if edge.source.node not in seen:
                        return False
            seen.add(name)
        return True

    def ordered(self) -> Iterator[Draft]:
        """The nodes, each after what feeds it, otherwise as they were written. No circle remains."""
        if self.in_order():
            yield from self.nodes.values()
            return
        done: set[str] = set()
        for root in self.nodes:
            stack = [root]
            while stack:
                name = stack[-1]
                if name in done:
                    stack.pop()
                    continue
                draft = self.nodes[name]
                waiting = [
                    edge.source.node
                    for edges in draft.edges.values()
                    for edge in edges
                    if edge.source.node not in done and edge.source.node in self.nodes
                ]
                if waiting:
                    stack.extend(reversed(waiting))
                    continue
                stack.pop()
                done.add(name)
                yield draft


__all__ = ["ANY", "Draft", "Graph", "ScopeDraft"]
