"""Modules that the caller hands over: parameters of the constructor, and one call of all their stretches.

Between two stretches stands what grafts do at a site. That becomes a method, which the module's own
forward calls by a hook once the site has its value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from assembler.compiler.model import Handed, HandedPort, Method, PlanError, Submodule
from assembler.compiler.names import fresh, identifier, literal, variable
from assembler.compiler.values import LoopOp, Op, Piece, settle
from assembler.facts.model import NodeFacts
from assembler.graph.model import Leaf, Ref
from assembler_schemas.kind import Definition, Given

if TYPE_CHECKING:
    from assembler.compiler.scope import Fed, ScopeBuilder

LINE = "\n" + 12 * " "
"""An argument of a call in a method on a line of its own."""
RESERVED = frozenset({"self", "seed", "here", "torch", "nn", "hashlib", "initialize", "super"})


@dataclass(slots=True)
class Stretch:
    """One node of the chain as it was visited."""

    node: Leaf
    facts: NodeFacts
    definition: Definition
    build: Given
    fed: Fed
    outputs: dict[str, int]


@dataclass(slots=True)
class Hosted:
    """One module while its stretches are visited. `mark`: how many operations came before the first; `last`: the last one that anybody needs."""

    mark: int
    last: str
    stretches: list[Stretch] = field(default_factory=list)


@dataclass(slots=True)
class Stage:
    """What runs inside at one site. `takes`: values, in the order of the method's parameters."""

    site: str
    merged: int
    ops: list[Op | LoopOp]
    takes: list[int] = field(default_factory=list)
    gives: list[int] = field(default_factory=list)

    @property
    def made(self) -> set[int]:
        return {value for op in self.ops for value in op.outputs}


# --- __init__ ---
def hand_over(builder: ScopeBuilder, name: str, node: Leaf, ports: Handed) -> str:
    """The line of `__init__` for a module that is handed over; the parameter by which it comes."""
    draft = builder.draft
    parameter = fresh(variable(name), {*RESERVED, *(item.parameter for item in draft.given)})
    draft.submodules.append(Submodule(name, f"{parameter}.requires_grad_(False)" if node.freeze else parameter))
    draft.whole = draft.whole and node.freeze
    draft.given.append(replace(ports, parameter=parameter))
    return parameter


def ports_of(name: str, stretches: Sequence[tuple[Leaf, NodeFacts, Given]]) -> Handed:
    """What a module takes and gives, for whoever measures it."""
    first, facts, _ = stretches[0]
    last = stretches[-1][2]
    inputs = tuple(HandedPort(port, kinds[0], first.spans.get(f"in.{port}", first.span)) for port, kinds in facts.inputs.items() if kinds)
    outputs, sites = list[HandedPort](), list[HandedPort]()
    for node, known, build in stretches:
        for port, kind in known.outputs.items():
            where = f"sites.{port}" if port in build.sites else f"out.{port}"
            item = HandedPort(port, kind, node.spans.get(where, node.spans.get("host", node.span)), build.sites.get(port, ""))
            (sites if port in build.sites else outputs).append(item)
    config = getattr(first.options, "host", None) or {}
    return Handed(name, "", inputs, tuple(outputs), tuple(sites), last.call, first.spans.get("host", first.span), tuple(config.items()))


# --- forward ---
def visit(builder: ScopeBuilder, node: Leaf, facts: NodeFacts, definition: Definition, fed: Fed, read: set[str]) -> None:
    """One stretch; with the last one that anybody needs comes the call."""
    build = definition.build
    assert isinstance(build, Given)
    draft, host = builder.draft, build.node or node.name
    hosted = builder.hosted.get(host)
    if hosted is None:
        hosted = builder.hosted[host] = Hosted(len(draft.ops), _last(builder, host))
    outputs = {port: draft.new() for port in definition.outputs if port in read}
    for port, value in outputs.items():
        draft.values[Ref(node.name, port)] = value
        draft.made_by[value] = Op((value,), (), node.name)  # holds its probes until it is known where it can be seen
        draft.see(f"{node.name}.{port}", value)
    hosted.stretches.append(Stretch(node, facts, definition, build, fed, outputs))
    if node.name == hosted.last:
        _Call(builder, host, hosted).close()


