"""`load_weights`: what fits of a file, into a model that exists. Everything is looked at before anything is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from assembler.assemble import RecipeError, origin_of
from assembler.facts.flow import flow
from assembler.facts.moved import bad_move, expanded
from assembler.facts.roles import roles
from assembler.facts.weights import Held, compare, held, renamed
from assembler.weights.header import Header, WeightsError, printable, read_header
from assembler.weights.match import folded, selected, suggested
from assembler.weights.names import RECIPE, WEIGHTS
from assembler.weights.places import Known, Place, bare, known, places
from assembler.weights.promises import broken
from assembler.weights.report import Loaded, WeightsMismatch

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


ADVICE = "say what moved (`moved:` in the recipe, or `moved={...}`), ask for a part (`only=...`), or take what fits (`strict=False`)"


def load_weights(
    model: nn.Module,
    file: str | os.PathLike[str],
    *,
    only: str | Sequence[str] | None = None,
    moved: Mapping[str, str] | None = None,
    strict: bool = True,
    cast: bool = False,
    allow_nonfinite: bool = False,
) -> Loaded:
    """Fill a model's weights from a safetensors file, or from a folder that `save` wrote (whose recipe then tells kinds apart).

    `only`: address patterns (`encoder.*.attend`); all else stays as it is. `moved`: old address -> new address, beside
    what the recipe's own `moved` says. `strict`: anything new, dropped or changed is a WeightsMismatch. `cast`: other
    floating-point dtypes are converted. Whenever this raises, no weight of the model was written.
    """
    model = bare(model)
    about = known(model)
    mine = places(model, about)
    if any(item.tensor.is_meta for item in mine.values()):
        raise WeightsError("the model is on meta and has no memory to load into: call `assembler.initialize(model)` first")
    source = File.open(file)
    fitted = fit(source, mine, about, only, moved)
    if strict and not fitted.loaded.whole:
        raise WeightsMismatch(fitted.loaded, ADVICE)
    values = dict(fitted.values(mine, cast=cast, allow_nonfinite=allow_nonfinite))
    with torch.no_grad():
        for key, value in values.items():
            mine[key].tensor.copy_(value)
    return fitted.loaded._replace(broken=broken(model, about, values.keys()))


class File:
    """A file of weights, its head read; and, for a folder of ours, what its recipe says of them."""

    def __init__(self, path: str, header: Header, before: Known | None) -> None:
        self.path, self.header, self.before = path, header, before

    @classmethod
    def open(cls, file: str | os.PathLike[str]) -> File:
        place = Path(file)
        if not place.is_dir():
            return cls(os.fspath(file), read_header(place), None)
        if not (place / RECIPE).is_file() or not (place / WEIGHTS).is_file():
            raise WeightsError(f"{printable(str(place))} is a folder that `assembler.save` did not write: it lacks {RECIPE} or {WEIGHTS}; name a safetensors file")
        try:
            found = origin_of(place / RECIPE)
        except RecipeError as problem:
            raise WeightsError(f"the recipe in {printable(str(place))} does not check; to go by names and shapes alone, name {printable(str(place / WEIGHTS))}\n\n{problem}") from problem
        return cls(str(place / WEIGHTS), read_header(place / WEIGHTS), Known(found, flow(found.graph, found.facts)))

    def held(self, after: Mapping[str, Held], targets: Mapping[str, str]) -> dict[str, Held]:
        """What the file holds, by its keys. Without a recipe a weight is taken for the one at its key."""
        theirs = {item.key: item for item in held(self.before.flow)} if self.before is not None and self.before.flow is not None else {}
        nodes = {item.node for item in after.values()}
        found: dict[str, Held] = {}
        for key, target in targets.items():
            shape, other = self.header.entries[self.entry(key)].shape, theirs.get(key)
            if other is None and (same := after.get(target)) is not None:
                other = same
            elif other is None:
                other = _nameless(key, target, nodes)
            found[key] = other._replace(key=key, shape=shape)
        return found

    def entry(self, key: str) -> str:
        """The entry that holds a key: its own, or the one that it is tied to, as safetensors' `save_model` notes it."""
        return key if key in self.header.entries else self.header.metadata[key]

    def names(self) -> Iterator[str]:
        """Every key that the file speaks of, those it holds first."""
        entries = self.header.entries
        return chain(entries, (key for key, owner in self.header.metadata.items() if key not in entries and owner in entries))


def _nameless(key: str, target: str, nodes: Collection[str]) -> Held:
    """A weight of which no recipe speaks and that the model does not have: of the model's node where it would stand, if any."""
    node = target.rpartition(".")[0]
    while node and node not in nodes:
        node = node.rpartition(".")[0]
    here, _, name = (node, "", target[len(node) + 1 :]) if node else key.rpartition(".")
    return Held(key, here, "", name, (), "", False, False)


