"""One use of a kind, alone: sizes from concrete shapes, the module, and values to feed it.

Reads port texts by its own small evaluator, so that it is a second opinion on `shape.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assembler.library import modules, registry
from assembler.testing.reference import DTYPES, number
from assembler.testing.sample import Sample, Shape
from assembler_schemas.kind import Definition, Expr, Inline, Kind, Module, Options

Value = Tensor | list[Tensor]

_PORT = re.compile(r"(?:(?P<medium>dense|ids|logits|probs|mask|image|scalar)(?:\((?P<vocab>.*?)\))?\s*)?"
                   r"(?P<dtype>[a-z]\w*)?\s*(?:\[(?P<dims>.*)\])?$")  # fmt: skip
_DTYPES = {**DTYPES, "i64": torch.int64, "i32": torch.int32, "int": torch.int64, "bool": torch.bool}


@dataclass(frozen=True)
class PortText:
    """A port text in its pieces; `dims` without the `...`."""

    medium: str
    vocab: str
    dtype: torch.dtype | None
    leads: bool
    dims: tuple[str, ...]


def read_port(text: str) -> PortText:
    """ValueError where the text is no port text. `dtype` None is the model's own float."""
    found = _PORT.match(text)
    if found is None:
        raise ValueError(f"not a port text: {text!r}")
    dims = re.findall(r"(?:[^\s()]|\([^()]*\))+", found["dims"] or "")
    medium = found["medium"] or "dense"
    dtype = found["dtype"] or {"ids": "i64", "mask": "bool"}.get(medium, "float")
    leads = dims[:1] == ["..."]
    return PortText(medium, found["vocab"] or "", _DTYPES.get(dtype), leads, tuple(dims[leads:]))


@dataclass(frozen=True)
class Built:
    """A kind at concrete sizes. `shapes` holds the leading axes too."""

    kind: Kind
    options: Options
    definition: Definition
    sizes: Mapping[str, int]
    shapes: Mapping[str, Shape | list[Shape]]
    lead: Shape

    def module(self) -> nn.Module:
        build = self.definition.build
        if isinstance(build, Inline):
            return InlineModule(self.definition, build, self.sizes)
        if not isinstance(build, Module):
            raise TypeError(f"`{self.kind.name}` is no module of its own: its caller hands one over")
        return make(build, self.sizes)

    def output_shape(self, port: str) -> Shape:
        """What the port text says comes out."""
        text = read_port(self.definition.outputs[port].type)
        return (*(self.lead if text.leads else ()), *(dim_size(dim, self.sizes) for dim in text.dims))


def use(name: str | Kind, sample: Sample, lead: Shape = ()) -> Built:
    """The kind at the sample's sizes, with `lead` in front of every port that has `...`."""
    kind = registry.kind(name) if isinstance(name, str) else name
    assert kind is not None, name
    options = kind.options.model_validate(dict(sample.options))
    definition = kind.define(options)
    if kind.by_rank:
        first = next(iter(definition.inputs))
        definition = kind.define(options, len(sample.shapes[first]))
    sizes = {**sample.sizes, **definition.sizes}
    for port, shape in sample.shapes.items():
        _bind(definition.inputs[port].type, shape, sizes)
    for size, text in definition.defaults.items():
        if size not in sizes:
            sizes[size] = number(text, sizes)
    shapes = {port: _with_lead(definition.inputs[port].type, shape, lead) for port, shape in sample.shapes.items()}
    built = Built(kind, options, definition, sizes, shapes, lead)
    _check_inputs(built, sample)
    return built


def _bind(text: str, shape: Shape | list[Shape], sizes: dict[str, Any]) -> None:
    """Each dim that is a bare name gets its size; `name#` gets a list, one for each edge."""
    many = isinstance(shape, list)
    for index, single in enumerate(shape if isinstance(shape, list) else [shape]):
        for dim, size in zip(read_port(text).dims, single, strict=True):
            if dim.endswith("#"):
                sizes.setdefault(dim, []).append(size)
            elif dim.isidentifier():
                assert sizes.setdefault(dim, size) == size, f"{dim} is {sizes[dim]}, and {size} on edge {index}"
    if many:
        sizes["n"] = len(shape)


def _check_inputs(built: Built, sample: Sample) -> None:
    """The sample keeps what the card says of its inputs: compound dims and demands."""
    for port, shape in sample.shapes.items():
        if isinstance(shape, tuple):
            dims = read_port(built.definition.inputs[port].type).dims
            assert shape == tuple(dim_size(dim, built.sizes) for dim in dims), (port, shape, dims)
    holds = {"multiple_of": lambda a, b: a % b == 0, "at_most": lambda a, b: a <= b, "equal": lambda a, b: a == b}
    for need in built.definition.requires:
        left, right = number(need.left, built.sizes), number(need.right, built.sizes)
        assert holds[need.relation](left, right), need


