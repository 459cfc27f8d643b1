"""Size expressions: `4*width`, `(a + b) // heads`. Read once (`postfix`), worked out many times.

On cards (`functions=True`) there are also `floor(a, k)`, `window(...)` and `sum(d#)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

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
from assembler_schemas.postfix import ARGUMENTS, Do, read
from assembler_schemas.token import SPLIT, ExpressionError

__all__ = ["Expression", "ExpressionError", "check_size", "parse_expression"]

MAX_TEXT: Final = 256

Lookup = Mapping[str, Dim | Sequence[Dim]] | Callable[[str], Dim | Sequence[Dim]]
"""Name -> value, raising `KeyError` where it has none. `sum(d#)` asks for `d#`: all its values."""

Divide = Callable[[Dim, Dim], Dim | None]
"""a, b -> a / b, or None where there is a remainder. Never asked about b = 0."""


class Expression:
    """A size expression that was read. Two are equal when they are written alike."""

    __slots__ = ("_program", "names", "text")

    text: str
    names: tuple[str, ...]
    """The names in it, each once, in order."""
    _program: tuple[Do, ...]

    def __init__(self, text: str, program: tuple[Do, ...]) -> None:
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
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

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
            raise _failure(expression, do, "dim-range", "does not fit in 64 bits", get)
    return stack[0]


class _Refused(Exception):
    def __init__(self, code: str, what: str) -> None:
        self.code = code
        self.what = what


def _failure(
    expression: Expression, do: Do, code: str, what: str, get: Callable[[str], Dim | Sequence[Dim]]
) -> ExpressionError:
    part = expression.text[do.start : do.end]
    return ExpressionError(code, f"`{part}` {what}{_values(expression, do, get)}", do.start, do.end)


def _values(expression: Expression, part: Do, get: Callable[[str], Dim | Sequence[Dim]]) -> str:
    """` (width = 65, heads = 4)`: the names that stand in `part`. They were all found before."""
    inside = dict.fromkeys(
        do.argument for do in expression._program if do.op == "name" and part.start <= do.start and do.end <= part.end
    )
    shown = [(str(name), show(value)) for name in inside if isinstance(value := get(str(name)), Dim)]
    known = [f"{name} = {value}" for name, value in shown if name != value]
    return f" ({', '.join(known)})" if known else ""


def _step(do: Do, stack: list[Dim], get: Callable[[str], Dim | Sequence[Dim]], divide: Divide) -> None:
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
    elif op in ARGUMENTS:
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
        numbers = isinstance(left, int) and isinstance(right, int)
        how, may = ("leaves", "is not") if numbers else ("may leave", "need not be")
        raise _Refused("expression-division", f"{how} a remainder: {show(left)} {may} a multiple of {show(right)}")
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
        why = _values(text, Do("", 0, 0, len(said)), get)
    subject = f"a size of {value}" if said.strip() == str(value) else f"`{said}` is {value}{why}"
    limit = f"at least {low}" if value < low else f"at most {MAX_SIZE}"
    raise ExpressionError("dim-range", f"{subject}: a size is {limit}", 0, len(said))


@lru_cache(maxsize=8192)
def parse_expression(text: str, functions: bool = False) -> Expression:
    """Read a size expression. `functions`: as cards may write it, of any length.

    Raises `ExpressionError` with what cannot be read and what to write instead.
    """
    if not functions and len(text) > MAX_TEXT:
        message = f"the expression has {len(text)} characters, and at most {MAX_TEXT} are read"
        raise ExpressionError("expression-limit", message, 0, len(text), SPLIT)
    return Expression(text, read(text, functions))
