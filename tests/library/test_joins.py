"""Joins of many values: against short references, at the start, refused, and in a `parallel`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assembler
from assembler.assemble import recipe
from tests.graph.recipes import good

torch.set_num_threads(1)

Nodes = dict[str, Any]
Xs = Sequence[Tensor]
Weights = Mapping[str, Tensor]
ROW, SCORED, ASKED = (
    {"from": ["a", "b", "c"]},
    {"from": {"x": ["a", "b", "c"], "scores": "s"}},
    {"from": {"x": ["a", "b", "c"], "query": "q"}},
)


def _shares(w: Tensor) -> Tensor:
    return w.abs() / w.abs().sum()


def _attend(xs: Xs, w: Weights, other: Tensor) -> Tensor:
    q = other @ w["query.weight"].T + w.get("query.bias", torch.zeros(()))
    scores = [(x @ w["key.weight"].T * q).sum(-1, keepdim=True) / math.sqrt(q.shape[-1]) for x in xs]
    p = torch.cat(scores, -1).softmax(-1)
    return sum(p[..., i : i + 1] * x for i, x in enumerate(xs))  # type: ignore[return-value]


def _hard(scores: Tensor) -> Tensor:
    return nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores)


def _mixed(gates: Tensor, xs: Xs) -> Tensor:
    return torch.einsum("...n,...nd->...d", gates, torch.stack(list(xs), -2))


def _dense(xs: Xs, w: Weights, s: Tensor) -> Tensor:
    p = s.softmax(-1)
    return _mixed(_hard(s) + (p - p.detach()), xs)


def _winner(xs: Xs, w: Weights, s: Tensor) -> Tensor:
    p = s.softmax(-1)
    return _mixed(_hard(s) * (1 + (p - p.detach())), xs)


REFERENCES: dict[str, tuple[Nodes, Callable[[Xs, Weights, Tensor], Tensor]]] = {
    "blend": ({"weight": 0.3, "from": ["a", "b"]}, lambda xs, w, _: 0.3 * xs[0] + 0.7 * xs[1]),
    "blend learned": ({"learned": True, "from": ["a", "b"]}, lambda xs, w, _: w["weight"].sigmoid() * xs[0] + (-w["weight"]).sigmoid() * xs[1]),
    "blend channels": ({"learned": True, "channel": True, "from": ["a", "b"]}, lambda xs, w, _: torch.lerp(xs[1], xs[0], w["weight"].sigmoid())),
    "multi_blend": (ROW, lambda xs, w, _: torch.tensordot(w["weight"].softmax(0), torch.stack(list(xs)), 1)),
    "multi_blend normalised": ({"mode": "normalised", **ROW}, lambda xs, w, _: torch.tensordot(_shares(w["weight"]), torch.stack(list(xs)), 1)),
    "multi_blend fixed": ({"learned": False, "weights": [1, 2, 5], **ROW}, lambda xs, w, _: (xs[0] + 2 * xs[1] + 5 * xs[2]) / 8),
    "median": (ROW, lambda xs, w, _: xs[0] + xs[1] + xs[2] - torch.stack(list(xs)).amax(0) - torch.stack(list(xs)).amin(0)),
    "vote": (ROW, lambda xs, w, _: (_hard(xs[0]) + _hard(xs[1]) + _hard(xs[2])) / 3),
    "attend": ({"hidden": 4, **ASKED}, _attend),
    "attend plain": ({"bias": False, **ASKED}, _attend),
    "select": (SCORED, _winner),
    "select dense": ({"straight_through": "dense", **SCORED}, _dense),
    "select none": ({"straight_through": "none", **SCORED}, lambda xs, w, s: _mixed(_hard(s), xs)),
    "select weighted": ({"weighted": True, **SCORED}, lambda xs, w, s: _mixed(_hard(s) * s.softmax(-1), xs)),
}  # fmt: skip


@pytest.mark.parametrize("lead", ["", "batch ", "batch seq "])
@pytest.mark.parametrize("name", REFERENCES)
def test_a_join_is_its_reference_forward_and_backward(name: str, lead: str) -> None:
    node, reference = REFERENCES[name]
    said = node["from"]
    other = next((port for port in ("q", "s") if isinstance(said, dict) and port in said.values()), "")
    names = [*(said["x"] if isinstance(said, dict) else said), *([other] if other else [])]
    widths = {"q": 5, "s": 3}
    inputs = {item: f"[{lead}{widths.get(item, 6)}]" for item in names}
    model = assembler.build(
        recipe({"inputs": inputs, "nodes": {"y": {"kind": name.split()[0], **node}}, "outputs": {"y": "y"}}), seed=1
    )
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    sizes = [2, 5][: len(lead.split())]
    one = {item: torch.randn(*sizes, widths.get(item, 6), requires_grad=True) for item in names}
    two = {item: value.detach().clone().requires_grad_() for item, value in one.items()}
    weights = {
        key.removeprefix("y."): value.detach().clone().requires_grad_() for key, value in model.named_parameters()
    }
    found = model(**one)
    wanted = reference(
        [two[item] for item in names if item != other], weights, two[other] if other else torch.zeros(())
    )
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert found.requires_grad == wanted.requires_grad
    if not wanted.requires_grad:
        return
    slope = torch.randn_like(wanted)
    torch.autograd.backward([found, wanted], [slope, slope])
    mine = [*one.values(), *model.parameters()]
    for ours, theirs in zip(mine, [*two.values(), *weights.values()], strict=True):
        if theirs.grad is None or not theirs.grad.any():
            assert ours.grad is None or not ours.grad.any()
        else:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_median_is_one_of_the_values_and_its_gradient_goes_there(count: int) -> None:
    names = [f"x{i}" for i in range(count)]
    model = assembler.build(
        recipe(
            {
                "inputs": dict.fromkeys(names, "[batch 6]"),
                "nodes": {"y": {"kind": "median", "from": names}},
                "outputs": {"y": "y"},
            }
        )
    )
    xs = [torch.randn(7, 6, requires_grad=True) for _ in names]
    found = model(*xs)
    assert torch.equal(found, torch.stack(xs).sort(0).values[(count - 1) // 2])
    found.sum().backward()
    assert torch.equal(torch.stack([x.grad for x in xs if x.grad is not None]), (torch.stack(xs) == found).float())


def test_a_selected_value_comes_out_bit_for_bit_and_of_equal_scores_the_first() -> None:
    inputs = {"a": "[batch 6]", "b": "[batch 6]", "s": "[batch 2]"}
    a, b, s = torch.randn(3, 6), torch.randn(3, 6), torch.tensor([[0.1, 0.3], [7.0, 2.0], [0.5, 0.5]])
    for how in ("dense", "winner", "none"):
        model = assembler.build(
            recipe(
                {
                    "inputs": inputs,
                    "nodes": {
                        "y": {"kind": "select", "straight_through": how, "from": {"x": ["a", "b"], "scores": "s"}}
                    },
                    "outputs": {"y": "y"},
                }
            )
        )
        assert torch.equal(model(a, b, s), torch.stack((b[0], a[1], a[2])))


def test_votes_are_counted_and_of_equal_entries_the_first_has_it() -> None:
    model = assembler.build(
        recipe(
            {
                "inputs": dict.fromkeys("abc", "[batch 3]"),
                "nodes": {"y": {"kind": "vote", **ROW}},
                "outputs": {"y": "y"},
            }
        )
    )
    rows = [
        torch.tensor([[1.0, 5.0, 0.0], [2.0, 2.0, 0.0]]),
        torch.tensor([[9.0, 5.0, 0.0], [0.0, 0.0, 0.0]]),
        torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]),
    ]
    torch.testing.assert_close(model(*rows), torch.tensor([[1 / 3, 2 / 3, 0.0], [2 / 3, 0.0, 1 / 3]]))


@pytest.mark.parametrize("weight", [1e-6, 0.1, 0.5, 0.73, 0.999])
def test_a_learned_blend_starts_where_it_is_told(weight: float) -> None:
    model = assembler.build(
        recipe(
            {
                "inputs": {"a": "[batch 4]", "b": "[batch 4]"},
                "nodes": {"y": {"kind": "blend", "weight": weight, "learned": True, "from": ["a", "b"]}},
                "outputs": {"y": "y"},
            }
        )
    )
    assert float(model(torch.ones(1, 4), torch.zeros(1, 4))[0, 0].detach()) == pytest.approx(weight, abs=1e-6)


@pytest.mark.parametrize("mode", ["softmax", "normalised"])
def test_shares_start_where_they_are_told_and_a_weight_of_zero_learns(mode: str) -> None:
    weights = [1, 2, 5] if mode == "softmax" else [0, 3, 5]
    model = assembler.build(
        recipe(
            {
                "inputs": dict.fromkeys("abc", "[batch 3]"),
                "nodes": {"y": {"kind": "multi_blend", "mode": mode, "weights": weights, **ROW}},
                "outputs": {"y": "y"},
            }
        )
    )
    shares = model(*torch.eye(3)[:, None]).detach()[0]
    torch.testing.assert_close(shares, torch.tensor(weights) / 8, rtol=0, atol=1e-6)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for _ in range(200):
        loss = (model(*torch.eye(3)[:, None])[0] - torch.tensor([0.6, 0.3, 0.1])).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(
        model(*torch.eye(3)[:, None]).detach()[0], torch.tensor([0.6, 0.3, 0.1]), rtol=0, atol=0.02
    )


def _linear(fed_from: str, out: int = 6) -> Nodes:
    return {"kind": "linear", "out": out, "from": fed_from}


WRONG: dict[str, tuple[Nodes, str, str]] = {
    "three values": ({"kind": "blend", **ROW}, "shape-constraint", "multi_blend"),
    "learned from 0": ({"kind": "blend", "weight": 0, "learned": True, "from": ["a", "b"]}, "value-range", "mode: normalised, weights: [0, 1]"),
    "learned from 1": ({"kind": "blend", "weight": 1, "learned": True, "from": ["a", "b"]}, "value-range", "mode: blend"),
    "fixed channels": ({"kind": "blend", "channel": True, "from": ["a", "b"]}, "value-range", "learned: true"),
    "above 1": ({"kind": "blend", "weight": 1.5, "from": ["a", "b"]}, "value-range", "1"),
    "too few weights": ({"kind": "multi_blend", "weights": [1, 2], **ROW}, "shape-constraint", "2 numbers"),
    "negative": ({"kind": "multi_blend", "weights": [1, -2, 1], **ROW}, "value-range", "weights"),
    "all zero": ({"kind": "multi_blend", "mode": "normalised", "weights": [0, 0, 0], **ROW}, "value-range", "all 0"),
    "softmax of zero": ({"kind": "multi_blend", "weights": [0, 1, 1], **ROW}, "value-range", "normalised"),
    "too many scores": ({"kind": "select", "from": {"x": ["a", "b"], "scores": "s"}}, "shape-mismatch", "3 against 2"),
    "two ways to learn": ({"kind": "select", "weighted": True, "straight_through": "dense", **SCORED}, "value-range", "straight_through"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_said(name: str) -> None:
    node, code, words = WRONG[name]
    nodes = {"a": _linear("x"), "b": _linear("x"), "c": _linear("x"), "s": _linear("x", 3), "y": node}
    report = assembler.check(recipe({"inputs": {"x": "[batch 4]"}, "nodes": nodes, "outputs": {"y": "y"}}))
    (said,) = [item for item in report.diagnostics if item.level == "error"]
    assert said.code == code
    assert words in f"{said.message} {said.help}"


def test_the_scores_of_a_select_are_as_many_as_its_values() -> None:
    nodes = {
        "a": _linear("x"),
        "b": _linear("x"),
        "s": {"kind": "linear", "from": "x"},
        "y": {"kind": "select", "from": {"x": ["a", "b"], "scores": "s"}},
    }
    model = assembler.build(recipe({"inputs": {"x": "[batch 4]"}, "nodes": nodes, "outputs": {"y": "y"}}))
    assert model.get_parameter("s.weight").shape == (2, 4)


JOINS: list[Any] = [
    "blend",
    "multi_blend",
    "median",
    "vote",
    "attend",
    "select",
    {"kind": "attend", "hidden": 3},
    {"kind": "blend", "learned": True},
    {"kind": "multi_blend", "weights": [1, 3]},
]


@pytest.mark.parametrize("join", JOINS, ids=str)
def test_a_join_stands_in_a_parallel_and_nests(join: Any) -> None:
    kind = join["kind"] if isinstance(join, dict) else join
    parts: Nodes = {"one": {"kind": "linear", "out": 6}, "two": {"kind": "mlp", "out": 6}}
    inner: Nodes = {"kind": "parallel", "join": join, "parts": parts}
    outer: Nodes = {**inner, "parts": {**parts, "two": inner}, "from": "x"}
    chosen: Nodes = {**inner, "from": {"x": "x", "scores": "scores"}}
    nodes: Nodes = {"scores": _linear("x", 2), "y": chosen if kind == "select" else outer}
    model = assembler.build(
        recipe({"inputs": {"x": "[batch seq 4]"}, "nodes": nodes, "outputs": {"y": "y", "s": "scores"}})
    )
    found = model(torch.randn(2, 3, 4))["y"]
    assert found.shape == (2, 3, 6)
    assert found.requires_grad == (kind != "vote")


def test_the_recipe_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "kinds" / "joins.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    good(text)
    assert all(f"| `{kind}` |" in page for kind in (*JOINS[:6], "add", "mean", "concat", "multiply", "gate"))
