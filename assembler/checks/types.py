"""Conflicts of types, put into words: both ends, why each is what it is, and one edit."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from assembler.facts.model import Because, Conflict, Facts
from assembler.facts.types.match import FLOATS
from assembler.graph.model import Edge, Graph, Leaf
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.dim import show
from assembler_schemas.shape import Type
from assembler_schemas.span import NOWHERE, Span

_FIRST = frozenset({"dtype-mismatch", "shape-rank"})
_AFTER = frozenset({"dim-runtime", "dim-underdetermined", "shape-constraint", "shape-empty"})
"""What sizes come to means nothing at a node that takes something else altogether."""
_AXES = {-1: "last dim", -2: "second-to-last dim"}


def check(graph: Graph, facts: Facts) -> list[Diagnostic]:
    """One diagnostic for each conflict; those that are alike (copies) are said once."""
    found: dict[tuple[object, ...], Diagnostic] = {}
    wrong = {conflict.address for conflict in facts.conflicts if conflict.code in _FIRST}
    other = {(conflict.address, conflict.port) for conflict in facts.conflicts if conflict.code == "dtype-mismatch"}
    factors: set[str] = set()
    for conflict in facts.conflicts:
        if (conflict.address in wrong and conflict.code in _AFTER) or (conflict.code == "shape-rank" and (conflict.address, conflict.port) in other):
            continue
        if conflict.code == "shape-constraint" and conflict.port:
            # Height and width of one picture against one patch.
            if conflict.address in factors:
                continue
            factors.add(conflict.address)
        diagnostic = _WORDS.get(conflict.code, _other)(conflict, _Sources(graph, facts, conflict))
        found.setdefault((diagnostic.code, diagnostic.span, diagnostic.message), diagnostic)
    return list(found.values())


def offers() -> ModuleType:
    """What mends an edge; imported for a recipe that has one to mend."""
    from assembler.adapters import offers

    return offers


class _Sources:
    """Where a conflict's values come from."""

    def __init__(self, graph: Graph, facts: Facts, conflict: Conflict) -> None:
        self.graph = graph
        self.conflict = conflict
        self.frame, self.known = None, None
        from assembler.facts.types.why import locate  # a graph without conflicts needs none of it

        place = locate(graph, facts, conflict.address)
        if place is not None:
            self.frame, self.known = place[0], place[2]

    def why(self, edge: Edge | None, axis: int) -> Because | None:
        """Who decided the size that arrives over an edge."""
        if edge is None or self.frame is None:
            return None
        frame, ref = self.frame, edge.source
        if ref.node and ref.node not in frame.scope.nodes:
            return None
        from assembler.facts.types.why import origin

        steps = origin(frame, ref, axis)
        if not steps:
            return None
        last = steps[-1]
        span = last.span if last.span.line or last.span.override else self.graph.spans.get(f"inputs.{last.address}", NOWHERE)
        return Because(last.address, last.text, span)

    def giver(self) -> str:
        edge = self.conflict.edge
        if edge is None:
            return "what arrives"
        frame = self.frame
        if edge.source.node == "":
            return f"`{edge.source.port}`"
        prefix = f"{frame.address}." if frame is not None and frame.address else ""
        return f"`{prefix}{edge.source.node}.{edge.source.port}`"


def _place(conflict: Conflict) -> Span:
    node = conflict.node
    name = str(conflict.detail.get("name", ""))
    if isinstance(node, Leaf) and name in node.spans:
        return node.spans[name]
    if conflict.edge is not None and (conflict.edge.span.line or conflict.edge.span.override):
        return conflict.edge.span
    return conflict.span


def _notes(*found: Because | None) -> tuple[Note, ...]:
    return tuple(Note(item.text, item.span) for item in found if item is not None)


def _size(value: object) -> str:
    return show(value) if value is not None and not isinstance(value, (str, Type, tuple)) else str(value)  # type: ignore[arg-type]


def _axis(axis: int) -> str:
    return _AXES.get(axis, f"axis {axis}")


