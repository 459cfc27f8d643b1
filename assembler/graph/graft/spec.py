"""What a graft states, read: where it writes, what it reads, how it merges, how it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from assembler.graph.address import Address, copies, matches, parse_address
from assembler.graph.env import Env, Say
from assembler.graph.feed import Feed, Feeds, read_feeds
from assembler.graph.options import Field
from assembler.graph.shared import NORM_PLACES
from assembler.source.parse import did_you_mean
from assembler.source.recipe import Graft
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import NOWHERE, Span

MODES = ("add", "replace", "concat", "gate", "blend")
FORMS = ("one_plus", "double_sigmoid", "sigmoid", "tanh")
DEMANDS = ("zero", "identity")
HALF = 0.5
"""How far a `blend` goes unless it says so."""

_INSTEAD = {
    "multi_blend": "a softmax over weights never reaches 1, so the host is always disturbed: write `mode: blend`, h + a (part - h)",
    "multiply": "write `mode: gate`: h * (1 + part)",
    "insert": "write `mode: replace` onto an input port: `write: head.x`",
}


class Scale(NamedTuple):
    """The factor of what the part gives. `value` None: not stated."""

    value: float | None = None
    learned: bool = False
    channel: bool = False
    span: Span = NOWHERE


UNSCALED = Scale()


@dataclass(slots=True, eq=False, repr=False)
class Overlay:
    """A graft, read. Its addresses are looked up in the graph that states it, `depth` names down from the recipe."""

    spec: Graft
    env: Env
    depth: int
    pattern: Address
    write: Feed
    mode: str
    reads: Feeds
    form: str = "one_plus"
    scale: Scale = UNSCALED
    norm: str = ""
    norm_kind: Field | None = None
    demand: str = ""
    after: tuple[str, ...] = ()
    path: str = ""
    label: str = ""
    """What its nodes are called where it stands several times in one scope: `side_attend`."""

    @property
    def name(self) -> str:
        return self.label or self.spec.name

    def span(self, key: str) -> Span:
        """Where a key's value stands; where the key is left out, the graft's name."""
        item = self.spec.fields.get(key)
        return (item.span if item is not None else self.spec.span).at(f"{self.path}.{key}")


def read_graft(spec: Graft, env: Env, depth: int, say: Say) -> Overlay | None:
    """The graft that a recipe states, or None after saying what is wrong with it."""
    return _Reader(spec, env, say).read(depth)


def splits(overlay: Overlay, address: tuple[str | int, ...], counts: tuple[int, ...], count: int) -> set[int]:
    """Where copies of the repeat at `address` start to differ because the graft stands in some of them only."""
    here = address[overlay.depth :]
    pattern = overlay.pattern
    if len(pattern) <= len(here) or not matches(pattern[: len(here)], here, counts[overlay.depth :]):
        return set()
    chosen = copies(pattern[len(here)], count)
    if not chosen:
        return set()
    if chosen.step == 1:
        return {chosen.start, chosen.stop}
    return {item for i in chosen for item in (i, i + 1)}


class _Reader:
    def __init__(self, spec: Graft, env: Env, say: Say) -> None:
        self.spec, self.env, self.outer_say, self.failed = spec, env, say, False

    def say(self, diagnostic: Diagnostic) -> None:
        self.failed = True
        self.outer_say(diagnostic)

    def read(self, depth: int) -> Overlay | None:
        spec = self.spec
        write = self.write()
        mode = self.choice("mode", MODES)
        reads = read_feeds((spec.fields["read"], self.env) if "read" in spec.fields else None, spec.path, self.say)
        norm_kind = spec.fields.get("norm_kind")
        found = Overlay(
            spec, self.env, depth, (), write, mode, reads, self.choice("form", FORMS) or "one_plus", self.scale(), self.choice("norm", NORM_PLACES),
            (norm_kind, self.env) if norm_kind is not None else None, self.demand(), self.after(), spec.path,
        )  # fmt: skip
        if "form" in spec.fields and mode != "gate":
            self.wrong("place-conflict", "form", f"`form` says how a gate acts, and this is `{mode}`", "drop it, or write `mode: gate`")
        pattern = parse_address(write.address)
        if isinstance(pattern, str):
            self.say(Diagnostic("address-unknown", f"{write.address!r} is no address: {pattern}", write.span.at(f"{spec.path}.write"), help="for example `encoder.*.attend`"))
        elif not self.failed:
            found.pattern = pattern
        return None if self.failed else found

    def wrong(self, code: str, key: str, message: str, help_text: str) -> None:
        self.say(Diagnostic(code, message, self.spec.fields[key].span.at(f"{self.spec.path}.{key}"), help=help_text))

    def write(self) -> Feed:
        feeds = read_feeds((self.spec.fields["write"], self.env), self.spec.path, self.say).entries
        first = next((feed for entry in feeds.values() for feed in entry), Feed("", Span()))
        one = not first.detach and len(feeds) == 1 and len(next(iter(feeds.values()))) == 1 and "" in feeds
        if not one and not self.failed:
            self.wrong("value-type", "write", "`write` is one address", "write one graft for each place, or a pattern: `encoder.*.attend`")
        return first

    def word(self, key: str) -> Any:
        """The value of a key, a var looked up; None where the key is left out."""
        value = self.spec.fields.get(key)
        return None if value is None else self.plain(value)

    def plain(self, value: Value) -> Any:
        found = self.env.find(value.data) if isinstance(value.data, str) else None
        return value.data if found is None else found

    def choice(self, key: str, words: tuple[str, ...]) -> str:
        value = self.word(key)
        if value is None and key != "mode":
            return ""
        if not isinstance(value, str) or value not in words:
            shown = value if isinstance(value, (str, int, float)) else self.spec.fields[key].plain()
            help_text = _INSTEAD.get(str(value), "") or did_you_mean(str(value), words) or f"one of {', '.join(words)}"
            self.wrong("value-range", key, f"`{key}` cannot be {shown!r}", help_text)
            return ""
        return value

    def demand(self) -> str:
        value = self.word("init")
        if value is None or (isinstance(value, str) and value in DEMANDS):
            return value or ""
        self.wrong("value-range", "init", f"`init` of a graft cannot be {self.spec.fields['init'].plain()!r}",
                   "`zero` or `identity`: the host is undisturbed at the start; how the part's own weights start is its own `init`")  # fmt: skip
        return ""

    def after(self) -> tuple[str, ...]:
        value = self.spec.fields.get("after")
        if value is None:
            return ()
        data = [item.data for item in value.data] if isinstance(value.data, list) else [value.data]
        names = tuple(item for item in data if isinstance(item, str))
        if len(names) != len(data):
            self.wrong("value-type", "after", "`after` names the grafts that come first", "write their names: `after: [first, second]`")
        return names

    # --- scale ---
    def scale(self) -> Scale:
        value = self.spec.fields.get("scale")
        if value is None:
            return Scale()
        if isinstance(value.data, dict):
            return self._worded(value)
        word = self.plain(value)
        if word == "learned":
            return Scale(None, True, span=value.span)
        if isinstance(word, (int, float)) and not isinstance(word, bool):
            return Scale(float(word), span=value.span)
        self._wrong_scale(value)
        return Scale()

    def _worded(self, value: Value) -> Scale:
        known: dict[str, Any] = {"value": None, "learned": False, "channel": False}
        for key, item in value.items():
            word = self.plain(item)
            wanted = isinstance(word, (int, float)) and not isinstance(word, bool) if key == "value" else isinstance(word, bool)
            if key not in known or not wanted:
                self._wrong_scale(value)
                return Scale()
            known[key] = float(word) if key == "value" else word
        return Scale(known["value"], known["learned"] or known["channel"], known["channel"], value.span)

    def _wrong_scale(self, value: Value) -> None:
        self.wrong("value-type", "scale", f"`scale` cannot be {value.plain()!r}", "a number, `learned`, or `{learned: true, value: 0.1, channel: true}`")
