"""Modules that are handed over, in stretches: what grafts at their sites part them into, and in which order all runs.

A graft that writes at a site stands between two stretches of the module. The graph shows it so: the
stretch up to the site, the graft's nodes, the next stretch, which takes the site's value back and all
the inputs once more. For everything that asks what depends on what, that is enough; the compiler
makes one call of all stretches again.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.graft.place import Target
from assembler.graph.model import Edge, Ref
from assembler.graph.options import Chosen
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.kind import Given

if TYPE_CHECKING:
    from assembler.graph.build import Builder


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
