"""Size expressions: `4*width`, `(a + b) // heads`. Read once, worked out many times.

Reading is iterative precedence climbing into postfix form: no recursion, no eval. On cards
(`functions=True`) there are also `floor(a, k)`, `window(...)` and `sum(d#)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from assembler_schemas.dim import (
    MAX_PRODUCT,
    MAX_SIZE,
    Dim,
    DimLimit,
    combine,
    exact_divide,
    floor_divide,
    show,
    window,
)
from assembler_schemas.token import ALLOWED, SPLIT, ExpressionError, Token, tokenize

__all__ = ["Expression", "ExpressionError", "check_size", "parse_expression"]

MAX_TEXT: Final = 256
MAX_DEPTH: Final = 16

Lookup = Mapping[str, Dim | Sequence[Dim]] | Callable[[str], Dim | Sequence[Dim]]
"""Name -> value, raising `KeyError` where it has none. `sum(d#)` asks for `d#`: all its values."""

Divide = Callable[[Dim, Dim], Dim | None]
"""a, b -> a / b, or None where there is a remainder. Never asked about b = 0."""


class _Do(NamedTuple):
    """One instruction of the postfix form, and the part of the text that it works out."""

    op: str
    argument: int | str
    start: int
    end: int


class Expression:
    """A size expression that was read. Two are equal when they do the same at the same places."""

    __slots__ = ("_program", "names", "text")

    text: str
    names: tuple[str, ...]
    """The names in it, each once, in order."""
    _program: tuple[_Do, ...]

    def __init__(self, text: str, program: tuple[_Do, ...]) -> None:
        """Trusts the program; everybody else calls `parse_expression`."""
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "_program", program)
        found = dict.fromkeys(str(do.argument) for do in program if do.op in ("name", "sum"))
        object.__setattr__(self, "names", tuple(found))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an Expression never changes")

    def __reduce__(self) -> tuple[object, ...]:
        return Expression, (self.text, self._program)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self._program == other._program

    def __hash__(self) -> int:
        return hash(self._program)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __str__(self) -> str:
        return self.text

    def evaluate(self, lookup: Lookup, divide: Divide = exact_divide) -> Dim:
        """What it comes to; exact, with any dims as values.

        `divide` decides `/` and `//` (inference hands in one that makes an unknown and a demand).
        Raises `ExpressionError` with the place of the part that fails and the values of its names.
        """
        get = lookup if callable(lookup) else lookup.__getitem__
        return _run(self, get, divide)


def _run(expression: Expression, get: Callable[[str], Dim | Sequence[Dim]], divide: Divide) -> Dim:
    stack: list[Dim] = []
    for do in expression._program:
        try:
            _step(do, stack, get, divide)
        except KeyError:
            raise ExpressionError(
                "expression-unknown", f"`{do.argument}` has no value here", do.start, do.end
            ) from None
        except DimLimit as error:
            code = "dim-range" if error.reason == "too large" else "expression-limit"
            raise _failure(expression, do, code, f"comes to a size that is {error.reason}", get) from None
        except _Refused as error:
            raise _failure(expression, do, error.code, error.what, get) from None
        value = stack[-1]
        if type(value) is int and not -MAX_PRODUCT <= value <= MAX_PRODUCT:
            raise _failure(expression, do, "dim-range", "is larger than 2**63 - 1", get)
    return stack[0]


class _Refused(Exception):
    def __init__(self, code: str, what: str) -> None:
        self.code = code
        self.what = what


def _failure(
    expression: Expression, do: _Do, code: str, what: str, get: Callable[[str], Dim | Sequence[Dim]]
) -> ExpressionError:
    part = expression.text[do.start : do.end]
    return ExpressionError(code, f"`{part}` {what}{_values(expression, do, get)}", do.start, do.end)


def _values(expression: Expression, part: _Do, get: Callable[[str], Dim | Sequence[Dim]]) -> str:
    """ " (width = 65, heads = 4)": the names that stand in `part`. They were all found before."""
    inside = dict.fromkeys(
        do.argument for do in expression._program if do.op == "name" and part.start <= do.start and do.end <= part.end
    )
    known = [f"{name} = {show(value)}" for name in inside if isinstance(value := get(str(name)), Dim)]
    return f" ({', '.join(known)})" if known else ""


def _step(do: _Do, stack: list[Dim], get: Callable[[str], Dim | Sequence[Dim]], divide: Divide) -> None:
    op, argument = do.op, do.argument
    if op == "name":
        value = get(str(argument))
        if not isinstance(value, Dim):
            raise _Refused("expression-unknown", "is a row of sizes, not one")
        stack.append(value)
    elif op == "int":
        stack.append(int(argument))
    elif op == "sum":
        row = get(str(argument))
        stack.append(row if isinstance(row, Dim) else combine((item, 1) for item in row))
    elif op == "negative":
        stack.append(-stack.pop())
    elif op in _ARGUMENTS:
        count = int(argument)
        values = stack[-count:]
        del stack[-count:]
        if op == "floor":
            stack.append(floor_divide(values[0], _divisor(values[1])))
        else:
            size, kernel, stride, padding, dilation = values
            stack.append(window(size, kernel, _divisor(stride), padding, dilation))
    else:
        right = stack.pop()
        left = stack.pop()
        stack.append(_binary(op, left, right, divide))


def _binary(op: str, left: Dim, right: Dim, divide: Divide) -> Dim:
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    if right == 0:
        raise _Refused("expression-division", "divides by zero")
    result = divide(left, right)
    if result is None:
        raise _Refused("expression-division", f"leaves a remainder: {show(left)} is not a multiple of {show(right)}")
    return result


def _divisor(divisor: Dim) -> int:
    if not isinstance(divisor, int):
        raise _Refused("expression-unknown", f"rounds down a division by {show(divisor)}, which is no number yet")
    if divisor < 1:
        raise _Refused("expression-division", f"rounds down a division by {divisor}")
    return divisor


def check_size(value: Dim, text: str | Expression, low: int = 1, lookup: Lookup | None = None) -> Dim:
    """`value`, which `text` came to, if it can be a size; a symbolic one is taken as it is.

    Raises `ExpressionError` "dim-range" outside `low`..2**31 - 1; with `lookup`, it says what
    the names of an expression were.
    """
    if not isinstance(value, int) or low <= value <= MAX_SIZE:
        return value
    said = str(text)
    why = ""
    if isinstance(text, Expression) and lookup is not None:
        get = lookup if callable(lookup) else lookup.__getitem__
        why = _values(text, _Do("", 0, 0, len(said)), get)
    subject = f"a size of {value}" if said.strip() == str(value) else f"`{said}` is {value}{why}"
    limit = f"at least {low}" if value < low else f"at most {MAX_SIZE}"
    raise ExpressionError("dim-range", f"{subject}: a size is {limit}", 0, len(said))


# --- reading ---
_ARGUMENTS = {"floor": 2, "window": 5}
"""Functions that cards may call, and how many sizes they take."""


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
        self.program: list[_Do] = []
        self.waiting: list[_Open] = []
        self.places: list[tuple[int, int]] = []
        self.depth = 0

    def read(self) -> tuple[_Do, ...]:
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
            self.emit(_Do("int", int(token.text), token.start, token.end))
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
            self.emit(_Do("name", token.text, token.start, token.end))
            return 0
        paren = tokens[index + 1]
        if not self.functions:
            message = f"`{token.text}(...)` is a call, and sizes have none"
            raise self.error(message, token.start, paren.end, f"allowed are {ALLOWED}")
        if token.text == "sum":
            return self.sum(tokens, index)
        if token.text not in _ARGUMENTS:
            raise self.error(f"no function `{token.text}`", token.start, token.end, "there are floor, window and sum")
        self.open(_Open(token.text, 0, token.start, 1))
        return 1

    def sum(self, tokens: Sequence[Token], index: int) -> int:
        inner = tokens[index + 2 : index + 4]
        if len(inner) < 2 or inner[0].kind != "name" or inner[0].text[-1] != "#" or inner[1].text != ")":
            start, end = tokens[index].start, tokens[index + 1].end
            raise self.error("`sum` takes one name that ends in `#`", start, end, "write `sum(d#)`")
        self.emit(_Do("sum", inner[0].text, tokens[index].start, inner[1].end))
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

    def emit(self, do: _Do) -> None:
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
            self.emit(_Do(item.op, 0, start, end))

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
        wanted, count = _ARGUMENTS[item.op], item.arguments
        if item.op == "floor" and count == 1 and self.program[-1].op == "/":
            # floor(a / k), as results are printed, is floor(a, k).
            self.program.pop()
            count = 2
        if count != wanted:
            raise self.error(f"`{item.op}` takes {wanted} sizes, not {count}", item.start, token.end)
        del self.places[len(self.places) - item.arguments :]
        self.emit(_Do(item.op, count, item.start, token.end))


_BEFORE_VALUE = frozenset({"+", "-", "*", "/", "//", "(", ","})


@lru_cache(maxsize=8192)
def parse_expression(text: str, functions: bool = False) -> Expression:
    """Read a size expression. `functions`: as cards may write it, of any length.

    Raises `ExpressionError` with what cannot be read and what to write instead.
    """
    if not functions and len(text) > MAX_TEXT:
        message = f"the expression has {len(text)} characters, and at most {MAX_TEXT} are read"
        raise ExpressionError("expression-limit", message, 0, len(text), SPLIT)
    return Expression(text, _Reader(text, functions).read())
