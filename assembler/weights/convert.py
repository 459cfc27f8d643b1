"""What `torch.save` wrote, as safetensors: read as bare tensors, which can run no code, and written so that it never could.

PyTorch's `weights_only` reader is an unpickler that knows tensors and plain containers only; a file that asks for
anything else is refused.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from assembler.report.output import staged
from assembler.weights.header import MAX_ENTRIES, WeightsError, bad_name, printable

LISTED = 12


class Converted(NamedTuple):
    """What was written."""

    tensors: int
    bytes: int
    tied: Mapping[str, str]
    """Keys that are another tensor once more, and are noted in the file's metadata, as safetensors' `save_model` does."""


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str], *, key: Sequence[str] = (), strip: str = "") -> Converted:
    """Write the state dict in a file of `torch.save` as safetensors; `target` is replaced whole or not at all.

    `key`: where in the file the state dict is (`("state_dict",)`). `strip`: a prefix to take off every name
    (`module.`). WeightsError says what the file holds instead.
    """
    state = _named(_inside(_read(os.fspath(source)), key), strip)
    tensors, tied = _once(state)
    _write(Path(target), tensors, {"format": "pt", **tied})
    return Converted(len(tensors), sum(tensor.nbytes for tensor in tensors.values()), tied)


def _read(source: str) -> Any:
    shown = printable(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about protocols; what cannot be read is said below
            return torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {shown}") from None
    except pickle.UnpicklingError as problem:
        asked = str(problem).partition("\n")[0]
        raise WeightsError(
            f"{shown} is refused: it holds more than tensors and plain containers, and reading it could run code.\n  {printable(asked)}\n"
            "where you trust it, load it in its own program and save `model.state_dict()` alone"
        ) from None
    except Exception as problem:  # a damaged pickle is a program that may fail in any way
        raise WeightsError(f"{shown} cannot be read as what torch.save writes: {printable(str(problem).partition(chr(10))[0])}") from problem


def _inside(found: Any, keys: Sequence[str]) -> Mapping[str, Any]:
    """The state dict, which stands under `keys` if they are given."""
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            raise WeightsError(f"there is no `{printable(key)}` in the file; {_holds(found)}")
        found = found[key]
    if not isinstance(found, Mapping):
        raise WeightsError(f"the file holds no mapping of names to tensors: {_holds(found)}")
    others = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if others:
        inner = [name for name in others if isinstance(found[name], Mapping) and any(isinstance(value, Tensor) for value in found[name].values())]
        hint = f"; is it `--key {printable(str(inner[0]))}`?" if inner else ""
        raise WeightsError(f"not everything in the file is a tensor: {_holds({name: found[name] for name in others})}{hint}")
    if not found:
        raise WeightsError("the file holds no tensors")
    return found


def _holds(found: Any) -> str:
    if not isinstance(found, Mapping):
        return f"it is a {type(found).__name__}"
    items = [f"{printable(str(name))} ({type(value).__name__})" for name, value in list(found.items())[:LISTED]]
    return f"it holds {', '.join(items)}{f' and {len(found) - LISTED} more' if len(found) > LISTED else ''}"


def _named(state: Mapping[str, Any], strip: str) -> dict[str, Tensor]:
    if len(state) > MAX_ENTRIES:
        raise WeightsError(f"the file holds {len(state):,} tensors; more than {MAX_ENTRIES:,} are not written to one file")
    without = [str(name) for name in state if not str(name).startswith(strip)]
    if without:
        raise WeightsError(f"not every name begins with `{printable(strip)}`: {', '.join(map(printable, without[:LISTED]))}")
    found = {str(name)[len(strip) :]: value for name, value in state.items()}
    for name, value in found.items():
        wrong = bad_name(name)
        if wrong:
            raise WeightsError(f"a tensor is called `{printable(name)}`: {wrong}")
        if value.layout != torch.strided or value.is_quantized or value.numel() == 0:
            raise WeightsError(f"`{printable(name)}` is sparse, quantized or empty, which the format cannot say; save it dense")
    return found


def _once(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each tensor once, in memory of its own; names that mean one that is there already, with the one they mean."""
    owners: dict[tuple[Any, ...], str] = {}
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, value in state.items():
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), value.dtype, tuple(value.shape), value.stride())
        if place in owners:
            tied[name] = owners[place]
            continue
        owners[place] = name
        whole = value.is_contiguous() and value.untyped_storage().nbytes() == value.nbytes
        tensors[name] = value.detach() if whole else value.detach().clone(memory_format=torch.contiguous_format)
    return tensors, tied


def _write(target: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    try:
        with staged(target) as stage:
            save_file(dict(tensors), stage, metadata=dict(metadata))
    except (SafetensorError, OSError) as problem:
        raise OSError(f"{target} is not written: {getattr(problem, 'strerror', None) or problem}") from problem


__all__ = ["Converted", "convert"]
