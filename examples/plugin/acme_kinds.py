"""A package of kinds: `pip install examples/plugin`, and recipes may name `squared_mlp`. Described in docs/plugins.md."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import assembler
from assembler_schemas.kind import Parameter, step


@assembler.kind("x: [... in] -> y: [... out]", defaults={"out": "in", "hidden": "4*in"}, source="So et al. 2021, Primer")
class SquaredMLP(nn.Module):
    """Two linear maps with a squared ReLU between"""

    def __init__(self, in_: int, hidden: int, out: int, bias: bool = True) -> None:
        super().__init__()
        self.up = nn.Linear(in_, hidden, bias)
        self.down = nn.Linear(hidden, out, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.relu(self.up(x)).square())


@assembler.kind(
    "x: [... d] -> y: [... d]",
    parameters={"weight": Parameter(("d",), "constant(0.1)", writes=True)},
    body=[step("y", "multiply", "x", "weight")],
    source="Touvron et al. 2021, Going deeper with Image Transformers",
)
class ChannelGain(nn.Module):
    """A learned factor for each channel, which starts small"""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight
