"""Everything that we take from Hydra: the order of the files, and the grammar of overrides.

The only module that imports Hydra, with `hydra_sweep` beside it; it is imported inside functions, where a recipe has defaults or
overrides. Both are internals of Hydra 1.3; a differential test holds the result equal to
`hydra.compose`. Nothing here builds an OmegaConf object of a recipe, and nothing is left behind:
Hydra's version base, which is global, is set for the length of a call.
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from antlr4 import CommonTokenStream, InputStream
from antlr4.error.Errors import LexerNoViableAltException, RecognitionException
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.grammar import grammar_functions
from hydra._internal.grammar.functions import Functions
from hydra.core.default_element import ConfigDefault, GroupDefault, InputDefault
from hydra.core.override_parser.overrides_visitor import HydraErrorListener, HydraOverrideVisitor
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Override,
    OverrideType,
    Sweep,
    ValueType,
)
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import OverrideLexer
from hydra.grammar.gen.OverrideParser import OverrideParser
from hydra.plugins.config_source import ConfigResult
from hydra.version import VersionBase
from omegaconf.errors import OmegaConfBaseException
from packaging.version import Version

from assembler.source.hydra_sweep import count, sweep_in
from assembler_schemas.span import NOWHERE, Span

_BASE = Version("1.3")
_LOCK = threading.RLock()
MAX_LOADS = 4000

FAILURES = (HydraException, OmegaConfBaseException, ValueError, TypeError, AssertionError, RecursionError)
"""What Hydra raises over a defaults list."""


@contextmanager
def _pinned() -> Iterator[None]:
    """Hydra 1.3's own behaviour, whatever version base the host application chose."""
    with _LOCK:
        instance = VersionBase.instance()
        before = instance.version_base
        instance.version_base = _BASE
        try:
            yield
        finally:
            instance.version_base = before


# --- the order of the files ---


class Endless(Exception):
    """The defaults lists ask for more files than any recipe needs: they lead back to themselves."""


class _Placed:
    """Where a defaults entry was written, and a log of the entries that Hydra reached."""

    span: Span = NOWHERE
    origin: str = ""
    log: list[Any]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # Hydra copies a defaults list so that each use of it can be placed; its values never change.
        return copy.copy(self)

    def update_parent(self, parent_base_dir: str | None, parent_package: str | None) -> None:
        super().update_parent(parent_base_dir, parent_package)  # type: ignore[misc]
        self.log.append(self)


class GroupEntry(_Placed, GroupDefault):
    """`- slots/ffn: mlp`"""


class ConfigEntry(_Placed, ConfigDefault):
    """`- base`"""


@dataclass(frozen=True, slots=True)
class Use:
    """One file of a composition: where it is (`slots/ffn/mlp`), and under which key it lands."""

    path: str
    package: str


_NO_CONFIG: Any = None
"""Hydra asks a config only whether it has content, to warn about a missing `_self_`; we warn ourselves."""


class Repository(IConfigRepository):
    """What Hydra sees of the files: their defaults lists and package headers, nothing else."""

    def __init__(
        self,
        load: Callable[[str], tuple[Sequence[Any], str | None] | None],
        exists: Callable[[str], bool],
        is_group: Callable[[str], bool],
        options: Callable[[str], list[str]],
    ) -> None:
        self._load, self._exists, self._is_group, self._options = load, exists, is_group, options
        self._loads = 0

    def load_config(self, config_path: str) -> ConfigResult | None:
        self._loads += 1
        if self._loads > MAX_LOADS:
            raise Endless
        found = self._load(config_path)
        if found is None:
            return None
        entries, package = found
        return ConfigResult(
            provider="assembler", path=config_path, config=_NO_CONFIG, header={"package": package},
            defaults_list=list(entries),
        )  # fmt: skip

    def group_exists(self, config_path: str) -> bool:
        return self._is_group(config_path)

    def config_exists(self, config_path: str) -> bool:
        return self._exists(config_path)

    def get_group_options(self, group_name: str, results_filter: Any = None) -> list[str]:
        return self._options(group_name)

    def get_sources(self) -> list[Any]:
        return []

    def get_schema_source(self) -> Any:
        raise NotImplementedError

    def initialize_sources(self, config_search_path: Any) -> None:
        raise NotImplementedError


def order(repository: Repository, primary: str, overrides: Sequence[Override]) -> tuple[list[Use], list[Override]]:
    """The files in merging order, and the overrides that set values rather than choose files.

    Raises:
        Endless: the lists lead back to themselves.
        FAILURES: as Hydra raises them.
    """
    with _pinned():
        result = create_defaults_list(repository, primary, list(overrides), prepend_hydra=False, skip_missing=False)
    return [Use(d.config_path or "", d.package or "") for d in result.defaults], result.config_overrides


def target(entry: InputDefault) -> list[str]:
    """The config paths that an entry which Hydra has placed asks for."""
    if isinstance(entry, GroupDefault) and entry.is_options():
        return [f"{entry.get_group_path()}/{item}" for item in entry.get_options()]
    return [entry.get_config_path()]


# --- the grammar of overrides ---

Operation = Literal["set", "add", "force", "delete"]
_OPERATIONS: dict[OverrideType, Operation] = {
    OverrideType.CHANGE: "set", OverrideType.ADD: "add",
    OverrideType.FORCE_ADD: "force", OverrideType.DEL: "delete",
}  # fmt: skip


