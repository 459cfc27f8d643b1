"""Analysis S through mixtures: every edge, value and gradient, against built models; what chance decides says so."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from assembler.assemble import checked, recipe
from assembler.facts.scale.gates import choose
from assembler.facts.scale.moments_gates import Law, gates
from assembler.facts.scale.part import Fresh, Part
from assembler.facts.scale.place import Run
from assembler.facts.scale.signal import Signal, Unknown
from assembler.lab.moments import Moment, tried
from tests.recipes import shipped

torch.set_num_threads(1)

Nodes = dict[str, Any]
SIZES = {"batch": 8, "seq": 64}
EXPERT: Nodes = {"kind": "mlp", "hidden": 64}


def _mixture(**options: Any) -> Nodes:
    return {
        "n": {"kind": "layer_norm", "from": "x"},
        "a": {"kind": "moe", "experts": 8, "expert": EXPERT, **options, "from": "n"},
        "s": {"kind": "add", "from": ["x", "a"]},
        "h": {"kind": "linear", "out": 16, "from": "s"},
    }


def _alone(**options: Any) -> Nodes:
    return {"a": {**options, "from": "x"}, "h": {"kind": "linear", "out": 16, "from": "a"}}


PARTS: Nodes = {"u": EXPERT, "v": {"kind": "swiglu", "hidden": 48}, "w": {"kind": "linear", "out": 32}}
MIXTURES: dict[str, Nodes] = {
    **{f"top {k}": _mixture(top_k=k) for k in (1, 2, 4)},
    "sigmoid": _mixture(score="sigmoid"),
    "sigmoid of one": _mixture(score="sigmoid", top_k=1, balance="importance"),
    "sigmoid, not renormalised": _mixture(score="sigmoid", renormalize=False, z_loss=0.01),
    "not renormalised": _mixture(renormalize=False),
    "scores that vary": _mixture(init={"weights": "normal(0.3)"}),
    "scores that vary, not renormalised": _mixture(init={"weights": "normal(0.3)"}, renormalize=False, top_k=3),
    "temperature": _mixture(temperature=0.1),
    "noise": _mixture(router="noisy_topk"),
    "noise and temperature": _mixture(router="noisy_topk", temperature=2.0, top_k=1),
    "experts choose": _mixture(router="expert_choice"),
    "capacity": _mixture(capacity=1.0),
    "dropout": _mixture(expert_dropout=0.2),
    "bias": _mixture(balance="bias"),
    "importance": _mixture(balance="importance"),
    "jitter": _mixture(jitter=0.1, z_loss=0.01),
    "shared": _mixture(shared=1),
    "unlike": _alone(kind="moe", experts={"small": {"kind": "mlp", "hidden": 8, "count": 3}, "wide": {"kind": "mlp", "hidden": 128}}),
    "route": _alone(kind="route", norm="pre", router={"kind": "mlp", "hidden": 64}, parts=PARTS),
    **{f"compete {how}": _alone(kind="compete", straight_through=how, parts=PARTS) for how in ("winner", "dense", "none")},
    "nested": _alone(kind="moe", experts=3, expert={"kind": "moe", "experts": 3, "top_k": 1, "expert": EXPERT}),
}  # fmt: skip


def _rows(nodes: Nodes, seeds: int = 4, **outputs: str) -> list[Moment]:
    source = {"inputs": {"x": "[batch seq 32]"}, "nodes": nodes, "outputs": {"y": list(nodes)[-1], **outputs}}
    return tried(*checked(recipe(source)), SIZES, range(seeds))


@pytest.mark.parametrize("name", MIXTURES)
def test_every_edge_of_a_mixture_is_inside_its_band(name: str) -> None:
    rows = _rows(MIXTURES[name], **({} if "compete" in name else {"aux": "losses"}))
    assert not [row for row in rows if not row.inside]
    assert not [row for row in rows if row.predicted is None]
    assert max(row.band for row in rows) < 1.51


@pytest.mark.parametrize("name", ["mixtral", "experts"])
def test_every_edge_of_a_shipped_mixture_is_inside_its_band(name: str) -> None:
    graph, facts = checked(recipe(shipped.path(name), shipped.SMALL[name]))
    rows = tried(graph, facts, {"batch": 8, "seq": 32}, range(4))
    assert not [row for row in rows if not row.inside]
    assert not [row for row in rows if row.predicted is None]


def test_where_tokens_choose_alike_the_mean_of_the_experts_is_inside_the_band_in_every_single_model() -> None:
    """One expert alone is nowhere near its mean there: that hangs on chance, and is said as a doubt."""
    graph, facts = checked(recipe(shipped.path("experts"), shipped.SMALL["experts"]))
    for seed in range(3):
        rows = tried(graph, facts, {"batch": 4, "seq": 24}, [seed])
        mean = _named(rows, "g", "stream.mix.mix.x")
        experts = [_named(rows, "g", f"stream.mix.expert.{place}.y") for place in range(len(mean.over))]
        assert mean.error == 0
        assert mean.band < 1.6
        assert mean.inside
        assert mean.measured == pytest.approx(sum(row.measured for row in experts) / len(experts))
        assert min(row.error for row in experts) > 0.5
        assert [row for row in experts if not 1 / 1.5 < row.measured / (row.predicted or 0.0) < 1.5]


def test_an_expert_that_no_row_chose_is_inside_where_chance_is_large_and_outside_where_it_is_not() -> None:
    assert Moment("g", "expert.y", 1.0, 1.5, 0.0, error=1.0, sure=3.0).inside
    assert not Moment("g", "expert.y", 1.0, 1.5, 0.0, error=0.5, sure=3.0).inside
    assert not Moment("g", "expert.y", 1.0, 1.5, 50.0, error=1.0, sure=3.0).inside


def _named(rows: list[Moment], what: str, address: str) -> Moment:
    (row,) = [row for row in rows if (row.what, row.address) == (what, address)]
    return row


def test_what_only_a_loss_reaches_is_not_predicted() -> None:
    rows = _rows(_mixture(weighted=False), aux="losses")
    assert not [row for row in rows if not row.inside]
    assert [(row.what, row.address) for row in rows if row.predicted is None] == [("g", "a.router.y")]
    assert "loss" in _named(rows, "g", "a.router.y").reason


def test_gates_times_what_they_are_made_of_are_not_predicted() -> None:
    nodes: Nodes = {
        "r": {"kind": "linear", "out": 4, "from": "x"},
        "g": {"kind": "gating", "balance": "none", "from": "r"},
        "y": {"kind": "multiply", "from": ["g", "r"]},
    }
    rows = _rows(nodes, 1)
    assert _named(rows, "q", "g.gates").predicted is not None
    assert _named(rows, "q", "y.y").predicted is None


def test_a_choice_among_equal_scores_is_not_predicted() -> None:
    """`check` refuses most of them."""
    scores = Signal((8, 4), "bf", (Part(1, 0.5, {}),))
    found = choose(Run(Fresh(), {}), {"top_k": 2, "by": "row"}, scores)
    assert isinstance(found, Unknown)
    assert "equal scores" in found.reason


def test_a_norm_of_rows_that_may_have_no_expert_is_not_predicted() -> None:
    """Back through it goes 1 / v, and v may be zero; its values are predicted."""
    nodes = _mixture(router="expert_choice")
    nodes["s"] = {"kind": "layer_norm", "from": "a"}
    rows = _rows(nodes, 1, aux="losses")
    assert _named(rows, "g", "a.y").predicted is None
    assert "1 / v" in _named(rows, "g", "a.y").reason


# --- the law itself ---
def test_gates_of_small_scores_are_shares_of_the_chosen() -> None:
    found = gates(Law(8, 0.0, 1e-9, 0.0, 0.0, "softmax", 2, whole=True))
    assert found.mean == pytest.approx(1 / 8)
    assert found.own[0] == pytest.approx(1 / 16)
    assert found.sums[0] == pytest.approx(1.0)
    assert found.left == pytest.approx(2 * (1 / 4) * (1 - 2 / 2 + 2 / 4) / 8)
    assert found.shared == 0.0


LAWS = [
    Law(6, 0.3, 0.8, 0.0, 0.0, score, k, by, whole=whole)
    for score in ("softmax", "sigmoid")
    for k, by, whole in ((1, "row", False), (3, "row", False), (3, "row", True), (2, "expert", False))
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.score} {law.k} by {law.by} {law.whole}")
def test_gates_and_their_gradient_are_those_of_autograd(law: Law) -> None:
    torch.manual_seed(0)
    scores = (law.m + math.sqrt(law.v) * torch.randn(4000, law.n, dtype=torch.float64)).requires_grad_()
    p = scores.softmax(-1) if law.score == "softmax" else scores.sigmoid()
    count = law.k if law.by == "row" else len(p) * law.k // law.n
    axis = 1 if law.by == "row" else 0
    chosen = torch.zeros_like(p).scatter(axis, p.detach().topk(count, axis).indices, 1.0)
    w = p * chosen
    if law.whole:
        w = w / w.sum(-1, keepdim=True)
    found, known = gates(law), w.detach()
    assert found.mean == pytest.approx(float(known.mean()), rel=0.05)
    assert found.own[0] == pytest.approx(float(known.square().mean()), rel=0.05)
    assert found.sums[0] == pytest.approx(float(known.sum(-1).square().mean()), rel=0.05)
    assert found.squares[1] == pytest.approx(float(known.square().sum(-1).square().mean()), rel=0.1)
    (back,) = torch.autograd.grad(w, scores, torch.randn_like(w), retain_graph=True)
    assert found.left == pytest.approx(float(back.square().mean()), rel=0.08)
    (same,) = torch.autograd.grad(w, scores, torch.ones_like(w))
    assert found.shared == pytest.approx(float(same.square().mean()), rel=0.08, abs=1e-12)
