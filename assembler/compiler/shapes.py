"""What is said of a model's values before it exists: sizes for `torch.export`, types for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from assembler.facts.model import Facts, NodeFacts, ScopeFacts
from assembler.graph.model import Graph, Group, Node, Repeat, Scope
from assembler_schemas import dim as sizes
from assembler_schemas.dim import Floor, Poly, names
from assembler_schemas.shape import Type

MAX_SIZE = 2**20


def predicted(graph: Graph, facts: Facts) -> Iterator[tuple[str, Type]]:
    """(address, type) of every value that a probe can see: inputs, and every node's outputs, copy by copy."""
    for name, kind in facts.root.inputs.items():
        if kind is not None:
            yield name, kind
    todo: list[tuple[str, Node, NodeFacts]] = _inside("", graph.scope, facts.root)
    while todo:
        prefix, node, here = todo.pop()
        for port, kind in here.outputs.items():
            if kind is not None and (not isinstance(node, Repeat) or port == node.stream[1] or port in node.losses):
                yield f"{prefix}{port}", kind
        if isinstance(node, Group) and here.inner is not None:
            todo.extend(_inside(prefix, node.scope, here.inner))
        elif isinstance(node, Repeat):
            nodes = (run.node for run in node.runs for _ in range(run.count))
            copies = (copy for count, copy in here.runs for _ in range(count))
            todo.extend((f"{prefix}{i}.", *pair) for i, pair in enumerate(zip(nodes, copies, strict=True)))


def _inside(prefix: str, scope: Scope, facts: ScopeFacts) -> list[tuple[str, Node, NodeFacts]]:
    return [(f"{prefix}{name}.", node, facts.nodes[name]) for name, node in scope.nodes.items()]


def dynamic_shapes(graph: Graph, facts: Facts) -> dict[str, Any]:
    """For `torch.export.export(model, (), kwargs, dynamic_shapes=...)`: input name -> axis -> `Dim`.

    A size `8*h` is `8 * Dim("h")`. An axis that torch cannot say as a multiple and a sum of one
    name is left out: it is then fixed to the example's size. Imports torch.
    """
    from assembler.compiler.build import export_dim

    made: dict[str, Any] = {}

    def size(dim: sizes.Dim) -> Any:
        parts = _affine(dim)
        if parts is None:
            return None
        name, factor, rest = parts
        made.setdefault(name, export_dim(name, MAX_SIZE))
        scaled = made[name] if factor == 1 else factor * made[name]
        return scaled + rest if rest else scaled

    shapes: dict[str, Any] = {}
    for name, kind in graph.inputs.items():
        axes = {}
        for axis, dim in enumerate(kind.dims):
            found = size(dim) if not kind.lead else None
            if found is not None:
                axes[axis] = found
        shapes[name] = axes
    return shapes


def _affine(dim: sizes.Dim) -> tuple[str, int, int] | None:
    """A size as name, factor and rest of factor * name + rest; None where it is not that."""
    if not isinstance(dim, Poly) or len(names(dim)) != 1:
        return None
    name = next(iter(names(dim)))
    if any(isinstance(atom, Floor) for monomial in dim.terms for atom in monomial) or set(dim.terms) - {(), (name,)}:
        return None
    factor = dim.terms[(name,)]
    return (name, factor, dim.terms.get((), 0)) if factor > 0 else None
