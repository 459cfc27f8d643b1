"""A kind: the card of one sort of module. What it takes and gives, demands, owns and computes.

A card is a name, an options model, and one function from those options to a `Definition`.
Sizes that an option leaves open stay names in the definition; type inference solves them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Size = Annotated[int, Field(ge=1, le=2**31 - 1), "size"]
"""An option that is a size: a recipe may give an expression, or leave it to inference."""

Count = Annotated[int, Field(ge=0, le=2**31 - 1), "size"]
"""Like `Size`, where zero means something (padding)."""


class Options(BaseModel):
    """Base of every kind's options: strict, closed, frozen. `in` is spelled `in_` in Python."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Port(NamedTuple):
    """One typed end of a node: `type` is spelled as in recipes, `[... seq d]`, `ids(vocab) [...]`.

    `many`: takes any number of edges (a join). `follows`: its width never decides, it adapts to
    the others (a write head onto a stream). `loss`: an auxiliary loss, collected by `losses`.
    """

    type: str
    optional: bool = False
    many: bool = False
    follows: bool = False
    loss: bool = False
    about: str = ""
    norm: str = ""
    """Without a body, where somebody says so: the norm state of an output, or that an input wants; as `assembler show --norm` prints it."""


class Require(NamedTuple):
    """A demand on sizes, as expressions: `left` is a multiple of / at most / equal to `right`.

    `training`: holds in training only, so it is judged where both sides are numbers and never
    becomes a guard (a batch of one in `batch_norm`).
    """

    relation: Literal["multiple_of", "at_most", "equal"]
    left: str
    right: str
    about: str = ""
    training: bool = False


class Parameter(NamedTuple):
    """One parameter (or buffer): shape as expressions over the sizes, and how it starts.

    `writes`: it belongs to the writing layer, the last linear map of the kind (for init roles).
    `init`: `ones`, `zeros`, `constant(c)`, `numbers(a, b, ...)`, `normal(s)`, `uniform(bound-expression)`: what the module
    really does (docs/primitives.md). `trains`: whether it learns, whatever its node says; said only
    of what a graft inside the kind owns.
    """

    shape: tuple[str, ...]
    init: str
    writes: bool = False
    buffer: bool = False
    dtype: str = "float"
    trains: bool | None = None
    stated: bool = False
    """`init` is what the recipe asks (a graft's), not what the module does by itself."""
    stacked: bool = False
    """Its first axis counts members: each slice is a matrix by itself, and starts as one."""


class Step(NamedTuple):
    """One primitive of a body: `output = op(*inputs, **attributes)`. Inputs are ports,
    parameters or earlier outputs. The primitives are listed in docs/primitives.md."""

    output: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any] = MappingProxyType({})


def step(output: str, op: str, *inputs: str, **attributes: Any) -> Step:
    return Step(output, op, inputs, attributes)


@dataclass(frozen=True, slots=True)
class Expr:
    """A constructor argument that is a size expression, solved before the text is written."""

    text: str


class Module(NamedTuple):
    """Built as a submodule: `nn.Linear`, or a class of `library/modules` (`Attention`).

    `arguments` are (name, value) in order; a value is a literal or an `Expr`. A name of "" is
    positional.
    """

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()
    frozen: bool = False


class Inline(NamedTuple):
    """Written as an expression, with no submodule: `{a} + {b}`, `torch.cat([{parts}], dim=-1)`.

    `{port}` is the value; of a `many` port its values joined by ", ". `{=expr}` is a solved size,
    spelled as its number: only over sizes that are never run-time ones.
    `fold` (for one `many` port): how a running value takes the next one, `{a} + {b}`; `text` is
    then applied to the result as `{x}` (`{x} / {=n}` for a mean; `n` counts the edges).
    """

    text: str
    fold: str = ""


class Given(NamedTuple):
    """A module that the caller hands over: called with its inputs by name.

    Where grafts write at its sites, it stands in the graph as stretches, one after another: each
    but the last ends at a site, which the next one takes back by an input of that name. They are
    one module, and one call of it.
    """

    outputs: tuple[str, ...]
    """What forward gives, in order; the definition's other outputs are sites."""
    sites: Mapping[str, str] = MappingProxyType({})
    """Site -> the path of the module inside that gives it; of a stretch, those of its own sites."""
    call: tuple[tuple[str, Any], ...] = ()
    """Constant arguments of every call."""
    node: str = ""
    """Of a stretch that is not the last: the name of the node that is."""
    back: str = ""
    """Of a stretch that is not the first: the input by which the last site comes back."""


class Branch(NamedTuple):
    """A graft inside a kind: what meets the value that the linear map at `place` of the module gives.

    The `modules`, (name, module), follow one another. The first takes what the map takes (`reads` "x") or
    gives ("y"); from a branch that comes `after` others on, what these made counts as what it gives.
    `mode` is `add`, `blend`, `replace`, or the form of a gate. What the last gives (in a blend: how far
    it is from the value) is multiplied by `scale`: a number, or the name of one more of the modules.
    """

    name: str
    place: str
    mode: str
    reads: str
    after: bool
    scale: float | str
    modules: tuple[tuple[str, Module], ...]
    map: tuple[str, str, str]
    """Of the map: the value that it takes, in the body, and how wide that and what it gives are, as texts over sizes."""
    value: str
    """What it makes, in the body."""

    @property
    def host(self) -> str:
        """The value that it meets, in the body."""
        return f"{self.place}.{self.name}_host"

    @property
    def alone(self) -> bool:
        """Whether nothing reads what the map gives: then the map has no parameters."""
        return self.mode == "replace" and self.reads == "x"


class Definition(NamedTuple):
    """A kind with its options fixed: everything that checking and compiling need to know."""

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    build: Module | Inline | Given
    sizes: Mapping[str, int] = MappingProxyType({})
    """Sizes that the options state, by their names in the port texts."""
    defaults: Mapping[str, str] = MappingProxyType({})
    """What an open size is when nothing else decides it *at all inputs known*: `{"out": "in"}`."""
    requires: tuple[Require, ...] = ()
    parameters: Mapping[str, Parameter] = MappingProxyType({})
    body: tuple[Step, ...] = ()
    main: str = ""
    """The output that the node's address means; the only non-loss one if empty."""
    branches: tuple[Branch, ...] = ()
    """What grafts add inside; their parameters and steps are among the others."""
    opaque: bool = False
    """It may own parameters that do not stand here: how many, nobody knows before it is built."""


@dataclass(frozen=True)
class Kind:
    """The card. `define` is called once per distinct options."""

    name: str
    summary: str
    options: type[Options]
    define: Callable[..., Definition]
    """options -> Definition; with `by_rank` (options, rank), see there."""
    source: str = ""
    """The paper (authors, year) or the PyTorch class it follows."""
    example: str = ""
    """A node, as YAML flow text."""
    container: bool = False
    """Takes parts, and is unfolded into plain nodes by the graph builder."""
    by_rank: bool = False
    """The definition depends on the number of axes of the first input (`flatten`, `batch_norm`):
    `define(options, rank)`; `rank` None asks for the names of the ports only."""
    places: Callable[[Any], Mapping[str, str]] | None = None
    """Inner submodules that have addresses of their own: `attend.q` (name -> what it is)."""
    version: int = 1

    @cached_property
    def option_names(self) -> tuple[str, ...]:
        """The options as recipes spell them. One that every node has too (`dtype` of `cast`) is the kind's."""
        return tuple(info.alias or name for name, info in self.options.model_fields.items())

    @cached_property
    def size_options(self) -> frozenset[str]:
        """Names (as recipes spell them) of the options that take size expressions."""
        return frozenset(
            (info.alias or name)
            for name, info in self.options.model_fields.items()
            if "size" in info.metadata or _has_size(info.annotation)
        )


def _has_size(annotation: Any) -> bool:
    todo, found = [annotation], False
    while todo:
        item = todo.pop()
        if "size" in getattr(item, "__metadata__", ()):
            found = True
        todo.extend(getattr(item, "__args__", ()))
    return found
