"""Ensembles of equal members: a handwritten loop, `parallel` with `members`, and `stacked_mlp`. Writes ensemble.md.

    python benchmarks/ensemble.py          about a minute
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import machine, say, table, write
from torch import Tensor, nn

import assembler
from assembler.library.modules import MLP

TURNS = 31
CASES = [
    ("64 members, 16-32-16, 32 rows", 64, 16, 32, 32, 5.0),
    ("64 members, 32-64-32, 32 rows", 64, 32, 64, 32, 5.0),
    ("64 members, 32-64-32, 256 rows", 64, 32, 64, 256, 1.0),
    ("8 members, 64-256-64, 64 rows", 8, 64, 256, 64, 1.0),
    ("8 members, 256-1024-256, 256 rows", 8, 256, 1024, 256, 1.0),
    ("4 members, 512-2048-512, 512 rows", 4, 512, 2048, 512, 1.0),
]
"""Name, members, width, hidden width, rows, and how many times as fast as the loop the better of ours has to be."""


class Loop(nn.Module):
    """As one would write it: one member after another, their sum kept running."""

    def __init__(self, members: int, width: int, hidden: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(MLP(width, hidden, width) for _ in range(members))

    def forward(self, x: Tensor) -> Tensor:
        total = self.members[0](x)
        for member in self.members[1:]:
            total = total + member(x)
        mean: Tensor = total / len(self.members)
        return mean


def built(node: str, width: int) -> nn.Module:
    text: dict[str, Any] = {"name": "ensemble", "inputs": {"x": f"[batch {width}]"}, "outputs": {"y": "m"}}
    parts = node.split("|")
    text["nodes"] = {name: assembler_yaml(item) for name, item in zip(("e", "m") if len(parts) > 1 else ("m",), parts, strict=True)}
    return assembler.build(assembler.recipe(text), seed=0)


def assembler_yaml(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


def step(model: nn.Module, x: Tensor) -> float:
    for parameter in model.parameters():
        parameter.grad = None
    start = time.perf_counter()
    model(x).square().sum().backward()
    return time.perf_counter() - start


def row(name: str, members: int, width: int, hidden: int, rows: int, wanted: float) -> list[str]:
    say(f"{name} ...")
    x = torch.randn(rows, width)
    forms: dict[str, Callable[[], nn.Module]] = {
        "loop": lambda: Loop(members, width, hidden),
        "members": lambda: built(f"{{kind: parallel, members: {members}, join: mean, parts: {{net: {{kind: mlp, hidden: {hidden}}}}}, from: x}}", width),
        "stacked": lambda: built(f"{{kind: stacked_mlp, members: {members}, hidden: {hidden}, from: x}} | {{kind: mean_pool, from: e}}", width),
    }
    models = {key: make() for key, make in forms.items()}
    for model in models.values():
        step(model, x)
    ratios: dict[str, list[float]] = {"members": [], "stacked": []}
    alone = []
    for _ in range(TURNS):
        loop = step(models["loop"], x)
        alone.append(loop * 1e3)
        for key, found in ratios.items():
            found.append(loop / step(models[key], x))
    return [name, f"{wanted:g}", *(f"{statistics.median(found):.2f}" for found in ratios.values()), f"{statistics.median(alone):.3g}"]


def main() -> None:
    torch.set_num_threads(1)
    rows = [row(*case) for case in CASES]
    about = (
        f"{machine('torch')}, one thread.\n\n"
        "Written by `benchmarks/ensemble.py`: forward and backward, float32, as multiples of the speed of a handwritten loop over\n"
        "separate members with a running sum. `parallel` with `members` has separate weights and is that loop written out;\n"
        "`stacked_mlp` has stacked ones. In turns; a figure is the median of the ratios."
    )
    write("ensemble.md", "Ensembles", about, table(["members", "at least, the better", "`parallel`, `members`", "`stacked_mlp`", "loop, ms"], rows))


if __name__ == "__main__":
    main()
