"""The example of experts that specialise: its data, all of its code in a few steps, and (in the campaign) what it claims."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("experts_example", ROOT / "examples" / "experts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_windows_are_of_each_domain_alike_and_ask_for_the_next_byte(example: ModuleType) -> None:
    texts = [torch.arange(300) % 250 + offset for offset in range(3)]
    text, wanted, domain = example.windows(texts, 30, torch.Generator().manual_seed(0))
    assert text.shape == wanted.shape == (30, example.LENGTH)
    assert text[:, 1:].equal(wanted[:, :-1])
    assert domain.bincount().tolist() == [10, 10, 10]
    again = example.windows(texts, 30, torch.Generator().manual_seed(0))
    assert all(a.equal(b) for a, b in zip((text, wanted, domain), again, strict=True))


def test_the_domains_are_real_text(example: ModuleType) -> None:
    for read, word in ((example.python, b"    def "), (example.english, b" the "), (example.cpp, b"#include ")):
        text = bytes(read().to(torch.uint8).tolist())
        assert 200_000 < len(text) <= example.MOST
        assert text.count(word) > 500


def test_all_of_it_runs_and_without_training_it_fails(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["experts.py"])
    monkeypatch.setattr(example, "STEPS", 8)
    assert example.main() == 1
    said = capsys.readouterr().out
    assert "FAILED: the experts follow the domains with an NMI of" in said
    assert "step   8" in said
    table = said[said.index("expert      load") :].splitlines()[1:9]
    assert sorted(int(line.split()[0]) for line in table) == list(range(8))


@pytest.mark.campaign
def test_experts_specialise_on_real_text() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "schemas")])}
    done = subprocess.run(
        [sys.executable, "examples/experts.py"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
