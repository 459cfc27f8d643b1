"""Anchors, aliases and tags: what stands before a value. Aliases share a value within a budget; tags are refused."""

from __future__ import annotations

import itertools
import re
from typing import Any, NamedTuple

from yaml.events import ScalarEvent

from assembler.source.place import Source, shown
from assembler.source.texts import MAX_KEY, Report
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic, Edit, Fix, Note
from assembler_schemas.span import Span

_PROPERTY = re.compile(r"([!&]\S*)\s*(?:#[^\n]*\s*){0,50}")
_CORE = frozenset({"int", "float", "str", "bool", "null", "map", "seq", ""})


class Anchor(NamedTuple):
    """A named value: how many keys and values it holds, how deep it nests, where it stands.

    The value is None while the anchored container is still open.
    """

    value: Value | None
    size: int
    height: int
    span: Span


class Anchors:
    """The anchors of one file by name, and the aliases that found none."""

    def __init__(self, source: Source, report: Report) -> None:
        self.source = source
        self.report = report
        self.named: dict[str, Anchor] = {}
        self.undefined: list[tuple[str, Span]] = []

    def name(self, name: str, anchor: Anchor) -> bool:
        """Keep the anchor; False where its name is taken, which is reported."""
        first = self.named.setdefault(name, anchor)
        if first is anchor:
            return True
        self.report("yaml-alias", f"the anchor {shown('&' + name)} stands twice in the file", anchor.span,
                    related=(Note("it stands here first", first.span),), help="give each anchor a name of its own")  # fmt: skip
        return False

    def cycle(self, name: str, span: Span) -> None:
        self.report("yaml-alias", f"the alias {shown('*' + name)} stands inside its own anchor", span,
                    related=(Note("the anchor begins here", self.named[name].span),),
                    help="a recipe is finite: use `repeat:`, or name the part under `slots:`")  # fmt: skip

    def late(self) -> list[Diagnostic]:
        """What only the end of the file tells: aliases that came before their anchor, or have none."""
        found: list[Diagnostic] = []
        better: dict[str, str | None] = {}
        # Nearest names cost a comparison of every pair: a hostile file gets a few of them only.
        names = [name for name in itertools.islice(self.named, 200) if len(name) <= MAX_KEY]
        for name, span in self.undefined:
            if name in self.named:
                note = Note("the anchor comes later", self.named[name].span)
                found.append(Diagnostic("yaml-alias", f"the alias {shown('*' + name)} comes before its anchor", span,
                                        related=(note,), help="put the anchor first, or quote a text"))  # fmt: skip
                continue
            if name not in better:
                import difflib  # only where something is wrong

                near = difflib.get_close_matches(name, names, 1) if len(better) < 20 and len(name) <= MAX_KEY else []
                better[name] = near[0] if near else None
            found.append(_undefined(name, better[name], span))
        return found

    def content(self, event: Any) -> int:
        """The offset of the value that an event's tag and anchor stand before. A tag is reported."""
        scalar = isinstance(event, ScalarEvent)
        start: int = event.start_mark.index
        end: int = event.end_mark.index if scalar else len(self.source.text)
        tag: tuple[int, int] | None = None
        while start < end and (match := _PROPERTY.match(self.source.text, start)):
            if match[1][0] == "!":
                tag = (start, min(match.end(1), end))
            start = match.end()
        start = min(start, end)
        if tag is not None:
            self._tag(*tag, start)
        return start

    def _tag(self, start: int, end: int, content: int) -> None:
        tag = self.source.text[start:end]
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.split(r"[.:/!]", tag)[-1]).lower()
        if tag in ("!", "!!") or (tag.startswith("!!") and name in _CORE):
            hint = "write the value without a tag; quote it to keep it a text"
        elif re.fullmatch(r"[a-z][a-z0-9_]{0,60}", name) and not tag.startswith(("!!", "!<")):
            hint = f"a recipe names what it builds by `kind:`; write `kind: {name}`"
        else:
            hint = "a recipe runs no code; name what stands here by `kind:` (`kind: linear`)"
        edits = [Edit(self.source.span(start, content), "")]
        if hint.endswith(f"`kind: {name}`") and self.source.text[content : content + 1] == "{":
            edits.append(Edit(self.source.span(content + 1, content + 1), f"kind: {name}, "))
        fix = Fix(tuple(edits), "maybe")
        self.report("yaml-tag", f"the tag {shown(tag)} stands in the recipe", self.source.span(start, end), help=hint, fix=fix)


def _undefined(name: str, better: str | None, span: Span) -> Diagnostic:
    hint = f"did you mean `*{better}`?" if better else f"quote it if it is a text: `\"*{name[:MAX_KEY]}\"`"
    fix = Fix((Edit(span, f"*{better}" if better else f'"*{name}"'),), "maybe")
    return Diagnostic("yaml-alias", f"no anchor {shown('&' + name)} stands in the file", span, help=hint, fix=fix)
