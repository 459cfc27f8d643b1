"""Adapters: a `linear` where exactly one answer is possible; every one is a node and a note."""

from __future__ import annotations

from assembler.facts.model import Bridging, Facts
from assembler.facts.runs import runs
from assembler.facts.types.infer import infer
from assembler.graph.env import Env
from assembler.graph.insert import serving
from assembler.graph.model import Edge, Graph, Group, Leaf, Node, Ref, Repeat, Scope
from assembler.graph.options import choose
from assembler.graph.rewrite import rewrite
from assembler.library import registry
from assembler.source.tree import value_of
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.dim import show
from assembler_schemas.shape import Type

MAX_ROUNDS = 4
WIDTH_ADAPTERS = frozenset({"linear", "mlp", "low_rank", "conv2d", "cast", "permute"})
"""Asked for where the types already agree, these are left out."""


def adapt(graph: Graph, facts: Facts, frozen: bool = False) -> tuple[Graph, Facts, list[Diagnostic]]:
    """The mended graph, its facts, and what was refused. Notes of what stands are `checks`' to write."""
    said: list[Diagnostic] = []
    for _ in range(MAX_ROUNDS):
        allowed, refused = _judge(graph, facts, frozen)
        unneeded = [] if facts.conflicts else list(_unneeded(graph.scope, facts))
        if not allowed and not unneeded:
            said.extend(refused)
            break
        said.extend(_spared(leaf) for leaf, _ in unneeded)
        graph = graph._replace(scope=_mend(graph.scope, allowed, {id(leaf) for leaf, _ in unneeded}))
        facts = infer(graph)
    return graph, facts, said


def _judge(graph: Graph, facts: Facts, frozen: bool) -> tuple[list[Bridging], list[Diagnostic]]:
    allowed, refused = [], []
    for bridge in facts.bridges:
        source = _stated_source(bridge)
        if bridge.scope is None:
            refused.append(_refusal("shape-mismatch", bridge, source, "its copies would need adapters of their own"))
        elif bridge.scope.policy != "auto":
            refused.append(_refusal("adapter-refused", bridge, source, f"the policy is `{bridge.scope.policy}`"))
        elif source is not None:
            refused.append(_refusal("shape-mismatch", bridge, source, ""))
        elif frozen:
            refused.append(_refusal("adapter-unasked", bridge, source, "`--frozen` allows only adapters that the recipe asks for"))
        else:
            allowed.append(bridge)
    return allowed, refused


def _stated_source(bridge: Bridging) -> Leaf | None:
    """The node in front of the edge, if the recipe itself states the width that it gives."""
    node, port, scope = None, bridge.edge.source.port, bridge.scope
    name = bridge.edge.source.node
    while scope is not None and name:
        node = scope.nodes[name]
        if isinstance(node, Repeat):
            node = node.runs[-1].node
        if not isinstance(node, Group):
            break
        inner = node.scope.outputs.get(port)
        scope = node.scope
        if inner is None or not inner.node:
            return None
        name, port = inner
    if not isinstance(node, Leaf):
        return None
    last = node.definition.outputs[port].type.rstrip("]").split()[-1] if port in node.definition.outputs else ""
    return node if last in node.spans and last in node.definition.sizes else None


def _refusal(code: str, bridge: Bridging, source: Leaf | None, why: str) -> Diagnostic:
    giver = bridge.edge.source.node or bridge.edge.source.port
    written = bridge.node.cause.startswith("write of ")
    taker = f"the stream of `{bridge.address.rpartition('.')[0]}`" if written else f"`{bridge.address}`"
    message = f"`{giver}` gives {show(bridge.source)} where {taker} takes {show(bridge.target)}" + (f": {why}" if why else "")
    mend = "let it end in a `linear`, whose width follows the stream" if written else f"ask for a projection: `from: {{port: {giver}, adapt: linear}}`"
    if " of graft " in bridge.node.cause:
        mend = "ask for a projection: `write: {port: ..., adapt: linear}`"
    span = source.spans["out"] if source is not None and "out" in source.spans else bridge.edge.span
    return Diagnostic(code, message, span, label=f"{show(bridge.source)} stated here" if source is not None else f"{show(bridge.source)} arrives",
                      related=() if written else (Note(f"{show(bridge.target)} is wanted here", bridge.node.span),),
                      help=f"drop the stated width, or {mend}" if source is not None else mend)  # fmt: skip


