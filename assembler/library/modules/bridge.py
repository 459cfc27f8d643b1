"""Modules that carry a value from one medium to another: a choice, or the nearest code. Imports torch only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StraightThrough(nn.Module):
    """One-hot of the largest forward, the gradient of the softmax backward (Bengio et al. 2013).

    x: [... classes] -> [... classes], each row exactly 0 and 1; of equal entries the first wins.
    Summed in this order because `p - p.detach()` is exactly zero, and `onehot + p - p.detach()` is
    off by a rounding.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        soft = torch.softmax(x / self.temperature, dim=-1)
        hard = torch.zeros_like(soft).scatter(-1, x.argmax(dim=-1, keepdim=True), 1.0)
        return hard + (soft - soft.detach())


class GumbelSoftmax(nn.Module):
    """A sample of the categorical distribution that the logits x give, with a gradient (Jang et al.
    2017; Maddison et al. 2017).

    x: [... classes] -> [... classes]. In training Gumbel noise is added to x; `hard` gives the one-hot
    of the largest, with the gradient of the softmax. Without noise otherwise: the largest, or the
    softmax. The noise is drawn in single precision, whose smallest number half precision lacks.
    """

    def __init__(self, temperature: float = 1.0, hard: bool = True) -> None:
        super().__init__()
        self.temperature, self.hard = temperature, hard

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            waits = torch.empty_like(x, dtype=torch.float32).exponential_().clamp(min=torch.finfo(torch.float32).tiny)
            x = x - waits.log().to(x.dtype)
        soft = torch.softmax(x / self.temperature, dim=-1)
        if not self.hard:
            return soft
        hard = torch.zeros_like(soft).scatter(-1, x.argmax(dim=-1, keepdim=True), 1.0)
        return hard + (soft - soft.detach())


class VectorQuantize(nn.Module):
    """Each vector becomes the nearest of `codes` learned ones (van den Oord et al. 2017, VQ-VAE).

    x: [... width] -> (y: [... width], index: int64 [...], commit_loss: []). Forward y is a row of the
    codebook, exactly; its gradient goes to x as if nothing had happened (a straight-through copy).
    `commit_loss` is `commit * mean((x - code)^2)`, which holds x near its code. With `ema` the codes are
    buffers, each the running mean of the vectors that chose it, updated by every forward in training;
    `eps` vectors are added to each code's count (Laplace). Else they are a parameter, and
    `mean((code - x)^2)` is in the loss too. Distances are taken in at least single precision, the loss is float32.
    """

    codebook: Tensor
    cluster_size: Tensor
    embed_sum: Tensor

    def __init__(
        self, codes: int, width: int, commit: float = 0.25, ema: bool = True, decay: float = 0.99, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.commit, self.ema, self.decay, self.eps = commit, ema, decay, eps
        book = torch.empty(codes, width)
        if ema:
            self.register_buffer("codebook", book)
            self.register_buffer("cluster_size", torch.empty(codes))
            self.register_buffer("embed_sum", torch.empty(codes, width))
        else:
            self.codebook = nn.Parameter(book)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.codebook, -1 / len(self.codebook), 1 / len(self.codebook))
        if self.ema:
            nn.init.ones_(self.cluster_size)
            with torch.no_grad():
                self.embed_sum.copy_(self.codebook)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = x.detach().reshape(-1, x.shape[-1])
        with torch.no_grad():
            wide = torch.promote_types(x.dtype, torch.float32)
            book = self.codebook.to(wide)
            found = (book.square().sum(dim=-1) - 2.0 * (rows.to(wide) @ book.t())).argmin(dim=-1)
        index = found.reshape(x.shape[:-1])
        code = F.embedding(index, self.codebook)
        loss = self.commit * F.mse_loss(x.to(wide), code.detach().to(wide))
        if self.ema:
            if self.training:
                self._update(rows, found)
        else:
            loss = loss + F.mse_loss(code.to(wide), x.detach().to(wide))
        return code.detach() + (x - x.detach()), index, loss.float()

    @torch.no_grad()
    def _update(self, rows: Tensor, found: Tensor) -> None:
        rows = rows.to(self.embed_sum.dtype)
        counts = torch.zeros_like(self.cluster_size).index_add_(0, found, torch.ones_like(rows[:, 0]))
        sums = torch.zeros_like(self.embed_sum).index_add_(0, found, rows)
        self.cluster_size.mul_(self.decay).add_(counts, alpha=1.0 - self.decay)
        self.embed_sum.mul_(self.decay).add_(sums, alpha=1.0 - self.decay)
        total, codes = self.cluster_size.sum(), len(self.cluster_size)
        sizes = (self.cluster_size + self.eps) * (total / (total + codes * self.eps))
        self.codebook.copy_(self.embed_sum / sizes[:, None])
