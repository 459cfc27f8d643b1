"""Wiring: every address becomes an edge inside one scope, passed through borders where it crosses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from assembler.graph.address import Slice, copies, is_pattern, parse_address
from assembler.graph.draft import ANY, Draft, ScopeDraft
from assembler.graph.env import Env
from assembler.graph.feed import Feed
from assembler.graph.insert import ask, insert
from assembler.graph.model import Edge, Ref
from assembler.source.parse import did_you_mean
from assembler.source.recipe import GraphSpec, Place
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Port
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.build import Builder

LOSSES = "losses"
BROKEN = Ref("?", "")
"""Stands for a value whose fault is already said."""
LATER = Ref("?", "later")
"""Stands for an input port that is not wired yet."""


# --- one scope ---
def wire(builder: Builder, scope: ScopeDraft) -> None:
    """Feed every node of a scope; circles are said and cut."""
    waiting = [(draft, port, feed) for draft in list(scope.nodes.values()) for port, feed in _feeds(builder, draft)]
    while waiting:
        left = []
        for draft, port, feed in waiting:
            refs = resolve_many(builder, scope, feed.address, feed.span.at(f"{draft.path}.from"))
            if LATER in refs:
                left.append((draft, port, feed))
                continue
            _connect(builder, scope, draft, port, feed, refs)
        if len(left) == len(waiting):
            for draft, _, feed in left:
                builder.say(Diagnostic("graph-cycle", f"`{feed.address}` is an input that only leads back to itself", feed.span.at(f"{draft.path}.from")))
                draft.broken = True
            break
        waiting = left
    for draft in list(scope.nodes.values()):
        if not draft.broken:
            _complete(builder, scope, draft)
    _circles(builder, scope)


def _feeds(builder: Builder, draft: Draft) -> list[tuple[str, Feed]]:
    """Which port each feed of a node goes to."""
    found: list[tuple[str, Feed]] = []
    if draft.broken:
        return []
    first_label = next(iter(draft.feeds.entries), "")
    ports = draft.ports
    join = len(ports) == 1 and next(iter(ports.values())).many
    container = draft.kind is not None and draft.kind.container and draft.kind.name != "graph"
    for label, feeds in draft.feeds.entries.items():
        port = label
        if label == "" or (container and label == first_label and label not in ports) or (join and label not in ports):
            port = draft.first
        if port not in ports:
            _no_port(builder, draft, label, container)
            continue
        if len(feeds) > 1 and not ports[port].many:
            builder.say(Diagnostic("place-conflict", f"`{port}` of `{draft.name}` takes one value, not {len(feeds)}", feeds[1].span.at(f"{draft.path}.from"),
                                   help="join them first: `kind: add`, `kind: concat`"))  # fmt: skip
        found.extend((port, feed) for feed in feeds)
    return found


def _no_port(builder: Builder, draft: Draft, label: str, container: bool) -> None:
    span = draft.feeds.keys.get(label, draft.span).at(f"{draft.path}.from.{label}")
    if label == "":
        builder.say(Diagnostic("port-unknown", f"`{draft.name}` takes no input", span, help="remove `from`"))
    elif container:
        inner = [node.inner for _, node in draft.runs if node.inner] or [draft.inner]
        by_slot = any(scope.fed_by_slot for scope in inner if scope)
        code = "input-unreached-slot" if by_slot else "port-unreached"
        builder.say(Diagnostic(code, f"nothing inside `{draft.name}` takes an input `{label}`", span, label="reaches nobody",
                               help="a part takes it by the name of its port, or renames it: `from: {port: " + label + "}`"))  # fmt: skip
    else:
        shown = ", ".join(f"`{name}`: {port.type or 'any'}" for name, port in draft.ports.items())
        builder.say(Diagnostic("port-unknown", f"`{draft.name}` has no input `{label}`", span, label="no such port",
                               help=(did_you_mean(label, draft.ports) + " " if did_you_mean(label, draft.ports) else "") + f"its inputs are {shown or 'none'}"))  # fmt: skip


def _connect(builder: Builder, scope: ScopeDraft, draft: Draft, port: str, feed: Feed, refs: list[Ref]) -> None:
    target, name = (scope.nodes[draft.reads], "x") if port == draft.first and draft.reads else (draft, port)
    for ref in refs:
        if ref == BROKEN:
            draft.broken = target.broken = True
            continue
        if feed.detach:
            cut = insert(builder, scope, f"{draft.name}_{port}_detach", "detach", {}, f"detach: true on {draft.address}.{port}", feed.span)
            cut.edges[cut.first] = [Edge(ref, feed.span)]
            ref = Ref(cut.name, cut.main)
        if feed.adapt is not None:
            adapter = ask(builder, scope, draft, port, feed)
            if adapter is None:
                draft.broken = True
                continue
            adapter.edges[adapter.first] = [Edge(ref, feed.span)]
            ref = Ref(adapter.name, adapter.main)
        target.edges.setdefault(name, []).append(Edge(ref, feed.span))


def _complete(builder: Builder, scope: ScopeDraft, draft: Draft) -> None:
    """What the recipe leaves unsaid: the place's own stream, inputs passed by name; then what is missing."""
    for name, port in list(draft.ports.items()):
        target, into = (scope.nodes[draft.reads], "x") if name == draft.first and draft.reads else (draft, name)
        if target.edges.get(into):
            continue
        if name == draft.first and draft.implicit is not None:
            target.edges[into] = [Edge(draft.implicit, draft.span)]
        elif name in scope.offered and draft.part:
            target.edges[into] = [Edge(take(scope, name), draft.span)]
        elif name in _tunnels(draft):
            address, span = _tunnels(draft)[name]
            target.edges[into] = [Edge(ref, span) for ref in resolve_many(builder, scope, address, span) if ref is not BROKEN]
        elif not port.optional and (draft.feeds.entries or draft.cause == "") and not draft.cause:
            _unfed(builder, scope, draft, name, port)


