"""Mixtures: running each expert on its own rows is the same function as running all of them on everything."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assembler
from assembler.assemble import checked
from assembler.compiler.build import build, probed
from assembler.compiler.emit import emit
from assembler.compiler.plan import plan

torch.set_num_threads(1)

WIDTH = 12
LEAVES: tuple[dict[str, Any], ...] = (
    {"kind": "mlp", "hidden": 6},
    {"kind": "linear", "out": WIDTH},
    {"kind": "swiglu", "hidden": 5, "norm": "pre"},
    {"kind": "identity"},
    {"kind": "activation"},
    {"kind": "scale", "learned": True, "norm": "out"},
)


def part(rng: random.Random, depth: int) -> dict[str, Any]:
    """A random part that keeps the width: a leaf, or something with parts of its own."""
    if depth == 0 or rng.random() < 0.35:
        return copy.deepcopy(rng.choice(LEAVES))
    kind = rng.choice(("moe", "moe", "route", "compete", "parallel", "bus", "sequence"))
    several = {name: part(rng, depth - 1) for name in ("one", "two", "three")[: rng.randint(2, 3)]}
    if kind == "moe":
        return _moe(rng, depth, several)
    if kind == "route":
        more = rng.choice(
            ({}, {"weighted": False, "straight_through": "winner"}, {"top_k": 2}, {"router": {"kind": "mlp"}})
        )
        return {"kind": kind, "parts": several, **more}
    if kind == "compete":
        return {"kind": kind, "parts": several, "straight_through": rng.choice(("winner", "dense"))}
    if kind == "parallel":
        return {"kind": kind, "parts": several, **rng.choice(({}, {"join": "mean"}, {"members": 2}))}
    return {
        "kind": kind,
        "parts": {name: item for name, item in several.items() if item["kind"] != "bus" or kind != "bus"}
        or {"one": {"kind": "linear", "out": WIDTH}},
    }


def _moe(rng: random.Random, depth: int, several: dict[str, Any]) -> dict[str, Any]:
    more = rng.choice(
        (
            {},
            {"top_k": 1},
            {"score": "sigmoid", "balance": "bias"},
            {"router": "noisy_topk"},
            {"router": "expert_choice"},
            {"balance": "importance", "z_loss": 0.01},
        )
    )
    shared = rng.choice(({}, {"shared": {"kind": "linear", "out": WIDTH}}))
    if rng.random() < 0.5:
        return {"kind": "moe", "experts": rng.randint(2, 5), "expert": part(rng, depth - 1), **more, **shared}
    first = next(iter(several))
    several[first] = {**several[first], "count": rng.randint(1, 3)}
    return {"kind": "moe", "experts": several, **more, **shared}


def recipe(seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    inner = part(rng, 2)
    while inner["kind"] not in ("moe", "route", "compete"):
        inner = part(rng, 2)
    nodes = {"think": {**inner, "from": "x"}, "head": {"kind": "linear", "out": 3, "from": "think"}}
    return {
        "name": "mixed",
        "inputs": {"x": f"[batch seq {WIDTH}]"},
        "nodes": nodes,
        "outputs": {"y": "head", "aux": "losses"},
    }


def models(seed: int) -> tuple[nn.Module, nn.Module]:
    """The model, and a twin on the very same parameters that runs every expert on everything."""
    graph, facts = checked(assembler.recipe(recipe(seed)))
    model = build(plan(graph, facts), seed=seed)
    return model, probed(plan(graph, facts, dense=True), model, lambda address, value: None)


def inner_losses(spec: Any) -> bool:
    """Whether an expert has a loss of its own: that is over the rows that reach it, not over all of them."""
    lossy = False
    todo: list[tuple[Any, bool]] = [(spec, False)]
    while todo:
        item, inside = todo.pop()
        if not isinstance(item, dict):
            continue
        mixture = item.get("kind") in ("moe", "route", "compete")
        lossy |= inside and item.get("kind") == "moe"
        todo.extend((value, inside or mixture) for value in item.values())
    return lossy


def stateful(spec: Any) -> bool:
    """Whether an expert looks at its rows together: the choice of rows, or a bias that follows the load."""
    text = str(spec)
    return inner_losses(spec) and ("expert_choice" in text or "bias" in text)


def _gradients(model: nn.Module, outputs: list[Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    torch.stack([item.square().sum() for item in outputs]).sum().backward()
    return {
        name: torch.zeros_like(item) if item.grad is None else item.grad.clone()
        for name, item in model.named_parameters()
    }


@pytest.mark.parametrize("seed", range(40))
def test_rows_that_skip_experts_change_no_value_and_no_gradient(seed: int) -> None:
    spec = recipe(seed)
    if stateful(spec):
        pytest.skip("an expert that chooses among its rows has other rows to choose from")
    model, dense = models(seed)
    model.eval(), dense.eval()
    for rows in ((2, 5), (1, 1), (3, 17)):
        x = torch.randn(*rows, WIDTH)
        one, two = model(x), dense(x)
        torch.testing.assert_close(one["y"], two["y"], rtol=1e-5, atol=1e-5)
        used = ["y"] if inner_losses(spec) else ["y", "aux"]
        if "aux" in used:
            torch.testing.assert_close(one["aux"], two["aux"], rtol=1e-5, atol=1e-6)
        sparse, full = _gradients(model, [one[name] for name in used]), _gradients(model, [two[name] for name in used])
        for name, gradient in sparse.items():
            torch.testing.assert_close(
                gradient, full[name], rtol=1e-4, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.parametrize("seed", range(30))
def test_a_mixture_trains_and_every_loss_is_finite(seed: int) -> None:
    model, _ = models(seed)
    model.train()
    for rows in ((2, 5), (1, 1)):
        out = model(torch.randn(*rows, WIDTH))
        assert all(torch.isfinite(item).all() for item in out.values())
        assert all(torch.isfinite(item).all() for item in _gradients(model, list(out.values())).values())


def test_a_mixture_whose_only_expert_with_a_loss_is_idle_still_gives_a_loss_without_gradients() -> None:
    """It gave its values alone, which the text took apart along the batch."""
    spec = {"inputs": {"x": "[batch 4]"}, "nodes": {"pick": {"kind": "compete", "from": "x", "parts": {
        "plain": {"kind": "linear", "out": 4}, "mixed": {"kind": "moe", "experts": 2, "top_k": 1, "expert": {"kind": "mlp", "hidden": 4}}}}},
        "outputs": {"y": "pick", "aux": "losses"}}  # fmt: skip
    model = assembler.build(assembler.recipe(spec), seed=0)
    for row in torch.randn(12, 1, 4, generator=torch.Generator().manual_seed(0)):
        wanted = model(row)
        with torch.no_grad():
            found = model(row)
        assert found["y"].shape == (1, 4)
        assert torch.equal(found["y"], wanted["y"])
        assert torch.equal(found["aux"], wanted["aux"])


def test_the_text_of_a_mixture_is_one_call() -> None:
    spec = {"name": "m", "inputs": {"x": "[batch 8]"}, "nodes": {"think": {"kind": "moe", "experts": {"small": {"kind": "mlp", "count": 3}, "wide": {"kind": "mlp", "hidden": 64}}, "from": "x"}}, "outputs": {"y": "think"}}  # fmt: skip
    text = emit(plan(*checked(assembler.recipe(spec))))
    assert "self.small = nn.ModuleList(MLP(8, 32, 8) for _ in range(3))" in text
    assert "self.mix(x, gates, [*self.small, self.wide])" in text


def test_where_zeros_learn_every_expert_runs_on_everything() -> None:
    spec = {"name": "m", "inputs": {"x": "[batch 8]"}, "nodes": {"think": {"kind": "compete", "straight_through": "dense", "parts": {"a": {"kind": "mlp"}, "b": {"kind": "mlp"}}, "from": "x"}}, "outputs": {"y": "think"}}  # fmt: skip
    assert "SparseCombine" not in emit(plan(*checked(assembler.recipe(spec))))


def test_an_ensemble_has_weights_of_its_own_for_each_member() -> None:
    spec = {"name": "e", "inputs": {"x": "[batch 8]"}, "nodes": {"e": {"kind": "parallel", "members": 3, "join": "mean", "parts": {"net": {"kind": "mlp", "out": 2}}, "from": "x"}}, "outputs": {"y": "e"}}  # fmt: skip
    model = assembler.build(assembler.recipe(spec), seed=0)
    x = torch.randn(4, 8)
    members = [model.get_submodule(f"e.net.{index}") for index in range(3)]
    torch.testing.assert_close(model(x), torch.stack([member(x) for member in members]).mean(0))
    assert len({float(member.up.weight.detach().sum()) for member in members}) == 3


def test_members_that_are_added_up_are_one_loop_with_a_running_value() -> None:
    spec = {"name": "e", "inputs": {"x": "[batch 8]"}, "nodes": {"e": {"kind": "parallel", "members": 3, "join": "mean", "parts": {"net": {"kind": "mlp", "out": 2}, "same": {"kind": "linear", "out": 2}}, "from": "x"}}, "outputs": {"y": "e"}}  # fmt: skip
    text = emit(plan(*checked(assembler.recipe(spec))))
    assert (
        "h = self.net[0](x)\n        for member in self.net[1:]:\n            h = h + member(x)\n        for member in self.same:\n"
        in text
    )
    assert "h / 6" in text


def test_a_mixture_that_is_used_twice_counts_its_losses_twice() -> None:
    def build_it(**more: Any) -> nn.Module:
        node = {"kind": "moe", "experts": 4, "expert": {"kind": "mlp"}, "from": "x", **more}
        return assembler.build(
            assembler.recipe(
                {
                    "name": "m",
                    "inputs": {"x": "[batch 8]"},
                    "nodes": {"t": node},
                    "outputs": {"y": "t", "aux": "losses"},
                }
            ),
            seed=0,
        )

    shared, single = build_it(repeat=2, share=True), build_it()
    single.load_state_dict(shared.state_dict())
    x = torch.randn(16, 8)
    first, both = single(x), shared(x)
    second = single(first["y"])
    torch.testing.assert_close(both["y"], second["y"], rtol=0, atol=0)
    torch.testing.assert_close(both["aux"], first["aux"] + second["aux"])


def test_experts_that_give_unlike_dtypes_under_autocast_are_summed_in_the_widest() -> None:
    parts = {"a": {"kind": "linear", "out": 8}, "b": {"kind": "identity"}, "c": {"kind": "layer_norm"}}
    model = assembler.build(assembler.recipe({"name": "m", "inputs": {"x": "[batch 8]"}, "nodes": {"t": {"kind": "route", "parts": parts, "from": "x"}}, "outputs": {"y": "t"}}), seed=0)  # fmt: skip
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.randn(64, 8)).dtype == torch.float32


def test_the_router_of_a_moe_may_be_any_part() -> None:
    node = {"kind": "moe", "experts": 4, "router": {"kind": "mlp", "hidden": 3}, "expert": {"kind": "mlp"}, "from": "x"}
    model = assembler.build(
        assembler.recipe({"name": "m", "inputs": {"x": "[batch 8]"}, "nodes": {"t": node}, "outputs": {"y": "t"}}),
        seed=0,
    )
    assert model.get_parameter("t.router.down.weight").shape == (4, 3)


def test_the_losses_of_mixtures_of_two_dtypes_have_a_sum() -> None:
    expert = {"kind": "mlp", "hidden": 8}
    nodes = {
        "a": {"kind": "moe", "experts": 4, "top_k": 2, "expert": expert, "from": "x"},
        "low": {"kind": "cast", "dtype": "bf16", "from": "a"},
        "b": {"kind": "moe", "experts": 4, "top_k": 2, "expert": expert, "dtype": "bf16", "from": "low"},
    }
    model = assembler.build({"inputs": {"x": "[batch seq 16]"}, "nodes": nodes, "outputs": {"y": "b", "aux": "losses"}}, seed=0)
    out = model(torch.randn(2, 5, 16))
    assert (out["y"].dtype, out["aux"].dtype) == (torch.bfloat16, torch.float32)
    out["aux"].backward()
    assert all(model.get_parameter(f"{name}.router.weight").grad is not None for name in ("a", "b"))


@pytest.mark.parametrize("dense", [0, 1, 2])
def test_copies_that_a_rule_makes_dense_take_no_loss_from_the_others(dense: int) -> None:
    """DeepSeek's first layer is dense: a loss that not every copy has was looked for in each, or lost if the last had none."""
    sparse = {"kind": "moe", "experts": 4, "top_k": 2, "expert": {"kind": "mlp", "hidden": 8}}
    model = assembler.build(
        {
            "inputs": {"x": "[batch seq 16]"},
            "slots": {"dense": {"kind": "mlp"}, "sparse": sparse},
            "nodes": {"t": {"kind": "bus", "repeat": 3, "norm": "pre", "from": "x", "parts": {"think": {"slot": "sparse"}}}},
            "rules": {"some": {"at": f"t.{dense}.think", "set": {"slot": "dense"}}},
            "outputs": {"y": "t", "aux": "losses", "own": f"t.{(dense + 1) % 3}.think.losses", "other": f"t.{(dense + 2) % 3}.think.losses"},
        },
        seed=0,
    )
    out = model(torch.randn(2, 5, 16))
    assert out["own"].item() > 0.0
    torch.testing.assert_close(out["aux"], out["own"] + out["other"])
