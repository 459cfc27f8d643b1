"""Containers unfold here: bus, sequence, parallel, copies in a row, and norms at boundaries."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

from assembler.graph import init, wire
from assembler.graph.draft import ANY, Draft, ScopeDraft
from assembler.graph.insert import insert
from assembler.graph.model import Edge, Ref
from assembler.graph.options import Field, choose
from assembler.graph.place import Resolved
from assembler.graph.resolve import no_main, take
from assembler.graph.shared import Shared
from assembler.library import entry_points, registry
from assembler.source.parse import did_you_mean
from assembler.source.recipe import Place
from assembler.source.tree import value_of
from assembler.source.wording import listed
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Inline, Options, Port

if TYPE_CHECKING:
    from assembler.graph.build import At, Builder

PARTS: Mapping[str, tuple[str, ...]] = {"moe": ("expert", "experts", "shared", "router"), "route": ("router", "parts"), "compete": ("selector", "parts")}
"""Keys that hold parts, of the kinds whose parts are not all under `parts`."""
STREAM = "x"
"""A container's first input, whatever the label in `from`."""


# --- norms ---
def norms(builder: Builder, draft: Draft, shared: Shared, scope: ScopeDraft) -> None:
    """Norm nodes before and behind a node, as its `norm` says (`post` is the bus's business)."""
    if shared.norm in ("pre", "both") and draft.first in draft.ports and draft.ports[draft.first].many:
        builder.say(Diagnostic("norm-place", f"`norm: {shared.norm}` stands before one value, and `{draft.address}` joins several", draft.span.at(f"{draft.path}.norm"),
                               help="write `norm: out`, or give each of them a norm of its own"))  # fmt: skip
        return
    if shared.norm in ("pre", "both") and draft.kind is not None and not _is_bus(draft):
        before = norm_node(builder, scope, f"{draft.name}_pre_norm", shared, f"pre norm of {draft.address}", draft)
        draft.reads = before.name
        draft.edges[draft.first] = [Edge(Ref(before.name, before.main), draft.span)]
    if shared.norm in ("out", "both") and not draft.main:
        no_main(builder, draft, draft.span.at(draft.path), "cannot have a norm behind it")
    elif shared.norm in ("out", "both") and not _is_bus(draft):
        behind = norm_node(builder, scope, f"{draft.name}_out_norm", shared, f"out norm of {draft.address}", draft)
        if not behind.broken:
            behind.edges["x"] = [Edge(Ref(draft.name, draft.main), draft.span)]
            draft.after = Ref(behind.name, behind.main)


def _is_bus(draft: Draft) -> bool:
    return draft.kind is not None and draft.kind.name == "bus"


def norm_node(builder: Builder, scope: ScopeDraft, name: str, shared: Shared, cause: str, draft: Draft) -> Draft:
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


# --- parts in order ---
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
    if chosen is None:
        draft.broken = True
        return
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
    gives(draft)
    scope.fed_by_slot |= inner.fed_by_slot
    builder.weigh(draft)


def _dense(builder: Builder, resolved: Resolved, inner: ScopeDraft, at: At, order: list[Place], options: Options) -> list[Draft]:
    """The parts of a sequence, a bus or a parallel, and what they come to."""
    if resolved.kind.name == "bus":
        return _bus(builder, inner, at, order, options)
    members = getattr(options, "members", None)
    stream = Ref("", STREAM)
    drafts = []
    for place in order:
        part = builder.node(place, inner, at.below(place.name), beside=members)
        part.part = True
        part.implicit = stream
        drafts.append(part)
        if resolved.kind.name == "sequence":
            stream = _value(builder, part)
    if resolved.kind.name == "parallel":
        stream = _join(builder, inner, drafts, resolved, _inherited(at))
    inner.outputs = {"y": stream}
    inner.main = "y"
    return drafts


def _bus(builder: Builder, inner: ScopeDraft, at: At, order: list[Place], options: Options) -> list[Draft]:
    """Parts that each read a stream and add to it: the first input, or the one that their `stream` names."""
    streams = {STREAM: Ref("", STREAM)}
    drafts = []
    for place in order:
        part = builder.node(place, inner, at.below(place.name), in_bus=True)
        part.part = True
        drafts.append(part)
        name = _stream(builder, inner, place, part, streams)
        part.implicit = streams[name]
        part.sees = {Ref("", other): here for other, here in streams.items() if (other != STREAM or name != STREAM) and here != Ref("", other)}
        if not part.broken:
            _heads(builder, inner, part, streams[name], options, _inherited(at))
            streams[name] = _write(builder, inner, part, streams[name], _inherited(at))
    inner.streams = tuple(name for name in streams if name != STREAM)
    inner.outputs = {"y": streams.pop(STREAM), **streams}
    inner.main = "y"
    return drafts


