"""Addresses and patterns: one grammar for `from`, rules, overrides, reports and `state_dict`.

An address is names and copy numbers joined by dots: `encoder.3.think.y`. A pattern may also hold
`*` (any name, any copy), `-1` (the last copy) and slices of copies `0:3`, `::4`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

SEGMENT = re.compile(r"(?:(?P<name>[a-z][a-z0-9_]*)|(?P<index>-?[0-9]{1,9})|(?P<star>\*)|(?P<slice>(-?[0-9]{1,9})?:(-?[0-9]{1,9})?(:[0-9]{1,9})?))\Z")


class Slice(NamedTuple):
    """Copies `start` to `stop` (exclusive), every `step`-th; `*` is the slice of all."""

    start: int | None = None
    stop: int | None = None
    step: int | None = None

    def of(self, count: int) -> range:
        return range(*slice(self.start, self.stop, self.step).indices(count))


ALL = Slice()
Segment = str | int | Slice
Address = tuple[Segment, ...]


def parse_address(text: str) -> Address | str:
    """The segments of an address or pattern, or what is wrong with it."""
    if len(text) > 512:
        return "an address is at most 512 characters long"
    segments: list[Segment] = []
    for part in text.split("."):
        match = SEGMENT.match(part)
        if match is None:
            return f"{part!r} is neither a name, a copy number, `*` nor a slice" if part else "a name is missing beside a dot"
        if match["name"]:
            segments.append(part)
        elif match["index"]:
            segments.append(int(part))
        elif match["star"]:
            segments.append(ALL)
        else:
            numbers = [int(item) if item else None for item in part.split(":")]
            if len(numbers) == 3 and numbers[2] == 0:
                return "a slice cannot have step 0"
            segments.append(Slice(*numbers))
    return tuple(segments)


def is_pattern(address: Address) -> bool:
    """Whether it may name many places."""
    return any(isinstance(segment, Slice) for segment in address)


def copies(segment: Segment, count: int) -> range:
    """The copies of a repeat that a segment selects; empty for a name or a number out of range."""
    if isinstance(segment, Slice):
        return segment.of(count)
    if isinstance(segment, int) and -count <= segment < count:
        return range(segment % count, segment % count + 1)
    return range(0)


def matches(pattern: Address, address: tuple[str | int, ...], counts: tuple[int, ...]) -> bool:
    """Whether a pattern names the place at `address`; `counts[i]` is how many copies there are
    where `address[i]` is a copy number (anything elsewhere)."""
    if len(pattern) != len(address):
        return False
    for segment, at, count in zip(pattern, address, counts, strict=True):
        if isinstance(at, int):
            if at not in copies(segment, count):
                return False
        elif segment != at and segment != ALL:
            return False
    return True


def show(address: tuple[Segment, ...]) -> str:
    return ".".join("*" if segment == ALL else str(segment) for segment in address)


def copies_text(start: int, stop: int, count: int) -> str:
    """Some of so many copies as addresses show them: `*`, `0:3`, `4`."""
    return "*" if stop - start == count else f"{start}:{stop}" if stop - start > 1 else str(start)


def own_copy(target: str, address: str) -> str:
    """What an address means to the node at `address`: `*` in it is the copy in which that node stands."""
    here = address.split(".")
    return ".".join(here[place] if word == "*" and place < len(here) else word for place, word in enumerate(target.split(".")))


def upwards(address: str) -> Iterator[str]:
    """An address and every one it stands in, the innermost first: `a.0.b`, `a.0`, `a`."""
    end = len(address)
    while end > 0:
        yield address[:end]
        end = address.rfind(".", 0, end)


def starred(address: str) -> str:
    """An address with `*` for every copy number, as copies that are alike are shown: `encoder.*.think`."""
    return ".".join("*" if part.isdigit() else part for part in address.split("."))
