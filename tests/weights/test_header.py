"""The head of a weights file: what cannot be true of one is refused, at once and without torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from assembler.weights.header import PICKLES, Entry, WeightsError, read_header
from tests.weights.broken import HEADS, entry, file, made

RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_cannot_be_true_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        read_header(made(name, tmp_path))
    text = str(caught.value)
    assert HEADS[name][1] in text
    assert RAW.search(text) is None
    assert len(text) < 1_000


def test_a_head_says_what_lies_where(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(file({"__metadata__": {"format": "pt"}, "b.weight": entry(2, begin=4), "a": entry(1)}, b"0" * 12))
    found = read_header(path)
    assert found.entries == {"b.weight": Entry("F32", (2,), 4, 12), "a": Entry("F32", (1,), 0, 4)}
    assert found.metadata == {"format": "pt"}
    assert found.start + 12 == found.size == path.stat().st_size


def test_what_safetensors_writes_is_read(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {"a.b-c.0": torch.zeros(2, 3), "scalar": torch.tensor(1.0), "n": torch.ones(2, dtype=torch.bfloat16), "i": torch.zeros(4, dtype=torch.bool)}
    save_file(tensors, tmp_path / "w.safetensors")
    found = read_header(tmp_path / "w.safetensors").entries
    assert {name: item.shape for name, item in found.items()} == {name: tuple(item.shape) for name, item in tensors.items()}
    assert found["n"].dtype == "BF16"


@pytest.mark.parametrize("suffix", sorted(PICKLES))
def test_a_pickle_is_refused_by_its_name_before_it_is_opened(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"`assembler convert model\S+ -o model.safetensors`"):
        read_header(tmp_path / f"model{suffix}")


def test_a_pipe_a_device_a_folder_and_nothing_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    for path in (tmp_path / "pipe.safetensors", Path("/dev/zero"), tmp_path):
        with pytest.raises(WeightsError, match="a folder, a pipe or a device"):
            read_header(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_header(tmp_path / "none.safetensors")


def test_reading_a_head_imports_no_torch() -> None:
    code = "import sys, assembler.weights.header, assembler.weights.match, assembler.weights.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
