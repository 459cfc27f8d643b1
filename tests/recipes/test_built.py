"""Every shipped recipe, in its small form: trains, compiles whole, exports strictly, ejects to the same bits."""

from __future__ import annotations

import copy
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import assembler
from tests.recipes.shipped import BRIEF, NAMES, SMALL, batch, path, values

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.manual_seed(0)
    torch._dynamo.reset()


def _build(name: str, seed: int = 0, sizes: Mapping[str, tuple[str, ...]] = SMALL) -> nn.Module:
    return assembler.build(assembler.load(path(name), sizes[name]), seed=seed)


def _steady(name: str, sizes: Mapping[str, tuple[str, ...]] = SMALL) -> nn.Module:
    """Without randomness: dropout off. Statistics of batches stay on where there are any."""
    model = _build(name, sizes=sizes)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    return model


def _close(found: list[Tensor], wanted: list[Tensor]) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def _loss(out: list[Tensor]) -> Tensor:
    return torch.stack([item.float().square().mean() for item in out]).sum()


def _agree(model: nn.Module, wanted: list[Tensor], twin: nn.Module, found: list[Tensor], rtol: float, atol: float) -> None:
    """The gradients of both from these outputs, and whatever both have counted."""
    for one, out in ((model, wanted), (twin, found)):
        one.zero_grad()
        _loss(out).backward()
    for (key, a), b in zip(twin.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=rtol, atol=atol, msg=lambda text, key=key: f"{key}: {text}")
    for (key, a), b in zip(twin.named_buffers(), model.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_gives_what_it_declares_and_every_parameter_learns(name: str) -> None:
    model = _build(name)
    inputs = batch(name)
    out = model(**inputs)
    report = assembler.check(path(name), SMALL[name])
    assert report.facts is not None
    declared = report.facts.root.outputs
    assert len(values(out)) == len(declared)
    for value, kind in zip(values(out), declared.values(), strict=True):
        assert kind is not None
        assert value.dim() == len(kind.dims)
        fixed = {axis: dim for axis, dim in enumerate(kind.dims) if isinstance(dim, int)}
        assert {axis: value.shape[axis] for axis in fixed} == fixed
        assert value.isfinite().all()
    _loss(values(out)).backward()
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, f"{key} is outside the graph"
        assert parameter.grad.isfinite().all()
        # Attention is blind to a constant in all keys.
        assert parameter.grad.any() or key.endswith(".k.bias"), f"{key} does not learn"


@pytest.mark.parametrize("name", NAMES)
def test_an_optional_input_may_be_left_out(name: str) -> None:
    inputs = batch(name)
    needed = {key: value for key, value in inputs.items() if "mask" not in key}
    model = _build(name).eval()
    without = values(model(**needed))
    assert all(item.isfinite().all() for item in without)
    if len(needed) < len(inputs):
        full = {key: torch.ones_like(value) if "mask" in key else value for key, value in inputs.items()}
        _close(without, values(model(**full)))


@pytest.mark.parametrize("name", NAMES)
def test_one_compiled_graph_serves_every_batch_and_length(name: str) -> None:
    """At fixed sizes, and backward, each is compiled by the test of inductor; every kind goes backward at two sizes in test_every_kind.py."""
    model = _steady(name, BRIEF)
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True), torch.no_grad():
        for size, length in ((6, 7), (5, 11)):  # a batch of 3 images would be one size with their 3 channels
            inputs = batch(name, size, length)
            _close(values(compiled(**inputs)), values(model(**inputs)))
    _close(list(twin.buffers()), list(model.buffers()))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_inductor_compiles_a_shipped_recipe_with_equal_outputs_and_gradients(name: str) -> None:
    model = _steady(name, BRIEF)
    twin = copy.deepcopy(model)
    inputs = batch(name)
    found, wanted = values(torch.compile(twin, fullgraph=True)(**inputs)), values(model(**inputs))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    _agree(model, wanted, twin, found, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_exports_strictly_with_symbolic_batch_and_length(name: str) -> None:
    recipe = assembler.load(path(name), SMALL[name])
    model = _steady(name).eval()
    exported = torch.export.export(model, (), batch(name), dynamic_shapes=assembler.dynamic_shapes(recipe), strict=True)
    bytes_ = io.BytesIO()
    torch.export.save(exported, bytes_)
    bytes_.seek(0)
    loaded = torch.export.load(bytes_).module()
    for size, length in ((3, 7), (2, 12)):
        inputs = batch(name, size, length)
        _close(values(loaded(**inputs)), values(model(**inputs)))


_ALONE = """
import runpy, sys
sys.modules["assembler"] = sys.modules["assembler_schemas"] = None
import torch
torch.set_num_threads(1)
folder, names = sys.argv[1], sys.argv[2:]
for name in names:
    made = runpy.run_path(f"{folder}/{name}.py")
    given = torch.load(f"{folder}/{name}.pt", weights_only=True)
    model = made[given["class"]](seed=7)
    torch.save({"start": model.state_dict(), "out": model.eval()(**given["inputs"])}, f"{folder}/{name}.out.pt")
"""


def test_an_ejected_recipe_has_equal_keys_equal_start_and_bit_equal_outputs_without_the_package(tmp_path: Path) -> None:
    """All recipes in one process that cannot import the package."""
    models = {}
    for name in NAMES:
        recipe = assembler.load(path(name), SMALL[name])
        models[name] = assembler.build(recipe, seed=7)
        (tmp_path / f"{name}.py").write_text(assembler.eject(recipe), encoding="utf-8")
        torch.save({"class": type(models[name]).__name__, "inputs": batch(name)}, tmp_path / f"{name}.pt")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", _ALONE, str(tmp_path), *NAMES], check=True, cwd=tmp_path, env=environment)
    for name, model in models.items():
        found = torch.load(tmp_path / f"{name}.out.pt", weights_only=True)
        state = model.state_dict()
        assert list(found["start"]) == list(state), name
        assert all(torch.equal(found["start"][key], state[key]) for key in state), name
        outputs = zip(values(found["out"]), values(model.eval()(**batch(name))), strict=True)
        assert all(torch.equal(a, b) for a, b in outputs), name


@pytest.mark.parametrize("name", NAMES)
def test_a_swapped_part_leaves_the_start_of_all_others_alone(name: str) -> None:
    """Node-owned seeds: what a node starts with hangs on the seed and its address alone."""
    override = {"digits": "slots/ffn=swiglu", "gpt2": "slots/ffn=swiglu", "vit": "slots/ffn=geglu"}.get(name)
    if override is None:
        again = _build(name).state_dict()
        assert all(torch.equal(value, again[key]) for key, value in _build(name).state_dict().items())
        return
    before = _build(name).state_dict()
    after = assembler.build(assembler.load(path(name), [*SMALL[name], override]), seed=0).state_dict()
    same = [key for key in before if "think." not in key]
    assert len(same) < len(before)
    assert all(torch.equal(before[key], after[key]) for key in same)
