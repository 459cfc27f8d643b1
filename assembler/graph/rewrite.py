"""Graphs are frozen: a change makes a new tree of scopes, from the inside out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from assembler.graph.model import Group, Node, Repeat, Run, Scope

Change = Callable[[Scope, dict[str, Node]], dict[str, Node]]
"""The old scope and its nodes (already rewritten inside) -> its new nodes, in order."""


def rewrite(scope: Scope, change: Change) -> Scope:
    """`change` applied to every scope, inner ones first. Nesting is bounded by the reader."""

    def inside(node: Node) -> Node:
        if isinstance(node, Group):
            return replace(node, scope=rewrite(node.scope, change))
        if isinstance(node, Repeat):
            return replace(node, runs=tuple(Run(run.count, inside(run.node)) for run in node.runs))  # type: ignore[arg-type]
        return node

    nodes = change(scope, {name: inside(node) for name, node in scope.nodes.items()})
    gone = {name for name in scope.nodes if name not in nodes}
    outputs = scope.outputs
    if gone:
        outputs = {}
        for name, ref in scope.outputs.items():
            while ref.node in gone:
                ref = next(iter(scope.nodes[ref.node].inputs.values()))[0].source
            outputs[name] = ref
    return replace(scope, nodes=nodes, outputs=outputs)


def prune(scope: Scope) -> Scope:
    """Without the nodes that no output needs: they are checked, never built.

    What `same`, `tie` or `init: {copy: ...}` names stays, whoever reads it: it owns the weights.
    """
    owners = _owners(scope)

    def change(old: Scope, nodes: dict[str, Node]) -> dict[str, Node]:
        alive: set[str] = set()
        stack = [ref.node for ref in old.outputs.values() if ref.node]
        stack.extend(name for name in nodes if name in owners)
        while stack:
            name = stack.pop()
            if name in alive or name not in nodes:
                continue
            alive.add(name)
            stack.extend(edge.source.node for edges in nodes[name].inputs.values() for edge in edges if edge.source.node)
        return nodes if len(alive) == len(nodes) else {name: node for name, node in nodes.items() if name in alive}

    return rewrite(scope, change)


def _owners(scope: Scope) -> set[str]:
    """Every name in the addresses that `same`, `tie` and `init: {copy: ...}` use."""
    found: set[str] = set()
    todo: list[Node] = list(scope.nodes.values())
    while todo:
        node = todo.pop()
        if isinstance(node, Repeat):
            todo.extend(run.node for run in node.runs)
            continue
        targets = [node.same] if isinstance(node, Group) else [node.same, *node.ties.values(), node.init.get("copy", "")]
        found.update(name for target in targets if target for name in target.split("."))
        if isinstance(node, Group):
            todo.extend(node.scope.nodes.values())
    return found
