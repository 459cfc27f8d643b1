"""The flow of a graph: every use of a kind in the order in which they run, each copy by itself.

What is asked of values and parameters (what norm they have, what is zero, how large they are, who
learns) is asked of this. Values and weights are numbered; a value that passes a border keeps its
number. Analyses read the bodies of the uses (docs/primitives.md) and nothing else of a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from assembler.facts.count import shapes
from assembler.facts.model import Facts, NodeFacts, ScopeFacts
from assembler.facts.number import number, start_of
from assembler.facts.owners import inside, run_at
from assembler.facts.start import starts
from assembler.graph.address import Slice, parse_address
from assembler.graph.model import Graph, Leaf, Node, Repeat, Scope
from assembler.library import registry
from assembler_schemas.kind import Definition
from assembler_schemas.shape import Type

SCALAR = Type("scalar", "float", ())
MAX_USES = 20_000
"""Uses of kinds that are unfolded. A larger graph has no flow."""


class Weight(NamedTuple):
    """One parameter or buffer of the model, however often it is used."""

    address: str
    """Its key in the `state_dict`, at the node that owns it."""
    key: str
    """Its name on the card: `up.weight`."""
    shape: tuple[int, ...]
    init: str
    """How it starts (`facts/start.py`); `copy(address)` names the weight whose values it takes, itself no copy."""
    node: Leaf
    writes: bool
    buffer: bool
    trainable: bool


class Use(NamedTuple):
    """One use of a kind. Values and weights by number; a `many` port has several values."""

    address: str
    """With the numbers of copies: `encoder.3.attend`."""
    node: Leaf
    facts: NodeFacts
    definition: Definition
    inputs: Mapping[str, tuple[int, ...]]
    """By port; an optional one that is not fed is missing."""
    outputs: Mapping[str, int]
    weights: Mapping[str, int]
    """By name on the card; a shared or tied weight has one number wherever it is used."""


_weight: Callable[[tuple[str, str, tuple[int, ...], str, Leaf, bool, bool, bool]], Weight] = partial(tuple.__new__, Weight)
_use: Callable[[tuple[str, Leaf, NodeFacts, Definition, Mapping[str, tuple[int, ...]], Mapping[str, int], Mapping[str, int]]], Use] = partial(tuple.__new__, Use)
"""The fields in a row, as one tuple: a third of the time of a call of the class, of which a large flow makes tens of thousands."""


class Flow(NamedTuple):
    """A whole graph, unfolded."""

    uses: tuple[Use, ...]
    weights: tuple[Weight, ...]
    inputs: Mapping[str, int]
    """Inputs of the recipe -> value."""
    outputs: Mapping[str, int]
    """Outputs of the recipe, auxiliary losses included -> value."""
    makers: tuple[int, ...]
    """For each value the use that makes it; -1 for an input of the recipe."""
    places: Mapping[str, int]
    """Address of every output of every node, copies and groups included -> value."""
    sorts: tuple[Sequence[Use], ...]
    """The uses once more, those of one definition together: what only a few definitions are asked is soon asked."""


def flow(graph: Graph, facts: Facts) -> Flow | None:
    """The flow of a graph without conflicts; None beyond `MAX_USES`."""
    walk = _Walk(graph.scope)
    inputs = {name: walk.value(-1) for name in graph.scope.inputs}
    try:
        given = walk.scope(graph.scope, facts.root, "", "", {name: (value,) for name, value in inputs.items()})
    except _TooMany:
        return None
    weights = walk.owned()
    return Flow(tuple(walk.uses), weights, inputs, {name: given[name] for name in graph.scope.outputs if name in given}, tuple(walk.makers), walk.places, tuple(walk.sorts.values()))


def named(found: Flow) -> dict[int, str]:
    """What each value is called: an output of the use that makes it, or an input of the recipe."""
    names = {value: f"{use.address}.{port}" for use in found.uses for port, value in use.outputs.items()}
    names.update({value: name for name, value in found.inputs.items()})
    return names


class _TooMany(Exception):
    """More uses than `MAX_USES`."""


Fed = Mapping[str, tuple[int, ...]]


class _Card(NamedTuple):
    """One weight of all leaves that share their facts."""

    key: str
    shape: tuple[int, ...]
    start: str
    writes: bool
    buffer: bool
    trains: bool | None
    copy: bool
    """It starts as a copy of another weight."""


_CARDS: dict[int, tuple[NodeFacts, tuple[_Card, ...]]] = {}
"""By the identity of facts, which all leaves that are alike share."""


@dataclass(slots=True, eq=False, repr=False)
class _Walk:
    """Addresses are those of copies: a segment that is a number is one."""

    root: Scope
    uses: list[Use] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    """For each use the node whose module it is one more use of."""
    numbers: list[dict[str, int]] = field(default_factory=list)
    """The weights of each use, which are known in the end."""
    makers: list[int] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    sorts: dict[int, list[Use]] = field(default_factory=dict)
    """By the identity of definitions."""

    def value(self, maker: int) -> int:
        self.makers.append(maker)
        return len(self.makers) - 1

    # --- values ---
    def scope(self, scope: Scope, facts: ScopeFacts, prefix: str, owner: str, fed: Fed) -> dict[str, int]:
        """Output name -> value. `owner`: below which the modules of what is inside stand. The reader bounds the nesting."""
        values: dict[tuple[str, str], tuple[int, ...]] = {("", name): found for name, found in fed.items()}
        for name, node in scope.nodes.items():
            inputs: dict[str, tuple[int, ...]] = {}
            for port, edges in node.inputs.items():
                if len(edges) == 1:
                    found = values.get(edges[0].source, ())
                else:
                    found = tuple([value for edge in edges for value in values.get(edge.source, ())])
                if found:
                    inputs[port] = found
            address = prefix + name
            if type(node) is Leaf:  # By far the most: without a call for what they need not.
                known = self.leaf(node, facts.nodes[name], address, self.target(node.same, address) if node.same else owner + name, inputs)
                for port, value in known.items():
                    values[name, port] = (value,)
                    self.places[f"{address}.{port}"] = value
                continue
            for port, value in self.node(node, facts.nodes[name], address, owner + name, inputs).items():
                values[name, port] = (value,)
        return {name: values[ref][0] for name, ref in scope.outputs.items() if values.get(ref)}

    def node(self, node: Node, facts: NodeFacts, address: str, owner: str, fed: Fed) -> Mapping[str, int]:
        given: Mapping[str, int]
        if isinstance(node, Repeat):
            given = self.copies(node, facts, address, owner, fed)
        else:
            if node.same:
                owner = self.target(node.same, address)
            if isinstance(node, Leaf):
                given = self.leaf(node, facts, address, owner, fed)
            else:
                given = self.scope(node.scope, facts.inner, f"{address}.", f"{owner}.", fed) if facts.inner is not None else {}
        for port, value in given.items():
            self.places[f"{address}.{port}"] = value
        return given

    def leaf(self, node: Leaf, facts: NodeFacts, address: str, owner: str, fed: Fed) -> dict[str, int]:
        number = len(self.uses)
        if number >= MAX_USES:
            raise _TooMany
        definition = facts.definition or node.definition
        outputs: dict[str, int] = {}
        for port in definition.outputs:
            outputs[port] = len(self.makers)
            self.makers.append(number)
        weights: dict[str, int] = {}
        use = _use((address, node, facts, definition, fed, outputs, weights))
        self.uses.append(use)
        sort = self.sorts.get(id(definition))
        if sort is None:
            sort = self.sorts[id(definition)] = []
        sort.append(use)
        self.owners.append(owner)
        self.numbers.append(weights)
        return outputs

    def copies(self, node: Repeat, facts: NodeFacts, address: str, owner: str, fed: Fed) -> dict[str, int]:
        if node.count > MAX_USES:
            raise _TooMany
        nodes = (run.node for run in node.runs for _ in range(run.count))
        known = (item for count, item in facts.runs for _ in range(count))
        result: dict[str, int] = {}
        last: Mapping[str, int] = {}
        for index, (inner, item) in enumerate(zip(nodes, known, strict=True)):
            here = "" if node.share else f".{index}"
            linked = {port: (result[tap],) for port, tap in node.links.items() if tap in result}
            last = self.node(inner, item, address + here, owner + here, {**fed, **linked})
            if not node.beside:
                fed = {**fed, **{into: (last[out],) for into, out in node.streams if out in last}}
            result.update({f"{index}.{port}": value for port, value in last.items()})
        for port in node.losses:  # Not every copy need have one.
            given = [result[here] for index in range(node.count) if (here := f"{index}.{port}") in result]
            if given:
                last = {**last, port: self.total(f"{address}.{port}", node, given)}
        return {**result, **last}

    def total(self, address: str, node: Repeat, values: list[int]) -> int:
        """The losses of all copies are one loss."""
        card = registry.kind("loss_sum")
        if len(values) == 1 or card is None:
            return values[0]
        options = card.options()
        leaf = Leaf(address.rpartition(".")[2], {}, node.span, f"the losses of all copies of {node.name}", card, options, card.define(options))
        facts = NodeFacts({"x": (SCALAR,) * len(values)}, {"y": SCALAR}, {"n": len(values)}, leaf.definition)
        return self.leaf(leaf, facts, address, address, {"x": tuple(values)})["y"]

    # --- weights ---
    def target(self, address: str, asking: str) -> str:
        """The node that `same` names, for the copy that stands at the address `asking`."""
        segments = parse_address(address)
        if isinstance(segments, str):
            return asking
        path = asking.split(".")
        found: list[str] = []
        here: Node | None = None
        inner: Scope | None = self.root
        for place, segment in enumerate(segments):
            if isinstance(segment, str):
                here = inner.nodes.get(segment) if inner is not None else None
                found.append(segment)
            elif isinstance(here, Repeat):
                index = _copy(segment, here, path[place] if place < len(path) else "")
                found.append(str(index))
                here = run_at(here, index)[1]
            inner = inside(here)
        if isinstance(here, Repeat) and not here.share:
            last = next((item for item in reversed(path) if item.isdigit()), "0")
            found.append(str(int(last) % here.count))
        return ".".join(found)

    def owned(self) -> tuple[Weight, ...]:
        """All weights; each use is told their numbers by name on the card."""
        frozen = {owner for item, owner in zip(self.uses, self.owners, strict=True) if item.node.freeze}
        made: dict[str, int] = {}
        weights: list[Weight] = []
        ties: dict[str, str] = {}
        later: list[tuple[int, str, str]] = []
        copies = False
        for place in self._owners_first():
            item, owner, known = self.uses[place], self.owners[place], self.numbers[place]
            node, tied, trained = item.node, item.node.ties, owner not in frozen
            for key, shape, start, writes, buffer, trains, copy in _cards(node, item.facts, item.definition):
                address = f"{owner}.{key}"
                if address in made or address in ties:
                    later.append((place, key, address))
                    continue
                if tied and key in tied:
                    ties[address] = self._tied(tied[key], item.address)
                    later.append((place, key, address))
                    continue
                if copy:
                    start, copies = self._begin(start, item.address), True
                made[address] = known[key] = len(weights)
                trainable = not buffer and (trained if trains is None else trains)
                weights.append(_weight((address, key, shape, start, node, writes, buffer, trainable)))
        for place, key, address in later:
            at = _end(address, ties)
            if at in made:
                self.numbers[place][key] = made[at]
        if copies:
            _follow(weights, made, ties)
        return tuple(weights)

    def _owners_first(self) -> list[int]:
        """Uses with weights, those that stand where their module does before all others."""
        asking = [place for place, item in enumerate(self.uses) if item.definition.parameters]
        own = [place for place in asking if self.uses[place].address == self.owners[place]]
        return own if len(own) == len(asking) else [*own, *(place for place in asking if self.uses[place].address != self.owners[place])]

    def _begin(self, start: str, asking: str) -> str:
        """A `copy(address)` as the copy at the address `asking` has it."""
        return f"copy({self._tied(start[5:-1], asking)})"

    def _tied(self, address: str, asking: str) -> str:
        """The weight that a tie names: `*` and slices mean the asking copy."""
        parts = address.split(".")
        for end in range(len(parts) - 1, 0, -1):
            segments = parse_address(".".join(parts[:end]))
            if not isinstance(segments, str) and self._is_leaf(segments):
                return ".".join([self.target(".".join(parts[:end]), asking), *parts[end:]])
        return address

    def _is_leaf(self, segments: tuple[str | int | Slice, ...]) -> bool:
        here: Node | None = None
        inner: Scope | None = self.root
        for segment in segments:
            if isinstance(segment, str):
                here = inner.nodes.get(segment) if inner is not None else None
            else:
                here = run_at(here, 0)[1] if isinstance(here, Repeat) else None
            inner = inside(here)
        if isinstance(here, Repeat) and here.share:
            here = here.runs[0].node
        return isinstance(here, Leaf)


def _follow(weights: list[Weight], made: Mapping[str, int], ties: Mapping[str, str]) -> None:
    """A copy of a copy takes the values of the first. Copies in a circle stay as they are: `checks` refuses them."""
    leads = {weight.address: _end(weight.init[5:-1], ties) for weight in weights if weight.init.startswith("copy(")}
    for address in leads:
        at = made[address]
        weights[at] = weights[at]._replace(init=f"copy({_end(address, leads)})")


def _end(address: str, ties: Mapping[str, str]) -> str:
    """Where a chain of ties ends."""
    seen = set()
    while address in ties and address not in seen:
        seen.add(address)
        address = ties[address]
    return address


def _copy(segment: int | Slice, node: Repeat, own: str) -> int:
    """`*` and slices mean the copy with the number of the one that asks."""
    if isinstance(segment, int):
        return segment % node.count
    return int(own) if own.isdigit() else next(iter(segment.of(node.count)), 0)


def _cards(node: Leaf, facts: NodeFacts, definition: Definition) -> tuple[_Card, ...]:
    """The weights of a leaf as it owns them."""
    known = _CARDS.get(id(facts))
    if known is not None and known[0] is facts and not node.init:
        return known[1]
    begins, sizes = starts(node, facts), shapes(facts)
    made = tuple(_Card(key, sizes.get(key, ()), begins[key], card.writes, card.buffer, card.trains, begins[key].startswith("copy(")) for key, card in definition.parameters.items())
    if not node.init:
        if len(_CARDS) > 5_000:
            _CARDS.clear()
        _CARDS[id(facts)] = (facts, made)
    return made


__all__ = ["MAX_USES", "Flow", "Use", "Weight", "flow", "named", "number", "start_of"]
