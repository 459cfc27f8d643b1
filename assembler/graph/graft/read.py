"""What a graft reads: the value that an address names, brought into the scope where the graft stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assembler.graph.address import Segment, Slice, copies, parse_address
from assembler.graph.draft import ANY
from assembler.graph.feed import Feed
from assembler.graph.graft.place import Level, Target
from assembler.graph.graft.spec import Overlay
from assembler.graph.model import Edge, Ref
from assembler.graph.resolve import BROKEN, node_value, output, unknown
from assembler_schemas.diagnostic import Diagnostic

if TYPE_CHECKING:
    from assembler.graph.build import Builder


def read(builder: Builder, overlay: Overlay, target: Target, feed: Feed, host: Ref, name: str) -> Ref:
    """The value that an address of `read` names, brought into the scope where the graft stands.

    `*` means the copy in which the graft stands. `name`: of the inputs by which it comes in.
    """
    span = feed.span.at(f"{overlay.path}.read")
    segments = parse_address(feed.address)
    if isinstance(segments, str):
        builder.say(Diagnostic("address-unknown", f"{feed.address!r} is no address: {segments}", span, help="for example `encoder.1`"))
        return BROKEN
    if segments == overlay.pattern:
        return host
    depth, rest = common(target.levels, segments)
    if any(isinstance(item, Slice) for item in rest):
        builder.say(Diagnostic("address-many", f"`{feed.address}` names many values, and a graft reads one", span, help="`*` stands for the copy where the graft is written: begin `read` as `write` begins"))
        return BROKEN
    level = target.levels[depth]
    inside = target.levels[depth + 1].container if depth + 1 < len(target.levels) else None
    if not rest or (rest and inside is not None and rest[0] == inside.name):
        return _from_copy(builder, overlay, target, depth, rest, feed, name)
    first = str(rest[0])
    if len(rest) == 1 and first in level.scope.inputs:
        ref = Ref("", first)
    elif first in level.scope.nodes:
        ref = node_value(builder, level.scope.nodes[first], rest[1:], span)
    else:
        ref = unknown(builder, level.scope, feed.address, span)
    if ref.node == "?":
        return ref
    expert = next((level.container for level in target.levels[depth + 1 :] if level.container is not None and level.container.skipped), None)
    if expert is not None:
        builder.say(Diagnostic("graft-place", f"the graft `{overlay.name}` stands in the expert `{expert.name}`, which takes one value, and reads another, `{feed.address}`", span,
                               help="leave `read` out, or read what stands in the expert too"))  # fmt: skip
        return BROKEN
    return bring(target.levels, depth, ref, name, feed)


def common(levels: tuple[Level, ...], segments: tuple[Segment, ...]) -> tuple[int, tuple[Segment, ...]]:
    """How many of the levels an address goes down, and what of it is left."""
    depth, at = 0, 0
    for level in levels[1:]:
        assert level.container is not None
        if at + 1 >= len(segments) or segments[at] != level.container.name:
            break
        if level.run is not None and not level.container.share:
            chosen = copies(segments[at + 1], level.container.count)
            same = isinstance(segments[at + 1], Slice) or len(chosen) == level.stop - level.start == 1
            if not same or level.start not in chosen or level.stop - 1 not in chosen:
                break
            at += 1
        at += 1
        depth += 1
    return depth, segments[at:]


def _from_copy(builder: Builder, overlay: Overlay, target: Target, depth: int, rest: tuple[Segment, ...], feed: Feed, name: str) -> Ref:
    """What an earlier copy of the repeat around gives; anything else around is made of what is read."""
    span = feed.span.at(f"{overlay.path}.read")
    level = target.levels[depth + 1] if depth + 1 < len(target.levels) else None
    container = level.container if level is not None else None
    if level is None or container is None or not container.runs or container.share or len(rest) < 2 or not isinstance(rest[1], int):
        builder.say(Diagnostic("graph-cycle", f"the graft `{overlay.name}` stands inside `{feed.address}`, which it reads", span, help="read what comes before it, or an earlier copy: `encoder.1`"))
        return BROKEN
    if container.beside:
        builder.say(Diagnostic("graft-place", f"the graft `{overlay.name}` stands in one copy of `{container.name}` and reads another, which stands beside it", span,
                               help="read what comes before them, or what joins them"))  # fmt: skip
        return BROKEN
    chosen = copies(rest[1], container.count)
    if chosen and chosen[0] >= level.start:
        after = chosen[0] + 1
        mend = f"write it into later copies: `{container.name}.{after}`" if after < container.count else f"read an earlier copy, or write it behind `{container.name}`"
        builder.say(Diagnostic("graph-cycle", f"the graft `{overlay.name}` stands in copy {level.start} of `{container.name}` and reads copy {chosen[0]}, which comes later", span,
                               label="not there yet", help=mend))  # fmt: skip
        return BROKEN
    tap = output(builder, container, rest[1:], span)
    if not tap:
        return BROKEN
    port = _port(level, name, lambda taken: container.links.get(taken) == tap)
    container.links[port] = tap
    return bring(target.levels, depth + 1, Ref("", port), name, feed)


def bring(levels: tuple[Level, ...], depth: int, ref: Ref, name: str, feed: Feed) -> Ref:
    """A value of one level as an input of every level below it."""
    for level in levels[depth + 1 :]:
        container = level.container
        assert container is not None
        have = lambda taken, c=container, r=ref: any(edge.source == r for edge in c.edges.get(taken, ()))  # noqa: E731
        port = _port(level, name, have)
        container.edges[port] = [Edge(ref, feed.span)]
        ref = Ref("", port)
    return ref


def _port(level: Level, name: str, same: object) -> str:
    """A new input of a scope and of what holds it; one that is there already if it has the same value."""
    container = level.container
    assert container is not None
    while name in level.scope.nodes or name in level.scope.known or ((name in level.scope.inputs or name in container.ports) and not same(name)):  # type: ignore[operator]
        name += "_"
    level.scope.inputs[name] = container.ports[name] = ANY
    if level.run is not None:
        level.run.ports[name] = ANY
    return name
