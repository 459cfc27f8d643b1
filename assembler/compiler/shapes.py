"""What is said of a model's values before it exists: sizes for `torch.export`, types for comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import gcd, lcm
from typing import NamedTuple

from assembler.facts.model import Facts, Guard, NodeFacts, ScopeFacts
from assembler.graph.model import Graph, Group, Node, Repeat, Scope
from assembler_schemas import dim as sizes
from assembler_schemas.dim import Floor, Poly, names
from assembler_schemas.shape import Type

MAX_SIZE = 2**20
MAX_STEP = 2**16


def predicted(graph: Graph, facts: Facts) -> Iterator[tuple[str, Type]]:
    """(address, type) of every value that a probe can see: inputs, and every node's outputs, copy by copy."""
    for name, kind in facts.root.inputs.items():
        if kind is not None:
            yield name, kind
    todo: list[tuple[str, Node, NodeFacts]] = _inside("", graph.scope, facts.root)
    while todo:
        prefix, node, here = todo.pop()
        for port, kind in here.outputs.items():
            if kind is not None and (not isinstance(node, Repeat) or port in node.losses or any(port == out for _, out in node.streams)):
                yield f"{prefix}{port}", kind
        if isinstance(node, Group) and here.inner is not None:
            todo.extend(_inside(prefix, node.scope, here.inner))
        elif isinstance(node, Repeat):
            nodes = (run.node for run in node.runs for _ in range(run.count))
            copies = (copy for count, copy in here.runs for _ in range(count))
            todo.extend((f"{prefix}{i}.", *pair) for i, pair in enumerate(zip(nodes, copies, strict=True)))


def _inside(prefix: str, scope: Scope, facts: ScopeFacts) -> list[tuple[str, Node, NodeFacts]]:
    return [(f"{prefix}{name}.", node, facts.nodes[name]) for name, node in scope.nodes.items()]


class Axis(NamedTuple):
    """An axis of an input that the run decides: `factor * name + rest`."""

    name: str
    factor: int
    rest: int


class Range(NamedTuple):
    """What a run-time size may be: `step * n + offset` for n from `least` to `most`."""

    step: int
    offset: int
    least: int
    most: int


def axes(graph: Graph, facts: Facts) -> tuple[dict[str, dict[int, Axis]], dict[str, Range]]:
    """For `torch.export`: input -> axis -> what it is, and the range of every name in them.

    Left out, and so fixed to the example's size: an axis that torch cannot say as a multiple and a
    sum of one name, an axis behind `...`, and a name that a condition fixes or ties to another one.
    """
    ranges = _ranges(facts.guards)
    found: dict[str, dict[int, Axis]] = {}
    for name, kind in graph.inputs.items():
        sizes = enumerate(kind.dims if not kind.lead else ())
        found[name] = {axis: item for axis, dim in sizes if (item := affine(dim)) is not None and ranges.get(item.name, FREE) is not None}
    used = {item.name for items in found.values() for item in items.values()}
    least = _least(facts)
    return found, {name: _from(ranges.get(name) or FREE, least.get(name, 1)) for name in sorted(used)}


