"""Where a graft stands: the places that its `write` names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from assembler.graph.address import ALL, Segment, copies, copies_text
from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.finish import find_draft
from assembler.graph.graft.spec import Overlay
from assembler.graph.model import Ref
from assembler.graph.options import Field
from assembler.source.parse import did_you_mean
from assembler_schemas.diagnostic import Diagnostic, Note

if TYPE_CHECKING:
    from assembler.graph.build import At, Builder


class Level(NamedTuple):
    """A scope on the way down to a place. `run`: it is the inside of these like copies of `container`."""

    scope: ScopeDraft
    container: Draft | None = None
    run: Draft | None = None
    start: int = 0
    stop: int = 0
    path: tuple[str | int, ...] = ()
    """Address of the scope for rules, and how many copies there are where it has a copy's number."""
    counts: tuple[int, ...] = ()
    inherited: Mapping[str, Field] = MappingProxyType({})


class Target(NamedTuple):
    """One place that a graft's `write` names: a value, or one edge.

    `side`: `out` (a node's output), `in` (what feeds one input), `inner` (a submodule of a kind),
    `copy-out` and `copy-in` (the same of a whole copy of a repeat), `input` (of the graph).
    """

    levels: tuple[Level, ...]
    draft: Draft | None
    side: str
    port: str
    shown: str

    @property
    def level(self) -> Level:
        return self.levels[-1]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two grafts that write the same value."""
        return id(self.level.scope), self.draft.name if self.draft is not None else "", self.side, self.port


class Placed(NamedTuple):
    """A graft at one place, for the record: the host's value before and after, and its own nodes."""

    overlay: Overlay
    target: Target
    before: Ref
    after: Ref
    entry: tuple[str, str, int]
    nodes: tuple[str, ...]
    inside: str = ""
    """The node inside which it stands: then the values are names in its body."""


class _State(NamedTuple):
    """As far as a pattern is followed: at a node, at a whole copy (`copy`), or at the graph itself."""

    levels: tuple[Level, ...]
    draft: Draft | None
    copy: bool
    shown: str


def targets(builder: Builder, overlay: Overlay, scope: ScopeDraft, at: At) -> list[Target]:
    """Every place that a graft's `write` names; none after saying that there is none."""
    states = [_State((Level(scope, path=at.path, counts=at.counts, inherited=dict(at.inherited)),), None, False, "")]
    pattern = overlay.pattern
    ends: list[Target] = []
    for index, segment in enumerate(pattern):
        following: list[_State] = []
        for state in states:
            steps = list(_step(state, segment))
            end = _end(state, segment) if not steps and index == len(pattern) - 1 and isinstance(segment, str) else None
            following.extend(steps)
            ends.extend([end] if end is not None else [])
        if not following and not ends:
            return _nothing(builder, overlay, states, segment)
        states = following
    wholes = [_whole(builder, overlay, state) for state in states]
    return [*ends, *(item for item in wholes if item is not None)]


def _step(state: _State, segment: Segment) -> Iterator[_State]:
    """The nodes and copies that one more segment names."""
    draft = state.draft
    if draft is None:
        yield from _nodes(state, state.levels[-1].scope, segment)
        return
    if draft.runs and draft.share and not state.copy:
        yield from _step(state._replace(draft=draft.runs[0][1], levels=(*state.levels, _inside(state.levels[-1], draft, draft.runs[0][1])), copy=True), segment)
    elif draft.runs and not state.copy:
        if not isinstance(segment, str):
            yield from _copies(state, draft, copies(segment, draft.count))
    elif draft.inner is not None:
        levels = state.levels if state.copy else (*state.levels, _inside(state.levels[-1], draft, None))
        yield from _nodes(state._replace(levels=levels), draft.inner, segment)


def _nodes(state: _State, scope: ScopeDraft, segment: Segment) -> Iterator[_State]:
    prefix = f"{state.shown}." if state.shown else ""
    if isinstance(segment, str):
        draft = scope.nodes.get(segment)
        if draft is not None:
            yield _State(state.levels, draft, False, prefix + segment)
    elif segment == ALL:
        for name, draft in list(scope.nodes.items()):
            if not draft.cause:
                yield _State(state.levels, draft, False, prefix + name)


def _copies(state: _State, draft: Draft, chosen: range) -> Iterator[_State]:
    """Runs are cut where a graft begins and ends (`splits`): each is wholly in, or wholly out."""
    start = 0
    for count, run in draft.runs:
        if start in chosen:
            shown = copies_text(start, start + count, draft.count)
            levels = (*state.levels, _inside(state.levels[-1], draft, run, start, start + count))
            yield _State(levels, run, True, f"{state.shown}.{shown}")
        start += count


