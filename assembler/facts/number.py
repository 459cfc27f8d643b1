"""Numbers on cards: texts over sizes, `1/sqrt(head_dim)`, worked out."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from assembler_schemas.dim import Dim


def start_of(init: str, sizes: Mapping[str, Dim]) -> str:
    """`uniform(1/sqrt(in))` -> `uniform(0.125)`."""
    name, bracket, rest = init.partition("(")
    if name == "numbers":
        return init
    return f"{name}({number(rest[:-1], sizes)!r})" if bracket else init


def number(text: Any, sizes: Mapping[str, Any]) -> Any:
    """A number, or the value of a card's text over sizes: `1/sqrt(head_dim)`. KeyError for a size that
    is not known; TypeError for one that is not a number yet."""
    if not isinstance(text, str):
        return text
    stack: list[Any] = []
    for item in _postfix(text):
        if not callable(item):
            stack.append(sizes[item] if isinstance(item, str) else item)
        elif item in _ONE:
            stack.append(item(stack.pop()))
        else:
            right = stack.pop()
            stack.append(item(stack.pop(), right))
    (found,) = stack
    return found


_TOKEN = re.compile(r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>//|[-+*/()]))")
_TWO: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "+": (1, operator.add), "-": (1, operator.sub), "*": (2, operator.mul), "/": (2, operator.truediv), "//": (2, operator.floordiv),
}  # fmt: skip
_NEGATIVE = 3
_ONE = frozenset((operator.neg, math.sqrt))
_BRACKET = (0, None)


@lru_cache(maxsize=4096)
def _postfix(text: str) -> tuple[Any, ...]:
    """Numbers, names, and the operators behind their operands. Cards are ours: a text that is none of these is a bug."""
    found: list[Any] = []
    waiting: list[tuple[int, Any]] = []
    operand = True  # whether one is expected: a sign is then a minus
    for kind, word in _words(text):
        if kind == "number":
            found.append(float(word) if "." in word or "e" in word else int(word))
            operand = False
        elif word == "sqrt":
            waiting.append((_NEGATIVE + 1, math.sqrt))
        elif kind == "name":
            found.append(word)
            operand = False
        elif word == "(":
            waiting.append(_BRACKET)
            operand = True
        elif word == ")":
            while waiting[-1] is not _BRACKET:
                found.append(waiting.pop()[1])
            waiting.pop()
            operand = False
        elif word == "-" and operand:
            waiting.append((_NEGATIVE, operator.neg))
        else:
            rank, act = _TWO[word]
            while waiting and waiting[-1][0] >= rank:
                found.append(waiting.pop()[1])
            waiting.append((rank, act))
            operand = True
    if _BRACKET in waiting:
        raise ValueError(f"not a number over sizes: {text!r}")
    return (*found, *(act for _, act in reversed(waiting)))


def _words(text: str) -> list[tuple[str, str]]:
    words, at = [], 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"not a number over sizes: {text!r}")
        words.append((match.lastgroup or "", match[match.lastgroup or 0]))
        at = match.end()
    return words
