"""One use of a kind as Python text: how its module is constructed, and how it is called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from assembler.compiler.model import PlanError
from assembler.compiler.names import literal
from assembler.compiler.values import Piece
from assembler.facts.model import NodeFacts
from assembler.graph.model import Leaf
from assembler_schemas.expression import parse_expression
from assembler_schemas.kind import Branch, Definition, Expr, Inline, Module

DTYPES = {"f64": "torch.float64", "f32": "torch.float32", "bf16": "torch.bfloat16", "f16": "torch.float16"}

_HOLE = re.compile(r"\{(=?)([^{}]*)\}")


def definition_of(node: Leaf, facts: NodeFacts) -> Definition:
    """The definition that inference settled on; by rank where the kind has several."""
    return facts.definition if facts.definition is not None else node.definition


def number(text: str, sizes: Mapping[str, object], where: str) -> int:
    """A size expression as a number. PlanError where it is none before run time."""
    value = sizes[text] if text in sizes else parse_expression(text, True).evaluate(sizes)  # type: ignore[arg-type]
    if type(value) is not int:
        raise PlanError(f"`{where}`: `{text}` is {value}, not a number")
    return value


def constructor(node: Leaf, facts: NodeFacts, build: Module) -> str:
    """`nn.Linear(64, 10, bias=False)`, every size a number; grafts inside stand around it."""
    text = _made(node, facts, build)
    branches = definition_of(node, facts).branches
    if branches and node.freeze:
        text += ".requires_grad_(False)"  # the host is frozen, and what is grafted onto it learns
    if branches:
        text = f"GraftedLinear.into({', '.join([text, *(_graft(node, facts, branch) for branch in branches)])})"
    if node.dtype is not None and definition_of(node, facts).parameters:
        text += f".to({DTYPES[node.dtype]})"
    return text


def _graft(node: Leaf, facts: NodeFacts, branch: Branch) -> str:
    """`("q", "add", "x", False, 1.0, {"low": LowRank(64, 64, rank=2)})`."""
    modules = [f"{literal(name)}: {_made(node, facts, module)}{'.requires_grad_(False)' * module.frozen}" for name, module in branch.modules]
    words = (branch.place, branch.mode, branch.reads, branch.after, branch.scale)
    return f"({', '.join(literal(word) for word in words)}, {{{', '.join(modules)}}})"


def _made(node: Leaf, facts: NodeFacts, build: Module) -> str:
    arguments = []
    for name, value in build.arguments:
        text = str(number(value.text, facts.sizes, node.name)) if isinstance(value, Expr) else literal(value)
        arguments.append(f"{name}={text}" if name else text)
    return f"{build.name}({', '.join(arguments)})"


def classes(definition: Definition, build: Module) -> list[str]:
    """Every class that the constructor of a leaf names."""
    grafted = [module.name for branch in definition.branches for _, module in branch.modules]
    return [build.name, *grafted, *(["GraftedLinear"] if grafted else [])]


def call(node: Leaf, definition: Definition, fed: Mapping[str, Sequence[int]], callee: Sequence[Piece]) -> tuple[Piece, ...]:
    """`self.attend(x, mask=mask)`: required ports in order, optional ones by name."""
    pieces: list[Piece] = [*callee, "("]
    for port, card in definition.inputs.items():
        values = fed.get(port)
        if not values:
            if not card.optional:
                raise PlanError(f"nothing feeds `{port}` of `{node.name}`")
            continue
        if len(pieces) > len(callee) + 1:
            pieces.append(", ")
        if card.optional:
            pieces.append(f"{port}=")
        pieces.extend(["[", *separated(values), "]"] if card.many else values[:1])
    return (*pieces, ")")


def separated(values: Sequence[int]) -> list[Piece]:
    pieces: list[Piece] = []
    for value in values:
        pieces.extend([", ", value] if pieces else [value])
    return pieces


def facts_with(facts: NodeFacts, edges: int) -> NodeFacts:
    """The facts with `n`, the number of edges of the `many` port."""
    return NodeFacts(facts.inputs, facts.outputs, {**facts.sizes, "n": edges}, facts.definition)


def inline(node: Leaf, facts: NodeFacts, build: Inline, fed: Mapping[str, Sequence[int]], ports: Definition) -> tuple[Piece, ...]:
    """The expression of an `Inline`, values in the place of its ports."""
    sizes = dict(facts.sizes)
    sizes.setdefault("n", max((len(values) for values in fed.values()), default=0))

    def fill(expression: bool, name: str) -> Sequence[Piece]:
        if expression:
            return [str(number(name, sizes, node.name))]
        if fed.get(name):
            return separated(fed[name])
        if name in ports.inputs and ports.inputs[name].optional:
            return ["None"]
        raise PlanError(f"nothing feeds `{name}` of `{node.name}`")

    return fill_holes(build.text, fill)


def beside(pieces: tuple[Piece, ...], value: int | None) -> tuple[Piece, ...]:
    """A call that makes a tensor of nothing, `torch.zeros(())`: made on the device of `value`."""
    if value is None:
        return pieces
    *head, last = pieces
    if not isinstance(last, str) or not last.endswith(")"):
        raise PlanError("an expression without inputs is a call")
    return (*head, last[:-1] + ", device=", value, ".device)")


def fold(text: str, running: int, following: Sequence[Piece]) -> tuple[Piece, ...]:
    """How a running value takes the next one."""
    return fill_holes(text, lambda _, name: [running] if name == "a" else following)


def fill_holes(text: str, fill: object) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    end = 0
    for hole in _HOLE.finditer(text):
        pieces.append(text[end : hole.start()])
        pieces.extend(fill(bool(hole[1]), hole[2]))  # type: ignore[operator]
        end = hole.end()
    pieces.append(text[end:])
    return tuple(piece for piece in pieces if piece != "")
