"""A bus: residual streams, and parts that each read one and add to it, with heads and norms between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from assembler.graph.draft import STREAM, Draft, ScopeDraft
from assembler.graph.insert import insert
from assembler.graph.model import Edge, Ref
from assembler.graph.norms import norm_node
from assembler.graph.options import Field
from assembler.graph.resolve import part_value, take
from assembler.source.parse import did_you_mean
from assembler.source.recipe import Place
from assembler.source.tree import value_of
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.kind import Options

if TYPE_CHECKING:
    from assembler.graph.build import At, Builder


def lay(builder: Builder, inner: ScopeDraft, at: At, order: list[Place], options: Options, said: Mapping[str, object]) -> list[Draft]:
    """Parts that each read a stream and add to it: the first input, or the one that their `stream` names.

    `said`: what holds for all that we put in ourselves.
    """
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
            _heads(builder, inner, part, streams[name], options, said)
            streams[name] = _write(builder, inner, part, streams[name], said)
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
    add.edges["x"] = [Edge(stream, part.span), Edge(part_value(builder, part), part.span, follows=True)]
    result = Ref(add.name, add.main)
    if part.shared is not None and part.shared.norm == "post":
        norm = norm_node(builder, inner, f"{part.name}_post_norm", part.shared, f"post norm of {part.address}", part)
        if not norm.broken:
            norm.edges["x"] = [Edge(result, part.span)]
            result = Ref(norm.name, norm.main)
    return result
