"""The routing plan against short references: choices, weights, drops, losses, balance, and what learns from it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from pydantic import ValidationError
from torch import Tensor

from assembler.library import registry
from assembler.library.modules import Gating, Jitter

torch.set_num_threads(1)


def gating(**options: Any) -> Gating:
    return Gating(**{"experts": 5, **options})


def scores(*lead: int, experts: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(*lead, experts, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def largest(row: Tensor, k: int) -> list[int]:
    known = row.tolist()
    return sorted(range(len(known)), key=lambda e: -known[e])[:k]


# --- choices and weights ---
@pytest.mark.parametrize("lead", [(), (7,), (2, 3)])
@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_a_row_weighs_its_best_experts(lead: tuple[int, ...], score: str, top_k: int) -> None:
    x = scores(*lead)
    for renormalize in (False, True):
        gates, load = gating(top_k=top_k, score=score, temperature=0.7, renormalize=renormalize)(x)
        assert gates.shape == x.shape
        assert load.shape == (5,)
        assert not load.requires_grad
        for row, given in zip(gates.reshape(-1, 5), x.reshape(-1, 5), strict=True):
            p = (given / 0.7).softmax(-1) if score == "softmax" else (given / 0.7).sigmoid()
            best = largest(given, top_k)
            wanted = torch.zeros(5)
            wanted[best] = p[best] / p[best].sum() if renormalize else p[best]
            torch.testing.assert_close(row, wanted)
        torch.testing.assert_close(load, (gates.reshape(-1, 5) > 0).float().sum(0) / (top_k * math.prod(lead)))
        torch.testing.assert_close(load.sum(), torch.tensor(1.0))


def test_weights_of_very_unlike_scores_are_finite() -> None:
    x = torch.tensor([[200.0, -200.0, -300.0, 0.0, 0.0], [-500.0, -501.0, -502.0, -503.0, -504.0]], requires_grad=True)
    for score in ("softmax", "sigmoid"):
        gates = gating(score=score)(x)[0]
        torch.testing.assert_close(gates.sum(-1), torch.ones(2))
        gates.square().sum().backward()
        assert bool(torch.isfinite(x.grad).all())  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_scores_are_compared_in_float32_at_least_and_gates_come_back_as_they_came(dtype: torch.dtype) -> None:
    x = scores(6).detach().to(dtype)
    gates, load, balance, z = gating(balance="switch", z_loss=0.1)(x)
    wanted = gating(balance="switch", z_loss=0.1)(x.double())
    assert (gates.dtype, load.dtype, balance.dtype, z.dtype) == (dtype, torch.float32, torch.float32, torch.float32)
    torch.testing.assert_close(gates.double(), wanted[0], rtol=torch.finfo(dtype).eps, atol=torch.finfo(dtype).tiny)
    torch.testing.assert_close(z, wanted[3], rtol=torch.finfo(dtype).eps + 1e-6, atol=0)


def test_experts_choose_their_best_rows() -> None:
    x = scores(2, 4)
    gates, load = gating(router="expert_choice", renormalize=False, top_k=2)(x)
    p, found = x.reshape(-1, 5).softmax(-1), gates.reshape(-1, 5)
    for expert in range(5):
        best = largest(p[:, expert], math.ceil(2 * 8 / 5))
        assert sorted(found[:, expert].nonzero().flatten().tolist()) == sorted(best)
        torch.testing.assert_close(found[best, expert], p[best, expert])
    torch.testing.assert_close(load, torch.full((5,), 0.2))


def test_gates_of_zero_and_one() -> None:
    gates = gating(top_k=3, weighted=False)(x := scores(9))[0]
    assert not gates.requires_grad
    assert torch.equal(gates.sort(-1).values, torch.tensor([0.0, 0, 1, 1, 1]).expand(9, 5))
    assert all(
        set(row.nonzero().flatten().tolist()) == set(largest(given, 3)) for row, given in zip(gates, x, strict=True)
    )


@pytest.mark.parametrize("form", ["dense", "winner"])
def test_straight_through_is_exact_forward_and_soft_backward(form: str) -> None:
    x, values = scores(9), torch.randn(9, 5)
    gates = gating(top_k=1, weighted=False, straight_through=form)(x)[0]
    hard = F.one_hot(x.argmax(-1), 5).float()
    assert torch.equal(gates, hard)
    (found,) = torch.autograd.grad((gates * values).sum(), x)
    soft = x.softmax(-1)
    (wanted,) = torch.autograd.grad(((soft if form == "dense" else hard * soft) * values).sum(), x)
    torch.testing.assert_close(found, wanted)


# --- noise, dropout ---
def test_noise_of_a_learned_size_in_training_only() -> None:
    x, noise = scores(4000).detach() * 0, scores(1, seed=1).detach().expand(4000, 5).clone().requires_grad_()
    module = gating(router="noisy_topk", top_k=5, renormalize=False)
    torch.manual_seed(0)
    gates = module(x, noise=noise)[0]
    heard = gates.log() - gates.log().mean(-1, keepdim=True)
    deviation = F.softplus(noise[0])
    variance = deviation**2 * 0.64 + deviation.square().sum() / 25 - deviation.square() / 25  # of e - mean(e)
    torch.testing.assert_close(heard.var(0), variance, rtol=0.1, atol=0.0)
    (gradient,) = torch.autograd.grad(gates.square().sum(), noise)
    assert bool(gradient.any())
    assert torch.equal(module.eval()(x, noise=noise)[0], torch.full((4000, 5), 0.2))


def test_an_expert_that_dropped_out_is_not_chosen_and_k_always_stay() -> None:
    torch.manual_seed(0)
    module = gating(top_k=2, expert_dropout=0.6)
    idle = torch.zeros(5)
    for _ in range(400):
        load = module(scores(50))[1]
        assert int((load > 0).sum()) >= 2
        idle += load == 0
    expected = sum(math.comb(5, n) * 0.6**n * 0.4 ** (5 - n) * min(n, 3) / 5 for n in range(6))
    torch.testing.assert_close(idle / 400, torch.full((5,), expected), rtol=0.0, atol=0.1)
    assert bool((module.eval()(scores(50))[1] > 0).all())
    load = gating(top_k=1, router="expert_choice", renormalize=False, expert_dropout=1.0)(scores(50))[1]
    assert sorted(load.tolist()) == [0.0, 0.0, 0.0, 0.0, 1.0]


# --- capacity ---
@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 1.1, 1.25, 5.0])
def test_later_rows_beyond_the_capacity_are_dropped(factor: float) -> None:
    x = scores(3, 7)
    full = gating(balance="switch")(x)
    gates, load, balance = gating(balance="switch", capacity=factor)(x)
    room = math.ceil(2 * 21 * factor / 5 - 1e-9)
    kept = full[0].reshape(-1, 5).detach().clone()
    for expert in range(5):
        kept[kept[:, expert].nonzero().flatten()[room:], expert] = 0.0
    torch.testing.assert_close(gates.reshape(-1, 5), kept)
    torch.testing.assert_close(load, (kept > 0).sum(0) / 42)
    torch.testing.assert_close(balance, full[2])  # of what was wanted, before drops


# --- losses and balance ---
def test_switch_is_one_when_balanced_and_counts_without_a_gradient() -> None:
    x = scores(11)
    *_, balance = gating(top_k=2, balance="switch", balance_weight=3.0)(x)
    share, p = torch.zeros(5), x.softmax(-1)
    for row in x:
        share[largest(row, 2)] += 1 / 22
    wanted = 3.0 * 5 * (share * p.mean(0)).sum()
    torch.testing.assert_close(balance, wanted)
    torch.testing.assert_close(torch.autograd.grad(balance, x)[0], torch.autograd.grad(wanted, x)[0])
    even = 5.0 * torch.eye(5)
    torch.testing.assert_close(
        gating(top_k=1, renormalize=False, balance="switch", balance_weight=1.0)(even)[2], torch.tensor(1.0)
    )
    assert gating(top_k=1, renormalize=False, balance="switch", balance_weight=1.0)(even[:1])[2].item() > 4


def test_importance_is_the_squared_variation_and_finite_for_one_expert() -> None:
    x = scores(11)
    *_, balance = gating(balance="importance", balance_weight=2.0)(x)
    mean = x.softmax(-1).mean(0)
    torch.testing.assert_close(balance, 2.0 * (5 * mean.square().sum() - 1))
    torch.testing.assert_close(balance, 2.0 * (mean.std(correction=0) / mean.mean()) ** 2)
    alone = Gating(1, 1, renormalize=False, balance="importance")(one := scores(4, experts=1))[2]
    assert alone.item() == 0.0
    assert torch.autograd.grad(alone, one)[0].tolist() == [[0.0]] * 4


def test_sigmoid_scores_are_balanced_by_their_shares() -> None:
    x = scores(11)
    p = x.sigmoid()
    mean = (p / p.sum(-1, keepdim=True)).mean(0)
    torch.testing.assert_close(
        gating(score="sigmoid", balance="importance", balance_weight=1.0)(x)[2], 5 * mean.square().sum() - 1
    )


def test_z_loss_is_the_mean_square_of_the_logsumexp_of_what_came_in() -> None:
    x = scores(2, 3)
    *_, z = gating(z_loss=0.5, temperature=2.0)(x)
    torch.testing.assert_close(z, 0.5 * x.exp().sum(-1).log().square().mean())


def test_the_bias_moves_against_the_load_and_weighs_nothing() -> None:
    x = scores(40) + torch.tensor([3.0, 0, 0, 0, -3.0])
    module = gating(score="sigmoid", balance="bias", bias_rate=0.01)
    gates, before = module(x)
    assert len(gates) == 40
    step = 0.01 * (before.mean() - before).sign()
    torch.testing.assert_close(module.bias, step - step.mean())
    for _ in range(200):
        found, load = module(x)
    assert float(load.max()) < 0.3 < float(before.max())
    torch.testing.assert_close(module.bias.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    p = x.sigmoid() * (found > 0)
    torch.testing.assert_close(found, p / p.sum(-1, keepdim=True))
    assert list(module.state_dict()) == ["bias"]
    still = module.eval().bias.clone()
    module(x)
    assert torch.equal(module.bias, still)


def test_no_rows_give_no_load_and_no_loss() -> None:
    """What an expert that is itself a mixture may see."""
    for options in (
        {"balance": "switch"},
        {"balance": "importance"},
        {"balance": "bias"},
        {"router": "expert_choice", "renormalize": False},
        {"capacity": 1.0},
    ):
        gates, load, *losses = gating(z_loss=1.0, **options)(torch.zeros(0, 5, requires_grad=True))
        assert gates.shape == (0, 5)
        assert [item.item() for item in (load.sum(), *losses)] == [0.0] * (1 + len(losses)), options


# --- what learns ---
@pytest.mark.parametrize(
    ("options", "learns"),
    [({}, True), ({"top_k": 1, "renormalize": False}, True), ({"top_k": 1, "renormalize": True}, False), ({"weighted": False}, False),
     ({"weighted": False, "top_k": 1, "straight_through": "dense"}, True), ({"weighted": False, "top_k": 1, "straight_through": "winner"}, True),
     ({"router": "expert_choice", "renormalize": False}, True), ({"score": "sigmoid", "balance": "bias"}, True)],
    ids=str,
)  # fmt: skip
def test_where_the_scores_learn_from_the_gates(options: dict[str, Any], learns: bool) -> None:
    x = scores(20)
    gates = gating(**options)(x)[0]
    if not gates.requires_grad:
        assert not learns
        return
    (gradient,) = torch.autograd.grad((gates * torch.randn(20, 5)).sum(), x)
    assert (float(gradient.abs().max()) > 1e-4) == learns


def test_jitter_is_near_one_in_training_and_nothing_outside_it() -> None:
    x = torch.full((5000,), 2.0, requires_grad=True)
    module = Jitter(0.1)
    y = module(x)
    assert 1.8 <= y.min().item() < 1.81
    assert 2.19 < y.max().item() <= 2.2
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], (y / 2).detach())
    assert module.eval()(x) is x


# --- the card ---
IMPOSSIBLE = {
    "{top_k: 1, renormalize: true}": "leave `renormalize` out",
    "{weighted: false, renormalize: false}": "leave `renormalize` out",
    "{straight_through: winner, top_k: 1}": "say `weighted: false` too",
    "{straight_through: winner, weighted: false}": "say `top_k: 1`",
    "{router: expert_choice, renormalize: true}": "leave `renormalize` out",
    "{router: expert_choice, capacity: 1.0}": "leave `capacity` out",
    "{router: expert_choice, balance: switch}": "leave `balance: switch` out",
    "{router: expert_choice, top_k: 1, weighted: false, straight_through: dense}": "say `router: topk`",
}


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_options_that_mean_nothing_are_refused_with_what_to_write(text: str) -> None:

    kind = registry.kind("gating")
    assert kind is not None
    with pytest.raises(ValidationError, match=IMPOSSIBLE[text]):
        kind.options.model_validate(yaml.safe_load(text))


def test_more_experts_than_there_are_cannot_be_chosen() -> None:
    with pytest.raises(ValueError, match="cannot choose 3 of 2"):
        Gating(2, 3)
