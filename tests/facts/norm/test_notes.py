"""What `why RECIPE PORT --norm` tells besides: sizes that a norm divides out, the mean that an rms norm leaves."""

from __future__ import annotations

import pytest
import torch
import yaml

import assembler
from assembler.facts.norm.notes import notes
from assembler.facts.signals import Signals, value_at

torch.set_num_threads(1)

SIZE = "has a size that"


def recipe(nodes: str, output: str) -> assembler.Recipe:
    return assembler.recipe(yaml.safe_load(f"{{name: m, inputs: {{x: '[batch seq 16]'}}, nodes: {{{nodes}}}, outputs: {{y: {output}}}}}"))


def known(nodes: str, output: str) -> Signals:
    report = assembler.check(recipe(nodes, output))
    assert report.ok, str(report)
    assert report.signals is not None
    return report.signals


def free(nodes: str, address: str, output: str = "n") -> list[str]:
    """The weights of which it is said that their size is divided out."""
    signals = known(nodes, output)
    value = value_at(signals.flow, address)
    assert value is not None
    return [item.address for item in notes(signals.flow, signals.norm, value) if item.text.startswith(SIZE)]


FREE = [
    ("up: {kind: linear, out: 8, bias: false, from: x}, n: {kind: layer_norm, from: up}", ["up.weight"]),
    ("up: {kind: linear, out: 8, bias: false, from: x}, d: {kind: dropout, p: 0.0, from: up}, n: {kind: rms_norm, from: d}", ["up.weight"]),
    ("n: {kind: attention, heads: 2, bias: false, qk_norm: rms_norm, from: x}", ["n.q.weight", "n.k.weight"]),
    ("t: {kind: permute, order: [0, 2, 1], from: x}, c: {kind: conv1d, out: 4, kernel: 3, bias: false, from: t}, n: {kind: batch_norm, from: c}", ["c.weight"]),
]


@pytest.mark.parametrize(("nodes", "weights"), FREE)
def test_a_weight_is_named_and_its_size_changes_nothing(nodes: str, weights: list[str]) -> None:
    assert free(nodes, "n") == weights
    model = assembler.build(recipe(nodes, "n"), seed=1)
    x = torch.randn(3, 5, 16)
    before = model(x)
    with torch.no_grad():
        for address in weights:
            model.get_parameter(address).mul_(3.0)
    torch.testing.assert_close(model(x), before, rtol=1e-3, atol=1e-3)  # eps is not divided out


@pytest.mark.parametrize(
    ("reason", "nodes"),
    [
        ("a bias keeps its size", "up: {kind: linear, out: 8, from: x}, n: {kind: layer_norm, from: up}, y: {kind: identity, from: n}"),
        ("somebody else reads it", "up: {kind: linear, out: 16, bias: false, from: x}, n: {kind: layer_norm, from: up}, y: {kind: add, from: [n, up]}"),
        ("something else reads the weight", "up: {kind: linear, out: 16, bias: false, from: x}, n: {kind: layer_norm, from: up}, y: {same: up, from: n}"),
        ("it is not trained", "up: {kind: linear, out: 16, bias: false, freeze: true, from: x}, n: {kind: layer_norm, from: up}, y: {kind: identity, from: n}"),
        ("it is added to something", "up: {kind: linear, out: 16, bias: false, from: x}, s: {kind: add, from: [up, x]}, n: {kind: layer_norm, from: s}, y: {kind: identity, from: n}"),
    ],
)
def test_no_weight_is_named_where(reason: str, nodes: str) -> None:
    assert free(nodes, "n", output="y") == [], reason


def test_rms_where_layer_norm_is_wanted_differs_by_a_mean_that_is_small_in_a_wide_row() -> None:
    signals = known("n: {kind: rms_norm, from: x}, m: {kind: layer_norm, from: x}, s: {kind: add, from: [n, m]}", "s")
    (note,) = notes(signals.flow, signals.norm, signals.flow.places["n.y"])
    assert (note.address, note.text) == ("n.y", "keeps the mean of each row, which a layer norm takes out: of 16 independent values about 0.25 of their size")
    assert notes(signals.flow, signals.norm, signals.flow.places["m.y"]) == ()
    assert notes(signals.flow, signals.norm, signals.flow.inputs["x"]) == ()
    means = torch.nn.functional.rms_norm(torch.randn(4000, 16), (16,)).mean(-1).square().mean().sqrt()
    assert 0.24 < float(means) < 0.26