def _unfed(builder: Builder, scope: ScopeDraft, draft: Draft, name: str, port: Port) -> None:
    around = [*scope.inputs, *(other for other in scope.nodes if other != draft.name)]
    many = "at least one value" if port.many else f"a value of type {port.type}" if port.type else "a value"
    builder.say(Diagnostic("port-required", f"nothing feeds `{name}` of `{draft.name}`", draft.span.at(draft.path), label=f"`{name}` wants {many}",
                           help=f"write `from: ...`, an address such as {', '.join(f'`{item}`' for item in around[:4])}" if name == draft.first else f"write `from: {{{draft.first}: ..., {name}: ...}}`"))  # fmt: skip
    draft.broken = True


def _tunnels(draft: Draft) -> dict[str, tuple[str, Span]]:
    if draft.inner is not None:
        return draft.inner.tunnels
    found: dict[str, tuple[str, Span]] = {}
    for _, node in draft.runs:
        if node.inner is not None:
            found.update(node.inner.tunnels)
    return found


def take(scope: ScopeDraft, name: str) -> Ref:
    """A container's input that a part uses by name."""
    scope.inputs.setdefault(name, ANY)
    scope.taken[name] = None
    return Ref("", name)


def _circles(builder: Builder, scope: ScopeDraft) -> None:
    """Say each circle once, at an edge of it, and cut it."""
    while circle := _circle(scope):
        names = " -> ".join([*circle, circle[0]])
        edge = next(edge for edges in scope.nodes[circle[0]].edges.values() for edge in edges if edge.source.node == circle[-1])
        notes = tuple(
            Note(f"`{name}` reads `{source}`", e.span)
            for source, name in zip(circle, circle[1:], strict=False)
            for edges in scope.nodes[name].edges.values()
            for e in edges
            if e.source.node == source
        )  # fmt: skip
        builder.say(Diagnostic("graph-cycle", f"nodes feed one another in a circle: {names if len(circle) < 12 else f'{len(circle)} nodes from `{circle[0]}` to `{circle[-1]}`'}",
                               edge.span.at(f"{scope.nodes[circle[0]].path}.from"), label=f"`{circle[0]}` reads `{circle[-1]}`", related=notes[:8],
                               help="cut one of these edges; for copies in a row write `repeat: n`"))  # fmt: skip
        for port, edges in scope.nodes[circle[0]].edges.items():
            scope.nodes[circle[0]].edges[port] = [e for e in edges if e.source.node != circle[-1]]
        for name in circle:
            scope.nodes[name].broken = True


