"""Numbers on cards: texts over sizes, `1/sqrt(head_dim)`, worked out."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from assembler_schemas.dim import Dim


def start_of(init: str, sizes: Mapping[str, Dim]) -> str:
    """`uniform(1/sqrt(in))` -> `uniform(0.125)`."""
    name, bracket, rest = init.partition("(")
    return f"{name}({number(rest[:-1], sizes)!r})" if bracket else init


def number(text: Any, sizes: Mapping[str, Any]) -> Any:
    """A number, or the value of a card's text over sizes: `1/sqrt(head_dim)`. KeyError for a size that
    is not known; TypeError for one that is not a number yet."""
    if not isinstance(text, str):
        return text
    return _compiled(text)(sizes)


_ARITHMETIC: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.USub: operator.neg,
}


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Callable[[Mapping[str, Any]], Any]:
    """`in` is a size and a word of Python."""
    spelled = "".join("in_" if word == "in" else word for word in _words(text))
    return _closure(ast.parse(spelled, mode="eval").body)


def _words(text: str) -> list[str]:
    words: list[str] = []
    for char in text:
        if words and (char.isalnum() or char == "_") and (words[-1][-1].isalnum() or words[-1][-1] in "_."):
            words[-1] += char
        else:
            words.append(char)
    return words


def _closure(node: ast.AST) -> Callable[[Mapping[str, Any]], Any]:
    """Cards are ours: what stands there is small."""
    if isinstance(node, ast.Constant):
        value = node.value
        return lambda sizes: value
    if isinstance(node, ast.Name):
        name = "in" if node.id == "in_" else node.id
        return lambda sizes: sizes[name]
    if isinstance(node, ast.BinOp):
        act, left, right = _ARITHMETIC[type(node.op)], _closure(node.left), _closure(node.right)
        return lambda sizes: act(left(sizes), right(sizes))
    if isinstance(node, ast.UnaryOp):
        minus, inner = _ARITHMETIC[type(node.op)], _closure(node.operand)
        return lambda sizes: minus(inner(sizes))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "sqrt":
        under = _closure(node.args[0])
        return lambda sizes: math.sqrt(under(sizes))
    raise ValueError(f"not a number over sizes: {ast.dump(node)}")
