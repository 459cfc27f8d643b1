"""What to write where two media do not meet: for each pair the edit that mends the edge, or why there is none.

Which adapters exist is `graph/insert.py`, what each of them does `bridges.py`; here is only what is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from assembler.facts.model import Conflict, NodeFacts
from assembler.graph.model import Edge, Leaf
from assembler_schemas.dim import exact_divide
from assembler_schemas.kind import Port
from assembler_schemas.shape import Type, parse_port_type

WIDTH = 64
"""Stands in an edit where nothing says how wide a result should be."""
PATCHES = (16, 14, 8, 7, 5, 4, 3, 2, 1)


def medium_of(port: Port | None) -> str:
    return parse_port_type(port.type, True).medium if port is not None else ""


def projection(conflict: Conflict) -> str:
    """What a `linear` on the edge is called."""
    node = conflict.node
    return (
        "linear head"
        if isinstance(node, Leaf) and medium_of(node.definition.inputs.get(conflict.port)) == "logits"
        else "projection"
    )


def across(conflict: Conflict, address: str) -> str:
    """For a value of another dtype class than its port takes, at `address` in the recipe. Empty where both hold
    floats: that is `cast`'s."""
    node, given = conflict.node, conflict.found
    if not isinstance(node, Leaf) or not isinstance(given, Type) or conflict.port not in node.definition.inputs:
        return ""
    ports = node.definition.inputs
    port = parse_port_type(ports[conflict.port].type, True)
    have, take = _sort(given.dtype), _sort(port.dtype)
    if have == take:
        return ""
    if take == "bool":
        return f"a mask says which places count: feed what is true or false, such as an input of type `mask [{' '.join(map(str, given.dims[:2]))}]`"
    if have == "bool":
        return "a mask says which places count, and nothing makes numbers of one: feed it to a port that takes a mask"
    if take == "int":
        return _to_ids(given, address)
    if port.lead is None and len(given.dims) + 1 != len(port.dims):
        return f"ids become vectors in an `embedding`, and `{conflict.port}` takes {len(port.dims)} axes: feed another value"
    edit = f"write `from: {{port: {address}, adapt: {_embedding(ports, conflict.port, node.definition.sizes)}}}`"
    return f"ids become vectors in an `embedding`: {edit}" + (
        ", a row of logits for each id" if port.medium == "logits" else ""
    )


def _sort(dtype: str) -> str:
    return "bool" if dtype == "bool" else "int" if dtype.startswith("i") else "float"


def _to_ids(given: Type, address: str) -> str:
    if given.medium == "image":
        return "an image holds no ids: cut it up with a `patch_embed`, and read the `index` of a `vector_quantize` behind it"
    if not given.dims:
        return "one number is no row of logits: feed ids, or logits with `adapt: argmax`"
    return (
        f"write `from: {{port: {address}, adapt: argmax}}`: the id of the largest entry, and no gradient goes back; for one that is estimated "
        f"let a `linear` without bias take the place of a table and write `adapt: gumbel` or `adapt: straight_through`; "
        "what is no logits wants a `linear` head first, or a `vector_quantize`, whose `index` is ids"
    )


def _embedding(ports: Mapping[str, Port], port: str, stated: Mapping[str, int]) -> str:
    """Its width is stated where no other edge decides it."""
    dims = parse_port_type(ports[port].type, True).dims
    last = dims[-1].text if dims else ""
    elsewhere = any(
        last in (dim.text for dim in parse_port_type(other.type, True).dims)
        for name, other in ports.items()
        if name != port and not other.optional
    )
    if (ports[port].many and not last.endswith("#")) or elsewhere:
        return "embedding"
    return f"{{kind: embedding, out: {stated.get(last, last if last.isdigit() else WIDTH)}}}"


# --- axes ---
def axes(conflict: Conflict, spelled: Callable[[Edge | None], str], known: NodeFacts | None) -> str:
    """What takes away the axes that a value has more than its port, or than another edge, takes. Empty for nothing."""
    node, given, wanted = conflict.node, conflict.found, conflict.wanted
    if (
        not isinstance(node, Leaf)
        or not isinstance(given, Type)
        or given.lead
        or conflict.port not in node.definition.inputs
    ):
        return ""
    own = len(parse_port_type(node.definition.inputs[conflict.port].type, True).dims)
    over = len(given.dims) - own - (len(wanted) if isinstance(wanted, tuple) else 0)
    if over > 0:
        return _fewer(given, spelled(conflict.edge), over, isinstance(wanted, tuple))
    other = conflict.detail.get("other_edge")
    theirs = _type_of(other, node, known) if isinstance(other, Edge) else None
    if theirs is None or not isinstance(other, Edge):
        return ""
    fewer = _fewer(theirs, spelled(other), -over, True)
    more = _more(given, theirs)
    if not more:
        return fewer
    return f"put a node `{{kind: expand, {more}from: {{x: {spelled(conflict.edge)}, like: {spelled(other)}}}}}` between" + (f", or {fewer}" if fewer else "")


def _type_of(edge: Edge, node: Leaf, known: NodeFacts | None) -> Type | None:
    """What another edge of the same node brings."""
    for port, edges in node.inputs.items() if known is not None else ():
        for kind, here in zip(known.inputs.get(port, ()) if known is not None else (), edges, strict=False):
            if here is edge:
                return kind
    return None


def _more(given: Type, theirs: Type) -> str:
    """How an `expand` gives one value the axes of another: of tokens, of places or of an image; empty where it cannot."""
    one, other = given.dims, theirs.dims
    if len(one) > 1 and one == (*other[:-2], *other[-1:]):
        return "axis: -2, "
    return "axis: -1, " if one == other[:-1] else "axis: [-2, -1], " if one == other[:-2] else ""


def _fewer(given: Type, address: str, over: int, tokens: bool) -> str:
    """`tokens`: whether the axis before the last is one of places, for all that the port says."""
    if given.medium == "image" and len(given.dims) == 4:
        patch = next(size for size in PATCHES if all(exact_divide(side, size) is not None for side in given.dims[-2:]))
        return f"an image becomes rows in a `patch_embed`: write `from: {{port: {address}, adapt: {{kind: patch_embed, patch: {patch}}}}}`"
    if over == 1 and tokens and given.medium in ("dense", "logits", "probs"):
        return f"take the mean over the tokens: write `from: {{port: {address}, adapt: pool}}`"
    return ""
