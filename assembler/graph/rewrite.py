"""Graphs are frozen: a change makes a new tree of scopes, from the inside out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from typing import NamedTuple

from assembler.graph.address import parse_address
from assembler.graph.model import Group, Leaf, Node, Ref, Repeat, Run, Scope
from assembler_schemas.kind import Given

Change = Callable[[Scope, dict[str, Node]], dict[str, Node]]
"""The old scope and its nodes (already rewritten inside) -> its new nodes, in order."""


def rewrite(scope: Scope, change: Change) -> Scope:
    """`change` applied to every scope, inner ones first. Nesting is bounded by the reader."""
    nodes = change(scope, {name: _rewritten(node, change) for name, node in scope.nodes.items()})
    gone = {name for name in scope.nodes if name not in nodes}
    outputs = scope.outputs
    if gone:
        outputs = {}
        for name, ref in scope.outputs.items():
            while ref.node in gone:
                ref = next(iter(scope.nodes[ref.node].inputs.values()))[0].source
            outputs[name] = ref
    return scope._replace(nodes=nodes, outputs=outputs)


def _rewritten(node: Node, change: Change) -> Node:
    if isinstance(node, Group):
        return node._replace(scope=rewrite(node.scope, change))
    if isinstance(node, Repeat):
        return node._replace(runs=tuple(Run(run.count, _rewritten(run.node, change)) for run in node.runs))  # type: ignore[arg-type]
    return node


def prune(scope: Scope) -> Scope:
    """Without what no output needs: it is checked, never built. An output of a container that nobody
    reads asks for nothing inside it.

    What `same`, `tie` or `init: {copy: ...}` of something that stays names stays, whoever reads it: it owns
    the weights. A group that is used in several places has all its outputs in each.
    """
    naming = _naming(scope)
    read = _pruned(scope, scope.outputs, (), frozenset(), frozenset())
    if not naming:
        return read
    same, others = _needed(naming, _naming(read))
    owners = {names[:end] for names in same | others for end in range(1, len(names) + 1)}
    return _pruned(scope, scope.outputs, (), owners, same)


Names = tuple[str, ...]
"""An address without the numbers of copies."""


class _Named(NamedTuple):
    """What a node names: the module that it uses, and what else owns values of its own."""

    same: frozenset[Names]
    others: frozenset[Names]


def _needed(naming: Mapping[Names, _Named], read: Iterable[Names]) -> tuple[set[Names], set[Names]]:
    """What is named by nodes that are read, by what stands in that, and so on."""
    below: dict[Names, list[Names]] = {}
    for names in naming:
        for end in range(1, len(names) + 1):
            below.setdefault(names[:end], []).append(names)
    same, others, seen = set[Names](), set[Names](), set(read)
    todo = list(seen)
    while todo:
        found = naming[todo.pop()]
        for target in found.same | found.others:
            more = [names for names in below.pop(target, ()) if names not in seen]  # once: then all of them are
            seen.update(more)
            todo.extend(more)
        same |= found.same
        others |= found.others
    return same, others


def reads(scope: Scope, wanted: Iterable[str]) -> dict[str, set[str]]:
    """The nodes that the wanted outputs need -> the ports of each that are read."""
    found: dict[str, set[str]] = {}
    ends: dict[tuple[str, str], Ref] = {}
    todo = [scope.outputs[name] for name in wanted]
    while todo:
        ref = todo.pop()
        if ref.node not in scope.nodes:
            continue  # an input of the scope, or a value that an error stands for
        if ref.node not in found:
            node = scope.nodes[ref.node]
            todo.extend(edge.source for edges in node.inputs.values() for edge in edges)
            build = node.definition.build if type(node) is Leaf else None
            if isinstance(build, Given) and build.back:  # The module runs up to that site, though another value takes the place of its own.
                ends = ends or _ends(scope)
                todo.append(ends[build.node or node.name, build.back])
        found.setdefault(ref.node, set()).add(ref.port)
    return found


def _ends(scope: Scope) -> dict[tuple[str, str], Ref]:
    """A module that is handed over, and a site at which one of its stretches ends -> that stretch's value."""
    leaves = ((name, node.definition) for name, node in scope.nodes.items() if type(node) is Leaf)
    return {(item.build.node, item.main): Ref(name, item.main) for name, item in leaves if isinstance(item.build, Given) and item.build.node}


def _pruned(scope: Scope, wanted: Collection[str], at: Names, owners: Set[Names], shared: Set[Names]) -> Scope:
    ports = reads(scope, wanted)
    nodes: dict[str, Node] = {}
    for name, node in scope.nodes.items():
        here = (*at, name)
        if name not in ports:
            if here not in owners:
                continue
            node = node._replace(inputs={})  # nobody calls it: it only holds the weights
        nodes[name] = _inside(node, ports.get(name, set()), here, owners, shared)
    return scope._replace(nodes=nodes, outputs={name: ref for name, ref in scope.outputs.items() if name in wanted})


def _inside(node: Node, read: Set[str], at: Names, owners: Set[Names], shared: Set[Names]) -> Node:
    if isinstance(node, Group):
        if node.same:
            return node
        wanted = node.scope.outputs.keys() if at in shared else read & node.scope.outputs.keys()
        return node._replace(scope=_pruned(node.scope, wanted, at, owners, shared))
    if isinstance(node, Repeat):
        read = {*read, *node.links.values()}
        runs, start = [], 0
        for run in node.runs:
            copies = range(node.count) if node.share else range(start, start + run.count)
            runs.append(Run(run.count, _inside(run.node, _of_copies(node, read, copies), at, owners, shared)))  # type: ignore[arg-type]
            start += run.count
        return node._replace(runs=tuple(runs))
    return node


def _of_copies(node: Repeat, read: Set[str], copies: range) -> set[str]:
    """What is read of some copies: the streams, what the last one gives on, and what is named by a copy's number."""
    found = {out for _, out in node.streams}
    for port in read:
        number, _, inner = port.partition(".")
        if not number.isdigit():
            found.add(port)
        elif int(number) in copies:
            found.add(inner)
    return found


def _naming(scope: Scope) -> dict[Names, _Named]:
    """Every node with a `same`, a `tie` or an `init: {copy: ...}`. Copies that are unlike are one."""
    found: dict[Names, _Named] = {}
    todo: list[tuple[Names, Node]] = [((name,), node) for name, node in scope.nodes.items()]
    while todo:
        at, node = todo.pop()
        if isinstance(node, Repeat):
            todo.extend((at, run.node) for run in node.runs)
            continue
        others: tuple[str, ...] = ()
        if isinstance(node, Group):
            todo.extend(((*at, name), inner) for name, inner in node.scope.nodes.items())
        elif node.ties or node.init:
            others = (*node.ties.values(), node.init.get("copy", ""))
        if node.same or any(others):
            before = found.get(at, _Named(frozenset(), frozenset()))
            found[at] = _Named(before.same | _named((node.same,)), before.others | _named(others))
    return found


def _named(addresses: Iterable[str]) -> frozenset[Names]:
    found = (parse_address(text) for text in addresses if text)
    return frozenset(tuple(item for item in segments if isinstance(item, str)) for segments in found if not isinstance(segments, str))
