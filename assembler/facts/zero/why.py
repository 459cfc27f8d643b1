"""Why a value is zero at the start, what it equals, and why a weight never learns or learns late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from assembler.facts.flow import Flow, Use, named
from assembler.facts.model import Because
from assembler.facts.zero.analysis import Zero
from assembler.facts.zero.run import names_of
from assembler.facts.zero.values import Value
from assembler_schemas.kind import Step

HOPS = 3
CHOICES = frozenset({"argmax", "nearest"})
"""What gives ids: no gradient ever arrives at one."""
MOST = 10_000
"""Values and steps that are followed; longer ways than any graph has."""

Sort = Literal["weight", "zeros", "detach", "single", "flat", "unread"]


class End(NamedTuple):
    """What holds a gradient back, or makes a value zero.

    `weight`: a weight that starts as zeros and stays so (number `weight`); `zeros`: zeros that the
    recipe wants (`kind: zero`, a fixed factor 0); `detach`; `single`: a softmax or a norm over one
    value; `flat`: a function whose derivative is zero there; `unread`: no output is made from it.
    """

    sort: Sort
    use: int
    weight: int = -1


class Reader:
    """Derivations over one flow. What reads what is worked out once."""

    def __init__(self, flow: Flow, found: Zero) -> None:
        self.flow, self.found = flow, found
        self.readers: dict[int, list[tuple[int, str]]] = {}
        for place, use in enumerate(flow.uses):
            for port, numbers in use.inputs.items():
                for number in numbers:
                    self.readers.setdefault(number, []).append((place, port))
        self.users: dict[int, tuple[int, str]] = {}
        for place, use in enumerate(flow.uses):
            for key, weight in use.weights.items():
                self.users.setdefault(weight, (place, key))
        self._ends: dict[tuple[int, str], tuple[End, int]] = {}

    # --- why nothing arrives ---
    def end(self, weight: int) -> tuple[End, int]:
        """What keeps gradients from a weight that has none, and the last use on the way to it."""
        if weight not in self.users:
            return End("unread", -1), -1
        use, name = self.users[weight]
        way: list[tuple[int, str]] = []
        found = self._ends.get((use, name))
        while found is None:  # Each hop leads to a later use.
            way.append((use, name))
            stop = self._inside(use, name)
            readers = [] if isinstance(stop, End) else self.readers.get(self.flow.uses[use].outputs[stop], [])
            if isinstance(stop, End):
                found = stop, use
            elif not readers:
                found = End("unread", use), use
            else:
                use, name = readers[0]
                found = self._ends.get((use, name))
        # Whatever stands on the way ends there too: copies in a row are walked once, not once for each.
        self._ends.update(dict.fromkeys(way, found))
        return found

    def _inside(self, use: int, name: str) -> End | str:
        """The step in a body that holds gradients back from a name, or the output port that gets none."""
        item = self.flow.uses[use]
        values, gradients = self.found.at_the_end(self.flow, use)
        reached, chosen = {name}, False
        for step in item.definition.body:
            names = names_of(step, values)
            here = next((found for found in names if found in reached), "")
            if not here:
                continue
            if gradients[step.output][0] is not None:
                return self._blocked(use, step, here, names, values)
            if step.op in CHOICES:
                chosen = True  # What is read of it has no gradient to give back, whatever becomes of it.
            else:
                reached.add(step.output)
        ports = [port for port in item.outputs if port in reached]
        read = [port for port in ports if item.outputs[port] in self.readers]
        if not read and chosen:
            return End("detach", use)
        return (read or ports)[0] if ports else End("unread", use)

    def _blocked(self, use: int, step: Step, name: str, names: list[str], values: Mapping[str, tuple[Value, ...]]) -> End:
        if step.op in ("detach", "constant", "gather", "choose", "crop", "argmax", "one_hot_max", "nearest", "straight_through"):
            return End("zeros" if step.op == "constant" else "detach", use)
        others = [other for other in names if other != name and any(value.zero for value in values[other])]
        if step.op == "blend":  # Shares of zeros are equal shares, and let gradients through.
            others = [other for other in others if other not in self.flow.uses[use].weights]
        if others and step.op != "softmax_mix":
            return self.zeros(use, others[0])
        if step.op == "softmax_mix" and values[names[2]][0].zero:
            return self.zeros(use, names[2])
        if step.op == "softmax_mix" and others and name != names[2]:
            return self.zeros(use, others[0])
        if step.op == "blend":
            return End("detach" if "weights" in step.attributes else "single", use)
        if step.op in ("softmax", "softmax_mix", "norm"):
            return End("single", use)
        if step.op == "multiply" and any(value.zero for value in values[name]):
            return self.zeros(use, name)
        if step.op == "pointwise" and values[name][0].zero:
            return self.zeros(use, name)
        return End("zeros" if step.op in ("multiply", "add") else "flat", use)

    # --- why a value is zero ---
    def zeros(self, use: int, name: str, start: bool = False) -> End:
        """Where the zeros of a name come from, at the start or at the end."""
        for _ in range(MOST):
            item = self.flow.uses[use]
            values = self.found.trained(use, start)
            name = _back(item, name, values)
            if name in item.weights:
                return End("weight", use, item.weights[name])
            if name not in item.inputs:
                return End("zeros", use)
            number = next(number for number, value in zip(item.inputs[name], values[name], strict=True) if value.zero)
            maker = self.flow.makers[number]
            if maker < 0:
                return End("zeros", use)
            use = maker
            name = next(port for port, made in self.flow.uses[use].outputs.items() if made == number)
        return End("zeros", use)


def _back(item: Use, name: str, values: Mapping[str, tuple[Value, ...]]) -> str:
    """The port or weight of a body that makes a name zero; the name of a step if it does so by itself."""
    steps = {step.output: step for step in item.definition.body}
    while name in steps and name not in item.inputs:
        operands = [other for other in names_of(steps[name], values) if any(value.zero for value in values[other])]
        if not operands:
            return name
        # A sum is zero because all of it is; zeros that come from elsewhere say more than a bias that starts so.
        # Shares are made of a weight that may well start as zeros: a mean is zero because of what it is a mean of.
        first = [other for other in operands if (other in item.weights) == (steps[name].op not in ("add", "blend"))]
        name = (first or operands)[0]
    return name


def why_value(flow: Flow, found: Zero, number: int, hops: int = HOPS) -> tuple[Because, ...]:
    """Why a value is zero or equal to another, from the value itself backward; empty where neither is so."""
    lines: list[Because] = []
    names = named(flow)
    here = number
    while len(lines) < hops and flow.makers[here] >= 0 and found.zero(here):
        use = flow.uses[flow.makers[here]]
        port = next(port for port, value in use.outputs.items() if value == here)
        environment = found.body(flow.makers[here])
        cause = _back(use, port, environment)
        if cause in use.inputs:
            here = next(value for value, state in zip(use.inputs[cause], environment[cause], strict=True) if state.zero)
            lines.append(Because(f"{use.address}.{port}", f"zero, since `{names[here]}` is", use.node.span))
            continue
        text = f"zero, since `{flow.weights[use.weights[cause]].address}` starts as zeros" if cause in use.weights else f"zeros: `{use.node.kind.name}` makes nothing else"
        return (*lines, Because(f"{use.address}.{port}", text, use.node.span))
    return tuple(lines) or tuple(_equal(flow, found, number, names))


def _equal(flow: Flow, found: Zero, number: int, names: Mapping[int, str]) -> Iterator[Because]:
    for other in range(number):
        level = found.same(other, number)
        if level is not None:
            how = "bit for bit" if level == "bits" else "in exact arithmetic, floats within rounding"
            yield Because(names[number], f"the same as `{names[other]}` at the start, {how}", flow.uses[flow.makers[number]].node.span)
            return


def why_weight(flow: Flow, found: Zero, number: int) -> tuple[Because, ...]:
    """When a weight first has a gradient, or what keeps it from ever having one."""
    weight, step = flow.weights[number], found.steps[number]
    if number in found.noise:
        return (Because(weight.address, "its gradient cancels: zero in exact arithmetic, rounding noise in floats", weight.node.span),)
    if step is not None:
        text = "learns from the first step" if step == 0 else f"has its first gradient at step {step}: it waits for weights that start as zeros"
        return (Because(weight.address, text, weight.node.span),)
    reader = Reader(flow, found)
    end, last = reader.end(number)
    lines = [Because(weight.address, "never has a gradient", weight.node.span)]
    if last != end.use and last != reader.users[number][0]:
        lines.append(Because(flow.uses[last].address, "holds it back", flow.uses[last].node.span))
    return (*lines, said(flow, end))


def said(flow: Flow, end: End) -> Because:
    """An end in words."""
    if end.use < 0:
        return Because("", "no use reads it")
    use = flow.uses[end.use]
    name = flow.weights[end.weight].address if end.sort == "weight" else use.address
    text = {
        "weight": "starts as zeros, and no gradient ever moves it",
        "zeros": "gives zeros, whatever is learned",
        "detach": "lets no gradient back",
        "single": "is over a single value, whose gradient is zero",
        "flat": "is flat where its input stays",
        "unread": "reaches no output",
    }[end.sort]
    return Because(name, text, use.node.span)
