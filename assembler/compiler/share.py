"""One module in two places, one parameter in two places: as statements of the container that sees both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from assembler.compiler.model import PlanError
from assembler.graph.address import Slice, parse_address
from assembler.graph.model import Group, Leaf, Node, Repeat, Scope


class Copies(NamedTuple):
    """Copies `start` to `stop` (exclusive) of the `total` that a repeat has."""

    start: int
    stop: int
    total: int


Segment = str | Copies
Path = tuple[Segment, ...]
"""Where a scope or node stands, from the model down; a repeat that shares its weights has no `Copies`."""


@dataclass(frozen=True, slots=True)
class Pending:
    """`own` (below the scope that holds this) becomes what stands at `target` (from the model down).

    `times`: a list of so many references to it. `freeze`: and is frozen.
    """

    own: Path
    target: tuple[str | int | Slice, ...]
    times: int = 0
    freeze: bool = False

    def below(self, *segments: Segment) -> Pending:
        return Pending((*segments, *self.own), self.target, self.times, self.freeze)


def target_of(address: str) -> tuple[str | int | Slice, ...]:
    """The segments of the address that `same` or `tie` names."""
    found = parse_address(address)
    if isinstance(found, str):
        raise PlanError(f"{address!r}: {found}")
    return found


def rest_of(target: Sequence[str | int | Slice], scope: Path) -> tuple[str | int | Slice, ...] | None:
    """What is left of a target inside the scope; None where it stands elsewhere.

    `*`, or the very slice of copies that the scope stands for, means the copy itself.
    """
    if len(target) <= len(scope):
        return None
    for segment, at in zip(target, scope, strict=False):
        if isinstance(at, str):
            if segment != at:
                return None
        elif isinstance(segment, Slice):
            chosen = segment.of(at.total)
            if chosen != range(at.total) and chosen != range(at.start, at.stop):
                return None
        elif not isinstance(segment, int) or at.stop - at.start != 1 or segment % at.total != at.start:
            return None
    return tuple(target[len(scope) :])


def expression(rest: Sequence[str | int | Slice], start: str = "self") -> str:
    """`self.encoder[0].attend`. PlanError where it would be many modules."""
    text = start
    for segment in rest:
        if isinstance(segment, Slice):
            raise PlanError("`same` or `tie` names the copies of a repeat: which one?")
        text += f"[{segment}]" if isinstance(segment, int) else f".{segment}"
    return text


def assignment(pending: Pending, rest: Sequence[str | int | Slice]) -> list[str]:
    """The lines of `__init__` that make one module, or parameter, stand in two places."""
    lines: list[str] = []
    owner, depth = "self", 0
    for segment in pending.own[:-1]:
        if isinstance(segment, str):
            owner += f".{segment}"
            continue
        copy = "copy" if depth == 0 else f"copy_{depth + 1}"
        lines.append(f"{'    ' * depth}for {copy} in {owner}{slice_text(segment.start, segment.stop, segment.total)}:")
        owner, depth = copy, depth + 1
    value = expression(rest)
    if pending.times:
        value = f"nn.ModuleList([{value}] * {pending.times})"
    last = pending.own[-1]
    lines.append(f"{'    ' * depth}{owner}.{last} = {value}")
    if pending.freeze:
        lines.append(f"{'    ' * depth}{owner}.{last}.requires_grad_(False)")
    return lines


def slice_text(start: int, stop: int, count: int) -> str:
    """`[2:]`, `[:2]`, or nothing for all of them."""
    if (start, stop) == (0, count):
        return ""
    return f"[{start or ''}:{'' if stop == count else stop}]"


def find(scope: Scope, target: Sequence[str | int | Slice]) -> Node | None:
    """The node at an address; where it names copies, the first of them."""
    here: Node | None = None
    inner: Scope | None = scope
    for segment in target:
        if isinstance(segment, str):
            here = inner.nodes.get(segment) if inner is not None else None
        elif isinstance(here, Repeat):
            here = _copy(here, segment)
        else:
            return None
        inside = here.runs[0].node if isinstance(here, Repeat) and here.share else here
        inner = inside.scope if isinstance(inside, Group) else None
    return here


def _copy(node: Repeat, segment: int | Slice) -> Node | None:
    index = next(iter(segment.of(node.count)), 0) if isinstance(segment, Slice) else segment % node.count
    for run in node.runs:
        if index < run.count:
            return run.node
        index -= run.count
    return None


Target = tuple[str | int | Slice, ...]


def owners(scope: Scope) -> tuple[frozenset[Target], frozenset[Target], frozenset[Target]]:
    """The addresses that some `same`, that some `tie`, and whose values some `init: {copy: ...}` of the graph names."""
    same: set[Target] = set()
    tied: set[Target] = set()
    copied: set[Target] = set()
    todo: list[Node] = list(scope.nodes.values())
    while todo:
        node = todo.pop()
        if isinstance(node, Repeat):
            todo.extend(run.node for run in node.runs)
            continue
        if node.same:
            same.add(target_of(node.same))
        if isinstance(node, Leaf):
            tied.update(target_of(address) for address in node.ties.values())
            if "copy" in node.init:
                copied.add(target_of(node.init["copy"]))
        else:
            todo.extend(node.scope.nodes.values())
    return frozenset(same), frozenset(tied), frozenset(copied)
