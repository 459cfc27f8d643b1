"""Modules that the caller hands over: their ports and sites read, where they may stand, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.env import Env
from assembler.graph.model import Graph, Group, Leaf, Scope
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


def site_of(graph: Graph, address: str) -> str:
    """Where the value of a site stands in a graph in which its module is parted: `bert.h1` may be `bert_h3.h1`. Any other address is itself."""
    prefix, _, site = address.rpartition(".")
    around, _, host = prefix.rpartition(".")
    scope = graph.scope
    for name in around.split(".") if around else ():
        node = scope.nodes.get(name)
        if not isinstance(node, Group):
            return address
        scope = node.scope
    for name, node in scope.nodes.items():
        build = node.definition.build if isinstance(node, Leaf) else None
        if isinstance(build, Given) and build.node == host and site in build.sites:
            return f"{around}.{name}.{site}" if around else f"{name}.{site}"
    return address
