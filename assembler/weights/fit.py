"""The slots of a recipe, what another part in one of them would come to, and whether it fits. Imports no torch.

    at = find(recipe, "ffn")
    variant(origin_of(recipe), at, {"kind": "swiglu"})      # (origin, report); RecipeError where it does not fit
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from assembler.assemble import Origin, RecipeError, examine, meant
from assembler.facts.flow import Flow, flow
from assembler.facts.weights import Survey, compare, held
from assembler.graph.address import Address, Slice, parse_address
from assembler.report.report import Report
from assembler.source.mapping import tree_of
from assembler.source.override import apply, compose
from assembler.source.parse import nearest, parse
from assembler.source.paths import SUFFIX, Outside, Root, roots, shipped
from assembler.source.recipe import GraphSpec, Place, Recipe, Slot
from assembler.source.tree import Value
from assembler.source.wording import listed
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import NOWHERE, Span

Part = Mapping[str, Any] | str | os.PathLike[str] | Sequence[str]
"""What is to fill a slot: the part itself; a file of the slot's group by its name (`moe`) or any recipe
file by its path; or overrides as on the command line (`["slots.ffn.hidden=96"]`)."""


class At(NamedTuple):
    """A slot and where it is stated."""

    address: str
    """`ffn`; `encoder.ffn` for a slot of the graph `encoder`."""
    path: str
    """Key path in the recipe: `nodes.encoder.slots.ffn`."""
    slot: Slot

    @property
    def group(self) -> str:
        """The folder that holds files for it."""
        return f"slots/{self.slot.name}"


# --- finding one ---
def slots_of(recipe: Recipe) -> dict[str, At]:
    """Every slot by its address, those of graphs inside included, outermost first."""
    found: dict[str, At] = {}
    todo: list[tuple[GraphSpec, str]] = [(recipe.graph, "")]
    while todo:
        spec, before = todo.pop(0)
        for name, slot in spec.slots.items():
            path = f"{spec.path}.slots.{name}" if spec.path else f"slots.{name}"
            address = f"{before}{name}" if f"{before}{name}" not in found else path  # a slot in what fills `a`, and one of the graph `a`
            at = found[address] = At(address, path, slot)
            if slot.filler is not None:
                todo.extend(_graphs(slot.filler, at.address))
        for name, place in spec.nodes.items():
            todo.extend(_graphs(place, f"{before}{name}"))
        for name, graft in spec.grafts.items():
            todo.extend(_graphs(graft.part, f"{before}{name}"))
    return found


def _graphs(place: Place, address: str) -> Iterator[tuple[GraphSpec, str]]:
    """The graphs that stand at a place or in its parts, with the address of what is inside them."""
    todo = [(place, address)]
    while todo:
        here, at = todo.pop()
        if here.graph is not None:
            yield here.graph, f"{at}."
        todo.extend((part, f"{at}.{name}") for name, part in (here.parts or {}).items())


def find(recipe: Recipe, name: str) -> At:
    """The slot of that address or key path, or the only one of that name. LookupError lists what there is."""
    known = slots_of(recipe)
    exact = [at for at in known.values() if name in (at.address, at.path)]
    found = exact or [at for at in known.values() if at.slot.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise LookupError(f"several slots are called `{name}`: say which: {listed([at.address for at in found])}")
    if not known:
        raise LookupError(f"there is no slot `{name[:200]}`: the recipe has no slots; write `slots: {{{name[:40]}: {{kind: ...}}}}` and `slot: {name[:40]}` where it belongs")
    close = nearest(name, known)
    raise LookupError(f"there is no slot `{name[:200]}`: {f'did you mean {listed(close)}? ' if close else ''}the slots are {listed(known)}")


# --- another filler ---
def refilled(recipe: Recipe, at: At, part: Part) -> tuple[Recipe, list[Diagnostic]]:
    """The recipe with another filler in a slot; `accepts` stays. Whatever else the recipe says stays as it is."""
    if isinstance(part, Mapping):
        return _filled(recipe, at, *tree_of(part))
    if isinstance(part, (str, os.PathLike)) and "=" not in os.fspath(part):
        return _of_file(recipe, at, part)
    texts = [str(part)] if isinstance(part, (str, os.PathLike)) else list(part)
    found: list[Diagnostic] = []
    values = []
    for text in texts:
        key = text.partition("=")[0].lstrip("+~").strip()
        if key == at.group and at.path == f"slots.{at.slot.name}":
            recipe, more = _of_file(recipe, at, text.partition("=")[2].strip())
            found += more
        elif key == at.path or key.startswith(f"{at.path}."):
            values.append(text)
        else:
            raise ValueError(f"the override `{text[:200]}` is not about the slot: begin it with `{at.path}.`, for example `{at.path}.kind=mlp`")
    tree, more = apply(recipe.tree, values)
    made, said = parse(tree, recipe.file, recipe)
    return made, [*found, *more, *said]


def _filled(recipe: Recipe, at: At, filler: Value | None, found: list[Diagnostic]) -> tuple[Recipe, list[Diagnostic]]:
    """With what was read, and what was found reading it; only the mappings on the way to the slot are copied."""
    if filler is None:
        return recipe, found
    keys = at.path.split(".")
    way = [recipe.tree]
    for key in keys[:-1]:
        way.append(way[-1].data[key])
    old = way[-1].data[keys[-1]]
    kept = {"accepts": old.data["accepts"]} if "accepts" in old.data else {}
    new = Value({**kept, **filler.data}, filler.span, old.key, filler.layer)
    for key, value in zip(reversed(keys), reversed(way), strict=True):
        new = Value({**value.data, key: new}, value.span, value.key, value.layer)
    made, more = parse(new, recipe.file, recipe)
    return made, [*found, *more]


def _of_file(recipe: Recipe, at: At, part: str | os.PathLike[str]) -> tuple[Recipe, list[Diagnostic]]:
    """A file of the slot's group by its name, or any recipe file by its path."""
    name = os.fspath(part)
    if isinstance(part, str) and not name.endswith(SUFFIX):
        known = files(recipe, at)
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {listed(close)}?" if close else f"they are {listed(known)}" if known else "there are none"
            raise LookupError(f"no file `{name[:200]}` fills the slot `{at.address}`: files of `{at.group}` beside the recipe and among the shipped ones: {hint}")
        name = known[name]
    return _filled(recipe, at, *compose(name))


