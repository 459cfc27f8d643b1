"""The words of a size expression, and what to say of text that is none of them."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_TOKENS: Final = 64
MAX_DIGITS: Final = 19
ALLOWED: Final = "integers, names, + - * // and parentheses"


class ExpressionError(ValueError):
    """What is wrong with an expression, and where: characters `start` to `end` (exclusive, from 0).

    `help` says what to do; `fix` is the text to put in place of those characters, where that is
    clear. Codes: expression-syntax, -limit, -unknown, -division, dim-range, port-type-syntax.
    """

    def __init__(self, code: str, message: str, start: int = 0, end: int = 0, help: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.start = start
        self.end = end
        self.help = help
        self.fix = fix

    def shifted(self, offset: int) -> ExpressionError:
        """The same, said of a text in which the expression starts at `offset`."""
        return ExpressionError(self.code, self.message, self.start + offset, self.end + offset, self.help, self.fix)


class Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


_TOKEN = re.compile(r"[ \t\r\n]*(?:(?P<int>[0-9]+)|(?P<name>[a-z_][a-z0-9_]*#?)|(?P<op>//|[-+*/(),]))", re.ASCII)
_WORD = re.compile(r"\w+")


def tokenize(text: str, functions: bool) -> tuple[list[Token], ExpressionError | None]:
    """The tokens, up to the first text that is none, and what is to be said of that."""
    found: list[Token] = []
    at, end = 0, len(text.rstrip(" \t\r\n"))
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            return found, _foreign(text, len(text) - len(text[at:].lstrip(" \t\r\n")))
        kind = str(match.lastgroup)
        token = Token(kind, match[kind], match.start(kind), match.end())
        if _is_foreign(token, text, functions):
            return found, _foreign(text, token.start)
        if kind == "int" and len(token.text) > MAX_DIGITS:
            message = f"a number of {len(token.text)} digits"
            return found, ExpressionError("expression-limit", message, token.start, token.end, f"at most {MAX_DIGITS}")
        found.append(token)
        at = token.end
        if not functions and len(found) > MAX_TOKENS:
            message = f"the expression has more than {MAX_TOKENS} parts"
            raise ExpressionError("expression-limit", message, token.start, token.end, SPLIT)
    return found, None


def _is_foreign(token: Token, text: str, functions: bool) -> bool:
    """Begins like a token of ours, and is not one."""
    if token.kind == "name":
        return (token.text[-1] == "#" and not functions) or text[token.end : token.end + 1].isalnum()
    return text.startswith("**", token.start) or (token.text == "," and not functions)


SPLIT = "name parts of it under `vars`"
_NO_SUCH = {
    "==": ("compares", "a size expression is a value alone: write the size only"),
    "=": ("assigns", "a size expression is a value alone: write the size only"),
    ";": ("ends a statement", "write one expression"),
    "#": ("starts a comment only after a space, outside quotes", "move the comment out of the quotes"),
    "**": ("is a power", "write the product: `d*d`"),
    "%": ("is a remainder", "`a // b` demands that there is none"),
    ".": ("is no part of a size", "sizes are whole numbers and plain names"),
    "[": ("has no meaning in a size", f"allowed are {ALLOWED}"),
    ",": ("separates nothing here", f"allowed are {ALLOWED}"),
    "^": ("is no operator here", "write the product: `d*d`"),
}
_LOOKS_LIKE = {"×": "*", "·": "*", "∗": "*", "⋅": "*", "−": "-", "–": "-", "÷": "//", "∕": "/", "（": "(", "）": ")"}


def _foreign(text: str, start: int) -> ExpressionError:
    """What to say of the text at `start`, which is no token."""
    for sign in ("==", "**", text[start]):
        if text.startswith(sign, start) and sign in _NO_SUCH:
            what, help = _NO_SUCH[sign]
            return ExpressionError("expression-syntax", f"`{sign}` {what}", start, start + len(sign), help)
    character = text[start]
    if character in _LOOKS_LIKE:
        ours = _LOOKS_LIKE[character]
        message = f"`{character}` only looks like `{ours}`"
        return ExpressionError("expression-syntax", message, start, start + 1, f"write `{ours}`", ours)
    word = _WORD.match(text, start)
    if word is None:
        message = f"{_named(character)} has no meaning in a size"
        return ExpressionError("expression-syntax", message, start, start + 1, f"allowed are {ALLOWED}")
    part = word.group()
    if text.startswith("#", word.end()) and part.isascii():
        return _foreign(text, word.end())
    if part.isdigit():
        message = f"`{part}` is written with digits of another script"
        return ExpressionError("expression-syntax", message, start, word.end(), "write 0 to 9")
    fix = part.lower() if part.isascii() else ""
    message = f"`{part}` is not a name: names match [a-z_][a-z0-9_]*"
    return ExpressionError("expression-syntax", message, start, word.end(), f"write `{fix}`" if fix else "", fix)


def _named(character: str) -> str:
    return f"`{character}`" if character.isprintable() else f"the character U+{ord(character):04X}"
