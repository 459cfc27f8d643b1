"""Putting a changed model together out of the old one and a twin of the new one on meta, one module after another.

Where the twins of both hold the same module, the model's own stays, with its hooks, mode and values; where they
differ, the twin's moves in, with every tensor that survives in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from assembler.compiler.build import PACKAGE, materialize, start_values
from assembler.facts.weights import Held, Survey
from assembler.graph.address import Address, upwards
from assembler.library.modules.given import Sites
from assembler.weights.fit import covers

_PRIVATE = frozenset(vars(nn.Module()))
"""What every module has in its `__dict__`; anything beside it is the module's own setting."""


class Tables(NamedTuple):
    """A module's class and what it held."""

    cls: type[nn.Module]
    modules: Mapping[str, nn.Module | None]
    parameters: Mapping[str, nn.Parameter | None]
    buffers: Mapping[str, torch.Tensor | None]
    settings: Mapping[str, Any]


def tables_of(module: nn.Module) -> Tables:
    return Tables(type(module), dict(module._modules), dict(module._parameters), dict(module._buffers), settings(module))


def restore(module: nn.Module, old: Tables) -> None:
    """Give a module back its class and what it held."""
    module.__class__ = old.cls
    pairs: tuple[tuple[dict[str, Any], Mapping[str, Any]], ...] = ((module._modules, old.modules), (module._parameters, old.parameters), (module._buffers, old.buffers))
    for table, before in pairs:
        table.clear()
        table.update(before)
    for name in settings(module).keys() - old.settings.keys():
        del module.__dict__[name]
    module.__dict__.update(old.settings)


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by every key it has."""
    found: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    found.update(model.named_buffers(remove_duplicate=False))
    return found


def ours(module: nn.Module) -> bool:
    """Whether compiled text defines its class: a container."""
    return type(module).__module__.startswith(f"{PACKAGE}.")


def settings(module: nn.Module) -> dict[str, Any]:
    """What a module was constructed with: its attributes beside tensors, children and hooks."""
    return {name: value for name, value in vars(module).items() if name not in _PRIVATE}


# --- what is new ---
def start(twin: nn.Module, kept: Survey, after: Iterable[Held], seed: int | None) -> None:
    """Memory and values for the nodes that have anything new, as `build` starts them; the rest of the twin stays on meta."""
    fresh = {item.node for item in (*kept.new, *(item.after for item in kept.changed))}
    known = {item.key: item for item in after}
    todo = [item for item in known.values() if item.node in fresh]
    while todo:
        item = todo.pop()
        source = known.get(item.init[5:-1]) if item.init.startswith("copy(") else None
        if source is not None and source.node not in fresh:
            fresh.add(source.node)
            todo.extend(other for other in known.values() if other.node == source.node)
    if not fresh:
        return
    new = {id(tensor) for key, tensor in tensors(twin).items() if not fresh.isdisjoint(upwards(key))}
    materialize(twin.modules(), lambda tensor: id(tensor) in new)
    start_values(twin, seed)


def survivors(kept: Survey, real: dict[str, torch.Tensor], twin: nn.Module) -> dict[int, torch.Tensor]:
    """Tensor of the twin, by identity -> the model's own that stands for it."""
    there = tensors(twin)
    return {id(there[after.key]): real[before.key] for before, after in kept.kept if before.key in real}


def devices(real: dict[str, torch.Tensor]) -> Callable[[str], torch.device]:
    """Where what is new at an address comes to lie: where the replaced node lay, or the one nearest above, else the model."""
    by_place: dict[str, torch.device] = {}
    for key, tensor in real.items():
        while key:
            key = key.rpartition(".")[0]
            by_place.setdefault(key, tensor.device)

    def find_device(address: str) -> torch.device:
        while address and address not in by_place:
            address = address.rpartition(".")[0]
        return by_place.get(address, torch.device("cpu"))

    return find_device


