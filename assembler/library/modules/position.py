"""What tells a sequence its order. Imports torch only."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LearnedPosition(nn.Module):
    """Adds a learned vector to each position: [... seq d] -> [... seq d], seq at most `length`.

    RuntimeError from the addition where the sequence is longer than the table.
    """

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight[: x.shape[-2]]


class SinusoidalPosition(nn.Module):
    """Adds sines (even columns) and cosines (odd ones) of the position (Vaswani et al. 2017):
    [... seq d] -> [... seq d], d even.

    Computed from the length that comes, in float32 at least: at long lengths a bf16 angle would
    be off by whole turns.
    """

    def __init__(self, base: float = 10000.0) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: Tensor) -> Tensor:
        length, width = x.shape[-2], x.shape[-1]
        dtype = torch.promote_types(x.dtype, torch.float32)
        position = torch.arange(length, device=x.device, dtype=dtype)
        column = torch.arange(0, width, 2, device=x.device, dtype=dtype)
        angle = position[:, None] * torch.exp(column * (-math.log(self.base) / width))
        code = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)
        return x + code.to(x.dtype)
