"""Modules that the caller hands over: their ports and sites read, and the stretches that grafts cut them into.

A graft that writes at a site stands between two stretches of the module. The graph shows it so: the
stretch up to the site, the graft's nodes, the next stretch, which takes the site's value back and all
the inputs once more. For everything that asks what depends on what, that is enough; the compiler
makes one call of all stretches again.
"""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Iterator, Mapping, Set
from typing import TYPE_CHECKING, Any

from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.env import Env
from assembler.graph.graft_place import Target
from assembler.graph.model import Edge, Graph, Group, Leaf, Ref, Scope
from assembler.graph.options import Chosen, Field
from assembler.graph.place import Resolved
from assembler.library.cards.given import MOST_PORTS, MOST_SITES, Stated, Wrong, stated_output, stated_port, stated_site
from assembler.source.names import check_name
from assembler.source.parse import did_you_mean
from assembler.source.tree import Value, value_of
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.kind import Given
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.build import Builder


# --- reading ---
def worked_out(builder: Builder, resolved: Resolved) -> dict[str, Field] | None:
    """The fields of a given node with every port type worked out, or None after saying what is wrong.

    A place of a port or site is kept under `ports.in.x`, `sites.h3`, for whoever measures it later.
    """
    reader = _Reader(builder, resolved)
    fields = dict(resolved.fields)
    for key in [key for key in ("init", "seed", "tie") if key in fields and fields[key][0].data is not None]:
        reader.say("place-conflict", f"`{key}` says how parameters start, and those of `{resolved.place.name}` come with the module", fields[key][0].key.at(f"{reader.path}.{key}"), "drop it; whoever hands the module over gives it its values")
    if "ports" in fields:
        reader.ports(fields)
    if "sites" in fields:
        reader.sites(fields)
    if "host" in fields:
        reader.host(fields)
    reader.call(fields)
    if not reader.failed:
        reader.rows(fields)
    return None if reader.failed else fields


