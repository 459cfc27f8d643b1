"""Verdict = truth, for recipes that are valid by construction: accepted, and all that is predicted is measured."""

from __future__ import annotations

import pytest
import torch

from tests.fuzz.coverage import CAMPAIGN
from tests.fuzz.generate import Sample, generate
from tests.fuzz.oracle import Disagreement, judge_valid
from tests.fuzz.shrink import shrink

CHUNK = 50
LONG = 20_000


def _first_lines(found: Disagreement) -> tuple[str, str]:
    return found.what.split(" at ")[0].split(" ")[0], found.detail.split(":")[0][:20]


def _judge(start: int) -> None:
    torch.set_num_threads(1)
    for seed in range(start, start + CHUNK):
        sample = generate(seed)
        found = judge_valid(sample)
        if found is not None:
            pytest.fail(_report(sample, found), pytrace=False)


def _report(sample: Sample, found: Disagreement) -> str:
    """The disagreement, with the smallest recipe that still shows one of its sort."""

    def fails(smaller: Sample) -> bool:
        other = judge_valid(smaller)
        return other is not None and _first_lines(other) == _first_lines(found)

    small = shrink(sample, fails)
    return f"{judge_valid(small)}\noverrides: {small.overrides}\n{small.text}"


@pytest.mark.parametrize("start", range(0, CAMPAIGN, CHUNK))
def test_valid_recipes_are_accepted_and_do_what_was_predicted(start: int) -> None:
    _judge(start)


@pytest.mark.campaign
@pytest.mark.parametrize("start", range(CAMPAIGN, CAMPAIGN + LONG, CHUNK))
def test_valid_recipes_of_the_long_campaign(start: int) -> None:
    _judge(start)
