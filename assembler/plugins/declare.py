"""`@assembler.kind("x: [... in] -> y: [... out]")`: an `nn.Module` class becomes a kind.

The class stays as it is. Its constructor's arguments are the options, the line names the ports, and
the sizes that the line speaks of may be left to inference. Without a body the kind is opaque: its
ports are checked, and what it does to norms, zeros and gradients is unknown and said to be.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import yaml

from assembler.compiler import library
from assembler.compiler.names import camel
from assembler.facts.start import UNKNOWN
from assembler.facts.types.signature import signature
from assembler.library import registry
from assembler.plugins.ports import Ports, read_ports
from assembler.plugins.signature import Argument, arguments, constructor, options_of, size_names, stated
from assembler.report.catalogue import example_of
from assembler_schemas.expression import ExpressionError, parse_expression
from assembler_schemas.kind import Definition, Kind, Module, Options, Parameter, Port, Require, Step

Class = TypeVar("Class", bound=type)
Parameters = Mapping[str, "str | Parameter"]

_RELATIONS = {"==": "equal", "<=": "at_most"}
_REQUIRE = re.compile(r"(.+?)\s*(==|<=)\s*(.+)\Z")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def kind(
    ports: str, *, name: str = "", version: int = 1, summary: str = "", requires: str | Sequence[str | Require] = (),
    defaults: Mapping[str, str] | None = None, parameters: Parameters | Callable[[Any], Parameters] | None = None,
    body: Sequence[Step] | Callable[[Any], Sequence[Step]] = (), source: str = "", example: str = "",
) -> Callable[[Class], Class]:  # fmt: skip
    """Declare an `nn.Module` class as a kind, so that recipes can name it.

    `ports`: `x: [... in], mask: optional mask [... ] -> y: [... out], balance: loss scalar []`, required ones in the
    order in which `forward` takes and gives them; optional ones reach it by name. `name`: else the class's, `RunningGate`
    as `running_gate`. `requires`: demands on sizes, `in % heads == 0`, `k <= n`. `defaults`: what an open size is
    when nothing else decides, `{"out": "in"}`. `parameters`: what it owns by `state_dict` key, `"out in"` or a
    `Parameter` that also says how it starts; without it `check` calls its parameters unknown. `body`: the
    steps that it computes (docs/primitives.md). Both may be functions of the options.

    ValueError and TypeError for what cannot be read, or a name that is taken.
    """
    if not isinstance(ports, str):
        raise TypeError("`@assembler.kind` wants a line of ports: `@assembler.kind(\"x: [... in] -> y: [... out]\")`")

    def declare(cls: Class) -> Class:
        _is_module(cls)
        named = name or _HUMP.sub("_", cls.__name__).lower()
        card, text = _card(cls, named, version, read_ports(ports), summary, _requires(requires), defaults or {}, parameters, body, source, example)
        registry.register(card, f"{cls.__module__}:{cls.__qualname__}", {text: cls})
        return cls

    return declare


def _is_module(cls: object) -> None:
    """TypeError for anything but a subclass of `nn.Module`: whoever has one has imported torch."""
    torch = sys.modules.get("torch")
    if not (isinstance(cls, type) and torch is not None and issubclass(cls, torch.nn.Module)):
        raise TypeError(f"`@assembler.kind(...)` stands above a class that is a torch.nn.Module, not {cls!r:.80}")


def _text_name(cls: type, name: str, version: int) -> str:
    """What compiled text calls the class: made from the kind, so that it is the same in every process."""
    made = camel(name)
    if made.lower() == cls.__name__.lower() and cls.__name__[:1].isupper() and cls.__name__.isalnum():
        made = cls.__name__
    made += f"V{version}" if version > 1 else ""
    return f"{made}Kind" if made in library.names() else made


def _card(
    cls: type, name: str, version: int, ports: Ports, summary: str, requires: tuple[Require, ...], defaults: Mapping[str, str],
    parameters: Any, body: Any, source: str, example: str,
) -> tuple[Kind, str]:  # fmt: skip
    takes = arguments(cls)
    _forward(cls, ports)
    shapes = parameters if isinstance(parameters, Mapping) else {}
    spoken = {*ports.names, *_names(requires, defaults), *(word for item in shapes.values() for text in _shape(item) for word in _expression(text))}
    sizes = size_names(takes, spoken)
    open_ = frozenset({*ports.names, *defaults} & sizes)
    options = options_of(f"{camel(name)}Options", takes, sizes, open_)
    text = _text_name(cls, name, version)

    def define(chosen: Options) -> Definition:
        owned = parameters(chosen) if callable(parameters) else parameters
        steps = tuple(body(chosen) if callable(body) else body)
        return Definition(
            ports.inputs, ports.outputs, Module(text, constructor(takes, open_, chosen)), stated(takes, sizes, chosen), dict(defaults), requires,
            {key: _parameter(key, item, bool(steps)) for key, item in (owned or {}).items()}, steps, opaque=owned is None,
        )  # fmt: skip

    card = Kind(name, summary or _summary(cls), options, define, source, example or _example(name, takes, open_, ports), version=version)
    _tried(card)
    return card, text


def _forward(cls: type, ports: Ports) -> None:
    """TypeError where `forward` cannot take the inputs: required ones in order, optional ones by name."""
    needed = [port for port, card in ports.inputs.items() if not card.optional]
    chosen = {port: None for port, card in ports.inputs.items() if card.optional}
    try:
        inspect.signature(cls.forward).bind(None, *needed, **chosen)  # type: ignore[attr-defined]
    except TypeError as problem:
        shown = ", ".join([*needed, *(f"{port}={port}" for port in chosen)])
        raise TypeError(f"`{cls.__name__}.forward` is called as `forward({shown})`, and takes that not: {problem}") from problem


def _requires(given: str | Sequence[str | Require]) -> tuple[Require, ...]:
    return tuple(item if isinstance(item, Require) else _require(item) for item in ([given] if isinstance(given, str) else given))


def _require(text: str) -> Require:
    """`in % heads == 0`, `k <= n`, `a == b`."""
    found = _REQUIRE.match(text.strip())
    if found is None:
        raise ValueError(f"a demand reads `in % heads == 0`, `k <= n` or `a == b`, not {text!r}")
    left, sign, right = found[1], found[2], found[3]
    whole, percent, part = left.rpartition("%")
    if percent and (sign, right) == ("==", "0"):
        left, right, relation = whole, part, "multiple_of"
    else:
        relation = _RELATIONS[sign]
    for side in (left, right):
        _expression(side)
    return Require(relation, left.strip(), right.strip())  # type: ignore[arg-type]


def _names(requires: Iterable[Require], defaults: Mapping[str, str]) -> set[str]:
    texts = [*(side for item in requires for side in (item.left, item.right)), *defaults.values()]
    return {*defaults, *(word for text in texts for word in _expression(text))}


def _expression(text: str) -> tuple[str, ...]:
    """The sizes that an expression names. ValueError where it is none."""
    try:
        return parse_expression(text.strip(), True).names
    except ExpressionError as problem:
        raise ValueError(f"{text!r} is no expression over sizes: {problem}") from problem


def _shape(item: str | Parameter) -> tuple[str, ...]:
    return tuple(item.split()) if isinstance(item, str) else item.shape


def _parameter(key: str, item: str | Parameter, body: bool) -> Parameter:
    made = Parameter(tuple(item.split()), UNKNOWN) if isinstance(item, str) else item
    if body and made.init == UNKNOWN:
        raise ValueError(f"a kind with a body says how `{key}` starts: `Parameter({made.shape!r}, \"uniform(1/sqrt(in))\")`")
    return made


def _summary(cls: type) -> str:
    first = (inspect.getdoc(cls) or "").partition("\n")[0].strip().removesuffix(".")
    inherited = any(cls.__doc__ is base.__doc__ for base in cls.__mro__[1:])
    return first if first and not inherited else cls.__name__


def _example(name: str, takes: tuple[Argument, ...], open_: frozenset[str], ports: Ports) -> str:
    """A node, with something for every option that must be stated."""
    said = "".join(f", {item.option}: {_some(item)}" for item in takes if item.required and item.option not in open_)
    needed = [port for port, card in ports.inputs.items() if not card.optional]
    feed = f", from: {needed[0] if len(needed) == 1 else '{' + ', '.join(f'{port}: {port}' for port in needed) + '}'}" if needed else ""
    return f"{{kind: {name}{said}{feed}}}"


def _some(item: Argument) -> str:
    """A value of the type of an argument, as YAML."""
    from typing import Literal, get_args, get_origin

    choices: Mapping[Any, Any] = {int: 8, float: 0.5, bool: True, str: "a"}
    value = get_args(item.annotation)[0] if get_origin(item.annotation) is Literal else choices.get(item.annotation)
    text: str = yaml.safe_dump(value, default_flow_style=True)
    return text.removesuffix("\n").removesuffix("...").strip()


def _tried(card: Kind) -> None:
    """The declaration is read once as a recipe would, so that its mistakes are found where it stands."""
    try:
        _, definition = example_of(card)
    except ValueError as problem:
        raise ValueError(f"the example of `{card.name}`, {card.example}: {problem}; write another, `example=\"{{kind: {card.name}, ...}}\"`") from problem
    assert definition is not None
    signature(definition)
    ports: dict[str, Port] = {**definition.inputs, **definition.outputs}
    written = {step.output for step in definition.body}
    if definition.body and not set(definition.outputs) <= written:
        raise ValueError(f"the body of `{card.name}` does not write {', '.join(sorted(set(definition.outputs) - written))}")
    known = {*ports, *definition.parameters, *written}
    unknown = [name for step in definition.body for name in step.inputs if name not in known]
    if unknown:
        raise ValueError(f"a step in the body of `{card.name}` reads `{unknown[0]}`, which is no input, parameter or earlier step")
