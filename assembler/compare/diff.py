"""What one recipe means that another does not: nodes, types, contracts, parameters, and which weights survive.

    found = assembler.diff("digits.yaml", ["slots/ffn=swiglu", "vars.depth=6"])
    found = assembler.diff("runs/7", "digits.yaml")       # a saved folder: what of its weights the recipe can use
    print(found)
    found.weights.survey.dropped

Two recipes that mean the same differ in nothing, however they are written. Nodes are found again by the role
they play (`facts/roles.py`) where they were renamed or moved. A type is that of a value, said where it is made.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Literal, NamedTuple

from assembler.assemble import Origin, RecipeError, Source, examine, no_collection, origin_of, read
from assembler.checks.grafts import certificates
from assembler.facts.account import Account, Texts, accounts, folded
from assembler.facts.flow import MAX_USES, Flow, named
from assembler.facts.moved import expanded
from assembler.facts.roles import gathered, roles
from assembler.facts.signals import Signals, signals
from assembler.facts.weights import Held, Survey, compare, held
from assembler.report.report import Report
from assembler.report.signals import certified
from assembler.report.walk import active, total, walk
from assembler.source.recipe import Recipe
from assembler.weights.header import SIZES, read_header
from assembler.weights.names import RECIPE, WEIGHTS

Sort = Literal["new", "gone", "changed", "moved"]


class Aspect(NamedTuple):
    """One thing that is not as it was; an empty text where there was, or is, none."""

    name: str
    before: str
    after: str


class Node(NamedTuple):
    """A node, or copies of it in all of which the same is different."""

    sort: Sort
    address: str
    """With `*` or `2:4` for copies: after the change, but for one that is gone."""
    kind: str
    copies: int
    was: str = ""
    """Where it stood, if it moved."""
    aspects: tuple[Aspect, ...] = ()
    parameters: int = 0
    """How many more it owns, all copies together; fewer where negative."""
    adapter: str = ""
    """`asked` or `auto`."""


class Sizes(NamedTuple):
    parameters: int
    trainable: int
    active: int | None
    """What one row of the input goes through, where there are mixtures."""


class Weights(NamedTuple):
    """What of the weights before is there after."""

    survey: Survey
    before: Mapping[str, int]
    """Key -> bytes: of the file where there is one, else at 4 bytes a number."""
    after: Mapping[str, int]

    @property
    def moved(self) -> int:
        """How many of those that are kept have another key."""
        return sum(one.key != two.key for one, two in self.survey.kept)


class Diff(NamedTuple):
    """All that differs. Prints as text; `same` where nothing does."""

    before: str
    after: str
    ports: tuple[Aspect, ...]
    """Inputs and outputs of the recipes."""
    nodes: tuple[Node, ...]
    grafts: tuple[Aspect, ...]
    """Their certificates."""
    sizes: tuple[Sizes, Sizes]
    weights: Weights

    @property
    def same(self) -> bool:
        kept = self.weights.survey
        return not (self.ports or self.nodes or self.grafts or kept.changed or kept.new or kept.dropped)

    def __str__(self) -> str:
        from assembler.compare.diff_text import text

        return "\n".join(text(self))


def diff(before: Source, after: Source | Sequence[str], overrides: Sequence[str] = ()) -> Diff:
    """From one recipe to another, or to itself under overrides (a list of them). A path may be a folder that
    `assembler.save` wrote. RecipeError for one that does not check, ValueError where a graph is too large."""
    if isinstance(after, (str, os.PathLike, Recipe, Mapping)):
        return between(side(before), side(after, overrides))
    return between(side(before), side(before, [*after, *overrides]))


# --- one side ---
class Side(NamedTuple):
    """A recipe that checks, with all that is compared of it."""

    name: str
    origin: Origin
    known: Signals
    held: tuple[Held, ...]
    bytes: Mapping[str, int]


def side(source: Source, overrides: Sequence[str] = ()) -> Side:
    folder = os.fspath(source) if isinstance(source, (str, os.PathLike)) and os.path.isdir(source) else ""
    found = _origin(os.path.join(folder, RECIPE) if folder else source, overrides)
    known = signals(found.graph, found.facts)
    if known is None:
        raise ValueError(f"the graph unfolds into more than {MAX_USES:,} uses of kinds, and no more are compared: compare shallower copies")
    items = held(known.flow)
    sizes = {item.key: 4 * prod(item.shape) for item in items}
    if folder:
        # What the file holds counts: modules that were handed over are not saved.
        entries = read_header(os.path.join(folder, WEIGHTS)).entries
        items = tuple(item._replace(shape=entries[item.key].shape) for item in items if item.key in entries)
        sizes = {item.key: prod(item.shape) * SIZES[entries[item.key].dtype] for item in items}
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else found.recipe.name or "recipe"
    return Side(" ".join([name, *overrides]), found, known, items, sizes)


def _origin(source: Source, overrides: Sequence[str]) -> Origin:
    if not overrides:
        return origin_of(source)
    recipe, found = read(source, overrides)
    if recipe is None or any(item.level == "error" for item in found):
        with no_collection():
            raise RecipeError(examine(recipe, found) if recipe is not None else Report(diagnostics=tuple(found)))
    return origin_of(recipe)


# --- both ---
def between(one: Side, two: Side) -> Diff:
    """What differs between two recipes that check."""
    known = {old: str(new.data) for old, new in two.origin.recipe.moved.items()}
    match = roles(one.known.flow, two.known.flow, expanded(known, [use.address for use in one.known.flow.uses]) if known else None)
    weights = Weights(compare(one.held, two.held, match.moved), one.bytes, two.bytes)
    nodes = _Nodes(one, two, match.pairs).all()
    ports = (*_table("input", _inputs(one), _inputs(two)), *_table("output", _outputs(one), _outputs(two)))
    grafts = tuple(_table("graft", _certified(one), _certified(two)))
    return Diff(one.name, two.name, ports, nodes, grafts, (_sizes(one), _sizes(two)), weights)


def _table(noun: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Aspect]:
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            yield Aspect(f"{noun} {name}", before.get(name, ""), after.get(name, ""))


def _inputs(item: Side) -> dict[str, str]:
    return {name: str(kind) for name, kind in item.origin.facts.root.inputs.items()}


def _outputs(item: Side) -> dict[str, str]:
    return {name: str(kind) for name, kind in item.origin.facts.root.outputs.items() if name in item.origin.graph.scope.outputs}


def _certified(item: Side) -> dict[str, str]:
    if not item.origin.graph.grafts:
        return {}
    return {found.name: certified(found).partition(" ")[2] for found in certificates(item.origin.graph, item.known.flow, item.known.zero)}


def _sizes(item: Side) -> Sizes:
    rows = walk(item.origin.graph, item.origin.facts)
    parameters, trainable = total(rows)
    return Sizes(parameters or 0, trainable or 0, active(rows))


# --- nodes ---
What = tuple[Sort, str, str, tuple[Aspect, ...], int, str]
"""What is said of a node: sort, kind, where it stood, aspects, parameters, adapter."""


class _Nodes:
    def __init__(self, one: Side, two: Side, pairs: Mapping[str, str]) -> None:
        self.pairs = pairs
        self.before, self.after = accounts(one.known), accounts(two.known)
        self.owned = _owned(one.known.flow), _owned(two.known.flow)
        self.shapes = {item.key: item.shape for item in held(one.known.flow)}, {item.key: item.shape for item in held(two.known.flow)}
        self.reads = _reads(one.known.flow, pairs), _reads(two.known.flow, {})

    def all(self) -> tuple[Node, ...]:
        back = {two: one for one, two in self.pairs.items()}
        rows: list[tuple[str, What]] = []
        for address, item in self.after.items():
            old = back.get(address)
            if old is None and address in self.before and address not in self.pairs:
                old = address  # another kind at the same place
            if old is None:
                rows.append((address, ("new", item.kind, "", (), self.owned[1][address], item.adapter)))
                continue
            aspects = tuple(self.aspects(old, address))
            if aspects:
                rows.append((address, ("changed", item.kind, "", aspects, self.owned[1][address] - self.owned[0][old], item.adapter)))
        replaced = {address for address in self.after if address not in back}
        gone: list[tuple[str, What]] = [
            (address, ("gone", item.kind, "", (), -self.owned[0][address], item.adapter))
            for address, item in self.before.items()
            if address not in self.pairs and address not in replaced
        ]
        return (*self._moved(), *itertools.starmap(self._row, folded(gone, self.before)), *itertools.starmap(self._row, folded(rows, self.after)))

    @staticmethod
    def _row(address: str, what: What, copies: int) -> Node:
        sort, kind, was, aspects, parameters, adapter = what
        if copies == 1:
            aspects = tuple(item._replace(before=_absolute(item.before, address), after=_absolute(item.after, address)) if item.name.startswith("reads ") else item for item in aspects)
        return Node(sort, address, kind, copies, was, aspects, parameters * copies, adapter)

    def _moved(self) -> Iterator[Node]:
        """Moves of the highest addresses of which they are true."""
        rules = gathered(self.pairs)
        rows: list[tuple[str, What]] = [(after, ("moved", self._kind(after), _starred(before, after), (), 0, "")) for before, after in rules.items()]
        return itertools.starmap(self._row, folded(rows, self.after))

    def _kind(self, address: str) -> str:
        return self.after[address].kind if address in self.after else ""

    def aspects(self, old: str, new: str) -> Iterator[Aspect]:
        one, two = self.before[old], self.after[new]
        if (one.kind, one.version) != (two.kind, two.version):
            yield Aspect("kind", _called(one), _called(two))
        else:
            yield from _texts("{}", one.options, two.options)
        yield from _texts("reads {}", self.reads[0][old], self.reads[1][new])
        yield from _texts("type of {}", _outward(one), _outward(two))
        yield from _texts("norm of {}", one.norms, two.norms)
        if one.zeros != two.zeros:
            yield Aspect("zero at the start", ", ".join(one.zeros), ", ".join(two.zeros))
        if one.kind == two.kind:
            yield from self._starts(old, new)
            yield from _texts("{} learns", one.learns, two.learns)
        if one.adapter != two.adapter:
            yield Aspect("adapter", one.adapter, two.adapter)

    def _starts(self, old: str, new: str) -> Iterator[Aspect]:
        """How weights start. The bound follows the width that is read: where that is another one it goes without saying."""
        one, two = self.before[old].starts, self.after[new].starts
        same = all(self.shapes[0].get(f"{old}.{name}") == self.shapes[1].get(f"{new}.{name}") for name, _ in one)
        for aspect in _texts("start of {}", one, two):
            if same or not (aspect.before.startswith("uniform(") and aspect.after.startswith("uniform(")):
                yield aspect


def _called(item: Account) -> str:
    return item.kind if item.version == 1 else f"{item.kind} version {item.version}"


def _texts(name: str, before: Texts, after: Texts) -> Iterator[Aspect]:
    if before == after:
        return
    one, two = dict(before), dict(after)
    for key in {**one, **two}:
        if one.get(key) != two.get(key):
            yield Aspect(name.format(key), one.get(key, ""), two.get(key, ""))


def _outward(item: Account) -> Texts:
    """Types of outputs; what arrives at an input is said where it is made."""
    made = {port for port, _ in item.norms}
    return tuple((port, text) for port, text in item.types if port in made)


def _owned(flow: Flow) -> Counter[str]:
    """Node -> parameters that it owns."""
    found: Counter[str] = Counter()
    for item in held(flow):
        if not item.buffer:
            found[item.node] += prod(item.shape)
    return found


def _reads(flow: Flow, pairs: Mapping[str, str]) -> dict[str, Texts]:
    """Node -> what each of its ports reads, by the address that the maker has afterwards."""
    names = named(flow)
    if pairs:
        for value, maker in enumerate(flow.makers):
            if maker >= 0:
                port = names[value].removeprefix(f"{flow.uses[maker].address}.")
                names[value] = f"{pairs.get(flow.uses[maker].address, flow.uses[maker].address)}.{port}"
    found: dict[str, Texts] = {}
    for use in flow.uses:
        if use.address not in found:
            at = pairs.get(use.address, use.address)
            found[use.address] = tuple((port, ", ".join(_relative(names[value], at) for value in values)) for port, values in use.inputs.items())
    return found


def _relative(source: str, reader: str) -> str:
    """What a copy reads, with `*` for its own number and `*-1` for that of the copy before: alike for all copies."""
    parts, own = source.split("."), reader.split(".")
    for place, (part, mine) in enumerate(zip(parts, own, strict=False)):
        if part.isdigit() and mine.isdigit():
            if int(part) == int(mine) - 1:
                parts[place] = "*-1"
                break
            if part == mine:
                parts[place] = "*"
        if part != mine:
            break
    return ".".join(parts)


def _absolute(text: str, reader: str) -> str:
    """The numbers again, for a copy that stands alone."""
    own = reader.split(".")
    sources = []
    for source in text.split(", "):
        parts = source.split(".")
        for place, part in enumerate(parts):
            if part in ("*", "*-1") and place < len(own) and own[place].isdigit():
                parts[place] = str(int(own[place]) - (part == "*-1"))
        sources.append(".".join(parts))
    return ", ".join(sources)


def _starred(before: str, after: str) -> str:
    """An address whose copy numbers are those of another one, which says them."""
    one, two = [part for part in before.split(".") if part.isdigit()], [part for part in after.split(".") if part.isdigit()]
    return ".".join("*" if part.isdigit() else part for part in before.split(".")) if one == two else before


__all__ = ["Aspect", "Diff", "Node", "Side", "Sizes", "Weights", "between", "diff", "side"]
