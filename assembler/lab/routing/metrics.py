"""Numbers that say whether a mixture is healthy: plain functions of tensors, without gradient.

Rows are what is routed (tokens); n is the number of experts, k how many of them a row chooses. Each
docstring says what the number is of a healthy mixture, and of one that tells nothing (its null).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

DEAD = 0.1
"""An expert with less than this part of its fair share 1/n is dead."""


# --- load: who works ---
def load(gates: Tensor, top_k: int) -> Tensor:
    """Share of the k T assignments that each expert got. gates: [... n], not 0 where chosen -> f: [n], float32.

    Sums to 1 less what was dropped. Balanced is 1/n each.
    """
    chosen = gates.reshape(-1, gates.shape[-1]) != 0
    return chosen.sum(0).float() / max(1, top_k * chosen.shape[0])


def max_violation(load: Tensor) -> float:
    """MaxVio = n max f - 1 of the shares f [n] among what was not dropped (Wang et al. 2024): 0 is balanced, n - 1 is all on one."""
    return float(load.max() / load.sum().clamp_min(_TINY) * load.numel() - 1)


def dead(load: Tensor, below: float = DEAD) -> int:
    """How many experts of f [n] have less than `below` of their fair share 1/n of what was not dropped."""
    return int((load < below / load.numel() * load.sum()).sum()) if bool(load.any()) else load.numel()


def load_entropy(load: Tensor) -> float:
    """H(f)/log n of the shares f [n]: 1 is balanced, 0 is all on one. 1 for a single expert."""
    return float(_entropy(load / load.sum().clamp_min(_TINY))) / math.log(load.numel()) if load.numel() > 1 else 1.0


def drop_rate(load: Tensor) -> float:
    """Share of the assignments that no expert took, 1 - sum f of f [n]: not 0 only under a capacity."""
    lost = 1.0 - float(load.double().sum())
    return lost if lost > load.numel() * torch.finfo(torch.float32).eps else 0.0


def unserved(gates: Tensor) -> float:
    """Share of the rows of gates [... n] that no expert took: for them the mixture gives 0 (capacity, expert choice)."""
    return float((gates == 0).all(-1).float().mean())


# --- router: how sure ---
def probabilities(scores: Tensor, score: str = "softmax", temperature: float = 1.0) -> Tensor:
    """The router's p: [... n] in float32, each row sums to 1. scores: [... n]; `sigmoid` scores are divided by their sum."""
    logits = scores.float() / temperature
    if score == "softmax":
        return logits.softmax(-1)
    p = logits.sigmoid()
    return p / p.sum(-1, keepdim=True).clamp_min(_TINY)


def token_entropy(p: Tensor) -> float:
    """Mean over rows of H(p)/log n, p [... n]: 1 is a router that knows nothing, 0 one that can no longer learn. 1 for a single expert."""
    return float(_entropy(p).mean()) / math.log(p.shape[-1]) if p.shape[-1] > 1 else 1.0


def squared_logsumexp(scores: Tensor) -> float:
    """Mean over rows of logsumexp(s)², s [... n] (what a z-loss holds down, Zoph et al. 2022); scores of 0 give (log n)²."""
    return float(scores.float().logsumexp(-1).square().mean())


def flip_rate(before: Tensor, after: Tensor) -> float:
    """Share of rows whose first choice is another than before: [rows] each, -1 = none. The same weights give 0."""
    if before.shape != after.shape:
        raise ValueError(
            f"choices of {before.numel()} rows cannot be compared with those of {after.numel()}: probe with the same batch"
        )
    return float((before != after).float().mean())


def first_choice(gates: Tensor, scores: Tensor) -> Tensor:
    """The expert with the largest gate, of equal gates that with the best score: [... n] each -> [rows], -1 where no expert took the row."""
    flat, rank = gates.reshape(-1, gates.shape[-1]), scores.reshape(-1, gates.shape[-1])
    best = rank.masked_fill(flat != flat.amax(-1, keepdim=True), float("-inf")).argmax(-1)
    return torch.where((flat == 0).all(-1), -1, best)


