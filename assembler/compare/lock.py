"""The lock of a recipe: what the library made of it, kept beside it so that `check --frozen` sees what moved.

    assembler.lock("digits.yaml")            # plain data, as `digits.lock` holds it
    lock_of(origin_of("digits.yaml"))        # the same, of what is already checked
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from assembler.assemble import Origin, Source, origin_of
from assembler.checks import locked
from assembler.checks.locked import Lock, place_of, read_lock, text_of, unreadable
from assembler.facts.flow import MAX_USES

__all__ = ["Lock", "lock", "lock_of", "place_of", "read_lock", "stale", "text_of", "unreadable"]


def lock(source: Source, overrides: Sequence[str] = ()) -> Lock:
    """What a lock of the recipe holds. RecipeError if it does not check, ValueError where it is too large."""
    return lock_of(origin_of(source, overrides))


def lock_of(origin: Origin) -> Lock:
    """The lock of what is built. ValueError for a graph that is too large to be unfolded."""
    made = locked.lock_of(*origin)
    if made is None:
        raise ValueError(f"the graph unfolds into more than {MAX_USES:,} uses of kinds, and a lock holds no more: lock a shallower copy of it")
    return made


def stale(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> list[str]:
    """Key paths of a recipe that its lock notes otherwise, whether anything moved by them or not."""
    held, _ = read_lock(place_of(path))
    now = lock(path, overrides)["stated"]
    return [key for key in {**now, **held["stated"]} if key not in now or key not in held["stated"] or now[key] != held["stated"][key]] if held else []
