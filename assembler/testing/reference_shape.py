"""`reshape` of the reference: einops-style patterns, by splitting, permuting and joining axes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

Groups = list[list[str]]


def reshape(x: Tensor, pattern: str, sizes: Mapping[str, int]) -> Tensor:
    """`"... (h p) d -> ... h (p d)"`. ValueError where the pattern does not fit the shape."""
    left, right = (_groups(side) for side in pattern.split("->"))
    rank = x.dim() - sum(group != ["..."] for group in left)
    lead = [f"...{i}" for i in range(rank)]
    left, right = _spread(left, lead), _spread(right, lead)
    if len(left) != x.dim():
        raise ValueError(f"{pattern!r} does not fit {tuple(x.shape)}")
    known = dict(sizes)
    for group, size in zip(left, x.shape, strict=True):
        _split(group, size, known)
    names = [name for group in left for name in group if name != "1"]
    kept = [name for group in right for name in group if name != "1"]
    if sorted(names) != sorted(kept):
        raise ValueError(f"{pattern!r} must keep every name")
    split = x.reshape([known[name] for name in names])
    permuted = split.permute([names.index(name) for name in kept])
    return permuted.reshape([math.prod(known[name] for name in group if name != "1") for group in right])


def _groups(side: str) -> Groups:
    return [part.strip("()").split() for part in re.findall(r"\([^)]*\)|\S+", side)]


def _spread(groups: Groups, lead: list[str]) -> Groups:
    return [found for group in groups for found in ([[name] for name in lead] if group == ["..."] else [group])]


def _split(group: list[str], size: int, known: dict[str, int]) -> None:
    """Finds the one name of a group that is still open, and checks that the product fits."""
    names = [name for name in group if name != "1"]
    open_names = [name for name in names if name not in known]
    product = math.prod(known[name] for name in names if name in known)
    if len(open_names) == 1:
        known[open_names[0]] = size // product
    if len(open_names) > 1 or math.prod(known[name] for name in names) != size:
        raise ValueError(f"an axis of {size} does not split into {group}")
