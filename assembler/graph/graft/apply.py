"""Grafts: parts laid onto a graph from outside. They end here as plain nodes and edges, and a record.

A graph's grafts are read before its nodes are built (a repeat whose copies will differ is cut into
runs), and put in once all of it is wired.
"""

from __future__ import annotations

import graphlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from assembler.graph.circle import cut_circles
from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.env import Env
from assembler.graph.graft.inner import graft_inside
from assembler.graph.graft.merge import Merged, merge
from assembler.graph.graft.part import draft_part
from assembler.graph.graft.place import Level, Placed, Target, shared_inside, shared_modules, targets
from assembler.graph.graft.silent import planned
from assembler.graph.graft.spec import Overlay, read_graft
from assembler.graph.graft.splice import Maps
from assembler.graph.model import Ref
from assembler.source.parse import did_you_mean
from assembler.source.recipe import Graft
from assembler_schemas.diagnostic import Diagnostic, Note

if TYPE_CHECKING:
    from assembler.graph.build import At, Builder


@dataclass(slots=True, eq=False, repr=False)
class Readers:
    """Who reads a value, in each scope that a graft stands in: found once, kept up to date."""

    known: dict[int, dict[Ref, dict[tuple[str, str], None]]] = field(default_factory=dict)
    """Scope (by identity) -> value -> (node, port) of its readers; the node "" is an output of the scope."""

    def know(self, scope: ScopeDraft) -> None:
        if id(scope) in self.known:
            return
        found = self.known[id(scope)] = {}
        for draft in scope.nodes.values():
            self.add(scope, draft)
        for name, ref in scope.outputs.items():
            found.setdefault(ref, {})["", name] = None

    def of(self, scope: ScopeDraft, ref: Ref) -> list[Draft]:
        return [scope.nodes[name] for name in dict.fromkeys(name for name, _ in self.known[id(scope)].get(ref, {})) if name]

    def add(self, scope: ScopeDraft, draft: Draft) -> None:
        found = self.known.get(id(scope))
        if found is not None:
            for port, edges in draft.edges.items():
                for edge in edges:
                    found.setdefault(edge.source, {})[draft.name, port] = None

    def turn(self, scope: ScopeDraft, host: Ref, merged: Ref) -> None:
        readers = self.known[id(scope)].pop(host, {})
        self.known[id(scope)].setdefault(merged, {}).update(readers)
        for name, port in readers:
            if name:
                edges = scope.nodes[name].edges
                edges[port] = [edge._replace(source=merged) if edge.source == host else edge for edge in edges[port]]
            elif scope.outputs.get(port) == host:
                scope.outputs[port] = merged


def open_grafts(builder: Builder, grafts: Mapping[str, Graft], env: Env, depth: int) -> list[Overlay]:
    """Read a graph's grafts; from here on repeats are cut where they begin and end."""
    found = [item for spec in grafts.values() if (item := read_graft(spec, env, depth, builder.say)) is not None]
    builder.overlays.extend(found)
    return found


def apply(builder: Builder, overlays: Sequence[Overlay], scope: ScopeDraft, at: At, outputs: frozenset[str]) -> None:
    """Put a graph's grafts in, in their order. `outputs`: the addresses that it gives out, not yet wired."""
    del builder.overlays[len(builder.overlays) - len(overlays) :]
    if any(draft.broken for draft in scope.nodes.values()):
        return  # what is wrong with the host is said; a graft onto it would only repeat it
    host = _Host(builder, overlays, at, outputs)
    before = len(builder.later)
    shared = shared_modules(builder)
    found = [(overlay, targets(builder, overlay, scope, at)) for overlay in _ordered(builder, overlays)]
    parted = _part(builder, found) if builder.given else []
    builder.rules.grafting += 1
    for stated, places in found:
        scopes = Counter(id(target.level.scope) for target in places)
        for target in places:
            overlay = stated if scopes[id(target.level.scope)] == 1 else replace(stated, label=_label(stated, target))
            if _may_stand(builder, overlay, target) and _alone(builder, overlay, target, shared):
                host.put(overlay, target)
    builder.rules.grafting -= 1
    host.close()
    if parted:
        from assembler.graph.stretch import in_order

        for inner in parted:
            in_order(builder, inner)
    if len(builder.later) > before:  # a part is one more use of a node: no graft may stand inside that one
        shared = shared_modules(builder)
        if not all(_alone(builder, overlay, target, shared) for overlay, places in found for target in places):
            for draft, *_ in builder.later[before:]:
                draft.broken = True


def _part(builder: Builder, found: Sequence[tuple[Overlay, Sequence[Target]]]) -> list[ScopeDraft]:
    """Part the modules that grafts stand inside of; the scopes where they stand."""
    from assembler.graph import stretch

    scopes: dict[int, tuple[ScopeDraft, dict[str, set[str]]]] = {}
    for _, places in found:
        for target in places:
            if stretch.is_site(target) and target.draft is not None:
                wanted = scopes.setdefault(id(target.level.scope), (target.level.scope, {}))[1]
                wanted.setdefault(target.draft.name, set()).add(target.port)
    for scope, wanted in scopes.values():
        stretch.part(scope, wanted)
    return [scope for scope, _ in scopes.values()]


