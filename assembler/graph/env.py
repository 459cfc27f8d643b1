"""Vars: named numbers and words, where they are looked up, and what expressions come to."""

from __future__ import annotations

import graphlib
import re
from collections import ChainMap
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import pairwise
from types import NoneType

from assembler.library import registry
from assembler.source.parse import did_you_mean
from assembler.source.recipe import GraphSpec, Slot
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.expression import ExpressionError, check_size, parse_expression
from assembler_schemas.span import NOWHERE, Span

Word = int | float | str | bool
Say = Callable[[Diagnostic], None]
DIGITS = re.compile(r"\s*[0-9][0-9_]*\s*\Z")
"""A number as text: quoted, or with underscores, which YAML 1.2 does not take for a number."""


def narrow(span: Span, text: str, start: int, end: int) -> Span:
    """The place of `text[start:end]`, where the text stands unquoted on one line at `span`."""
    if span.line == span.end_line and span.end_column - span.column == len(text) and end > start:
        return span._replace(column=span.column + start, end_column=span.column + end)
    return span


_HELPS = {
    "expression-division": "choose numbers that divide without a remainder",
    "dim-range": "a size lies between 1 and 2**31-1",
    "expression-syntax": "allowed are integers, names, + - * // and parentheses",
}


def wrong_expression(error: ExpressionError, value: Value, path: str, known: Collection[str] = ()) -> Diagnostic:
    help_text = error.help
    if error.code == "expression-unknown":
        name = str(value.data)[error.start : error.end]
        kind = f"`{name}` is a kind: a part is written `{{kind: {name}}}`" if name in registry.names() else ""
        help_text = did_you_mean(name, known) or kind or f"put it under `vars`: `vars: {{{name}: ...}}`"
    help_text = help_text or _HELPS.get(error.code, "")
    return Diagnostic(
        error.code, error.message, narrow(value.span, str(value.data), error.start, error.end).at(path), help=help_text
    )  # fmt: skip