def dim_size(dim: str, sizes: Mapping[str, Any]) -> int:
    if re.fullmatch(r"sum\(\w+#\)", dim):
        return sum(sizes[dim[4:-1]])
    return int(number(dim, sizes))


def _with_lead(text: str, shape: Shape | list[Shape], lead: Shape) -> Shape | list[Shape]:
    lead = lead if read_port(text).leads else ()
    return [(*lead, *single) for single in shape] if isinstance(shape, list) else (*lead, *shape)


def make(build: Module, sizes: Mapping[str, int]) -> nn.Module:
    """The module that compiled text would construct."""
    head, _, rest = build.name.rpartition(".")
    factory = getattr(nn, rest) if head == "nn" else registry.CLASSES.get(rest) or getattr(modules, rest)
    solved = [(name, number(v.text, sizes) if isinstance(v, Expr) else v) for name, v in build.arguments]
    made: nn.Module = factory(*(v for name, v in solved if not name), **{name: v for name, v in solved if name})
    return made


class InlineModule(nn.Module):
    """An `Inline` as a module: its text, evaluated over the values of the ports."""

    def __init__(self, definition: Definition, build: Inline, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.ports, self.build, self.sizes = list(definition.inputs), build, sizes

    def forward(self, *values: Value, **optional: Value) -> Tensor:
        fed = {**dict(zip(self.ports, values, strict=False)), **optional}
        names: dict[str, Any] = {"torch": torch, "F": F}
        texts: dict[str, str] = {}
        for port, value in fed.items():
            items = value if isinstance(value, list) else [value]
            spelled = [f"{port}_{i}" for i in range(len(items))]
            names.update(zip(spelled, items, strict=True))
            if self.build.fold:
                names[port] = self._fold(items)
                spelled = [port]
            texts[port] = ", ".join(spelled)
        out: Tensor = eval(self._filled(self.build.text, texts), names)  # noqa: S307 - the text of a card, which its author tests
        return out

    def _fold(self, items: Sequence[Tensor]) -> Tensor:
        running = items[0]
        for item in items[1:]:
            running = eval(self._filled(self.build.fold, {"a": "a", "b": "b"}), {"a": running, "b": item})  # noqa: S307
        return running

    def _filled(self, text: str, texts: Mapping[str, str]) -> str:
        text = re.sub(r"\{=([^}]*)\}", lambda found: str(number(found[1], self.sizes)), text)
        return re.sub(r"\{(\w+)\}", lambda found: texts[found[1]], text)


def call(module: nn.Module, built: Built, values: Mapping[str, Value]) -> dict[str, Tensor]:
    """Required inputs in the card's order, optional ones by name; outputs by port."""
    ports = built.definition.inputs
    needed = [values[port] for port in ports if not ports[port].optional]
    out = module(*needed, **{port: values[port] for port in values if ports[port].optional})
    outputs = list(built.definition.outputs)
    return dict(zip(outputs, out if isinstance(out, tuple) else (out,), strict=True))


def draw(built: Built) -> dict[str, Value]:
    """Random values for every port that is fed; float ones want gradients."""
    return {port: _draw_port(built, port, shape) for port, shape in built.shapes.items()}


def _draw_port(built: Built, port: str, shape: Shape | list[Shape]) -> Value:
    if isinstance(shape, list):
        return [_draw_one(built, port, single) for single in shape]
    return _draw_one(built, port, shape)


def _draw_one(built: Built, port: str, shape: Shape) -> Tensor:
    text = read_port(built.definition.inputs[port].type)
    if text.medium == "ids":
        return torch.randint(0, number(text.vocab, built.sizes), shape, dtype=text.dtype)
    if text.dtype is torch.bool:
        mask = torch.rand(shape) > 0.4
        mask[..., 0] = True
        return mask
    value = torch.randn(shape)
    value = value.softmax(-1) if text.medium == "probs" else value
    return value.to(text.dtype or torch.get_default_dtype()).requires_grad_()


def fresh(values: Mapping[str, Value]) -> dict[str, Value]:
    """The same values as new leaves, so that gradients do not mix."""
    return {
        port: [_leaf(v) for v in value] if isinstance(value, list) else _leaf(value) for port, value in values.items()
    }


def _leaf(value: Tensor) -> Tensor:
    return value.detach().clone().requires_grad_(value.requires_grad)


def flat(values: Mapping[str, Value]) -> list[Tensor]:
    return [v for value in values.values() for v in (value if isinstance(value, list) else [value])]


def without(sample: Sample, port: str) -> Sample:
    """The sample with an optional port not fed."""
    return replace(sample, shapes={name: shape for name, shape in sample.shapes.items() if name != port})
