"""Bridges between media against short references: values, gradients, running codes, what their gradient is worth."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

import assembler
from assembler.facts.scale.choice import agreement
from assembler.lab.verify import verify
from assembler.library.modules import GumbelSoftmax, StraightThrough, VectorQuantize

torch.set_num_threads(1)

LEADS = [(), (5,), (2, 3)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


def _gradient(out: Tensor, x: Tensor, cotangent: Tensor) -> Tensor:
    (found,) = torch.autograd.grad((out * cotangent).sum(), x)
    return found


# --- straight_through ---
@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_straight_through_is_one_hot_with_the_gradient_of_the_softmax(
    lead: tuple[int, ...], temperature: float
) -> None:
    x, cotangent = torch.randn(*lead, 6, requires_grad=True), torch.randn(*lead, 6)
    y = StraightThrough(temperature)(x)
    assert torch.equal(y, F.one_hot(x.argmax(-1), 6).float())
    torch.testing.assert_close(
        _gradient(y, x, cotangent), _gradient((x / temperature).softmax(-1), x, cotangent), rtol=0, atol=0
    )


def test_a_hard_choice_among_experts_has_the_gradient_of_their_soft_mixture_and_the_winners_alone_a_part_of_it() -> (
    None
):
    """Contracts 1.4, of a linear reader: the dense form is exact to the last bit, the winner's is a projection."""
    experts, cotangent = torch.randn(16, 32), torch.randn(2000, 32)
    x = torch.randn(2000, 16, requires_grad=True)
    p, hard = x.softmax(-1), F.one_hot(x.argmax(-1), 16).float()
    soft = _gradient(p @ experts, x, cotangent)
    assert torch.equal(_gradient(StraightThrough()(x) @ experts, x, cotangent), soft)
    winner = _gradient((hard * (1 + (x.softmax(-1) - x.softmax(-1).detach()))) @ experts, x, cotangent)
    assert 0.5 < float(F.cosine_similarity(winner.flatten(), soft.flatten(), 0)) < 0.8


def test_the_order_of_the_sum_is_what_makes_it_exact() -> None:
    x = torch.randn(20_000, 8)
    p, hard = x.softmax(-1), F.one_hot(x.argmax(-1), 8).float()
    assert torch.equal(StraightThrough()(x), hard)
    assert not torch.equal(hard + p - p.detach(), hard)


@pytest.mark.parametrize("choose", [StraightThrough(), GumbelSoftmax().eval()])
def test_of_equal_entries_the_first_is_chosen(choose: torch.nn.Module) -> None:
    x = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0], [-0.0, 0.0, -1.0]])
    assert choose(x).argmax(-1).tolist() == x.argmax(-1).tolist() == [1, 0, 0]


# --- gumbel ---
@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("hard", [True, False])
def test_gumbel_is_torchs_in_training_and_without_noise_outside(lead: tuple[int, ...], hard: bool) -> None:
    x, cotangent = torch.randn(*lead, 6, requires_grad=True), torch.randn(*lead, 6)
    module = GumbelSoftmax(0.7, hard)
    torch.manual_seed(1)
    mine = module(x)
    torch.manual_seed(1)
    theirs = F.gumbel_softmax(x, tau=0.7, hard=hard)
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(_gradient(mine, x, cotangent), _gradient(theirs, x, cotangent))
    module.eval()
    assert torch.equal(module(x), F.one_hot(x.argmax(-1), 6).float() if hard else (x / 0.7).softmax(-1))


def test_draws_come_as_often_as_the_logits_say() -> None:
    x = torch.randn(5)
    drawn = GumbelSoftmax(0.3)(x.expand(40_000, 5)).mean(0)
    expected = x.softmax(-1)
    assert bool(((drawn - expected).abs() < 5 * (expected / 40_000).sqrt()).all())


