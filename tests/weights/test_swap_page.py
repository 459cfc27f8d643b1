"""docs/swap.md is executed: its Python in order, each output as it stands there, its command, its table."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from assembler.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "swap.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


def test_the_python_of_the_page_prints_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    scope: dict[str, object] = {}
    printed = []
    for language, text in BLOCKS:
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(text, scope)
            printed.append(out.getvalue())
    assert printed == [text for language, text in BLOCKS if language == "text"]
    assert len(printed) == 3


def test_the_command_of_the_page_prints_what_the_page_says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    (text,) = [text for language, text in BLOCKS if language == "console"]
    command, *wanted = text.splitlines()
    assert main(command.removeprefix("$ assembler ").split()) == 0
    found = capsys.readouterr().out.splitlines()
    numbers = re.compile(r"\d+ of \d+ fit")  # how many kinds there are is not the page's business
    assert [numbers.sub("", line) for line in found[: len(wanted) - 1]] == [numbers.sub("", line) for line in wanted[:-1]]