class _Reader:
    def __init__(self, builder: Builder, resolved: Resolved) -> None:
        self.builder, self.resolved, self.path = builder, resolved, resolved.place.path
        self.names: dict[str, Span] = {}
        self.inputs: dict[str, Any] = {}
        self.failed = False

    def say(self, code: str, message: str, span: Span, help: str) -> None:
        self.failed = True
        self.builder.say(Diagnostic(code, message, span, help=help))

    def ports(self, fields: dict[str, Field]) -> None:
        value, env = fields["ports"]
        if not isinstance(value.data, dict):
            self.say("value-type", f"`ports` is {_shown(value)}, where a mapping is wanted", value.span.at(f"{self.path}.ports"), _EXAMPLE)
            return
        found: dict[str, dict[str, Any]] = {}
        for side, item in value.data.items():
            at = f"{self.path}.ports.{side}"
            if side not in ("in", "out"):
                self.say("unknown-key", f"`ports` has no key `{side}`", item.key.at(at), did_you_mean(side, ("in", "out")) or "it has `in` and `out`")
            else:
                found[side] = self.table(item, env, at, stated_port if side == "in" else stated_output, MOST_PORTS)
        for side in ("in", "out"):
            if not found.get(side) and not self.failed:
                self.say("missing-key", f"`ports` states no {'input' if side == 'in' else 'output'}", value.span.at(f"{self.path}.ports"), _EXAMPLE)
        self.inputs = found.get("in", {})
        fields["ports"] = value_of(found, value.span), env

    def sites(self, fields: dict[str, Field]) -> None:
        value, env = fields["sites"]
        found = self.table(value, env, f"{self.path}.sites", stated_site, MOST_SITES)
        paths: dict[str, str] = {}
        for name, item in found.items():
            other = paths.setdefault(item["at"], name)
            if other != name:
                self.say("name-taken", f"`{other}` and `{name}` are one place: `{item['at']}`", self.names[name].at(f"{self.path}.sites.{name}"), "drop one of them")
        fields["sites"] = value_of(found, value.span), env

    def table(self, value: Value, env: Env, at: str, read: Callable[[str, Any], Stated], most: int) -> dict[str, Any]:
        """Name -> what is stated of it, as plain data; its place is remembered."""
        if not isinstance(value.data, dict):
            self.say("value-type", f"`{at.rpartition('.')[2]}` is {_shown(value)}, where a mapping of names is wanted", value.span.at(at), _EXAMPLE)
            return {}
        if len(value.data) > most:
            self.say("limit-nodes", f"{len(value.data):,} names stand here; at most {most:,} are read", value.span.at(at), "state those that somebody reads or writes")
            return {}
        found: dict[str, Any] = {}
        for name, item in value.data.items():
            wrong = check_name(name, "port", item.key.at(f"{at}.{name}"), attribute=False)
            if wrong is None and name in self.names:
                wrong = Diagnostic("name-taken", f"`{name}` names two ports or sites of one module", item.key.at(f"{at}.{name}"), help="rename one of them")
            if wrong is not None:
                self.failed = True
                self.builder.say(wrong)
                continue
            self.names[name] = item.span
            entry = self.entry(name, item, env, f"{at}.{name}", read)
            if entry is not None:
                found[name] = entry
        return found

    def entry(self, name: str, value: Value, env: Env, at: str, read: Callable[[str, Any], Stated]) -> Any:
        try:
            stated = read(name, value.plain())
        except Wrong as wrong:
            self.say(wrong.code, str(wrong), value.span.at(at), wrong.help)
            return None
        written = value.data["type"] if isinstance(value.data, dict) else value
        if stated.path and not isinstance(value.data, dict):
            written = Value(stated.type, value.span)
        known = len(self.builder.found)
        kind = self.builder.port_type(written, env, at)
        if kind is None:
            self.failed = self.failed or len(self.builder.found) > known or env is not None
            return None
        entry: dict[str, Any] = {"type": str(kind)}
        if stated.path:
            entry["at"] = stated.path
        if stated.optional:
            entry["optional"] = True
        if stated.norm:
            entry["norm"] = stated.norm
        return entry

    def host(self, fields: dict[str, Field]) -> None:
        """A configuration that its family does not read is said where it stands."""
        from assembler.library.hosts import HostError, card

        value, env = fields["host"]
        at = f"{self.path}.host"
        if not isinstance(value.data, dict):
            self.say("value-type", f"`host` is {_shown(value)}, where a configuration is wanted", value.span.at(at), "write `host: {model_type: bert, ...}`; `assembler.host(config)` makes it of a Transformers configuration")
            return
        plain = {key: item.plain() if (word := env.find(item.data) if isinstance(item.data, str) else None) is None else word for key, item in value.data.items()}
        try:
            self.inputs.update(card(plain).inputs)
        except HostError as wrong:
            item = value.data.get(wrong.key)
            self.say("value-range" if item is not None else "missing-key", str(wrong), (item.span if item is not None else value.span).at(f"{at}.{wrong.key}" if item is not None else at), "`assembler.host(config)` makes it of a Transformers configuration")

    def rows(self, fields: Mapping[str, Field]) -> None:
        """The axes that stand for `...` come in by an input that is always there."""
        ports = fields["ports"][0].plain() if "ports" in fields else {}
        sites = fields["sites"][0].plain() if "sites" in fields else {}
        if any("..." in item["type"] and not item.get("optional") for item in ports.get("in", {}).values()):
            return
        for name, item in {**ports.get("out", {}), **sites}.items():
            if "..." in item["type"]:
                where = f"{self.path}.{'sites' if name in sites else 'ports.out'}.{name}"
                self.say("dim-underdetermined", f"no input says which axes `...` of `{name}` are", self.names[name].at(where), "name them: `[batch seq 768]`; or let an input that is not optional begin with `...` too")

    def call(self, fields: Mapping[str, Field]) -> None:
        """A constant argument is no input as well."""
        value = fields["call"][0] if "call" in fields else None
        for name, item in value.data.items() if value is not None and isinstance(value.data, dict) else ():
            if name in self.inputs:
                self.say("place-conflict", f"`{name}` is an input, and a constant of the call", item.key.at(f"{self.path}.call.{name}"), "drop one of them")


_EXAMPLE = 'write `ports: {in: {x: "[batch 16]"}, out: {y: "[batch 8]"}}`'


def _shown(value: Value) -> str:
    text = repr(value.plain())
    return text if len(text) <= 60 else f"{text[:57]}..."