def _circle(scope: ScopeDraft) -> list[str]:
    """One circle among a scope's nodes (each feeds the next), or nothing."""
    seen: set[str] = set()
    for name, draft in scope.nodes.items():
        if any(edge.source.node and edge.source.node not in seen for edges in draft.edges.values() for edge in edges):
            break
        seen.add(name)
    else:
        return []
    needs = scope.needs()
    done: set[str] = set()
    for root in needs:
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack: list[tuple[str, list[str]]] = [(root, sorted(needs[root]))] if root not in done else []
        if stack:
            path, on_path = [root], {root: 0}
        while stack:
            name, left = stack[-1]
            if not left:
                stack.pop()
                done.add(name)
                path.pop()
                del on_path[name]
                continue
            source = left.pop()
            if source in on_path:
                return list(reversed(path[on_path[source] :]))
            if source in done or source not in needs:
                continue
            on_path[source] = len(path)
            path.append(source)
            stack.append((source, sorted(needs[source])))
    return []


# --- addresses ---
def resolve_many(builder: Builder, scope: ScopeDraft, text: str, span: Span) -> list[Ref]:
    """The values that an address or a pattern names; one that is wrong is said and BROKEN."""
    if text in scope.nodes:
        return [_node_value(builder, scope.nodes[text], (), span)]
    if text in scope.inputs:
        return [Ref("", text)]
    segments = parse_address(text)
    if isinstance(segments, str):
        builder.say(Diagnostic("address-unknown", f"{text!r} is no address: {segments}", span, help="an address is names joined by dots: `encoder.3.think`"))
        return [BROKEN]
    first = segments[0]
    if not isinstance(first, str):
        return [_unknown(builder, scope, text, span)]
    draft = scope.nodes.get(first)
    if draft is not None:
        if is_pattern(segments):
            return _pattern(builder, draft, segments[1:], text, span)
        return [_node_value(builder, draft, segments[1:], span)]
    if len(segments) == 1 and first in scope.offered:
        return [take(scope, first)]
    if text == LOSSES:
        return [_losses(builder, scope, span)]
    if _known_outside(scope, first):
        return [_tunnel(scope, text, span)]
    return [_unknown(builder, scope, text, span)]


def _known_outside(scope: ScopeDraft, name: str) -> bool:
    outer = scope.outer
    while outer is not None:
        if name in outer.known or name in outer.nodes or name in outer.inputs or name in outer.offered:
            return True
        outer = outer.outer
    return False


def _tunnel(scope: ScopeDraft, text: str, span: Span) -> Ref:
    name = text.replace(".", "_").replace("-", "m")
    while name in scope.inputs and scope.tunnels.get(name, ("", span))[0] != text:
        name += "_"
    scope.inputs[name] = ANY
    scope.tunnels[name] = (text, span)
    return Ref("", name)


def _unknown(builder: Builder, scope: ScopeDraft, text: str, span: Span) -> Ref:
    around = [*scope.inputs, *scope.nodes]
    outer = scope.outer
    while outer is not None:
        around.extend([*outer.inputs, *outer.known])
        outer = outer.outer
    close = did_you_mean(text.split(".")[0], around)
    shown = ", ".join(f"`{item}`" for item in around[:8])
    builder.say(Diagnostic("address-unknown", f"`{text}` names nothing here", span, label="unknown address", help=close or (f"there is {shown}" if shown else "")))
    return BROKEN


def _node_value(builder: Builder, draft: Draft, rest: tuple[str | int | Slice, ...], span: Span) -> Ref:
    """The value that an address below one node names."""
    if draft.broken:
        return BROKEN
    port = output(builder, draft, rest, span)
    if port is None:
        return BROKEN
    if port == "" and rest:
        edges = draft.edges.get(str(rest[0])) or ()
        return edges[0].source if edges else LATER
    if draft.after is not None and port == draft.main:
        return draft.after
    return Ref(draft.name, port)


