"""Members that stay copies of one another: what is said, held against training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

import assembler
from assembler.checks import alike

COPY = "init: {copy: base}"
TWINS = {
    "members": f"kind: parallel, members: 3, join: mean, parts: {{net: {{kind: mlp, {COPY}}}}}",
    "parts of several nodes": f"kind: parallel, parts: {{a: {{kind: sequence, parts: {{f: {{kind: activation}}, g: {{kind: mlp, {COPY}}}}}}}, b: {{kind: sequence, parts: {{f: {{kind: activation}}, g: {{kind: mlp, {COPY}}}}}}}}}",
    "a route of which every row has all parts": f"kind: route, top_k: 2, weighted: false, router: {{kind: linear, out: 2, freeze: true}}, parts: {{a: {{kind: mlp, {COPY}}}, b: {{kind: mlp, {COPY}}}}}",
    "maps of zeros": "kind: parallel, parts: {a: {kind: linear, out: 8, init: zero}, b: {kind: linear, out: 8, init: zero}}",
}
APART = {
    "dropout": f"kind: parallel, members: 3, join: mean, parts: {{net: {{kind: mlp, dropout: 0.5, {COPY}}}}}",
    "a router": f"kind: moe, experts: 3, top_k: 2, expert: {{kind: mlp, {COPY}}}",
    "a route to all by weight": f"kind: route, top_k: 2, parts: {{a: {{kind: mlp, {COPY}}}, b: {{kind: mlp, {COPY}}}}}",
    "the winner": f"kind: compete, parts: {{a: {{kind: mlp, {COPY}}}, b: {{kind: mlp, {COPY}}}}}",
    "a median": f"kind: parallel, members: 3, join: median, parts: {{net: {{kind: mlp, {COPY}}}}}",
    "places": f"kind: parallel, members: 2, join: concat, parts: {{net: {{kind: mlp, {COPY}}}}}",
    "a reader": f"kind: parallel, parts: {{a: {{kind: mlp, {COPY}}}, b: {{kind: sequence, parts: {{f: {{kind: mlp, {COPY}}}, g: {{kind: activation}}}}}}}}",
    "another start": "kind: parallel, members: 3, join: mean, parts: {net: {kind: mlp}}",
}


def spec(node: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(
        f"inputs: {{x: '[batch 8]'}}\nnodes:\n  base: {{kind: mlp, from: x}}\n  ens: {{{node}, from: x}}\n  head: {{kind: linear, out: 8, from: ens}}\noutputs: {{y: head, z: base, loss: losses}}"
    )
    return found


def spread(recipe: dict[str, Any]) -> float:
    """How far the last matrices of the members are from those of the first, after a few steps."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = assembler.build(recipe, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(5):
        x = torch.randn(16, 8)
        out = model(x)
        optimizer.zero_grad()
        ((out["y"] - x.sin()) ** 2).mean().backward()
        optimizer.step()
    last = [value.detach() for name, value in model.ens.named_parameters() if name.endswith(("down.weight", "a.weight", "b.weight"))]
    assert len(last) > 1
    return max(float((value - last[0]).abs().max()) for value in last)


@pytest.mark.parametrize("which", TWINS)
def test_what_is_said_to_stay_copies_stays_copies_to_the_last_bit(which: str) -> None:
    recipe = spec(TWINS[which])
    assert [item.code for item in assembler.check(recipe).diagnostics] == ["twin-parameter"]
    assert spread(recipe) == 0.0


@pytest.mark.parametrize("which", APART)
def test_what_falls_apart_in_training_is_not_said_to_stay(which: str) -> None:
    recipe = spec(APART[which])
    assert "twin-parameter" not in [item.code for item in assembler.check(recipe).diagnostics]
    assert spread(recipe) > 1e-4


def test_frozen_copies_are_meant() -> None:
    assert assembler.check(spec(f"freeze: true, {TWINS['members']}")).diagnostics == ()


def test_many_of_a_kind_on_one_value_are_told_apart_at_once_because_two_thousand_took_eight_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"n{number}" for number in range(300)]
    nodes: dict[str, Any] = {name: {"kind": "linear", "out": 4, "from": "x"} for name in names}
    nodes |= {"still": {"kind": "linear", "out": 4, "init": "zero", "from": "x"}, "all": {"kind": "add", "from": {"x": [*names, "still"]}}}
    looked: list[int] = []
    start = alike._start
    monkeypatch.setattr(alike, "_start", lambda flow, number: (looked.append(number), start(flow, number))[1])
    assert assembler.check({"inputs": {"x": "[batch 4]"}, "nodes": nodes, "outputs": {"y": "all"}}).ok
    assert len(looked) == 2 * 301  # each weight and each bias once
