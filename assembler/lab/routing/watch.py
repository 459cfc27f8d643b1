"""The loads of a model's mixtures, followed through a plain training loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from assembler.lab.routing.probe import gatings
from assembler.lab.routing.report import Limits, Report, judged, loads


class _Sum:
    """The running sum of one mixture's load; tensors only, so that nothing waits for the device."""

    def __init__(self, experts: int, device: torch.device) -> None:
        self.total = torch.zeros(experts, device=device)
        self.rows = torch.zeros((), device=device, dtype=torch.int64)

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...], made: tuple[Tensor, ...]) -> None:
        rows = made[0].numel() // made[0].shape[-1]
        self.total.add_(made[1], alpha=rows)  # a load has no gradient
        self.rows.add_(rows)


class Watch:
    """What the mixtures were given since the last report."""

    def __init__(self, sums: dict[str, _Sum], mixtures: dict[str, nn.Module], limits: Limits) -> None:
        self._sums, self._mixtures, self._limits = sums, mixtures, limits

    def report(self) -> Report:
        """Loads and verdicts (`collapse` only) of all rows since the last report; then it counts anew. Mixtures without rows are left out."""
        found: list[dict[str, Any]] = []
        for name, one in self._sums.items():
            rows = int(one.rows)
            if rows:
                found.append(loads(one.total / rows, rows, name, self._mixtures[name]))
            one.total.zero_()
            one.rows.zero_()
        return judged(found, self._limits)


@contextmanager
def watch(model: nn.Module, limits: Limits | None = None) -> Iterator[Watch]:
    """Adds up the load of every mixture of `model` at each forward, until the block is left.

        with routing.watch(model) as health:
            for step, batch in enumerate(batches):
                ...                                  # forward, backward, step: as ever
                if step % 100 == 99:
                    print(health.report())

    Costs two small additions for each mixture and forward. The model must lie on its device by then. A compiled
    model is entered before its first call: what is compiled already does not see the hooks. ValueError if
    the model has no mixture.
    """
    mixtures = gatings(getattr(model, "_orig_mod", model))
    if not mixtures:
        raise ValueError("the model has no mixture: no module of it is a `Gating`")
    device = next((item.device for item in model.parameters()), torch.device("cpu"))
    sums = {name: _Sum(int(module.experts), device) for name, module in mixtures.items()}  # type: ignore[arg-type]
    handles = [module.register_forward_hook(sums[name]) for name, module in mixtures.items()]
    try:
        yield Watch(sums, mixtures, limits or Limits())
    finally:
        for handle in handles:
            handle.remove()