class BadOverride(Exception):
    """`args`: what is wrong, and the index of the character where."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One override. `sweep` says how many values it would try, empty for a single value."""

    operation: Operation
    key: str
    package: str | None
    value: Any
    stated: bool
    sweep: str
    raw: Override


def single(parsed: Parsed) -> Override:
    """An `Override` for Hydra that is not shared with any other use of the same text."""
    return copy.copy(parsed.raw)


class _Visitor(HydraOverrideVisitor):
    def visitListContainer(self, ctx: Any) -> list[Any]:
        # Hydra's own looks every element up from the front: a second for 5000 of them.
        kind = OverrideParser.ElementContext
        return [self.visitElement(child) for child in ctx.getChildren(lambda c: isinstance(c, kind))]


def _shuffled(*args: Any, **named: Any) -> Sweep:
    # A shuffled list would be another value each time; a shuffled sweep is refused like any other.
    given = [*args, *named.values()]
    found = next((item for item in given if isinstance(item, Sweep)), None)
    return ChoiceSweep(list=given, shuffle=True) if found is None else found


@lru_cache(maxsize=1)
def _functions() -> Functions:
    functions = Functions()
    for name in ("int", "str", "bool", "float"):
        functions.register(name=name, func=getattr(grammar_functions, f"cast_{name}"))
    for name in ("choice", "range", "interval", "tag", "sort", "shuffle", "glob"):
        functions.register(name=name, func=getattr(grammar_functions, name))
    functions.functions["shuffle"] = _shuffled
    return functions


@lru_cache(maxsize=4096)
def parse(text: str) -> Parsed:
    """One override by Hydra's grammar. The caller has bounded its length and its nesting.

    Raises:
        BadOverride: it cannot be parsed.
    """
    with _pinned():
        try:
            raw = _plain(text) or _parse_tree(text)
        except HydraException as error:
            raise BadOverride(*_explain(error, text)) from None
        except (ValueError, TypeError, AssertionError, RecursionError, OverflowError) as error:
            raise BadOverride(str(error) or type(error).__name__, text.find("=") + 1) from None
    swept = sweep_in(raw._value)
    return Parsed(
        operation=_OPERATIONS[raw.type], key=raw.key_or_group, package=raw.package,
        value=None if swept is not None else raw.value(), stated=raw.value_type is not None,
        sweep="" if swept is None else count(swept), raw=raw,
    )  # fmt: skip


_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_PLAIN = re.compile(
    rf"(\+{{0,2}})({_NAME}(?:(?:\.{_NAME})*|(?:/{_NAME})*))="
    rf"(?:(0|-?[1-9][0-9]{{0,17}})|(-?(?:0|[1-9][0-9]{{0,17}})(?:\.[0-9]{{1,17}})?(?:e[-+]?[0-9]{{1,3}})?)|({_NAME}))\Z"
)
_NO_WORDS = frozenset({"null", "true", "false", "inf", "nan"})
_PREFIXES = {"": OverrideType.CHANGE, "+": OverrideType.ADD, "++": OverrideType.FORCE_ADD}


def _plain(text: str) -> Override | None:
    """`vars.width=96`, `+nodes.a.p=0.1` and `slots/ffn=mlp` as the grammar reads them, in a fiftieth of its time: sweeps hold thousands."""
    match = _PLAIN.match(text)
    if match is None:
        return None
    prefix, key, whole, fraction, word = match.groups()
    if (word or "").lower() in _NO_WORDS or fraction == "-0":
        return None
    value = int(whole) if whole is not None else word if word is not None else float(fraction)
    return Override(type=_PREFIXES[prefix], key_or_group=key, value_type=ValueType.ELEMENT, _value=value, input_line=text)


def _parse_tree(text: str) -> Override:
    listener = HydraErrorListener()
    lexer = OverrideLexer(InputStream(text))
    lexer.removeErrorListeners()
    lexer.addErrorListener(listener)
    parser = OverrideParser(CommonTokenStream(lexer))
    parser.removeErrorListeners()
    parser.addErrorListener(listener)
    raw = _Visitor(_functions()).visit(parser.override())  # type: ignore[no-untyped-call]
    raw.input_line = text
    return raw  # type: ignore[no-any-return]


def _explain(error: HydraException, text: str) -> tuple[str, int]:
    cause = error.__cause__
    value = text.find("=") + 1
    if isinstance(cause, LexerNoViableAltException):
        at = cause.startIndex
        if at < len(text) and text[at] in "'\"":
            return "a quote is opened and never closed", at
        return (f"unexpected {text[at]!r}" if at < len(text) else "unexpected end"), at
    token = getattr(cause, "offendingToken", None) if isinstance(cause, RecognitionException) else None
    if token is None:
        first = str(error).splitlines()[0] if str(error) else ""
        if "EQUAL" in first:
            return "there is no `=`", len(text)
        if first.startswith(("mismatched", "extraneous", "missing", "no viable")):
            return "unexpected text", value
        return first, value
    if token.start >= len(text):
        return ("there is no `=`" if "=" not in text else "it ends too early"), len(text)
    return f"unexpected {text[token.start]!r}", token.start
