"""A mapping from Python as a tree whose every value knows its key path: a dict, or a DictConfig of the caller's application.

The application owns what its configuration means: its loader has read it, its OmegaConf resolves its interpolations, with its
resolvers. What cannot be resolved, and `???`, are findings at the key path, as anything else is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from numbers import Integral, Real
from typing import Any

from assembler.source.events import MAX_DEPTH, MAX_NODES
from assembler.source.merge import MISSING, without_nulls
from assembler.source.place import quoted, shown
from assembler.source.texts import FOREIGN
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import NOWHERE, Span

MAX_ENTRY = 72
"""Characters of an entry's text: what an excerpt shows of a mapping or a list."""
_PLAIN = re.compile(r"[A-Za-z_][^:#\"'{}\n]*\Z")
_WRONG: Any = object()


class _Stop(Exception):
    """The mapping is no recipe: `args` hold the one finding."""


def tree_of(source: Mapping[str, Any]) -> tuple[Value | None, list[Diagnostic]]:
    """The tree of a mapping; None where it is deeper or larger than any recipe.

    Entries of `nodes`, `parts`, `slots`, `rules` and `grafts` that are None are left out, as in a file.
    """
    root = _root(source)
    reader = _Reader(root)
    try:
        value, _ = reader.value(source, "", "", 0)
    except _Stop as stop:
        return None, [*stop.args]
    span = Span(line=1, column=1, end_line=1, end_column=1, config=root) if root else NOWHERE
    return without_nulls(Value(value.data, span, span)), reader.found


class _Reader:
    def __init__(self, root: str) -> None:
        self.root = root
        self.found: list[Diagnostic] = []
        self.line = 0

    def say(self, code: str, message: str, span: Span, help_: str, label: str = "") -> None:
        self.found.append(Diagnostic(code, message, span, label, help=help_))

    def value(self, data: Any, path: str, lead: str, depth: int) -> tuple[Value, str]:
        """A value and its text. `lead` is what stands before it in its entry: `in: `, `- `."""
        self.line += 1
        line = self.line
        if depth > MAX_DEPTH:
            raise _Stop(Diagnostic("limit-depth", f"the mapping nests deeper than {MAX_DEPTH} levels", help="no recipe nests that deep"))
        if line > MAX_NODES:
            raise _Stop(Diagnostic("limit-nodes", f"the mapping holds more than {MAX_NODES} keys and values", help="write copies as `repeat:`"))
        data, fault = _plain(data)
        inner: Any = data
        if isinstance(data, Mapping):
            inner, text = self.mapping(data, path, depth)
        elif isinstance(data, (list, tuple)) or _foreign(data):
            inner, text = self.items(data, path, depth)
        else:
            text = _scalar(data)
        span = self.entry(lead + text, len(lead), len(lead) + len(text), line, path)
        if fault:
            self.say("value-type", f"{fault} is no value of a recipe", span, "texts, numbers, true, false, null, lists and mappings are")
        elif isinstance(inner, str):
            self.judge(inner, span)
        key = self.entry(lead + text, 0, len(lead) - 2, line, path) if lead.endswith(": ") else span
        return Value(inner, span, key), text

    def mapping(self, data: Mapping[Any, Any], path: str, depth: int) -> tuple[dict[str, Value], str]:
        made: dict[str, Value] = {}
        texts: list[str] = []
        for key, item in _entries(data):
            name = key if isinstance(key, str) else str(key)
            below = f"{path}.{name}" if path else name
            value, text = self.value(item, below, f"{name}: ", depth + 1)
            texts.append(f"{name}: {text}")
            if not isinstance(key, str):
                self.say("yaml-key-type", f"a key is a text, and {shown(name)} is of type {type(key).__name__}", value.key, "give the entry a name")
            elif name in FOREIGN:
                self.say("foreign-key", f"`{name}` names code to run or steers how it is built, and a recipe is data", value.key, FOREIGN[name])
            else:
                made[name] = value
        return made, _short(texts, "{", "}")

    def items(self, data: Any, path: str, depth: int) -> tuple[list[Value], str]:
        made: list[Value] = []
        texts: list[str] = []
        for index, item in _entries(data):
            value, text = self.value(item, f"{path}[{index}]", "- ", depth + 1)
            made.append(value)
            texts.append(text)
        return made, _short(texts, "[", "]")

    def judge(self, text: str, span: Span) -> None:
        """What stands in a text and is no value: a value that is missing, an interpolation that nobody resolves."""
        if isinstance(text, _Unresolved):
            self.say("interpolation", f"{shown(text)} cannot be resolved: {text.why}", span,
                     "the application whose configuration this is resolves it: define there what it names")  # fmt: skip
        elif text == MISSING:
            self.say("missing-value", f"`{MISSING}`: a value is wanted, and none was given", span, f"give it: `{span.config}=...`")
        elif "${" in text:
            self.say("interpolation", f"{shown(text)} is never evaluated in a recipe", span,
                     "put the value there; OmegaConf's interpolations are resolved where a DictConfig is handed over")  # fmt: skip

    def entry(self, text: str, start: int, end: int, line: int, path: str) -> Span:
        config = f"{self.root}.{path}" if self.root and path else path
        return Span("", line, start + 1, line, end + 1, path, config=config, text=text)


