"""A size expression's text as a postfix program: iterative precedence climbing, no recursion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from assembler_schemas.token import ALLOWED, SPLIT, ExpressionError, Token, tokenize

MAX_DEPTH: Final = 16
ARGUMENTS = {"floor": 2, "window": 5}
"""Functions that cards may call, and how many sizes they take."""


class Do(NamedTuple):
    """One instruction of the postfix form, and the part of the text that it works out."""

    op: str
    argument: int | str
    start: int
    end: int


class _Open(NamedTuple):
    """What waits on the operator stack: an operator, a `(`, or a call with its arguments so far."""

    op: str
    strength: int
    start: int
    arguments: int = 0


_STRENGTH = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "negative": 3}


class _Reader:
    """Precedence climbing with two stacks: waiting operators, and the places of finished parts."""

    def __init__(self, text: str, functions: bool) -> None:
        self.text = text
        self.functions = functions
        self.program: list[Do] = []
        self.waiting: list[_Open] = []
        self.places: list[tuple[int, int]] = []
        self.depth = 0

    def read(self) -> tuple[Do, ...]:
        tokens, bad = tokenize(self.text, self.functions)
        previous: Token | None = None
        skip = 0
        for index, token in enumerate(tokens):
            if skip:
                skip -= 1
            elif previous is None or previous.text in _BEFORE_VALUE:
                skip = self.value(tokens, index)
            else:
                self.after_value(token, previous)
            previous = token
        if bad is not None:
            raise bad
        if previous is None:
            raise self.error("the expression is empty", 0, len(self.text), "write a size, `64` or `4*width`")
        if previous.text in _BEFORE_VALUE:
            raise self.error(
                f"nothing follows `{previous.text}`", previous.start, previous.end, "a number or a name is missing"
            )
        self.reduce(0)
        if self.waiting:
            open_ = self.waiting[-1]
            raise self.error("this parenthesis is never closed", open_.start, open_.start + len(open_.op), "write `)`")
        return tuple(self.program)

    def error(self, message: str, start: int, end: int, help: str = "", fix: str = "") -> ExpressionError:
        return ExpressionError("expression-syntax", message, start, end, help, fix)

    def value(self, tokens: Sequence[Token], index: int) -> int:
        """A token where a value may start. Returns how many more tokens it took."""
        token = tokens[index]
        if token.kind == "int":
            self.emit(Do("int", int(token.text), token.start, token.end))
        elif token.kind == "name":
            return self.name(tokens, index)
        elif token.text == "-":
            self.waiting.append(_Open("negative", _STRENGTH["negative"], token.start))
        elif token.text == "(":
            self.open(_Open("(", 0, token.start))
        else:
            raise self.error(f"a number or a name is missing before `{token.text}`", token.start, token.end)
        return 0

    def name(self, tokens: Sequence[Token], index: int) -> int:
        token = tokens[index]
        if index + 1 == len(tokens) or tokens[index + 1].text != "(":
            self.emit(Do("name", token.text, token.start, token.end))
            return 0
        paren = tokens[index + 1]
        if not self.functions:
            message = f"`{token.text}(...)` is a call, and sizes have none"
            raise self.error(message, token.start, paren.end, f"allowed are {ALLOWED}")
        if token.text == "sum":
            return self.sum(tokens, index)
        if token.text not in ARGUMENTS:
            raise self.error(f"no function `{token.text}`", token.start, token.end, "there are floor, window and sum")
        self.open(_Open(token.text, 0, token.start, 1))
        return 1

    def sum(self, tokens: Sequence[Token], index: int) -> int:
        inner = tokens[index + 2 : index + 4]
        if len(inner) < 2 or inner[0].kind != "name" or inner[0].text[-1] != "#" or inner[1].text != ")":
            start, end = tokens[index].start, tokens[index + 1].end
            raise self.error("`sum` takes one name that ends in `#`", start, end, "write `sum(d#)`")
        self.emit(Do("sum", inner[0].text, tokens[index].start, inner[1].end))
        return 3

    def after_value(self, token: Token, previous: Token) -> None:
        """A token after a finished value: an operator, `,` or `)`."""
        if token.text == ")":
            self.close(token)
        elif token.text == ",":
            self.comma(token)
        elif token.kind == "op" and token.text != "(":
            self.reduce(_STRENGTH[token.text])
            self.waiting.append(_Open(token.text, _STRENGTH[token.text], token.start))
        else:
            raise self.joined(previous, token)

    def joined(self, left: Token, right: Token) -> ExpressionError:
        """`4d`, `d 4`, `2(d)`: a product without its sign."""
        both = f"{left.text}*{right.text}"
        start, end = left.start, right.end
        if left.end == right.start and re.fullmatch(r"e[0-9]+", right.text):
            return self.error(
                f"`{self.text[start:end]}` is not a whole number as sizes are written",
                start,
                end,
                "write all its digits",
            )
        message = f"an operator is missing between `{left.text}` and `{right.text}`"
        if {left.kind, right.kind} == {"int", "name"}:
            return self.error(message, start, end, f"write `{both}` for a product", both)
        return self.error(message, start, end, "write `*` for a product")

    def emit(self, do: Do) -> None:
        self.program.append(do)
        self.places.append((do.start, do.end))

    def open(self, item: _Open) -> None:
        self.waiting.append(item)
        self.depth += 1
        if self.depth > MAX_DEPTH and not self.functions:
            message = f"parentheses nest deeper than {MAX_DEPTH}"
            raise ExpressionError("expression-limit", message, item.start, item.start + 1, SPLIT)

    def reduce(self, strength: int) -> None:
        """Finish what binds at least as strongly, back to the open parenthesis."""
        while self.waiting and self.waiting[-1].strength >= max(strength, 1):
            item = self.waiting.pop()
            start, end = self.places.pop()
            start = item.start if item.op == "negative" else self.places.pop()[0]
            self.emit(Do(item.op, 0, start, end))

    def comma(self, token: Token) -> None:
        self.reduce(0)
        if not self.waiting or not self.waiting[-1].arguments:
            raise self.error("`,` stands outside a call", token.start, token.end)
        item = self.waiting.pop()
        self.waiting.append(item._replace(arguments=item.arguments + 1))

    def close(self, token: Token) -> None:
        self.reduce(0)
        if not self.waiting:
            raise self.error("this parenthesis closes nothing", token.start, token.end, "remove it")
        item = self.waiting.pop()
        self.depth -= 1
        if item.op == "(":
            self.places[-1] = (item.start, token.end)
        else:
            self.call(item, token)

    def call(self, item: _Open, token: Token) -> None:
        wanted, count = ARGUMENTS[item.op], item.arguments
        if item.op == "floor" and count == 1 and self.program[-1].op == "/":
            # floor(a / k), as results are printed, is floor(a, k).
            self.program.pop()
            count = 2
        if count != wanted:
            raise self.error(f"`{item.op}` takes {wanted} sizes, not {count}", item.start, token.end)
        del self.places[len(self.places) - item.arguments :]
        self.emit(Do(item.op, count, item.start, token.end))


_BEFORE_VALUE = frozenset({"+", "-", "*", "/", "//", "(", ","})


def read(text: str, functions: bool) -> tuple[Do, ...]:
    """The program that works `text` out. Raises `ExpressionError`."""
    return _Reader(text, functions).read()