def test_low_temperatures_have_less_bias_and_more_variance() -> None:
    """Against the exact gradient of the mean: bias falls from half of it to a few percent, variance goes with 1/temperature."""
    x, worth = torch.randn(8), torch.randn(8)
    exact = _gradient(x.requires_grad_().softmax(-1), x, worth)
    bias, variance = [], []
    for temperature in (2.0, 0.5, 0.1, 0.05):
        many = x.detach().expand(40_000, 8).clone().requires_grad_()
        found = _gradient(GumbelSoftmax(temperature)(many), many, worth)
        bias.append(float((found.mean(0) - exact).norm() / exact.norm()))
        variance.append(float(found.var(0).sum()))
    assert bias[0] > 0.3
    assert bias[2] < 0.1
    assert variance == sorted(variance)
    assert 1.6 < variance[3] / variance[2] < 2.4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_draws_no_infinite_noise(dtype: torch.dtype) -> None:
    x = torch.zeros(200_000, 4, dtype=dtype)
    soft = GumbelSoftmax(1.0, hard=False)(x)
    assert soft.dtype == dtype
    assert bool(soft.isfinite().all())


# --- vector_quantize ---
def _nearest(x: Tensor, book: Tensor) -> Tensor:
    return torch.stack([(row - book).square().sum(-1).argmin() for row in x.reshape(-1, x.shape[-1])]).reshape(
        x.shape[:-1]
    )


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("ema", [True, False])
def test_a_vector_becomes_its_nearest_code_and_its_gradient_passes(lead: tuple[int, ...], ema: bool) -> None:
    module = VectorQuantize(7, 6, commit=0.3, ema=ema)
    with torch.no_grad():
        module.codebook.normal_()
    book = module.codebook.detach().clone().requires_grad_()
    x, cotangent = torch.randn(*lead, 6, requires_grad=True), torch.randn(*lead, 6)
    y, index, loss = module(x)
    assert torch.equal(index, _nearest(x, book))
    assert torch.equal(y, book[index])
    torch.testing.assert_close(_gradient(y, x, cotangent), cotangent, rtol=0, atol=0)
    wanted = 0.3 * (x - book[index].detach()).square().mean() + (
        0.0 if ema else (book[index] - x.detach()).square().mean()
    )
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(loss, x, retain_graph=True)[0], torch.autograd.grad(wanted, x, retain_graph=True)[0]
    )
    if not ema:
        torch.testing.assert_close(torch.autograd.grad(loss, module.codebook)[0], torch.autograd.grad(wanted, book)[0])
    assert {name for name, _ in module.named_parameters()} == (set() if ema else {"codebook"})


def test_codes_are_running_means_of_what_chose_them() -> None:
    """Five updates against van den Oord 2017, appendix A.1, with Laplace smoothing."""
    codes, decay, eps = 5, 0.8, 1e-3
    module = VectorQuantize(codes, 3, decay=decay, eps=eps)
    book, count, total = module.codebook.clone(), torch.ones(codes), module.codebook.clone()
    for _ in range(5):
        x = torch.randn(11, 3)
        y, _, _ = module(x)
        nearest = F.one_hot(_nearest(x, book), codes).float()
        assert torch.equal(y, book[nearest.argmax(-1)])  # The update comes after.
        count = decay * count + (1 - decay) * nearest.sum(0)
        total = decay * total + (1 - decay) * nearest.T @ x
        smooth = (count + eps) / (count.sum() + codes * eps) * count.sum()
        book = total / smooth[:, None]
        torch.testing.assert_close(module.codebook, book)
        torch.testing.assert_close(module.cluster_size, count)
        torch.testing.assert_close(module.embed_sum, total)
        book = module.codebook.clone()
    before = copy.deepcopy(module.state_dict())
    module.eval()(torch.randn(11, 3))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_a_code_that_nothing_chooses_shrinks_to_zero_once_its_count_is_below_eps() -> None:
    module = VectorQuantize(2, 3, decay=0.5, eps=1e-4)
    with torch.no_grad():
        module.codebook.copy_(torch.tensor([[1.0, 0.0, 0.0], [-50.0, 0.0, 0.0]]))
        module.embed_sum.copy_(module.codebook)
    x, norms = torch.tensor([[1.0, 0.0, 0.0]] * 4), []
    for _ in range(30):
        module(x)
        norms.append(float(module.codebook[1].norm()))
    assert norms[5] > 45
    assert norms[-1] < 1
    torch.testing.assert_close(module.codebook[0], x[0], rtol=1e-3, atol=0)


