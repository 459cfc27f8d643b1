"""Why a size is what it is: a walk back along the edges to where somebody said so. On demand only."""

from __future__ import annotations

from typing import NamedTuple

from assembler.facts.model import Because, Facts, NodeFacts, ScopeFacts
from assembler.facts.types.signature import Pattern, Side, signature
from assembler.graph.model import Graph, Group, Leaf, Node, Ref, Repeat, Scope
from assembler_schemas.dim import show
from assembler_schemas.kind import Given
from assembler_schemas.shape import Type
from assembler_schemas.span import NOWHERE

MAX_STEPS = 200


class Frame(NamedTuple):
    """A scope on the way to a node: its facts, and the node of the outer scope that holds it."""

    scope: Scope
    facts: ScopeFacts
    outer: Frame | None = None
    holder: Node | None = None
    address: str = ""


def locate(graph: Graph, facts: Facts, address: str) -> tuple[Frame, Node, NodeFacts, str] | None:
    """The node at an address (copies as `*`, `3` or `0:3`), its frame, and the port left over."""
    frame = Frame(graph.scope, facts.root)
    parts = address.split(".")
    i = 0
    while i < len(parts):
        node = frame.scope.nodes.get(parts[i])
        if node is None:
            return None
        here = frame.facts.nodes[parts[i]]
        at = f"{frame.address}.{parts[i]}" if frame.address else parts[i]
        holder = node
        i += 1
        if isinstance(node, Repeat):
            if i < len(parts) and not node.share and _is_copy(parts[i]):
                index = _first_copy(parts[i], node.count)
                at, i = f"{at}.{parts[i]}", i + 1
            elif node.share:
                index = 0
            else:
                return frame, node, here, ".".join(parts[i:])
            node, here = _run(node, here, index)
        if isinstance(node, Group) and here.inner is not None and i < len(parts) and parts[i] in node.scope.nodes:
            frame = Frame(node.scope, here.inner, frame, holder, at)
            continue
        return frame, holder, here, ".".join(parts[i:])
    return None


def _is_copy(text: str) -> bool:
    return text == "*" or text.lstrip("-").isdigit() or ":" in text


def _first_copy(text: str, count: int) -> int:
    number = text.split(":")[0]
    return 0 if number in ("", "*") else int(number) % count


def _run(node: Repeat, facts: NodeFacts, index: int) -> tuple[Leaf | Group, NodeFacts]:
    """The prototype and the facts of one copy."""
    left, proto = index, node.runs[-1].node
    for run in node.runs:
        if left < run.count:
            proto = run.node
            break
        left -= run.count
    for count, inner in facts.runs:
        if index < count:
            return proto, inner
        index -= count
    return proto, facts.runs[-1][1]


def origin(frame: Frame, ref: Ref, axis: int) -> list[Because]:
    """The steps from a value back to where the size of its axis (-1 is the last) was decided."""
    steps: list[Because] = []
    here: Frame | None = frame
    for _ in range(MAX_STEPS):
        if here is None:
            break
        if ref.node == "":
            if here.outer is None:
                kind = here.facts.inputs.get(ref.port)
                steps.append(Because(ref.port, f"the input `{ref.port}` is {kind}", NOWHERE))
                break
            assert here.holder is not None
            edges = here.holder.inputs.get(ref.port, ())
            if not edges:
                break
            ref, here = edges[0].source, here.outer
            continue
        if ref.node not in here.scope.nodes:
            break  # something of it is wrong, and that is said
        node, facts = here.scope.nodes[ref.node], here.facts.nodes[ref.node]
        address = f"{here.address}.{ref.node}" if here.address else ref.node
        kind = facts.outputs.get(ref.port)
        port, holder = ref.port, node
        if isinstance(node, Repeat):
            index, _, rest = port.partition(".")
            number = int(index) if index.lstrip("-").isdigit() else node.count - 1
            port = rest if index.lstrip("-").isdigit() else port
            node, facts = _run(node, facts, number)
        if isinstance(node, Group):
            if facts.inner is None or port not in node.scope.outputs:
                break
            here = Frame(node.scope, facts.inner, here, holder, address)
            ref = node.scope.outputs[port]
            continue
        assert isinstance(node, Leaf)
        step, follow = _leaf(node, facts, port, axis, address, kind)
        steps.append(step)
        if follow is None:
            break
        into, axis = follow
        edges = holder.inputs.get(into, ())
        if not edges:
            break
        ref = edges[0].source
    return steps


