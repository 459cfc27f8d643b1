"""Conditions on run-time sizes: those that say something which the others do not."""

from __future__ import annotations

from assembler.facts.model import Guard
from assembler_schemas.dim import lower_bound, names, substitute
from assembler_schemas.dim import name as dim_name
from assembler_schemas.shape import Dim


def needed(guards: list[Guard]) -> tuple[Guard, ...]:
    """Without those that others imply: where 4 divides h, h // 4 is at least 1."""
    exact: dict[str, Dim] = {}
    for guard in guards:
        lone = list(names(guard.left))
        if guard.relation == "multiple_of" and isinstance(guard.right, int) and len(lone) == 1 and guard.left == dim_name(lone[0]):
            exact[lone[0]] = guard.right * dim_name(lone[0])
    if not exact:
        return tuple(guards)
    found = []
    for guard in guards:
        spare = lower_bound(substitute(guard.right - guard.left, exact)) if guard.relation == "at_most" else None
        if spare is None or spare < 0:
            found.append(guard)
    return tuple(found)
