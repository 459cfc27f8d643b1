"""Parameters counted from facts alone: exact integers, copies multiplied, shared modules once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

from assembler.facts.model import Facts, NodeFacts, ScopeFacts
from assembler.facts.runs import runs
from assembler.facts.types.signature import signature
from assembler.graph.address import copies_text
from assembler.graph.model import Graph, Group, Leaf, Node, Repeat, Scope
from assembler_schemas.expression import ExpressionError


class Counted(NamedTuple):
    """One leaf (or all like copies of it): its address, and how many parameters each copy has."""

    address: str
    node: Leaf
    facts: NodeFacts
    copies: int
    parameters: int
    trainable: int


_count: Callable[[tuple[str, Leaf, NodeFacts, int, int, int]], Counted] = partial(tuple.__new__, Counted)
_SHAPES: dict[int, tuple[NodeFacts, dict[str, tuple[int, ...]]]] = {}
"""By the identity of facts, which all leaves that are alike share."""


def shapes(facts: NodeFacts) -> dict[str, tuple[int, ...]]:
    """Parameter (and buffer) key -> shape, for those whose sizes are numbers."""
    known = _SHAPES.get(id(facts))
    if known is not None and known[0] is facts:
        return known[1]
    if len(_SHAPES) > 5_000:
        _SHAPES.clear()
    found = _shapes(facts)
    _SHAPES[id(facts)] = (facts, found)
    return found


def _shapes(facts: NodeFacts) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    if facts.definition is None:
        return found
    for name, shape in signature(facts.definition).shapes:
        try:
            dims = [item.evaluate(facts.sizes) for item in shape]
        except ExpressionError:
            continue
        if all(isinstance(dim, int) for dim in dims):
            found[name] = tuple(dim for dim in dims if isinstance(dim, int))
    return found


class _Sizes(NamedTuple):
    """Elements of the parameters of all leaves that share their facts."""

    each: tuple[tuple[str, int, bool | None], ...]
    """(key, elements, whether it learns whatever `freeze` says)."""
    whole: int
    learns: int
    """Those that learn."""
    frozen: int
    """Those that learn though `freeze` is said: what a graft inside a kind brought into it."""


_SIZES: dict[int, tuple[NodeFacts, _Sizes]] = {}


def _sizes(facts: NodeFacts) -> _Sizes:
    known = _SIZES.get(id(facts))
    if known is not None and known[0] is facts:
        return known[1]
    if len(_SIZES) > 5_000:
        _SIZES.clear()
    cards = facts.definition.parameters if facts.definition is not None else {}
    found = _summed([(name, prod(shape), cards[name].trains) for name, shape in shapes(facts).items() if not cards[name].buffer])
    _SIZES[id(facts)] = (facts, found)
    return found


def _summed(each: Sequence[tuple[str, int, bool | None]]) -> _Sizes:
    always, else_ = (sum(number for _, number, trains in each if trains is wanted) for wanted in (True, None))
    return _Sizes(tuple(each), sum(number for _, number, _ in each), always + else_, always)


def _owned(node: Leaf, facts: NodeFacts) -> _Sizes:
    """Of what one copy of a leaf owns: nothing of a `same`, nothing that is tied."""
    if node.same:
        return _NOTHING
    found = _sizes(facts)
    return _summed([item for item in found.each if item[0] not in node.ties]) if node.ties else found


_NOTHING = _summed([])


def parameters(node: Leaf, facts: NodeFacts) -> int:
    """Parameters that one copy of a leaf owns: nothing for a `same`, nothing for what is tied."""
    return _owned(node, facts).whole


def trained(node: Leaf, facts: NodeFacts) -> int:
    """Those of them that learn. What a graft brought inside a kind learns though its host is frozen."""
    owned = _owned(node, facts)
    return owned.frozen if node.freeze else owned.learns


def leaves(graph: Graph, facts: Facts) -> Iterator[Counted]:
    """Every leaf, like copies together, in the order of the graph."""
    stack: list[tuple[Scope, ScopeFacts, str, int, bool]] = [(graph.scope, facts.root, "", 1, False)]
    while stack:
        scope, known, prefix, copies, same = stack.pop()
        inner: list[tuple[Scope, ScopeFacts, str, int, bool]] = []
        for name, node in scope.nodes.items():
            address = f"{prefix}.{name}" if prefix else name
            if type(node) is Leaf:
                yield _counted(node, known.nodes[name], address, copies, same)
                continue
            for item in _unfold(node, known.nodes[name], address, copies, same):
                if isinstance(item, Counted):
                    yield item
                else:
                    inner.append(item)
        stack.extend(reversed(inner))


def _unfold(node: Node, facts: NodeFacts, address: str, copies: int, same: bool) -> Iterator[Counted | tuple[Scope, ScopeFacts, str, int, bool]]:
    if isinstance(node, Repeat):
        for which, _, proto, inner in runs(node, facts):
            if node.share:
                yield from _unfold(proto, inner, address, copies, same or which.start > 0)
            else:
                yield from _unfold(proto, inner, f"{address}.{copies_text(which.start, which.stop, node.count)}", copies * len(which), same)
    elif isinstance(node, Group):
        if facts.inner is not None:
            yield node.scope, facts.inner, address, copies, same or bool(node.same)
    else:
        yield _counted(node, facts, address, copies, same)


def _counted(node: Leaf, facts: NodeFacts, address: str, copies: int, same: bool) -> Counted:
    owned = _NOTHING if same else _owned(node, facts)
    return _count((address, node, facts, copies, owned.whole, owned.frozen if node.freeze else owned.learns))


def totals(graph: Graph, facts: Facts) -> tuple[int, int]:
    """All parameters of the model, and those that are trained."""
    every = trained = 0
    for item in leaves(graph, facts):
        every += item.parameters * item.copies
        trained += item.trainable * item.copies
    return every, trained
