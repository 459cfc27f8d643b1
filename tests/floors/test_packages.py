"""What is shipped: the list in pyproject holds every package of the tree, and nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_of_the_tree_is_shipped(project: dict[str, Any]) -> None:
    found = {"assembler_schemas", "assembler.recipes"}
    for init in (ROOT / "assembler").rglob("__init__.py"):
        found.add(".".join(init.parent.relative_to(ROOT).parts))
    assert sorted(found) == project["tool"]["setuptools"]["packages"]


def test_no_python_file_stands_outside_a_package() -> None:
    """A folder without __init__.py would work from a checkout and be missing from the wheel."""
    for file in (ROOT / "assembler").rglob("*.py"):
        assert (file.parent / "__init__.py").exists(), file


def test_types_are_shipped(project: dict[str, Any]) -> None:
    assert (ROOT / "assembler" / "py.typed").exists()
    assert (ROOT / "schemas" / "assembler_schemas" / "py.typed").exists()
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["*"]


def test_dependencies_are_ranges_and_the_constraints_pin(project: dict[str, Any]) -> None:
    assert all(any(sign in item for sign in "<>") for item in project["project"]["dependencies"])
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split("\n") if "==" in line)
    assert pins["torch"] == "2.13.0"
    assert all("+" not in pin for pin in pins.values()), "a local build is to be had nowhere else"
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    import re

    names = {re.split(r"[<>=\[]", item)[0].strip().lower().replace("_", "-") for item in wanted}
    assert names <= {name.lower().replace("_", "-") for name in pins}


def test_no_file_of_ours_names_a_machine() -> None:
    """Paths of one machine must not enter the project."""
    bad = ("/wor" + "k/", "/roo" + "t/", "/hom" + "e/")
    files = [*ROOT.glob("*.*"), ROOT / "Makefile", ROOT / ".ci/run", *(ROOT / "docs").rglob("*.md")]
    files += [f for folder in ("assembler", "schemas", "recipes", "tests", "examples", "benchmarks") for f in (ROOT / folder).rglob("*")]
    for file in files:
        if file.is_file() and file.suffix in (".py", ".md", ".yaml", ".toml", ".json", ".txt", ".cfg", "") and "__pycache__" not in file.parts:
            text = file.read_text(encoding="utf-8", errors="replace")
            assert not [item for item in bad if item in text], file
