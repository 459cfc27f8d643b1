"""The key `init`: how the parameters of a node start. Read here into modes with their numbers.

`weights` is of every matrix, and what is inside a container inherits it; `write` is of the writing
layer, and `copy` takes another node's values: both are the node's own. Which parameters that means
is `facts/start.py`'s to say, by the roles that cards give them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from assembler.graph.env import Env, Say
from assembler.graph.options import Field
from assembler.source.parse import did_you_mean
from assembler.source.tree import Value
from assembler.source.wording import listed
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Definition

if TYPE_CHECKING:
    from assembler.graph.draft import Draft
    from assembler.graph.place import Resolved

ROLES = ("weights", "write", "copy")
WRITES = ("zero", "small", "identity")
"""Modes of the writing layer only. A bare word among them is `write`, any other `weights`."""
PLAIN = ("default", "zero", "identity", "xavier", "kaiming")
"""Modes without a number."""
NUMBERS: Mapping[str, float | None] = {"small": 0.01, "orthogonal": 1.0, "normal": None, "trunc_normal": None}
"""Modes with a number in brackets -> what it is where none stands; None: it must."""
MODES = ("default", "zero", "small", "identity", "xavier", "kaiming", "orthogonal", "normal", "trunc_normal")
LARGEST = 1e6

_MODE = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\(([^()]*)\))?\s*\Z")


def parts_of(item: Field) -> dict[str, Field]:
    """`init` as a mapping from roles to what is written of each. Anything but a word or a mapping: none."""
    value, env = item
    if isinstance(value.data, dict):
        return {role: (part, env) for role, part in value.data.items() if part.data is not None}
    if not isinstance(value.data, str):
        return {}
    found = _MODE.match(_word(value.data, env))
    return {"write" if found is not None and found[1] in WRITES else "weights": item}


def weights_of(item: Field | None) -> Field | None:
    """What an `init` says of all that is inside."""
    return parts_of(item).get("weights") if item is not None else None


def merge(below: Field, above: Field) -> Field:
    """`above` wins role by role. A var of `below` is looked up where it was written."""
    if above[0].data is None:
        return above
    merged = {role: Value(_literal(value, env), value.span, value.key, value.layer) for role, (value, env) in parts_of(below).items()}
    merged.update((role, value) for role, (value, _) in parts_of(above).items())
    return Value(merged, above[0].span, above[0].key, above[0].layer), above[1]


def _word(text: str, env: Env) -> str:
    """The word itself, or the one that a var of this name holds."""
    found = env.find(text) if text.isidentifier() else None
    return found if isinstance(found, str) else text


def _literal(value: Value, env: Env) -> Any:
    if not isinstance(value.data, str):
        return value.data
    text = _word(value.data, env)
    found = _MODE.match(text)
    number = env.find(found[2].strip()) if found is not None and found[2] and found[2].strip().isidentifier() else None
    return f"{found[1]}({number!r})" if found is not None and isinstance(number, (int, float)) else text


class Reader:
    """Reads one place's `init`; says what is wrong with it."""

    def __init__(self, say: Say, path: str) -> None:
        self.say, self.path = say, path
        self.failed = False

    def wrong(self, code: str, message: str, value: Value, help_text: str) -> None:
        self.failed = True
        self.say(Diagnostic(code, message, value.span.at(self.path), help=help_text))

    def read(self, item: Field) -> dict[str, str]:
        """Role -> mode with its number, or the address that `copy` names."""
        value, _ = item
        if value.data is None:
            return {}
        if not isinstance(value.data, (str, dict)):
            self.wrong("value-type", f"`init` is a mode, or a mapping of `weights`, `write` and `copy`, not {value.plain()!r}", value, "for example `init: zero`, or `init: {weights: xavier, write: zero}`")
            return {}
        found: dict[str, str] = {}
        for role, (part, env) in parts_of(item).items():
            if role not in ROLES:
                self.wrong("unknown-key", f"`init` has no key `{role}`", part, did_you_mean(role, ROLES) or f"it has {listed(ROLES)}")
            elif not isinstance(part.data, str):
                self.wrong("value-type", f"`{role}` of `init` is {'an address' if role == 'copy' else 'a mode'}, not {part.plain()!r}", part, "for example `init: {weights: normal(0.02)}`")
            elif role == "copy":
                found[role] = part.data
            elif mode := self.mode(role, part, env):
                found[role] = mode
        if "copy" in found and "weights" in found:
            self.wrong("place-conflict", "`copy` takes all values of another node: `weights` has nothing left to say", value, "remove one of them; `write` may stand beside `copy`")
        return found

    def mode(self, role: str, value: Value, env: Env) -> str:
        """`normal(0.02)`, `xavier`: known, with its number worked out; empty after saying what is wrong."""
        text = _word(value.data, env)
        found = _MODE.match(text)
        name = found[1] if found is not None else text
        if found is None or name not in MODES:
            self.wrong("value-range", f"there is no init mode {text!r}", value, did_you_mean(name, MODES) or f"the modes are {listed(MODES)}")
        elif role == "weights" and name in WRITES:
            self.wrong("value-range", f"`{name}` is said of the writing layer: every matrix cannot start so", value, f"write `init: {name}`, which is `init: {{write: {text}}}`")
        elif name in NUMBERS:
            return self.number(name, found[2], value, env)
        elif found[2] is not None:
            self.wrong("value-range", f"`{name}` takes no number", value, f"write `{name}`")
        else:
            return name
        return ""

    def number(self, name: str, text: str | None, value: Value, env: Env) -> str:
        usual = NUMBERS[name]
        if text is None or not text.strip():
            if usual is not None:
                return f"{name}({usual!r})"
            self.wrong("value-range", f"`{name}` wants its standard deviation", value, f"for example `{name}(0.02)`")
            return ""
        number: Any = env.find(text.strip()) if text.strip().isidentifier() else None
        try:
            number = float(text if number is None else number)
        except (TypeError, ValueError):
            number = math.nan
        if not (0 < number <= LARGEST):
            self.wrong("value-range", f"the number of `{name}` is {text.strip()!r}: above 0 and at most a million", value, f"for example `{name}(0.02)`, or the name of a var that is a number")
            return ""
        return f"{name}({number!r})"


