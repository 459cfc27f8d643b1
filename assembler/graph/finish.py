"""After every scope is wired: shared modules, ties, and what nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assembler.graph.address import copies, parse_address
from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.env import Env
from assembler.graph.model import Ref
from assembler.graph.resolve import copy_at
from assembler.source.parse import did_you_mean
from assembler.source.recipe import GraphSpec, Place
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.build import Builder


def finish(builder: Builder, scope: ScopeDraft, spec: GraphSpec) -> None:
    """Shared modules, ties, and what nobody reads."""
    for draft, where, text, span in builder.later:
        found = find_draft(where, text)
        if found is None or found.broken:
            draft.broken = True
            continue
        _share(draft, found)
        if found.address == draft.address:
            builder.say(Diagnostic("share-cycle", f"`{draft.name}` is the same as itself", span))
    for draft, where, own, text, span in builder.tied:
        _tie(builder, draft, where, own, text, span)
    _unread(builder, scope, spec)


def _share(draft: Draft, found: Draft) -> None:
    target = found.said.get("same") or found.address
    nodes = [node for _, node in draft.runs] or [draft]
    for node in nodes:
        node.said["same"] = target


def _tie(builder: Builder, draft: Draft, where: ScopeDraft, own: str, text: str, span: Span) -> None:
    assert draft.chosen is not None or draft.broken
    if draft.broken or draft.chosen is None:
        return
    mine = draft.chosen.definition.parameters
    node_text, _, parameter = text.rpartition(".")
    names = text.split(".")
    found = None
    for cut in range(len(names) - 1, 0, -1):
        node_text, parameter = ".".join(names[:cut]), ".".join(names[cut:])
        found = find_draft(where, node_text)
        if found is not None:
            break
    if own not in mine:
        builder.say(Diagnostic("share-unknown", f"`{draft.name}` has no parameter `{own}`", span, help=did_you_mean(own, mine) or f"it has {', '.join(mine) or 'none'}"))
    elif found is None:
        builder.say(Diagnostic("share-unknown", f"`{text}` names no parameter", span, help="write a node's address and its parameter: `embed.weight`"))
    elif not found.broken and found.chosen is not None and parameter not in found.chosen.definition.parameters:
        theirs = found.chosen.definition.parameters
        builder.say(Diagnostic("share-unknown", f"`{node_text}` has no parameter `{parameter}`", span, help=did_you_mean(parameter, theirs) or f"it has {', '.join(theirs) or 'none'}"))
    elif not found.broken:
        draft.said["ties"] = {**draft.said.get("ties", {}), own: f"{found.said.get('same') or found.address}.{parameter}"}


def find_draft(scope: ScopeDraft, text: str) -> Draft | None:
    """The node that an address names, looked up outward."""
    segments = parse_address(text)
    if isinstance(segments, str):
        return None
    here: ScopeDraft | None = scope
    while here is not None and segments[0] not in here.nodes:
        here = here.outer
    if here is None:
        return None
    draft: Draft | None = here.nodes[str(segments[0])]
    for segment in segments[1:]:
        if draft is None:
            return None
        if draft.runs and isinstance(segment, int) and copies(segment, draft.count):
            draft = copy_at(draft, copies(segment, draft.count)[0])
        elif draft.inner is not None and isinstance(segment, str):
            draft = draft.inner.nodes.get(segment)
        else:
            return None
    return draft


def find_place(builder: Builder, scope: ScopeDraft, text: str, span: Span) -> tuple[Place, Env] | None:
    """The place that `same` or `like` names, as it is written, and the env it is read in."""
    names = [item for item in text.split(".") if not item.lstrip("-").isdigit()]
    around: dict[str, tuple[Place, Env]] = {}
    outer: ScopeDraft | None = scope
    found: tuple[Place, Env] | None = None
    while outer is not None and found is None:
        around = {**outer.places, **around}
        found = around.get(names[0]) if names else None
        outer = outer.outer
    for name in names[1:]:
        if found is None:
            break
        place, env = found
        inside = place.parts if place.parts is not None else place.graph.nodes if place.graph is not None else {}
        found = (inside[name], env) if name in inside else None
    if found is None:
        builder.say(Diagnostic("share-unknown", f"`{text}` names no node", span, help=did_you_mean(text, around) or "write the address of a node"))
    return found


def _unread(builder: Builder, scope: ScopeDraft, spec: GraphSpec) -> None:
    read = {edge.source for draft in scope.nodes.values() for edges in draft.edges.values() for edge in edges}
    read.update(scope.outputs.values())
    nodes = {ref.node for ref in read} | builder.lost
    nodes.update(text.partition(".")[0] for _, _, text, _ in builder.later)
    nodes.update(text.partition(".")[0] for _, _, _, text, _ in builder.tied)
    quiet = any(draft.broken for draft in scope.nodes.values()) or not scope.outputs
    for name, draft in scope.nodes.items():
        if name not in nodes and not draft.cause and not quiet and not (draft.after and draft.after.node in nodes):
            builder.say(Diagnostic("node-unused", f"nobody reads `{name}`", draft.span.at(draft.path), label="not built", help="read it somewhere, give it out in `outputs`, or remove it"))
    for name, value in spec.inputs.items():
        if Ref("", name) not in read and name not in builder.lost and not quiet:
            builder.say(Diagnostic("input-unused", f"nothing reads the input `{name}`", value.key.at(f"inputs.{name}"), help="remove it, or feed it to a node"))
