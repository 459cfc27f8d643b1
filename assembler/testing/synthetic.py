"""A module that honours a line of ports and records what it was given: for testing what stands around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from assembler.plugins.ports import Ports, read_ports
from assembler_schemas.kind import Port
from assembler_schemas.shape import PortType, parse_port_type

_DTYPES = {"i64": torch.int64, "i32": torch.int32, "int": torch.int64, "bool": torch.bool, "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
_MEDIA = {"ids": "i64", "mask": "bool"}


def synthetic(ports: str, **sizes: int) -> Synthetic:
    """A module with these ports, as `@assembler.kind` spells them: `x: [... in] -> y: [... out]`.

    Every output has the shape and dtype that its type says, and every float output depends on every
    float input, so that gradients flow. `sizes`: those that no input's shape tells.
    """
    return Synthetic(read_ports(ports), sizes)


class Synthetic(nn.Module):
    """See `synthetic`. `calls` has the inputs of every call by port, in order; a `many` port's are a list."""

    def __init__(self, ports: Ports, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.ports, self.sizes = ports, dict(sizes)
        self.calls: list[dict[str, Any]] = []
        self.weight = nn.Parameter(torch.ones(()))

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, *values: Any, **named: Any) -> Any:
        fed = self._bound(values, named)
        self.calls.append(fed)
        lead, sizes = self._sizes(fed)
        tensors = [item for value in fed.values() for item in (value if isinstance(value, list) else [value])]
        floats = [value for value in tensors if value.is_floating_point()]
        found = [self._output(port, lead, sizes, floats, tensors) for port in self.ports.outputs.values()]
        return found[0] if len(found) == 1 else tuple(found)

    def _bound(self, values: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        """Required inputs in order, others by name. TypeError for what the ports do not take."""
        needed = [port for port, item in self.ports.inputs.items() if not item.optional]
        order = [*needed, *(port for port in self.ports.inputs if port not in needed)]
        if len(values) > len(order) or named.keys() - set(order):
            raise TypeError(f"it takes {', '.join(order) or 'nothing'}, and was given {len(values)} values and {', '.join(named) or 'no names'}")
        fed = {**dict(zip(order, values, strict=False)), **named}
        missing = [port for port in needed if fed.get(port) is None]
        if missing:
            raise TypeError(f"nothing feeds `{missing[0]}`")
        return {port: value for port, value in fed.items() if value is not None}

    def _sizes(self, fed: Mapping[str, Any]) -> tuple[tuple[int, ...], dict[str, int]]:
        """What the inputs' shapes say. ValueError where they are not what the ports say."""
        lead: tuple[int, ...] | None = None
        sizes = dict(self.sizes)
        for port, value in fed.items():
            text = parse_port_type(self.ports.inputs[port].type, True)
            for item in value if isinstance(value, list) else [value]:
                front = item.dim() - len(text.dims)
                if front < 0 or (front and text.lead is None):
                    raise ValueError(f"`{port}` is {list(item.shape)}, and its type is {text}")
                wanted = _dtype(text)
                if (item.dtype != wanted) if wanted is not None else not item.is_floating_point():
                    raise ValueError(f"`{port}` is {item.dtype}, and its type is {text}")
                if text.lead is not None:
                    if lead is not None and lead != tuple(item.shape[:front]):
                        raise ValueError(f"`{port}` is {list(item.shape)}, and other inputs have {list(lead)} for `...`")
                    lead = tuple(item.shape[:front])
                self._bind(port, text, tuple(item.shape[front:]), sizes)
        return lead or (), sizes

    def _bind(self, port: str, text: PortType, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
        for dim, size in zip(text.dims, shape, strict=True):
            if dim.names == (dim.text,):
                known: Any = sizes.setdefault(dim.text, size)
            elif dim.text.endswith("#") or not set(dim.names) <= sizes.keys():
                continue
            else:
                known = dim.evaluate(sizes)
            if known != size:
                raise ValueError(f"`{port}` has {size} for `{dim.text}`, which is {known}")

    def _output(self, port: Port, lead: tuple[int, ...], sizes: Mapping[str, int], floats: list[Tensor], tensors: list[Tensor]) -> Tensor:
        text = parse_port_type(port.type, True)
        open_ = [name for dim in text.dims for name in dim.names if name not in sizes]
        if open_:
            raise ValueError(f"no input says what `{open_[0]}` is: `synthetic(..., {open_[0]}=8)`")
        dims = tuple(int(str(dim.evaluate(sizes))) for dim in text.dims)
        shape = (*(lead if text.lead is not None else ()), *dims)
        device = tensors[0].device if tensors else self.weight.device
        wanted = _dtype(text)
        if wanted is not None and not wanted.is_floating_point:
            return torch.ones(shape, dtype=wanted, device=device) if wanted is torch.bool else torch.zeros(shape, dtype=wanted, device=device)
        total = self.weight.to(device)
        for value in floats:
            total = total + value.mean().to(total.dtype)
        dtype = wanted or (floats[0].dtype if floats else self.weight.dtype)
        value = total.to(dtype) * torch.ones(shape, dtype=dtype, device=device)
        return value.softmax(-1) if text.medium == "probs" else value


def _dtype(text: PortType) -> torch.dtype | None:
    """None: the model's own float."""
    return _DTYPES.get(_MEDIA.get(text.medium, text.dtype), _DTYPES.get(text.dtype))
