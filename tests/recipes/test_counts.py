"""Parameters of every shipped recipe and sibling: published numbers, counted twice, to the unit."""

from __future__ import annotations

import pytest

import assembler
from assembler.report.walk import total, walk
from tests.recipes.shipped import NAMES, SMALL, path, stated

PUBLISHED = {
    ("gpt2", ""): 124_439_808,
    ("gpt2", "medium"): 354_823_168,
    ("gpt2", "large"): 774_030_080,
    ("gpt2", "xl"): 1_557_611_200,
    ("bert", ""): 109_482_240,
    ("bert", "large"): 335_141_888,
    ("vit", ""): 86_567_656,
    ("vit", "L/16"): 304_326_632,
    ("vit", "B/32"): 88_224_232,
    ("llama", ""): 6_738_415_616,
    ("llama", "13B"): 13_015_864_320,
    ("llama", "70B"): 68_976_648_192,
    ("llama", "3-8B"): 8_030_261_248,
    ("llama", "mistral"): 7_241_732_096,
    ("mixtral", ""): 46_702_792_704,
    ("mixtral", "8x22B"): 140_620_634_112,
    ("pythia", ""): 70_426_624,
    ("pythia", "160M"): 162_322_944,
    ("pythia", "410M"): 405_334_016,
    ("pythia", "1B"): 1_011_781_632,
    ("pythia", "1.4B"): 1_414_647_808,
    ("resnet50", ""): 25_557_032,
    ("resnet50", "18"): 11_689_512,
    ("resnet50", "34"): 21_797_672,
    ("resnet50", "101"): 44_549_160,
    ("resnet50", "152"): 60_192_808,
    ("resnet50", "wide_50_2"): 68_883_240,
    ("resnet50", "resnext50_32x4d"): 25_028_904,
    ("digits", ""): 202_058,
    ("acmix", ""): 36_654,
    ("ensemble", ""): 24_050,
    ("film", ""): 131_728,
    ("fusion", ""): 172_584,
    ("scales", ""): 18_956,
    ("stream", ""): 192_480,
    ("vq", ""): 18_532,
}


def _overrides(name: str, sibling: str) -> tuple[str, ...]:
    return stated(name).siblings[sibling][1] if sibling else ()


@pytest.mark.parametrize("name", NAMES)
def test_a_head_comment_says_the_published_numbers(name: str) -> None:
    head = stated(name)
    assert {key[1] for key in PUBLISHED if key[0] == name and key[1]} == set(head.siblings)
    for sibling, (count, _) in head.siblings.items():
        assert count == PUBLISHED[name, sibling]
    if head.parameters is not None:
        assert head.parameters == PUBLISHED[name, ""]


@pytest.mark.parametrize(("name", "sibling"), list(PUBLISHED))
def test_the_report_counts_the_published_parameters(name: str, sibling: str) -> None:
    report = assembler.check(path(name), _overrides(name, sibling))
    assert report.ok, str(report)
    assert report.graph is not None
    assert report.facts is not None
    assert total(walk(report.graph, report.facts)) == (PUBLISHED[name, sibling],) * 2


@pytest.mark.parametrize(("name", "sibling"), list(PUBLISHED))
def test_the_built_model_has_the_published_parameters(name: str, sibling: str) -> None:
    recipe = assembler.load(path(name), _overrides(name, sibling))
    model = assembler.build(recipe, device="meta")
    # parameters() gives a tied one once.
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[name, sibling]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_checks_without_warnings(name: str) -> None:
    for overrides in ((), SMALL[name], *(item[1] for item in stated(name).siblings.values())):
        report = assembler.check(path(name), overrides)
        assert not [item for item in report.diagnostics if item.level != "note"], str(report)


@pytest.mark.parametrize("name", NAMES)
def test_report_and_model_count_the_same_in_the_small_form(name: str) -> None:
    report = assembler.check(path(name), SMALL[name])
    assert report.graph is not None
    assert report.facts is not None
    model = assembler.build(assembler.load(path(name), SMALL[name]), seed=0)
    assert total(walk(report.graph, report.facts))[0] == sum(parameter.numel() for parameter in model.parameters())


def test_filling_a_slot_with_swiglu_adds_one_more_map_and_drops_the_biases() -> None:
    """Per layer: 3 maps of 64 x 256 without biases, where the mlp has 2 and 256 + 64 biases."""
    report = assembler.check(path("digits"), ["slots/ffn=swiglu"])
    assert report.graph is not None
    assert report.facts is not None
    assert total(walk(report.graph, report.facts))[0] == 202_058 + 4 * (64 * 256 - 256 - 64)


@pytest.mark.parametrize(("rule", "trainable"), [("peri", 1.0), ("frozen", 0.0)])
def test_a_shipped_rule_applies_to_digits(rule: str, trainable: float) -> None:
    report = assembler.check(path("digits"), [f"+rules={rule}"])
    assert report.ok, str(report)
    assert report.graph is not None
    assert report.facts is not None
    rows = {row.address: row for row in walk(report.graph, report.facts)}
    assert rows["encoder"].trainable == rows["encoder"].parameters * trainable  # type: ignore[operator]
    # Peri adds an out norm of 2 x 64 to each of 2 parts in 4 layers.
    extra = 4 * 2 * 2 * 64 if rule == "peri" else 0
    assert total(list(rows.values()))[0] == 202_058 + extra


def test_words_that_are_drawn_have_a_speaker_and_a_vector_each() -> None:
    """Instead of the codebook, which is no parameter: a map to 64 scores with a bias, and 64 vectors of 32."""
    report = assembler.check(path("vq"), ["slots/code=gumbel"])
    assert report.ok, str(report)
    assert report.graph is not None
    assert report.facts is not None
    assert total(walk(report.graph, report.facts))[0] == 18_532 + 64 * 33 + 64 * 32
