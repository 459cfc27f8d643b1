"""Peak memory of a computation on the CPU, exactly: every tensor that an operator makes, until it is freed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Meter(TorchDispatchMode):
    """Counts the bytes of storages that operators make while it is on. A view makes none."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        known = {item.untyped_storage().data_ptr() for item in tree_leaves((args, kwargs)) if isinstance(item, torch.Tensor)}
        for item in tree_leaves(out):
            if isinstance(item, torch.Tensor) and item.untyped_storage().data_ptr() not in known:
                self._add(item.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._alive or storage.nbytes() == 0:
            return
        size = storage.nbytes()
        self._alive[key] = weakref.finalize(storage, self._free, key, size)
        self.now += size
        self.most = max(self.most, self.now)

    def _free(self, key: int, size: int) -> None:
        self._alive.pop(key, None)
        self.now -= size


def peak(run: Callable[[], Any]) -> int:
    """Bytes that `run` holds at most at one time, beside what was there before."""
    gc.collect()
    with _Meter() as meter:
        kept = run()
    most = meter.most
    del kept
    return most
