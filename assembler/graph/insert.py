"""Nodes that we put in: norms, adds, joins, detaches. Named after what they serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.options import Field, choose
from assembler.library import registry
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.build import Builder


def insert(builder: Builder, scope: ScopeDraft, name: str, kind_name: str, options: Mapping[str, Field], cause: str, span: Span, said: Mapping[str, object] | None = None) -> Draft:  # fmt: skip
    """Put a node of ours into a scope."""
    kind = registry.kind(kind_name)
    assert kind is not None
    name = scope.free(name)
    draft = Draft(name, f"{scope.address}.{name}" if scope.address else name, span, cause, kind=kind)
    chosen = choose(kind, options, "", name, builder.say)
    if chosen is None:
        draft.broken = True
        return scope.add(draft)
    draft.chosen = chosen
    draft.ports = dict(chosen.definition.inputs)
    draft.gives = dict(chosen.definition.outputs)
    draft.main = next(iter(draft.gives))
    draft.said = dict(said or {})
    return scope.add(draft)
