"""Grafts inside a kind (LoRA on `attend.q`): whether one can stand there, and what it puts in.

It ends as parameters and steps in the host's definition (`splice.py`); the module is a `GraftedLinear`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from assembler.graph.address import parse_address
from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.feed import Feed
from assembler.graph.graft.place import Placed, Target
from assembler.graph.graft.read import common
from assembler.graph.graft.silent import LEARN, Plan, eye, factor, planned
from assembler.graph.graft.spec import Overlay
from assembler.graph.graft.splice import Map, Maps, Parts, Splice
from assembler.graph.insert import insert
from assembler.graph.model import Ref
from assembler.graph.norms import norm_node
from assembler.graph.shared import Shared
from assembler.source.tree import value_of
from assembler_schemas.diagnostic import Diagnostic

if TYPE_CHECKING:
    from assembler.graph.build import At, Builder

RESERVED = frozenset({"weight", "bias", "branches", "replaced", "into", "in_features", "out_features", "reset_parameters"})
"""What a linear map has already: no graft inside it can be called so."""
UNSAID = ("from", "repeat", "norm", "seed", "dtype", "tie", "same", "like")
"""Keys that a part inside a kind does not have."""
ONE = "inside a kind a part is one module with one input and one output: `kind: low_rank`, `linear`, `mlp`"


def graft_inside(builder: Builder, overlay: Overlay, target: Target, at: At, maps: Maps, beside: bool) -> None:
    """Put a graft into the host's definition, or say why it cannot stand there. `beside`: it needs no order beside the one before it."""
    place = maps.at(target.port)
    if place is None:
        builder.say(Diagnostic("graft-place", f"`{target.shown}` is no linear map over the last axis: no graft can stand in it", overlay.span("write"), help="write the graft onto the node"))
        return
    finding = next(_findings(overlay, target, place), None)
    if finding is not None:
        builder.say(finding)
        return
    plan = planned(builder, overlay, target, Ref("", ""), [], frozenset())
    parts = _parts(builder, overlay, target, at, place, plan) if plan is not None else None
    if parts is None:
        return
    mode = overlay.form if overlay.mode == "gate" else overlay.mode
    splice = Splice(place, overlay.name, mode, "x" if _own_input(overlay, target) else "y", bool(place.branches) and not beside)
    wrong = splice.run(parts)
    if wrong:
        builder.say(Diagnostic("graft-place", f"the part of `{overlay.name}` cannot stand inside `{target.shown}`: {wrong}", overlay.spec.part.span.at(overlay.spec.part.path), help=ONE))
        return
    place.take(splice)
    branch = splice.branch
    nodes = tuple(f"{target.port}.{name}" for name, _ in branch.modules)
    inside = target.draft.name if target.draft is not None else ""
    builder.grafted.append(Placed(overlay, target, Ref("", branch.host), Ref("", branch.value), ("", "", 0), nodes, inside))


def _own_input(overlay: Overlay, target: Target) -> bool:
    """Whether a graft reads what its map reads, and not what it gives."""
    return any(_reads(target, feed) == "x" for feeds in overlay.reads.entries.values() for feed in feeds)


def _reads(target: Target, feed: Feed) -> str | None:
    """Whether an address of `read` is the map's own input ("x") or output ("y"); None: neither."""
    segments = parse_address(feed.address)
    depth, rest = common(target.levels, segments) if not isinstance(segments, str) else (-1, ())
    single = target.level.run is not None and target.level.run.inner is None
    own = (target.port,) if single or target.draft is None else (target.draft.name, target.port)
    if depth != len(target.levels) - 1 or rest[: len(own)] != own:
        return None
    left = rest[len(own) :]
    return "y" if not left else "x" if left == ("x",) else None


