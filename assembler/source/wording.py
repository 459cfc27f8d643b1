"""Names as messages show them: shortened, listed, and those near to a name that is not there."""

from __future__ import annotations

from collections.abc import Iterable


def shorten(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[:limit] + "..."


def nearest(name: str, among: Iterable[str]) -> list[str]:
    import difflib  # only where something is wrong

    return difflib.get_close_matches(name, [a for a in among if len(a) <= 128][:2000], n=3, cutoff=0.6)


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Names in backticks, in the order given, the first dozen."""
    known = list(names)
    more = ", ..." if len(known) > limit else ""
    return ", ".join(f"`{shorten(name, 40)}`" for name in known[:limit]) + more
