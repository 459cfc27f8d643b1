"""`assembler.swap`: a slot of a built model gets another part, in place; everything else stays the object that it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from weakref import WeakKeyDictionary

import torch
from torch import nn

from assembler.assemble import Origin, Source, origin, origin_of, remember
from assembler.compiler.build import build as build_plan
from assembler.compiler.plan import plan as make_plan
from assembler.facts.flow import Weight
from assembler.facts.weights import Held, Survey, compare, held
from assembler.graph.address import Address, parse_address, starred, upwards
from assembler.report.report import Report
from assembler.weights.fit import At, Part, find, flow_of, variant
from assembler.weights.handed import same_sites, stubs
from assembler.weights.move import Mover, Tables, devices, restore, start, survivors, tensors
from assembler.weights.places import bare
from assembler.weights.stale import Stale, stale

_LAST: WeakKeyDictionary[nn.Module, object] = WeakKeyDictionary()
"""A model -> the token of its latest swap that is not undone."""


def swap(model: nn.Module, slot: str, part: Part, *, seed: int | None = None, recipe: Source | None = None) -> Swap:
    """Fill a slot of a built model with another part, in place.

    `slot`: its address, `ffn` or `encoder.ffn`. `part`: a mapping (`{"kind": "swiglu"}`), the name of a file of
    the slot's group (`"moe"`), the path of a recipe file, or overrides (`["slots.ffn.hidden=96"]`).
    `seed`: as of `build`: each new node starts under hash(seed, address); None draws one. `recipe`: what the model
    was built from, for one that this process did not build (unpickled, ejected).

    A parameter or buffer that both recipes have at the same node, kind, name and shape stays the same object; a
    module that both have stays with its hooks, mode and device. New ones lie where the old ones lay, in the
    model's dtype. A compiled model compiles anew at its next call.

    Raises:
        RecipeError: the part does not fit; `report` says why, and the model is untouched.
        LookupError: there is no such slot or file, or there are several; the text lists what there is.
        ValueError: the model is not its recipe's, or nobody knows what it was built from.
    """
    model = bare(model)
    before = origin_of(recipe) if recipe is not None else origin(model)
    if before is None:
        raise ValueError(f"what this {type(model).__name__} was built from is not known in this process: hand over `recipe=`")
    at = find(before.recipe, slot)
    after, report = variant(before, at, part)
    real = tensors(model)
    survey, undone = _exchange(model, real, at, before, after, seed)
    remember(model, after)
    done = Swap(at, survey, report, model, before, after, undone, _named(real, model), _LAST.get(model), _witness(real))
    _LAST[model] = done._token
    return done


def _exchange(model: nn.Module, real: dict[str, torch.Tensor], at: At, before: Origin, after: Origin, seed: int | None) -> tuple[Survey, dict[nn.Module, Tables]]:
    """Move in what is new. Whatever is wrong is said before anything moves; what breaks off midway is taken back."""
    was, now = flow_of(before), flow_of(after)
    survey = compare(held(was), held(now))
    plans = [make_plan(one.graph, one.facts) for one in (before, after)]
    given = stubs(model, *plans)
    dtype = _dtype(was.weights, real)
    old_twin, twin = (build_plan(one, device="meta", dtype=dtype, given=found) for one, found in zip(plans, given, strict=True))
    if not same_sites(old_twin, twin):
        raise ValueError("the part changes where the model reaches into a module that was handed over: build the changed recipe")
    strangers = _strangers(model, old_twin, survey) | (given[0].keys() & given[1].keys())
    _agree(real, held(was), strangers)
    start(twin, survey, held(now), seed)
    mover = Mover(survivors(survey, real, twin), devices(real), _places(at, before, after), strangers)
    try:
        mover.move(model, old_twin, twin, "", model.training)
    except BaseException:  # a full device, an interrupt
        for module, tables in mover.undone.items():
            restore(module, tables)
        raise
    return survey, mover.undone


def _places(at: At, *origins: Origin) -> list[Address]:
    """Where the slot's fillers stand."""
    texts = dict.fromkeys(text for one in origins for text in one.graph.filled.get(at.path, ()))
    return [found for text in texts if not isinstance(found := parse_address(text), str)]


# --- what the model is ---
def _strangers(model: nn.Module, twin: nn.Module, survey: Survey) -> set[str]:
    """Modules that are not what the recipe makes (parametrized, quantized, put there by hand). ValueError where one
    of them would have to change, or is the model itself."""
    real = dict(model.named_modules(remove_duplicate=False))
    found: set[str] = set()
    moving = [item.key for item in (*survey.dropped, *(item.before for item in survey.changed), *survey.new)]
    for address, wanted in twin.named_modules(remove_duplicate=False):
        here = real.get(address)
        if here is not None and type(here).__name__ == type(wanted).__name__:
            continue
        if not found.isdisjoint(upwards(address)):
            continue
        what = "nothing" if here is None else f"a {type(here).__name__}"
        if not address or here is None or any(key.startswith(f"{address}.") for key in moving):
            raise ValueError(f"`{address or 'the model'}` is {what}, and its recipe makes a {type(wanted).__name__}: swap before a model is wrapped, sharded or changed by hand")
        found.add(address)
    return found


