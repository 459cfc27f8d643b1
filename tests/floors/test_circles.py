"""What a check made and nobody holds is gone at once: the collector, which is off meanwhile, would find nothing.

What a check leaves is not scanned when it ends (`assemble.no_collection`), so a circle would stay for long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.floors.circles import left
from tests.fuzz.generate import generate
from tests.recipes import shipped


@pytest.fixture(scope="module")
def apart() -> Iterator[Callable[[Path], list[str]]]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda path: pool.submit(left, path).result()


@pytest.mark.parametrize("name", shipped.NAMES)
def test_a_shipped_recipe_leaves_no_circle(name: str, apart: Callable[[Path], list[str]]) -> None:
    """But for the entries of a defaults list, which Hydra ties to their parents: a few, however large the recipe."""
    assert set(apart(shipped.path(name))) <= {"ConfigEntry", "GroupEntry", "Span"}


@pytest.mark.parametrize("seed", range(70, 100))
def test_a_random_recipe_leaves_no_circle(seed: int, tmp_path: Path, apart: Callable[[Path], list[str]]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(generate(seed).text)
    assert apart(path) == []


def test_a_broken_recipe_leaves_no_circle(apart: Callable[[Path], list[str]]) -> None:
    assert apart(shipped.RECIPES.parent / "examples" / "broken.yaml") == []
