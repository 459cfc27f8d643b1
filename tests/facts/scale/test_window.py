"""How many tokens attention through a window reads, against rows that are drawn."""

from __future__ import annotations

import pytest
import torch

from assembler.facts.scale.mix import _read

SAMPLES = 4000


@pytest.mark.parametrize(("s2", "n", "window"), [(0.1, 24, 4), (1.0, 24, 4), (1.0, 12, 11), (3.0, 16, 8), (1.0, 9, 1)])
def test_rows_through_a_window_are_as_even_and_as_alike_as_drawn_ones(s2: float, n: int, window: int) -> None:
    scores = torch.randn(SAMPLES, n, n, generator=torch.Generator().manual_seed(0)) * s2**0.5
    seen = torch.ones(n, n, dtype=torch.bool).tril().triu(1 - window)
    p = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    products = (p @ p.mT).mean(0)
    two = (products.sum() - products.trace()) / (n * (n - 1))
    found = _read({"causal": True, "window": window}, s2, 0.0, n)
    assert found.one == pytest.approx(float(products.trace()) / n, rel=0.04)
    assert found.two == pytest.approx(float(two), rel=0.08, abs=1e-9)


def test_a_window_as_long_as_the_text_is_none() -> None:
    assert _read({"causal": True, "window": 24}, 1.0, 0.3, 24) == _read({"causal": True}, 1.0, 0.3, 24)
