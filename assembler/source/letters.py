"""Characters that hide, reorder or imitate: what may not stand in a recipe, and what it looks like."""

from __future__ import annotations

import re
import unicodedata

CONTROL_BYTES = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])
"""ASCII controls that no recipe holds: all but tab, line feed and carriage return."""

FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]|\r(?!\n)")
"""Characters that are refused wherever they stand: controls, line breaks that only some readers know, surrogates."""

HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
"""Characters that show nothing, or turn the direction of what follows."""

_BREAKS = {"\r": "a lone carriage return", "\x85": "NEL", "\u2028": "LINE SEPARATOR", "\u2029": "PARAGRAPH SEPARATOR"}
_CONTROLS = {"\x00": "NUL", "\x07": "BEL", "\x08": "BACKSPACE", "\x0c": "FORM FEED", "\x1b": "ESC", "\x7f": "DEL"}
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_.@/*:+()-]*\Z")

# Letters that are drawn like an ASCII one in common fonts; fullwidth and mathematical letters fold by NFKC.
_DRAWN_LIKE = {
    "a": "аα", "c": "сϲ", "d": "ԁ", "e": "е", "g": "ɡ", "h": "һ", "i": "іıι", "j": "јϳ", "k": "κ", "l": "ӏ", "n": "ո",
    "o": "оοօ", "p": "рρ", "q": "ԛ", "s": "ѕ", "t": "τ", "u": "υս", "v": "ѵν", "w": "ԝω", "x": "хχ", "y": "у",
    "A": "АΑ", "B": "ВΒ", "C": "СϹ", "E": "ЕΕ", "G": "Ԍ", "H": "НΗ", "I": "ІΙӀ", "J": "Ј", "K": "КΚ", "M": "МΜ",
    "N": "Ν", "O": "ОΟ", "P": "РΡ", "S": "Ѕ", "T": "ТΤ", "W": "Ԝ", "X": "ХΧ", "Y": "УΥ", "Z": "Ζ",
    "-": "‐‑‒–—−", ".": "․", "*": "∗×·",
}  # fmt: skip
_LOOKS = str.maketrans({odd: plain for plain, many in _DRAWN_LIKE.items() for odd in many})


def describe(character: str) -> str:
    """A character that cannot be shown, by code point and name: `U+202E RIGHT-TO-LEFT OVERRIDE`."""
    name = _BREAKS.get(character) or _CONTROLS.get(character) or unicodedata.name(character, "")
    return f"U+{ord(character):04X} {name}".rstrip()


def is_break(character: str) -> bool:
    """Whether some readers start a new line at the character where others do not."""
    return character in _BREAKS


def look_alike(text: str) -> str | None:
    """The ASCII name that `text` looks like, or None where it looks like none."""
    if text.isascii():
        return None
    plain = unicodedata.normalize("NFKC", text).translate(_LOOKS)
    return plain if plain.isascii() and _NAME.match(plain) else None


def mixed_word(text: str) -> tuple[str, str] | None:
    """The first word of a value in which ASCII letters and their look-alikes mix, and its ASCII spelling.

    Whole words of another script are somebody's language, and stay.
    """
    for word in text.split():
        odd = [c for c in word if not c.isascii()]
        if odd and any(c.isascii() and c.isalpha() for c in word) and all(unicodedata.category(c)[0] == "L" for c in odd):
            plain = look_alike(word)
            if plain is not None:
                return word, plain
    return None


def strangers(text: str) -> str:
    """The letters of a name that are not ASCII, by code point, for a message."""
    odd = dict.fromkeys(c for c in text if not c.isascii())
    return ", ".join(f"U+{ord(c):04X} {unicodedata.name(c, '')}".rstrip() for c in list(odd)[:3])
