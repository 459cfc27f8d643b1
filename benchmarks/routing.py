"""Writes `benchmarks/routing.md`: which ways of balancing a mixture keep it healthy, on a toy whose truth is known.

Run as `python benchmarks/routing.py` from the checkout; under a minute on one core. Exit code 1 if the ordering
of the rows or a verdict is not what it must be.
"""

from __future__ import annotations

import itertools
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "schemas")]

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from assembler.lab import routing  # noqa: E402
from assembler.lab.routing import COLLAPSE, FLAT, THRASHING, UNSPECIALISED, Mixture  # noqa: E402
from assembler.library.modules.combine import sparse_combine  # noqa: E402
from assembler.library.modules.gating import Gating  # noqa: E402
from benchmarks.common import machine, table, write  # noqa: E402

WIDTH, EXPERTS, HIDDEN, ROWS, PROBE = 16, 8, 32, 256, 1024
STEPS, EVERY, SEEDS, FEW, RATE = 300, 50, 5, 3, 1e-2
SPREAD, NOISE, BEND, TILT = 4.0, 0.25, 1.5, 2.0
"""Of the cluster centres; of rows around them; of the maps; of the router's first biases, largest for the first expert."""

WAYS: Mapping[str, Mapping[str, Any]] = {
    "none": {"balance": "none"},
    "importance 2e-2": {"balance": "importance", "balance_weight": 2e-2},
    "switch 1e-2": {"balance": "switch", "balance_weight": 1e-2},
    "bias 5e-3, sigmoid": {"balance": "bias", "bias_rate": 5e-3, "score": "sigmoid"},
    "expert choice": {"router": "expert_choice", "balance": "none"},
}

HELPS: Mapping[str, Mapping[str, Any]] = {
    "switch 5e-2": {"balance": "switch", "balance_weight": 5e-2},
    "bias 5e-3, softmax": {"balance": "bias", "bias_rate": 5e-3},
    "bias 1e-3, sigmoid": {"balance": "bias", "bias_rate": 1e-3, "score": "sigmoid"},
    "switch 1e-2, expert dropout 0.2": {"balance": "switch", "balance_weight": 1e-2, "expert_dropout": 0.2},
}
"""What may help against what the rows above suffer from; nothing is asserted of these."""


