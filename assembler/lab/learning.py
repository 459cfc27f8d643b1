"""Which parameters gradients reach, from the graph alone: every copy by itself, every value by where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from assembler.facts.model import Facts, NodeFacts, ScopeFacts
from assembler.graph.model import Graph, Group, Leaf, Node, Repeat, Scope
from assembler_schemas.kind import Definition

Sources = frozenset[int]
"""The uses of kinds that a value comes from, along a way that gradients can go back."""
CUTS = frozenset({"detach", "constant"})


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a kind, one copy of it: its address in `state_dict`, and what it is made from."""

    address: str
    node: Leaf
    facts: NodeFacts
    sources: Sources
    reached: bool
    """Whether gradients come back to it from something that the model gives out."""

    @property
    def definition(self) -> Definition:
        return self.facts.definition or self.node.definition

    def learns(self, parameter: str) -> bool:
        """Whether a parameter of this use gets a gradient, frozen or not."""
        return self.reached and parameter in carried(self.definition)[1]


@dataclass(slots=True)
class _Uses:
    found: list[tuple[str, Leaf, NodeFacts, Sources]] = field(default_factory=list)

    def add(self, address: str, node: Leaf, facts: NodeFacts, fed: Mapping[str, Sources]) -> Mapping[str, Sources]:
        definition = facts.definition or node.definition
        through, gives = carried(definition)
        sources = frozenset().union(*(fed.get(port, frozenset()) for port in through))
        self.found.append((address, node, facts, sources))
        value: Sources = frozenset({len(self.found) - 1}) if gives else frozenset()
        return dict.fromkeys(definition.outputs, value)


def uses(graph: Graph, facts: Facts) -> list[Use]:
    """Every use of a kind, in the order in which they run."""
    made = _Uses()
    given = _scope(made, graph.scope, facts.root, "", dict.fromkeys(graph.scope.inputs, frozenset()))
    todo = [item for name in graph.scope.outputs for item in given.get(name, frozenset())]
    reached: set[int] = set()
    while todo:
        item = todo.pop()
        if item not in reached:
            reached.add(item)
            todo.extend(made.found[item][3])
    return [Use(*item, reached=index in reached) for index, item in enumerate(made.found)]


def carried(definition: Definition) -> tuple[set[str], set[str]]:
    """The input ports and parameters from which gradients of some output come back: (ports, all of them)."""
    if not definition.body:
        return set(definition.inputs), {*definition.inputs, *definition.parameters}
    alive: set[str] = set(definition.outputs)
    for step in reversed(definition.body):
        if step.output in alive and step.op not in CUTS:
            names = [*step.inputs, *(value for key in ("bias", "mask") if isinstance(value := step.attributes.get(key), str))]
            alive.update(names)
    return alive & set(definition.inputs), alive & {*definition.inputs, *definition.parameters}


def _scope(made: _Uses, scope: Scope, facts: ScopeFacts, prefix: str, fed: Mapping[str, Sources]) -> Mapping[str, Sources]:
    """What each output of a scope comes from. Nesting is bounded by the reader."""
    values: dict[tuple[str, str], Sources] = {("", name): value for name, value in fed.items()}
    for name, node in scope.nodes.items():
        known = facts.nodes[name]
        inputs = {port: frozenset().union(*(values.get(edge.source, frozenset()) for edge in edges)) for port, edges in node.inputs.items()}
        for port, value in _node(made, node, known, f"{prefix}{name}", inputs).items():
            values[name, port] = value
    return {name: values.get(ref, frozenset()) for name, ref in scope.outputs.items()}


def _node(made: _Uses, node: Node, facts: NodeFacts, address: str, fed: Mapping[str, Sources]) -> Mapping[str, Sources]:
    if isinstance(node, Leaf):
        return made.add(address, node, facts, fed)
    if isinstance(node, Group):
        return _scope(made, node.scope, facts.inner, f"{address}.", fed) if facts.inner is not None else {}
    return _copies(made, node, facts, address, fed)


def _copies(made: _Uses, node: Repeat, facts: NodeFacts, address: str, fed: Mapping[str, Sources]) -> Mapping[str, Sources]:
    stream_in, stream_out = node.stream
    nodes = (run.node for run in node.runs for _ in range(run.count))
    known = (item for count, item in facts.runs for _ in range(count))
    result: dict[str, Sources] = {}
    losses: dict[str, Sources] = dict.fromkeys(node.losses, frozenset())
    for index, (inner, item) in enumerate(zip(nodes, known, strict=True)):
        given = _node(made, inner, item, address if node.share else f"{address}.{index}", fed)
        fed = {**fed, stream_in: given.get(stream_out, frozenset())}
        losses = {name: value | given.get(name, frozenset()) for name, value in losses.items()}
        result.update({f"{index}.{port}": value for port, value in given.items()})
        last = given
    return {**result, **last, **losses}
