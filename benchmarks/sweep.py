"""How long sweeps take, beside checks one by one and beside composing alone with Hydra. Writes sweep.md.

    python benchmarks/sweep.py            about a minute
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from common import answer, machine, say, table, write
from written import place

import assembler
from assembler.compare.sweep_table import csv_lines, put

COUNT = 100
"""Variants that are run for a figure of 1,000: all different."""
TURNS = 4

STREAMED = """
import resource, sys, io
from assembler.cli import main
sys.stdout = open("/dev/null", "w")
assert main(["sweep", sys.argv[1], "vars.width=range(4,%s,4)", "--format", "csv"]) == 0
sys.stdout = sys.__stdout__
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = place(Path(folder) / "recipes")
        parts = [times(files), memory(files)]
    about = (
        f"{machine('torch', 'hydra-core', 'omegaconf')}.\n\n"
        "Written by `benchmarks/sweep.py`. A 12-layer recipe is a transformer with every layer written out, 96 nodes; no\n"
        "two variants are alike. Seconds for 1,000 variants, from 100 that are run: the best of four turns in processor\n"
        "time, because the machine is shared. `apart`: each variant is an `assembler.check` of the file with its overrides."
    )
    write("sweep.md", "What a sweep costs", about, *parts)


def seconds(run: Callable[[int], int]) -> str:
    """For 1,000 variants. `run` takes the number of the turn and says how many variants it has checked."""
    run(-1)
    found = []
    for turn in range(TURNS):
        gc.collect()
        start = time.process_time()
        count = run(turn)
        found.append((time.process_time() - start) * 1000 / count)
    return f"{min(found):.2f}"


def consume(variants: Iterable[Any]) -> int:
    count = 0
    for variant in variants:
        assert variant.report.ok, str(variant.report)
        count += 1
    return count


def span(turn: int, count: int = COUNT) -> str:
    """A range of widths that no other turn has."""
    start = 4 * count * (turn + 2)
    return f"vars.width=range({start},{start + 4 * count},4)"


def times(files: dict[str, Path]) -> str:
    say("times ...")
    path, composed = files["96"], files["composed_96"]

    def apart(turn: int) -> int:
        widths = range(10_000 + turn * 200, 10_000 + turn * 200 + 200, 4)
        return consume(type("V", (), {"report": assembler.check(path, [f"vars.width={width}"])}) for width in widths)

    jobs: list[tuple[str, str, Callable[[int], int]]] = [
        ("1,000 widths: every size of every node is another", "5", lambda turn: consume(assembler.sweep(path, [span(turn)]))),
        ("the same, written as CSV with parameters and operations", "", lambda turn: _written(path, span(turn))),
        ("1,000 values of one option of one node", "", lambda turn: consume(assembler.sweep(path, [f"+nodes.attend5.dropout=range(0,0.5,{0.5 / COUNT + (turn + 1) * 1e-9})"]))),
        ("500 widths times 2 files of a group", "", lambda turn: consume(assembler.sweep(composed, ["slots/mix=full,causal", span(turn, COUNT // 2)]))),
        ("apart: 1,000 widths", "", apart),
    ]
    return table(["1,000 variants of a 12-layer recipe", "s at most", "s"], [(name, most, seconds(run)) for name, most, run in jobs])


def _written(path: Path, argument: str) -> int:
    found = assembler.sweep(path, [argument])
    assert put(found, csv_lines(found), lambda line: None) == 0
    return len(found)


def memory(files: dict[str, Path]) -> str:
    say("memory ...")
    rows = []
    for count in (100, 1_000):
        (peak,) = answer(STREAMED % (4 * count + 4), str(files["96"]))
        rows.append((f"{count:,} variants as CSV", f"{float(peak):.0f}"))
    return table(["a process of its own, torch not imported", "peak MB"], rows)


if __name__ == "__main__":
    main()
