"""The probing twin: every value at its address, equal to what was predicted."""

from __future__ import annotations

import pytest
import torch

from assembler.compiler.build import build, probed
from assembler.compiler.plan import plan
from assembler.compiler.shapes import predicted
from assembler_schemas.dim import evaluate, names
from tests.compiler.made import ALL, SHARE, graph_of, plan_of, values_for
from tests.compiler.test_build import flat

torch.set_num_threads(1)
_DTYPES = {"float": torch.float32, "f32": torch.float32, "int": torch.int64, "i64": torch.int64, "bool": torch.bool}


@pytest.mark.parametrize("name", ALL)
def test_every_predicted_value_is_measured_and_equal(name: str) -> None:
    graph, facts = graph_of(ALL[name])
    made = plan(graph, facts)
    model, values = build(made, seed=1), values_for(made, 3)
    seen: dict[str, torch.Tensor] = {}
    twin = probed(made, model, lambda address, value: seen.__setitem__(address, value))
    assert all(torch.equal(a, b) for a, b in zip(flat(twin(**values)), flat(model(**values)), strict=True))
    said = dict(predicted(graph, facts))
    assert set(seen) >= {address for address in said if address.count(".") < 2}
    assert set(seen) <= set(said)
    for address, value in seen.items():
        kind = said[address]
        sizes = {free: 3 if free == "batch" else 6 for dim in kind.dims for free in names(dim)}
        assert tuple(value.shape) == tuple(evaluate(dim, sizes) for dim in kind.dims), address
        assert value.dtype == _DTYPES[kind.dtype], address


def test_addresses_hold_the_number_of_the_copy_also_where_weights_are_shared() -> None:
    made = plan_of(SHARE)
    seen: list[str] = []
    probed(made, build(made), lambda address, _: seen.append(address))(**values_for(made))
    assert [address for address in seen if address.endswith(".f.y")] == ["loop.0.f.y", "loop.1.f.y", "loop.2.f.y"]
    assert "many.2.y" in seen
    assert "acts.1.y" in seen


def test_the_twin_runs_on_the_very_same_parameters() -> None:
    made = plan_of(SHARE)
    model = build(made, seed=1)
    twin = probed(made, model, lambda *_: None)
    assert [id(p) for p in twin.parameters()] == [id(p) for p in model.parameters()]
    values = values_for(made)
    with torch.no_grad():
        model.first.weight.zero_()
    assert torch.equal(twin(**values), model(**values))


def test_of_several_values_that_nobody_reads_none_is_taken_for_another() -> None:
    graph, facts = graph_of(
        "{name: m, inputs: {x: '[b 4]'}, nodes: {s: {kind: sequence, repeat: 2, from: x, parts: {a: {kind: linear, out: 3}, c: {kind: linear, out: 5}, d: {kind: linear, out: 4}}},"
        " p: {kind: concat, from: [s, s.0.a, s.0.c]}}, outputs: {y: p}}"
    )
    made = plan(graph, facts)
    widths: dict[str, int] = {}
    probed(made, build(made, seed=1), lambda address, value: widths.update({address: value.shape[-1]}))(torch.randn(2, 4))
    assert widths["s.0.a"] == widths["s.1.a.y"] == 3
    assert {address: width for address, width in widths.items() if address in ("s.1.a", "s.1.c")} == {}
