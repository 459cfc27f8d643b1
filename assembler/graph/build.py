"""Recipe to graph: places become nodes, containers become scopes. All sugar ends here.

Nodes are drafted first (`draft.py`), then each scope is wired (`wire.py`), then all is frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from assembler.graph import accept, container, copies, finish, init, norms, wire
from assembler.graph.address import copies_text
from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.env import Env, wrong_expression
from assembler.graph.feed import read_feeds
from assembler.graph.forecast import forecast
from assembler.graph.model import Accepted, Graft, Graph
from assembler.graph.options import Chosen, Field, choose
from assembler.graph.place import Resolved, Resolver
from assembler.graph.plain import Plain, made, read_plain
from assembler.graph.rule import RuleBook
from assembler.graph.shared import Shared, read_shared
from assembler.source.parse import did_you_mean
from assembler.source.recipe import GraphSpec, Place, Recipe
from assembler.source.tree import Value, value_of
from assembler.source.wording import listed
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.dim import name as dim_name
from assembler_schemas.expression import ExpressionError
from assembler_schemas.kind import Port
from assembler_schemas.shape import Type, parse_port_type, port_type_data
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.graft.place import Placed
    from assembler.graph.graft.spec import Overlay

MAX_WRITTEN = 30_000
"""Nodes that a recipe may spell out, slots unfolded."""
MAX_UNFOLDED = 200_000
"""Leaves that it may unfold into, copies counted."""
MAX_NESTING = 64


class At(NamedTuple):
    """Where we build: the address for texts, the address for rules, and what is inherited."""

    address: str
    path: tuple[str | int, ...] = ()
    counts: tuple[int, ...] = ()
    inherited: Mapping[str, Field] = None  # type: ignore[assignment]
    policy: str = ""
    """When an adapter may stand here, as the graphs around say."""

    def below(self, name: str | int, count: int = 0, shown: str | None = None, inherited: Mapping[str, Field] | None = None) -> At:
        text = str(name) if shown is None else shown
        return At(f"{self.address}.{text}" if self.address else text, (*self.path, name), (*self.counts, count),
                  self.inherited if inherited is None else inherited, self.policy)  # fmt: skip


def build(recipe: Recipe) -> tuple[Graph, list[Diagnostic]]:
    """The graph that a recipe means, and everything that is wrong with its names and wires."""
    builder = Builder()
    builder.outputs = recipe.tree.get("outputs")
    outer = Env(None, None, builder.say)
    scope = builder.graph(recipe.graph, outer, At("", inherited={}), {})
    if builder.given:
        from assembler.graph.given import refuse_copies

        refuse_copies(builder, scope)
    finish.finish(builder)
    inputs = {name: builder.types[name] for name in recipe.graph.inputs if name in builder.types}
    grafts: tuple[Graft, ...] = ()
    if builder.grafted:  # What only grafts need is imported for them alone: a check starts that much sooner.
        from assembler.graph.graft.record import record

        grafts = record(builder, scope)
    graph = Graph(
        recipe.name or "model", scope.freeze(), inputs, recipe.graph.policy or "auto", recipe.description,
        {**{f"inputs.{k}": v.span for k, v in recipe.graph.inputs.items()}, **{f"outputs.{k}": v.span for k, v in recipe.graph.outputs.items()}},
        accepted=tuple(builder.accepted), filled={path: tuple(places) for path, places in builder.filled.items()}, grafts=grafts,
    )  # fmt: skip
    for inner in builder.nested:
        inner.outer = None  # a circle, which would keep all of it until the collector comes
    return graph, builder.found


class Builder:
    """What is shared while one recipe is built: findings, rules, and how much was unfolded."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []
        self.say: Callable[[Diagnostic], None] = self.found.append
        """No method, which would hold the builder in a circle with what it is given to: nothing then waits for the collector."""
        self.rules = RuleBook(self.say)
        self.resolver = Resolver(self.rules, self.say)
        self.types: dict[str, Type] = {}
        self.nested: list[ScopeDraft] = []
        """The insides of containers, which look names up in what is around them."""
        self.written = 0
        self.named = 0
        """How many values patterns have named so far."""
        self.full = False
        self.later: list[tuple[Draft, ScopeDraft, str, Span]] = []
        """Drafts whose `same` is looked up once everything stands."""
        self.accepted: list[Accepted] = []
        self.filled: dict[str, dict[str, None]] = {}
        """Key path of what fills a slot -> the addresses where it stands."""
        self.graphs: list[tuple[GraphSpec, ScopeDraft]] = []
        """Every graph that was built, once for each place that uses it."""
        self.outputs: Value | None = None
        """The recipe's `outputs` as they are written."""
        self.lost: set[str] = set()
        """Names whose values are fed to a port that is not there: that is said, and they count as read."""
        self.overlays: list[Overlay] = []
        """The grafts of the graphs that are being built."""
        self.grafted: list[Placed] = []
        self.given = False
        """Whether a module is handed over."""
        self.tied: list[tuple[Draft, ScopeDraft, str, str, Span, Diagnostic | None]] = []
        self.copied: list[tuple[Draft, ScopeDraft, str, Span]] = []
        """Drafts whose `init` copies the values of a node."""

    # --- graphs ---
    def graph(self, spec: GraphSpec, outer: Env, at: At, arguments: Mapping[str, Field]) -> ScopeDraft:
        env = Env(outer, spec, self.say)
        path = f"{spec.path}." if spec.path else ""
        for name, (value, _) in arguments.items():
            if name not in spec.vars:
                self.say(Diagnostic("argument-unknown", f"the graph has no var `{name}`", value.key,
                                    help=did_you_mean(name, spec.vars) or (f"its vars are {listed(spec.vars)}" if spec.vars else f"give it a value there, which this one replaces: `vars: {{{name}: ...}}`")))  # fmt: skip
        env.define(spec.vars, {k: v for k, v in arguments.items() if k in spec.vars}, f"{path}vars")
        self._shadows(spec, outer, env)
        if not at.path:
            at = at._replace(inherited={key: (value, env) for key, value in spec.inherited.items()})
            init.of_recipe(at.inherited.get("init"), self.say)
        scope = ScopeDraft(at.address, env, known=frozenset(spec.nodes), policy=spec.policy or at.policy)
        at = at._replace(policy=scope.policy)
        self.graphs.append((spec, scope))
        for name, value in spec.inputs.items():
            self._input(scope, name, value, f"{path}inputs.{name}", root=not at.path)
        mark = self.rules.open(spec.rules, env, len(at.path))
        overlays = self._open_grafts(spec, env, at)
        scope.places = {name: (place, env) for name, place in spec.nodes.items()}
        if spec.slots and not self.rules.rules:
            self._foresee(spec)
        quick = not self.rules.rules and not at.inherited and len(at.path) < MAX_NESTING
        prefix = f"{at.address}." if at.address else ""
        for name, place in spec.nodes.items():
            plain = read_plain(place, env) if quick and self.written < MAX_WRITTEN and not self.full else None
            if plain is None:
                self.node(place, scope, at.below(name))
            else:
                self.written += 1
                self._plain(plain, place, scope, prefix + name)
        for name in spec.inputs.keys() & spec.nodes.keys():
            scope.nodes[name].broken = True  # said: one name for two things
        wire.wire(self, scope)
        if overlays:
            from assembler.graph.graft import apply

            apply.apply(self, overlays, scope, at, frozenset(str(value.data) for value in spec.outputs.values()))
        wire.outputs(self, scope, spec)
        self.rules.close(mark, at.path)
        self._unused(spec, env, scope)
        return scope

    def _input(self, scope: ScopeDraft, name: str, value: Value, path: str, root: bool) -> None:
        stated, optional = value, False
        if isinstance(value.data, dict):
            kind, flag = value.data.get("type"), value.data.get("optional")
            optional = flag is not None and flag.data is True
            for key, item in value.data.items():
                if key not in ("type", "optional"):
                    self.say(Diagnostic("unknown-key", f"an input has no key `{key}`", item.key.at(path), help="it has `type` and `optional`"))
            if kind is None:
                self.say(Diagnostic("missing-key", f"the input `{name}` has no type", value.span.at(path), help='write `type: "[batch seq 64]"`'))
                return
            stated = kind
        found = self.port_type(stated, scope.env, path)
        scope.inputs[name] = Port(str(found) if found else "", optional=optional)
        if found is not None and root:
            self.types[name] = found

    def port_type(self, value: Value, env: Env, path: str) -> Type | None:
        """A stated port type, its vars worked out; every other name stays a name."""
        try:
            text = port_type_data(value.plain())
            stated = parse_port_type(text)
            known = {}
            for item in (*stated.dims, *((stated.vocabulary,) if stated.vocabulary is not None else ())):
                for symbol in item.names:
                    word = env.find(symbol)
                    if env.is_broken(symbol):
                        return None
                    if word is not None and type(word) is not int:
                        self.say(Diagnostic("value-type", f"`{symbol}` is {word!r}, not a size", value.span.at(path)))
                        return None
                    known[symbol] = dim_name(symbol) if word is None else word
            dims = tuple(item.evaluate(known) for item in stated.dims)
            vocabulary = stated.vocabulary.evaluate(known) if stated.vocabulary is not None else None
        except ExpressionError as error:
            whole = Value(value.data if isinstance(value.data, str) else "", value.span)
            self.say(wrong_expression(error, whole, path))
            return None
        for dim in dims:
            if isinstance(dim, int) and not 1 <= dim <= 2**31 - 1:
                self.say(Diagnostic("dim-range", f"an axis of {dim}: sizes go from 1 to 2**31-1", value.span.at(path), help="name a size that only a run knows: `[batch seq 16]`"))
                return None
        return Type(stated.medium, stated.dtype, dims, stated.lead or "", vocabulary)

    def _shadows(self, spec: GraphSpec, outer: Env, env: Env) -> None:
        for name in spec.vars:
            if spec.path and outer.find(name) is not None and outer.find(name) != env.values.get(name) and name in env.values and not spec.path.startswith("slots"):
                self.say(Diagnostic("vars-shadow", f"`{name}` hides an outer var of another value", env.spans[name].at(f"{spec.path}.vars.{name}"),
                                    help="rename it, or hand it over in `vars` where the graph is used"))  # fmt: skip

    def _unused(self, spec: GraphSpec, env: Env, scope: ScopeDraft) -> None:
        for name, value in spec.vars.items():
            if name not in env.used:
                self.say(Diagnostic("vars-unused", f"nothing uses the var `{name}`", value.key.at(f"{spec.path}.vars.{name}".lstrip(".")), help="remove it"))
        for name, slot in spec.slots.items():
            if f"slot {name}" not in self._used_slots:
                self.say(Diagnostic("slot-unused", f"no node uses the slot `{name}`", slot.span.at(f"slots.{name}"), help=f"write `slot: {name}` where it belongs, or remove it"))

    @property
    def _used_slots(self) -> set[str]:
        return self.resolver.used

    # --- nodes ---
    def node(
        self, place: Place, scope: ScopeDraft, at: At, in_bus: bool = False, beside: int | None = None
    ) -> Draft:  # fmt: skip
        """Draft one place and put it, with its norms, into the scope. A broken one stays as a name.

        `beside`: it is called by what it stands in, and holds its norms itself; n copies of it stand
        side by side, or (0) it stands alone under its own name.
        """
        draft = self._node(place, scope, at, in_bus, beside)
        if draft.broken:
            self.rules.lose(at.path)
        return draft

    def _node(self, place: Place, scope: ScopeDraft, at: At, in_bus: bool, beside: int | None) -> Draft:
        if self._limits(place, at):
            return self._broken(place, scope, at)
        plain = None if self.rules.rules or at.inherited or beside is not None else read_plain(place, scope.env)
        if plain is not None:
            return self._plain(plain, place, scope, at.address)
        find = lambda text, span: finish.find_place(self, scope, text, span)  # noqa: E731
        resolved = self.resolver.resolve(place, scope.env, at.path, at.counts, at.inherited, find)
        if resolved is None:
            return self._broken(place, scope, at)
        if resolved.slot:
            scope.fed_by_slot = True
        shared = read_shared(resolved, at.inherited, in_bus, self.say)
        if shared is None:
            return self._broken(place, scope, at)
        said = len(self.found)
        feeds = read_feeds(resolved.fields.get("from"), place.path, self.say)
        misfed = len(self.found) > said
        offered = scope.offered.union(list(feeds.entries)[1:])
        if beside is not None and shared.repeat is not None:
            self.say(Diagnostic("place-conflict", f"`{place.name}` stands beside others: its copies in a row are a sequence inside it", resolved.span("repeat"), help="write `kind: sequence, parts: {...}`, with `repeat` at its part"))
            return self._broken(place, scope, at)
        copy = beside == 0 or (shared.repeat is None and beside is None and self._is_copy(resolved, scope, at))
        if copy:
            draft = copies.copy_of(self, resolved, shared, scope, at, offered, called=True)
        elif beside is not None or shared.repeat is not None:
            draft = self._repeat(resolved, shared, scope, at, offered, find, in_bus, beside)
        else:
            draft = self.single(resolved, shared, scope, at, offered)
        draft.feeds, draft.path, draft.span, draft.shared = feeds, place.path, place.span, shared
        draft.broken |= misfed
        if resolved.same is not None and not draft.broken:
            self.later.append((draft, scope, *resolved.same))
        scope.add(draft)
        if resolved.slot and not draft.broken:
            accept.keep(self, resolved, draft, scope)
        if not draft.broken and shared.repeat is None and beside is None and not copy:
            norms.around(self, draft, shared, scope)
        return draft

    @staticmethod
    def _is_copy(resolved: Resolved, scope: ScopeDraft, at: At) -> bool:
        """Whether a place is one more use of one copy of several, which has norms inside: its own, or those of the bus around both."""
        if resolved.same is None or resolved.held:
            return resolved.held
        name, _, copy = resolved.same[0].rpartition(".")
        return copy.lstrip("-").isdigit() and name in scope.places and "norm" in at.inherited

    @staticmethod
    def _broken(place: Place, scope: ScopeDraft, at: At) -> Draft:
        """A place of which something is wrong and said."""
        return scope.add(Draft(place.name, at.address, place.span, broken=True, path=place.path))

    def _plain(self, plain: Plain, place: Place, scope: ScopeDraft, address: str) -> Draft:
        """The draft of a plain place, where nothing is inherited and no rule holds."""
        leaf = plain.make(place, scope.env, self.say)
        if leaf is None:
            draft = Draft(place.name, address, place.span, kind=plain.kind, feeds=plain.feeds, path=place.path, broken=True)
        else:
            chosen, ports, gives, main = leaf
            draft = Draft(place.name, address, place.span, "", ports, gives, main, {}, plain.kind, chosen, feeds=plain.feeds, path=place.path)
        scope.nodes[place.name] = draft
        return draft

    def _limits(self, place: Place, at: At) -> bool:
        self.written += 1
        if self.full:
            return True
        if self.written > MAX_WRITTEN:
            self._too_many(place)
        elif len(at.path) > MAX_NESTING:
            self.say(Diagnostic("limit-depth", f"parts nest deeper than {MAX_NESTING} levels", place.span, help="put parts beside one another, or use `repeat:`"))
        else:
            return False
        self.full = True
        return True

    def _foresee(self, spec: GraphSpec) -> None:
        """Refuse a graph whose slots unfold into too much, before the first node of it stands."""
        worst = max(spec.nodes.values(), key=lambda place: forecast(place, spec.slots), default=None)
        if worst is not None and not self.full and self.written + forecast(worst, spec.slots) > MAX_WRITTEN:
            self._too_many(worst)
            self.full = True

    def _too_many(self, place: Place) -> None:
        self.say(Diagnostic("limit-nodes", f"the recipe unfolds into more than {MAX_WRITTEN:,} written nodes", place.span, help="use `repeat:` for copies"))

    def single(self, resolved: Resolved, shared: Shared, scope: ScopeDraft, at: At, offered: frozenset[str]) -> Draft:
        """One node without its copies and norms."""
        name, kind = resolved.place.name, resolved.kind
        draft = Draft(name, at.address, resolved.place.span, kind=kind, path=resolved.place.path)
        below = at._replace(inherited={**at.inherited, **shared.inherited}) if shared.inherited else at
        mark = len(self.resolver.within)
        self.resolver.within.extend(resolved.hops)
        if kind.container and "tie" in resolved.fields:
            self.say(Diagnostic("place-conflict", f"`{name}` is a {kind.name}: `tie` wants a node that owns the parameter", resolved.span("tie"), help="write `tie` at the part inside"))
        if resolved.graph is not None:
            draft.inner = self.graph(resolved.graph, scope.env if resolved.slot else resolved.env, below, resolved.arguments)
            draft.ports = dict(draft.inner.inputs)
            draft.give()
        elif kind.container:
            container.fill(self, draft, resolved, shared, scope, below, offered)
        else:
            self._leaf(draft, resolved, shared, scope)
        del self.resolver.within[mark:]
        return draft

    def _leaf(self, draft: Draft, resolved: Resolved, shared: Shared, scope: ScopeDraft) -> None:
        chosen = self._given(resolved) if resolved.kind.name == "given" else choose(resolved.kind, resolved.fields, resolved.place.path, draft.name, self.say)
        if chosen is None:
            draft.broken = True
            return
        leaf = made(chosen)
        draft.chosen, draft.ports, draft.gives, draft.main = leaf.chosen, leaf.ports, leaf.gives, leaf.main
        draft.said = dict(shared.said)
        tie = resolved.fields.get("tie")
        ties = [*tie[0].items()] if tie else []
        if ties and resolved.same and "tie" in resolved.place.fields:
            self.say(Diagnostic("place-conflict", f"`{draft.name}` is one more use of `{resolved.same[0]}`: `tie` would make it another module", resolved.span("tie"), help=f"write `tie` at `{resolved.same[0]}`, or `like:` for weights of its own"))
            draft.broken = True
            return
        if tie and tie[0].data is not None and not isinstance(tie[0].data, dict):
            self.say(Diagnostic("value-type", f"`tie` of `{draft.name}` is {tie[0].plain()!r}, where a mapping is wanted", resolved.span("tie"), help="write `tie: {weight: address.weight}`"))
        doubly: Mapping[str, Diagnostic] = {}
        if shared.stated:
            doubly = init.stated(draft, resolved, shared.stated, ties, self.say)
            if "copy" in shared.stated and not resolved.same:
                self.copied.append((draft, scope, shared.stated["copy"], resolved.span("init")))
        for own, value in ties:
            self.tied.append((draft, scope, own, str(value.data), value.span.at(f"{draft.path}.tie.{own}"), doubly.get(own)))

    def _given(self, resolved: Resolved) -> Chosen | None:
        from assembler.graph import given

        self.given = True
        fields = given.worked_out(self, resolved)
        chosen = choose(resolved.kind, fields, resolved.place.path, resolved.place.name, self.say) if fields is not None else None
        return given.completed(chosen, resolved) if chosen is not None else None

    def _open_grafts(self, spec: GraphSpec, env: Env, at: At) -> list[Overlay]:
        if not spec.grafts:
            return []
        from assembler.graph.graft import apply

        return apply.open_grafts(self, spec.grafts, env, len(at.path))

    def _repeat(self, resolved: Resolved, shared: Shared, scope: ScopeDraft, at: At, offered: frozenset[str], find: object, in_bus: bool, beside: int | None) -> Draft:
        count = beside or shared.repeat or 1
        name = resolved.place.name
        draft = Draft(name, at.address, resolved.place.span, share=shared.share, path=resolved.place.path, kind=resolved.kind)
        breaks = [0, count] if shared.share else self.rules.breaks(at.path, at.counts, count)
        if self.overlays and not shared.share:
            from assembler.graph.graft.spec import splits

            breaks = sorted({*breaks, *(cut for overlay in self.overlays for cut in splits(overlay, at.path, at.counts, count))})
        for start, stop in pairwise(breaks):
            shown = copies_text(start, stop, count)
            here = at if shared.share else at.below(start, count, shown)
            copy, own = resolved, shared
            if self.rules.rules and not shared.share:
                again = self.resolver.resolve(resolved.place, scope.env, at.path, at.counts, at.inherited, find, (here.path, here.counts))  # type: ignore[arg-type]
                copy = again or resolved
                own = read_shared(copy, at.inherited, in_bus, self.say) or shared
                accept.stands(self, copy, here.address)
            node = copies.copy_of(self, copy, own, scope, here, offered, called=beside is not None)
            if node.broken:
                draft.broken = True
                return draft
            draft.runs.append((stop - start, node))
        copies.join_runs(self, draft, resolved)
        if beside is not None:
            draft.beside, draft.main = draft.main, ""
            draft.gives = {name: port for name, port in draft.gives.items() if port.loss}
            draft.broken |= draft.weight > MAX_UNFOLDED
            draft.taps = {} if draft.broken else dict.fromkeys(ref.port for ref in draft.values)
        return draft

    def weigh(self, draft: Draft) -> None:
        """Hold what a draft unfolds into against the limit, before anything is unfolded."""
        if draft.runs:
            draft.weight = sum(count * node.weight for count, node in draft.runs)
        elif draft.inner is not None:
            draft.weight = sum(node.weight for node in draft.inner.nodes.values())
        if draft.weight > MAX_UNFOLDED and not self.full:
            self.full = True
            parts = " + ".join(f"{count:,} x {node.weight:,}" for count, node in draft.runs[:4]) or f"{draft.weight:,}"
            self.say(Diagnostic("limit-nodes", f"`{draft.address}` unfolds into {draft.weight:,} nodes ({parts}); the limit is {MAX_UNFOLDED:,}",
                                draft.span.at(draft.path), help="lower `repeat`", related=(Note("counted, not built"),)))  # fmt: skip


__all__ = ["At", "Builder", "build", "value_of"]
