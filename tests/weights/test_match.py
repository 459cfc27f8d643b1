"""Renaming, selecting and guessing by keys and shapes alone."""

from __future__ import annotations

import pytest

from assembler.facts.moved import bad_move, expanded
from assembler.weights.header import WeightsError
from assembler.weights.match import selected, suggested

KEYS = [f"stack.{copy}.{part}.weight" for copy in range(3) for part in ("attend.q", "attend.out", "think.up")] + ["embed.weight", "head.bias"]


def test_a_star_moves_every_copy_to_the_same_copy() -> None:
    assert expanded({"stack.*.think": "trunk.*.ffn", "head": "top"}, KEYS) == {
        "stack.0.think": "trunk.0.ffn", "stack.1.think": "trunk.1.ffn", "stack.2.think": "trunk.2.ffn", "head": "top",
    }  # fmt: skip


def test_a_move_ends_at_a_name_not_inside_one() -> None:
    assert expanded({"st.*": "x.*"}, KEYS) == {}
    assert expanded({"stack.*.th": "x.*.th"}, KEYS) == {}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("a.*", "b", "the same number"), ("a.-1", "b", "counts copies"), ("a.0:2", "b.*", "counts copies"), ("a..b", "c", "no address"), ("a", "B!", "no address")],
)
def test_a_move_that_means_nothing(old: str, new: str, says: str) -> None:
    assert says in bad_move(old, new)


@pytest.mark.parametrize(
    ("only", "count"),
    [("stack", 9), ("stack.*.attend", 6), ("stack.-1", 3), ("stack.0:2.think", 2), ("stack.1.attend.q.weight", 1), ("*", 11), (["embed", "head"], 2)],
)
def test_a_selector_names_a_node_with_all_below(only: str | list[str], count: int) -> None:
    assert len(selected(only, KEYS)) == count


@pytest.mark.parametrize("only", ["stak", "stack.3", "stack.*.mix", "stack.", "", ["embed", "nothing"]])
def test_a_selector_that_names_nothing_says_what_there_is(only: str | list[str]) -> None:
    with pytest.raises(WeightsError, match=r"selects no"):
        selected(only, KEYS)


def _shapes(*keys: str) -> dict[str, tuple[int, ...]]:
    return {key: (len(key.split(".")[-1]), 2) for key in keys}


def test_a_container_that_was_renamed_is_found_as_a_whole() -> None:
    old = _shapes("encoder.0.a.weight", "encoder.0.b.bias", "encoder.1.a.weight", "encoder.1.b.bias")
    new = {key.replace("encoder", "trunk"): shape for key, shape in old.items()}
    assert suggested(old, new) == {"encoder": "trunk"}


def test_parts_that_are_alike_in_every_copy_are_found_by_what_they_stand_in() -> None:
    old = _shapes(*(f"s.{copy}.think.up" for copy in range(12)))
    new = _shapes(*(f"s.{copy}.ffn.up" for copy in range(12)))
    assert suggested(old, new) == {"s.*.think": "s.*.ffn"}


def test_norms_that_are_alike_go_with_the_part_that_they_are_called_after() -> None:
    old = _shapes("s.0.a.q", "s.0.b.up.weight", "s.0.a_pre_norm.bias", "s.0.b_pre_norm.bias")
    new = _shapes("s.0.c.q", "s.0.d.up.weight", "s.0.c_pre_norm.bias", "s.0.d_pre_norm.bias")
    assert suggested(old, new) == {"s.0.a": "s.0.c", "s.0.b": "s.0.d", "s.0.a_pre_norm": "s.0.c_pre_norm", "s.0.b_pre_norm": "s.0.d_pre_norm"}


def test_of_two_that_could_be_meant_neither_is_taken() -> None:
    assert suggested(_shapes("a.weight"), _shapes("b.weight", "c.weight")) == {}
    assert suggested(_shapes("a.weight", "b.weight"), _shapes("c.weight")) == {}


def test_other_shapes_are_other_weights() -> None:
    assert suggested({"a.weight": (2, 3)}, {"b.weight": (3, 2)}) == {}
