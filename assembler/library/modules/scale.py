"""A learned factor. Imports torch only."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """Times a learned factor that starts at `value`; with `width` one for each channel of
    [... width] (LayerScale, Touvron et al. 2021)."""

    def __init__(self, value: float, width: int | None = None) -> None:
        super().__init__()
        self.value = value
        self.weight = nn.Parameter(torch.empty(() if width is None else (width,)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, self.value)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight
