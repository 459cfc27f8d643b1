"""Norm states: what they say of a value's elements, how they are ordered, and how they print."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

SCALED = frozenset({"ln", "rms", "l2", "bn"})
"""States with a size of their own: `gain` times it."""
BOUNDED = frozenset({"bounded", "simplex", "l2"})
"""No element is larger than `gain`."""
UNIT = frozenset({"ln", "rms"})
"""Root mean square `gain` over `axes`."""


class State(NamedTuple):
    """What is known of the size of a value's elements. Axes are counted from the end.

    zero     every element is 0
    ln       mean 0 and variance 1 over `axes`, times `gain`
    rms      root mean square 1 over `axes`, times `gain`
    l2       the squares over `axes` sum to 1, times `gain`
    bn       mean 0 and variance 1 over `axes` in training (running statistics outside it), times `gain`
    simplex  none negative, the sum over `axes` is 1, times `gain`
    bounded  between `-gain` and `gain`
    stream   a sum of values since the last norm
    raw      anything
    weight   (inside a use) depends on weights only; `gain` is the number that all elements start as, None if they differ

    `trained`: training may move `gain`. `shifted`: training may move the mean (a bias that starts as zeros).
    """

    kind: str
    axes: tuple[int, ...] = ()
    gain: float | None = 1.0
    trained: bool = False
    shifted: bool = False

    @property
    def zero(self) -> bool:
        """Exactly zero at init: `zero` itself, or a norm whose gain starts as zeros."""
        return self.kind == "zero" or (self.gain == 0.0 and self.kind != "weight")

    def __str__(self) -> str:
        text = f"{self.kind}({', '.join(map(str, self.axes))})" if self.axes else self.kind
        words = ([] if self.gain in (1.0, None) else [f"{self.gain:.6g}"]) + ["trained"] * self.trained
        text += f" gain {', '.join(words)}" if words else ""
        return f"{text}, shift trained" if self.shifted else text


_TEXT = re.compile(
    r"(?P<kind>zero|ln|rms|l2|bn|simplex|bounded|stream|raw)(?:\((?P<axes>-[0-9]+(?:, -[0-9]+)*)\))?"
    r"(?: gain (?:(?P<gain>[0-9.e+-]+)(?:, )?)?(?P<trained>trained)?)?(?P<shifted>, shift trained)?\Z"
)


def read(text: str) -> State:
    """The state that prints as `text`. ValueError where none does."""
    found = _TEXT.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no norm state: such as `ln(-1) gain trained, shift trained`, `rms(-1)`, `stream`")
    axes = tuple(int(item) for item in found["axes"].split(", ")) if found["axes"] else ()
    state = State(found["kind"], axes, float(found["gain"]) if found["gain"] else 1.0, bool(found["trained"]), bool(found["shifted"]))
    if str(state) != text:
        raise ValueError(f"{text!r} is no norm state: it would print as `{state}`")
    return state


ZERO, RAW, STREAM = State("zero"), State("raw"), State("stream")
RANDOM = State("weight", gain=None)


def join(one: State, two: State) -> State:
    """The least that holds of both: ln is rms; l2, simplex and zero are bounded; everything is raw."""
    if one == two:
        return one
    trained, shifted = one.trained or two.trained, one.shifted or two.shifted
    alike = one.axes == two.axes and one.gain == two.gain
    if alike and one.kind == two.kind:
        return one._replace(trained=trained, shifted=shifted)
    if alike and {one.kind, two.kind} == UNIT:
        return State("rms", one.axes, one.gain, trained, shifted)
    bounds = (bound(one), bound(two))
    return RAW if None in bounds else State("bounded", (), max(bounds), trained, shifted)  # type: ignore[type-var]


def below(one: State, two: State) -> bool:
    """Whether whatever is `one` is `two` as well."""
    return two.kind == "raw" or join(one, two)[:3] == two[:3]


def bound(state: State) -> float | None:
    """What no element exceeds; None where nothing is known."""
    if state.zero:
        return 0.0
    return abs(state.gain) if state.kind in BOUNDED and state.gain is not None else None


def bounded(limit: float, *sources: State) -> State:
    """`bounded`, training as its sources are. No bound at all where it overflows."""
    if not math.isfinite(limit):
        return RAW
    return State("bounded", (), limit, any(item.trained for item in sources), any(item.shifted for item in sources))


def value(state: State) -> State:
    """Of what leaves a use: a value that depends on weights only is anything, or zero."""
    return state if state.kind != "weight" else ZERO if state.gain == 0.0 else RAW
