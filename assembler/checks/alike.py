"""Parameters that start alike and learn alike: members of an ensemble that stay copies of one another.

Two uses of a kind are twins if they have the same options, read the same or the values of twins, start
with the same numbers, and everything that reads the one reads the other in the same way: then their
gradients are equal at every step, and so are they, whatever the data and the optimizer. Twins are
found forward, from the inputs on, and held against their readers until nothing more falls apart.
Randomness in training (dropout, jitter, gumbel) tells uses apart, and so does every reader but a sum or
a mean: a median gives its gradient to one of equal values, a router other rows to each expert (but where every row has
all of them, unweighted: that is a sum).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from assembler.facts.flow import Flow, Use
from assembler_schemas.diagnostic import Diagnostic, Note

EVEN = frozenset({"add", "mean"})
"""Joins that treat all values alike, forward and backward."""
RANDOM = frozenset({"dropout", "jitter", "gumbel"})
STARTS = ("zeros", "ones", "constant(", "numbers(", "eye")
"""Starts that are the same numbers wherever they stand."""
MAX_ROUNDS = 32


def check(flow: Flow) -> Iterator[Diagnostic]:
    """One finding for each group of twins with matrices to learn; what only follows another group is left out."""
    if not any(weight.trainable and len(weight.shape) > 1 and weight.init.startswith((*STARTS, "copy(")) for weight in flow.weights):
        return
    apart: dict[int, tuple[int, ...]] = {}
    for _ in range(MAX_ROUNDS):
        twins = _forward(flow, apart)
        if not any(_learns(flow, group) for group in twins):
            return
        unlike = _unlike(flow, twins)
        if not unlike:
            yield from _said(flow, twins)
            return
        for number, part in unlike.items():
            apart[number] = (*apart.get(number, ()), part)


def _forward(flow: Flow, apart: Mapping[int, tuple[int, ...]]) -> list[list[int]]:
    """Uses that give equal values at the start, in groups of two and more."""
    colors = list(range(len(flow.makers)))
    texts: dict[int, str] = {}  # equal options are mostly one object
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, use in enumerate(flow.uses):
        if not use.inputs or _random(use):
            continue
        node = use.node
        options = texts.get(id(node.options)) or texts.setdefault(id(node.options), repr(node.options))
        read = tuple((port, tuple(colors[value] for value in values)) for port, values in use.inputs.items())
        starts = frozenset((key, _start(flow, weight)) for key, weight in use.weights.items())
        group = groups.setdefault((apart.get(number), node.kind.name, options, node.dtype, read, starts, frozenset(use.outputs)), [])
        if group:
            for port, value in use.outputs.items():
                colors[value] = colors[flow.uses[group[0]].outputs[port]]
        group.append(number)
    return [group for group in groups.values() if len(group) > 1]


def _random(use: Use) -> bool:
    return any(step.attributes.get("fn") in RANDOM for step in use.definition.body) or not use.definition.body


def _start(flow: Flow, number: int) -> tuple[object, ...]:
    """Equal for weights that start with the same numbers and both learn, or do not."""
    weight = flow.weights[number]
    copied = weight.init.startswith("copy(")
    origin = weight.init if weight.init.startswith(STARTS) else weight.init[5:-1] if copied else weight.address
    return origin, weight.shape, weight.trainable, weight.buffer


def _unlike(flow: Flow, twins: Sequence[Sequence[int]]) -> dict[int, int]:
    """Members of groups that are not all read alike, or whose weights are used elsewhere too -> which of them are."""
    color = {number: group[0] for group in twins for number in group}
    readers = _readers(flow, color)
    held: dict[int, Counter[int]] = {}
    for number, use in enumerate(flow.uses):
        for weight in use.weights.values():
            held.setdefault(weight, Counter())[color.get(number, number)] += 1
    found: dict[int, int] = {}
    for group in twins:
        parts: dict[object, int] = {}
        for number in group:
            use = flow.uses[number]
            read = [frozenset(readers.get(value, Counter()).items()) for value in use.outputs.values()]
            shared = [frozenset(held[weight].items()) for weight in use.weights.values()]
            found[number] = parts.setdefault((*read, *shared), len(parts))
        if len(parts) == 1:
            for number in group:
                del found[number]
    return found


def _readers(flow: Flow, color: Mapping[int, int]) -> dict[int, Counter[tuple[object, ...]]]:
    """How each value is read: by uses that are alike, at which place of which port."""
    found: dict[int, Counter[tuple[object, ...]]] = {}
    for number, use in enumerate(flow.uses):
        even = use.node.kind.name in EVEN or _has_all(flow, use)
        for port, values in use.inputs.items():
            for place, value in enumerate(values):
                found.setdefault(value, Counter())[color.get(number, number), port, -1 if even else place] += 1
    for name, value in flow.outputs.items():
        found.setdefault(value, Counter())["output", name, 0] += 1
    return found


def _has_all(flow: Flow, use: Use) -> bool:
    """Whether it sums experts of which each row has all: every gate is 1."""
    if use.node.kind.name != "combine" or (maker := flow.makers[use.inputs["gates"][0]]) < 0:
        return False
    from assembler.library.cards.gating import GatingOptions  # a recipe without mixtures needs none of it

    options = flow.uses[maker].node.options
    return isinstance(options, GatingOptions) and not options.weighted and options.capacity is None and options.top_k >= len(use.inputs["x"])


def _learns(flow: Flow, group: Sequence[int]) -> bool:
    """Whether its members have matrices of their own that are trained."""
    first, second = (flow.uses[number].weights for number in group[:2])
    return any(second[key] != number and flow.weights[number].trainable and len(flow.weights[number].shape) > 1 for key, number in first.items())


def _said(flow: Flow, twins: Sequence[Sequence[int]]) -> Iterator[Diagnostic]:
    learning = [group for group in twins if _learns(flow, group)]
    made = {value for group in twins for number in group for value in flow.uses[number].outputs.values()}
    said: set[int] = set()
    for group in learning:
        uses = [flow.uses[number] for number in group]
        follows = any(value in made and flow.makers[value] not in group for values in uses[0].inputs.values() for value in values)
        if id(uses[0].node) in said or (follows and group is not learning[0]):
            continue
        said.add(id(uses[0].node))
        names = list(dict.fromkeys(use.address for use in uses))
        shown = f"`{names[0]}` and `{names[1]}`" if len(names) == 2 else f"`{names[0]}` and {len(names) - 1} more"
        yield Diagnostic(
            "twin-parameter", f"{shown} start with the same values and learn the same: they stay copies of one another", uses[0].node.span,
            label=f"as `{names[1]}`", related=tuple(Note("and this", use.node.span) for use in uses[1:2] if use.node.span != uses[0].node.span),
            help="let them start apart: drop `copy` or `init` at all but one; or tell them apart in training with `dropout`",
        )  # fmt: skip