def _mismatch(conflict: Conflict, sources: _Sources) -> Diagnostic:
    axis, name = int(str(conflict.detail["axis"])), str(conflict.detail["name"])
    found, wanted = _size(conflict.found), _size(conflict.wanted)
    stated = bool(conflict.detail.get("stated"))
    other = conflict.detail.get("other_edge")
    rival = sources.why(other, int(str(conflict.detail.get("other_axis", -1)))) if isinstance(other, Edge) else None
    projection = f"ask for a {offers().projection(conflict)}: `from: {{port: {_address(conflict.edge)}, adapt: linear}}`"
    help_text = f"drop `{name}: {wanted}`, or {projection}" if stated and axis == -1 else projection if axis == -1 else "make the two sizes one"
    return Diagnostic("shape-mismatch", f"{sources.giver()} does not fit `{conflict.address}.{conflict.port}`: {_axis(axis)} {found} against {wanted}", _place(conflict),
                      label=f"{wanted} stated here" if stated else f"{wanted} wanted here", related=_notes(sources.why(conflict.edge, axis), rival), help=help_text)  # fmt: skip


def _address(edge: Edge | None) -> str:
    """What a recipe writes for the value of an edge; dots where that is not known."""
    if edge is None:
        return "..."
    return edge.source.port if not edge.source.node else edge.source.node if edge.source.port == "y" else f"{edge.source.node}.{edge.source.port}"


def _quoted(size: str) -> str:
    return size if size.isdigit() else f"`{size}`"


def _rigid(conflict: Conflict, sources: _Sources) -> Diagnostic:
    axis = int(str(conflict.detail["axis"]))
    found, wanted = _size(conflict.found), _size(conflict.wanted)
    other = conflict.detail.get("other_edge")
    rival = sources.why(other, int(str(conflict.detail.get("other_axis", -1)))) if isinstance(other, Edge) else None
    names = [item for item in (found, wanted) if item.isidentifier()]
    help_text = f"give `{names[0]}` a number under `vars` if it is fixed, or use one name for both" if names else "use one name for both sizes"
    if "1" in (found, wanted):
        help_text = "nothing is broadcast: feed what has no such axis to a node `{kind: expand, from: {x: ..., like: ...}}`"
    return Diagnostic("dim-rigid", f"{sources.giver()} does not fit `{conflict.address}.{conflict.port}`: {_axis(axis)} {_quoted(found)} against {_quoted(wanted)}, known only at run time", _place(conflict),
                      label=f"{_quoted(wanted)} wanted here", related=_notes(sources.why(conflict.edge, axis), rival), help=help_text)  # fmt: skip


def _ambiguous(conflict: Conflict, sources: _Sources) -> Diagnostic:
    claims = conflict.detail.get("claims")
    name = str(conflict.detail["name"])
    if claims:
        assert isinstance(claims, list)
        shown = " and ".join(f"{_size(value)} for `{address}`" for value, address, _ in claims[:3])
        notes = tuple(Note(f"`{address}` takes {_size(value)}", node.span) for value, address, node in claims[:4])
        return Diagnostic("dim-ambiguous", f"`{name}` of `{conflict.address}` is wanted as {shown}", conflict.span, related=notes,
                          label=f"`{name}` is open", help=f"state it: `{name}: {_size(claims[0][0])}`")  # fmt: skip
    found, wanted = _size(conflict.found), _size(conflict.wanted)
    other = conflict.detail.get("other_edge")
    one = _address(other) if isinstance(other, Edge) else "another"
    two = _address(conflict.edge)
    notes = _notes(sources.why(other, -1) if isinstance(other, Edge) else None, sources.why(conflict.edge, -1))
    return Diagnostic("dim-ambiguous", f"two widths compete at `{conflict.address}`: {wanted} from `{one}` and {found} from `{two}`", _place(conflict), label=f"{found} arrives here",
                      related=notes, help=_which(conflict))  # fmt: skip


def _which(conflict: Conflict) -> str:
    if conflict.node is not None and conflict.node.cause.startswith("join of "):
        return "let the parts give one width, or write `join: concat`"
    return f"say which one is mended: `{{port: {_address(conflict.edge)}, adapt: linear}}`"


def _rank(conflict: Conflict, sources: _Sources) -> Diagnostic:
    given = conflict.found
    wanted = conflict.wanted if isinstance(conflict.wanted, str) else f"[{' '.join(['...' if not conflict.wanted else '', *map(show, conflict.wanted)]).strip()} d] like the others" if isinstance(conflict.wanted, tuple) else str(conflict.wanted)
    return Diagnostic("shape-rank", f"{sources.giver()} is {given} where `{conflict.address}.{conflict.port}` takes {wanted}", _place(conflict), label="the number of axes differs",
                      related=() if conflict.edge is not None and conflict.edge.source.node else _notes(sources.why(conflict.edge, -1)), help=offers().axes(conflict, _address, sources.known) or "put a `flatten`, `rearrange` or a pool between them, or feed another value")  # fmt: skip


