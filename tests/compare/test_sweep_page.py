"""What docs/sweep.md shows is what its commands print."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from assembler.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "sweep.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("shown", re.findall(r"```text\n\$ assembler (.*?)```", PAGE, re.DOTALL))
def test_the_commands_print_what_the_page_says(shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    command, _, output = shown.partition("\n")
    main(shlex.split(command))
    assert capsys.readouterr().out == output


def test_the_python_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})  # our own page
    text = out.getvalue()
    assert "('vars.heads=12', 'vars.depth=2') True" in text
    assert text.endswith("2 variants: 1 ok, 1 with errors\n\n")