def completed(chosen: Chosen, resolved: Resolved) -> Chosen:
    """With the places of ports and sites. What is one more use of a module has no sites: grafts stand in the first."""
    definition = chosen.definition
    build = definition.build
    if resolved.same is not None and isinstance(build, Given):
        outputs = {name: definition.outputs[name] for name in build.outputs}
        definition = definition._replace(outputs=outputs, build=build._replace(sites={}))
    return chosen._replace(definition=definition, spans={**chosen.spans, **places(resolved.fields)})


def places(fields: Mapping[str, Field]) -> dict[str, Span]:
    """Where each port and site of a given node is stated: `in.x`, `out.y`, `sites.h3`."""
    found: dict[str, Span] = {}
    ports = fields["ports"][0].data if "ports" in fields else {}
    tables = {**(ports if isinstance(ports, dict) else {}), **({"sites": fields["sites"][0]} if "sites" in fields else {})}
    for side, table in tables.items():
        if isinstance(table.data, dict):
            found.update({f"{side}.{name}": item.span for name, item in table.data.items()})
    return found


# --- where it may stand ---
def refuse_copies(builder: Builder, scope: ScopeDraft) -> None:
    """A module that is handed over is one: it stands in no repeat and is no expert."""
    todo: list[tuple[ScopeDraft, Draft | None]] = [(scope, None)]
    while todo:
        here, around = todo.pop()
        for draft in here.nodes.values():
            many = around
            if many is None and (draft.runs or draft.skipped or (draft.kind is not None and draft.kind.name in ("moe", "route", "compete"))):
                many = draft
            for node in [run for _, run in draft.runs] or [draft]:
                if many is not None and node.inner is None and node.kind is not None and node.kind.name == "given" and not draft.broken:
                    draft.broken = True
                    what = "copies of it" if many.runs else "an expert"
                    builder.say(Diagnostic("unsupported", f"`{node.name}` is one module, which the caller hands over: there can be no {what.removeprefix('an ')}", node.span.at(node.path), help="write it once, outside of what repeats; `same:` uses it again"))
                if node.inner is not None:
                    todo.append((node.inner, many))


# --- stretches ---
def is_site(target: Target) -> bool:
    """Whether a graft's place is a site inside a given module."""
    draft = target.draft
    return target.side == "out" and draft is not None and bool(every_site(draft).get(target.port))


def every_site(draft: Draft) -> Mapping[str, str]:
    """The sites of a given node, in order, all its stretches together."""
    found: dict[str, str] = {}
    for item in (*draft.stretches, draft):
        build = item.chosen.definition.build if item.chosen is not None else None
        if isinstance(build, Given):
            found.update(build.sites)
    return found


def part(scope: ScopeDraft, wanted: Mapping[str, Set[str]]) -> None:
    """Part given nodes behind some of their sites: node -> those sites. Where one is parted already, nothing changes."""
    moved: dict[Ref, Ref] = {}
    before: dict[str, list[Draft]] = {}
    for name, sites in wanted.items():
        host = scope.nodes[name]
        chain: list[Draft] = []
        for holder in (*host.stretches, host):
            before[holder.name] = _split(scope, host, holder, sites)
            for new in before[holder.name]:
                moved.update({Ref(holder.name, site): Ref(new.name, site) for site in new.gives})
                host.moved.update({site: Ref(new.name, site) for site in new.gives})
            chain += [*before[holder.name], holder]
        host.stretches = chain[:-1]
    for node in scope.nodes.values():
        for port, edges in node.edges.items():
            if any(edge.source in moved for edge in edges):
                node.edges[port] = [edge._replace(source=moved.get(edge.source, edge.source)) for edge in edges]
    scope.outputs = {name: moved.get(ref, ref) for name, ref in scope.outputs.items()}
    added = {item.name for items in before.values() for item in items}
    every = [item for name, node in scope.nodes.items() if name not in added for item in (*before.get(name, ()), node)]
    scope.nodes = {item.name: item for item in every}


