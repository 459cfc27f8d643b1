"""What stands at a place once slots, `like`, `same` and rules are worked out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from assembler.graph import init
from assembler.graph.env import Env, Say
from assembler.graph.kinds import sought
from assembler.graph.options import Field
from assembler.graph.rule import RuleBook
from assembler.library import registry
from assembler.source.parse import did_you_mean
from assembler.source.recipe import NOUNS, PLACE_KEYS, GraphSpec, Place
from assembler.source.tree import Value
from assembler.source.wording import listed
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Kind
from assembler_schemas.span import Span

MAX_HOPS = 32
"""How many slots and `like`s may lead to one another before something is built."""


@dataclass(slots=True, eq=False, repr=False)
class Resolved:
    """A place worked out: one kind, every key with the env that its expressions are read in."""

    place: Place
    kind: Kind
    fields: dict[str, Field]
    parts: Mapping[str, Place] | None
    graph: GraphSpec | None
    env: Env
    """Of the parts and the graph inside."""
    arguments: dict[str, Field] = field(default_factory=dict)
    slot: str = ""
    same: tuple[str, Span] | None = None
    """The address that `same` names: this place is one more use of its module."""
    module: str = ""
    """The name that the module has where it stands; of a place with a module of its own, its name."""
    held: bool = False
    """It is one copy of several, which hold their norms inside."""
    hops: tuple[str, ...] = ()
    """Paths of the fillers and shared places that stand here: nothing inside may lead back to them."""

    def span(self, key: str) -> Span:
        item = self.fields.get(key)
        return item[0].span.at(f"{self.place.path}.{key}") if item else self.place.span


Find = Callable[[str, Span], tuple[Place, Env] | None]
"""Looks up the place that `like` or `same` names, as it is written, and its env."""


class Resolver:
    """Works places out. `effective` values for rules are those without rules."""

    def __init__(self, rules: RuleBook, say: Say) -> None:
        self.rules = rules
        self.say = say
        self.used: set[str] = set()
        """`slot NAME` of each slot that some place uses."""
        self.circles: set[frozenset[str]] = set()
        """Circles that are said."""
        self.endless: list[Place] = []
        """Places from which too many slots and `like`s lead to one another."""
        self.within: list[str] = []
        """Paths of the places whose inside is being built."""

    def resolve(
        self, place: Place, env: Env, address: tuple[str | int, ...], counts: tuple[int, ...],
        inherited: Mapping[str, Field], find: Find, also: tuple[tuple[str | int, ...], tuple[int, ...]] | None = None,
    ) -> Resolved | None:  # fmt: skip
        """`also`: for a copy of a repeat, its address and counts with the copy's number; its rules hold too."""
        fields: dict[str, Field] = {key: (value, env) for key, value in place.fields.items()}
        base = self._hops(place, env, dict(fields), find)
        if not self.rules.rules:
            return base
        settings = self._settings(base, fields, address, counts, inherited)
        if also is not None:
            settings.update(self._settings(base, fields, *also, inherited))
        if not settings:
            return base
        if any(key in NOUNS for key in settings):
            fields = {key: item for key, item in fields.items() if key in PLACE_KEYS and key not in (*NOUNS, "vars", "tie")}
            place = Place(place.name, place.path, place.span, place.fields)
        return self._hops(place, env, _merged(fields, settings), find)

    def _settings(
        self, base: Resolved | None, fields: dict[str, Field], address: tuple[str | int, ...], counts: tuple[int, ...], inherited: Mapping[str, Field]
    ) -> dict[str, Field]:
        def effective(key: str) -> object:
            source = base.fields if base is not None else fields
            item = source.get(key) or inherited.get(key)
            if item is not None:
                data = item[0].data
                if isinstance(data, str):
                    found = item[1].find(data)
                    return data if found is None else found
                return data
            if base is not None:
                for name, info in base.kind.options.model_fields.items():
                    if (info.alias or name) == key:
                        return info.default
            return _DEFAULTS.get(key)

        return self.rules.settings(address, counts, effective)

    def _hops(self, place: Place, env: Env, fields: dict[str, Field], find: Find) -> Resolved | None:
        """Follow `slot`, `like` and `same` until a kind stands there."""
        arguments: dict[str, Field] = {}
        parts, graph, slot, inner = place.parts, place.graph, "", env
        same: tuple[str, Span] | None = None
        module, lone, held = place.name, True, False
        hops = [place.path]
        seen: dict[str, Span] = {}
        for _ in range(MAX_HOPS):
            if "slot" in fields:
                value, at = fields.pop("slot")
                hop = self._slot(value, at, place)
                if hop is None:
                    return None
                filler, slot = hop, str(value.data)
                arguments = {**_vars(fields), **arguments}
                fields.pop("vars", None)
                inner = Env(env, None, self.say)
                own = filler.fields.get("vars")
                defaults: Mapping[str, Value] = own.data if own is not None and isinstance(own.data, dict) else {}
                if filler.graph is None:
                    self._unknown_arguments(arguments, defaults, place)
                    inner.define(defaults, {k: v for k, v in arguments.items() if k in defaults}, f"{filler.path}.vars")
                mark = f"slot {slot}"
            elif "like" in fields or "same" in fields:
                word = "like" if "like" in fields else "same"
                value, _ = fields.pop(word)
                if word == "same" and same is None:
                    same = (str(value.data), value.span.at(f"{place.path}.same"))
                found = find(str(value.data), value.span.at(f"{place.path}.{word}"))
                if found is None:
                    return None
                filler, inner = found
                lone &= word == "same"
                if lone:
                    module = filler.name
                    held |= str(value.data).rpartition(".")[2].lstrip("-").isdigit() and "norm" in filler.fields
                mark = f"{word} {value.data}"
            else:
                break
            if mark in seen:
                self._circle(list(seen.items())[list(seen).index(mark) :], value.span)
                return None
            seen[mark] = value.span
            if filler.path in self.within:
                self._inside_itself(mark, filler, value.span)
                return None
            hops.append(filler.path)
            left = {"vars"} if filler.graph is not None else set()
            left |= set() if mark.startswith("slot") else OWN_PLACE
            fields = _overlay({key: (item, inner) for key, item in filler.fields.items() if key not in left}, fields)
            if mark.startswith("slot"):
                fields.pop("vars", None)
            parts, graph = filler.parts, filler.graph
        else:
            self.endless.append(place)
            return None
        resolved = self._kind(place, fields, parts, graph, inner, arguments, slot)
        if resolved is not None:
            resolved.same, resolved.hops, resolved.module, resolved.held = same, tuple(hops), module, held
        return resolved

    def say_endless(self) -> None:
        """One finding for all places at the far end of long chains: they hang on one another."""
        if not self.endless:
            return
        first, *others = self.endless
        notes = [Note("and here" + (f", and at {len(others) - 1:,} more places" if len(others) > 1 else ""), item.span) for item in others[:1]]
        self.say(Diagnostic("slot-cycle", f"more than {MAX_HOPS} slots and shared parts lead to one another", first.span, related=tuple(notes), help="name the place at the end of the chain"))

    def _inside_itself(self, mark: str, filler: Place, span: Span) -> None:
        """A slot's filler or a shared place that stands inside itself: it would never end."""
        word, _, name = mark.partition(" ")
        self.say(Diagnostic("slot-cycle" if word == "slot" else "share-cycle", f"`{name}` stands inside itself", span, label="leads back to it",
                            related=(Note(f"`{name}` is this", filler.span),), help="put a kind here, or move it out of what it names"))  # fmt: skip

    def _circle(self, steps: list[tuple[str, Span]], span: Span) -> None:
        """Say once that these slots, `like`s or `same`s lead back to the first one."""
        if (ring := frozenset(mark for mark, _ in steps)) in self.circles:
            return
        self.circles.add(ring)
        names = [mark.split()[1] for mark, _ in steps]
        slot = steps[0][0].startswith("slot")
        self.say(Diagnostic(
            "slot-cycle" if slot else "share-cycle", f"{'slots' if slot else '`like` and `same`'} lead in a circle: {' -> '.join([*names, names[0]])}",
            span, label=f"leads back to `{names[0]}`", related=tuple(Note(f"names `{mark.split()[1]}`", at) for mark, at in steps if at != span),
            help=f"let one of them be a kind: `{names[0]}: {{kind: ...}}`",
        ))  # fmt: skip

    def _slot(self, value: Value, env: Env, place: Place) -> Place | None:
        name = value.data if isinstance(value.data, str) else ""
        found = env.slot(name)
        if found is None:
            if isinstance(value.data, str):
                names = env.slot_names()
                self.say(Diagnostic("slot-unknown", f"there is no slot `{name}`", value.span.at(f"{place.path}.slot"),
                                    help=did_you_mean(name, names) or (f"the slots are {listed(names)}" if names else f"add `slots: {{{name}: {{kind: ...}}}}`")))  # fmt: skip
            return None
        slot, _ = found
        self.used.add(f"slot {name}")
        if slot.filler is None:
            self.say(Diagnostic("slot-unfilled", f"nothing fills the slot `{name}`", slot.span, related=(Note("used here", value.span),),
                                help=f"write `slots: {{{name}: {{kind: mlp}}}}`, or choose a file: `slots/{name}=mlp`; an empty one is `kind: identity` or `kind: zero`"))  # fmt: skip
            return None
        return slot.filler

    def _unknown_arguments(self, arguments: Mapping[str, Field], defaults: Mapping[str, Value], place: Place) -> None:
        for name, (value, _) in arguments.items():
            if name not in defaults:
                self.say(Diagnostic("argument-unknown", f"what stands here has no var `{name}`", value.key.at(f"{place.path}.vars.{name}"),
                                    help=did_you_mean(name, defaults) or (f"its vars are {listed(defaults)}" if defaults else f"give it a value there, which this one replaces: `vars: {{{name}: ...}}`")))  # fmt: skip

    def _kind(
        self, place: Place, fields: dict[str, Field], parts: Mapping[str, Place] | None, graph: GraphSpec | None,
        env: Env, arguments: dict[str, Field], slot: str,
    ) -> Resolved | None:  # fmt: skip
        if graph is not None:
            kind = registry.kind("graph")
            assert kind is not None
            return Resolved(place, kind, fields, None, graph, env, arguments or _vars(fields) if slot else {}, slot)
        item = fields.get("kind")
        if item is None or not isinstance(item[0].data, str):
            return None
        name, value = item[0].data, item[0]
        word = item[1].find(name) if registry.kind(name) is None else None
        kind = sought(str(word) if isinstance(word, str) else name, name, value.span.at(f"{place.path}.kind"), self.say)
        if kind is None:
            return None
        return Resolved(place, kind, fields, parts, None, env, arguments, slot)


OWN_PLACE = {"from", "before", "after", "stream"}
"""What belongs to the place where it is written: `same` and `like` do not take it along."""
_DEFAULTS: dict[str, object] = {"norm_kind": "layer_norm", "freeze": False, "share": False, "repeat": 1}


def _vars(fields: Mapping[str, Field]) -> dict[str, Field]:
    item = fields.get("vars")
    if item is None or not isinstance(item[0].data, dict):
        return {}
    return {name: (value, item[1]) for name, value in item[0].data.items()}


def _overlay(below: dict[str, Field], above: dict[str, Field]) -> dict[str, Field]:
    """`above` wins key by key; a different kind above drops the options below."""
    if "kind" in above and "kind" in below and above["kind"][0].data != below["kind"][0].data:
        below = {key: item for key, item in below.items() if key in PLACE_KEYS and key not in (*NOUNS, "vars", "tie")}
    return _merged(below, above)


def _merged(below: dict[str, Field], above: dict[str, Field]) -> dict[str, Field]:
    """`above` wins key by key, and of `init` role by role."""
    merged = {**below, **above}
    if "init" in below and "init" in above:
        merged["init"] = init.merge(below["init"], above["init"])
    return merged