def _leaf(node: Leaf, facts: NodeFacts, port: str, axis: int, address: str, kind: Type | None) -> tuple[Because, tuple[str, int] | None]:
    """What a leaf says of one axis of its output, and the input axis that it comes from."""
    ready = signature(facts.definition or node.definition)
    side = next(item for item in ready.outputs if item.port == port)
    label = f"`{address}` ({node.kind.name})"
    if not -len(side.dims) <= axis < len(side.dims):
        into = next((item for item in ready.inputs if item.lead and item.port in node.inputs), None) if axis < 0 else None
        if into is None:
            return Because(address, f"{label} gives {kind}", node.span), None
        return Because(address, f"{label} keeps the leading axes of its `{into.port}`", node.span), (into.port, axis + len(side.dims) - len(into.dims))
    pattern = side.dims[axis]
    return _pattern(node, facts, ready.inputs, pattern, label, address, port)


def _pattern(node: Leaf, facts: NodeFacts, inputs: tuple[Side, ...], pattern: Pattern, label: str, address: str, port: str) -> tuple[Because, tuple[str, int] | None]:
    defaults = (facts.definition or node.definition).defaults
    name = pattern
    for _ in range(8):
        if not isinstance(name, str):
            break
        value = facts.sizes.get(name)
        shown = show(value) if value is not None else "unknown"
        if name in node.spans:
            return Because(address, f"`{name}` of {label} is {shown} because of this", node.spans[name]), None
        for side in inputs:
            for position, item in enumerate(side.dims):
                if item == name and side.port in node.inputs:
                    return Because(address, f"{label} gives its `{name}`, {shown}, the size that reaches `{side.port}`", node.span), (side.port, position - len(side.dims))
        if name in defaults and facts.sizes.get(defaults[name], value) == value and not (node.adapter and name == "out"):
            name = defaults[name] if defaults[name].isidentifier() else None  # type: ignore[assignment]
            continue
        return Because(address, f"`{name}` of {label} follows from where it goes: {shown}", node.span), None
    text = pattern if isinstance(pattern, (str, int)) else pattern.text
    stated = node.spans.get(f"out.{port}", node.spans.get(f"sites.{port}"))
    if isinstance(node.definition.build, Given) and stated is not None:
        return Because(address, f"{label} states {text}", stated), None
    return Because(address, f"{label} works it out as {text}", node.span), None


def explain(graph: Graph, facts: Facts, address: str) -> list[str]:
    """`assembler why`: how every size of the type at an address came about, line by line."""
    found = locate(graph, facts, address) if address else None
    if found is None and address in facts.root.inputs:
        return [f"{address}: {facts.root.inputs[address]}", f"  stated at {graph.spans.get(f'inputs.{address}', NOWHERE)}"]
    if found is None:
        return []
    frame, node, here, rest = found
    port = rest or (node.scope.main if isinstance(node, Group) else next(iter(here.outputs), ""))
    if isinstance(node, Repeat) and not rest:
        port = node.main
    if port in node.inputs:
        ref, kind = node.inputs[port][0].source, next(iter(here.inputs.get(port, ())), None)
    elif port in here.outputs:
        ref, kind = Ref(node.name, port), here.outputs[port]
    else:
        return []
    lines = [f"{address}: {kind if kind is not None else 'unknown'}"]
    for position, dim in enumerate(kind.dims if kind is not None else ()):
        axis = position - len(kind.dims)  # type: ignore[union-attr]
        lines.append(f"  axis {axis} is {show(dim)}")
        for because in origin(frame, ref, axis):
            span = because.span if because.span.line or because.span.override else graph.spans.get(f"inputs.{because.address}", NOWHERE)
            place = f"  ({span})" if span.line or span.override else ""
            lines.append(f"    {because.text}{place}")
    return lines
