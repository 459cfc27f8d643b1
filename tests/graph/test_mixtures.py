"""What mixtures and ensembles unfold into, and what recipes say about their experts: rules, slots, sharing, overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import assembler
from assembler.compiler.build import build
from assembler.compiler.plan import plan
from assembler.graph.model import Group, Leaf, Repeat

X = {"x": "[batch seq 8]"}
MLP = {"kind": "mlp", "hidden": 4}
LINEAR = {"kind": "linear", "out": 8}
OUT = {"y": "think", "aux": "losses"}


def moe(**more: Any) -> dict[str, Any]:
    return {"kind": "moe", "experts": 4, "expert": dict(MLP), "from": "x", **more}


def recipe(
    think: dict[str, Any], outputs: dict[str, str] = OUT, nodes: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return {"name": "mixed", "inputs": X, "nodes": {"think": think, **(nodes or {})}, "outputs": outputs, **more}


def check(*arguments: Any, **more: Any) -> assembler.Report:
    return assembler.check(recipe(*arguments, **more))


def built(*arguments: Any, **more: Any) -> nn.Module:
    report = check(*arguments, **more)
    assert report.ok, report
    return assembler.build(recipe(*arguments, **more), seed=0)


def found(report: assembler.Report) -> list[str]:
    return [item.code for item in report.diagnostics if item.level == "error"]


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.named_parameters()}


def widths(model: nn.Module) -> list[int]:
    """Of the hidden layer of each of four experts."""
    return [model.get_parameter(f"think.experts.{expert}.up.weight").shape[0] for expert in range(4)]


# --- what stands there ---
def test_a_moe_is_a_router_its_gates_the_experts_and_their_sum() -> None:
    report = check(moe(jitter=0.1, shared=2))
    assert report.graph is not None
    think = report.graph.scope.nodes["think"]
    assert isinstance(think, Group)
    nodes = think.scope.nodes
    assert {name: node.kind.name for name, node in nodes.items() if isinstance(node, Leaf)} == {
        "jitter": "jitter", "router": "linear", "gating": "gating", "mix": "combine", "add": "add", "losses": "loss_sum",
    }  # fmt: skip
    assert all(isinstance(nodes[name], Repeat) for name in ("experts", "shared"))
    fed = {
        name: {port: [(edge.source.node, edge.source.port) for edge in edges] for port, edges in node.inputs.items()}
        for name, node in nodes.items()
    }
    assert fed["router"] == {"x": [("jitter", "y")]}
    assert fed["gating"] == {"scores": [("router", "y")]}
    assert fed["experts"] == {"x": [("", "x")]}
    assert fed["mix"] == {"gates": [("gating", "gates")], "x": [("experts", f"{expert}.y") for expert in range(4)]}
    assert fed["add"] == {"x": [("mix", "y"), ("shared", "0.y"), ("shared", "1.y")]}
    assert dict(think.scope.outputs).keys() == {"y", "load", "losses"}


def test_experts_by_name_keep_their_order_and_their_names() -> None:
    model = built(
        {
            "kind": "moe",
            "experts": {"wide": {**MLP, "count": 2}, "one": LINEAR, "none": {"kind": "identity"}},
            "from": "x",
        }
    )
    assert shapes(model) == {
        "think.router.weight": (4, 8),
        **{f"think.wide.{copy}.{key}": shape for copy in (0, 1) for key, shape in {"up.weight": (4, 8), "up.bias": (4,), "down.weight": (8, 4), "down.bias": (8,)}.items()},
        "think.one.weight": (8, 8), "think.one.bias": (8,),
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "word"), [("route", "router"), ("compete", "selector")])
def test_parts_of_a_choice_stand_under_their_names_beside_a_router_of_its_own(kind: str, word: str) -> None:
    model = built(
        {"kind": kind, "parts": {"a": MLP, "b": LINEAR}, word: {"kind": "mlp", "hidden": 3}, "from": "x"},
        {"y": "think"},
    )
    assert model.get_parameter(f"think.{word}.down.weight").shape == (2, 3)  # its width is the number of parts
    assert built({"kind": kind, "parts": {"a": MLP, "b": LINEAR}, "from": "x"}, {"y": "think"}).get_parameter(
        "think.router.weight"
    ).shape == (2, 8)


def test_what_a_mixture_gives_can_be_read_and_what_an_expert_gives_cannot() -> None:
    model = built(moe(), {**OUT, "load": "think.load", "gates": "think.gating", "scores": "think.router"})
    given = model(torch.randn(2, 5, 8))
    assert given["load"].shape == (4,)
    assert given["gates"].shape == given["scores"].shape == (2, 5, 4)
    for address in ("think.experts.0", "think.experts.-1"):
        assert found(check(moe(), {**OUT, "one": address})) == ["expert-inside"]


def test_members_of_an_ensemble_are_addressed_and_read_one_by_one() -> None:
    model = built(
        {"kind": "parallel", "members": 3, "join": "mean", "parts": {"net": MLP}, "from": "x"},
        {"y": "think", "one": "think.net.1"},
    )
    x = torch.randn(2, 5, 8)
    assert torch.equal(model(x)["one"], model.get_submodule("think.net.1")(x))


# --- what is said of one expert, or of all ---
@pytest.mark.parametrize(
    ("at", "wide"),
    [
        ("think.experts.3", [4, 4, 4, 9]),
        ("think.experts.0:2", [9, 9, 4, 4]),
        ("think.experts.*", [9] * 4),
        ("think.experts.-1", [4, 4, 4, 9]),
        ("think.experts", [9] * 4),
    ],
)
def test_a_rule_speaks_of_the_experts_that_it_names(at: str, wide: list[int]) -> None:
    assert widths(built(moe(), rules={"wider": {"at": at, "set": {"hidden": 9}}})) == wide


def test_a_rule_reaches_one_expert_of_one_copy() -> None:
    model = built(moe(repeat=2), rules={"wider": {"at": "think.1.experts.2", "set": {"hidden": 9}}})
    wide = {
        (copy, expert): model.get_parameter(f"think.{copy}.experts.{expert}.up.weight").shape[0]
        for copy in range(2)
        for expert in range(4)
    }
    assert {place for place, width in wide.items() if width == 9} == {(1, 2)}


def test_a_rule_may_make_one_expert_another_kind() -> None:
    model = built(moe(), rules={"plain": {"at": "think.experts.0", "set": {"kind": "linear"}}})
    assert model.get_parameter("think.experts.0.weight").shape == (8, 8)
    assert model.get_parameter("think.experts.1.up.weight").shape == (4, 8)


def test_a_rule_sets_how_many_there_are_and_how_many_are_chosen() -> None:
    model = built(moe(), rules={"fewer": {"at": "think", "set": {"experts": 2, "top_k": 1}}})
    assert model.get_parameter("think.router.weight").shape == (2, 8)


def test_frozen_is_all_that_is_inside_and_of_one_expert_only_that() -> None:
    assert not any(value.requires_grad for value in built(moe(freeze=True)).parameters())
    model = built({"kind": "moe", "experts": {"a": {**MLP, "freeze": True}, "b": MLP}, "from": "x"})
    assert {name.split(".")[1] for name, value in model.named_parameters() if value.requires_grad} == {"b", "router"}


@pytest.mark.parametrize("dtype", ["f64", "bf16"])
@pytest.mark.parametrize("more", [{}, {"balance": "bias"}, {"router": "noisy_topk", "shared": 1}])
def test_a_dtype_holds_for_the_router_too(dtype: str, more: dict[str, Any]) -> None:
    nodes = {"wide": {"kind": "cast", "dtype": dtype, "from": "x"}}
    model = built(moe(dtype=dtype, **{**more, "from": "wide"}), nodes=nodes)
    wanted = {"f64": torch.float64, "bf16": torch.bfloat16}[dtype]
    assert {value.dtype for value in model.parameters()} == {wanted}
    assert model(torch.randn(2, 5, 8))["y"].dtype == wanted


@pytest.mark.parametrize("said", [{"freeze": True}, {"dtype": "f64"}])
def test_what_holds_for_a_parallel_holds_for_its_join(said: dict[str, Any]) -> None:
    model = built(
        {
            "kind": "parallel",
            "join": {"kind": "attend", "hidden": 2},
            "parts": {"a": MLP, "b": LINEAR},
            "from": "wide",
            **said,
        },
        {"y": "think"},
        {"wide": {"kind": "cast", "dtype": said.get("dtype", "f32"), "from": "x"}},
    )
    assert not any(value.requires_grad for value in model.parameters()) or {
        value.dtype for value in model.parameters()
    } == {torch.float64}


def test_a_seed_holds_for_the_router_too() -> None:
    one, two = (assembler.build(recipe(moe(seed=3)), seed=seed) for seed in (1, 2))
    assert all(torch.equal(value, two.get_parameter(name)) for name, value in one.named_parameters())


def test_a_start_that_is_inherited_holds_for_experts_and_router() -> None:
    model = built(moe(init="normal(0.5)"))
    assert 0.3 < float(model.get_parameter("think.router.weight").detach().std()) < 0.7
    assert float(model.get_parameter("think.experts.2.up.bias").detach().abs().max()) == 0.0
    assert float(built(moe()).get_parameter("think.router.weight").detach().std()) < 0.04


def test_norms_stand_before_the_mixture_and_in_each_expert() -> None:
    names = shapes(built(moe(norm="pre", expert={**MLP, "norm": "both"}))).keys()
    assert {
        "think_pre_norm.weight",
        "think.experts.3.experts_pre_norm.weight",
        "think.experts.3.experts_out_norm.bias",
    } <= names


def test_a_slot_fills_experts_with_arguments_of_its_own() -> None:
    slots = {"ffn": {"kind": "mlp", "hidden": "wide", "vars": {"wide": 3}}}
    assert widths(built(moe(expert={"slot": "ffn", "vars": {"wide": 6}}), slots=slots)) == [6] * 4
    model = built(
        {
            "kind": "moe",
            "experts": {"a": {"slot": "ffn", "count": 2}, "b": {"slot": "ffn", "vars": {"wide": 5}}},
            "from": "x",
        },
        slots=slots,
    )
    assert [model.get_parameter(f"think.{name}.up.weight").shape[0] for name in ("a.0", "a.1", "b")] == [3, 3, 5]


def test_numbers_of_experts_are_expressions() -> None:
    model = built(moe(experts="2*n", top_k="n", shared="n"), vars={"n": 2})
    assert model.get_parameter("think.router.weight").shape == (4, 8)
    assert {name.split(".")[2] for name in shapes(model) if "shared" in name} == {"0", "1"}
    assert built(
        {"kind": "moe", "experts": {"a": {**MLP, "count": "n"}, "b": LINEAR}, "from": "x"}, vars={"n": 3}
    ).get_parameter("think.router.weight").shape == (4, 8)


# --- sharing ---
def test_an_expert_may_be_one_more_use_of_another_node() -> None:
    model = built(
        {"kind": "moe", "experts": {"a": {"same": "big"}, "b": LINEAR}, "from": "big"},
        nodes={"big": {**MLP, "from": "x"}},
    )
    assert model.get_submodule("think.a") is model.get_submodule("big")
    model(torch.randn(2, 5, 8))["y"].sum().backward()


def test_an_expert_may_be_lent_and_its_weight_tied() -> None:
    nodes = {
        "again": {"same": "think.a", "from": "think"},
        "head": {"kind": "linear", "out": 8, "tie": {"weight": "think.b.weight"}, "from": "again"},
    }
    model = built(
        {"kind": "moe", "experts": {"a": MLP, "b": LINEAR}, "from": "x"}, {"y": "head", "aux": "losses"}, nodes
    )
    assert model.get_submodule("again") is model.get_submodule("think.a")
    assert model.get_parameter("head.weight") is model.get_parameter("think.b.weight")


def test_experts_may_start_as_copies_of_one_node() -> None:
    model = built(
        moe(**{"from": "big", "expert": {**MLP, "init": {"copy": "big"}}}), nodes={"big": {**MLP, "from": "x"}}
    )
    big = model.get_submodule("big").state_dict()
    assert all(
        torch.equal(value, big[name])
        for expert in range(4)
        for name, value in model.get_submodule(f"think.experts.{expert}").state_dict().items()
    )


# --- what is refused ---
@pytest.mark.parametrize(
    ("think", "code"),
    [
        (moe(top_k=5), "value-range"),
        (moe(experts=0), "dim-range"),
        (moe(top_k=1, renormalize=True), "value-range"),
        ({"kind": "moe", "experts": {"a": {**MLP, "repeat": 2}, "b": MLP}, "from": "x"}, "place-conflict"),
        ({"kind": "moe", "experts": {"gating": MLP}, "from": "x"}, "name-taken"),
        ({"kind": "moe", "experts": {"a": {"kind": "attention", "heads": 2}, "b": MLP}, "from": "x"}, "expert-mixes-rows"),
        ({"kind": "parallel", "join": "gate", "parts": {"a": MLP, "b": MLP, "c": MLP}, "from": "x"}, "port-required"),
        ({"kind": "parallel", "join": "medium", "parts": {"a": MLP, "b": MLP}, "from": "x"}, "value-range"),
        ({"kind": "parallel", "members": 2, "parts": {"a": {**MLP, "repeat": 2}}, "from": "x"}, "place-conflict"),
    ],
)  # fmt: skip
def test_one_fault_is_one_finding(think: dict[str, Any], code: str) -> None:
    assert found(check(think, {"y": "think"})) == [code]


def test_a_router_that_is_told_another_width_is_refused() -> None:
    report = check(
        {"kind": "route", "router": {"kind": "linear", "out": 3}, "parts": {"a": MLP, "b": MLP}, "from": "x"},
        {"y": "think"},
    )
    assert found(report) == ["value-range"]


# --- overrides ---
NAMED = """
name: mixed
inputs: {x: "[batch seq 8]"}
nodes:
  think:
    kind: moe
    experts:
      a: {kind: mlp, hidden: 4, activation: relu}
      b: {kind: linear, out: 8}
      c: {kind: linear, out: 8}
    from: x
