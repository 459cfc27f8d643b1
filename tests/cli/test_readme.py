"""The README's mistake and its diagnostic are what a reader really gets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assembler.cli import main

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_mistake_prints_what_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "tiny"]) == 0
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("{kind: linear, out: classes", "{kind: linear, in: 128, out: classes"))
    capsys.readouterr()
    assert main(["check", "tiny.yaml"]) == 1
    said = re.search(r"```text\n\$ assembler check tiny.yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert said is not None
    assert capsys.readouterr().out == said[1]
