"""Which kinds there are. A card file is imported only when one of its kinds is named.

The only place that imports by name, and only by names out of `STATIC`: a recipe's text is looked
up in a table, it never reaches an import.
"""

from __future__ import annotations

import importlib

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
    "gate": "gate",
    "blend": "blend multi_blend",
    "join": "median vote attend select",
    "gating": "gating combine jitter",
    "reshape": "flatten rearrange",
    "adapt": "permute low_rank cast detach",
    "bridge": "argmax straight_through gumbel vector_quantize",
    "loss": "no_loss loss_sum",
}

STATIC: dict[str, str] = {name: file for file, names in _FILES.items() for name in names.split()}
"""Kind -> the file in `cards/` that holds its card, as a module-level `Kind`."""

_KNOWN: dict[str, Kind] = {}
_REGISTERED: set[str] = set()


def kind(name: str) -> Kind | None:
    """The kind of that name, or None. Imports its card file the first time."""
    found = _KNOWN.get(name)
    if found is None and name in STATIC:
        module = importlib.import_module(f"assembler.library.cards.{STATIC[name]}")
        cards = (value for value in vars(module).values() if isinstance(value, Kind))
        _KNOWN.update((card.name, card) for card in cards if card.name not in _KNOWN)
        found = _KNOWN[name]
    return found


def names() -> list[str]:
    """Every kind's name, in alphabetical order; imports nothing."""
    return sorted({*STATIC, *_REGISTERED})


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


def register(card: Kind) -> None:
    """Make a kind known to this process. ValueError if another kind has its name."""
    if card.name in STATIC or _KNOWN.get(card.name, card) is not card:
        raise ValueError(f"a kind named `{card.name}` exists already")
    _KNOWN[card.name] = card
    _REGISTERED.add(card.name)


def unregister(name: str) -> None:
    """Forget a kind that `register` made known; built-in kinds stay. KeyError if it is not one."""
    _REGISTERED.remove(name)
    del _KNOWN[name]
