"""Scales that are wrong by decades: chains that explode or vanish, joins that drown a branch, tokens that become one,
saturated attention, norms of what is hardly there. All of it rests on facts/scale, an estimate: nothing is said of percents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from assembler.facts.flow import Flow, Use
from assembler.facts.scale.analysis import Scale
from assembler.facts.scale.estimate import Estimate
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Definition
from assembler_schemas.span import Span

DECADES = 1e3
"""From the start of a chain to its end."""
MISMATCH = 100.0
"""Between branches that are joined."""
LINKS = 3
"""Linear maps behind one another that are a chain."""
COLLAPSED = 0.95
SATURATED = 4.0
"""Variance of attention's scores beyond which its softmax looks at one token."""
EPS = 10.0
NEAR = 64
"""Uses that are walked back from a branch to see whether it began at the other one."""
_BENDS = ("relu", "leaky_relu", "relu6", "gelu", "gelu_tanh", "silu", "quick_gelu", "mish", "hardswish", "elu", "softplus")
_STARTS = frozenset(("norm", "reduce", "gather", "softmax", "softmax_mix", "constant"))
"""What a scale does not reach through, or begins at."""


def check(flow: Flow, scale: Scale) -> list[Diagnostic]:
    """Warnings, one for each cause; copies of a repeat are one."""
    found = [*_chains(flow, scale), *_joins(flow, scale), *_collapse(flow, scale), *_scores(flow, scale), *_norms(flow, scale)]
    unique: dict[tuple[str, int], Diagnostic] = {}
    for node, item in found:
        unique.setdefault((item.code, node), item)
    return list(unique.values())


Found = Iterator[tuple[int, Diagnostic]]
"""The identity of the node (one for all copies), and the finding."""


# --- chains ---
class _Chain(NamedTuple):
    """Linear maps behind one another, with no norm between, up to one value."""

    start: int
    value: int
    links: int
    last: int
    """The use of the last linear map."""
    bends: bool
    """Whether its activations halve, as relu does."""


def _chains(flow: Flow, scale: Scale) -> Found:
    chains: dict[int, _Chain] = {value: _Chain(value, value, 0, -1, False) for value in flow.inputs.values()}
    ends: dict[int, _Chain] = {}
    for index, use in enumerate(flow.uses):
        links, bends, starts = _shape(use.definition)
        for value in use.outputs.values():
            before = None if starts else _main(use, scale, chains)
            if before is None:
                chains[value] = _Chain(value, value, 0, -1, False)
                continue
            chain = _Chain(before.start, value, before.links + links, index if links else before.last, before.bends or bends)
            chains[value] = chain
            if chain.links >= LINKS and chain.links >= ends.get(chain.start, chain).links:
                ends[chain.start] = chain
    for chain in ends.values():
        yield from _judged(flow, scale, chain)


def _shape(definition: Definition) -> tuple[int, bool, bool]:
    """Linear maps on the way through a kind (at most two), whether it bends, whether a chain starts behind it."""
    ops = [step.op for step in definition.body]
    linear = min(2, sum(op in ("matmul", "conv") for op in ops))
    bends = any(step.attributes.get("fn") in _BENDS for step in definition.body)
    return linear, bends, not ops or any(op in _STARTS for op in ops)


def _main(use: Use, scale: Scale, chains: Mapping[int, _Chain]) -> _Chain | None:
    """The chain of the largest input."""
    known = [value for values in use.inputs.values() for value in values if scale.values[value].q is not None and value in chains]
    return chains[max(known, key=lambda value: scale.values[value].q or 0.0)] if known else None


def _judged(flow: Flow, scale: Scale, chain: _Chain) -> Found:
    first, last = scale.values[chain.start], scale.values[chain.value]
    forward, backward = _ratio(last.q, first.q), _ratio(_whole(first), _whole(last))
    use = flow.uses[chain.last]
    for code, word, wrong in (("scale-explode", "grows", _grows), ("scale-vanish", "shrinks", _shrinks)):
        if wrong(forward):
            said = f"the signal {word} {_factor(forward)} over {chain.links} linear maps: q {_number(first.q)} to {_number(last.q)}"
        elif wrong(backward):
            said = f"the gradient {word} {_factor(backward)} on its way back over {chain.links} linear maps"
        else:
            continue
        more = f"; the gradient {_factor(backward)}" if wrong(forward) and (_grows(backward) or _shrinks(backward)) else ""
        yield id(use.node), Diagnostic(code, f"{said}{more}", use.node.span, label=f"up to `{use.address}`", related=_from(flow, chain, scale), help=_help(chain, use))


def _grows(ratio: float) -> bool:
    return ratio > DECADES


def _shrinks(ratio: float) -> bool:
    return 0 < ratio < 1 / DECADES


