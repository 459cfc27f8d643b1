"""Sizes along the positions of causal attention, against sums over every position and every pair."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from assembler.facts.scale.course import Course, divided, read, readers, summed, sums

N = 60


def _along(a: float) -> Tensor:
    return a / (torch.arange(N, dtype=torch.float64) + a)


def _pairs(rows: Tensor) -> float:
    return float((rows.sum() - rows.diagonal().sum()) / (N * (N - 1)))


def _early(rows: Tensor) -> float:
    """Of the pairs of each prefix, as the mean over prefixes, each as much as its pairs are of the square of a mean over it."""
    whole = weight = 0.0
    for n in range(2, N + 1):
        first, more = rows[:n, :n], 1 - 1 / n
        whole, weight = whole + more * float((first.sum() - first.diagonal().sum()) / (n * (n - 1))), weight + more
    return whole / weight


def _later(f: Tensor) -> Tensor:
    """Of each pair, f at the later position."""
    return torch.minimum(f[:, None], f[None, :])


@pytest.mark.parametrize("under", [None, Course(N, 1.0, 0.8)])
def test_means_over_positions_and_pairs(under: Course | None) -> None:
    course, f = Course(N, 0.6, 0.7, 1.0, under), _along(2.0)
    own = _along(0.6)
    w = 0.3 + 0.7 * own / own.mean()
    u = torch.ones(N, dtype=torch.float64) if under is None else (0.2 + 0.8 * _along(1.0) / _along(1.0).mean()).rsqrt()
    both = u[:, None] * u[None, :]
    truth = (
        (w * u * u).mean(),
        (w * u * u * f).mean(),
        _pairs(both),
        _pairs(both * _later(own)),
        _pairs(both * _later(f)),
        _pairs(both * _later(own) * _later(f)),
        _early(both),
        _early(both * _later(own)),
    )
    found, known = list(sums(course, 2.0)), [float(item) for item in truth]
    assert found[:6] == pytest.approx(known[:6], rel=5e-3)
    assert found[6:] == pytest.approx(known[6:], rel=2e-2)
    if under is None:
        assert course.inverse() == pytest.approx(float((1 / w).mean()), rel=1e-9)


def test_means_of_what_came_before_correlate_by_two_thirds_once_they_are_normed() -> None:
    """Means over t and s > t independent tokens: t / s of a unit each, and root t / s once both are of one size."""
    course = Course(4096.0, 1.0, 1.0)
    plain = sums(course)
    square, pairs, early = divided(course, course.bend * plain.shared, course)
    assert square == pytest.approx(1.0)
    assert pairs == pytest.approx(2 / 3, rel=0.02)
    assert early == pytest.approx(2 / 3, rel=0.03), "whatever the length: so of every prefix"


def test_an_even_gradient_is_read_as_it_is() -> None:
    own, pairs = read(Course(N, 1.0, 0.0), 0.25, 1.0)
    assert own == pytest.approx(1.0, rel=0.01)
    assert pairs == pytest.approx(0.25, rel=0.01)


def test_the_gradient_of_what_is_read_is_that_of_all_later_rows() -> None:
    truth = torch.tensor([sum(1 / s**2 for s in range(t, 4001)) for t in (1, 8, 64)], dtype=torch.float64)
    course = readers(4000.0, 1.0, 1.0)
    found = torch.tensor([course.a / (t - 1 + course.a) for t in (1, 8, 64)], dtype=torch.float64)
    assert torch.allclose(found / found[0], truth / truth[0], rtol=0.03)


def test_a_sum_varies_by_the_share_of_what_varies() -> None:
    course = Course(N, 1.0, 0.8)
    assert summed(course, None, 0.25) == course._replace(share=0.2)
    assert summed(None, course, 0.25) == course._replace(share=0.75 * 0.8)
    assert summed(course, course._replace(share=0.4), 0.5) == course._replace(share=0.8 / 2 + 0.4 / 2)
    assert summed(None, None, 0.5) is None
