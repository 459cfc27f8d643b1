"""Mixtures unfold here: a router, the gates that it leads to, the experts side by side, and their sum.

The meaning is dense: every expert reads every row, and a gate of zero leaves it out of the sum. To run an
expert only for the rows that chose it is the compiler's business (`compiler/sparse.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.insert import insert
from assembler.graph.model import Edge, Ref
from assembler.graph.options import Field
from assembler.graph.place import Resolved
from assembler.library import registry
from assembler.source.recipe import PART_OPTIONS, Place
from assembler.source.tree import value_of
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Options

if TYPE_CHECKING:
    from assembler.graph.build import At, Builder

ROUTER_START = "normal(0.02)"
"""How a router of ours starts, as in Mixtral and Switch; one with noise starts as zeros (Shazeer et al. 2017)."""
_OURS = ("router", "selector", "noise", "gating", "mix", "jitter", "shared", "add")
"""Nodes beside the experts; no expert is called so."""


class Expert(NamedTuple):
    """One entry of the mixture: a part, and how many of it stand side by side (0: one, under its own name)."""

    place: Place
    copies: int


def unfold(builder: Builder, draft: Draft, resolved: Resolved, inner: ScopeDraft, at: At, options: Any, said: Mapping[str, object]) -> list[Draft]:
    """Fill the scope of a `moe`, `route` or `compete`. Returns the drafts of its parts."""
    parts = dict(resolved.parts or {})
    alone = {name: parts.pop(name) for name, place in list(parts.items()) if name in PART_OPTIONS and not place.path.endswith((f".parts.{name}", f".experts.{name}"))}
    router, shared = alone.get("router") or alone.get("selector"), alone.get("shared")
    experts = _experts(builder, draft, resolved, alone.get("expert"), parts, options)
    if experts is None:
        draft.broken = True
        return []
    total = sum(max(1, expert.copies) for expert in experts)
    top_k = getattr(options, "top_k", 1)
    if top_k > total:
        builder.say(Diagnostic("value-range", f"`top_k` is {top_k}, and `{draft.name}` has {total} experts", resolved.span("top_k"), help=f"write `top_k: {total}` or less"))
        draft.broken = True
        return []
    stream = Ref("", "x")
    scores, built = _scores(builder, draft, inner, at, options, router, total, stream, said)
    wide = {key: item for key, item in said.items() if key == "dtype"}  # of its running biases; it owns nothing that learns
    gating = insert(builder, inner, "gating", "gating", _fields(_gating(resolved.kind.name, options, total), inner, draft), f"gates of {draft.address}", draft.span, wide)
    for port, ref in scores.items():
        gating.edges[port] = [Edge(ref, draft.span)]
    values: list[Ref] = []
    for expert in experts:
        part = _expert(builder, inner, at, expert, stream)
        built.append(part)
        values.extend([] if part.broken else part.values)
    mix = insert(builder, inner, "mix", "combine", {}, f"sum of {draft.address}", draft.span)
    mix.edges["gates"] = [Edge(Ref(gating.name, gating.main), draft.span)]
    mix.edges["x"] = [Edge(ref, draft.span) for ref in values]
    mix.broken = any(part.broken for part in built)  # With a value less it would not fit its gates, and that is no news.
    result = Ref(mix.name, mix.main)
    beside = _shared(builder, draft, inner, at, options, shared, alone.get("expert"), stream)
    if beside is not None:
        built.append(beside)
        add = insert(builder, inner, "add", "add", {}, f"sum of {draft.address}", draft.span, said)
        add.edges["x"] = [Edge(result, draft.span), *(Edge(ref, draft.span) for ref in ([] if beside.broken else beside.values))]
        result = Ref(add.name, add.main)
    inner.outputs = {"y": result, "load": Ref(gating.name, "load")}
    inner.main = "y"
    return built


# --- experts ---
def _experts(builder: Builder, draft: Draft, resolved: Resolved, one: Place | None, parts: Mapping[str, Place], options: Options) -> list[Expert] | None:
    """The experts in order, or None after saying what is wrong with them."""
    kind, count = resolved.kind.name, getattr(options, "experts", None)
    wrong = next((name for name in parts if name in _OURS), None)
    if wrong is not None:
        builder.say(Diagnostic("name-taken", f"an expert cannot be called `{wrong}`: a {kind} has a node of that name", parts[wrong].span, help="rename it"))
        return None
    if kind == "moe" and one is not None and parts:
        first = next(iter(parts.values()))
        builder.say(Diagnostic("place-conflict", f"`{draft.name}` has one `expert` for all, and `experts` by name", first.span, related=(Note("`expert` stands here", one.span),),
                               help="write `experts: 8` beside `expert`, or remove `expert`"))  # fmt: skip
        return None
    if kind == "moe" and one is not None and count is not None:
        return [Expert(replace(one, name="experts"), count)]
    if kind == "moe" and (one is not None or count is not None):
        missing = ("experts", "experts: 8") if one is not None else ("expert", "expert: {kind: mlp}")
        builder.say(Diagnostic("missing-key", f"`{draft.name}` does not say {'how many experts it has' if one is not None else 'what its experts are'}", draft.span.at(draft.path), help=f"write `{missing[1]}`"))
        return None
    if not parts:
        how = "`experts: 8, expert: {kind: mlp}`" if kind == "moe" else "`parts: {name: {kind: ...}}`"
        builder.say(Diagnostic("missing-key", f"`{draft.name}` has no {'experts' if kind == 'moe' else 'parts'}", draft.span.at(draft.path), help=f"write {how}"))
        return None
    found = [_counted(builder, place, resolved) for place in parts.values()]
    return [expert for expert in found if expert is not None] if None not in found else None


def _counted(builder: Builder, place: Place, resolved: Resolved) -> Expert | None:
    """An expert by name, with its `count`."""
    value = place.fields.get("count")
    if value is None:
        return Expert(place, 0)
    number = resolved.env.number(value, f"{place.path}.count")
    if number is None:
        return None
    if not 1 <= number <= 2**31 - 1:
        builder.say(Diagnostic("value-range", f"`count` of `{place.name}` is {number}: it must be at least 1", value.span.at(f"{place.path}.count"), help="remove the expert if it is not wanted"))
        return None
    return Expert(replace(place, fields={key: item for key, item in place.fields.items() if key != "count"}), number)


def _part(builder: Builder, inner: ScopeDraft, at: At, expert: Expert, stream: Ref) -> Draft:
    part = builder.node(expert.place, inner, at.below(expert.place.name), beside=expert.copies)
    part.part, part.implicit = True, stream
    return part


def _expert(builder: Builder, inner: ScopeDraft, at: At, expert: Expert, stream: Ref) -> Draft:
    part = _part(builder, inner, at, expert, stream)
    part.skipped = True
    return part


def one_input(builder: Builder, draft: Draft, parts: list[Draft]) -> None:
    """Refuse a part that takes more than the row: it would have to be cut to the rows that chose the part."""
    for part in parts:
        more = [port for port, edges in part.edges.items() if edges and port != part.first]
        if more and not part.broken:
            builder.say(Diagnostic("expert-input", f"`{part.name}` stands in a {draft.kind.name if draft.kind else 'mixture'}, where a part takes one value, and it takes `{more[0]}` too", part.span.at(part.path),
                                   label="reads more than its rows", help="join that to the stream in front of the mixture, or use `kind: parallel`"))  # fmt: skip
            part.broken = True


def _shared(builder: Builder, draft: Draft, inner: ScopeDraft, at: At, options: Options, shared: Place | None, expert: Place | None, stream: Ref) -> Draft | None:
    """The experts that every row runs: a part of their own, or `shared: n` more of the others."""
    count = getattr(options, "shared", 0)
    if shared is not None:
        return _part(builder, inner, at, Expert(shared, 0), stream)
    if not count:
        return None
    if expert is None:
        builder.say(Diagnostic("missing-key", "`shared` is a number, and there is no one `expert` that they could be like", draft.span.at(f"{draft.path}.shared"), help="write `shared: {kind: ...}`"))
        return None
    return _part(builder, inner, at, Expert(replace(expert, name="shared"), count), stream)


# --- the router ---
def _scores(
    builder: Builder, draft: Draft, inner: ScopeDraft, at: At, options: Any, router: Place | None, total: int, stream: Ref, said: Mapping[str, object]
) -> tuple[dict[str, Ref], list[Draft]]:  # fmt: skip
    """What the gates are made of: scores of the experts, and how noisy each is. Beside them the part that gives them."""
    if getattr(options, "jitter", 0.0):
        jitter = insert(builder, inner, "jitter", "jitter", _fields({"eps": options.jitter}, inner, draft), f"jitter of {draft.address}", draft.span)
        jitter.edges["x"] = [Edge(stream, draft.span)]
        stream = Ref(jitter.name, jitter.main)

    def linear(name: str, start: Mapping[str, object]) -> Ref:
        node = insert(builder, inner, name, "linear", _fields({"out": total, "bias": False}, inner, draft), f"{name} of {draft.address}", draft.span, {**said, **start})
        node.edges["x"] = [Edge(stream, draft.span)]
        return Ref(node.name, node.main)

    if router is not None:
        part = _part(builder, inner, at, Expert(_of_width(builder, draft, router, inner, total), 0), stream)
        return {} if part.broken else {"scores": part.values[0]}, [part]
    if getattr(options, "router", "") == "noisy_topk":
        zeros = {"init": {"write": "zero"}}
        return {"scores": linear("router", zeros), "noise": linear("noise", zeros)}, []
    return {"scores": linear("router", {} if "init" in said else {"init": {"weights": ROUTER_START}})}, []


def _of_width(builder: Builder, draft: Draft, place: Place, inner: ScopeDraft, total: int) -> Place:
    """A router's part gives one score for each expert; where it does not say so itself, it is told."""
    kind, stated = place.fields.get("kind"), place.fields.get("out")
    if stated is not None:
        path = f"{place.path}.out"
        width = inner.env.number(stated, path) if isinstance(stated.data, (int, str)) else None
        if width is not None and width != total:
            builder.say(Diagnostic("value-range", f"`{place.name}` gives {width} scores, and `{draft.name}` has {total} parts", stated.span.at(path), help=f"write `out: {total}`, or leave it out"))
        else:
            return place
    card = registry.kind(kind.data) if kind is not None and isinstance(kind.data, str) else None
    if card is None or "out" not in card.option_names:
        return place
    return replace(place, fields={**place.fields, "out": value_of(total, place.span)})


def _gating(kind: str, options: Options, total: int) -> dict[str, object]:
    """The options of the gates: those of the container that they have too."""
    card = registry.kind("gating")
    assert card is not None
    known = {name: getattr(options, name) for name in card.option_names if hasattr(options, name)} | {"experts": total}
    if kind == "compete":
        known |= {"top_k": 1, "weighted": False, "balance": "none", "z_loss": 0.0}
        known["straight_through"] = None if known["straight_through"] == "none" else known["straight_through"]
    return known


def _fields(options: Mapping[str, object], inner: ScopeDraft, draft: Draft) -> dict[str, Field]:
    return {key: (value_of(item, draft.span), inner.env) for key, item in options.items() if item is not None}


__all__ = ["Expert", "unfold"]
