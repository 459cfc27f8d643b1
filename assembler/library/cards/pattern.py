"""Rearrange patterns, `b (h p) d -> b h (p d)`: read, checked, and written as tensor methods.

A strict part of the notation of einops (Rogozhnikov 2022): an axis has a name, `1` is an axis of
one, brackets join axes, `...` may come first on both sides. No axis is repeated or dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

Axes = tuple[tuple[str, ...], ...]
"""One side: an entry for each axis, with the names that are joined in it; `()` is an axis of one."""

_TOKEN = re.compile(r"\s*(\.\.\.|[()]|[A-Za-z0-9_]+|\S)")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LONGEST = 500


class PatternError(ValueError):
    """A pattern, or its sizes, that cannot be meant; the message names the axis."""

    code = "pattern-syntax"


class Pattern(NamedTuple):
    """Both sides of a pattern; `rest` says whether they begin with `...`."""

    left: Axes
    right: Axes
    rest: bool

    def __str__(self) -> str:
        return f"{self._side(self.left)} -> {self._side(self.right)}"

    def _side(self, axes: Axes) -> str:
        words = (f"({' '.join(names)})" if len(names) > 1 else (names or ("1",))[0] for names in axes)
        return " ".join(("...", *words) if self.rest else words)

    def port(self, axes: Axes) -> str:
        """The axes of one side as a port text: `[b h*p d]`."""
        words = ("*".join(names) or "1" for names in axes)
        return f"[{' '.join(('...', *words) if self.rest else words)}]"


def parse(text: str) -> Pattern:
    """Reads a pattern. PatternError says what is wrong with it."""
    if len(text) > _LONGEST:
        raise PatternError(f"the pattern is longer than {_LONGEST} characters")
    sides = text.split("->")
    if len(sides) != 2:
        raise PatternError("a pattern is two sides with one `->` between: `b (h p) d -> b h (p d)`")
    (left, left_rest), (right, right_rest) = _read(sides[0], "left"), _read(sides[1], "right")
    if left_rest != right_rest:
        raise PatternError("`...` begins both sides or neither")
    _same_names(left, right)
    return Pattern(left, right, left_rest)


def check_sizes(pattern: Pattern, sizes: Mapping[str, int]) -> None:
    """PatternError unless every size names an axis and every bracket on the left can be split."""
    names = {name for axis in pattern.left for name in axis}
    for name in sizes:
        if name not in names:
            raise PatternError(f"`sizes` names `{name}`, which is no axis of the pattern")
    for axis in pattern.left:
        open_names = [name for name in axis if name not in sizes]
        if len(axis) > 1 and len(open_names) > 1:
            asked = " or ".join(f"`{name}`" for name in open_names)
            raise PatternError(f"`({' '.join(axis)})` can be split in many ways: say the size of {asked} under `sizes`")


def method_text(pattern: Pattern, sizes: Mapping[str, int]) -> str:
    """The pattern as a chain of tensor methods: `.unflatten(1, (-1, 2)).transpose(2, 3)`.

    Views as far as there are any; sizes that are not stated come from the tensor when it runs.
    """
    axes = list(pattern.left)
    text = ""
    ones = [_place(i, len(axes), pattern.rest) for i, names in enumerate(axes) if not names]
    if ones:
        text += f".squeeze({ones[0] if len(ones) == 1 else tuple(ones)})"
    axes = [names for names in axes if names]
    flat: list[str] = []
    for i, names in enumerate(axes):
        if len(names) > 1:
            place = _place(len(flat), len(flat) + len(axes) - i, pattern.rest)
            text += f".unflatten({place}, ({', '.join(str(sizes.get(name, -1)) for name in names)}))"
        flat += names
    return (
        text + _move_text(flat, [name for names in pattern.right for name in names], pattern.rest) + _join_text(pattern)
    )


def _move_text(source: list[str], target: list[str], rest: bool) -> str:
    """The method that brings the axes `source` into the order `target`."""
    order = [source.index(name) for name in target]
    moved = [i for i, old in enumerate(order) if i != old]
    if not moved:
        return ""
    places = [_place(i, len(order), rest) for i in order]
    if len(moved) == 2:
        return f".transpose({places[moved[1]]}, {places[moved[0]]})"
    if not rest:
        return f".permute({', '.join(map(str, places))})"
    return f".movedim({tuple(places)}, {tuple(range(-len(order), 0))})"


def _join_text(pattern: Pattern) -> str:
    """The methods that join the axes of each bracket on the right, and put in its axes of one."""
    text, count = "", sum(map(len, pattern.right))
    for i, names in enumerate(pattern.right):
        if not names:
            count += 1
            text += f".unsqueeze({_place(i, count, pattern.rest)})"
        elif len(names) > 1:
            first, last = (_place(at, count, pattern.rest) for at in (i, i + len(names) - 1))
            text += f".flatten({first}, {last})"
            count -= len(names) - 1
    return text


def _place(index: int, count: int, from_end: bool) -> int:
    """Axis `index` of the `count` named ones, as torch counts it."""
    return index - count if from_end else index


def _read(text: str, side: str) -> tuple[Axes, bool]:
    """One side of a pattern: its axes, and whether `...` comes first."""
    axes: list[tuple[str, ...]] = []
    inner: list[str] | None = None
    rest, seen = False, set[str]()
    for word in _TOKEN.findall(text):
        if word == "...":
            if rest or axes or inner is not None:
                raise PatternError(f"`...` may only come first on the {side}")
            rest = True
        elif word == "(":
            if inner is not None:
                raise PatternError(f"a bracket inside a bracket on the {side}")
            inner = []
        elif word == ")":
            if inner is None:
                raise PatternError(f"`)` without `(` on the {side}")
            if not inner:
                raise PatternError(f"an empty bracket on the {side}: an axis of one is written `1`")
            axes.append(tuple(name for name in inner if name != "1"))
            inner = None
        else:
            _check_word(word, side, seen)
            axes.append((word,) if word != "1" else ()) if inner is None else inner.append(word)
    if inner is not None:
        raise PatternError(f"`(` without `)` on the {side}")
    if not axes:
        raise PatternError(f"no axis on the {side}")
    return tuple(axes), rest


def _check_word(word: str, side: str, seen: set[str]) -> None:
    if word == "1":
        return
    if word.isdecimal():
        raise PatternError(f"`{word}` on the {side}: give the axis a name and say its size under `sizes`")
    if not _NAME.fullmatch(word):
        raise PatternError(f"`{word}` on the {side} is not the name of an axis: small letters, digits, `_`")
    if word in seen:
        raise PatternError(f"axis `{word}` stands twice on the {side}")
    seen.add(word)


def _same_names(left: Axes, right: Axes) -> None:
    first, second = ([name for names in axes for name in names] for axes in (left, right))
    for name in first:
        if name not in second:
            raise PatternError(f"axis `{name}` is missing on the right: no axis may be dropped")
    for name in second:
        if name not in first:
            raise PatternError(f"axis `{name}` is missing on the left: no axis may be repeated")
