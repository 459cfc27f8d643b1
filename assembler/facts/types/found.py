"""What is known while one node is matched: what arrives at it, what does not fit, what is left to decide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from assembler_schemas.dim import variables
from assembler_schemas.expression import Expression, ExpressionError
from assembler_schemas.shape import Dim, Type


class Arrival(NamedTuple):
    """A value that reaches a port: its type (None: unknown) and whether it must adapt."""

    type: Type | None
    follows: bool = False


new_arrival: Callable[[tuple[Type | None, bool]], Arrival] = partial(tuple.__new__, Arrival)


class Finding(NamedTuple):
    """What does not fit at one node. `port`, `at`: the edge; `axis`: from the right, -1 is last."""

    code: str
    port: str = ""
    at: int = 0
    axis: int = 0
    found: object = None
    wanted: object = None
    name: str = ""
    other: tuple[str, int, int] | None = None
    """The edge and axis that claimed the size first."""
    text: str = ""


class Claim(NamedTuple):
    """An unknown width that meets a known one over an edge."""

    unknown: Dim
    value: Dim
    port: str
    at: int
    weak: bool = False
    """What is known follows: it says the width only where nothing else does."""


class Bridge(NamedTuple):
    """An edge whose width an adapter must change."""

    port: str
    at: int
    source: Type
    target: Type


class Condition(NamedTuple):
    """A demand on run-time sizes."""

    relation: str
    left: Dim
    right: Dim
    about: str


@dataclass(slots=True, eq=False, repr=False)
class Match:
    """What came out of matching one node."""

    sizes: dict[str, Dim]
    stated: frozenset[str]
    fixed: frozenset[str]
    """Sizes that another use of the same module has fixed: known, but not stated here."""
    inputs: dict[str, tuple[Type, ...]] = field(default_factory=dict)
    outputs: dict[str, Type | None] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    equal: list[tuple[Dim, Dim, str, int]] = field(default_factory=list)
    bridges: list[Bridge] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    unknown: bool = False
    """Some required value is unknown: its cause is said elsewhere."""
    origin: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    lead: tuple[Dim, ...] | None = None
    lead_name: str = ""
    dtype: str = "float"

    def value(self, expression: Expression) -> Dim | None:
        """What an expression comes to with the sizes that are known; None where it cannot."""
        try:
            return expression.evaluate(self.sizes)
        except ExpressionError:
            return None


def is_open(dim: Dim) -> bool:
    return type(dim) is not int and bool(variables(dim))
