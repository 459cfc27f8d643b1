"""How long `check` takes, cold and warm, beside what one would reach for today. Writes check.md.

    python benchmarks/check.py            about two minutes
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import FULL, ROOT, answer, machine, paced, process, say, table, write
from written import hydra_tree, place

import assembler
from assembler.assemble import checked
from assembler.checks.run import prove
from assembler.facts.signals import signals

TURNS = 9
ALONE = 20.6
"""Milliseconds of a whole process of Python alone while nobody else has the machine."""

META = """
import torch
from torch import nn
layer = lambda: nn.TransformerEncoderLayer(64, 4, 256, batch_first=True, norm_first=True)
with torch.device("meta"):
    model = nn.Sequential(*(layer() for _ in range({layers})))
    model(torch.empty(2, 7, 64))
"""
OMEGACONF = "import sys; from omegaconf import OmegaConf; OmegaConf.load(sys.argv[1])"
LARGE = """
import resource, sys, time
import assembler
start = time.perf_counter()
report = assembler.check(sys.argv[1])
assert report.ok, str(report)
print((time.perf_counter() - start) * 1e3, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = place(Path(folder) / "recipes")
        tree = Path(folder) / "hydra"
        overrides = hydra_tree(tree)
        parts = [cold(files, installed(Path(folder) / "user")), warm(files), large(files), stacks(files, tree, overrides)]
    about = (
        f"{machine('torch', 'hydra-core', 'omegaconf', 'pydantic', 'PyYAML')}.\n\n"
        "Written by `benchmarks/check.py`. A recipe of 96 nodes is a transformer of 12 layers with every layer written out,\n"
        "8 nodes a layer; 1000 nodes are 125 layers. Milliseconds: the median, and the best in brackets. The machine is shared,\n"
        "and for minutes gives half of its speed or less; so a fixed piece of work is timed around each run (a loop of the\n"
        "interpreter; for whole processes Python alone). First stands what the runs come to where that takes what it takes while\n"
        f"nobody else is there, {FULL} ms ({ALONE} ms): the median again. What lies out of the caches slows down more than the loop does.\n"
        "Cold: a whole process, from start to exit; the command is that of the wheel, installed in an environment of its own as\n"
        "users have it (the finder of an editable install would be 10 ms of each start)."
    )
    write("check.md", "What a check costs", about, *parts)


def both(times: list[float]) -> str:
    """Median and best."""
    return f"{statistics.median(times):,.4g} ({min(times):,.4g})"


# --- whole processes ---
def installed(home: Path) -> str:
    """The command of this checkout's wheel in an environment of its own; what it depends on is that of this one."""
    say("installing ...")
    source = home / "source"  # a build writes beside its sources
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(home), str(source)], check=True, capture_output=True)
    venv.create(home / "venv")
    folder, (wheel,) = home / "venv" / "bin", home.glob("*.whl")
    subprocess.run([*pip, "--python", str(folder / "python"), "install", "--no-deps", str(wheel)], check=True, capture_output=True)
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return str(folder / "assembler")


