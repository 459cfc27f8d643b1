"""Operations that are predicted are those that PyTorch counts, of shipped recipes and of random ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import assembler
from assembler.assemble import checked
from assembler.facts.flops import flops
from assembler.facts.model import Facts
from assembler.lab.inputs import generated
from assembler_schemas.dim import Dim, evaluate, show
from tests.fuzz.generate import generate
from tests.recipes.shipped import NAMES, SMALL, batch, path


def counted(recipe: assembler.Recipe, inputs: Mapping[str, Tensor]) -> int:
    """What PyTorch counts in one forward pass; attention written out, as one count for all its kernels."""
    torch.set_num_threads(1)
    model = assembler.build(recipe, seed=0).eval()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(**inputs)
    return counter.get_total_flops()


def sizes(facts: Facts, inputs: Mapping[str, Tensor]) -> dict[str, int]:
    """The run-time sizes by name; a row of unnamed axes counts its elements."""
    found: dict[str, int] = {}
    for name, tensor in inputs.items():
        kind = facts.root.inputs[name]
        assert kind is not None
        rank = tensor.ndim - len(kind.dims)
        found.update({kind.lead: tensor.shape[:rank].numel()} if kind.lead else {})
        for dim, size in zip(kind.dims, tensor.shape[rank:], strict=True):
            names = [] if isinstance(dim, int) else [name for name in dim.names if name not in found]
            if len(names) == 1:
                found[names[0]] = next(value for value in range(1, 500) if evaluate(dim, {**found, names[0]: value}) == size)
    return found


def of(tree: dict[str, Any]) -> Dim | None:
    graph, facts = checked(tree)
    return flops(graph, facts)


def nodes(nodes: dict[str, Any], x: str = "[batch seq 8]", out: str = "y") -> dict[str, Any]:
    return {"inputs": {"x": x}, "nodes": nodes, "outputs": {"out": out}}


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipes_cost_what_pytorch_counts(name: str) -> None:
    recipe, inputs = assembler.load(path(name), list(SMALL[name])), batch(name)
    graph, facts = checked(recipe)
    found = flops(graph, facts)
    if name == "stream":  # of two unlike parts one thinks
        assert found is None
        return
    assert found is not None
    assert evaluate(found, sizes(facts, inputs)) == counted(recipe, inputs)


@pytest.mark.parametrize("start", range(0, 60, 15))
def test_random_recipes_cost_what_pytorch_counts(start: int, tmp_path: Any) -> None:
    """Those with unlike experts are not counted; a capacity drops rows, so that the count is the most."""
    exact = 0
    for seed in range(start, start + 15):
        sample = generate(seed)
        file = tmp_path / f"{seed}.yaml"
        file.write_text(sample.text, encoding="utf-8")
        recipe = assembler.load(file, sample.overrides)
        graph, facts = checked(recipe)
        found = flops(graph, facts)
        if found is None:
            continue
        inputs = generated(facts, {}, seed)
        said, truth = evaluate(found, sizes(facts, inputs)), counted(recipe, inputs)
        assert said == truth or (said > truth and "capacity" in sample.text), (seed, show(found))
        exact += said == truth
    assert exact >= 3


LINEAR = {"kind": "linear", "out": 16, "bias": False}


def test_a_linear_map_costs_two_for_each_weight_and_row() -> None:
    assert str(of(nodes({"y": {**LINEAR, "from": "x"}}))) == "Poly(256*batch*seq)"
    assert show(of(nodes({"y": {**LINEAR, "from": "x"}}, "[... 8]")) or 0) == "256*..."


def test_copies_cost_each_whether_they_share_weights_or_not() -> None:
    for share in (True, False):
        found = of(nodes({"y": {"kind": "linear", "repeat": 3, "share": share, "from": "x"}}))
        assert show(found or 0) == "384*batch*seq"


def test_what_no_output_needs_costs_nothing() -> None:
    found = of(nodes({"y": {**LINEAR, "from": "x"}, "lost": {**LINEAR, "from": "x"}}))
    assert show(found or 0) == "256*batch*seq"


def test_norms_and_activations_cost_nothing() -> None:
    assert of(nodes({"a": {"kind": "layer_norm", "from": "x"}, "y": {"kind": "activation", "from": "a"}})) == 0


EXPERT = {"kind": "linear", "out": 8, "bias": False}


def mixture(**more: Any) -> Dim | None:
    return of(nodes({"y": {"kind": "moe", "router": "topk", "balance": "none", "z_loss": 0.0, "from": "x", **more}}))


def test_of_experts_that_are_alike_as_many_cost_as_a_row_runs() -> None:
    scores = 2 * 8 * 4
    assert show(mixture(experts=4, top_k=1, expert=EXPERT) or 0) == f"{scores + 128}*batch*seq"
    assert show(mixture(experts=4, top_k=3, expert=EXPERT) or 0) == f"{scores + 3 * 128}*batch*seq"


def test_what_unlike_experts_cost_is_not_known_unless_all_run() -> None:
    unlike = {"a": EXPERT, "b": {"kind": "mlp", "hidden": 8, "bias": False}}
    assert mixture(experts=unlike, top_k=1) is None
    assert show(mixture(experts=unlike, top_k=2) or 0) == f"{2 * 8 * 2 + 128 + 256}*batch*seq"


def test_where_zeros_among_the_gates_learn_all_experts_run_on_all_rows() -> None:
    dense = mixture(experts=2, top_k=1, expert=EXPERT, straight_through="dense", weighted=False)
    assert show(dense or 0) == f"{2 * 8 * 2 + 2 * 128 + 2 * 2 * 8}*batch*seq"
