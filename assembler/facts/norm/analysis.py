"""Analysis N: the norm state of every value of a flow, as it is at init.

    found = norm(flow)
    found.states[flow.places["encoder.0.attend.y"]]      # raw
    why(flow, found, flow.places["final.y"])             # ln(-1) gain trained: layer norm of ...

States and their order stand in `state`, what each primitive does to them in `rules`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

from assembler.facts.flow import Flow, Use, named
from assembler.facts.model import Because, NodeFacts
from assembler.facts.norm.rules import RULES, Body
from assembler.facts.norm.state import RAW, State, read, value
from assembler_schemas.kind import Definition, Step

__all__ = ["Norm", "State", "inside", "norm", "why"]


class Norm(NamedTuple):
    """The state of each value of one flow, by number."""

    states: tuple[State, ...]
    weights: tuple[State, ...]
    """What each weight of the flow starts as."""


def norm(flow: Flow) -> Norm:
    """One pass over the uses, in codes of states; what is alike is worked out once."""
    tables = _Tables.now()
    codes = [UNREAD] * len(flow.makers)
    given = [RAW] * len(flow.inputs)
    weights, answers = _starts(flow, tables), tables.answers
    for use in flow.uses:
        fed = tuple([codes[number] for numbers in use.inputs.values() for number in numbers])
        own = use.weights
        key = (id(use.facts), fed, tuple([weights[number] for number in own.values()]) if own else ())
        known = answers.get(key)
        if known is None or known[0] is not use.facts:
            known = use.facts, _learn(use, codes, key[2], given, tables)
            if UNREAD not in fed:
                answers[key] = known
        for number, code in zip(use.outputs.values(), known[1], strict=True):
            codes[number] = code
    states = tables.states
    return Norm((*given, *[states[code] for code in codes[len(given) :]]), tuple([states[code] for code in weights]))


MOST = 5_000
UNREAD = -1
"""The code of an input of the recipe: its state is for the use to say that reads it."""


class _Tables:
    """States by number, and what was worked out with them. A pass keeps the tables with which it began."""

    current: _Tables

    def __init__(self) -> None:
        self.number = count()
        self.states: dict[int, State] = {}
        self.codes: dict[State, int] = {}
        self.starts: dict[tuple[str, bool], int] = {}
        """(how a weight starts, whether it is trained) -> its code."""
        self.answers: dict[tuple[object, ...], tuple[NodeFacts, tuple[int, ...]]] = {}
        """By the identity of facts (they are held), the codes of inputs and weights: those of the outputs."""

    @classmethod
    def now(cls) -> _Tables:
        if max(len(cls.current.states), len(cls.current.starts), len(cls.current.answers)) > MOST:
            cls.current = _Tables()
        return cls.current

    def code(self, state: State) -> int:
        code = self.codes.get(state)
        if code is None:
            code = next(self.number)
            self.states[code] = state
            self.codes[state] = code
        return code


_Tables.current = _Tables()
_KNOWN: dict[tuple[object, ...], tuple[object, Mapping[str, State]]] = {}
"""What comes out of a definition (by its identity, it is held) on ports and weights of given states."""


def _learn(use: Use, codes: Sequence[int], starts: tuple[int, ...], given: list[State], tables: _Tables) -> tuple[int, ...]:
    """The codes of a use's outputs; what it says of inputs of the recipe goes into `given`."""
    fed = []
    for port, numbers in use.inputs.items():
        for place, number in enumerate(numbers):
            if codes[number] == UNREAD:
                given[number] = _given(use, port, place)
        fed.append((port, tuple([given[number] if codes[number] == UNREAD else tables.states[codes[number]] for number in numbers])))
    found = _outputs(use, tuple(fed), tuple([tables.states[code] for code in starts]))
    return tuple([tables.code(found[port]) for port in use.outputs])


