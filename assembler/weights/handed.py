"""Modules that the caller handed over (`kind: given`): a swap leaves them, and the hooks at their sites, as they are."""

from __future__ import annotations

from torch import nn

from assembler.compiler.measure import structure
from assembler.compiler.model import Handed, Plan
from assembler.library.modules.given import SiteHook


def stubs(model: nn.Module, before: Plan, after: Plan) -> list[dict[str, nn.Module]]:
    """For the twin of each plan: copies without values of what the model was handed, by address. ValueError where the
    new plan wants another module, or other ports of one: a swap hands none over, and measures none."""
    known = {item.address: _stated(item) for item in before.given}
    for item in after.given:
        if known.get(item.address) != _stated(item):
            raise ValueError(f"`{item.address}` of the new part is a module that the caller hands over, and a swap hands none over: build the changed recipe")
    return [{item.address: structure(model.get_submodule(item.address), meta=True) for item in plan.given} for plan in (before, after)]


def _stated(item: Handed) -> tuple[object, ...]:
    return item.call, [(port.name, str(port.type), port.path) for port in (*item.inputs, *item.outputs, *item.sites)]


def same_sites(one: nn.Module, two: nn.Module) -> bool:
    """Whether two twins reach into what they were handed at the same places."""
    return _sites(one) == _sites(two)


def _sites(twin: nn.Module) -> set[tuple[str, str]]:
    return {(path, hook.name) for path, module in twin.named_modules() for hook in module._forward_hooks.values() if isinstance(hook, SiteHook)}

