"""Verdict = truth, for recipes with one seeded fault: refused, with the right code on the right line."""

from __future__ import annotations

import pytest
import torch

from tests.fuzz.coverage import CAMPAIGN
from tests.fuzz.faults import judge_faulty

CHUNK = 50
LONG = 20_000


def _judge(start: int) -> None:
    torch.set_num_threads(1)
    found = [wrong for seed in range(start, start + CHUNK) if (wrong := judge_faulty(seed)) is not None]
    if found:
        pytest.fail(f"{len(found)} of {CHUNK} faults; the first:\n{found[0]}", pytrace=False)


@pytest.mark.parametrize("start", range(0, CAMPAIGN, CHUNK))
def test_faulty_recipes_are_refused_for_the_right_reason(start: int) -> None:
    _judge(start)


@pytest.mark.campaign
@pytest.mark.parametrize("start", range(CAMPAIGN, CAMPAIGN + LONG, CHUNK))
def test_faulty_recipes_of_the_long_campaign(start: int) -> None:
    _judge(start)
