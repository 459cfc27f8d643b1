"""What a slot accepts: the ports that whatever fills it must keep, by name here, by type in `checks/slots.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.model import Accepted
from assembler.graph.place import Resolved
from assembler.source.parse import did_you_mean
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Port

if TYPE_CHECKING:
    from assembler.graph.build import Builder

FORM = 'for example `accepts: {in: {x: "[... d]"}, out: {"y": "[... d]"}}`'


def keep(builder: Builder, resolved: Resolved, draft: Draft, scope: ScopeDraft) -> None:
    """Hold a slot's filler against the names of the ports that the slot accepts; note their types."""
    found = scope.env.slot(resolved.slot)
    if found is None or found[0].accepts is None:
        return
    slot, env = found
    path = f"slots.{slot.name}.accepts"
    filler = resolved.fields["kind"][0].span if "kind" in resolved.fields else slot.span
    for side, has, what in (("in", draft.ports, "has no input"), ("out", draft.gives, "gives no")):
        for name, value in _side(builder, slot.accepts, side, path).items():
            stated = builder.port_type(value, env, f"{path}.{side}.{name}")
            if name not in has:
                builder.say(Diagnostic(
                    "slot-mismatch", f"what fills the slot `{slot.name}` {what} `{name}`", filler, label=f"{what} `{name}`",
                    related=(Note(f"the slot `{slot.name}` keeps it", value.key),),
                    help=did_you_mean(name, has) or f"fill the slot with something that has `{name}`, or take `{name}` out of `accepts`",
                ))  # fmt: skip
            elif stated is not None:
                port = Port(str(stated), optional=True)
                builder.accepted.append(Accepted(slot.name, draft.address, side, name, port, value.span, filler))


def _side(builder: Builder, accepts: Value | None, side: str, path: str) -> Mapping[str, Value]:
    if accepts is None or not isinstance(accepts.data, dict):
        if accepts is not None and side == "in":
            builder.say(Diagnostic("value-type", "`accepts` is a mapping of ports", accepts.span.at(path), help=FORM))
        return {}
    if side == "in":
        for key, value in accepts.items():
            if key not in ("in", "out"):
                builder.say(Diagnostic("unknown-key", f"`accepts` has no key `{key}`", value.key.at(f"{path}.{key}"), help="it has `in` and `out`"))
    stated = accepts.get(side)
    if stated is None:
        return {}
    if not isinstance(stated.data, dict):
        builder.say(Diagnostic("value-type", f"`{side}` of `accepts` maps ports to types", stated.span.at(f"{path}.{side}"), help=FORM))
        return {}
    return stated.data