def output(builder: Builder, draft: Draft, rest: tuple[str | int | Slice, ...], span: Span) -> str | None:
    """The output port of a draft that `rest` names, passed out of what is inside where needed.

    None after saying what is wrong; "" where `rest` is one of its input ports.
    """
    if not rest:
        if draft.main:
            return draft.main
        _ambiguous(builder, draft, span)
        return None
    head = rest[0]
    if draft.runs:
        if isinstance(head, int):
            return _copy_output(builder, draft, head, rest[1:], span)
        if head not in draft.gives and isinstance(head, str) and head not in draft.ports:
            builder.say(Diagnostic("address-many", f"`{draft.name}` has {draft.count} copies: which one?", span,
                                   help=f"write the copy's number: `{draft.name}.{draft.count - 1}.{head}`, or `-1` for the last"))  # fmt: skip
            return None
    elif isinstance(head, int):
        builder.say(Diagnostic("address-unknown", f"`{draft.name}` has no copies", span, help="leave the number out, or write `repeat: n` there"))
        return None
    if len(rest) == 1 and isinstance(head, str):
        if head in draft.gives:
            return head
        if head in draft.ports:
            return ""
    if draft.inner is not None and isinstance(head, str) and head in draft.inner.nodes:
        return _export(builder, draft, rest, span)
    shown = ", ".join(f"`{name}`" for name in [*draft.gives, *(draft.inner.nodes if draft.inner else ())])
    builder.say(Diagnostic("port-unknown", f"`{draft.name}` has no output `{'.'.join(map(str, rest))}`", span, label="no such output",
                           help=did_you_mean(str(head), [*draft.gives, *draft.ports]) or f"it gives {shown}"))  # fmt: skip
    return None


def _copy_output(builder: Builder, draft: Draft, index: int, rest: tuple[str | int | Slice, ...], span: Span) -> str | None:
    chosen = copies(index, draft.count)
    if not chosen:
        builder.say(Diagnostic("address-unknown", f"`{draft.name}` has no copy {index}", span, help=f"its copies go from 0 to {draft.count - 1}"))
        return None
    at, start = chosen[0], 0
    for count, node in draft.runs:
        if at < start + count:
            port = output(builder, node, rest, span)
            if port is None or port == "":
                return None if port is None else _no_copy_input(builder, draft, span)
            draft.taps[f"{at}.{port}"] = None
            return f"{at}.{port}"
        start += count
    return None


def _no_copy_input(builder: Builder, draft: Draft, span: Span) -> None:
    builder.say(Diagnostic("address-unknown", f"the inputs of a copy of `{draft.name}` cannot be read", span, help="read the output of the copy before it"))


def _export(builder: Builder, draft: Draft, rest: tuple[str | int | Slice, ...], span: Span) -> str | None:
    """An inner value becomes one more output of the group."""
    assert draft.inner is not None
    ref = _node_value(builder, draft.inner.nodes[str(rest[0])], rest[1:], span)
    if ref in (BROKEN, LATER):
        return None
    name = ".".join(map(str, rest))
    draft.inner.outputs[name] = ref
    draft.gives[name] = Port("")
    return name


def _ambiguous(builder: Builder, draft: Draft, span: Span) -> None:
    names = list(draft.gives)
    builder.say(Diagnostic("port-ambiguous", f"`{draft.name}` has {len(names)} outputs, and none is the main one", span,
                           help=f"write one of {', '.join(f'`{draft.name}.{name}`' for name in names)}"))  # fmt: skip


def _pattern(builder: Builder, draft: Draft, rest: tuple[str | int | Slice, ...], text: str, span: Span) -> list[Ref]:
    """Every value that a pattern below one node names, in order."""
    found: list[tuple[str | int | Slice, ...]] = [()]
    here: list[Draft | None] = [draft]
    for segment in rest:
        following, nodes = [], []
        for prefix, node in zip(found, here, strict=True):
            if node is not None and node.runs and isinstance(segment, (int, Slice)):
                picked: list[tuple[str | int, Draft | None]] = [(i, _copy(node, i)) for i in copies(segment, node.count)]
            elif isinstance(segment, Slice):
                inner = node.inner if node is not None else None
                picked = [(name, item) for name, item in inner.nodes.items() if not item.cause] if inner is not None else []
            else:
                picked = [(segment, node.inner.nodes.get(str(segment)) if node is not None and node.inner is not None else None)]
            following.extend((*prefix, key) for key, _ in picked)
            nodes.extend(item for _, item in picked)
        found, here = following, nodes
    if not found:
        builder.say(Diagnostic("address-unknown", f"`{text}` names nothing", span))
        return [BROKEN]
    return [_node_value(builder, draft, path, span) for path in found]


