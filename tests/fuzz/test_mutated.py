"""What is changed at random: a verdict comes back, and what is accepted does what was predicted."""

from __future__ import annotations

import pytest
import torch

from tests.fuzz.mutate import judge_mutated, mutated
from tests.fuzz.oracle import check_text

CHUNK = 50
SHORT = 400
LONG = 20_000


def _judge(start: int) -> None:
    torch.set_num_threads(1)
    found = [wrong for seed in range(start, start + CHUNK) if (wrong := judge_mutated(seed)) is not None]
    if found:
        pytest.fail(f"{len(found)} of {CHUNK} changed recipes; the first:\n{found[0]}", pytrace=False)


@pytest.mark.parametrize("start", range(0, SHORT, CHUNK))
def test_changed_recipes_get_a_verdict_that_holds(start: int) -> None:
    _judge(start)


@pytest.mark.campaign
@pytest.mark.parametrize("start", range(SHORT, SHORT + LONG, CHUNK))
def test_changed_recipes_of_the_long_campaign(start: int) -> None:
    _judge(start)


def test_many_are_accepted_and_many_are_refused() -> None:
    verdicts = [check_text(sample.text, sample.overrides).ok for sample in map(mutated, range(80))]
    assert 10 <= sum(verdicts) <= 65
