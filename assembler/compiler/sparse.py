"""A mixture's text: its experts are modules that `SparseCombine` calls with the rows that chose them.

The graph says what is meant, every expert on every row; this is the same function for less. Where the
zeros among the gates learn too (`straight_through: dense`), and where a probe is to see every value,
the text is the graph as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from assembler.compiler.model import PlanError, Submodule
from assembler.compiler.values import Op, Piece
from assembler.graph.model import SPARSE, Leaf, Node, Ref, Repeat, Scope

if TYPE_CHECKING:
    from assembler.compiler.scope import ScopeBuilder

MODULE = "SparseCombine"


class Mixture(NamedTuple):
    """The nodes of a scope that become one call."""

    mix: Leaf
    experts: dict[str, Node]


def mixture(kind: str, scope: Scope) -> Mixture | None:
    """The mixture that a scope is, if rows may skip experts."""
    if kind not in SPARSE:
        return None
    mix = next(node for node in scope.nodes.values() if isinstance(node, Leaf) and node.kind.name == "combine")
    gating = scope.nodes[mix.inputs["gates"][0].source.node]
    if not isinstance(gating, Leaf) or getattr(gating.options, "straight_through", None) == "dense":
        return None
    return Mixture(mix, {edge.source.node: scope.nodes[edge.source.node] for edge in mix.inputs["x"]})


def call_mixture(builder: ScopeBuilder, found: Mixture, losses: dict[str, tuple[str, ...]]) -> None:
    """The submodule and the call. `losses`: those that the experts give too, by expert."""
    mix, draft = found.mix, builder.draft
    first = next(iter(found.experts.values()))
    rows = draft.values[first.inputs[_stream(first)][0].source]
    gates = draft.values[mix.inputs["gates"][0].source]
    builder.planner.use(MODULE)
    draft.submodules.append(Submodule(mix.name, f"{MODULE}()"))
    pieces: tuple[Piece, ...] = (f"self.{mix.name}(", rows, ", ", gates, f", {_listed(found)})")
    value = draft.new()
    names = [(name, port) for name, ports in losses.items() for port in ports]
    total = (draft.new(),) if names else ()
    draft.add(Op((value, *total), pieces, mix.name))
    builder.give(mix, next(iter(mix.definition.outputs)), value)
    if total:
        # They come as one sum, which stands for the first; the others are not there to be added again.
        draft.values[Ref(*names[0])] = total[0]


def losses_of(node: Node) -> tuple[str, ...]:
    """The auxiliary losses that a node gives."""
    if isinstance(node, Leaf):
        return tuple(name for name, port in node.definition.outputs.items() if port.loss)
    return node.losses if isinstance(node, Repeat) else node.scope.losses


def _stream(node: Node) -> str:
    if len(node.inputs) != 1:
        raise PlanError(f"the expert `{node.name}` takes one value")
    return next(iter(node.inputs))


def _listed(found: Mixture) -> str:
    """`self.experts`, or `(self.a, self.b)`, or `[*self.small, self.wide]`."""
    if len(found.experts) == 1 and isinstance(next(iter(found.experts.values())), Repeat):
        return f"self.{next(iter(found.experts))}"
    items = [f"{'*' if isinstance(node, Repeat) else ''}self.{name}" for name, node in found.experts.items()]
    return f"[{', '.join(items)}]"
