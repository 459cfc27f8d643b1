"""Entries to answers: writes their folders, starts workers, collects what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.hostile.entry import Entry

ROOT = Path(__file__).parents[2]
SLOW = 4.0 if os.environ.get("CI") else 2.0
"""How much slower than the machine of the figures a machine may be."""
CUT = 30.0
"""Seconds after which a check counts as hanging."""
SECRET = "canary-5f1d"
"""The value of an environment variable that no output may show."""


def answers(entries: Sequence[Entry], folder: Path) -> dict[str, dict[str, Any]]:
    """What the worker says of each entry, by id. One process for all that may share it."""
    jobs = {}
    for entry in entries:
        place = folder / entry.name
        entry.write(place)
        words = [*(entry.words or ("check", entry.target)), *entry.overrides]
        jobs[entry.id] = {"id": entry.id, "folder": str(place), "words": words, "seconds": CUT, "forms": entry.forms}
    together = [entry.id for entry in entries if not entry.alone]
    found = _serve([jobs[name] for name in together], warm=True)
    for entry in entries:
        if entry.alone:
            found |= _serve([jobs[entry.id]], warm=False)
    return found


def _serve(jobs: Sequence[dict[str, Any]], warm: bool) -> dict[str, dict[str, Any]]:
    """A worker dies with the recipe that kills it; the rest go to a new one."""
    found: dict[str, dict[str, Any]] = {}
    left = list(jobs)
    while left:
        lines = "".join(json.dumps(job) + "\n" for job in left)
        path = os.pathsep.join((str(ROOT), str(ROOT / "schemas")))
        env = {"PYTHONPATH": path, "PATH": os.environ["PATH"], "HOSTILE": SECRET, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
        command = [sys.executable, str(ROOT / "tests" / "hostile" / "worker.py"), *(("--warm",) if warm else ())]
        done = subprocess.run(command, input=lines.encode(), env=env, capture_output=True, timeout=60 + 2 * CUT * len(left), check=False)
        got = [json.loads(line) for line in done.stdout.decode().splitlines()]
        found |= {item["id"]: item for item in got}
        left = [job for job in left if job["id"] not in found]
        if left:
            found[left[0]["id"]] = {"dead": done.returncode, "stderr": done.stderr.decode(errors="replace")[-2000:]}
            left = left[1:]
    return found
