"""Modules that the caller hands over, held against what the recipe states of them, before anything is built.

Each is run once, without gradients, in evaluation mode, on small inputs whose run-time sizes are
different primes that no type of it states: so an axis with a wrong name, or a wrong number, shows.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from assembler.compiler.alone import ALONE
from assembler.compiler.model import Handed, HandedPort, Plan
from assembler.library.modules.given import Given, SiteHook, Sites
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.dim import evaluate, names
from assembler_schemas.shape import Type

DTYPES = {
    "f64": torch.float64, "f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16,
    "int": torch.int64, "i64": torch.int64, "i32": torch.int32, "bool": torch.bool,
}  # fmt: skip
LEAD = (2,)
"""The axes that stand for `...`."""
MOST_NAMES = 12


def handed(plan: Plan, given: Mapping[str, Any] | None) -> dict[str, nn.Module]:
    """Parameter -> module. ValueError or TypeError where what is handed over is not what the recipe takes."""
    found = dict(given or {})
    wanted = {item.address: item for item in plan.given}
    shown = ", ".join(f"`{name}`" for name in wanted) or "no module"
    for name, item in wanted.items():
        if name not in found:
            raise ValueError(f"`{name}` ({item.span}) is a module that the caller hands over: `build(recipe, given={{{name!r}: module}})`; the recipe takes {shown}")
        if not isinstance(found[name], nn.Module):
            raise TypeError(f"what is handed over as `{name}` is a {type(found[name]).__name__}, not a torch.nn.Module")
    other = next((name for name in found if name not in wanted), None)
    if other is not None:
        raise ValueError(f"a module is handed over as {other!r:.80}, and the recipe takes {shown}")
    return {item.parameter: found[item.address] for item in plan.given}


def structure(module: nn.Module, meta: bool = False) -> nn.Module:
    """A copy of a module that stands in a model, without the hooks of that model: on the very same parameters and
    buffers, or on others like them on meta."""
    memo: dict[int, Any] = {id(value): value for value in (*module.parameters(), *module.buffers())}
    if meta:
        memo.update((id(item), nn.Parameter(item.detach().to("meta"), item.requires_grad)) for item in module.parameters())
        memo.update((id(item), item.detach().to("meta")) for item in module.buffers())
    copied = copy.deepcopy(module, memo)
    for item in copied.modules():
        for key, hook in list(item._forward_hooks.items()):
            if isinstance(hook, SiteHook):
                del item._forward_hooks[key]
    return copied


def measure(plan: Plan, modules: Mapping[str, nn.Module], dtype: torch.dtype | None = None) -> list[Diagnostic]:
    """Everything in which modules (by parameter) differ from the ports and sites that the recipe states."""
    floating = dtype or torch.get_default_dtype()
    found: list[Diagnostic] = []
    for each in plan.given:
        wrong = list(_Measured(each, modules[each.parameter], floating).run())
        found += wrong and (_other_model(each, modules[each.parameter]) or wrong)
    return found


def _other_model(handed: Handed, module: nn.Module) -> list[Diagnostic]:
    """Where a module's own configuration is not what `host` says, that is the one cause of all that differs."""
    own = getattr(module, "config", None)
    pairs = [(key, said, getattr(own, key)) for key, said in handed.host if hasattr(own, key)]
    other = [f"`{key}` is {there!r}" for key, said, there in pairs if (list(there) if isinstance(there, tuple) else there) != said]
    if not other:
        return []
    text = ", ".join(other[:6]) + (f" and {len(other) - 6} more" if len(other) > 6 else "")
    return [Diagnostic("shape-mismatch", f"the module for `{handed.address}` is not the one that its `host` describes: {text}", handed.span, label="another configuration", help="write what `assembler.host(module.config)` gives, or hand over the module of this configuration")]


