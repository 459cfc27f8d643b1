"""The page of the language: each of its recipes is checked, and says what its marks say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assembler.library import registry
from assembler.source.recipe import GRAPH_KEYS, INHERITED, PLACE_KEYS
from tests.graph.recipes import MARK, bad, good

TEXT = (Path(__file__).parents[2] / "docs" / "language.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", RECIPES, ids=[f"recipe-{i}" for i in range(len(RECIPES))])
def test_a_recipe_of_the_page(text: str) -> None:
    if MARK.search(text):
        bad(text)
    else:
        good(text)


def test_every_key_has_a_word_on_the_page() -> None:
    missing = [key for key in (*GRAPH_KEYS, *PLACE_KEYS, *INHERITED) if f"`{key}" not in TEXT and key != "$schema"]
    assert not missing


def test_containers_that_the_page_names_are_kinds() -> None:
    assert all(registry.kind(name) is not None for name in ("sequence", "bus", "parallel", "graph"))
