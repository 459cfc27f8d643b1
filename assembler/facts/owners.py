"""Modules with more than one use: which addresses `same` names, and where a walk meets them."""

from __future__ import annotations

from assembler.graph.model import Group, Node, Repeat, Scope


def owners(scope: Scope) -> dict[str, str]:
    """Each address that a `same` names -> where a walk over the graph's runs meets it."""
    found: dict[str, str] = {}
    todo: list[Scope | Node] = [scope]
    while todo:
        item = todo.pop()
        if isinstance(item, Scope):
            todo.extend(item.nodes.values())
        elif isinstance(item, Repeat):
            todo.extend(run.node for run in item.runs)
        else:
            if item.same:
                found[item.same] = _met(scope, item.same)
            if isinstance(item, Group):
                todo.append(item.scope)
    return found


def _met(scope: Scope, address: str) -> str:
    """An address with the names of runs (`*`, `0:3`) in the place of copy numbers."""
    parts, met = address.split("."), []
    here: Node | None = None
    inner: Scope | None = scope
    for part in parts:
        if isinstance(here, Repeat) and not here.share:
            index = int(part) if part.lstrip("-").isdigit() else 0
            shown, node = run_at(here, index)
            met.append(shown if part.lstrip("-").isdigit() else part)
            here = node
        else:
            here = inner.nodes.get(part) if inner is not None else None
            met.append(part)
        inner = inside(here)
    if isinstance(here, Repeat) and not here.share:
        met.append(run_at(here, 0)[0])
    return ".".join(met)


def inside(node: Node | None) -> Scope | None:
    """The scope below a node that an address goes on into; copies that share their weights have one."""
    if isinstance(node, Repeat) and node.share:
        node = node.runs[0].node
    return node.scope if isinstance(node, Group) else None


def run_at(node: Repeat, index: int) -> tuple[str, Node]:
    """The run that holds a copy: how the walk calls it, and its node."""
    start = 0
    for run in node.runs:
        if index % node.count < start + run.count:
            shown = "*" if run.count == node.count else f"{start}:{start + run.count}" if run.count > 1 else str(start)
            return shown, run.node
        start += run.count
    raise IndexError(index)
