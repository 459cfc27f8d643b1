"""The commands, one file each. Every file has `run(words)`: it takes the words after the command's name, returns the exit code."""

from __future__ import annotations

import importlib
from collections.abc import Callable

NAMES = ("new", "check", "show", "why", "explain", "kinds", "schema", "eject", "convert", "sweep", "run", "diff", "lock")


def command(name: str) -> Callable[[list[str]], int] | None:
    """What a command does; None where there is none of that name. Imports its file."""
    if name not in NAMES:
        return None
    found: Callable[[list[str]], int] = importlib.import_module(f"assembler.commands.{name}").run
    return found