class _Measured:
    def __init__(self, handed: Handed, module: nn.Module, floating: torch.dtype) -> None:
        self.handed, self.module, self.floating = handed, module, floating
        self.sizes = _sizes([item.type for item in (*handed.inputs, *handed.outputs, *handed.sites) if item.type is not None])
        self.arrived: list[tuple[str, Any]] = []

    def run(self) -> Iterator[Diagnostic]:
        wrong = [*self._arguments(), *self._paths()]
        if wrong:
            yield from wrong
            return
        with ALONE, _undisturbed(self.module):
            hooks = [Sites.module(self.module, site.path).register_forward_hook(self._hook(site.name)) for site in self.handed.sites]
            try:
                found = self.module(**self._inputs(), **dict(self.handed.call))
            except Exception as error:  # whatever a foreign forward raises is said where its ports are stated
                text = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
                yield Diagnostic("shape-mismatch", f"`{self.handed.address}` cannot run on what its ports state: {text}", self.handed.span, label=type(error).__name__, help=f"it was called with {self._called()}")
                return
            finally:
                for hook in hooks:
                    hook.remove()
        for position, port in enumerate(self.handed.outputs):
            yield from self._output(found, port, position)
        yield from self._sites()

    # --- before it runs ---
    def _arguments(self) -> Iterator[Diagnostic]:
        try:
            parameters = inspect.signature(self.module.forward).parameters
        except (TypeError, ValueError):
            return  # nobody can say: then the call will
        if any(item.kind is item.VAR_KEYWORD for item in parameters.values()):
            return
        known = [name for name, item in parameters.items() if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)]
        for name, span in (*((item.name, item.span) for item in self.handed.inputs), *((name, self.handed.span) for name, _ in self.handed.call)):
            if name not in known:
                yield Diagnostic("port-unknown", f"forward of `{self.handed.address}`, a {type(self.module).__name__}, takes no `{name}`", span, label="no such argument", help=f"it takes {', '.join(known) or 'nothing'}")

    def _paths(self) -> Iterator[Diagnostic]:
        for site in self.handed.sites:
            try:
                Sites.module(self.module, site.path)
            except LookupError as error:
                yield Diagnostic("address-unknown", f"the site `{site.name}` of `{self.handed.address}`: {error}", site.span, label="no such module", help="write a path out of `module.named_modules()`")

    def _inputs(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        device = next((item.device for item in (*self.module.parameters(), *self.module.buffers())), torch.device("cpu"))
        return {item.name: self._tensor(item.type, generator).to(device) for item in self.handed.inputs if item.type is not None}

    def _tensor(self, kind: Type, generator: torch.Generator) -> Tensor:
        shape, dtype = self._shape(kind), self._dtype(kind)
        if kind.medium == "ids":
            return torch.randint(evaluate(kind.vocabulary, self.sizes) if kind.vocabulary is not None else 1, shape, generator=generator, dtype=dtype)
        if not dtype.is_floating_point:
            return torch.ones(shape, dtype=dtype)
        value = torch.randn(shape, generator=generator)
        return (value.softmax(-1) if kind.medium == "probs" and shape else value).to(dtype)

    def _shape(self, kind: Type) -> tuple[int, ...]:
        return (*(LEAD if kind.lead else ()), *(evaluate(dim, self.sizes) for dim in kind.dims))

    def _dtype(self, kind: Type) -> torch.dtype:
        return self.floating if kind.dtype == "float" else DTYPES[kind.dtype]

    def _hook(self, name: str) -> Any:
        def arrive(module: nn.Module, inputs: Any, output: Any) -> None:
            self.arrived.append((name, output))

        return arrive

    # --- what was found ---
    def _output(self, found: Any, port: HandedPort, position: int) -> Iterator[Diagnostic]:
        try:
            value = Given.output(found, port.name, position)
        except RuntimeError as error:
            yield Diagnostic("port-unknown", f"`{self.handed.address}`: {error}", port.span, label="no such output", help="name what it gives; of a tuple, state the outputs in its order")
            return
        yield from self._held(port, value)

    def _sites(self) -> Iterator[Diagnostic]:
        order = [name for name, _ in self.arrived]
        stated = [site.name for site in self.handed.sites]
        for site in self.handed.sites:
            times = order.count(site.name)
            if times != 1:
                yield Diagnostic("graft-place", f"forward of `{self.handed.address}` comes by its site `{site.name}` {'never' if not times else f'{times} times'}", site.span, label=f"`{site.path}`", help="a site is a module that runs once in every call")
        if sorted(order) != sorted(stated):
            return
        if order != stated:
            at = next(place for place, name in enumerate(stated) if order[place] != name)
            yield Diagnostic("order-conflict", f"`{order[at]}` of `{self.handed.address}` runs before `{stated[at]}`", self.handed.sites[at].span, label="stated first", help=f"sites stand in the order in which they run: {', '.join(order[:12])}")
        by_name = {site.name: site for site in self.handed.sites}
        for name, output in self.arrived:
            try:
                value = Sites.value(name, output)
            except RuntimeError as error:
                yield Diagnostic("shape-mismatch", f"`{self.handed.address}`: {error}", by_name[name].span)
                continue
            yield from self._held(by_name[name], value)

    def _held(self, port: HandedPort, value: Tensor) -> Iterator[Diagnostic]:
        if port.type is None:
            return
        shape, measured = self._shape(port.type), tuple(value.shape)
        name = f"{self.handed.address}.{port.name}"
        if shape != measured:
            code = "shape-rank" if len(shape) != len(measured) else "shape-mismatch"
            yield Diagnostic(code, f"`{name}` is stated as {port.type}, and the module gives {list(measured)}", port.span, label=f"measured: {self._spelled(measured)}", help=f"it was called with {self._called()}")
        wanted = self._dtype(port.type)
        if value.dtype != wanted and not (port.type.dtype == "int" and value.dtype == torch.int32):
            yield Diagnostic("dtype-mismatch", f"`{name}` is {wanted} in this model, and the module gives {value.dtype}", port.span, help=f"state it, `{_short(value.dtype)} [...]`, or hand over the module as `module.to({wanted})`")

    def _spelled(self, shape: Sequence[int]) -> str:
        """A measured shape as the recipe would write it: the primes are the names' sizes."""
        back = {size: name for name, size in self.sizes.items()}
        return f"[{' '.join(back.get(size, str(size)) for size in shape)}]"

    def _called(self) -> str:
        inputs = ", ".join(f"{item.name}: {list(self._shape(item.type))}" for item in self.handed.inputs if item.type is not None)
        sizes = ", ".join(f"{name}={size}" for name, size in list(self.sizes.items())[:MOST_NAMES])
        return f"{inputs or 'nothing'}{f' ({sizes})' if sizes else ''}"


def _short(dtype: torch.dtype) -> str:
    return next((name for name, item in DTYPES.items() if item is dtype and name != "int"), str(dtype))


def _sizes(kinds: Sequence[Type]) -> dict[str, int]:
    """A prime for each run-time size, none of them a number that a type states."""
    stated = {dim for kind in kinds for dim in kind.dims if isinstance(dim, int)}
    free = dict.fromkeys(name for kind in kinds for dim in kind.dims for name in sorted(names(dim)))
    found: dict[str, int] = {}
    number = 2
    for name in free:
        while number in stated or any(number % known == 0 for known in range(2, number)):
            number += 1
        found[name] = number
        number += 1
    return found


@contextmanager
def _undisturbed(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients; modes, buffers and random states as before once it is done."""
    modes = [(item, item.training) for item in module.modules()]
    buffers = [(item._buffers, dict(item._buffers), {name: value.clone() for name, value in item._buffers.items() if value is not None}) for item in module.modules()]
    devices = {value.device for value in module.parameters() if value.is_cuda}
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(list(devices)):
            yield
            for table, before, values in buffers:
                table.clear()
                table.update(before)
                for name, value in values.items():
                    before[name].copy_(value)  # type: ignore[union-attr]
    finally:
        for item, training in modes:
            item.training = training
