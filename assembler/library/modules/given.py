"""A module that is not ours: what it gives, and the places inside it where a model reads and writes. Imports torch only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Given:
    """What a call of a foreign module gave, by name: a tensor, a tuple (by position), a mapping or a dataclass."""

    @staticmethod
    def output(found: Any, name: str, position: int) -> Tensor:
        if isinstance(found, Tensor):
            picked = found if position == 0 else None
        elif isinstance(found, Mapping):
            picked = found.get(name)
        elif isinstance(found, (tuple, list)) and name not in getattr(found, "_fields", ()):
            picked = found[position] if position < len(found) else None
        else:
            picked = getattr(found, name, None)
        if not isinstance(picked, Tensor):
            raise RuntimeError(f"the module gives no tensor `{name}`: {Given.shown(found)}")
        return picked

    @staticmethod
    def outputs(found: Any, /, **positions: int) -> tuple[Tensor, ...]:
        return tuple([Given.output(found, name, position) for name, position in positions.items()])

    @staticmethod
    def shown(found: Any) -> str:
        """What there is instead, in words."""
        if isinstance(found, Mapping):
            return f"it gives {', '.join(str(name) for name in found)}"
        count = f" of {len(found)}" if isinstance(found, (tuple, list)) else ""
        return f"it gives one {type(found).__name__}{count}"


class Sites:
    """Places inside a foreign module, reached by forward hooks; the module, its class and its keys stay as they are.

    The hooks do something only while `run` runs, so that the module alone computes what it always did.
    """

    def __init__(self, module: nn.Module, /, **paths: str) -> None:
        self.values: dict[str, Tensor] | None = None
        self.at: Mapping[str, tuple[Callable[..., Any], tuple[str, ...], tuple[Any, ...], tuple[str, ...]]] = {}
        self.more: dict[str, str] = {}
        self.learns = True
        for name, path in paths.items():
            Sites.module(module, path).register_forward_hook(SiteHook(self, name))

    @staticmethod
    def module(module: nn.Module, path: str) -> nn.Module:
        """The module at a dotted path, through submodules only. LookupError that says what there is."""
        here, done = module, ""
        for word in path.split("."):
            inner = here._modules.get(word)
            if inner is None:
                names = ", ".join(name for name, item in list(here._modules.items())[:12] if item is not None)
                raise LookupError(f"there is no module `{path}`: `{done or type(module).__name__}` has {names or 'none inside'}")
            here, done = inner, f"{done}.{word}" if done else word
        return here

    def run(self, module: nn.Module, outputs: dict[str, int], keep: tuple[str, ...], at: dict[str, Any], /, *, _at: str | None = None, **inputs: Any) -> Any:
        """Call the module. `outputs`: name -> position. `keep`: values from inside that are given besides.

        `at`: site -> (function, names of values from inside that it takes, other values that it takes,
        names of what it gives): the first of these goes on instead of the site's value.
        """
        self.values, self.at, self.more = {}, at, {} if _at is None else {"_at": _at}
        self.learns = torch.is_grad_enabled()
        try:
            found = module(**inputs)
            for name in at:
                if name not in self.values:
                    raise RuntimeError(f"the module never came by its site `{name}`")
            given = [Given.output(found, name, position) for name, position in outputs.items()]
            given.extend([self.values[name] for name in keep])
        finally:
            self.values, self.at = None, {}
        return given[0] if len(given) == 1 else tuple(given)

    def arrive(self, name: str, output: Any) -> Any:
        """A site has its value: what goes on instead, or None."""
        if self.values is None:
            return None
        if name in self.values:
            raise RuntimeError(f"the module comes by its site `{name}` more than once")
        value = Sites.value(name, output)
        self.values[name] = value
        if name not in self.at:
            return None
        if self.learns and not torch.is_grad_enabled():
            raise RuntimeError(f"the module computes its site `{name}` without gradients (`no_grad`, or a reentrant checkpoint): what stands there would never learn")
        function, takes, others, gives = self.at[name]
        made = function(*[self.values[item] for item in takes], *others, **self.more)
        for item, result in zip(gives, made if len(gives) > 1 else (made,), strict=True):
            self.values[item] = result
        after = self.values[gives[0]]
        return after if isinstance(output, Tensor) else (after, *output[1:])

    @staticmethod
    def value(name: str, output: Any) -> Tensor:
        """What a module gave, or the first of several. RuntimeError where that is no tensor."""
        value = output[0] if type(output) is tuple and output else output
        if not isinstance(value, Tensor):
            raise RuntimeError(f"the site `{name}` gives a {type(output).__name__}: a site gives a tensor, or a tuple that begins with one")
        return value


class SiteHook:
    """The forward hook at one site: an object, so that it is copied and pickled with the module."""

    def __init__(self, sites: Sites, name: str) -> None:
        self.sites, self.name = sites, name

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        return self.sites.arrive(self.name, output)
