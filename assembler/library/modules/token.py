"""Between images, rows of tokens, and one vector. Imports torch only."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """An image cut into square patches, each mapped to one vector (Dosovitskiy et al. 2021).

    x: [batch in patch*h patch*w] -> [batch h*w out], row by row.
    """

    def __init__(self, in_channels: int, out_features: int, patch: int, bias: bool = True) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, out_features, patch, stride=patch, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        grid: Tensor = self.proj(x)
        return grid.flatten(2).transpose(1, 2)


class MeanPool(nn.Module):
    """The mean over the tokens, or over those that the mask keeps; zeros where it keeps none.

    x: [... seq d], mask: bool [... seq] -> [... d]. What is masked never counts, even if not finite.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return x.mean(dim=-2)
        total = x.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=-2)
        return total / mask.sum(dim=-1, keepdim=True).clamp(min=1)


class ClsToken(nn.Module):
    """Puts one learned vector before the tokens (Devlin et al. 2019). x: [... seq d] -> [... seq+1 d]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.weight.expand(*x.shape[:-2], 1, -1), x), dim=-2)


class LearnedTokens(nn.Module):
    """Learned vectors, the same for every row of the batch (the latents of Jaegle et al. 2021, the queries of
    Carion et al. 2020). x: [... seq d] -> [... length out]; of x only the leading axes count.
    """

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        # A copy: a view of a parameter wants a gradient even under no_grad, and torch's FlopCounterMode refuses one without a source.
        return self.weight.expand(*x.shape[:-2], -1, -1).clone()
