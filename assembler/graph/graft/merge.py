"""How what a graft's part gives meets the host's value, as plain nodes: h is the host's value, m the part's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from assembler.graph.draft import Draft
from assembler.graph.graft.place import Target
from assembler.graph.graft.silent import Plan, factor
from assembler.graph.graft.spec import Overlay
from assembler.graph.insert import ask, insert
from assembler.graph.model import Edge, Ref
from assembler.graph.norms import norm_node
from assembler.graph.shared import Shared
from assembler.source.tree import value_of

if TYPE_CHECKING:
    from assembler.graph.build import Builder


class Merged(NamedTuple):
    """One merge: what stands for a value of the host."""

    value: Ref
    before: Ref
    entry: tuple[str, str, int]
    """Node, port and edge by which the host's value comes in."""
    reader: Draft | None = None
    """The node whose output it stands for, where that is not the place of the graft itself (`columns`)."""


def merge(builder: Builder, overlay: Overlay, target: Target, host: Ref, value: Ref, part: Draft, plan: Plan) -> list[Merged]:
    """The nodes of one mode. A width of m that is not the host's is bridged to it."""
    work = _Merge(builder, overlay, target, part, plan)
    if plan.form == "columns":
        return work.columns(value)
    merged = work.run(host, value)
    return [merged._replace(value=work.behind(merged.value))] if overlay.norm == "post" else [merged]


class _Merge:
    def __init__(self, builder: Builder, overlay: Overlay, target: Target, part: Draft, plan: Plan) -> None:
        self.builder, self.overlay, self.part, self.plan = builder, overlay, part, plan
        self.scope, self.inherited = target.level.scope, target.level.inherited
        self.span = overlay.span("mode")
        self.said = {key: item for key, item in (part.shared.said if part.shared else {}).items() if key in ("dtype", "seed")}
        self.quiet = bool(overlay.demand)

    def run(self, host: Ref, value: Ref) -> Merged:
        mode = self.overlay.mode
        if mode == "blend":
            return self.blend(host, value)
        value = self.scaled(value)
        if mode == "replace":
            first = self.scope.nodes[self.part.reads] if self.part.reads else self.part
            return Merged(value, host, (first.name, first.first, 0))
        if mode == "gate":
            gate = self.node("gate", "gate", form=self.overlay.form)
            gate.edges["base"] = [Edge(host, self.span)]
            self.join(gate, "gate", value)
            merged, into = gate, "base"
        else:
            merged, into = self.node(mode, mode), "x"
            merged.edges["x"] = [Edge(host, self.span)]
            self.join(merged, "x", value, follows=mode == "add")
        return Merged(Ref(merged.name, merged.main), host, (merged.name, into, 0))

    def node(self, word: str, kind: str, **options: object) -> Draft:
        fields = {key: (value_of(item, self.span), self.overlay.env) for key, item in options.items()}
        name = f"{self.overlay.name}_{word}"
        return insert(self.builder, self.scope, name, kind, fields, f"{word} of graft {self.overlay.name}", self.span, self.said)

    def join(self, node: Draft, port: str, value: Ref, follows: bool = True) -> None:
        """m enters the host: through the adapter that `write` asks for, else one that inference finds it needs."""
        write = self.overlay.write
        if write.adapt is not None:
            adapter = ask(self.builder, self.scope, node, port, write._replace(address=self.overlay.name))
            if adapter is not None:
                adapter.edges[adapter.first] = [Edge(value, write.span)]
                value = Ref(adapter.name, adapter.main)
                if self.plan.form == "adapter":
                    adapter.said["init"] = {"write": "zero"}
        node.edges.setdefault(port, []).append(Edge(value, self.span, follows=follows, keeps_zero=self.quiet))

    def scaled(self, value: Ref) -> Ref:
        start, learned = factor(self.overlay, self.plan)
        if not learned and start == 1.0:
            return value
        options: Mapping[str, object] = {"value": start, **({"learned": True} if learned else {}), **({"channel": True} if self.overlay.scale.channel else {})}
        node = self.node("scale", "scale", **options)
        node.edges["x"] = [Edge(value, self.span)]
        return Ref(node.name, node.main)

    def blend(self, host: Ref, value: Ref) -> Merged:
        """h + a (m - h), so that a = 0 is h to the last bit."""
        minus = self.node("minus", "scale", value=-1.0)
        minus.edges["x"] = [Edge(host, self.span)]
        change = self.node("change", "add")
        change.edges["x"] = [Edge(Ref(minus.name, minus.main), self.span)]
        self.join(change, "x", value)
        start, learned = factor(self.overlay, self.plan)
        part = self.node("scale", "scale", value=start, learned=learned, channel=self.overlay.scale.channel)
        part.edges["x"] = [Edge(Ref(change.name, change.main), self.span)]
        blend = self.node("blend", "add")
        blend.edges["x"] = [Edge(host, self.span), Edge(Ref(part.name, part.main), self.span)]
        return Merged(Ref(blend.name, blend.main), host, (blend.name, "x", 0))

    def columns(self, value: Ref) -> list[Merged]:
        """Concat in front of linear maps, split: W h + 0 m. Each of them gets new columns, which start at zero."""
        found = []
        for reader in self.plan.readers:
            after = reader.after or Ref(reader.name, reader.main)
            columns = self.node(f"{reader.name}_columns", "linear", bias=False)
            columns.edges["x"] = [Edge(value, self.span)]
            columns.said["init"] = {"write": "zero"}
            add = self.node(f"{reader.name}_concat", "add")
            add.edges["x"] = [Edge(after, self.span), Edge(Ref(columns.name, columns.main), self.span, follows=True, keeps_zero=True)]
            found.append(Merged(Ref(add.name, add.main), after, (add.name, "x", 0), reader))
        return found

    def behind(self, merged: Ref) -> Ref:
        """`norm: post`: the norm stands on the host's own way."""
        norm_kind = self.overlay.norm_kind or self.inherited.get("norm_kind")
        shared = Shared(norm="post", norm_kind=norm_kind, said=self.said)
        norm = norm_node(self.builder, self.scope, f"{self.overlay.name}_post_norm", shared, f"post norm of graft {self.overlay.name}", self.part)
        norm.edges["x"] = [Edge(merged, self.span)]
        return merged if norm.broken else Ref(norm.name, norm.main)
