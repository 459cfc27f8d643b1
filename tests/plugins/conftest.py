"""A plugin package on disk, and a registry that forgets what a test registered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assembler.library import entry_points, registry

KINDS = '''
"""Kinds of a third party."""

import math
from typing import Literal

import torch
from torch import nn

import assembler

FACTOR = 1.0 / math.sqrt(2)


def halved(x: torch.Tensor) -> torch.Tensor:
    return x * FACTOR


@assembler.kind("x: [... in] -> y: [... out]", defaults={"out": "in"})
class RunningGate(nn.Module):
    """A map behind a squashing function."""

    def __init__(self, in_: int, out: int, act: Literal["tanh", "sigmoid"] = "tanh", gain: float = 1.0, bias: bool = True) -> None:
        super().__init__()
        self.map = nn.Linear(in_, out, bias)
        self.act, self.gain = act, gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return halved(getattr(torch, self.act)(self.map(x)) * self.gain)
'''


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    before, classes = set(registry.registered()), dict(registry.CLASSES)
    yield
    for key in set(registry.registered()) - before:
        registry.unregister(key)
    for name in set(registry.CLASSES) - set(classes):
        del registry.CLASSES[name]
    entry_points.close(False)
    entry_points.forget()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Writes a package `acme_NAME` with a module `kinds`; with `offers`, as one that is installed."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str = "acme", text: str = KINDS, offers: dict[str, str] | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        (folder / "kinds.py").write_text(text)
        if offers is not None:
            info = tmp_path / f"{name}_kinds-1.2.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-kinds\nVersion: 1.2\n")
            lines = "".join(f"{kind} = {module}\n" for kind, module in offers.items())
            (info / "entry_points.txt").write_text(f"[assembler.kinds]\n{lines}")
        entry_points.forget()
        return folder

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("acme")]:
        del sys.modules[name]
