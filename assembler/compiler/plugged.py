"""Built models that hold modules of plugins: which they are, where they come from, whether they start anew.

Knows modules by their attributes and imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from types import ModuleType
from typing import Any

from assembler.compiler.model import Plan
from assembler.library import registry


def classes() -> frozenset[type]:
    return frozenset(registry.CLASSES.values())


def addresses(model: Any) -> list[str]:
    """The modules of a model that are a plugin's, outermost ones only."""
    known = classes()
    found: list[str] = []
    for address, module in model.named_modules(remove_duplicate=False):
        if type(module) in known and not any(address.startswith(f"{above}.") for above in found[-1:]):
            found.append(address)
    return found


def _used(module: ModuleType) -> Iterator[tuple[str, type]]:
    """The names of a compiled module that are classes of plugins."""
    inside = module.__name__
    for name, value in vars(module).items():
        if isinstance(value, type) and value.__module__ != inside and name in registry.CLASSES:
            yield name, value


def current(module: ModuleType) -> bool:
    """Whether a compiled module still means what its text says: no class of it was declared anew since."""
    return all(value is registry.CLASSES[name] for name, value in _used(module))


def needs(module: ModuleType) -> tuple[tuple[str, str], ...]:
    """What a compiled module needs of plugins: (class as the text calls it, the module that declares it)."""
    return tuple((name, value.__module__) for name, value in _used(module))


def demand(needs: tuple[tuple[str, str], ...]) -> None:
    """ImportError where a class that a pickled model needs is not there, with the plugin that brings it."""
    missing = [(name, module) for name, module in needs if name not in registry.CLASSES]
    if missing:
        words = " and ".join(f"`{name}` of the plugin `{module}`" for name, module in missing)
        raise ImportError(f"this model uses {words}, which nobody has loaded here: import {', '.join(dict.fromkeys(module for _, module in missing))} first")


# --- starting anew ---
def restartable(model: Any, plan: Plan) -> None:
    """TypeError where a module of a plugin would start otherwise than its constructor lets it.

    Models start anew under a seed: every module that has `reset_parameters` is asked to (PyTorch's
    convention). A class without one is right as long as its parameters are those of modules that
    have, as they left them; what its constructor writes over them would be lost without a word.
    Values stay as they are; random numbers are drawn.
    """
    known, stated = classes(), {_each(address) for address in plan.starts}
    uses = Counter(id(value) for _, value in model.named_parameters(remove_duplicate=False))
    for address, module in model.named_modules():
        if type(module) in known and not hasattr(module, "reset_parameters"):
            for name, inner in module.named_modules():
                place = f"{name}." if name else ""
                own = {f"{place}{key}": value for key, value in inner._parameters.items() if value is not None}
                free = {key for key, value in own.items() if uses[id(value)] == 1 and _each(f"{address}.{key}") not in stated}
                _restarts(type(module).__name__, inner, own, free)


def _each(address: str) -> str:
    """One address for all copies: that of a start names several at once, `stack.0:3.up.weight`."""
    return ".".join("*" if word.replace(":", "").isdigit() else word for word in address.split("."))


def _restarts(kind: str, inner: Any, own: Mapping[str, Any], free: Set[str]) -> None:
    """One module inside a plugin's. Its own reset wrote each parameter when it was made, and again when the model started.

    `free`: the parameters that nothing else writes (a tie, an `init`).
    """
    if own and not hasattr(inner, "reset_parameters"):
        raise TypeError(_mend(kind, f"owns `{next(iter(own))}`, and nothing says how it starts"))
    before = {key: (value._version, value.detach().clone()) for key, value in own.items()}
    if own:
        inner.reset_parameters()
    for key, value in own.items():
        version, kept = before[key]
        once = value._version - version
        value.data.copy_(kept)
        if version != 2 * once and key in free:
            raise TypeError(_mend(kind, f"writes over `{key}` in its constructor, which a start under a seed would not repeat"))


def _mend(kind: str, what: str) -> str:
    return f"`{kind}` {what}: give the class a `reset_parameters` that sets it, and call that in the constructor"
