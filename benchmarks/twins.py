"""Models as a careful person writes them by hand: what built ones are measured against.

Each has the form that a recipe describes (a loop for a repeat, a call a line for distinct nodes)
and the same `state_dict` keys as the built model, so that one loads into the other.
`Chain`, 200 distinct layers, is in `twin_chain.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dag(nn.Module):
    """Twelve linear maps that are read more than once, joined by adds and one gate. x: [batch 64] -> [batch 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(64, 64)
        self.b = nn.Linear(64, 64)
        self.c = nn.Linear(64, 64)
        self.d = nn.Linear(64, 64)
        self.e = nn.Linear(64, 64)
        self.f = nn.Linear(64, 64)
        self.g = nn.Linear(64, 64)
        self.h = nn.Linear(64, 64)
        self.i = nn.Linear(64, 64)
        self.j = nn.Linear(64, 64)
        self.k = nn.Linear(64, 64)
        self.l = nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(x)
        c = self.c(a + b)
        d = self.d(a)
        e = self.e(c + d)
        f = self.f(F.relu(b))
        g = self.g(e + f)
        h = self.h(c * torch.sigmoid(g))
        i = self.i(h + d + f)
        j = self.j(F.relu(i))
        k = self.k(j + h)
        return self.l(k + i + x)


class SelfAttention(nn.Module):
    """x: [batch seq width] -> [batch seq width]."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, seq, width = x.shape
        q = self.q(x).view(batch, seq, self.heads, -1).transpose(1, 2)
        k = self.k(x).view(batch, seq, self.heads, -1).transpose(1, 2)
        v = self.v(x).view(batch, seq, self.heads, -1).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(batch, seq, width))


class FeedForward(nn.Module):
    """x: [... width] -> [... width]."""

    def __init__(self, width: int, approximate: str = "none") -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.activation = nn.GELU(approximate=approximate)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    """Pre-norm attention and feed-forward. x: [batch seq width] -> [batch seq width]."""

    def __init__(self, width: int, heads: int, causal: bool = False, approximate: str = "none") -> None:
        super().__init__()
        self.attend_pre_norm = nn.LayerNorm(width)
        self.attend = SelfAttention(width, heads, causal)
        self.think_pre_norm = nn.LayerNorm(width)
        self.think = FeedForward(width, approximate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.attend_pre_norm(x))
        return x + self.think(self.think_pre_norm(x))


class Transformer(nn.Module):
    """Twelve blocks in a loop. x: [batch seq 256] -> [batch seq 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(Block(256, 4) for _ in range(12))
        self.final = nn.LayerNorm(256)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.encoder:
            x = block(x)
        return self.final(x)


class _Positions(nn.Module):
    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(length, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight[: x.shape[1]]


class _Patches(nn.Module):
    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Digits(nn.Module):
    """recipes/digits.yaml. image: [batch 1 8 8] -> logits [batch 10], and a loss of zero."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = _Patches(1, 64, 2)
        self.place = _Positions(16, 64)
        self.encoder = nn.ModuleList(Block(64, 4) for _ in range(4))
        self.final = nn.LayerNorm(64)
        self.head = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.place(self.patches(image))
        for block in self.encoder:
            x = block(x)
        x = self.final(x).mean(dim=1)
        return {"logits": self.head(x), "aux_loss": x.new_zeros(())}


class SmallGpt2(nn.Module):
    """recipes/gpt2.yaml at width 256, 6 layers, 4096 words, without dropout. ids: [batch seq] -> logits [batch seq 4096]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(4096, 256)
        self.place = _Positions(1024, 256)
        self.stack = nn.ModuleList(Block(256, 4, causal=True, approximate="tanh") for _ in range(6))
        self.final = nn.LayerNorm(256)
        self.head = nn.Linear(256, 4096, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.place(self.embed(ids))
        for block in self.stack:
            x = block(x)
        return self.head(self.final(x))
