"""A plan as one file that needs torch and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from assembler.compiler import foreign, library
from assembler.compiler.allow import check_text
from assembler.compiler.emit import body, emit, model_class
from assembler.compiler.model import Plan, PlanError
from assembler.compiler.names import docstring


def eject(plan: Plan) -> str:
    """The compiled text, and in front of it the source of exactly the library classes that it uses.

    Classes of plugins are copied too where their source can be had and needs torch alone; the others are
    imported, and the docstring says from where.

    Equal `state_dict` keys, equal initial values for a seed, equal outputs to the last bit.
    """
    text = emit(plan)
    check_text(text)
    imports, definitions = _library(plan)
    strangers = foreign.sources(plan.plugged, library.names() | {item.name for item in plan.classes})
    imports += strangers.imports
    definitions += strangers.definitions
    kept = [line for line in text[: text.index(body(text)) if body(text) else 0].splitlines() if line and _plain(line)]
    parts = [_about(plan, strangers.packages), "from __future__ import annotations\n", _imports([*kept, *imports])]
    parts.extend(f"{line}\n" for line in strangers.left)
    parts.extend(f"\n{definition}\n" for definition in definitions)
    return "\n".join(parts) + "\n\n" + body(text)


def _plain(line: str) -> bool:
    return line.startswith(("import ", "from torch"))


def _about(plan: Plan, packages: Sequence[str]) -> str:
    needs = f"Imports torch, and {', '.join(packages)}." if packages else "Imports torch only."
    return f'"""{docstring(plan.name, 200)}: `{model_class(plan)}`, written by model-assembler. {needs}"""\n'


def _library(plan: Plan) -> tuple[list[str], list[str]]:
    """Import statements and definitions that the used library classes need, found by the names they use."""
    sources = library.sources()
    where = {name: source for source in sources for name in source.definitions}
    wanted: dict[str, None] = {}
    imports: dict[str, str] = {}
    todo = list(plan.library)
    while todo:
        name = todo.pop()
        if name in wanted:
            continue
        if name not in where:
            raise PlanError(f"the library has no class `{name}`")
        wanted[name] = None
        source = where[name]
        for used in source.definitions[name].uses:
            if used in source.definitions:
                todo.append(used)
            elif used in source.imports:
                statement = source.imports[used]
                if statement.startswith("from assembler."):
                    todo.append(used)
                else:
                    imports[used] = statement
    found = [item.text for source in sources for name, item in source.definitions.items() if name in wanted]
    return list(imports.values()), found


def _imports(lines: list[str]) -> str:
    """Import statements merged and sorted: the standard library first, then torch."""
    plain = sorted({line for line in lines if line.startswith("import ")})
    merged: dict[str, set[str]] = {}
    for line in lines:
        if line.startswith("from "):
            module, _, names = line.removeprefix("from ").partition(" import ")
            merged.setdefault(module, set()).update(name.strip() for name in names.split(","))
    froms = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(merged.items())]
    first = [line for line in (*plain, *froms) if "torch" not in line]
    second = [line for line in (*plain, *froms) if "torch" in line]
    return "\n".join([*first, "", *second]) + "\n" if first else "\n".join(second) + "\n"