outputs: {y: think, aux: losses}
"""
ALIKE = (
    NAMED[: NAMED.index("    experts")]
    + "    experts: 4\n    expert: {kind: mlp, hidden: 4}\n"
    + NAMED[NAMED.index("    from") :]
)


def overridden(folder: Path, text: str, *overrides: str) -> tuple[nn.Module, list[str]]:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    report = assembler.check(path, list(overrides))
    assert report.ok, report
    assert report.graph is not None
    assert report.facts is not None
    return build(plan(report.graph, report.facts), seed=0), [item.code for item in report.diagnostics]


@pytest.mark.parametrize("how", ["nodes.think.experts.a.kind=swiglu", "nodes.think.experts.a={kind: swiglu}"])
def test_to_swap_an_experts_kind_is_to_replace_it(tmp_path: Path, how: str) -> None:
    model, codes = overridden(tmp_path, NAMED, how)
    assert codes == ["swap-dropped"]
    assert model.get_parameter("think.a.gate.weight").shape == (32, 8)  # `hidden: 4` was the mlp's


def test_to_swap_the_one_expert_is_to_replace_them_all(tmp_path: Path) -> None:
    model, codes = overridden(tmp_path, ALIKE, "nodes.think.expert.kind=swiglu", "nodes.think.experts=3")
    assert codes == ["swap-dropped"]
    assert [model.get_parameter(f"think.experts.{expert}.gate.weight").shape[0] for expert in range(3)] == [32] * 3


@pytest.mark.parametrize("how", ["nodes.think.experts.b=null", "~nodes.think.experts.b"])
def test_an_expert_that_is_null_is_removed(tmp_path: Path, how: str) -> None:
    model, codes = overridden(tmp_path, NAMED, how)
    assert codes == []
    assert model.get_parameter("think.router.weight").shape == (2, 8)


def test_an_expert_is_added_by_name(tmp_path: Path) -> None:
    model, _ = overridden(tmp_path, NAMED, "+nodes.think.experts.d={kind: swiglu, count: 2}")
    assert model.get_parameter("think.router.weight").shape == (5, 8)


def test_a_mixture_is_swapped_for_a_dense_part(tmp_path: Path) -> None:
    model, codes = overridden(tmp_path, ALIKE, "nodes.think.kind=mlp")
    assert codes == ["swap-dropped"]
    assert model.get_parameter("think.up.weight").shape == (32, 8)


# --- losses ---
@pytest.mark.parametrize(
    "part", [{"norm": "out"}, {"norm": "out", "repeat": 2}, {"norm": "pre", "repeat": 2, "share": True}]
)
def test_the_loss_of_a_part_with_norms_is_not_lost(part: dict[str, Any]) -> None:
    model = built({"kind": "vector_quantize", "codes": 5, "from": "x", **part})
    assert float(model(torch.randn(2, 5, 8))["aux"].detach()) > 0.0


@pytest.mark.parametrize("kind", ["moe", "members"])
def test_a_part_with_several_outputs_is_an_expert_and_a_member(kind: str) -> None:
    codes = {"kind": "vector_quantize", "codes": 5}
    think = (
        moe(expert=codes, balance="none", z_loss=0.0)
        if kind == "moe"
        else {"kind": "parallel", "members": 2, "parts": {"a": codes}, "from": "x"}
    )
    given = built(think)(torch.randn(2, 5, 8))
    assert given["y"].shape == (2, 5, 8)
    assert float(given["aux"].detach()) > 0.0
