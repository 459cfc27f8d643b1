"""Mappings from Python: every finding at a key path; a DictConfig means what its own application says."""

from __future__ import annotations

import pickle
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

import assembler
from assembler.report.data import to_data
from assembler.source.events import MAX_DEPTH, MAX_NODES
from assembler.source.mapping import tree_of
from assembler_schemas.diagnostic import Diagnostic

BASE = {
    "name": "mine",
    "vars": {"width": 64},
    "inputs": {"x": "[batch 8]"},
    "nodes": {"up": {"kind": "linear", "out": "width", "from": "x"}, "head": {"kind": "linear", "out": 10, "from": "up"}},
    "outputs": {"logits": "head"},
}


def app(**more: Any) -> DictConfig:
    """The configuration of an application, with a recipe at `model`."""
    return OmegaConf.create({"train": {"width": 64, "names": ["a", "b"]}, "model": BASE, **more})


def found(source: Any) -> list[tuple[str, str, str]]:
    """Code, key path and marked text of every finding."""
    return [(item.code, item.span.config, marked(item)) for item in assembler.check(source).diagnostics]


def marked(item: Diagnostic) -> str:
    return item.span.text[item.span.column - 1 : item.span.end_column - 1]


def test_a_finding_about_a_mapping_shows_the_key_paths_of_both_ends() -> None:
    cfg = app()
    cfg.model.nodes.head["in"] = 128
    assert str(assembler.check(cfg.model)) == (
        "error[shape-mismatch]: `up.y` does not fit `head.x`: last dim 64 against 128\n"
        "  --> model.nodes.head.in\n"
        "   |\n"
        "   | in: 128\n"
        "   |     ^^^ 128 stated here\n"
        "  ::: model.nodes.up.out\n"
        "   |\n"
        "   | out: width\n"
        "   |      ----- `out` of `up` (linear) is 64 because of this\n"
        "   = help: drop `in: 128`, or ask for a projection: `from: {port: up, adapt: linear}`\n"
        "\n"
        "mine: 1 error\n"
    )
    (item,) = to_data(assembler.check(cfg.model))["diagnostics"]
    assert item["span"] == {"path": "model.nodes.head.in"}
    assert item["related"][0]["span"] == {"path": "model.nodes.up.out"}


def test_a_plain_mapping_has_paths_of_its_own() -> None:
    wrong = {**BASE, "nodes": {**BASE["nodes"], "head": {"kind": "linear", "out": 10, "form": "up"}}}  # type: ignore[dict-item]
    assert found(wrong) == [("unknown-option", "nodes.head.form", "form")]


def test_interpolations_are_resolved_by_the_application_wherever_they_point() -> None:
    OmegaConf.register_new_resolver("test_mapping.twice", lambda n: 2 * n, replace=True)
    cfg = app()
    cfg.model.vars.width = "${test_mapping.twice:${train.width}}"
    cfg.model.nodes.head = "${parts.head}"
    cfg.parts = {"head": {"kind": "linear", "out": "${..classes}", "from": "up"}, "classes": 7}
    recipe = assembler.recipe(cfg.model)
    assert recipe.tree.plain()["vars"] == {"width": 128}
    assert recipe.tree.plain()["nodes"]["head"] == {"kind": "linear", "out": 7, "from": "up"}
    assert assembler.check(cfg.model).ok
    assert cfg.model._get_node("vars")._get_node("width")._value() == "${test_mapping.twice:${train.width}}"