def of_recipe(item: Field | None, say: Say) -> None:
    """What is wrong with the `init` at the top of a recipe, said once."""
    if item is None:
        return
    reader = Reader(say, "init")
    said = reader.read(item)
    if role := next((role for role in ("write", "copy") if role in said), ""):
        reader.wrong("init-no-writer", f"`{role}` of `init` stands at the top of the recipe, and is said of one node", item[0], f"write `init: {{{role}: ...}}` at the node; `weights` is what a recipe hands on")


def touched(definition: Definition, init: Mapping[str, str]) -> frozenset[str]:
    """The parameters that an `init` is about: `weights` the matrices and what else their layers have,
    `write` the writing layer, `copy` all of them. Buffers and what grafts brought never."""
    own = {key: card for key, card in definition.parameters.items() if not card.buffer and card.trains is None}
    if "copy" in init:
        return frozenset(own)
    found: set[str] = set()
    if "weights" in init:
        layers = {_layer(key) for key, card in own.items() if len(card.shape) > 1}
        found.update(key for key in own if _layer(key) in layers)
    if "write" in init:
        found.update(key for key, card in own.items() if card.writes)
    return frozenset(found)


def _layer(key: str) -> str:
    """The submodule that holds a parameter: `up` of `up.weight`."""
    return key.rpartition(".")[0]


def stated(draft: Draft, resolved: Resolved, modes: Mapping[str, str], ties: Iterable[tuple[str, Value]], say: Say) -> dict[str, Diagnostic]:
    """Keep where a leaf's `init` stands. What it says of tied parameters, which start where they are owned: by their names."""
    assert draft.chosen is not None
    span = resolved.span("init")
    draft.chosen = draft.chosen._replace(spans={**draft.chosen.spans, "init": span})
    about = touched(draft.chosen.definition, modes) if "init" in resolved.place.fields else frozenset()
    whole = next((mode for mode in modes.values() if mode.startswith(("orthogonal", "identity"))), "")
    stacked = next((key for key, card in draft.chosen.definition.parameters.items() if card.stacked), "") if whole else ""
    if stacked:
        say(Diagnostic("value-range", f"`{draft.name}.{stacked}` stacks the matrices of its members, and `{whole.partition('(')[0]}` starts one", span, help="write another mode, or `kind: parallel` with `members`"))
    return {
        own: Diagnostic("init-owner", f"`{draft.name}.{own}` is tied to `{value.data}`, and starts as that does", span, related=(Note("tied here", value.span),), help=f"write `init` at the node that owns `{value.data}`, or drop `tie`")
        for own, value in ties if own in about
    }  # fmt: skip


__all__ = ["MODES", "ROLES", "Reader", "merge", "of_recipe", "parts_of", "stated", "touched", "weights_of"]
