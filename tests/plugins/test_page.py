"""docs/plugins.md and examples/plugin are what they say: commands print what is shown, Python runs, the example's test passes."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from assembler.cli import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "plugin"
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "gated.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield
    sys.modules.pop("acme_kinds", None)


def test_the_recipe_of_the_page_is_that_of_the_example() -> None:
    (text,) = re.findall(r"```yaml\n# gated.yaml\n(.*?)```", PAGE, re.DOTALL)
    assert text == (EXAMPLE / "gated.yaml").read_text()


def test_the_classes_of_the_page_are_those_of_the_example() -> None:
    source = (EXAMPLE / "acme_kinds.py").read_text()
    classes = re.findall(r"^class .*?(?=^```)", PAGE, re.DOTALL | re.MULTILINE)
    assert len(classes) == 2
    for text in classes:
        assert text.rstrip() in source


def test_commands_print_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```text\n\$ assembler (.*?)\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for command, shown in sorted(blocks, key=lambda block: "--use" in block[0]):
        main(shlex.split(command))
        printed = capsys.readouterr().out
        assert printed.startswith(shown.rstrip()), printed


def test_the_python_of_the_page_runs() -> None:
    main(["kinds", "channel_gain", "--use", "acme_kinds"])
    (checks, host) = (text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "assembler.kind(" not in text)
    space = {"torch": torch}
    exec(re.sub(r"(check_kind\(\"\w+\")", r"\1, compiled=False", checks), space)  # compiled below
    exec(host, space)


def test_the_example_offers_the_kinds_that_it_declares() -> None:
    import tomllib

    offered = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]["assembler.kinds"]
    from assembler.plugins.use import use

    assert sorted(use("acme_kinds")) == [f"{name}@1" for name in sorted(offered)]
    assert set(offered.values()) == {"acme_kinds"}


def test_the_test_of_the_example_is_one(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "test_acme_kinds.py", tmp_path / "theirs.py")
    spec = importlib.util.spec_from_file_location("theirs", tmp_path / "theirs.py")
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    for kind in (theirs.acme_kinds.SquaredMLP, theirs.acme_kinds.ChannelGain):
        theirs.test_a_kind_is_what_it_says(kind)
