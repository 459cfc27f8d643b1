"""Grafts inside a kind: one definition out of the host's and the part's.

What the host's linear map gives is renamed in the body, the part's steps follow, and what the mode
makes of both has the old name. The host keeps every parameter and its key, unless the part replaces
what it does not read: then the map is gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from assembler.graph.draft import Draft
from assembler_schemas.kind import Branch, Definition, Expr, Module, Parameter, Require, Step

_WORD = re.compile(r"[a-z][a-z0-9_]*")
_ROW = re.compile(r"\[\.\.\. ([a-z][a-z0-9_]*)\]\Z")
_FUNCTIONS = frozenset({"sqrt", "uniform", "normal", "constant", "zeros", "ones"})
_NUMBERS = ("scale", "width")
"""Attributes of steps that are texts over sizes."""
_NEUTRAL = {"matmul": "eye", "multiply": "ones", "add": "zeros"}
"""The start under which a step hands on what it takes, by what it does with the parameter."""


class Parts(NamedTuple):
    """What one graft puts in: the part with the norms at its boundary, in order; what multiplies it; what joins it to the host."""

    chain: tuple[Draft, ...]
    factor: Draft | float
    gate: Draft | None = None


@dataclass(slots=True, eq=False, repr=False)
class Map:
    """A linear map inside a kind while grafts are put in: the values that it takes and gives, their widths as texts over the host's sizes."""

    place: str
    x: str
    columns: str
    rows: str
    y: str
    own: tuple[str, ...]
    """The outputs of its own steps, where no graft stood before."""
    branches: list[Branch]
    """The grafts that stand there, in their order; those up to `before` stand in the definition already."""
    before: int
    names: set[str]
    """What is called after them."""
    origin: str = ""
    """What counts as what the map gives: what stood there before the last graft that came after others."""
    steps: list[Step] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    requires: list[Require] = field(default_factory=list)

    def take(self, splice: Splice) -> None:
        """One more graft: what the one before made is its host's value."""
        branch = splice.branch
        if self.steps:
            self.steps[-1] = self.steps[-1]._replace(output=branch.host)
        if self.branches:
            self.branches[-1] = self.branches[-1]._replace(value=branch.host)
        self.origin = branch.host if branch.after or not self.branches else self.origin
        self.branches.append(branch)
        self.names.update((branch.name, *(name for name, _ in branch.modules)))
        self.steps += splice.steps
        self.requires += splice.requires
        self.parameters.update(splice.parameters)


class Maps:
    """A definition while grafts are put into it, its linear maps by their places."""

    def __init__(self, host: Definition) -> None:
        self.host = host
        self.found: dict[str, Map | None] = {}

    def at(self, place: str) -> Map | None:
        """The linear map over the last axis that stands at `place`; None where there is none."""
        if place not in self.found:
            self.found[place] = _map(self.host, place)
        return self.found[place]

    def definition(self) -> Definition:
        """The host's definition with all that was put in."""
        maps = {item.y: item for item in self.found.values() if item is not None and len(item.branches) > item.before}
        gone = [item for item in maps.values() if item.branches[0].alone and not item.before]
        steps, keys = {output for item in gone for output in item.own}, {f"{item.place}.{word}" for item in gone for word in ("weight", "bias")}
        body: list[Step] = []
        for step in self.host.body:
            item = maps.get(step.output)
            if step.output not in steps:
                body.append(step if item is None else step._replace(output=item.branches[item.before].host))
            body.extend(item.steps if item is not None else ())
        parameters = {key: card for key, card in self.host.parameters.items() if key not in keys}
        for item in maps.values():
            parameters |= item.parameters
        places = {item.place: item for item in maps.values()}
        others = [branch for branch in self.host.branches if branch.place not in places]
        return self.host._replace(
            body=tuple(body),
            parameters=parameters,
            requires=(*self.host.requires, *(require for item in maps.values() for require in item.requires)),
            branches=(*others, *(branch for item in maps.values() for branch in item.branches)),
        )


