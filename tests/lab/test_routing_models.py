"""`assembler.lab.routing` on recipes: built and ejected models, the command, and the toy truths of the benchmark."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

import assembler
from assembler.lab import routing
from assembler.lab.routing.__main__ import main
from assembler.lab.routing.probe import experts
from benchmarks.routing import WAYS, outcome, wrong

torch.set_num_threads(1)


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- built models ---
BUILT = """
inputs: {x: "[batch seq 8]"}
nodes:
  a: {kind: bus, norm: pre, repeat: 2, from: x, parts: {mix: {kind: moe, experts: 4, top_k: 2, shared: 1, jitter: 0.1, expert: {kind: mlp, hidden: 16}}}}
  b: {kind: route, parts: {one: {kind: mlp}, two: {kind: linear, out: 8}}, from: a}
  c: {kind: compete, parts: {one: {kind: mlp}, two: {kind: linear, out: 8}, three: {kind: mlp}}, from: b}
outputs: {y: c, aux: losses}
"""


def test_every_sparse_container_is_probed_through_its_own_kernel() -> None:
    model = assembler.build(assembler.recipe(yaml.safe_load(BUILT)), seed=0).eval()
    x = torch.randn(16, 32, 8, generator=_drawn(0))
    for container, names in (
        ("a.0.mix", [f"experts.{place}" for place in range(4)]),
        ("b", ["one", "two"]),
        ("c", ["one", "two", "three"]),
    ):
        with torch.no_grad():
            found = experts(model, f"{container}.gating", {"x": x})
            assert found.inputs is not None
            assert found.outputs is not None
            for name, output in zip(names, found.outputs, strict=True):
                wanted = model.get_submodule(f"{container}.{name}")(found.inputs)
                assert torch.allclose(output, wanted, atol=1e-5), (container, name)


def test_an_ejected_model_has_the_same_report() -> None:
    recipe = assembler.recipe(yaml.safe_load(BUILT))
    model, x = assembler.build(recipe, seed=0), torch.randn(16, 32, 8, generator=_drawn(0))
    alone = ModuleType("alone")
    exec(assembler.eject(recipe), alone.__dict__)
    twin = getattr(alone, type(model).__name__)()
    twin.load_state_dict(model.state_dict())

    def loss(out: Any) -> torch.Tensor:
        found: torch.Tensor = out["y"].square().mean()
        return found

    found = routing.report(model, x, loss=loss)
    assert [mixture.name for mixture in found.mixtures] == ["a.0.mix.gating", "a.1.mix.gating", "b.gating", "c.gating"]
    assert all(mixture.cka is not None for mixture in found.mixtures)
    assert routing.report(twin, x, loss=loss) == found


# --- the command ---
RECIPE = """
inputs: {x: "[batch seq 8]"}
nodes:
  router: {kind: linear, out: 3, bias: false, from: x}
  gating: {kind: gating, top_k: 2, balance: none, from: router}
  a: {kind: mlp, hidden: 8, from: x}
  b: {kind: mlp, hidden: 16, from: x}
  c: {kind: linear, out: 8, from: x}
  mix: {kind: combine, from: {gates: gating, x: [a, b, c]}}
outputs: {y: mix}
"""


def _command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    return code, *capsys.readouterr()


def test_the_command_probes_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text(RECIPE)
    code, said, _ = _command(capsys, path)
    assert code == 0, said
    assert said.splitlines()[2].startswith("gating    2 of 3  1,025")
    code, said, _ = _command(capsys, path, "+nodes.gating.temperature=0.001", "--json")
    assert code == 1
    assert json.loads(said)["mixtures"][0]["verdict"] == ["saturated router"]
    assert _command(capsys, path, "nodes.gating.top_k=9")[0] == 1  # does not check
    code, said, _ = _command(capsys, path, "inputs.x=[... 8]")  # batches of two rows
    assert code == 0
    assert "too few rows for clusters" in said
    assert "too few rows to compare experts" in said


def test_the_command_judges_a_trained_model_on_real_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text(RECIPE)
    model = assembler.build(path, seed=3)
    with torch.no_grad():
        model.get_parameter("router.weight").mul_(1e-3)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    save_file({"x": torch.randn(50, 20, 8, generator=_drawn(0))}, tmp_path / "inputs.safetensors")
    files = ("--weights", tmp_path / "weights.safetensors", "--inputs", tmp_path / "inputs.safetensors")
    code, said, _ = _command(capsys, path, *files)
    assert code == 1
    assert "flat router" in said
    assert _command(capsys, path, *files[:2])[0] == 0  # drawn inputs: what training brings is not judged
    code, _, said = _command(capsys, path, "--weights", tmp_path / "inputs.safetensors")
    assert code == 2
    assert "cannot be loaded" in said


def test_the_command_refuses_a_recipe_without_a_mixture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text('inputs: {x: "[batch 8]"}\nnodes: {a: {kind: linear, out: 8, from: x}}\noutputs: {y: a}\n')
    code, _, said = _command(capsys, path)
    assert code == 2
    assert "no mixture" in said


# --- toy truths ---
def test_the_toy_of_the_benchmark_is_exact_where_it_can_be() -> None:
    """Expert choice is balanced whatever it learns; the same seed is the same run."""
    found = {way: outcome(options, 0, 50) for way, options in WAYS.items()}
    assert found["expert choice"].mixture.max_violation == 0
    assert found["expert choice"].mixture.dead == 0
    assert all(run.mixture.rows == 1024 for run in found.values())
    assert outcome(WAYS["none"], 0, 50) == found["none"]


def test_the_benchmark_says_what_is_wrong() -> None:
    run = outcome(WAYS["expert choice"], 0, 0)
    healthy, ill = (
        run._replace(mixture=replace(run.mixture, verdict=verdict, max_violation=violation, cka=0.1))
        for verdict, violation in (((), 0.0), (("collapse",), 9.0))
    )
    idle = healthy._replace(
        flips=0.9, mixture=replace(healthy.mixture, verdict=("flat router",), max_violation=1.0, cka=0.9)
    )
    fallen = [ill._replace(mixture=replace(ill.mixture, max_violation=violation)) for violation in (7.0, 5.0, 3.0)]
    right = dict(zip(WAYS, ([one] for one in (*fallen, idle, healthy)), strict=True))
    assert wrong(right) == []
    for way, other in (
        ("none", healthy),
        ("none", idle),
        ("bias 5e-3, sigmoid", healthy),
        ("bias 5e-3, sigmoid", ill),
        ("expert choice", idle),
        ("expert choice", ill),
    ):
        assert wrong({**right, way: [other]}), way