def started(words: Sequence[str]) -> float:
    """Milliseconds of a whole process that is set up as a user's is."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    start = time.perf_counter()
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    spent = (time.perf_counter() - start) * 1e3
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return spent


def cold(files: dict[str, Path], command: str) -> str:
    say("cold ...")
    check = [command, "check"]
    swap = ["slots/mix=causal", "vars.width=96"]
    jobs: dict[str, tuple[list[str], str]] = {
        "`assembler check`, 96 nodes": ([*check, str(files["96"])], "180"),
        "`assembler check`, 1000 nodes": ([*check, str(files["1000"])], "230"),
        "the same with a defaults list and 2 overrides, 96 nodes": ([*check, str(files["composed_96"]), *swap], "400"),
        "the same with a defaults list and 2 overrides, 1000 nodes": ([*check, str(files["composed_1000"]), *swap], "450"),
        "beside it: Python alone": (["-c", "pass"], ""),
        "beside it: `import torch` alone": (["-c", "import torch"], ""),
        "beside it: torch, and 12 layers built and run on the meta device": (["-c", META.format(layers=12)], ""),
        "beside it: torch, and 125 layers built and run on the meta device": (["-c", META.format(layers=125)], ""),
        "beside it: `OmegaConf.load`, 96 nodes": (["-c", OMEGACONF, str(files["96"])], ""),
        "beside it: `OmegaConf.load`, 1000 nodes": (["-c", OMEGACONF, str(files["1000"])], ""),
    }
    found: dict[str, list[float]] = {name: [] for name in jobs}
    full: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(TURNS):
        for name, (words, asked) in jobs.items():
            if asked or turn < 3:
                alone = process(["-c", "pass"])
                spent = started(words) if words[0] == command else process(words)
                found[name].append(spent)
                full[name].append(spent * ALONE * 2 / (alone + process(["-c", "pass"])))
    rows = [(name, jobs[name][1], f"{statistics.median(full[name]):,.4g}", both(times)) for name, times in found.items()]
    return table(["cold, ms", "at most", "at full speed", "measured"], rows)


# --- within one process ---
def warm(files: dict[str, Path]) -> str:
    say("warm ...")
    rows = []
    whole: dict[str, float] = {}
    for size, times, limits in (("96", 41, ("5", "2", "", "2")), ("1000", 9, ("50", "20", "", "20")), ("10000", 3, ("500", "", "", ""))):
        path = files[size]
        recipe = assembler.load(path)
        jobs: list[tuple[str, Callable[[], Any]]] = [
            ("text to report", lambda path=path: assembler.check(path)),
            ("a parsed recipe, all analyses", lambda recipe=recipe: assembler.check(recipe)),
            ("of it: norms, zeros and gradients proven", proofs(recipe)),
            ("one override on a loaded recipe, checked again", lambda recipe=recipe: assembler.check(recipe, ["vars.width=96"])),
        ]
        for (name, run), limit in zip(jobs, limits, strict=True):
            taken, full = paced(run, times, warm=2)
            rows.append((f"{name}, {int(size):,} nodes", limit, f"{statistics.median(full):,.4g}", both(taken)))
            whole.setdefault(size, statistics.median(full))
    growth = whole["10000"] / whole["1000"]
    rows.append(("ten times the nodes (1,000 to 10,000), text to report: so many times the time", "linear: 10", f"{growth:.1f}", ""))
    return table(["warm, ms", "at most", "at full speed", "measured"], rows)


def proofs(recipe: Any) -> Callable[[], Any]:
    """What `check` does once the types of a recipe are known."""
    graph, facts = checked(recipe)
    return lambda: prove(graph, facts, signals(graph, facts))


# --- limits ---
def large(files: dict[str, Path]) -> str:
    say("large ...")
    rows = []
    for name, text, limit, memory in (
        ("chain", "a chain of 100,000 copies by `repeat`", "5,000", "300"),
        ("20000", "20,000 written-out nodes", "2,000", ""),
    ):
        runs = [[float(word) for word in answer(LARGE, str(files[name]))] for _ in range(3)]
        rows.append((text, limit, both([run[0] for run in runs]), memory, f"{max(run[1] for run in runs):.0f}"))
    return table(["large, in a process of its own, imports not counted", "ms at most", "ms", "peak MB at most", "peak MB"], rows)


# --- what one would reach for today, within one process ---
def stacks(files: dict[str, Path], tree: Path, overrides: list[str]) -> str:
    say("other stacks ...")
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    rows = []
    for size, times in (("96", 9), ("1000", 3)):
        rows.append(_beside(f"`OmegaConf.load`, {int(size):,} nodes", lambda size=size: OmegaConf.load(files[size]), times))
    with initialize_config_dir(str(tree), version_base=None):
        rows.append(_beside("`hydra.compose`, 5 groups and 10 overrides, nothing checked", lambda: compose("config", overrides), 9))
    return table(["beside it, warm", "at full speed", "measured"], rows)


def _beside(name: str, run: Callable[[], Any], times: int) -> tuple[str, str, str]:
    taken, full = paced(run, times)
    return name, f"{statistics.median(full):,.4g}", both(taken)


if __name__ == "__main__":
    main()
