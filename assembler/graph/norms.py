"""Norms at boundaries: `norm: pre | out | both` puts in real nodes, beside a node or inside each copy of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.insert import insert
from assembler.graph.model import Edge, Ref
from assembler.graph.resolve import no_main
from assembler.graph.shared import Shared
from assembler.library import entry_points, registry
from assembler.source.parse import did_you_mean
from assembler_schemas.diagnostic import Diagnostic

if TYPE_CHECKING:
    from assembler.graph.build import Builder


def around(builder: Builder, draft: Draft, shared: Shared, scope: ScopeDraft) -> None:
    """Norm nodes before and behind a node, as its `norm` says (`post` is the bus's business)."""
    if shared.norm in ("pre", "both") and draft.first in draft.ports and draft.ports[draft.first].many:
        builder.say(Diagnostic("norm-place", f"`norm: {shared.norm}` stands before one value, and `{draft.address}` joins several", draft.span.at(f"{draft.path}.norm"),
                               help="write `norm: out`, or give each of them a norm of its own"))  # fmt: skip
        return
    if shared.norm in ("pre", "both") and draft.kind is not None and not is_bus(draft):
        before = norm_node(builder, scope, f"{draft.name}_pre_norm", shared, f"pre norm of {draft.address}", draft)
        draft.reads = before.name
        draft.edges[draft.first] = [Edge(Ref(before.name, before.main), draft.span)]
    if shared.norm in ("out", "both") and not draft.main:
        no_main(builder, draft, draft.span.at(draft.path), "cannot have a norm behind it")
    elif shared.norm in ("out", "both") and not is_bus(draft):
        behind = norm_node(builder, scope, f"{draft.name}_out_norm", shared, f"out norm of {draft.address}", draft)
        if not behind.broken:
            behind.edges["x"] = [Edge(Ref(draft.name, draft.main), draft.span)]
            draft.after = Ref(behind.name, behind.main)


def is_bus(draft: Draft) -> bool:
    return draft.kind is not None and draft.kind.name == "bus"


def norm_node(builder: Builder, scope: ScopeDraft, name: str, shared: Shared, cause: str, draft: Draft) -> Draft:
    """The norm that a place asks for, not fed yet; broken where there is no such kind."""
    kind, options = "layer_norm", {}
    if shared.norm_kind is not None:
        value, env = shared.norm_kind
        if isinstance(value.data, dict):
            options = {key: (item, env) for key, item in value.data.items()}
            value = value.data.get("kind", value)
        word = env.find(value.data) if isinstance(value.data, str) else None
        kind = str(word if isinstance(word, str) else value.data)
        card = registry.kind(kind)
        if card is None and kind.endswith("_norm") and not entry_points.bring(kind):
            card = registry.kind(kind)
        if card is None or not kind.endswith("_norm"):
            known = ("layer_norm", "rms_norm", "batch_norm", "group_norm")
            builder.say(Diagnostic("unknown-kind", f"there is no norm `{kind}`", value.span.at(f"{draft.path}.norm_kind"),
                                   help=did_you_mean(kind, known) or f"the norms are {', '.join(known)}"))  # fmt: skip
            broken = Draft(scope.free(name), name, draft.span, broken=True)
            return scope.add(broken)
    said = {key: item for key, item in shared.said.items() if key != "init"}
    return insert(builder, scope, name, kind, options, cause, draft.span, said)


def within(builder: Builder, copy: Draft, inner: ScopeDraft, shared: Shared, name: str) -> None:
    """The norms of one copy of a container, at its own borders. `name`: what its module is called."""
    stream = Ref("", copy.first)
    if shared.norm in ("pre", "both"):
        norm = norm_node(builder, inner, f"{name}_pre_norm", shared, f"pre norm of {copy.address}", copy)
        if not norm.broken:
            behind = Ref(norm.name, norm.main)
            for draft in inner.nodes.values():
                for port, edges in draft.edges.items():
                    draft.edges[port] = [edge._replace(source=behind) if edge.source == stream else edge for edge in edges]
            norm.edges["x"] = [Edge(stream, copy.span)]
    if shared.norm in ("out", "both") and copy.main:
        norm = norm_node(builder, inner, f"{name}_out_norm", shared, f"out norm of {copy.address}", copy)
        if not norm.broken:
            norm.edges["x"] = [Edge(inner.outputs[copy.main], copy.span)]
            inner.outputs[copy.main] = Ref(norm.name, norm.main)
    builder.weigh(copy)
