"""What the source may not hold: doors through which a recipe could become code."""

from __future__ import annotations

import ast
import doctest
import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "assembler").rglob("*.py"), *(ROOT / "schemas").rglob("*.py")])
IDS = [path.relative_to(ROOT).as_posix() for path in SOURCES]

DOORS = {"eval", "exec", "compile", "__import__", "instantiate", "get_class", "get_method", "get_object", "import_module",
         "system", "popen", "Popen", "check_output", "urlopen", "socket", "unsafe_load", "full_load"}  # fmt: skip
ALLOWED = {
    # Static tables: of card files, of this package's own functions, of its commands.
    "assembler/library/registry.py": {"import_module"},
    # What a user names on the command line; what an installed package offers under the very name that a recipe asks for.
    "assembler/plugins/use.py": {"import_module"},
    "assembler/library/entry_points.py": {"import_module"},
    "assembler/__init__.py": {"import_module"},
    "assembler/commands/__init__.py": {"import_module"},
    # The text we generated, after it was parsed and held against an allow-list.
    "assembler/compiler/build.py": {"exec", "compile"},
    # The expression of a card, in the battery that the card's author runs.
    "assembler/testing/built.py": {"eval"},
}
PICKLES = {
    # `assembler convert`: PyTorch's reader with `weights_only=True`, asked for by name (tests/weights/test_convert.py).
    "assembler/weights/convert.py": {"torch"},
}
MODULES = {"pickle", "marshal", "shelve", "subprocess", "socket", "urllib", "http", "requests", "ctypes", "code", "runpy"}


def _called(node: ast.Call) -> str:
    """The name of a built-in or of an attribute of a module: `eval`, `importlib.import_module`."""
    if isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        # `re.compile` and `torch.compile` make no code out of text; `model.eval()` is PyTorch's.
        return "" if node.func.attr in ("compile", "eval") else node.func.attr
    return ""


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_nothing_turns_text_into_code(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text())
    called = {_called(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not (called & DOORS) - ALLOWED.get(place, set())
    names = {item.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for item in node.names}
    names |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    if not place.startswith(("assembler/lab/", "assembler/testing/")) and place not in PICKLES:
        assert not names & MODULES
    loads = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "load"]
    owners = {node.value.id for node in loads if isinstance(node.value, ast.Name)}
    assert not owners & {"yaml", "torch", "OmegaConf", "pickle"} - PICKLES.get(place, set())


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_doctests(path: Path) -> None:
    """Examples in docstrings are run. A file without any is not imported: some import torch."""
    if ">>> " not in path.read_text():
        return
    base = ROOT / "schemas" if "assembler_schemas" in path.parts else ROOT
    name = ".".join(path.relative_to(base).with_suffix("").parts)
    module = sys.modules.get(name) or importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