def _mend(scope: Scope, bridges: list[Bridging], unneeded: set[int]) -> Scope:
    at: dict[int, list[Bridging]] = {}
    for bridge in bridges:
        found = at.setdefault(id(bridge.scope), [])
        if not any(item.node is bridge.node and (item.port, item.index) == (bridge.port, bridge.index) for item in found):
            found.append(bridge)

    def change(old: Scope, nodes: dict[str, Node]) -> dict[str, Node]:
        for bridge in at.get(id(old), ()):
            _put(nodes, bridge)
        for name, leaf in old.nodes.items():
            if id(leaf) in unneeded:
                _take_out(nodes, name)
        return nodes

    return rewrite(scope, change)


def _put(nodes: dict[str, Node], bridge: Bridging) -> None:
    consumer = nodes[bridge.node.name]
    edge = consumer.inputs[bridge.port][bridge.index]
    giver = f"{edge.source.node}_{edge.source.port.replace('.', '_')}" if edge.follows and edge.source.node else f"{consumer.name}_{bridge.port}"
    name = f"{giver}_adapter"
    while name in nodes:
        name += "_"
    card = registry.kind("linear")
    assert card is not None
    problems: list[Diagnostic] = []
    options = {"bias": (value_of(False, edge.span), Env(None, None, problems.append))} if edge.keeps_zero else {}
    chosen = choose(card, options, "", name, problems.append)
    assert chosen is not None, problems
    adapter = Leaf(name, {"x": (Edge(edge.source, edge.span),)}, edge.span, f"adapter for {bridge.address}.{bridge.port}",
                   card, chosen.options, chosen.definition, {}, adapter="auto", freeze=isinstance(consumer, Leaf) and consumer.freeze, dtype=None if bridge.dtype == "float" else bridge.dtype,
                   init=serving({"init": consumer.init}).get("init", {}) if isinstance(consumer, Leaf) else {})  # fmt: skip
    edges = list(consumer.inputs[bridge.port])
    edges[bridge.index] = edge._replace(source=Ref(name, "y"))
    changed = consumer._replace(inputs={**consumer.inputs, bridge.port: tuple(edges)})
    rest = dict(nodes)
    nodes.clear()
    for key, node in rest.items():
        if key == consumer.name:
            nodes[name] = adapter
            nodes[key] = changed
        else:
            nodes[key] = node


def _take_out(nodes: dict[str, Node], name: str) -> None:
    gone = nodes.pop(name)
    source = next(iter(gone.inputs.values()))[0].source
    for key, node in nodes.items():
        if any(edge.source.node == name for edges in node.inputs.values() for edge in edges):
            inputs = {port: tuple(edge._replace(source=source) if edge.source.node == name else edge for edge in edges) for port, edges in node.inputs.items()}
            nodes[key] = node._replace(inputs=inputs)


def _unneeded(scope: Scope, facts: Facts) -> list[tuple[Leaf, str]]:
    """Asked-for adapters whose two sides already agree."""
    found: dict[int, tuple[Leaf, str]] = {}
    needed: set[int] = set()  # by a copy that takes other types
    todo = [(scope, facts.root)]
    while todo:
        here, known = todo.pop()
        for name, node in here.nodes.items():
            inner = known.nodes[name]
            if isinstance(node, Leaf):
                if node.adapter == "asked" and node.kind.name in WIDTH_ADAPTERS and "write" not in node.init:
                    given = inner.inputs.get("x", ())
                    stated = node.spans if node.kind.name == "permute" else ()
                    if given and _plain(inner.outputs.get("y")) == _plain(given[0]) and not stated:
                        found[id(node)] = node, name
                    else:
                        needed.add(id(node))
            elif isinstance(node, Group):
                if inner.inner is not None:
                    todo.append((node.scope, inner.inner))
            else:
                todo.extend((proto.scope, item.inner) for _, _, proto, item in runs(node, inner) if isinstance(proto, Group) and item.inner is not None)
    return [item for at, item in found.items() if at not in needed]


def _plain(kind: Type | None) -> Type | None:
    """A type with the model's own float spelled out."""
    return kind._replace(dtype="f32") if kind is not None and kind.dtype == "float" else kind


def _spared(leaf: Leaf) -> Diagnostic:
    return Diagnostic("adapter-unneeded", f"the types on both sides of `{leaf.name}` already agree: it is left out", leaf.span, help="drop `adapt:`")



