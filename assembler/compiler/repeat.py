"""Copies in a row: one `ModuleList` (or one module) and as few loops as taps and differences allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from assembler.compiler.leaf import call, classes, constructor, definition_of, facts_with, inline
from assembler.compiler.model import PlanError, Submodule
from assembler.compiler.scope import Fed, ScopeBuilder, Wanted, group_call, place_of
from assembler.compiler.share import Copies, Path, Pending, find, slice_text, target_of
from assembler.compiler.values import COPY, LoopOp, Op, Piece, carried
from assembler.facts.count import parameters
from assembler.facts.model import NodeFacts
from assembler.facts.runs import runs
from assembler.facts.start import stated
from assembler.graph.model import Group, Leaf, Ref, Repeat
from assembler_schemas.kind import Inline, Module

if TYPE_CHECKING:
    from assembler.compiler.plan import Made


class Part(NamedTuple):
    """Copies `start` to `stop` that are alike. `outputs`: what one call gives, in order."""

    start: int
    stop: int
    node: Leaf | Group
    facts: NodeFacts
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    text: str
    """The constructor of one copy; "" where a copy owns no module (an expression, a shared module)."""
    parameters: int
    frozen: bool
    made: Made | None
    starts: Mapping[str, str] = {}
    """Of one copy, by address below it: `Draft.starts`."""


class RepeatBuilder:
    def __init__(self, outer: ScopeBuilder, node: Repeat, facts: NodeFacts, fed: Fed, read: set[str]) -> None:
        read = {*read, *node.links.values()}
        self.outer, self.node, self.facts, self.fed, self.read = outer, node, facts, fed, read
        self.draft, self.planner = outer.draft, outer.planner
        self.path: Path = (*self.draft.path, node.name)
        self.streams = node.streams
        self.into, self.out = ([stream[end] for stream in node.streams] for end in (0, 1))
        self.losses = tuple(name for name in node.losses if name in read)
        self.taps: dict[int, set[str]] = {}
        for port in read:
            index, _, inner = port.partition(".")
            if index.isdigit():
                self.taps.setdefault(int(index), set()).add(inner)

    def run(self) -> None:
        self._forward(self.modules())

    # --- __init__ ---
    def modules(self) -> list[Part]:
        """The line of `__init__`, and the copies in parts that are alike."""
        name, node = self.node.name, self.node
        parts = [self._part(copies.start, copies.stop, inner, facts) for copies, _, inner, facts in runs(node, self.facts)]
        if not parts or parts[-1].stop != node.count:
            raise PlanError(f"facts of {parts[-1].stop if parts else 0} copies for the {node.count} of `{name}`")
        targets = {run.node.same for run in node.runs}
        if targets != {""}:
            self._shared(targets)
        elif node.share:
            if parts[0].text:
                self.draft.submodules.append(Submodule(name, parts[0].text))
        elif any(part.text for part in parts):
            self.draft.submodules.append(Submodule(name, list_text(parts)))
        if targets == {""}:
            for part in parts[:1] if node.share else parts:
                self._owned(part)
            self._starts(parts)
        return parts

    def _part(self, start: int, stop: int, node: Leaf | Group, facts: NodeFacts) -> Part:
        copies = Copies(start, stop, self.node.count)
        path = self.path if self.node.share else (*self.path, copies)
        if isinstance(node, Leaf):
            return self._leaf_part(start, stop, node, facts)
        read = {*self.out, *self.losses, *(p for i, ports in self.taps.items() if self.node.share or start <= i < stop for p in ports)}
        read.update(port for port in self.read if port in node.scope.outputs)
        inputs = tuple(name for name in node.scope.inputs if name in self.fed or name in self.into or name in self.node.links)
        scope, wanted = self.planner.agree(node, path, inputs, {port for port in read if port in node.scope.outputs})
        if node.same:
            return Part(start, stop, node, facts, wanted.inputs, wanted.outputs, "", 0, False, None)
        made = self.planner.container(scope, facts.inner, path, wanted, node.kind, self.outer.maybe(self.node, self.fed), repeated=True)
        return Part(start, stop, node, facts, wanted.inputs, wanted.outputs, f"{made.name}()", made.parameters, False, made, made.starts)

    def _leaf_part(self, start: int, stop: int, node: Leaf, facts: NodeFacts) -> Part:
        definition = definition_of(node, facts)
        inputs = tuple(name for name in definition.inputs if name in self.fed or name in self.into)
        text = ""
        if isinstance(definition.build, Module) and not node.same:
            for name in classes(definition, definition.build):
                self.planner.use(name)
            text = constructor(node, facts, definition.build)
        return Part(start, stop, node, facts, inputs, tuple(definition.outputs), text, parameters(node, facts), node.freeze and bool(definition.parameters) and not definition.branches, None, stated(node, facts))

    def _owned(self, part: Part) -> None:
        """Parameters, freezes and shares of copies that own their modules."""
        count = part.stop - part.start
        at: Path = (self.node.name,) if self.node.share else (self.node.name, Copies(part.start, part.stop, self.node.count))
        self.draft.parameters += part.parameters * (1 if self.node.share else count)
        if part.made is not None:
            self.draft.whole = False
            self.draft.pending.extend(item.below(*at) for item in part.made.pending)
        elif isinstance(part.node, Leaf):
            self.outer.share_leaf(part.node, at)
            if definition_of(part.node, part.facts).parameters:
                where = "" if self.node.share else slice_text(part.start, part.stop, self.node.count)
                self.outer.freeze(f"self.{self.node.name}{where}.requires_grad_(False)" if part.frozen else "")

    def _starts(self, parts: list[Part]) -> None:
        """How parameters start, copies that start alike together: `stack.0:12.think.up.weight`."""
        name = self.node.name
        if self.node.share:
            self.draft.starts.update((f"{name}.{address}", begin) for address, begin in parts[0].starts.items())
            return
        runs: dict[str, list[tuple[int, int, str]]] = {}
        for part in parts:
            for address, begin in part.starts.items():
                known = runs.setdefault(address, [])
                joins = known and known[-1][1:] == (part.start, begin)
                known.append((known.pop()[0] if joins else part.start, part.stop, begin))
        for address, known in runs.items():
            for start, stop, begin in known:
                where = str(start) if stop - start == 1 else f"{start}:{stop}"
                self.draft.starts[f"{name}.{where}.{address}"] = begin

    def _shared(self, targets: set[str]) -> None:
        """All copies are more uses of other modules: of one, or of as many copies elsewhere."""
        if len(targets) != 1:
            raise PlanError(f"the copies of `{self.node.name}` share different modules")
        first = self.node.runs[0].node
        if not (isinstance(first, Group) or isinstance(first.definition.build, Module)):
            return
        target = target_of(targets.pop())
        owner = find(self.planner.graph.scope, target)
        listed = isinstance(owner, Repeat) and not owner.share
        if listed and (self.node.share or owner is None or owner.count != self.node.count):
            raise PlanError(f"`{self.node.name}` has other copies than what it is the same as")
        times = 0 if listed or self.node.share else self.node.count
        frozen = any(isinstance(run.node, Leaf) and run.node.freeze for run in self.node.runs)
        self.draft.submodules.append(Submodule(self.node.name, ""))
        self.draft.pending.append(Pending((self.node.name,), target, times, frozen))
        self.draft.whole = False

    # --- forward ---
    def _forward(self, parts: list[Part]) -> None:
        for name in self.into:
            if not self.fed.get(name):
                raise PlanError(f"nothing feeds `{name}` of `{self.node.name}`")
        stream = self.fed[self.into[0]]
        sums: dict[str, int] = {}
        if self.node.beside:
            for part in parts:
                for index in range(part.start, part.stop):
                    self._single(part, index, [stream[0]], sums, self.taps.get(index, set()))
            for name, total in sums.items():
                self.outer.give(self.node, name, total)
            return
        values = [self._joined(parts, stream), *(self.fed[name][0] for name in self.into[1:])]
        for part, start, stop in self._segments(parts):
            values = self._segment(part, start, stop, values, sums)
        last = parts[-1]
        for name, value in zip(self.out, values, strict=True):
            if name in self.read:
                self.outer.give(self.node, name, value)
        for name in self.losses:
            if name in sums:
                self.outer.give(self.node, name, sums[name])
        for port in self.read:
            if port not in (*self.out, *self.losses) and port in last.outputs:
                self._alias(f"{self.node.count - 1}.{port}", port)

    def _joined(self, parts: list[Part], stream: Sequence[int]) -> int:
        """The value that enters the first copy; several feed a `many` port, which joins them there."""
        if len(stream) == 1:
            return stream[0]
        part = parts[0]
        build = definition_of(part.node, part.facts).build if isinstance(part.node, Leaf) else None
        if not isinstance(build, Inline) or not isinstance(part.node, Leaf):
            raise PlanError(f"`{self.into[0]}` of `{self.node.name}` takes one value")
        value = self.outer.inline(part.node, part.facts, build, {**self.fed, self.into[0]: stream})
        self.draft.see(f"{self.node.name}.0.{self.out[0]}", value)
        parts[0] = part._replace(start=1)
        return value

    def _alias(self, tap: str, port: str) -> None:
        value = self.draft.values.get(Ref(self.node.name, tap))
        if value is not None:
            self.outer.give(self.node, port, value)

    def _segments(self, parts: list[Part]) -> list[tuple[Part, int, int]]:
        """Ranges that one loop, or one call, can run: cut where copies differ and where one is tapped."""
        taps = dict(self.taps)
        extra = [port for port in self.read if not port[0].isdigit() and port not in (*self.out, *self.losses)]
        if extra:
            taps[self.node.count - 1] = {*taps.get(self.node.count - 1, set()), *extra}
        ranges: list[tuple[Part, int, int]] = []
        for part in parts:
            if part.start >= part.stop:
                continue
            cuts = {part.start, part.stop}
            for index, ports in taps.items():
                if part.start <= index < part.stop:
                    cuts.add(index + 1)
                    if not ports <= set(self.out):
                        cuts.add(index)
            order = sorted(cuts)
            for start, stop in pairwise(order):
                alone = stop - 1 in taps
                before = ranges[-1] if ranges else None
                if before is not None and before[2] == start and before[2] - 1 not in taps and not alone and self._same_call(before[0], part):
                    ranges[-1] = (before[0], before[1], stop)
                else:
                    ranges.append((part, start, stop))
        self.tapped = taps
        return ranges

    def _same_call(self, a: Part, b: Part) -> bool:
        """Whether one loop can run copies of both: the same arguments, the same results."""
        if bool(a.text) != bool(b.text) or isinstance(a.node, Leaf) != isinstance(b.node, Leaf):
            return False
        return bool(a.text) and (a.inputs, a.outputs) == (b.inputs, b.outputs)

    def _segment(self, part: Part, start: int, stop: int, values: list[int], sums: dict[str, int]) -> list[int]:
        ports = self.tapped.get(stop - 1, set())
        if stop - start == 1:
            return self._single(part, start, values, sums, ports)
        where = f"self.{self.node.name}"
        plain = self.node.share or (not part.text and not self._has_list(part))
        streams = [carried(index) for index in range(len(values))]
        pieces = self.pieces(part, streams, (where,) if plain else (COPY,))
        if pieces == (carried(0),):
            return self._unchanged(stop - 1, values, ports)
        after = [self.draft.new() for _ in values]
        totals: list[tuple[int | None, int]] = []
        results: list[int | None] = []
        for port in part.outputs:
            if port in self.out:
                results.append(carried(self.out.index(port)))
            elif port in self.losses:
                results.append(len(totals))
                totals.append((sums.get(port), self.draft.new()))
                sums[port] = totals[-1][1]
            else:
                results.append(None)
        over = f"range({stop - start})" if plain else self.over(start, stop)
        variable = "_" if plain else "block" if isinstance(part.node, Group) else "layer"
        op = LoopOp(over, variable, tuple(zip(values, after, strict=True)), pieces, tuple(results), totals, self.node.name, start=start, place=place_of(self.node.span))
        op.at = f"{self.node.name}.{{}}." if isinstance(part.node, Group) else None
        op.inside.extend((f"{self.node.name}.{{}}.{port}", index) for index, port in enumerate(part.outputs) if results[index] is not None)
        self.draft.add(op)
        self.draft.values.update((Ref(self.node.name, f"{stop - 1}.{name}"), value) for name, value in zip(self.out, after, strict=True) if name in ports)
        return after

    def _unchanged(self, index: int, values: list[int], ports: set[str]) -> list[int]:
        """Copies that give out what they take: nothing runs, the last one may still be read by its address."""
        (name,), (value,) = self.out, values
        if name in ports:
            self.draft.values[Ref(self.node.name, f"{index}.{name}")] = value
        self.draft.see(f"{self.node.name}.{index}.{name}", value)
        return values

    def _has_list(self, part: Part) -> bool:
        """Whether the copies stand in a list though this part constructs none (it is shared)."""
        return bool(part.node.same) and (isinstance(part.node, Group) or isinstance(definition_of(part.node, part.facts).build, Module))

    def over(self, start: int, stop: int) -> str:
        """The copies that a loop runs over."""
        return f"self.{self.node.name}{slice_text(start, stop, self.node.count)}"

    def pieces(self, part: Part, streams: Sequence[int], callee: Sequence[Piece]) -> tuple[Piece, ...]:
        fed: dict[str, Sequence[int]] = {name: values for name, values in self.fed.items() if name in part.inputs}
        fed.update((name, [self.draft.values[Ref(self.node.name, tap)]]) for name, tap in self.node.links.items() if name in part.inputs)
        fed.update((name, [stream]) for name, stream in zip(self.into, streams, strict=False))
        if isinstance(part.node, Group):
            return group_call(callee, Wanted(part.inputs, part.outputs), fed, part.node)
        definition = definition_of(part.node, part.facts)
        if isinstance(definition.build, Inline):
            return inline(part.node, facts_with(part.facts, 1), definition.build, fed, definition)
        return call(part.node, definition, fed, callee)

    def _single(self, part: Part, index: int, values: list[int], sums: dict[str, int], ports: set[str]) -> list[int]:
        """One copy called by itself."""
        name = self.node.name
        callee = f"self.{name}" if self.node.share else f"self.{name}[{index}]"
        pieces = self.pieces(part, values, (callee,))
        if pieces == (values[0],):
            return self._unchanged(index, values, ports)
        outputs = {port: self.draft.new() for port in part.outputs}
        at = f"{name}.{index}." if isinstance(part.node, Group) else None
        self.draft.add(Op(tuple(outputs.values()), pieces, name, at, place=place_of(self.node.span)))
        for port, result in outputs.items():
            self.draft.see(f"{name}.{index}.{port}", result)
            if port in ports:
                self.draft.values[Ref(name, f"{index}.{port}")] = result
            if port in self.losses:
                before = sums.get(port)
                sums[port] = result if before is None else self.draft.new()
                if before is not None:
                    self.draft.add(Op((sums[port],), (before, " + ", result), "loss"))
        return [outputs[name] for name in self.out]


def list_text(parts: Sequence[Part]) -> str:
    """`nn.ModuleList(Block() for _ in range(12))`; a copy that is an expression leaves its place empty."""
    groups: list[tuple[str, int]] = []
    for part in parts:
        text, count = part.text or "nn.Identity()", part.stop - part.start
        if groups and groups[-1][0] == text:
            groups[-1] = (text, groups[-1][1] + count)
        else:
            groups.append((text, count))
    if len(groups) == 1:
        return f"nn.ModuleList({groups[0][0]} for _ in range({groups[0][1]}))"
    items = (text if count == 1 else f"*({text} for _ in range({count}))" for text, count in groups)
    return f"nn.ModuleList([{', '.join(items)}])"