# --- what cannot stand there ---
def _findings(overlay: Overlay, target: Target, place: Map) -> Iterator[Diagnostic]:
    """What there is no room for inside a kind; the first is said."""
    spec, where = overlay.spec, target.shown.rpartition(".")[0]
    feeds = [feed for feeds in overlay.reads.entries.values() for feed in feeds]
    if overlay.mode == "concat":
        yield Diagnostic("graft-place", f"`{target.shown}` gives as many channels as `{where}` takes there: a concat would give more", overlay.span("mode"), help="write `mode: add` or `mode: blend`, or write the graft onto the node")
    if overlay.norm == "post" and not overlay.demand:  # a demand is what `planned` refuses, as outside
        yield Diagnostic("norm-place", "`norm: post` stands after the merge, and inside a kind there is no room for it", overlay.span("norm"), help=f"write `norm: out`, or a graft behind it that is the norm: `mode: replace, after: {spec.name}, part: {{kind: layer_norm}}`")
    if overlay.write.adapt is not None or any(feed.adapt or feed.detach for feed in feeds):
        yield Diagnostic("graft-place", "inside a kind no edge can be adapted or detached", overlay.span("write"), help="drop it: the part's widths follow the map's")
    if len(feeds) > 1 or (feeds and _reads(target, feeds[0]) is None) or any(label not in ("", "x") for label in overlay.reads.entries):
        yield Diagnostic("graft-place", f"inside a kind a graft reads what its map reads, not `{feeds[0].address}`", overlay.span("read"), help=f"write `read: {overlay.write.address}.x`")
    for key in UNSAID:
        if key in spec.part.fields:
            yield Diagnostic("graft-place", f"inside a kind a part has no `{key}` of its own", spec.part.fields[key].key.at(f"{spec.part.path}.{key}"), help="drop it; `read`, `norm` and `scale` stand at the graft")
    init = spec.part.fields.get("init")
    if init is not None and init.plain() not in ("zero", {"write": "zero"}):
        yield Diagnostic("graft-place", "inside a kind a part starts as its kind does, or at zero", init.span.at(f"{spec.part.path}.init"), help="write `init: zero`, or drop it")
    if overlay.mode == "replace" and _own_input(overlay, target):
        yield from _instead(overlay, target, place)


def _instead(overlay: Overlay, target: Target, place: Map) -> Iterator[Diagnostic]:
    """What goes on naming a map that is no more."""
    host = target.draft
    assert host is not None
    assert host.chosen is not None
    drop = f"drop `read`: the graft takes what `{target.shown}` gives"
    if place.branches:
        yield Diagnostic("graft-conflict", f"`{overlay.spec.name}` replaces what `{place.branches[-1].name}` makes at `{target.shown}`, and reads none of it", overlay.span("read"), help=drop)
    writes = any(card.writes and key.startswith(f"{target.port}.") for key, card in host.chosen.definition.parameters.items())
    mode = host.said.get("init", {}).get("write")
    if writes and mode:
        yield Diagnostic("place-conflict", f"`{target.shown}` is what starts as `{mode}`, and `{overlay.spec.name}` puts another map there", overlay.span("mode"), help=f"drop `init` of the node, or {drop}")


def _taken(overlay: Overlay, target: Target, place: Map, parts: Parts) -> Diagnostic | None:
    """Modules and values inside a map are called after its grafts: each name once."""
    drafts = [*parts.chain, *([parts.factor] if isinstance(parts.factor, Draft) else [])]
    name = next((name for name in (overlay.name, *(draft.name for draft in drafts)) if name in RESERVED or name in place.names), None)
    if name is None:
        return None
    return Diagnostic("name-taken", f"`{name}` is of this graft and something of `{target.shown}`", overlay.spec.span.at(overlay.spec.path), help="rename the graft")


