"""What an optimizer holds that its model has no more, and what of the model it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from assembler.facts.weights import shape_text
from assembler.graph.address import starred


class Row(NamedTuple):
    """One parameter."""

    key: str
    """In the `state_dict`; for one that is gone, as it was called."""
    shape: tuple[int, ...]


class Stale(NamedTuple):
    """How an optimizer and a model differ. Prints as a table; empty lists where they agree."""

    gone: tuple[Row, ...]
    """In the optimizer, not in the model: stepped, and read by nobody."""
    missing: tuple[Row, ...]
    """In the model, to be trained, not in the optimizer: never stepped."""
    lacking: tuple[nn.Parameter, ...]
    """The parameters of `missing`, for `optimizer.add_param_group({"params": [*stale.lacking]})`."""

    def __str__(self) -> str:
        if not self.gone and not self.missing:
            return "the optimizer has every parameter of the model that is to be trained, and no other"
        rows = Counter(("no longer in the model", starred(row.key), row.shape) for row in self.gone)
        rows.update(("not in the optimizer", starred(row.key), row.shape) for row in self.missing)
        wide = max(len(key) for _, key, _ in rows)
        lines = ((says, key, shape_text(shape), f"  x{count}" if count > 1 else "") for (says, key, shape), count in rows.items())
        return "\n".join(f"{says:<22}  {key:<{wide}}  {shape}{times}" for says, key, shape, times in lines)


def stale(model: nn.Module, optimizer: torch.optim.Optimizer, names: Mapping[int, str] | None = None) -> Stale:
    """Hold an optimizer against a model. `names`: keys of parameters that are gone, by their identity."""
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    known = {id(parameter) for parameter in held}
    own = {id(parameter) for parameter in model.parameters()}
    gone = tuple(Row((names or {}).get(id(item), "(never of this model)"), tuple(item.shape)) for item in held if id(item) not in own)
    lacking = [(name, item) for name, item in model.named_parameters() if item.requires_grad and id(item) not in known]
    return Stale(gone, tuple(Row(name, tuple(item.shape)) for name, item in lacking), tuple(item for _, item in lacking))
