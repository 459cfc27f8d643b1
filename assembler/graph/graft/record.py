"""The record of grafts: for each place the host's value before and after, by addresses with copy numbers."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.model import Graft, Match, Ref
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.build import Builder
    from assembler.graph.graft.place import Level, Placed

MAX_MATCHES = 20_000
"""Places that are written down; a larger graph has no flow, and so no certificate."""


class _Around(NamedTuple):
    """What holds a scope: its copies `start` to `stop` (0 to 0: it is no copy)."""

    scope: ScopeDraft
    container: Draft
    start: int
    stop: int


def record(builder: Builder, root: ScopeDraft) -> tuple[Graft, ...]:
    """Every graft that the recipe states, with all its places."""
    if not builder.grafted:
        return ()
    around = _around(root)
    found: dict[int, tuple[Placed, list[Match]]] = {}
    made: dict[int, dict[str, str]] = {}
    """Definition (by identity) -> the value that a graft inside meets -> the one that it makes."""
    total = 0
    for placed in builder.grafted:
        matches = found.setdefault(id(placed.overlay.spec), (placed, []))[1]
        chain = _chain(around, placed.target.levels)
        for numbers in product(*(range(item.start, item.stop) for item in chain if item.stop)):
            total += 1
            if total > MAX_MATCHES:
                break
            matches.append(_match(placed, chain, numbers, _inside(placed, made)))
    return tuple(
        Graft(placed.overlay.name, placed.overlay.mode, placed.overlay.demand, tuple(matches), _span(placed))
        for placed, matches in found.values()
    )


def _inside(placed: Placed, made: dict[int, dict[str, str]]) -> dict[str, str]:
    chosen = placed.target.draft.chosen if placed.inside and placed.target.draft is not None else None
    if chosen is None:
        return {}
    known = made.get(id(chosen.definition))
    if known is None:
        known = made[id(chosen.definition)] = {branch.host: branch.value for branch in chosen.definition.branches}
    return known


def _span(placed: Placed) -> Span:
    overlay = placed.overlay
    return overlay.span("init") if overlay.demand else overlay.spec.span.at(overlay.path)


def _around(root: ScopeDraft) -> dict[int, _Around]:
    """Scope (by identity) -> what holds it."""
    found: dict[int, _Around] = {}
    todo = [root]
    while todo:
        scope = todo.pop()
        for draft in scope.nodes.values():
            start = 0
            for count, run in draft.runs:
                if run.inner is not None:
                    found[id(run.inner)] = _Around(scope, draft, 0 if draft.share else start, 0 if draft.share else start + count)
                    todo.append(run.inner)
                start += count
            if draft.inner is not None:
                found[id(draft.inner)] = _Around(scope, draft, 0, 0)
                todo.append(draft.inner)
    return found


def _chain(around: dict[int, _Around], levels: tuple[Level, ...]) -> list[_Around]:
    """What holds a graft, outermost first."""
    chain: list[_Around] = []
    last, scope = levels[-1], levels[-1].scope
    if last.run is not None and last.run.inner is None and last.container is not None:
        scope = levels[-2].scope  # inside copies of a single leaf
        copied = not last.container.share
        chain.append(_Around(scope, last.container, last.start if copied else 0, last.stop if copied else 0))
    while id(scope) in around:
        chain.insert(0, around[id(scope)])
        scope = chain[0].scope
    return chain


def _match(placed: Placed, chain: list[_Around], numbers: tuple[int, ...], made: dict[str, str]) -> Match:
    names: list[str] = []
    left = list(numbers)
    for item in chain:
        names.append(item.container.name)
        if item.stop:
            names.append(str(left.pop(0)))
    prefix = ".".join([*names, ""])
    node, port, at = placed.entry
    if placed.inside:
        run = placed.target.level.run
        inside = ".".join(names) if run is not None and run.inner is None else prefix + placed.inside
        return Match(placed.before.port, made[placed.before.port], (inside, port, at), tuple(f"{inside}.{name}" for name in placed.nodes), inside)
    own = tuple(prefix + name for name in placed.nodes)
    return Match(_address(chain, list(numbers), placed.before), _address(chain, list(numbers), placed.after), (prefix + node, port, at), own)


def _address(chain: list[_Around], numbers: list[int], ref: Ref) -> str:
    """The address of a value: an input of a scope is what feeds it from outside."""
    chain = list(chain)
    while not ref.node and chain:
        here = chain.pop()
        number = numbers.pop() if here.stop else 0
        container = here.container
        if here.stop and ref.port == container.first and number > 0:
            ref = Ref(container.name, f"{number - 1}.{container.main}")
        elif ref.port in container.links:
            ref = Ref(container.name, container.links[ref.port])
        else:
            edges = container.edges.get(ref.port, ())
            if not edges:
                return ""
            ref = edges[0].source
    names: list[str] = []
    for item in chain:
        names.append(item.container.name)
        if item.stop:
            names.append(str(numbers.pop(0)))
    return ".".join([*names, ref.node, ref.port]) if ref.node else ref.port
