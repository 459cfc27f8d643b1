"""The unfolded graph against the built model: which use has which parameter, and where values stand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import assembler
from assembler.assemble import checked
from assembler.compiler.build import build
from assembler.compiler.plan import plan
from assembler.facts import flow as room
from assembler.facts.flow import Flow, flow, number, start_of
from assembler.graph.rewrite import prune
from tests.fuzz.generate import generate
from tests.fuzz.oracle import check_text

RECIPES = sorted(path for path in (Path(__file__).parents[2] / "recipes").glob("*.yaml"))


def _agree(found: Flow, model: torch.nn.Module) -> None:
    """Weights and tensors of the model stand one to one."""
    tensors: dict[int, int] = {}
    owned = {id(item) for item in [*model.parameters(), *model.buffers()]}
    for use in found.uses:
        for key, weight in use.weights.items():
            module, _, name = f"{use.address}.{key}".rpartition(".")
            tensor = getattr(model.get_submodule(module), name)
            assert tensors.setdefault(weight, id(tensor)) == id(tensor), (use.address, key)
            assert tuple(tensor.shape) == found.weights[weight].shape
            assert tensor.requires_grad == found.weights[weight].trainable, (use.address, key)
    assert len(set(tensors.values())) == len(tensors)
    assert set(tensors.values()) <= owned


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_uses_and_weights_are_those_of_the_model(path: Path) -> None:
    found = flow(*checked(path))
    assert found is not None
    model = assembler.build(path, device="meta")
    _agree(found, model)
    assert {found.weights[number].address for use in found.uses for number in use.weights.values()} <= set(model.state_dict())


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_uses_and_weights_of_random_recipes(start: int) -> None:
    for seed in range(start, start + 50):
        sample = generate(seed)
        report = check_text(sample.text, sample.overrides)
        assert report.graph is not None
        assert report.facts is not None
        graph = report.graph._replace(scope=prune(report.graph.scope))
        found = flow(graph, report.facts)
        assert found is not None
        _agree(found, build(plan(graph, report.facts), device="meta"))


def test_a_graph_beyond_the_limit_has_no_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = assembler.recipe({"name": "r", "inputs": {"x": "[batch 4]"}, "nodes": {"l": {"kind": "linear", "repeat": 5, "from": "x"}}, "outputs": {"y": "l"}})
    assert flow(*checked(recipe)) is not None
    monkeypatch.setattr(room, "MAX_USES", 4)
    assert flow(*checked(recipe)) is None


def test_numbers_on_cards() -> None:
    assert number("1/sqrt(in*patch*patch)", {"in": 4, "patch": 2}) == 0.25
    assert number("-heads // 2", {"heads": 7}) == -4
    assert start_of("uniform(1/sqrt(in))", {"in": 64}) == "uniform(0.125)"
    assert start_of("zeros", {}) == "zeros"
    with pytest.raises(KeyError):
        number("d", {})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("2 - 3 - 4", -5), ("2 - (3 - 4)", 3), ("8 / 2 / 2", 2.0), ("7 // 2 * 2", 6), ("-in * 2", -8), ("2 * -in", -8), ("sqrt(in * 4) + 1", 5.0), ("1.0/sqrt((in))", 0.5), ("0.5", 0.5), ("1e-3 * in", 0.004)],
)
def test_signs_and_brackets_of_numbers_on_cards(text: str, wanted: float) -> None:
    assert number(text, {"in": 4}) == wanted


@pytest.mark.parametrize("text", ["in @ 2", "(", "1 2"])
def test_a_text_on_a_card_that_is_no_number_raises(text: str) -> None:
    with pytest.raises((ValueError, IndexError, TypeError)):
        number(text, {"in": 4})
