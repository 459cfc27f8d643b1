"""A definition made ready for inference: its port texts parsed once, its dims as quick tests."""

from __future__ import annotations

import re
from typing import NamedTuple

from assembler_schemas.expression import Expression, parse_expression
from assembler_schemas.kind import Definition, Expr, Inline, Module
from assembler_schemas.shape import PortType, parse_port_type

_NUMBER = re.compile(r"\{=([^{}]*)\}")
"""A size that the text of a kind spells as its number."""

Pattern = int | str | Expression
"""One axis of a port: a number, a name, or an expression to work out."""


class Side(NamedTuple):
    """One port: its parsed type and its axes."""

    port: str
    type: PortType
    dims: tuple[Pattern, ...]
    lead: bool
    optional: bool
    many: bool
    vocabulary: Pattern | None


class Signature(NamedTuple):
    inputs: tuple[Side, ...]
    outputs: tuple[Side, ...]
    defaults: tuple[tuple[str, Expression], ...]
    requires: tuple[tuple[str, Expression, Expression, str, bool], ...]
    shapes: tuple[tuple[str, tuple[Expression, ...]], ...]
    """Parameter -> shape."""
    static: tuple[str, ...]
    """Names that must be numbers: sizes of parameters, constructor arguments, and what a text spells."""
    has_parameters: bool


_CACHE: dict[int, tuple[Definition, Signature]] = {}


def signature(definition: Definition) -> Signature:
    """The signature of a definition; made once for each."""
    found = _CACHE.get(id(definition))
    if found is not None and found[0] is definition:
        return found[1]
    made = _make(definition)
    if len(_CACHE) > 5_000:
        _CACHE.clear()
    _CACHE[id(definition)] = (definition, made)
    return made


def _pattern(expression: Expression) -> Pattern:
    text = expression.text
    if text.isdigit():
        return int(text)
    return text if expression.names == (text,) else expression


def _side(port: str, text: str, optional: bool, many: bool) -> Side:
    parsed = parse_port_type(text, True)
    vocabulary = _pattern(parsed.vocabulary) if parsed.vocabulary is not None else None
    return Side(port, parsed, tuple(_pattern(item) for item in parsed.dims), parsed.lead is not None, optional, many, vocabulary)


def _make(definition: Definition) -> Signature:
    shapes = tuple((name, tuple(parse_expression(item, True) for item in parameter.shape)) for name, parameter in definition.parameters.items())
    static: dict[str, None] = {}
    for _, shape in shapes:
        for item in shape:
            static.update(dict.fromkeys(item.names))
    if isinstance(definition.build, Module):
        for _, value in definition.build.arguments:
            if isinstance(value, Expr):
                static.update(dict.fromkeys(parse_expression(value.text, True).names))
    elif isinstance(definition.build, Inline) and not definition.build.fold:  # there `n` counts edges
        for text in _NUMBER.findall(definition.build.text):
            static.update(dict.fromkeys(parse_expression(text, True).names))
    return Signature(
        tuple(_side(name, port.type, port.optional, port.many) for name, port in definition.inputs.items()),
        tuple(_side(name, port.type, False, False) for name, port in definition.outputs.items()),
        tuple((name, parse_expression(text, True)) for name, text in definition.defaults.items()),
        tuple((r.relation, parse_expression(r.left, True), parse_expression(r.right, True), r.about, r.training) for r in definition.requires),
        shapes,
        tuple(static),
        bool(definition.parameters),
    )  # fmt: skip