def _agree(real: dict[str, torch.Tensor], wanted: Iterable[Held], strangers: set[str]) -> None:
    """ValueError unless the model has every weight that its recipe says."""
    for item in wanted:
        found = real.get(item.key)
        if found is not None and tuple(found.shape) == item.shape:
            continue
        if any(item.key[:end] in strangers for end, char in enumerate(item.key) if char == "."):
            continue
        has = f"is {list(found.shape)}" if found is not None else "is missing"
        raise ValueError(f"`{item.key}` of the model {has}, and its recipe says {list(item.shape)}: was it changed by hand, or built from another recipe?")


def _dtype(weights: Iterable[Weight], real: dict[str, torch.Tensor]) -> torch.dtype | None:
    """In which the model was built or to which it was cast: that of the first node that states none of its own."""
    known = (real[item.address].dtype for item in weights if item.node.dtype is None and item.address in real)
    return next((dtype for dtype in known if dtype.is_floating_point), None)


def _witness(real: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.device, torch.dtype] | None:
    """A floating-point tensor of the model, by which it is seen later whether the model was moved or cast."""
    return next(((item, item.device, item.dtype) for item in real.values() if item.is_floating_point()), None)


def _named(before: dict[str, torch.Tensor], model: nn.Module) -> dict[int, tuple[str, torch.Tensor]]:
    """Keys of tensors that were in the model or are in it now, by identity; the tensors are held, so that no identity is used twice."""
    return {id(tensor): (key, tensor) for key, tensor in (*reversed(before.items()), *reversed(tensors(model).items()))}


# --- what came of it ---
@dataclass(eq=False)
class Swap:
    """What a swap did. Prints as text."""

    at: At
    survey: Survey
    """Which weights were kept, changed their kind or shape, are new, or are gone."""
    report: Report
    """Of the changed recipe: its warnings and notes, such as an adapter that now stands behind the part."""
    model: nn.Module
    before: Origin = field(repr=False)
    after: Origin = field(repr=False)
    _undone: dict[nn.Module, Tables] = field(repr=False)
    _names: dict[int, tuple[str, torch.Tensor]] = field(repr=False)
    _previous: object = field(repr=False)
    _witness: tuple[torch.Tensor, torch.device, torch.dtype] | None = field(repr=False)
    _token: object = field(repr=False, default_factory=object)

    def stale(self, optimizer: torch.optim.Optimizer) -> Stale:
        """What the optimizer holds that is no longer in the model, and what of the model it lacks. Prints as a table."""
        return stale(self.model, optimizer, {number: key for number, (key, _) in self._names.items()})

    def undo(self) -> None:
        """Put back what was replaced, with the values it had, where the model lies now. RuntimeError where a later
        swap stands on this one, or it was undone already."""
        if _LAST.get(self.model) is not self._token:
            raise RuntimeError("a later swap of this model stands on this one, or it was undone already: undo the latest first")
        there = set(self.model.modules())
        present = {id(item) for item in tensors(self.model).values()}
        for module, tables in self._undone.items():
            restore(module, tables)
        for module in self.model.modules():
            if module not in there:
                module.training = self.model.training
            self._follow(module, present)
        remember(self.model, self.before)
        _LAST[self.model] = self._previous

    def _follow(self, module: nn.Module, present: set[int]) -> None:
        """Tensors that lay aside go to where, and to the dtype in which, the model has gone meanwhile."""
        if self._witness is None:
            return
        witness, device, dtype = self._witness
        if (witness.device, witness.dtype) == (device, dtype):
            return
        for table in (module._parameters, module._buffers):
            for name, item in table.items():
                if item is None or id(item) in present:
                    continue
                moved = item.detach().to(witness.device if item.device == device else item.device, witness.dtype if item.dtype == dtype else item.dtype)
                if isinstance(item, nn.Parameter):
                    item.data, item.grad = moved, None
                else:
                    table[name] = moved  # type: ignore[assignment]
                present.add(id(item))

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(done: Swap) -> Iterator[str]:
    places = ", ".join(done.after.graph.filled.get(done.at.path, ()))
    yield f"slot `{done.at.address}`{f' at {places}' if places else ''} has another part"
    found = done.survey
    rows = {"kept": [item for item, _ in found.kept], "changed": [item.after for item in found.changed], "new": found.new, "dropped": found.dropped}
    for word, items in rows.items():
        if items:
            yield f"  {word:<8} {len(items):>6,} weights  {sum(prod(item.shape) for item in items):>14,} numbers"
    changes = Counter(f"{starred(item.after.key)}: {item.why}" for item in found.changed)
    yield from (f"  {change}{f'  x{count}' if count > 1 else ''}" for change, count in changes.items())
