"""Graph and facts to a plan: classes, their steps in order, what is shared, and the checks at the entry.

Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from assembler.compiler import library
from assembler.compiler.entry import entries
from assembler.compiler.model import Argument, ClassPlan, Handed, Loop, Plan, PlanError, Statement
from assembler.compiler.names import class_name, fresh, identifier, variable
from assembler.compiler.scope import Draft, ScopeBuilder, Wanted
from assembler.compiler.share import Copies, Path, Pending, assignment, find, owners, rest_of, target_of
from assembler.compiler.values import settle
from assembler.facts.model import Facts, ScopeFacts
from assembler.graph.address import Slice
from assembler.graph.model import Graph, Group, Leaf, Node, Ref, Repeat, Scope
from assembler.library import registry
from assembler_schemas.span import NOWHERE

_CLASS = re.compile(r"(?:nn\.)?[A-Z][A-Za-z0-9]*\Z")
GENERIC_KINDS = frozenset({"bus", "sequence", "parallel"})


class Made(NamedTuple):
    """A container that became a class: its name, what is still to be shared, parameters of one instance."""

    name: str
    pending: tuple[Pending, ...]
    parameters: int
    starts: Mapping[str, str]
    given: tuple[Handed, ...] = ()


def plan(graph: Graph, facts: Facts, dense: bool = False) -> Plan:
    """The plan of a checked graph. `PlanError` where the graph is not one that `checks` would pass.

    `dense`: the experts of a mixture run on all rows, as the graph says, so that every value is one of its own.
    """
    planner = Planner(graph, dense)
    scope = graph.scope
    inputs = tuple(scope.inputs)
    for name in inputs:
        identifier(name)
    if not scope.outputs:
        raise PlanError("a graph without outputs")
    optional = frozenset(name for name in inputs if scope.inputs[name].optional)
    root = planner.container(scope, facts.root, (), Wanted(inputs, tuple(scope.outputs)), "graph", optional)
    if root.pending:
        raise PlanError(f"`same` or `tie` names nothing: {root.pending[0].target}")
    arguments = tuple(
        Argument(name, variable(name), str(graph.inputs.get(name, "")), scope.inputs[name].optional) for name in inputs
    )
    return Plan(
        name=graph.name,
        description=graph.description,
        classes=tuple(planner.classes.values()),
        inputs=arguments,
        outputs=tuple((name, str(facts.root.outputs.get(name, ""))) for name in scope.outputs),
        entries=entries(arguments, graph.inputs, facts.guards),
        library=tuple(sorted(planner.library)),
        plugged=tuple(sorted(planner.plugged)),
        seeds=seeds(scope),
        owners=planner.owner_addresses(),
        starts=root.starts,
        given=root.given,
        parameters=root.parameters,
    )


class Planner:
    """What is shared while one graph is planned: the classes made so far, and who shares what."""

    def __init__(self, graph: Graph, dense: bool) -> None:
        self.graph, self.dense = graph, dense
        self.classes: dict[object, ClassPlan] = {}
        self.library: set[str] = set()
        self.plugged: set[str] = set()
        self.taken: set[str] = {class_name(graph.name, library.taken()), *library.taken()}
        same, self.tied, copied = owners(graph.scope)
        self._owners = {_names(target)[:end] for target in (*same, *self.tied, *copied) for end in range(1, len(target) + 1)}
        self._shared = _shared_outputs(graph.scope, same) if same else {}

    def use(self, name: str) -> None:
        """A class that the text constructs: of torch.nn, of the library, or of a plugin."""
        if _CLASS.match(name) is None:
            raise PlanError(f"{name!r} is no class of torch.nn, of the library or of a plugin")
        if name in registry.CLASSES:
            self.plugged.add(name)
        elif not name.startswith("nn."):
            self.library.add(name)

    def is_owner(self, path: Path) -> bool:
        """Whether a node, or something in it, has its module or parameter used elsewhere."""
        return _names(path) in self._owners

    def agree(self, node: Group, path: Path, inputs: tuple[str, ...], read: set[str]) -> tuple[Scope, Wanted]:
        """What a group's class takes and gives: for a shared one, the same wherever it is used."""
        outputs = self._shared.get(_names(target_of(node.same)) if node.same else _names(path))
        if outputs is None:
            return node.scope, Wanted(inputs, tuple(name for name in node.scope.outputs if name in read))
        return node.scope._replace(outputs={**outputs, **node.scope.outputs}), Wanted(tuple(node.scope.inputs), tuple(outputs))

    def container(
        self, scope: Scope, facts: ScopeFacts | None, path: Path, wanted: Wanted, kind: str, maybe: frozenset[str], repeated: bool = False
    ) -> Made:  # fmt: skip
        """The class of a scope; one that was made already if it has the same text."""
        if facts is None:
            raise PlanError(f"nothing is known of `{show(path)}`")
        builder = ScopeBuilder(self, scope, facts, path, wanted, kind)
        draft = builder.run()
        if not path:
            draft.entry[:0] = [(name, draft.values[Ref("", name)]) for name in wanted.inputs]
        inputs: dict[int, str] = {}
        for name in wanted.inputs:
            inputs[draft.values[Ref("", name)]] = fresh(variable(name), inputs.values())
        results = [draft.values[scope.outputs[name]] for name in wanted.outputs]
        steps, returns = settle(draft.ops, inputs, results, kind in GENERIC_KINDS)
        after, pending = self._after(draft)
        made = ClassPlan(
            name=class_name(self.graph.name if not path else show(path, "") + ("_block" if repeated else ""), self.taken if path else library.taken()),
            about=_about(path, kind),
            inputs=tuple((inputs[draft.values[Ref("", name)]], name in maybe) for name in wanted.inputs),
            submodules=tuple(draft.submodules),
            after=after,
            steps=steps,
            returns=returns,
            entry=tuple((address, inputs[value]) for address, value in draft.entry),
            given=tuple(draft.given),
            methods=tuple(draft.methods),
        )
        return Made(self._keep(made), pending, draft.parameters, draft.starts, tuple(draft.given))

    def _after(self, draft: Draft) -> tuple[tuple[str, ...], tuple[Pending, ...]]:
        """Lines that share and freeze, and what only a container further out can share."""
        lines: list[str] = []
        left: list[Pending] = []
        for pending in draft.pending:
            rest = rest_of(pending.target, draft.path)
            if rest is None:
                left.append(pending)
            else:
                lines.extend(assignment(pending, rest))
        freezes = ["self.requires_grad_(False)"] if draft.whole and len(draft.freezes) > 1 else draft.freezes
        return (*freezes, *lines), tuple(left)

    def _keep(self, made: ClassPlan) -> str:
        key = replace(made, name="", about="", steps=tuple(_unplaced(step) for step in made.steps), given=tuple(replace(item, span=NOWHERE, inputs=(), outputs=(), sites=()) for item in made.given))
        found = self.classes.get(key)
        if found is not None and found.name != made.name:
            return found.name
        self.taken.add(made.name)
        self.classes[key] = made
        return made.name

    def owner_addresses(self) -> tuple[str, ...]:
        """Modules whose parameters others are tied to, each copy by itself."""
        found: dict[str, None] = {}
        for target in sorted(self.tied, key=str):
            here: list[str] = [""]
            for end, segment in enumerate(target[:-1]):
                keys: Sequence[str | int] = [segment] if not isinstance(segment, Slice) else ()
                if isinstance(segment, Slice):
                    node = find(self.graph.scope, target[:end])
                    keys = segment.of(node.count) if isinstance(node, Repeat) else ()
                here = [f"{prefix}.{key}" if prefix else str(key) for prefix in here for key in keys]
            found.update(dict.fromkeys(here))
        return tuple(found)


