"""Run in a process of its own, where little else is: a whole collection looks at everything that was ever imported."""

from __future__ import annotations

import gc
from pathlib import Path

import assembler
from assembler.report.text import render


def left(path: Path) -> list[str]:
    """What of ours only the collector can find, once a report was printed and dropped. (Hydra leaves some of its own.)"""
    render(assembler.check(path))  # what is kept for the next check is made once
    gc.collect()
    gc.disable()
    try:
        render(assembler.check(path))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return sorted({type(item).__name__ for item in gc.garbage if type(item).__module__.startswith("assembler")})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
