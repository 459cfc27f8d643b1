"""Plain places: a kind, its options and `from`, nothing else. Most of a long recipe; read once.

Where such a place stands matters to it only by the vars that its options name. All the rest is kept
at the place itself (`Place.notes`), for the next check and for copies of the recipe with overrides,
which share the places that no override touches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from assembler.graph.env import Env, Say, Word
from assembler.graph.feed import Feeds, read_feeds
from assembler.graph.options import Chosen, choose
from assembler.library import registry
from assembler.source.recipe import PLACE_KEYS, Place
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.kind import Definition, Kind, Port


class Made(NamedTuple):
    """A leaf with its options fixed: what a draft takes of it. The ports are shared: nobody writes to them."""

    chosen: Chosen
    ports: dict[str, Port]
    gives: dict[str, Port]
    main: str


_PORTS: dict[int, tuple[Definition, dict[str, Port], dict[str, Port], str]] = {}
"""By the identity of definitions (they are held): ports, and the main output."""


def made(chosen: Chosen) -> Made:
    definition = chosen.definition
    known = _PORTS.get(id(definition))
    if known is None or known[0] is not definition:
        if len(_PORTS) > 20_000:
            _PORTS.clear()
        known = _PORTS[id(definition)] = definition, dict(definition.inputs), dict(definition.outputs), main_of(definition)
    return Made(chosen, *known[1:])


def main_of(definition: Definition) -> str:
    """The output that a leaf's address means: the one it names, or the only one that is no loss."""
    plain = [name for name, port in definition.outputs.items() if not port.loss]
    return definition.main or (plain[0] if len(plain) == 1 else "")


@dataclass(slots=True, eq=False, repr=False)
class Plain:
    """What a plain place says."""

    name: str
    """The kind as it is written: `mlp`, `mlp@1`."""
    kind: Kind
    feeds: Feeds
    words: tuple[tuple[str, bool], ...]
    """The options that are texts: each may be a var or, where it is a size (true), an expression."""
    last: tuple[tuple[Word, ...], Made] | None = None
    """What the texts came to when the options were last fixed, and what that made."""

    def make(self, place: Place, env: Env, say: Say) -> Made | None:
        """The leaf that stands there, or None after saying what is wrong with its options."""
        last = self.last
        if last is not None and (not self.words or self._values(env) == last[0]):
            return last[1]
        chosen = choose(self.kind, {key: (value, env) for key, value in place.fields.items()}, place.path, place.name, say)
        if chosen is None:
            return None
        result = made(chosen)
        values = self._values(env)
        if values is not None:
            self.last = (values, result)
        return result

    def _values(self, env: Env) -> tuple[Word, ...] | None:
        """What the texts come to; None where that is not settled yet, or is neither a whole number nor a word."""
        found: list[Word] = []
        for text, size in self.words:
            word = env.settled.get(text) if size else env.find(text)
            if word is None:
                if size:
                    return None
                word = text
            elif type(word) is not int and type(word) is not str:
                return None  # 1 == True == 1.0: these would be taken for one another
            found.append(word)
        return tuple(found)


def read_plain(place: Place, env: Env) -> Plain | None:
    """What a plain place says; None for any other, and for one that is wrong: that takes the long way."""
    notes = place.notes
    if "plain" in notes:
        known: Plain | None = notes["plain"]
        if known is None or registry.kind(known.name) is known.kind:
            return known
    found = notes["plain"] = _read(place, env)
    return found


def _read(place: Place, env: Env) -> Plain | None:
    fields = place.fields
    item = fields.get("kind")
    name = item.data if item is not None and isinstance(item.data, str) else ""
    kind = registry.kind(name)
    if kind is None or kind.container or place.parts is not None or place.graph is not None:
        return None
    words: list[tuple[str, bool]] = []
    for key, value in fields.items():
        if key in PLACE_KEYS:
            if key not in ("kind", "from") or key in kind.option_names:
                return None
        elif isinstance(value.data, str):
            words.append((value.data, key in kind.size_options))
        elif not isinstance(value.data, (int, float)):
            return None
    said: list[Diagnostic] = []
    feeds = read_feeds((fields["from"], env) if "from" in fields else None, place.path, said.append)
    return None if said else Plain(name, kind, feeds, tuple(words))
