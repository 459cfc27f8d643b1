"""A mixture's text: its experts are modules that `SparseCombine` calls with the rows that chose them.

The graph says what is meant, every expert on every row; this is the same function for less. Where the
zeros among the gates learn too (`straight_through: dense`), and where a probe is to see every value,
the text is the graph as it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from assembler.compiler.model import PlanError, Submodule
from assembler.compiler.values import Op, Piece
from assembler.graph.mixture import KINDS, Mixture, mixture_in
from assembler.graph.model import Leaf, Node, Ref, Repeat, Scope

if TYPE_CHECKING:
    from assembler.compiler.scope import ScopeBuilder

MODULE = "SparseCombine"


def skipping(kind: str, scope: Scope) -> Mixture | None:
    """The mixture that a scope is, if rows may skip experts."""
    found = mixture_in(scope) if kind in KINDS else None
    return None if found is None or getattr(found.gating.options, "straight_through", None) == "dense" else found


def call_mixture(builder: ScopeBuilder, found: Mixture, read: Mapping[str, Collection[str]]) -> None:
    """The submodule and the call. `read`: what is read of each node; of an expert also its losses."""
    mix, draft = found.mix, builder.draft
    first = builder.scope.nodes[found.experts[0]]
    rows = draft.values[first.inputs[_stream(first)][0].source]
    gates = draft.values[mix.inputs["gates"][0].source]
    builder.planner.use(MODULE)
    pieces: tuple[Piece, ...] = (f"self.{mix.name}(", rows, ", ", gates, f", {_listed(builder.scope, found)})")
    value = draft.new()
    names = [(name, port) for name in found.experts for port in _losses(builder.scope.nodes[name]) if port in read[name]]
    total = (draft.new(),) if names else ()
    draft.submodules.append(Submodule(mix.name, f"{MODULE}({'losses=True' if names else ''})"))
    draft.add(Op((value, *total), pieces, mix.name))
    builder.give(mix, next(iter(mix.definition.outputs)), value)
    if total:
        # They come as one sum, which stands for the first; the others are not there to be added again.
        draft.values[Ref(*names[0])] = total[0]


def _losses(node: Node) -> tuple[str, ...]:
    """The auxiliary losses that a node gives."""
    if isinstance(node, Leaf):
        return tuple(name for name, port in node.definition.outputs.items() if port.loss)
    return node.losses if isinstance(node, Repeat) else node.scope.losses


def _stream(node: Node) -> str:
    if len(node.inputs) != 1:
        raise PlanError(f"the expert `{node.name}` takes one value")
    return next(iter(node.inputs))


def _listed(scope: Scope, found: Mixture) -> str:
    """`self.experts`, or `[self.a, self.b]`, or `[*self.small, self.wide]`."""
    several = [isinstance(scope.nodes[name], Repeat) for name in found.experts]
    if several == [True]:
        return f"self.{found.experts[0]}"
    items = [f"{'*' * many}self.{name}" for name, many in zip(found.experts, several, strict=True)]
    return f"[{', '.join(items)}]"
