"""Modules with more than one use: which addresses `same` names, and where a walk meets them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from assembler.graph.address import copies_text
from assembler.graph.model import Group, Leaf, Node, Repeat, Scope
from assembler_schemas.shape import Dim


def owners(scope: Scope) -> dict[str, Owner]:
    """Each address that a `same` names -> where a walk over the graph's runs meets it."""
    found: dict[str, Owner] = {}
    todo: list[Scope | Node] = [scope]
    while todo:
        item = todo.pop()
        if isinstance(item, Scope):
            todo.extend(item.nodes.values())
        elif isinstance(item, Repeat):
            todo.extend(run.node for run in item.runs)
        else:
            if item.same:
                found[item.same] = _met(scope, item.same)
            if isinstance(item, Group):
                todo.append(item.scope)
    return found


class Owner(NamedTuple):
    """What a `same` names."""

    met: str
    """Where a walk meets it: of copies in a row the first."""
    repeat: Repeat | None = None
    """The copies themselves, where they are meant: each has its counterpart."""

    def copy(self, index: int) -> str:
        """Where a walk meets one of the copies."""
        return self.met if self.repeat is None else f"{self.met.rpartition('.')[0]}.{run_at(self.repeat, index)[0]}"


def _met(scope: Scope, address: str) -> Owner:
    """An address with the names of runs (`*`, `0:3`) in the place of copy numbers."""
    parts, met = address.split("."), []
    here: Node | None = None
    inner: Scope | None = scope
    for part in parts:
        if isinstance(here, Repeat) and not here.share:
            index = int(part) if part.lstrip("-").isdigit() else 0
            shown, node = run_at(here, index)
            met.append(shown if part.lstrip("-").isdigit() else part)
            here = node
        else:
            here = inner.nodes.get(part) if inner is not None else None
            met.append(part)
        inner = inside(here)
    if isinstance(here, Repeat) and not here.share and (not parts[-1].isdigit()):
        return Owner(".".join([*met, run_at(here, 0)[0]]), here)
    return Owner(".".join(met))


class Again(NamedTuple):
    """One more use of a whole group, around what is walked."""

    address: str
    target: str
    node: Group
    picked: Mapping[str, int]


Turn = tuple[int, ...]
"""Which of the copies of unlike types is walked, for each repeat around a module, from the outside in."""


@dataclass(eq=False, repr=False)
class Uses:
    """What a walk knows of modules with several uses: where it is, and the sizes that the first use of each fixed.

    Copies of a repeat have one address as long as one node stands for them, though each takes what the one
    before it gives: a module is told apart from those of other copies by its `Turn`.
    """

    shared: Mapping[str, Owner]
    """Address that a `same` names -> the module."""
    around: list[Again] = field(default_factory=list)
    within: int = 0
    """How many groups around what is walked are used again elsewhere."""
    turns: list[tuple[str, int, int]] = field(default_factory=list)
    """Repeats around what is walked: the address of their copies, which of those of unlike types it is, its number."""
    spread: dict[str, Sequence[int]] = field(default_factory=dict)
    """Address of copies that were walked -> the numbers of those at which the types change."""
    fixed: dict[str, dict[Turn, tuple[str, Mapping[str, Dim]]]] = field(default_factory=dict)
    """Module -> turn -> its use that comes first, and the sizes that this one fixed."""

    @contextmanager
    def group(self, node: Group, address: str) -> Iterator[None]:
        """While the inside of a group is walked."""
        owned = address in self.owned
        self.within += owned
        if node.same:
            target = self._target(node, address)
            self.around.append(Again(address, target, node, self._picked(node, address, target)))
        yield
        if node.same:
            self.around.pop()
        self.within -= owned

    def met(self, address: str) -> str:
        """An address inside one more use of a group as the address in the group itself."""
        for use in reversed(self.around):
            if address == use.address or address.startswith(f"{use.address}."):
                address = use.target + address[len(use.address) :]
        return address

    def owner(self, node: Leaf, address: str) -> str:
        """The address of the module that a leaf uses, where it has more than one use; else nothing."""
        owner = self.met(self._target(node, address) or address)
        return owner if owner != address or self.within or address in self.owned else ""

    def first(self, node: Leaf, address: str, owner: str) -> tuple[Turn, str, Mapping[str, Dim]]:
        """The turn of a module, its first use and the sizes that this one fixed. Of like copies one turn stands for those behind it."""
        found = {self.met(owner if inside == address and node.same else inside): turn for inside, turn, _ in self.turns}
        for picked in (*(use.picked for use in self.around), self._picked(node, address, owner) if node.same else {}):
            found.update(picked)
        turn = tuple(found[inside] for inside in sorted(found, key=len) if owner == inside or owner.startswith(f"{inside}."))
        known = self.fixed.get(owner, {})
        if not known:
            return turn, "", {}
        at = turn if turn in known else max((item for item in known if item <= turn), default=min(known))
        return turn, *known[at]

    @cached_property
    def owned(self) -> frozenset[str]:
        """Where the walk meets modules that are used again elsewhere."""
        return frozenset(owner.copy(start) for owner in self.shared.values() for start in _starts(owner.repeat))

    def _target(self, node: Leaf | Group, address: str) -> str:
        """Where the walk meets what a node is one more use of: of copies its counterpart."""
        owner = self.shared.get(node.same)
        if owner is None:
            return node.same
        return owner.copy(self.turns[-1][2]) if self.turns and self.turns[-1][0] == address else owner.met

    def _picked(self, node: Leaf | Group, address: str, target: str) -> dict[str, int]:
        """The turns of the copies that an address names by their numbers, or that are counterparts of the one that is walked."""
        if not self.spread:
            return {}
        found, met, words = {}, target.split("."), node.same.split(".")
        if len(words) < len(met) and self.turns and self.turns[-1][0] == address:
            words.append(str(self.turns[-1][2]))
        for place, word in enumerate(words):
            starts = self.spread.get(".".join(met[: place + 1])) if word.isdigit() else None
            if starts is not None:
                found[".".join(met[: place + 1])] = bisect_right(starts, int(word)) - 1
        return found


def _starts(repeat: Repeat | None) -> list[int]:
    """The first copy of each run."""
    return [0] if repeat is None else [*accumulate((run.count for run in repeat.runs[:-1]), initial=0)]


def inside(node: Node | None) -> Scope | None:
    """The scope below a node that an address goes on into; copies that share their weights have one."""
    if isinstance(node, Repeat) and node.share:
        node = node.runs[0].node
    return node.scope if isinstance(node, Group) else None


def run_at(node: Repeat, index: int) -> tuple[str, Node]:
    """The run that holds a copy: how the walk calls it, and its node."""
    start = 0
    for run in node.runs:
        if index % node.count < start + run.count:
            return copies_text(start, start + run.count, node.count), run.node
        start += run.count
    raise IndexError(index)
