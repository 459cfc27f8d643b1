"""What fills a slot: where it stands, and the ports that `accepts` says it keeps. `checks/slots.py` holds it against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.model import Accepted, Kept
from assembler.graph.place import Resolved
from assembler.source.parse import did_you_mean
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.kind import Port

if TYPE_CHECKING:
    from assembler.graph.build import Builder

FORM = 'for example `accepts: {in: {x: "[... d]"}, out: {"y": "[... d]"}}`'


def stands(builder: Builder, resolved: Resolved, address: str) -> None:
    """Note where the fillers stand of the slots that lead to this place, one to the next."""
    for path in resolved.hops[1:]:
        builder.filled.setdefault(path, {})[address] = None


def keep(builder: Builder, resolved: Resolved, draft: Draft, scope: ScopeDraft) -> None:
    """Note the ports that the slot keeps, beside those that its filler has."""
    stands(builder, resolved, draft.address)
    found = scope.env.slot(resolved.slot)
    if found is None or found[0].accepts is None:
        return
    slot, env = found
    path = f"slots.{slot.name}.accepts"
    ports = []
    for side in ("in", "out"):
        for name, value in _side(builder, slot.accepts, side, path).items():
            stated = builder.port_type(value, env, f"{path}.{side}.{name}")
            if stated is not None:
                ports.append(Kept(side, name, Port(str(stated), optional=True), value.span if value.span.line else value.key))
    if ports:
        filler = resolved.fields["kind"][0].span if "kind" in resolved.fields else slot.span
        builder.accepted.append(Accepted(slot.name, draft.address, tuple(ports), filler, dict(draft.ports), dict(draft.gives)))


def _side(builder: Builder, accepts: Value | None, side: str, path: str) -> Mapping[str, Value]:
    if accepts is None or not isinstance(accepts.data, dict):
        if accepts is not None and side == "in":
            builder.say(Diagnostic("value-type", "`accepts` is a mapping of ports", accepts.span.at(path), help=FORM))
        return {}
    if side == "in":
        for key, value in accepts.items():
            if key not in ("in", "out"):
                builder.say(Diagnostic("unknown-key", f"`accepts` has no key `{key}`", value.key.at(f"{path}.{key}"), help=did_you_mean(key, ("in", "out")) or "it has `in` and `out`"))
    stated = accepts.get(side)
    if stated is None:
        return {}
    if not isinstance(stated.data, dict):
        builder.say(Diagnostic("value-type", f"`{side}` of `accepts` maps ports to types", stated.span.at(f"{path}.{side}"), help=FORM))
        return {}
    return stated.data
