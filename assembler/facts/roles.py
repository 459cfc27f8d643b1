"""Which node of one graph is which of another: by its address, and where that fails by the role it plays.

    found = roles(flow(*before), flow(*after))
    found.pairs["encoder.0.attend"]         # "trunk.0.attend"
    found.moved                             # {"encoder": "trunk"}, as `weights.compare` takes it

A node at the same address that is of the same kind is the same node, whatever its sizes became. Any other is
looked for by what it is (kind, options in effect, names and shapes of its weights) and where it stands: in a
container that holds the same things under another name, or fed by and read by the same nodes. Colours of
neighbourhoods are refined as Weisfeiler and Lehman (1968) do, two rounds deep; from pairs that are found their
neighbours are found. Only what is unique on both sides counts: of two that could be meant neither is taken.

Linear in the edges of both graphs, times the depth of addresses.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from assembler.facts.count import shapes
from assembler.facts.flow import Flow, Use
from assembler.facts.model import NodeFacts
from assembler.facts.weights import renamed
from assembler.graph.address import starred, upwards
from assembler.graph.model import Leaf

T = TypeVar("T")
SWEEPS = 4
"""How often neighbours are looked for anew: each sweep sees what the one before made unique."""


class Roles(NamedTuple):
    """Nodes of a graph before, found again in the one after. Both go by addresses with the numbers of copies."""

    pairs: Mapping[str, str]
    """Every node that was found, those that stayed where they were included."""
    moved: Mapping[str, str]
    """Those that did not, said of the highest container that moved as a whole. The longest address decides."""


def roles(before: Flow, after: Flow, given: Mapping[str, str] | None = None) -> Roles:
    """Match the nodes of two graphs. `given`: moves that are known, which come before all else."""
    match = _Match(_Side(before), _Side(after))
    match.below(given or {})
    match.by_name()
    if match.open():
        match.search()
    pairs = match.pairs()
    moved = gathered(pairs)
    extended = match.below(moved)
    return Roles(pairs, moved) if not extended else Roles(match.pairs(), gathered(match.pairs()))


def settings(node: Leaf, facts: NodeFacts) -> dict[str, Any]:
    """The options in effect: sizes as they were solved, whether the recipe states them or not."""
    options = node.options
    found: dict[str, Any] = {}
    for name, info in type(options).model_fields.items():
        shown = info.alias or name
        stated = getattr(options, name)
        found[shown] = facts.sizes.get(shown, stated) if shown in node.kind.size_options else stated
    return found


def gathered(pairs: Mapping[str, str]) -> dict[str, str]:
    """The pairs whose two addresses differ, each rule about the highest address of which it is true.

    A rule is true if whatever stood below the one address stands below the other, and nothing else does.
    """
    left, right, votes = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    for one, two in pairs.items():
        left.update(upwards(one))
        right.update(upwards(two))
        votes.update(_splits(one, two))
    rules: dict[str, str] = {}
    # A node may stand at the address of a container too (the sum of its copies' losses): shorter ones come first.
    for one, two in sorted(pairs.items(), key=lambda pair: pair[0].count(".")):
        if renamed(one, rules) != two:
            true = (split for split in _splits(one, two) if votes[split] == left[split[0]] == right[split[1]])
            old, new = next(true, (one, two))
            rules[old] = new
    return rules


def _splits(one: str, two: str) -> list[tuple[str, str]]:
    """Both addresses without what they end in alike, the shortest first."""
    a, b = one.split("."), two.split(".")
    found = [(one, two)]
    while len(a) > 1 and len(b) > 1 and a[-1] == b[-1]:
        a.pop()
        b.pop()
        found.append((".".join(a), ".".join(b)))
    return found[::-1]


# --- one graph ---
Key = tuple[str, int]
"""Address and which of its uses: several where copies share one set of weights."""


class _Side:
    """A flow, with what reads each value."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.uses: Sequence[Use] = flow.uses
        seen = Counter[str]()
        self.keys: list[Key] = []
        for use in flow.uses:
            self.keys.append((use.address, seen[use.address]))
            seen[use.address] += 1
        self.partner = [-1] * len(flow.uses)
        self.readers: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for number, use in enumerate(flow.uses):
            for port, values in use.inputs.items():
                for value in values:
                    self.readers[value].append((port, number))
        known: dict[tuple[int, int], tuple[Hashable, Hashable]] = {}
        self.strict: list[Hashable] = []
        self.loose: list[Hashable] = []
        for use in flow.uses:
            at = (id(use.node), id(use.facts))
            if at not in known:
                known[at] = _signatures(use)
            self.strict.append(known[at][0])
            self.loose.append(known[at][1])

    def open(self) -> list[int]:
        return [number for number, partner in enumerate(self.partner) if partner < 0]

    def fed(self, number: int) -> list[tuple[str, int]]:
        """(port, the use that feeds it); -1 for an input of the recipe."""
        return [(port, self.flow.makers[value]) for port, values in self.uses[number].inputs.items() for value in values]

    def read(self, number: int) -> list[tuple[str, int]]:
        return [reader for value in self.uses[number].outputs.values() for reader in self.readers.get(value, ())]


