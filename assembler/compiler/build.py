"""A plan as a running model. The only room of the compiler that imports torch, and the only one that calls exec.

The text of a plan becomes a module `assembler_models.m_<hash>`: tracebacks show its lines, and a
pickled model carries the text along, so that any process that has this package can load it.
"""

from __future__ import annotations

import copyreg
import hashlib
import linecache
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import index
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from assembler.compiler import plugged
from assembler.compiler.allow import check_text
from assembler.compiler.alone import ALONE
from assembler.compiler.emit import PROBE, emit, model_class
from assembler.compiler.measure import handed, structure
from assembler.compiler.model import Plan
from assembler.compiler.plugged import restartable
from assembler.compiler.shapes import Range, axes
from assembler.facts.model import Facts
from assembler.graph.model import Graph

PACKAGE = "assembler_models"
ONLY_META = 2_000_000_000
"""From so many parameters on, not even untouched memory is asked for where values come from elsewhere: not every system
gives what it does not have. Below, meta would only cost: its first use in a process imports for up to a second."""


def build(
    plan: Plan,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    seed: int | None = None,
    values: bool = True,
    given: Mapping[str, nn.Module] | None = None,
) -> nn.Module:
    """The model that the plan's text defines.

    It starts on the CPU and then moves to `device`, so that a seed gives the same values on every
    machine. `dtype`: of all floating-point parameters but those of nodes that state their own.
    `device="meta"`: no values yet; `initialize` fills them in.
    `values=False`: in memory that nobody has touched, or on meta: every value is to come from elsewhere.
    `given`: the modules that the caller hands over, by address; they stay as they are.
    What a plugin's constructor computes is in no file, so that its class is always run on the CPU, with values.
    """
    seed = None if seed is None else index(seed)
    made: type[nn.Module] = getattr(load(emit(plan)), model_class(plan))
    parts = handed(plan, given)
    with ALONE, _default_dtype(dtype):
        if device is not None and torch.device(device).type == "meta":
            with torch.device("meta"):
                if not plan.plugged:
                    return _laid_out(made, parts)
                model = made(seed=0, **parts)
                restartable(model, plan)
                return model
        if plan.plugged:
            with torch.device("cpu"):
                model = made(seed=seed, **parts)
            with torch.random.fork_rng([]):
                restartable(model, plan)
        else:
            # Laid out first and then filled, each value is drawn once; modules draw when they are made, too.
            with torch.device("cpu" if values or plan.parameters < ONLY_META else "meta"), _Unfilled():
                model = _laid_out(made, parts)
            if not values:
                return model
            initialize(model, seed)
    return model if device is None else model.to(device)


def _laid_out(made: type[nn.Module], parts: Mapping[str, nn.Module]) -> nn.Module:
    """A model of a class of compiled text, its values not started: in memory that nobody has touched they must not even
    be read (`trunc_normal_` draws again until all of them are within its bounds)."""
    whole = made.__init__
    names = {**whole.__globals__, "initialize": lambda model, seed: None}
    constructor = FunctionType(whole.__code__, names, whole.__name__, whole.__defaults__, whole.__closure__)
    model = made.__new__(made)
    constructor(model, seed=0, **parts)
    return model


def initialize(model: nn.Module, seed: int | None = None) -> nn.Module:
    """Start a built model anew, or for the first time one that was built on meta.

    The values are those of `build(plan, seed=seed)`. A model on meta comes to lie on the CPU;
    shared and tied parameters stay so.
    """
    theirs = {module for item in _foreign(model) for module in item.modules()}
    materialize((module for module in model.modules() if module not in theirs), lambda tensor: tensor.is_meta)
    start_values(model, seed)
    return model


def start_values(model: nn.Module, seed: int | None) -> None:
    """Values for all of a model of compiled text that has memory; `None` draws the seed from torch's generator."""
    with ALONE:
        sys.modules[type(model).__module__].initialize(model, int(torch.randint(2**63 - 1, (), device="cpu")) if seed is None else index(seed))


def compile_blocks(model: nn.Module, **options: Any) -> nn.Module:
    """Compile each repeated block by itself, in place; `options` are those of `torch.compile`.

    Copies that are alike are compiled once, so that the first call takes as long for 48 layers as
    for 12; what stands outside the blocks stays eager. Keys of the `state_dict` do not change. A
    model without repeats is compiled whole; blocks of a module that was handed over are not ours to compile. (PyTorch calls this regional compilation.)
    """
    blocks: list[nn.Module] = []
    foreign = _foreign(model)
    todo: list[nn.Module] = [model]
    while todo:
        module = todo.pop()
        inner = [item for item in module.children() if item not in foreign]
        if isinstance(module, nn.ModuleList):
            blocks.extend(inner)
        else:
            todo.extend(inner)
    for block in dict.fromkeys(blocks) or [model]:
        block.compile(**options)
    return model


def _foreign(model: nn.Module) -> set[nn.Module]:
    """The modules of a model that were handed over."""
    addresses = getattr(sys.modules.get(type(model).__module__), "GIVEN", ())
    return {model.get_submodule(address.removesuffix(".")) for address in addresses}


