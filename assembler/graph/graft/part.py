"""A graft's part: drafted in the host's scope, fed, with the norms at its boundary."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from assembler.graph import wire
from assembler.graph.draft import Draft
from assembler.graph.feed import Feed
from assembler.graph.graft.place import Target
from assembler.graph.graft.read import read
from assembler.graph.graft.silent import Plan, silence
from assembler.graph.graft.spec import Overlay
from assembler.graph.model import Edge, Ref
from assembler.graph.norms import norm_node
from assembler.graph.resolve import BROKEN
from assembler.graph.shared import Shared
from assembler.source.parse import did_you_mean
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.build import At, Builder


def draft_part(builder: Builder, overlay: Overlay, target: Target, origin: Ref, plan: Plan, at: At) -> Draft | None:
    """The graft's part in the host's scope, fed, with its norms (`after`: where it is read)."""
    level = target.level
    inherited = {key: item for key, item in level.inherited.items() if key not in ("freeze", "norm")}
    address = f"{level.scope.address}.{overlay.name}" if level.scope.address else overlay.name
    # What the host inherits, the part does too, but for `freeze`: a host is frozen so that the graft learns.
    here = at._replace(address=address, path=(*level.path, overlay.name), counts=(*level.counts, 0), inherited=inherited)
    part = builder.node(replace(overlay.spec.part, name=overlay.name), level.scope, here)
    if part.broken or not _whole(builder, overlay, part):
        return None
    norm_kind = overlay.norm_kind or inherited.get("norm_kind")
    said = {key: item for key, item in (part.shared.said if part.shared else {}).items() if key in ("dtype", "seed")}
    shared = Shared(norm=overlay.norm, norm_kind=norm_kind, said=said)
    if overlay.norm in ("pre", "both"):
        norm = norm_node(builder, level.scope, f"{part.name}_pre_norm", shared, f"pre norm of graft {overlay.name}", part)
        if norm.broken:
            return None
        part.reads = norm.name
        part.edges[part.first] = [Edge(Ref(norm.name, norm.main), part.span)]
    _feed(builder, overlay, target, part, origin)
    if part.broken:
        return None
    value = part.after or Ref(part.name, part.main)
    if overlay.norm in ("out", "both"):
        norm = norm_node(builder, level.scope, f"{part.name}_out_norm", shared, f"out norm of graft {overlay.name}", part)
        if norm.broken:
            return None
        norm.edges["x"] = [Edge(value, part.span)]
        part.after = Ref(norm.name, norm.main)
    return part if silence(builder, overlay, target, part, plan) else None


def _whole(builder: Builder, overlay: Overlay, part: Draft) -> bool:
    """Whether a part has what a graft needs of it: an input to read by, and one main output."""
    span = part.span.at(part.path)
    losses = [name for name, port in part.gives.items() if port.loss]
    if not part.main or not part.ports:
        builder.say(Diagnostic("port-ambiguous", f"the part of `{overlay.name}` has no {'main output' if part.ports else 'input'}", span, help="a graft reads one value and gives one"))
    elif losses:
        builder.say(Diagnostic("unsupported", f"the part of `{overlay.name}` has a loss of its own, `{losses[0]}`: a graft does not collect it", span, help="make the part a node of the recipe"))
    elif "from" in overlay.spec.part.fields:
        builder.say(Diagnostic("place-conflict", f"the part of `{overlay.name}` has `from`: what it reads, the graft says", overlay.spec.part.fields["from"].key.at(part.path), help=f"write `read: ...` at `{overlay.name}`"))
    else:
        return True
    return False


def _feed(builder: Builder, overlay: Overlay, target: Target, part: Draft, origin: Ref) -> None:
    """Feed every port that `read` names (nothing: the host's value to the first), then what else is missing."""
    scope = target.level.scope
    entries = overlay.reads.entries or {"": [Feed(overlay.write.address, overlay.span("write"))]}
    for label, feeds in entries.items():
        port = label or part.first
        if port not in part.ports:
            builder.say(Diagnostic("port-unknown", f"the part of `{overlay.name}` has no input `{port}`", overlay.reads.keys.get(label, Span()).at(f"{overlay.path}.read"), label="no such port",
                                   help=did_you_mean(port, part.ports) or f"its inputs are {', '.join(f'`{name}`' for name in part.ports)}"))  # fmt: skip
            part.broken = True
            continue
        if len(feeds) > 1 and not part.ports[port].many:
            builder.say(Diagnostic("place-conflict", f"`{port}` of the part of `{overlay.name}` takes one value, not {len(feeds)}", feeds[1].span.at(f"{overlay.path}.read"), help="join them first: `kind: add`, `kind: concat`"))
            part.broken = True
            continue
        for feed in feeds:
            ref = read(builder, overlay, target, feed, origin, f"{overlay.name}_{port}")
            if ref.node == BROKEN.node:
                part.broken = True
            else:
                wire.connect(builder, scope, part, port, feed, [ref])
    if not part.broken:
        part.path = overlay.spec.part.path
        wire.complete(builder, scope, part)
