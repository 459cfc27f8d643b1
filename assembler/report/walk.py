"""The graph as rows for people and programs: repeats folded, parameters added up.

One pass without recursion; a repeat of a million copies is one row with a range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from assembler.facts.count import parameters, shapes, trained
from assembler.facts.model import Facts, NodeFacts, ScopeFacts
from assembler.facts.runs import runs
from assembler.graph.address import copies_text
from assembler.graph.mixture import KINDS, mixture_of
from assembler.graph.model import Graph, Group, Leaf, Node, Repeat, Scope
from assembler.graph.rewrite import prune
from assembler.library import registry


@dataclass(slots=True, eq=False, repr=False)
class Row:
    """One node, or one run of alike copies (`copies` is then their range).

    `parameters` and `trainable` count everything at and below this row, all copies; None where a
    size is unknown. What another row owns (`same`, a tied parameter) is not counted again.
    """

    name: str
    address: str
    """With `*` (all copies) or `0:3` in the place of a copy number."""
    depth: int
    parent: int
    node: Node
    facts: NodeFacts | None
    kind: str
    copies: range | None = None
    weights: int = 1
    """How many sets of weights this row stands for, within its parent."""
    parameters: int | None = 0
    trainable: int | None = 0
    children: list[int] = field(default_factory=list)
    built: bool = True
    """Whether an output needs it; what none needs is checked, never built, and counts nothing."""

    @property
    def adapter(self) -> bool:
        return isinstance(self.node, Leaf) and bool(self.node.adapter)


def walk(graph: Graph, facts: Facts) -> list[Row]:
    """Every node, parents before children, in the order of the graph."""
    rows: list[Row] = []
    todo = _scope(-1, graph.scope, facts.root, prune(graph.scope))
    while todo:
        visit = todo.pop()
        above = rows[visit.parent] if visit.parent >= 0 else None
        row = _row(visit, above)
        if above is not None:
            above.children.append(len(rows))
        todo.extend(_below(visit, len(rows)))
        rows.append(row)
    _add_up(rows)
    return rows


class _Visit(NamedTuple):
    name: str
    parent: int
    node: Node
    known: NodeFacts | None
    kept: Node | None
    """The same node in the graph that is built; None where no output needs it."""
    copies: range | None = None
    shared: bool = False


def _row(visit: _Visit, above: Row | None) -> Row:
    node = visit.node
    address = f"{above.address}.{visit.name}" if above else visit.name
    if visit.copies is not None and visit.shared and above:
        address = above.address
    kind = _kind(node) if isinstance(node, Leaf) else node.kind if isinstance(node, Group) else "repeat"
    row = Row(visit.name, address, above.depth + 1 if above else 0, visit.parent, node, visit.known, kind, visit.copies)
    row.built = visit.kept is not None
    if isinstance(node, Leaf) and row.built:
        row.parameters, row.trainable = _own(node, visit.known)
    if isinstance(node, Group) and node.same:
        row.weights = 0
    elif visit.copies is not None:
        # Shared copies have one set of weights, counted with the first of them.
        row.weights = len(visit.copies) if not visit.shared else int(visit.copies.start == 0)
    return row


def _kind(node: Leaf) -> str:
    """The kind as a recipe would name it: with its version where the plain name means another."""
    card = node.kind
    return card.name if registry.kind(card.name) is card else f"{card.name}@{card.version}"


def _below(visit: _Visit, index: int) -> list[_Visit]:
    node, known, kept = visit.node, visit.known, visit.kept
    if isinstance(node, Group):
        return _scope(index, node.scope, known.inner if known else None, kept.scope if isinstance(kept, Group) else None)
    if not isinstance(node, Repeat):
        return []
    found = []
    for span, run, inner, facts in _copies(node, known):
        name = copies_text(span.start, span.stop, node.count)
        built = kept.runs[run].node if isinstance(kept, Repeat) else None
        found.append(_Visit(name, index, inner, facts, built, span, node.share))
    return found[::-1]


def _copies(node: Repeat, known: NodeFacts | None) -> Iterator[tuple[range, int, Leaf | Group, NodeFacts | None]]:
    """`facts.runs.runs`; of a repeat that was not judged those of the graph."""
    if known is not None and known.runs:
        yield from runs(node, known)
        return
    start = 0
    for number, run in enumerate(node.runs):
        yield range(start, start + run.count), number, run.node, None
        start += run.count


def _scope(parent: int, scope: Scope, facts: ScopeFacts | None, kept: Scope | None) -> list[_Visit]:
    """What is to be visited of a scope, last first: a stack takes it from the end."""
    return [
        _Visit(name, parent, node, facts.nodes.get(name) if facts else None, kept.nodes.get(name) if kept else None)
        for name, node in scope.nodes.items()
    ][::-1]


def _add_up(rows: list[Row]) -> None:
    for row in reversed(rows):
        row.parameters = _times(row.parameters, row.weights)
        row.trainable = _times(row.trainable, row.weights)
        if row.parent >= 0:
            above = rows[row.parent]
            above.parameters = _plus(above.parameters, row.parameters)
            above.trainable = _plus(above.trainable, row.trainable)


def _times(count: int | None, times: int) -> int | None:
    return 0 if times == 0 else None if count is None else count * times


def _plus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def total(rows: list[Row]) -> tuple[int | None, int | None]:
    """Parameters, and those of them that train, of the whole model."""
    everything: int | None = 0
    trainable: int | None = 0
    for row in rows:
        if row.parent < 0:
            everything, trainable = _plus(everything, row.parameters), _plus(trainable, row.trainable)
    return everything, trainable


def active(rows: list[Row]) -> int | None:
    """Parameters that one row of the input goes through: of each mixture the `top_k` largest experts.

    None where there is no mixture, or a size is unknown.
    """
    if not any(row.kind in KINDS for row in rows) or total(rows)[0] is None:
        return None
    each = [0] * len(rows)
    """Of one set of weights of each row."""
    for index in range(len(rows) - 1, -1, -1):
        row = rows[index]
        if not row.children:
            each[index] = (row.parameters or 0) // row.weights if row.weights else 0
            continue
        mixture = mixture_of(row.node) if isinstance(row.node, Group) else None
        experts: list[int] = []
        for child in row.children:
            if mixture is None or rows[child].name not in mixture.experts:
                each[index] += each[child] * rows[child].weights
            elif isinstance(rows[child].node, Repeat):
                experts.extend(each[run] for run in rows[child].children for _ in range(rows[run].weights))
            else:
                experts.append(each[child])
        each[index] += sum(sorted(experts)[-mixture.top_k :]) if mixture is not None else 0
    return sum(each[index] * row.weights for index, row in enumerate(rows) if row.parent < 0)


def _own(leaf: Leaf, known: NodeFacts | None) -> tuple[int | None, int | None]:
    """Parameters that one copy owns, and those of them that train; None if a size is unknown, or what it owns."""
    if leaf.same:
        return 0, 0
    if known is None or known.definition is None:
        return None, None
    if known.definition.opaque:
        return None, 0 if leaf.freeze else None
    if len(shapes(known)) < len(known.definition.parameters):
        return None, None
    count = parameters(leaf, known)
    return count, trained(leaf, known)
