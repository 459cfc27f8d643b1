"""The generator itself: independent of the checker, the same each time, and broad enough."""

from __future__ import annotations

import subprocess
import sys
from math import gcd

import pytest
import yaml

from tests.fuzz.coverage import CAMPAIGN, LEAST, measure
from tests.fuzz.faults import OPERATORS, broken
from tests.fuzz.generate import generate
from tests.fuzz.rules import KINDS, LEAVES
from tests.fuzz.targets import impossible, pairs


def test_generator_imports_nothing_of_the_package_it_tests() -> None:
    code = (
        "import sys; from tests.fuzz.generate import generate; generate(3); "
        "print([name for name in sys.modules if name.split('.')[0] in ('assembler', 'assembler_schemas', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_seed_always_gives_the_same_recipe_whatever_was_generated_before() -> None:
    first = [generate(seed).text for seed in range(8)]
    assert [generate(seed).text for seed in reversed(range(8))] == first[::-1]


@pytest.mark.parametrize("seed", range(40))
def test_text_is_the_tree_and_lines_are_where_the_keys_stand(seed: int) -> None:
    sample = generate(seed)
    assert yaml.safe_load(sample.text) == sample.tree
    lines = sample.text.splitlines()
    for path, line in sample.page.where.items():
        if isinstance(path[-1], str):
            assert path[-1] in lines[line - 1]


@pytest.mark.parametrize("seed", range(200))
def test_sizes_are_pairwise_coprime_so_that_no_two_names_agree_by_chance(seed: int) -> None:
    first, second = generate(seed).sizes
    for table in (first, second):
        values = list(table.values())
        assert all(gcd(a, b) == 1 for i, a in enumerate(values) for b in values[i + 1 :])
    assert all(gcd(first[name], second[name]) == 1 for name in first)


@pytest.mark.slow
def test_the_campaign_covers_everything_often_enough_and_no_recipe_is_a_toy() -> None:
    campaign = measure(range(CAMPAIGN))
    assert campaign.median_nodes >= 12
    assert min(campaign.nodes) >= 8
    assert campaign.missing(LEAST) == []
    met = [key for key in campaign.counts if key[0] == "pair" and key[2] in KINDS]
    # A graph gives on what stands inside it, ids and shares included; a norm behind a choice takes it to a router.
    assert [key for key in met if key[1] not in ("graph", "straight_through") and impossible(key[1], key[2])] == []
    assert len(pairs()) > 0.9 * (len(KINDS) + 1) * len(KINDS)


def test_the_table_of_rules_holds_every_kind_and_option_of_the_library() -> None:
    from assembler.library import registry

    ours = {name for name in registry.names() if name not in ("no_loss", "loss_sum", "given")}
    assert set(KINDS) == ours
    for name, rule in LEAVES.items():
        card = registry.kind(name)
        assert card is not None
        known = {info.alias or field for field, info in card.options.model_fields.items()}
        assert set(rule.plain) | set(rule.typed) == known, name


def test_every_operator_breaks_some_recipe() -> None:
    assert len(OPERATORS) >= 25
    used = {broken(seed)[0].name for seed in range(5 * len(OPERATORS))}
    assert used == {operator.name for operator in OPERATORS}
