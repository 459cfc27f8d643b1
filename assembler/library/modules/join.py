"""Joins of many values: weighted sums, a vote, attention over them, the one with the largest score. Imports torch only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Blend(nn.Module):
    """w a + (1 - w) b with a learned w = sigmoid(weight), one for all or (`width`) one for each channel.

    values: two of [... d] -> [... d]. w starts at `start`, strictly between 0 and 1, and stays there.
    """

    def __init__(self, start: float = 0.5, width: int | None = None) -> None:
        super().__init__()
        self.start = start
        self.weight = nn.Parameter(torch.empty(() if width is None else (width,)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, math.log(self.start / (1.0 - self.start)))

    def forward(self, values: Sequence[Tensor]) -> Tensor:
        share = torch.sigmoid(self.weight)
        return share * values[0] + (1.0 - share) * values[1]


class MultiBlend(nn.Module):
    """The sum of w_i x_i with learned shares w that sum to 1: softmax(weight), or |weight| / sum |weight|.

    values: `count` of [... d] -> [... d]. `start` is what `weight` starts as; equal shares without it.
    `normalised` takes magnitudes with a derivative of 1 at zero (that of `abs` is 0), so that a weight
    of zero can learn.
    """

    def __init__(self, count: int, start: Sequence[float] | None = None, normalised: bool = False) -> None:
        super().__init__()
        self.start, self.normalised = None if start is None else tuple(start), normalised
        self.weight = nn.Parameter(torch.empty(count))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.start is None:
            nn.init.constant_(self.weight, 1.0 if self.normalised else 0.0)
        else:
            with torch.no_grad():
                self.weight.copy_(torch.tensor(self.start, dtype=torch.float64))

    def forward(self, values: Sequence[Tensor]) -> Tensor:
        if self.normalised:
            size = torch.where(self.weight < 0, -self.weight, self.weight)
            shares = size / size.sum()
        else:
            shares = torch.softmax(self.weight, dim=-1)
        return weighted_sum(shares.unbind(), values)


class WeightedSum(nn.Module):
    """The sum of w_i x_i with fixed weights: `len(weights)` of [... d] -> [... d]."""

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = tuple(weights)

    def forward(self, values: Sequence[Tensor]) -> Tensor:
        return weighted_sum(self.weights, values)


class Attend(nn.Module):
    """Attention over values, row by row: softmax(q . k_i / sqrt(hidden)) x_i, with q = query map(query)
    and k_i = key map(x_i).

    values: some of [... in], query: [... query_in] -> [... in]. The map of the keys has no bias: what it
    would add to all scores of a row alike, the softmax takes away.
    """

    def __init__(self, query_features: int, in_features: int, hidden_features: int, bias: bool = True) -> None:
        super().__init__()
        self.query = nn.Linear(query_features, hidden_features, bias)
        self.key = nn.Linear(in_features, hidden_features, bias=False)

    def forward(self, values: Sequence[Tensor], query: Tensor) -> Tensor:
        keys = self.key(torch.stack(list(values), dim=-2))
        scores = (keys @ self.query(query).unsqueeze(-1)).squeeze(-1) / math.sqrt(keys.shape[-1])
        return weighted_sum(torch.softmax(scores, dim=-1).unsqueeze(-1).unbind(-2), values)


class Select(nn.Module):
    """In each row the value with the largest score, the first of equal ones.

    values: n of [... d], scores: [... n] -> [... d]. How the scores learn: with `weighted` the value is
    multiplied by its softmax probability; else it comes out as it is, and `straight_through` gives the
    scores the gradient of the softmax mixture (`dense`), that of the winner's probability alone
    (`winner`), or none (None). All values are evaluated.
    """

    def __init__(self, straight_through: str | None = "winner", weighted: bool = False) -> None:
        super().__init__()
        self.straight_through, self.weighted = straight_through, weighted

    def forward(self, values: Sequence[Tensor], scores: Tensor) -> Tensor:
        gates = one_hot_of_largest(scores)
        if self.weighted:
            gates = gates * torch.softmax(scores, dim=-1)
        elif self.straight_through is not None:
            soft = torch.softmax(scores, dim=-1)
            soft = soft if self.straight_through == "dense" else gates * soft
            gates = gates + (soft - soft.detach())  # in this order: exact, the bracket being zero
        return weighted_sum(gates.unsqueeze(-1).unbind(-2), values)


class Vote(nn.Module):
    """The share of values whose largest entry it is (of equal ones the first): some of [... d] -> [... d].

    No gradient goes back.
    """

    def forward(self, values: Sequence[Tensor]) -> Tensor:
        return one_hot_of_largest(torch.stack(list(values), dim=-2)).mean(dim=-2)


def weighted_sum(weights: Sequence[Tensor | float], values: Sequence[Tensor]) -> Tensor:
    """The sum of weights[i] * values[i]; one at a time, which is faster than to stack them and needs less memory."""
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = total + weight * value
    return total


def one_hot_of_largest(x: Tensor) -> Tensor:
    """1 where the largest entry of the last axis is (the first of equal ones), 0 elsewhere; without a gradient."""
    return torch.zeros_like(x).scatter(-1, x.argmax(dim=-1, keepdim=True), 1.0)
