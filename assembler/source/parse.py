"""Tree to recipe: which key means what. Names stay unresolved; every finding is collected."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Set
from typing import Any, TypeVar

from assembler.source.names import check_name
from assembler.source.recipe import (
    GRAFT_KEYS,
    GRAPH_KEYS,
    INHERITED,
    NOUNS,
    PART_OPTIONS,
    PLACE_KEYS,
    Graft,
    GraphSpec,
    Place,
    Recipe,
    Rule,
    Slot,
)
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic, Edit, Fix, Note
from assembler_schemas.span import Span

Item = TypeVar("Item")
POLICIES = ("auto", "explicit", "never")
MANY = 200
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_"
GRAFT = "name: {write: ..., mode: add, part: {kind: ...}}"
EXAMPLE = "nodes: {head: {kind: linear, out: 10, from: x}}"


def parse(tree: Value, file: str = "", before: Recipe | None = None) -> tuple[Recipe, list[Diagnostic]]:
    """The recipe that a tree holds, and what is wrong with its keys and names.

    `before`: a recipe whose tree this one was made of. Trees never change: the values that both share mean the same.
    """
    reader = _Reader(before)
    graph = reader.graph(tree, "", top=True)
    name, description = reader.text(tree, "name"), reader.text(tree, "description")
    moved = reader.moved(tree)
    return Recipe(name, graph, tree, description, file, tree.span, not reader.found, moved), reader.found


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known words most like `word`, best first.

    Among very many, only those that are one slip away: comparing costs a millisecond for every
    hundred words, and a recipe may hold thousands of wrong ones.
    """
    words = known if isinstance(known, (Mapping, Set)) else list(known)
    if len(words) > MANY:
        words = words if isinstance(words, (Mapping, Set)) else set(words)
        return [item for item in dict.fromkeys(_one_slip_away(word[:64])) if item in words][:count]
    import difflib  # only where something is wrong

    return difflib.get_close_matches(word[:64], list(words), count, 0.6)


def _one_slip_away(word: str) -> Iterator[str]:
    """Every text from which a swapped, missing, superfluous or wrong letter leads to `word`."""
    for i in range(len(word)):
        yield word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :]
        yield word[:i] + word[i + 1 :]
    for i in range(len(word) + 1):
        for letter in LETTERS:
            yield word[:i] + letter + word[i:]
            yield word[:i] + letter + word[i + 1 :]


MAX_HINTS = 200
"""Findings after which no more names are compared: each is compared with every name of a recipe, or of all kinds."""


def did_you_mean(word: str, known: Iterable[str], meant: str = "") -> str:
    """`meant`: the one of the known words that others call `word`, if there is one (`elsewhere`)."""
    if meant:
        return f"here it is called `{meant}`"
    words = known if isinstance(known, (Mapping, Set)) else list(known)
    small = word.lower()
    close = [small] if small != word and small in words else nearest(word, words) or (nearest(small, words) if small != word else [])
    return f"did you mean {' or '.join(f'`{item}`' for item in close)}?" if close else ""


def renaming(key: str, span: Span, known: Iterable[str], stated: Container[str], meant: str = "") -> Fix | None:
    """The edit that `did_you_mean` suggests, unless it would state a key twice."""
    close = [meant] if meant else nearest(key, known, 1)
    return Fix((Edit(span, close[0]),), "maybe") if close and close[0] not in stated and span.override is None else None


def _meant(key: str, known: Container[str]) -> str:
    """What a key at the top of a recipe is called here, if others call it so."""
    from assembler.source import elsewhere  # only where something is wrong

    return elsewhere.key(key, known, elsewhere.KEYS)


def _sort(value: Value) -> str:
    """What a value is, in words."""
    names = ((bool, "true or false"), (list, "a list"), (dict, "a mapping"), (str, "a text"))
    return next((name for kind, name in names if isinstance(value.data, kind)), "a number")


