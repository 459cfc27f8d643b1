"""One side of a comparison: a recipe that checks, or a folder that `assembler.save` wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

from assembler.assemble import Origin, Source, origin_of
from assembler.facts.flow import MAX_USES
from assembler.facts.signals import Signals, signals
from assembler.facts.weights import Held, held
from assembler.weights.header import SIZES, read_header
from assembler.weights.names import RECIPE, WEIGHTS


class Side(NamedTuple):
    """A recipe that checks, with all that is compared of it."""

    name: str
    origin: Origin
    known: Signals
    held: tuple[Held, ...]
    bytes: Mapping[str, int]


def side(source: Source, overrides: Sequence[str] = ()) -> Side:
    folder = os.fspath(source) if isinstance(source, (str, os.PathLike)) and os.path.isdir(source) else ""
    found = origin_of(os.path.join(folder, RECIPE) if folder else source, overrides)
    known = signals(found.graph, found.facts)
    if known is None:
        raise ValueError(f"the graph unfolds into more than {MAX_USES:,} uses of kinds, and no more are compared: compare shallower copies")
    items = held(known.flow)
    sizes = {item.key: 4 * prod(item.shape) for item in items}
    if folder:
        # What the file holds counts: modules that were handed over are not saved.
        entries = read_header(os.path.join(folder, WEIGHTS)).entries
        items = tuple(item._replace(shape=entries[item.key].shape) for item in items if item.key in entries)
        sizes = {item.key: prod(item.shape) * SIZES[entries[item.key].dtype] for item in items}
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else found.recipe.name or "recipe"
    return Side(" ".join([name, *overrides]), found, known, items, sizes)