def test_codes_find_clusters_and_the_loss_falls() -> None:
    centres = torch.randn(6, 8)
    for ema in (True, False):
        torch.manual_seed(0)
        module = VectorQuantize(24, 8, ema=ema, decay=0.9)
        step = None if ema else torch.optim.Adam(module.parameters(), 0.02)
        losses = []
        for _ in range(300):
            _, _, loss = module(centres[torch.randint(6, (64,))] + 0.1 * torch.randn(64, 8))
            losses.append(float(loss.detach()))
            if step is not None:
                step.zero_grad()
                loss.backward()
                step.step()
        assert losses[-1] < 0.5 * losses[0]


def test_distances_of_half_precision_are_taken_in_single() -> None:
    book = torch.tensor([[100.0, 0.5], [100.0, -0.5]])
    module = VectorQuantize(2, 2)
    with torch.no_grad():
        module.codebook.copy_(book)
    module = module.to(torch.bfloat16).eval()
    assert module(torch.tensor([[100.0, 0.25], [100.0, -0.25]], dtype=torch.bfloat16))[1].tolist() == [0, 1]


# --- in recipes ---
QUANTIZED = """
inputs: {x: "[batch seq 8]"}
nodes:
  stack: {kind: sequence, repeat: 2, SHARE, from: x, parts: {up: {kind: linear, out: 8}, quantize: {kind: vector_quantize, codes: 5, commit: 0.5, EMA}}}
  head: {kind: linear, out: 3, from: stack}
outputs: {y: head, aux: losses}
"""


@pytest.mark.parametrize("ema", [True, False])
@pytest.mark.parametrize("share", [True, False])
def test_the_losses_of_all_copies_are_collected(share: bool, ema: bool) -> None:
    """Copies that share their weights have a loss for each use."""
    text = QUANTIZED.replace("SHARE", f"share: {str(share).lower()}").replace("EMA", f"ema: {str(ema).lower()}")
    model: Any = assembler.build(yaml.safe_load(text), seed=1).eval()
    out = model(x := torch.randn(2, 4, 8))
    total = torch.zeros(())
    modules = [part for part in model.modules() if type(part).__name__ == "VectorQuantize"]
    linears = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part.out_features == 8]
    assert len(modules) == len(linears) == (1 if share else 2)
    for copy_ in range(2):
        x, _, loss = modules[copy_ % len(modules)](linears[copy_ % len(linears)](x))
        total = total + loss
    torch.testing.assert_close(out["aux"], total)
    torch.testing.assert_close(out["y"], model.head(x))


