"""Attention, convolution, tokens, reshaping and the rest: compiled whole, and exported strictly.

Every size of a port that no parameter or option fixes is symbolic, the batch too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assembler.testing.built import Built, Value, call, dim_size, draw, flat, fresh, read_port, use
from assembler_schemas.kind import Expr, Inline
from tests.library.samples_more import SAMPLES

torch.set_num_threads(1)

ELSEWHERE = frozenset({"combine", "gating", "gumbel", "jitter", "vector_quantize"})
"""Kinds that draw in training, keep a state, or count their edges: tests/compiler/test_every_kind.py compiles and exports them."""
CASES = [(name, index) for name in sorted(SAMPLES) if name not in ELSEWHERE for index in range(len(SAMPLES[name]))]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.manual_seed(0)
    torch._dynamo.reset()


def _use(name: str, index: int) -> Built:
    """With one leading axis, where the kind has leading axes."""
    sample = SAMPLES[name][index]
    return use(name, sample, (2,) if len(sample.leads) > 1 or sample.leads[0] else ())


def _alone(built: Built) -> nn.Module:
    """A model of this one node, written as the compiler writes it: inline text, or one call."""
    ports = built.definition.inputs
    signature = ", ".join(f"{port}=None" if ports[port].optional else port for port in ports)
    build = built.definition.build
    text = build.text if isinstance(build, Inline) else f"self.node({', '.join(ports)})"
    value = re.sub(r"{(\w+)}", r"\1", text)
    source = f"def forward(self, {signature}):\n    return {value}\n"
    names: dict[str, Any] = {"torch": torch, "F": F}
    exec(source, names)
    model: nn.Module = type("Alone", (nn.Module,), {"forward": names["forward"]})()
    if not isinstance(build, Inline):
        model.node = built.module()
    return model


# Leading axis, then each symbol. None is the width of a sample, so that no size is another one by chance.
_FIRST, _SECOND = (11, 7, 19, 29, 31), (17, 13, 23, 37, 41)


def _symbols(built: Built) -> list[str]:
    """Sizes of the input ports that only the run decides, in the order of the ports."""
    definition = built.definition
    fixed = {*definition.sizes, *definition.defaults}
    texts = [text for p in definition.parameters.values() for text in p.shape]
    if not isinstance(definition.build, Inline):
        texts += [value.text for _, value in definition.build.arguments if isinstance(value, Expr)]
    fixed |= {word for text in texts for word in re.findall(r"[a-z]\w*", text)}
    dims = [dim for port in built.shapes for dim in read_port(definition.inputs[port].type).dims]
    words = [word for dim in dims for word in re.findall(r"[a-z]\w*", dim)]
    return [word for word in dict.fromkeys(words) if word not in fixed]


def _at(built: Built, primes: tuple[int, ...]) -> Built:
    """The same use with other symbolic sizes, all different: none is one, none happens to be another."""
    sizes = {**built.sizes, **dict(zip(_symbols(built), primes[1:], strict=False))}
    lead = primes[:1] * len(built.lead)
    shapes: dict[str, Any] = {}
    for port in built.shapes:
        text = read_port(built.definition.inputs[port].type)
        shapes[port] = (*(lead if text.leads else ()), *(dim_size(dim, sizes) for dim in text.dims))
    return replace(built, sizes=sizes, shapes=shapes, lead=lead)


def _dynamic_shapes(built: Built) -> dict[str, tuple[Any, ...]]:
    """What `torch.export` is told: `Dim`s, and multiples of them for dims such as `patch*h`."""
    # An axis under a window is at least as long as the window; the samples are.
    windows = " ".join(dim for dim in read_port(built.definition.outputs["y"].type).dims if dim.startswith("window"))
    low = {name: built.sizes[name] for name in _symbols(built) if f"({name}," in windows}
    symbols = {name: torch.export.Dim(name, min=low.get(name, 2), max=4096) for name in _symbols(built)}
    lead = torch.export.Dim("lead", max=4096)
    found = {}
    for port in built.shapes:
        text = read_port(built.definition.inputs[port].type)
        dims = [_dynamic(dim, symbols, built.sizes) for dim in text.dims]
        found[port] = (*([lead] * len(built.lead) if text.leads else []), *dims)
    return found


def _dynamic(dim: str, symbols: Mapping[str, Any], sizes: Mapping[str, int]) -> Any:
    factors = dim.split("*")
    free = [symbols[factor] for factor in factors if factor in symbols]
    constant = 1
    for factor in factors:
        constant *= 1 if factor in symbols else dim_size(factor, sizes)
    if not free:
        return None
    (symbol,) = free
    return symbol if constant == 1 else constant * symbol


def _gradients(module: torch.nn.Module, outputs: dict[str, Tensor], values: dict[str, Value]) -> list[Tensor | None]:
    total = sum((y.float() * torch.linspace(0.5, 1.5, y.numel()).view(y.shape)).sum() for y in outputs.values())
    wanted = [v for v in (*flat(values), *module.parameters()) if v.requires_grad]
    if not isinstance(total, Tensor) or not total.requires_grad:
        return []
    return list(torch.autograd.grad(total, wanted, allow_unused=True))


def _same(found: Any, expected: Any) -> None:
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("name", "index", "dynamic"),
    [(name, index, True) for name, index in CASES] + [(name, -1, False) for name in sorted(SAMPLES) if name not in ELSEWHERE],
)
def test_compiles_whole_forward_and_backward(name: str, index: int, dynamic: bool) -> None:
    built = _use(name, index)
    module = _alone(built)
    if getattr(built.options, "dropout", 0.0):
        module.eval()  # what is dropped differs from run to run
    compiled = torch.compile(module, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=dynamic):
        for use_ in (_at(built, _FIRST), _at(built, _SECOND)) if dynamic else (built,):
            values = draw(use_)
            mine = fresh(values)
            found, expected = call(compiled, use_, mine), call(module, use_, values)
            _same(found.values(), expected.values())
            _same(_gradients(module, found, mine), _gradients(module, expected, values))


@pytest.mark.parametrize(("name", "index"), CASES)
def test_exports_strictly_with_symbolic_sizes(name: str, index: int) -> None:
    built = _use(name, index)
    first, second = _at(built, _FIRST), _at(built, _SECOND)
    module = _alone(built).eval()
    example = {port: value.detach() for port, value in draw(first).items() if isinstance(value, Tensor)}
    needed = tuple(example[port] for port in example if not built.definition.inputs[port].optional)
    optional = {port: value for port, value in example.items() if built.definition.inputs[port].optional}
    shapes = _dynamic_shapes(built)
    exported = torch.export.export(module, needed, optional, dynamic_shapes=shapes, strict=True).module()
    for use_ in (first, second):
        values = draw(use_)
        with torch.no_grad():
            _same(call(exported, use_, values).values(), call(module, use_, values).values())
