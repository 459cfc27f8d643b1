"""The shipped recipes as tests use them: where they are, small sizes of each, inputs that fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
NAMES = tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))

_SIBLING = re.compile(r"#   (?P<name>\S+) +(?P<count>[\d,]+) +(?P<overrides>\S+=\S+(?: \S+=\S+)*)\Z")
_OWN = re.compile(r"([\d,]+) parameters")


def path(name: str) -> Path:
    return RECIPES / f"{name}.yaml"


@dataclass(frozen=True)
class Stated:
    """What the comment at the head of a recipe says: its parameters, and how each sibling is made."""

    parameters: int | None
    siblings: Mapping[str, tuple[int, tuple[str, ...]]]


def stated(name: str) -> Stated:
    """Reads the head comment: lines of the form `#   xl  1,557,611,200  vars.width=1600 ...`."""
    lines = path(name).read_text(encoding="utf-8").splitlines()
    head = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    own = _OWN.search(head[0]) if head else None
    found = [match for line in head[1:] if (match := _SIBLING.match(line))]
    assert len(found) == len(head[1:]), f"{name}: a line of the head comment is no sibling"
    siblings = {m["name"]: (_number(m["count"]), tuple(m["overrides"].split())) for m in found}
    return Stated(_number(own[1]) if own else None, siblings)


def _number(text: str) -> int:
    return int(text.replace(",", ""))


SMALL: dict[str, tuple[str, ...]] = {
    "acmix": ("vars.depth=1",),
    "bert": ("vars.vocab=101", "vars.length=32", "vars.width=32", "vars.heads=4", "vars.depth=2"),
    "digits": ("vars.width=32", "vars.depth=2"),
    "ensemble": ("vars.members=3", "vars.hidden=16"),
    "experts": ("vars.width=32", "vars.heads=2", "vars.experts=4"),
    "film": ("vars.width=32", "vars.depth=1"),
    "fusion": ("vars.width=32", "vars.depth=2"),
    "gpt2": ("vars.vocab=101", "vars.length=32", "vars.width=32", "vars.heads=4", "vars.depth=2"),
    "llama": ("vars.vocab=101", "vars.width=32", "vars.heads=4", "vars.kv_heads=2", "vars.depth=2", "vars.hidden=48"),
    "mixtral": ("vars.vocab=101", "vars.width=32", "vars.heads=4", "vars.kv_heads=2", "vars.depth=2", "vars.hidden=24", "vars.experts=4"),
    "pythia": ("vars.vocab=101", "vars.width=32", "vars.heads=4", "vars.depth=2", "vars.turned=4"),
    "resnet50": ("vars.mid=8", "vars.out=32", "vars.depth1=2", "vars.depth2=2", "vars.depth3=3", "vars.depth4=2", "vars.classes=7"),
    "scales": ("vars.width=16",),
    "stream": ("vars.width=32", "vars.narrow=16", "vars.depth=2"),
    "translate": ("vars.vocab=101", "vars.width=32", "vars.heads=4", "vars.depth=2"),
    "two_towers": (),
    "vit": ("vars.size=32", "vars.patch=8", "vars.width=32", "vars.heads=4", "vars.depth=2", "vars.classes=7"),
    "vq": ("vars.width=16", "vars.codes=32"),
}
"""Overrides that make each recipe small enough for a test."""
_STAGES = re.compile(r"vars\.depth(\d?)=\d")
BRIEF = {name: tuple(_STAGES.sub(lambda m: f"vars.depth{m[1]}={2 if m[1] else 1}", word) for word in words) for name, words in SMALL.items()}
"""The same with as few layers as there can be, for the compiler: it writes every copy of a layer out once more."""


def batch(name: str, size: int = 3, length: int = 7) -> dict[str, Tensor]:
    """Inputs for the small form of a recipe; `size` samples, sequences about `length` long."""
    generator = torch.Generator().manual_seed(size * 1000 + length)

    def ids(limit: int, tokens: int) -> Tensor:
        return torch.randint(limit, (size, tokens), generator=generator)

    def dense(*shape: int) -> Tensor:
        return torch.randn(size, *shape, generator=generator)

    kept = torch.arange(length) < torch.randint(1, length + 1, (size, 1), generator=generator)
    table = {
        "acmix": lambda: {"image": dense(1, 8, 8)},
        "bert": lambda: {"ids": ids(101, length), "segment": ids(2, length), "mask": kept},
        "digits": lambda: {"image": dense(1, 8, 8)},
        "ensemble": lambda: {"image": dense(1, 8, 8)},
        "experts": lambda: {"text": ids(256, length)},
        "film": lambda: {"image": dense(3, 16, 16), "question": ids(128, length)},
        "fusion": lambda: {"text": ids(256, length), "mask": kept},
        "gpt2": lambda: {"ids": ids(101, length)},
        "llama": lambda: {"ids": ids(101, length)},
        "mixtral": lambda: {"ids": ids(101, length)},
        "pythia": lambda: {"ids": ids(101, length)},
        "resnet50": lambda: {"image": dense(3, 32 + length, 40)},
        "scales": lambda: {"image": dense(1, 8, 8)},
        "stream": lambda: {"text": ids(256, length)},
        "translate": lambda: {"source": ids(101, length), "target": ids(101, length + 2), "source_mask": kept},
        "two_towers": lambda: {"words": dense(length, 384), "pixels": dense(length + 4, 192)},
        "vit": lambda: {"image": dense(3, 32, 32)},
        "vq": lambda: {"image": dense(1, 8, 8)},
    }
    return table[name]()


def values(out: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
    """The outputs of a model in the order of the recipe."""
    return [out] if isinstance(out, Tensor) else list(out.values())
