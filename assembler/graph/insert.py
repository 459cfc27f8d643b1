"""Nodes that we put in: norms, adds, joins, detaches. Named after what they serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.feed import Feed
from assembler.graph.options import Field, choose
from assembler.library import registry
from assembler.source.parse import did_you_mean
from assembler.source.tree import value_of
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.build import Builder


def insert(builder: Builder, scope: ScopeDraft, name: str, kind_name: str, options: Mapping[str, Field], cause: str, span: Span, said: Mapping[str, object] | None = None) -> Draft:  # fmt: skip
    """Put a node of ours into a scope."""
    kind = registry.kind(kind_name)
    assert kind is not None
    name = scope.free(name)
    draft = Draft(name, f"{scope.address}.{name}" if scope.address else name, span, cause, kind=kind)
    chosen = choose(kind, options, "", name, builder.say)
    if chosen is None:
        draft.broken = True
        return scope.add(draft)
    draft.chosen = chosen
    draft.ports = dict(chosen.definition.inputs)
    draft.gives = dict(chosen.definition.outputs)
    draft.main = next(iter(draft.gives))
    draft.said = dict(said or {})
    return scope.add(draft)


ADAPTERS: dict[str, str] = {
    "linear": "linear",
    "mlp": "mlp",
    "low_rank": "low_rank",
    "cast": "cast",
    "permute": "permute",
    "embedding": "embedding",
    "patch_embed": "patch_embed",
    "conv": "conv2d",
    "pool": "mean_pool",
    "softmax": "softmax",
    "argmax": "argmax",
    "gumbel": "gumbel",
    "straight_through": "straight_through",
    "vector_quantize": "vector_quantize",
    "detach": "detach",
}
"""What `adapt:` may name -> the kind that does it. An adapter is a kind and a row."""



def serving(said: Mapping[str, object]) -> dict[str, Any]:
    """What an adapter has in common with the node that it serves: of `init` what that inherits, not what it writes."""
    found = {key: item for key, item in said.items() if key in ("freeze", "dtype", "seed")}
    modes = said.get("init")
    if isinstance(modes, Mapping) and "weights" in modes:
        found["init"] = {"weights": modes["weights"]}
    return found


_PRESETS: dict[str, dict[str, object]] = {"conv": {"kernel": 1}}


def ask(builder: Builder, scope: ScopeDraft, draft: Draft, port: str, feed: Feed) -> Draft | None:
    """The adapter that an edge asks for, as a node; its open sizes follow from both sides."""
    word = str(feed.adapt)
    if word not in ADAPTERS:
        builder.say(Diagnostic("unknown-kind", f"there is no adapter `{word}`", (feed.adapt_span if feed.adapt_span.line or feed.adapt_span.override else feed.span).at(f"{draft.path}.from"), label="unknown adapter",
                               help=did_you_mean(word, ADAPTERS) or f"one of {', '.join(ADAPTERS)}"))  # fmt: skip
        return None
    if scope.policy == "never":
        builder.say(Diagnostic("adapter-refused", f"`adapt: {word}` stands on an edge, and the policy is `never`", feed.span.at(f"{draft.path}.from"),
                               help="drop `adapt`, or let `adapters.policy` be `explicit`"))  # fmt: skip
        return None
    stated = {**_PRESETS.get(word, {}), **feed.options}
    if word == "cast" and "dtype" not in stated:
        stated["dtype"] = draft.said.get("dtype", "f32")
    options = {key: (value_of(item, feed.span), scope.env) for key, item in stated.items()}
    name = f"{draft.name}_{port}_adapter" if not draft.ports[port].many else f"{draft.name}_{feed.address.replace('.', '_')}_adapter"
    adapter = insert(builder, scope, name, ADAPTERS[word], options, f"adapter for {draft.address}.{port}", feed.span, {**serving(draft.said), "adapter": "asked"})
    return None if adapter.broken else adapter
