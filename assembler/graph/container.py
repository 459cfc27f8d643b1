"""Containers unfold here: bus, sequence, parallel, and the kinds whose parts stand under keys of their own."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, get_args

from assembler.graph import bus, init, wire
from assembler.graph.draft import ANY, STREAM, Draft, ScopeDraft
from assembler.graph.insert import insert
from assembler.graph.model import Edge, Ref
from assembler.graph.options import Field, choose
from assembler.graph.place import Resolved
from assembler.graph.resolve import part_value, take
from assembler.graph.shared import Shared
from assembler.source.parse import did_you_mean
from assembler.source.recipe import Place
from assembler.source.wording import listed
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Options

if TYPE_CHECKING:
    from assembler.graph.build import At, Builder

PARTS: Mapping[str, tuple[str, ...]] = {"moe": ("expert", "experts", "shared", "router"), "route": ("router", "parts"), "compete": ("selector", "parts")}
"""Keys that hold parts, of the kinds whose parts are not all under `parts`."""
EVEN = frozenset({"add", "multiply", "mean", "median"})
"""Joins that give what they take, however many it is."""


def ordered(parts: Mapping[str, Place], say: Callable[[Diagnostic], None]) -> list[Place]:
    """The parts as written, moved where `before` and `after` say."""
    if not any("before" in place.fields or "after" in place.fields for place in parts.values()):
        return list(parts.values())
    names = list(parts)
    fixed = [name for name in names if "before" not in parts[name].fields and "after" not in parts[name].fields]
    needs: dict[str, set[str]] = {name: set() for name in names}
    for one, two in pairwise(fixed):
        needs[two].add(one)
    for name, place in parts.items():
        for word in ("before", "after"):
            value = place.fields.get(word)
            if value is None:
                continue
            other = str(value.data)
            if other not in parts:
                say(Diagnostic("address-unknown", f"there is no part `{other}` here", value.span.at(f"{place.path}.{word}"), help=did_you_mean(other, names)))
                continue
            needs[other if word == "before" else name].add(name if word == "before" else other)
            if word == "after" and other in fixed and fixed.index(other) + 1 < len(fixed):
                needs[fixed[fixed.index(other) + 1]].add(name)
            elif word == "before" and other in fixed and fixed.index(other) > 0:
                needs[name].add(fixed[fixed.index(other) - 1])
    try:
        return [parts[name] for name in graphlib.TopologicalSorter(needs).static_order()]
    except graphlib.CycleError as error:
        circle = [name for name in error.args[1][:-1] if {"before", "after"} & parts[name].fields.keys()]
        words = [(parts[name], word) for name in circle for word in ("before", "after") if word in parts[name].fields]
        say(Diagnostic("order-conflict", f"`before` and `after` lead in a circle: {' -> '.join(error.args[1])}",
                       words[0][0].fields[words[0][1]].span.at(f"{words[0][0].path}.{words[0][1]}"),
                       related=tuple(Note("and here", place.fields[word].span) for place, word in words[1:4]), help="remove one of them"))  # fmt: skip
        return list(parts.values())


def fill(builder: Builder, draft: Draft, resolved: Resolved, shared: Shared, scope: ScopeDraft, at: At, offered: frozenset[str]) -> None:
    """The inside of a container."""
    parts, mixture = resolved.parts or {}, resolved.kind.name in PARTS
    if not parts and not mixture:
        builder.say(Diagnostic("missing-key", f"`{draft.name}` has no parts", draft.span.at(draft.path), help="write `parts: {name: {kind: ...}}`"))
        draft.broken = True
        return
    held = PARTS.get(resolved.kind.name, ("parts",))
    fields = {key: item for key, item in resolved.fields.items() if key not in held or not isinstance(item[0].data, dict)}
    chosen = choose(resolved.kind, fields, draft.path, draft.name, builder.say)
    inner = ScopeDraft(at.address, resolved.env, scope, {STREAM: ANY}, frozenset() if mixture else offered, known=frozenset(parts), policy=scope.policy)
    builder.nested.append(inner)
    draft.inner = inner
    inner.places = {name: (place, resolved.env) for name, place in parts.items()}
    order = ordered(parts, builder.say) if resolved.kind.name in ("sequence", "bus") else list(parts.values())
    is_bus = resolved.kind.name == "bus"
    if is_bus and shared.norm is not None:
        at = _with(at, norm=resolved.fields.get("norm") or at.inherited.get("norm"))
    else:
        at = _with(at, norm=None)
    if chosen is None:
        draft.broken = True
        for place in () if mixture else order:
            builder.node(place, inner, at.below(place.name), in_bus=is_bus)  # for what is wrong with the parts too
        return
    if mixture:
        from assembler.graph import sparse

        drafts = sparse.unfold(builder, draft, resolved, inner, at, chosen.options, _inherited(at))
        if draft.broken:
            return
        wire.wire(builder, inner)
        sparse.one_input(builder, draft, drafts)
    else:
        drafts = _dense(builder, resolved, inner, at, order, chosen.options)
        wire.wire(builder, inner)
    wire.collect(builder, inner)
    draft.ports = dict(inner.inputs)
    draft.broken = all(part.broken for part in drafts) and len(drafts) > 0
    draft.give()
    scope.fed_by_slot |= inner.fed_by_slot
    builder.weigh(draft)


def _dense(builder: Builder, resolved: Resolved, inner: ScopeDraft, at: At, order: list[Place], options: Options) -> list[Draft]:
    """The parts of a sequence, a bus or a parallel, and what they come to."""
    if resolved.kind.name == "bus":
        return bus.lay(builder, inner, at, order, options, _inherited(at))
    members = getattr(options, "members", None)
    stream = Ref("", STREAM)
    drafts = []
    for place in order:
        part = builder.node(place, inner, at.below(place.name), beside=members)
        part.part = True
        part.implicit = stream
        drafts.append(part)
        if resolved.kind.name == "sequence":
            stream = part_value(builder, part)
    if resolved.kind.name == "parallel":
        stream = _join(builder, inner, drafts, resolved, _inherited(at))
    inner.outputs = {"y": stream}
    inner.main = "y"
    return drafts


def _with(at: At, norm: Field | None) -> At:
    inherited = {key: item for key, item in at.inherited.items() if key != "norm"}
    if norm is not None:
        inherited["norm"] = norm
    return at._replace(inherited=inherited)


def _inherited(at: At) -> dict[str, object]:
    """What holds for all that stands inside, what we put there included: adapters take it from the node they serve."""
    said: dict[str, object] = {}
    item = at.inherited.get("freeze")
    if item is not None and (item[1].find(item[0].data) if isinstance(item[0].data, str) else item[0].data) is True:
        said["freeze"] = True
    weights = init.weights_of(at.inherited.get("init"))
    if weights is not None and (modes := init.Reader(lambda _: None, "").read(weights)):
        said["init"] = modes
    for key in ("dtype", "seed"):
        item = at.inherited.get(key)
        value = None if item is None else item[0].data
        if item is not None and value is not None:
            found = item[1].find(value) if isinstance(value, str) else None
            said[key] = value if found is None else found
    return said


def _join(builder: Builder, inner: ScopeDraft, parts: list[Draft], resolved: Resolved, said: Mapping[str, object]) -> Ref:
    """The node that makes one value of what the parts give: all into its `many` port, or one into each port."""
    from assembler.library.cards.contain import Join

    item = resolved.fields.get("join")
    span = item[0].span if item is not None else resolved.place.span
    options: dict[str, Field] = {}
    if item is not None and isinstance(item[0].data, dict):
        options = {key: (value, item[1]) for key, value in item[0].data.items() if key != "kind"}
    data = item[0].data if item is not None else "add"
    named = data.get("kind") if isinstance(data, dict) else None
    data = named.data if named is not None else data
    word = item[1].find(data) if item is not None and isinstance(data, str) else None
    kind = str(word if isinstance(word, str) else data)
    if kind not in (known := get_args(Join)):
        builder.say(Diagnostic("unknown-kind", f"there is no join `{kind}`", span.at(f"{resolved.place.path}.join"), help=did_you_mean(kind, known) or f"the joins are {listed(known)}"))
        broken = inner.add(Draft(inner.free("join"), inner.address, span, broken=True))
        return Ref(broken.name, "")
    join = insert(builder, inner, "join", kind, options, f"join of {inner.address}", span, said)
    if join.broken:
        return Ref(join.name, "")
    values = [(ref, part) for part in parts for ref in (part.values if part.beside and not part.broken else [part_value(builder, part)])]
    many = next((name for name, port in join.ports.items() if port.many), None)
    if many is not None:
        join.edges[many] = [Edge(ref, part.span) for ref, part in values]
    elif len(values) == len(join.ports):
        join.edges.update((port, [Edge(ref, part.span)]) for port, (ref, part) in zip(join.ports, values, strict=True))
    else:
        builder.say(Diagnostic("port-required", f"`{kind}` joins {len(join.ports)} values, and `{inner.address}` has {len(values)}", span.at(f"{resolved.place.path}.join"),
                               help=f"its ports are {listed(join.ports)}: one part for each, in this order"))  # fmt: skip
        join.broken = True
    if kind not in EVEN and any(part.broken for part in parts):
        join.broken = True  # How many it joins, and how wide they are together, nobody knows.
        return Ref(join.name, "")
    if "query" in join.ports:
        join.edges["query"] = [Edge(Ref("", STREAM), span)]
    if "scores" in join.ports:
        join.edges["scores"] = [Edge(take(inner, "scores"), span)] if "scores" in inner.offered else []
        if not join.edges["scores"]:
            builder.say(Diagnostic("port-required", f"`{kind}` chooses by scores, and nothing feeds them to `{inner.address}`", span.at(f"{resolved.place.path}.join"),
                                   help="name them beside the stream: `from: {x: ..., scores: ...}`"))  # fmt: skip
            join.broken = True
    return Ref(join.name, join.main)