def _last(builder: ScopeBuilder, host: str) -> str:
    """The last stretch of a module that an output needs."""
    found = ""
    for name, node in builder.scope.nodes.items():
        build = node.definition.build if isinstance(node, Leaf) and name in builder.alive else None
        if isinstance(build, Given) and (build.node or name) == host:
            found = name
    return found


class _Call:
    def __init__(self, builder: ScopeBuilder, host: str, hosted: Hosted) -> None:
        self.builder, self.draft, self.host, self.stretches = builder, builder.draft, host, hosted.stretches
        self.inner = self.draft.ops[hosted.mark :]
        del self.draft.ops[hosted.mark :]
        self.places = {value: place for place, op in enumerate(self.inner) for value in op.outputs}
        self.taken: set[int] = set()
        """The operations, by place, that run inside."""
        self.sites = {value: port for item in self.stretches for port, value in item.outputs.items() if port in item.build.sites}
        self.keys = dict(self.sites)
        """Value from inside -> what it is called there."""
        self.own: set[int] = set()
        """The values that are made inside: what a graft puts in the place of a site's may be there before."""
        self.marks = {value: self.draft.made_by[value] for item in self.stretches for value in item.outputs.values()}
        """Value of a stretch -> its probes, as long as they have no place."""

    def close(self) -> None:
        stages = list(self._stages())
        self.own.update(self.sites, *(stage.made for stage in stages))
        self.inner = [op for place, op in enumerate(self.inner) if place not in self.taken]
        outside, taken = self._read_outside(), {value for stage in stages for value in stage.takes}
        names = set(self.keys.values())
        for stage in stages:
            stage.gives = [stage.merged, *(value for value in sorted(stage.made) if value != stage.merged and (value in taken or value in outside))]
            for value in stage.gives:
                if value not in self.keys:
                    op = self.draft.made_by.get(value)
                    self.keys[value] = fresh(variable(op.name if op is not None else "value"), names)
                    names.add(self.keys[value])
        last = self.stretches[-1]
        kept = [value for value in self.keys if value in outside and value in self.own]
        direct = {port: value for port, value in last.outputs.items() if port not in last.build.sites}
        sites = {*(stage.site for stage in stages), *(site for value, site in self.sites.items() if value in outside or value in taken)}
        self._module(sites)
        self._add(stages, direct, kept, bool(sites))
        for value in (*direct.values(), *kept):
            if value in self.marks:
                self.draft.ops[-1].probes.extend(self.marks[value].probes)
        self.draft.ops.extend(self.inner)

    def _stages(self) -> Iterator[Stage]:
        """What must be done at each site so that the next stretch can go on."""
        for stretch, following in pairwise(self.stretches):
            site = stretch.definition.main
            (merged,) = following.fed[following.build.back]
            if merged == stretch.outputs.get(site):
                continue
            stage = Stage(site, merged, self._take(merged))
            made = stage.made
            reads = [value for op in stage.ops for value in op.inputs if value not in made]
            stage.takes = list(dict.fromkeys([*reads, *([merged] if merged not in made else [])]))
            yield stage

    def _take(self, value: int) -> list[Op | LoopOp]:
        """The operations that make a value, in order; no later stage has them again."""
        found, todo = set[int](), [value]
        while todo:
            place = self.places.get(todo.pop())
            if place is not None and place not in self.taken:
                self.taken.add(place)
                found.add(place)
                todo.extend(self.inner[place].inputs)
        return [self.inner[place] for place in sorted(found)]

    def _read_outside(self) -> set[int]:
        """The values that are read once the module has run."""
        builder, nodes = self.builder, self.builder.scope.nodes
        found = {value for op in self.inner for value in op.inputs}
        names = list(nodes)
        for name in names[names.index(self.stretches[-1].node.name) + 1 :]:
            if name in builder.alive:
                found.update(self.draft.values[edge.source] for edges in nodes[name].inputs.values() for edge in edges if edge.source in self.draft.values)
        refs = (builder.scope.outputs[name] for name in builder.wanted.outputs)
        found.update(self.draft.values[ref] for ref in refs if ref in self.draft.values)
        return found

    def _module(self, sites: Set[str]) -> None:
        first = self.stretches[0]
        if first.node.same:
            if sites:
                raise PlanError(f"`{self.host}` is one more use of `{first.node.same}`, and has no sites of its own")
            self.builder.leaf_module(first.node, first.facts)
            return
        paths = {port: path for item in self.stretches for port, path in item.build.sites.items()}
        ports = ports_of(self.host, [(item.node, item.facts, item.build) for item in self.stretches])
        parameter = hand_over(self.builder, self.host, first.node, ports)
        if sites:
            order = [site for site in paths if site in sites]
            arguments = ", ".join(f"{identifier(site)}={literal(paths[site])}" for site in order)
            self.builder.planner.use("Sites")
            self.draft.submodules.append(Submodule(f"_in_{self.host}", f"Sites({parameter}, {arguments})"))

    def _add(self, stages: Sequence[Stage], direct: dict[str, int], kept: Sequence[int], inside: bool) -> None:
        """The operation that calls the module."""
        final = self.stretches[-1]
        positions = {port: final.build.outputs.index(port) for port in direct}
        outputs = (*direct.values(), *kept)
        names = (*direct, *(self.keys[value] for value in kept))
        pieces: list[Piece]
        if inside:
            table = ", ".join(f"{literal(port)}: {at}" for port, at in positions.items())
            keep = literal(tuple(self.keys[value] for value in kept))
            pieces = [f"self._in_{self.host}.run({LINE}self.{self.host},{LINE}{{{table}}},{LINE}{keep},{LINE}{{"]
            for stage in stages:
                pieces += [f"{LINE}    ", *self._stage(stage), ","]
            pieces += [f"{LINE}}}" if stages else "}", *self._arguments(f",{LINE}"), f"{LINE[:-4]})"]
        elif len(direct) == 1:
            self.builder.planner.use("Given")
            ((port, at),) = positions.items()
            pieces = [f"Given.output(self.{self.host}(", *self._arguments(""), f"), {literal(port)}, {at})"]
        else:
            self.builder.planner.use("Given")
            pieces = [f"Given.outputs(self.{self.host}(", *self._arguments(""), "), ", ", ".join(f"{identifier(port)}={at}" for port, at in positions.items()), ")"]
        from assembler.compiler.scope import place_of

        self.draft.add(Op(outputs, tuple(pieces), self.host, "" if stages else None, place=place_of(final.node.span), ports=names if len(names) > 1 else ()))

    def _arguments(self, before: str) -> Iterator[Piece]:
        after = before or ", "
        first = self.stretches[0]
        for port, values in first.fed.items():
            if values and port != first.build.back:
                yield f"{before}{identifier(port)}="
                yield values[0]
                before = after
        for name, value in first.build.call:
            yield f"{before}{name}={literal(value)}"
            before = after

    # --- what runs inside ---
    def _stage(self, stage: Stage) -> list[Piece]:
        """`"h3": (self._at_bert_h3, ("h3",), (x,), ("side_add",))`, and the method itself."""
        inside = [value for value in stage.takes if value in self.own]
        others = [value for value in stage.takes if value not in self.own]
        stage.takes = [*inside, *others]
        names: dict[int, str] = {}
        for value in stage.takes:
            names[value] = fresh(variable(self.keys.get(value) or self._called(value)), names.values())
        steps, returns = settle(stage.ops, names, stage.gives, False)
        entry = [(address, names[value]) for value in names if value in self.marks for address, _ in self.marks.pop(value).probes]
        method = Method(
            fresh(f"_at_{self.host}_{stage.site}", {item.name for item in self.draft.methods} if len(self.builder.hosted) > 1 else ()), f"What stands inside `{self.host}` at `{stage.site}`.",
            tuple(names[value] for value in stage.takes), steps, returns, tuple(entry),
        )  # fmt: skip
        self.draft.methods.append(method)
        pieces: list[Piece] = [f"{literal(stage.site)}: (self.{method.name}, {literal(tuple(self.keys[value] for value in inside))}, ("]
        for index, value in enumerate(others):
            pieces += [", ", value] if index else [value]
        tail = ",)" if len(others) == 1 else ")"
        return [*pieces, f"{tail}, {literal(tuple(self.keys[value] for value in stage.gives))})"]

    def _called(self, value: int) -> str:
        """What a value from outside is called: after what makes it."""
        op = self.draft.made_by.get(value)
        if op is not None:
            return op.name
        return next((ref.port for ref, number in self.draft.values.items() if number == value), "value")