def _signatures(use: Use) -> tuple[Hashable, Hashable]:
    """What a node is, with its options and shapes and without them."""
    sizes = shapes(use.facts)
    loose = (use.node.kind.name, tuple(use.definition.parameters))
    return (*loose, tuple(sizes.items()), repr(settings(use.node, use.facts))), loose


# --- two graphs ---
class _Match:
    def __init__(self, one: _Side, two: _Side) -> None:
        self.one, self.two = one, two

    def pair(self, a: int, b: int) -> None:
        self.one.partner[a], self.two.partner[b] = b, a

    def pairs(self) -> dict[str, str]:
        """Of an address with several uses the first one decides."""
        found: dict[str, str] = {}
        taken: set[str] = set()
        for number, partner in enumerate(self.one.partner):
            here = self.one.uses[number].address
            if partner >= 0 and here not in found and self.two.uses[partner].address not in taken:
                found[here] = self.two.uses[partner].address
                taken.add(found[here])
        return found

    def open(self) -> bool:
        return -1 in self.one.partner and -1 in self.two.partner

    # --- by address ---
    def by_name(self) -> None:
        there = {key: number for number, key in enumerate(self.two.keys)}
        for number, key in enumerate(self.one.keys):
            other = there.get(key, -1)
            taken = self.one.partner[number] >= 0 or (other >= 0 and self.two.partner[other] >= 0)
            if other >= 0 and not taken and self.one.uses[number].node.kind.name == self.two.uses[other].node.kind.name:
                self.pair(number, other)

    def below(self, moved: Mapping[str, str]) -> bool:
        """Pair what stands at the same place of a container that moved. Whether anything was."""
        there = {self.two.keys[number]: number for number in self.two.open()} if moved else {}
        found = False
        for number in self.one.open() if there else ():
            address, which = self.one.keys[number]
            other = there.get((renamed(address, moved), which), -1)
            if other >= 0 and self.one.uses[number].node.kind.name == self.two.uses[other].node.kind.name:
                self.pair(number, other)
                found = True
        return found

    # --- by role ---
    def search(self) -> None:
        """From the strongest evidence to the weakest."""
        one, two = self.one, self.two
        self.containers(one.strict, two.strict)
        deep = _refined(one, one.strict), _refined(two, two.strict)
        self.unique(*(_refined(side, colours) for side, colours in zip((one, two), deep, strict=True)))
        self.spread(*deep)
        self.spread(one.strict, two.strict)
        for way in (_Side.fed, _Side.read):
            self.unique(_beside(one, one.strict, way), _beside(two, two.strict, way))
            self.spread(one.strict, two.strict)
        if self.open():
            self.containers(one.loose, two.loose)
            self.spread(one.loose, two.loose)

    def unique(self, ones: Sequence[Hashable], twos: Sequence[Hashable]) -> None:
        """Pair what has a colour that no other open node of its graph has."""
        for a, b in _once(((ones[a], a) for a in self.one.open()), ((twos[b], b) for b in self.two.open())):
            self.pair(a, b)

    def containers(self, ones: Sequence[Hashable], twos: Sequence[Hashable]) -> None:
        """Pair containers of which nothing is found yet and that hold the same under the same names, however many
        copies there are of it; then what they hold."""
        self.below(dict(_once(_held(self.one, ones), _held(self.two, twos))))

    def spread(self, ones: Sequence[Hashable], twos: Sequence[Hashable]) -> None:
        """Pair the neighbours of pairs: readers of the same outputs, forward; then makers of the same inputs."""
        for _ in range(SWEEPS):
            if not self.open() or self._forward(ones, twos) + self._backward(ones, twos) == 0:
                return

    def _forward(self, ones: Sequence[Hashable], twos: Sequence[Hashable]) -> int:
        todo = [(self.one.readers.get(a, []), self.two.readers.get(b, [])) for a, b in self._inputs()]
        todo += [lists for number in range(len(self.one.partner)) for lists in self._read(number)][::-1]
        count = 0
        while todo:
            left, right = todo.pop()
            for a in self._met(left, right, ones, twos):
                todo.extend(self._read(a))
                count += 1
        return count

    def _read(self, number: int) -> Iterator[tuple[list[tuple[str, int]], list[tuple[str, int]]]]:
        """The readers of each output that a pair has in common."""
        partner = self.one.partner[number]
        if partner >= 0:
            there = self.two.uses[partner].outputs
            for port, value in self.one.uses[number].outputs.items():
                if port in there:
                    yield self.one.readers.get(value, []), self.two.readers.get(there[port], [])

    def _backward(self, ones: Sequence[Hashable], twos: Sequence[Hashable]) -> int:
        makers, others = self.one.flow.makers, self.two.flow.makers
        todo = [([(name, makers[value])], [(name, others[self.two.flow.outputs[name]])])
                for name, value in self.one.flow.outputs.items() if name in self.two.flow.outputs]  # fmt: skip
        todo += [(self.one.fed(a), self.two.fed(b)) for a, b in enumerate(self.one.partner) if b >= 0]
        count = 0
        while todo:
            left, right = todo.pop()
            for a in self._met(left, right, ones, twos):
                todo.append((self.one.fed(a), self.two.fed(self.one.partner[a])))
                count += 1
        return count

    def _met(self, left: Sequence[tuple[str, int]], right: Sequence[tuple[str, int]], ones: Sequence[Hashable], twos: Sequence[Hashable]) -> Iterator[int]:
        """Pair those of two lists of neighbours that are the only ones of their colour at their port."""
        if not left or not right:
            return
        mine = dict.fromkeys(((port, ones[a]), a) for port, a in left if a >= 0 and self.one.partner[a] < 0)
        others = dict.fromkeys(((port, twos[b]), b) for port, b in right if b >= 0 and self.two.partner[b] < 0)
        for a, b in _once(mine, others):
            if self.one.partner[a] < 0 and self.two.partner[b] < 0:
                self.pair(a, b)
                yield a

    def _inputs(self) -> list[tuple[int, int]]:
        """Inputs of the recipes by name; by themselves where each has one."""
        one, two = self.one.flow.inputs, self.two.flow.inputs
        if len(one) == len(two) == 1:
            return list(zip(one.values(), two.values(), strict=True))
        return [(value, two[name]) for name, value in one.items() if name in two]


