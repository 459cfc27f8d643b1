"""The verdict of the checker against what really happens on the CPU.

For an accepted recipe: the model is built, run forward and backward at two assignments of sizes,
and every edge, parameter and key is compared with what was predicted. For a broken one: the
intended code on the intended line among the first three findings, and no other error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch

import assembler
from assembler.compiler.build import build as build_plan
from assembler.compiler.emit import PROBE, emit, model_class
from assembler.compiler.model import Plan
from assembler.compiler.plan import plan as make_plan
from assembler.facts.model import Facts, NodeFacts, ScopeFacts
from assembler.graph.model import Graph, Group, Leaf, Node, Repeat, Scope
from assembler.graph.rewrite import prune
from assembler.report.report import Report
from assembler_schemas.dim import evaluate as evaluate_dim
from assembler_schemas.expression import parse_expression
from assembler_schemas.shape import Type as Predicted
from tests.fuzz.generate import Sample
from tests.fuzz.rules import MIXTURES
from tests.fuzz.sizes import evaluate
from tests.fuzz.value import Type

Shape = tuple[tuple[int, ...], torch.dtype]
MIXED = (*(("kind", kind) for kind in MIXTURES), ("option", "parallel", "members", "stated"))
"""What is built as something else than its graph: a choice of rows, members on stacked weights."""
WHOLE, HALF = 8, 2
"""Every so many seeds the model is also built the usual way: its text held against the allow-list, and run."""
DTYPES = {
    "float": torch.float32, "f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16, "f16": torch.float16,
    "int": torch.int64, "i64": torch.int64, "i32": torch.int32, "bool": torch.bool,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Something that the checker said and that is not so."""

    seed: int
    what: str
    detail: str

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.what}\n{self.detail}"


