"""What is said of norms, and of what nothing is said: the shipped recipes, plain networks, known architectures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import assembler
from assembler.checks.norms import FEW
from assembler_schemas.diagnostic import Diagnostic
from tests.fuzz.generate import generate
from tests.fuzz.oracle import check_text
from tests.recipes import shipped

CODES = frozenset(("double-softmax", "norm-mismatch", "double-norm", "norm-of-one", "norm-missing", "final-norm-missing", "post-norm-deep"))


def found(recipe: assembler.Report | dict[str, Any]) -> list[Diagnostic]:
    report = recipe if not isinstance(recipe, dict) else assembler.check(assembler.recipe(recipe))
    assert report.signals is not None, report
    return [item for item in report.diagnostics if item.code in CODES]


def said(nodes: dict[str, Any], out: str = "y", **inputs: str) -> list[tuple[str, str]]:
    """Code and first address of what is said of nodes over `x`."""
    inputs = inputs or {"x": "[batch seq 16]"}
    every = found({"name": "r", "inputs": inputs, "nodes": nodes, "outputs": {"out": out}})
    return [(item.code, item.message.split("`")[1]) for item in every]


def stack(repeat: int = 6, norm: str | None = None, **more: Any) -> dict[str, Any]:
    parts = {"attend": {"kind": "attention", "heads": 2}, "think": {"kind": "mlp"}}
    return {"kind": "bus", "repeat": repeat, "norm": norm, "from": "x", "parts": parts, **more}


# --- nothing ---
@pytest.mark.parametrize("name", shipped.NAMES)
def test_nothing_is_said_of_a_shipped_recipe(name: str) -> None:
    assert found(assembler.check(shipped.path(name))) == []


@pytest.mark.parametrize(("name", "sibling"), [(name, sibling) for name in shipped.NAMES for sibling in shipped.stated(name).siblings])
def test_nothing_is_said_of_a_sibling_but_of_the_deep_post_norm_one(name: str, sibling: str) -> None:
    overrides = shipped.stated(name).siblings[sibling][1]
    codes = [item.code for item in found(assembler.check(shipped.path(name), overrides))]
    assert codes == (["post-norm-deep"] if (name, sibling) == ("bert", "large") else [])


LAYER: dict[str, Any] = {"kind": "layer_norm"}
BRANCH: dict[str, Any] = {"kind": "sequence", "parts": {"m": {"kind": "mlp"}, "g": {"kind": "scale", "learned": True}}}


@pytest.mark.parametrize(
    "nodes",
    [
        {"y": {"kind": "mlp", "from": "x"}},
        {f"n{i}": {"kind": "mlp", "from": f"n{i - 1}" if i else "x"} for i in range(12)} | {"y": {"kind": "linear", "out": 3, "from": "n11"}},
        {"y": stack(2)},
        {"s": stack(norm="pre"), "f": {**LAYER, "from": "s"}, "y": {"kind": "linear", "out": 3, "from": "f"}},
        {"s": stack(norm="both"), "f": {**LAYER, "from": "s"}, "y": {"kind": "linear", "out": 3, "from": "f"}},
        {"s": stack(norm="out"), "y": {"kind": "linear", "out": 3, "from": "s"}},
        {"s": stack(norm="post"), "y": {"kind": "linear", "out": 3, "from": "s"}},
        {"y": stack(norm="pre")},
        {"s": stack(norm="pre"), "f": {**LAYER, "from": "s"}, "a": {"kind": "activation", "from": "f"}, "y": {**LAYER, "from": "a"}},
        {"n": {**LAYER, "from": "x"}, "s": stack(norm="pre") | {"from": "n"}, "y": {**LAYER, "from": "s"}},
        {"p": {"kind": "softmax", "from": "x"}, "y": {"kind": "softmax", "temperature": 0.5, "from": "p"}},
        {"p": {"kind": "softmax", "from": "x"}, "l": {"kind": "linear", "out": 4, "from": "p"}, "y": {"kind": "softmax", "from": "l"}},
        {"s": {"kind": "bus", "repeat": 12, "from": "x", "parts": {"f": {**BRANCH, "parts": {**BRANCH["parts"], "g": {"kind": "scale", "value": 0.0, "learned": True}}}}}, "y": {"kind": "linear", "out": 3, "from": "s"}},
        {"s": {"kind": "bus", "repeat": 12, "from": "x", "parts": {"f": {**BRANCH, "parts": {**BRANCH["parts"], "g": {"kind": "scale", "value": 0.1}}}}}, "y": {"kind": "linear", "out": 3, "from": "s"}},
        {"s": {"kind": "bus", "repeat": 12, "from": "x", "parts": {"f": {"kind": "sequence", "parts": {"m": {"kind": "mlp"}, "t": {"kind": "activation", "activation": "tanh"}}}}}, "y": {"kind": "linear", "out": 3, "from": "s"}},
        {"s": {"kind": "bus", "repeat": 12, "from": "x", "parts": {"f": {"kind": "activation", "activation": "relu"}}}, "y": {"kind": "linear", "out": 3, "from": "s"}},
        {f"n{i}": {"kind": "mlp", "from": "x"} for i in range(12)} | {"y": {"kind": "add", "from": [f"n{i}" for i in range(12)]}},
    ],
    ids=["mlp", "deep mlp", "short stack", "pre", "peri", "out", "post", "handed out", "an activation between", "norm of the embedding too", "sharpened", "linear between",
         "rezero", "scaled branches", "bounded branches", "branches without weights", "no stream"],
)  # fmt: skip
def test_nothing_is_said_of(nodes: dict[str, Any]) -> None:
    assert said(nodes) == []


# --- something ---
def test_branches_without_norms_are_one_finding() -> None:
    assert said({"y": stack()}) == [("norm-missing", "y.*.attend")]
    (item,) = found({"name": "r", "inputs": {"x": "[batch seq 16]"}, "nodes": {"y": stack()}, "outputs": {"out": "y"}})
    assert item.message == "12 branches in a row read a residual stream that no norm touches: `y.*.attend`, `y.*.think`"
    assert len(item.related) == 1


@pytest.mark.parametrize("repeat", [FEW, FEW + 1])
def test_a_few_branches_do_not_need_norms(repeat: int) -> None:
    assert said({"y": {"kind": "bus", "repeat": repeat, "from": "x", "parts": {"f": {"kind": "mlp"}}}}) == ([("norm-missing", "y.*.f")] if repeat > FEW else [])


def test_a_part_whose_norm_was_taken_away() -> None:
    bare = stack(norm="pre")
    bare["parts"] = {**bare["parts"], "think": {"kind": "mlp", "norm": None}}
    assert said({"s": bare, "y": {**LAYER, "from": "s"}}) == [("norm-missing", "s.*.think")]


def test_residuals_that_are_written_out() -> None:
    nodes: dict[str, Any] = {}
    for i in range(6):
        nodes |= {f"f{i}": {"kind": "mlp", "from": f"a{i - 1}" if i else "x"}, f"a{i}": {"kind": "add", "from": [f"f{i}", f"a{i - 1}" if i else "x"]}}
    assert said(nodes, out="a5") == [("norm-missing", "f0")]


def test_a_branch_may_hold_containers_and_read_others() -> None:
    parts = {"f": {"kind": "sequence", "parts": {"a": {"kind": "identity"}, "d": {"kind": "dropout"}, "c": {"kind": "cross_attention", "heads": 2, "from": {"memory": "memory"}}}}}
    nodes = {"m": {"kind": "linear", "out": 16, "from": "z"}, "y": {"kind": "bus", "repeat": 6, "from": {"x": "x", "memory": "m"}, "parts": parts}}
    assert said(nodes, x="[batch seq 16]", z="[batch mem 16]") == [("norm-missing", "y.*.f.c")]


@pytest.mark.parametrize("between", [[], ["mean_pool"], ["cls_pool"], ["dropout", "activation"]])
def test_a_head_that_reads_the_stream(between: list[str]) -> None:
    nodes: dict[str, Any] = {"s": stack(norm="pre", norm_kind="rms_norm")}
    last = "s"
    for kind in between:
        nodes[kind] = {"kind": kind, "from": last}
        last = kind
    nodes["y"] = {"kind": "linear", "out": 3, "from": last}
    (item,) = found({"name": "r", "inputs": {"x": "[batch seq 16]"}, "nodes": nodes, "outputs": {"out": "y"}})
    assert (item.code, item.message) == ("final-norm-missing", "`y` reads the sum of 12 branches, which grows with each, and no norm stands between")
    assert item.help == "put one norm between them: `final: {kind: rms_norm, from: s}`, and read `final` there"


def test_a_memory_that_is_read_as_it_is() -> None:
    nodes = {"s": stack(norm="pre"), "c": {"kind": "cross_attention", "heads": 2, "from": {"x": "x", "memory": "s"}}}
    assert said(nodes, out="c") == [("final-norm-missing", "c")]


@pytest.mark.parametrize("between", ["identity", "dropout", "scale", "permute"])
def test_two_norms_with_nothing_between(between: str) -> None:
    more: Any = {"scale": {"value": 0.5}, "permute": {"order": [1, 0, 2]}}.get(between, {})
    nodes = {"n": {**LAYER, "from": "x"}, "b": {"kind": between, **more, "from": "n"}, "y": {"kind": "rms_norm", "from": "b"}}
    assert said(nodes) == [("double-norm", "y")]


def test_a_norm_that_somebody_else_reads_too_stays() -> None:
    nodes = {"n": {**LAYER, "from": "x"}, "m": {"kind": "rms_norm", "from": "n"}, "y": {"kind": "add", "from": ["n", "m"]}}
    assert said(nodes) == []


def test_norms_over_other_axes_are_two() -> None:
    nodes = {"n": {**LAYER, "from": "x"}, "t": {"kind": "permute", "order": [0, 2, 1], "from": "n"}, "y": {**LAYER, "from": "t"}}
    assert said(nodes, x="[batch 4 16]") == []


def test_a_norm_over_rows_that_are_normed_each_changes_nothing() -> None:
    nodes = {"n": {**LAYER, "from": "x"}, "l": {"kind": "flatten", "from": "n"}, "y": {**LAYER, "from": "l"}}
    assert said(nodes, x="[batch 4 16]") == [("double-norm", "y")]


@pytest.mark.parametrize(("kind", "norm", "left"), [("layer_norm", nn.LayerNorm(1), 0.0), ("rms_norm", nn.RMSNorm(1), 1.0)])
def test_a_norm_of_one_value_leaves_its_sign_or_nothing(kind: str, norm: nn.Module, left: float) -> None:
    recipe = {"name": "r", "inputs": {"x": "[batch 1]"}, "nodes": {"y": {"kind": kind, "from": "x"}}, "outputs": {"out": "y"}}
    assert [item.code for item in found(recipe)] == ["norm-of-one"]
    x = torch.tensor([[3.0], [-0.5]])
    assert torch.allclose(norm(x), left * x.sign(), atol=1e-6)


@pytest.mark.parametrize("between", ["identity", "dropout", "mean"])
def test_a_softmax_of_probabilities(between: str) -> None:
    nodes = {"p": {"kind": "softmax", "from": "x"}, "b": {"kind": between, "from": ["p", "p"] if between == "mean" else "p"}, "y": {"kind": "softmax", "from": "b"}}
    assert said(nodes) == [("double-softmax", "y")]


def test_copies_of_a_softmax_and_probabilities_that_are_handed_in() -> None:
    assert said({"y": {"kind": "softmax", "repeat": 3, "from": "x"}}) == [("double-softmax", "y.*")]
    assert said({"y": {"kind": "softmax", "from": "x"}}, x="probs [batch 10]") == [("double-softmax", "y")]


def test_a_softmax_of_probabilities_is_flat() -> None:
    """What the finding says: nothing is more than e times as likely as anything else."""
    torch.manual_seed(0)
    sure = torch.softmax(50 * torch.randn(64, 10), -1)
    twice = torch.softmax(sure, -1)
    assert float((twice.amax(-1) / twice.amin(-1)).max()) <= torch.e + 1e-4
    assert float(sure.amax(-1).mean()) > 0.9 > 0.3 > float(twice.amax(-1).mean())


def test_post_norms_beyond_twelve_blocks_of_three() -> None:
    parts = {name: {"kind": "mlp"} for name in ("a", "b", "c")}
    assert said({"y": stack(12, "post", parts=parts)}) == []
    (item,) = found({"name": "r", "inputs": {"x": "[batch seq 16]"}, "nodes": {"y": stack(13, "post", parts=parts)}, "outputs": {"out": "y"}})
    assert item.code == "post-norm-deep"
    assert item.message.startswith("39 norms stand behind the adds of one stream, the last is `y.12.c_post_norm`")


def test_no_error_is_said_of_random_recipes_that_are_valid_by_construction() -> None:
    for seed in range(60):
        sample = generate(seed)
        errors = [str(item) for item in found(check_text(sample.text, sample.overrides)) if item.level == "error"]
        assert errors == [], seed
