"""The sources of `library/modules`, read as text: nothing here imports torch."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from assembler.library import registry

FOLDER = Path(__file__).parent.parent / "library" / "modules"
_TOP = re.compile(r"^(?:class|def)\s+(\w+)|^(\w+)\s*(?::[^=\n]*)?=", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Definition:
    """One top-level definition of a module file: its text, and the names that it uses."""

    name: str
    text: str
    uses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Source:
    """One module file: its imports (bound name -> statement) and definitions, both in order."""

    file: str
    imports: dict[str, str]
    definitions: dict[str, Definition]


@cache
def names() -> frozenset[str]:
    """Every name that a module file defines: no class of a compiled text may take one."""
    found: set[str] = set()
    for path in FOLDER.glob("*.py"):
        found.update(a or b for a, b in _TOP.findall(path.read_text(encoding="utf-8")))
    return frozenset(found)


def taken() -> frozenset[str]:
    """Every name that a compiled text may import from us or from plugins."""
    return names() | registry.CLASSES.keys()


@cache
def sources() -> tuple[Source, ...]:
    """Every module file, in alphabetical order."""
    files = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
    return tuple(_read(path) for path in files)


def _read(path: Path) -> Source:
    return read(path.name, path.read_text(encoding="utf-8"))


def read(file: str, text: str) -> Source:
    """The top-level imports and definitions of a file. SyntaxError where it is not Python."""
    lines = text.splitlines()
    imports: dict[str, str] = {}
    definitions: dict[str, Definition] = {}
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports.update(_bound(node))
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            for name in _defined(node):
                definitions[name] = Definition(name, _source(node, lines), _used(node))
    return Source(file, imports, definitions)


def _bound(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Bound name -> the statement that binds it alone."""
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return {}
    head = f"from {'.' * node.level}{node.module or ''} import " if isinstance(node, ast.ImportFrom) else "import "
    return {
        alias.asname or alias.name.split(".")[0]: head + alias.name + (f" as {alias.asname}" if alias.asname else "")
        for alias in node.names
    }


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _source(node: ast.stmt, lines: list[str]) -> str:
    """The text of a definition, with its decorators and the comment right above it."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    return "\n".join(lines[first - 1 : node.end_lineno])


def _used(node: ast.stmt) -> frozenset[str]:
    return frozenset(item.id for item in ast.walk(node) if isinstance(item, ast.Name))
