"""A model as a folder: its weights, the recipe they belong to, and a lock that says what the library made of it.

    assembler.save(model, "runs/7")
    model = assembler.load_model("runs/7")

`model.safetensors` holds every tensor once, under its owner's key; `recipe.yaml` the recipe with its defaults and
overrides; `lock.json` the versions of its kinds, its adapters and types, and the size and hash of the weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from assembler.assemble import Origin, Source, hold, origin_of, remember
from assembler.compare.lock import lock_of, text_of
from assembler.compiler.build import build
from assembler.compiler.plan import plan
from assembler.facts.count import leaves
from assembler.library.entry_points import there
from assembler.library.registry import pinned
from assembler.report.output import as_any_new, flush
from assembler.source.dump import to_yaml
from assembler.source.text import read
from assembler.weights.header import Header, WeightsError, printable, read_header, strict_json
from assembler.weights.load import File, fit
from assembler.weights.names import LOCK, RECIPE, WEIGHTS
from assembler.weights.places import Place, bare, known, places
from assembler.weights.report import WeightsMismatch

VERIFIED = 16 * 2**20
"""Bytes up to which a file is hashed and looked through unasked: some 15 ms. Half a gigabyte takes 0.4 s."""
MAX_LOCK = 4 * 2**20
FAR, LITTLE = 16, 1_000_000
"""A recipe with more than so many times the parameters that its file holds is not laid out; nor is that asked of little ones,
where a list of what does not fit says more."""
OURS = (WEIGHTS, RECIPE, LOCK)


class OlderFolder(UserWarning):
    """A folder that another release of the library saved, where kinds had other versions."""


# --- saving ---
def save(model: nn.Module, folder: str | os.PathLike[str], *, recipe: Source | None = None, given: bool = False, force: bool = False) -> None:
    """Write a model into a folder, whole or not at all.

    `recipe`: what the model was built from, where this process does not know (it was unpickled, or ejected). `given`: also
    the weights of modules that were handed over, which are not ours and are left out otherwise. A folder that holds
    anything but a saved model is refused; `force` writes there too, and touches nothing else in it.
    """
    target = Path(folder)
    _check_target(target, force)
    model = bare(model)
    about = known(model, origin_of(recipe) if recipe is not None else None)
    if about.origin is None:
        raise ValueError("nobody knows what this model was built from: say `recipe=...`, the file or mapping of its recipe")
    mine = places(model, about)
    tensors = {key: _own(place.tensor) for key, place in mine.items() if given or not place.given}
    if any(tensor.is_meta for tensor in tensors.values()):
        raise ValueError("the model is on meta and has no values to save: call `assembler.initialize(model)` first")
    with _staged(target) as stage:
        _write_weights(stage / WEIGHTS, tensors)
        _write_text(stage / RECIPE, _recipe_text(about.origin))
        _same_recipe(stage / RECIPE, about.origin)
        _write_text(stage / LOCK, _lock_text(stage / WEIGHTS, len(tensors), about.origin))


def _check_target(target: Path, force: bool) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise FileExistsError(f"{target} is a link or a file; name a folder")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent}")
    if target.is_dir() and not force:
        there = sorted(os.listdir(target))
        if there and not {RECIPE, WEIGHTS} <= set(there):
            raise FileExistsError(f"{target} holds {', '.join(map(printable, there[:5]))} and no saved model; name a new folder, or say force=True to write beside them")


def _own(tensor: Tensor) -> Tensor:
    """Contiguous, in memory of its own: the file format knows no views."""
    bare = tensor.detach()
    whole = bare.is_contiguous() and bare.untyped_storage().nbytes() == bare.nbytes
    return bare if whole or bare.is_meta else bare.clone(memory_format=torch.contiguous_format)


@contextlib.contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A new folder beside `target` that takes its place in the end. On any failure it is gone, and `target` as it was.

    Into a folder that is there the files go one by one, the lock last: while one is missing nothing loads it.
    """
    stage = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        yield stage
        if not target.is_dir() or not os.listdir(target):
            as_any_new(stage)
            os.replace(stage, target)
        else:
            (target / LOCK).unlink(missing_ok=True)
            for name in OURS:
                os.replace(stage / name, target / name)
        flush(target)
        flush(target.parent)
    except OSError as problem:
        raise _worded(problem, f"{target} is not saved: {problem.strerror or problem}; what was there is as it was") from problem
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _worded(problem: BaseException, text: str) -> OSError:
    """An OSError with another text; safetensors' own errors have no number."""
    number = getattr(problem, "errno", None)
    return OSError(number, text) if number is not None else OSError(text)


def _write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as problem:
        raise OSError(str(problem)) from problem
    as_any_new(path)
    flush(path)


