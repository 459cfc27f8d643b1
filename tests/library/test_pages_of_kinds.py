"""The recipes on the pages about kinds are good ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import assembler

PAGES = [Path(__file__).parents[2] / "docs" / "kinds" / f"{name}.md" for name in ("mixtures", "containers", "expand")]
BLOCKS = [(page.name, text) for page in PAGES for text in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)]


@pytest.mark.parametrize(("page", "text"), BLOCKS)
def test_a_recipe_on_a_page_checks_without_a_finding(page: str, text: str) -> None:
    report = assembler.check(assembler.recipe(yaml.safe_load(text)))
    assert [item for item in report.diagnostics if item.level != "note"] == [], str(report)
