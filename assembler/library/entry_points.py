"""The kinds that installed packages offer under the entry-point group `assembler.kinds`.

    [project.entry-points."assembler.kinds"]
    running_gate = "acme.kinds"

An entry point has the name of one kind, and names the module that declares it. The table of offers is
read when a recipe first names a kind that nobody has; only the module that offers this very kind is
imported (docs/decisions/0022-installed-plugins-are-trusted.md).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from assembler.library import registry

GROUP = "assembler.kinds"

_closed = False


class Offer(NamedTuple):
    """One entry point: a kind, the module that declares it, the package that module came with."""

    kind: str
    module: str
    package: str
    """Name and version: `acme-kinds 1.2`."""


@cache
def _table() -> dict[str, tuple[Offer, ...]]:
    from importlib import metadata  # 20 ms that a plain check does without

    found: dict[str, tuple[Offer, ...]] = {}
    for item in metadata.entry_points(group=GROUP):
        package = f"{item.dist.name} {item.dist.version}" if item.dist is not None else "an unnamed package"
        offer = Offer(item.name, item.module, package)
        if offer not in found.get(item.name, ()):
            found[item.name] = (*found.get(item.name, ()), offer)
    return found


def offers() -> Mapping[str, tuple[Offer, ...]]:
    """Kind -> who offers it; imports no plugin. Nothing after `close`."""
    return {} if _closed else _table()


def close(closed: bool = True) -> None:
    """From here on a recipe's word loads no plugin: only what was imported counts. For whoever checks strangers' recipes."""
    global _closed
    _closed = closed


def forget() -> None:
    """Read the table anew at the next need: a package was installed meanwhile."""
    _table.cache_clear()


def bring(name: str) -> str:
    """Import the module that offers the kind `name` (or `name@2`), so that the registry has it.

    The empty text if that was done; why not, if not; None is never given. Kinds that nobody offers
    are none of its business: that is "" too.
    """
    base = name.partition("@")[0]
    found = offers().get(base, ())
    if not found or registry.kind(base) is not None:
        return ""
    if len(found) > 1:
        both = " and ".join(f"`{item.module}` ({item.package})" for item in found)
        return f"{both} both offer it: choose one by `--use`, or by an import"
    offer = found[0]
    try:
        importlib.import_module(offer.module)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # a plugin may fail in any way, even by SystemExit
        return f"{offer.package} offers it, but `{offer.module}` cannot be imported: {said(problem)}"
    if registry.kind(base) is None:
        return f"{offer.package} offers it, but `{offer.module}` registers no kind of that name"
    return ""


def there(kinds: Mapping[str, int]) -> dict[str, int]:
    """Of recorded versions those that there are here, of plugins too: what `registry.pinned` can hold recipes to."""
    for name in kinds:
        bring(name)
    return {name: version for name, version in kinds.items() if version in registry.versions(name)}


def said(problem: BaseException) -> str:
    """What an exception says, on one short line."""
    text = " ".join(str(problem).split())
    return f"{type(problem).__name__}{': ' if text else ''}{text[:200]}"
