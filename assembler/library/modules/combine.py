"""What a mixture makes of its experts: each row's weighted sum, from those that it chose. Imports torch only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Experts = Sequence[Callable[[Tensor], Tensor]]


def sparse_combine(x: Tensor, gates: Tensor, experts: Experts) -> Tensor:
    """sum_e gates[..., e] experts[e](x), each expert run only on the rows whose gate for it is not zero.

    x: [... in], gates: [... n], experts: n functions from [rows in] to [rows out], each row by itself (no
    statistics over rows) -> [... out], in the widest dtype that an expert gives. An expert that nobody chose runs on
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
    """Slices of rows that are grouped by expert; separate weights, so that each has its own small gradient."""
    count = len(experts)
    expert, place = (plan.detach().t() != 0).nonzero().unbind(1)  # in the order of the experts already: no sort
    sizes: list[int] = torch.bincount(expert, minlength=count).tolist()
    # An idle expert runs for its gradients only; but one must say how wide the result is.
    busy = [e for e in range(count) if sizes[e] or torch.is_grad_enabled()] or [count - 1]
    sizes = [sizes[e] for e in busy]
    parts = _Deal.apply(rows, place, sizes)  # type: ignore[no-untyped-call]
    values = [experts[e](part) for e, part in zip(busy, parts, strict=True)]
    if any(value.dtype != values[0].dtype for value in values):  # under autocast a linear map narrows, a norm does not
        wide = max((value.dtype for value in values), key=lambda dtype: dtype.itemsize)
        values = [value.to(wide) for value in values]
    weight = plan.flatten().index_select(0, place * count + expert).to(values[0].dtype)
    mixed: Tensor = _Collect.apply(weight, place, sizes, rows.shape[0], *values)  # type: ignore[no-untyped-call]
    return mixed


# Autograd of the same operations would put the rows of all experts side by side, twice and more: where there are
# many, k times the batch, far out of the cache. Here each slice is used while it is warm: 4 to 9 % of a step.
class _Deal(torch.autograd.Function):
    """rows: [T in], place: [assignments] -> each expert's rows, [sizes[e] in]."""

    @staticmethod
    def forward(rows: Tensor, place: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
        return tuple(rows.index_select(0, part) for part in place.split_with_sizes(sizes))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        rows, place, ctx.sizes = inputs
        ctx.rows = rows.shape[0]
        ctx.save_for_backward(place)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (place,) = ctx.saved_tensors
        back = gradients[0].new_zeros(ctx.rows, gradients[0].shape[1])
        for part, gradient in zip(place.split_with_sizes(ctx.sizes), gradients, strict=True):
            back.index_add_(0, part, gradient)
        return back, None, None


class _Collect(torch.autograd.Function):
    """weight: [assignments], place: [assignments], each expert's values [sizes[e] out] -> their sums [T out]."""

    @staticmethod
    def forward(weight: Tensor, place: Tensor, sizes: list[int], rows: int, *values: Tensor) -> Tensor:
        mixed = values[0].new_zeros(rows, values[0].shape[-1])
        slices = zip(place.split_with_sizes(sizes), weight.unsqueeze(-1).split_with_sizes(sizes), values, strict=True)
        for part, gate, value in slices:
            mixed.index_add_(0, part, value * gate)
        return mixed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        weight, place, ctx.sizes, _, *values = inputs
        ctx.save_for_backward(weight, place, *values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, place, *values = ctx.saved_tensors
        to_gates, to_values = [], []
        gates = weight.unsqueeze(-1).split_with_sizes(ctx.sizes)
        for part, gate, value in zip(place.split_with_sizes(ctx.sizes), gates, values, strict=True):
            here = gradient.index_select(0, part)
            to_gates.append(torch.linalg.vecdot(here, value))
            to_values.append(here * gate)
        return torch.cat(to_gates), None, None, None, *to_values


def _one_by_one(rows: Tensor, plan: Tensor, experts: Experts) -> Tensor:
    """Each expert gathers its rows and adds what it makes of them."""
    mixed: Tensor | None = None
    for e, run in enumerate(experts):
        place = (plan[:, e].detach() != 0).nonzero().squeeze(1)
        value = run(rows.index_select(0, place))
        weight = plan[:, e].index_select(0, place).to(value.dtype).unsqueeze(-1)
        if mixed is None:
            mixed = value.new_zeros(rows.shape[0], value.shape[-1])
        wide = max(mixed.dtype, value.dtype, key=lambda dtype: dtype.itemsize)
        mixed = mixed.to(wide).index_add(0, place, (value * weight).to(wide))
    assert mixed is not None, "a mixture has an expert"
    return mixed


class SparseCombine(nn.Module):
    """`sparse_combine` as the node `mix` of a mixture.

    x: [... in], gates: [... n], experts: n modules -> [... out]. `losses`: some experts give `(values, loss)`; then
    the result is `(values, loss)` too, each loss over the rows that reached its expert, zero where none did.
    """

    def __init__(self, *, losses: bool = False) -> None:
        super().__init__()
        self.losses = losses

    def extra_repr(self) -> str:
        return "losses=True" if self.losses else ""

    def forward(self, x: Tensor, gates: Tensor, experts: Experts) -> Tensor | tuple[Tensor, Tensor]:
        losses: list[Tensor] = []
        mixed = sparse_combine(x, gates, [_noting(run, losses) for run in experts])
        if not self.losses:
            return mixed
        return mixed, torch.stack(losses).sum() if losses else mixed.new_zeros(())


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
