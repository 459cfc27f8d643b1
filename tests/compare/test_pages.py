"""What docs/diff.md and docs/lock.md show is what their commands print, one after another in a folder with the shipped recipes.

Run as a program it writes the outputs anew: `python -m tests.compare.test_pages`; read the diff before you commit it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path

import pytest

from assembler.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"```(text|python)\n(.*?)```", re.DOTALL)


def shown(page: str, folder: Path) -> str:
    """The page with every output as it is now. Blocks of Python run; what they print stands in no page."""
    shutil.copytree(DOCS.parent / "recipes", folder / "recipes", dirs_exist_ok=True)
    text = (folder / "recipes" / "digits.yaml").read_text(encoding="utf-8")
    renamed = text.replace("encoder", "trunk").replace("think:", "mix:").replace("classes: 10", "classes: 12")
    (folder / "renamed.yaml").write_text(renamed.replace("slots/ffn", "recipes/slots/ffn@slots.ffn"), encoding="utf-8")
    return BLOCK.sub(_run, page)


def _run(block: re.Match[str]) -> str:
    if block[1] == "python":
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(block[2], {})  # our own page
        assert "True" in printed.getvalue() or "False" in printed.getvalue()
        return block[0]
    lines = []
    for command in re.findall(r"^\$ assembler (.*)$", block[2], re.MULTILINE):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            main(shlex.split(command))
        lines.append(f"$ assembler {command}\n{out.getvalue().rstrip()}\n")
    return "```text\n" + "\n".join(lines) + "```"


@pytest.mark.parametrize("name", ["diff", "lock"])
def test_a_page_shows_what_its_commands_print(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert shown(page, tmp_path) == page, "if the new output is better: python -m tests.compare.test_pages"


if __name__ == "__main__":
    for name in ("diff", "lock"):
        path = DOCS / f"{name}.md"
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            path.write_text(shown(path.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
            os.chdir("/")
