"""Wiring: every address becomes an edge inside one scope, passed through borders where it crosses them."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from assembler.graph.circle import cut_circles
from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.feed import Feed
from assembler.graph.insert import ask, insert
from assembler.graph.model import Edge, Ref, new_edge, new_ref
from assembler.graph.resolve import BROKEN, LATER, LOSSES, resolve_many, take
from assembler.source.parse import did_you_mean
from assembler.source.recipe import GraphSpec
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic, Edit, Fix, Note
from assembler_schemas.kind import Port
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.build import Builder


def wire(builder: Builder, scope: ScopeDraft) -> None:
    """Feed every node of a scope; circles are said and cut."""
    waiting = [(draft, port, feed) for draft in list(scope.nodes.values()) for port, feed in _feeds(builder, draft)]
    while waiting:
        left = []
        for draft, port, feed in waiting:
            ref = _plain_value(scope, feed.address)
            if ref is not None:
                if feed.detach or feed.adapt is not None or draft.reads or draft.sees:
                    connect(builder, scope, draft, port, feed, [ref])
                    continue
                edge = new_edge((ref, feed.span, False, False))
                if port in draft.edges:
                    draft.edges[port].append(edge)
                else:
                    draft.edges[port] = [edge]
                continue
            refs = resolve_many(builder, scope, feed.address, feed.span.at(f"{draft.path}.from"))
            if LATER in refs:
                left.append((draft, port, feed))
                continue
            if len(refs) > 1 and not draft.ports[port].many:
                builder.say(Diagnostic("address-many", f"`{feed.address}` names {len(refs)} values, and `{port}` of `{draft.name}` takes one", feed.span.at(f"{draft.path}.from"),
                                       help="join them first: `kind: add`, `kind: concat`; or write one copy's number"))  # fmt: skip
                draft.broken = True
                continue
            connect(builder, scope, draft, port, feed, refs)
        if len(left) == len(waiting):
            for draft, _, feed in left:
                builder.say(Diagnostic("graph-cycle", f"`{feed.address}` is an input that only leads back to itself", feed.span.at(f"{draft.path}.from")))
                draft.broken = True
            break
        waiting = left
    for draft in list(scope.nodes.values()):
        if not (draft.broken or _fed(draft)):
            complete(builder, scope, draft)
    cut_circles(builder, scope)


def _plain_value(scope: ScopeDraft, address: str) -> Ref | None:
    """The value of a node or an input that is called by its bare name, where nothing is to be said of it."""
    draft = scope.nodes.get(address)
    if draft is None:
        return Ref("", address) if address in scope.inputs else None
    if draft.broken or not draft.main:
        return None
    return draft.after or new_ref((address, draft.main))


def _feeds(builder: Builder, draft: Draft) -> list[tuple[str, Feed]]:
    """Which port each feed of a node goes to."""
    found: list[tuple[str, Feed]] = []
    entries, ports = draft.feeds.entries, draft.ports
    if draft.broken or not entries:
        return []
    if len(entries) == 1 and "" in entries and ports:
        first, feeds = next(iter(ports)), entries[""]
        if len(feeds) == 1 or ports[first].many:
            return [(first, feed) for feed in feeds]
    first_label = next(iter(entries))
    join = len(ports) == 1 and next(iter(ports.values())).many
    container = draft.kind is not None and draft.kind.container and draft.kind.name != "graph"
    for label, feeds in entries.items():
        port = label
        if container and label == first_label and label in (tunnels := _tunnels(draft)):
            builder.say(Diagnostic("name-taken", f"`{label}` is the stream of `{draft.name}`, and a part reads the `{label}` outside by that name", draft.feeds.keys.get(label, draft.span).at(f"{draft.path}.from.{label}"),
                                   related=(Note("read here", tunnels[label][1]),), help=f"call the stream `x`, `from: {{x: ...}}`: then `x` is the stream as it stands there, and `{label}` what is outside"))  # fmt: skip
            draft.misfed = True
        stream = container and label == first_label and draft.first not in entries  # By whatever name, unless its own is said too.
        if label == "" or ((stream or join) and label not in ports):
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
    builder.lost.update(feed.address.partition(".")[0] for feed in draft.feeds.entries.get(label, ()))
    if label == "":
        builder.say(Diagnostic("port-unknown", f"`{draft.name}` takes no input", span, help="remove `from`"))
    elif container:
        if broken_inside(draft):
            return  # what is broken may be what takes it
        inner = [node.inner for _, node in draft.runs] or [draft.inner]
        by_slot = any(scope.fed_by_slot for scope in inner if scope)
        code = "input-unreached-slot" if by_slot else "port-unreached"
        builder.say(Diagnostic(code, f"nothing inside `{draft.name}` takes an input `{label}`", span, label="reaches nobody",
                               help="a part takes it by the name of its port, or renames it: `from: {port: " + label + "}`"))  # fmt: skip
    else:
        shown = ", ".join(f"`{name}`: {port.type or 'any'}" for name, port in draft.ports.items())
        builder.say(Diagnostic("port-unknown", f"`{draft.name}` has no input `{label}`", span, label="no such port",
                               help=(did_you_mean(label, draft.ports) + " " if did_you_mean(label, draft.ports) else "") + f"its inputs are {shown or 'none'}"))  # fmt: skip
        draft.misfed = True


def broken_inside(draft: Draft) -> bool:
    """Whether something of a container is broken, at any depth, so that its ports are not all known."""
    todo = [draft]
    while todo:
        here = todo.pop()
        if here.broken:
            return True
        todo.extend(node for _, node in here.runs)
        if here.inner is not None:
            todo.extend(here.inner.nodes.values())
    return False


def connect(builder: Builder, scope: ScopeDraft, draft: Draft, port: str, feed: Feed, refs: list[Ref]) -> None:
    target, name = (scope.nodes[draft.reads], "x") if draft.reads and port == draft.first else (draft, port)
    for ref in refs:
        if ref == BROKEN:
            draft.broken = target.broken = True
            continue
        ref = draft.sees.get(ref, ref)
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


def _fed(draft: Draft) -> bool:
    """Whether it is said of every input what feeds it."""
    return not draft.reads and len(draft.edges) >= len(draft.ports) and [] not in draft.edges.values()


def complete(builder: Builder, scope: ScopeDraft, draft: Draft) -> None:
    """What the recipe leaves unsaid: the place's own stream, inputs passed by name; then what is missing."""
    for name, port in list(draft.ports.items()):
        target, into = (scope.nodes[draft.reads], "x") if name == draft.first and draft.reads else (draft, name)
        if target.edges.get(into):
            continue
        if name == draft.first and draft.implicit is not None:
            target.edges[into] = [Edge(draft.implicit, draft.span)]
        elif name in scope.offered and draft.part:
            ref = take(scope, name)
            target.edges[into] = [Edge(draft.sees.get(ref, ref), draft.span)]
        elif name in _tunnels(draft):
            address, span = _tunnels(draft)[name]
            target.edges[into] = [Edge(draft.sees.get(ref, ref), span) for ref in resolve_many(builder, scope, address, span) if ref is not BROKEN]
        elif not port.optional and not draft.misfed and (draft.feeds.entries or draft.cause == "") and not draft.cause:
            _unfed(builder, scope, draft, name, port)


