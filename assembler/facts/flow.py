"""The flow of a graph: every use of a kind in the order in which they run, each copy by itself.

What is asked of values and parameters (what norm they have, what is zero, how large they are, who
learns) is asked of this. Values and weights are numbered; a value that passes a border keeps its
number. Analyses read the bodies of the uses (docs/primitives.md) and nothing else of a kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from assembler.facts.count import shapes
from assembler.facts.model import Facts, NodeFacts, ScopeFacts
from assembler.facts.number import number, start_of
from assembler.facts.start import starts
from assembler.graph.address import Slice, parse_address
from assembler.graph.model import Graph, Group, Leaf, Node, Repeat, Scope
from assembler_schemas.kind import Definition

MAX_USES = 20_000
"""Uses of kinds that are unfolded. A larger graph has no flow."""


@dataclass(frozen=True, slots=True)
class Weight:
    """One parameter or buffer of the model, however often it is used."""

    address: str
    """Its key in the `state_dict`, at the node that owns it."""
    key: str
    """Its name on the card: `up.weight`."""
    shape: tuple[int, ...]
    init: str
    """How it starts (`facts/start.py`); `copy(address)` names the weight whose values it takes, itself no copy."""
    node: Leaf
    writes: bool
    buffer: bool
    trainable: bool


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a kind. Values and weights by number; a `many` port has several values."""

    address: str
    """With the numbers of copies: `encoder.3.attend`."""
    node: Leaf
    facts: NodeFacts
    definition: Definition
    inputs: Mapping[str, tuple[int, ...]]
    """By port; an optional one that is not fed is missing."""
    outputs: Mapping[str, int]
    weights: Mapping[str, int]
    """By name on the card; a shared or tied weight has one number wherever it is used."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A whole graph, unfolded."""

    uses: tuple[Use, ...]
    weights: tuple[Weight, ...]
    inputs: Mapping[str, int]
    """Inputs of the recipe -> value."""
    outputs: Mapping[str, int]
    """Outputs of the recipe, auxiliary losses included -> value."""
    makers: tuple[int, ...]
    """For each value the use that makes it; -1 for an input of the recipe."""
    places: Mapping[str, int]
    """Address of every output of every node, copies and groups included -> value."""


def flow(graph: Graph, facts: Facts) -> Flow | None:
    """The flow of a graph without conflicts; None beyond `MAX_USES`."""
    walk = _Walk(graph.scope)
    inputs = {name: walk.value(-1) for name in graph.scope.inputs}
    try:
        given = walk.scope(graph.scope, facts.root, (), (), {name: (value,) for name, value in inputs.items()})
    except _TooMany:
        return None
    weights, numbers = walk.owned()
    uses = tuple(
        Use(item.address, item.node, item.facts, item.definition, item.inputs, item.outputs, numbers[index])
        for index, item in enumerate(walk.uses)
    )
    return Flow(uses, weights, inputs, {name: given[name] for name in graph.scope.outputs if name in given}, tuple(walk.makers), walk.places)


class _TooMany(Exception):
    """More uses than `MAX_USES`."""


Path = tuple[str | int, ...]


@dataclass(slots=True)
class _Draft:
    """A use before its weights are known: `owner` is the node whose module it is one more use of."""

    address: str
    owner: str
    node: Leaf
    facts: NodeFacts
    definition: Definition
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, int]
    path: Path


