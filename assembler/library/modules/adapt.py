"""Modules that mend an edge. Imports torch only."""

from __future__ import annotations

from torch import Tensor, nn


class LowRank(nn.Module):
    """A linear map through a narrow middle (Hu et al. 2021). x: [... in] -> [... out].

    Only the second map has a bias, on request: one of the first would be part of it.
    """

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool = False) -> None:
        super().__init__()
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(self.down(x))
        return out