def _dtype(conflict: Conflict, sources: _Sources) -> Diagnostic:
    given = conflict.found
    have = given.dtype if isinstance(given, Type) else str(given)
    medium = given.medium if isinstance(given, Type) else ""
    shown = have if medium in ("", "dense") else f"{have} ({given})"
    help_text = offers().across(conflict, _address(conflict.edge))
    if not help_text:
        help_text = f"ask for it: `from: {{port: {_address(conflict.edge)}, adapt: {{kind: cast, dtype: {conflict.wanted}}}}}`" if have in FLOATS and conflict.wanted not in ("int", "bool") else "feed another value"
    return Diagnostic("dtype-mismatch", f"{sources.giver()} is {shown}, where `{conflict.address}.{conflict.port}` takes {conflict.wanted}", _place(conflict), label=f"{conflict.wanted} wanted here",
                      related=_notes(sources.why(conflict.edge, -1)), help=help_text)  # fmt: skip


def _vocabulary(conflict: Conflict, sources: _Sources) -> Diagnostic:
    return Diagnostic("vocabulary-mismatch", f"{sources.giver()} holds ids up to {conflict.found}, and `{conflict.address}` has {conflict.wanted} rows", _place(conflict), label=f"{conflict.wanted} rows",
                      help=f"write `{conflict.detail['name']}: {conflict.found}`, or leave it out")  # fmt: skip


def _factor(conflict: Conflict, sources: _Sources, text: str) -> Diagnostic:
    """`patch*w` cannot be 30 where the patch is 4."""
    axis, node, sizes = int(str(conflict.detail["axis"])), conflict.node, conflict.detail.get("sizes")
    known = {name: sizes[name] for name in _names(text) if name in sizes} if isinstance(sizes, dict) else {}
    stated = [node.spans[name] for name in known if name in node.spans] if isinstance(node, Leaf) else []
    values = ", ".join(f"{name} = {_size(value)}" for name, value in known.items())
    return Diagnostic("shape-constraint", f"{_axis(axis)} of {sources.giver()} is {_size(conflict.found)}, which `{conflict.address}` cannot take as {text}{f' with {values}' if values else ''}",
                      stated[0] if stated else _place(conflict), related=_notes(sources.why(conflict.edge, axis)), help="make the one a multiple of the other")  # fmt: skip


def _constraint(conflict: Conflict, sources: _Sources) -> Diagnostic:
    text = str(conflict.detail["text"])
    node = conflict.node
    if "|" not in text:
        return _factor(conflict, sources, text)
    relation, right, about = text.split("|", 2)
    left = str(conflict.detail["name"])
    words = {"multiple_of": "a multiple of", "at_most": "at most", "equal": "equal to"}[relation]
    span, notes = conflict.span, []
    if isinstance(node, Leaf):
        stated = [name for name in _names(left) + _names(right) if name in node.spans]
        if stated:
            span = node.spans[stated[-1]]
        for port, edges in node.inputs.items():
            because = sources.why(edges[0], -1) if port and edges else None
            if because is not None:
                notes.append(because)
                break
    one, two = conflict.found, conflict.wanted
    help_text = ""
    if relation == "multiple_of" and isinstance(one, int) and isinstance(two, int) and two > 0:
        below = one - one % two
        divisors = [item for item in range(two, 0, -1) if one % item == 0][:1] + [item for item in range(two, min(one, two * 4) + 1) if one % item == 0][:1]
        help_text = f"`{left}` of {below or two} or {below + two} would do" + (f", or `{right}` of {' or '.join(map(str, dict.fromkeys(divisors)))}" if right.isidentifier() and divisors else "")
    elif relation == "at_most":
        help_text = f"`{left}` can be {two} at most" if not right.isidentifier() else f"raise `{right}` to {one}, or lower `{left}`"
    return Diagnostic("shape-constraint", f"`{left}` of `{conflict.address}` is {_size(one)}, which is not {words} `{right}`{'' if right.isdigit() else f' = {_size(two)}'}: {about}", span,
                      related=_notes(*notes), help=help_text)  # fmt: skip


def _names(text: str) -> list[str]:
    cleaned = "".join(char if char.isalnum() or char == "_" else " " for char in text)
    return [item for item in cleaned.split() if not item.isdigit()]


