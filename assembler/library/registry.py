"""Which kinds there are, in which versions, and the classes of those that plugins bring.

A card file is imported only when one of its kinds is named. What is imported by name is only what
stands in `STATIC`: a recipe's text is looked up in a table, it never reaches an import.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from assembler_schemas.kind import Kind

_FILES = {
    "linear": "linear",
    "mlp": "mlp stacked_mlp swiglu geglu reglu glu",
    "norm": "layer_norm rms_norm",
    "embed": "embedding learned_position sinusoidal_position",
    "mix": "concat stack add multiply mean",
    "basic": "activation dropout scale softmax identity zero",
    "contain": "graph sequence parallel bus",
    "sparse": "moe route compete",
    "attention": "attention cross_attention",
    "conv": "conv1d conv2d max_pool2d avg_pool2d",
    "statistics_norm": "batch_norm group_norm",
    "token": "patch_embed mean_pool cls_token cls_pool",
    "expand": "expand learned_tokens",
    "gate": "gate",
    "blend": "blend multi_blend",
    "join": "median vote attend select",
    "gating": "gating combine jitter",
    "reshape": "flatten rearrange",
    "adapt": "permute low_rank cast detach",
    "given": "given",
    "bridge": "argmax straight_through gumbel vector_quantize",
    "loss": "no_loss loss_sum",
}

STATIC: dict[str, str] = {name: file for file, names in _FILES.items() for name in names.split()}
"""Kind -> the file in `cards/` that holds its cards, as module-level `Kind`s: one for each version."""

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")

_KNOWN: dict[str, Kind] = {}
"""Every card by `name@version`, and by its plain name the newest."""
_VERSIONS: dict[str, list[int]] = {}
_PLACES: dict[str, str] = {}
"""`name@version` of what was registered -> where it was declared (`package.module:Class`; may be empty)."""
CLASSES: dict[str, type] = {}
"""The classes of registered kinds, by the name that compiled text calls them (`library/plugged.py`)."""
_PINS: ContextVar[Mapping[str, int]] = ContextVar("pins")


def kind(name: str) -> Kind | None:
    """The kind of that name, `mlp` (the newest) or `mlp@1`; None if there is none. Imports its card file the first time."""
    found = _KNOWN.get(name)
    if found is None:
        base = name.partition("@")[0]
        if base in STATIC and base not in _VERSIONS:
            _load(STATIC[base])
            found = _KNOWN.get(name)
    pins = _PINS.get(None)
    if pins is not None and name in pins:
        found = _KNOWN.get(f"{name}@{pins[name]}")
    return found


def _load(file: str) -> None:
    """Import one card file. Another name for a card of it, or a card that another file lends it, is no second one."""
    module = importlib.import_module(f"assembler.library.cards.{file}")
    for card in vars(module).values():
        if isinstance(card, Kind) and STATIC.get(card.name) == file:
            _add(card)


def _add(card: Kind) -> None:
    versions = _VERSIONS.setdefault(card.name, [])
    if card.version not in versions:
        versions.append(card.version)
        versions.sort()
    _KNOWN[f"{card.name}@{card.version}"] = card
    _KNOWN[card.name] = _KNOWN[f"{card.name}@{versions[-1]}"]


def versions(name: str) -> list[int]:
    """The versions of a kind, the oldest first; none if there is no such kind."""
    kind(name)
    return list(_VERSIONS.get(name, ()))


@contextmanager
def pinned(versions: Mapping[str, int]) -> Iterator[None]:
    """Inside, the plain name of a kind means the version that stands here: what a lock or a saved folder recorded.

    A version that there is not makes `kind` give None. It holds for this thread (and async task) alone.
    """
    token = _PINS.set(dict(versions))
    try:
        yield
    finally:
        _PINS.reset(token)


def names() -> list[str]:
    """Every kind's name, in alphabetical order; imports nothing."""
    return sorted({*STATIC, *(item.partition("@")[0] for item in _PLACES)})


def nearest(name: str) -> list[str]:
    """At most three kinds whose names look like `name`, the nearest first."""
    import difflib  # only where something is wrong

    return difflib.get_close_matches(name, names(), n=3, cutoff=0.6)


def owners(option: str) -> list[str]:
    """The kinds that have an option of that name (imports every card: for error messages)."""
    cards = (card for name in names() if (card := kind(name)) is not None)
    return [
        card.name
        for card in cards
        if any((info.alias or field) == option for field, info in card.options.model_fields.items())
    ]


# --- what is not ours ---
def register(card: Kind, place: str = "", classes: Mapping[str, type] | None = None) -> None:
    """Make a kind known to this process. ValueError if its name and version are taken.

    `place`: where it is declared, `package.module:Class`: declared there once more (a notebook's cell
    that runs again), it replaces itself. `classes`: what its card constructs, by the name it uses.
    """
    key = f"{card.name}@{card.version}"
    if NAME.match(card.name) is None or card.version < 1:
        raise ValueError(f"`{key}` cannot name a kind: letters a-z, digits and _, a letter first; versions count from 1")
    if card.name in STATIC:
        raise ValueError(f"a kind named `{card.name}` exists already: it is one of this package; take a name with a prefix of yours")
    held = _KNOWN.get(key)
    if held is not None and held is not card and not (place and _PLACES[key] == place):
        raise ValueError(f"a kind named `{card.name}` exists already{_by(key)}: take another name, or another `version`")
    for name, made in (classes or {}).items():
        other = CLASSES.get(name)
        if other is not None and _spelled(other) != _spelled(made):
            raise ValueError(f"compiled text knows another class by the name `{name}`: {_spelled(other)}")
    CLASSES.update(classes or {})
    _PLACES[key] = place
    _add(card)


def _spelled(made: type) -> str:
    return f"{made.__module__}:{made.__qualname__}"


def _by(key: str) -> str:
    return f" (version {key.partition('@')[2]}, declared by `{_PLACES[key]}`)" if _PLACES.get(key) else ""


def registered() -> dict[str, str]:
    """`name@version` of every kind that is not ours -> where it was declared (empty where nobody said)."""
    return dict(_PLACES)


def unregister(name: str) -> None:
    """Forget what `register` made known: all versions, or of `name@2` one; built-in kinds stay. KeyError if it is not one."""
    gone = [key for key in _PLACES if name in (key, key.partition("@")[0])]
    if not gone:
        raise KeyError(name)
    for key in gone:
        base, _, version = key.partition("@")
        del _PLACES[key], _KNOWN[key]
        left = _VERSIONS[base]
        left.remove(int(version))
        if left:
            _KNOWN[base] = _KNOWN[f"{base}@{left[-1]}"]
        else:
            del _VERSIONS[base], _KNOWN[base]
