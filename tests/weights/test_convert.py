"""`assembler convert`: bare tensors out of a pickle, each once; whatever else is in it is refused or left behind by name."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import assembler
from assembler.cli import main
from assembler.weights.header import read_header

torch.set_num_threads(1)


class _Code:
    """What a pickle can do to who reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["convert", *words]) == 2
    assert not Path("out.safetensors").exists() or "--force" in words
    return capsys.readouterr().err


def test_a_state_dict_becomes_a_file_that_a_model_takes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {"inputs": {"x": "[batch 8]"}, "nodes": {"a": {"kind": "mlp", "from": "x"}}, "outputs": {"y": "a"}}
    model = assembler.build(recipe, seed=1)
    torch.save(model.state_dict(), "model.pt")
    assert main(["convert", "model.pt", "-o", "out.safetensors"]) == 0
    assert capsys.readouterr().err == "wrote out.safetensors: 4 tensors, 2,208 bytes\n"
    other = assembler.build(recipe, seed=2)
    assert assembler.load_weights(other, "out.safetensors").whole
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))
    assert os.stat("out.safetensors").st_mode & 0o777 == 0o666 & ~_mask()


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("form", [True, False], ids=["zip", "pickle"])
def test_both_forms_of_torch_save_are_read(form: bool, here: Path) -> None:
    torch.save({"a": torch.arange(3.0)}, "model.pth", _use_new_zipfile_serialization=form)
    assert main(["convert", "model.pth", "-o", "out.safetensors"]) == 0
    assert torch.equal(load_file("out.safetensors")["a"], torch.arange(3.0))


def test_tied_tensors_are_written_once_and_noted_and_views_become_whole(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = torch.randn(4, 6)
    torch.save({"embed.weight": table, "head.weight": table, "half": table[:2], "turned": table.T}, "model.bin")
    assert main(["convert", "model.bin", "-o", "out.safetensors"]) == 0
    assert "head.weight is embed.weight once more" in capsys.readouterr().err
    found = load_file("out.safetensors")
    assert sorted(found) == ["embed.weight", "half", "turned"]
    assert torch.equal(found["turned"], table.T)
    assert read_header("out.safetensors").metadata == {"format": "pt", "head.weight": "embed.weight"}
    model = nn.Module()
    model.embed, model.head = nn.Embedding(4, 6), nn.Linear(6, 4, bias=False)
    model.head.weight = model.embed.weight
    assert [item[1].key for item in assembler.load_weights(model, "out.safetensors", strict=False).kept] == ["embed.weight"]
    assert torch.equal(model.head.weight, table)


def test_a_wrapper_is_opened_only_when_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"epoch": 3, "state_dict": {"module.a": torch.ones(2)}, "optimizer": {"lr": 0.1}}, "last.ckpt")
    text = _fails(capsys, "last.ckpt", "-o", "out.safetensors")
    assert "not everything in the file is a tensor: it holds epoch (int), state_dict (dict), optimizer (dict); is it `--key state_dict`?" in text
    assert "there is no `model` in the file; it holds epoch (int)" in _fails(capsys, "last.ckpt", "-o", "out.safetensors", "--key", "model")
    assert "not every name begins with `net.`: module.a" in _fails(capsys, "last.ckpt", "-o", "out.safetensors", "--key", "state_dict", "--strip", "net.")
    assert main(["convert", "last.ckpt", "-o", "out.safetensors", "--key", "state_dict", "--strip", "module."]) == 0
    assert list(load_file("out.safetensors")) == ["a"]


def test_a_pickle_that_wants_code_is_refused_and_runs_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": _Code()}, "model.pt")
    Path("bare.pkl").write_bytes(pickle.dumps(_Code()))
    torch.save(nn.Linear(2, 2), "module.pt")
    for name in ("model.pt", "bare.pkl", "module.pt"):
        text = _fails(capsys, name, "-o", "out.safetensors")
        assert "is refused: it holds more than tensors" in text or "cannot be read as what torch.save writes" in text
        assert "Traceback" not in text
    assert not Path("pwned").exists()
    assert sorted(os.listdir()) == ["bare.pkl", "model.pt", "module.pt"]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([torch.ones(2)], "it is a list"), (torch.ones(2), "it is a Tensor"), ({}, "holds no tensors"), ({"a": torch.ones(2), "b": 1}, "b (int)"),
        ({"../a": torch.ones(2)}, "letters, digits"), ({"a": torch.ones(0)}, "empty"), ({"a": torch.ones(2).to_sparse()}, "sparse"),
    ],
    ids=["list", "tensor", "empty", "number", "name", "no-elements", "sparse"],
)  # fmt: skip
def test_what_is_no_state_dict_says_what_it_is(found: Any, says: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(found, "model.pt")
    assert says in _fails(capsys, "model.pt", "-o", "out.safetensors")


def test_damaged_files_and_other_files_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": torch.randn(100)}, "model.pt")
    whole = Path("model.pt").read_bytes()
    for size in (5, 100, len(whole) // 2, len(whole) - 20):
        Path("cut.pt").write_bytes(whole[:size])
        assert "cut.pt" in _fails(capsys, "cut.pt", "-o", "out.safetensors")
    Path("text.pt").write_text("hello")
    assert "does not begin as what torch.save writes" in _fails(capsys, "text.pt", "-o", "out.safetensors")
    Path("empty.pt").write_bytes(b"")
    assert "does not begin" in _fails(capsys, "empty.pt", "-o", "out.safetensors")
    assert "cannot be read" in _fails(capsys, "none.pt", "-o", "out.safetensors")
    os.mkfifo("pipe.pt")
    assert "a folder, a pipe or a device" in _fails(capsys, "pipe.pt", "-o", "out.safetensors")


def test_a_file_that_is_there_is_replaced_only_by_force_and_the_source_never(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": torch.ones(2)}, "model.pt")
    Path("out.safetensors").write_text("mine")
    assert main(["convert", "model.pt", "-o", "out.safetensors"]) == 2
    assert "exists; --force replaces it" in capsys.readouterr().err
    assert Path("out.safetensors").read_text() == "mine"
    assert main(["convert", "model.pt", "-o", "out.safetensors", "--force"]) == 0
    assert main(["convert", "out.safetensors", "-o", "out.safetensors", "--force"]) == 2
    assert "is what is read from" in capsys.readouterr().err
    assert main(["convert", "out.safetensors", "-o", "two.safetensors"]) == 2
    assert "is safetensors already: 1 tensors" in capsys.readouterr().err
    assert main(["convert", "model.pt", "-o", "model.pth"]) == 2
    assert "does not end in .safetensors" in capsys.readouterr().err


FULL = """
import resource, signal, sys
from assembler.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(main(["convert", "model.pt", "-o", "out.safetensors"]))
"""


def test_a_full_disk_leaves_nothing_behind(here: Path) -> None:
    torch.save({"a": torch.ones(2000)}, "model.pt")
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "out.safetensors is not written" in done.stderr
    assert os.listdir() == ["model.pt"]