def _map(definition: Definition, place: str) -> Map | None:
    branches = [branch for branch in definition.branches if branch.place == place]
    if branches:
        names = {name for branch in branches for name in (branch.name, *(name for name, _ in branch.modules))}
        origin = next((branch.host for branch in reversed(branches) if branch.after), branches[0].host)
        return Map(place, *branches[-1].map, branches[-1].value, (), branches, len(branches), names, origin)
    card = definition.parameters.get(f"{place}.weight")
    steps = [step for step in definition.body if f"{place}.weight" in step.inputs]
    if card is None or len(card.shape) != 2 or len(steps) != 1 or steps[0].op != "matmul" or steps[0].attributes.get("spec") != "...i,oi->...o" or not isinstance(definition.build, Module):
        return None
    biased = next((step for step in definition.body if f"{place}.bias" in step.inputs), None)
    own = tuple(step.output for step in (steps[0], biased) if step is not None)
    return Map(place, steps[0].inputs[0], card.shape[1], card.shape[0], own[-1], own, [], 0, set())


class Splice:
    """One graft at one linear map. `reads`, `after`: as those of a `Branch`."""

    def __init__(self, at: Map, name: str, mode: str, reads: str, after: bool) -> None:
        self.at, self.mode = at, mode
        self.branch = Branch(name, at.place, mode, reads, after, 1.0, (), (at.x, at.columns, at.rows), at.y)
        self.parameters: dict[str, Parameter] = {}
        self.requires: list[Require] = []
        self.steps: list[Step] = []
        self.modules: list[tuple[str, Module]] = []

    def run(self, parts: Parts) -> str:
        """Put the parts together; what is wrong with one of them, or nothing."""
        at, branch = self.at, self.branch
        origin = branch.host if branch.after else at.origin or branch.host
        value, width = (at.x, at.columns) if branch.reads == "x" else (origin, at.rows)
        for part in parts.chain:
            made = self.part(part, value, width)
            if isinstance(made, str):
                return made
            value, width = made
        if width != at.rows:
            self.requires.append(Require("equal", width, at.rows, f"the graft {branch.name} gives as many channels as `{at.place}`"))
        if self.mode == "blend":
            value = self.step("change", "add", self.step("minus", "multiply", branch.host, scale=-1.0), value)
        if isinstance(parts.factor, Draft):
            made = self.part(parts.factor, value, at.rows)
            if isinstance(made, str):
                return made
            value = made[0]
        elif parts.factor != 1.0:
            value = self.step("times", "multiply", value, scale=parts.factor)
        self.merge(value, parts.gate)
        scale = parts.factor.name if isinstance(parts.factor, Draft) else parts.factor
        self.branch = branch._replace(scale=scale, modules=tuple(self.modules))
        return ""

    def step(self, word: str, op: str, *inputs: str, **attributes: Any) -> str:
        output = f"{self.at.place}.{self.branch.name}_{word}"  # what a part makes has one name more: `q.lora.y`
        self.steps.append(Step(output, op, inputs, attributes))
        return output

    def merge(self, value: str, gate: Draft | None) -> None:
        """The last step, which has the old name."""
        host = self.branch.host
        if gate is None:
            self.steps.append(Step(self.at.y, "add", (value,) if self.mode == "replace" else (host, value)))
            return
        assert gate.chosen is not None
        own = gate.chosen.definition
        self.body(own, f"{self.at.place}.{self.branch.name}_", {"base": host, "gate": value}, str, {gate.main: self.at.y})

    def part(self, part: Draft, value: str, width: str) -> tuple[str, str] | str:
        """The steps and parameters of one module; what it gives and how wide that is, or what is wrong with it."""
        assert part.chosen is not None
        own = part.chosen.definition
        (port, card), *others = own.inputs.items()
        (out, given), *more = own.outputs.items()
        into, outof = _ROW.match(card.type), _ROW.match(given.type)
        if others or more or into is None or outof is None or not isinstance(own.build, Module):
            return f"`{part.kind.name if part.kind else ''}` is not one module from one row of channels to another"
        names = self.widths(own, into[1], outof[1], width)
        if isinstance(names, str):
            return names
        text = partial(_renamed, names=names)
        prefix = f"{self.at.place}.{part.name}."
        for key, parameter in own.parameters.items():
            self.parameters[prefix + key] = _parameter(part, key, parameter, text)
        if into[1] in own.sizes:
            self.requires.append(Require("equal", width, str(own.sizes[into[1]]), f"`{part.name}` takes what arrives"))
        self.requires.extend(Require(item.relation, text(item.left), text(item.right), item.about, item.training) for item in own.requires)
        known = self.body(own, prefix, {port: value, **{key: prefix + key for key in own.parameters}}, text)
        build = Module(own.build.name, tuple((key, Expr(text(item.text)) if isinstance(item, Expr) else item) for key, item in own.build.arguments))
        self.modules.append((part.name, build._replace(frozen=bool(part.said.get("freeze")))))
        return known[out], names[outof[1]]

    def body(self, own: Definition, prefix: str, known: dict[str, str], text: Callable[[str], str], called: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
        """A body's steps among the host's. `known`: its names -> the host's; those of its steps are added, with `prefix` unless `called` otherwise."""
        for step in own.body:
            known[step.output] = called.get(step.output, prefix + step.output)
            inputs = tuple(known.get(item, item) for item in step.inputs)
            self.steps.append(Step(known[step.output], step.op, inputs, _attributes(step.attributes, text, known)))
        return known

    def widths(self, own: Definition, into: str, outof: str, width: str) -> dict[str, str] | str:
        """The part's sizes as texts over the host's."""
        names: dict[str, str] = {name: str(value) for name, value in own.sizes.items()}
        names[into] = width
        names.setdefault(outof, self.at.rows)
        for name, text in own.defaults.items():
            if name not in names:
                names[name] = _renamed(text, names)
        words = {word for card in own.parameters.values() for item in card.shape for word in _WORD.findall(item)}
        missing = sorted(words - names.keys())
        return f"nothing says how large its `{missing[0]}` is" if missing else names


def _parameter(part: Draft, key: str, card: Parameter, text: Callable[[str], str]) -> Parameter:
    start = part.said.get("init", {}).get("write") if card.writes else None
    assert part.chosen is not None
    init = "zeros" if start == "zero" else _neutral(part.chosen.definition.body, key) if start == "identity" else text(card.init)
    shape = tuple(text(item) for item in card.shape)
    return card._replace(shape=shape, init=init, writes=False, trains=not part.said.get("freeze", False), stated=start is not None)


def _neutral(body: Sequence[Step], key: str) -> str:
    return next(_NEUTRAL[step.op] for step in body if key in step.inputs)


def _renamed(text: str, names: Mapping[str, str]) -> str:
    def one(match: re.Match[str]) -> str:
        word = match[0]
        if word in _FUNCTIONS or word not in names:
            return word
        new = names[word]
        return new if new == text or _WORD.fullmatch(new) or new.isdigit() else f"({new})"

    found = _WORD.sub(one, text)
    return found[1:-1] if found.startswith("(") and _WORD.fullmatch(text) else found


def _attributes(attributes: Mapping[str, Any], text: Callable[[str], str], known: Mapping[str, str]) -> dict[str, Any]:
    found = dict(attributes)
    for key, value in attributes.items():
        if key in _NUMBERS and isinstance(value, str):
            found[key] = text(value)
        elif key == "sizes":
            found[key] = {name: text(item) for name, item in value.items()}
        elif isinstance(value, str) and value in known:
            found[key] = known[value]
    return found
