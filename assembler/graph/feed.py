"""`from`: what feeds a node, in each of its spellings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from assembler.graph.env import Say
from assembler.graph.options import Field
from assembler.source.parse import did_you_mean
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import Span

EDGE_KEYS = ("port", "adapt", "detach")


class Feed(NamedTuple):
    """One address that feeds a port, and what is said of the edge."""

    address: str
    span: Span
    adapt: str | None = None
    options: Mapping[str, Any] = {}
    detach: bool = False
    adapt_span: Span = Span()
    """Where the adapter is named."""


class Feeds(NamedTuple):
    """A whole `from`: label -> feeds. The label "" is the first input; `span` is of the whole."""

    entries: dict[str, list[Feed]]
    keys: dict[str, Span]
    span: Span


NONE = Feeds({}, {}, Span())


def read_feeds(field: Field | None, path: str, say: Say) -> Feeds:
    """The feeds that `from: ...` states."""
    if field is None:
        return NONE
    value = field[0]
    at = f"{path}.from"
    if isinstance(value.data, dict) and "port" not in value.data:
        entries: dict[str, list[Feed]] = {}
        keys = {}
        for label, item in value.data.items():
            entries[label] = _feeds(item, f"{at}.{label}", say)
            keys[label] = item.key
        return Feeds(entries, keys, value.span)
    return Feeds({"": _feeds(value, at, say)}, {"": value.span}, value.span)


def _feeds(value: Value, path: str, say: Say) -> list[Feed]:
    if isinstance(value.data, list):
        return [feed for i, item in enumerate(value.data) if (feed := _feed(item, f"{path}[{i}]", say))]
    feed = _feed(value, path, say)
    return [feed] if feed else []


def _feed(value: Value, path: str, say: Say) -> Feed | None:
    data = value.data
    if isinstance(data, str):
        return Feed(data, value.span)
    if isinstance(data, dict) and "port" in data:
        return _worded(data, value, path, say)
    missing = data is None
    say(Diagnostic("missing-value" if missing else "value-type", "`from` has no value" if missing else f"`from` is {value.plain()!r}, where an address is wanted",
                   (value.key if missing and value.key.line else value.span).at(path), help="write the name of a node or an input"))  # fmt: skip
    return None


def _worded(data: Mapping[str, Value], value: Value, path: str, say: Say) -> Feed | None:
    port, adapt, detach = data["port"], data.get("adapt"), data.get("detach")
    if not isinstance(port.data, str):
        say(Diagnostic("value-type", f"`port` is {port.plain()!r}, where an address is wanted", port.span.at(f"{path}.port"), help="write the name of a node or an input"))
        return None
    for key, item in data.items():
        if key not in EDGE_KEYS:
            say(Diagnostic("unknown-key", f"an edge has no key `{key}`", item.key.at(f"{path}.{key}"),
                           help=did_you_mean(key, EDGE_KEYS) or "it has `port`, `adapt` and `detach`"))  # fmt: skip
    name: str | None = None
    options: dict[str, Any] = {}
    if adapt is not None and adapt.data is not None:
        if isinstance(adapt.data, str):
            name = adapt.data
        elif isinstance(adapt.data, dict) and isinstance(getattr(adapt.data.get("kind"), "data", None), str):
            options = {key: item.plain() for key, item in adapt.data.items() if key != "kind"}
            name = adapt.data["kind"].data
        else:
            say(Diagnostic("value-type", f"`adapt` is {adapt.plain()!r}, where the name of an adapter is wanted", adapt.span.at(f"{path}.adapt"), help="write `adapt: linear`, or `adapt: {kind: low_rank, rank: 8}`"))
    if detach is not None and not isinstance(detach.data, bool):
        say(Diagnostic("value-type", f"`detach` is {detach.plain()!r}, where true or false is wanted", detach.span.at(f"{path}.detach"), help="write true or false"))
    return Feed(port.data, port.span, name, options, bool(detach is not None and detach.data is True), adapt.span if adapt is not None else Span())
