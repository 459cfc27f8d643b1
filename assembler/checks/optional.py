"""Optional inputs: a value that may be left out reaches only ports that may stay unfed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from assembler.graph.model import Edge, Graph, Group, Leaf, Node, Ref, Repeat, Scope
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Port
from assembler_schemas.span import NOWHERE, Span

Missing = Mapping[Ref, Note]
"""Value of one scope that may be left out -> where it is said so."""


def check(graph: Graph) -> list[Diagnostic]:
    """One finding for each edge (copies together) over which nothing may arrive where something must."""
    found: dict[tuple[Span, str], Diagnostic] = {}
    start = {Ref("", name): Note(f"`{name}` may be left out", graph.spans.get(f"inputs.{name}", NOWHERE)) for name, port in graph.scope.inputs.items() if port.optional}
    todo: list[tuple[Scope, str, dict[Ref, Note]]] = [(graph.scope, "", start)]
    while todo:
        scope, prefix, missing = todo.pop()
        if not missing and not _declares(scope):
            continue
        for name, node in scope.nodes.items():
            address = f"{prefix}{name}"
            for item in _node(node, address, missing):
                if isinstance(item, Diagnostic):
                    found.setdefault((item.span, item.message), item)
                else:
                    todo.append(item)
            missing.update({Ref(name, port): note for port, note in _gives(node, missing).items()})
        if not prefix:
            for item in _outputs(graph, missing):
                found.setdefault((item.span, item.message), item)
    return list(found.values())


def _declares(scope: Scope) -> bool:
    """Whether some graph inside may have optional inputs of its own: then it is looked at too."""
    return any(not isinstance(node, Leaf) for node in scope.nodes.values())


def _node(node: Node, address: str, missing: Missing) -> Iterator[Diagnostic | tuple[Scope, str, dict[Ref, Note]]]:
    arrives = {port: (edge, missing[edge.source]) for port, edges in node.inputs.items() for edge in edges if edge.source in missing}
    if isinstance(node, Leaf):
        for port, (edge, note) in arrives.items():
            if not node.definition.inputs[port].optional:
                yield _refused(address, port, edge, note, node.span)
        return
    if isinstance(node, Repeat):
        streams = [stream for stream, _ in node.streams]
        yield from (_refused(address, stream, *arrives[stream], node.span) for stream in streams if stream in arrives)
        inner = {port: note for port, (_, note) in arrives.items() if port not in streams}
        for run in node.runs:
            if isinstance(run.node, Group):
                yield run.node.scope, f"{address}.", _inside(run.node.scope, inner, node.inputs)
            else:
                ports = run.node.definition.inputs
                yield from (_refused(address, port, *arrives[port], node.span) for port in inner if not ports[port].optional)
        return
    for port, (edge, note) in arrives.items():
        declared = node.scope.inputs.get(port, Port(""))
        if declared.type and not declared.optional:
            yield _refused(address, port, edge, note, node.span)
    yield node.scope, f"{address}.", _inside(node.scope, {port: note for port, (_, note) in arrives.items()}, node.inputs)


def _inside(scope: Scope, given: Mapping[str, Note], fed: Mapping[str, object]) -> dict[Ref, Note]:
    """What may be missing inside: what arrives so, and what the graph itself declares optional."""
    found: dict[Ref, Note] = {}
    for name, port in scope.inputs.items():
        if port.optional and (port.type or name not in fed):
            found[Ref("", name)] = given.get(name, Note(f"its input `{name}` is optional"))
        elif name in given and not port.type:
            found[Ref("", name)] = given[name]
    return found


def _gives(node: Node, missing: Missing) -> dict[str, Note]:
    """Outputs of a group that are one of its optional inputs as it arrives."""
    if not isinstance(node, Group):
        return {}
    notes = {port: missing[edges[0].source] for port, edges in node.inputs.items() if edges and edges[0].source in missing}
    inside = _inside(node.scope, notes, node.inputs)
    return {name: inside[ref] for name, ref in node.scope.outputs.items() if ref in inside}


def _outputs(graph: Graph, missing: Missing) -> Iterator[Diagnostic]:
    for name, ref in graph.scope.outputs.items():
        if ref in missing:
            yield Diagnostic("port-required", f"the output `{name}` would be missing where an optional input is left out", graph.spans.get(f"outputs.{name}", NOWHERE),
                             related=(missing[ref],), help="drop `optional: true`, or give out a value that is always there")  # fmt: skip


def _refused(address: str, port: str, edge: Edge, note: Note, span: Span) -> Diagnostic:
    source = edge.source.port if not edge.source.node else f"{edge.source.node}.{edge.source.port}"
    return Diagnostic("port-required", f"`{address}.{port}` must be fed, and `{source}` may be left out", edge.span if edge.span.line or edge.span.override else span,
                      label="may be left out", related=(note,), help="drop `optional: true`, or feed it to an optional port only")  # fmt: skip
