"""One line of ports: `x: [... seq d], mask: optional mask [... seq] -> y: [... seq d], balance: loss scalar []`."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import NamedTuple

from assembler_schemas.expression import ExpressionError
from assembler_schemas.kind import Port
from assembler_schemas.shape import parse_port_type

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_INPUT = ("optional", "many", "follows")
_OUTPUT = ("loss",)


class Ports(NamedTuple):
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    names: frozenset[str]
    """Every size that a port's type names."""


def read_ports(line: str) -> Ports:
    """The ports that a line declares. ValueError says what is wrong with it, and how one reads."""
    before, arrow, after = line.partition("->")
    if not arrow or "->" in after:
        raise _wrong(line, "it has one arrow")
    inputs = dict(_port(line, text, _INPUT) for text in _cut(before))
    outputs = dict(_port(line, text, _OUTPUT) for text in _cut(after))
    for ports, text in ((inputs, before), (outputs, after)):
        if len(ports) < len(_cut(text)):
            raise _wrong(line, "a name stands twice")
    if not outputs:
        raise _wrong(line, "something comes out")
    both = inputs.keys() & outputs.keys()
    if both:
        raise _wrong(line, f"`{min(both)}` is an input and an output")
    return Ports(inputs, outputs, frozenset(name for port in (*inputs.values(), *outputs.values()) for name in sizes_in(port.type)))


def sizes_in(text: str) -> set[str]:
    """The sizes that a port's type names; `d#` of a `many` port is one too."""
    parsed = parse_port_type(text, True)
    expressions = [*parsed.dims, *([parsed.vocabulary] if parsed.vocabulary is not None else [])]
    return {name.rstrip("#") for item in expressions for name in item.names}


def _cut(text: str) -> list[str]:
    """The ports of one side: cut at the commas outside all brackets."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character in "[(") - (character in ")]")
        if character == "," and not depth:
            parts.append(text[start:place])
            start = place + 1
    parts.append(text[start:])
    return parts if any(part.strip() for part in parts) else []


def _port(line: str, text: str, markers: tuple[str, ...]) -> tuple[str, Port]:
    name, colon, rest = (part.strip() for part in text.partition(":"))
    if not colon or _NAME.match(name) is None or keyword.iskeyword(name):
        raise _wrong(line, f"`{text.strip()}` is no `name: type`")
    said: set[str] = set()
    while rest.partition(" ")[0] in markers:
        word, _, rest = rest.partition(" ")
        said.add(word)
        rest = rest.strip()
    try:
        parse_port_type(rest, True)
    except ExpressionError as problem:
        raise _wrong(line, f"the type of `{name}`, `{rest}`: {problem}") from problem
    return name, Port(rest, "optional" in said, "many" in said, "follows" in said, "loss" in said)


def _wrong(line: str, why: str) -> ValueError:
    return ValueError(f"a line of ports reads `x: [... in], mask: optional mask [... ] -> y: [... out]`, and in {line!r} {why}")