def _outputs(use: Use, fed: tuple[tuple[str, tuple[State, ...]], ...], starts: tuple[State, ...]) -> Mapping[str, State]:
    """The states of a use's outputs; of one definition on like states they are worked out once."""
    definition = use.definition
    key = (id(definition), fed, starts)
    known = _KNOWN.get(key)
    if known is not None and known[0] is definition:
        return known[1]
    environment = _run(use, dict(fed), dict(zip(use.weights, starts, strict=True)))
    found = {port: value(_one(environment, port)) if port in environment else _stated(definition, port) for port in use.outputs}
    if not _asks_sizes(definition):
        if len(_KNOWN) > MOST:
            _KNOWN.clear()
        _KNOWN[key] = definition, found
    return found


def inside(found: Norm, use: Use) -> Mapping[str, State]:
    """The state of every step of one use, and of its ports and weights that are one value."""
    fed = {port: tuple(found.states[number] for number in values) for port, values in use.inputs.items()}
    environment = _run(use, fed, {key: found.weights[number] for key, number in use.weights.items()})
    return {name: states[0] for name, states in environment.items() if len(states) == 1}


# --- one use ---
def _run(use: Use, fed: Mapping[str, tuple[State, ...]], weights: Mapping[str, State]) -> dict[str, tuple[State, ...]]:
    """States by name: a `many` port has several."""
    environment = {**fed, **{key: (state,) for key, state in weights.items()}}
    body = Body(use.definition, use.facts.sizes, use.inputs, {step.output: step.op for step in use.definition.body})
    for step in use.definition.body:
        operands = [state for name in step.inputs for state in environment.get(name, (RAW,))]
        environment[step.output] = (RULES[step.op](body, step, operands),)
    return environment


def _one(environment: Mapping[str, tuple[State, ...]], port: str) -> State:
    """A kind without a body says nothing of its outputs."""
    return environment.get(port, (RAW,))[0]


def _stated(definition: Definition, port: str) -> State:
    """What is said of an output that no body makes; without that it is anything."""
    text = definition.outputs[port].norm
    return read(text) if text else RAW


def _asks_sizes(definition: Definition) -> bool:
    """Whether a factor of its body is a text over sizes, other than `1/n`: `n` is how many states a port has."""
    return any(isinstance(step.attributes.get(key), str) and step.attributes[key] != "1/n" for step in definition.body for key in ("scale", "exponent"))


_CONSTANT = {"zeros": 0.0, "ones": 1.0}
_COPIES = 64
"""Weights that may start as one another's copies, in a row."""


def _starts(flow: Flow, tables: _Tables) -> list[int]:
    """The codes of what is known of each weight's elements at init: the one number that they are, or nothing."""
    addresses: dict[str, str] = {}
    found = [tables.starts.get((weight.init, weight.trainable), UNREAD) for weight in flow.weights]
    for place, code in enumerate(found):
        if code != UNREAD:
            continue
        weight = flow.weights[place]
        known = tables.starts.get((weight.init, weight.trainable))
        if known is not None:  # one before it is like it
            found[place] = known
            continue
        text = weight.init
        for _ in range(_COPIES):
            if not text.startswith("copy("):
                break
            addresses = addresses or {item.address: item.init for item in flow.weights}
            text = addresses.get(text[5:-1], "")
        found[place] = tables.code(State("weight", (), _number(text), weight.trainable))
        if text is weight.init:
            tables.starts[text, weight.trainable] = found[place]
    return found


def _number(text: str) -> float | None:
    name, _, rest = text.partition("(")
    if name == "constant":
        return float(rest[:-1])
    drawn = name in ("normal", "trunc_normal", "uniform", "orthogonal") and rest.endswith(")")
    return 0.0 if drawn and float(rest[:-1]) == 0.0 else _CONSTANT.get(text)


def _given(use: Use, port: str, place: int) -> State:
    """An input of the recipe: probabilities are what the caller promises."""
    types = use.facts.inputs.get(port, ())
    kind = types[place] if place < len(types) else None
    return State("simplex", (-1,)) if kind is not None and kind.medium == "probs" and kind.dims else RAW


# --- derivations ---
HOPS = 3
"""Values that a derivation goes back over."""


