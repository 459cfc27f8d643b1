"""assembler: neural networks from YAML recipes, checked before a tensor exists, built as plain PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assembler.assemble import RecipeError, build, check, dynamic_shapes, eject, load, recipe
    from assembler.compare.diff import diff
    from assembler.compare.lock import lock
    from assembler.compare.sweep import sweep
    from assembler.lab.verify import verify
    from assembler.library.hosts import host
    from assembler.plugins.declare import kind
    from assembler.report.report import Report
    from assembler.source.recipe import Recipe
    from assembler.weights.folder import load_model, save
    from assembler.weights.header import WeightsError
    from assembler.weights.load import load_weights
    from assembler.weights.swap import swap

_HOMES = {
    **dict.fromkeys(("RecipeError", "build", "check", "dynamic_shapes", "eject", "load", "recipe"), "assembler.assemble"),
    "verify": "assembler.lab.verify",
    "kind": "assembler.plugins.declare",
    "diff": "assembler.compare.diff",
    "lock": "assembler.compare.lock",
    "sweep": "assembler.compare.sweep",
    "host": "assembler.library.hosts",
    **dict.fromkeys(("compile_blocks", "initialize"), "assembler.compiler.build"),
    "swap": "assembler.weights.swap",
    **dict.fromkeys(("load_model", "save"), "assembler.weights.folder"),
    "load_weights": "assembler.weights.load",
    "WeightsError": "assembler.weights.header",
    "Report": "assembler.report.report",
    "Recipe": "assembler.source.recipe",
}

__all__ = ["Recipe", "RecipeError", "Report", "WeightsError", "build", "check", "compile_blocks", "diff", "dynamic_shapes", "eject", "host", "initialize", "kind", "load", "load_model", "load_weights", "lock", "recipe", "save", "swap", "sweep", "verify"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for: `import assembler` costs nothing."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'assembler' has no attribute {name!r}")
