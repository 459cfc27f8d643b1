"""Writing files a user named: whole or not at all, and never over something else unasked."""

from __future__ import annotations

import contextlib
import difflib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

DIFF_LINES = 200


class OutputRefused(Exception):
    """The file is not written. The text says why, `diff` what would change."""

    def __init__(self, why: str, diff: str = "") -> None:
        super().__init__(why)
        self.diff = diff


def write_file(target: str, text: str, suffix: str, force: bool = False, inputs: tuple[str, ...] = ()) -> str:
    """Write `text` to `target` at once (temporary file, then rename). Returns what was done, in a word.

    Refused: another suffix, a folder, a link or device, a path with `..` or one of `inputs`;
    and, unless `force`, a file that is there and says something else. OutputRefused says which.
    """
    path = check_place(target, suffix, force, inputs)
    if path.exists():
        old = _old_text(path)
        if old == text:
            return "unchanged"
        if not force:
            raise OutputRefused(f"{target} exists and differs; --force replaces it", _diff(old, text, target))
    _replace(path, text)
    return "wrote"


def check_place(target: str, suffix: str, force: bool = False, inputs: tuple[str, ...] = ()) -> Path:
    """The path, if a file may stand there at all; OutputRefused if not. Writes nothing."""
    path = Path(target)
    if "\0" in str(path):
        raise OutputRefused("the name of the file holds a NUL character")
    if path.suffix != suffix or not path.stem:
        raise OutputRefused(f"{path} does not end in {suffix}")
    if path.is_dir():
        raise OutputRefused(f"{path} is a folder")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OutputRefused(f"{path} is a link or a device, not a plain file")
    if any(os.path.realpath(path) == os.path.realpath(item) for item in inputs):
        raise OutputRefused(f"{path} is what is read from")
    if ".." in path.parts and not force:
        raise OutputRefused(f"{path} leads up and out of this folder; --force allows it")
    if not path.parent.is_dir():
        raise OutputRefused(f"there is no folder {path.parent}")
    return path


def _old_text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None
    except OSError as problem:
        raise OutputRefused(f"{path} cannot be read: {problem.strerror}") from problem


def _diff(old: str | None, new: str, name: str) -> str:
    if old is None:
        return ""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), f"{name} (there)", f"{name} (new)", lineterm=""))
    rest = len(lines) - DIFF_LINES
    return "\n".join([*lines[:DIFF_LINES], *([f"... and {rest} more lines"] if rest > 0 else [])])


def _replace(path: Path, text: str) -> None:
    try:
        with staged(path) as stage:
            stage.write_text(text, encoding="utf-8", newline="\n")
    except OSError as problem:
        raise OutputRefused(f"{path} cannot be written: {problem.strerror}") from problem


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A new file beside `path` that takes its place in the end. On any failure it is gone, and `path` as it was."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    stage = Path(name)
    try:
        yield stage
        as_any_new(stage)
        flush(stage)
        os.replace(stage, path)
    finally:
        with contextlib.suppress(OSError):
            stage.unlink()  # gone after the rename


def as_any_new(path: Path) -> None:
    """Temporary files and folders are private; what a user asked for may be read as any new one may."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def flush(path: Path) -> None:
    """Until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create_file(path: Path, text: str) -> None:
    """Make a file that is not there yet. OutputRefused if anything has that name."""
    try:
        with open(path, "x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except FileExistsError as problem:
        raise OutputRefused(f"{path} exists") from problem
    except OSError as problem:
        raise OutputRefused(f"{path} cannot be written: {problem.strerror}") from problem
