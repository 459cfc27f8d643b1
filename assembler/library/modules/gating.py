"""The routing plan of a mixture: which expert gets which row, with which weight. Imports torch only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Gating(nn.Module):
    """From a router's scores to the weight of every expert for every row, exactly 0 where it is not chosen.

    scores: [... experts] (any real numbers), noise: [... experts] (`noisy_topk` only: its softplus is the
    deviation of what is added in training) -> gates [... experts], load [experts] (float32, without
    gradient: the share of all assignments that each expert got, after drops), and, where asked for,
    `balance_loss` [] and `z_loss` [], times their weights. All leading axes are rows, T of them.

    router: `topk` (each row takes its `top_k` best experts), `noisy_topk` (Shazeer et al. 2017: the same with
    noise on the scores), `expert_choice` (Zhou et al. 2022: each expert takes its best ceil(top_k T/experts)
    rows; looks at the whole batch). p = `score` of scores / temperature; a chosen expert's gate is p, or p over
    the sum of the chosen ones (`renormalize`), or 1 (`weighted=False`). `straight_through` gives the gate 1 of
    one expert the gradient of p, for all experts (`dense`) or for the chosen one (`winner`).

    capacity: an expert keeps its first ceil(top_k T/experts capacity) rows, the gates of later ones are 0.
    balance: `switch` (Fedus et al. 2021: experts sum f P, f the shares chosen, before drops and without gradient,
    P the mean p; 1 when balanced), `importance` (Shazeer et al. 2017: CV² of P), `bias` (Wang et al. 2024: no
    loss; a buffer that is added to p for the choice alone and moves by `bias_rate` against the load at each
    forward in training). z_loss: the weight of the mean logsumexp(scores)² (Zoph et al. 2022).
    expert_dropout: in training each expert is out of the choice with this probability; `top_k` always stay.

    All of it is computed in float32 at least; gates come back in the dtype of the scores, losses in float32. A gate that
    underflows there is 0, and is as if not chosen: what it would have passed on is as small as the gate.
    """

    bias: Tensor

    def __init__(
        self,
        experts: int,
        top_k: int = 2,
        router: str = "topk",
        score: str = "softmax",
        temperature: float = 1.0,
        renormalize: bool = True,
        weighted: bool = True,
        straight_through: str | None = None,
        capacity: float | None = None,
        balance: str = "none",
        balance_weight: float = 0.01,
        bias_rate: float = 1e-3,
        z_loss: float = 0.0,
        expert_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= experts:
            raise ValueError(f"a row cannot choose {top_k} of {experts} experts")
        self.experts, self.top_k = experts, top_k
        self.router, self.score, self.temperature = router, score, temperature
        self.renormalize, self.weighted, self.straight_through = renormalize, weighted, straight_through
        self.axis = 0 if router == "expert_choice" else 1  # of [rows experts], along which the best are taken
        self.capacity = capacity
        self.balance, self.balance_weight, self.bias_rate = balance, balance_weight, bias_rate
        self.z_loss, self.expert_dropout = z_loss, expert_dropout
        if balance == "bias":
            self.register_buffer("bias", torch.zeros(experts))

    def forward(self, scores: Tensor, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        raw = scores.reshape(-1, self.experts)
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        logits = raw
        if noise is not None and self.training:
            logits = logits + torch.randn_like(logits) * F.softplus(noise.reshape(-1, self.experts).to(logits.dtype))
        if self.temperature != 1.0:
            logits = logits / self.temperature
        p = logits.sigmoid() if self.score == "sigmoid" else logits.softmax(-1)
        # An expert of another mixture may get no rows.
        rows: int = torch.sym_max(p.shape[0], 1)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            stays = self._stays(p) if self.expert_dropout and self.training else None
            chosen = self._choose(logits, p, stays)
            wanted = torch.zeros_like(p).scatter(self.axis, chosen, 1.0)
            if stays is not None:
                wanted = wanted * stays
            kept = wanted if self.capacity is None else wanted * self._fits(wanted)
            load = self._load(kept, rows)
            if self.balance == "bias" and self.training:
                self._rebalance(wanted)
        gates = self._gates(logits, p, chosen, kept)
        found = [gates.to(scores.dtype).reshape(scores.shape), load]
        if self.balance in ("switch", "importance"):
            found.append((self._imbalance(p, wanted, rows) * self.balance_weight).float())
        if self.z_loss:
            found.append((raw.logsumexp(-1).square().sum() / rows * self.z_loss).float())
        return tuple(found)

    def _stays(self, p: Tensor) -> Tensor:
        """Which experts may be chosen in this step, bool [experts]."""
        draw = torch.rand(self.experts, device=p.device)
        return (draw >= self.expert_dropout) | (draw >= draw.topk(self.top_k).values[-1])

    def _choose(self, logits: Tensor, p: Tensor, stays: Tensor | None) -> Tensor:
        """The chosen experts of each row, [rows top_k]; or the chosen rows of each expert, [places experts]."""
        if self.router == "expert_choice":
            return p.topk(-(-self.top_k * p.shape[0] // self.experts), dim=0, sorted=False).indices
        # Both scores grow with the logits, among which there are fewer ties.
        worth = p + self.bias.to(p.dtype) if self.balance == "bias" else logits
        if stays is not None:
            worth = worth.masked_fill(~stays, float("-inf"))
        return worth.topk(self.top_k, dim=1, sorted=False).indices

    def _fits(self, wanted: Tensor) -> Tensor:
        """Whether fewer than ceil(top_k T/experts capacity) earlier rows chose the same expert: whole numbers only."""
        assert self.capacity is not None
        earlier = (wanted.cumsum(0) - wanted).long()
        # earlier < top_k T/experts capacity, in ten-thousandths.
        return earlier * (self.experts * 10_000) < self.top_k * round(self.capacity * 10_000) * wanted.shape[0]

    def _load(self, kept: Tensor, rows: int) -> Tensor:
        count = kept.sum(0)
        whole = count.sum().clamp(min=1.0) if self.router == "expert_choice" else self.top_k * rows
        return (count / whole).float()

    def _rebalance(self, wanted: Tensor) -> None:
        """Moves the bias against the load, and keeps its mean at zero."""
        count = wanted.sum(0)
        bias = self.bias + self.bias_rate * (count.mean() - count).sign()
        self.bias.copy_(bias - bias.mean())

    def _imbalance(self, p: Tensor, wanted: Tensor, rows: int) -> Tensor:
        share = (p / p.sum(-1, keepdim=True) if self.score == "sigmoid" else p).sum(0) / rows
        if self.balance == "switch":
            return (wanted.sum(0) * share).sum() * (self.experts / self.top_k) / rows
        # The shares sum to 1: their CV², which is experts sum P² - 1, without the rounding of that difference.
        return (share - share.mean()).square().sum() * self.experts

    def _gates(self, logits: Tensor, p: Tensor, chosen: Tensor, kept: Tensor) -> Tensor:
        if not self.weighted:
            if self.straight_through is None:
                return kept
            change = p - p.detach()  # Exactly zero: `kept + p - p.detach()` is not exactly `kept`.
            return kept + (change if self.straight_through == "dense" else kept * change)
        if self.renormalize:
            # The same as p over its sum, where that sum would underflow too.
            best = (F.logsigmoid(logits) if self.score == "sigmoid" else logits).gather(1, chosen).softmax(1)
        else:
            best = p.gather(self.axis, chosen)
        gates = torch.zeros_like(p).scatter(self.axis, chosen, best)
        return gates * kept if self.capacity is not None or self.expert_dropout else gates


class Jitter(nn.Module):
    """In training, each element times its own number between 1 - eps and 1 + eps (Fedus et al. 2021). x -> y of its shape."""

    def __init__(self, eps: float = 0.01) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.empty_like(x).uniform_(1.0 - self.eps, 1.0 + self.eps) if self.training else x
