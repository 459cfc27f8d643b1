"""Which weights a model has, and which another one keeps."""

from __future__ import annotations

import pytest

from assembler.assemble import build, origin_of
from assembler.facts.flow import flow
from assembler.facts.weights import Held, compare, held, renamed


def weights_of(recipe: str, *overrides: str) -> tuple[Held, ...]:
    from assembler.assemble import load

    found = origin_of(load(recipe, overrides))
    unfolded = flow(found.graph, found.facts)
    assert unfolded is not None
    return held(unfolded)


@pytest.mark.parametrize("recipe", ["digits", "two_towers", "translate", "experts"])
def test_every_weight_of_a_built_model_is_held_once(recipe: str) -> None:
    path = f"recipes/{recipe}.yaml"
    model = build(path, seed=0)
    names = {name: tuple(value.shape) for name, value in (*model.named_parameters(), *model.named_buffers())}
    found = weights_of(path)
    assert {item.key: item.shape for item in found} == names
    assert len(found) == len({item.key for item in found})


def test_a_replaced_part_keeps_nothing_and_the_rest_keeps_all() -> None:
    survey = compare(weights_of("recipes/digits.yaml"), weights_of("recipes/digits.yaml", "slots/ffn=swiglu"))
    assert {".think." in before.key for before, _ in survey.kept} == {False}
    assert {".think." in item.key for item in survey.dropped} == {True}
    assert {".think." in item.key for item in survey.new} == {True}


def test_another_width_changes_shapes_and_says_which() -> None:
    survey = compare(weights_of("recipes/digits.yaml"), weights_of("recipes/digits.yaml", "vars.classes=3"))
    assert [(item.before.key, item.why) for item in survey.changed] == [("head.weight", "[10 64] became [3 64]"), ("head.bias", "[10] became [3]")]


def test_the_longest_address_that_moved_decides() -> None:
    moved = {"a": "x", "a.b": "y.z"}
    assert [renamed(key, moved) for key in ("a.weight", "a.b.weight", "ab.weight", "a")] == ["x.weight", "y.z.weight", "ab.weight", "x"]
