"""Writing files: whole or not at all, and never over something else unasked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from assembler.report.output import OutputRefused, create_file, write_file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_file_gets_the_usual_rights(here: Path) -> None:
    mask = os.umask(0o022)
    try:
        assert write_file("m.py", "x\n", ".py") == "wrote"
    finally:
        os.umask(mask)
    assert stat.S_IMODE(Path("m.py").stat().st_mode) == 0o644
    assert os.listdir() == ["m.py"]


@pytest.mark.parametrize("target", ["m.txt", "m", ".py", "", "m.py/", "gone/m.py", "m.py\0.py", "m.yaml", "../m.py"])
@pytest.mark.parametrize("folder", ["inside"])
def test_other_targets_are_refused(here: Path, target: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / folder).mkdir()
    monkeypatch.chdir(here / folder)
    with pytest.raises(OutputRefused):
        write_file("/".join([target]) if target != "m.py/" else "m.yaml/", "x", ".py")
    assert os.listdir(here) == [folder]
    assert os.listdir(here / folder) == []


def test_force_allows_a_way_up_but_no_other_suffix(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "inside").mkdir()
    monkeypatch.chdir(here / "inside")
    assert write_file("../m.py", "x", ".py", force=True) == "wrote"
    with pytest.raises(OutputRefused):
        write_file("../m.txt", "x", ".py", force=True)


def test_a_folder_a_link_and_a_pipe_are_refused_even_with_force(here: Path) -> None:
    Path("d.py").mkdir()
    Path("real.py").write_text("mine")
    os.symlink("real.py", "l.py")
    os.mkfifo("p.py")
    for name in ("d.py", "l.py", "p.py"):
        with pytest.raises(OutputRefused):
            write_file(name, "x", ".py", force=True)
    assert Path("real.py").read_text() == "mine"


def test_the_input_is_never_the_output(here: Path) -> None:
    Path("r.py").write_text("a: 1")
    with pytest.raises(OutputRefused):
        write_file("./r.py", "x", ".py", force=True, inputs=("r.py",))
    assert Path("r.py").read_text() == "a: 1"


def test_a_file_that_differs_is_kept_and_the_difference_shown(here: Path) -> None:
    Path("m.py").write_text("old\n")
    with pytest.raises(OutputRefused) as refused:
        write_file("m.py", "new\n", ".py")
    assert "-old" in refused.value.diff
    assert "+new" in refused.value.diff
    assert Path("m.py").read_text() == "old\n"
    assert write_file("m.py", "old\n", ".py") == "unchanged"
    assert write_file("m.py", "new\n", ".py", force=True) == "wrote"


def test_a_binary_file_is_kept(here: Path) -> None:
    Path("m.py").write_bytes(b"\xff\xfe")
    with pytest.raises(OutputRefused):
        write_file("m.py", "new\n", ".py")


def test_a_full_disk_leaves_the_old_file_whole(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("m.py").write_text("old\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputRefused, match="No space left"):
        write_file("m.py", "new\n", ".py", force=True)
    assert Path("m.py").read_text() == "old\n"
    assert os.listdir() == ["m.py"]


def test_create_never_replaces(here: Path) -> None:
    create_file(here / "a.yaml", "1")
    with pytest.raises(OutputRefused):
        create_file(here / "a.yaml", "2")
    assert (here / "a.yaml").read_text() == "1"
