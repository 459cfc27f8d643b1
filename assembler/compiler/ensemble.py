"""Members side by side that are added up: one loop with a running value, so that no two results are kept.

Where a probe is to see every value, the members are called one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from assembler.compiler.leaf import definition_of, fold
from assembler.compiler.values import COPY, LoopOp, Op, carried
from assembler.facts.model import NodeFacts
from assembler.graph.model import Leaf, Node, Ref, Repeat, Scope
from assembler_schemas.kind import Inline

if TYPE_CHECKING:
    from assembler.compiler.repeat import Part, RepeatBuilder
    from assembler.compiler.scope import Fed, ScopeBuilder


class Ensemble(NamedTuple):
    """A join that takes its values one after another, and the repeats that give them all."""

    join: Leaf
    parts: frozenset[str]


Members = tuple["RepeatBuilder", list["Part"]]


def folded(scope: Scope) -> Ensemble | None:
    """The ensemble of a scope whose members nobody reads but a join that folds."""
    for node in scope.nodes.values():
        build = node.definition.build if isinstance(node, Leaf) else None
        if not isinstance(node, Leaf) or not isinstance(build, Inline) or not build.fold or len(node.inputs) != 1:
            continue
        refs = [edge.source for edges in node.inputs.values() for edge in edges]
        parts = dict.fromkeys(ref.node for ref in refs)
        if refs == [ref for name in parts for ref in _each(name, scope.nodes.get(name))]:
            others = {edge.source for other in scope.nodes.values() if other is not node for edges in other.inputs.values() for edge in edges}
            if others.isdisjoint(refs) and not any(ref in scope.outputs.values() for ref in refs):
                return Ensemble(node, frozenset(parts))
    return None


def _each(name: str, node: Node | None) -> list[Ref]:
    """What the copies of a repeat give, in order; nothing of what is no row of members side by side."""
    if not isinstance(node, Repeat) or not node.beside or node.losses or node.count < 2:
        return []
    return [Ref(name, f"{index}.{node.main}") for index in range(node.count)]


def members_of(builder: ScopeBuilder, node: Node, facts: NodeFacts, fed: Fed, read: set[str]) -> Members:
    """The submodules of one repeat; its calls come with the join."""
    from assembler.compiler.repeat import RepeatBuilder

    assert isinstance(node, Repeat)
    made = RepeatBuilder(builder, node, facts, fed, read)
    return made, made.modules()


def call_ensemble(builder: ScopeBuilder, join: Leaf, facts: NodeFacts, members: list[Members]) -> None:
    """`h = self.net[0](x)`, then `for member in self.net[1:]: h = h + member(x)`, then what the join makes of it."""
    draft = builder.draft
    build = definition_of(join, facts).build
    assert isinstance(build, Inline)
    port = next(iter(join.inputs))
    running: int | None = None
    for made, parts in members:
        stream = made.fed[made.into[0]][0]
        for part in parts:
            start = part.start
            if running is None:
                running = draft.new()
                draft.add(Op((running,), made.pieces(part, [stream], (f"self.{made.node.name}[0]",)), join.name))
                start += 1
            if start < part.stop:
                after = draft.new()
                pieces = fold(build.fold, carried(0), made.pieces(part, [stream], (COPY,)))
                draft.add(LoopOp(made.over(start, part.stop), "member", ((running, after),), pieces, (carried(0),), [], join.name, start=start))
                running = after
    assert running is not None
    value = builder.closed(join, facts, build, port, running, len(join.inputs[port]))
    builder.give(join, next(iter(join.definition.outputs)), value)
