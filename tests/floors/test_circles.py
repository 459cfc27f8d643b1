"""What a check made and nobody holds is gone at once: the collector, which is off meanwhile, would find nothing.

What a check leaves is not scanned when it ends (`assemble.no_collection`), so a circle would stay for long.
"""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

import assembler
from assembler.report.text import render
from tests.fuzz.generate import generate
from tests.recipes import shipped


def left(path: Path) -> list[str]:
    """What of ours only the collector can find, once a report was printed and dropped. (Hydra leaves some of its own.)"""
    render(assembler.check(path))  # what is kept for the next check is made once
    gc.collect()
    gc.disable()
    try:
        render(assembler.check(path))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return sorted({type(item).__name__ for item in gc.garbage if type(item).__module__.startswith("assembler")})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("name", shipped.NAMES)
def test_a_shipped_recipe_leaves_no_circle(name: str) -> None:
    """But for the entries of a defaults list, which Hydra ties to their parents: a few, however large the recipe."""
    assert set(left(shipped.path(name))) <= {"ConfigEntry", "GroupEntry", "Span"}


@pytest.mark.parametrize("seed", range(70, 100))
def test_a_random_recipe_leaves_no_circle(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(generate(seed).text)
    assert left(path) == []


def test_a_broken_recipe_leaves_no_circle() -> None:
    assert left(shipped.RECIPES.parent / "examples" / "broken.yaml") == []
