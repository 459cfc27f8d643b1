"""What a port holds: its medium, dtype and axes; as recipes and cards spell it, and as it is.

Sizes themselves are in `dim`, their spelling in `expression`; both are handed on here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from assembler_schemas.dim import (
    MAX_SIZE,
    Dim,
    DimLimit,
    Floor,
    Poly,
    atoms,
    combine,
    evaluate,
    exact_divide,
    floor_divide,
    lower_bound,
    name,
    names,
    show,
    substitute,
    variables,
    window,
)
from assembler_schemas.expression import Expression, ExpressionError, check_size, parse_expression

__all__ = [
    "DTYPES", "MAX_SIZE", "MEDIA", "Dim", "DimLimit", "Expression", "ExpressionError", "Floor", "Poly", "PortType", "Type",
    "atoms", "check_size", "combine", "evaluate", "exact_divide", "floor_divide", "lower_bound", "name", "names",
    "parse_expression", "parse_port_type", "port_type_data", "show", "substitute", "variables", "window",
]  # fmt: skip

MEDIA = {
    "dense": "float",
    "ids": "int",
    "logits": "float",
    "probs": "float",
    "mask": "bool",
    "image": "float",
    "scalar": "float",
}
"""Medium -> the dtype of a port that states none."""
DTYPES = ("float", "f64", "f32", "bf16", "f16", "int", "i64", "i32", "bool")
_FOREIGN_DTYPES = {
    "float32": "f32", "float64": "f64", "double": "f64", "float16": "f16", "half": "f16", "bfloat16": "bf16", "fp32": "f32",
    "fp16": "f16", "int64": "i64", "long": "i64", "int32": "i32", "boolean": "bool",
}  # fmt: skip
MAX_AXES = 32
MAX_PORT_TEXT = 4096


class Type(NamedTuple):
    """The type of a value: every axis a size. `lead` is the row of axes before them that no one
    spells (`...`), `vocabulary` the number of different ids."""

    medium: str
    dtype: str
    dims: tuple[Dim, ...]
    lead: str = ""
    vocabulary: Dim | None = None

    def __str__(self) -> str:
        return _spelled(
            self.medium, self.dtype, self.vocabulary, [self.lead] * bool(self.lead) + [show(d) for d in self.dims]
        )


class PortType(NamedTuple):
    """A port type as it was written; its axes are still expressions."""

    medium: str
    vocabulary: Expression | None
    dtype: str
    lead: str | None
    dims: tuple[Expression, ...]

    def __str__(self) -> str:
        dims = [self.lead] if self.lead else []
        return _spelled(self.medium, self.dtype, self.vocabulary, dims + [dim.text for dim in self.dims])


def _spelled(medium: str, dtype: str, vocabulary: Dim | Expression | None, dims: list[str]) -> str:
    """`[batch 10]`, `image f32 [batch 1 8 8]`: without what goes without saying."""
    words = []
    if vocabulary is not None:
        inside = vocabulary.text if isinstance(vocabulary, Expression) else show(vocabulary)
        words.append(f"{medium}({inside})")
    elif medium != "dense" or dtype != "float":
        words.append(medium)
    if dtype != MEDIA.get(medium) or (dtype == "float" and medium != "dense"):
        words.append("f32" if dtype == "float" else dtype)
    words.append(f"[{' '.join(f'({dim})' if _needs_parentheses(dim) else dim for dim in dims)}]")
    return " ".join(words)


def _needs_parentheses(dim: str) -> bool:
    """Whether a space stands outside parentheses, where it would separate two axes."""
    depth = 0
    for character in dim:
        depth += (character == "(") - (character == ")")
        if character == " " and depth == 0:
            return True
    return False


# --- reading ---
_HELP = "write `[medium] [dtype] [dims]`, such as `ids(vocab) [batch seq]` or `image [batch 3 8*h 8*w]`"


def _wrong(message: str, start: int, end: int, help: str = _HELP, fix: str = "") -> ExpressionError:
    return ExpressionError("port-type-syntax", message, start, end, help, fix)


@lru_cache(maxsize=8192)
def parse_port_type(text: str, functions: bool = False) -> PortType:
    """Read a port type. `functions`: as cards may write it.

    Raises `ExpressionError`: "port-type-syntax", or what is wrong with one of its expressions;
    places are those in `text`.
    """
    if not functions and len(text) > MAX_PORT_TEXT:
        raise _wrong(f"the port type has {len(text)} characters", 0, len(text), f"at most {MAX_PORT_TEXT} are read")
    end = len(text.rstrip())
    medium, start, after = _word(text, 0, "([")
    at, vocabulary = 0, None
    if medium in MEDIA:
        at = after
        if text.startswith("(", at):
            vocabulary, at = _vocabulary(text, medium, at, functions)
    elif medium and medium not in DTYPES:
        raise _unknown(medium, start, (*MEDIA, *DTYPES))
    else:
        medium = "dense"
    dtype, start, at = _word(text, at, "[")
    if dtype and dtype not in DTYPES:
        raise _unknown(dtype, start, DTYPES)
    at += len(text[at:]) - len(text[at:].lstrip())
    if at >= end and medium == "scalar":
        return PortType(medium, None, dtype or MEDIA[medium], None, ())
    if not text.startswith("[", at) or text[end - 1] != "]":
        raise _brackets(text, at, end)
    lead, dims = _dims(text, at + 1, end - 1, functions)
    if medium == "scalar" and (lead or dims):
        raise _wrong("a scalar has no axes", at, end, "write `scalar`")
    return PortType(medium, vocabulary, dtype or MEDIA[medium], lead, dims)


def _word(text: str, at: int, stops: str) -> tuple[str, int, int]:
    """The next word (perhaps empty), where it starts and where it ends."""
    start = at + len(text[at:]) - len(text[at:].lstrip())
    end = next((i for i in range(start, len(text)) if text[i] in stops or text[i].isspace()), len(text))
    return text[start:end], start, end


def _unknown(word: str, start: int, known: tuple[str, ...]) -> ExpressionError:
    import difflib  # only where something is wrong

    near = _FOREIGN_DTYPES.get(word) or next(iter(difflib.get_close_matches(word.lower(), known, 1)), "")
    what = "dtype" if known == DTYPES else "medium or dtype"
    help = f"write `{near}`" if near else f"there are {', '.join(known)}; axes stand in `[...]`"
    return _wrong(f"no {what} `{word[:40]}`", start, start + len(word), help, near)


def _brackets(text: str, at: int, end: int) -> ExpressionError:
    if text.startswith("[", at):
        behind = text.find("]", at) + 1
        if behind:
            return _wrong("something follows the axes", behind, end)
        return _wrong("`[` is never closed", at, at + 1, "write `]` behind the axes")
    return _wrong("the axes in `[...]` are missing", at, max(end, at))


def _vocabulary(text: str, medium: str, at: int, functions: bool) -> tuple[Expression, int]:
    """The expression in the parentheses that open at `at`, and where they end."""
    depth, close = 0, at
    for close in range(at, len(text)):
        depth += (text[close] == "(") - (text[close] == ")")
        if depth == 0:
            break
    if depth:
        raise _wrong("this parenthesis is never closed", at, at + 1, "write `)`")
    if medium != "ids":
        raise _wrong(f"`{medium}` has no vocabulary", at, close + 1, "only `ids(vocab)` has one")
    return _expression(text, at + 1, close, functions), close + 1


def _dims(text: str, at: int, end: int, functions: bool) -> tuple[str | None, tuple[Expression, ...]]:
    lead: str | None = None
    dims: list[Expression] = []
    for start, stop in _pieces(text, at, end):
        piece = text[start:stop]
        if piece == "...":
            if lead or dims:
                raise _wrong("`...` stands before all other axes, once", start, stop, "put it first")
            lead = piece
        elif piece.endswith(",") and not functions:
            raise _wrong("axes are separated by spaces", stop - 1, stop, "remove the comma")
        else:
            dims.append(_axis(text, start, stop, functions))
        if len(dims) > MAX_AXES:
            raise _wrong(f"more than {MAX_AXES} axes", start, stop, "")
    return lead, tuple(dims)


def _axis(text: str, start: int, stop: int, functions: bool) -> Expression:
    try:
        return _expression(text, start, stop, functions)
    except ExpressionError as error:
        alone = text[start:stop]
        if error.code == "expression-syntax" and (alone[0] in "+*/-" or alone[-1] in "+*/-"):
            message = f"`{alone}` is no size: spaces separate axes"
            raise _wrong(message, start, stop, "write an expression without spaces, `2*d`, or in parentheses") from None
        raise


def _expression(text: str, start: int, stop: int, functions: bool) -> Expression:
    try:
        return parse_expression(text[start:stop], functions)
    except ExpressionError as error:
        raise error.shifted(start) from None


def _pieces(text: str, at: int, end: int) -> list[tuple[int, int]]:
    """The axes: what spaces separate, spaces in parentheses not counted."""
    found: list[tuple[int, int]] = []
    start, depth = -1, 0
    for index in range(at, end):
        character = text[index]
        depth += (character == "(") - (character == ")")
        if character in " \t\r\n" and depth <= 0:
            if start >= 0:
                found.append((start, index))
            start = -1
        elif start < 0:
            start = index
    if start >= 0:
        found.append((start, end))
    return found


def port_type_data(data: object) -> str:
    """The text of a port type that YAML may have read as a list: `text: [batch seq 384]` arrives
    as ["batch seq 384"], `[batch, seq, 384]` as three scalars.

    Raises `ExpressionError` "port-type-syntax" for anything else.
    """
    if isinstance(data, str):
        return data
    if not isinstance(data, list):
        raise _wrong(f"a port type is a text, not {_sort(data)}", 0, 0)
    words = []
    for item in data:
        if isinstance(item, bool) or not isinstance(item, (str, int)):
            raise _wrong(f"an axis is a name, a number or an expression, not {_sort(item)}", 0, 0)
        words.append(str(item))
    if len(words) > 1:
        words = [f"({word})" if _needs_parentheses(word.strip()) else word for word in words]
    return f"[{' '.join(words)}]"


def _sort(data: object) -> str:
    if data is None:
        return "nothing"
    return {bool: "true or false", float: "a number with a point", dict: "a mapping", list: "a list"}.get(
        type(data), "a number"
    )
