"""What goes wrong without notice in hand-written compositions: each is right here by construction, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import assembler
from assembler.facts.scale.analysis import scale
from assembler.facts.signals import value_at

HOST: dict[str, Any] = {"h": {"kind": "linear", "out": 8, "from": "x"}, "top": {"kind": "linear", "out": 4, "from": "h"}}


def check(nodes: dict[str, Any] = HOST, output: str = "top", **more: Any) -> assembler.Report:
    return assembler.check({"name": "trap", "inputs": {"x": "[batch 8]"}, "nodes": nodes, "outputs": {"y": output}, **more})


def graft(**keys: Any) -> assembler.Report:
    return check(grafts={"side": {"read": "x", "write": "h", **keys}})


def errors(report: assembler.Report) -> list[str]:
    return [item.code for item in report.diagnostics if item.level == "error"]


def built(nodes: dict[str, Any] = HOST, output: str = "top", **more: Any) -> torch.nn.Module:
    return assembler.build({"name": "trap", "inputs": {"x": "[batch 8]"}, "nodes": nodes, "outputs": {"y": output}, **more}, seed=0)


@pytest.mark.parametrize("name", ["modules", "forward", "train", "parameters", "lambda"])
def test_1_a_name_that_shadows_the_modules_own_is_refused(name: str) -> None:
    assert errors(check({name: {"kind": "linear", "out": 4, "from": "x"}}, name)) == ["name-reserved"]


def test_2_a_sigmoid_gate_cannot_be_silent() -> None:
    report = graft(mode="gate", form="sigmoid", init="zero", part={"kind": "mlp"})
    assert errors(report) == ["gate-not-silent"]
    assert "form: one_plus" in report.diagnostics[0].help


def test_3_a_blend_uses_its_weight_as_it_is_given() -> None:
    x = torch.randn(5, 8)
    model = built(grafts={"side": {"read": "x", "write": "h", "mode": "blend", "scale": 0.25, "part": {"kind": "linear", "out": 8}}})
    host, side = model.get_submodule("h")(x), model.get_submodule("side")(x)
    assert torch.allclose(model(x), model.get_submodule("top")(host + 0.25 * (side - host)), atol=1e-6)


MLP: dict[str, Any] = {"kind": "mlp", "hidden": 4, "out": 8}


def moe(**keys: Any) -> dict[str, Any]:
    return {"m": {"kind": "moe", "experts": 4, "expert": MLP, "from": "x", **keys}}


def with_aux(nodes: dict[str, Any], output: str = "m", **more: Any) -> torch.nn.Module:
    outputs = {"y": output, "aux": "losses", **more}
    return assembler.build({"name": "trap", "inputs": {"x": "[batch 8]"}, "nodes": nodes, "outputs": outputs}, seed=0)


def test_4_a_balance_loss_sees_which_experts_are_chosen_not_only_how_likely() -> None:
    model = with_aux({"g": {"kind": "gating", "top_k": 1, "balance_weight": 1.0, "from": "x"}}, "g")
    even = torch.eye(8).repeat(4, 1) * 1e-3  # every expert is chosen as often as any other
    collapsed = torch.zeros(32, 8)
    collapsed[:, 0] = 1e-3  # nearly uniform probabilities, one choice
    for scores in (even, collapsed):
        scores.requires_grad_()
    assert float(model(even)["aux"].detach()) == pytest.approx(1.0, abs=1e-3)
    assert float(model(collapsed)["aux"].detach()) == pytest.approx(1.0, abs=1e-3)
    (grown,) = torch.autograd.grad(model(collapsed)["aux"], collapsed)
    assert float(grown[:, 0].min()) > 0.05 / 32  # down with the score that takes all, at full strength
    assert torch.allclose(grown.sum(-1), torch.zeros(32), atol=1e-6)


def test_5_losses_are_outputs_and_every_use_of_a_module_counts() -> None:
    one = {**moe(balance="importance")}
    model = with_aux({**one, "again": {"same": "m", "from": "x"}}, "again")
    once = with_aux(one)
    x = torch.randn(16, 8)
    torch.testing.assert_close(model(x)["aux"], 2 * once(x)["aux"])
    single = with_aux(moe(experts=1, top_k=1, balance="importance"))
    assert torch.isfinite(single(x)["aux"])
    report = check(moe(), "m")
    assert [item.code for item in report.diagnostics] == ["loss-uncollected"]


def test_6_importance_is_of_imbalance_and_says_nothing_of_what_experts_specialise_in() -> None:
    model = with_aux({"g": {"kind": "gating", "top_k": 1, "balance": "importance", "balance_weight": 1.0, "from": "x"}}, "g")
    sharp = 20 * torch.eye(8).repeat(4, 1)  # every row has an expert of its own: specialised, and balanced
    assert float(model(sharp)["aux"].detach()) == pytest.approx(0.0, abs=1e-5)
    assert float(model(sharp[:1].repeat(32, 1))["aux"].detach()) == pytest.approx(7.0, rel=1e-3)  # CV squared of one in eight


def test_7_one_expert_for_each_row_is_weighted_by_its_probability_or_refused() -> None:
    assert errors(check(moe(top_k=1, renormalize=True), "m")) == ["value-range"]
    model = with_aux(moe(top_k=1, balance="none", z_loss=0.0))
    model(torch.randn(16, 8))["y"].square().sum().backward()
    router = model.get_parameter("m.router.weight").grad
    assert router is not None
    assert float(router.abs().max()) > 1e-6


@pytest.mark.parametrize("shape", [(8,), (5, 8), (2, 3, 8)])
def test_8_rows_of_any_rank_and_one_graph_for_export(shape: tuple[int, ...]) -> None:
    names = {1: "[8]", 2: "[batch 8]", 3: "[batch seq 8]"}
    spec = {"name": "trap", "inputs": {"x": names[len(shape)]}, "nodes": moe(), "outputs": {"y": "m", "aux": "losses"}}
    model = assembler.build(spec, seed=0).eval()
    x = torch.randn(*shape)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x)["y"], model(x)["y"])
    assert model(x)["y"].shape == shape


@pytest.mark.parametrize(("through", "learns"), [("winner", True), ("dense", True), ("none", False)])
def test_9_straight_through_is_what_it_is_called(through: str, learns: bool) -> None:
    nodes = {"m": {"kind": "compete", "straight_through": through, "parts": {"a": MLP, "b": {"kind": "linear", "out": 8}}, "from": "x"}}
    report = check(nodes, "m")
    assert report.ok
    assert ("cut-parameter" in [item.code for item in report.diagnostics]) is not learns
    model = built(nodes, "m")
    model(torch.randn(16, 8)).square().sum().backward()
    grown = model.get_parameter("m.router.weight").grad
    assert (grown is not None and bool(grown.any())) is learns


@pytest.mark.parametrize("kind", ["route", "compete"])
def test_10_no_expert_runs_on_a_row_that_did_not_choose_it(kind: str) -> None:
    parts = {"a": MLP, "b": MLP, "c": MLP}
    model = built({"m": {"kind": kind, "parts": parts, "from": "x"}}, "m")
    rows: list[int] = []
    for name in parts:
        model.get_submodule(f"m.{name}").register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[0]))
    with torch.no_grad():
        model(torch.randn(16, 8))
    assert sum(rows) == 16


def test_11_noise_is_learned_and_of_training_only_and_values_are_softmaxed_over_what_is_kept() -> None:
    model = with_aux(moe(router="noisy_topk"), gates="m.gating")
    assert not model.get_parameter("m.router.weight").detach().any()
    assert not model.get_parameter("m.noise.weight").detach().any()
    x = torch.randn(64, 8)
    model.train()
    assert not torch.equal(model(x)["gates"], model(x)["gates"])
    torch.testing.assert_close(model(x)["gates"].sum(-1), torch.ones(64))
    model(x)["y"].square().sum().backward()
    noise = model.get_parameter("m.noise.weight").grad
    assert noise is not None
    assert noise.any()
    model.eval()
    assert torch.equal(model(x)["gates"], model(x)["gates"])


def test_12_what_a_route_gives_is_weighted_so_that_its_router_learns() -> None:
    model = assembler.build({
        "name": "trap", "inputs": {"x": "[batch 8]"}, "nodes": {"m": {"kind": "route", "parts": {"a": MLP, "b": MLP}, "from": "x"}}, "outputs": {"y": "m", "gates": "m.gating"},
    }, seed=0)  # fmt: skip
    x = torch.randn(32, 8)
    out = model(x)
    a, b = (model.get_submodule(f"m.{name}")(x) for name in "ab")
    p = model.get_submodule("m.router")(x).softmax(-1)
    won = p.argmax(-1, keepdim=True)
    torch.testing.assert_close(out["y"], torch.where(won == 0, a, b) * p.gather(-1, won))
    out["y"].square().sum().backward()
    grown = model.get_parameter("m.router.weight").grad
    assert grown is not None
    assert grown.any()


@pytest.mark.parametrize("rows", ["batch", "batch seq"])
def test_23_attention_over_members_has_keys_as_wide_as_what_they_give(rows: str) -> None:
    parts = {"a": {"kind": "mlp", "out": 5}, "b": {"kind": "linear", "out": 5}}
    spec = {"name": "trap", "inputs": {"x": f"[{rows} 8]"}, "nodes": {"m": {"kind": "parallel", "join": {"kind": "attend", "hidden": 3}, "parts": parts, "from": "x"}}, "outputs": {"y": "m"}}
    model = assembler.build(spec, seed=0)
    assert tuple(model.get_parameter("m.join.query.weight").shape) == (3, 8)
    assert tuple(model.get_parameter("m.join.key.weight").shape) == (3, 5)
    x = torch.randn(*([4] * len(rows.split())), 8)
    values = torch.stack([model.get_submodule(f"m.{name}")(x) for name in "ab"], -2)
    join = model.get_submodule("m.join")
    scores = (join.get_submodule("key")(values) @ join.get_submodule("query")(x).unsqueeze(-1)).squeeze(-1) / 3**0.5
    torch.testing.assert_close(model(x), (scores.softmax(-1).unsqueeze(-1) * values).sum(-2))


@pytest.mark.parametrize("part", [{"kind": "mlp"}, {"kind": "swiglu"}, {"kind": "linear", "out": 8}, {"kind": "attention", "heads": 2}])
def test_13_zero_is_of_the_writing_layer_whatever_it_is_called_and_nothing_dies(part: dict[str, Any]) -> None:
    report = graft(mode="add", init="zero", part=part)
    (item,) = report.certificates
    assert item.silent == "bits"
    assert item.alive is not None


def test_14_small_leaves_the_gains_of_norms_alone() -> None:
    model = built({"n": {"kind": "sequence", "from": "x", "parts": {"norm": {"kind": "layer_norm"}, "up": {"kind": "linear", "out": 8, "init": "small"}}}}, "n")
    assert torch.equal(model.get_parameter("n.norm.weight"), torch.ones(8))
    assert float(model.get_parameter("n.up.weight").detach().abs().max()) < 0.1


def test_15_there_is_no_identity_mlp() -> None:
    report = check({"m": {"kind": "mlp", "init": "identity", "from": "x"}}, "m")
    assert errors(report) == ["init-no-identity"]


def test_16_a_norm_behind_a_module_that_starts_as_zero() -> None:
    report = graft(mode="add", init="zero", norm="post", part={"kind": "mlp"})
    assert errors(report) == ["norm-on-host"]
    assert "norm: out" in report.diagnostics[0].help
    stacked = {"m": {"kind": "mlp", "init": "zero", "from": "x"}, "n": {"kind": "layer_norm", "from": "m"}, "y": {"kind": "add", "from": ["x", "n"]}}
    assert errors(check(stacked, "y")) == ["norm-after-zero"]


def test_17_norms_at_both_sides_have_the_width_of_their_side() -> None:
    model = built({"m": {"kind": "linear", "out": 6, "norm": "both", "from": "x"}}, "m")
    assert sorted(tuple(item.weight.shape) for item in model.modules() if isinstance(item, torch.nn.LayerNorm)) == [(6,), (8,)]


def test_18_a_grafts_weights_are_parameters_of_the_model() -> None:
    graft = {"side": {"read": "x", "write": "h", "mode": "add", "part": {"kind": "mlp"}}}
    names = {name for name, _ in built(grafts=graft).named_parameters()}
    assert {"side.up.weight", "side.up.bias", "side.down.weight", "side.down.bias"} <= names


def test_19_an_empty_slot_is_a_typed_node_in_the_model_s_dtype() -> None:
    nodes = {"s": {"slot": "gap", "from": "x"}, "top": {"kind": "add", "from": ["x", "s"]}}
    model = assembler.build({"name": "trap", "inputs": {"x": "[batch 8]"}, "slots": {"gap": {"kind": "zero"}}, "nodes": nodes, "outputs": {"y": "top", "gap": "s"}}, dtype=torch.bfloat16)
    found = model(torch.randn(3, 8, dtype=torch.bfloat16))
    assert found["gap"].dtype == torch.bfloat16
    assert torch.count_nonzero(found["gap"]) == 0


def test_20_every_misfit_is_found_not_only_the_first() -> None:
    nodes = {name: {"kind": "linear", "in": width, "out": 4, "from": "x"} for name, width in (("a", 7), ("b", 9))} | {"y": {"kind": "add", "from": ["a", "b"]}}
    assert errors(check(nodes, "y")) == ["shape-mismatch", "shape-mismatch"]


def test_21_side_by_side_and_one_after_another_are_two_kinds() -> None:
    parts = {"a": {"kind": "linear", "out": 8}, "b": {"kind": "linear", "out": 8}}
    x = torch.randn(4, 8)
    beside = built({"p": {"kind": "parallel", "join": "add", "from": "x", "parts": parts}}, "p")
    behind = built({"p": {"kind": "bus", "from": "x", "parts": parts}}, "p")
    a, b = (beside.get_submodule(f"p.{name}") for name in "ab")
    assert torch.allclose(beside(x), a(x) + b(x), atol=1e-6)
    a, b = (behind.get_submodule(f"p.{name}") for name in "ab")
    stream = x + a(x)
    assert torch.allclose(behind(x), stream + b(stream), atol=1e-6)


def test_22_a_write_onto_a_stream_can_start_as_zero() -> None:
    parts = {"think": {"kind": "mlp", "init": "zero"}}
    report = check({"enc": {"kind": "bus", "from": "x", "parts": parts}}, "enc")
    assert report.signals is not None
    flow = report.signals.flow
    before, after = value_at(flow, "x"), value_at(flow, "enc")
    assert before is not None
    assert after is not None
    assert report.signals.zero.same(before, after) == "bits"


def test_24_an_adapter_is_a_node_of_the_graph_and_starts_as_what_it_serves() -> None:
    report = graft(mode="add", init="zero", part={"kind": "mlp"}, write={"port": "h", "adapt": "linear"})
    assert report.certificates[0].silent == "bits"
    assert any(item.code == "adapter-inserted" for item in report.diagnostics)


@pytest.mark.parametrize(("mode", "out", "width"), [("replace", 6, 6), ("concat", 3, 11)])
def test_25_readers_of_what_a_graft_changes_are_checked_again(mode: str, out: int, width: int) -> None:
    report = graft(mode=mode, part={"kind": "mlp", "out": out})
    assert report.ok, report
    model = built(grafts={"side": {"read": "x", "write": "h", "mode": mode, "part": {"kind": "mlp", "out": out}}})
    assert tuple(model.get_parameter("top.weight").shape) == (4, width)
    stated = {**HOST, "top": {**HOST["top"], "in": 8}}
    assert errors(check(stated, grafts={"side": {"read": "x", "write": "h", "mode": mode, "part": {"kind": "mlp", "out": out}}})) == ["shape-mismatch"]


def test_26_means_of_branches_that_share_their_input_keep_what_they_share() -> None:
    def size(kind: str, branches: int) -> float:
        nodes: dict[str, Any] = {f"b{i}": {"kind": "mlp", "activation": "relu", "from": "x"} for i in range(branches)}
        report = check({**nodes, "y": {"kind": kind, "from": list(nodes)}}, "y")
        assert report.signals is not None
        assert report.facts is not None
        place = value_at(report.signals.flow, "y")
        assert place is not None
        found = scale(report.signals.flow, report.facts).values[place].q
        assert found is not None
        return found

    assert size("mean", 4) == pytest.approx(size("add", 4) / 16)
    assert size("add", 4) == pytest.approx(4 * size("add", 1), rel=0.05)
