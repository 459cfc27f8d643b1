"""`init` that cannot be: nothing that writes, no identity, values of something unlike, copies in a circle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assembler.facts.count import Counted, shapes
from assembler.facts.flow import Flow
from assembler.facts.model import Facts, NodeFacts
from assembler.facts.start import identity
from assembler.graph.address import own_copy
from assembler.graph.init import touched
from assembler.graph.model import Graph
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.span import Span

BRANCH = "start a branch beside it at zero: in a `bus`, `init: zero` gives out what came in"


def check(every: Sequence[Counted], graph: Graph, facts: Facts) -> list[Diagnostic]:
    """One finding for each node, like copies together. What we put in ourselves starts right."""
    found: dict[int, Diagnostic] = {}
    for item in every:
        init = item.node.init
        if not init or item.node.same or item.node.cause or item.node.adapter:
            continue
        for wrong in (*_write(item), *_copy(item, graph, facts)):
            found.setdefault(id(item.node), wrong)
    return list(found.values())


def _span(item: Counted) -> Span:
    return item.node.spans.get("init", item.node.span)


def _write(item: Counted) -> Iterator[Diagnostic]:
    mode = item.node.init.get("write", "")
    if not mode:
        return
    definition = item.facts.definition or item.node.definition
    writes, known = touched(definition, {"write": mode}), shapes(item.facts)
    name, kind = mode.partition("(")[0], item.node.kind.name
    if not writes:
        what = "has no parameters" if not definition.parameters else "has no writing layer, a last linear map"
        yield Diagnostic("init-no-writer", f"`{item.address}` ({kind}) {what}: `{name}` has nothing to start", _span(item), help="write `init` at the node whose weights are meant, or drop it")
    elif not _known(item.facts):
        return  # what it is fed is wrong, and said
    elif name != "default" and name not in ("zero", "identity") and not any(len(known.get(key, ())) > 1 for key in writes):
        yield Diagnostic("init-no-writer", f"`{item.address}` ({kind}) writes without a matrix: `{name}` has nothing to start", _span(item), help="write `zero` or `identity`, or drop it")
    elif name == "identity" and identity(definition, item.facts) is None:
        yield Diagnostic("init-no-identity", f"`{item.address}` ({kind}) {_why(item, kind)}", _span(item), help=BRANCH)


def _why(item: Counted, kind: str) -> str:
    sizes = item.facts.sizes
    into, out = sizes.get("in"), sizes.get("out")
    if kind == "linear" or (kind.startswith("conv") and into != out):
        return f"takes {into} and gives {out}: it cannot start as the identity"
    if kind.startswith("conv"):
        return "does not keep every place as it is: a kernel of odd size, a stride of 1 and its padding would"
    return "cannot start as the identity: no values of its weights give out what it takes"


def _copy(item: Counted, graph: Graph, facts: Facts) -> Iterator[Diagnostic]:
    target = item.node.init.get("copy", "")
    from assembler.facts.types.why import locate

    place = locate(graph, facts, own_copy(target, item.address)) if target else None
    if place is None or not all(_known(one) for one in (item.facts, place[2])):
        return
    mine, theirs = _own(item.facts), _own(place[2])
    if mine != theirs:
        key = next(key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key))
        one, two = (list(known[key]) if key in known else "not there" for known in (mine, theirs))
        yield Diagnostic("init-copy", f"`{item.address}` copies `{target}`, whose `{key}` is of another shape: {one} against {two}", _span(item),
                         related=(Note(f"`{target}` is this node", place[1].span),), help="make the sizes equal, or drop `copy`")  # fmt: skip
    elif not mine:
        yield Diagnostic("init-no-writer", f"`{item.address}` ({item.node.kind.name}) has no parameters: `copy` has nothing to start", _span(item), help="drop it")


def _known(facts: NodeFacts) -> bool:
    """Whether the shapes of all parameters are: not those of what is fed nothing."""
    return facts.definition is not None and shapes(facts).keys() == facts.definition.parameters.keys()


def _own(facts: NodeFacts) -> dict[str, tuple[int, ...]]:
    """The shapes of what is a node's own: what a graft brought into it is not copied, and stands in no way."""
    cards = facts.definition.parameters if facts.definition is not None else {}
    return {key: shape for key, shape in shapes(facts).items() if cards[key].trains is None}


def circle(flow: Flow) -> Iterator[Diagnostic]:
    """Values that lead back to themselves: nobody owns them. The first is said."""
    copied = [weight for weight in flow.weights if weight.init.startswith("copy(")]
    starts = {weight.address: weight for weight in flow.weights} if copied else {}
    for weight in copied:
        source = starts.get(weight.init[5:-1])
        if source is not None and source.init.startswith("copy("):
            span = weight.node.spans.get("init", weight.node.span)
            yield Diagnostic("init-circle", f"`{weight.address}` copies what copies it: nothing says how it starts", span, label="leads back to itself",
                             help="let one of them start by itself: drop its `copy`")  # fmt: skip
            return