def _whole(item: Estimate) -> float | None:
    """Of the gradient: second moment of the whole, so that a wide head does not count as growth."""
    return None if item.g is None else item.g * item.size


def _ratio(a: float | None, b: float | None) -> float:
    return a / b if a and b else 1.0


def _from(flow: Flow, chain: _Chain, scale: Scale) -> tuple[Note, ...]:
    maker = flow.makers[chain.start]
    if maker < 0:
        return ()
    return (Note(f"q is {_number(scale.values[chain.start].q)} here, at `{flow.uses[maker].address}`", flow.uses[maker].node.span),)


def _help(chain: _Chain, use: Use) -> str:
    mode = "kaiming" if chain.bends else "xavier"
    return f"say `init: {mode}` for these maps, or put a norm between them (`kind: layer_norm`)"


# --- joins ---
def _joins(flow: Flow, scale: Scale) -> Found:
    """Values that are added or stand side by side. A branch that a skip goes around may be small; it may not drown the stream."""
    for use in flow.uses:
        values = next((use.inputs.get(port, ()) for port, card in use.definition.inputs.items() if card.many), ())
        ops = {step.op for step in use.definition.body}
        if len(values) < 2 or not ops & {"add", "blend", "concat", "median"}:
            continue
        sizes = [(scale.values[value].q or 0.0, value) for value in values]
        low, high = min((q, value) for q, value in sizes if q > 0) if any(q > 0 for q, _ in sizes) else (0.0, -1), max(sizes)
        if low[0] <= 0 or high[0] / low[0] <= MISMATCH or ("add" in ops and _behind(flow, low[1], high[1])):
            continue
        names = " and ".join(f"`{_name(flow, value)}` has {_number(q)}" for q, value in (high, low))
        yield id(use.node), Diagnostic("branch-mismatch", f"`{use.address}` joins values of very different size: {names}", use.node.span, related=_makers(flow, high[1], low[1]),
                                       help="norm the branches before they meet (`kind: layer_norm`), or scale one (`kind: scale`)")  # fmt: skip


def _behind(flow: Flow, branch: int, stream: int) -> bool:
    """Whether a branch began at the stream that it is added to."""
    todo, seen = [branch], {branch}
    while todo and len(seen) < NEAR:
        maker = flow.makers[todo.pop()]
        if maker < 0:
            continue
        for values in flow.uses[maker].inputs.values():
            if stream in values:
                return True
            fresh = [value for value in values if value not in seen]
            seen.update(fresh)
            todo.extend(fresh)
    return False


def _makers(flow: Flow, *values: int) -> tuple[Note, ...]:
    return tuple(Note(f"`{_name(flow, value)}` comes from here", _span(flow, value)) for value in values if flow.makers[value] >= 0)


def _name(flow: Flow, value: int) -> str:
    maker = flow.makers[value]
    return flow.uses[maker].address if maker >= 0 else next(name for name, item in flow.inputs.items() if item == value)


def _span(flow: Flow, value: int) -> Span:
    return flow.uses[flow.makers[value]].node.span


# --- tokens, scores, norms ---
def _collapse(flow: Flow, scale: Scale) -> Found:
    for name, value in flow.outputs.items():
        item, maker = scale.values[value], flow.makers[value]
        if scale.scores and maker >= 0 and item.c is not None and item.q and item.c / item.q > COLLAPSED:
            use = flow.uses[maker]
            yield id(use.node), Diagnostic("rank-collapse", f"all tokens of output `{name}` are nearly one: they share {item.c / item.q:.1%} of their size", use.node.span,
                                           help="norm before the branches, not after the adds (`norm: pre`), or use fewer blocks")  # fmt: skip


def _scores(flow: Flow, scale: Scale) -> Found:
    for score in scale.scores:
        if score.s2 > SATURATED:
            use = flow.uses[score.use]
            yield id(use.node), Diagnostic("score-scale", f"the scores of `{use.address}` vary by {_number(score.s2)}: its softmax looks at one token", use.node.span,
                                           help="norm queries and keys (`qk_norm: rms_norm`), norm what it reads, or start it smaller (`init: xavier`)")  # fmt: skip


def _norms(flow: Flow, scale: Scale) -> Found:
    for item in scale.norms:
        if 0 < item.v < EPS * item.eps:
            use = flow.uses[item.use]
            yield id(use.node), Diagnostic("norm-eps", f"`{use.address}` norms a variance of {_number(item.v)}, and its eps is {_number(item.eps)}", use.node.span,
                                           help=f"lower eps below {_number(item.v / EPS)}, or make what it norms larger")  # fmt: skip


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _factor(ratio: float) -> str:
    return f"{ratio:.0e}-fold".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
