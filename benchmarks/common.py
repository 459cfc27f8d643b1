"""What the benchmarks share: timing side by side, and the tables that they write.

A time alone says little on a noisy machine: what is compared runs in turns, and the ratio of each
pair counts. Under 1.1 for a whole process, under 1.02 for one in turns, is a tie.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "schemas")])}


def milliseconds(run: Callable[[], Any], times: int, warm: int = 1) -> list[float]:
    """How long each of `times` runs takes, after some that do not count. Collection stays out of it."""
    for _ in range(warm):
        run()
    gc.collect()
    gc.disable()
    found = []
    try:
        for _ in range(times):
            start = time.perf_counter()
            run()
            found.append((time.perf_counter() - start) * 1e3)
            gc.collect()
    finally:
        gc.enable()
    return found


FULL = 1.1
"""Milliseconds of `pace` while nobody else has the machine: the best of thousands."""


def pace() -> float:
    """Milliseconds that a fixed piece of an interpreter's work takes now."""
    start = time.perf_counter()
    known: dict[tuple[str, int], int] = {}
    for number in range(8000):
        key = ("node", number % 97)
        known[key] = known.get(key, 0) + len(str(number))
    return (time.perf_counter() - start) * 1e3


def paced(run: Callable[[], Any], times: int, warm: int = 1) -> tuple[list[float], list[float]]:
    """Milliseconds of each run, and what they come to at the machine's full speed: by what `pace` takes around each."""
    around: list[float] = []

    def timed() -> None:
        before = pace()
        start = time.perf_counter()
        run()
        spent = (time.perf_counter() - start) * 1e3
        around.extend((spent, (before + pace()) / 2))

    milliseconds(timed, times, warm)
    spent, paces = around[2 * warm :: 2], around[2 * warm + 1 :: 2]
    return spent, [each * FULL / there for each, there in zip(spent, paces, strict=True)]


def in_turns(first: Callable[[], Any], second: Callable[[], Any], times: int) -> tuple[float, float, float]:
    """Median milliseconds of both, and the median of the ratios first / second of neighbouring runs."""
    for _ in range(3):
        first()
        second()
    gc.collect()
    gc.disable()
    pairs = []
    try:
        for turn in range(times):
            if turn % 2:
                b, a = _once(second), _once(first)
            else:
                a, b = _once(first), _once(second)
            pairs.append((a, b))
    finally:
        gc.enable()
    middle = statistics.median
    return middle([a for a, _ in pairs]), middle([b for _, b in pairs]), middle([a / b for a, b in pairs])


def _once(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def process(words: Sequence[str]) -> float:
    """Milliseconds of a whole Python process."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *words], env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True)
    spent = (time.perf_counter() - start) * 1e3
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)[:200]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return spent


def answer(code: str, *words: str) -> list[str]:
    """The words that a process prints last: for what must be measured in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code, *words], env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-3000:])
    return done.stdout.strip().splitlines()[-1].split()


def machine(*packages: str) -> str:
    """One line: processor, cores, and the versions that matter. No date: a table changes when figures do."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = [f"{name} {metadata.version(name)}" for name in packages]
    return ", ".join([model, f"{os.cpu_count()} cores", f"Python {platform.python_version()}", *versions])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is right-aligned."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def write(name: str, title: str, about: str, *parts: str) -> None:
    """The results of one script, under version control beside it; also printed."""
    text = "\n".join([f"# {title}\n", f"{about}\n", *parts]).rstrip() + "\n"
    (HERE / name).write_text(text, encoding="utf-8")
    print(text)


def say(text: str) -> None:
    """Progress, apart from results."""
    print(text, file=sys.stderr, flush=True)
