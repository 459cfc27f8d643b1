"""Values of one scope: which are alive where, and what each is called.

`settle` turns operations over numbered values into statements over variables. A value is freed at
its last use: its variable is bound anew by that very statement, or deleted behind it. Variables
are named as a careful person would: the stream is `x`, its branch `h`, what lives longer is named
after its node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from assembler.compiler.model import Loop, Statement
from assembler.compiler.names import GENERIC, fresh, variable

Piece = str | int
"""Text as it stands, or the number of a value whose variable stands there."""


@dataclass(slots=True)
class Op:
    """`outputs = text`. `at` as in `Statement`; `probes`: (address, value); `ports`: what several outputs are called."""

    outputs: tuple[int, ...]
    pieces: tuple[Piece, ...]
    name: str
    at: str | None = None
    probes: list[tuple[str, int]] = field(default_factory=list)
    place: str = ""
    ports: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(piece for piece in self.pieces if isinstance(piece, int)))


@dataclass(slots=True)
class LoopOp:
    """Copies in a row: `x, z = text(x, z, ...)`, over and over.

    `results` says what the text gives, in order: `carried(i)` for the stream i, the index of a loss, or
    None for what nobody reads. A loss adds up: from `sums[i][0]` (None: from zero) to `sums[i][1]`.
    """

    over: str
    variable: str
    streams: tuple[tuple[int, int], ...]
    """Each stream before the first copy, and behind the last one."""
    pieces: tuple[Piece, ...]
    results: tuple[int | None, ...]
    sums: list[tuple[int | None, int]]
    name: str
    at: str | None = None
    start: int = 0
    inside: list[tuple[str, int]] = field(default_factory=list)
    """Probes in the body: (address, index into results)."""
    probes: list[tuple[str, int]] = field(default_factory=list)
    place: str = ""

    @property
    def outputs(self) -> tuple[int, ...]:
        return (*(after for _, after in self.streams), *(after for _, after in self.sums))

    @property
    def inputs(self) -> tuple[int, ...]:
        first = (value for value, _ in self.streams)
        others = (piece for piece in self.pieces if isinstance(piece, int) and piece >= 0)
        before = (value for value, _ in self.sums if value is not None)
        return tuple(dict.fromkeys((*first, *others, *before)))


COPY = -1
"""In a loop's pieces: the copy that runs."""


def carried(stream: int) -> int:
    """In a loop's pieces and results: a stream, by its number."""
    return -2 - stream


def needed(ops: Sequence[Op | LoopOp], wanted: Sequence[int]) -> list[Op | LoopOp]:
    """The operations without those whose values nobody reads."""
    alive, kept = set(wanted), []
    for op in reversed(ops):
        if alive.intersection(op.outputs):
            alive.update(op.inputs)
            kept.append(op)
    return kept[::-1]


def settle(
    ops: Sequence[Op | LoopOp], inputs: Mapping[int, str], wanted: Sequence[int], generic: bool
) -> tuple[tuple[Statement | Loop, ...], tuple[str, ...]]:
    """The statements, and the variables of `wanted`. `generic`: nothing is named after its node."""
    kept = needed(ops, wanted)
    return _Settle(kept, inputs, wanted, generic).run()


