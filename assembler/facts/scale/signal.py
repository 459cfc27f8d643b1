"""The abstract value of analysis S: second moments of a value by what they are made of.

A value is parts: runs of tokens that are alike (`part`). Gradients are values of the same sort, with m = 0.

Each axis has a role: `b` samples, `t` tokens (positions, places of an image), `f` features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from math import prod, sqrt
from typing import Any, NamedTuple

from assembler.facts.scale.course import Course
from assembler.facts.scale.moments_gates import Plan
from assembler.facts.scale.part import Part, mean_of, pairs, refined


class Signal(NamedTuple):
    """What is estimated of one value. `n` tokens in all parts together."""

    shape: tuple[int, ...]
    roles: str
    parts: tuple[Part, ...]
    curve: float = 0.0
    """How much the last activation's shape makes a finite width fluctuate: 1 for relu, 0 for smooth ones."""
    noise: float = 0.0
    """Variance of log q that finite widths make: the sum of 5/n since the last norm (Hanin and Nica 2019)."""
    band: float = 1.0
    """Of a gradient: the factor within which it is promised, without `noise`."""
    ripple: float = 0.0
    """Relative variance, from token to token, of the mean square over features: a norm's gradient goes with E 1/v."""
    skew: float = 0.0
    """Third central moment over v^1.5: sums of what relu gives keep it, and relu of them feels it."""
    uneven: float = 0.0
    """Relative variance, from channel to channel, of the variance: each is a sum with weights of its own."""
    source: tuple[Part, ...] | None = None
    """Of what a weight made: the parts of what it read, and `together`. Keys and values of one source are not independent."""
    together: float = 0.0
    """1 / dimensions of the source, and what rotation leaves of it."""
    narrow: float = 0.0
    """1 / dimensions that its tokens vary in (tr C^2 / (tr C)^2 of their covariance); 0: as many as it has features."""
    bent: bool = False
    """Far from Gaussian: an activation, a product or a softmax, and no sum over features since."""
    hollow: bool = False
    """Some rows are nearly nothing beside others: 1 / v of a norm behind is theirs."""
    course: Course | None = None
    """How large its tokens are by position, behind causal attention."""
    early: float = 0.0
    """How much more two tokens of a prefix share than any two, over all prefixes, in q: what causal attention reads."""
    law: tuple[str, float, float, float, float] | None = None
    """f of a Gaussian: fn, mean, variance, correlation between tokens, between samples. This and what follows are of these
    very moments, and gone with them."""
    plan: Plan | None = None
    """Of what becomes the gates of a mixture."""
    rows: tuple[Signal, ...] | None = None
    """Of values along an axis of their own: each of them."""

    @property
    def n(self) -> float:
        return sum(item.n for item in self.parts) if len(self.parts) > 1 else self.parts[0].n

    @property
    def width(self) -> int:
        """Features of one token."""
        return counted(self.shape, self.roles, "f")

    @property
    def q(self) -> float:
        return mean_of(self.parts, "q") if len(self.parts) > 1 else self.parts[0].q

    @property
    def m(self) -> float:
        return sqrt(sum(item.n * item.m**2 for item in self.parts) / self.n) if len(self.parts) > 1 else self.parts[0].m

    @property
    def c(self) -> float:
        return pairs(self.parts) if len(self.parts) > 1 else self.parts[0].c

    @property
    def b(self) -> float:
        return mean_of(self.parts, "b") if len(self.parts) > 1 else self.parts[0].b

    @property
    def lean(self) -> float:
        """1 / dimensions that its tokens vary in."""
        return max(self.narrow, 1 / max(1, self.width))

    def of(self, parts: Iterable[Part]) -> Signal:
        """Like this one, with other moments."""
        return _signal((self.shape, self.roles, tuple(parts), *self[3:-3], None, None, None))

    def moved(self, shape: tuple[int, ...], roles: str) -> Signal:
        """The same elements, of other axes."""
        return _signal((shape, roles, *self[2:-2], None, None))

    def reached(self, g: Signal, parts: Sequence[Part], band: float = 0.0) -> Signal:
        """A gradient of these moments that reaches it, made of the gradient `g` and promised at most as narrowly."""
        return _signal((self.shape, self.roles, tuple(parts), 0.0, g.noise, max(band, g.band), *_PLAIN[6:-5], g.course, 0.0, *_PLAIN[-3:]))

    def even(self, g: Signal, item: Part, label: int, band: float = 0.0) -> Signal:
        """The same of moments that are those of every token."""
        return self.reached(g, refined((item,), [part.n for part in self.parts], label) if len(self.parts) > 1 else (item.with_n(self.parts[0].n),), band)


_PLAIN = Signal((), "", ())
_signal: Callable[[tuple[Any, ...]], Signal] = partial(tuple.__new__, Signal)
"""The fields in a row, as one tuple: a third of the time of a call of the class."""


class Given(NamedTuple):
    """A parameter: independent entries of one mean and variance. `number`: of `Flow.weights`, -1 for none."""

    shape: tuple[int, ...]
    mean: float
    var: float
    eye: bool = False
    number: int = -1
    label: int = -1
    """Of the atom that it is as a value."""
    spread: float = 2.0
    """Relative variance of a squared entry: 2 of a normal one, 0.8 of a uniform one."""
    entries: tuple[float, ...] = ()
    """Its elements one by one, where each starts as a number of its own."""

    @property
    def q(self) -> float:
        return self.mean**2 + self.var


class Ids(NamedTuple):
    """Ids, each as likely as any other; or a mask, all true. Neither has moments."""

    shape: tuple[int, ...]
    roles: str
    vocabulary: int
    tokens: float | None = None
    """How often two tokens of a sample have one id; None: as often as independent ones, 1 / vocabulary."""
    samples: float | None = None
    """The same of two samples."""
    near: tuple[int, Signal] | None = None
    """(table, value): ids of the rows of that table that are nearest to the value."""


class Unknown(NamedTuple):
    """What is not predicted, and why not."""

    reason: str


Value = Signal | Given | Ids | Unknown


def tokens(shape: tuple[int, ...], roles: str) -> int:
    return counted(shape, roles, "t")


@lru_cache(maxsize=4096)
def counted(shape: tuple[int, ...], roles: str, of: str) -> int:
    """Elements along the axes of one role."""
    return prod(size for size, role in zip(shape, roles, strict=True) if role == of)
