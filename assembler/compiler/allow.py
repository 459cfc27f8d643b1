"""What a compiled text may consist of. It is parsed again and held against this before it is run.

Names of a recipe reach the text as identifiers and strings only; this is the second lock: no
node type, name or attribute beyond what `emit` writes and cards ask of torch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from assembler.compiler.emit import LIBRARY, PLUGGED

_NODES: tuple[type[ast.AST], ...] = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.ClassDef, ast.FunctionDef, ast.arguments, ast.arg,
    ast.Assign, ast.AnnAssign, ast.Expr, ast.Return, ast.For, ast.If, ast.With, ast.withitem, ast.While, ast.Delete,
    ast.Raise, ast.Call, ast.keyword, ast.Attribute, ast.Name, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Set,
    ast.Subscript, ast.Slice, ast.Starred, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda,
    ast.JoinedStr, ast.FormattedValue, ast.GeneratorExp, ast.ListComp, ast.DictComp, ast.SetComp, ast.comprehension,
    ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_MODULES = {"hashlib": "hashlib", "torch": "torch", "torch.nn.functional": "F"}
_BUILTINS = frozenset(
    """super range enumerate int float str bool list dict tuple object hasattr len RuntimeError None True False""".split()  # noqa: SIM905 - a table of words
)
_DUNDERS = frozenset({"__init__"})
_PRIVATE = frozenset({"_check", "_forward"})
_INSIDE = re.compile(r"_(?:at|in)_[a-z][a-z0-9_]*\Z")
"""Of `self`: the sites of a module that is handed over, and what runs at one. No name of a recipe begins so."""
# Whatever of torch reads files, runs code, builds extensions, or changes a process-global.
_REFUSED = frozenset(
    """backends classes compile cpp_extension distributed fx hub import_ir_module jit library load load_inline
    multiprocessing onnx ops package run_in_background save serialization set_default_device set_default_dtype
    set_default_tensor_type set_grad_enabled set_num_threads use_deterministic_algorithms utils from_file hooks
    register_hook register_forward_hook register_forward_pre_hook eval exec numpy tofile format format_map""".split()  # noqa: SIM905 - a table of words
)


class Refused(ValueError):
    """A compiled text that holds something it never should: a bug of ours, or an attack."""


def check_text(text: str, extra: Iterable[str] = ()) -> ast.Module:
    """The parsed text. `Refused` where it holds anything but the allowed; `extra`: more global names."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused(f"the compiled text is not Python: {error}") from error
    known = {*_BUILTINS, *extra, *_bound(tree)}
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise _refused(node, type(node).__name__)
        if isinstance(node, ast.Import):
            _imports(node)
        elif isinstance(node, ast.ImportFrom):
            _from(node)
        elif isinstance(node, ast.Name):
            if node.id not in known:
                raise _refused(node, f"the name {node.id!r}")
        elif isinstance(node, ast.Attribute):
            _attribute(node)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            _head(node)
    return tree


def _refused(node: ast.AST, what: str) -> Refused:
    return Refused(f"line {getattr(node, 'lineno', '?')} of the compiled text holds {what}")


def _bound(tree: ast.Module) -> set[str]:
    """Every name that the text itself binds. None of them may be a dunder or a builtin it calls."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    for name in found:
        if name.startswith("__") and name not in _DUNDERS:
            raise Refused(f"the compiled text binds {name!r}")
    return found


def _imports(node: ast.Import) -> None:
    for alias in node.names:
        if alias.name not in _MODULES or (alias.asname or alias.name) != _MODULES[alias.name]:
            raise _refused(node, f"an import of {alias.name!r}")


def _from(node: ast.ImportFrom) -> None:
    names = {alias.name for alias in node.names}
    renamed = any(alias.asname for alias in node.names)
    if renamed or node.level or not (node.module in (LIBRARY, PLUGGED) or (node.module == "torch" and names == {"nn"})):
        raise _refused(node, f"an import from {node.module!r}")
    if node.module in (LIBRARY, PLUGGED) and not all(name[:1].isupper() for name in names):
        raise _refused(node, f"an import from {node.module!r}")


def _attribute(node: ast.Attribute) -> None:
    name = node.attr
    hidden = name.startswith("_") and name not in _DUNDERS and name not in _PRIVATE and not (_INSIDE.match(name) and _own(node.value))
    if hidden or (name in _REFUSED and not _own(node.value)):
        raise _refused(node, f"the attribute {name!r}")


def _own(value: ast.expr) -> bool:
    """Whether an attribute is read of `self`: a submodule, whose name a recipe may choose."""
    while isinstance(value, (ast.Attribute, ast.Subscript)):
        value = value.value
    return isinstance(value, ast.Name) and (value.id == "self" or value.id.startswith("copy"))


def _head(node: ast.FunctionDef | ast.ClassDef) -> None:
    if node.decorator_list:
        raise _refused(node.decorator_list[0], "a decorator")
    if isinstance(node, ast.ClassDef) and [ast.unparse(base) for base in node.bases] != ["nn.Module"]:
        raise _refused(node, "a base class")
