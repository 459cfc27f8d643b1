"""Addresses: which value of a scope a text names, passed through borders where it crosses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assembler.graph.address import Slice, copies, is_pattern, parse_address
from assembler.graph.draft import ANY, Draft, ScopeDraft
from assembler.graph.insert import insert
from assembler.graph.model import Ref
from assembler.source.parse import MAX_HINTS, did_you_mean
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.kind import Port
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.build import Builder

LOSSES = "losses"
MAX_NAMED = 200_000
"""Values that all patterns of a recipe may name together: as many as nodes may unfold."""
BROKEN = Ref("?", "")
"""Stands for a value whose fault is already said."""
LATER = Ref("?", "later")
"""Stands for an input port that is not wired yet."""



def take(scope: ScopeDraft, name: str) -> Ref:
    """A container's input that a part uses by name."""
    scope.inputs.setdefault(name, ANY)
    scope.taken[name] = None
    return Ref("", name)


def resolve_many(builder: Builder, scope: ScopeDraft, text: str, span: Span) -> list[Ref]:
    """The values that an address or a pattern names; one that is wrong is said and BROKEN."""
    if text in scope.nodes:
        return [node_value(builder, scope.nodes[text], (), span)]
    if text in scope.inputs:
        return [Ref("", text)]
    segments = parse_address(text)
    if isinstance(segments, str):
        builder.say(Diagnostic("address-unknown", f"{text!r} is no address: {segments}", span, help="an address is names joined by dots: `encoder.3.think`"))
        return [BROKEN]
    first = segments[0]
    if not isinstance(first, str):
        return [unknown(builder, scope, text, span)]
    draft = scope.nodes.get(first)
    if draft is not None:
        if is_pattern(segments):
            return _pattern(builder, draft, segments[1:], text, span)
        return [node_value(builder, draft, segments[1:], span)]
    if len(segments) == 1 and first in scope.offered:
        return [take(scope, first)]
    if text == LOSSES:
        return [_losses(builder, scope, span)]
    if _known_outside(scope, first):
        return [_tunnel(scope, text, span)]
    return [unknown(builder, scope, text, span)]


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


def unknown(builder: Builder, scope: ScopeDraft, text: str, span: Span) -> Ref:
    if len(builder.found) > MAX_HINTS:
        builder.say(Diagnostic("address-unknown", f"`{text}` names nothing here", span, label="unknown address", help="mend the first findings first"))
        return BROKEN
    around = [*scope.inputs, *scope.nodes]
    outer = scope.outer
    while outer is not None:
        around.extend([*outer.inputs, *outer.known])
        outer = outer.outer
    close = did_you_mean(text.split(".")[0], around)
    shown = ", ".join(f"`{item}`" for item in around[:8])
    builder.say(Diagnostic("address-unknown", f"`{text}` names nothing here", span, label="unknown address", help=close or (f"there is {shown}" if shown else "")))
    return BROKEN


def node_value(builder: Builder, draft: Draft, rest: tuple[str | int | Slice, ...], span: Span) -> Ref:
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
    return draft.moved.get(port) or Ref(draft.name, port)


def output(builder: Builder, draft: Draft, rest: tuple[str | int | Slice, ...], span: Span) -> str | None:
    """The output port of a draft that `rest` names, passed out of what is inside where needed.

    None after saying what is wrong; "" where `rest` is one of its input ports.
    """
    if not rest:
        if draft.main:
            return draft.main
        if draft.beside and not draft.skipped:
            builder.say(Diagnostic("address-many", f"`{draft.name}` are {draft.count} side by side: which one?", span, help=f"write its number: `{draft.name}.0`"))
            return None
        if not draft.skipped:
            no_main(builder, draft, span)
            return None
    if draft.skipped and not (len(rest) == 1 and rest[0] in draft.gives):
        builder.say(Diagnostic("expert-inside", f"`{draft.name}` is an expert: what stands inside has only the rows that chose it", span, label="has no value for every row",
                               help="read what the mixture gives; `load` of it says how many rows each expert had"))  # fmt: skip
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
                if port == "":
                    _no_copy_input(builder, draft, span)
                return None
            draft.taps[f"{at}.{port}"] = None
            return f"{at}.{port}"
        start += count
    return None


