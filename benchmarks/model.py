"""Built models beside handwritten twins: eager time and peak memory, forward and with backward. Writes model.md.

    python benchmarks/model.py            about two minutes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import best
import torch
import twins
from common import ROOT, in_turns, machine, say, table, write
from peak import peak
from torch import Tensor, nn
from twin_chain import Chain

import assembler

DAG = {
    "inputs": {"x": "[batch 64]"},
    "nodes": {
        "a": {"kind": "linear", "out": 64, "from": "x"},
        "b": {"kind": "linear", "out": 64, "from": "x"},
        "ab": {"kind": "add", "from": ["a", "b"]},
        "c": {"kind": "linear", "out": 64, "from": "ab"},
        "d": {"kind": "linear", "out": 64, "from": "a"},
        "cd": {"kind": "add", "from": ["c", "d"]},
        "e": {"kind": "linear", "out": 64, "from": "cd"},
        "b_relu": {"kind": "activation", "activation": "relu", "from": "b"},
        "f": {"kind": "linear", "out": 64, "from": "b_relu"},
        "ef": {"kind": "add", "from": ["e", "f"]},
        "g": {"kind": "linear", "out": 64, "from": "ef"},
        "gated": {"kind": "gate", "from": {"base": "c", "gate": "g"}},
        "h": {"kind": "linear", "out": 64, "from": "gated"},
        "hdf": {"kind": "add", "from": ["h", "d", "f"]},
        "i": {"kind": "linear", "out": 64, "from": "hdf"},
        "i_relu": {"kind": "activation", "activation": "relu", "from": "i"},
        "j": {"kind": "linear", "out": 64, "from": "i_relu"},
        "jh": {"kind": "add", "from": ["j", "h"]},
        "k": {"kind": "linear", "out": 64, "from": "jh"},
        "kix": {"kind": "add", "from": ["k", "i", "x"]},
        "l": {"kind": "linear", "out": 64, "from": "kix"},
    },
    "outputs": {"result": "l"},
}
CHAIN = {
    "inputs": {"x": "[batch 16]"},
    "nodes": {f"l{i}": {"kind": "linear", "out": 16, "from": f"l{i - 1}" if i else "x"} for i in range(200)},
    "outputs": {"result": "l199"},
}
TRANSFORMER = {
    "inputs": {"x": "[batch seq 256]"},
    "nodes": {
        "encoder": {
            "kind": "bus", "repeat": 12, "norm": "pre", "from": "x",
            "parts": {"attend": {"kind": "attention", "heads": 4}, "think": {"kind": "mlp"}},
        },
        "final": {"kind": "layer_norm", "from": "encoder"},
    },
    "outputs": {"result": "final"},
}  # fmt: skip
GPT2 = ["vars.vocab=4096", "vars.width=256", "vars.heads=4", "vars.depth=6", "vars.dropout=0.0"]


@dataclass(frozen=True)
class Case:
    """A recipe, its twin, the fastest handwritten form, and what they are run on."""

    name: str
    recipe: Any
    twin: Callable[[], nn.Module]
    best: Callable[[nn.Module], Callable[[Tensor], Any]]
    batch: Tensor
    turns: int


def cases() -> list[Case]:
    torch.manual_seed(0)
    return [
        Case("200 x Linear(16), batch 8", assembler.recipe(CHAIN), Chain, best.chain, torch.randn(8, 16), 300),
        Case("DAG of 12 x Linear(64), batch 8", assembler.recipe(DAG), twins.Dag, best.dag, torch.randn(8, 64), 1000),
        Case("transformer, 12 layers in a loop, width 256, 4 x 128", assembler.recipe(TRANSFORMER), twins.Transformer, best.whole, torch.randn(4, 128, 256), 24),
        Case("recipes/digits.yaml, batch 64", assembler.load(ROOT / "recipes/digits.yaml"), twins.Digits, best.digits, torch.randn(64, 1, 8, 8), 120),
        Case("recipes/gpt2.yaml at width 256, 6 layers, 2 x 256", assembler.load(ROOT / "recipes/gpt2.yaml", GPT2), twins.SmallGpt2, best.gpt2, torch.randint(4096, (2, 256)), 16),
    ]  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    speed, memory, fastest = [], [], []
    for case in cases():
        say(case.name)
        ours = assembler.build(case.recipe, seed=0)
        twin = case.twin()
        twin.load_state_dict(ours.state_dict(), strict=True)
        quick = case.best(twin)
        hold(ours(case.batch), twin(case.batch), quick(case.batch))
        for way, run in (("forward", forward), ("forward and backward", both)):
            turns = case.turns if way == "forward" else max(8, case.turns // 3)
            built, by_hand = run(ours, case.batch, ours), run(twin, case.batch, twin)
            mine, theirs, ratio = in_turns(built, by_hand, turns)
            speed.append((f"{case.name}, {way}", "1.02", f"{ratio:.3f}", f"{mine:.3f}", f"{theirs:.3f}"))
            a, b = peak(built), peak(by_hand)
            memory.append((f"{case.name}, {way}", "1", f"{a / b:.3f}", f"{a:,}", f"{b:,}"))
            _, quickest, ratio = in_turns(built, run(quick, case.batch, twin), turns)
            fastest.append((f"{case.name}, {way}", f"{ratio:.3f}", f"{quickest:.3f}"))
    about = (
        f"{machine('torch')}, one thread.\n\n"
        "Written by `benchmarks/model.py`. The twins are `benchmarks/twins.py` and `twin_chain.py`: the same form, the same\n"
        "`state_dict`, equal outputs (asserted). Both run in turns; the ratio is the median over neighbouring runs. Peak\n"
        "memory counts every tensor that an operator makes until it is freed; it is exact, not sampled."
    )
    write(
        "model.md", "Built models beside handwritten ones", about,
        table(["eager time", "at most", "built / twin", "built, ms", "twin, ms"], speed),
        table(["peak memory", "at most", "built / twin", "built, bytes", "twin, bytes"], memory),
        "The fastest form we know by hand (`benchmarks/best.py`) calls no module for a leaf. This release does not inline\n"
        "leaves yet, so there is no figure asked for here.\n",
        table(["eager time", "built / fastest", "fastest, ms"], fastest),
    )  # fmt: skip


def hold(*outs: Tensor | Mapping[str, Tensor]) -> None:
    """All forms compute the same; else there is nothing to compare."""
    first, *others = [[out] if isinstance(out, Tensor) else list(out.values()) for out in outs]
    for other in others:
        for a, b in zip(first, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def forward(model: Callable[[Tensor], Any], batch: Tensor, owner: nn.Module) -> Callable[[], Any]:
    """What a user runs to predict."""

    def run() -> Any:
        with torch.no_grad():
            return model(batch)

    return run


def both(model: Callable[[Tensor], Any], batch: Tensor, owner: nn.Module) -> Callable[[], Any]:
    """What a user runs to train, without the step. The gradients of `owner` are made anew each time."""

    def run() -> None:
        out = model(batch)
        first = out if isinstance(out, Tensor) else next(iter(out.values()))
        first.sum().backward()
        for parameter in owner.parameters():
            parameter.grad = None

    return run


if __name__ == "__main__":
    main()
