"""What moved: old address -> new address, of a node with all that is inside, `*` standing for the same copy on both sides.

Weights that were kept under an old address are found by it. It says nothing about the graph.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from assembler.graph.address import Slice, parse_address

MAX_MOVED = 1_000
"""Entries of one mapping; each is held against every key of a file where it has a `*`."""


def bad_move(old: str, new: str) -> str:
    """What is wrong with one entry; empty if nothing."""
    for text in (old, new):
        address = parse_address(text)
        if isinstance(address, str):
            return f"{text[:80]!r} is no address: {address}"
        if any((isinstance(part, int) and part < 0) or (isinstance(part, Slice) and part != Slice()) for part in address):
            return f"`{text}` counts copies, which other numbers of them would mean otherwise"
    if old.count("*") != new.count("*"):
        return f"`{old}` and `{new}` do not hold the same number of `*`"
    return ""


def expanded(moved: Mapping[str, str], keys: Collection[str]) -> dict[str, str]:
    """Moves without `*`: said for every copy that `keys` (of weights, or addresses) hold.

    >>> expanded({"a.*.b": "c.*.d"}, ["a.0.b.weight", "a.1.b.weight", "a.1.e.weight"])
    {'a.0.b': 'c.0.d', 'a.1.b': 'c.1.d'}
    """
    found: dict[str, str] = {}
    for old, new in moved.items():
        if "*" not in old:
            found[old] = new
            continue
        pattern = re.compile(re.escape(old).replace(r"\*", r"([^.]+)") + r"(?=\.|\Z)")
        head, *tails = new.split("*")
        for match in filter(None, map(pattern.match, keys)):
            found[match[0]] = head + "".join(copy + tail for copy, tail in zip(match.groups(), tails, strict=True))
    return found
