"""Every kind on the whole way: compiled in one graph, exported with symbolic sizes, ejected, copied."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assembler
from tests.compiler.kinds import ALL, RECIPES, flat, recipe, values

torch.set_num_threads(1)

FIRST = {"batch": 2, "seq": 10, "mem": 5, "length": 15, "height": 9, "width": 11, "h": 2, "w": 3}
SECOND = {"batch": 5, "seq": 14, "mem": 3, "length": 9, "height": 13, "width": 7, "h": 5, "w": 2}
LEAST = {"conv1d": {"length": 7}, "conv2d": {"height": 1, "width": 5}, "max_pool2d": {"height": 1, "width": 1}, "avg_pool2d": {"height": 2, "width": 3}}
"""The smallest sizes at which a window exists, worked out by hand."""
SMALL = {
    "conv1d": {"length": 9}, "conv2d": {"height": 3, "width": 6}, "max_pool2d": {"height": 3, "width": 3}, "avg_pool2d": {"height": 4, "width": 6},
    "patch_embed": {"h": 2, "w": 2}, "rearrange": {"seq": 4},
}  # fmt: skip
"""The smallest at which there are two: torch 2.13 guards a size that it works out against being one."""


def _gradients(model: nn.Module, out: list[Tensor]) -> list[Tensor | None]:
    model.zero_grad()
    torch.stack([item.double().square().sum() for item in out if item.requires_grad]).sum().backward()
    return [parameter.grad for parameter in model.parameters()]


def _run(model: Any, batch: dict[str, Tensor]) -> list[Tensor]:
    """The outputs; whatever is drawn in training is drawn alike in every run."""
    torch.manual_seed(5)
    return flat(model(**batch))


def _close(found: list[Any], wanted: list[Any], bits: bool = False) -> None:
    assert len(found) == len(wanted)
    for one, two in zip(found, wanted, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two, rtol=0 if bits else 1e-4, atol=0 if bits else 1e-5, equal_nan=True)


def test_every_kind_of_the_registry_has_a_recipe() -> None:
    assert sorted(RECIPES) == ALL


@pytest.mark.parametrize("kind", ALL)
def test_a_kind_compiles_in_one_graph_with_equal_values_and_gradients(kind: str) -> None:
    torch._dynamo.reset()
    model = assembler.build(recipe(kind), seed=1)
    twin = copy.deepcopy(model)  # With statistics of its own.
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager", dynamic=True)
    for sizes in (FIRST, SECOND):
        batch = values(kind, **sizes)
        wanted = _run(model, batch)
        learned = _gradients(model, wanted)
        found = _run(compiled, batch)
        _close(found, wanted)
        _close(_gradients(twin, found), learned)
    _close(list(twin.buffers()), list(model.buffers()))
    if any(item.requires_grad for item in model.parameters()):
        assert any(item is not None and bool(item.any()) for item in learned)


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ALL)
def test_a_kind_compiles_in_one_graph_at_fixed_sizes(kind: str) -> None:
    torch._dynamo.reset()
    model, batch = assembler.build(recipe(kind), seed=1), values(kind, **FIRST)
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager", dynamic=False)
    wanted = _run(model, batch)
    learned = _gradients(model, wanted)
    found = _run(compiled, batch)
    _close(found, wanted)
    _close(_gradients(twin, found), learned)


@pytest.mark.parametrize("kind", ALL)
def test_a_kind_ejects_and_copies_to_equal_keys_starts_and_bits(kind: str) -> None:
    model, batch = assembler.build(recipe(kind), seed=1), values(kind, **FIRST)
    names: dict[str, Any] = {}
    exec(compile(assembler.eject(recipe(kind)), f"<ejected {kind}>", "exec"), names)
    ejected = names[type(model).__name__](seed=1)
    copied = copy.deepcopy(model)
    assert list(ejected.state_dict()) == list(model.state_dict()) == list(copied.state_dict())
    for twin in (ejected, copied):
        _close(list(twin.state_dict().values()), list(model.state_dict().values()), bits=True)
    wanted = _run(model, batch)
    learned = _gradients(model, wanted)
    for twin in (ejected, copied):
        out = _run(twin, batch)
        _close(out, wanted, bits=True)
        _close(_gradients(twin, out), learned, bits=True)


_FRESH = """
import sys, torch
torch.set_num_threads(1)
for name, batch, wanted in torch.load(sys.argv[1]):
    out = torch.export.load(f"{sys.argv[2]}/{name}.pt2").module()(**batch)
    out = list(out.values()) if isinstance(out, dict) else [out]
    assert len(out) == len(wanted)
    for one, two in zip(out, wanted):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
assert "assembler" not in sys.modules
"""


def test_every_kind_exports_strictly_with_symbolic_sizes_and_runs_in_a_fresh_process(tmp_path: Path) -> None:
    cases = []
    for kind in ALL:
        torch._dynamo.reset()
        model, batch, other = assembler.build(recipe(kind), seed=1).eval(), values(kind, **FIRST), values(kind, **SECOND)
        shapes = assembler.dynamic_shapes(recipe(kind))
        assert any(shapes.values()), kind
        program = torch.export.export(model, (), batch, dynamic_shapes=shapes, strict=True)
        torch.export.save(program, tmp_path / f"{kind}.pt2")
        cases.append((kind, other, [item.detach() for item in flat(model(**other))]))
        if kind in SMALL:
            smallest = values(kind, **{**FIRST, **SMALL[kind]})
            cases.append((kind, smallest, [item.detach() for item in flat(model(**smallest))]))
    torch.save(cases, tmp_path / "cases.pt")
    subprocess.run([sys.executable, "-c", _FRESH, str(tmp_path / "cases.pt"), str(tmp_path)], cwd=tmp_path, check=True, timeout=300)


@pytest.mark.parametrize("kind", LEAST)
def test_a_size_too_small_for_a_window_is_refused_where_it_enters(kind: str) -> None:
    model = assembler.build(recipe(kind), seed=1)
    shapes = assembler.dynamic_shapes(recipe(kind))
    for name, least in LEAST[kind].items():
        assert {item.__name__: item.min for item in shapes["x"].values()}[name] == least
        if least > 1:
            with pytest.raises(RuntimeError, match="an axis holds at least one value"):
                model(**values(kind, **{**FIRST, **LEAST[kind], name: least - 1}))


def test_a_loss_that_is_zero_lies_where_the_model_does() -> None:
    on_meta = assembler.build(recipe("no_loss"), device="meta")(torch.zeros(2, 6, 8, device="meta"))
    assert {item.device.type for item in on_meta.values()} == {"meta"}
    double = assembler.build(recipe("no_loss"), dtype=torch.float64)(torch.zeros(2, 6, 8, dtype=torch.float64))
    assert (double["y"] + double["aux"]).dtype == torch.float64