class Fit:
    """Which weight of a file fills which of a model. Nothing is read yet."""

    def __init__(self, source: File, loaded: Loaded, sources: Mapping[str, Sequence[str]]) -> None:
        self.source, self.loaded, self.sources = source, loaded, sources

    def values(self, mine: Mapping[str, Place], *, cast: bool, allow_nonfinite: bool, stated: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Key in the model -> value, in order. WeightsError, before the first one is given, for any that may not be taken.

        `stated`: only what the recipe states of dtypes counts; everything else takes that of the file.
        """
        wrong = [line for _, item in self.loaded.kept if (line := self._other_dtype(mine[item.key], stated, cast))]
        if wrong:
            raise WeightsError(_many("these have another dtype (`cast=True` converts floating-point ones)", wrong))
        try:
            with safe_open(self.source.path, framework="pt", device="cpu") as file:
                found = {item.key: self._value(item.key, file.get_tensor) for _, item in self.loaded.kept}
        except (SafetensorError, OSError) as problem:
            raise WeightsError(f"{printable(self.source.path)} cannot be read: {problem}") from problem
        bad = [] if allow_nonfinite else [f"{key}: {int((~torch.isfinite(value)).sum()):,} of {value.numel():,} elements" for key, value in found.items() if not finite(value)]
        if bad:
            raise WeightsError(_many("these hold NaN or infinity (`allow_nonfinite=True` takes them)", bad))
        return iter(found.items())

    def _other_dtype(self, place: Place, stated: bool, cast: bool) -> str:
        (key, *_) = self.sources[place.held.key]
        found, wanted = DTYPES[self.source.header.entries[self.source.entry(key)].dtype], place.tensor.dtype
        floats = found.is_floating_point and wanted.is_floating_point
        if found == wanted or (floats and (cast or (stated and not place.dtype))):
            return ""
        return f"{place.held.key}: {_spelled(found)} in the file, {_spelled(wanted)} in the model"

    def _value(self, key: str, read: Callable[[str], Tensor]) -> Tensor:
        """The value of a weight; where the file says it more than once, it must say the same."""
        first, *others = dict.fromkeys(map(self.source.entry, self.sources[key]))
        value = read(first)
        for other in others:
            if not torch.equal(value, read(other)):
                raise WeightsError(f"`{first}` and `{other}` of {printable(self.source.path)} are one weight in the model (`{key}`) and differ; keep the one that is meant")
        return value


def fit(source: File, mine: Mapping[str, Place], about: Known, only: str | Sequence[str] | None = None, moved: Mapping[str, str] | None = None) -> Fit:
    """Hold a file against the places of a model. Modules that were handed over need not be in the file."""
    owner = {name: key for key, place in mine.items() for name in place.names}
    moves = _moves(source, about, owner, moved)
    sources: dict[str, list[str]] = {}
    for key in source.names():
        target = owner.get(renamed(key, moves)) or renamed(key, moves)
        if key in source.header.entries or target in mine:
            sources.setdefault(target, []).append(key)
    wanted = mine.keys() | sources.keys() if only is None else {owner.get(name, name) for name in selected(only, owner, [key for key in sources if key not in mine])}
    there = {place.given for key, place in mine.items() if key in sources}
    after = {key: place.held for key, place in mine.items() if key in wanted and (not place.given or place.given in there)}
    targets = {keys[0]: target for target, keys in sources.items() if target in wanted}
    before = source.held(after, targets)
    found = compare(list(before.values()), list(after.values()), targets)
    left = tuple(key for target, keys in sources.items() if target not in wanted for key in keys)
    guesses = _guesses(source, about, found.dropped, found.new)
    loaded = Loaded(source.path, found.kept, found.changed, found.new, found.dropped, left, guesses)
    return Fit(source, loaded, sources)


def _moves(source: File, about: Known, owner: Mapping[str, str], moved: Mapping[str, str] | None) -> dict[str, str]:
    """Moves of single nodes: the recipe's own, and those of the caller, which must mean something."""
    keys = list(source.names())
    for old, new in (moved or {}).items():
        wrong = bad_move(old, new)
        made = expanded({old: new}, keys) if not wrong else {}
        if not wrong and not any(renamed(key, made) != key for key in keys):
            wrong = f"nothing in {printable(source.path)} stands at `{old}`"
        if not wrong and not any(name == to or name.startswith(f"{to}.") for to in made.values() for name in owner):
            wrong = f"nothing in the model stands at `{new}`"
        if wrong:
            raise WeightsError(f"`moved` is wrong: {wrong}")
    own = about.origin.recipe.moved if about.origin is not None else {}
    return expanded({**{old: str(value.data) for old, value in own.items()}, **(moved or {})}, keys)


def _guesses(source: File, about: Known, dropped: Sequence[Held], new: Sequence[Held]) -> Mapping[str, str]:
    """By role in both graphs where both are known, else by names and shapes."""
    if not dropped or not new:
        return {}
    if source.before is not None and source.before.flow is not None and about.flow is not None:
        lost, lacking = {item.node for item in dropped}, {item.node for item in new}
        by_role = {old: to for old, to in roles(source.before.flow, about.flow).moved.items() if _touches(old, lost) and _touches(to, lacking)}
        if by_role:
            return folded(by_role, [item.key for item in dropped])
    return suggested({item.key: item.shape for item in dropped}, {item.key: item.shape for item in new})


def _touches(address: str, nodes: set[str]) -> bool:
    return any(node == address or node.startswith(f"{address}.") for node in nodes)


def finite(value: Tensor) -> bool:
    """Whether no element is NaN or infinite. The sum of finite elements is nearly always finite, and cheap to ask for."""
    if not (value.is_floating_point() or value.is_complex()):
        return True
    wide = value.float() if value.element_size() == 1 else value
    total = wide.sum(dtype=torch.float32 if wide.dtype in (torch.float16, torch.bfloat16) else None)
    return bool(torch.isfinite(total)) or bool(torch.isfinite(wide).all())


def _many(title: str, lines: Sequence[str], most: int = 20) -> str:
    rest = len(lines) - most
    return "\n".join([f"{title}:", *(f"  {line}" for line in lines[:most]), *([f"  and {rest} more"] if rest > 0 else []), "nothing was loaded"])


def _spelled(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