def _unfed(builder: Builder, scope: ScopeDraft, draft: Draft, name: str, port: Port) -> None:
    around = islice((item for item in chain(scope.inputs, scope.nodes) if item != draft.name), 4)
    many = "at least one value" if port.many else f"a value of type {port.type}" if port.type else "a value"
    builder.say(Diagnostic("port-required", f"nothing feeds `{name}` of `{draft.name}`", draft.span.at(draft.path), label=f"`{name}` wants {many}",
                           help=f"write `from: ...`, an address such as {', '.join(f'`{item}`' for item in around)}" if name == draft.first else f"write `from: {{{draft.first}: ..., {name}: ...}}`"))  # fmt: skip
    draft.broken = True


def _tunnels(draft: Draft) -> dict[str, tuple[str, Span]]:
    if draft.inner is not None:
        return draft.inner.tunnels
    found: dict[str, tuple[str, Span]] = {}
    for _, node in draft.runs:
        if node.inner is not None:
            found.update(node.inner.tunnels)
    return found


# --- outputs and losses ---
def outputs(builder: Builder, scope: ScopeDraft, spec: GraphSpec) -> None:
    """A graph's named outputs."""
    path = f"{spec.path}." if spec.path else ""
    for name, value in spec.outputs.items():
        if not isinstance(value.data, str):
            builder.say(Diagnostic("missing-value" if value.data is None else "value-type", f"the output `{name}` {'has no value' if value.data is None else f'is {value.plain()!r}, where an address is wanted'}", (value.key if value.data is None else value.span).at(f"{path}outputs.{name}"),
                                   help="write the name of a node"))  # fmt: skip
            continue
        refs = resolve_many(builder, scope, value.data, value.span.at(f"{path}outputs.{name}"))
        if len(refs) > 1:
            builder.say(Diagnostic("address-many", f"`{value.data}` names {len(refs)} values where one is wanted", value.span.at(f"{path}outputs.{name}"), help="join them first: `kind: concat`"))
            continue
        scope.outputs[name] = BROKEN if refs[0] == LATER else refs[0]
        if value.data == LOSSES:
            scope.losses[name] = None
    plain = [name for name in scope.outputs if name not in scope.losses]
    scope.main = plain[0] if len(plain) == 1 else ""
    collect(builder, scope)


def collect(builder: Builder, scope: ScopeDraft) -> None:
    """Sum the loss ports that nobody reads: into `losses` where it is asked for, else out of the group."""
    quiet: set[int] = set()
    """Outputs without a loss, by identity: leaves that are alike share theirs."""
    unread: list[Ref] = []
    for draft in scope.nodes.values():
        if draft.broken or id(draft.gives) in quiet:
            continue
        losses = [Ref(draft.name, port) for port, given in draft.gives.items() if given.loss]
        if losses:
            unread += losses
        else:
            quiet.add(id(draft.gives))
    if unread:
        read = {edge.source for draft in scope.nodes.values() for edges in draft.edges.values() for edge in edges}
        read.update(scope.outputs.values())
        unread = [ref for ref in unread if ref not in read]
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
        builder.lost.update(ref.node for ref in unread)
        builder.say(Diagnostic("loss-uncollected", f"the loss `{node.name}.{unread[0].port}` reaches no output", node.span.at(node.path), label="not trained on",
                               help="add the output `aux_loss: losses`", fix=_collecting(builder.outputs)))  # fmt: skip


def _collecting(outputs: Value | None) -> Fix | None:
    """One more line in `outputs`, in the style of the others."""
    if outputs is None or not isinstance(outputs.data, dict) or not outputs.data:
        return None
    first, last = (list(outputs.data.values())[i] for i in (0, -1))
    if not outputs.span.file or outputs.span.override is not None or last.span.override is not None or last.span.file != outputs.span.file:
        return None
    flow = (outputs.span.line, outputs.span.column) != (first.key.line, first.key.column)
    end = last.span._replace(line=last.span.end_line, column=last.span.end_column)
    return Fix((Edit(end, ", aux_loss: losses" if flow else f"\n{' ' * (first.key.column - 1)}aux_loss: losses"),))
