"""Expectations of activations against the constants of contracts 3.2, closed forms, and plain quadrature."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from assembler.facts.scale.moments import PIECES, SMOOTH, at, moments, near
from assembler.facts.scale.moments_row import harmonic_like, largest, rows, softmax_squares
from assembler.library.cards.common import Activation

TABLE = {
    (1.0, "relu"): (0.3989, 0.5000, 0.5, 0.5000), (1.0, "gelu"): (0.2821, 0.4252, 0.5, 0.4559), (1.0, "silu"): (0.2066, 0.3558, 0.5, 0.3795),
    (1.0, "tanh"): (0.0, 0.3943, 0.6057, 0.4644), (1.0, "sigmoid"): (0.5, 0.2934, 0.2066, 0.0448),
    (1 / 3, "relu"): (0.2303, 0.1667, 0.5, 0.5000), (1 / 3, "gelu"): (0.1152, 0.1173, 0.5, 0.3765), (1 / 3, "silu"): (0.0773, 0.0998, 0.5, 0.3131),
    (1 / 3, "tanh"): (0.0, 0.2119, 0.7881, 0.6671), (1 / 3, "sigmoid"): (0.5, 0.2680, 0.2320, 0.0543),
}  # fmt: skip
"""Variance, function -> m, q, slope, chi."""
EVERY = [*PIECES, *SMOOTH]


@pytest.mark.parametrize(("v", "fn"), TABLE)
def test_constants_of_the_contract(v: float, fn: str) -> None:
    found = moments(fn, 0.0, v)
    assert found[:4] == pytest.approx(TABLE[v, fn], abs=5.1e-5)


def test_every_activation_of_the_cards_is_known() -> None:
    assert set(get_args(Activation)) == set(EVERY)


def _plain(fn: str, m: float, v: float, exponent: float = 1.0) -> tuple[float, ...]:
    """By 40,000 equal steps."""
    s, steps, sums = math.sqrt(v), 40_000, [0.0] * 4
    for i in range(steps):
        z = -10 + 20 * (i + 0.5) / steps
        w = 20 / steps * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        y, d = at(fn, m + s * z, exponent)
        for k, term in enumerate((y, y * y, d, d * d)):
            sums[k] += w * term
    return tuple(sums)


@pytest.mark.parametrize("fn", EVERY)
@pytest.mark.parametrize(("m", "v"), [(0.3, 0.7), (-1.0, 30.0), (2.5, 0.01)])
def test_moments_are_those_of_plain_quadrature(fn: str, m: float, v: float) -> None:
    assert moments(fn, m, v)[:4] == pytest.approx(_plain(fn, m, v), rel=3e-4, abs=1e-7)


def test_powers() -> None:
    assert moments("power", 0.0, 2.0, 2.0)[:4] == pytest.approx((2.0, 12.0, 0.0, 8.0))


@pytest.mark.parametrize("fn", EVERY)
def test_derivatives_are_those_of_the_functions(fn: str) -> None:
    for x in (-4.1, -1.3, -0.2, 0.4, 2.2, 5.0, 7.0):
        assert at(fn, x)[1] == pytest.approx((at(fn, x + 1e-5)[0] - at(fn, x - 1e-5)[0]) / 2e-5, abs=1e-4)


@pytest.mark.parametrize("r", [-0.5, 0.0, 0.3, 0.9, 0.999, 1.0])
def test_relu_at_two_places_is_the_arc_cosine_kernel(r: float) -> None:
    found = moments("relu", 0.0, 1.0)
    assert found.cross(r) == pytest.approx((math.sqrt(1 - r * r) + r * (math.pi - math.acos(r))) / (2 * math.pi), abs=1e-9)
    assert found.cross_slope(r) == pytest.approx(0.25 + math.asin(r) / (2 * math.pi), abs=1e-9)


def test_polynomials_at_two_places() -> None:
    """E x1 x2 of the identity, and of a square."""
    assert moments("identity", 0.5, 2.0).cross(0.3) == pytest.approx(0.25 + 0.6)
    assert moments("power", 0.0, 1.0, 2.0).cross(0.3) == pytest.approx(1 + 2 * 0.09)


@pytest.mark.parametrize("fn", EVERY)
def test_two_equal_places_are_one(fn: str) -> None:
    found = moments(fn, 0.2, 1.3)
    assert found.cross(1.0) == pytest.approx(found.q)
    assert found.cross_slope(1.0) == pytest.approx(found.chi)
    assert found.cross(0.0) == pytest.approx(found.m**2, abs=1e-9)
    assert found.cross_slope(0.0) == pytest.approx(found.slope**2, abs=1e-9)


@pytest.mark.parametrize("fn", EVERY)
def test_shared_evaluations_are_near(fn: str) -> None:
    exact, shared = moments(fn, 0.123, 0.777), near(fn, 0.123, 0.777)
    assert shared[:4] == pytest.approx(exact[:4], rel=3e-3, abs=1e-3)


def test_nothing_fluctuates_without_variance() -> None:
    assert moments("relu", 2.0, 0.0)[:4] == (2.0, 4.0, 1.0, 1.0)


def test_largest_of_some() -> None:
    assert largest(1) == pytest.approx((0.0, 1.0), abs=1e-6)
    assert largest(2) == pytest.approx((1 / math.sqrt(math.pi), 1 - 1 / math.pi), abs=1e-6)


def test_sums_of_reciprocals() -> None:
    assert harmonic_like(50, 1.7) == pytest.approx(sum(1 / (t - 1 + 1.7) for t in range(1, 51)))


@pytest.mark.parametrize(("s2", "n"), [(1.5, 8), (4.0, 8), (0.375, 64), (2.0, 64), (0.01, 2)])
def test_squares_of_a_softmax_of_few_and_of_uneven_scores(s2: float, n: int) -> None:
    """The mean-field e^s2 / (n - 1 + e^s2) is 1.4 too large for eight scores of variance 1.5."""
    torch.manual_seed(0)
    p = (torch.randn(1_600_000 // n, n) * math.sqrt(s2)).softmax(-1)
    square, slope = softmax_squares(s2, n)
    assert square == pytest.approx(float((p**2).mean()), rel=0.01)
    assert slope == pytest.approx(float((p**2 * (1 - 2 * p + (p**2).sum(-1, keepdim=True))).mean()), rel=0.01)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("s2", [0.2, 0.7, 3.0, 40.0, 250.0])
def test_rows_of_attention_whether_scores_are_small_or_huge(s2: float, causal: bool) -> None:
    torch.manual_seed(0)
    scores = torch.randn(1500, 32, 32) * math.sqrt(s2)
    p = (scores.masked_fill(torch.ones(32, 32).triu(1).bool(), -math.inf) if causal else scores).softmax(-1)
    square = (p**2).sum(-1, keepdim=True)
    found = rows(s2, 32, causal)
    assert found.one == pytest.approx(float(square.mean()), rel=0.03)
    assert found.left == pytest.approx(float((p**2 * (1 - 2 * p + square)).sum(-1).mean()), rel=0.08)
    assert found.a * (harmonic_like(32, found.a) / 32 if causal else 1 / (31 + found.a)) == pytest.approx(found.one, rel=0.01)
