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
    no rows, so that its parameters have gradients: zeros.

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
    """Slices of rows that are sorted by expert; separate weights, so that each has its own small gradient."""
    expert, row = (plan.detach().t() != 0).nonzero().unbind(1)  # in the order of the experts already: no sort
    counts = torch.bincount(expert, minlength=len(experts)).tolist()
    slices = rows.index_select(0, row).split(counts)
    values = torch.cat([run(part) for run, part in zip(experts, slices, strict=True)])
    weight = plan.flatten().index_select(0, row * len(experts) + expert)
    values = values * weight.to(values.dtype).unsqueeze(-1)
    return values.new_zeros(rows.shape[0], values.shape[-1]).index_add(0, row, values)


def _one_by_one(rows: Tensor, plan: Tensor, experts: Experts) -> Tensor:
    """Each expert gathers its rows and adds what it makes of them."""
    mixed: Tensor | None = None
    for place, run in enumerate(experts):
        row = (plan[:, place].detach() != 0).nonzero().squeeze(1)
        values = run(rows.index_select(0, row))
        values = values * plan[:, place].index_select(0, row).to(values.dtype).unsqueeze(-1)
        if mixed is None:
            mixed = values.new_zeros(rows.shape[0], values.shape[-1])
        mixed = mixed.index_add(0, row, values)
    assert mixed is not None, "a mixture has an expert"
    return mixed


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
