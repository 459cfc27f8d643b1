"""Type inference: Graph -> Facts in one walk along the edges; conflicts are facts, nothing raises.

A width that nothing determines yet is a variable. Where some remain, the walk is done again with
what the claims on them say: first hard equations, then, for each width still open, the set of
known widths that meet it over edges: exactly one binds it, two are `dim-ambiguous`. All widths of
a round bind together, so the order of nodes and edges never matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import groupby

from assembler.facts.model import Bridging, Conflict, Facts, Guard, NodeFacts, ScopeFacts
from assembler.facts.owners import Again, Uses, owners
from assembler.facts.types.found import Arrival, Bridge, Claim, Finding, Match, is_open, new_arrival
from assembler.facts.types.guard import needed
from assembler.facts.types.match import match
from assembler.facts.types.result import complete, judge, results, static
from assembler.facts.types.signature import Signature, signature
from assembler.facts.types.unify import Unifier
from assembler.graph.address import copies_text
from assembler.graph.model import Edge, Graph, Group, Leaf, Node, Ref, Repeat, Scope
from assembler_schemas.dim import DimLimit, show, variables
from assembler_schemas.dim import name as dim_name
from assembler_schemas.kind import Definition, Options
from assembler_schemas.shape import Dim, Type

MAX_ROUNDS = 24
MAX_DISTINCT = 10_000
"""Copies of one repeat that may differ in their types."""

Types = dict[str, Sequence[Arrival]]
UNKNOWN = Arrival(None)


def infer(graph: Graph) -> Facts:
    """The type at every port of a graph, and everything that does not fit."""
    solved: dict[str, dict[str, Dim]] = {}
    shared = owners(graph.scope)
    ambiguous: list[Conflict] = []
    for _ in range(MAX_ROUNDS):
        walk = _Walk(solved, Uses(shared))
        root = walk.scope(graph.scope, dict(graph.inputs), "")
        walk.judge_again()
        if not walk.open:
            break
        more = walk.settle()
        ambiguous = walk.ambiguous
        if not more:
            walk.conflicts.extend(walk.underdetermined())
            break
        for (address, name), value in more.items():
            solved.setdefault(address, {})[name] = value
    guards = {(guard.relation, guard.left, guard.right): guard for guard in reversed(walk.guards)}
    return Facts(root, needed(list(reversed(guards.values()))), (*walk.conflicts, *ambiguous), tuple(walk.bridges))


_MEMO: dict[tuple[object, ...], tuple[NodeFacts, Match]] = {}
"""Leaves already worked out, of which nothing is to be said: by definition, types that reach it, dtype."""
_RANKED: dict[tuple[int, int], tuple[Options, Definition]] = {}
"""Definitions of `by_rank` kinds, by the identity of their options and the rank."""


@dataclass(slots=True, eq=False, repr=False)
class _Walk:
    solved: Mapping[str, Mapping[str, Dim]]
    """Leaf -> the sizes that earlier rounds found."""
    uses: Uses
    conflicts: list[Conflict] = field(default_factory=list)
    bridges: list[Bridging] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)
    open: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Variable -> (address of the leaf, its size option)."""
    leaves: dict[str, Leaf] = field(default_factory=dict)
    claims: list[tuple[str, Leaf, Claim]] = field(default_factory=list)
    equal: list[tuple[Dim, Dim]] = field(default_factory=list)
    alike: list[tuple[Dim, Dim]] = field(default_factory=list)
    """Equal where nothing else decides: what copies take and give, which need not be of one width."""
    again: list[tuple[str, Again, Bridge, Bridging]] = field(default_factory=list)
    """Bridges inside further uses of whole groups: address in the group itself, the use, what was found."""
    ambiguous: list[Conflict] = field(default_factory=list)
    hints: dict[str, Dim] = field(default_factory=dict)

    # --- scopes ---
    def scope(self, scope: Scope, inputs: Mapping[str, Type | None], address: str) -> ScopeFacts:
        values: dict[tuple[str, str], Arrival] = {("", name): Arrival(kind) for name, kind in inputs.items()}
        nodes: dict[str, NodeFacts] = {}
        prefix = f"{address}." if address else ""
        for name, node in scope.nodes.items():
            arrivals: Types = {}
            for port, edges in node.inputs.items():
                if len(edges) == 1 and not edges[0].follows:
                    arrivals[port] = (values.get(edges[0].source, UNKNOWN),)
                    continue
                found = [values.get(edge.source, UNKNOWN) for edge in edges]
                for place, edge in enumerate(edges):
                    if edge.follows:
                        found[place] = Arrival(found[place].type, True)
                arrivals[port] = tuple(found)
            facts = self.leaf(node, arrivals, prefix + name, scope) if type(node) is Leaf else self.node(node, arrivals, prefix + name, scope)
            nodes[name] = facts
            for port, kind in facts.outputs.items():
                values[name, port] = new_arrival((kind, False))
        outputs = {name: values.get(ref, UNKNOWN).type for name, ref in scope.outputs.items()}
        return ScopeFacts(inputs, nodes, outputs)

    def node(self, node: Node, arrivals: Types, address: str, scope: Scope | None) -> NodeFacts:
        if isinstance(node, Leaf):
            return self.leaf(node, arrivals, address, scope)
        if isinstance(node, Group):
            return self.group(node, arrivals, address)
        return self.repeat(node, arrivals, address)

    def group(self, node: Group, arrivals: Types, address: str) -> NodeFacts:
        given = {port: values[0].type for port, values in arrivals.items() if values}
        inside = self._declared(node, given, address)
        given_inside = {name: inside.get(name) for name in node.scope.inputs if name in inside}
        with self.uses.group(node, address) if self.uses.shared else nullcontext():
            inner = self.scope(node.scope, given_inside, address)
        inputs = {port: (kind,) for port, kind in given.items() if kind is not None}
        return NodeFacts(inputs, inner.outputs, {}, None, inner)

    def _declared(self, node: Group, given: Mapping[str, Type | None], address: str) -> dict[str, Type | None]:
        """A closed graph's declared inputs, held against what arrives; names unify across them."""
        declared = {name: port for name, port in node.scope.inputs.items() if port.type}
        if not declared:
            return dict(given)
        definition = Definition(declared, {}, None)  # type: ignore[arg-type]
        arrivals = {name: (Arrival(given[name]),) for name in declared if name in given}
        found = match(signature(definition), arrivals, {}, frozenset(), None)
        self._report(found, node, address)
        known: dict[str, Type | None] = {name: types[0] for name, types in found.inputs.items() if types}
        for finding in found.findings:
            if finding.name == "...":
                known[finding.port] = None  # said at the edge: nothing inside repeats it
        return {**given, **known}

    # --- repeats ---
    def repeat(self, node: Repeat, arrivals: Types, address: str) -> NodeFacts:
        streams = node.streams
        here: dict[str, Sequence[Arrival]] = {into: arrivals.get(into, (UNKNOWN,)) for into, _ in streams}
        runs: list[tuple[int, NodeFacts]] = []
        start, copies = 0, node.count
        for run in node.runs:
            inside = address if node.share else f"{address}.{copies_text(start, start + run.count, copies)}"
            done, starts = 0, list[int]()
            while done < run.count:
                starts.append(start + done)
                before = len(self.conflicts)
                links = {port: (Arrival(_tapped(runs, tap)),) for port, tap in node.links.items()} if runs else {}
                if not node.share:
                    self.uses.turns.append((inside, len(starts) - 1, start + done))
                facts = self.node(run.node, {**arrivals, **links, **here}, inside, None)
                if not node.share:
                    self.uses.turns.pop()
                passed = {into: facts.outputs.get(out) for into, out in streams}
                rest = run.count - done
                settled = node.beside or rest == 1 or len(self.conflicts) > before or all(self._settled(here[into][0].type, out) for into, out in passed.items())
                if len(runs) > MAX_DISTINCT:
                    self.conflicts.append(Conflict("limit-equations", address, span=node.span, detail={"text": f"more than {MAX_DISTINCT} copies of different types"}))
                    settled = True
                count = rest if settled else 1
                if node.share and runs and _unlike(_parameter_sizes(run.node, facts), _parameter_sizes(run.node, runs[-1][1])):
                    self.conflicts.append(Conflict("share-mismatch", address, node=run.node, span=node.span, detail={"text": "its copies share one set of weights, but the second copy would need others", "first": runs[-1][1].sizes, "second": facts.sizes}))
                    passed = dict.fromkeys(passed)
                    count = rest
                runs.append((count, facts))
                done += count
                if not node.beside:
                    here = {into: (Arrival(out),) for into, out in passed.items()}
            start += run.count
            if len(starts) > 1:
                self.uses.spread[inside] = starts
        last = runs[-1][1]
        outputs: dict[str, Type | None] = dict(last.outputs)
        for port in node.losses:  # Which the last copy need not have.
            outputs[port] = next((facts.outputs[port] for _, facts in runs if port in facts.outputs), None)
        for tap in node.taps:
            index, _, port = tap.partition(".")
            outputs[tap] = _copy(runs, int(index)).outputs.get(port)
        return NodeFacts(runs[0][1].inputs, outputs, {}, None, None, tuple(runs))

    def _settled(self, given: Type | None, out: Type | None) -> bool:
        """Whether the next copy finds on a stream what this one found; sizes that are open must then be equal."""
        if out is None or out == given:
            return True
        if given is None or len(out.dims) != len(given.dims) or not any(is_open(dim) for dim in (*out.dims, *given.dims)):
            return False
        self.alike.extend((a, b) for a, b in zip(out.dims, given.dims, strict=True) if a != b)
        return True

    # --- leaves ---
    def leaf(self, node: Leaf, arrivals: Types, address: str, scope: Scope | None) -> NodeFacts:
        definition = _ranked(node, arrivals) if node.kind.by_rank else node.definition
        owner = self.uses.owner(node, address) if self.uses.shared else ""
        solved = self.solved.get(address, {}) if self.solved else {}
        key = None
        if not owner and not solved:
            key = (id(definition), node.dtype, node.adapter, *arrivals.items())
            hit = _MEMO.get(key)
            if hit is not None and hit[0].definition is definition:
                if hit[1].conditions:
                    self._guards(hit[1], node, address)
                return hit[0]
        ready = signature(definition)
        turn, by, fixed = self.uses.first(node, address, owner) if owner else ((), "", {})
        if by == address:
            fixed = {}
        sizes = {**{name: value for name, value in fixed.items() if name in ready.static and name not in definition.sizes}, **solved, **definition.sizes}
        try:
            found = match(ready, arrivals, sizes, frozenset(definition.sizes), node.dtype)
            complete(found, ready, bool(node.adapter))
            before = len(found.findings)
            judge(found, ready)
            if len(found.findings) > before:
                found.unknown = True
            if not found.unknown:
                self._leave_open(found, ready, node, address)
            static(found, ready)
            results(found, ready)
        except DimLimit as error:
            return self._too_much(node, arrivals, address, definition, error)
        if owner and by in ("", address) and not found.unknown:
            self.uses.fixed.setdefault(owner, {}).setdefault(turn, (address, {name: value for name, value in found.sizes.items() if name in ready.static}))
        facts = NodeFacts(found.inputs, found.outputs, found.sizes, definition)
        quiet = not (found.findings or found.claims or found.equal or found.bridges or found.unknown)
        if quiet and key is not None and not any(is_open(value) for value in found.sizes.values()):
            if len(_MEMO) > 5_000:
                _MEMO.clear()
            _MEMO[key] = facts, found
        self._report(found, node, address)
        self._bridge(found, node, address, scope)
        return facts

    def _too_much(self, node: Leaf, arrivals: Types, address: str, definition: Definition, error: DimLimit) -> NodeFacts:
        """A size that outgrew what arithmetic on sizes takes; what follows is unknown."""
        text = f"a size that is {error.reason} to work out"
        self.conflicts.append(Conflict("limit-equations", address, node=node, span=node.span, detail={"text": text}))
        inputs = {port: tuple(arrival.type for arrival in values if arrival.type is not None) for port, values in arrivals.items()}
        return NodeFacts(inputs, dict.fromkeys(definition.outputs), {}, definition)

    def _leave_open(self, found: Match, ready: Signature, node: Leaf, address: str) -> None:
        """Sizes that nothing decided become variables."""
        needed = dict.fromkeys(ready.static)
        for side in ready.outputs:
            for pattern in side.dims:
                if isinstance(pattern, str):
                    needed[pattern] = None
                elif not isinstance(pattern, int) and "#" not in pattern.text:
                    needed.update(dict.fromkeys(pattern.names))
        for name in needed:
            if name not in found.sizes:
                variable = f"?{len(self.open)}:{name}"
                found.sizes[name] = dim_name(variable)
                self.open[variable] = (address, name)
                self.leaves[address] = node
                if node.adapter:
                    width = found.sizes.get("in")
                    if width is not None:
                        self.hints[variable] = width
        complete(found, ready, bool(node.adapter))

    def _report(self, found: Match, node: Leaf | Group, address: str) -> None:
        for finding in found.findings:
            self.conflicts.append(_conflict(finding, node, address, found))
        self.claims.extend((address, node, claim) for claim in found.claims)  # type: ignore[misc]
        self.equal.extend((one, two) for one, two, _, _ in found.equal)
        if found.conditions:
            self._guards(found, node, address)

    def _guards(self, found: Match, node: Leaf | Group, address: str) -> None:
        for relation, left, right, about in found.conditions:
            if not (variables(left) or variables(right)):
                self.guards.append(Guard(relation, left, right, address, node.span, about))

    def _bridge(self, found: Match, node: Leaf, address: str, scope: Scope | None) -> None:
        for bridge in found.bridges:
            edge = node.inputs[bridge.port][bridge.at] if bridge.port in node.inputs else Edge(Ref("", ""))
            made = Bridging(address, bridge.port, bridge.at, bridge.source.dims[0], bridge.target.dims[0], edge, node, scope, found.dtype)
            if self.uses.around:
                self.again.append((self.uses.met(address), self.uses.around[-1], bridge, made))
            else:
                self.bridges.append(made)

    def judge_again(self) -> None:
        """One more use of a whole group runs the code of the first: it is mended where that one is, and nowhere else."""
        if not self.again:
            return
        mended = {(item.address, item.port, item.index, item.source, item.target) for item in self.bridges}
        for met, use, bridge, made in self.again:
            if (met, made.port, made.index, made.source, made.target) in mended:
                self.bridges.append(made)
                continue
            own = use.address
            text = f"is one more use of `{use.target}`, whose `{made.address.removeprefix(own + '.')}` takes {show(bridge.target.dims[0])}, and {show(bridge.source.dims[0])} arrives"
            self.conflicts.append(Conflict("share-mismatch", own, node=use.node, span=use.node.span, detail={"text": text, "help": "feed it the same width, or write `like:` for weights of its own"}))

    # --- open widths ---
    def settle(self) -> dict[tuple[str, str], Dim]:
        """What the equations and claims of this walk say of the open widths."""
        unifier = Unifier()
        for equal, weak in ((self.equal, False), (self.alike, False), ([], True)):  # Each only where those before say nothing.
            for one, two in equal:
                unifier.equal(one, two)
            found = self._claimed(unifier, [item for item in self.claims if item[2].weak == weak])
            if found or self.ambiguous:
                return found
        widths = {self.open[variable]: unifier.resolve(width) for variable, width in self.hints.items()}
        return {place: width for place, width in widths.items() if not variables(width)}

    def _claimed(self, unifier: Unifier, claims: Sequence[tuple[str, Leaf, Claim]]) -> dict[tuple[str, str], Dim]:
        """The open widths that the equations and these claims fix."""
        wanted: dict[Dim, dict[Dim, list[tuple[str, Leaf, Claim]]]] = {}
        for item in claims:
            unknown, value = unifier.resolve(item[2].unknown), unifier.resolve(item[2].value)
            if is_open(value):
                if not is_open(unknown):
                    unknown, value = value, unknown
                elif unknown != value:
                    wanted.setdefault(unknown, {})
                    continue
            if is_open(unknown):
                wanted.setdefault(unknown, {}).setdefault(value, []).append(item)
        for unknown, values in wanted.items():
            if len(values) == 1:
                unifier.equal(unknown, next(iter(values)))
            elif len(values) > 1:
                self._rivals(unknown, values)
        found: dict[tuple[str, str], Dim] = {}
        for variable, place in self.open.items():
            value = unifier.resolve(dim_name(variable))
            if not variables(value):
                found[place] = value
        return found

    def _rivals(self, unknown: Dim, values: Mapping[Dim, list[tuple[str, Leaf, Claim]]]) -> None:
        variable = next(iter(variables(unknown)))
        address, name = self.open[variable]
        claims = [(value, items[0][0], items[0][1]) for value, items in values.items()]
        self.ambiguous.append(Conflict("dim-ambiguous", address, node=self.leaves[address], span=self.leaves[address].span, detail={"name": name, "claims": claims}))

    def underdetermined(self) -> list[Conflict]:
        said = {conflict.address for conflict in self.ambiguous}
        found = []
        for address, name in dict.fromkeys(self.open.values()):
            if address not in said:
                found.append(Conflict("dim-underdetermined", address, node=self.leaves[address], span=self.leaves[address].span, detail={"name": name}))
                said.add(address)
        return found


