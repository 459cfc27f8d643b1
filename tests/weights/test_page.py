"""The page about weights: its blocks run in order and print what stands behind them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import assembler
from assembler.cli import main

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|text|console)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    names: dict[str, Any] = {}
    printed = ""
    for language, text in BLOCKS:
        if language == "python":
            assert not printed, "what a block prints stands behind it"
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, "<docs/weights.md>", "exec"), names)
            printed = out.getvalue()
        elif language == "text":
            assert printed == text
            printed = ""
        else:
            torch.save(assembler.build("recipes/digits.yaml").state_dict(), "model.pt")
            torch.save({"epoch": 1, "state_dict": {"module.a": torch.ones(1)}}, "last.ckpt")
            for line in text.splitlines():
                Path("model.safetensors").unlink(missing_ok=True)
                assert main(line.removeprefix("$ assembler ").split()) == 0
    assert not printed
    assert sum(language == "python" for language, _ in BLOCKS) == 5