def files(recipe: Recipe, at: At) -> dict[str, str]:
    """The files of a slot's group by name, those beside the recipe before the shipped ones."""
    found: dict[str, str] = {}
    for root in _roots(recipe):
        for name in root.options(at.group):
            try:
                real = root.resolve(f"{at.group}/{name}{SUFFIX}")
            except Outside:
                continue
            if real is not None:
                found.setdefault(name, root.show(f"{at.group}/{name}{SUFFIX}"))
    return found


def _roots(recipe: Recipe) -> list[Root]:
    return roots(os.path.dirname(recipe.file), [shipped()]) if recipe.file else roots(os.fspath(shipped()), [])


# --- whether it fits ---
def variant(before: Origin, at: At, part: Part) -> tuple[Origin, Report]:
    """What the recipe means with another part in the slot. RecipeError(report) where that does not check, or
    where a weight outside the slot would change its shape."""
    recipe, found = refilled(before.recipe, at, part)
    report = examine(recipe, found)
    after = meant(recipe, report)
    if after is not None:
        beyond = outside(before, after, at)
        if not beyond:
            return after, report
        report = replace(report, diagnostics=(*beyond, *report.diagnostics))
    raise RecipeError(report)


def flow_of(found: Origin) -> Flow:
    """ValueError beyond the size that can be unfolded."""
    made = flow(found.graph, found.facts)
    if made is None:
        raise ValueError("the model is too large for its weights to be told apart one by one")
    return made


def survey(before: Origin, after: Origin) -> Survey:
    """Which weights of the one the other keeps."""
    return compare(held(flow_of(before)), held(flow_of(after)))


def outside(before: Origin, after: Origin, at: At) -> list[Diagnostic]:
    """Weights that would change their shape though they do not belong to the slot: a swap keeps the rest as it is."""
    places = [found for text in {*before.graph.filled.get(at.path, ()), *after.graph.filled.get(at.path, ())} if not isinstance(found := parse_address(text), str)]
    ours = {item.address for item in flow_of(after).weights if item.node.cause or item.node.adapter}
    beyond = [item for item in survey(before, after).changed if item.after.key not in ours and not any(covers(place, item.after.key) for place in places)]
    if not beyond:
        return []
    first, more = beyond[0], f", and {len(beyond) - 1:,} more weights" if len(beyond) > 1 else ""
    return [Diagnostic(
        "slot-mismatch", f"what fills the slot `{at.address}` changes `{first.after.key}`, which is not in the slot: {first.why}{more}", _said(after.recipe, at), label="gives on another width",
        help="let the part give what the one before gave (`out: ...`); or build the changed recipe and load what survives",
    )]  # fmt: skip


def covers(place: Address, key: str) -> bool:
    """Whether an address lies at or below a place, any of its copies where the place says so."""
    parts = key.split(".")
    return len(parts) >= len(place) and all(_is(segment, part) for segment, part in zip(place, parts, strict=False))


def _is(segment: str | int | Slice, part: str) -> bool:
    if isinstance(segment, Slice):
        return part.isdigit() and (segment.start or 0) <= int(part) and (segment.stop is None or int(part) < segment.stop)
    return str(segment) == part


def _said(recipe: Recipe, at: At) -> Span:
    """Where it is said what fills a slot."""
    again = slots_of(recipe).get(at.address)
    if again is None or again.slot.filler is None:
        return NOWHERE
    kind = again.slot.filler.fields.get("kind")
    return kind.span if kind is not None else again.slot.filler.span
