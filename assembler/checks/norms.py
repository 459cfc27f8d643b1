"""Where a norm is missing, too many, or of the wrong thing; what is said rests on facts/norm and facts/trunk.

What a node wants follows from its body: a softmax wants logits, a linear map at a residual stream
wants it normed. docs/contracts-norm.md says why each level and number is what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product

from assembler.facts.flow import Flow, Use
from assembler.facts.model import Facts
from assembler.facts.norm.analysis import Norm, inside
from assembler.facts.norm.state import UNIT, below, read
from assembler.facts.norm.trunk import Trunks, trunks
from assembler.graph.model import Graph
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Definition, Given, Step

FEW = 4
"""So many branches may add to a stream that no norm touches."""
POSTS = 36
"""Norms behind adds that may follow one another: twelve blocks of up to three."""


def check(graph: Graph, facts: Facts, flow: Flow, norm: Norm) -> list[Diagnostic]:
    """One finding for each cause; copies of a repeat are one."""
    known, names = trunks(flow, norm), _Names(flow)
    found = [*_softmaxes(flow, norm, names), *_in_series(flow, norm, names), *_of_one(flow, names), *_wanted(flow, norm, names), *_bare(flow, known), *_heads(flow, known, names), *_posts(flow, known)]
    unique: dict[tuple[object, ...], Diagnostic] = {}
    for node, item in found:
        unique.setdefault((item.code, node), item)
    return list(unique.values())


Found = Iterator[tuple[int, Diagnostic]]
"""The identity of the node that a finding is about (one for all copies), and the finding."""


def _address(uses: Sequence[Use]) -> str:
    """Of copies: with `*` where their numbers stand."""
    parts = uses[0].address.split(".")
    last = uses[-1].address.split(".")
    return ".".join("*" if one != two else one for one, two in zip(parts, last, strict=True)) if len(parts) == len(last) else uses[0].address


class _Names:
    """The addresses of nodes, all copies of one together."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    @cached_property
    def ends(self) -> dict[int, list[Use]]:
        """Node -> its first and its last use; asked for by findings only."""
        found: dict[int, list[Use]] = {}
        for use in self.flow.uses:
            found.setdefault(id(use.node), [use, use])[1] = use
        return found

    def __call__(self, use: Use) -> str:
        return _address(self.ends[id(use.node)])


# --- a softmax of a softmax ---
def _softmaxes(flow: Flow, norm: Norm, names: _Names) -> Found:
    for sort in flow.sorts:
        steps = [step for step in sort[0].definition.body if step.op == "softmax"]
        for use, step in product(sort, steps):
            state = inside(norm, use).get(step.inputs[0])
            if state is None or state.kind != "simplex" or step.attributes.get("axis", -1) not in state.axes or state.gain != 1.0 or state.trained:
                continue
            source = _origin(flow, use, step.inputs[0])
            related = (Note("these are probabilities already", source.node.span),) if source is not None else ()
            yield id(use.node), Diagnostic("double-softmax", f"`{names(use)}` takes the softmax of probabilities: none of the result is more than 2.72 times another", use.node.span, label="wants logits",
                                           related=related, help="drop one of the two; to sharpen or flatten on purpose, say `temperature:`")  # fmt: skip


def _origin(flow: Flow, use: Use, name: str) -> Use | None:
    """The last use with a softmax before this one."""
    todo = [number for numbers in use.inputs.values() for number in numbers]
    for _ in range(64):
        if not todo or flow.makers[todo[-1]] < 0:
            return None
        maker = flow.uses[flow.makers[todo[-1]]]
        if any(step.op == "softmax" for step in maker.definition.body):
            return maker
        todo = [number for numbers in maker.inputs.values() for number in numbers][:1]
    return None


# --- two norms in series ---
def _readers(flow: Flow) -> list[int]:
    """How often each value is read, the outputs of the recipe included."""
    readers = [0] * len(flow.makers)
    for use in flow.uses:
        for numbers in use.inputs.values():
            for number in numbers:
                readers[number] += 1
    for number in flow.outputs.values():
        readers[number] += 1
    return readers