class _Unresolved(str):
    """An interpolation as it is written, with `why` it has no value."""

    why: str

    def __new__(cls, text: str, why: str) -> _Unresolved:
        made = super().__new__(cls, text)
        made.why = why
        return made


# --- OmegaConf: only a caller who has it hands over something of it ---
def _foreign(data: Any) -> bool:
    """Whether this is a DictConfig or a ListConfig."""
    return type(data).__module__.startswith("omegaconf.")


def _root(source: Any) -> str:
    """The key path at which a mapping stands in its application's configuration."""
    return str(source._get_full_key(None)) if _foreign(source) else ""


def _raw(owner: Any, key: Any) -> str:
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(owner, resolve=False)
    return str(plain[key])


def _entries(data: Any) -> Iterator[tuple[Any, Any]]:
    """The entries of a mapping, or of a list by place; of OmegaConf's, each resolved by its rules, and `???` where it is missing."""
    if not _foreign(data):
        yield from data.items() if isinstance(data, Mapping) else enumerate(data)
        return
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for key in list(data) if isinstance(data, Mapping) else range(len(data)):
        if OmegaConf.is_missing(data, key):
            yield key, MISSING
            continue
        try:
            yield key, data[key]
        except OmegaConfBaseException as error:
            yield key, _Unresolved(_raw(data, key), str(error).splitlines()[0] if str(error) else type(error).__name__)


# --- data and text ---
def _plain(data: Any) -> tuple[Any, str]:
    """The value as YAML has it; and, where it has none, the type that it is of."""
    if data is None or isinstance(data, (bool, _Unresolved, Mapping, list, tuple)) or type(data) in (int, float, str) or _foreign(data):
        return data, ""
    if isinstance(data, Enum):
        return data.name, ""
    if isinstance(data, str):
        return str(data), ""
    if isinstance(data, (Integral, Real)):
        return int(data) if isinstance(data, Integral) else float(data), ""
    return None, f"a {type(data).__module__}.{type(data).__qualname__}"


def _scalar(data: Any) -> str:
    if data is None or isinstance(data, bool):
        return {None: "null", True: "true", False: "false"}[data]
    if not isinstance(data, str):
        return repr(data)
    return str(data) if _PLAIN.match(data) else quoted(data)


def _short(texts: list[str], opens: str, closes: str) -> str:
    """A mapping or a list on one line, cut where an excerpt would cut it."""
    kept: list[str] = []
    room = MAX_ENTRY
    for text in texts:
        room -= len(text) + 2
        if room < 0:
            kept.append("...")
            break
        kept.append(text)
    return opens + ", ".join(kept) + closes