class _Settle:
    def __init__(
        self, ops: Sequence[Op | LoopOp], inputs: Mapping[int, str], wanted: Sequence[int], generic: bool
    ) -> None:
        self.ops, self.wanted, self.generic = ops, wanted, generic
        self.parameters = set(inputs)
        self.names: dict[int, str] = dict(inputs)
        self.live = set(inputs.values())
        self.last: dict[int, int] = {}
        self.uses: dict[int, int] = {}
        for index, op in enumerate(ops):
            for value in op.inputs:
                self.last[value] = index
                self.uses[value] = self.uses.get(value, 0) + 1
        for value in wanted:
            self.last[value] = len(ops)
            self.uses[value] = self.uses.get(value, 0) + 1
        self.maker: dict[int, str] = {}
        self.steps: list[Statement | Loop] = []

    def run(self) -> tuple[tuple[Statement | Loop, ...], tuple[str, ...]]:
        for index, op in enumerate(self.ops):
            dying = [value for value in op.inputs if self.last[value] == index]
            final = index == len(self.ops) - 1
            if isinstance(op, Op):
                self._simple(op, dying, final)
            else:
                self._loop(op, dying, final)
        return tuple(self.steps), tuple(self.names[value] for value in self.wanted)

    # --- names ---
    def _heir(self, op: Op, dying: list[int]) -> int | None:
        """The dying value whose variable the result takes over: the stream, or the only one it is made of."""
        for word in GENERIC:
            for value in dying:
                if self.names[value] == word:
                    return value
        first = op.inputs[0] if op.inputs else None
        own = self.maker.get(first) == op.name if first is not None else False
        if first in dying and (own or (len(dying) == 1 and first not in self.parameters)):
            return first
        return None

    def _fresh(self, name: str, value: int) -> str:
        once = self.generic or self.uses.get(value, 0) == 1
        if once and GENERIC[0] not in self.live:
            return GENERIC[0]
        if self.generic and GENERIC[1] not in self.live:
            return GENERIC[1]
        return fresh(variable(name), self.live)

    def _bind(self, value: int, name: str) -> str:
        self.names[value] = name
        self.live.add(name)
        return name

    def _free(self, values: Sequence[int], final: bool) -> tuple[str, ...]:
        gone = tuple(self.names[value] for value in values)
        self.live.difference_update(gone)
        return () if final else gone

    # --- statements ---
    def _text(self, pieces: Sequence[Piece], inside: Mapping[int, str] | None = None) -> str:
        return "".join(p if isinstance(p, str) else inside[p] if inside and p in inside else self.names[p] for p in pieces)

    def _simple(self, op: Op, dying: list[int], final: bool) -> None:
        text = self._text(op.pieces)
        heir = self._heir(op, dying) if op.outputs and op.outputs[0] in self.last and not op.ports else None
        rest = [value for value in dying if value != heir]
        targets, unread = [], False
        for index, value in enumerate(op.outputs):
            if value not in self.last:
                targets.append("_")
                unread = True
            elif index == 0 and heir is not None:
                targets.append(self._bind(value, self.names[heir]))
            elif op.ports:
                targets.append(self._bind(value, fresh(variable(op.ports[index]), self.live)))
            else:
                targets.append(self._bind(value, self._fresh(op.name, value)))
        known = dict(zip(op.outputs, targets, strict=True))
        self.maker.update(dict.fromkeys(op.outputs, op.name))
        if targets.count("_") > 1:
            known = {value: target for value, target in known.items() if target != "_"}  # only the last can still be seen
        seen = ((address, known.get(value, self.names.get(value))) for address, value in op.probes)
        probes = tuple((address, name) for address, name in seen if name is not None)
        frees = (*self._free(rest, final), *(("_",) if unread and not final else ()))
        self.steps.append(Statement(tuple(targets), text, frees, op.at, probes, op.place))

    def _loop(self, op: LoopOp, dying: list[int], final: bool) -> None:
        starts = {value for value, _ in op.sums}
        # What every copy reads outlives the first one, be it also what the first one streams.
        firsts = [before for before, _ in op.streams]
        ends = {value for value in firsts if value in dying and value not in op.pieces and firsts.count(value) == 1}
        rest = [value for value in dying if value not in starts and value not in ends]
        streams = []
        for before, after in op.streams:
            if before in ends and (self.names[before] in GENERIC or before not in self.parameters):
                streams.append(self._bind(after, self.names[before]))
            else:
                streams.append(self._bind(after, self._fresh(op.name, after)))
                frees = self._free([before], False) if before in ends else ()
                self.steps.append(Statement((streams[-1],), self.names[before], frees))
        sums = []
        for start, total in op.sums:
            if start is None:
                sums.append(self._bind(total, fresh("loss", self.live)))
                self.steps.append(Statement((sums[-1],), "0.0"))
            elif start in dying:
                sums.append(self._bind(total, self.names[start]))
            else:
                sums.append(self._bind(total, fresh("loss", self.live)))
                self.steps.append(Statement((sums[-1],), self.names[start]))
        copy = fresh(op.variable, self.live) if op.variable != "_" else "_"
        body = self._body(op, streams, copy, sums)
        probes = tuple((address, self.names[value]) for address, value in op.probes)
        self.steps.append(Loop(copy, op.over, body, op.start, self._free(rest, final), probes, op.place))

    def _body(self, op: LoopOp, streams: list[str], copy: str, sums: list[str]) -> tuple[Statement, ...]:
        parts: list[str] = []
        for result in op.results:
            if result is None:
                parts.append("_")
            elif result < 0:
                parts.append(streams[carried(0) - result])
            else:
                parts.append(fresh("part", {*self.live, *parts, copy}))
        seen = tuple((address, parts[index]) for address, index in op.inside)
        frees = ("_",) if None in op.results else ()
        lines = [Statement(tuple(parts), self._text(op.pieces, {COPY: copy, **{carried(index): stream for index, stream in enumerate(streams)}}), frees, op.at, seen)]
        for part, result in zip(parts, op.results, strict=True):
            if result is not None and result >= 0:
                lines.append(Statement((sums[result],), f"{sums[result]} + {part}", (part,)))
        return tuple(lines)