def _inside(outer: Level, container: Draft, run: Draft | None, start: int = 0, stop: int = 0) -> Level:
    inner = (run or container).inner or ScopeDraft((run or container).address, outer.scope.env)
    shared = container.shared
    path: tuple[str | int, ...] = (*outer.path, container.name)
    counts: tuple[int, ...] = (*outer.counts, 0)
    if run is not None and not container.share:
        path, counts = (*path, start), (*counts, container.count)
    inherited = {**outer.inherited, **(shared.inherited if shared is not None else {})}
    return Level(inner, container, run, start, stop, path, counts, inherited)


# --- what the last segment names ---
def _end(state: _State, name: str) -> Target | None:
    """A port or a submodule of the node (or copy) that was found before the last name."""
    draft, levels, shown = state.draft, state.levels, f"{state.shown}.{name}"
    if draft is None:
        return Target(levels, None, "input", name, name) if name in levels[-1].scope.inputs else None
    if draft.runs and draft.share and not state.copy:
        draft, levels = draft.runs[0][1], (*levels, _inside(levels[-1], draft, draft.runs[0][1]))
        return _end(_State(levels, draft, True, state.shown), name)
    if state.copy and draft.inner is None:
        return _leaf_end(state, draft, name, shown, "copy-")
    if state.copy:
        side = "copy-out" if name in draft.gives else "copy-in" if name in draft.ports else ""
        return Target(levels, draft, side, name, shown) if side else None
    return _leaf_end(state, draft, name, shown, "")


def _leaf_end(state: _State, draft: Draft, name: str, shown: str, prefix: str) -> Target | None:
    side = prefix + ("out" if name in draft.gives else "in") if name in draft.gives or name in draft.ports else ""
    if not side and draft.chosen is not None and draft.kind is not None and draft.kind.places is not None and name in draft.kind.places(draft.chosen.options):
        side = "inner"
    return Target(state.levels, draft, side, name, shown) if side else None


def _whole(builder: Builder, overlay: Overlay, state: _State) -> Target | None:
    """A node or a copy by itself: its main output."""
    draft = state.draft
    assert draft is not None
    if draft.broken:
        return None
    if not draft.main and draft.beside:
        builder.say(Diagnostic("address-many", f"`{state.shown}` names {draft.count} copies that stand side by side", overlay.span("write"),
                               help=f"write `{state.shown}.*` for a graft on each"))  # fmt: skip
        return None
    if not draft.main:
        builder.say(Diagnostic("port-ambiguous", f"`{state.shown}` has {len(draft.gives)} outputs, and none is the main one", overlay.span("write"),
                               help=f"write one of {', '.join(f'`{state.shown}.{name}`' for name in draft.gives)}"))  # fmt: skip
        return None
    return Target(state.levels, draft, "copy-out" if state.copy else "out", draft.main, state.shown)


def _nothing(builder: Builder, overlay: Overlay, states: list[_State], segment: Segment) -> list[Target]:
    if any(state.draft is not None and state.draft.broken for state in states):
        return []
    state = states[0] if states else None
    names: list[str] = []
    where = "here"
    if state is not None and state.draft is None:
        names = [*state.levels[0].scope.nodes, *state.levels[0].scope.inputs]
    elif state is not None and state.draft is not None:
        draft, where = state.draft, f"below `{state.shown}`"
        places = draft.kind.places(draft.chosen.options) if draft.kind is not None and draft.chosen is not None and draft.kind.places is not None else ()
        names = [*(draft.inner.nodes if draft.inner is not None else ()), *draft.gives, *draft.ports, *places]
        if draft.runs and not state.copy:
            names = ["*", *map(str, range(min(draft.count, 4)))]
    builder.say(Diagnostic("address-unknown", f"the graft `{overlay.name}` stands nowhere: `{overlay.write.address}` names nothing {where}", overlay.span("write"), label="unknown address",
                           help=did_you_mean(str(segment), names) or (f"there is {', '.join(f'`{name}`' for name in names[:8])}" if names else "")))  # fmt: skip
    return []


def shared_modules(builder: Builder) -> dict[int, Note]:
    """Nodes (by identity) whose module is used twice, each with the place that says so."""
    found: dict[int, Note] = {}
    for draft, scope, text, span in builder.later:
        owner = find_draft(scope, text)
        note = Note(f"`{draft.name}` is one more use of `{text}`", span)
        for item in (draft, owner.draft if owner is not None else None):
            if item is not None:
                found.update((id(node), note) for node in (item, *(run for _, run in item.runs)))
    return found


def shared_inside(target: Target, shared: Mapping[int, Note]) -> Note | None:
    """What around the target has its module used elsewhere too: a graft inside would be in both."""
    around = [draft for level in target.levels for draft in (level.container, level.run) if draft is not None]
    if target.side == "inner" and target.draft is not None:
        around.append(target.draft)
    return next((shared[id(draft)] for draft in around if id(draft) in shared), None)
