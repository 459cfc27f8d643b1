"""One container: its nodes become submodules and operations over numbered values.

Groups inside are planned first, by the `Builder`; their depth is bounded by the reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from assembler.compiler import given
from assembler.compiler.ensemble import Members, call_ensemble, folded, members_of
from assembler.compiler.leaf import beside, call, classes, constructor, definition_of, facts_with, fold, inline
from assembler.compiler.model import Handed, Method, PlanError, Submodule
from assembler.compiler.names import comment, fresh, identifier, variable
from assembler.compiler.share import Path, Pending, target_of
from assembler.compiler.sparse import call_mixture, skipping
from assembler.compiler.values import LoopOp, Op, Piece
from assembler.facts.count import parameters
from assembler.facts.model import NodeFacts, ScopeFacts
from assembler.facts.start import stated
from assembler.graph.model import Group, Leaf, Node, Ref, Repeat, Scope
from assembler.graph.rewrite import reads
from assembler_schemas.kind import Given, Inline, Module
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.compiler.given import Hosted
    from assembler.compiler.plan import Planner

Fed = Mapping[str, Sequence[int]]
"""Input port -> the values that feed it."""


@dataclass(slots=True)
class Draft:
    """What is known of a container while its nodes are visited."""

    path: Path
    values: dict[Ref, int] = field(default_factory=dict)
    count: int = 0
    ops: list[Op | LoopOp] = field(default_factory=list)
    entry: list[tuple[str, int]] = field(default_factory=list)
    made_by: dict[int, Op | LoopOp] = field(default_factory=dict)
    submodules: list[Submodule] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    freezes: list[str] = field(default_factory=list)
    whole: bool = True
    """Every submodule with parameters is a leaf of ours, and is frozen."""
    given: list[Handed] = field(default_factory=list)
    methods: list[Method] = field(default_factory=list)
    parameters: int = 0
    starts: dict[str, str] = field(default_factory=dict)
    """Of what the recipe starts otherwise than its module does, by address below ours."""

    def new(self) -> int:
        self.count += 1
        return self.count - 1

    def add(self, op: Op | LoopOp) -> None:
        self.ops.append(op)
        for value in op.outputs:
            self.made_by[value] = op

    def see(self, address: str, value: int) -> None:
        """A probe of a value, at the operation that makes it."""
        op = self.made_by.get(value)
        (op.probes if op is not None else self.entry).append((address, value))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the outside wants of a scope."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def place_of(span: Span) -> str:
    """Where the recipe says so, as a comment."""
    if span.override is not None:
        return comment(str(span))
    return comment(f"{span.file}:{span.line}") if span.file and span.line else ""


class ScopeBuilder:
    """Visits the nodes of one scope in order."""

    def __init__(self, planner: Planner, scope: Scope, facts: ScopeFacts, path: Path, wanted: Wanted, kind: str) -> None:
        self.planner, self.scope, self.facts, self.wanted = planner, scope, facts, wanted
        self.draft = Draft(path)
        self.alive: set[str] = set()
        self.hosted: dict[str, Hosted] = {}
        self.mixture = None if planner.dense else skipping(kind, scope)
        for name in wanted.inputs:
            self.draft.values[Ref("", name)] = self.draft.new()

    def run(self) -> Draft:
        ports = reads(self.scope, self.wanted.outputs)
        self.alive = set(ports)
        experts = self.mixture.experts if self.mixture is not None else ()
        ensemble = None if self.planner.dense or self.mixture is not None else folded(self.scope)
        members: dict[str, Members] = {}
        for name, node in self.scope.nodes.items():
            identifier(name)
            if name in ports and name in experts:
                self._module(node, self.facts.nodes[name], self._fed(node), ports[name])
            elif name in ports and self.mixture is not None and node is self.mixture.mix:
                call_mixture(self, self.mixture, ports)
            elif name in ports and ensemble is not None and name in ensemble.parts:
                members[name] = members_of(self, node, self.facts.nodes[name], self._fed(node), ports[name])
            elif name in ports and ensemble is not None and node is ensemble.join:
                call_ensemble(self, ensemble.join, self.facts.nodes[name], list(members.values()))
            elif name in ports:
                self._node(node, self.facts.nodes[name], ports[name])
            elif self.planner.is_owner((*self.draft.path, name)):
                self._module(node, self.facts.nodes[name], {}, ports.get(name, set()))
        return self.draft

    def _fed(self, node: Node) -> Fed:
        fed: dict[str, list[int]] = {}
        for port, edges in node.inputs.items():
            values = [self.draft.values[edge.source] for edge in edges if edge.source in self.draft.values]
            if values:
                fed[port] = values
        return fed

    def _node(self, node: Node, facts: NodeFacts, read: set[str]) -> None:
        fed = self._fed(node)
        if isinstance(node, Repeat):
            from assembler.compiler.repeat import RepeatBuilder

            RepeatBuilder(self, node, facts, fed, read).run()
        elif isinstance(node, Group):
            self._group(node, facts, fed, read)
        elif isinstance(definition_of(node, facts).build, Given):
            given.visit(self, node, facts, definition_of(node, facts), fed, read)
        else:
            self._leaf(node, facts, fed)

    def _module(self, node: Node, facts: NodeFacts, fed: Fed, read: set[str]) -> None:
        """Only the submodule: nobody calls it here, another place shares it."""
        if isinstance(node, Repeat):
            from assembler.compiler.repeat import RepeatBuilder

            RepeatBuilder(self, node, facts, fed, read).modules()
        elif isinstance(node, Group):
            self.group_module(node, facts, fed, read)
        else:
            self.leaf_module(node, facts)

    # --- leaves ---
    def _leaf(self, node: Leaf, facts: NodeFacts, fed: Fed) -> None:
        definition = definition_of(node, facts)
        outputs = {port: self.draft.new() for port in definition.outputs}
        build = definition.build
        if isinstance(build, Module):
            self.leaf_module(node, facts)
            pieces = call(node, definition, fed, (f"self.{node.name}",))
            ports = tuple(outputs) if len(outputs) > 1 else ()
            self.draft.add(Op(tuple(outputs.values()), pieces, node.name, place=place_of(node.span), ports=ports))
        else:
            assert isinstance(build, Inline)
            outputs = {next(iter(definition.outputs)): self.inline(node, facts, build, fed)}
        for port, value in outputs.items():
            self.give(node, port, value)

    def give(self, node: Node, port: str, value: int, address: str = "") -> None:
        self.draft.values[Ref(node.name, port)] = value
        self.draft.see(address or f"{node.name}.{port}", value)

    def leaf_module(self, node: Leaf, facts: NodeFacts) -> None:
        """The line of `__init__` for a leaf, and what is shared, tied or frozen of it."""
        definition = definition_of(node, facts)
        build = definition.build
        if isinstance(build, Given) and not build.node and not node.same:
            given.hand_over(self, node.name, node, given.ports_of(node.name, [(node, facts, build)]))
        if not isinstance(build, Module) and not (isinstance(build, Given) and node.same):
            return
        self.share_leaf(node, (node.name,))
        if node.same:
            self.draft.submodules.append(Submodule(node.name, ""))
            self.draft.pending.append(Pending((node.name,), target_of(node.same), 0, node.freeze))
            return
        assert isinstance(build, Module)
        for name in classes(definition, build):
            self.planner.use(name)
        self.draft.submodules.append(Submodule(node.name, constructor(node, facts, build)))
        self.draft.parameters += parameters(node, facts)
        self.draft.starts.update((f"{node.name}.{key}", start) for key, start in stated(node, facts).items())
        if definition.parameters:
            self.freeze(f"self.{node.name}.requires_grad_(False)" if node.freeze and not definition.branches else "")

    def share_leaf(self, node: Leaf, own: Path) -> None:
        for name, address in node.ties.items():
            self.draft.pending.append(Pending((*own, *name.split(".")), target_of(address)))

    def freeze(self, line: str) -> None:
        """A submodule with parameters: frozen by this line, or (no line) not."""
        if line:
            self.draft.freezes.append(line)
        else:
            self.draft.whole = False

    def inline(self, node: Leaf, facts: NodeFacts, build: Inline, fed: Fed) -> int:
        """The value of an expression. A long sum is folded one statement at a time."""
        definition = definition_of(node, facts)
        place = place_of(node.span)
        fed = dict(fed)
        if build.fold:
            port = next(name for name, card in definition.inputs.items() if card.many)
            many = list(fed.get(port, ()))
            running = many[0]
            for following in many[1:]:
                total = self.draft.new()
                self.draft.add(Op((total,), fold(build.fold, running, [following]), node.name, place=place))
                running, place = total, ""
            return self.closed(node, facts, build, port, running, len(many), place if len(many) == 1 else "")
        pieces = inline(node, facts, build, fed, definition)
        return self._given(node, pieces if definition.inputs else beside(pieces, self._latest()), place)

    def closed(self, node: Leaf, facts: NodeFacts, build: Inline, port: str, running: int, count: int, place: str = "") -> int:
        """What a fold makes of its running value in the end; `count`: of so many values."""
        return self._given(node, inline(node, facts_with(facts, count), build, {port: [running]}, definition_of(node, facts)), place)

    def _given(self, node: Leaf, pieces: tuple[Piece, ...], place: str) -> int:
        """The value of an expression, which may be one that is there already."""
        if len(pieces) == 1 and isinstance(pieces[0], int):
            return pieces[0]
        value = self.draft.new()
        self.draft.add(Op((value,), pieces, node.name, place=place))
        return value

    def _latest(self) -> int | None:
        """A tensor that is certainly there: the one made last, else a required input."""
        if self.draft.ops:
            return self.draft.ops[-1].outputs[0]
        required = (name for name in self.wanted.inputs if not self.scope.inputs[name].optional)
        return next((self.draft.values[Ref("", name)] for name in required), None)

    # --- groups ---
    def _group(self, node: Group, facts: NodeFacts, fed: Fed, read: set[str]) -> None:
        wanted = self.group_module(node, facts, fed, read)
        pieces = group_call((f"self.{node.name}",), wanted, fed, node)
        outputs = {name: self.draft.new() for name in wanted.outputs}
        self.draft.add(Op(tuple(outputs.values()), pieces, node.name, f"{node.name}.", place=place_of(node.span)))
        for port, value in outputs.items():
            self.give(node, port, value)

    def group_module(self, node: Group, facts: NodeFacts, fed: Fed, read: set[str]) -> Wanted:
        """The line of `__init__` for a group; what its class takes and gives."""
        path = (*self.draft.path, node.name)
        scope, wanted = self.planner.agree(node, path, tuple(name for name in node.scope.inputs if name in fed), read)
        self.draft.whole = False
        if node.same:
            self.draft.submodules.append(Submodule(node.name, ""))
            self.draft.pending.append(Pending((node.name,), target_of(node.same)))
            return wanted
        made = self.planner.container(scope, facts.inner, path, wanted, node.kind, self.maybe(node, fed))
        self.draft.submodules.append(Submodule(node.name, f"{made.name}({', '.join(self._passed(node.name, made.given))})"))
        self.draft.pending.extend(item.below(node.name) for item in made.pending)
        self.draft.parameters += made.parameters
        self.draft.starts.update((f"{node.name}.{address}", start) for address, start in made.starts.items())
        return wanted

    def _passed(self, name: str, inner: Sequence[Handed]) -> list[str]:
        """The parameters by which modules come that the caller hands over to what is inside."""
        for item in inner:
            parameter = fresh(variable(f"{name}_{item.parameter}"), {*given.RESERVED, *(known.parameter for known in self.draft.given)})
            self.draft.given.append(replace(item, address=f"{name}.{item.address}", parameter=parameter))
        return [item.parameter for item in self.draft.given[len(self.draft.given) - len(inner) :]]

    def maybe(self, node: Node, fed: Fed) -> frozenset[str]:
        """The inputs of a node that are fed by an input which callers may leave out."""
        optional = {self.draft.values[Ref("", name)] for name in self.wanted.inputs if self.scope.inputs[name].optional}
        return frozenset(port for port, values in fed.items() if optional.intersection(values))


def group_call(callee: Sequence[Piece], wanted: Wanted, fed: Fed, node: Node) -> tuple[Piece, ...]:
    """`self.encoder(x, memory)`: what is fed, in the order in which the class takes it."""
    pieces: list[Piece] = [*callee, "("]
    for index, name in enumerate(wanted.inputs):
        values = fed.get(name, ())
        if len(values) > 1:
            raise PlanError(f"`{name}` of `{node.name}` takes one value")
        pieces.extend([", "] if index else [])
        pieces.append(values[0] if values else "None")
    return (*pieces, ")")