def check_text(text: str, overrides: list[str] | None = None) -> Report:
    """The report of a recipe that stands in a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.yaml"
        path.write_text(text, encoding="utf-8")
        return assembler.check(path, overrides or [])


# --- a valid one ---
def judge_valid(sample: Sample) -> Disagreement | None:
    """None if the recipe is accepted and everything that was predicted is measured."""
    try:
        report = check_text(sample.text, sample.overrides)
    except Exception as error:
        return Disagreement(sample.seed, f"check raised {type(error).__name__}", str(error)[:2000])
    if not report.ok:
        said = "\n".join(
            f"{item.code} at line {item.span.line}: {item.message}"
            for item in report.diagnostics
            if item.level == "error"
        )
        return Disagreement(sample.seed, "refused, and valid by construction", said)
    assert report.graph is not None
    assert report.facts is not None
    try:
        return run(sample, report.graph, report.facts)
    except Exception as error:
        return Disagreement(sample.seed, f"accepted, and {type(error).__name__} when built or run", str(error)[:2000])


def run(sample: Sample, graph: Graph, facts: Facts) -> Disagreement | None:
    """The model of an accepted recipe, built and run at both assignments of sizes, against what was predicted."""
    graph = graph._replace(scope=prune(graph.scope))
    # A probe sees every expert on all rows; what is built runs each on those that chose it.
    dense = make_plan(graph, facts, dense=True)
    torch.manual_seed(sample.seed)
    mixed = any(key in sample.covers for key in MIXED)
    seen: dict[str, Shape] = {}
    claimed = {f"{name}{end}" for _, *names in sample.claims for name in names for end in ("", ".y")}
    kept: dict[str, torch.Tensor] = {}

    def probe(address: str, value: torch.Tensor | None) -> None:
        if value is not None:  # An optional input that was left out.
            seen[address] = (tuple(value.shape), value.dtype)
            if address in claimed:
                kept[address.removesuffix(".y")] = value.detach()

    twin = _probing(dense, probe, sample.seed)
    usual = [build_plan(make_plan(graph, facts), seed=sample.seed)] if sample.seed % (HALF if mixed else WHOLE) == 0 else []
    for model in (twin, *usual):
        wrong = _parameters(model, graph, facts, dense.parameters)
        if wrong:
            return Disagreement(sample.seed, "parameters", wrong)
    for place, sizes in enumerate(sample.sizes):
        seen.clear()
        twin.zero_grad()
        with mock.patch.object(torch.nn.GroupNorm, "forward", _group_norm):
            given = _inputs(sample, place)
            made = twin(**given)
            _backward(made)
            for model in usual if mixed else ():
                other = model(**given)
                _backward(other)
                wrong = _unlike(made, other)
                if wrong:
                    return Disagreement(sample.seed, f"sparse output at {sizes}", wrong)
        for wrong in broken(sample, kept, twin):
            return Disagreement(sample.seed, "what is claimed of the start", wrong)
        for address, found, wanted in _differences(sample, graph, facts, seen, sizes):
            return Disagreement(sample.seed, f"edge {address} at {sizes}", f"predicted {wanted}, measured {found}")
    return None


def broken(sample: Sample, kept: Mapping[str, torch.Tensor], model: torch.nn.Module) -> Iterator[str]:
    """Claims of the sample that do not hold. What is not finite, or was not computed, says nothing."""
    state = model.state_dict()
    for what, one, two in sample.claims:
        if what == "copied":
            keys = [key.removeprefix(f"{one}.") for key in state if key.startswith(f"{one}.")]
            wrong = [key for key in keys if not torch.equal(state[f"{one}.{key}"], state[f"{two}.{key}"])]
            if wrong or not keys:
                yield f"{one} starts as {two}, and {wrong or 'has no parameters'} differ"
        elif what == "zeros" and one in kept and torch.isfinite(kept[one]).all() and kept[one].any():
            yield f"{one} starts as zeros, and is not"
        elif what == "equal" and one in kept and two in kept:
            finite = torch.isfinite(kept[one]) & torch.isfinite(kept[two])
            if not torch.equal(kept[one][finite], kept[two][finite]):
                yield f"{one} starts as {two}, and differs by {(kept[one] - kept[two]).abs().max()}"


def _unlike(one: Any, two: Any) -> str:
    """The first output whose shape or dtype is not that of the other model, or ""."""
    pairs = [(name, one[name], two[name]) for name in one] if isinstance(one, dict) else [("y", one, two)]
    for name, a, b in pairs:
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return f"{name}: {tuple(a.shape)} {a.dtype} of all experts, {tuple(b.shape)} {b.dtype} of those chosen"
    return ""


def _probing(plan: Plan, probe: Callable[[str, torch.Tensor | None], None], seed: int) -> torch.nn.Module:
    """The model of a plan, whose forward shows every value."""
    module = ModuleType("probed_sample")
    module.__dict__[PROBE] = probe
    exec(compile(emit(plan, probe=True), "<probed sample>", "exec"), module.__dict__)
    made: type[torch.nn.Module] = getattr(module, model_class(plan))
    return made(seed=seed)


def _group_norm(module: torch.nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    """torch 2.13 crashes in the backward of GroupNorm where x lies channels-last and needs no gradient.

    An axis of one lets x lie both ways, and `contiguous` then leaves it as it is."""
    x = x.clone(memory_format=torch.contiguous_format)
    return torch.nn.functional.group_norm(x, module.num_groups, module.weight, module.bias, module.eps)


def _backward(out: Any) -> None:
    values = out.values() if isinstance(out, dict) else [out]
    losses = [value.double().sum() for value in values if value.requires_grad]
    if losses:
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]


def _inputs(sample: Sample, place: int) -> dict[str, torch.Tensor]:
    """Tensors for every input; optional ones are left out the second time."""
    found = {}
    for name, kind in sample.inputs.items():
        if name in sample.optional and place == 1:
            continue
        shape = tuple(evaluate(dim, sample.sizes[place]) for dim in kind.dims)
        if kind.medium == "ids":
            found[name] = torch.randint(kind.vocab or 2, shape)
        elif kind.medium == "mask":
            found[name] = torch.rand(shape) < 0.7
        else:
            found[name] = torch.rand(shape, dtype=DTYPES[kind.dtype], requires_grad=True)
    return found


# --- predicted against measured ---
def concrete(kind: Predicted, sizes: Mapping[str, int]) -> Shape:
    return tuple(evaluate_dim(dim, sizes) for dim in kind.dims), DTYPES[kind.dtype]


def expected(kind: Type, sizes: Mapping[str, int]) -> Shape:
    return tuple(evaluate(dim, sizes) for dim in kind.dims), DTYPES[kind.dtype]


def _differences(
    sample: Sample, graph: Graph, facts: Facts, seen: Mapping[str, Shape], sizes: Mapping[str, int]
) -> Iterator[tuple[str, object, object]]:
    """Every address at which checker and torch, or generator and torch, do not agree."""
    predicted = {
        f"{address}.{port}": kind
        for address, _, item in walk(graph.scope, facts.root)
        for port, kind in item.outputs.items()
        if kind
    }
    for address, found in seen.items():
        kind = predicted.get(address) or predicted.get(f"{address}.y")  # What is read of the first use, every use gives.
        if kind is None and address not in sample.inputs:
            yield address, found, "nothing: the probe names a value that no fact knows"
        elif kind is not None and concrete(kind, sizes) != found:
            yield address, found, concrete(kind, sizes)
    # Inside a container what only feeds an output that nobody reads is not computed; at the top all that is read is.
    every = graph.scope.nodes
    read = {edge.source for node in every.values() for edges in node.inputs.values() for edge in edges}
    read.update(graph.scope.outputs.values())
    missed = sorted(f"{ref.node}.{ref.port}" for ref in read if isinstance(every.get(ref.node), Leaf))
    missed = [address for address in missed if address not in seen]
    if missed:
        yield missed[0], "nothing: the probe never saw it", "a value"
    for address, wanted in sample.types.items():
        found_ = seen.get(address) or seen.get(f"{address}.y")
        if (
            found_ is not None
            and wanted.is_float
            and "norm" not in str(sample.tree["nodes"].get(address, ""))
            and found_ != expected(wanted, sizes)
        ):
            yield address, found_, f"{expected(wanted, sizes)} by the generator"


def walk(scope: Scope, facts: ScopeFacts, prefix: str = "") -> Iterator[tuple[str, Node, NodeFacts]]:
    """Every node, each copy by itself, with its full address."""
    todo: list[tuple[str, Scope, ScopeFacts]] = [(prefix, scope, facts)]
    while todo:
        before, here, known = todo.pop()
        for name, node in here.nodes.items():
            for address, inner, item in _copies(f"{before}{name}", node, known.nodes[name]):
                yield address, inner, item
                if isinstance(inner, Group) and item.inner is not None:
                    todo.append((f"{address}.", inner.scope, item.inner))


def _copies(address: str, node: Node, facts: NodeFacts) -> Iterator[tuple[str, Node, NodeFacts]]:
    """A node itself; a repeat, and then each of its copies."""
    yield address, node, facts
    if not isinstance(node, Repeat):
        return
    nodes = [run.node for run in node.runs for _ in range(run.count)]
    items = [item for count, item in facts.runs for _ in range(count)]
    for place, (inner, item) in enumerate(zip(nodes, items, strict=True)):
        yield f"{address}.{place}", inner, item


def _parameters(model: torch.nn.Module, graph: Graph, facts: Facts, count: int) -> str:
    """What differs between the parameters that the cards promise and those of the model, or ""."""
    wanted: dict[str, tuple[int, ...]] = {}
    for address, node, item in _owners(graph.scope, facts.root):
        definition = item.definition or node.definition
        for name, parameter in definition.parameters.items():
            shape = tuple(parse_expression(text, True).evaluate(item.sizes) for text in parameter.shape)
            wanted[f"{address}.{name}"] = shape  # type: ignore[assignment]
    found = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if found != wanted:
        missing, more = sorted(set(wanted) - set(found))[:3], sorted(set(found) - set(wanted))[:3]
        other = [(name, wanted[name], found[name]) for name in wanted if name in found and wanted[name] != found[name]][
            :3
        ]
        return f"state_dict: missing {missing}, unexpected {more}, of another shape {other}"
    real = sum(value.numel() for value in model.parameters())
    return f"{count} parameters predicted, {real} measured" if real != count else ""


def _owners(scope: Scope, facts: ScopeFacts) -> Iterator[tuple[str, Leaf, NodeFacts]]:
    """Every leaf with its `state_dict` address: copies that share stand under the repeat itself."""
    todo: list[tuple[str, Scope, ScopeFacts]] = [("", scope, facts)]
    while todo:
        before, here, known = todo.pop()
        for name, node in here.nodes.items():
            for address, inner, item in _copies(f"{before}{name}", node, known.nodes[name]):
                at = f"{before}{name}" if isinstance(node, Repeat) and node.share else address
                if isinstance(inner, Leaf):  # A repeat itself owns nothing; its copies do.
                    yield at, inner, item
                elif isinstance(inner, Group) and item.inner is not None:
                    todo.append((f"{at}.", inner.scope, item.inner))
