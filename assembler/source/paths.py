"""Which files a composition may open: plain relative names below the recipe's folder and the shipped recipes.

Names are checked before anything touches the disk, links are followed only as long as they stay
below their root, and a file is opened without following a last link and read up to a cap.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assembler.source.wording import shorten
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import NOWHERE, Span

MAX_BYTES = 4 * 1024 * 1024
MAX_NAME = 512
MAX_PROBES = 1000
SUFFIX = ".yaml"

_SEGMENT = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*\Z")
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{name}{i}" for name in ("com", "lpt") for i in range(10))})
_SYSTEM = frozenset({
    "etc", "home", "usr", "var", "tmp", "proc", "dev", "root", "opt", "mnt", "media", "sys", "bin", "lib",
    "Users", "Volumes", "Windows"
})  # fmt: skip


def shipped() -> Path:
    """The folder of the recipes that come with the package: beside it in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def check_relative(name: str, span: Span, what: str) -> Diagnostic | None:
    """A diagnostic unless `name` (`slots/ffn/mlp`, one leading `/` allowed) is a plain relative path."""
    outside = _leaves(name)
    if outside:
        return Diagnostic(
            "path-outside", f"the {what} {shorten(name)!r} {outside}", span, label="leads outside",
            help="name a file below the recipe's folder, without `.yaml`: `slots/ffn: mlp`",
        )  # fmt: skip
    reason = "is too long" if len(name) > MAX_NAME else next(filter(None, map(_unplain, _segments(name))), "")
    if not reason:
        return None
    return Diagnostic(
        "path-syntax", f"the {what} {shorten(name)!r} {reason}", span, label="not a plain relative path",
        help="use letters, digits, `_`, `-`, `.` and `/` only",
    )  # fmt: skip


def _segments(name: str) -> list[str]:
    return name.removeprefix("/").split("/")


def _leaves(name: str) -> str:
    """How `name` would leave its root, or nothing."""
    parts = re.split(r"[/\\]", name)
    if ".." in parts:
        return "climbs out of its folder with `..`"
    if "://" in name:
        return "is a URL"
    if name.startswith("~"):
        return "starts at a home folder"
    if name.startswith("/") and len(parts) > 2 and parts[1] in _SYSTEM:
        return "is an absolute path"
    return ""


def _unplain(segment: str) -> str:
    """What is wrong with one segment on at least one system, or nothing."""
    if not segment:
        return "has an empty part"
    if "\\" in segment:
        return "holds a backslash"
    if ":" in segment:
        return "holds a colon (a drive letter or an alternate stream)"
    if segment.endswith((".", " ")):
        return "ends in a dot or a space, which Windows drops"
    if segment.partition(".")[0].lower() in _DEVICES:
        return "is the name of a device on Windows"
    if not _SEGMENT.match(segment):
        return "holds a character that is not plain in a file name"
    return ""


@dataclass
class Root:
    """One place to look in: `real` is its resolved folder, `shown` how messages spell it."""

    real: str
    shown: str
    _listings: dict[str, frozenset[str]] = field(default_factory=dict)

    def resolve(self, name: str) -> str | None:
        """The real path of `name`; None where there is no such entry, spelled exactly so.

        Raises:
            Outside: a link on the way leads out of the root.
        """
        parts = name.split("/") if name else []
        folder = self.real
        for part in parts:
            if part in ("", ".", "..") or part not in self._names(folder):
                return None
            folder = os.path.realpath(os.path.join(folder, part))
            if not self._holds(folder):
                raise Outside(self.show(name))
        return folder

    def show(self, name: str) -> str:
        return os.path.join(self.shown, *name.split("/")) if name else self.shown

    def options(self, group: str) -> list[str]:
        """Names of the config files that `group` holds."""
        try:
            folder = self.resolve(group)
        except Outside:
            return []
        names = self._names(folder) if folder else frozenset()
        return sorted(n.removesuffix(SUFFIX) for n in names if n.endswith(SUFFIX) and n != SUFFIX)

    def groups(self) -> list[str]:
        """Paths of the groups below the root, outermost first, for nearest names; a big folder is not searched."""
        found: list[str] = []
        todo = [""]
        probes = MAX_PROBES
        while todo and probes > 0:
            parent = todo.pop(0)
            for name in sorted(self._names(self._folder(parent)))[:probes]:
                path = f"{parent}/{name}" if parent else name
                probes -= 1
                if "." not in name and self._folder(path):
                    found.append(path)
                    todo.append(path)
        return found

    def _folder(self, name: str) -> str:
        try:
            real = self.resolve(name)
        except Outside:
            return ""
        return real if real and os.path.isdir(real) else ""

    def is_group(self, name: str) -> bool:
        return bool(self._folder(name))

    def _names(self, folder: str) -> frozenset[str]:
        known = self._listings.get(folder)
        if known is None:
            try:
                known = frozenset(os.listdir(folder)) if folder else frozenset()
            except OSError:
                known = frozenset()
            self._listings[folder] = known
        return known

    def _holds(self, real: str) -> bool:
        return real == self.real or real.startswith(self.real.rstrip(os.sep) + os.sep)


class Outside(Exception):
    """A link below a root leads out of it; `args[0]` is the path as messages spell it."""


def roots(folder: str, search: Sequence[str | os.PathLike[str]]) -> list[Root]:
    """The recipe's folder, then the search path; each resolved once, the same folder only once."""
    found: dict[str, Root] = {}
    for place in (folder, *search):
        shown = os.fspath(place)
        real = os.path.realpath(shown or os.curdir)
        if os.path.isdir(real):
            found.setdefault(real, Root(real, shown))
    return list(found.values())


def read_capped(real: str, shown: str, span: Span = NOWHERE) -> tuple[bytes | None, Diagnostic | None]:
    """The bytes of a regular file, at most `MAX_BYTES`; `real` must be resolved already."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(real, flags | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        return None, Diagnostic("file-unreadable", f"{shown} cannot be opened: {error.strerror}", span)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None, Diagnostic("file-not-regular", f"{shown} is not a regular file", span)
        try:
            data = file.read(MAX_BYTES + 1)
        except OSError as error:
            return None, Diagnostic("file-unreadable", f"{shown} cannot be read: {error.strerror}", span)
    if len(data) > MAX_BYTES:
        return None, Diagnostic("limit-file-size", f"{shown} is larger than 4 MiB", span)
    return data, None
