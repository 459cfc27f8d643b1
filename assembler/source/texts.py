"""What a key or a value of a recipe may say: every judgement on one text, with the words of its finding."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from assembler.source.letters import FORBIDDEN, HIDDEN, describe, look_alike, mixed_word, strangers
from assembler.source.place import Source, quoted, replace, shown
from assembler.source.scalar import MAX_DIGITS, OLD_WORDS, WORDS, is_number, old_reading, resolve
from assembler_schemas.diagnostic import Edit, Fix
from assembler_schemas.span import Span

MAX_KEY = 128
MAX_TEXT = 10_000

FOREIGN = {
    "_target_": "a recipe names no code: write `kind:` and a registered name (`kind: linear`; `assembler kinds` lists them)",
    "_partial_": "drop it: a recipe constructs nothing itself, `kind:` says what stands here",
    "_args_": "write each option under its name beside `kind:`",
    "_convert_": "drop it: values reach a kind as its options state them",
    "_recursive_": "drop it: parts are written as nested mappings, each with its own `kind:`",
}
SPECIAL = frozenset({*WORDS, *OLD_WORDS, *FOREIGN, "hydra"})
"""Identifiers of which something is to be said where they stand as keys or values."""
_NO_HYDRA = "keep Hydra's own settings in the application's config; the parts of a recipe are named by `kind:`"

INTERPOLATION = re.compile(r"\$\{(?:[^{}\n]*\}|.*\}|.*)")
_NAME = re.compile(r"\$\{([a-z_][a-z0-9_]*)\}\Z")
_TEMPLATES = (("{{", "}}"), ("{%", "%}"), ("<%", "%>"))
_SHELL = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*\Z|\$\([^()]*\)")
_GLUED = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*):(?![/:])\S")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

Report = Callable[..., None]
"""(code, message, span, **fields of a Diagnostic)"""


class Texts:
    """Judges the texts of one file. `hidden` are the offsets of invisible characters not yet spoken of, last one
    first; those that turn out to stand in no text move to `outside`."""

    def __init__(self, source: Source, report: Report, hidden: list[int]) -> None:
        self.source = source
        self.report = report
        self.hidden = hidden
        self.outside: list[int] = []

    # --- keys -----------------------------------------------------------------------------------

    def key(self, text: str, span: Span, event: Any, top: bool) -> str | None:
        """The name under which the entry is kept, or None where it is left out."""
        if len(text) > MAX_KEY:
            self.report("limit-scalar-size", f"a key of {len(text)} characters, where {MAX_KEY} are the most", span,
                        help="shorten the key")  # fmt: skip
            return None
        text = self._key_characters(text, span, event)
        if "${" in text:
            self._interpolation(text, span, event)
        elif template_in(text):
            self._template(text, span)
        if not event.style and not self._plain_key(text, span, event):
            return None
        if text in FOREIGN or (top and (text == "hydra" or text.startswith(("hydra.", "hydra/")))):
            why = "names code to run or steers how it is built" if text in FOREIGN else "steers Hydra itself"
            self.report("foreign-key", f"`{text}` {why}, and a recipe is data", span, help=FOREIGN.get(text, _NO_HYDRA))
            return None
        plain = look_alike(text)
        if plain is not None:
            self.report("confusable-name", f"{shown(text)} only looks like `{plain}`", span, label=strangers(text),
                        help=f"write `{plain}`", fix=replace(span, plain))  # fmt: skip
            return plain
        return text

    def _plain_key(self, text: str, span: Span, event: Any) -> bool:
        """Whether an unquoted key is a text, by the rules of 1.2."""
        if text == "<<":
            self.report("yaml-merge-key", "the merge key `<<` is not part of the recipe language", span,
                        help="share a file through `defaults:`, a part through `slots:` or `like:`, copies through `repeat:`")  # fmt: skip
            return False
        if text in OLD_WORDS:
            self._old(text, span, "key")
            return True
        scalar = resolve(text)
        if text in WORDS or not isinstance(scalar.data, str):
            what = "null" if scalar.data is None else "true or false" if isinstance(scalar.data, bool) else "a number"
            self.report("yaml-key-type", f"a key is a text, and {shown(text) if text else 'this empty key'} is {what}", span,
                        help="give the entry a name", fix=replace(span, quoted(text), maybe=True) if text in WORDS and text not in ("", "~") else None)  # fmt: skip
            return False
        if scalar.doubt == "digits":
            self.report("yaml-key-type", f"a key is a text, and {shown(text)} is a number", span, help="give the entry a name")
            return False
        if scalar.doubt == "number":
            self._old(text, span, "key")
        return not (":" in text and self._glued_key(text, span))

    def _glued_key(self, text: str, span: Span) -> bool:
        """`{kind:linear}`: YAML reads one key with no value."""
        match = _GLUED.match(text)
        end = self.source.offset(span.end_line, span.end_column)
        if match is None or re.compile(r"\s*[,}\]]").match(self.source.text, end) is None:
            return False
        self.glued(match, self.source.offset(span.line, span.column))
        return True

    def glued(self, match: re.Match[str], start: int) -> None:
        """Report `name:value`, whose text starts at offset `start`."""
        colon = start + match.end(1)
        gap = self.source.span(colon + 1, colon + 1)
        self.report("yaml-syntax", f"no space stands after the colon of `{match[1]}:`",
                    self.source.span(start, colon + 1), help=f"write `{match[1]}: ` with a space",
                    fix=Fix((Edit(gap, " "),), "maybe"))  # fmt: skip

    def _key_characters(self, text: str, span: Span, event: Any) -> str:
        self._spoken_of(event)
        odd = HIDDEN.search(text) or FORBIDDEN.search(text)
        if odd is None:
            return text
        clean = FORBIDDEN.sub("", HIDDEN.sub("", text))
        self.report("yaml-control-character", f"a name holds {describe(odd[0][0])}", span, label="invisible here",
                    help="write the name without it", fix=replace(span, quoted(clean) if event.style else clean, maybe=True))  # fmt: skip
        return clean

    # --- values ---------------------------------------------------------------------------------

    def plain(self, text: str, span: Span, event: Any, key: str | None) -> Any:
        """The value of an unquoted scalar, by YAML 1.2."""
        if len(text) > MAX_TEXT and is_number(text):
            return self._digits(text, span)
        data, doubt = resolve(self.text(text, span, event, key))
        if doubt == "digits":
            return self._digits(text, span)
        if doubt in ("word", "number"):
            self._old(text, span, "value")
        elif doubt == "zero":
            self.report("old-scalar", f"`{text}` is {data} here; YAML 1.1 readers take it for {old_reading(text)}", span,
                        help=f"write `{data}`", fix=replace(span, str(data)))  # fmt: skip
        elif doubt in ("overflow", "underflow"):
            becomes = "infinite" if doubt == "overflow" else "zero"
            self.report("value-range", f"{shown(text)} becomes {becomes} as a 64-bit float", span,
                        help="write a number between 1e-307 and 1e308")  # fmt: skip
        elif type(data) is float and key == "version":
            self.report("version-number", f"`{text}` is the number {data}, and a version is a text", span,
                        help=f"quote it: `{quoted(text)}`")  # fmt: skip
        return data

    def text(self, text: str, span: Span, event: Any, key: str | None) -> str:
        """Judge a text value, quoted or not; the text to go on with."""
        if len(text) > MAX_TEXT:
            self.report("limit-scalar-size", f"a text of {len(text)} characters, where {MAX_TEXT} are the most", span,
                        help="shorten the text; data belongs into files of its own")  # fmt: skip
            return text[:MAX_TEXT]
        if self.hidden:
            self._hidden_value(span, event)
        if "${" in text:
            self._interpolation(text, span, event)
        elif key != "description" and (template_in(text) or ("$" in text and _SHELL.match(text))):
            self._template(text, span)
        return text if text.isascii() else self._foreign_letters(text, span, key)

    def own_line(self, text: str, span: Span) -> bool:
        """`a:1` on a line of its own, where a mapping is wanted: report it."""
        match = _GLUED.match(text)
        if match is not None:
            self.glued(match, self.source.offset(span.line, span.column))
        return match is not None

    def _digits(self, text: str, span: Span) -> str:
        self.report("limit-int-digits", f"{shown(text, 24)} has more than {MAX_DIGITS} digits", span,
                    help="no size of a recipe is so large; quote it if it is a text")  # fmt: skip
        return text[:MAX_TEXT]

    def _old(self, text: str, span: Span, what: str) -> None:
        hint = "quote it" if text not in OLD_WORDS or what == "key" else "quote it, or write `true` or `false` if that is meant"
        self.report("old-scalar", f"the {what} `{text}` is text here; YAML 1.1 readers take it for {old_reading(text)}",
                    span, label="text", help=hint, fix=replace(span, quoted(text)))  # fmt: skip

    def _interpolation(self, text: str, span: Span, event: Any) -> None:
        match = INTERPOLATION.search(text)
        assert match is not None  # noqa: S101 - the caller found `${`
        name = _NAME.match(text)
        start = self.source.text.find("${", event.start_mark.index, event.end_mark.index)
        written = INTERPOLATION.match(self.source.text, start, event.end_mark.index) if start >= 0 else None
        place = self.source.span(start, written.end()) if written else span
        if name:
            hint = f"write `{name[1]}` alone, and its value under `vars:`"
        else:
            hint = "put the value under `vars:`, or give it by an override, and write its name or an expression (`4*width`)"
        self.report("interpolation", f"{shown(match[0])} is never evaluated in a recipe", place, help=hint,
                    fix=replace(span, name[1], maybe=True) if name else None)  # fmt: skip

    def _template(self, text: str, span: Span) -> None:
        self.report("yaml-template", f"{shown(text)} holds a template or shell placeholder, and nothing fills it", span,
                    help="put the value under `vars:` and write its name; give it by an override: `vars.d=64`")  # fmt: skip

    def _hidden_value(self, span: Span, event: Any) -> None:
        first = self._spoken_of(event)
        if first is not None:
            character = self.source.text[first]
            self.report("yaml-control-character", f"a value holds {describe(character)}",
                        self.source.span(first, first + 1), label="invisible here",
                        help=f'delete it, or write it in double quotes as "\\u{ord(character):04x}"',
                        fix=Fix((Edit(self.source.span(first, first + 1), ""),), "maybe"))  # fmt: skip

    def _spoken_of(self, event: Any) -> int | None:
        """The first invisible character within the event; all of them count as reported from now on."""
        if not self.hidden:
            return None
        start, end = event.start_mark.index, event.end_mark.index
        while self.hidden and self.hidden[-1] < start:
            self.outside.append(self.hidden.pop())
        first = self.hidden[-1] if self.hidden and self.hidden[-1] < end else None
        while self.hidden and self.hidden[-1] < end:
            self.hidden.pop()
        return first

    def _foreign_letters(self, text: str, span: Span, key: str | None) -> str:
        if _SURROGATE.search(text):
            self.report("yaml-encoding", "an escape names half of a surrogate pair, which is no character", span,
                        help='write the character itself, or its whole code point ("\\U0001f600")')  # fmt: skip
        pair = None if key == "description" else mixed_word(text)
        if pair is not None:
            fix = replace(span, pair[1]) if self.source.of(span) == pair[0] else None
            self.report("confusable-name", f"{shown(pair[0])} only looks like `{pair[1]}`", span,
                        label=strangers(pair[0]), help=f"write `{pair[1]}`", fix=fix)  # fmt: skip
        return _SURROGATE.sub("\ufffd", text)


def template_in(text: str) -> bool:
    """Whether a placeholder of Jinja, Helm or ERB stands in the text. Linear: the text may be hostile."""
    if not ("{" in text or "<" in text):
        return False
    return any((start := text.find(opens)) >= 0 and text.find(closes, start) >= 0 for opens, closes in _TEMPLATES)