def _ranked(node: Leaf, arrivals: Types) -> Definition:
    """The definition of a `by_rank` kind for the rank that arrives."""
    first = next(iter(arrivals.values()), (UNKNOWN,))
    kind = first[0].type if first else None
    if kind is None:
        return node.definition
    key = (id(node.options), len(kind.dims))
    found = _RANKED.get(key)
    if found is None or found[0] is not node.options:
        found = _RANKED[key] = (node.options, node.kind.define(node.options, len(kind.dims)))
    return found[1]


def _tapped(runs: list[tuple[int, NodeFacts]], tap: str) -> Type | None:
    """The type of a copy's output, `1.y`; None for a copy that is not walked yet."""
    index, _, port = tap.partition(".")
    return _copy(runs, int(index)).outputs.get(port) if int(index) < sum(count for count, _ in runs) else None


def _copy(runs: list[tuple[int, NodeFacts]], index: int) -> NodeFacts:
    for count, facts in runs:
        if index < count:
            return facts
        index -= count
    raise IndexError(index)


def _parameter_sizes(node: Node, facts: NodeFacts) -> object:
    """Everything that fixes the shapes of a node's parameters."""
    if facts.definition is not None:
        ready = signature(facts.definition)
        return tuple((name, facts.sizes.get(name)) for name in ready.static)
    if facts.inner is not None and isinstance(node, Group):
        return tuple((name, _parameter_sizes(node.scope.nodes[name], item)) for name, item in facts.inner.nodes.items())
    if isinstance(node, Repeat):
        # Copies may be told apart by more than their sizes (a medium): like sizes in a row are one.
        return tuple(sizes for sizes, _ in groupby(_parameter_sizes(node.runs[0].node, item) for _, item in facts.runs))
    return ()


def _unlike(one: object, two: object) -> bool:
    """Whether two such sizes differ; one that is unknown differs from none."""
    if isinstance(one, tuple) and isinstance(two, tuple) and len(one) == len(two):
        return any(_unlike(a, b) for a, b in zip(one, two, strict=True))
    return one is not None and two is not None and one != two


def _conflict(finding: Finding, node: Leaf | Group, address: str, found: Match) -> Conflict:
    edges = node.inputs.get(finding.port, ())
    edge = edges[finding.at] if finding.at < len(edges) else None
    detail: dict[str, object] = {"name": finding.name, "axis": finding.axis, "text": finding.text, "stated": finding.name in found.stated, "sizes": found.sizes}
    if finding.other is not None:
        others = node.inputs.get(finding.other[0], ())
        detail["other_port"] = finding.other[0]
        detail["other_axis"] = finding.other[2]
        detail["other_edge"] = others[finding.other[1]] if finding.other[1] < len(others) else None
    return Conflict(finding.code, address, finding.port, edge, finding.found, finding.wanted, detail, node, node.span)
