"""The kind that a recipe names: one of ours, one that was registered, or one that an installed package offers."""

from __future__ import annotations

from typing import get_args

from assembler.graph.env import Say
from assembler.library import entry_points, registry
from assembler.source.parse import did_you_mean
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.kind import Kind
from assembler_schemas.span import Span


def sought(name: str, written: str, span: Span, say: Say) -> Kind | None:
    """The kind of that name, brought by its plugin if need be; or None after saying what is wrong.

    `written`: what stands in the recipe, which may be a var that holds the name.
    """
    found = registry.kind(name)
    if found is not None:
        return found
    why = entry_points.bring(name)
    found = registry.kind(name)
    if found is None:
        base, at, version = name.partition("@")
        there = registry.versions(base) if at else []
        if there:
            say(_version(base, version, there, span))
        else:
            say(Diagnostic("unknown-kind", f"there is no kind `{written}`", span, label="unknown kind", help=why or _help(written)))
    return found


def _version(base: str, version: str, there: list[int], span: Span) -> Diagnostic:
    known = ", ".join(f"`{base}@{item}`" for item in there)
    what = f"no version {version}" if version.isascii() and version.isdecimal() else f"no version {version!r}"
    return Diagnostic("unknown-version", f"`{base}` has {what}", span, help=f"there is {known}; `{base}` alone means the newest")


def _near(name: str) -> str:
    return did_you_mean(name, [*registry.names(), *entry_points.offers()])


def _called(name: str) -> str:
    """What a name of PyTorch or of the papers is here; empty where nobody knows."""
    from assembler.library.cards.common import Activation
    from assembler.source import elsewhere  # only where something is wrong

    plain = elsewhere.plain(name)
    function = next((item for item in get_args(Activation) if elsewhere.plain(item) == plain), "")
    found = f"`{{kind: activation, activation: {function}}}`" if function and registry.kind(function) is None else elsewhere.KINDS.get(plain, "")
    return found and f"did you mean {found}?"


def _help(name: str) -> str:
    if "." in name or ":" in name:
        last = name.split(".")[-1]
        return f"a recipe names registered kinds, not Python paths: {_called(last) or _near(last) or '`assembler kinds` lists them'}"
    near = _called(name) or _near(name.partition("@")[0])
    if not near:
        return "`assembler kinds` lists them"
    offer = next((item for kind, (item, *_) in entry_points.offers().items() if f"`{kind}`" in near and registry.kind(kind) is None), None)
    return f"{near} ({offer.package} brings it)" if offer is not None else near