FLOWS = {
    "straight_through": "k: {kind: straight_through, temperature: 0.5, from: h}, o: {kind: linear, out: 4, from: k}",
    "gumbel": "k: {kind: gumbel, from: h}, o: {kind: linear, out: 4, from: k}",
    "gumbel, soft": "k: {kind: gumbel, hard: false, from: h}, o: {kind: linear, out: 4, from: k}",
    "argmax": "k: {kind: argmax, from: h}, e: {kind: embedding, out: 6, from: k}, o: {kind: add, from: [e, h]}",
    "argmax alone": "k: {kind: argmax, from: h}, o: {kind: embedding, out: 6, from: k}",
    "codes": "k: {kind: vector_quantize, codes: 5, from: h}, o: {kind: linear, out: 4, from: k}",
    "codes, a parameter": "k: {kind: vector_quantize, codes: 5, ema: false, from: h}, o: {kind: linear, out: 4, from: k}",
    "the index alone": "k: {kind: vector_quantize, codes: 5, from: h}, o: {kind: embedding, out: 4, from: k.index}",
    "one class": "g: {kind: linear, out: 1, from: h}, k: {kind: straight_through, from: g}, o: {kind: linear, out: 4, from: k}",
    "one code": "k: {kind: vector_quantize, codes: 1, from: h}, o: {kind: embedding, out: 4, from: k.index}",
    "copies of codes": "k: {kind: vector_quantize, codes: 5, ema: false, repeat: 3, from: h}, o: {kind: linear, out: 4, from: k}",
    "copies that share": "k: {kind: vector_quantize, codes: 5, repeat: 2, share: true, from: h}, o: {kind: linear, out: 4, from: k}",
    "one more use": "k: {kind: vector_quantize, codes: 5, ema: false, from: h}, l: {same: k, from: k}, o: {kind: linear, out: 4, from: l}",
    "codes behind codes": "k: {kind: vector_quantize, codes: 5, from: h}, l: {kind: vector_quantize, codes: 3, ema: false, from: k}, o: {kind: linear, out: 4, from: l}",
}


@pytest.mark.parametrize("start", ["default", "zero"])
@pytest.mark.parametrize("name", FLOWS)
def test_what_is_predicted_of_types_zeros_gradients_and_scales_is_measured(name: str, start: str) -> None:
    text = f'{{inputs: {{x: "[batch seq 8]"}}, nodes: {{h: {{kind: linear, out: 6, init: {{write: {start}}}, from: x}}, {FLOWS[name]}}}, outputs: {{y: o, aux: losses}}}}'
    found = verify(yaml.safe_load(text))
    assert found.ok, "\n".join(str(row) for row in found.rows if not row.agrees)


@pytest.mark.parametrize(
    ("name", "cut"), [("argmax alone", "k"), ("argmax", ""), ("straight_through", ""), ("gumbel", "")]
)
def test_a_choice_without_a_gradient_cuts_what_only_it_reads(name: str, cut: str) -> None:
    report = assembler.check(
        yaml.safe_load(
            f'{{inputs: {{x: "[batch seq 8]"}}, nodes: {{h: {{kind: linear, out: 6, from: x}}, {FLOWS[name]}}}, outputs: {{y: o}}}}'
        )
    )
    found = [item.message for item in report.diagnostics if item.code == "cut-parameter"]
    assert found == ([f"`h.weight` and 1 more never have a gradient: `{cut}` lets no gradient back"] if cut else [])


def test_an_index_that_is_read_cuts_and_a_loss_that_is_collected_mends() -> None:
    text = f'{{inputs: {{x: "[batch seq 8]"}}, nodes: {{h: {{kind: linear, out: 6, from: x}}, {FLOWS["the index alone"]}}}, outputs: {{y: o}}}}'
    codes = {item.code for item in assembler.check(yaml.safe_load(text)).diagnostics}
    assert codes == {"cut-parameter", "loss-uncollected"}
    assert not assembler.check(yaml.safe_load(text.replace("y: o}", "y: o, aux: losses}"))).diagnostics


# --- what is estimated ---
@pytest.mark.parametrize(("r", "n"), [(0.0, 4), (0.3, 2), (0.6, 10), (0.9, 10), (0.5, 64)])
def test_how_often_two_choices_agree(r: float, n: int) -> None:
    """Against 40,000 draws; of two classes also against 1/2 + asin(r)/pi."""
    shared, own = torch.randn(2, 40_000, n), torch.randn(40_000, n)
    one, two = (math.sqrt(r) * own + math.sqrt(1 - r) * item for item in shared)
    measured = float((one.argmax(-1) == two.argmax(-1)).float().mean())
    assert abs(agreement(r, n) - measured) < 0.015
    if n == 2:
        assert abs(agreement(r, 2) - (0.5 + math.asin(r) / math.pi)) < 0.005