# --- what it puts in ---
def _parts(builder: Builder, overlay: Overlay, target: Target, at: At, place: Map, plan: Plan) -> Parts | None:
    """The part with its norms, its factor and its gate, drafted in a scope of their own."""
    level, name = target.level, overlay.name
    scope = ScopeDraft(f"{target.draft.address}.{target.port}" if target.draft is not None else "", level.scope.env, policy="never")
    inherited = {key: item for key, item in level.inherited.items() if key == "norm_kind"}
    here = at._replace(address=f"{scope.address}.{name}", path=(*level.path, str(target.draft.name if target.draft else ""), target.port, name), counts=(*level.counts, 0, 0, 0), inherited=inherited)
    part = _module(builder, overlay, scope, here)
    if part is None:
        return None
    shared = Shared(norm_kind=overlay.norm_kind or inherited.get("norm_kind"))
    around = {word: norm_node(builder, scope, f"{name}_{word}_norm", shared, f"{word} norm of graft {name}", part) for word in ("pre", "out") if overlay.norm in (word, "both")}
    chain = [draft for draft in (around.get("pre"), part, around.get("out")) if draft is not None]
    start, learned = factor(overlay, plan)
    options = {"value": start, "learned": True, **({"channel": True} if overlay.scale.channel else {})}
    made = _ours(builder, overlay, scope, "scale", options) if learned else start
    gate = _ours(builder, overlay, scope, "gate", {"form": overlay.form}) if overlay.mode == "gate" else None
    found = Parts(tuple(chain), made, gate)
    if any(draft.broken for draft in (*chain, *(item for item in (made, gate) if isinstance(item, Draft)))) or not _starts(builder, overlay, part, around.get("out"), plan):
        return None
    taken = _taken(overlay, target, place, found)
    if taken is not None:
        builder.say(taken)
        return None
    return found


def _ours(builder: Builder, overlay: Overlay, scope: ScopeDraft, kind: str, options: Mapping[str, object]) -> Draft:
    span = overlay.scale.span if kind == "scale" else overlay.span("mode")
    fields = {key: (value_of(item, span), overlay.env) for key, item in options.items()}
    return insert(builder, scope, f"{overlay.name}_{kind}", kind, fields, f"{kind} of graft {overlay.name}", span)


def _module(builder: Builder, overlay: Overlay, scope: ScopeDraft, here: At) -> Draft | None:
    """The part by itself; None after saying why it is not one module with nothing of its own."""
    name = overlay.name
    claims = len(builder.tied) + len(builder.later) + len(builder.copied)
    part = builder.node(replace(overlay.spec.part, name=name), scope, here)
    if part.broken:
        return None
    wrong = [key for key in part.said if key in ("seed", "dtype") or (key == "init" and part.said[key] != {"write": "zero"})]
    if wrong or len(builder.tied) + len(builder.later) + len(builder.copied) > claims:
        # From a slot's filler or a rule; what the graft itself says is refused where it stands.
        what = wrong[0] if wrong else "tie"
        builder.say(Diagnostic("graft-place", f"inside a kind a part has no `{what}` of its own", part.span.at(part.path), help="it starts as its kind does, or at zero, in the dtype of its host"))
        return None
    if part.chosen is None or part.inner is not None or part.runs:
        builder.say(Diagnostic("graft-place", f"the part of `{name}` holds others: inside a kind a part is one module", part.span.at(part.path), help="write `kind: low_rank`, `linear`, `mlp`, or write the graft onto the node"))
        return None
    return part


def _starts(builder: Builder, overlay: Overlay, part: Draft, norm: Draft | None, plan: Plan) -> bool:
    """Let the part, or the norm behind it, start as the plan says."""
    if plan.form == "eye":
        return eye(builder, overlay, part)
    if plan.form not in ("write", "norm"):
        return True
    draft = norm or part
    assert draft.chosen is not None
    asked = part.said.get("init", {}).get("write")
    if norm is not None and asked == "zero":
        builder.say(Diagnostic("norm-after-zero", f"the part of `{overlay.name}` starts at zero in front of a norm: after one step the norm has it at full strength", part.span.at(part.path), help="drop the part's `init`: the norm's gain starts at 0 instead"))
        return False
    if not any(item.writes for item in draft.chosen.definition.parameters.values()):
        builder.say(Diagnostic("no-writing-layer", f"the part of `{overlay.name}` has no layer that could start at zero", part.span.at(part.path), help=LEARN))
        return False
    draft.said["init"] = {"write": "zero"}
    return True
