"""The catalogue and the editor schema, held against the cards themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from assembler.library import registry
from assembler.report.catalogue import example_of, render_kind, render_kinds, spelled
from assembler.report.explain import PAGES, explain, nearest_codes, render_codes
from assembler.report.schema import render_schema, to_schema
from assembler.source.text import read
from assembler_schemas.codes import CODES

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft7Validator:
    jsonschema.Draft7Validator.check_schema(to_schema())
    return jsonschema.Draft7Validator(to_schema())


@pytest.mark.parametrize("name", registry.names())
def test_a_kind_is_shown_with_all_it_has(name: str) -> None:
    card = registry.kind(name)
    assert card is not None
    text = render_kind(card)
    _, definition = example_of(card)
    wanted = [spelled(*item) for item in card.options.model_fields.items()]
    if definition is not None:
        wanted += [*definition.inputs, *definition.outputs, *definition.parameters]
        assert definition.outputs
    for word in wanted:
        assert any(word in line.split() for line in text.split("\n")), word
    assert card.example in text
    assert card.summary in text
    assert card.example, "every kind has an example"


def test_the_list_names_every_kind() -> None:
    assert {line.split()[0] for line in render_kinds().split("\n\n")[0].split("\n")} == set(registry.names())


@pytest.mark.parametrize("name", registry.names())
def test_the_schema_accepts_each_example_and_no_other_option(name: str, schema: jsonschema.Draft7Validator) -> None:
    card = registry.kind(name)
    assert card is not None
    node = yaml.safe_load(card.example)
    recipe: dict[str, Any] = {"nodes": {"it": node}, "outputs": {"y": "it"}}
    schema.validate(recipe)
    recipe["nodes"]["it"] = node | {"no_such_option": 1}
    assert not schema.is_valid(recipe)
    recipe["nodes"]["it"] = node | {"kind": "no_such_kind"}
    assert not schema.is_valid(recipe)


@pytest.mark.parametrize(
    "recipe",
    [
        {"nodes": {"a": {"kind": "linear", "out": "4*width", "from": "x"}}},
        {"nodes": {"a": None}},
        {"vars": {"act": "relu", "small": 1e-6}, "nodes": {"a": {"kind": "mlp", "activation": "act", "bias": "b", "from": "x"}}},
        {"nodes": {"a": {"slot": "ffn", "from": {"x": "x", "gate": {"port": "y", "adapt": "mlp"}}, "vars": {"w": "2*w"}}}},
        {"nodes": {"a": {"nodes": {"b": {"kind": "identity"}}, "outputs": {"y": "b"}}}},
        {"slots": {"ffn": {"kind": "mlp", "accepts": "[... d]"}}},
        {"inputs": {"x": {"type": "[batch 4]", "optional": True}, "y": ["batch seq 384"]}},
        {"rules": {"r": {"at": "a.*", "where": {"norm": "pre"}, "set": {"norm": "both"}}}},
        {"defaults": [{"slots/ffn": "mlp"}, "_self_"], "recipe": 1, "adapters": {"policy": "never"}},
    ],
)
def test_the_schema_accepts_what_the_language_allows(recipe: dict[str, Any], schema: jsonschema.Draft7Validator) -> None:
    schema.validate(recipe)


@pytest.mark.parametrize(
    "recipe",
    [
        {"nodez": {}},
        {"recipe": 2},
        {"nodes": {"a": {"from": "x"}}},
        {"nodes": {"A": {"kind": "identity"}}},
        {"nodes": {"a": {"kind": "linear", "out": True}}},
        {"nodes": {"a": {"kind": "mlp", "activation": "No Such"}}},
        {"nodes": {"a": {"kind": "bus", "norm": "before"}}},
        {"adapters": {"policy": "maybe"}},
        {"rules": {"r": {"at": "a"}}},
    ],
)
def test_the_schema_refuses_what_it_can_see_is_wrong(recipe: dict[str, Any], schema: jsonschema.Draft7Validator) -> None:
    assert not schema.is_valid(recipe)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_recipes_fit_the_schema(path: Path, schema: jsonschema.Draft7Validator) -> None:
    tree, _ = read(path)
    assert tree is not None
    data = tree.plain()
    if "nodes" in data:
        schema.validate(data)
    elif "kind" in data:
        schema.validate({"slots": {"it": data}})


def test_the_schema_in_the_tree_is_up_to_date() -> None:
    """`make schema` writes it anew."""
    assert (ROOT / "schemas" / "recipe.schema.json").read_text() == render_schema()
    assert json.loads(render_schema()) == to_schema()


def test_explain_knows_every_code_and_no_other() -> None:
    for code in CODES:
        page = explain(code)
        assert page
        assert code in page
    assert explain("no-such-code") is None
    assert explain("../codes") is None
    assert "shape-mismatch" in nearest_codes("shape-mismach")
    assert all(code in render_codes() for code in CODES)


def test_every_page_is_a_code() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} <= set(CODES)