def test_what_cannot_be_resolved_or_is_missing_is_found_all_at_once_and_said_once() -> None:
    OmegaConf.register_new_resolver("test_mapping.fails", lambda: 1 // 0, replace=True)
    cfg = app()
    cfg.model.vars.width = "???"
    cfg.model.nodes.up.out = "${train.widht}"
    cfg.model.nodes.head.out = "${test_mapping.fails:}"
    assert found(cfg.model) == [
        ("missing-value", "model.vars.width", '"???"'),
        ("interpolation", "model.nodes.up.out", '"${train.widht}"'),
        ("interpolation", "model.nodes.head.out", '"${test_mapping.fails:}"'),
    ]
    said = str(assembler.check(cfg.model))
    assert "`${train.widht}` cannot be resolved: Interpolation key 'train.widht' not found" in said
    assert "ZeroDivisionError" in said
    assert "give it: `model.vars.width=...`" in said


def test_an_interpolation_in_a_plain_mapping_is_refused() -> None:
    assert found({**BASE, "vars": {"width": "${w}"}}) == [("interpolation", "vars.width", '"${w}"')]


def test_nulls_in_named_places_are_left_out_as_in_a_file() -> None:
    cfg = app()
    cfg.model.nodes.spare = None
    cfg.model.rules = {"late": None}
    assert found(cfg.model) == []


def test_lists_of_a_configuration_are_lists_of_the_recipe() -> None:
    cfg = app()
    cfg.model.inputs.x = ["batch 8"]
    cfg.model.nodes.sum = {"kind": "add", "from": ["head", "${where}"]}
    cfg.where = "up"
    cfg.model.outputs.logits = "sum"
    (item,) = assembler.check(cfg.model).diagnostics
    assert {item.span.config, *(note.span.config for note in item.related)} >= {"model.nodes.up.out", "model.nodes.head.out"}
    cfg.where = "haed"
    assert found(cfg.model) == [("address-unknown", "model.nodes.sum.from[1]", "haed")]


class Activation(Enum):
    gelu = 1
    relu = 2


def test_numbers_of_numpy_and_enums_are_their_values() -> None:
    nodes = {"up": {"kind": "mlp", "out": np.int64(16), "activation": Activation.relu, "from": "x"}, "head": {"kind": "dropout", "p": np.float32(0.5), "from": "up"}}
    recipe = assembler.recipe({**BASE, "vars": {}, "nodes": nodes})
    assert recipe.tree.plain()["nodes"] == {
        "up": {"kind": "mlp", "out": 16, "activation": "relu", "from": "x"},
        "head": {"kind": "dropout", "p": 0.5, "from": "up"},
    }
    cfg = OmegaConf.create({"kind": "mlp", "activation": Activation.relu, "from": "x"})
    tree, said = tree_of(cfg)
    assert said == []
    assert tree is not None
    assert tree.plain()["activation"] == "relu"


@pytest.mark.parametrize(
    ("value", "code"), [(object(), "value-type"), (Path("a"), "value-type"), (1 + 2j, "value-type"), (b"x", "value-type"), ({1, 2}, "value-type")]
)
def test_what_is_no_data_is_refused_at_its_key(value: Any, code: str) -> None:
    nodes = {**BASE["nodes"], "head": {"kind": "linear", "out": value, "from": "up"}}  # type: ignore[dict-item]
    assert (code, "nodes.head.out") in [(code, path) for code, path, _ in found({**BASE, "nodes": nodes})]


def test_a_fraction_is_a_number() -> None:
    tree, said = tree_of({"a": Fraction(1, 2)})
    assert tree is not None
    assert (tree.plain(), said) == ({"a": 0.5}, [])


def test_keys_that_are_no_texts_and_keys_that_name_code_are_refused() -> None:
    assert found({**BASE, "nodes": {**BASE["nodes"], 7: {"kind": "identity", "from": "x"}}})[0] == ("yaml-key-type", "nodes.7", "7")  # type: ignore[dict-item]
    cfg = app()
    cfg.model.nodes.head["_target_"] = "torch.nn.Linear"
    assert found(cfg.model) == [("foreign-key", "model.nodes.head._target_", "_target_")]


def test_a_mapping_in_itself_or_too_deep_or_too_large_is_a_finding() -> None:
    circle: dict[str, Any] = {**BASE}
    circle["vars"] = {"a": circle, "b": circle}
    assert [item.code for item in tree_of(circle)[1]] in (["limit-depth"], ["limit-nodes"])
    deep: dict[str, Any] = {}
    for _ in range(MAX_DEPTH + 1):
        deep = {"a": deep}
    assert [item.code for item in tree_of(deep)[1]] == ["limit-depth"]
    assert [item.code for item in assembler.check(deep["a"]).diagnostics] != ["limit-depth"]
    assert [item.code for item in tree_of({"vars": dict.fromkeys(map(str, range(MAX_NODES)), 1)})[1]] == ["limit-nodes"]


@pytest.mark.parametrize("source", [None, 3, ["nodes"], OmegaConf.create(["nodes"])])
def test_what_is_no_recipe_at_all_is_a_type_error_that_says_what_is(source: Any) -> None:
    with pytest.raises(TypeError, match=r"a recipe is a path, a mapping, a DictConfig or what `assembler.load` gives, not "):
        assembler.check(source)


def test_overrides_reach_into_a_mapping() -> None:
    report = assembler.check(app().model, ["nodes.head.out=3", "nodes.up.out=width2"])
    assert [(item.code, item.span.override) for item in report.diagnostics if item.level == "error"] == [("expression-unknown", "nodes.up.out=width2")]


def test_an_error_crosses_processes_with_its_report() -> None:
    """Launchers that run jobs elsewhere pickle what a job raised."""
    cfg = app()
    cfg.model.nodes.head["in"] = 128
    with pytest.raises(assembler.RecipeError) as caught:
        assembler.build(cfg.model)
    twin = pickle.loads(pickle.dumps(caught.value))
    assert str(twin) == str(caught.value)
    assert [item.span.config for item in twin.report.diagnostics] == ["model.nodes.head.in"]
