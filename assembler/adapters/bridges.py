"""What a node that stands between two media costs, loses and does to the gradient; and what to offer where two media do not meet.

Cost and gradient are read off the card's body, so they hold for any kind. What is lost is said here, one
row for each adapter: docs/kinds/bridges.md is this table in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from assembler.facts.count import shapes
from assembler.facts.model import NodeFacts
from assembler_schemas.kind import Definition, Step
from assembler_schemas.shape import Type

Effect = Literal["exact", "estimated", "table only", "none"]
"""Of a gradient on its way back through a node: as the derivative says; changed on purpose (straight-through,
a draw); to the node's own table, and no further; nothing."""


class Bridge(NamedTuple):
    """What one adapter does at the sizes that it has."""

    macs: int | None
    """Multiplications with a weight for each position of the result; None where that depends on the input."""
    loses: str
    """Empty for a kind that the table does not know."""
    gradient: Effect


def bridge(kind: str, facts: NodeFacts) -> Bridge | None:
    """None where types are unknown because of a finding elsewhere."""
    given, out = next(iter(facts.inputs.values()), (None,))[0], next(iter(facts.outputs.values()), None)
    if facts.definition is None or given is None or out is None:
        return None
    loses = _LOSES.get(kind)
    return Bridge(macs(facts), loses(facts, given, out) if loses is not None else "", gradient(facts.definition))


def in_words(found: Bridge) -> str:
    """`384 MAC a position, loses nothing, gradient exact`."""
    words = [f"{found.macs:,} MAC a position"] if found.macs else []
    words += [f"loses {found.loses}"] if found.loses else []
    return ", ".join([*words, f"gradient {found.gradient}"])


# --- cost ---
def macs(facts: NodeFacts) -> int | None:
    """Multiplications with weights for each position of the result: of linear maps, kernels and codebooks."""
    known, total = shapes(facts), 0
    for step in facts.definition.body if facts.definition is not None else ():
        if step.op == "softmax_mix" or (step.op in ("matmul", "conv", "nearest") and step.inputs[-1] not in known):
            return None
        if step.op in ("matmul", "conv", "nearest"):
            total += math.prod(known[step.inputs[-1]])
    return total


# --- gradient ---
_STOPS = frozenset({"detach", "constant", "argmax", "one_hot_max", "nearest", "choose"})
_DRAWS = frozenset({"gumbel"})


_EFFECTS: dict[int, tuple[Definition, Effect]] = {}


def gradient(definition: Definition) -> Effect:
    """What reaches the first input from the main output; estimated as well where that of another input is (the
    scores of a `select`). Worked out once for each definition."""
    known = _EFFECTS.get(id(definition))
    if known is None or known[0] is not definition:
        if len(_EFFECTS) > 5_000:
            _EFFECTS.clear()
        known = _EFFECTS[id(definition)] = definition, _gradient(definition)
    return known[1]


def _gradient(definition: Definition) -> Effect:
    if not definition.body or not definition.inputs:
        return "exact"
    main = definition.main or next((name for name, port in definition.outputs.items() if not port.loss), next(iter(definition.outputs), ""))
    first, *others = (name for name, port in definition.inputs.items() if not port.optional)
    found = _follow(definition, {first: "exact"}).get(main, "none")
    if found != "none":
        guessed = any(_follow(definition, {name: "exact"}).get(main) == "estimated" for name in others)
        return "estimated" if guessed else found
    tables: dict[str, Effect] = {key: "exact" for key, card in definition.parameters.items() if not card.buffer}
    return "table only" if _follow(definition, tables).get(main, "none") != "none" else "none"


def _follow(definition: Definition, start: Mapping[str, Effect]) -> dict[str, Effect]:
    """For each name that depends on the start how a gradient comes back from it."""
    found = dict(start)
    stopped: dict[str, str] = {}
    """A value, times a factor or not, that is another one without its gradient -> that one."""
    for step in definition.body:
        passed = [found[name] for name in step.inputs if name in found]
        if step.op == "detach" or (step.op == "multiply" and len(step.inputs) == 1 and step.inputs[0] in stopped):
            stopped[step.output] = stopped.get(step.inputs[0], step.inputs[0])
        if passed:
            found[step.output] = _through(step, found, stopped)
    return found


