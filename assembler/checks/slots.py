"""Slots: what fills one keeps the ports that `accepts` states."""

from __future__ import annotations

from assembler.facts.model import Facts
from assembler.graph.model import Graph
from assembler_schemas.diagnostic import Diagnostic


def check(graph: Graph, facts: Facts) -> list[Diagnostic]:
    return []
