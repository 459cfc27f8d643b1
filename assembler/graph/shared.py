"""The keys that every node and part has: repeat, share, norm, freeze, seed, dtype, init."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from assembler.graph import init
from assembler.graph.env import Say
from assembler.graph.options import Field
from assembler.graph.place import Resolved
from assembler.source.parse import did_you_mean
from assembler.source.recipe import INHERITED
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic

NORM_PLACES = ("pre", "out", "both", "post")
DTYPES = ("f32", "bf16", "f16", "f64")
_KEYS = frozenset({"repeat", "share", "norm", "stream", *INHERITED})


@dataclass(slots=True, eq=False, repr=False)
class Shared:
    """The shared keys of one place, worked out."""

    repeat: int | None = None
    share: bool = False
    norm: str | None = None
    norm_kind: Field | None = None
    stream: Value | None = None
    """Of a part of a bus: the input of the bus that it reads and adds to."""
    said: dict[str, Any] = field(default_factory=dict)
    """What a leaf carries: freeze, seed, dtype, init."""
    inherited: dict[str, Field] = field(default_factory=dict)
    stated: dict[str, str] = field(default_factory=dict)
    """What the place itself, or a rule, says of `init`."""


def read_shared(resolved: Resolved, inherited: Mapping[str, Field], in_bus: bool, say: Say) -> Shared | None:
    """The shared keys of a place, or None where one of them is wrong."""
    fields = resolved.fields
    shared = Shared()
    if not inherited and _KEYS.isdisjoint(fields):
        return shared
    own = resolved.kind.option_names
    fields = {key: item for key, item in fields.items() if key not in own}
    shared.inherited = {key: fields[key] for key in INHERITED if key in fields and key != "init"}
    reader = _Keys(resolved, fields, inherited, say)
    item = fields.get("repeat")
    if item is not None:
        shared.repeat = item[1].number(item[0], f"{resolved.place.path}.repeat")
        if shared.repeat is not None and not 1 <= shared.repeat <= 10**12:
            reader.wrong("value-range", "repeat", f"`repeat` is {shared.repeat}: it must be at least 1", "remove the node if it is not wanted")
        if shared.repeat is None:
            return None
    shared.share = bool(reader.flag("share"))
    if shared.share and shared.repeat is None:
        reader.wrong("place-conflict", "share", "`share` wants `repeat`", "write `repeat: n`, or remove `share`")
    shared.norm = reader.word("norm", NORM_PLACES) if "norm" in fields else _text(inherited.get("norm")) if in_bus else None
    if shared.norm == "post" and not in_bus and resolved.kind.name != "bus":
        reader.wrong("norm-place", "norm", "`norm: post` stands after the add of a bus, and there is none here", "write `norm: out`")
    if "stream" in fields:
        shared.stream = fields["stream"][0]
        if not in_bus:
            reader.wrong("place-conflict", "stream", "`stream` says which stream a part of a bus adds to, and there is no bus here", "remove `stream`")
    shared.norm_kind = fields.get("norm_kind") or inherited.get("norm_kind")
    if said := reader.init(inherited, shared):
        shared.said["init"] = said
    for key, value in (("freeze", reader.flag("freeze", inherited)), ("seed", reader.seed(inherited)), ("dtype", reader.word("dtype", DTYPES, inherited))):
        if value is not None:
            shared.said[key] = value
    return None if reader.failed else shared


def _text(item: Field | None) -> str | None:
    return item[0].data if item is not None and isinstance(item[0].data, str) else None


class _Keys:
    def __init__(self, resolved: Resolved, fields: Mapping[str, Field], inherited: Mapping[str, Field], say: Say) -> None:
        self.resolved = resolved
        self.fields = fields
        self.inherited = inherited
        self.say = say
        self.failed = False

    def wrong(self, code: str, key: str, message: str, help_text: str) -> None:
        """Said where the key stands: once, where many places inherit it."""
        self.failed = True
        above = self.inherited.get(key) if key not in self.resolved.fields else None
        self.say(Diagnostic(code, message, above[0].span if above else self.resolved.span(key), help=help_text))

    def _value(self, key: str, inherited: Mapping[str, Field] | None = None) -> Any:
        item = self.fields.get(key) or (inherited or {}).get(key)
        if item is None:
            return None
        data = item[0].data
        if isinstance(data, str):
            found = item[1].find(data)
            return data if found is None else found
        return data

    def flag(self, key: str, inherited: Mapping[str, Field] | None = None) -> bool | None:
        value = self._value(key, inherited)
        if value is None or isinstance(value, bool):
            return value
        self.wrong("value-type", key, f"`{key}` is true or false, not {value!r}", "write true or false")
        return None

    def word(self, key: str, words: tuple[str, ...], inherited: Mapping[str, Field] | None = None) -> str | None:
        value = self._value(key, inherited)
        if value is None or (isinstance(value, str) and value in words):
            return value
        self.wrong("value-range", key, f"`{key}` cannot be {value!r}", did_you_mean(str(value), words) or f"one of {', '.join(words)}")
        return None

    def init(self, inherited: Mapping[str, Field], shared: Shared) -> dict[str, str]:
        """How a leaf's parameters start; a container hands its `weights` on."""
        item, above = self.fields.get("init"), init.weights_of(inherited.get("init"))
        if item is None and above is None:
            return {}
        path = f"{self.resolved.place.path}.init"
        reader = init.Reader(self.say, path)
        said = reader.read(item) if item is not None else {}
        self.failed |= reader.failed
        shared.stated = said
        if item is not None and self.resolved.same is not None and "init" in self.resolved.place.fields:
            self.wrong("init-owner", "init", f"`{self.resolved.place.name}` is one more use of `{self.resolved.same[0]}`, whose values start once", f"write `init` at `{self.resolved.same[0]}`, or `like:` for weights of its own")
        own = init.weights_of(item)
        if own is not None:
            shared.inherited["init"] = own
        elif above is not None and "copy" not in said:
            quiet = init.Reader(lambda _: None, path)
            said = {**quiet.read(above), **said}
        if self.resolved.kind.container and (key := next((key for key in ("write", "copy") if key in said), "")):
            self.wrong("init-no-writer", "init", f"`{self.resolved.place.name}` is a {self.resolved.kind.name}: {'it has no writing layer of its own' if key == 'write' else 'it has no parameters of its own to copy'}", f"write `init: {{{key}: ...}}` at the part inside; `weights` is what a {self.resolved.kind.name} hands on")
        if self.resolved.same is not None:
            return {}
        return {role: mode for role, mode in said.items() if (role, mode) != ("weights", "default")}

    def seed(self, inherited: Mapping[str, Field]) -> int | None:
        value = self._value("seed", inherited)
        if value is None or (type(value) is int and 0 <= value < 2**63):
            return value
        self.wrong("value-range", "seed", f"`seed` is {value!r}: a whole number from 0 to 2**63-1", "write a whole number")
        return None
