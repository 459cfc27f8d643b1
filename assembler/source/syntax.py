"""What a failed parse means: the parser's problem told at the place that caused it, with the likely fix."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from yaml.error import MarkedYAMLError

from assembler.source.impostor import another_language
from assembler.source.place import Source, quoted, shown
from assembler.source.texts import MAX_KEY
from assembler_schemas.diagnostic import Diagnostic, Edit, Fix, Note
from assembler_schemas.span import Span

_GLUED = re.compile(r"[ \t]*(?:- +)*([A-Za-z_][A-Za-z0-9_.]*):(?![ \t]|/)\S")
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{\{|\{%")
_IN_FLOW = re.compile(r"\$\{(?:[^{}\n]*\}|\$?\{?[^\s,}\]]*\}*)")
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\n]|\'\')*\'')


class Failure(NamedTuple):
    """A parse that stopped. `flows` are the offsets of the brackets still open, outermost first;
    `indents` the columns (from 1) of the open block collections; `scalar` the last scalar event."""

    source: Source
    error: MarkedYAMLError
    flows: list[int]
    indents: list[int]
    scalar: Any

    @property
    def problem(self) -> str:
        return str(self.error.problem or "")

    @property
    def context(self) -> str:
        return str(self.error.context or "")

    @property
    def at(self) -> int:
        mark = self.error.problem_mark or self.error.context_mark
        return min(mark.index, len(self.source.text)) if mark else 0

    @property
    def opened(self) -> int:
        return min(self.error.context_mark.index, len(self.source.text)) if self.error.context_mark else self.at

    def one(self, offset: int) -> Span:
        """One character, or none at the end of the text."""
        return self.source.span(offset, min(offset + 1, len(self.source.text)))

    def made(self, message: str, span: Span, hint: str, **fields: Any) -> Diagnostic:
        return Diagnostic(fields.pop("code", "yaml-syntax"), message, span, help=hint, **fields)


def explain(failure: Failure) -> list[Diagnostic]:
    """What to say of a failed parse: one finding, or one for each placeholder that made it fail."""
    placeholders = _placeholders(failure)
    if placeholders:
        return placeholders
    other = another_language(failure.source, thorough=True)
    if other is not None:
        return [other]
    for words, tell in _RULES:
        if any(word in failure.problem or word in failure.context for word in words):
            made = tell(failure)
            if made is not None:
                return [made]
    text = failure.problem or "the text ends or continues where YAML does not allow it"
    return [failure.made(text, failure.one(failure.at), "compare the line with its neighbours: quotes, brackets, indentation")]


def _placeholders(failure: Failure) -> list[Diagnostic]:
    """`{{ x }}`, `{% x %}` and `${x}` break flow mappings: they are the cause where they stand on the line."""
    source = failure.source
    start = source.starts[source.place(failure.at)[0] - 1]
    line = source.text[start : source.line_end(start)]
    if "${" in line and "{" in source.text[max(failure.at - 2, 0) : failure.at + 1]:
        matches = itertools.islice(_IN_FLOW.finditer(source.text, start), 100)
        rows = ((match, source.starts[source.place(match.start())[0] - 1]) for match in matches)
        places = [match for match, row in rows if match.end() <= source.line_end(row)]
        return [
            failure.made(f"{shown(match[0])} is never evaluated in a recipe", source.span(match.start(), match.end()),
                         "put the value under `vars:` and write its name or an expression (`4*width`)", code="interpolation")
            for match in places
        ]  # fmt: skip
    match = _TEMPLATE.search(line)
    if match is None or not re.search(r"cannot start any token|did not find expected|expected", failure.problem):
        return []
    span = source.span(start + match.start(), start + match.end())
    return [failure.made(f"{shown(match[0])} is a template, and nothing fills it", span,
                         "put the value under `vars:` and write its name; give it by an override: `vars.d=64`",
                         code="yaml-template")]  # fmt: skip


# --- one function a problem ------------------------------------------------------------------------


def _unclosed_quote(failure: Failure) -> Diagnostic | None:
    if "quoted scalar" not in failure.context:
        return None
    return _quote(failure, failure.opened)


def _quote(failure: Failure, start: int) -> Diagnostic:
    source = failure.source
    mark = source.text[start]
    end = source.line_end(start)
    clean = re.search(r"[,}\]#]", source.text[start:end]) is None
    fix = Fix((Edit(source.span(end, end), mark),), "maybe") if clean else None
    return failure.made(f"the quote {mark} that opens here is not closed where it should be", failure.one(start),
                        f"close it with {mark} on the same line", label="opened here", fix=fix)  # fmt: skip


def _escape(failure: Failure) -> Diagnostic:
    place = failure.at
    start = failure.source.text.rfind("\\", 0, place + 1)
    start = start if start >= failure.opened else place
    if "invalid Unicode" in failure.problem:
        end = min(start + (10 if failure.source.text[start : start + 2] == "\\U" else 6), len(failure.source.text))
        return failure.made(f"the escape {shown(failure.source.text[start:end])} names no character", failure.source.span(start, end),
                            'write the character itself, or its whole code point ("\\U0001f600")', code="yaml-encoding")  # fmt: skip
    fix = Fix((Edit(failure.source.span(start, start), "\\"),), "maybe")
    return failure.made(f"{shown(failure.source.text[start : start + 2])} is no escape of YAML",
                        failure.source.span(start, min(start + 2, len(failure.source.text))),
                        "in double quotes write a backslash twice, or use single quotes", fix=fix)  # fmt: skip


def _tab(failure: Failure) -> Diagnostic | None:
    text, at = failure.source.text, failure.at
    start = failure.source.starts[failure.source.place(at)[0] - 1]
    lead = re.compile(r"[ \t]*").match(text, start)
    end = lead.end() if lead else start
    if "\t" not in text[start:end] or at > end:
        return None
    span = failure.source.span(start, end)
    fix = Fix((Edit(span, text[start:end].replace("\t", "  ")),), "maybe")
    return failure.made("a tab indents this line, and YAML indents with spaces", span, "write two spaces a level", fix=fix)


def _start_character(failure: Failure) -> Diagnostic | None:
    tab = _tab(failure)
    if tab is not None:
        return tab
    at = failure.opened if failure.context.endswith(("an alias", "an anchor")) else failure.at
    if failure.source.text[at : at + 1] == "\t":
        fix = Fix((Edit(failure.one(at), " "),), "maybe")
        return failure.made("a tab stands where YAML wants a space", failure.one(at), "write a space", fix=fix)
    return _quote_value(failure, at, f"an unquoted text cannot start with `{failure.source.text[at : at + 1]}` here")


def _quote_value(failure: Failure, start: int, message: str) -> Diagnostic:
    source = failure.source
    end = max(source.word_end(start, bool(failure.flows)), start + 1)
    end = min(end, len(source.text))
    value = source.text[start:end]
    fix = Fix((Edit(source.span(start, end), quoted(value)),), "maybe") if len(value) <= 1000 and _QUOTED.search(value) is None else None
    return failure.made(message, source.span(start, end), f"quote it: `{quoted(shown(value)[1:-1])}`", fix=fix)


def _property(failure: Failure) -> Diagnostic | None:
    if "tag" in failure.context or "tag handle" in failure.problem:
        at = failure.at if "tag handle" in failure.problem else failure.opened
        end = max(failure.source.word_end(at, bool(failure.flows)), at)
        return failure.made(f"the tag {shown(failure.source.text[at:end].split(' ')[0])} stands in the recipe",
                            failure.source.span(at, end), "write `kind:` and a name; quote a text that starts with `!`",
                            code="yaml-tag")  # fmt: skip
    if "irective" in failure.context + failure.problem or "incompatible YAML" in failure.problem or "duplicate %" in failure.problem:
        return _directive(failure, failure.source.starts[failure.source.place(failure.opened)[0] - 1])
    return None


def _directive(failure: Failure, start: int) -> Diagnostic:
    end = failure.source.line_end(start)
    return failure.made(f"the directive {shown(failure.source.text[start:end])} stands in the recipe",
                        failure.source.span(start, end), "delete the line: a recipe is plain YAML 1.2 without tags",
                        code="yaml-tag")  # fmt: skip


def _colon(failure: Failure) -> Diagnostic | None:
    """A key without its colon, or a colon where no key can stand."""
    source, at = failure.source, failure.at
    begin = failure.opened if "simple key" in failure.context else at
    start = source.starts[source.place(begin)[0] - 1]
    line = source.text[start : source.line_end(start)]
    key = source.text[begin:at] if "simple key" in failure.context else line[: at - start].lstrip(" -")
    if len(key.split("\n")[0]) > max(MAX_KEY, 1000):
        return failure.made(f"a key of {len(key)} characters, where {MAX_KEY} are the most", failure.one(begin if begin != at else start),
                            "shorten the key", code="limit-scalar-size")  # fmt: skip
    if "simple key" in failure.context:
        return _glued(failure, start) or failure.made(
            f"{shown(line)} is neither a key with a colon nor part of the value before", source.span(begin, start + len(line)),
            "write `key: value`, or quote a text that goes over several lines")  # fmt: skip
    return _nested_colon(failure)


def _nested_colon(failure: Failure) -> Diagnostic:
    source, at, scalar = failure.source, failure.at, failure.scalar
    begin = scalar.start_mark.index if scalar is not None and scalar.end_mark.index <= at else at
    ends_here = scalar is not None and source.text[scalar.end_mark.index : at].strip() == "" and begin < at
    if ends_here and scalar.end_mark.line > scalar.start_mark.line:
        if scalar.style:
            return _quote(failure, begin)
        glued = _glued(failure, source.starts[source.place(begin)[0] - 1])
        if glued is not None:
            return glued
        start = source.starts[source.place(at)[0] - 1]
        first = start + len(source.line(start)) - len(source.line(start).lstrip())
        return failure.made(f"{shown(source.text[first:at])} cannot be a key here: the value before goes on until this line",
                            source.span(first, at), "give it the indentation of its neighbours",
                            related=(Note("that value starts here", source.span(begin, begin + 1)),))  # fmt: skip
    start = begin if ends_here else at
    end = max(source.line_end(at), at + 1)
    value = source.text[start:end]
    fix = Fix((Edit(source.span(start, end), quoted(value)),), "maybe") if ends_here and not scalar.style else None
    return failure.made("a second `: ` stands in one line", failure.one(at),
                        f"quote the value if it is a text: `{quoted(shown(value)[1:-1])}`; else start a new line", fix=fix)  # fmt: skip


def _glued(failure: Failure, line_start: int) -> Diagnostic | None:
    """`key:value` on the line that starts at the offset."""
    match = _GLUED.match(failure.source.text, line_start)
    if match is None:
        return None
    gap = failure.source.span(match.end(1) + 1, match.end(1) + 1)
    return failure.made(f"no space stands after the colon of `{match[1]}:`", failure.source.span(match.start(1), match.end(1) + 1),
                        f"write `{match[1]}: ` with a space", fix=Fix((Edit(gap, " "),), "maybe"))  # fmt: skip


def _flow(failure: Failure) -> Diagnostic | None:
    """A bracket that is not closed, closed by another one, or holds entries without a comma."""
    source, at = failure.source, failure.at
    if not failure.flows:
        return None
    opened = failure.flows[-1]
    bracket = source.text[opened]
    closer = "}" if bracket == "{" else "]"
    here = source.text[at : at + 1]
    if here and here in "]}" and here != closer:
        return failure.made(f"`{bracket}` is closed by `{here}`", failure.one(at), f"write `{closer}`",
                            related=(Note("opened here", failure.one(opened)),),
                            fix=Fix((Edit(failure.one(at), closer),), "maybe"))  # fmt: skip
    scalar = failure.scalar
    if scalar is not None and scalar.style in ('"', "'") and scalar.end_mark.line > scalar.start_mark.line:
        return _quote(failure, scalar.start_mark.index)
    if here == ",":
        return failure.made("nothing stands before this comma", failure.one(at), "delete it, or write the value")
    if here and source.place(at)[0] == source.place(opened)[0]:
        return _comma(failure, opened, closer)
    note = Note("noticed here", failure.one(at))
    return failure.made(f"the `{bracket}` that opens here is not closed", failure.one(opened), f"close it with `{closer}`",
                        label="opened here", related=(note,), fix=_close(failure, opened, closer))  # fmt: skip


def _comma(failure: Failure, opened: int, closer: str) -> Diagnostic:
    source, at = failure.source, failure.at
    word = re.search(r"(?<=[^\s,:{\[])([ \t]+)[A-Za-z_$][\w$]*[ \t]*\Z", source.text[opened + 1 : at])
    fix = None
    if word is not None and source.text[at] == ":":
        gap = source.span(opened + 1 + word.start(1), opened + 1 + word.end(1))
        fix = Fix((Edit(gap, ", "),), "maybe")
    return failure.made(f"a comma or `{closer}` is missing before this", failure.one(at),
                        "put a comma between the entries; quote a text that holds `: `, `{` or `[`",
                        related=(Note("inside this bracket", failure.one(opened)),), fix=fix)  # fmt: skip


def _close(failure: Failure, opened: int, closer: str) -> Fix | None:
    """Close the bracket at the end of its line, where its line opens no other and is followed by a new key."""
    end = failure.source.line_end(opened)
    body = failure.source.text[opened + 1 : end]
    if any(c in body for c in "{}[]\"'") or body.endswith(","):
        return None
    return Fix((Edit(failure.source.span(end, end), closer),), "maybe")


def _block(failure: Failure) -> Diagnostic | None:
    """What a block mapping or list cannot take: text behind a quote, a bracket, a wrong indentation."""
    source, at, scalar = failure.source, failure.at, failure.scalar
    here = source.text[at : at + 1]
    if scalar is not None and scalar.style in ('"', "'") and source.place(scalar.end_mark.index)[0] == source.place(at)[0]:
        if scalar.end_mark.line > scalar.start_mark.line:
            return _quote(failure, scalar.start_mark.index)
        mark = scalar.style
        double = "''" if mark == "'" else '\\"'
        return failure.made(f"text stands behind the closing quote {mark}", source.span(at, max(source.line_end(at), at + 1)),
                            f"inside the quotes write {double} for {mark}, or use the other kind of quotes",
                            related=(Note("the quoted text", source.span(scalar.start_mark.index, scalar.end_mark.index)),))  # fmt: skip
    if here and here in "]}":
        return failure.made(f"`{here}` closes nothing", failure.one(at), "delete it, or open the bracket where it belongs")
    if "node content" in failure.problem:
        return None
    line, column = source.place(at)
    if column in failure.indents and source.text[at : at + 2] in ("- ", "-\n"):
        return failure.made("a list item stands among the keys of a mapping", failure.one(at),
                            "indent the list under the key that it belongs to")  # fmt: skip
    if column in failure.indents:
        return failure.made("a key stands among the items of a list", failure.one(at),
                            "start the item with `- `, or give the list a key of its own")  # fmt: skip
    if source.text[source.starts[line - 1] : at].strip():
        return failure.made("a value ends before this, and no comma or line separates it", failure.one(at),
                            "quote the whole value, or start a new line")  # fmt: skip
    above = source.text[: source.starts[line - 1]].rstrip()
    before = source.line(len(above))
    near = {*failure.indents, len(before) - len(before.lstrip(" ")) + 1}
    columns = " or ".join(str(c - 1) for c in sorted(near))
    start = source.span(source.starts[line - 1], at)
    return failure.made(f"this line is indented by {column - 1}, which no line above it is", start,
                        f"indent it by {columns} spaces, as its neighbours are")  # fmt: skip


def _list_here(failure: Failure) -> Diagnostic:
    return failure.made("a list cannot start on the line of its key", failure.one(failure.at),
                        "start it on the next line, or write `[a, b]`; quote a text that starts with `- `")  # fmt: skip


def _block_text(failure: Failure) -> Diagnostic:
    sign = failure.source.text[failure.opened : failure.opened + 1]
    return _quote_value(failure, failure.opened, f"`{sign}` starts a text of several lines, and this is on its line")


def _after_end(failure: Failure) -> Diagnostic:
    before = failure.source.text[: failure.at]
    if re.search(r"^\.\.\.[ \t]*(?:#[^\n]*)?$", before, re.M):
        return failure.made("a second document begins here", failure.one(failure.at), "keep one recipe a file",
                            code="yaml-multiple-documents")  # fmt: skip
    directive = re.search(r"^%[^\n]*", before, re.M)
    if directive is not None:
        return _directive(failure, directive.start())
    return failure.made("text stands behind the end of the recipe", failure.one(failure.at),
                        "a recipe is one mapping: write `key: value` lines")  # fmt: skip


_RULES: tuple[tuple[tuple[str, ...], Callable[[Failure], Diagnostic | None]], ...] = (
    (("unexpected end of stream", "unexpected document indicator", "found unexpected document separator"), _unclosed_quote),
    (("escape",), _escape),
    (("tag", "irective", "incompatible YAML", "duplicate %"), _property),
    (("a tab character", "contains tabs"), _tab),
    (("cannot start any token", "an alias", "an anchor"), _start_character),
    (("a block scalar",), _block_text),
    (("mapping values are not allowed", "could not find expected ':'"), _colon),
    (("sequence entries are not allowed",), _list_here),
    (("document start",), _after_end),
    (("flow", "node content"), _flow),
    (("block", "expected key"), _block),
)