def _stream(builder: Builder, inner: ScopeDraft, place: Place, part: Draft, streams: dict[str, Ref]) -> str:
    """The stream that a part of a bus reads and writes; one that the bus has not is said."""
    item = part.shared.stream if part.shared is not None else place.fields.get("stream")
    if item is None:
        return STREAM
    name = item.data
    if isinstance(name, str) and name not in streams and name in inner.offered:
        streams[name] = take(inner, name)
    if isinstance(name, str) and name in streams:
        return name  # of a broken part too: what reads the stream is not at fault
    if part.broken:
        return STREAM
    part.broken = True
    builder.say(Diagnostic("address-unknown", f"`{name}` is no stream of this bus" if isinstance(name, str) else f"`stream` names an input of the bus, not {item.plain()!r}", item.span.at(f"{part.path}.stream"),
                           label="no such stream", help=did_you_mean(str(name), inner.offered) or f"name what feeds it at the bus: `from: {{x: ..., {name if isinstance(name, str) else 'z'}: ...}}`"))  # fmt: skip
    return STREAM


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


def _heads(builder: Builder, inner: ScopeDraft, part: Draft, stream: Ref, options: Any, said: Mapping[str, object]) -> None:
    """Linear maps between a bus and its part: in front of it behind its `pre` norm, and last of all on the way back."""

    def head(word: str, fields: Mapping[str, Field], more: Mapping[str, object], source: Ref) -> Ref:
        node = insert(builder, inner, f"{part.name}_{word}", "linear", fields, f"{word} head of {part.address}", part.span, {**said, **more})
        node.edges["x"] = [Edge(source, part.span)]
        return Ref(node.name, node.main)

    if options.read is not None and not {"", part.first} & part.feeds.entries.keys():
        before = Ref(part.reads, inner.nodes[part.reads].main) if part.reads else stream
        part.edges[part.first] = [Edge(head("read", {"out": (value_of(options.read, part.span), inner.env)}, {}, before), part.span)]
    if options.write is not None and part.main:
        start = {"init": {**said.get("init", {}), "write": "zero"}} if options.write == "zero" else {}  # type: ignore[dict-item]
        part.after = head("write", {}, start, part.after or Ref(part.name, part.main))


def _write(builder: Builder, inner: ScopeDraft, part: Draft, stream: Ref, said: Mapping[str, object]) -> Ref:
    """A bus part's write: stream + part, and a norm behind the add where it is `post`."""
    if part.kind is not None and part.kind.name == "bus":
        builder.say(Diagnostic("bus-in-bus", f"`{part.name}` is a bus directly inside a bus: the stream would be counted twice", part.span.at(part.path),
                               help="write `kind: sequence`, or move its parts into the outer bus"))  # fmt: skip
    add = insert(builder, inner, f"{part.name}_add", "add", {}, f"write of {part.address}", part.span, said)
    add.edges["x"] = [Edge(stream, part.span), Edge(_value(builder, part), part.span, follows=True)]
    result = Ref(add.name, add.main)
    if part.shared is not None and part.shared.norm == "post":
        norm = norm_node(builder, inner, f"{part.name}_post_norm", part.shared, f"post norm of {part.address}", part)
        if not norm.broken:
            norm.edges["x"] = [Edge(result, part.span)]
            result = Ref(norm.name, norm.main)
    return result


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
    values = [(ref, part) for part in parts for ref in (part.values if part.beside and not part.broken else [_value(builder, part)])]
    many = next((name for name, port in join.ports.items() if port.many), None)
    if many is not None:
        join.edges[many] = [Edge(ref, part.span) for ref, part in values]
    elif len(values) == len(join.ports):
        join.edges.update((port, [Edge(ref, part.span)]) for port, (ref, part) in zip(join.ports, values, strict=True))
    else:
        builder.say(Diagnostic("port-required", f"`{kind}` joins {len(join.ports)} values, and `{inner.address}` has {len(values)}", span.at(f"{resolved.place.path}.join"),
                               help=f"its ports are {listed(join.ports)}: one part for each, in this order"))  # fmt: skip
        join.broken = True
    if "query" in join.ports:
        join.edges["query"] = [Edge(Ref("", STREAM), span)]
    if "scores" in join.ports:
        join.edges["scores"] = [Edge(take(inner, "scores"), span)] if "scores" in inner.offered else []
        if not join.edges["scores"]:
            builder.say(Diagnostic("port-required", f"`{kind}` chooses by scores, and nothing feeds them to `{inner.address}`", span.at(f"{resolved.place.path}.join"),
                                   help="name them beside the stream: `from: {x: ..., scores: ...}`"))  # fmt: skip
            join.broken = True
    return Ref(join.name, join.main)


