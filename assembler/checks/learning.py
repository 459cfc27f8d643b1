"""Weights that never learn, learn late, or stand where zeros go through a norm; rests on facts/zero alone.

An error is what zeros at the start do unseen. What the recipe wants in so many words (a detach, a
node that gives zeros) is a warning: the weights behind it want `freeze: true`, or to be removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from assembler.facts.flow import Flow
from assembler.facts.zero.analysis import Zero
from assembler.graph.address import starred
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.span import NOWHERE

if TYPE_CHECKING:
    from assembler.facts.zero.why import End

LATE = 2
"""The first step with a gradient of which a reader should know."""


def check(flow: Flow, zero: Zero) -> list[Diagnostic]:
    """One finding for each cause; copies of a repeat are one."""
    return [*_norms(flow, zero), *_dead(flow, zero), *_late(flow, zero)]


def _dead(flow: Flow, zero: Zero) -> Iterator[Diagnostic]:
    """Trainable weights without a gradient, by what holds it back. What no output is made from is said elsewhere."""
    dead = [number for number, step in enumerate(zero.steps) if step is None and number not in zero.noise]
    dead = [number for number in dead if flow.weights[number].trainable and not flow.weights[number].buffer]
    if not dead:
        return
    from assembler.facts.zero.why import Reader  # a network that learns needs no reasons

    reader = Reader(flow, zero)
    groups: dict[tuple[object, ...], tuple[End, list[int]]] = {}
    for number in dead:
        end, _ = reader.end(number)
        if end.sort == "weight" and zero.steps[end.weight] is None:  # It stays zero: of itself, or because of what holds it back too.
            behind, _ = reader.end(end.weight)
            end = behind if behind.sort in ("zeros", "detach") else end
        if end.sort in ("unread", "single"):
            continue
        owner = flow.uses[end.use].node
        key = (end.sort, id(owner), flow.weights[end.weight].key if end.weight >= 0 else "")
        groups.setdefault(key, (end, []))[1].append(number)
    for end, numbers in _merged(flow, list(groups.values())):
        yield _finding(flow, end, numbers)


def _merged(flow: Flow, groups: Sequence[tuple[End, list[int]]]) -> Iterator[tuple[End, list[int]]]:
    """Zeros that hold back one another are one cause: weights that start as zeros and are dead themselves."""
    blocked = [(end, numbers) for end, numbers in groups if end.sort == "weight"]
    yield from (item for item in groups if item[0].sort != "weight")
    owner: dict[int, int] = {}
    for place, (_, numbers) in enumerate(blocked):
        owner.update((id(flow.weights[number].node), place) for number in numbers)
    parent = list(range(len(blocked)))

    def root(place: int) -> int:
        while parent[place] != place:
            place = parent[place]
        return place

    for place, (end, _) in enumerate(blocked):
        other = owner.get(id(flow.weights[end.weight].node))
        if other is not None:
            one, two = sorted((root(place), root(other)))
            parent[two] = one
    joined: dict[int, tuple[End, list[int]]] = {}
    for place, (end, numbers) in enumerate(blocked):
        joined.setdefault(root(place), (end, []))[1].extend(numbers)
    yield from joined.values()


def _finding(flow: Flow, end: End, numbers: Sequence[int]) -> Diagnostic:
    first = flow.weights[numbers[0]]
    every = _patterns(flow, numbers)
    names = f"`{every[0]}`" if len(every) == 1 else f"`{every[0]}` and {len(every) - 1} more"
    verb = "has" if len(every) == 1 else "have"
    from assembler.facts.zero.why import said

    cause = said(flow, end)
    notes = (Note(f"`{cause.address}` {cause.text}", cause.span),) if cause.span not in (first.node.span, NOWHERE) else ()
    if end.sort == "weight":
        return Diagnostic(
            "dead-parameter", f"{names} never {verb} a gradient: `{cause.address}` {cause.text}", first.node.span, related=notes,
            help="let one of the two start as something else: of a product only one side may be zero",
        )  # fmt: skip
    return Diagnostic(
        "cut-parameter", f"{names} never {verb} a gradient: `{cause.address}` {cause.text}", first.node.span, related=notes,
        help="say that it is meant, `freeze: true`, or remove what holds the gradient back",
    )  # fmt: skip


def _late(flow: Flow, zero: Zero) -> Iterator[Diagnostic]:
    """Weights that wait for two steps or more, one finding for each step."""
    late: dict[int, list[int]] = {}
    for number, step in enumerate(zero.steps):
        if step is not None and step >= LATE and flow.weights[number].trainable and number not in zero.noise:
            late.setdefault(step, []).append(number)
    for step, numbers in sorted(late.items()):
        every = _patterns(flow, numbers)
        names = f"`{every[0]}`" if len(every) == 1 else f"`{every[0]}` and {len(every) - 1} more"
        verb = "has its" if len(every) == 1 else "have their"
        yield Diagnostic(
            "late-parameter", f"{names} {verb} first gradient at step {step}", flow.weights[numbers[0]].node.span,
            help="zeros in a row wake one after another, the last one first; let some of them start as usual",
        )  # fmt: skip


def _norms(flow: Flow, zero: Zero) -> Iterator[Diagnostic]:
    """Norms of zeros that are something else after the first steps: the norm then gives them full strength at once.

    Zeros that a kind gives are not meant: what moves behind them is a bias, and it moves as any other.
    """
    if zero.plain:
        return
    from assembler.facts.zero.why import Reader

    reader, seen = Reader(flow, zero), set[int]()
    for place, use in enumerate(flow.uses):
        norms = [step.inputs[0] for step in use.definition.body if step.op == "norm" and zero.wakes(place, step.inputs[0])]
        if not norms or id(use.node) in seen:
            continue
        end = reader.zeros(place, norms[0], start=True)
        if end.sort == "weight":
            seen.add(id(use.node))
            cause, weight = flow.uses[end.use], flow.weights[end.weight]
            notes = (Note(f"`{weight.address}` starts as zeros", cause.node.span),) if cause.node is not use.node else ()
            yield Diagnostic(
                "norm-after-zero", f"`{starred(use.address)}` norms a value that starts as zeros: after one step it is at full strength", use.node.span,
                related=notes, help="let the layer before it start as usual; where silence is wanted, let the norm's gain start as zeros instead",
            )  # fmt: skip


def _patterns(flow: Flow, numbers: Sequence[int]) -> list[str]:
    """Addresses, those of copies as one."""
    return list(dict.fromkeys(starred(flow.weights[number].address) for number in numbers))
