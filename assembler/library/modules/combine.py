"""What a mixture makes of its experts: each row's weighted sum, from those that it chose. Imports torch only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Experts = Sequence[Callable[[Tensor], Tensor]]


def sparse_combine(x: Tensor, gates: Tensor, experts: Experts) -> Tensor:
    """sum_e gates[..., e] experts[e](x), each expert run only on the rows whose gate for it is not zero.

    x: [... in], gates: [... n], experts: n functions from [rows in] to [rows out], each row by itself (no
    statistics over rows) -> [... out], in the dtype that the experts give. An expert that nobody chose runs on
    no rows, so that its parameters have gradients (zeros); without gradients it does not run.

    Equal to the sum over all experts, and so are the gradients of x, of the experts and of the gates that are
    not zero. A gate of exactly zero gets none: right for gates that are zero because another expert was chosen
    (`Gating`), wrong for `straight_through="dense"`, whose zeros learn; that one needs the sum over all.

    Eager: one pass over the plan gives the rows grouped by expert, and each expert takes its slice. While
    compiling or exporting, where the sizes of slices are not numbers: one gather and one scatter for each expert.
    """
    rows, plan = x.reshape(-1, x.shape[-1]), gates.reshape(-1, len(experts))
    mixed = _one_by_one(rows, plan, experts) if torch.compiler.is_compiling() else _grouped(rows, plan, experts)
    return mixed.reshape(*gates.shape[:-1], mixed.shape[-1])


def _grouped(rows: Tensor, plan: Tensor, experts: Experts) -> Tensor:
    """Slices of rows that are grouped by expert; separate weights, so that each has its own small gradient.

    What one expert makes is added while it is still in the cache: side by side in one tensor first, it would
    cost a third more at 64 experts.
    """
    count = len(experts)
    expert, row = (plan.detach().t() != 0).nonzero().unbind(1)  # in the order of the experts already: no sort
    sizes: list[int] = torch.bincount(expert, minlength=count).tolist()
    weight = plan.flatten().index_select(0, row * count + expert).unsqueeze(-1).split_with_sizes(sizes)
    parts, places = rows.index_select(0, row).split_with_sizes(sizes), row.split_with_sizes(sizes)
    mixed: Tensor | None = None
    for e, run in enumerate(experts):
        # Nobody asks an idle expert for gradients that nobody asks for; but one must say how wide the result is.
        if sizes[e] or torch.is_grad_enabled() or (mixed is None and e == count - 1):
            mixed = _added(mixed, rows, places[e], run(parts[e]), weight[e])
    assert mixed is not None, "a mixture has an expert"
    return mixed


def _one_by_one(rows: Tensor, plan: Tensor, experts: Experts) -> Tensor:
    """Each expert gathers its rows and adds what it makes of them."""
    mixed: Tensor | None = None
    for e, run in enumerate(experts):
        place = (plan[:, e].detach() != 0).nonzero().squeeze(1)
        weight = plan[:, e].index_select(0, place).unsqueeze(-1)
        mixed = _added(mixed, rows, place, run(rows.index_select(0, place)), weight)
    assert mixed is not None, "a mixture has an expert"
    return mixed


def _added(mixed: Tensor | None, rows: Tensor, place: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """mixed: [rows out], or None for zeros, with value * weight added at the rows `place`."""
    if mixed is None:
        mixed = value.new_zeros(rows.shape[0], value.shape[-1])
    return mixed.index_add_(0, place, value * weight.to(value.dtype))


class SparseCombine(nn.Module):
    """`sparse_combine` as the node `mix` of a mixture.

    x: [... in], gates: [... n], experts: n modules -> [... out]. Experts that give `(values, loss)` have their
    losses, each over the rows that reached it, summed: then the result is `(values, loss)` too.
    """

    def forward(self, x: Tensor, gates: Tensor, experts: Experts) -> Tensor | tuple[Tensor, Tensor]:
        losses: list[Tensor] = []
        mixed = sparse_combine(x, gates, [_noting(run, losses) for run in experts])
        return (mixed, torch.stack(losses).sum()) if losses else mixed


def _noting(
    run: Callable[[Tensor], Tensor | tuple[Tensor, Tensor]], losses: list[Tensor]
) -> Callable[[Tensor], Tensor]:
    def values(rows: Tensor) -> Tensor:
        found = run(rows)
        if isinstance(found, Tensor):
            return found
        losses.append(found[1])
        return found[0]

    return values
