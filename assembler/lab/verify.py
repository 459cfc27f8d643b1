"""What was predicted of a model against what is measured: every edge, parameter, key and gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from assembler import assemble
from assembler.compiler.build import probed
from assembler.compiler.plan import plan
from assembler.compiler.shapes import predicted
from assembler.facts.count import shapes, totals
from assembler.facts.flow import MAX_USES, Flow, Use, flow
from assembler.facts.model import Facts
from assembler.facts.weights import shape_text
from assembler.facts.zero.analysis import zero
from assembler.graph.model import Graph, Leaf
from assembler.graph.rewrite import reads
from assembler.lab.inputs import DTYPES, InputError, generated, sizes_of
from assembler.lab.rows import NOTHING, STARTED, Row, table
from assembler.lab.signals import at_the_start
from assembler_schemas.dim import evaluate, names
from assembler_schemas.shape import Type

EACH = 16
"""Samples for each expert of a mixture, in generated inputs."""


@dataclass(frozen=True)
class Verification:
    """What `verify` found. `ok`: every row agrees. Prints as a table."""

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        return all(row.agrees for row in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return "\n".join([*table(self.rows), self.verdict])

    @property
    def verdict(self) -> str:
        wrong = sum(not row.agrees for row in self.rows)
        if not wrong:
            return f"prediction and measurement agree in all {len(self.rows)} places"
        started = all(row.agrees or row.what in STARTED for row in self.rows)
        cause = "a model that is not at its start (`start=False` for one that was trained), or a bug of ours" if started else "a bug of ours"
        return f"prediction and measurement DIFFER in {wrong} of {len(self.rows)} places: {cause}"

    def counts(self, what: str) -> tuple[int, int]:
        """How many rows of a sort agree, and how many there are."""
        found = [row.agrees for row in self.rows if row.what == what]
        return sum(found), len(found)


def verify(
    model_or_recipe: nn.Module | assemble.Source,
    batch: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    *,
    sizes: Mapping[str, int] | None = None,
    recipe: assemble.Source | None = None,
    start: bool = True,
) -> Verification:
    """Run a model forward and backward, and hold every edge, parameter, key and gradient against the recipe.

    `start`: also what is said of the start, which training undoes: how each parameter starts, what is
    zero, which graft is silent, when each weight first has a gradient, and how large values and
    gradients are (all of it on inputs of our own, independent N(0, 1); of a recipe the mean of several
    models, of a model that one). `batch`: the inputs by name; without it they are made under `seed`,
    at the run-time `sizes` that are stated and others of our choice. The model comes out as it went in: its parameters,
    gradients, statistics and torch's random state are left alone. A model that another process
    built wants `recipe`. RecipeError if a recipe does not check, InputError if no inputs can be
    made, ValueError for a module that is none of ours.
    """
    model, graph, facts = _subject(model_or_recipe, recipe, seed)
    if any(value.is_meta for value in model.parameters()):
        raise InputError("a model on meta has no values to run: `assembler.initialize` it first")
    with _undisturbed(model):
        torch.manual_seed(seed)
        made = _batch(model, graph, facts, sizes or {}, seed)
        batch = batch if batch is not None else made
        begun = []
        if start:  # First of all: a run in training mode moves running statistics.
            begun = list(at_the_start(model, graph, facts, made, sizes or {}, seed, isinstance(model_or_recipe, nn.Module)))
            torch.manual_seed(seed)
        return Verification((*_rows(model, graph, facts, batch, seed), *begun))


def _subject(subject: nn.Module | assemble.Source, recipe: assemble.Source | None, seed: int) -> tuple[nn.Module, Graph, Facts]:
    if not isinstance(subject, nn.Module):
        return assemble.build(subject, seed=seed), *assemble.checked(subject)
    origin = assemble.origin_of(recipe) if recipe is not None else assemble.origin(subject)
    if origin is None:
        raise ValueError(f"{type(subject).__name__} was not built in this process by `assembler.build`: hand over its recipe too, `verify(model, recipe=...)`")
    return subject, origin.graph, origin.facts


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Buffers (running statistics) and random states as before; gradients are never written."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(list(devices)):
        yield
    with torch.no_grad():
        for buffer, value in before:
            buffer.copy_(value)


def _batch(model: nn.Module, graph: Graph, facts: Facts, stated: Mapping[str, int], seed: int) -> Mapping[str, Tensor]:
    device = next((item.device for item in model.parameters()), torch.device("cpu"))
    uses = _unfolded(graph, facts).uses
    # So many samples that no expert of a mixture is without rows: one that nobody chose has no gradient to measure.
    wanted = [EACH * _experts(use) // max(1, getattr(use.node.options, "top_k", 1)) for use in uses if use.node.kind.name == "gating"]
    crowd = max(wanted, default=0)
    free = {name for kind in facts.root.inputs.values() if kind is not None for dim in kind.dims for name in names(dim)}
    sizes = {"batch": crowd, **stated} if crowd and "batch" in free else stated
    return {name: value.to(device) for name, value in generated(facts, sizes, seed, _own_dtype(model, uses)).items()}


def _experts(use: Use) -> int:
    """Experts of a gating."""
    count = use.facts.sizes.get("experts")
    return count if isinstance(count, int) else 1


def _unfolded(graph: Graph, facts: Facts) -> Flow:
    found = flow(graph, facts)
    if found is None:
        raise InputError(f"a model of more than {MAX_USES:,} uses of kinds is not verified")
    return found


def _rows(model: nn.Module, graph: Graph, facts: Facts, batch: Mapping[str, Tensor], seed: int) -> Iterator[Row]:
    unfolded = _unfolded(graph, facts)
    own = _own_dtype(model, unfolded.uses)
    seen: dict[str, str] = {}
    twin = probed(plan(graph, facts, dense=True), model, lambda address, value: _note(seen, address, value))
    with torch.no_grad():
        twin(**batch)
    found = model(**batch)
    outputs = found if isinstance(found, dict) else {next(iter(facts.root.outputs)): found}
    spell = _Speller(*sizes_of(facts, batch), own)
    yield from (Row("input", name, spell(facts.root.inputs.get(name)), _seen(value)) for name, value in batch.items())
    dark = _dark(unfolded)
    yield from _counts(model, graph, facts, any(use.definition.opaque for use in unfolded.uses))
    yield from _edges(graph, facts, seen, spell)
    yield from (Row("output", name, spell(kind), *_given(outputs.get(name))) for name, kind in facts.root.outputs.items())
    yield from _keys(model, unfolded.uses)
    yield from _gradients(model, unfolded, outputs, dark)


UNSAID = "not predicted: no body"


def _dark(unfolded: Flow) -> tuple[str, ...]:
    """Where the parameters of modules stand that nothing is known of but ports: below these addresses."""
    return tuple(f"{use.address}." for use in unfolded.uses if not use.definition.body)


def _own_dtype(model: nn.Module, every: Sequence[Use]) -> torch.dtype:
    """What a type that states no dtype means: the dtype of the nodes that state none."""
    named = dict(model.named_parameters(remove_duplicate=False))
    keys = (f"{use.address}.{name}" for use in every if use.node.dtype is None for name in use.definition.parameters)
    found = Counter(named[key].dtype for key in keys if key in named and named[key].is_floating_point())
    return found.most_common(1)[0][0] if found else torch.get_default_dtype()


def _note(seen: dict[str, str], address: str, value: Tensor | None) -> None:
    if value is not None:  # an optional input that was left out
        seen[address] = _seen(value)


class _Speller:
    """Types as `float32 [2 7 64]`, at the sizes of one batch."""

    def __init__(self, sizes: Mapping[str, int], leads: Mapping[str, tuple[int, ...]], own: torch.dtype) -> None:
        self.sizes, self.leads, self.own = sizes, leads, own

    def __call__(self, kind: Type | None) -> str:
        if kind is None:
            return "unknown"
        lead = self.leads.get(kind.lead, ()) if kind.lead else ()
        dtype = self.own if kind.dtype == "float" else DTYPES[kind.dtype]
        return _spell(dtype, (*lead, *(evaluate(dim, self.sizes) for dim in kind.dims)))


def _seen(value: Tensor) -> str:
    return _spell(value.dtype, tuple(value.shape))


def _given(value: Tensor | None) -> tuple[str, str]:
    """What an output is, and what a reader should know of it besides."""
    if value is None:
        return NOTHING, ""
    finite = not value.is_floating_point() or bool(torch.isfinite(value).all())
    return _seen(value), "" if finite else " (not finite)"


def _spell(dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    return f"{str(dtype).removeprefix('torch.')} [{' '.join(map(str, shape))}]"


# --- rows ---
def _counts(model: nn.Module, graph: Graph, facts: Facts, opaque: bool) -> Iterator[Row]:
    measured = list(model.parameters())
    found = sum(item.numel() for item in measured), sum(item.numel() for item in measured if item.requires_grad)
    for what, known, number in zip(("parameters", "trainable"), totals(graph, facts), found, strict=True):
        yield Row("count", what, f"{'at least ' * opaque}{known:,}", f"{number:,}", holds=number >= known if opaque else None)


def _edges(graph: Graph, facts: Facts, seen: Mapping[str, str], spell: _Speller) -> Iterator[Row]:
    """Every value that was computed. One inside a container that nobody reads is not."""
    kinds = dict(predicted(graph, facts))
    for address, measured in seen.items():
        if address not in facts.root.inputs:
            yield Row("edge", address, spell(kinds[address]) if address in kinds else NOTHING, measured)
    nodes = graph.scope.nodes
    read = {edge.source for name in reads(graph.scope, graph.scope.outputs) for edges in nodes[name].inputs.values() for edge in edges}
    read.update(graph.scope.outputs.values())
    for name, port in sorted(read):
        if isinstance(nodes.get(name), Leaf) and f"{name}.{port}" not in seen:
            yield Row("edge", f"{name}.{port}", spell(kinds.get(f"{name}.{port}")), NOTHING)


def _keys(model: nn.Module, every: Sequence[Use]) -> Iterator[Row]:
    """The keys of `state_dict` with their shapes."""
    wanted = {f"{use.address}.{name}": shape_text(shape) for use in every for name, shape in shapes(use.facts).items()}
    found = {name: shape_text(tuple(value.shape)) for name, value in model.state_dict().items()}
    opaque = tuple(f"{use.address}." for use in every if use.definition.opaque)
    for name in {**wanted, **found}:
        unsaid = name not in wanted and name.startswith(opaque)
        yield Row("key", name, UNSAID if unsaid else wanted.get(name, NOTHING), found.get(name, NOTHING), holds=True if unsaid else None)


def _gradients(model: nn.Module, unfolded: Flow, outputs: Mapping[str, Tensor], dark: tuple[str, ...]) -> Iterator[Row]:
    """Whether each trainable parameter gets a gradient, under random weights so that nothing cancels."""
    named = dict(model.named_parameters(remove_duplicate=False))
    learned = {id(named[key]) for number in zero(unfolded).reached if (key := unfolded.weights[number].address) in named}
    trained = [(name, item) for name, item in model.named_parameters() if item.requires_grad]
    values = [item for item in outputs.values() if item.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(trained)
    if values and trained:
        weights = [torch.randn(item.shape, dtype=torch.float32, device=item.device).to(item.dtype) for item in values]
        found = torch.autograd.grad(values, [item for _, item in trained], weights, allow_unused=True)
    for (name, item), gradient in zip(trained, found, strict=True):
        measured = "none" if gradient is None else "some"
        if name.startswith(dark):
            yield Row("gradient", name, UNSAID, measured, holds=True)
        else:
            yield Row("gradient", name, "some" if id(item) in learned else "none", measured)
