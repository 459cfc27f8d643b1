"""`--use package.module` on the command line: import what declares kinds, because whoever runs the command says so."""

from __future__ import annotations

import importlib
import keyword
import traceback
from collections.abc import Sequence

from assembler.library import entry_points, registry

OPTION, CLOSED = "--use", "--no-plugins"


class PluginError(ValueError):
    """A module that was asked for brings no kinds; the text says why."""


def take(words: Sequence[str]) -> list[str]:
    """The words without `--use MODULE` and `--no-plugins`, which are done. PluginError where one cannot be."""
    left: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*left, word, *rest]
        if word == CLOSED:
            entry_points.close()
        elif word == OPTION:
            use(next(rest, ""))
        elif word.startswith(f"{OPTION}="):
            use(word.removeprefix(f"{OPTION}="))
        else:
            left.append(word)
    return left


def use(name: str) -> list[str]:
    """Import a module that declares kinds; returns theirs, `name@version`. PluginError where that fails.

    Python finds it as it finds any module. The folder in which a command runs is not searched.
    """
    if not name or any(not part.isidentifier() or keyword.iskeyword(part) for part in name.split(".")):
        raise PluginError(f"--use wants a module, `package.module`, not `{name[:200]}`")
    before = set(registry.registered())
    try:
        importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # it may fail in any way, even by SystemExit
        raise PluginError(_failed(name, problem)) from problem
    found = [key for key, place in registry.registered().items() if key not in before or place.startswith((f"{name}:", f"{name}."))]
    if not found:
        raise PluginError(f"`{name}` declares no kind: it has no class under `@assembler.kind(...)`; name the module that has")
    return found


def _failed(name: str, problem: BaseException) -> str:
    if isinstance(problem, ModuleNotFoundError) and problem.name and (name == problem.name or name.startswith(f"{problem.name}.")):
        return (f"there is no module `{problem.name}`: install its package into this environment, or put its folder on PYTHONPATH"
                " (the current folder is not searched)")  # fmt: skip
    frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if "importlib" not in frame.filename]
    at = f", at {frames[-1].filename}:{frames[-1].lineno}" if len(frames) > 1 else ""
    return f"`{name}` cannot be imported: {entry_points.said(problem)}{at}"
