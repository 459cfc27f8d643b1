"""What would fill a slot of a recipe: every kind with its default options, and the files of the slot's group. Each is
really put there and the whole recipe checked. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from assembler.assemble import Origin, examine, meant
from assembler.facts.count import totals
from assembler.library import registry
from assembler.source.recipe import Recipe
from assembler.weights.fit import At, files, outside, refilled


class Candidate(NamedTuple):
    """One part, and what the recipe comes to with it."""

    override: str
    """What puts it there: `slots/ffn=moe`, `slots.ffn.kind=swiglu`."""
    fits: bool
    parameters: int | None
    """Of the whole model; None where it does not fit."""
    difference: int | None
    """To the recipe as it is; None where that does not check."""
    remark: str
    """Why it does not fit, or what it changes outside the slot."""
    now: bool
    """It is what fills the slot now."""


def candidates(recipe: Recipe, at: At) -> Iterator[Candidate]:
    """Files of the group first, then kinds by name. Those that are made of parts are not among them: they have no default."""
    before = meant(recipe, examine(recipe))
    count = totals(before.graph, before.facts)[0] if before is not None else None
    now = _filler(recipe, at)
    for name in files(recipe, at):
        override = f"{at.group}={name}" if at.path == f"slots.{at.slot.name}" else f"{at.path}={name}"
        yield _judged(recipe, before, count, at, name, override, now)
    for name in registry.names():
        card = registry.kind(name)
        if card is not None and not card.container:
            yield _judged(recipe, before, count, at, {"kind": name}, f"{at.path}.kind={name}", now)


def _judged(recipe: Recipe, before: Origin | None, count: int | None, at: At, part: Any, override: str, now: Any) -> Candidate:
    changed, found = refilled(recipe, at, part)
    report = examine(changed, found)
    after = meant(changed, report)
    same = _filler(changed, at) == now
    if after is None:
        error = next(item for item in report.diagnostics if item.level == "error")
        return Candidate(override, False, None, None, f"{error.message} [{error.code}]", same)
    whole = totals(after.graph, after.facts)[0]
    beyond = outside(before, after, at) if before is not None else []
    remark = beyond[0].message.partition(" changes ")[2] if beyond else ""
    return Candidate(override, True, whole, whole - count if count is not None else None, f"changes {remark}" if remark else "", same)


def _filler(recipe: Recipe, at: At) -> Any:
    """What fills the slot, as plain data."""
    value: Any = recipe.tree
    for key in at.path.split("."):
        value = value.data[key]
    return {key: item for key, item in value.plain().items() if key != "accepts"}
