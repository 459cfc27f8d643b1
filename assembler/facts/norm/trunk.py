"""Residual streams in a flow: who reads one, through a norm or not, and writes back onto it.

A sum is a write onto a stream where one operand (the trunk) is read by what makes another one (the
branch). Values carry, forward, which operands of sums they were read from; a sum ends what its
operands carry. So one pass over the uses finds every stream, and no walk goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from assembler.facts.flow import Flow, Use
from assembler.facts.norm.analysis import Norm
from assembler_schemas.kind import Definition, Step

MOST = 8
"""Sums that one value is remembered to have been read from: the latest ones."""
OPEN = frozenset({"raw", "stream"})
"""States that no norm and no bound keeps in size."""


class Read(NamedTuple):
    """A value that was read from an operand of a sum, and how."""

    source: int
    bare: bool
    """Nothing between has normed, bounded or scaled it down."""
    pre: bool = False
    """A norm was the first to read it."""
    reader: int = -1
    """The first use with weights on the way, or a norm; -1 while there is none."""


class Write(NamedTuple):
    """One more write onto a stream; its fields count the writes so far."""

    use: int
    """The sum."""
    writes: int
    pre: int
    """By branches that read the stream through a norm."""
    bare: int
    """By branches that neither norm, bound nor scale what they read and write."""
    reader: int
    """The use that reads the stream for this write, where it is bare; else -1."""
    before: int | None
    """The value of the write before."""


_read: Callable[[tuple[int, bool, bool, int]], Read] = partial(tuple.__new__, Read)
_write: Callable[[tuple[int, int, int, int, int, int | None]], Write] = partial(tuple.__new__, Write)
"""As one tuple: a third of the time of a call of the class (facts/flow.py)."""


class Trunks(NamedTuple):
    writes: Mapping[int, Write]
    """Values that are a stream (or one after an activation, a dropout, ...) -> the last write onto it."""
    posts: Mapping[int, int]
    """Outputs of norms behind sums -> how many of them follow one another on the stream."""
    heads: tuple[tuple[int, int], ...]
    """(value, use): a linear map that reads a stream bare and does not write back onto it."""
    norms: Mapping[int, int]
    """Values of streams -> the use of a norm that reads them."""


class _Card(NamedTuple):
    """What a definition does with streams."""

    sums: frozenset[str]
    """Ports that are added up, if that is what it does."""
    open: frozenset[str]
    """Ports that reach an output past no norm."""
    maps: frozenset[str]
    """Ports that reach a matmul or convolution past no norm."""
    norm: bool
    reads: bool
    """It has weights, or is a norm: who reads a stream."""
    passes: str
    """The one port that must be fed of a kind without weights; else empty."""
    scales: bool
    """It multiplies in the end."""


_CARDS: dict[int, tuple[Definition, _Card]] = {}
"""By the identity of definitions, which are held."""


def trunks(flow: Flow, norm: Norm) -> Trunks:
    """Every stream of a flow."""
    return _Walk(flow, norm).run()


class _Walk:
    def __init__(self, flow: Flow, norm: Norm) -> None:
        self.flow, self.norm, self.states = flow, norm, norm.states
        self.cards = {id(sort[0].definition): _known(sort[0].definition) for sort in flow.sorts}
        """By the identity of definitions."""
        self.operands = {number for sort in flow.sorts for port in self.cards[id(sort[0].definition)].sums for use in sort for number in use.inputs.get(port, ())}
        self.reads: dict[int, tuple[Read, ...]] = {}
        self.settled: set[int] = set()
        """Values that only carry reads of which nothing more is to be said: each has a reader, and is not bare."""
        self.writes: dict[int, Write] = {}
        self.streams: set[int] = set()
        self.posts: dict[int, int] = {}
        self.norms: dict[int, int] = {}
        self.bare: list[Read] = []
        self.wrote: set[tuple[int, int]] = set()

    def run(self) -> Trunks:
        cards = self.cards
        for index, use in enumerate(self.flow.uses):
            card = cards[id(use.definition)]
            values = [number for port in card.sums for number in use.inputs.get(port, ())] if card.sums else ()
            if len(values) > 1:
                self.sum(index, use, values)
            elif card.norm or not self.through(use):
                self.other(index, use, card)
        heads = dict.fromkeys((read.source, read.reader) for read in self.bare if (read.source, read.reader) not in self.wrote)
        return Trunks(self.writes, self.posts, tuple(heads), self.norms)

    def sum(self, index: int, use: Use, values: Sequence[int]) -> None:
        """A write onto the first operand that another one was read from."""
        carried = {number: found for number in values if (found := self.reads.get(number))}
        if not carried:
            return
        among = set(values)
        readers: dict[int, list[tuple[int, Read]]] = {}
        for number, found in carried.items():
            for read in found:
                if read.reader >= 0 and read.source in among:
                    readers.setdefault(read.source, []).append((number, read))
        # Of two readers of one at least one is another: a sum of ten thousand values is looked at once.
        trunk = next((one for one in values if any(number != one for number, _ in readers.get(one, ())[:2])), None)
        if trunk is None:
            return
        last = self.writes.get(trunk)
        pre, bare, count, reader = (last.pre, last.bare, last.writes, -1) if last else (0, 0, 0, -1)
        times = Counter(values) if len(among) < len(values) else None
        for number, read in readers[trunk]:
            if number == trunk or self.states[number].zero:
                continue
            more = times[number] if times else 1
            count += more
            pre += read.pre * more
            self.wrote.update([(item.source, item.reader) for item in carried[number] if item.reader >= 0])
            if read.bare and self.states[trunk].kind in OPEN:
                bare, reader = bare + more, read.reader
        for out in use.outputs.values():
            self.streams.add(out)
            self.writes[out] = _write((index, count, pre, bare, reader, trunk if last else None))
            if trunk in self.posts:
                self.posts[out] = self.posts[trunk]

    def through(self, use: Use) -> bool:
        """Whether a use just hands on what its one value carries: most uses do, and need no closer look."""
        values = next(iter(use.inputs.values()), ())
        if len(use.inputs) != 1 or len(values) != 1:
            return False
        number = values[0]
        if number in self.operands or number in self.writes:
            return False
        carried = self.reads.get(number)
        if carried is not None and number not in self.settled:
            return False
        if carried:
            for out in use.outputs.values():
                self.reads[out] = carried
                self.settled.add(out)
        return True

    def other(self, index: int, use: Use, card: _Card) -> None:
        source = use.inputs.get(card.passes, ()) if card.passes else ()
        normed = use.inputs.get(next(iter(use.inputs), ""), ()) if card.norm else ()
        found = self.passed(index, use, card)
        kept = bool(found) and not card.norm and not (card.scales and _scaled(use, self.norm)) and not use.node.init.get("write")
        if not (found or source or normed):
            return
        for out in use.outputs.values():
            still = self.states[out].kind in OPEN
            if found:
                carried = self.reads[out] = found if kept and still else tuple([read._replace(bare=False) if read.bare else read for read in found])
                if not any(read.bare or read.reader < 0 for read in carried):
                    self.settled.add(out)
            if still and source and source[0] in self.writes:
                self.writes[out] = self.writes[source[0]]
                if source[0] in self.posts:
                    self.posts[out] = self.posts[source[0]]
            if normed and normed[0] in self.writes:
                self.norms[normed[0]] = index
                self.posts[out] = self.posts.get(normed[0], 0) + 1

    def passed(self, index: int, use: Use, card: _Card) -> tuple[Read, ...]:
        """What the outputs of a use are read from."""
        reads, operands, streams = self.reads, self.operands, self.streams
        found: dict[int, Read] = {}
        for port, values in use.inputs.items():
            open_, maps = port in card.open, port in card.maps
            for number in values:
                carried: tuple[tuple[int, bool, bool, int], ...] = reads.get(number, ())
                if number in operands or number in streams:
                    carried = (*carried, (number, True, False, -1))
                for source, bare, pre, reader in carried:
                    if reader < 0 and card.reads:
                        reader, pre = index, pre or card.norm
                    bare = bare and open_
                    old = found.get(source)
                    if old is None or (bare and not old.bare):
                        found[source] = _read((source, bare, pre, reader))
                    if bare and maps and reader == index and source in self.writes:
                        self.bare.append(_read((source, bare, pre, reader)))
        if len(found) > MOST:
            return tuple(found[source] for source in sorted(found)[-MOST:])
        return tuple(found.values())


def _scaled(use: Use, norm: Norm) -> bool:
    """Whether all that it does in the end is to make a value smaller."""
    body = use.definition.body
    factor = body[-1].attributes.get("scale", 1)
    values = [name for name in body[-1].inputs if name not in use.weights]
    if len(values) != 1 or not isinstance(factor, (int, float)):
        return False
    for name in body[-1].inputs:
        if name in use.weights:
            start = norm.weights[use.weights[name]].gain
            if start is None:
                return False
            factor *= start
    return bool(abs(factor) < 1.0)


def _known(definition: Definition) -> _Card:
    known = _CARDS.get(id(definition))
    if known is None or known[0] is not definition:
        if len(_CARDS) > 10_000:
            _CARDS.clear()
        known = _CARDS[id(definition)] = definition, _card(definition)
    return known[1]


def _card(definition: Definition) -> _Card:
    steps = {step.output: step for step in definition.body}
    ports = frozenset(definition.inputs)
    open_, maps = _reach(definition.body, ports)
    needed = [name for name, port in definition.inputs.items() if not port.optional]
    single = len(needed) == 1 and not definition.inputs[needed[0]].many and not definition.parameters and bool(definition.body)
    last = [steps[port] for port in definition.outputs if port in steps]
    sums = frozenset[str]()
    if len(last) == 1 and last[0].op == "add" and all(name in ports for name in last[0].inputs) and last[0].attributes.get("scale", 1) == 1:
        sums = frozenset(last[0].inputs)
    norm = bool(definition.body) and definition.body[0].op == "norm" and not open_
    return _Card(sums, open_ if definition.body else ports, maps, norm, norm or bool(definition.parameters), needed[0] if single and not norm else "", bool(definition.body) and definition.body[-1].op == "multiply")


def _reach(body: tuple[Step, ...], ports: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Ports that reach the last step, and a linear map, past no norm."""
    past: dict[str, frozenset[str]] = {port: frozenset((port,)) for port in ports}
    maps: frozenset[str] = frozenset()
    for step in body:
        here = frozenset[str]().union(*(past.get(name, frozenset()) for name in step.inputs))
        if step.op in ("matmul", "conv"):
            maps |= here
        past[step.output] = frozenset() if step.op == "norm" else here
    return (past[body[-1].output] if body else ports), maps
