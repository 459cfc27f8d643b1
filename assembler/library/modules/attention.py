"""Attention on `torch.nn.functional.scaled_dot_product_attention`. Imports torch only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017), with grouped queries (Ainslie et al. 2023),
    rotary positions (Su et al. 2021) and query-key normalization (Henry et al. 2020) on request.

    x: [... seq in], mask: bool [... seq] (true = this token may be looked at), bias: [heads seq seq]
    (added to the scores) -> [... seq out]. A token that may look at no token gets zeros, before `out`.
    Grouped queries: heads `0 .. heads/kv_heads - 1` share key and value head 0, and so on.
    Rotary positions count from 0 and turn pairs (i, i + rotary_dim/2) of the first `rotary_dim` channels of a head
    (all of them unless said), as Llama and GPT-NeoX in Transformers. `window`: of a causal one, how many tokens it
    looks at, itself and those right before it (Beltagy et al. 2020).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        heads: int,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        causal: bool = False,
        window: int | None = None,
        rotary_base: float | None = None,
        rotary_dim: int | None = None,
        scale: float | None = None,
        qk_norm: str | None = None,
        bias: bool = True,
        out_bias: bool | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if head_dim is None and in_features % heads:
            raise ValueError(f"{in_features} features cannot be cut into {heads} heads of equal width: state head_dim")
        self.head_dim = in_features // heads if head_dim is None else head_dim
        self.grouped = kv_heads != heads
        self.causal = causal
        self.window = window
        self.rotary_base = rotary_base
        self.rotary_dim = self.head_dim if rotary_dim is None else rotary_dim
        self.scale = scale
        self.dropout = dropout
        self.q = nn.Linear(in_features, heads * self.head_dim, bias)
        self.k = nn.Linear(in_features, kv_heads * self.head_dim, bias)
        self.v = nn.Linear(in_features, kv_heads * self.head_dim, bias)
        self.q_norm = _head_norm(qk_norm, self.head_dim)
        self.k_norm = _head_norm(qk_norm, self.head_dim)
        self.out = nn.Linear(heads * self.head_dim, out_features, bias if out_bias is None else out_bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        if x.dim() != 3:
            # The fused kernels want exactly one leading axis; with any other number they are a third slower.
            y = self.forward(_one_lead(x, 2), None if mask is None else _one_lead(mask, 1), bias)
            return y.reshape(*x.shape[:-1], y.shape[-1])
        q = _split_heads(self.q(x), self.head_dim, self.q_norm)
        k = _split_heads(self.k(x), self.head_dim, self.k_norm)
        v = _split_heads(self.v(x), self.head_dim)
        if self.rotary_base is not None:
            cos, sin = _rotary_table(q, self.rotary_base, self.rotary_dim)
            q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        alone = mask is None and bias is None and self.window is None
        mixed = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if alone else _score_mask(mask, bias, _past(x, self.window) if self.causal else None),
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=self.causal and alone,
            scale=self.scale,
            enable_gqa=self.grouped,
        )
        out: Tensor = self.out(mixed.transpose(-3, -2).flatten(-2))
        return out


class CrossAttention(nn.Module):
    """Attention whose keys and values come from a memory of its own width and length.

    x: [... seq in], memory: [... mem memory_in], mask: bool [... mem] (true = may be looked at),
    bias: [heads seq mem] -> [... seq out]. Otherwise as `Attention`.
    """

    def __init__(
        self,
        in_features: int,
        memory_features: int,
        out_features: int,
        heads: int,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        scale: float | None = None,
        qk_norm: str | None = None,
        bias: bool = True,
        out_bias: bool | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if head_dim is None and in_features % heads:
            raise ValueError(f"{in_features} features cannot be cut into {heads} heads of equal width: state head_dim")
        self.head_dim = in_features // heads if head_dim is None else head_dim
        self.grouped = kv_heads != heads
        self.scale = scale
        self.dropout = dropout
        self.q = nn.Linear(in_features, heads * self.head_dim, bias)
        self.k = nn.Linear(memory_features, kv_heads * self.head_dim, bias)
        self.v = nn.Linear(memory_features, kv_heads * self.head_dim, bias)
        self.q_norm = _head_norm(qk_norm, self.head_dim)
        self.k_norm = _head_norm(qk_norm, self.head_dim)
        self.out = nn.Linear(heads * self.head_dim, out_features, bias if out_bias is None else out_bias)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        if x.dim() != 3:
            mask = None if mask is None else _one_lead(mask, 1)
            y = self.forward(_one_lead(x, 2), _one_lead(memory, 2), mask, bias)
            return y.reshape(*x.shape[:-1], y.shape[-1])
        q = _split_heads(self.q(x), self.head_dim, self.q_norm)
        k = _split_heads(self.k(memory), self.head_dim, self.k_norm)
        v = _split_heads(self.v(memory), self.head_dim)
        mixed = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=_score_mask(mask, bias),
            dropout_p=self.dropout if self.training else 0.0,
            scale=self.scale,
            enable_gqa=self.grouped,
        )
        out: Tensor = self.out(mixed.transpose(-3, -2).flatten(-2))
        return out


def _one_lead(x: Tensor, keep: int) -> Tensor:
    """All axes but the last `keep` joined to one; a first axis of one where there are no others."""
    return x.reshape(-1, *x.shape[-keep:])


def _head_norm(kind: str | None, head_dim: int) -> nn.Module | None:
    """The norm over one head, learned once for all heads."""
    if kind is None:
        return None
    table: dict[str, type[nn.Module]] = {"layer_norm": nn.LayerNorm, "rms_norm": nn.RMSNorm}
    return table[kind](head_dim)


def _split_heads(x: Tensor, head_dim: int, norm: nn.Module | None = None) -> Tensor:
    """[... seq heads*head_dim] -> [... heads seq head_dim], a view unless there is a norm."""
    x = x.view(*x.shape[:-1], x.shape[-1] // head_dim, head_dim)  # no -1: a batch may be empty
    return (x if norm is None else norm(x)).transpose(-3, -2)


def _past(x: Tensor, window: int | None) -> Tensor:
    """Which places each place may look at: itself and (the last `window - 1`) earlier ones, bool [seq seq]."""
    place = torch.arange(x.shape[-2], device=x.device)
    past = place[:, None] >= place
    return past if window is None else past & (place[:, None] < place + window)


def _score_mask(mask: Tensor | None, bias: Tensor | None, past: Tensor | None = None) -> Tensor | None:
    """What is added to the scores [... heads seq keys], or which of them count; None = all do."""
    allowed = past
    if mask is not None:
        allowed = mask[..., None, None, :] if past is None else mask[..., None, None, :] & past
    if bias is None or allowed is None:
        return allowed if bias is None else bias
    return torch.where(allowed, bias, float("-inf"))


def _rotary_table(x: Tensor, base: float, width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each place's angles, [seq width/2].

    At least float32 until the last step: at long lengths a bf16 angle would be off by whole turns.
    """
    seq = x.shape[-2]
    dtype = torch.promote_types(x.dtype, torch.float32)
    place = torch.arange(seq, device=x.device, dtype=dtype)
    frequency = 1.0 / base ** (torch.arange(0, width, 2, device=x.device, dtype=dtype) / width)
    angle = place[:, None] * frequency
    return angle.cos().to(x.dtype), angle.sin().to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns each pair (i, i + w) of x: [... seq head_dim] by its angle, w = cos.shape[-1]; channels behind 2 w stay."""
    width = 2 * cos.shape[-1]
    a, b = x[..., :width].chunk(2, dim=-1)
    turned = (a * cos - b * sin, b * cos + a * sin)
    return torch.cat(turned if width == x.shape[-1] else (*turned, x[..., width:]), dim=-1)
