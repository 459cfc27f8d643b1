"""What is read once: every place keeps spans of its own, and no check sees what another one found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import assembler
from assembler.graph.plain import read_plain
from assembler.library import registry
from assembler.source.parse import parse
from assembler.source.recipe import Recipe
from assembler.source.text import read_text
from assembler_schemas.kind import Definition
from tests.graph.recipes import check

TWINS = """\
vars: {width: 8, act: gelu, flag: true}
inputs: {x: "[batch 8]"}
nodes:
  one: {kind: linear, out: 2*width, bias: flag, from: x}
  first: {kind: activation, activation: act, from: one}
  two: {kind: linear, out: 2*width, bias: flag, from: x}
  second: {kind: activation, activation: act, from: two}
  join: {kind: add, from: [first, second]}
outputs: {y: join}
"""


def twins(text: str = TWINS) -> Recipe:
    tree, found = read_text(text.encode(), "recipe.yaml")
    assert tree is not None
    assert not found
    return parse(tree, "recipe.yaml")[0]


def said(recipe: Recipe, *overrides: str) -> list[tuple[str, int, str | None]]:
    return [(item.code, item.span.line, item.span.override) for item in assembler.check(recipe, overrides).diagnostics]


def test_of_two_equal_nodes_each_has_its_own_spans() -> None:
    report = assembler.check(twins())
    assert report.graph is not None
    one, two = (report.graph.scope.nodes[name] for name in ("one", "two"))
    assert one.options is two.options  # type: ignore[union-attr]
    assert (one.span.line, two.span.line) == (4, 6)
    assert {span.line for span in one.spans.values()} == {4}  # type: ignore[union-attr]
    assert {span.line for span in two.spans.values()} == {6}  # type: ignore[union-attr]
    assert one.inputs["x"][0].span.line == 4
    assert two.inputs["x"][0].span.line == 6


def test_of_two_equal_nodes_the_one_that_is_wrong_is_said() -> None:
    text = """
        inputs: {x: "[batch 8]", y: "[batch 9]"}
        nodes:
          one: {kind: linear, in: 8, out: 4, from: x}
          two: {kind: linear, in: 8, out: 4, from: y}
          join: {kind: add, from: [one, two]}
        outputs: {y_: join}
    """
    for _ in range(2):
        assert [(item.code, item.span.line) for item in check(text).diagnostics] == [("shape-mismatch", 5)]


def test_two_equal_wrong_options_are_said_at_both_nodes_and_again_at_the_next_check() -> None:
    recipe = twins(TWINS.replace("bias: flag", "bais: flag"))
    for _ in range(2):
        assert [(code, line) for code, line, _ in said(recipe) if code == "unknown-option"] == [("unknown-option", 4), ("unknown-option", 6)]


def test_an_override_of_one_node_leaves_its_twin_where_it_is() -> None:
    recipe = twins()
    report = assembler.check(recipe, ["nodes.two.out=4*width"])
    assert report.graph is not None
    one, two = (report.graph.scope.nodes[name] for name in ("one", "two"))
    assert one.spans["out"].line == 4  # type: ignore[union-attr]
    assert one.spans["out"].override is None  # type: ignore[union-attr]
    assert two.spans["out"].override == "nodes.two.out=4*width"  # type: ignore[union-attr]
    assert two.options.out == 32  # type: ignore[union-attr]
    assert not said(recipe), "the recipe itself is as it was"


def test_vars_of_other_values_make_other_options_each_time() -> None:
    recipe = twins()
    for act, width in (("gelu", 8), ("relu", 3), ("gelu", 8), ("relu", 8)):
        report = assembler.check(recipe, [f"vars.act={act}", f"vars.width={width}"])
        assert report.graph is not None
        nodes = report.graph.scope.nodes
        assert nodes["one"].options.out == 2 * width  # type: ignore[union-attr]
        assert nodes["second"].options.activation == act  # type: ignore[union-attr]


def test_one_and_true_are_not_taken_for_one_another() -> None:
    recipe = twins()
    assert not said(recipe)
    assert {code for code, _, _ in said(recipe, "vars.flag=1")} == {"value-type"}
    assert {code for code, _, _ in said(recipe, "vars.flag=1.0")} == {"value-type"}
    assert not said(recipe, "vars.flag=false")


def test_a_var_that_becomes_wrong_is_said_at_every_place_that_names_it() -> None:
    recipe = twins()
    assert not said(recipe)
    found = said(recipe, "vars.width=wide")
    assert [(code, line) for code, line, override in found if override is None] == [("value-type", 4), ("value-type", 6)]
    assert not said(recipe)


def test_a_kind_that_is_registered_anew_under_its_old_name_is_read_anew() -> None:
    card = registry.kind("activation")
    assert card is not None
    text = 'inputs: {x: "[batch 8]"}\nnodes: {act: {kind: mine, from: x}}\noutputs: {y: act}\n'
    recipe = twins(text)

    def widened(options: object) -> Definition:
        definition = card.define(options)
        return definition._replace(inputs={"x": definition.inputs["x"]._replace(type="[batch 9]")})

    try:
        registry.register(replace(card, name="mine"))
        assert not said(recipe)
        registry.unregister("mine")
        assert [code for code, _, _ in said(recipe)] == ["unknown-kind"]
        registry.register(replace(card, name="mine", define=widened))
        assert "shape-mismatch" in {code for code, _, _ in said(recipe)}
    finally:
        registry.unregister("mine")


@pytest.mark.parametrize("more", ["norm: pre", "repeat: 2", "freeze: true", "seed: 3", "tie: {weight: two.weight}", "vars: {a: 1}", "parts: {a: {kind: identity}}", "out: null", "out: [4]"])
def test_a_place_that_says_more_takes_the_long_way(more: str) -> None:
    recipe = twins(TWINS.replace("one: {kind: linear, out: 2*width,", f"one: {{kind: linear, {more},"))
    assembler.check(recipe)
    assert recipe.graph.nodes["one"].notes == {"plain": None}
    assert recipe.graph.nodes["two"].notes["plain"] is not None


def test_where_a_rule_holds_no_place_is_plain() -> None:
    recipe = twins(TWINS + "rules: {r: {at: two, set: {out: 24}}}\n")
    for _ in range(2):
        report = assembler.check(recipe)
        assert report.graph is not None
        assert report.graph.scope.nodes["two"].options.out == 24  # type: ignore[union-attr]
        assert report.graph.scope.nodes["one"].options.out == 16  # type: ignore[union-attr]


# --- what an override leaves alone ---
def test_places_that_an_override_does_not_touch_are_the_same_objects() -> None:
    from assembler.source.override import apply

    recipe = twins()
    tree, _ = apply(recipe.tree, ["nodes.two.out=4"])
    again, _ = parse(tree, "recipe.yaml", recipe)
    assert again.graph.nodes["one"] is recipe.graph.nodes["one"]
    assert again.graph.nodes["two"] is not recipe.graph.nodes["two"]
    assert list(again.graph.nodes) == list(recipe.graph.nodes)


def test_what_was_said_of_a_place_is_said_again_after_an_override_elsewhere() -> None:
    text = TWINS.replace("first: {kind: activation", "first: {kind: activation, slot: a")
    tree, _ = read_text(text.encode(), "recipe.yaml")
    assert tree is not None
    recipe, found = parse(tree)
    assert [item.code for item in found] == ["place-conflict"]
    assert not recipe.clean
    assert [item.code for item in parse(tree, "", recipe)[1]] == ["place-conflict"]


def test_a_place_with_other_fields_does_not_take_the_notes_along() -> None:
    place = twins().graph.nodes["one"]
    place.notes["plain"] = None
    assert replace(place, fields={}).notes == {}


@pytest.mark.parametrize("overrides", [["+vars.more=3"], ["name=other"], ["seed=7"], ["freeze=true"]])
@pytest.mark.parametrize("path", sorted(Path("recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_loaded_recipe_with_an_override_is_as_if_read_with_it(path: Path, overrides: list[str]) -> None:
    recipe = assembler.load(path)
    assembler.check(recipe)
    assert str(assembler.check(recipe, overrides)) == str(assembler.check(path, overrides))
    assert str(assembler.check(recipe)) == str(assembler.check(path))


def test_what_is_plain_is_read_once() -> None:
    recipe = twins()
    assembler.check(recipe)
    place = recipe.graph.nodes["join"]
    kept = place.notes["plain"]
    assembler.check(recipe, ["vars.width=4"])
    assert place.notes["plain"] is kept
    assert kept.last is not None
    assert read_plain(place, None) is kept  # type: ignore[arg-type]
