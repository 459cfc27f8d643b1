"""The whole way on one page of calls: recipe -> graph -> facts -> report -> plan -> model."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from assembler.adapters.insert import adapt
from assembler.checks.echoes import folded, once, without_doubts, without_echoes
from assembler.checks.run import check as run_checks
from assembler.checks.run import prove
from assembler.facts.model import Facts
from assembler.facts.signals import Signals, signals
from assembler.facts.types.infer import infer
from assembler.graph.build import build as build_graph
from assembler.graph.model import Graph
from assembler.graph.rewrite import prune
from assembler.report.report import Report
from assembler.source.parse import parse
from assembler.source.recipe import Recipe
from assembler_schemas.diagnostic import Diagnostic

if TYPE_CHECKING:
    from torch import nn

    from assembler.compiler.plan import Plan
    from assembler.source.tree import Value

Source = Recipe | str | os.PathLike[str] | Mapping[str, Any]


class RecipeError(ValueError):
    """A recipe that does not check. `report` holds every diagnostic; the text is the report's."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report

    def __reduce__(self) -> tuple[type[RecipeError], tuple[Report]]:
        # Launchers pickle what a job raised; graph and facts stay where they were made.
        return RecipeError, (Report(self.report.name, self.report.diagnostics),)


# --- reading ---
def read(source: Source, overrides: Sequence[str] = ()) -> tuple[Recipe | None, list[Diagnostic]]:
    """The recipe that a path, a mapping or a DictConfig holds, with its overrides, and what is wrong with its text."""
    if isinstance(overrides, str):
        raise TypeError(f"overrides are a list of texts: write [{overrides!r:.60}]")
    if isinstance(source, Recipe):
        if not overrides:
            return source, []
        from assembler.source.override import apply

        tree, found = apply(source.tree, overrides, source.clean)
        recipe, more = parse(tree, source.file, source)
        return recipe, [*found, *more]
    if isinstance(source, (str, os.PathLike)):
        from assembler.source.override import compose

        tree_or_none, found = compose(source, overrides)
        name = os.fspath(source)
    elif isinstance(source, Mapping):
        from assembler.source.mapping import tree_of

        tree_or_none, found = tree_of(source)
        name = ""
    else:
        raise TypeError(f"a recipe is a path, a mapping, a DictConfig or what `assembler.load` gives, not {source!r:.60}")
    if tree_or_none is None:
        return None, found
    recipe, more = parse(tree_or_none, name)
    found = [*found, *without_echoes(found, more)]
    return (read(recipe, overrides) if overrides and not name else (recipe, found))


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, its defaults and overrides composed. RecipeError if it cannot be read."""
    return _whole(path, overrides)


def recipe(source: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that a mapping or a DictConfig states."""
    return _whole(source, overrides)


def _whole(source: Source, overrides: Sequence[str]) -> Recipe:
    found_recipe, found = read(source, overrides)
    if found_recipe is None or any(item.level == "error" for item in found):
        raise RecipeError(Report(name=found_recipe.name if found_recipe else "", diagnostics=tuple(found)))
    return found_recipe


# --- checking ---
def check(source: Source, overrides: Sequence[str] = (), *, frozen: bool = False, scale: bool = False) -> Report:
    """Every finding about a recipe. Never raises for a bad one; never imports torch.

    `frozen`: an adapter that the recipe does not ask for is an error; where a lock lies beside the recipe,
    so is any difference from it, and the adapters are those of the lock. `scale`: also what is estimated,
    not proven: how large values and gradients are at the start.
    """
    with no_collection():
        found_recipe, found = read(source, overrides)
        if found_recipe is None:
            return Report(diagnostics=tuple(found))
        if frozen:
            return _held_to_lock(found_recipe, found, overrides, scale)
        return examine(found_recipe, found, scale=scale)


def _held_to_lock(found_recipe: Recipe, found: Sequence[Diagnostic], overrides: Sequence[str], scale: bool) -> Report:
    """With the lock that lies beside a recipe; without one the recipe itself must ask for every adapter."""
    from assembler.checks import frozen, locked

    def again(tree: Value) -> locked.Lock | None:
        other, said = parse(tree, found_recipe.file)
        graph, more = build_graph(other)
        graph, facts, mended = adapt(graph, infer(graph))
        if any(item.level == "error" for item in (*said, *more, *mended, *run_checks(graph, facts))):
            return None
        return locked.lock_of(other, graph._replace(scope=prune(graph.scope)), facts)

    lock, said = frozen.beside(found_recipe.file)
    report = examine(found_recipe, [*found, *said], lock is None, scale)
    now = meant(found_recipe, report)
    if lock is None or now is None:
        return report
    return replace(report, diagnostics=(*report.diagnostics, *frozen.check(lock, locked.lock_of(*now), found_recipe, overrides, again)))


