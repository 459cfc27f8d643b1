"""Sums by the short way, for a bias, are those of the long way."""

from __future__ import annotations

import pytest

from assembler.facts.scale.join import add, both, multiply, multiply_back
from assembler.facts.scale.part import Fresh, Part
from assembler.facts.scale.place import Run, signal_of
from assembler.facts.scale.signal import Given, Signal, Value

X = Signal((4, 6, 8), "btf", (Part(6, 0.3, {90: (0.7, 0.2, 0.1), 91: (0.5, 0.9, 0.0)}),), 1.0, 0.2, 1.0, 0.25, 0.4, bent=True, narrow=0.3)


@pytest.mark.parametrize("bias", [Given((8,), 0.0, 0.04, label=7), Given((8,), 0.5, 0.0, label=7), Given((8,), 0.5, 3.0, label=7)], ids=["drawn", "a constant", "both"])
def test_a_bias_for_each_feature_is_added_as_any_value_is(bias: Given) -> None:
    run = Run(Fresh(), {})
    short, long = add(run, {}, X, bias), both(run, X, signal_of(bias, X.shape, X.roles))
    assert isinstance(short, Signal)
    (one,), (other,) = short.parts, long.parts
    assert [one.m, one.q, one.c, one.b, *one.atoms] == pytest.approx([other.m, other.q, other.c, other.b, *other.atoms], rel=1e-14)
    assert all(one.atoms[label] == pytest.approx(other.atoms[label]) for label in one.atoms)
    assert [*short[3:9], short.narrow, short.together] == pytest.approx([*long[3:9], long.narrow, long.together], rel=1e-14)
    assert (short.bent, short.hollow, short.course, short.law) == (long.bent, long.hollow, long.course, long.law)


@pytest.mark.parametrize("bias", [Given((8,), 0.0, 0.0), Given((6, 8), 0.0, 0.0)], ids=["features", "tokens too"])
def test_zeros_and_ones_change_nothing(bias: Given) -> None:
    run, ones = Run(Fresh(), {}), bias._replace(mean=1.0)
    assert add(run, {}, X, bias) is X
    assert multiply(run, {}, X, ones) is X
    assert multiply_back(run, {}, X, X, X, ones) == (X, None)


def test_ones_of_a_wider_shape_repeat_what_they_multiply() -> None:
    narrow = X._replace(shape=(4, 6, 1))
    found: Value = multiply(Run(Fresh(), {}), {}, narrow, Given((8,), 1.0, 0.0))
    assert isinstance(found, Signal)
    assert found.shape == (4, 6, 8)