def _in_series(flow: Flow, norm: Norm, names: _Names) -> Found:
    readers: list[int] = []
    for use, step in ((use, step) for sort in flow.sorts if (step := _leading(sort[0].definition)) is not None for use in sort):
        (number,) = use.inputs[step.inputs[0]]
        state = norm.states[number]
        if state.kind not in UNIT or state.zero or state.axes != tuple(sorted(step.attributes.get("axes", (-1,)))):
            continue
        readers = readers or _readers(flow)
        first = _first_norm(flow, number, readers)
        if first is not None:
            yield id(use.node), Diagnostic("double-norm", f"`{names(use)}` norms what `{first.address}` has just normed, and nobody else reads that", use.node.span, label="normed again",
                                           related=(Note("normed here", first.node.span),), help="drop one of the two")  # fmt: skip


def _leading(definition: Definition) -> Step | None:
    """A layer or rms norm that stands first, on a port."""
    step = definition.body[0] if definition.body else None
    return step if step is not None and step.op == "norm" and step.attributes["kind"] in ("layer", "rms") and step.inputs[0] in definition.inputs else None


def _first_norm(flow: Flow, number: int, readers: Sequence[int]) -> Use | None:
    """The norm that a value comes from, if nobody reads anything on the way from it."""
    for _ in range(64):
        if readers[number] != 1 or flow.makers[number] < 0:
            return None
        use = flow.uses[flow.makers[number]]
        if _leading(use.definition) is not None:
            return use
        values = [item for numbers in use.inputs.values() for item in numbers]
        if len(values) != 1:
            return None
        number = values[0]
    return None


# --- a norm of one value ---
def _of_one(flow: Flow, names: _Names) -> Found:
    """Norms over axes that hold a single value. (Group and batch norms demand two of their sizes.)"""
    known: dict[int, str] = {}  # By the identity of facts, which alike leaves share.
    for use in (use for sort in flow.sorts if _leading(sort[0].definition) is not None for use in sort):
        kind = known.get(id(use.facts))
        if kind is None:
            kind = known[id(use.facts)] = _norms_one(use)
        if kind:
            gives = "zero, whatever it is" if kind == "layer" else "its sign"
            yield id(use.node), Diagnostic("norm-of-one", f"`{names(use)}` norms a single value: what is left of it is {gives}", use.node.span, help="norm where there are several channels, or drop it")


def _norms_one(use: Use) -> str:
    """The kind of norm whose axes hold a single value; else empty."""
    step = _leading(use.definition)
    types = use.facts.inputs.get(step.inputs[0], ()) if step is not None else ()
    if step is None or not types:
        return ""
    axes, dims = step.attributes.get("axes", (-1,)), types[0].dims
    return str(step.attributes["kind"]) if len(dims) >= max(-axis for axis in axes) and all(dims[axis] == 1 for axis in axes) else ""


# --- what an input of a given module states ---
def _wanted(flow: Flow, norm: Norm, names: _Names) -> Found:
    """A module without a body says itself what it wants. Exactly that: who takes either norm says `rms_norm`, for `ln` is `rms`."""
    for use in (use for sort in flow.sorts if isinstance(sort[0].definition.build, Given) for use in sort):
        build = use.definition.build
        assert isinstance(build, Given)
        for port, numbers in use.inputs.items():
            text = use.definition.inputs[port].norm if port != build.back else ""  # of a site `norm` says what the module gives
            wrong = [number for number in numbers if text and not below(norm.states[number], read(text))]
            if wrong:
                yield hash((id(use.node), port)), _unmet(flow, norm, use, port, wrong[0], names)


