"""Circles: nodes that feed one another. Said once, at an edge, and cut."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from assembler.graph.draft import ScopeDraft
from assembler_schemas.diagnostic import Diagnostic, Note

if TYPE_CHECKING:
    from assembler.graph.build import Builder


def cut_circles(builder: Builder, scope: ScopeDraft) -> None:
    """Say each circle once, at an edge of it, and cut it."""
    while circle := _circle(scope):
        written = list(scope.nodes)
        first = min(range(len(circle)), key=lambda i: (not scope.nodes[circle[i]].cause.startswith("graft "), written.index(circle[i]))) if len(circle) < 100 else 0
        circle = [*circle[first:], *circle[:first]]
        names = " -> ".join([*circle, circle[0]])
        edge = next(edge for edges in scope.nodes[circle[0]].edges.values() for edge in edges if edge.source.node == circle[-1])
        notes = tuple(
            Note(f"`{name}` reads `{source}`", e.span)
            for source, name in pairwise(circle)
            for edges in scope.nodes[name].edges.values()
            for e in edges
            if e.source.node == source
        )  # fmt: skip
        builder.say(Diagnostic("graph-cycle", f"nodes feed one another in a circle: {names if len(circle) < 12 else f'{len(circle)} nodes from `{circle[0]}` to `{circle[-1]}`'}",
                               edge.span.at(f"{scope.nodes[circle[0]].path}.from"), label=f"`{circle[0]}` reads `{circle[-1]}`", related=notes[:8],
                               help=_sites(scope, circle) or "cut one of these edges; for copies in a row write `repeat: n`"))  # fmt: skip
        for port, edges in scope.nodes[circle[0]].edges.items():
            scope.nodes[circle[0]].edges[port] = [e for e in edges if e.source.node != circle[-1]]
        for name in circle:
            scope.nodes[name].broken = True


def _sites(scope: ScopeDraft, circle: list[str]) -> str:
    """What to do about a circle through a module that grafts stand inside of."""
    host = next((draft for draft in scope.nodes.values() if draft.stretches and {draft.name, *(item.name for item in draft.stretches)} & set(circle)), None)
    if host is None:
        return ""
    shown = ", ".join(f"`{item.main}`" for item in host.stretches[:12])
    return f"a graft inside `{host.name}` reads what is there before the module runs, or an earlier site: grafts stand at {shown}, in this order"


def _circle(scope: ScopeDraft) -> list[str]:
    """One circle among a scope's nodes (each feeds the next), or nothing."""
    if scope.in_order():
        return []
    needs = scope.needs()
    done: set[str] = set()
    for root in needs:
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack: list[tuple[str, list[str]]] = [(root, sorted(needs[root]))] if root not in done else []
        if stack:
            path, on_path = [root], {root: 0}
        while stack:
            name, left = stack[-1]
            if not left:
                stack.pop()
                done.add(name)
                path.pop()
                del on_path[name]
                continue
            source = left.pop()
            if source in on_path:
                return list(reversed(path[on_path[source] :]))
            if source in done or source not in needs:
                continue
            on_path[source] = len(path)
            path.append(source)
            stack.append((source, sorted(needs[source])))
    return []