def why(flow: Flow, found: Norm, number: int, hops: int = HOPS) -> tuple[Because, ...]:
    """How a value's state came about, from the value itself backward: at most `hops` values."""
    names = named(flow)
    lines: list[Because] = []
    here: int | None = number
    while here is not None and len(lines) < hops:
        state, maker = found.states[here], flow.makers[here]
        if maker < 0:
            lines.append(Because(names[here], f"{state}: an input of the recipe"))
            break
        use = flow.uses[maker]
        port = next(port for port, item in use.outputs.items() if item == here)
        cause, here = _cause(found, use, port, names)
        lines.append(Because(f"{use.address}.{port}", f"{state}: {cause}", use.node.span))
    return tuple(lines)


_PASSES = frozenset({"reshape", "detach", "expand", "select", "concat", "add", "multiply", "pointwise"})


def _cause(found: Norm, use: Use, port: str, names: Mapping[int, str]) -> tuple[str, int | None]:
    """The step that decided a use's output, in words, and the value to go on with."""
    if not use.definition.body:
        if use.definition.outputs[port].norm:
            return f"stated of what this `{use.node.kind.name}` gives", None
        return f"a `{use.node.kind.name}` has no body that says more", None
    steps = {step.output: step for step in use.definition.body}
    states = inside(found, use)
    then: list[str] = []
    name, first = port, "handed on"
    while name in steps:
        step = steps[name]
        values = [item for item in step.inputs if item not in use.weights and states.get(item, RAW).kind != "weight"]
        if not (len(values) == 1 and values[0] in states and step.op in _PASSES and states[values[0]].kind == states[name].kind):
            first = _words(step, states[name])
            then = [item for item in then if item != "plus weights"] if step.op in ("matmul", "conv") else then
            break
        then[:0] = _passing(step, states[values[0]], states[name], states)
        name = values[0]
    sources = _sources(use, name, steps)
    text = first
    if sources:
        shown = [f"`{names[item]}` ({found.states[item]})" for item in sources[:3]]
        text += (" from " if first == "handed on" else " of ") + " and ".join(shown)
        text += f" and {len(sources) - 3} more" if len(sources) > 3 else ""
    return ", ".join([text, *then]), sources[0] if sources else None


def _sources(use: Use, name: str, steps: Mapping[str, Step]) -> list[int]:
    """The values of the use's ports that a step goes back to, the first port first."""
    seen, todo, ports = {name}, [name], set()
    while todo:
        item = todo.pop()
        if item in use.inputs:
            ports.add(item)
        for source in steps[item].inputs if item in steps else ():
            if source not in seen:
                seen.add(source)
                todo.append(source)
    return [number for port, values in use.inputs.items() if port in ports for number in values]


def _passing(step: Step, before: State, after: State, states: Mapping[str, State]) -> list[str]:
    """What a step that keeps the kind changed of the rest, if anything."""
    if step.op == "pointwise" and step.attributes["fn"] == "dropout":
        return ["through dropout (in expectation)"]
    if before.axes != after.axes:
        return ["the axes moved"]
    if (before.gain, before.trained) != (after.gain, after.trained):
        return [f"times a trained gain that starts as {_factor(before, after)}" if after.trained and not before.trained else f"times {_factor(before, after)}"]
    if before.shifted != after.shifted:
        return ["plus a trained bias that starts as 0"]
    weights = any(states.get(item, RAW).kind == "weight" for item in step.inputs)
    return ["plus weights"] if weights and step.op == "add" else ["times weights"] if weights and step.op == "multiply" else []


def _factor(before: State, after: State) -> str:
    return f"{after.gain / before.gain:.6g}" if before.gain and after.gain is not None else "0"


def _words(step: Step, state: State) -> str:
    kind = step.attributes.get("kind", step.attributes.get("fn", ""))
    if state.kind == "zero" and step.op in ("matmul", "conv", "gather", "multiply"):
        return f"a {step.op} with zeros"
    return {
        "matmul": "a linear map", "conv": "a convolution", "gather": "rows of a table", "add": "the sum", "multiply": "the product",
        "blend": "a weighted sum", "median": "the median",
        "pointwise": f"{kind}", "norm": f"{kind} norm", "softmax": "softmax", "softmax_mix": "a mean over rows by softmax weights",
        "reduce": f"the {kind}", "pool": f"{kind} pool", "reshape": "axes joined or split", "concat": "side by side",
        "select": "a slice of what was normed together", "constant": "a constant",
    }.get(step.op, step.op)  # fmt: skip
