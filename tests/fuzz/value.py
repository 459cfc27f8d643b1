"""What the generator knows of values, and how a rule says what a kind makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.fuzz.sizes import Size

Key = tuple[str, ...]
"""One thing to cover: ("kind", k), ("option", kind, option, value), ("pair", a, b), ("feature", f)."""


class Type(NamedTuple):
    """What is expected of a value: axes, medium, dtype; `vocab` bounds ids."""

    dims: tuple[Size, ...]
    medium: str = "dense"
    dtype: str = "f32"
    vocab: int | None = None

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def last(self) -> int | None:
        """The width, if it is a number."""
        return self.dims[-1].number if self.dims else None

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def with_last(self, *tail: Size) -> Type:
        """Dense, with other sizes at the end."""
        return Type((*self.dims[: len(self.dims) - len(tail)], *tail), "dense", self.dtype)

    def dense(self, *dims: Size) -> Type:
        return Type(dims, "dense", self.dtype)


FLOATS = ("f32", "f64", "bf16", "f16")


@dataclass(frozen=True, slots=True)
class Value:
    """Something that an address names. `kind` is the kind that made it (`input` for inputs)."""

    address: str
    type: Type
    kind: str
    stated: bool = True
    """The recipe states its width (an option or a port type): no adapter goes over it unasked."""
    zero: bool = False
    """It may be zeros whatever comes in: a router of it would be a tie."""


Options = dict[str, Any]
Inputs = dict[str, list[Value]]


class Choice(NamedTuple):
    """How a kind is to be used: options that matter for types, and what feeds the other ports."""

    options: Options
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind: `choose` finds a valid use of it on a value, `out` says what comes out.

    `plain`: options without influence on types, with the non-default values to try. `sizes`:
    options that may be spelled as expressions. `own`: it has parameters, so that a value of
    another float than f32 wants `dtype:` on the node. `many`: its one port takes a list.
    `seq`: by-name inputs (masks, memories) that a container may pass on.
    """

    kind: str
    choose: Callable[..., Choice | None]
    out: Callable[[Options, Mapping[str, list[Type]]], Type | None]
    plain: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    typed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Options with influence on types, and the non-default values (or a word for them) to cover."""
    sizes: tuple[str, ...] = ()
    first: str = "x"
    many: bool = False
    own: bool = False
    extra: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = FLOATS
    taps: Callable[[Options, str, Type], list[tuple[str, Type, str]]] | None = None
    """Further outputs that can be read, from the options, the kind and the type that comes in."""


@dataclass(slots=True)
class Made:
    """A node that could be added: its YAML (without a name), its types, what it covers."""

    kind: str
    spec: dict[str, Any]
    type: Type
    reads: list[Value]
    covers: list[Key] = field(default_factory=list)
    taps: list[tuple[str, Type, str]] = field(default_factory=list)
    """Address below the node, type, kind of other values that can be read."""
    rule: Rule | None = None
    options: Options = field(default_factory=dict)
    stated: bool = True
    chain: int = 1
    """How many leaves it holds."""
    main: str = ""
    """The output that is meant by default, where the address alone is ambiguous."""
    others: list[tuple[str, Type, str]] = field(default_factory=list)
    """Further outputs, like `taps`, that somebody should read."""
    copies: int = 0
    """How many copies of one type stand in a row, each with an address."""
    given: dict[str, list[Type]] = field(default_factory=dict)
    """The types that reach its ports."""
    plain: bool = True
    """One bare leaf: no norm, repeat, adapter or slot; others may share its weights."""

    @property
    def zeros(self) -> bool:
        """Whether it holds something that gives zeros."""
        return ("kind", "zero") in self.covers

    def cover(self, *key: str) -> None:
        self.covers.append(key)