def _unmet(flow: Flow, norm: Norm, use: Use, port: str, number: int, names: _Names) -> Diagnostic:
    wants, gets = read(use.definition.inputs[port].norm).kind, norm.states[number]
    name, kind = {"ln": ("a layer norm", "layer_norm"), "rms": ("an rms norm", "rms_norm")}.get(wants, ("values between -1 and 1", ""))
    maker = flow.makers[number]
    source = _outer(flow.uses[maker].address) if maker >= 0 else next(item for item, value in flow.inputs.items() if value == number)
    mend = f"put one between them: `normed: {{kind: {kind}, from: {source}}}`, and read `normed` there" if kind else f"bound it: `bounded: {{kind: activation, activation: tanh, from: {source}}}`, and read `bounded` there"
    if wants == "ln" and gets.kind == "rms" and gets.axes == (-1,):
        mend += "; if a mean near zero will do, say `norm: rms_norm`"
    related = (Note("comes from here", flow.uses[maker].node.span),) if maker >= 0 else ()
    wanted = f"wants what comes out of {name}" if kind else f"wants {name}"
    return Diagnostic("norm-mismatch", f"`{names(use)}.{port}` {wanted}, and gets `{gets}`", use.node.span, label=f"`{port}` states `norm`", related=related, help=mend)


# --- streams ---
def _bare(flow: Flow, known: Trunks) -> Found:
    """Stacks whose branches read and write the stream without any norm."""
    ends = {item.before for item in known.writes.values()}
    for value, last in known.writes.items():
        if last.bare <= FEW or value in ends or flow.uses[last.use].outputs.get(next(iter(flow.uses[last.use].outputs))) != value:
            continue
        readers: dict[int, list[Use]] = {}
        step: int | None = value
        while step is not None:
            write = known.writes[step]
            if write.reader >= 0:
                use = flow.uses[write.reader]
                readers.setdefault(id(use.node), []).append(use)
            step = write.before
        groups = [list(reversed(uses)) for uses in reversed(readers.values())]
        names = [f"`{_address(uses)}`" for uses in groups]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        first = groups[0][0]
        yield id(first.node), Diagnostic("norm-missing", f"{last.bare} branches in a row read a residual stream that no norm touches: {shown}", first.node.span, label="reads the stream as it is",
                                         related=(Note("the last of them writes here", flow.uses[last.use].node.span),), help="say `norm: pre` on the bus, or on each branch, and put a norm behind the stack; or let the branches start as zero")  # fmt: skip


def _heads(flow: Flow, known: Trunks, names: _Names) -> Found:
    """Linear maps that read a stream of pre-norm branches without the final norm."""
    for value, reader in known.heads:
        write = known.writes[value]
        if write.pre <= FEW or write.bare > FEW:
            continue
        use, last = flow.uses[reader], flow.uses[write.use]
        kind = _norm_kind(flow, known, value)
        yield id(use.node), Diagnostic("final-norm-missing", f"`{names(use)}` reads the sum of {write.writes} branches, which grows with each, and no norm stands between", use.node.span,
                                       label="reads the stream as it is", related=(Note("the last branch is added here", last.node.span),),
                                       help=f"put one norm between them: `final: {{kind: {kind}, from: {_outer(last.address)}}}`, and read `final` there")  # fmt: skip


def _norm_kind(flow: Flow, known: Trunks, value: int) -> str:
    """The kind of norm that the branches of a stream read it through."""
    step: int | None = value
    while step is not None:
        if step in known.norms:
            return flow.uses[known.norms[step]].node.kind.name
        step = known.writes[step].before
    return "layer_norm"


def _outer(address: str) -> str:
    """The node that the recipe names: what stands before the number of a copy, or the bus around an add."""
    parts = address.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0]]) if numbers else ".".join(parts[:-1]) or address


def _posts(flow: Flow, known: Trunks) -> Found:
    """A stream with more norms behind its adds than can be trained without care."""
    most = max(known.posts.values(), default=0)
    if most <= POSTS:
        return
    number = next(item for item, count in known.posts.items() if count == most and "_norm" in flow.uses[flow.makers[item]].node.kind.name)
    use = flow.uses[flow.makers[number]]
    yield id(use.node), Diagnostic("post-norm-deep", f"{most} norms stand behind the adds of one stream, the last is `{use.address}`: so deep, it trains only with a warm-up of the learning rate", use.node.span,
                                   label="normed after the add", help="say `norm: pre` and put one norm behind the stack")  # fmt: skip
