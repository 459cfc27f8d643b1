"""The certificate of every graft: silent at the start (proved, or the first node that disturbs), and alive.

What is asked is whether the value that stands for the host's is the host's (`facts/zero/analysis.py`), and at
which SGD step each of the graft's parameters first has a gradient. Only a graft whose recipe demands
silence is an error where it is loud.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from assembler.facts.flow import Flow, Use
from assembler.facts.zero.analysis import Level, Zero
from assembler.graph.model import Graft, Graph, Match
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import NOWHERE, Span


class Certificate(NamedTuple):
    """What is certified of one graft at all of its places together."""

    name: str
    mode: str
    demanded: str
    """`zero` or `identity` where the recipe demands silence; else empty."""
    places: int
    silent: Level | None
    """The weakest level over its places; None: somewhere it disturbs the host."""
    disturbs: str = ""
    """Where it does: the first node of it that does."""
    steps: Mapping[str, int | None] = MappingProxyType({})
    """Parameter that learns -> the first step with a gradient; None: it never has one. Without those whose gradient cancels."""
    span: Span = NOWHERE

    @property
    def alive(self) -> int | None:
        """The step by which all of its parameters have had a gradient; None: some never have one."""
        steps = list(self.steps.values())
        return None if None in steps else max((step for step in steps if step is not None), default=0)


def certificates(graph: Graph, flow: Flow, zero: Zero) -> list[Certificate]:
    """One for each graft, in the order in which they were put in. Linear in the grafts' nodes and weights."""
    return _Certify(flow, zero).all(graph.grafts)


def check(graph: Graph, flow: Flow, zero: Zero) -> list[Diagnostic]:
    """Grafts that must be silent and are not."""
    if not any(graft.init for graft in graph.grafts):
        return []
    return [_loud(item) for item in certificates(graph, flow, zero) if item.demanded and item.silent is None]


def _loud(found: Certificate) -> Diagnostic:
    name = found.name
    return Diagnostic(
        "loud-graft", f"the graft `{name}` must be silent at the start, and its node `{found.disturbs}` disturbs the host", found.span,
        label="silence is demanded here",
        help=f"let what `{found.disturbs}` owns start by itself (no `tie`), write `scale: learned`, or drop `init` of the graft",
    )  # fmt: skip


class _Certify:
    def __init__(self, flow: Flow, zero: Zero) -> None:
        self.flow, self.zero = flow, zero
        self.uses: dict[str, list[int]] = {}
        """Address -> its uses: several where copies share one set of weights."""
        for number, use in enumerate(flow.uses):
            self.uses.setdefault(use.address, []).append(number)
        self.addresses = sorted((weight.address, number) for number, weight in enumerate(flow.weights))

    def all(self, grafts: Sequence[Graft]) -> list[Certificate]:
        found = []
        for graft in grafts:
            levels: list[Level | None] = []
            disturbs = ""
            steps: dict[str, int | None] = {}
            for match in graft.matches:
                level, where = self.silent(match)
                levels.append(level)
                disturbs = disturbs or where
                steps.update(self.steps(match))
            silent: Level | None = None if None in levels else "math" if "math" in levels else "bits"
            found.append(Certificate(graft.name, graft.mode, graft.init, len(levels), silent, disturbs if silent is None else "", steps, graft.span))
        return found

    # --- silent ---
    def silent(self, match: Match) -> tuple[Level | None, str]:
        """How equal the host's value before and after one graft is; where it is not, the node that disturbs it."""
        worst: Level = "bits"
        for before, after, number in self._pairs(match):
            level = self.zero.same_inside(number, match.before, match.after) if match.inside else self.zero.same(before, after)
            if level is None:
                return None, self._first(match, before, number)
            worst = "math" if level == "math" else worst
        return worst, ""

    def _pairs(self, match: Match) -> Iterator[tuple[int, int, int]]:
        """(host's value before, after, the use where they meet), for every time that the graft runs."""
        if match.inside:
            yield from ((-1, -1, number) for number in self.uses.get(match.inside, ()))
            return
        node, port, at = match.entry
        end, _, out = match.after.rpartition(".")
        for number, last in zip(self.uses.get(node, ()), self.uses.get(end, ()), strict=False):
            values = self.flow.uses[number].inputs.get(port, ())
            if at < len(values):
                yield values[at], self.flow.uses[last].outputs[out], number

    def _first(self, match: Match, before: int, number: int) -> str:
        """The node whose value meets the host's and is not zero; the merge itself where that is zero."""
        if match.inside:
            return match.nodes[-1]
        use = self.flow.uses[number]
        for value in self._others(use, before):
            maker = self.flow.makers[value]
            if maker >= 0 and not self.zero.zero(value, "math"):
                return self.flow.uses[maker].address
        return use.address

    def _others(self, use: Use, before: int) -> Iterator[int]:
        for values in use.inputs.values():
            yield from (value for value in values if value != before)

    # --- alive ---
    def steps(self, match: Match) -> dict[str, int | None]:
        """The first step of each parameter that a graft brought and that learns, those of its adapters included."""
        found: dict[str, int | None] = {}
        for node in match.nodes:
            for number in self._owned(node):
                weight = self.flow.weights[number]
                if weight.trainable and number not in self.zero.noise:  # A gradient that cancels is nobody's death.
                    found[weight.address] = self.zero.steps[number]
        return found

    def _owned(self, node: str) -> Iterator[int]:
        """The weights of a node, and of an adapter that was put behind or in front of it (`side_y_adapter`)."""
        for prefix in (f"{node}.", f"{node}_"):
            at = bisect_left(self.addresses, (prefix, -1))
            while at < len(self.addresses) and self.addresses[at][0].startswith(prefix):
                number = self.addresses[at][1]
                if prefix.endswith(".") or self.flow.weights[number].node.adapter:
                    yield number
                at += 1