def _label(overlay: Overlay, target: Target) -> str:
    """What a graft is called where it stands several times in one scope: by its place."""
    names = target.shown.split(".")
    return "_".join([overlay.spec.name, *names[-2 if target.side in ("in", "inner") else -1 :]])


def _ordered(builder: Builder, overlays: Sequence[Overlay]) -> list[Overlay]:
    """As written, each behind what it says it comes `after`."""
    by_name = {overlay.name: overlay for overlay in overlays}
    needs: dict[str, list[str]] = {}
    for overlay in overlays:
        needs[overlay.name] = [name for name in overlay.after if name in by_name]
        for name in overlay.after:
            if name not in by_name:
                builder.say(Diagnostic("address-unknown", f"there is no graft `{name}` here", overlay.span("after"), help=did_you_mean(name, by_name)))
    try:
        return [by_name[name] for name in graphlib.TopologicalSorter(needs).static_order()]
    except graphlib.CycleError as error:
        circle = error.args[1]
        builder.say(Diagnostic("order-conflict", f"`after` leads in a circle: {' -> '.join(circle)}", by_name[circle[0]].span("after"),
                               related=tuple(Note("and here", by_name[name].span("after")) for name in circle[1:-1][:4]), help="remove one of them"))  # fmt: skip
        return list(overlays)


def _alone(builder: Builder, overlay: Overlay, target: Target, used_twice: Mapping[int, Note]) -> bool:
    """Whether no module around a place is used twice; said where one is."""
    shared = shared_inside(target, used_twice) if used_twice else None
    if shared is not None:
        builder.say(Diagnostic("graft-place", f"`{target.shown}` stands inside a module that has another use: the graft `{overlay.name}` would be in both", overlay.span("write"),
                               related=(shared,), help="write `like:` there for weights of its own, or put the graft outside"))  # fmt: skip
    return shared is None


def _may_stand(builder: Builder, overlay: Overlay, target: Target) -> bool:
    """Whether there is room for a graft at a place; said where there is none."""
    span = overlay.span("write")
    if target.side.startswith("copy-") and target.draft is not None and target.draft.inner is None:
        builder.say(Diagnostic("graft-place", f"`{target.shown}` is a copy of a single `{target.draft.kind.name if target.draft.kind else 'node'}`: there is no room beside it", span,
                               help="let the copies be `kind: sequence` with one part, and write the graft onto that part"))  # fmt: skip
    elif target.side in ("out", "in") and target.draft is not None and target.draft.skipped:
        builder.say(Diagnostic("graft-place", f"`{target.shown}` is an expert, which runs on the rows that chose it: beside it there are all rows", span,
                               help="let the expert be `kind: sequence` with one part, and write the graft onto that part"))  # fmt: skip
    elif target.side == "in" and target.draft is not None and target.draft.stretches:
        builder.say(Diagnostic("graft-place", f"`{target.shown}` goes into a module that other grafts stand inside: it is one value for all of it", span,
                               help="write it onto the node that gives the value"))  # fmt: skip
    elif target.side != "inner" and (overlay.name in target.level.scope.nodes or overlay.name in target.level.scope.inputs):
        builder.say(Diagnostic("name-taken", f"`{overlay.name}` is a graft and a node where it is written", overlay.spec.span.at(overlay.path), help="rename one of them"))
    else:
        return True
    return False


