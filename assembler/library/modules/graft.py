"""A linear map with grafts. Imports torch only."""

from __future__ import annotations

from torch import Tensor, nn


class GraftedLinear(nn.Linear):
    """A linear map to which parts are added (LoRA: Hu et al. 2021): x: [... in] -> [... out].

    y = x Wᵀ + b + Σ scale part(x). It takes the place of an
    `nn.Linear` and keeps its parameters, so that their keys and values stay as they are.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = linear.weight
        self.register_parameter("bias", linear.bias)
        self.branches: list[tuple[str, float, tuple[str, ...]]] = []

    @staticmethod
    def into(module: nn.Module, place: str, reads: str, scale: float, /, **parts: nn.Module) -> nn.Module:
        """`module`, with `parts`, one after another, added to its linear map at `place`: `q`, `block.up`.

        `reads`: the first part takes what the map takes ("x"), what it gives ("y"), or that and what
        was added before ("sum").
        """
        around, _, name = place.rpartition(".")
        holder = module.get_submodule(around)
        linear = module.get_submodule(place)
        if not isinstance(linear, nn.Linear):
            raise TypeError(f"{place!r} is a {type(linear).__name__}, not a linear map")
        if not isinstance(linear, GraftedLinear):
            linear = GraftedLinear(linear)
            holder.add_module(name, linear)
        for key, part in parts.items():
            linear.add_module(key, part)
        linear.branches.append((reads, scale, tuple(parts)))
        return module

    def forward(self, x: Tensor) -> Tensor:
        host: Tensor = super().forward(x)
        out = host
        for reads, scale, names in self.branches:
            part = {"x": x, "y": host, "sum": out}[reads]
            for name in names:
                part = self.get_submodule(name)(part)
            out = out + (part if scale == 1.0 else part * scale)
        return out