def _from(item: Range, least: int) -> Range:
    """The part of a range in which the size itself is `least` or more."""
    return item._replace(least=max(item.least, -((item.offset - least) // item.step)))


def _least(facts: Facts) -> dict[str, int]:
    """What a name must be at least so that every worked-out size that a node reads is 2 or more.

    torch.export takes an inner axis of length 1 for another case than all longer ones: a network
    that halves an image five times is exported for images of more than 32 rows.
    """
    found: dict[str, int] = {}
    for dim in _read(facts):
        name = next(iter(names(dim)))
        if len(names(dim)) > 1 or dim == sizes.name(name):
            continue
        low, high = 1, MAX_SIZE
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if sizes.evaluate(dim, {name: middle}) >= 2 else (middle + 1, high)
        found[name] = max(found.get(name, 1), low)
    return found


def _read(facts: Facts) -> set[Poly]:
    """Every size that is no number, of every value that some node takes."""
    found: set[Poly] = set()
    todo: list[ScopeFacts] = [facts.root]
    while todo:
        nodes = list(todo.pop().nodes.values())
        while nodes:
            node = nodes.pop()
            found.update(dim for kinds in node.inputs.values() for kind in kinds for dim in kind.dims if isinstance(dim, Poly))
            nodes.extend(copy for _, copy in node.runs)
            if node.inner is not None:
                todo.append(node.inner)
    return found


def affine(dim: sizes.Dim) -> Axis | None:
    """A size as factor * name + rest; None where it is not that."""
    if not isinstance(dim, Poly) or len(names(dim)) != 1:
        return None
    name = next(iter(names(dim)))
    if any(isinstance(atom, Floor) for monomial in dim.terms for atom in monomial) or set(dim.terms) - {(), (name,)}:
        return None
    factor = dim.terms[(name,)]
    return Axis(name, factor, dim.terms.get((), 0)) if factor > 0 else None


FREE = Range(1, 0, 1, MAX_SIZE)


# --- ranges of run-time sizes ---
def _ranges(guards: Sequence[Guard]) -> dict[str, Range | None]:
    """Name -> its range, for names that some condition is about; None where it has none that torch can say."""
    found: dict[str, Range | None] = {}
    alone: dict[str, list[Guard]] = {}
    for guard in guards:
        involved = names(guard.left) | names(guard.right)
        if len(involved) == 1:
            alone.setdefault(next(iter(involved)), []).append(guard)
        elif guard.relation != "at_most":
            found.update(dict.fromkeys(involved))  # torch has no range for a size that depends on another one
    for name, about in alone.items():
        if name not in found:
            found[name] = _range(name, about)
    return found


def _range(name: str, guards: Sequence[Guard]) -> Range | None:
    step, offset = 1, 0
    for guard in guards:
        if guard.relation == "multiple_of":
            more = _congruence(name, guard)
            joined = _join((step, offset), more) if more is not None else None
            if joined is None:
                return None
            step, offset = joined
    least, most = -(-(1 - offset) // step), (MAX_SIZE - offset) // step
    for guard in guards:
        if guard.relation == "equal":
            return None
        if guard.relation == "at_most":
            bounds = _bounds(lambda n, guard=guard: holds(guard, {name: step * n + offset}), least, most)  # type: ignore[misc]
            if bounds is None:
                return None
            least, most = bounds
    return Range(step, offset, least, most)


def _congruence(name: str, guard: Guard) -> tuple[int, int] | None:
    """`factor * name + rest` is a multiple of k, as name = offset modulo step."""
    if not isinstance(guard.right, int):
        return None
    left = affine(guard.left)
    if left is None:
        return None
    step = guard.right // gcd(left.factor, guard.right)
    return next(((step, offset) for offset in range(min(step, MAX_STEP)) if (left.factor * offset + left.rest) % guard.right == 0), None)


def _join(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int] | None:
    """Both congruences as one."""
    step = lcm(one[0], two[0])
    candidates = range(one[1], min(step, MAX_STEP), one[0])
    return next(((step, offset) for offset in candidates if offset % two[0] == two[1]), None)


def holds(guard: Guard, values: Mapping[str, int]) -> bool:
    """Whether a condition is kept at these sizes."""
    left, right = sizes.evaluate(guard.left, values), sizes.evaluate(guard.right, values)
    if guard.relation == "multiple_of":
        return right > 0 and left % right == 0
    return left <= right if guard.relation == "at_most" else left == right


def _bounds(keeps: Callable[[int], bool], least: int, most: int) -> tuple[int, int] | None:
    """The part of least..most at which a condition holds that grows, or shrinks, all the way."""
    low, high = keeps(least), keeps(most)
    if low and high:
        return least, most
    if not low and not high:
        return None
    start, stop = least, most
    while stop - start > 1:
        middle = (start + stop) // 2
        if keeps(middle) == low:
            start = middle
        else:
            stop = middle
    return (least, start) if low else (stop, most)