class _Reader:
    def __init__(self, before: Recipe | None) -> None:
        self.found: list[Diagnostic] = []
        self.before = before if before is not None and before.clean else None

    def say(self, code: str, message: str, span: Span, path: str = "", **more: object) -> None:
        self.found.append(Diagnostic(code, message, span.at(path), **more))  # type: ignore[arg-type]

    # --- small readers ---
    def text(self, tree: Value, key: str) -> str:
        value = tree.get(key)
        if value is None or value.data is None:
            return ""
        if not isinstance(value.data, str):
            self.say("value-type", f"`{key}` is a text", value.span, key, help=f'quote it: {key}: "{value.plain()}"')
            return ""
        return value.data

    def mapping(self, tree: Value, key: str, path: str, what: str) -> Mapping[str, Value]:
        value = tree.get(key)
        if value is None or value.data is None:
            if value is not None:
                self.say("missing-value", f"`{key}` has no value", value.key, path, help=f"write `{key}: {{{what}}}`, or leave the key out")
            return {}
        if not isinstance(value.data, dict):
            self.say("value-type", f"`{key}` is {_sort(value)}, where a mapping is wanted", value.span, path, help=f"write `{key}: {{{what}}}`")
            return {}
        return value.data

    # --- graphs ---
    def graph(self, tree: Value, path: str, top: bool = False) -> GraphSpec:
        def at(key: str) -> str:
            return f"{path}.{key}" if path else key

        if top:
            self.unknown_keys(tree, GRAPH_KEYS | set(INHERITED), path)
            self.version(tree)
        nodes = self.named(tree, "nodes", at("nodes"), "node", self.place, "name: {kind: ..., from: ...}")
        value = tree.get("nodes")
        # Where `nodes` holds something, what is wrong with it is said; and what stands there by another name.
        if not nodes and (value is None or value.data == {}) and not (top and any(_meant(key, GRAPH_KEYS) == "nodes" for key in tree.data)):
            self.say("nodes-missing", "a recipe without nodes" if top else "a graph without nodes",
                     (value.key if value else self.whole(tree, top)), at("nodes"), help=f"write `nodes:`, for example {EXAMPLE}")  # fmt: skip
        outputs = self.mapping(tree, "outputs", at("outputs"), "name: address")
        given = tree.get("outputs")
        if not outputs and nodes and (given is None or given.data == {}):
            last = next(reversed(nodes))
            self.say("outputs-missing", "nothing is given out: `outputs` is missing", self.whole(tree, top) if "outputs" not in tree.data else tree.data["outputs"].key,
                     path, help=f"write what the model returns, for example `outputs: {{logits: {last}}}`")  # fmt: skip
        inputs = self.mapping(tree, "inputs", at("inputs"), "name: port type")
        for what, names in (("input", inputs), ("output", outputs)):
            for name, value in names.items():
                self.name(name, what, value.key, at(what + "s." + name), attribute=False)
        variables = self.mapping(tree, "vars", at("vars"), "name: number or word")
        for name, value in variables.items():
            if not (name.isidentifier() and name.isascii()):
                self.say("name-syntax", f"{name!r} cannot name a var", value.key, at(f"vars.{name}"), label="expressions could not name it",
                         help="letters, digits and _, a letter first")  # fmt: skip
        for name, value in inputs.items():
            if name in nodes:
                self.say("name-taken", f"`{name}` is an input and a node", nodes[name].span, at(f"nodes.{name}"),
                         related=(Note("the input", value.key),), help="rename one of them")  # fmt: skip
        if top and not inputs and nodes and (tree.get("inputs") is None or tree.data["inputs"].data == {}):
            self.say("inputs-missing", "the model takes nothing: `inputs` is missing", self.whole(tree, top), path,
                     help='write what it takes, for example `inputs: {x: "[batch 16]"}`')  # fmt: skip
        return GraphSpec(
            path, tree.span, variables, inputs, nodes, outputs,
            self.named(tree, "slots", at("slots"), "slot", self.slot, "name: {kind: ...}"),
            self.named(tree, "rules", at("rules"), "rule", self.rule, "name: {at: ..., set: ...}"),
            {name: graft for name, graft in self.named(tree, "grafts", at("grafts"), "graft", self.graft, GRAFT).items() if graft is not None},
            {key: value for key in INHERITED if top and (value := tree.get(key)) is not None},
            self.adapters(tree, at("adapters")),
        )  # fmt: skip

    @staticmethod
    def whole(tree: Value, top: bool) -> Span:
        """The place of something that a graph lacks: the file's first key, or the name of the graph inside it."""
        if top:
            return next((value.key for _, value in tree.items()), tree.span)
        return tree.key if tree.key.line or tree.key.override else tree.span

    def version(self, tree: Value) -> None:
        value = tree.get("recipe")
        if value is not None and (value.data != 1 or isinstance(value.data, bool)):
            self.say("unknown-version", f"this release reads version 1 of the language, not {value.plain()!r}",
                     value.span, "recipe", help="write `recipe: 1`")  # fmt: skip

    def moved(self, tree: Value) -> dict[str, Value]:
        found = dict(self.mapping(tree, "moved", "moved", "old.address: new.address"))
        for old, value in list(found.items()):
            if not isinstance(value.data, str):
                del found[old]
                self.say("value-type", f"the new address of `{old}` is {_sort(value)}, where a text is wanted", value.span, f"moved.{old}", help="write `moved: {old.address: new.address}`")
        return found

    def adapters(self, tree: Value, path: str) -> str:
        policy = ""
        for key, value in self.mapping(tree, "adapters", path, "policy: auto").items():
            if key != "policy":
                self.say("unknown-key", f"`adapters` has no key `{key}`", value.key, f"{path}.{key}", help="it has `policy`")
            elif value.data not in POLICIES:
                self.say("value-range", f"there is no policy {value.plain()!r}", value.span, f"{path}.policy",
                         help=f"one of {', '.join(POLICIES)}")  # fmt: skip
            else:
                policy = str(value.data)
        return policy

    def named(
        self, tree: Value, key: str, path: str, what: str, read: Callable[[str, Value, str], Item], example: str
    ) -> dict[str, Item]:
        result: dict[str, Item] = {}
        values, items = self.known(key, path)
        for name, value in self.mapping(tree, key, path, example).items():
            if values.get(name) is value:
                result[name] = items[name]
                continue
            inner = f"{path}.{name}"
            self.name(name, what, value.key, inner)
            if value.data is None:
                self.say("missing-value", f"the {what} `{name}` has no value", value.key, inner, help=f"write `{name}: {example.partition(': ')[2]}`, or remove it")
            elif not isinstance(value.data, dict):
                hint = f"{{kind: {value.data}, ...}}" if what in ("node", "part") and isinstance(value.data, str) else example.partition(": ")[2]
                self.say("value-type", f"the {what} `{name}` is {_sort(value)}, where a mapping is wanted", value.span, inner, help=f"write `{name}: {hint}`")
            else:
                result[name] = read(name, value, inner)
                if what == "node":
                    self.unordered(name, value, inner)
        return result

    def unordered(self, name: str, value: Value, path: str) -> None:
        for key in ("before", "after"):
            if key in value.data:
                self.say("place-conflict", f"`{key}` says where a part stands in its container, and `{name}` is a node: the order of nodes means nothing",
                         value.data[key].span, f"{path}.{key}", help=f"remove `{key}`; what a node reads is in its `from`")  # fmt: skip

    def known(self, key: str, path: str) -> tuple[Mapping[str, Value], Mapping[str, Any]]:
        """The recipe's own nodes, slots or rules as they were before: their values, and what was read of them."""
        if self.before is None or path != key:
            return {}, {}
        value = self.before.tree.get(key)
        return (value.data, getattr(self.before.graph, key)) if value is not None and isinstance(value.data, dict) else ({}, {})

    def name(self, name: str, what: str, span: Span, path: str, attribute: bool = True) -> None:
        wrong = check_name(name, what, span.at(path), attribute)
        if wrong:
            self.found.append(wrong)

    def unknown_keys(self, tree: Value, known: frozenset[str], path: str) -> None:
        for key, value in tree.items():
            if key in known:
                continue
            meant = _meant(key, known)
            self.say("unknown-key", f"`{key}` means nothing at the top of a recipe", value.key, key, label="unknown key",
                     help=did_you_mean(key, known, meant) or f"the keys are {', '.join(sorted(known))}", fix=renaming(key, value.key, known, tree.data, meant))  # fmt: skip

    # --- places ---
    def place(self, name: str, value: Value, path: str) -> Place:
        fields: dict[str, Value] = value.data
        span = value.key if value.key.line or value.key.override else value.span
        nouns = [key for key in NOUNS if key in fields]
        if ("nodes" in fields and not nouns) or ((kind := fields.get("kind")) is not None and kind.data == "graph"):
            return Place(name, path, span, fields, graph=self.graph(value, path))
        if len(nouns) > 1:
            first, second = (fields[key] for key in nouns[:2])
            self.say("place-conflict", f"`{name or path}` has `{nouns[0]}` and `{nouns[1]}`: one of them says what stands there",
                     second.key, path, related=(Note(f"`{nouns[0]}` stands here", first.key),), help="remove one")  # fmt: skip
            fields = {key: item for key, item in fields.items() if key not in NOUNS}  # nothing stands there: no follow-ups
            nouns = []
        elif not nouns:
            close = [key for key in fields if key not in PLACE_KEYS and nearest(key, NOUNS, 1)]
            self.say("missing-key", f"`{name or path}` does not say what it is", span, path,
                     help="write `kind: ...` (or slot, same, like)" + (f"; is `{close[0]}` a typing error?" if close else ""))  # fmt: skip
        for key in nouns:
            if not isinstance(fields[key].data, str):
                missing = fields[key].data is None
                self.say("missing-value" if missing else "value-type", f"`{key}` wants a name", fields[key].span if not missing else fields[key].key, f"{path}.{key}",
                         help="a recipe names a kind as a text: `kind: linear`")  # fmt: skip
        if (arguments := fields.get("vars")) is not None and arguments.data is not None:
            self.mapping(value, "vars", f"{path}.vars", "name: number or word")
        parts = None
        if "parts" in fields:
            parts = self.named(value, "parts", f"{path}.parts", "part", self.place, "name: {kind: ...}")
        if not PART_OPTIONS.isdisjoint(fields):
            parts = self.single_parts(value, path, parts)
        if parts and nouns and nouns[0] != "kind":
            own = next(fields[key] for key in ("parts", *sorted(PART_OPTIONS)) if key in fields and isinstance(fields[key].data, dict))
            self.say("place-conflict", f"`{name or path}` has `{nouns[0]}` and parts of its own: one of them says what stands there",
                     own.key, path, related=(Note(f"`{nouns[0]}` stands here", fields[nouns[0]].key),), help="remove one")  # fmt: skip
        return Place(name, path, span, fields, parts)

    def single_parts(self, value: Value, path: str, parts: dict[str, Place] | None) -> dict[str, Place] | None:
        """Parts that stand under a key of their own: `expert: {kind: ...}`, and `experts: {small: {...}}` by their names."""
        found = dict(parts or {})
        for key, item in value.data.items():
            if key not in PART_OPTIONS or not isinstance(item.data, dict):
                continue
            inside = self.named(value, key, f"{path}.{key}", "part", self.place, "name: {kind: ...}") if key == "experts" else {key: self.place(key, item, f"{path}.{key}")}
            for name, place in inside.items():
                if name in found:
                    self.say("name-taken", f"`{name}` is a part and the key of one", place.span, place.path, related=(Note("the other", found[name].span),), help="rename the part")
                found[name] = place
        return found or parts

    def slot(self, name: str, value: Value, path: str) -> Slot:
        accepts = value.get("accepts")
        fields = {key: item for key, item in value.items() if key != "accepts"}
        if not fields:
            return Slot(name, value.key, None, accepts)
        return Slot(name, value.key, self.place("", Value(fields, value.span, value.key, value.layer), path), accepts)

    def rule(self, name: str, value: Value, path: str) -> Rule:
        for key, item in value.items():
            if key not in ("at", "where", "set"):
                self.say("unknown-key", f"a rule has no key `{key}`", item.key, f"{path}.{key}",
                         help=did_you_mean(key, ("at", "where", "set")) or "it has `at`, `where` and `set`")  # fmt: skip
        if "set" not in value.data:
            self.say("missing-key", f"the rule `{name}` sets nothing", value.key, path, help="write `set: {key: value}`")
        at = value.get("at")
        if at is not None and not isinstance(at.data, str):
            self.say("value-type", "`at` is an address pattern", at.span, f"{path}.at", help="for example `at: encoder.*.attend`")
            at = None
        return Rule(
            name, value.key, at, self.mapping(value, "where", f"{path}.where", "key: value"),
            self.mapping(value, "set", f"{path}.set", "key: value"),
        )  # fmt: skip

    def graft(self, name: str, value: Value, path: str) -> Graft | None:
        fields: dict[str, Value] = value.data
        for key, item in fields.items():
            if key not in GRAFT_KEYS:
                self.say("unknown-key", f"a graft has no key `{key}`", item.key, f"{path}.{key}",
                         help=did_you_mean(key, GRAFT_KEYS) or f"it has {', '.join(sorted(GRAFT_KEYS))}")  # fmt: skip
        missing = [key for key in ("write", "mode", "part") if key not in fields]
        for key in missing:
            self.say("missing-key", f"the graft `{name}` has no `{key}`", value.key, path, help=f"write `{name}: {GRAFT.partition(': ')[2]}`")
        if missing:
            return None
        part = fields["part"]
        if not isinstance(part.data, dict):
            self.say("value-type", f"the part of `{name}` is {_sort(part)}, where a mapping is wanted", part.span, f"{path}.part", help="write `part: {kind: ...}`")
            return None
        return Graft(name, path, value.key, {key: item for key, item in fields.items() if key != "part"}, self.place(name, part, f"{path}.part"))
