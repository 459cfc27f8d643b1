"""The sources of plugins' classes, for `eject`: copied where they need torch and the standard library alone."""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
from collections.abc import Sequence, Set
from typing import NamedTuple

from assembler.compiler.library import Definition, Source, read
from assembler.compiler.model import PlanError
from assembler.compiler.names import comment
from assembler.library import registry

_FREE = frozenset(dir(builtins)) | {"__name__", "__file__"}


class Foreign(NamedTuple):
    """What an ejected file holds of plugins."""

    imports: list[str]
    """Of torch and the standard library, which copied definitions need."""
    definitions: list[str]
    left: list[str]
    """Imports of the classes that are not copied, each with the reason."""
    packages: list[str]


class _NotCopied(Exception):
    """Why a class is imported instead."""


def sources(names: Sequence[str], taken: Set[str]) -> Foreign:
    """The classes that compiled text calls `names`. `taken`: names that the file defines otherwise."""
    found = Foreign([], [], [], [])
    known: dict[str, str] = {}
    for name in names:
        made = registry.CLASSES.get(name)
        if made is None:
            raise PlanError(f"no plugin of this process brings the class `{name}`")
        try:
            imports, definitions = _copied(made, {*taken, *names} - {name}, known)
        except _NotCopied as why:
            found.left.append(_import(made, name, str(why)))
            found.packages.append(made.__module__)
            continue
        found.imports.extend(imports)
        found.definitions.extend(text for key, text in definitions.items() if key not in known)
        known.update(definitions)
        if made.__name__ != name:
            found.definitions.append(f"{name} = {made.__name__}")
    found.packages[:] = dict.fromkeys(found.packages)
    return found


def _import(made: type, name: str, why: str) -> str:
    if "." in made.__qualname__ or made.__module__ == "__main__":
        raise PlanError(f"`{made.__qualname__}` cannot stand in a file of its own: {why}; declare it at the top of a module that can be imported")
    renamed = "" if made.__name__ == name else f" as {name}"
    return f"from {made.__module__} import {made.__name__}{renamed}  # not copied: {comment(why)}"


def _copied(made: type, taken: Set[str], known: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Imports and definitions, in the order of their file, that one class needs. `known`: what was copied before."""
    source = _source(made)
    imports: dict[str, str] = {}
    wanted: dict[str, None] = {}
    todo = [made.__name__]
    while todo:
        name = todo.pop()
        if name in wanted:
            continue
        wanted[name] = None
        if name in taken:
            raise _NotCopied(f"the file defines another `{name}`")
        item = source.definitions[name] = _undecorated(source.definitions[name], source)
        for used in sorted(item.uses):
            if used in source.definitions:
                todo.append(used)
            elif used in source.imports:
                imports[used] = _plain(used, source.imports[used])
            elif used not in _FREE:
                raise _NotCopied(f"it is not clear what `{used}` is in its source")
    definitions = {name: item.text for name, item in source.definitions.items() if name in wanted}
    clash = next((name for name, text in definitions.items() if known.get(name, text) != text), None)
    if clash is not None:
        raise _NotCopied(f"another plugin's `{clash}` stands in the file")
    return list(imports.values()), definitions


def _source(made: type) -> Source:
    """The file of a class, its declaration as a kind taken off."""
    import inspect  # only where a plugin's model is ejected

    if "." in made.__qualname__:
        raise _NotCopied("it is not declared at the top of a file")
    try:
        module = sys.modules[made.__module__]
        text = inspect.getsource(module)
        source = read(module.__file__ or "", text)
    except (OSError, TypeError, KeyError, SyntaxError, ValueError) as problem:
        raise _NotCopied("its source cannot be read") from problem
    if made.__name__ not in source.definitions:
        raise _NotCopied("its source does not define it by that name")
    return source


def _undecorated(item: Definition, source: Source) -> Definition:
    """A definition without the decorators that are ours: what stands there declares a kind, and an ejected file has none."""
    lines, gone = item.text.splitlines(), set[int]()
    for decorator in (each for node in ast.parse(item.text).body for each in getattr(node, "decorator_list", ())):
        head = next(part.id for part in ast.walk(decorator) if isinstance(part, ast.Name))
        words = source.imports.get(head, "").split()
        if len(words) > 1 and words[1].partition(".")[0] == "assembler":
            gone.update(range(decorator.lineno - 1, decorator.end_lineno or decorator.lineno))
    text = "\n".join(line for number, line in enumerate(lines) if number not in gone)
    return Definition(item.name, text, _globals(text))


def _globals(text: str) -> frozenset[str]:
    """The names that a definition takes from its module, or from Python."""
    found: set[str] = set()
    todo = [symtable.symtable(text, "?", "exec")]
    while todo:
        table = todo.pop()
        top = table.get_type() == "module"
        found.update(item.get_name() for item in table.get_symbols() if item.is_referenced() and (top or item.is_global()))
        todo.extend(table.get_children())
    return frozenset(found)


def _plain(name: str, statement: str) -> str:
    """The import, if an ejected file may hold it."""
    module = statement.split()[1].partition(".")[0]
    if statement.startswith("from .") or (module != "torch" and module not in sys.stdlib_module_names):
        raise _NotCopied(f"it uses `{name}` ({statement})")
    return statement