def _once(left: Iterable[tuple[Hashable, T]], right: Iterable[tuple[Hashable, T]]) -> list[tuple[T, T]]:
    """What has a key that it alone has on either side, in the order of the left one."""
    ones, twos = _by_key(left), _by_key(right)
    return [(one[0], two[0]) for key, one in ones.items() if len(one) == 1 and len(two := twos.get(key, [])) == 1]


def _by_key(items: Iterable[tuple[Hashable, T]]) -> dict[Hashable, list[T]]:
    found: dict[Hashable, list[T]] = {}
    for key, item in items:
        found.setdefault(key, []).append(item)
    return found


def _refined(side: _Side, colours: Sequence[Hashable]) -> list[Hashable]:
    """One round: the colour of a node, of what feeds it and of what reads it."""
    fed, read = _beside(side, colours, _Side.fed), _beside(side, colours, _Side.read)
    return [hash(pair) for pair in zip(fed, read, strict=True)]


def _beside(side: _Side, colours: Sequence[Hashable], way: Callable[[_Side, int], list[tuple[str, int]]]) -> list[Hashable]:
    """The colour of a node, and of what feeds it (or reads it) at each port."""
    return [
        hash((colours[number], tuple(sorted((port, hash(colours[other]) if other >= 0 else 0) for port, other in way(side, number)))))
        for number in range(len(side.uses))
    ]


def _held(side: _Side, colours: Sequence[Hashable]) -> list[tuple[Hashable, str]]:
    """(what it holds, its address) of each container of which nothing is found: the highest first."""
    found = {above for number, partner in enumerate(side.partner) if partner >= 0 for above in upwards(side.uses[number].address)}
    inside: dict[str, set[Hashable]] = defaultdict(set)
    for number in side.open():
        address = side.uses[number].address
        for above in list(upwards(address))[1:]:
            if above in found:
                break
            inside[above].add((starred(address[len(above) + 1 :]), colours[number]))
    ordered = sorted(inside.items(), key=lambda item: item[0].count("."))
    return [(frozenset(held), above) for above, held in ordered if len(held) > 1]