def _value(builder: Builder, part: Draft) -> Ref:
    """What a part gives on. Behind a broken one nothing is known: it is not as if it did not stand there."""
    if not part.main and not part.broken:
        no_main(builder, part, part.span.at(part.path), "cannot be a part")
        part.broken = True
    return part.after or Ref(part.name, part.main)


def gives(draft: Draft) -> None:
    """What a group gives out: its scope's outputs."""
    assert draft.inner is not None
    draft.gives = {name: Port("", loss=name in draft.inner.losses) for name in draft.inner.outputs}
    draft.main = draft.inner.main


# --- copies ---
def copy_of(builder: Builder, resolved: Resolved, shared: Shared, scope: ScopeDraft, at: At, offered: frozenset[str], called: bool = False) -> Draft:
    """One copy of a repeat. A leaf with norms becomes a group that holds both; a container holds its own.

    `called`: it must be a module of its own, because what it stands in calls it.
    """
    if resolved.kind.container or (shared.norm not in ("pre", "out", "both") and not (called and _gives_no_value(resolved))):
        copy = builder.single(resolved, shared, scope, at, offered)
        if copy.inner is not None and not copy.broken and not _is_bus(copy):
            _norms_inside(builder, copy, copy.inner, shared, resolved.module)
        return copy
    inner = ScopeDraft(at.address, resolved.env, scope, policy=scope.policy)
    builder.nested.append(inner)
    within = replace(resolved, place=replace(resolved.place, name=resolved.module))  # One more use holds what its module does.
    leaf = builder.single(within, shared, inner, at.below(resolved.module), offered)
    group = Draft(resolved.place.name, at.address, resolved.place.span, kind=registry.kind("graph"), inner=inner, broken=leaf.broken, path=leaf.path)
    inner.add(leaf)
    if leaf.broken:
        return group
    norms(builder, leaf, shared, inner)
    inner.inputs = {name: Port("", optional=port.optional) for name, port in leaf.ports.items()}
    for port in leaf.ports:
        edge = Edge(Ref("", port), leaf.span)
        if port == leaf.first and leaf.reads:
            inner.nodes[leaf.reads].edges["x"] = [edge]
            leaf.edges[port] = [Edge(Ref(leaf.reads, inner.nodes[leaf.reads].main), leaf.span)]
        else:
            leaf.edges[port] = [edge]
    leaf.reads = ""
    inner.outputs = {"y": leaf.after or Ref(leaf.name, leaf.main)}
    inner.main = "y"
    wire.collect(builder, inner)
    group.ports = dict(inner.inputs)
    gives(group)
    builder.weigh(group)
    return group


def _gives_no_value(resolved: Resolved) -> bool:
    """Whether a leaf is no module that gives one value: an expression, or one with outputs beside (of one that is wrong, it does not matter)."""
    chosen = choose(resolved.kind, resolved.fields, resolved.place.path, resolved.place.name, lambda _: None)
    return chosen is None or isinstance(chosen.definition.build, Inline) or len(chosen.definition.outputs) > 1


def _norms_inside(builder: Builder, copy: Draft, inner: ScopeDraft, shared: Shared, name: str) -> None:
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


def _hand_on(draft: Draft) -> None:
    """What one copy writes beside its main stream the next one takes; a copy that does not write it hands it on as it is."""
    copies = [node.inner for _, node in draft.runs if node.inner is not None and not node.broken]
    draft.streams = tuple(dict.fromkeys(name for inner in copies for name in inner.streams))
    for name in draft.streams:
        draft.ports.setdefault(name, ANY)
    for _, node in draft.runs:
        if node.inner is not None and not node.broken:
            for name in draft.streams:
                if name not in node.inner.outputs:
                    node.inner.outputs[name] = take(node.inner, name)
                    node.ports.setdefault(name, ANY)
                    gives(node)


def join_runs(builder: Builder, draft: Draft, resolved: Resolved) -> None:
    """A repeat's ports: those of all its runs together; its outputs: those of the last, and every run's losses."""
    for _, node in draft.runs:
        draft.ports.update(node.ports)
    first, chosen = next(iter(draft.ports), ""), draft.runs[0][1].chosen
    if first and draft.ports[first].many and (chosen is None or not isinstance(chosen.definition.build, Inline)):
        draft.ports[first] = draft.ports[first]._replace(many=False)  # As a module, each copy takes what the one before it gives.
    _hand_on(draft)
    last = draft.runs[-1][1]
    losses = {name: port for _, node in draft.runs for name, port in node.gives.items() if port.loss}
    draft.gives, draft.main = {**last.gives, **losses}, last.main
    builder.weigh(draft)
    if not draft.main:
        no_main(builder, draft, draft.span.at(draft.path), "cannot be repeated")
        draft.broken = True