def _split(scope: ScopeDraft, host: Draft, holder: Draft, sites: Set[str]) -> list[Draft]:
    """New stretches in front of one that there is; what is left of that takes the last site back."""
    assert holder.chosen is not None
    definition, options, spans = holder.chosen.definition, holder.chosen.options, holder.chosen.spans
    build = definition.build
    assert isinstance(build, Given)
    inputs = {name: port for name, port in definition.inputs.items() if name != build.back}
    edges = {port: item for port, item in holder.edges.items() if port != build.back}
    back, source, first, found = build.back, holder.edges.get(build.back, []), list[str](), list[Draft]()
    left = list(build.sites)
    for site in build.sites:
        first.append(site)
        if site not in sites or (holder is not host and site == definition.main):
            continue
        own = {**inputs, **({back: definition.inputs[back] if back in definition.inputs else definition.outputs[back]} if back else {})}
        outputs = {name: definition.outputs[name] for name in first}
        early = build._replace(outputs=(), sites={name: build.sites[name] for name in first}, node=host.name, back=back)
        new = scope.add(Draft(
            scope.free(f"{host.name}_{site}"), f"{host.address}_{site}", host.span, f"{host.name} up to its site {site}", dict(own), outputs, site,
            {**{port: list(item) for port, item in edges.items()}, **({back: list(source)} if back else {})}, host.kind,
            Chosen(options, definition._replace(inputs=own, outputs=outputs, build=early, main=site, opaque=False), spans),
            said={key: item for key, item in host.said.items() if key in ("freeze", "dtype", "seed")}, path=host.path,
        ))  # fmt: skip
        found.append(new)
        left = left[len(first) :]
        back, source, first = site, [Edge(Ref(new.name, site), host.span)], []
    if found:
        kept = {name: port for name, port in definition.outputs.items() if name in left or name not in build.sites}
        taken = {**inputs, back: definition.outputs[back]}
        holder.chosen = Chosen(options, definition._replace(inputs=taken, outputs=kept, build=build._replace(sites={name: build.sites[name] for name in left}, back=back)), spans)
        holder.edges = {**edges, back: source}
    return found


def in_order(builder: Builder, scope: ScopeDraft) -> None:
    """The nodes, so that between the first and the last stretch of a module only that stands which runs inside it.

    Two modules of which each waits for the other cannot run one after the other: that is said.
    """
    hosts = [draft for draft in scope.nodes.values() if draft.stretches]
    if not hosts or any(draft.broken for draft in scope.nodes.values()):
        return
    needs = scope.needs()
    order = [draft.name for draft in scope.ordered()]
    block: dict[str, str] = {}
    for host in hosts:
        for name in _between(needs, order, host):
            if block.setdefault(name, host.name) != host.name:
                _entangled(builder, scope.nodes[block[name]], host)
                return
    waits = {block.get(name, name): dict[str, None]() for name in order}
    for name in order:
        mine = block.get(name, name)
        waits[mine].update({block.get(source, source): None for source in needs[name] if block.get(source, source) != mine})
    try:
        done = list(graphlib.TopologicalSorter(waits).static_order())
    except graphlib.CycleError as error:
        one, other, *_ = [scope.nodes[name] for name in error.args[1][:-1] if scope.nodes[name].stretches]
        _entangled(builder, one, other)
        return
    members: dict[str, list[str]] = {}
    for name in order:
        members.setdefault(block.get(name, name), []).append(name)
    scope.nodes = {name: scope.nodes[name] for block_name in done for name in members[block_name]}


def _between(needs: Mapping[str, set[str]], order: list[str], host: Draft) -> set[str]:
    """The stretches of a module and what stands between them: behind the first of them, and before the last."""
    behind = {host.stretches[0].name}
    for name in order:
        if needs[name] & behind:
            behind.add(name)
    found, todo = {host.name}, [host.name]
    while todo:
        for source in needs[todo.pop()]:
            if source in behind and source not in found:
                found.add(source)
                todo.append(source)
    return found


def _entangled(builder: Builder, one: Draft, other: Draft) -> None:
    other.broken = True
    builder.say(Diagnostic("graph-cycle", f"grafts inside `{one.name}` and `{other.name}` read one another's sites: neither module can run first", other.span.at(other.path),
                           help="let one of them read only what is there before it runs"))  # fmt: skip


# --- what others ask ---
def handed(graph: Graph) -> Iterator[str]:
    """The addresses of the modules that a caller hands over: their parameters are under these in the `state_dict`, and not ours."""
    todo: list[tuple[str, Scope]] = [("", graph.scope)]
    while todo:
        prefix, scope = todo.pop()
        for name, node in scope.nodes.items():
            if isinstance(node, Leaf) and isinstance(node.definition.build, Given) and not node.definition.build.node and not node.same:
                yield prefix + name
            elif isinstance(node, Group):
                todo.append((f"{prefix}{name}.", node.scope))