@dataclass(slots=True)
class _Walk:
    root: Scope
    uses: list[_Draft] = field(default_factory=list)
    makers: list[int] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def value(self, maker: int) -> int:
        self.makers.append(maker)
        return len(self.makers) - 1

    # --- values ---
    def scope(self, scope: Scope, facts: ScopeFacts, path: Path, owner: Path, fed: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Output name -> value. `owner`: where the modules of what is inside stand. The reader bounds the nesting."""
        values: dict[tuple[str, str], tuple[int, ...]] = {("", name): found for name, found in fed.items()}
        for name, node in scope.nodes.items():
            inputs: dict[str, tuple[int, ...]] = {}
            for port, edges in node.inputs.items():
                found = tuple(value for edge in edges for value in values.get(edge.source, ()))
                if found:
                    inputs[port] = found
            for port, value in self.node(node, facts.nodes[name], (*path, name), (*owner, name), inputs).items():
                values[name, port] = (value,)
        return {name: values[ref][0] for name, ref in scope.outputs.items() if values.get(ref)}

    def node(self, node: Node, facts: NodeFacts, path: Path, owner: Path, fed: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        if isinstance(node, Repeat):
            given = self.copies(node, facts, path, owner, fed)
        else:
            if node.same:
                owner = self.target(node.same, path)
            if isinstance(node, Leaf):
                given = self.leaf(node, facts, path, owner, fed)
            else:
                given = self.scope(node.scope, facts.inner, path, owner, fed) if facts.inner is not None else {}
        address = _text(path)
        for port, value in given.items():
            self.places[f"{address}.{port}"] = value
        return given

    def leaf(self, node: Leaf, facts: NodeFacts, path: Path, owner: Path, fed: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        if len(self.uses) >= MAX_USES:
            raise _TooMany
        definition = facts.definition or node.definition
        outputs = {port: self.value(len(self.uses)) for port in definition.outputs}
        self.uses.append(_Draft(_text(path), _text(owner), node, facts, definition, fed, outputs, path))
        return outputs

    def copies(self, node: Repeat, facts: NodeFacts, path: Path, owner: Path, fed: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        into, out = node.stream
        if node.count > MAX_USES:
            raise _TooMany
        nodes = (run.node for run in node.runs for _ in range(run.count))
        known = (item for count, item in facts.runs for _ in range(count))
        result: dict[str, int] = {}
        last: dict[str, int] = {}
        for index, (inner, item) in enumerate(zip(nodes, known, strict=True)):
            here = () if node.share else (index,)
            linked = {port: (result[tap],) for port, tap in node.links.items() if tap in result}
            last = self.node(inner, item, (*path, *here), (*owner, *here), {**fed, **linked})
            if out in last:
                fed = {**fed, into: (last[out],)}
            result.update({f"{index}.{port}": value for port, value in last.items()})
        return {**result, **last}

    # --- weights ---
    def target(self, address: str, path: Path) -> Path:
        """The node that `same` names, for the copy that stands at `path`."""
        segments = parse_address(address)
        if isinstance(segments, str):
            return path
        found: list[str | int] = []
        here: Node | None = None
        inner: Scope | None = self.root
        for place, segment in enumerate(segments):
            if isinstance(segment, str):
                here = inner.nodes.get(segment) if inner is not None else None
                found.append(segment)
            elif isinstance(here, Repeat):
                index = self._copy(segment, here, path, place)
                found.append(index)
                here = _run(here, index)
            inner = _inside(here)
        if isinstance(here, Repeat) and not here.share:
            index = next((item for item in reversed(path) if isinstance(item, int)), 0)
            found.append(index % here.count)
        return tuple(found)

    def _copy(self, segment: int | Slice, node: Repeat, path: Path, place: int) -> int:
        """`*` and slices mean the copy with the number of the one that asks."""
        if isinstance(segment, int):
            return segment % node.count
        own = path[place] if place < len(path) else None
        return own if isinstance(own, int) else next(iter(segment.of(node.count)), 0)

    def owned(self) -> tuple[tuple[Weight, ...], list[dict[str, int]]]:
        """All weights, and for each use their numbers by name on the card."""
        frozen = {item.owner for item in self.uses if item.node.freeze}
        made: dict[str, int] = {}
        weights: list[Weight] = []
        ties: dict[str, str] = {}
        for item in sorted(self.uses, key=lambda item: item.address != item.owner):
            known = shapes(item.facts) if item.definition.parameters else {}
            begins = starts(item.node, item.facts)
            for key, card in item.definition.parameters.items():
                address = f"{item.owner}.{key}"
                if address in made or address in ties:
                    continue
                if key in item.node.ties:
                    ties[address] = self._tied(item.node.ties[key], item.path)
                    continue
                made[address] = len(weights)
                trainable = not card.buffer and (item.owner not in frozen if card.trains is None else card.trains)
                weights.append(Weight(address, key, known.get(key, ()), self._begin(begins[key], item.path), item.node, card.writes, card.buffer, trainable))
        _follow(weights, made, ties)
        return tuple(weights), [{key: made[at] for key in item.definition.parameters if (at := _end(f"{item.owner}.{key}", ties)) in made} for item in self.uses]

    def _begin(self, start: str, path: Path) -> str:
        """A start as the copy at `path` has it."""
        return f"copy({self._tied(start[5:-1], path)})" if start.startswith("copy(") else start

    def _tied(self, address: str, path: Path) -> str:
        """The weight that a tie names: `*` and slices mean the asking copy."""
        parts = address.split(".")
        for end in range(len(parts) - 1, 0, -1):
            segments = parse_address(".".join(parts[:end]))
            if not isinstance(segments, str) and self._is_leaf(segments):
                return ".".join([_text(self.target(".".join(parts[:end]), path)), *parts[end:]])
        return address

    def _is_leaf(self, segments: tuple[str | int | Slice, ...]) -> bool:
        here: Node | None = None
        inner: Scope | None = self.root
        for segment in segments:
            if isinstance(segment, str):
                here = inner.nodes.get(segment) if inner is not None else None
            else:
                here = _run(here, 0) if isinstance(here, Repeat) else None
            inner = _inside(here)
        if isinstance(here, Repeat) and here.share:
            here = here.runs[0].node
        return isinstance(here, Leaf)


def _follow(weights: list[Weight], made: Mapping[str, int], ties: Mapping[str, str]) -> None:
    """A copy of a copy takes the values of the first. Copies in a circle stay as they are: `checks` refuses them."""
    leads = {weight.address: _end(weight.init[5:-1], ties) for weight in weights if weight.init.startswith("copy(")}
    for address in leads:
        at = made[address]
        weights[at] = replace(weights[at], init=f"copy({_end(address, leads)})")


def _end(address: str, ties: Mapping[str, str]) -> str:
    """Where a chain of ties ends."""
    seen = set()
    while address in ties and address not in seen:
        seen.add(address)
        address = ties[address]
    return address


def _run(node: Repeat, index: int) -> Node:
    for run in node.runs:
        if index < run.count:
            return run.node
        index -= run.count
    return node.runs[-1].node


def _inside(node: Node | None) -> Scope | None:
    if isinstance(node, Repeat) and node.share:
        node = node.runs[0].node
    return node.scope if isinstance(node, Group) else None


def _text(path: Path) -> str:
    return ".".join(map(str, path))


__all__ = ["MAX_USES", "Flow", "Use", "Weight", "flow", "number", "start_of"]
