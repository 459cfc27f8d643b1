"""`assembler run`: what was predicted against what is measured, on real models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from assembler import cli
from assembler.lab.run import InputError, run
from assembler.report.starter import starter

torch.set_num_threads(1)

TOKENS = """\
inputs:
  text: ids(50) [batch seq]
  keep: mask [batch seq]
  image: image [batch 1 8*h 8]
nodes:
  words: {kind: embedding, out: 8, from: text}
  attend: {kind: attention, heads: 2, from: {x: words, mask: keep}}
  pooled: {kind: mean_pool, from: attend}
  patches: {kind: patch_embed, patch: 8, out: 8, from: image}
  seen: {kind: mean_pool, from: patches}
  both: {kind: add, from: [pooled, seen]}
outputs: {sum: both}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny.yaml").write_text(starter("tiny"))
    (tmp_path / "tokens.yaml").write_text(TOKENS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_prediction_and_measurement_agree(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "tiny.yaml", "vars.width=16"]) == 0
    assert "DIFFER" not in capsys.readouterr().out
    assert cli.main(["run", "tokens.yaml"]) == 0
    out = capsys.readouterr().out
    assert "input text" in out
    assert "bool [" in out


def test_sizes_and_inputs_can_be_stated(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "tiny.yaml", "--size", "batch=3", "--size", "seq=4"]) == 0
    assert "float32 [3 4 32]" in capsys.readouterr().out
    save_file({"x": torch.zeros(7, 2, 32)}, "in.safetensors")
    assert cli.main(["run", "tiny.yaml", "--input", "in.safetensors"]) == 0
    assert "predicted float32 [7 10]" in capsys.readouterr().out


def test_wrong_inputs_are_usage_and_no_bug(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"z": torch.zeros(1)}, "z.safetensors")
    save_file({"x": torch.zeros(2, 5, 31)}, "narrow.safetensors")
    Path("junk.safetensors").write_bytes(b"\xff" * 64)
    for words in (["--size", "nobody=3"], ["--input", "z.safetensors"], ["--input", "junk.safetensors"], ["--input", "narrow.safetensors"], ["--input", "gone"]):
        assert cli.main(["run", "tiny.yaml", *words]) == 2, words
        assert "Traceback" not in capsys.readouterr().err


def test_a_wrong_prediction_is_found(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The comparison can fail: a count that is one off is told, with exit 1."""
    from assembler.lab import verify

    monkeypatch.setattr(verify, "totals", lambda graph, facts: (102_857, 102_858))
    assert cli.main(["run", "tiny.yaml"]) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_sizes_that_no_memory_holds_are_a_usage_error_and_no_bug_of_ours(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text('inputs: {x: "[batch 16]"}\nnodes: {a: {kind: linear, out: 16, from: x}}\noutputs: {y: a}\n')
    with pytest.raises(InputError, match="more memory than there is"):
        run(str(tmp_path / "r.yaml"), [], {"batch": 999_999_999_999}, None, 0)
