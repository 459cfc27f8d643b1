"""The rewritten body of a host with grafts inside says what its module does."""

from __future__ import annotations

import pytest
import torch
import yaml

import assembler
from assembler.assemble import origin
from assembler.facts.flow import flow
from assembler.testing.reference import run_body

HOST = """
inputs: {x: "[batch seq 16]"}
nodes:
  attend: {kind: attention, heads: 4, kv_heads: 2, qk_norm: rms_norm, rotary: true, from: x}
outputs: {y: attend}
"""
GRAFTS = [
    "a: {read: attend.q.x, write: attend.q, mode: add, part: {kind: low_rank, rank: 2}}",
    "a: {write: attend.v, mode: add, scale: 2.0, part: {kind: mlp, hidden: 8}}",
    "a: {write: attend.out, mode: add, norm: both, scale: {learned: true, value: 0.5, channel: true}, part: {kind: linear}}",
    "a: {read: attend.k.x, write: attend.k, mode: add, part: {kind: swiglu, hidden: 8}}, b: {write: attend.k, mode: add, part: {kind: linear}}",
    "a: {write: attend.k, mode: add, scale: 0.5, part: {kind: linear}}, b: {write: attend.k, mode: add, after: a, part: {kind: linear}}",
    "a: {write: attend.q, mode: add, part: {kind: layer_norm}}, b: {read: attend.v.x, write: attend.v, mode: add, part: {kind: linear, bias: false}}",
]


@pytest.mark.parametrize("grafts", GRAFTS)
def test_body_and_module_give_the_same(grafts: str):
    model = assembler.build(yaml.safe_load(HOST + f"grafts: {{{grafts}}}"), seed=1)
    known = origin(model)
    assert known is not None
    unfolded = flow(known.graph, known.facts)
    assert unfolded is not None
    (use,) = unfolded.uses
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    values = {
        key: dict(model.named_parameters())[unfolded.weights[number].address] for key, number in use.weights.items()
    }
    assert len(values) == len(list(model.parameters()))
    given = run_body(use.definition, {**use.facts.sizes, "seq": 5}, values, {"x": x})["y"]  # type: ignore[dict-item]
    torch.testing.assert_close(model(x), given, rtol=1e-5, atol=1e-6)
