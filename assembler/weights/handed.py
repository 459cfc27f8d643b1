"""Modules that the caller handed over (`kind: given`): a swap leaves them, and the hooks at their sites, as they are."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from assembler.compiler.model import Handed, Plan
from assembler.library.modules.given import SiteHook


def stubs(model: nn.Module, before: Plan, after: Plan) -> list[dict[str, nn.Module]]:
    """For the twin of each plan: copies without values of what the model was handed, by address. ValueError where the
    new plan wants another module, or other ports of one: a swap hands none over, and measures none."""
    known = {item.address: _stated(item) for item in before.given}
    for item in after.given:
        if known.get(item.address) != _stated(item):
            raise ValueError(f"`{item.address}` of the new part is a module that the caller hands over, and a swap hands none over: build the changed recipe")
    return [{item.address: _stub(model, item.address) for item in plan.given} for plan in (before, after)]


def _stated(item: Handed) -> tuple[object, ...]:
    return item.call, [(port.name, str(port.type), port.path) for port in (*item.inputs, *item.outputs, *item.sites)]


def _stub(model: nn.Module, address: str) -> nn.Module:
    module = model.get_submodule(address)
    memo: dict[int, Any] = {id(item): nn.Parameter(item.detach().to("meta"), item.requires_grad) for item in module.parameters()}
    memo.update((id(item), item.detach().to("meta")) for item in module.buffers())
    copied = copy.deepcopy(module, memo)
    for item in copied.modules():
        for key in [key for key, hook in item._forward_hooks.items() if isinstance(hook, SiteHook)]:
            del item._forward_hooks[key]
    return copied


def same_sites(one: nn.Module, two: nn.Module) -> bool:
    """Whether two twins reach into what they were handed at the same places."""
    return _sites(one) == _sites(two)


def _sites(twin: nn.Module) -> set[tuple[str, str]]:
    return {(path, hook.name) for path, module in twin.named_modules() for hook in module._forward_hooks.values() if isinstance(hook, SiteHook)}

