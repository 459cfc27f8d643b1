"""Copies in a row and side by side: what one copy is, and what all of them are together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from assembler.graph import norms, wire
from assembler.graph.draft import ANY, Draft, ScopeDraft
from assembler.graph.model import Edge, Ref
from assembler.graph.options import choose
from assembler.graph.place import Resolved
from assembler.graph.resolve import no_main, take
from assembler.graph.shared import Shared
from assembler.library import registry
from assembler_schemas.kind import Inline, Port

if TYPE_CHECKING:
    from assembler.graph.build import At, Builder


def copy_of(builder: Builder, resolved: Resolved, shared: Shared, scope: ScopeDraft, at: At, offered: frozenset[str], called: bool = False) -> Draft:
    """One copy of a repeat. A leaf with norms becomes a group that holds both; a container holds its own.

    `called`: it must be a module of its own, because what it stands in calls it.
    """
    if resolved.kind.container or (shared.norm not in ("pre", "out", "both") and not (called and _gives_no_value(resolved))):
        copy = builder.single(resolved, shared, scope, at, offered)
        if copy.inner is not None and not copy.broken and not norms.is_bus(copy):
            norms.within(builder, copy, copy.inner, shared, resolved.module)
        return copy
    inner = ScopeDraft(at.address, resolved.env, scope, policy=scope.policy)
    builder.nested.append(inner)
    within = replace(resolved, place=replace(resolved.place, name=resolved.module))  # One more use holds what its module does.
    leaf = builder.single(within, shared, inner, at.below(resolved.module), offered)
    group = Draft(resolved.place.name, at.address, resolved.place.span, kind=registry.kind("graph"), inner=inner, broken=leaf.broken, path=leaf.path)
    inner.add(leaf)
    if leaf.broken:
        return group
    norms.around(builder, leaf, shared, inner)
    inner.inputs = {name: Port("", optional=port.optional) for name, port in leaf.ports.items()}
    for port in leaf.ports:
        edge = Edge(Ref("", port), leaf.span)
        if port == leaf.first and leaf.reads:
            inner.nodes[leaf.reads].edges["x"] = [edge]
            leaf.edges[port] = [Edge(Ref(leaf.reads, inner.nodes[leaf.reads].main), leaf.span)]
        else:
            leaf.edges[port] = [edge]
    leaf.reads = ""
    inner.outputs = {"y": leaf.after or Ref(leaf.name, leaf.main)}
    inner.main = "y"
    wire.collect(builder, inner)
    group.ports = dict(inner.inputs)
    group.give()
    builder.weigh(group)
    return group


def _gives_no_value(resolved: Resolved) -> bool:
    """Whether a leaf is no module that gives one value: an expression, or one with outputs beside (of one that is wrong, it does not matter)."""
    chosen = choose(resolved.kind, resolved.fields, resolved.place.path, resolved.place.name, lambda _: None)
    return chosen is None or isinstance(chosen.definition.build, Inline) or len(chosen.definition.outputs) > 1


def _hand_on(draft: Draft) -> None:
    """What one copy writes beside its main stream the next one takes; a copy that does not write it hands it on as it is."""
    copies = [node.inner for _, node in draft.runs if node.inner is not None and not node.broken]
    draft.streams = tuple(dict.fromkeys(name for inner in copies for name in inner.streams))
    for name in draft.streams:
        draft.ports.setdefault(name, ANY)
    for _, node in draft.runs:
        if node.inner is not None and not node.broken:
            for name in draft.streams:
                if name not in node.inner.outputs:
                    node.inner.outputs[name] = take(node.inner, name)
                    node.ports.setdefault(name, ANY)
                    node.give()


def join_runs(builder: Builder, draft: Draft, resolved: Resolved) -> None:
    """A repeat's ports: those of all its runs together; its outputs: those of the last, and every run's losses."""
    for _, node in draft.runs:
        draft.ports.update(node.ports)
    first, chosen = next(iter(draft.ports), ""), draft.runs[0][1].chosen
    if first and draft.ports[first].many and (chosen is None or not isinstance(chosen.definition.build, Inline)):
        draft.ports[first] = draft.ports[first]._replace(many=False)  # As a module, each copy takes what the one before it gives.
    _hand_on(draft)
    last = draft.runs[-1][1]
    losses = {name: port for _, node in draft.runs for name, port in node.gives.items() if port.loss}
    draft.gives, draft.main = {**last.gives, **losses}, last.main
    builder.weigh(draft)
    if not draft.main:
        no_main(builder, draft, draft.span.at(draft.path), "cannot be repeated")
        draft.broken = True
