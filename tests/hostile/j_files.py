"""J1 to J6: files, defaults, links. J8 to J14: files of weights, as `convert` and `diff` meet them, without torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.hostile.entry import GOOD, OK, Entry
from tests.weights.broken import HEADS

_SLOT = "kind: linear\nout: 4\n"
_BODY = 'inputs: {x: "[batch 16]"}\nnodes: {head: {slot: ffn, from: x}}\noutputs: {y: head}\n'


def _with(entry: str) -> str:
    return f"defaults:\n  - {entry} #~\n  - _self_\n{_BODY}"


def _secret(folder: Path) -> None:
    (folder.parent / "secret.yaml").write_text(_SLOT)


def _link(target: str, name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        _secret(folder)
        outside = folder.parent / f"{folder.name}-outside"
        outside.mkdir()
        (outside / "secret.yaml").write_text(_SLOT)
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target.format(outside=outside))

    return make


def _hard(folder: Path) -> None:
    (folder / "slots" / "ffn").mkdir(parents=True)
    (folder / "first.yaml").write_text(_SLOT)
    os.link(folder / "first.yaml", folder / "slots" / "ffn" / "a.yaml")


def _inner_pipe(folder: Path) -> None:
    (folder / "slots" / "ffn").mkdir(parents=True)
    os.mkfifo(folder / "slots" / "ffn" / "a.yaml")


def _home(folder: Path) -> None:
    """The recipe is reached through a linked folder: whoever links their home may."""
    real = folder / "real"
    (real / "slots" / "ffn").mkdir(parents=True)
    (real / "slots" / "ffn" / "a.yaml").write_text(_SLOT)
    (real / "recipe.yaml").write_text(_with("slots/ffn: a").replace(" #~", ""))
    (folder / "link").symlink_to("real")


def _weights(name: str, place: str) -> Entry:
    """A file of weights, alone or in a folder beside its recipe."""
    data = HEADS[name][0]
    number = list(HEADS).index(name)
    if place == "alone":
        words = ("convert", "weights.safetensors", "-o", "out.safetensors")
        return Entry(f"J10{number:02}", f"weights: {name}", None, OK, files={"weights.safetensors": data}, words=words, place=False, exit=2)
    files = {"run/recipe.yaml": GOOD, "run/model.safetensors": data, "run/lock.json": "{}"}
    return Entry(f"J11{number:02}", f"weights in a folder: {name}", GOOD, OK, files=files, words=("diff", "run", "recipe.yaml"), place=False, exit=2)


def _weights_pipe(folder: Path) -> None:
    os.mkfifo(folder / "model.pt")


_PICKLE = b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08os.system\x94."
_OUT = (
    "../secret", "../../secret", "slots/ffn: ../../../secret", "/etc/passwd", "~/secret", "file:///etc/secret", "https://example.org/secret", "slots/ffn: /etc/secret", "./../secret",
)  # fmt: skip
_GAMES = (
    "slots/ffn: 'a.'", "slots/ffn: 'a '", "slots/ffn: CON", "slots/ffn: nul", "'C:\\x'", "'\\\\host\\share'", "slots/ffn: 'a.yaml:x'", "slots/ffn: 'a\\b'",
)  # fmt: skip
_FILES = {"slots/ffn/a.yaml": _SLOT}

ENTRIES = [
    *(Entry(f"J01{i}", f"out of the folder {i}", _with(text), "path-outside", prepare=_secret, alone=i == 0, most=2) for i, text in enumerate(_OUT)),
    Entry("J01w", "a slash is the recipe's own folder", _with("/secret"), "defaults-unknown", prepare=_secret, most=2),
    Entry("J01x", "a search path", "hydra: {searchpath: ['file:///']} #~\n" + GOOD, "foreign-key"),
    Entry("J01y", "a package that is imported", _with("slots/ffn: pkg://secret"), "path-outside", files={**_FILES, "secret.py": "open('pwned', 'w')"}, most=2),
    Entry("J02", "a link that leads outside", _with("slots/ffn: a"), "path-outside", prepare=_link("{outside}/secret.yaml", "slots/ffn/a.yaml"), most=2),
    Entry("J02b", "a linked folder that leads outside", _with("slots/ffn: secret"), "path-outside", prepare=_link("{outside}", "slots/ffn"), most=2),
    Entry("J02c", "a link to a device", _with("slots/ffn: a"), "path-outside", prepare=_link("/dev/zero", "slots/ffn/a.yaml"), most=2),
    Entry("J02d", "a link inside the folder", _with("slots/ffn: b").replace(" #~", ""), OK, files=_FILES, prepare=lambda folder: (folder / "slots/ffn/b.yaml").symlink_to("a.yaml")),
    Entry("J02e", "a hard link", _with("slots/ffn: a").replace(" #~", ""), OK, prepare=_hard),
    Entry("J02f", "a linked project", None, OK, prepare=_home, words=("check", "link/recipe.yaml")),
    Entry("J03", "a file that is not there", _with("slots/ffn: mpl"), "defaults-unknown", files={"slots/ffn/mlp.yaml": _SLOT}, says="mlp", most=2),
    Entry("J03b", "defaults that are no list", "defaults: a #~\n" + GOOD, "defaults-syntax", most=2),
    Entry("J03c", "a recipe that includes itself", "defaults:\n  - recipe #~\n  - _self_\n" + GOOD, "defaults-conflict", most=2),
    Entry("J03d", "two recipes that include each other", "defaults: [a, _self_] #~\n" + GOOD, "defaults-conflict", files={"a.yaml": "defaults: [recipe, _self_]\n"}, line=1, most=2),
    Entry("J03e", "a broken file behind a default", _with("slots/ffn: a"), "yaml-tag", files={"slots/ffn/a.yaml": "kind: !!python/name:os.system\n"}, file="a.yaml", line=1, most=2),
    Entry("J03f", "a bomb behind a default", _with("slots/ffn: a"), "limit-alias-expansion", files={"slots/ffn/a.yaml": "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))}, file="a.yaml", line=5, most=2),
    Entry("J03g", "a folder behind a default", _with("slots/ffn: a"), "defaults-unknown", prepare=lambda folder: (folder / "slots/ffn/a.yaml").mkdir(parents=True), most=2),
    Entry("J03h", "a pipe behind a default", _with("slots/ffn: a"), "defaults-unknown", prepare=_inner_pipe, most=2),
    Entry("J03i", "a thousand defaults", lambda: "defaults:\n" + "".join(f"  - a{i}\n" for i in range(1000)) + "  - _self_\n" + GOOD, "defaults-unknown", seconds=2.0, most=16),
    Entry("J03j", "a chain of three hundred defaults", "defaults: [a0, _self_]\n" + GOOD, "defaults-unknown", files={f"a{i}.yaml": f"defaults: [a{i + 1}, _self_]\n" for i in range(300)}, place=False, seconds=5.0, most=3),
    Entry("J03k", "defaults that double thirty times", "defaults: [a0, _self_]\n" + GOOD, "limit-nodes", files={**{f"a{i}.yaml": f"defaults: [a{i + 1}@l, a{i + 1}@r]\n" for i in range(30)}, "a30.yaml": "k: 1\n"}, place=False, seconds=5.0, most=3),
    *(Entry(f"J04{i}", f"a path that means something elsewhere {i}", _with(text), "path-syntax", files=_FILES, most=2) for i, text in enumerate(_GAMES)),
    Entry("J04x", "another case", _with("slots/ffn: A"), "defaults-unknown", files=_FILES, most=2),
    Entry("J04y", "an interpolation in a default", _with("slots/ffn: ${oc.env:HOSTILE}"), "interpolation", files=_FILES, most=2),
    Entry("J04z", "NUL in a default", _with('slots/ffn: "a\\0b"'), "path-syntax", files=_FILES, most=2),
    Entry("J05", "the recipe by a bare name", _with("slots/ffn: a").replace(" #~", ""), OK, files=_FILES),
    Entry("J05b", "the recipe by dots", _with("slots/ffn: a").replace(" #~", ""), OK, files=_FILES, words=("check", "./slots/../recipe.yaml")),
    Entry("J05c", "the recipe from below its folder", _with("../secret"), "path-outside", prepare=_secret, words=("check", "./recipe.yaml"), most=2),
    Entry("J06", "modules of our names beside the recipe", _with("slots/ffn: a").replace(" #~", ""), OK, alone=True, seconds=3.0,
          files={**_FILES, **{f"{name}.py": "open('pwned', 'w')\nraise SystemExit(3)\n" for name in ("torch", "yaml", "hydra", "omegaconf", "pydantic", "networkx", "sitecustomize", "assembler", "json")}}),
    Entry("J08", "weights named in a recipe", "weights: model.pkl #~\n" + GOOD, "unknown-key"),
    *(Entry(f"J08{i}", f"a pickle that is none: {name}", None, OK, files={name: b"hello"}, words=("convert", name, "-o", "out.safetensors"), place=False, exit=2)
      for i, name in enumerate(("model.pt", "model.ckpt", "model.bin", "model.npy"))),
    Entry("J08p", "a pipe for weights", None, OK, prepare=_weights_pipe, words=("convert", "model.pt", "-o", "out.safetensors"), place=False, exit=2),
    Entry("J08q", "a pickle in a folder for its weights", GOOD, OK, files={"run/recipe.yaml": GOOD, "run/model.safetensors": _PICKLE, "run/lock.json": "{}"},
          words=("diff", "run", "recipe.yaml"), place=False, exit=2),
    Entry("J16", "weights over their source", None, OK, files={"a.safetensors": b"hello"}, words=("convert", "a.safetensors", "-o", "a.safetensors", "--force"), place=False, exit=2),
    Entry("J16b", "weights over something else", None, OK, files={"a.pt": b"hello", "b.safetensors": b"mine"}, words=("convert", "a.pt", "-o", "b.safetensors"), place=False, exit=2),
    # What begins as torch.save's files do is read with torch: tests/weights/test_convert.py.
    *(_weights(name, place) for name in HEADS for place in ("alone", "folder") if place == "folder" or name not in ("zip", "pickle")),
]  # fmt: skip
