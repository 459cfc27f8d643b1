"""The plan: a graph with nothing left to decide. Frozen; every size in it is a number, every name final."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from assembler_schemas.shape import Type
from assembler_schemas.span import Span


class PlanError(ValueError):
    """A graph that cannot be compiled. Whatever `checks` passes never raises it."""


@dataclass(frozen=True, slots=True)
class Statement:
    """`targets = value`, then `del frees`.

    `at`: for a call of a container, its address below ours, which the probing text hands down.
    `probes`: (address below ours, variable) of each value that is now there. `{}` in an address is
    the number of the copy that the loop around runs.
    """

    targets: tuple[str, ...]
    value: str
    frees: tuple[str, ...] = ()
    at: str | None = None
    probes: tuple[tuple[str, str], ...] = ()
    place: str = ""


@dataclass(frozen=True, slots=True)
class Loop:
    """`for variable in over: body`, then `del frees`. `start`: the number of the first copy."""

    variable: str
    over: str
    body: tuple[Statement, ...]
    start: int = 0
    frees: tuple[str, ...] = ()
    probes: tuple[tuple[str, str], ...] = ()
    place: str = ""


@dataclass(frozen=True, slots=True)
class Submodule:
    """`self.name = text` in `__init__`; without text it is set by a container further out."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class HandedPort:
    """A port or site (`path`: the module inside that gives it) of a module that is handed over."""

    name: str
    type: Type | None
    span: Span
    path: str = ""


@dataclass(frozen=True, slots=True)
class Handed:
    """A module that the caller hands over: its address below the class, and the parameter by which it comes."""

    address: str
    parameter: str
    inputs: tuple[HandedPort, ...]
    """Those that are fed."""
    outputs: tuple[HandedPort, ...]
    sites: tuple[HandedPort, ...]
    """In the order in which they run."""
    call: tuple[tuple[str, Any], ...]
    span: Span
    host: tuple[tuple[str, Any], ...] = ()
    """What the recipe says of its configuration."""


@dataclass(frozen=True, slots=True)
class Method:
    """What runs inside a module that is handed over, once one of its sites has its value."""

    name: str
    about: str
    inputs: tuple[str, ...]
    steps: tuple[Statement | Loop, ...]
    returns: tuple[str, ...]
    entry: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ClassPlan:
    """One container as a class. `after`: statements of `__init__` once all submodules stand."""

    name: str
    about: str
    inputs: tuple[tuple[str, bool], ...]
    """Parameters of `forward`, and whether each may be None."""
    submodules: tuple[Submodule, ...]
    after: tuple[str, ...]
    steps: tuple[Statement | Loop, ...]
    returns: tuple[str, ...]
    entry: tuple[tuple[str, str], ...] = ()
    """What a probe sees before the first step: (address, variable)."""
    given: tuple[Handed, ...] = ()
    methods: tuple[Method, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One demand on the inputs: a condition, what it says, and the value to show if it fails."""

    condition: str
    says: str
    found: str


@dataclass(frozen=True, slots=True)
class Bind:
    """A size gets its name: `name = value`."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Entry:
    """The checks of one input (or, with input "", those over all); `optional`: only where it is given."""

    input: str
    lines: tuple[Check | Bind, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Argument:
    """One input of the model: the name callers use, the name the text uses, its type as the recipe spells it."""

    name: str
    variable: str
    type: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole model. The last class is the model itself."""

    name: str
    description: str
    classes: tuple[ClassPlan, ...]
    inputs: tuple[Argument, ...]
    outputs: tuple[tuple[str, str], ...]
    """Output name -> its type, as the recipe spells types."""
    entries: tuple[Entry, ...] = ()
    library: tuple[str, ...] = ()
    """Classes of `library/modules` that the text names."""
    plugged: tuple[str, ...] = ()
    """Classes of plugins that the text names (`library/plugged.py`)."""
    seeds: Mapping[str, int] = field(default_factory=dict)
    """Address -> the seed that it and everything below it start under."""
    owners: tuple[str, ...] = ()
    """Modules whose parameters others are tied to: they start last, so that theirs is the last word."""
    starts: Mapping[str, str] = field(default_factory=dict)
    """Address of a parameter -> how it starts, where that is not as its module does; `0:12` are copies 0 to 11."""
    given: tuple[Handed, ...] = ()
    """The modules that the caller hands over."""
    parameters: int = 0
    """How many numbers are learned or frozen; shared and tied ones once."""