def materialize(modules: Iterable[nn.Module], wanted: Callable[[torch.Tensor], bool]) -> None:
    """Memory on the CPU for the tensors of `modules` that are wanted. What is tied stays tied: `to_empty` would part it."""
    made: dict[int, Any] = {}
    for module in modules:
        for table in (module._parameters, module._buffers):
            for name, old in table.items():
                if old is None or not wanted(old):
                    continue
                if id(old) not in made:
                    empty = torch.empty_like(old, device="cpu")
                    made[id(old)] = nn.Parameter(empty, old.requires_grad) if isinstance(old, nn.Parameter) else empty
                table[name] = made[id(old)]


FORM = frozenset(("requires_grad_", "t_", "transpose_", "swapaxes_", "swapdims_", "squeeze_", "unsqueeze_", "as_strided_", "resize_", "set_", "detach_", "rename_"))
"""What changes a tensor's form in place, and none of its values."""


class _Unfilled(TorchFunctionMode):
    """Leaves out whatever would fill a tensor: `nn.init`, and the methods that change values in place."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        named, name = kwargs or {}, getattr(func, "__name__", "")
        if name.endswith("_") and not name.endswith("__") and name not in FORM:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


@contextmanager
def _default_dtype(dtype: torch.dtype | None) -> Iterator[None]:
    before = torch.get_default_dtype()
    if dtype is not None:
        torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def probed(plan: Plan, model: nn.Module, probe: Callable[[str, torch.Tensor], None]) -> nn.Module:
    """A twin of a built model, on the very same parameters, whose forward shows every value to `probe`.

    Addresses are `encoder.3.attend.y`, with the numbers of copies; an input has its own name.
    """
    text = emit(plan, probe=True)
    check_text(text, extra=(PROBE,))
    module = ModuleType(f"{PACKAGE}.probed")
    setattr(module, PROBE, probe)
    _run(text, module, f"<{PACKAGE}.probed {_hash(text)}>")
    given = {item.parameter: structure(model.get_submodule(item.address)) for item in plan.given}
    with torch.device("meta"):
        twin: nn.Module = getattr(module, model_class(plan))(**given, seed=0)
    owned = dict(model.named_modules(remove_duplicate=False))
    for address in plugged.addresses(twin):
        above, _, name = address.rpartition(".")
        twin.get_submodule(above)._modules[name] = owned[address]
    for address, inner in twin.named_modules(remove_duplicate=False):
        inner._parameters.update(owned[address]._parameters)
        inner._buffers.update(owned[address]._buffers)
    return twin.train(model.training)


def dynamic_shapes(graph: Graph, facts: Facts) -> dict[str, dict[int, Any]]:
    """For `torch.export.export(model, (), inputs, dynamic_shapes=...)`: input name -> axis -> `Dim`.

    A size `8*h` is `8 * Dim("h")`, one that must be even is `2 * Dim("h_2")`; ranges are what the
    checks at the model's entry allow (torch 2.13 adds guards of its own where a size inside, such
    as a number of windows, would be one). An axis that torch cannot say so is left out: it is then
    fixed to the example's size.
    """
    found, ranges = axes(graph, facts)
    made = {name: _export_size(name, item) for name, item in ranges.items()}
    return {name: {axis: _scaled(made[item.name], item.factor, item.rest) for axis, item in items.items()} for name, items in found.items()}


def _export_size(name: str, item: Range) -> Any:
    free = torch.export.Dim(name if item.step == 1 else f"{name}_{item.step}", min=item.least, max=item.most)
    return _scaled(free, item.step, item.offset)


def _scaled(size: Any, factor: int, rest: int) -> Any:
    scaled = size if factor == 1 else factor * size
    return scaled + rest if rest else scaled


# --- text to module ---
def load(text: str) -> ModuleType:
    """The module of a compiled text, run once in this process. `Refused` where the text is none of ours."""
    with ALONE:
        return _loaded(text, f"{PACKAGE}.m_{_hash(text)}")


def _loaded(text: str, name: str) -> ModuleType:
    found = sys.modules.get(name)
    if found is not None and plugged.current(found):
        return found
    check_text(text)
    package = sys.modules.setdefault(PACKAGE, ModuleType(PACKAGE))
    package.__path__ = []
    module = ModuleType(name)
    module.__dict__["__source__"] = text
    _run(text, module, f"<{name}>")
    sys.modules[name] = module
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == name:
            copyreg.pickle(value, _reduce)
    return module


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _run(text: str, module: ModuleType, file: str) -> None:
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    module.__file__ = file
    exec(compile(text, file, "exec"), module.__dict__)  # noqa: S102 - held against `allow` by every caller


def _reduce(model: nn.Module) -> tuple[Any, ...]:
    """For pickle and deepcopy: the text, the class, what the text needs of plugins, the state."""
    made = type(model)
    state = model.__getstate__()  # type: ignore[no-untyped-call]
    module = sys.modules[made.__module__]
    return _restore, (module.__dict__["__source__"], made.__qualname__, *plugged.needs(module)), state


def _restore(text: str, name: str, *needs: tuple[str, str]) -> nn.Module:
    plugged.demand(needs)
    made = getattr(load(text), name)
    model: nn.Module = made.__new__(made)
    return model