# --- specialisation: who works on what ---
def mutual_information(a: Tensor, b: Tensor) -> float:
    """NMI = 2 I(a; b) / (H(a) + H(b)) of two labellings [rows]: 1 where each tells the other, 0 where independent.

    0 where either is constant: it tells nothing. Few rows for many pairs of labels give more than 0 by chance:
    `shuffled_information` is the null.
    """
    one, two = _numbered(a), _numbered(b)
    wide = int(two.max()) + 1 if two.numel() else 1
    joint = (
        torch.bincount(one * wide + two, minlength=(int(one.max()) + 1 if one.numel() else 1) * wide)
        .double()
        .reshape(-1, wide)
    )
    joint = joint / joint.sum().clamp_min(1)
    left, right = float(_entropy(joint.sum(1))), float(_entropy(joint.sum(0)))
    if min(left, right) < _ZERO:
        return 0.0
    return max(0.0, 2 * (left + right - float(_entropy(joint.flatten()))) / (left + right))


def shuffled_information(a: Tensor, b: Tensor, draws: int = 10, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation of the NMI of `a` with `b` in random order: what chance alone gives. [rows] each."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.tensor(
        [mutual_information(a, b[torch.randperm(b.numel(), generator=generator).to(b.device)]) for _ in range(draws)]
    )
    return float(found.mean()), float(found.std())


def clusters(x: Tensor, k: int, seed: int = 0, steps: int = 25, starts: int = 4) -> Tensor:
    """k-means (Lloyd, from k-means++ starts, the best of several): x [rows d] -> the cluster of each row [rows]."""
    generator = torch.Generator().manual_seed(seed)
    x, best, least = x.detach().float().cpu(), torch.zeros(len(x), dtype=torch.long), math.inf
    for _ in range(starts):
        centres = x[torch.randint(len(x), (1,), generator=generator)]
        while len(centres) < k:
            far = torch.cdist(x, centres).amin(1).square() + _TINY
            centres = torch.cat([centres, x[torch.multinomial(far, 1, generator=generator)]])
        for _ in range(steps):
            owner = torch.cdist(x, centres).argmin(1)
            count = torch.bincount(owner, minlength=k).unsqueeze(1)
            centres = torch.where(
                count > 0, torch.zeros_like(centres).index_add_(0, owner, x) / count.clamp_min(1), centres
            )
        distance, owner = torch.cdist(x, centres).min(1)
        if float(distance.square().sum()) < least:
            best, least = owner, float(distance.square().sum())
    return best


def cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA |XᵀY|² / (|XᵀX| |YᵀY|) of centred x [rows d] and y [rows e] (Kornblith et al. 2019).

    1 for the same up to rotation and scale, near 0 for unrelated, but more than 0 by chance where there are
    fewer than about ten rows for each column. A constant is like another constant, and unlike anything else.
    """
    x, y = (item.double() - item.double().mean(0) for item in (x, y))
    own = float((x.T @ x).norm()), float((y.T @ y).norm())
    if min(own) == 0:
        return float(max(own) == 0)
    return float((x.T @ y).square().sum()) / (own[0] * own[1])


def mean_cka(outputs: Tensor, pairs: int = 120, seed: int = 0) -> float:
    """Mean CKA over pairs of experts, outputs [n rows d] on the same rows: 1 is experts that do the same.

    Of more than `pairs` pairs so many are drawn. nan for a single expert.
    """
    every = torch.combinations(torch.arange(len(outputs)))
    if len(every) > pairs:
        every = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))[:pairs]]
    found = [cka(outputs[one], outputs[two]) for one, two in every.tolist()]
    return sum(found) / len(found) if found else math.nan


def shuffled(gates: Tensor, seed: int = 0) -> Tensor:
    """Gates [... n] whose rows are in random order: the same load, but no row gets what it chose."""
    flat = gates.reshape(-1, gates.shape[-1])
    order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(seed))
    return flat[order.to(flat.device)].reshape(gates.shape)


def _numbered(labels: Tensor) -> Tensor:
    """The same labelling by 0, 1, ... without gaps."""
    found: Tensor = torch.unique(labels.reshape(-1), return_inverse=True)[1]
    return found


_TINY = 1e-30
_ZERO = 1e-12


def _entropy(p: Tensor) -> Tensor:
    """-sum p log p over the last axis, in nats."""
    found: Tensor = torch.special.entr(p).sum(-1)
    return found