@contextmanager
def no_collection() -> Iterator[None]:
    """Without the cyclic collector: a check makes many objects and no garbage circles, and scanning
    them again and again would cost a third of its time.

    What it leaves goes to the oldest generation as it is (`freeze` and `unfreeze` move lists, they scan
    nothing): to find all of it alive would be the collector's first work, a seventh of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():  # what a program has frozen for good stays so
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def examine(found_recipe: Recipe, found: Sequence[Diagnostic] = (), frozen: bool = False, scale: bool = False) -> Report:
    """Graph, facts, adapters and checks of a recipe that is already read."""
    graph, more = build_graph(found_recipe)
    diagnostics = without_doubts(once([*found, *without_echoes(found, more)]))
    facts = infer(graph)
    graph, facts, mended = adapt(graph, facts, frozen)
    diagnostics += mended
    diagnostics += folded(without_echoes(diagnostics, run_checks(graph, facts)))
    if found_recipe.moved and not any(item.level == "error" for item in (*found, *more)):  # Else nodes may be missing.
        from assembler.checks import moved

        diagnostics += moved.check(found_recipe.moved, graph)
    known = None
    if not any(item.level == "error" for item in diagnostics):
        known = signals(graph, facts)
        diagnostics += prove(graph, facts, known)
    if known is not None and scale:
        diagnostics += _estimated(facts, known)
    return Report(name=found_recipe.name or graph.name, diagnostics=tuple(diagnostics), graph=graph, facts=facts, signals=known)


def _estimated(facts: Facts, known: Signals) -> list[Diagnostic]:
    from assembler.checks import scales
    from assembler.facts.scale.analysis import scale

    return scales.check(known.flow, scale(known.flow, facts))


def checked(source: Source) -> tuple[Graph, Facts]:
    """What will be built of a recipe, and its types. RecipeError if it does not check."""
    found = origin_of(source)
    return found.graph, found.facts


# --- building ---
def plan(source: Source) -> Plan:
    """What will be built: every size an int, every step in order. RecipeError if it does not check."""
    from assembler.compiler.plan import plan as make

    return make(*checked(source))


def build(
    source: Source, *, device: Any = None, dtype: Any = None, seed: int | None = None, given: Mapping[str, nn.Module] | None = None
) -> nn.Module:  # fmt: skip
    """The model as a plain `torch.nn.Module`. RecipeError(report) if the recipe does not check.

    `seed=None` draws one seed from torch's generator. Each node starts under hash(seed, address).
    `given`: a module for each node of `kind: given`, by its address. It is run once, and held against
    the ports and sites that the recipe states: RecipeError(report) shows what is stated and what is measured.
    """
    from assembler.compiler.build import build as make
    from assembler.compiler.plan import plan as plan_of

    found = origin_of(source)
    made = plan_of(found.graph, found.facts)
    hold(made, given, dtype)
    model = make(made, device=device, dtype=dtype, seed=seed, given=given)
    remember(model, found)
    return model


def hold(made: Plan, given: Mapping[str, nn.Module] | None, dtype: Any) -> None:
    """Hold the modules that are handed over against what the recipe states of them. RecipeError shows both."""
    if not (made.given or given):
        return
    from assembler.compiler.measure import handed, measure

    found = measure(made, handed(made, given), dtype)
    if found:
        raise RecipeError(Report(name=made.name, diagnostics=tuple(found)))


class Origin(NamedTuple):
    """What a model was built from: the recipe, and the graph (what no output needs is gone) and facts that it means."""

    recipe: Recipe
    graph: Graph
    facts: Facts


_BUILT: WeakKeyDictionary[nn.Module | type, Origin] = WeakKeyDictionary()
"""By model, and by class for its copies. Two recipes may compile to one class: then the model knows which it was."""


def origin_of(source: Source, overrides: Sequence[str] = ()) -> Origin:
    """A recipe that checks, as what is built of it. RecipeError(report) with every finding if it does not check."""
    with no_collection():
        found_recipe, found = read(source, overrides)
        report = examine(found_recipe, found) if found_recipe is not None else Report(diagnostics=tuple(found))
    made = meant(found_recipe, report) if found_recipe is not None else None
    if made is None:
        raise RecipeError(report)
    return made


def meant(found_recipe: Recipe, report: Report) -> Origin | None:
    """What is built of a recipe, of which this is the report; None if it does not check."""
    if not report.ok or report.graph is None or report.facts is None:
        return None
    return Origin(found_recipe, report.graph._replace(scope=prune(report.graph.scope)), report.facts)


def remember(model: nn.Module, found: Origin) -> None:
    """Note what a model was built from; its copies in this process know it too."""
    _BUILT[type(model)] = _BUILT[model] = found


def origin(model: nn.Module) -> Origin | None:
    """What a model was built from in this process; None for one that came from elsewhere (unpickled, ejected, foreign)."""
    return _BUILT.get(model) or _BUILT.get(type(model))


def eject(source: Source) -> str:
    """The class that `build` runs and the modules it uses, as one file that imports torch only."""
    from assembler.compiler.eject import eject as make

    return make(plan(source))


def dynamic_shapes(source: Source) -> Any:
    """The `torch.export.Dim`s of a recipe's run-time sizes, derived ones included, by input name."""
    from assembler.compiler.build import dynamic_shapes as make

    return make(*checked(source))
