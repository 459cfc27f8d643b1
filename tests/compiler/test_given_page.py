"""Every example of docs/given.md, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "given.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_page_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = BLOCK.findall(PAGE.read_text())
    assert [kind for kind, _ in blocks] == ["yaml", "python", "python", "text", "python"]
    for kind, text in blocks:
        if kind == "yaml":
            Path("foreign.yaml").write_text(text)
        elif kind == "python":
            exec(compile(text, "given.md", "exec"), names)
        else:
            assert capsys.readouterr().out.strip() == text.strip()