class Env:
    """The vars that are known at one place; what it does not hold is looked up outward."""

    def __init__(self, outer: Env | None, spec: GraphSpec | None, say: Say) -> None:
        self.outer = outer
        self.spec = spec
        self.values: dict[str, Word] = {}
        self.spans: dict[str, Span] = {}
        self.used: set[str] = set()
        self.settled: dict[str, int] = {}
        """Size expressions that are worked out already."""
        self._say = say
        self._broken: set[str] = set()

    def define(self, values: Mapping[str, Value], arguments: Mapping[str, tuple[Value, Env]], path: str) -> None:
        """Take the vars of a graph or a slot's filler; `arguments` win and are evaluated outside."""
        for name, (value, env) in arguments.items():
            word = env.word(value, f"{path}.{name}")
            self.spans[name] = value.span
            if word is None:
                self._broken.add(name)
            else:
                self.values[name] = word
        own = {name: value for name, value in values.items() if name not in arguments}
        self.spans.update((name, value.key) for name, value in own.items())
        needs = {name: self._needs(value, own) for name, value in own.items()}
        sorter = graphlib.TopologicalSorter(needs)
        try:
            sorter.prepare()
        except graphlib.CycleError as error:
            circle = list(reversed(error.args[1]))
            self._say(Diagnostic(
                "vars-cycle", f"vars that need one another: {' -> '.join(circle)}", own[circle[0]].span.at(f"{path}.{circle[0]}"),
                related=tuple(Note(f"`{a}` needs `{b}`", own[a].span) for a, b in pairwise(circle[1:])),
                help="give one of them a number",
            ))  # fmt: skip
        order: list[str] = []
        while ready := sorter.get_ready():
            order.extend(ready)
            sorter.done(*ready)
        self._broken.update(own.keys() - order)  # in a circle, or behind one
        for name in order:
            word = self.word(own[name], f"{path}.{name}", var=True) if not needs[name] & self._broken else None
            if word is None:
                self._broken.add(name)
            else:
                self.values[name] = word

    @staticmethod
    def _needs(value: Value, own: Mapping[str, Value]) -> set[str]:
        if not isinstance(value.data, str):
            return set()
        try:
            return {name for name in parse_expression(value.data).names if name in own}
        except ExpressionError:
            return set()

    # --- looking up ---
    def find(self, name: str) -> Word | None:
        """The value of a var, here or further out; None where it is unknown (or broken)."""
        env: Env | None = self
        while env is not None:
            if name in env.values or name in env._broken:
                env.used.add(name)
                return env.values.get(name)
            env = env.outer
        return None

    def known(self) -> Collection[str]:
        """The names of all vars, not copied: an error may ask for them thousands of times."""
        return ChainMap(*(env.values for env in self._outward()))

    def is_broken(self, name: str) -> bool:
        env: Env | None = self
        while env is not None:
            if name in env._broken:
                return True
            if name in env.values:
                return False
            env = env.outer
        return False

    def slot(self, name: str) -> tuple[Slot, Env] | None:
        env: Env | None = self
        while env is not None:
            if env.spec is not None and name in env.spec.slots:
                return env.spec.slots[name], env
            env = env.outer
        return None

    def slot_names(self) -> Collection[str]:
        return ChainMap(*(env.spec.slots for env in self._outward() if env.spec is not None and env.spec.slots))  # type: ignore[arg-type]

    def _outward(self) -> Iterator[Env]:
        env: Env | None = self
        while env is not None:
            yield env
            env = env.outer

    # --- evaluating ---
    def word(self, value: Value, path: str, var: bool = False) -> Word | None:
        """A number or a word: the value itself, the var it names, or the size it works out to."""
        data = value.data
        if isinstance(data, str):
            found = self.find(data)
            if found is not None:
                return found
            if self.is_broken(data):
                return None
            if data.isidentifier():
                return data
            return self.number(value, path)
        if data is None or isinstance(data, (list, dict)):
            name = path.rpartition(".")[2]
            if data is None:
                self._say(Diagnostic("missing-value", f"the var `{name}` has no value", value.key.at(path), help="write a number, a word or an expression"))
            else:
                kind = "a list" if isinstance(data, list) else "a mapping"
                self._say(Diagnostic("value-type", f"the var `{name}` is {kind}, where a number or a word is wanted", value.span.at(path), help=f"write `{name}: 64`, a word or an expression"))
            return None
        return data if isinstance(data, (int, float, str)) else None

    def number(self, value: Value, path: str) -> int | None:
        """What a size expression comes to; None (and a diagnostic) where it cannot be worked out."""
        data = value.data
        if type(data) is int:
            return data
        if not isinstance(data, str):
            self._wrong_number(value, path)
            return None
        settled = self.settled.get(data)
        if settled is not None:
            return settled
        found = self.find(data)
        if found is not None:
            if type(found) is int:
                self.settled[data] = found
                return found
            self._say(Diagnostic("value-type", f"`{data}` is {found!r}, where a whole number is wanted", value.span.at(path),
                                 related=(Note(f"`{data}` is defined here", self._defined(data)),), help=f"let `{data}` be a whole number"))  # fmt: skip
            return None
        try:
            if DIGITS.match(data):
                self._wrong_number(value, path)
                return None
            expression = parse_expression(data)
            if any(self.is_broken(name) for name in expression.names):
                return None
            if (word := next((name for name in expression.names if type(self.find(name)) not in (int, NoneType)), None)) is not None:
                self._say(Diagnostic("value-type", f"`{word}` is {self.find(word)!r}, where a whole number is wanted", value.span.at(path),
                                     related=(Note(f"`{word}` is defined here", self._defined(word)),), help=f"let `{word}` be a whole number"))  # fmt: skip
                return None
            result = expression.evaluate(self._integers(expression.names))
        except ExpressionError as error:
            self._say(wrong_expression(error, value, path, self.known()))
            return None
        if not isinstance(result, int):
            return None
        self.settled[data] = result
        return result

    def size(self, value: Value, path: str, low: int = 1) -> int | None:
        """Like `number`, and held against the range of a size."""
        number = self.number(value, path)
        if number is None:
            return None
        if low == 0 and number == 0:
            return 0
        try:
            check_size(number, str(value.data))
        except ExpressionError as error:
            self._say(wrong_expression(error, value, path))
            return None
        return number

    def _defined(self, name: str) -> Span:
        return next((env.spans[name] for env in self._outward() if name in env.spans), NOWHERE)

    def _integers(self, names: tuple[str, ...]) -> dict[str, int]:
        found = {name: self.find(name) for name in names}
        return {name: value for name, value in found.items() if type(value) is int}

    def _wrong_number(self, value: Value, path: str) -> None:
        data = value.data
        if data is None:
            self._say(Diagnostic("missing-value", "a size without a value", value.key.at(path), help="write a number, a var or an expression"))
            return
        meant = ""
        if isinstance(data, float) and data.is_integer():
            meant = f"write `{int(data)}`"
        elif isinstance(data, str):
            meant = f"write `{data.strip().replace('_', '').lstrip('0') or 0}`{'' if '_' in data else ' without quotes'}"
        self._say(Diagnostic("value-type", f"a whole number is wanted, not {value.plain()!r}", value.span.at(path), help=meant or "write a whole number, a var or an expression"))