def _no_copy_input(builder: Builder, draft: Draft, span: Span) -> None:
    builder.say(Diagnostic("address-unknown", f"the inputs of a copy of `{draft.name}` cannot be read", span, help="read the output of the copy before it"))


def _export(builder: Builder, draft: Draft, rest: tuple[str | int | Slice, ...], span: Span) -> str | None:
    """An inner value becomes one more output of the group."""
    assert draft.inner is not None
    ref = node_value(builder, draft.inner.nodes[str(rest[0])], rest[1:], span)
    if ref in (BROKEN, LATER):
        return None
    name = ".".join(map(str, rest))
    draft.inner.outputs[name] = ref
    draft.gives[name] = Port("")
    return name


def no_main(builder: Builder, draft: Draft, span: Span, use: str = "") -> None:
    """Say that a node has no one value to give on; that it gives none at all is said where it should."""
    if not draft.gives:
        return
    plain = [name for name, port in draft.gives.items() if not port.loss]
    what = f"has {len(plain)} outputs, and none is the main one" if plain else "gives nothing but losses"
    help = "let its `outputs` give one value; the others can still be read by their addresses" if use else f"write one of {', '.join(f'`{draft.name}.{name}`' for name in draft.gives)}"
    builder.say(Diagnostic("port-ambiguous", f"`{draft.name}` {use}: it {what}" if use else f"`{draft.name}` {what}", span, help=help))


def part_value(builder: Builder, part: Draft) -> Ref:
    """What a part gives on. Behind a broken one nothing is known: it is not as if it did not stand there."""
    if not part.main and not part.broken:
        no_main(builder, part, part.span.at(part.path), "cannot be a part")
        part.broken = True
    return part.after or Ref(part.name, part.main)


def _pattern(builder: Builder, draft: Draft, rest: tuple[str | int | Slice, ...], text: str, span: Span) -> list[Ref]:
    """Every value that a pattern below one node names, in order."""
    found: list[tuple[str | int | Slice, ...]] = [()]
    here: list[Draft | None] = [draft]
    broken = draft.broken
    for segment in rest:
        following: list[tuple[str | int | Slice, ...]] = []
        nodes: list[Draft | None] = []
        for prefix, node in zip(found, here, strict=True):
            if node is not None and node.runs and isinstance(segment, (int, Slice)):
                if builder.named + len(following) + len(copies(segment, node.count)) > MAX_NAMED:
                    return _too_many(builder, span)
                picked: list[tuple[str | int, Draft | None]] = [(i, copy_at(node, i)) for i in copies(segment, node.count)]
            elif isinstance(segment, Slice):
                inner = node.inner if node is not None else None
                picked = [(name, item) for name, item in inner.nodes.items() if not item.cause] if inner is not None else []
            else:
                picked = [(segment, node.inner.nodes.get(str(segment)) if node is not None and node.inner is not None else None)]
            following.extend((*prefix, key) for key, _ in picked)
            nodes.extend(item for _, item in picked)
        found, here = following, nodes
        broken |= any(node is not None and node.broken for node in nodes)
    if not found and broken:
        return [BROKEN]  # what is wrong there is said
    if not found:
        counts = f"its copies go from 0 to {draft.count - 1}" if draft.runs else f"`{draft.name}` has no copies" if draft.inner is None else f"it holds {', '.join(f'`{name}`' for name in list(draft.inner.nodes)[:8])}"
        builder.say(Diagnostic("address-unknown", f"`{text}` names nothing", span, help=counts))
        return [BROKEN]
    builder.named += len(found)
    return [node_value(builder, draft, path, span) for path in found]


def _too_many(builder: Builder, span: Span) -> list[Ref]:
    if builder.named <= MAX_NAMED:
        builder.named = MAX_NAMED + 1  # said once: every later pattern is one too many
        builder.say(Diagnostic("limit-nodes", f"patterns name more than {MAX_NAMED:,} values", span, help="read them once, join them, and let the others read the join"))
    return [BROKEN]


def copy_at(draft: Draft, index: int) -> Draft:
    for count, node in draft.runs:
        if index < count:
            return node
        index -= count
    raise IndexError(index)


def _losses(builder: Builder, scope: ScopeDraft, span: Span) -> Ref:
    draft = scope.nodes.get(LOSSES)
    if draft is None:
        draft = insert(builder, scope, LOSSES, "no_loss", {}, "the sum of all losses", span)
    return Ref(draft.name, draft.main)