class Toy(nn.Module):
    """Top-1 of 8 experts behind a linear router that starts tilted towards the first ones. x: [rows 16] -> y: [rows 16], loss []."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, EXPERTS)
        nn.init.normal_(self.router.weight, std=0.02)
        with torch.no_grad():
            self.router.bias.copy_(torch.linspace(TILT, 0, EXPERTS))
        self.gating = Gating(EXPERTS, top_k=1, renormalize=False, **options)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, WIDTH)) for _ in range(EXPERTS)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gates, _, *losses = self.gating(self.router(x))
        return sparse_combine(x, gates, list(self.experts)), sum(losses, x.new_zeros(()))


class Task:
    """8 clusters of rows, each with a map of its own, y = tanh(W x)."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.centres = torch.randn(EXPERTS, WIDTH, generator=self.generator) * (SPREAD / math.sqrt(WIDTH))
        self.maps = torch.randn(EXPERTS, WIDTH, WIDTH, generator=self.generator) * (BEND / math.sqrt(WIDTH))

    def draw(self, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """x: [rows 16], y: [rows 16], cluster: [rows]."""
        label = torch.randint(EXPERTS, (rows,), generator=self.generator)
        x = self.centres[label] + NOISE * torch.randn(rows, WIDTH, generator=self.generator)
        return x, torch.tanh(torch.einsum("ri,roi->ro", x, self.maps[label])), label


class Outcome(NamedTuple):
    """One run."""

    error: float
    """Mean squared error of the probe over the variance of what is wanted."""
    flips: float
    """Mean over the intervals between probes; `mixture.flips` is of the last one."""
    mixture: Mixture

    @property
    def idle(self) -> bool:
        """Balanced but unspecialised: a good load, and nothing behind it."""
        return COLLAPSE not in self.mixture.verdict and bool(
            {UNSPECIALISED, FLAT, THRASHING} & set(self.mixture.verdict)
        )


def outcome(options: Mapping[str, Any], seed: int, steps: int = STEPS) -> Outcome:
    """Train the toy with plain Adam, probing it every 50 steps."""
    torch.manual_seed(seed)
    task, model = Task(seed), Toy(**options)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    probe, wanted, label = task.draw(PROBE)

    def error(made: tuple[Tensor, Tensor]) -> Tensor:
        return F.mse_loss(made[0], wanted) / wanted.var()

    last, flips = routing.report(model, probe, label, loss=error), []
    for step in range(1, steps + 1):
        x, y, _ = task.draw(ROWS)
        made, balance = model(x)
        loss = F.mse_loss(made, y) + balance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % EVERY == 0:
            last = routing.report(model, probe, label, loss=error, before=last)
            flips.append(last["gating"].flips or 0.0)
    with torch.no_grad():
        final = float(error(model.eval()(probe)))
    return Outcome(final, statistics.fmean(flips or [0.0]), last["gating"])


def wrong(found: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """What is not as it must be, in words."""
    violation = [(way, statistics.fmean(run.mixture.max_violation for run in runs)) for way, runs in found.items()]
    said = [
        f"MaxVio of `{way}` ({more:.2f}) is not above that of `{next_}` ({less:.2f})"
        for (way, more), (next_, less) in itertools.pairwise(violation)
        if more <= less
    ]
    for way, runs in found.items():
        collapsed = sum(COLLAPSE in run.mixture.verdict for run in runs)
        if way == "none" and collapsed < len(runs):
            said.append(f"`{way}`: collapse was seen in {collapsed} of {len(runs)} runs only")
        if way in ("bias 5e-3, sigmoid", "expert choice") and collapsed:
            said.append(f"`{way}`: collapse was seen in {collapsed} runs")
    idle = sum(run.idle for run in found["bias 5e-3, sigmoid"])
    if idle < len(found["bias 5e-3, sigmoid"]):
        said.append(f"`bias`: balanced but unspecialised was seen in {idle} runs only")
    if 2 * sum(run.idle for run in found["expert choice"]) >= idle:
        said.append("`expert choice`: said to be unspecialised not much less often than `bias`")
    likeness = {way: statistics.fmean(run.mixture.cka or 0.0 for run in runs) for way, runs in found.items()}
    flips = {way: statistics.fmean(run.flips for run in runs) for way, runs in found.items()}
    for what, means in (("CKA", likeness), ("flips", flips)):
        if max(means, key=means.__getitem__) != "bias 5e-3, sigmoid":
            said.append(f"{what} of the bias row is not the largest")
    return said


def _cell(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}"


def _line(way: str, runs: Sequence[Outcome]) -> list[str]:
    mixtures = [run.mixture for run in runs]
    columns: list[list[float]] = [
        [run.error for run in runs], [one.max_violation for one in mixtures], [one.dead for one in mixtures], [one.information or 0.0 for one in mixtures],
        [one.cka or 0.0 for one in mixtures], [run.error * (run.mixture.shuffle or 0.0) for run in runs], [one.token_entropy or 0.0 for one in mixtures],
        [run.flips for run in runs], [one.flips or 0.0 for one in mixtures],
    ]  # fmt: skip
    words = [word for one in mixtures for word in one.verdict]
    return [
        way,
        *(_cell(values) for values in columns),
        ", ".join(f"{word} {words.count(word)}" for word in dict.fromkeys(words)) or "-",
    ]


HEAD = (
    "balance",
    "nmse",
    "MaxVio",
    "dead",
    "NMI",
    "CKA",
    "shuffled nmse",
    "H(p)",
    "flips/50 steps",
    "flips, last 50",
    "verdicts (runs)",
)
ABOUT = f"""Written by `benchmarks/routing.py`. {EXPERTS} clusters with a map y = tanh(W x) each, width {WIDTH}; top-1 of {EXPERTS} experts (linear, tanh, linear; {HIDDEN} hidden)
behind a linear router whose biases start at {TILT:g} to 0; {STEPS} steps of Adam ({RATE:g}, {ROWS} rows each). Mean and deviation of {SEEDS} seeds, on {PROBE} fresh rows with their
true clusters as labels; `assembler.lab.routing` measures and judges by its default limits."""
CLOSE = """
What must hold, or the script fails: MaxVio falls from row to row; collapse is seen in every run without balance, and in none of the last two rows;
the bias row is balanced in every run and yet seen to be unspecialised, with the likest experts and the most flips;
expert choice is seen so less than half as often."""


def main() -> int:
    """Measure, write the table; 1 if something is wrong."""
    torch.set_num_threads(1)
    found = {way: [outcome(options, seed) for seed in range(SEEDS)] for way, options in WAYS.items()}
    said = wrong(found)
    mixtures = [run.mixture for runs in found.values() for run in runs]
    information = max(one.information_null[0] for one in mixtures if one.information_null)
    likeness = max(one.cka_null or 0.0 for one in mixtures)
    chance = f"By chance alone NMI is {information:.2f} at most, CKA {likeness:.2f}."
    helps = {way: [outcome(options, seed) for seed in range(FEW)] for way, options in HELPS.items()}
    write(
        "routing.md",
        "Is a mixture healthy? Toy truths",
        ABOUT,
        table(HEAD, [_line(way, runs) for way, runs in found.items()]),
        chance,
        CLOSE,
        f"\nWhat may help, on the same toy ({FEW} seeds):\n",
        table(HEAD, [_line(way, runs) for way, runs in helps.items()]),
        machine("torch"),
    )
    for line in said:
        print(f"WRONG: {line}")
    return 1 if said else 0


if __name__ == "__main__":
    raise SystemExit(main())
