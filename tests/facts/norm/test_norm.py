"""Norm states of whole recipes: what is said of each value is so in the built model, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

import assembler
from assembler.assemble import checked
from assembler.compiler.build import build, probed
from assembler.compiler.plan import plan
from assembler.facts.flow import Flow, flow
from assembler.facts.model import Facts
from assembler.facts.norm.analysis import Norm, inside, norm, why
from assembler.graph.model import Graph
from assembler.graph.rewrite import prune
from tests.facts.norm.norm_truth import wrong
from tests.fuzz.generate import generate
from tests.fuzz.oracle import _inputs, check_text
from tests.recipes import shipped

LOW = {torch.bfloat16, torch.float16}


def _measured(graph: Graph, facts: Facts, batch: Mapping[str, Tensor], seed: int) -> tuple[Flow, Norm, dict[int, Tensor]]:
    """Every value of a model at init: without dropout, batch norms by the statistics of the batch."""
    torch.set_num_threads(1)
    found = flow(graph, facts)
    assert found is not None
    made = plan(graph, facts)
    torch.manual_seed(seed)
    model = build(made, seed=seed)
    seen: dict[str, Tensor] = {}
    twin = probed(plan(graph, facts, dense=True), model, lambda address, value: seen.update({address: value}))
    for module in (*model.modules(), *twin.modules()):
        if "BatchNorm" not in type(module).__name__:
            module.training = False
    with torch.no_grad():
        twin(**batch)
    numbers = {**found.places, **found.inputs}
    values = {numbers[address]: value.detach() for address, value in seen.items() if address in numbers and value is not None}
    return found, norm(found), values


def _judge(found: Flow, states: Norm, values: Mapping[int, Tensor], kinds: Counter[str]) -> None:
    low = any(value.dtype in LOW for value in values.values())
    tolerance = 3e-2 if low else 2e-3
    kept: dict[int, float] = {}
    for use in found.uses:
        before = min((kept.get(number, 1.0) for numbers in use.inputs.values() for number in numbers), default=1.0)
        source = next((number for numbers in use.inputs.values() for number in numbers), None)
        if use.node.kind.name.endswith("_norm") and source is not None:
            # Of copies that share weights what stands inside was not seen: it may be as small as the eps.
            before = _kept(use.node.kind.name, use.node.options, values[source]) if source in values else 0.0
        for number in use.outputs.values():
            kept[number] = before
            value, state = values.get(number), states.states[number]
            if value is None or not value.is_floating_point():
                continue
            problem = wrong(state, value, tolerance, before)
            assert not problem, f"{use.address} is said to be {state}: {problem}"
            kinds[state.kind] += 1


def _kept(kind: str, options: object, x: Tensor) -> float:
    """The least v / (v + eps) over the rows that are normed."""
    x = x.double()
    eps = getattr(options, "eps", None)
    if kind == "group_norm":
        x = x.reshape(x.shape[0], options.groups, -1)  # type: ignore[attr-defined]
    elif kind == "batch_norm":
        x = x.transpose(0, 1).flatten(1)
    v = x.square().mean(-1) if kind == "rms_norm" else x.var(-1, correction=0)
    return float((v / (v + (1.2e-7 if eps is None else eps))).min())


@pytest.mark.parametrize("name", shipped.NAMES)
def test_states_of_shipped_recipes_are_measured(name: str) -> None:
    graph, facts = checked(assembler.load(shipped.path(name), shipped.SMALL[name]))
    found, states, values = _measured(graph, facts, shipped.batch(name), 0)
    sums = [use for use in found.uses if use.node.kind.name == "loss_sum"]  # the text adds losses up as it goes
    assert len(values) >= len(found.uses) - len(sums)
    _judge(found, states, values, Counter())


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_states_of_random_recipes_are_measured(start: int) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(start, start + 50):
        sample = generate(seed)
        report = check_text(sample.text, sample.overrides)
        assert report.graph is not None
        assert report.facts is not None
        torch.manual_seed(seed)
        graph = report.graph._replace(scope=prune(report.graph.scope))
        _judge(*_measured(graph, report.facts, _inputs(sample, 0), seed), kinds)
    assert set(kinds) == {"zero", "ln", "rms", "bn", "simplex", "bounded", "stream", "raw"}


# --- one recipe, looked at closely ---
def _of(text: dict[str, object], **inputs: str) -> tuple[Flow, Norm]:
    found = flow(*checked(assembler.recipe({"name": "r", "inputs": inputs or {"x": "[batch seq 8]"}, **text})))
    assert found is not None
    return found, norm(found)


def test_a_pre_norm_stack() -> None:
    found, states = _of({"nodes": {"s": {"kind": "bus", "repeat": 2, "norm": "pre", "norm_kind": "rms_norm", "from": "x", "parts": {"f": {"kind": "mlp"}}}, "end": {"kind": "layer_norm", "from": "s"}}, "outputs": {"y": "end"}})
    shown = {address: str(states.states[number]) for address, number in found.places.items() if address.count(".") == 3}
    assert shown == {
        "s.0.f_pre_norm.y": "rms(-1) gain trained", "s.0.f.y": "raw", "s.0.f_add.y": "stream",
        "s.1.f_pre_norm.y": "rms(-1) gain trained", "s.1.f.y": "raw", "s.1.f_add.y": "stream",
    }  # fmt: skip
    assert [(item.address, item.text) for item in why(found, states, found.outputs["y"])] == [
        ("end.y", "ln(-1) gain trained, shift trained: layer norm of `s.1.f_add.y` (stream), times a trained gain that starts as 1, plus a trained bias that starts as 0"),
        ("s.1.f_add.y", "stream: the sum of `s.0.f_add.y` (stream) and `s.1.f.y` (raw)"),
        ("s.0.f_add.y", "stream: the sum of `x` (raw) and `s.0.f.y` (raw)"),
    ]


def test_a_branch_that_starts_as_zero_leaves_the_stream_as_it_is() -> None:
    found, states = _of({"nodes": {"s": {"kind": "bus", "from": "n", "parts": {"f": {"kind": "sequence", "parts": {"m": {"kind": "mlp"}, "g": {"kind": "scale", "value": 0.0, "learned": True}}}}}, "n": {"kind": "layer_norm", "from": "x"}}, "outputs": {"y": "s"}})
    assert str(states.states[found.places["s.f.y"]]) == "zero"
    assert str(states.states[found.outputs["y"]]) == "ln(-1) gain trained, shift trained"


def test_what_is_frozen_is_not_trained() -> None:
    found, states = _of({"nodes": {"n": {"kind": "layer_norm", "freeze": True, "from": "x"}, "s": {"kind": "scale", "value": 0.5, "from": "n"}}, "outputs": {"y": "s"}})
    assert str(states.states[found.outputs["y"]]) == "ln(-1) gain 0.5"


def test_probabilities_that_are_handed_in_are_a_simplex() -> None:
    found, states = _of({"nodes": {"m": {"kind": "mean", "from": ["p", "q"]}}, "outputs": {"y": "m"}}, p="probs [batch 8]", q="probs [batch 8]")
    assert str(states.states[found.outputs["y"]]) == "simplex(-1)"


def test_a_mean_over_two_edges_is_not_that_over_three() -> None:
    """Uses of one definition are worked out once, and its factor may depend on sizes."""
    nodes = {"s": {"kind": "softmax", "from": "x"}}
    found, states = _of({"nodes": {**nodes, "two": {"kind": "mean", "from": ["s", "s"]}, "three": {"kind": "mean", "from": ["s", "s", "s"]}}, "outputs": {"a": "two", "b": "three"}})
    assert {str(states.states[number]) for number in found.outputs.values()} == {"simplex(-1)"}


def test_the_states_inside_a_use_are_known_by_name() -> None:
    found, states = _of({"nodes": {"a": {"kind": "attention", "heads": 2, "qk_norm": "layer_norm", "from": "x"}}, "outputs": {"y": "a"}})
    shown = {name: str(state) for name, state in inside(states, found.uses[0]).items()}
    assert shown["q"] == shown["k"] == "ln(-1) gain trained, shift trained"
    assert shown["v"] == shown["mixed"] == shown["y"] == "raw"


@pytest.mark.parametrize(("start", "shown"), [("copy(n.weight)", "ln(-1) gain trained, shift trained"), ("zeros", "ln(-1) gain 0, trained, shift trained"), ("normal(0.0)", "ln(-1) gain 0, trained, shift trained"), ("normal(1.0)", "raw"), ("copy(nowhere)", "raw")])
def test_every_way_a_gain_may_start(start: str, shown: str) -> None:
    found, _ = _of({"nodes": {"n": {"kind": "layer_norm", "from": "x"}, "m": {"kind": "layer_norm", "from": "x"}}, "outputs": {"a": "n", "b": "m"}})
    weights = tuple(item._replace(init=start) if item.address == "m.weight" else item for item in found.weights)
    states = norm(found._replace(weights=weights))
    assert str(states.states[found.places["m.y"]]) == shown


def test_every_value_of_a_random_recipe_has_a_short_derivation() -> None:
    for seed in range(12):
        sample = generate(seed)
        report = check_text(sample.text, sample.overrides)
        assert report.graph is not None
        assert report.facts is not None
        found = flow(report.graph, report.facts)
        assert found is not None
        states = norm(found)
        for number in range(0, len(found.makers), 3):
            lines = why(found, states, number)
            assert 1 <= len(lines) <= 3
            assert lines[0].text.startswith(f"{states.states[number]}: ")
            assert all(line.address and "?" not in line.text for line in lines)
