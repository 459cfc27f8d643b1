"""YAML events to the tree of values: one pass, an explicit stack, every budget enforced on the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from assembler.source.anchors import Anchor, Anchors
from assembler.source.place import Source, shown, visible
from assembler.source.texts import MAX_KEY, MAX_TEXT, SPECIAL, Texts
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.span import NOWHERE, Span

MAX_DEPTH = 64
MAX_NODES = 200_000
MAX_EXPANSION = 10_000
MAX_FINDINGS = 10_000

_new = tuple.__new__


class Stop(Exception):
    """Reading ends here: a budget is spent, or a second document begins. What was said stands."""


class _Frame(NamedTuple):
    """The container outside the one being read, and what is needed when that one ends."""

    data: Any
    key: str | None
    key_span: Span
    mapping: bool
    height: int
    at: int
    line: int
    column: int
    anchor: str | None
    seen: int
    as_key: bool


def _nobody(*_: object, **__: object) -> None:
    raise RuntimeError("a finding after the text was read")


class Builder:
    """Takes events in order. `root` holds the value once the document has ended.

    Events are `Any` here: the stubs call their marks optional, and no parser leaves them out.
    """

    def __init__(self, source: Source, hidden: list[int]) -> None:
        self.source = source
        self.found: list[Diagnostic] = []
        self.texts = Texts(source, self.report, hidden)
        self.root: list[Value] = []
        self.stack: list[_Frame] = []
        self.data: Any = self.root
        self.mapping = self.wants_key = False
        self.key: str | None = ""
        self.key_span = NOWHERE
        self.last: Any = NOWHERE
        self.last_scalar: Any = None
        self.nodes = self.expanded = self.height = self.documents = 0
        self.names: set[str] = set()
        self.known: dict[str, Any] = {}
        self.floats: dict[str, float] = {}
        self.anchors = Anchors(source, self.report)

    # --- findings -------------------------------------------------------------------------------

    def path(self) -> str:
        """The key path of what is being read."""
        keys = [frame.key if frame.mapping else str(len(frame.data)) for frame in self.stack[1:]]
        if self.stack:
            keys.append(self.key if self.mapping else str(len(self.data)))
        return visible(".".join(key[:MAX_KEY] for key in keys if key))

    def report(self, code: str, message: str, span: Span, **fields: Any) -> None:
        self._room(span)
        self.found.append(Diagnostic(code, message, span.at(self.path()), **fields))

    def part(self) -> None:
        """Let go of what reports here, once all is read: a circle, and the whole text with it, would wait for the collector."""
        self.texts.report = self.anchors.report = _nobody

    def _room(self, span: Span) -> None:
        """Stop where one more finding would be too many."""
        if len(self.found) + len(self.anchors.undefined) >= MAX_FINDINGS:
            self.found.append(Diagnostic("limit-findings", f"reading stopped after {MAX_FINDINGS} findings", Span(span.file),
                                         help="mend these first"))  # fmt: skip
            raise Stop

    def _stop(self, code: str, message: str, span: Span, hint: str) -> None:
        self.report(code, message, span, help=hint)
        raise Stop

    def last_span(self) -> Span:
        """Where the last thing that was read ended."""
        line, column = max(self.last[3], 1), max(self.last[4], 1)
        return Span(self.source.file, line, column, line, column)

    # --- events ---------------------------------------------------------------------------------

    def run(self, events: Iterable[Any]) -> None:
        """Take events until they end or `Stop` is raised. Errors of the parser pass through."""
        others = {
            ScalarEvent: self.scalar,
            MappingStartEvent: lambda event: self.open(event, {}),
            SequenceStartEvent: lambda event: self.open(event, []),
            MappingEndEvent: self.close,
            SequenceEndEvent: self.close,
            AliasEvent: self.alias,
            DocumentStartEvent: self.document,
        }
        file, names, known = self.source.file, self.names, self.known
        for event in events:
            kind = type(event)
            # Nearly all events of a recipe are unquoted texts that were judged before: they are taken here.
            if kind is ScalarEvent and not event.style and event.anchor is None and event.tag is None:
                text, start = event.value, event.start_mark
                if self.wants_key:
                    if (text in names or self._is_name(text)) and text not in self.data:
                        line, column = start.line + 1, start.column + 1
                        self.last = self.key_span = _new(Span, (file, line, column, line, column + len(text), "", None, 0, "", ""))
                        self.last_scalar, self.key, self.wants_key = event, text, False
                        continue
                elif self.nodes < MAX_NODES and (text in known or self._is_word(text)):
                    line, column = start.line + 1, start.column + 1
                    self.last = span = _new(Span, (file, line, column, line, column + len(text), "", None, 0, "", ""))
                    self.last_scalar = event
                    if not self.mapping:
                        self.nodes += 1
                        self.data.append(Value(known[text], span))
                        continue
                    self.nodes += 2
                    if self.key is not None:
                        self.data[self.key] = Value(known[text], span, self.key_span)
                    self.wants_key = True
                    continue
            if kind in others:
                others[kind](event)

    def _is_name(self, text: str) -> bool:
        """Whether nothing is to be said of the key; it is remembered then."""
        if text.isidentifier() and text.isascii() and text not in SPECIAL and len(text) <= MAX_KEY:
            self.names.add(text)
            return True
        return False

    def _is_word(self, text: str) -> bool:
        """Whether the unquoted value is a text of which nothing is to be said; it is remembered then."""
        if text.isidentifier() and text.isascii() and text not in SPECIAL and len(text) <= MAX_TEXT:
            self.known[text] = text
            return True
        return False

    def scalar(self, event: Any) -> None:
        """A key, or a value without parts."""
        text = event.value
        start, end = event.start_mark, event.end_mark
        span = _new(
            Span,
            (self.source.file, start.line + 1, start.column + 1, end.line + 1, end.column + 1, "", None, 0, "", ""),
        )
        self.last, self.last_scalar = span, event
        decorated = event.anchor is not None or event.tag is not None
        style = event.style
        if decorated or (style and style in "|>"):
            begin = self.anchors.content(event)
            written = self.source.text[begin : event.end_mark.index]
            span = self.last = self.source.span(begin, begin + len(written.rstrip()))
        if self.wants_key:
            self._take_key(text, span, event)
            return
        self._count(span)
        if not style:
            data = self._new_value(text, span, event)
        else:
            data = self.texts.text(text, span, event, self.key)
        value = Value(data, span, self.key_span)
        if event.anchor is not None:
            self.anchors.name(event.anchor, Anchor(value, 1, 0, span))
        if self.mapping:
            self.wants_key = True
            if self.key is not None:
                self.data[self.key] = value
        else:
            self.data.append(value)

    def _take_key(self, text: str, span: Span, event: Any) -> None:
        key: str | None = text
        self.key, self.key_span, self.wants_key = text, span, False
        if text not in self.names:
            key = self.texts.key(text, span, event, len(self.stack) == 1)
        if event.anchor is not None:
            self.anchors.name(event.anchor, Anchor(Value(text, span), 1, 0, span))
        if key is not None and key in self.data:
            first = self.data[key].key
            self.report("yaml-duplicate-key", f"the key `{key}` stands twice in one mapping", span, label="again here",
                        related=(Note(f"`{key}` stands here first", first),),
                        help="keep one of the two, or rename one")  # fmt: skip
            key = None
        self.key = key

    def _new_value(self, text: str, span: Span, event: Any) -> Any:
        """The value of an unquoted text; it is remembered where nothing is to be said of it.

        Floats are remembered apart: under `version` they are to be spoken of.
        """
        if text in self.known:
            return self.known[text]
        if text in self.floats and self.key != "version":
            return self.floats[text]
        own_line = self.mapping and span.line > self.key_span.end_line and self.key != "description"
        if ":" in text and own_line and not self._in_flow() and self.texts.own_line(text, span):
            return text
        said = len(self.found)
        data = self.texts.plain(text, span, event, self.key)
        if len(self.found) == said and text.isascii() and not (":" in text or " " in text or "\n" in text):
            (self.floats if type(data) is float else self.known)[text] = data
        return data

    def _in_flow(self) -> bool:
        start = self.stack[-1].at
        return self.source.text[start : start + 1] in ("[", "{")

    def open(self, event: Any, data: Any) -> None:
        """A mapping or a list begins."""
        start = event.start_mark
        if len(self.stack) >= MAX_DEPTH:
            self._stop("limit-depth", f"the recipe nests deeper than {MAX_DEPTH} levels", self._at(start),
                       "name the inner parts under `slots:`, or use `repeat:`")  # fmt: skip
        as_key = self.wants_key
        if as_key:
            self._complex_key(start)
        seen = self.nodes + self.expanded + self.mapping  # the key does not belong to the value
        self._count(self._at(start))
        anchor, at, line, column = event.anchor, start.index, start.line + 1, start.column + 1
        if anchor is not None or event.tag is not None:
            at = self.anchors.content(event)
            line, column = self.source.place(at)
            if anchor is not None and not self.anchors.name(anchor, Anchor(None, 0, 0, self._at(start))):
                anchor = None
        self.stack.append(
            _Frame(self.data, self.key, self.key_span, self.mapping, self.height, at, line, column, anchor, seen, as_key)
        )
        self.last = (None, 0, 0, line, column)
        self.data, self.height = data, 0
        self.mapping = self.wants_key = type(data) is dict

    def close(self, event: Any) -> None:
        """A mapping or a list ends: a flow at its bracket, a block behind its last value."""
        data, frame = self.data, self.stack.pop()
        end = event.end_mark
        if end.index > event.start_mark.index:
            line, column = end.line + 1, end.column + 1
        else:
            line, column = self.last[3], self.last[4]
        span = _new(Span, (self.source.file, frame.line, frame.column, line, column, "", None, 0, "", ""))
        self.last = span
        height = self.height + 1
        self.data, self.key, self.key_span, self.mapping = frame.data, frame.key, frame.key_span, frame.mapping
        self.height = height if height > frame.height else frame.height
        value = Value(data, span, self.key_span)
        if frame.anchor is not None:
            size = self.nodes + self.expanded - frame.seen
            named = self.anchors.named
            named[frame.anchor] = Anchor(value, size, height, named[frame.anchor].span)
        if frame.as_key:
            self.key, self.wants_key = None, False
            return
        self.wants_key = self.mapping
        if not self.mapping:
            self.data.append(value)
        elif self.key is not None:
            self.data[self.key] = value

    def alias(self, event: Any) -> None:
        """A second use of an anchored value: shared, and counted as if it were written out."""
        span = self.last = self._at(event.start_mark, event.end_mark)
        if self.wants_key:
            self.report("yaml-key-type", f"the alias {shown('*' + event.anchor)} stands as a key", span, help="write the key itself")
            self.key, self.key_span, self.wants_key = None, span, False
            return
        self._count(span)
        anchor = self.anchors.named.get(event.anchor)
        data = None
        if anchor is None:
            self._room(span)
            self.anchors.undefined.append((event.anchor, span.at(self.path())))
        elif anchor.value is None:
            self.anchors.cycle(event.anchor, span)
        else:
            self._unfold(anchor, span)
            data = anchor.value.data
        self.wants_key = self.mapping
        if not self.mapping:
            self.data.append(Value(data, span))
        elif self.key is not None:
            self.data[self.key] = Value(data, span, self.key_span)

    def _unfold(self, anchor: Anchor, span: Span) -> None:
        self.expanded += anchor.size
        self.height = max(self.height, anchor.height)
        if self.expanded > MAX_EXPANSION:
            self._stop("limit-alias-expansion", f"the aliases unfold into more than {MAX_EXPANSION} keys and values", span,
                       "name the shared part under `slots:`, or use `repeat:`")  # fmt: skip
        if len(self.stack) + anchor.height > MAX_DEPTH:
            self._stop("limit-depth", f"with its aliases written out the recipe nests deeper than {MAX_DEPTH} levels", span,
                       "name the inner parts under `slots:`, or use `repeat:`")  # fmt: skip

    def document(self, event: Any) -> None:
        """The start of a document: only one, and without directives."""
        self.documents += 1
        if event.version or event.tags:
            percent = self.source.text.index("%", event.start_mark.index)
            end = self.source.line_end(percent)
            self.report("yaml-tag", f"the directive {shown(self.source.text[percent:end])} stands in the recipe",
                        self.source.span(percent, end), help="delete the line: a recipe is plain YAML 1.2 without tags")  # fmt: skip
        if self.documents > 1:
            start = self.source.text.rfind("---", event.start_mark.index, event.end_mark.index)
            start = event.start_mark.index if start < 0 else start
            self._stop("yaml-multiple-documents", "a second document begins here", self.source.span(start, start + 3),
                       "keep one recipe a file")  # fmt: skip

    # --- tags and anchors -----------------------------------------------------------------------

    def _at(self, start: Any, end: Any = None) -> Span:
        end = end or start
        width = 1 if end is start else 0
        return Span(self.source.file, start.line + 1, start.column + 1, end.line + 1, end.column + 1 + width)

    def _complex_key(self, start: Any) -> None:
        """A list or a mapping as a key; `{{ name }}` is one to YAML."""
        text, at = self.source.text, start.index
        self.key, self.key_span = None, self._at(start)
        if at and text[at - 1 : at + 1] == "{{":
            end = text.find("}}", at)
            end = end + 2 if 0 <= end - at < 200 else at + 1
            self.report("yaml-template", f"{shown(text[at - 1 : end])} is a template, and nothing fills it",
                        self.source.span(at - 1, end),
                        help="put the value under `vars:` and write its name; give it by an override: `vars.d=64`")  # fmt: skip
        else:
            self.report("yaml-key-type", "a key is a text, and this one is a list or a mapping", self._at(start),
                        help="give the entry a name")  # fmt: skip

    def _count(self, span: Span) -> None:
        """Count a value, and its key with it."""
        self.nodes += 2 if self.mapping else 1
        if self.nodes > MAX_NODES:
            self._stop("limit-nodes", f"the recipe holds more than {MAX_NODES} keys and values", span,
                       "say what is the same once: `repeat:`, `slots:`, or files through `defaults:`")  # fmt: skip
