"""Mixtures: experts that must see rows only, and routers that cannot learn or would look ahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from assembler.facts.count import Counted
from assembler.facts.flow import Flow, Use
from assembler.facts.types.signature import signature
from assembler.facts.zero.analysis import Zero
from assembler.graph.mixture import Mixture, mixture_of
from assembler.graph.model import Graph, Group, Node, Repeat
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Definition

GATING, COMBINE = "gating", "combine"


def check(every: Sequence[Counted], graph: Graph) -> list[Diagnostic]:
    """Experts that read more than one row at a time: they are run on the rows that chose them, in no order."""
    held = _mixtures(graph)
    found: list[Diagnostic] = []
    for item in every:
        definition = item.facts.definition
        words = _names(item.address)
        for end in range(len(words) - 1, 0, -1):
            mixture = held.get(words[:end])
            if mixture is not None and words[end] in mixture[1].experts and definition is not None and not by_row(definition):
                kind = item.node.kind.name
                found.append(Diagnostic(
                    "expert-mixes-rows", f"`{item.address}` looks at other rows, and an expert is run on those that chose it alone", item.node.span,
                    label=f"it reads {_ports(definition)}", related=(Note(f"the {mixture[0].kind}", mixture[0].span),),
                    help=f"put the {kind} in front of the mixture, or use `kind: parallel`, which runs every part on everything",
                ))  # fmt: skip
                break
    return [*found, *_unbalanced(held.values())]


def _unbalanced(held: Iterable[tuple[Group, Mixture]]) -> Iterator[Diagnostic]:
    """Experts that are alike and a router that may give one of them everything."""
    said = set()
    for group, mixture in held:
        options = mixture.gating.options
        free = getattr(options, "balance", "") == "none" and getattr(options, "router", "") != "expert_choice"
        if group.kind == "moe" and free and group.span not in said:
            said.add(group.span)
            yield Diagnostic("mixture-unbalanced", f"nothing keeps the router of `{group.name}` from giving a few experts everything", group.span,
                             help="write `balance: switch`, or `balance: bias`; `assembler.lab.routing` shows the load")  # fmt: skip


def by_row(definition: Definition) -> bool:
    """Whether a kind makes of each row, one entry of all axes but the last, something by itself."""
    if all(port.loss for port in definition.outputs.values()):
        return True  # a sum of losses
    return all(side.lead and len(side.dims) <= 1 for side in signature(definition).inputs)


def _ports(definition: Definition) -> str:
    return ", ".join(f"`{port.type}`" for port in definition.inputs.values())


def _names(address: str) -> tuple[str, ...]:
    """An address without the numbers of copies."""
    return tuple(word for word in address.split(".") if word[0].isalpha())


def _mixtures(graph: Graph) -> dict[tuple[str, ...], tuple[Group, Mixture]]:
    """Every mixture, by the names of the way to it."""
    found: dict[tuple[str, ...], tuple[Group, Mixture]] = {}
    todo: list[tuple[tuple[str, ...], Node]] = [((name,), node) for name, node in graph.scope.nodes.items()]
    while todo:
        at, node = todo.pop()
        if isinstance(node, Repeat):
            todo.extend((at, run.node) for run in node.runs)
        elif isinstance(node, Group):
            todo.extend(((*at, name), inner) for name, inner in node.scope.nodes.items())
            mixture = mixture_of(node)
            if mixture is not None:
                found[at] = node, mixture
    return found


# --- routers ---
def prove(flow: Flow, zero: Zero) -> list[Diagnostic]:
    """Routers whose choice is a tie, drops that lose a row, choices that see the future. Copies of a repeat are one."""
    gates = [use for use in flow.uses if use.node.kind.name == GATING]
    found: dict[tuple[object, ...], Diagnostic] = {}
    for use in gates:
        for item in _routed(use, flow, zero):
            found.setdefault((item.code, item.span), item)
    return list(found.values())


def _routed(use: Use, flow: Flow, zero: Zero) -> Iterator[Diagnostic]:
    options, span = use.node.options, use.node.span
    name = use.address.rpartition(".")[0] or use.address
    scores = use.inputs["scores"][0]
    if zero.zero(scores) and "noise" not in use.inputs:
        yield Diagnostic("router-tie", f"the router of `{name}` starts with equal scores: every row goes to the same experts", span,
                         help="let it start as it does by default, or write `router: noisy_topk`, which breaks the tie")  # fmt: skip
    if getattr(options, "capacity", None) is not None and not _on_residual(use, flow):
        yield Diagnostic("capacity-drops", f"`{name}` drops rows beyond its capacity, and nothing carries them past it", span,
                         label="a dropped row becomes zeros", help="make it a part of a bus, or leave `capacity` out")  # fmt: skip
    causal = next((other for other in flow.uses if getattr(other.node.options, "causal", False)), None) if getattr(options, "router", "") == "expert_choice" else None
    if causal is not None:
        yield Diagnostic("choice-looks-ahead", f"the experts of `{name}` choose among all rows, later ones too, in a model that is causal", span,
                         related=(Note(f"`{causal.address}` is causal", causal.node.span),), help="write `router: topk`: there each row chooses by itself")  # fmt: skip


def _on_residual(gating: Use, flow: Flow) -> bool:
    """Whether what the gates weigh is added to something else, by itself or behind what takes one value."""
    readers: dict[int, list[Use]] = {}
    for use in flow.uses:
        for values in use.inputs.values():
            for value in values:
                readers.setdefault(value, []).append(use)
    mixes = (use for use in readers.get(gating.outputs["gates"], ()) if use.node.kind.name == COMBINE)
    todo = [value for use in mixes for value in use.outputs.values()]
    seen = set(todo)
    while todo:
        for use in readers.get(todo.pop(), ()):
            fed = _fed(use.inputs.values())
            if use.node.kind.name == "add" and fed > 1:
                return True
            if fed == 1:
                new = [value for value in use.outputs.values() if value not in seen]
                seen.update(new)
                todo.extend(new)
    return False


def _fed(ports: Iterable[Sequence[int]]) -> int:
    return sum(map(len, ports))
