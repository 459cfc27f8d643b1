"""Unquoted scalars as YAML 1.2 (core schema) reads them, and what YAML 1.1 readers make of them."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Doubt = Literal["", "word", "zero", "number", "digits", "overflow", "underflow"]

MAX_DIGITS = 19

WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
OLD_WORDS: dict[str, bool] = {
    spelled: truth
    for word, truth in {"yes": True, "on": True, "no": False, "off": False}.items()
    for spelled in (word, word.capitalize(), word.upper())
}
"""Not `y` and `n`: the 1.1 specification lists them, and no reader in use takes them for booleans."""

_NUMBER_START = frozenset("0123456789+-.")
_INT = re.compile(r"[-+]?([0-9]+)\Z")
_BASED = re.compile(r"0(?:o[0-7]+|x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_OLD = re.compile(
    r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*"  # binary, hexadecimal, decimal and octal
    r"|[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[1-9][0-9_]*(?::[0-5]?[0-9])+|[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*)\Z"  # base 60
)
_NOT_ZERO = re.compile(r"[-+]?[0.]*[1-9]")


class Scalar(NamedTuple):
    """What an unquoted text means, and the doubt that the reader has to voice.

    `word`: 1.1 reads a boolean. `zero`: 1.1 reads an octal number. `number`: 1.1 reads a number,
    we read text. `digits`: a number longer than we read. `overflow`, `underflow`: a float that
    would silently become infinite or zero.
    """

    data: bool | int | float | str | None
    doubt: Doubt = ""


def resolve(text: str) -> Scalar:
    """The value of an unquoted scalar. Linear in its length, and bounded before any conversion."""
    if text in WORDS:
        return Scalar(WORDS[text])
    if text[0] not in _NUMBER_START:
        return Scalar(text, "word" if text in OLD_WORDS else "")
    match = _INT.match(text)
    if match is not None:
        digits = match[1]
        if len(digits) > MAX_DIGITS:
            return Scalar(text, "digits")
        return Scalar(int(text), "zero" if len(digits) > 1 and digits[0] == "0" else "")
    if _BASED.match(text):
        return Scalar(text, "digits") if len(text) - 2 > MAX_DIGITS else Scalar(int(text, 0))
    if _FLOAT.match(text):
        return _float(text)
    if _SPECIAL.match(text):
        return Scalar(float(text.replace(".", "", 1)))
    if _OLD.match(text):
        return Scalar(text, "digits" if "." not in text and _length(text) > MAX_DIGITS else "number")
    return Scalar(text)


def is_number(text: str) -> bool:
    """Whether the text, of any length, is spelled like a number of YAML 1.1 or 1.2."""
    return any(pattern.match(text) for pattern in (_INT, _BASED, _FLOAT, _SPECIAL, _OLD))


def old_reading(text: str) -> str:
    """What a YAML 1.1 reader takes the text for, in words."""
    if text in OLD_WORDS:
        return "true" if OLD_WORDS[text] else "false"
    sign, body = ("-", text[1:]) if text[0] == "-" else ("", text.lstrip("+"))
    plain = body.replace("_", "")
    if ":" in plain:
        return "a number in base 60"
    try:
        if plain.startswith(("0b", "0x")):
            return f"the number {sign}{int(plain, 0)}"
        if plain.isdigit() and plain[0] == "0" and len(plain) > 1:
            return f"the octal number {sign}{int(plain, 8)}" if set(plain) <= set("01234567") else "text"
    except ValueError:
        return "a number"
    return f"the number {sign}{plain}"


def _float(text: str) -> Scalar:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return Scalar(text, "overflow")
    if value == 0.0 and _NOT_ZERO.match(text):
        return Scalar(value, "underflow")
    return Scalar(value)


def _length(text: str) -> int:
    return sum(map(text.count, "0123456789abcdefABCDEF"))