def _through(step: Step, found: Mapping[str, Effect], stopped: Mapping[str, str]) -> Effect:
    if step.op in _STOPS:
        return "none"
    inputs = (
        step.inputs[1:] if step.op == "straight_through" else step.inputs[:1] if step.op == "gather" else step.inputs
    )
    passed = {found[name] for name in inputs if name in found}
    if passed <= {"none"}:
        return "none"
    cancels = step.op == "add" and any(stopped.get(name) in inputs for name in inputs)  # p - p.detach()
    return (
        "estimated"
        if "estimated" in passed or step.op == "straight_through" or cancels or step.attributes.get("fn") in _DRAWS
        else "exact"
    )


# --- loss ---
def bits(kind: Type) -> float | None:
    """What one position of a port can hold, dense numbers taken as bf16; None for sizes known only at run time."""
    if kind.medium == "ids":
        return math.log2(kind.vocabulary) if isinstance(kind.vocabulary, int) else None
    if kind.medium in ("mask", "scalar"):
        return 1.0 if kind.medium == "mask" else 16.0
    return 16.0 * kind.dims[-1] if kind.dims and isinstance(kind.dims[-1], int) else None


def _nothing(facts: NodeFacts, given: Type, out: Type) -> str:
    return "nothing"


def _rank(*middle: str) -> Callable[[NodeFacts, Type, Type], str]:
    """Of a linear map: directions beyond its narrowest width."""

    def loses(facts: NodeFacts, given: Type, out: Type) -> str:
        width = facts.sizes.get("in")
        narrow = [size for name in ("out", *middle) if isinstance(size := facts.sizes.get(name), int)]
        if not isinstance(width, int) or not narrow:
            return "what its width does not hold"
        return "nothing" if min(narrow) >= width else f"all but {min(narrow)} of {width} directions"

    return loses


def _patches(facts: NodeFacts, given: Type, out: Type) -> str:
    known = shapes(facts).get("proj.weight", ())
    if len(known) < 4:
        return "what its width does not hold"
    inside = math.prod(known[1:])
    return "nothing" if known[0] >= inside else f"all but {known[0]} of the {inside} directions of a patch"


def _choice(facts: NodeFacts, given: Type, out: Type) -> str:
    return f"all but which is largest{_at_most(given.dims[-1] if given.dims else None, given)}"


def _code(facts: NodeFacts, given: Type, out: Type) -> str:
    return f"all but which code is nearest{_at_most(facts.sizes.get('codes'), given)}"


def _at_most(count: object, given: Type) -> str:
    """Of the bits that the value had room for."""
    room = bits(given)
    return f": at most {math.log2(count):.4g} of {room:.6g} bits" if isinstance(count, int) and room is not None else ""


def _drawn(facts: NodeFacts, given: Type, out: Type) -> str:
    one_hot = facts.definition is not None and any(step.op == "one_hot_max" for step in facts.definition.body)
    return _choice(facts, given, out) if one_hot else "what the noise hides, and a constant added to all logits"


_DIGITS = {"bf16": 8, "f16": 11, "f32": 24, "f64": 53}


def _cast(facts: NodeFacts, given: Type, out: Type) -> str:
    before, after = (_DIGITS.get("f32" if kind.dtype == "float" else kind.dtype, 53) for kind in (given, out))
    return "nothing" if after >= before else f"all but {after} of {before} binary digits"


_LOSES: Mapping[str, Callable[[NodeFacts, Type, Type], str]] = {
    "linear": _rank(),
    "mlp": _rank("hidden"),
    "low_rank": _rank("rank"),
    "conv2d": _rank(),
    "cast": _cast,
    "permute": _nothing,
    "embedding": _nothing,
    "patch_embed": _patches,
    "mean_pool": lambda facts, given, out: "all but the mean, the order first of all",
    "softmax": lambda facts, given, out: "a constant added to all logits",
    "detach": lambda facts, given, out: "the gradient",
    "argmax": _choice,
    "straight_through": _choice,
    "gumbel": _drawn,
    "vector_quantize": _code,
}
"""Kind of an adapter -> what of a value it does not hand on."""