def _write_text(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _recipe_text(found: Origin) -> str:
    body = to_yaml(found.recipe.tree.plain())
    return f"# The recipe of the weights beside it, with its defaults and overrides. Written by assembler.save.\n{body}"


def _same_recipe(path: Path, found: Origin) -> None:
    """What was written is what is meant: a text that reads as something else must never go unseen."""
    tree, wrong = read(path)
    refused = next((item for item in wrong if item.level == "error"), None)
    if refused is not None:  # a mapping from Python may hold texts that no file may
        raise ValueError(f"the recipe cannot be kept in a file: {refused.message}; {refused.help}")
    if tree is None or tree.plain() != found.recipe.tree.plain():
        raise ValueError("the recipe does not read back as it was, which is a bug of ours: please report it with the recipe")


def _lock_text(weights: Path, tensors: int, found: Origin) -> str:
    """The lock of the recipe, and of the file of weights its size and hash."""
    try:
        lock = text_of(lock_of(found))
    except ValueError:  # too large to be unfolded: what is left to say is what the weights are
        lock = "{\n}\n"
    about = json.dumps({"bytes": weights.stat().st_size, "sha256": _sha256(weights), "tensors": tensors})
    return "{\n" + f' "weights": {about}' + (",\n" if len(lock) > 4 else "\n") + lock[2:]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- loading ---
def load_model(
    folder: str | os.PathLike[str],
    *,
    given: Mapping[str, nn.Module] | None = None,
    device: Any = None,
    dtype: torch.dtype | None = None,
    verify: bool | None = None,
    allow_nonfinite: bool = False,
) -> nn.Module:
    """The model that `save` wrote: checked and built anew, its weights mapped from the file (changes stay in memory).

    `given`: the modules that were handed over to `build`, by address. `dtype`: convert floating-point weights, but those of
    nodes that state their own; as it is, they keep that of the file. `verify`: hold the file against the hash in the lock and
    look for NaN and infinity; as it is, only up to 16 MiB. RecipeError for a recipe that does not check, WeightsError.
    """
    place = Path(folder)
    lock = _read_lock(place)
    path = place / WEIGHTS
    header = read_header(path)
    verify = header.size <= VERIFIED if verify is None else verify
    _verified(path, header, lock, verify)
    with pinned(there(lock["kinds"])):
        found = origin_of(place / RECIPE)
    changed = _other_versions(lock, found)
    if changed:
        warnings.warn(f"{place} was saved by another release: {'; '.join(changed)}; its weights are taken where names and shapes still fit", OlderFolder, stacklevel=2)
    planned = plan(found.graph, found.facts)
    _plausible(planned.parameters, header, path)
    hold(planned, given, dtype)
    model = build(planned, dtype=dtype, values=False, given=given)
    about = known(model, found)
    mine = places(model, about)
    fitted = fit(File(str(path), header, None), mine, about)
    if not fitted.loaded.whole:
        raise WeightsMismatch(fitted.loaded, "build the model from its recipe and call `assembler.load_weights(model, file, strict=False)` to take what fits")
    values = dict(fitted.values(mine, cast=dtype is not None, allow_nonfinite=allow_nonfinite or not verify, stated=dtype is None))
    _assign(model, [(mine[key], value) for key, value in values.items()], dtype is not None)
    remember(model, found)
    return model if device is None else model.to(device)


def _plausible(parameters: int, header: Header, path: Path) -> None:
    """WeightsError for a file that is nowhere near what its recipe wants, before memory and time are spent on that."""
    held = sum(prod(item.shape) for item in header.entries.values())
    if parameters > FAR * max(held, LITTLE):
        raise WeightsError(f"{printable(str(path))} holds {held:,} numbers, and the recipe beside it has {parameters:,} parameters: one of the two is not what was saved")


def _assign(model: nn.Module, values: Sequence[tuple[Place, Tensor]], cast: bool) -> None:
    """Put each value in the place of the tensor that the model was laid out with, under every name that it has."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for place, value in values:
        old = place.tensor
        new = value.to(old.dtype) if cast else value
        tensor = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        for name in place.names:
            where, _, attribute = name.rpartition(".")
            table: dict[str, Any] = modules[where]._parameters if isinstance(old, nn.Parameter) else modules[where]._buffers
            table[attribute] = tensor


def _read_lock(place: Path) -> dict[str, Any]:
    """What a lock says of weights and kinds; nothing else of it is believed."""
    if not place.is_dir():
        raise FileNotFoundError(f"there is no folder {printable(str(place))}; `assembler.load_weights` takes single files")
    lacking = [name for name in OURS if not (place / name).is_file()]
    if lacking:
        raise WeightsError(f"{printable(str(place))} lacks {', '.join(lacking)}: it is no whole saved model (a lock that is missing alone means that saving was interrupted)")
    if (place / LOCK).stat().st_size > MAX_LOCK:
        raise WeightsError(f"{LOCK} in {printable(str(place))} is larger than any that we write")
    lock = strict_json((place / LOCK).read_bytes(), f"{LOCK} in {printable(str(place))}", floats=True)
    about, kinds = lock.get("weights"), lock.get("kinds", {})
    if not isinstance(about, dict) or type(about.get("bytes")) is not int or not isinstance(about.get("sha256"), str):
        raise WeightsError(f"{LOCK} in {printable(str(place))} does not say what the weights are (`weights: bytes, sha256`)")
    if not isinstance(kinds, dict) or not all(type(version) is int for version in kinds.values()):
        raise WeightsError(f"{LOCK} in {printable(str(place))} does not say which versions the kinds have (`kinds`)")
    return {"weights": about, "kinds": kinds}


def _verified(path: Path, header: Header, lock: Mapping[str, Any], verify: bool) -> None:
    about = lock["weights"]
    other = f"is {header.size:,} bytes long, not {about['bytes']:,}" if header.size != about["bytes"] else ""
    if not other and verify and (found := _sha256(path)) != about["sha256"]:
        other = f"has the sha256 {found[:16]}..., not {printable(about['sha256'][:16])}..."
    if other:
        raise WeightsError(f"{printable(str(path))} is not the file that was saved: it {other}, as {LOCK} says; `assembler.load_weights` takes a file without a lock")


def _other_versions(lock: Mapping[str, Any], found: Origin) -> list[str]:
    """Kinds of the recipe that had another version when the folder was saved."""
    now = {item.node.kind.name: item.node.kind.version for item in leaves(found.graph, found.facts)}
    before = lock["kinds"]
    return [f"`{kind}` was version {before[kind]} and is {version}" for kind, version in sorted(now.items()) if before.get(kind, version) != version]