def _empty(conflict: Conflict, sources: _Sources) -> Diagnostic:
    node = conflict.node
    edge = next(iter(node.inputs.values()))[0] if node is not None and node.inputs else None
    notes = _notes(*(sources.why(edge, axis) for axis in (-1,))) if edge is not None else ()
    span = conflict.span
    if isinstance(node, Leaf):
        span = next((node.spans[key] for key in ("kernel", "stride", "patch") if key in node.spans), span)
    sizes = conflict.detail.get("sizes")
    text = str(conflict.detail["text"])
    names = _names(text)
    values = ", ".join(f"{name} = {_size(value)}" for name, value in sizes.items() if name in names) if isinstance(sizes, dict) else ""
    if text.startswith("window("):
        size, kernel, stride, padding, dilation = text.removeprefix("window(").removesuffix(")").split(", ")
        how = f"{values or size}, kernel {kernel}, stride {stride}, padding {padding}{'' if dilation == '1' else f', dilation {dilation}'}"
    else:
        how = f"{text}{f' with {values}' if values else ''}"
    return Diagnostic("shape-empty", f"an axis of `{conflict.address}` shrinks to {_size(conflict.found)}: {how}", span, related=notes,
                      help="use a smaller kernel, more padding or a larger input")  # fmt: skip


def _runtime(conflict: Conflict, sources: _Sources) -> Diagnostic:
    name = str(conflict.detail["name"])
    names = [item for item in _names(_size(conflict.found)) if item != "floor"]
    node = conflict.node
    other = conflict.detail.get("other_edge")
    because = sources.why(other, int(str(conflict.detail.get("other_axis", -1)))) if isinstance(other, Edge) else None
    options = node.kind.size_options if isinstance(node, Leaf) else ()
    help_text = f"state `{name}: ...`" if name in options and name != "in" else f"put `{names[0]}` under `vars`: a parameter's size is a number" if names else ""
    use = "a parameter has that size" if not isinstance(node, Leaf) or node.definition.parameters else "it is built as a number"
    return Diagnostic("dim-runtime", f"`{name}` of `{conflict.address}` is {_size(conflict.found)}, known only at run time, and {use}", conflict.span,
                      related=_notes(because), help=help_text)  # fmt: skip


def _underdetermined(conflict: Conflict, sources: _Sources) -> Diagnostic:
    name = str(conflict.detail["name"])
    node = conflict.node
    if node is not None and isinstance(node, Leaf) and node.adapter:
        return Diagnostic("dim-underdetermined", f"nothing determines what `{conflict.address}` should give", conflict.span, help=f"state it: `adapt: {{kind: {node.kind.name}, {name}: 64}}`")
    if isinstance(node, Leaf) and node.kind.name == "given":
        return Diagnostic("dim-underdetermined", f"no input of `{conflict.address}` says how large `{name}` is", conflict.span, label=f"`{name}` is open", help="write its number, a var, or a size of one of its inputs: nothing else is known of the module")
    return Diagnostic("dim-underdetermined", f"nothing determines `{name}` of `{conflict.address}`", conflict.span, label=f"`{name}` is open", help=f"state it: `{name}: 64`")


def _share(conflict: Conflict, sources: _Sources) -> Diagnostic:
    help_text = str(conflict.detail.get("help", "drop `share: true`, or keep the width the same through a copy"))
    colon = "" if "help" in conflict.detail else ":"
    return Diagnostic("share-mismatch", f"`{conflict.address}`{colon} {conflict.detail['text']}", conflict.span, help=help_text)


def _limit(conflict: Conflict, sources: _Sources) -> Diagnostic:
    return Diagnostic("limit-equations", f"`{conflict.address}` has {conflict.detail['text']}", conflict.span, help="name fewer run-time sizes, join in fewer steps, or keep the type the same through a copy")


def _other(conflict: Conflict, sources: _Sources) -> Diagnostic:
    return Diagnostic(conflict.code, f"`{conflict.address}`: {conflict.detail.get('text', conflict.code)}", conflict.span)


_WORDS: dict[str, Callable[[Conflict, _Sources], Diagnostic]] = {
    "shape-mismatch": _mismatch,
    "dim-rigid": _rigid,
    "dim-ambiguous": _ambiguous,
    "shape-rank": _rank,
    "dtype-mismatch": _dtype,
    "vocabulary-mismatch": _vocabulary,
    "shape-constraint": _constraint,
    "shape-empty": _empty,
    "dim-runtime": _runtime,
    "dim-underdetermined": _underdetermined,
    "share-mismatch": _share,
    "limit-equations": _limit,
}
