"""Which nodes of two recipes differ, and in what: like copies together."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from math import prod
from typing import Literal, NamedTuple

from assembler.compare.side import Side
from assembler.facts.account import Account, Texts, accounts, folded
from assembler.facts.flow import Flow, named
from assembler.facts.roles import gathered
from assembler.facts.weights import held
from assembler.graph.address import starred
from assembler_schemas.dim import show

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


def differing(one: Side, two: Side, pairs: Mapping[str, str]) -> tuple[Node, ...]:
    """Moves first, then what is gone, then what is new or changed in the order of the graph after."""
    return _Nodes(one, two, pairs).all()


def texts(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Aspect]:
    """What two tables hold differently, each called by its key in `name`."""
    for key in {**before, **after}:
        if before.get(key) != after.get(key):
            yield Aspect(name.format(key), before.get(key, ""), after.get(key, ""))


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
What = tuple[Sort, str, str, tuple[Aspect, ...], int, str]
"""What is said of a node: sort, kind, where it stood, aspects, parameters, adapter."""


class _Nodes:
    def __init__(self, one: Side, two: Side, pairs: Mapping[str, str]) -> None:
        self.pairs = pairs
        self.before, self.after = accounts(one.known), accounts(two.known)
        self.owned = _owned(one.known.flow), _owned(two.known.flow)
        self.shapes = {item.key: item.shape for item in held(one.known.flow)}, {item.key: item.shape for item in held(two.known.flow)}
        self.reads = _reads(one.known.flow, pairs), _reads(two.known.flow, {})
        self.sizes = _sizes(one, two)

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
        rows: list[tuple[str, What]] = [(after, ("moved", self._kind(after), old_name(before, after), (), 0, "")) for before, after in rules.items()]
        return itertools.starmap(self._row, folded(rows, self.after))

    def _kind(self, address: str) -> str:
        return self.after[address].kind if address in self.after else ""

    def aspects(self, old: str, new: str) -> Iterator[Aspect]:
        one, two = self.before[old], self.after[new]
        if (one.kind, one.version) != (two.kind, two.version):
            yield Aspect("kind", _called(one), _called(two))
        else:
            yield from _pairs("{}", one.options, two.options)
        yield from _pairs("reads {}", self.reads[0][old], self.reads[1][new])
        # An output that only one of them has is missed by whoever reads it, and said there.
        both = dict(one.norms).keys() & dict(two.norms).keys()
        yield from _pairs("type of {}", _called_as(self.sizes, _of(one.types, both)), _of(two.types, both))
        yield from _pairs("norm of {}", _of(one.norms, both), _of(two.norms, both))
        if one.zeros != two.zeros:
            yield Aspect("zero at the start", ", ".join(one.zeros), ", ".join(two.zeros))
        if one.kind == two.kind:
            yield from self._starts(old, new)
            yield from _pairs("{} learns", one.learns, two.learns)
        if one.adapter != two.adapter:
            yield Aspect("adapter", one.adapter, two.adapter)

    def _starts(self, old: str, new: str) -> Iterator[Aspect]:
        """How weights start. The bound follows the width that is read: where that is another one it goes without saying."""
        one, two = self.before[old].starts, self.after[new].starts
        same = all(self.shapes[0].get(f"{old}.{name}") == self.shapes[1].get(f"{new}.{name}") for name, _ in one)
        for aspect in _pairs("start of {}", one, two):
            if same or not (aspect.before.startswith("uniform(") and aspect.after.startswith("uniform(")):
                yield aspect


def _called(item: Account) -> str:
    return item.kind if item.version == 1 else f"{item.kind} version {item.version}"


def _pairs(name: str, before: Texts, after: Texts) -> Iterator[Aspect]:
    return texts(name, dict(before), dict(after)) if before != after else iter(())


def _sizes(one: Side, two: Side) -> dict[str, str]:
    """Run-time sizes that the inputs call otherwise: that is said of the inputs, and of nothing behind them."""
    before, after = one.origin.facts.root.inputs, two.origin.facts.root.inputs
    found: dict[str, str] = {}
    for name, kind in before.items():
        other = after.get(name)
        if kind is not None and other is not None:
            found.update((show(old), show(new)) for old, new in zip(kind.dims, other.dims, strict=False) if show(old).isidentifier() and show(new).isidentifier())
    return found if any(old != new for old, new in found.items()) and len({*found.values()}) == len(found) else {}


def _called_as(sizes: Mapping[str, str], types: Texts) -> Texts:
    """Types with other names for their sizes: those inside the brackets."""
    if not sizes:
        return types
    split = [(port, *text.partition("[")) for port, text in types]
    return tuple((port, head + bracket + _NAME.sub(lambda found: sizes.get(found[0], found[0]), dims)) for port, head, bracket, dims in split)


def _of(items: Texts, names: Set[str]) -> Texts:
    return tuple(item for item in items if item[0] in names)


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


def old_name(before: str, after: str) -> str:
    """An address whose copy numbers are those of another one, which says them."""
    one, two = [part for part in before.split(".") if part.isdigit()], [part for part in after.split(".") if part.isdigit()]
    return starred(before) if one == two else before