# --- moving in ---
class Mover:
    """Walks the model and both twins side by side and puts the new model together out of what there is."""

    def __init__(self, survivors: dict[int, torch.Tensor], device: Callable[[str], torch.device], places: list[Address], strangers: Collection[str]) -> None:
        self.survivors = survivors
        self.device = device
        self.places = places
        self.strangers = strangers
        """Addresses of modules that were handed over, or put there by hand: left as they are."""
        self.undone: dict[nn.Module, Tables] = {}
        """Every module that was changed -> its class and tables before."""
        self.modules: dict[nn.Module, nn.Module] = {}
        """Module of the twin -> what stands for it."""
        self.placed: dict[int, torch.Tensor] = {}

    def move(self, old: nn.Module | None, was: nn.Module | None, new: nn.Module, address: str, training: bool) -> nn.Module:
        """The module that stands at the address from now on: the model's own where it is to stay, else the new one."""
        if new in self.modules:
            return self.modules[new]
        if old is not None and address in self.strangers:
            self.modules[new] = old
            return old
        target = old if old is not None and was is not None and self.alike(was, new, address) else new
        self.modules[new] = target
        training = old.training if old is not None else training
        there, before = (old._modules if old is not None else {}), (was._modules if was is not None else {})
        children = {
            name: None if child is None else self.move(there.get(name), before.get(name), child, f"{address}.{name}" if address else name, training)
            for name, child in new._modules.items()
        }
        if target is old:
            assert was is not None
            children.update((name, child) for name, child in there.items() if name not in before and name not in children)
            self.turn(target, was, new, children, address)
        else:
            target.training = training
            target._modules.update(children)
            self.fill(target, new, address)
        return target

    def alike(self, was: nn.Module, new: nn.Module, address: str) -> bool:
        """Whether the model's own module stays: containers outside the slot, and any other module that is set up the same."""
        if ours(was) and ours(new):
            return not any(covers(place, address) for place in self.places)
        return type(was) is type(new) and settings(was) == settings(new) and was._parameters.keys() == new._parameters.keys()

    def turn(self, target: nn.Module, was: nn.Module, new: nn.Module, children: dict[str, nn.Module | None], address: str) -> None:
        """A module that stays takes the new one's class, children and tensors."""
        tables = self.undone[target] = tables_of(target)
        if ours(new):
            target.__class__ = type(new)
            for name in settings(was).keys() - settings(new).keys():
                target.__dict__.pop(name, None)
            target.__dict__.update((name, value) for name, value in settings(new).items() if not isinstance(value, Sites) or name not in target.__dict__)
        target._modules.clear()
        target._modules.update(children)
        self.fill(target, new, address)
        if type(target) is tables.cls and all(_same(one, two) for one, two in ((tables.modules, target._modules), (tables.parameters, target._parameters), (tables.buffers, target._buffers))):
            del self.undone[target]

    def fill(self, target: nn.Module, new: nn.Module, address: str) -> None:
        """The tensors of one module: those that survive, and the new ones at their device."""
        for mine, theirs in ((target._parameters, new._parameters), (target._buffers, new._buffers)):
            for name, tensor in list(theirs.items()):
                found = None if tensor is None else self.tensor(tensor, address)
                if tensor is None or found is not None:
                    mine[name] = found  # type: ignore[assignment]

    def tensor(self, tensor: torch.Tensor, address: str) -> torch.Tensor | None:
        """What stands for a tensor of the twin; None for one without values, where the module's own stays."""
        found = self.survivors.get(id(tensor), self.placed.get(id(tensor)))
        if found is None:
            device = self.device(address)
            if tensor.is_meta and device.type != "meta":
                return None
            moved = tensor.detach().to(device)
            found = tensor if tensor.device == device else nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
            self.placed[id(tensor)] = found
        return found


def _same(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return one.keys() == two.keys() and all(one[key] is two[key] for key in one)