@dataclass(slots=True, eq=False, repr=False)
class _Host:
    """A graph while its grafts are put in."""

    builder: Builder
    overlays: Sequence[Overlay]
    at: At
    outputs: frozenset[str]
    first: dict[tuple[object, ...], tuple[Overlay, Ref]] = field(default_factory=dict)
    """Place -> the last graft that wrote it, and the value that was there before all of them."""
    readers: Readers = field(default_factory=Readers)
    touched: dict[int, Level] = field(default_factory=dict)
    inside: dict[int, tuple[Draft, Maps]] = field(default_factory=dict)
    """Node (by identity) -> it, and its definition while grafts are put into it."""

    def put(self, overlay: Overlay, target: Target) -> None:
        """One graft at one place: its nodes, and the host's readers turned to what it makes."""
        builder = self.builder
        before = self.first.get(target.key)
        if before is not None and not _may_follow(before[0], overlay, self.overlays):
            builder.say(Diagnostic("graft-conflict", f"the grafts `{before[0].spec.name}` and `{overlay.spec.name}` both write `{target.shown}`, and their order matters", overlay.span("write"),
                                   related=(Note(f"`{before[0].spec.name}` writes it here", before[0].span("write")),),
                                   help=f"say which comes first: `after: {before[0].spec.name}`"))  # fmt: skip
            return
        if target.side == "inner":
            self.put_inside(overlay, target, before is not None and not overlay.after)
            self.first[target.key] = overlay, Ref("", "")
            return
        host = _host(builder, overlay, target)
        self.readers.know(target.level.scope)
        plan = planned(builder, overlay, target, host, self.readers.of(target.level.scope, host), self.outputs) if host is not None else None
        if host is None or plan is None:
            return
        origin = before[1] if before is not None and not overlay.after else host
        self.first[target.key] = overlay, origin
        mark = len(target.level.scope.nodes)
        part = draft_part(builder, overlay, target, origin, plan, self.at)
        if part is not None:
            merges = merge(builder, overlay, target, host, part.after or Ref(part.name, part.main), part, plan)
            self._turn(overlay, target, host, merges, list(target.level.scope.nodes)[mark:])

    def put_inside(self, overlay: Overlay, target: Target, beside: bool) -> None:
        draft = target.draft
        assert draft is not None
        assert draft.chosen is not None
        _, maps = self.inside.setdefault(id(draft), (draft, Maps(draft.chosen.definition)))
        graft_inside(self.builder, overlay, target, self.at, maps, beside)

    def _turn(self, overlay: Overlay, target: Target, host: Ref, merges: Sequence[Merged], own: list[str]) -> None:
        """Every reader of the host's value reads the merged one instead."""
        scope = target.level.scope
        for name in own:
            scope.nodes[name].cause = scope.nodes[name].cause or f"graft {overlay.name}"
        for level, inner in pairwise(target.levels):
            if inner.container is not None:
                self.readers.add(level.scope, inner.container)
        for merged in merges:
            if merged.reader is None:
                self._turn_place(target, host, merged.value)
            else:
                self._turn_place(target._replace(draft=merged.reader, side="out", port=merged.reader.main), merged.before, merged.value)
            self.builder.grafted.append(Placed(overlay, target, merged.before, merged.value, merged.entry, tuple(own)))
        for name in own:
            self.readers.add(scope, scope.nodes[name])
        if overlay.mode == "replace":
            self.builder.lost.add(host.node)
        self.touched.update((id(level.scope), level) for level in target.levels)

    def _turn_place(self, target: Target, host: Ref, merged: Ref) -> None:
        """The graft's own nodes are not yet among the readers: they go on reading the host's value."""
        draft, scope = target.draft, target.level.scope
        if target.side == "copy-out":
            scope.outputs[target.port] = merged
        elif target.side == "in" and draft is not None:
            draft.edges[target.port] = [draft.edges[target.port][0]._replace(source=merged)]
            self.readers.add(scope, draft)
        else:
            self.readers.turn(scope, host, merged)
            if target.side == "out" and draft is not None and target.port == draft.main:
                draft.after = merged
            elif target.side == "out" and draft is not None:
                draft.moved[target.port] = merged

    def close(self) -> None:
        """Definitions are made whole; circles are cut, and what the graph unfolds into is held against its limit, once for each scope."""
        for host, maps in self.inside.values():
            if host.chosen is not None:
                host.chosen = host.chosen._replace(definition=maps.definition())
        for level in sorted(self.touched.values(), key=lambda level: -len(level.path)):
            for draft in (level.run, level.container):
                if draft is not None:
                    self.builder.weigh(draft)
            cut_circles(self.builder, level.scope)


def _may_follow(first: Overlay, second: Overlay, every: Sequence[Overlay]) -> bool:
    """Whether two grafts may write one place: sums need no order, anything else says which comes first."""
    if first.mode == second.mode == "add" and not second.after:
        return True
    by_name = {overlay.name: overlay for overlay in every}
    todo, seen = list(second.after), set()
    while todo:
        name = todo.pop()
        if name == first.spec.name:
            return True
        if name in by_name and name not in seen:
            seen.add(name)
            todo.extend(by_name[name].after)
    return False


def _host(builder: Builder, overlay: Overlay, target: Target) -> Ref | None:
    """The value that a graft changes."""
    draft, scope = target.draft, target.level.scope
    if target.side == "input" or target.side == "copy-in":
        return Ref("", target.port)
    assert draft is not None
    if target.side == "copy-out":
        return scope.outputs.get(target.port)
    if target.side == "out":
        if target.port == draft.main:
            return draft.after or Ref(draft.name, draft.main)
        return draft.moved.get(target.port, Ref(draft.name, target.port))
    edges = draft.edges.get(target.port, [])
    if len(edges) == 1:
        return edges[0].source
    builder.say(Diagnostic("address-many" if edges else "address-unknown", f"{len(edges) or 'no'} values feed `{target.shown}`, and a graft changes one edge", overlay.span("write"),
                           help="write it onto the node that gives the value"))  # fmt: skip
    return None
