"""After every scope is wired: shared modules, ties, and what nobody reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from assembler.graph.address import copies, parse_address
from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.env import Env
from assembler.graph.model import Ref
from assembler.graph.resolve import BROKEN, copy_at
from assembler.graph.reuse import module, share
from assembler.source.parse import did_you_mean
from assembler.source.recipe import GraphSpec, Place
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.build import Builder


def finish(builder: Builder) -> None:
    """Chains that are too long, shared modules, ties, and what nobody reads."""
    builder.resolver.say_endless()
    for draft, where, text, span in builder.later:
        found = find_draft(where, text)
        if found is None:
            builder.say(Diagnostic("address-many", f"`{text}` names a part of many copies where one is wanted", span, help="write the copy's number between the names: `stack.0.think`"))
        if found is None or found.draft.broken:
            draft.broken = True
            continue
        share(builder, draft, found.draft, found.address, text, span)
    for draft, where, own, text, span, doubly in builder.tied:
        _tie(builder, draft, where, own, text, span, doubly)
    _tied_circles(builder)
    for draft, where, text, span in builder.copied:
        _copy(builder, draft, where, text, span)
    _unread(builder)


class Found(NamedTuple):
    """A draft that an address names, and its whole address: copies by their numbers."""

    draft: Draft
    address: str


def _tie(builder: Builder, draft: Draft, where: ScopeDraft, own: str, text: str, span: Span, doubly: Diagnostic | None) -> None:
    """`doubly`: what is to be said of a start of its own, once it is known that there is another."""
    if draft.broken or draft.chosen is None:
        return
    mine = draft.chosen.definition.parameters
    parameter, names = "", text.split(".")
    found = None
    for cut in range(len(names) - 1, 0, -1):
        found, parameter = find_draft(where, ".".join(names[:cut])), ".".join(names[cut:])
        if found is not None:
            break
    if own not in mine:
        builder.say(Diagnostic("share-unknown", f"`{draft.name}` has no parameter `{own}`", span, help=did_you_mean(own, mine) or f"it has {', '.join(mine) or 'none'}"))
        return
    if found is None:
        builder.say(Diagnostic("share-unknown", f"`{text}` names no parameter", span, help="write a node's address and its parameter: `embed.weight`"))
        return
    owner = found.draft
    if owner.broken:
        return
    theirs = owner.chosen.definition.parameters if owner.chosen is not None else {}
    if parameter not in theirs:
        text = text.removesuffix(f".{parameter}")
        builder.say(Diagnostic("share-unknown", f"`{text}` has no parameter `{parameter}`", span, help=did_you_mean(parameter, theirs) or f"it has {', '.join(theirs) or 'none of its own'}"))
        return
    draft.said["ties"] = {**draft.said.get("ties", {}), own: f"{module(found.draft, found.address)}.{parameter}"}
    if doubly is not None:
        builder.say(doubly)


def _copy(builder: Builder, draft: Draft, where: ScopeDraft, text: str, span: Span) -> None:
    """The node whose values another starts with: one leaf of the same kind."""
    if draft.broken or draft.kind is None:
        return
    found = find_draft(where, text)
    owner = found.draft if found is not None else None
    if found is None or owner is None:
        builder.say(Diagnostic("share-unknown", f"`{text}` names no node whose values could be copied", span, help="write the address of a node, for example `init: {copy: encoder.0.think}`"))
        return
    if owner.runs and owner.share:
        owner = owner.runs[0][1]
    if owner.broken:
        return
    if owner.runs:
        builder.say(Diagnostic("address-many", f"`{text}` names {owner.count} copies where one is wanted", span, help=f"write the copy's number: `init: {{copy: {text}.0}}`"))
    elif owner.kind is not draft.kind:
        builder.say(Diagnostic("init-copy", f"`{draft.name}` is a {draft.kind.name}, and `{text}` is {f'a {owner.kind.name}' if owner.kind else 'another kind'}", span,
                               related=(Note("this node", owner.span),), help="copy the values of a node of the same kind and sizes"))  # fmt: skip
    else:
        draft.said["init"] = {**draft.said["init"], "copy": module(found.draft, found.address)}


def _tied_circles(builder: Builder) -> None:
    """Ties that lead back to the parameter where they begin: nobody owns it."""
    leads: dict[str, tuple[str, Draft, str, Span]] = {}
    for draft, _, own, _, span, _ in builder.tied:
        target = draft.said.get("ties", {}).get(own)
        if target is not None:
            leads[f"{draft.address}.{own}"] = (target, draft, own, span)
    said: set[str] = set()
    for start in leads:
        path: list[str] = []
        here = start
        while here in leads and here not in path and here not in said:
            path.append(here)
            here = leads[here][0]
        if here in path:
            circle = path[path.index(here) :]
            builder.say(Diagnostic("share-cycle", f"ties lead in a circle: {' -> '.join([*circle, here])}", leads[here][3].at(f"{leads[here][1].path}.tie.{leads[here][2]}"),
                                   related=tuple(Note(f"`{name}` is tied here", leads[name][3]) for name in circle[1:4]), help="let one of them own the parameter: drop its `tie`"))  # fmt: skip
        said.update(path)


def find_draft(scope: ScopeDraft, text: str) -> Found | None:
    """The node that an address names, looked up outward; None where it names none, or parts of many copies."""
    segments = parse_address(text)
    if isinstance(segments, str):
        return None
    here: ScopeDraft | None = scope
    while here is not None and segments[0] not in here.nodes:
        here = here.outer
    if here is None:
        return None
    draft: Draft | None = here.nodes[str(segments[0])]
    address = draft.address if draft is not None else ""
    for segment in segments[1:]:
        if draft is not None and draft.runs and draft.share:
            draft = draft.runs[0][1]
            if isinstance(segment, int):
                continue
        if draft is not None and draft.runs and isinstance(segment, int) and copies(segment, draft.count):
            index = copies(segment, draft.count)[0]
            draft, address = copy_at(draft, index), f"{address}.{index}"
        elif draft is not None and draft.inner is not None and isinstance(segment, str):
            draft, address = draft.inner.nodes.get(segment), f"{address}.{segment}"
        else:
            return None
    return Found(draft, address) if draft is not None else None


def find_place(builder: Builder, scope: ScopeDraft, text: str, span: Span) -> tuple[Place, Env] | None:
    """The place that `same` or `like` names, as it is written, and the env it is read in.

    A copy's number means one copy: the place without its `repeat`.
    """
    around: dict[str, tuple[Place, Env]] = {}
    outer: ScopeDraft | None = scope
    found: tuple[Place, Env] | None = None
    names = text.split(".")
    while outer is not None and found is None:
        around = {**outer.places, **around}
        found = around.get(names[0])
        outer = outer.outer
    for name in names[1:]:
        if found is None:
            break
        place, env = found
        if name.lstrip("-").isdigit() and "repeat" in place.fields:
            fields = {key: value for key, value in place.fields.items() if key not in ("repeat", "share")}
            found = (replace(place, fields=fields), env)
            continue
        inside = place.parts if place.parts is not None else place.graph.nodes if place.graph is not None else {}
        found = (inside[name], env) if name in inside else None
    if found is None:
        builder.say(Diagnostic("share-unknown", f"`{text}` names no node", span, help=did_you_mean(text, around) or "write the address of a node"))
    return found


def _unread(builder: Builder) -> None:
    """Nodes and inputs that nobody reads at any of the places where their graph is used."""
    uses: dict[str, list[tuple[GraphSpec, ScopeDraft]]] = {}
    for spec, scope in builder.graphs:
        uses.setdefault(spec.path, []).append((spec, scope))
    for every in uses.values():
        if all(not any(draft.broken for draft in scope.nodes.values()) and scope.outputs and BROKEN not in scope.outputs.values() for _, scope in every):
            _unread_in(builder, every)


def _unread_in(builder: Builder, uses: Sequence[tuple[GraphSpec, ScopeDraft]]) -> None:
    read: set[Ref] = set()
    nodes = set(builder.lost)
    nodes.update(text.partition(".")[0] for _, _, text, _ in (*builder.later, *builder.copied))
    nodes.update(text.partition(".")[0] for _, _, _, text, _, _ in builder.tied)
    for _, scope in uses:
        read.update(edge.source for draft in scope.nodes.values() for edges in draft.edges.values() for edge in edges)
        read.update(scope.outputs.values())
    nodes.update(ref.node for ref in read)
    spec, scope = uses[0]
    for name, draft in scope.nodes.items():
        if name not in nodes and not draft.cause and not (draft.after and draft.after.node in nodes):
            builder.say(Diagnostic("node-unused", f"nobody reads `{name}`", draft.span.at(draft.path), label="not built", help="read it somewhere, give it out in `outputs`, or remove it"))
    path = f"{spec.path}." if spec.path else ""
    for name, value in spec.inputs.items():
        if Ref("", name) not in read and name not in builder.lost:
            builder.say(Diagnostic("input-unused", f"nothing reads the input `{name}`", value.key.at(f"{path}inputs.{name}"), help="remove it, or feed it to a node"))
