"""`verify`: every prediction held against a real run, seen to fail where something is wrong, and leaving no trace."""

from __future__ import annotations

import copy

import pytest
import torch
import yaml
from torch import nn

import assembler
from assembler.lab.inputs import InputError
from assembler.lab.verify import Verification
from assembler.source.recipe import Recipe
from tests.compiler import made
from tests.compiler.kinds import ALL, recipe

torch.set_num_threads(1)

BUS = """
name: bus
inputs: {x: "[batch seq 8]"}
nodes:
  enc: {kind: bus, repeat: 3, norm: pre, from: x, parts: {a: {kind: attention, heads: 2}, f: {kind: mlp, hidden: 12}}}
  norm: {kind: batch_norm, from: swap}
  swap: {kind: permute, from: enc}
  drop: {kind: dropout, from: norm}
outputs: {y: drop}
"""


def _recipe(text: str) -> Recipe:
    return assembler.recipe(yaml.safe_load(text))


def _wrong(found: Verification) -> list[tuple[str, str, str]]:
    return [(row.label, row.predicted, row.measured) for row in found.rows if not row.agrees]


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_does_what_was_predicted(kind: str) -> None:
    found = assembler.verify(recipe(kind))
    assert found.ok, str(found)
    assert found.counts("edge")[1] > 0 or kind == "identity"


@pytest.mark.parametrize("name", made.ALL)
def test_shared_tapped_and_nested_models_do_what_was_predicted(name: str) -> None:
    found = assembler.verify(_recipe(made.ALL[name]))
    assert found.ok, str(found)


def test_a_verification_prints_as_a_table_of_every_edge_copy_by_copy() -> None:
    found = assembler.verify(_recipe(BUS), {"x": torch.randn(4, 3, 8)})
    text = str(found)
    for address in ("enc.0.a.y", "enc.2.f.y", "key enc.1.a.q.weight", "gradient enc.2.f.up.bias", "output y", "parameters"):
        assert f"\n{address} " in text
    assert "float32 [4 3 8]" in text
    assert text.endswith(f"prediction and measurement agree in all {len(found.rows)} places")


def test_the_model_comes_out_as_it_went_in() -> None:
    model = assembler.build(_recipe(BUS), seed=1)
    model(torch.randn(4, 3, 8)).sum().backward()
    before = copy.deepcopy(model.state_dict())
    gradients = [item.grad.clone() for item in model.parameters()]
    state = torch.random.get_rng_state()
    assert assembler.verify(model).ok
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(item.grad, old) for item, old in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_copy_of_a_model_and_one_of_another_dtype_find_their_plan() -> None:
    model = assembler.build(_recipe(BUS), seed=1, dtype=torch.float64)
    found = assembler.verify(copy.deepcopy(model).eval())
    assert found.ok, str(found)
    assert "float64 [2 5 8]" in str(found)


def test_a_module_that_is_none_of_ours_wants_its_recipe() -> None:
    with pytest.raises(ValueError, match="hand over its recipe"):
        assembler.verify(nn.Linear(2, 2))
    model = assembler.build(_recipe(BUS), seed=1)
    assert assembler.verify(model, recipe=_recipe(BUS)).ok
    with pytest.raises(InputError, match="initialize"):
        assembler.verify(assembler.build(_recipe(BUS), device="meta"))


def test_a_layer_that_was_exchanged_shows_at_its_edge_its_key_and_the_count() -> None:
    text = "{name: m, inputs: {x: '[b 4]'}, nodes: {a: {kind: linear, out: 6, from: x}, k: {kind: mean_pool, from: s}, s: {kind: stack, from: [a, a]}}, outputs: {y: k}}"
    model = assembler.build(_recipe(text), seed=1)
    model.a = nn.Linear(4, 7)
    found = assembler.verify(model)
    assert not found
    labels = {label for label, _, _ in _wrong(found)}
    assert {"a.y", "k.y", "output y", "parameters", "key a.weight", "key a.bias"} <= labels
    assert "DIFFER" in str(found)


def test_a_gradient_that_does_not_come_shows() -> None:
    model = assembler.build(_recipe(BUS), seed=1)
    model.enc[1].f.forward = lambda x: torch.zeros_like(x)
    wrong = _wrong(assembler.verify(model))
    assert ("gradient enc.1.f.up.weight", "some", "none") in wrong
    behind = ("f.up.weight", "f.up.bias", "f.down.weight", "f.down.bias", "f_pre_norm.weight", "f_pre_norm.bias")
    labels = {label for label, _, _ in wrong}
    assert {label for label in labels if label[:2] not in ("q ", "g ")} == {f"{what} enc.1.{name}" for name in behind for what in ("gradient", "step")}


def test_no_gradient_is_predicted_behind_a_detach_a_zero_and_the_last_tap() -> None:
    text = (
        "{name: m, inputs: {x: '[b 4]'}, nodes: {a: {kind: linear, out: 4, from: x}, d: {kind: detach, from: a}, b: {kind: linear, out: 4, from: d},"
        " c: {kind: linear, out: 4, from: x}, z: {kind: zero, from: c}, r: {kind: linear, out: 4, repeat: 4, from: x}, f: {kind: linear, out: 4, freeze: true, from: x},"
        " y: {kind: add, from: [b, z, r.1, f]}}, outputs: {y: y}}"
    )
    found = assembler.verify(_recipe(text))
    assert found.ok, str(found)
    some = {row.address for row in found.rows if row.what == "gradient" and row.measured == "some"}
    assert some == {f"{node}.{name}" for node in ("b", "r.0", "r.1") for name in ("weight", "bias")}


def test_nodes_with_a_dtype_of_their_own_do_not_make_it_the_dtype_of_the_model() -> None:
    text = (
        "{name: m, inputs: {x: '[b 4]', h: 'f16 [b 8]'}, nodes: {a: {kind: mlp, hidden: 64, dtype: f16, from: h}, b: {kind: linear, out: 4, from: x}}, outputs: {y: a, z: b}}"
    )
    found = assembler.verify(_recipe(text))
    assert found.ok, str(found)
    assert "float16 [2 8]" in str(found)
    assert "float32 [2 4]" in str(found)


def test_an_output_that_is_not_finite_is_said_and_is_no_disagreement() -> None:
    text = "{name: m, inputs: {x: '[b 4]'}, nodes: {a: {kind: linear, out: 4, from: x}, s: {kind: scale, value: 1.0e+30, from: a}, c: {kind: cast, dtype: f16, from: s}}, outputs: {y: c}}"
    found = assembler.verify(_recipe(text))
    assert found.ok
    assert "(not finite)" in str(found)
