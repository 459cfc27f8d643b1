"""A: not a recipe at all. Bytes, encodings, files of another sort."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.hostile.entry import GOOD, OK, Entry, net, option

MIB = 2**20


def _folder(folder: Path) -> None:
    (folder / "recipe.yaml").mkdir()


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "recipe.yaml")


def _device(folder: Path) -> None:
    (folder / "recipe.yaml").symlink_to("/dev/zero")


def _socket(folder: Path) -> None:
    """Bound by a relative name: the path of a test may be longer than a socket's name may be."""
    back = os.getcwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("recipe.yaml")
    finally:
        os.chdir(back)


def _sparse(folder: Path) -> None:
    with open(folder / "recipe.yaml", "wb") as file:
        file.truncate(2**30)


def _circle(folder: Path) -> None:
    (folder / "recipe.yaml").symlink_to("recipe.yaml")


ENTRIES = [
    Entry("A01", "empty file", b"", "yaml-empty", says="nodes"),
    Entry("A02", "only comments", "# nothing\n# here\n", "yaml-empty"),
    Entry("A02b", "only a document start", "---\n", "yaml-empty"),
    Entry("A02c", "only null", "null\n", "yaml-empty"),
    Entry("A03", "a text", "hello\n", "yaml-empty"),
    Entry("A03b", "a list", "- a\n- b\n", "yaml-empty"),
    Entry("A03c", "an empty mapping", "{}\n", "nodes-missing"),
    Entry("A04", "two documents", GOOD + "--- #~\n" + GOOD, "yaml-multiple-documents"),
    Entry("A05", "a folder", None, "file-not-regular", prepare=_folder, place=False, exit=2),
    Entry("A05b", "a named pipe", None, "file-not-regular", prepare=_pipe, place=False, exit=2),
    Entry("A05c", "a device", None, "file-not-regular", prepare=_device, place=False, exit=2),
    Entry("A05d", "a socket", None, "file-not-regular", prepare=_socket, place=False, exit=2),
    Entry("A06", "no such file", None, "file-not-found", place=False, exit=2),
    Entry("A06b", "a link to itself", None, "file-unreadable", prepare=_circle, place=False, exit=2),
    Entry("A07", "a gigabyte of nothing", None, "limit-file-size", prepare=_sparse, place=False, alone=True),
    Entry("A07b", "five megabytes of recipe", lambda: GOOD + "# more\n" * (5 * MIB // 7), "limit-file-size", place=False),
    Entry("A08", "a byte order mark", "\ufeff" + GOOD, OK),
    Entry("A08b", "two byte order marks", "\ufeff\ufeff" + GOOD, "yaml-control-character", line=1),
    Entry("A09", "UTF-16", GOOD.encode("utf-16"), "yaml-encoding", line=1),
    Entry("A09b", "UTF-32", GOOD.encode("utf-32"), "yaml-encoding", line=1),
    Entry("A10", "a byte that is no UTF-8", GOOD.encode() + b"# \xff\n", "yaml-encoding", line=5),
    Entry("A10b", "an overlong form", b"name: \xc0\xaf\n" + GOOD.encode(), "yaml-encoding", line=1),
    Entry("A10c", "half of a pair", 'name: "\\ud800" #~\n' + GOOD, "yaml-encoding"),
    Entry("A10d", "half of a pair as bytes", b"name: \xed\xa0\x80\n" + GOOD.encode(), "yaml-encoding", line=1),
    Entry("A10e", "Latin 1", "name: größe\n".encode("latin-1") + GOOD.encode(), "yaml-encoding", line=1),
    Entry("A11", "NUL", b"name: a\0b\n" + GOOD.encode(), "yaml-control-character", line=1, says="U+0000"),
    Entry("A11b", "ESC", b"name: a\x1b[2Jb\n" + GOOD.encode(), "yaml-control-character", line=1, says="U+001B"),
    Entry("A11c", "a C1 control", "name: a\x9bb\n" + GOOD, "yaml-control-character", line=1, says="U+009B"),
    Entry("A11d", "DEL", b"name: a\x7fb\n" + GOOD.encode(), "yaml-control-character", line=1, says="U+007F"),
    Entry("A12", "a zero-width space in a name", net("he\u200bad: {kind: linear, out: 4, from: x} #~"), "yaml-control-character"),
    Entry("A12b", "a no-break space before a value", "name:\u00a0net\n" + GOOD, "yaml-syntax", line=2),
    Entry("A13", "a bidi override in a name", net("he\u202ead: {kind: linear, out: 4, from: x} #~"), "yaml-control-character", says="U+202E"),
    Entry("A13b", "a bidi override in a comment", GOOD + "# safe \u202e not #~\n", "hidden-text"),
    Entry("A13c", "an isolate in a value", "description: a \u2066 b #~\n" + GOOD, "yaml-control-character"),
    Entry("A14", "CRLF", GOOD.replace("\n", "\r\n").encode(), OK),
    Entry("A14b", "CRLF keeps the editor's lines", GOOD.replace("linear", "liner").replace("\n", "\r\n").encode(), "unknown-kind", line=3),
    Entry("A14c", "lone CR", GOOD.replace("\n", "\r").encode(), "yaml-control-character", line=1),
    Entry("A14d", "NEL", "name: a\u0085b: 1\n" + GOOD, "yaml-control-character", line=1),
    Entry("A14e", "LINE SEPARATOR", "name: a\u2028b: 1\n" + GOOD, "yaml-control-character", line=1),
    Entry("A16", "no newline at the end", GOOD.rstrip("\n"), OK),
    Entry("A16b", "spaces at the ends of lines", GOOD.replace("\n", "   \n"), OK),
    Entry("A16c", "a thousand empty lines", "\n" * 1000 + GOOD, OK),
    Entry("A16d", "a tab before a key", "nodes:\n\thead: {kind: linear}\n", "yaml-syntax", line=2),
    Entry("A17", "a line of two megabytes", lambda: GOOD + "description: " + "a" * (2 * MIB) + "\n", "limit-scalar-size", line=5),
    Entry("A17b", "a comment of three megabytes", lambda: GOOD + "# " + "a" * (3 * MIB) + "\n", OK),
    Entry("A19", "TOML", "[model]\nwidth = 64\nname = \"a\"\n", "yaml-syntax", says="TOML"),
    Entry("A19b", "Python", "import torch\n\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x\n", "yaml-syntax", says="Python"),
    Entry("A19c", "a Markdown fence", "```yaml\n" + GOOD + "```\n", "yaml-syntax", line=1, says="Markdown"),
    Entry("A19d", "an error page", "<!DOCTYPE html>\n<html><body>404: not found</body></html>\n", "yaml-syntax", line=1, says="HTML"),
    Entry("A19e", "a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "yaml-syntax", says="LFS"),
    Entry("A19f", "a gzip file", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03abc", "yaml-encoding", line=1),
    Entry("A19g", "a pickle", b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08os.system\x94.", "yaml-encoding", line=1),
    Entry("A19h", "JSON", '{"inputs": {"x": "[batch 16]"}, "nodes": {"head": {"kind": "linear", "out": 4, "from": "x"}}, "outputs": {"y": "head"}}\n', OK),
    Entry("A20", "merge-conflict markers", "<<<<<<< HEAD #~\nname: a\n=======\nname: b\n>>>>>>> other\n" + GOOD, "yaml-merge-conflict"),
    Entry("A20b", "markers with a base", GOOD + "<<<<<<< ours #~\nname: a\n||||||| base\nname: c\n=======\nname: b\n>>>>>>> theirs\n", "yaml-merge-conflict"),
    Entry("A22", "Jinja", option("bias: {{ bias }}"), "yaml-template", says="vars"),
    Entry("A22b", "Jinja, quoted", option("bias: '{{ bias }}'"), "yaml-template", says="vars"),
    Entry("A22c", "a shell variable", option("bias: $BIAS"), "yaml-template", says="vars"),
    Entry("A22d", "a Helm condition", "{{- if .Values.wide }} #~\nname: a\n{{- end }}\n" + GOOD, "yaml-template"),
]