def _unplaced(step: Statement | Loop) -> Statement | Loop:
    """A step without the line of the recipe that asks for it: two classes may differ in that."""
    if isinstance(step, Loop):
        return replace(step, place="", body=tuple(replace(inner, place="") for inner in step.body))
    return replace(step, place="")


def show(path: Path, copies: str = "*") -> str:
    """`encoder.*.think`; with copies="" `encoder.think`."""
    words = [segment if isinstance(segment, str) else _copies(segment, copies) for segment in path]
    return ".".join(word for word in words if word)


def _copies(segment: Copies, shown: str) -> str:
    if not shown or (segment.start, segment.stop) == (0, segment.total):
        return shown
    return str(segment.start) if segment.stop - segment.start == 1 else f"{segment.start}:{segment.stop}"


def _about(path: Path, kind: str) -> str:
    return f"{'A graph' if kind == 'graph' else f'A {kind}'}: `{show(path)}`." if path else ""


def _names(path: Sequence[object]) -> tuple[str, ...]:
    return tuple(segment for segment in path if isinstance(segment, str))


def _shared_outputs(scope: Scope, same: frozenset[tuple[str | int | Slice, ...]]) -> dict[tuple[str, ...], Mapping[str, Ref]]:
    """Shared group -> all outputs that any of its uses gives out."""
    wanted = {_names(target) for target in same}
    found: dict[tuple[str, ...], dict[str, Ref]] = {}
    todo: list[tuple[tuple[str, ...], Node]] = [((name,), node) for name, node in scope.nodes.items()]
    while todo:
        at, node = todo.pop()
        if isinstance(node, Repeat):
            todo.extend((at, run.node) for run in node.runs)
        elif isinstance(node, Group):
            key = _names(target_of(node.same)) if node.same else at
            if key in wanted:
                found.setdefault(key, {}).update(node.scope.outputs)
            todo.extend(((*at, name), inner) for name, inner in node.scope.nodes.items())
    return dict(found)


def seeds(scope: Scope) -> dict[str, int]:
    """Address -> seed, for nodes with a seed of their own; a container stands for all that is inside."""
    found: dict[str, int] = {}
    _seeds(scope.nodes, "", found)
    return found


def _seeds(nodes: Mapping[str, Node], prefix: str, found: dict[str, int]) -> None:
    """Depth is bounded by the reader."""
    for name, node in nodes.items():
        address = f"{prefix}.{name}" if prefix else name
        kinds = _own_seeds(node)
        if kinds == {None}:
            continue
        if len(kinds) == 1:
            found[address] = next(seed for seed in kinds if seed is not None)
        elif isinstance(node, Group):
            _seeds(node.scope.nodes, address, found)
        elif isinstance(node, Repeat) and node.share:
            _seeds({name: node.runs[0].node}, prefix, found)
        elif isinstance(node, Repeat):
            start = 0
            for run in node.runs:
                for index in range(start, start + run.count):
                    _seeds({str(index): run.node}, address, found)
                start += run.count


def _own_seeds(node: Node) -> set[int | None]:
    found: set[int | None] = set()
    todo = [node]
    while todo:
        item = todo.pop()
        if isinstance(item, Leaf):
            found.add(item.seed)
        elif isinstance(item, Group):
            todo.extend(item.scope.nodes.values())
        else:
            todo.extend(run.node for run in item.runs)
    return found


__all__ = ["Plan", "PlanError", "plan"]
