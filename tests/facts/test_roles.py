"""Nodes of one graph found again in another: by address, by what holds them, by what stands beside them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from assembler.assemble import load, origin_of, recipe
from assembler.facts.flow import Flow, flow
from assembler.facts.roles import gathered, roles
from assembler.facts.weights import Survey, compare, held, renamed

STACK = """\
inputs: {x: "[batch seq 16]"}
nodes:
  embed: {kind: linear, out: 16, from: x}
  encoder:
    kind: bus
    repeat: 3
    norm: pre
    from: embed
    parts:
      attend: {kind: attention, heads: 2}
      think: {kind: mlp}
  final: {kind: layer_norm, from: encoder}
  head: {kind: linear, out: 4, from: final}
outputs: {y: head}
"""


def unfolded(source: Any) -> Flow:
    found = origin_of(source if not isinstance(source, str) or source.endswith(".yaml") else recipe(yaml.safe_load(source)))
    made = flow(found.graph, found.facts)
    assert made is not None
    return made


def survey(before: Any, after: Any) -> Survey:
    one, two = unfolded(before), unfolded(after)
    return compare(held(one), held(two), roles(one, two).moved)


def moved(before: Any, after: Any) -> dict[str, str]:
    return dict(roles(unfolded(before), unfolded(after)).moved)


@pytest.mark.parametrize("name", ["digits", "two_towers", "translate", "experts"])
def test_a_graph_is_itself_and_nothing_moved(name: str) -> None:
    one, two = unfolded(f"recipes/{name}.yaml"), unfolded(f"recipes/{name}.yaml")
    found = roles(one, two)
    assert found.moved == {}
    assert found.pairs == {use.address: use.address for use in one.uses}


def test_a_container_that_was_renamed_is_one_move() -> None:
    assert moved(STACK, STACK.replace("encoder", "trunk")) == {"encoder": "trunk"}


def test_a_container_that_was_renamed_and_has_more_copies_keeps_the_first_ones() -> None:
    after = STACK.replace("encoder", "trunk").replace("repeat: 3", "repeat: 5")
    assert moved(STACK, after) == {"encoder": "trunk"}
    found = survey(STACK, after)
    assert not found.dropped
    assert not found.changed
    assert {item.key.split(".")[1] for item in found.new} == {"3", "4"}


def test_a_renamed_container_that_is_wider_too_is_found_and_its_weights_are_changed() -> None:
    found = survey(STACK, STACK.replace("encoder", "trunk").replace("{kind: mlp}", "{kind: mlp, hidden: 24}"))
    assert {item.after.key.split(".", 2)[2] for item in found.changed} == {"think.up.weight", "think.up.bias", "think.down.weight"}
    assert not found.new
    assert not found.dropped


def test_a_part_that_was_renamed_is_found_in_every_copy() -> None:
    found = moved(STACK, STACK.replace("think", "mix"))
    assert {one.split(".", 2)[2]: two.split(".", 2)[2] for one, two in found.items()} == {"think_pre_norm": "mix_pre_norm", "think": "mix", "think_add": "mix_add"}
    assert len(found) == 9


def test_everything_renamed_at_once_is_found_by_its_neighbours() -> None:
    after = STACK
    for old, new in (("embed", "first"), ("encoder", "trunk"), ("attend", "look"), ("think", "mix"), ("final", "last"), ("head:", "out_map:"), ("y: head", "y: out_map")):
        after = after.replace(old, new)
    found = survey(STACK, after.replace("kind: look", "kind: attend"))
    assert (len(found.kept), found.changed, found.new, found.dropped) == (len(held(unfolded(STACK))), (), (), ())


def test_a_node_that_was_wrapped_into_a_graph_has_moved_there() -> None:
    plain = 'inputs: {x: "[batch 8]"}\nnodes:\n  up: {kind: linear, out: 16, from: x}\n  act: {kind: activation, from: up}\n  head: {kind: linear, out: 2, from: act}\noutputs: {y: head}\n'
    wrapped = """\
inputs: {x: "[batch 8]"}
nodes:
  body:
    kind: graph
    from: x
    inputs: {x: "[... d]"}
    nodes:
      up: {kind: linear, out: 16, from: x}
      act: {kind: activation, from: up}
    outputs: {y: act}
  head: {kind: linear, out: 2, from: body}
outputs: {y: head}
"""
    assert moved(plain, wrapped) == {"up": "body.up", "act": "body.act"}
    assert moved(wrapped, plain) == {"body.up": "up", "body.act": "act"}


TWINS = """\
inputs: {x: "[batch 8]"}
nodes:
  left: {kind: linear, out: 8, from: x}
  right: {kind: linear, out: 8, from: x}
  both: {kind: add, from: [left, right]}
outputs: {y: both}
"""


def test_of_two_nodes_that_could_be_meant_neither_is_taken() -> None:
    found = roles(unfolded(TWINS), unfolded(TWINS.replace("left", "one").replace("right", "two")))
    assert found.moved == {}
    assert found.pairs == {"both": "both"}


def test_of_two_like_nodes_the_one_that_was_renamed_is_known_by_the_other() -> None:
    assert moved(TWINS, TWINS.replace("left", "one")) == {"left": "one"}


def test_twins_are_told_apart_by_what_they_feed() -> None:
    text = TWINS.replace("[left, right]", "[left, act]").replace("  both", "  act: {kind: activation, from: right}\n  both")
    after = text.replace("left", "one").replace("right", "two")
    assert moved(text, after) == {"left": "one", "right": "two"}


def test_the_same_address_and_kind_is_the_same_node_whatever_its_size_became() -> None:
    """Else the second map of a doubled pyramid would pass for the third one of the narrow one."""
    text = 'inputs: {x: "[batch 8]"}\nnodes:\n  a: {kind: linear, out: 16, from: x}\n  b: {kind: linear, out: 32, from: a}\n  c: {kind: linear, out: 64, from: b}\noutputs: {y: c}\n'
    wide = text.replace("64", "128").replace("32", "64").replace("16", "32").replace("batch 8", "batch 16")
    assert moved(text, wide) == {}


def test_another_kind_at_the_same_address_is_another_node() -> None:
    found = roles(unfolded(STACK), unfolded(STACK.replace("{kind: mlp}", "{kind: swiglu}")))
    assert not any(".think" in address and address.endswith("think") for address in found.pairs)
    assert found.moved == {}


def test_rules_are_said_of_the_highest_address_of_which_they_are_true() -> None:
    pairs = {"a.0.x": "b.0.x", "a.0.y": "b.0.y", "a.1.x": "b.1.x", "c.x": "c.x", "d.x": "all.d.x", "e.x": "all.x"}
    assert gathered(pairs) == {"a": "b", "d": "all.d", "e.x": "all.x"}


def test_two_containers_that_became_one_are_not_said_to_be_it() -> None:
    assert gathered({"a.x": "all.x", "b.y": "all.y"}) == {"a.x": "all.x", "b.y": "all.y"}


def test_overrides_of_a_shipped_recipe_move_nothing() -> None:
    one, two = unfolded("recipes/digits.yaml"), unfolded(load("recipes/digits.yaml", ["slots/ffn=moe", "vars.depth=2"]))
    assert roles(one, two).moved == {}


def test_a_node_at_the_address_of_a_container_has_a_rule_of_its_own() -> None:
    """The sum of the losses of all copies stands where the container's output of that name does."""
    pairs = {"a.loss.x": "a.loss.x", "a.loss": "b.loss", "a.y": "b.y"}
    found = gathered(pairs)
    assert all(renamed(one, found) == two for one, two in pairs.items())
