"""Checks that stand in `assembler/checks` and that `checks/run.py` does not call yet: pages run them too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from assembler import assemble
from assembler.checks import grafts, norms
from assembler.facts.flow import Flow, flow
from assembler.facts.model import Facts
from assembler.facts.norm import norm
from assembler.facts.zero import zero
from assembler.graph.model import Graph
from assembler_schemas.diagnostic import Diagnostic

Check = Callable[[Graph, Facts, Flow], list[Diagnostic]]
WAITING: list[Check] = [lambda graph, facts, unfolded: norms.check(graph, facts, unfolded, norm(unfolded)), lambda graph, facts, unfolded: grafts.check(graph, unfolded, zero(unfolded))]


@contextmanager
def all_checks() -> Iterator[None]:
    """`assembler.check` with those that wait. Drop this once the list is empty."""
    known: Callable[[Graph, Facts], list[Diagnostic]] = vars(assemble)["run_checks"]

    def run(graph: Graph, facts: Facts) -> list[Diagnostic]:
        found = known(graph, facts)
        if facts.conflicts or any(item.level == "error" for item in found):
            return found
        try:
            unfolded = flow(graph, facts)
        except Exception:  # noqa: BLE001 - a graph that has errors of its own has no flow
            return found
        return found if unfolded is None else [*found, *(item for check in WAITING for item in check(graph, facts, unfolded))]

    with mock.patch.object(assemble, "run_checks", run):
        yield
