"""Flows that are judged at once, against the same flows step by step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import assembler
from assembler.facts.flow import Flow, flow
from assembler.facts.zero import plain as zero_plain
from assembler.facts.zero.analysis import step_by_step, zero
from assembler.facts.zero.plain import plain
from tests.facts.zero.test_random import sample
from tests.facts.zero.zero_truth import flow_of
from tests.fuzz.generate import generate
from tests.recipes import shipped


def _agrees(found: Flow) -> bool:
    """Whether a flow is judged at once; that both ways say the same is asserted."""
    one, other = zero(found), step_by_step(found)
    assert (one.steps, one.noise, one.reached) == (other.steps, other.noise, other.reached)
    if one.plain:
        norms = [(place, step.inputs[0]) for place, use in enumerate(found.uses) for step in use.definition.body if step.op == "norm"]
        assert not any(other.wakes(place, name) for place, name in norms)
    return one.plain


def test_random_graphs_are_judged_alike() -> None:
    assert sum(_agrees(sample(seed)) for seed in range(400)) > 60


def test_generated_recipes_are_judged_alike(tmp_path: Path) -> None:
    judged = []
    for seed in range(60):
        recipe, path = generate(seed), tmp_path / "sample.yaml"
        path.write_text(recipe.text)
        report = assembler.check(path, recipe.overrides)
        if report.ok and report.graph is not None and report.facts is not None and (found := flow(report.graph, report.facts)) is not None:
            judged.append(_agrees(found))
    assert len(judged) > 40  # Nearly each holds a mixture, which is looked at step by step: `_agrees` has said the rest.


@pytest.mark.parametrize("name", shipped.NAMES)
def test_shipped_recipes_are_judged_alike(name: str) -> None:
    report = assembler.check(assembler.load(shipped.path(name)))
    assert report.graph is not None
    assert report.facts is not None
    found = flow(report.graph, report.facts)
    assert found is not None
    # Images of one channel have an axis of one; choices among parts, shares that are learnt and codebooks are looked at step by step.
    assert _agrees(found) == (name not in ("acmix", "digits", "ensemble", "experts", "fusion", "mixtral", "scales", "stream", "vq"))


X = {"inputs": {"x": "[batch seq 8]"}, "outputs": {"y": "last"}}


def _one(nodes: Mapping[str, object], start: dict[str, str] | None = None) -> Flow:
    return flow_of({**X, "nodes": nodes}, start)


def test_the_noise_of_keys_is_known_at_once() -> None:
    found = _one({"last": {"kind": "attention", "heads": 2, "from": "x"}})
    said = plain(found)
    assert said is not None
    assert [found.weights[number].address for number in said.noise] == ["last.k.bias"]


def test_a_bias_before_a_batch_norm_is_noise_across_uses() -> None:
    found = flow_of({
        "inputs": {"x": "[batch 3 8 8]"}, "outputs": {"y": "last"},
        "nodes": {"map": {"kind": "conv2d", "out": 4, "kernel": 3, "bias": True, "from": "x"}, "last": {"kind": "batch_norm", "from": "map"}},
    })  # fmt: skip
    said = plain(found)
    assert said is not None
    assert [found.weights[number].address for number in said.noise] == ["map.bias"]


def test_a_map_that_starts_as_zeros_is_not_plain() -> None:
    assert plain(_one({"last": {"kind": "linear", "out": 8, "from": "x"}}, {"last.weight": "zeros"})) is None


def test_a_bias_that_starts_as_zeros_is_plain() -> None:
    found = _one({"last": {"kind": "linear", "out": 8, "from": "x"}})
    said = plain(found)
    assert said is not None
    assert said.steps == (0,) * len(found.weights)


def test_what_stands_behind_a_detach_is_never_reached() -> None:
    found = _one({"map": {"kind": "linear", "out": 8, "from": "x"}, "cut": {"kind": "detach", "from": "map"}, "last": {"kind": "linear", "out": 8, "from": "cut"}})
    said = plain(found)
    assert said is not None
    assert {found.weights[number].address for number in said.reached} == {"last.weight", "last.bias"}


def test_zeros_behind_a_detach_are_not_plain() -> None:
    nodes = {"map": {"kind": "linear", "out": 8, "from": "x"}, "cut": {"kind": "detach", "from": "map"}, "last": {"kind": "linear", "out": 8, "from": "cut"}}
    assert plain(_one(nodes, {"map.*": "zeros"})) is None


def test_a_factor_that_is_negative_is_not_plain() -> None:
    """`x - x` is zero: which values are equal would matter."""
    assert plain(_one({"less": {"kind": "scale", "value": -1.0, "from": "x"}, "last": {"kind": "add", "from": ["x", "less"]}})) is None


def test_an_input_with_an_axis_of_one_is_not_plain() -> None:
    assert plain(flow_of({"inputs": {"x": "[batch 1 8]"}, "nodes": {"last": {"kind": "attention", "heads": 2, "from": "x"}}, "outputs": {"y": "last"}})) is None


def test_copies_are_judged_by_what_they_are_copies_of() -> None:
    nodes = {"map": {"kind": "linear", "out": 8, "from": "x"}, "last": {"kind": "linear", "out": 8, "from": "map"}}
    assert plain(_one(nodes, {"last.weight": "copy(map.weight)"})) is not None
    assert plain(_one(nodes, {"last.weight": "copy(map.weight)", "map.weight": "zeros"})) is None


def test_many_small_factors_in_a_row_are_not_zero() -> None:
    """Thirteen tenths are 1e-13 of what there was, and some number all the same."""
    nodes: dict[str, object] = {"map": {"kind": "linear", "out": 8, "from": "x"}}
    for place in range(13):
        nodes[f"s{place}"] = {"kind": "scale", "value": 0.1, "from": f"s{place - 1}" if place else "map"}
    found = _one({**nodes, "last": {"kind": "softmax", "from": "s12"}})
    assert _agrees(found)
    said = zero(found)
    assert said.steps == (0, 0)
    assert not said.noise
    assert not said.zero(found.outputs["y"], "math")


def test_positions_that_are_added_to_zeros_and_taken_off_again_are_zero_in_exact_arithmetic() -> None:
    """A sum whose parts are of several shapes is a sum all the same."""
    found = _one({
        "none": {"kind": "zero", "from": "x"}, "at": {"kind": "sinusoidal_position", "from": "none"},
        "less": {"kind": "scale", "value": -1.0, "from": "at"}, "gone": {"kind": "sinusoidal_position", "from": "less"},
        "last": {"kind": "layer_norm", "from": "gone"},
    })  # fmt: skip
    said = zero(found)
    assert said.zero(found.places["gone.y"], "math")
    assert [found.weights[number].address for number in said.noise] == ["last.weight"]


def test_a_value_that_is_spread_is_not_the_same_as_the_value() -> None:
    """Sums are told apart by their parts, and by their shapes besides."""
    found = _one({"none": {"kind": "zero", "from": "x"}, "last": {"kind": "learned_position", "length": 4, "from": "none"}})
    said = zero(found)
    assert said.same(found.places["none.y"], found.places["last.y"]) is None


def test_parts_that_differ_in_nothing_but_their_widths_are_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep over widths is one judgement: no rule asks into what sizes a reshape cuts."""
    asked: list[int] = []
    judge = zero_plain._judge
    monkeypatch.setattr(zero_plain._Tables, "current", zero_plain._Tables())
    monkeypatch.setattr(zero_plain, "_judge", lambda use, given, own: asked.append(1) or judge(use, given, own))
    counts = []
    for width in (8, 16, 24):
        flow_at = flow_of({"vars": {"w": width}, "inputs": {"x": "[batch seq w]"}, "outputs": {"y": "last"}, "nodes": {"mix": {"kind": "attention", "heads": 2, "from": "x"}, "last": {"kind": "mlp", "from": "mix"}}}, None)
        assert zero(flow_at).plain
        counts.append(len(asked))
    assert counts == [2, 2, 2]
