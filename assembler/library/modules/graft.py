"""A linear map with grafts. Imports torch only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

# How what a part gives, m, meets what stands there, h.
MERGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda h, m: h + m,
    "blend": lambda h, m: h + m,  # m is a (part - h) already
    "one_plus": lambda h, m: h * (1.0 + m),
    "double_sigmoid": lambda h, m: h * (2.0 * torch.sigmoid(m)),
    "sigmoid": lambda h, m: h * torch.sigmoid(m),
    "tanh": lambda h, m: h * torch.tanh(m),
    "replace": lambda h, m: m,
}

# Of a module: the place of a linear map (`q`, `block.up`); the mode; whether the first part reads what the map takes ("x") or
# gives ("y"); whether that is from here on what the grafts before have made; the factor a, or the name of the part that
# is the factor; the parts, one after another.
Graft = tuple[str, str, str, bool, float | str, dict[str, nn.Module]]


class GraftedLinear(nn.Linear):
    """A linear map whose output parts are laid onto (LoRA: Hu et al. 2021): x: [... in] -> [... out].

    With h = x Wᵀ + b each part in turn makes h + a m (`add`), h (1 + a m) or another gate, h + a (m - h)
    (`blend`) or a m (`replace`) of h. It takes the place of an `nn.Linear` and keeps its parameters, so
    that their keys and values stay as they are; where the first part replaces what it does not read,
    there is no W and no b.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = linear.weight
        self.register_parameter("bias", linear.bias)
        self.replaced = False
        self.branches: list[tuple[str, str, bool, float | str, tuple[str, ...]]] = []

    @staticmethod
    def into(module: nn.Module, *grafts: Graft) -> nn.Module:
        """`module`, with grafts at its linear maps, in their order."""
        for place, mode, reads, after, scale, parts in grafts:
            around, _, name = place.rpartition(".")
            linear = module.get_submodule(place)
            if not isinstance(linear, nn.Linear):
                raise TypeError(f"{place!r} is a {type(linear).__name__}, not a linear map")
            if not isinstance(linear, GraftedLinear):
                linear = GraftedLinear(linear)
                module.get_submodule(around).add_module(name, linear)
            if mode == "replace" and reads == "x":
                linear.replaced = True
                linear.register_parameter("weight", None)
                linear.register_parameter("bias", None)
            for key, part in parts.items():
                linear.add_module(key, part)
            linear.branches.append((mode, reads, after, scale, tuple(key for key in parts if key != scale)))
        return module

    def reset_parameters(self) -> None:
        if not self.replaced:
            super().reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        out = y = x if self.replaced else super().forward(x)
        for mode, reads, after, scale, names in self.branches:
            y = out if after else y
            part = x if reads == "x" else y
            for name in names:
                part = self.get_submodule(name)(part)
            if mode == "blend":
                part = part - out
            if isinstance(scale, str):
                part = self.get_submodule(scale)(part)
            elif scale != 1.0:
                part = part * scale
            out = MERGES[mode](out, part)
        return out
