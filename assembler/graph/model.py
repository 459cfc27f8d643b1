"""The graph: what a recipe means once all sugar is gone. Frozen; a step makes a new one.

A graph is a tree of scopes. A scope holds named nodes and the edges between them; a node is a
`Leaf` (one use of a kind), a `Group` (a scope inside) or a `Repeat` (copies in a row or side by side). Every edge
stays inside one scope: what crosses a border is passed through it, as an input or an output of
the group. So each scope can be inferred, compiled and read by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from assembler_schemas.kind import Definition, Kind, Options, Port
from assembler_schemas.span import NOWHERE, Span

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Ref(NamedTuple):
    """A value inside one scope. `node` "" is the scope itself: one of its inputs.

    `port` is an address below the node: `y`, `3.y` (copy 3 of a repeat), `3.think.balance_loss`.
    """

    node: str
    port: str


class Edge(NamedTuple):
    """What feeds one input: a value of the same scope, and what the recipe says of this edge."""

    source: Ref
    span: Span = NOWHERE
    follows: bool = False
    """Its width never decides: it is bridged to what the others say (a write onto a stream)."""
    keeps_zero: bool = False
    """An adapter on it must turn zeros into zeros: it has no bias (a graft that starts silent)."""


class Leaf(NamedTuple):
    """One use of a kind."""

    name: str
    """In its scope."""
    inputs: Mapping[str, tuple[Edge, ...]]
    span: Span
    cause: str
    """Why we put it there (`pre norm of encoder.attend`); empty for a node of the recipe."""
    kind: Kind
    options: Options
    definition: Definition
    """For `by_rank` kinds without a rank: the names of the ports; facts hold the whole one."""
    spans: Mapping[str, Span] = NOTHING
    """Where each stated option stands."""
    same: str = ""
    """Address of the node whose module this is one more use of."""
    ties: Mapping[str, str] = NOTHING
    """Own parameter -> address of the parameter it is tied to."""
    freeze: bool = False
    adapter: str = ""
    """`asked` by an edge's `adapt:`, `auto` where we put it unasked; empty for any other node."""
    seed: int | None = None
    dtype: str | None = None
    init: Mapping[str, Any] = NOTHING


new_ref: Callable[[tuple[str, str]], Ref] = partial(tuple.__new__, Ref)
new_edge: Callable[[tuple[Ref, Span, bool, bool]], Edge] = partial(tuple.__new__, Edge)
new_leaf: Callable[[tuple[Any, ...]], Leaf] = partial(tuple.__new__, Leaf)
"""All fields in a row, as one tuple: a third of the time of a call of the class, where a graph of many nodes is made."""
UNSAID = tuple(Leaf._field_defaults[name] for name in Leaf._fields if name in Leaf._field_defaults and name != "spans")
"""What a leaf carries behind its `spans` that says nothing of the kind."""


class Scope(NamedTuple):
    """Named nodes and what of them the outside sees. `nodes` is in topological order."""

    inputs: Mapping[str, Port]
    nodes: Mapping[str, Leaf | Group | Repeat]
    outputs: Mapping[str, Ref]
    """Output name (or, for an inner value passed out, its address below the group) -> value."""
    main: str = ""
    """The output that the group's address means."""
    losses: tuple[str, ...] = ()
    """Those outputs that are auxiliary losses."""
    policy: str = "auto"
    """When an adapter may be put on an edge of this scope: auto, explicit, never."""


class Group(NamedTuple):
    """A scope used as a node: `kind: graph`, a bus, a sequence, a parallel."""

    name: str
    inputs: Mapping[str, tuple[Edge, ...]]
    span: Span
    cause: str
    scope: Scope
    kind: str = "graph"
    same: str = ""


class Run(NamedTuple):
    """`count` copies in a row that are alike. The node's inputs are those of the repeat, by name."""

    count: int  # type: ignore[assignment]
    node: Leaf | Group


class Repeat(NamedTuple):
    """Copies in a row: the stream outputs of one feed the stream inputs of the next, every other
    input goes to each copy, losses add up. Copy 3 has the address `<address>.3`.

    `beside`: they stand side by side instead: each takes the inputs as they come, and what each gives
    is read as a tap.

    `share`: one set of weights under the address itself (a single run).
    `taps`: outputs of single copies that somebody reads, as addresses below the repeat: `1.y`.
    """

    name: str
    inputs: Mapping[str, tuple[Edge, ...]]
    span: Span
    cause: str
    runs: tuple[Run, ...]
    streams: tuple[tuple[str, str], ...] = (("x", "y"),)
    """What goes from copy to copy: (input, output), the main one first."""
    share: bool = False
    taps: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    links: Mapping[str, str] = NOTHING
    """Input of single copies -> the tap of an earlier copy that feeds it (a graft's read: `1.y`)."""
    beside: bool = False

    @property
    def count(self) -> int:  # type: ignore[override]
        return sum(run.count for run in self.runs)

    @property
    def main(self) -> str:
        """The output that the node's address means."""
        return self.streams[0][1]


Node = Leaf | Group | Repeat


class Kept(NamedTuple):
    """A port that a slot keeps."""

    side: str
    """`in` or `out`."""
    name: str
    port: Port
    span: Span
    """Where the slot states its type."""


class Accepted(NamedTuple):
    """The ports that a slot keeps, and those of what fills it, at one place that uses the slot."""

    slot: str
    address: str
    ports: tuple[Kept, ...]
    filler: Span
    """Where it is said what fills the slot."""
    takes: Mapping[str, Port]
    """The filler's inputs."""
    gives: Mapping[str, Port]
    """The filler's outputs."""


class Match(NamedTuple):
    """One place where a graft stands. Values are addresses of outputs, copies by their numbers: `encoder.3.attend.y`."""

    before: str
    """The host's value; a name without a dot is an input of the recipe."""
    after: str
    """What stands for it now."""
    entry: tuple[str, str, int]
    """Node, port and edge by which the host's value reaches the graft."""
    nodes: tuple[str, ...]
    """The graft's own nodes: the part, its norms, its scale, the merge."""
    inside: str = ""
    """Address of the node inside which it stands (`attend` for a graft onto `attend.q`): then `before`
    and `after` are names of values in that node's body."""


class Graft(NamedTuple):
    """A graft of the recipe, and every place where it stands."""

    name: str
    mode: str
    init: str
    """`zero` or `identity` where the host must be undisturbed at the start; else empty."""
    matches: tuple[Match, ...]
    span: Span = NOWHERE
    """Where silence is demanded, else of its name."""


class Graph(NamedTuple):
    """A whole recipe as a graph."""

    name: str
    scope: Scope
    inputs: Mapping[str, Any]
    """Input name -> its Type (vars worked out, other names rigid)."""
    policy: str = "auto"
    """When an adapter may be put on an edge: auto, explicit, never."""
    description: str = ""
    spans: Mapping[str, Span] = NOTHING
    """Where each input (`inputs.x`), output (`outputs.y`) and rule stands."""
    accepted: tuple[Accepted, ...] = ()
    """The ports that slots keep, at every place that uses one."""
    filled: Mapping[str, tuple[str, ...]] = NOTHING
    """Key path of what fills a slot (`slots.ffn`, `nodes.encoder.slots.ffn`) -> where it stands (`encoder.*.think`)."""
    grafts: tuple[Graft, ...] = ()
