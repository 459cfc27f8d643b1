"""What a campaign covered: kinds, options, features, and pairs of producer and consumer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

from tests.fuzz.generate import generate
from tests.fuzz.rules import KINDS
from tests.fuzz.targets import FEATURES, impossible, options, pairs
from tests.fuzz.value import Key

CAMPAIGN = 2_000
"""Samples in CI, over which everything is to be covered at least `LEAST` times."""
LEAST = 20
LEAST_PAIR = 5
"""Of each producer with each consumer: with 62 kinds there are 3,700 pairs."""


class Coverage(NamedTuple):
    """Counts over some seeds: of everything covered, and of nodes in each recipe."""

    counts: Counter[Key]
    nodes: list[int]

    @property
    def median_nodes(self) -> float:
        return median(self.nodes)

    def missing(self, least: int = LEAST) -> list[tuple[Key, int]]:
        """What was covered less often than it should be."""
        fewest = {"pair": min(least, LEAST_PAIR)}
        return [(key, self.counts[key]) for key in wanted() if self.counts[key] < fewest.get(key[0], least)]


def wanted() -> list[Key]:
    """Everything that a campaign must cover."""
    return [
        *(("kind", kind) for kind in KINDS),
        *options(),
        *(("pair", producer, consumer) for producer, consumer in pairs()),
        *(("feature", feature) for feature in FEATURES),
    ]


def measure(seeds: Iterable[int]) -> Coverage:
    """Generate the samples of the seeds; nothing is checked or built."""
    found = Coverage(Counter(), [])
    for seed in seeds:
        sample = generate(seed)
        found.counts.update(sample.covers)
        found.nodes.append(sample.nodes)
    return found


def table(found: Coverage) -> str:
    """The coverage as a page of Markdown."""
    counts = found.counts
    short = found.missing()
    lines = [
        "# What the random recipes cover",
        "",
        f"{len(found.nodes):,} recipes from seeds 0 to {len(found.nodes) - 1:,}; made by `benchmarks/coverage.py`, tested by `tests/fuzz/test_generator.py`.",
        f"Nodes in a recipe, copies counted: median {found.median_nodes:.0f}, least {min(found.nodes)}, most {max(found.nodes)}.",
        f"Covered less than {LEAST} times (pairs: {LEAST_PAIR}): {', '.join(' '.join(key) for key, _ in short) or 'nothing'}.",
        "",
        "## Kinds",
        *_rows([(kind, counts["kind", kind]) for kind in KINDS], "kind"),
        "",
        "## Options",
        "Values other than the default; `stated` stands for any value.",
        *_rows([(f"{key[1]} {key[2]}: {key[3]}", counts[key]) for key in sorted(options())], "option"),
        "",
        "## Features",
        *_rows([(feature, counts["feature", feature]) for feature in FEATURES], "feature"),
        "",
        "## Producer and consumer",
        "How often a node of the row's kind feeds one of the column's; `.` is impossible, for the reasons below.",
        "",
        *_grid(counts),
        "",
        "### Impossible pairs",
        *_reasons(),
    ]
    return "\n".join(lines) + "\n"


def _rows(items: list[tuple[str, int]], head: str, columns: int = 4) -> list[str]:
    """Name and count, several to a line."""
    lines = ["", "| " + " | ".join([f"{head} | times"] * columns) + " |", "|" + "---|---:|" * columns]
    for start in range(0, len(items), columns):
        row = [f"{name} | {count}" for name, count in items[start : start + columns]]
        row += [" | "] * (columns - len(row))
        lines.append("| " + " | ".join(row) + " |")
    return lines


def _grid(counts: Counter[Key]) -> list[str]:
    lines = ["| | " + " | ".join(KINDS) + " |", "|---|" + "---:|" * len(KINDS)]
    for producer in ("input", *KINDS):
        cells = (
            "." if impossible(producer, consumer) else str(counts["pair", producer, consumer]) for consumer in KINDS
        )
        lines.append(f"| {producer} | " + " | ".join(cells) + " |")
    return lines


def _reasons() -> list[str]:
    reasons: dict[str, list[str]] = {}
    for producer in ("input", *KINDS):
        for consumer in KINDS:
            why = impossible(producer, consumer)
            if why:
                reasons.setdefault(why, []).append(f"{producer} → {consumer}")
    return [
        "",
        *(
            f"* {why}: {', '.join(found) if len(found) < 5 else f'{len(found)} pairs'}"
            for why, found in reasons.items()
        ),
    ]
