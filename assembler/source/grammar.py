"""Override texts as commands: bounded before they are parsed, refused where they would steer Hydra.

Hydra's grammar decides what a text means; what is refused here is refused with a caret in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assembler.source.wording import shorten
from assembler_schemas.diagnostic import Diagnostic, Edit, Fix, Note
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.source.hydra_bridge import Operation, Parsed

MAX_TEXT = 10_000
MAX_TOGETHER = 32 * 1024
MAX_COUNT = 1000
MAX_DEPTH = 32
MAX_SEGMENTS = 64
MAX_DIGITS = 19

FOREIGN = frozenset({"_target_", "_partial_", "_args_", "_recursive_", "_convert_"})
"""Keys that mean code to `hydra.utils.instantiate`."""

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONG_NUMBER = re.compile("[0-9]{4000}[0-9]*")
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True)
class Command:
    """One override that can be parsed and may be carried out."""

    text: str
    index: int
    operation: Operation
    key: str
    package: str | None
    value: Any
    stated: bool
    """Whether a value is stated at all: `~key` has none."""
    parsed: Parsed = field(repr=False)

    @property
    def path(self) -> list[str]:
        return self.key.split(".")

    def span(self, start: int = 0, end: int | None = None) -> Span:
        """The characters `start` to `end` of the text."""
        return _span(self.text, self.index, start, end, self.key.replace("/", "."))

    def key_span(self, segment: int | None = None) -> Span:
        """The key, or the one segment of it that a finding is about."""
        start = self.text.find(self.key) if self.key else 0
        if segment is None:
            return self.span(start, start + len(self.key))
        parts = self.path
        offset = start + sum(len(p) + 1 for p in parts[:segment])
        return self.span(offset, offset + len(parts[segment]))

    def value_span(self) -> Span:
        start = self.text.find("=") + 1
        if not start:
            return self.key_span()
        while start < len(self.text) and self.text[start] in " \t":
            start += 1
        return self.span(start)


def _span(text: str, index: int, start: int, end: int | None = None, path: str = "") -> Span:
    stop = len(text) if end is None else end
    return Span(
        line=1, column=start + 1, end_line=1, end_column=max(stop, start) + 1, path=path,
        override=shorten(text, MAX_TEXT), index=index,
    )  # fmt: skip


def commands(overrides: Sequence[str], sweeps: bool = False) -> tuple[list[Command], list[Diagnostic]]:
    """The overrides as commands; what cannot be one is a diagnostic and left out.

    `sweeps`: one that asks for several values is a command too, without a value of its own (`source/sweeps.py`).
    """
    found: list[Command] = []
    diagnostics: list[Diagnostic] = []
    together = 0
    for index, text in enumerate(overrides):
        together += min(len(text), MAX_TEXT)
        if index >= MAX_COUNT or together > MAX_TOGETHER:
            diagnostics.append(_too_many(len(overrides), text, index))
            break
        command = _command(text, index, sweeps)
        if isinstance(command, Command):
            found.append(command)
        else:
            diagnostics.append(command)
    diagnostics.extend(_repeated(found))
    return found, diagnostics


def _too_many(count: int, text: str, index: int) -> Diagnostic:
    return Diagnostic(
        "limit-nodes",
        f"{count} overrides are more than we take: {MAX_COUNT}, of {MAX_TOGETHER} characters together",
        _span(shorten(text), index, 0), label="not read from here on", help="write them into a recipe file",
    )  # fmt: skip


def _command(text: str, index: int, sweeps: bool) -> Command | Diagnostic:
    refused = _refuse_text(text, index)
    if refused is not None:
        return refused
    from assembler.source import hydra_bridge

    try:
        parsed = hydra_bridge.parse(text)
    except hydra_bridge.BadOverride as bad:
        digits = _LONG_NUMBER.search(text)
        if digits:
            return _too_many_digits(_span(text, index, digits.start(), digits.end()))
        return _syntax(text, index, *bad.args)
    command = Command(
        text, index, parsed.operation, parsed.key, parsed.package, parsed.value, parsed.stated, parsed
    )  # fmt: skip
    return _refuse_key(command) or (None if sweeps and parsed.sweep else _refuse_value(command)) or command


def _refuse_text(text: str, index: int) -> Diagnostic | None:
    """What can be said before the text is parsed."""
    if len(text) > MAX_TEXT:
        message = f"an override of {len(text)} characters, longer than {MAX_TEXT}"
        return Diagnostic(
            "limit-scalar-size", message, _span(shorten(text), index, 0), label="too long",
            help="write long values into a recipe file",
        )  # fmt: skip
    at = text.find("${")
    if at >= 0:
        return Diagnostic(
            "interpolation", "`${` stands in an override", _span(text, index, at, at + 2), label="interpolation",
            help="recipes have no interpolation: write the value, or an expression over `vars`",
        )  # fmt: skip
    for pattern, code, what in (
        (_SURROGATE, "yaml-encoding", "bytes that are not UTF-8 stand"),
        (_CONTROL, "yaml-control-character", "an invisible or control character stands"),
    ):
        match = pattern.search(text)
        if match:
            name = f"U+{ord(match.group()):04X}"
            return Diagnostic(code, f"{what} in an override: {name}", _span(text, index, match.start(), match.end()), help="write the override without it")
    deep = _too_deep(text)
    if deep is not None:
        return Diagnostic("limit-depth", f"an override nests deeper than {MAX_DEPTH} levels", _span(text, index, deep), help="write what is nested into a recipe file")
    return None


def _too_deep(text: str) -> int | None:
    depth = 0
    for at, letter in enumerate(text):
        if letter in _OPEN:
            depth += 1
            if depth > MAX_DEPTH:
                return at
        elif letter in _CLOSE:
            depth -= 1
    return None


def _syntax(text: str, index: int, reason: str, at: int) -> Diagnostic:
    quoted = _quoted(text)
    fix = None
    if quoted is not None:
        fix = Fix((Edit(_span(text, index, 0), quoted),), "maybe")
        shell = quoted.replace("\\", "\\\\").replace('"', '\\"') if '"' in quoted else quoted
        help_ = f'quote the value: {shorten(quoted)} (in a shell "{shorten(shell)}")'
    else:
        help_ = "an override is key=value, +key=value, ++key=value or ~key"
    return Diagnostic(
        "override-syntax", f"{shorten(text)!r} cannot be parsed: {shorten(reason, 200)}",
        _span(text, index, min(at, len(text)), min(at + 1, len(text))), label="here", help=help_, fix=fix,
    )  # fmt: skip


def _quoted(text: str) -> str | None:
    """The same override with its value in quotes, if that can be parsed."""
    from assembler.source import hydra_bridge

    key, equals, value = text.partition("=")
    value = value.strip()
    if not equals or not value:
        return None
    quote = "'" if "'" not in value else '"'
    if quote in value or value.endswith("\\"):
        return None
    candidate = f"{key.strip()}={quote}{value}{quote}"
    try:
        hydra_bridge.parse(candidate)
    except hydra_bridge.BadOverride:
        return None
    return candidate


def _refuse_key(command: Command) -> Diagnostic | None:
    key, package = command.key, command.package or ""
    if not key:
        return Diagnostic(
            "override-syntax", f"{shorten(command.text)!r} names no key", command.span(0, 1), label="no key",
            help="an override is key=value, +key=value, ++key=value or ~key",
        )  # fmt: skip
    if key.count(".") + (command.package or "").count(".") >= MAX_SEGMENTS:
        message = f"a key of more than {MAX_SEGMENTS} parts"
        return Diagnostic("limit-depth", message, command.key_span(), help="no recipe nests that deep")
    roots = (re.split(r"[./]", key)[0], package.removeprefix("_global_.").split(".")[0])
    if "hydra" in roots:
        return _foreign(f"`{shorten(key)}` would steer Hydra", command.key_span(), "leave Hydra's own settings out")
    foreign = FOREIGN.intersection(key.split("."))
    if foreign:
        name = min(foreign)
        return _foreign(f"`{name}` would run code", command.key_span(key.split(".").index(name)), "name a `kind`")
    return None


def _too_many_digits(span: Span) -> Diagnostic:
    return Diagnostic("limit-int-digits", f"a number in an override has more than {MAX_DIGITS} digits", span, help="no size of a recipe is so large; quote it if it is a text")


def _foreign(message: str, span: Span, help_: str) -> Diagnostic:
    return Diagnostic("foreign-key", message, span, label="not a key of recipes", help=help_)


def _refuse_value(command: Command) -> Diagnostic | None:
    if command.parsed.sweep:
        value = command.text.partition("=")[2].strip()
        plain = "(" not in value
        help_ = f"a list is `{command.key}=[{shorten(value)}]`, a text is `{command.key}='{shorten(value)}'`"
        return Diagnostic(
            "override-sweep", f"`{shorten(command.text)}` is a sweep over {command.parsed.sweep}; one value is wanted",
            command.value_span(), label="a sweep", help=help_ if plain else "write one value",
        )  # fmt: skip
    for key, value in _leaves(command.value):
        if key is not None and not isinstance(key, str):
            return Diagnostic(
                "yaml-key-type",
                f"the key {'null' if key is ... else repr(key)} in an override is not a text",
                command.value_span(),
            )
        if key in FOREIGN:
            return _foreign(f"`{key}` would run code", command.value_span(), "name a `kind`")
        if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
            return _too_many_digits(command.value_span())
    return None


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """(key, value) of everything inside a value; no key for list items and the value itself."""
    todo: list[tuple[Any, Any]] = [(None, value)]
    while todo:
        key, item = todo.pop()
        yield key, item
        if isinstance(item, dict):
            for name, inner in item.items():
                # A `null` key would look like none; it is spelled out so that it is refused.
                todo.append((... if name is None else name, inner))
        elif isinstance(item, list):
            todo.extend((None, inner) for inner in item)


def _repeated(found: Sequence[Command]) -> Iterator[Diagnostic]:
    """One warning for each key that is set twice, at the last place."""
    places: dict[tuple[str, str | None], list[Command]] = {}
    for command in found:
        if command.operation != "delete":
            places.setdefault((command.key, command.package), []).append(command)
    for (key, _), same in places.items():
        if len(same) > 1:
            last = same[-1]
            related = tuple(Note(f"set here to {shorten(c.text.partition('=')[2])!r}", c.span()) for c in same[:-1][:3])
            message = f"`{shorten(key)}` is overridden {len(same)} times; the last one wins"
            yield Diagnostic("override-repeated", message, last.span(), label="wins", related=related)