def _copy(draft: Draft, index: int) -> Draft:
    for count, node in draft.runs:
        if index < count:
            return node
        index -= count
    raise IndexError(index)


# --- outputs and losses ---
def outputs(builder: Builder, scope: ScopeDraft, spec: GraphSpec) -> None:
    """A graph's named outputs."""
    path = f"{spec.path}." if spec.path else ""
    for name, value in spec.outputs.items():
        if not isinstance(value.data, str):
            builder.say(Diagnostic("missing-value" if value.data is None else "value-type", f"the output `{name}` is an address", (value.key if value.data is None else value.span).at(f"{path}outputs.{name}"),
                                   help="write the name of a node"))  # fmt: skip
            continue
        refs = resolve_many(builder, scope, value.data, value.span.at(f"{path}outputs.{name}"))
        if len(refs) > 1:
            builder.say(Diagnostic("address-many", f"`{value.data}` names {len(refs)} values where one is wanted", value.span.at(f"{path}outputs.{name}"), help="join them first: `kind: concat`"))
            continue
        if refs[0] in (BROKEN, LATER):
            continue
        scope.outputs[name] = refs[0]
        if value.data == LOSSES:
            scope.losses[name] = None
    plain = [name for name in scope.outputs if name not in scope.losses]
    scope.main = plain[0] if len(plain) == 1 else ""
    collect(builder, scope)


def _losses(builder: Builder, scope: ScopeDraft, span: Span) -> Ref:
    draft = scope.nodes.get(LOSSES)
    if draft is None:
        draft = insert(builder, scope, LOSSES, "no_loss", {}, "the sum of all losses", span)
    return Ref(draft.name, draft.main)


def collect(builder: Builder, scope: ScopeDraft) -> None:
    """Sum the loss ports that nobody reads: into `losses` where it is asked for, else out of the group."""
    read = {edge.source for draft in scope.nodes.values() for edges in draft.edges.values() for edge in edges}
    read.update(scope.outputs.values())
    unread = [Ref(draft.name, port) for draft in scope.nodes.values() if not draft.broken for port, given in draft.gives.items() if given.loss and Ref(draft.name, port) not in read]
    wanted = scope.nodes.get(LOSSES)
    if wanted is not None:
        if not unread:
            return
        del scope.nodes[LOSSES]
        total = insert(builder, scope, LOSSES, "loss_sum", {}, "the sum of all losses", wanted.span)
        total.edges[total.first] = [Edge(ref, wanted.span) for ref in unread]
    elif unread and scope.address:
        total = insert(builder, scope, LOSSES, "loss_sum", {}, f"the sum of the losses in {scope.address}", Span())
        total.edges[total.first] = [Edge(ref) for ref in unread]
        scope.outputs[LOSSES] = Ref(total.name, total.main)
        scope.losses[LOSSES] = None
    elif unread:
        node = scope.nodes[unread[0].node]
        builder.say(Diagnostic("loss-uncollected", f"the loss `{node.name}.{unread[0].port}` reaches no output", node.span.at(node.path),
                               help="add the output `aux_loss: losses`"))  # fmt: skip


# --- after everything stands ---
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
            draft = _copy(draft, copies(segment, draft.count)[0])
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
    nodes = {ref.node for ref in read}
    quiet = any(draft.broken for draft in scope.nodes.values()) or not scope.outputs
    for name, draft in scope.nodes.items():
        if name not in nodes and not draft.cause and not quiet and not (draft.after and draft.after.node in nodes):
            builder.say(Diagnostic("node-unused", f"nobody reads `{name}`", draft.span.at(draft.path), label="not built", help="read it somewhere, give it out in `outputs`, or remove it"))
    for name, value in spec.inputs.items():
        if Ref("", name) not in read and not quiet:
            builder.say(Diagnostic("input-unused", f"nothing reads the input `{name}`", value.key.at(f"inputs.{name}"), help="remove it, or feed it to a node"))
