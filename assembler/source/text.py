"""Reading a recipe: from bytes on disk to a tree in which every key and value knows its place.

Whatever the bytes are, the answer is diagnostics: nothing raises, runs, or grows without bound.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from yaml.events import StreamEndEvent

from assembler.source import letters
from assembler.source.events import Builder, Stop
from assembler.source.impostor import another_language, conflict
from assembler.source.place import Source, shown
from assembler.source.syntax import Failure, explain
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import Span

MAX_BYTES = 4 * 2**20
MAX_HIDDEN = 100

EXAMPLE = """a recipe is a mapping; the smallest one is
name: tiny
inputs: {x: "[batch 16]"}
nodes:
  head: {kind: linear, out: 4, from: x}
outputs: {logits: head}"""

Read = tuple[Value | None, list[Diagnostic]]


def read(path: str | os.PathLike[str], *, name: str | None = None) -> Read:
    """The tree of a file, and what is wrong with its text. `name` is what spans show (default: the path)."""
    place = os.fsdecode(path)
    where = Span(place if name is None else name)
    try:
        # The status is asked first: opening a pipe would wait for a writer, opening a device may act.
        info = os.stat(place)
        if not stat.S_ISREG(info.st_mode):
            return None, [_irregular(info.st_mode, where)]
        data = _bytes(place)
    except FileNotFoundError:
        near = f"{place}.yaml"
        hint = f"did you mean {shown(near)}?" if os.path.isfile(near) else "check the path and its ending"
        return None, [Diagnostic("file-not-found", f"there is no file {shown(place)}", where, help=hint)]
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        return None, [Diagnostic("file-unreadable", f"the file cannot be read: {reason.lower()}", where,
                                 help="check its path, its permissions, and the disk")]  # fmt: skip
    if data is None:
        return None, [_irregular(0, where)]
    return read_text(data, where.file)


def read_text(data: bytes | str, name: str) -> Read:
    """The tree of a text, and what is wrong with it. The tree is None where there is no mapping to go on with.

    After an error the tree holds what could be read: entries that were refused are left out.
    """
    text, failed = _decode(data, name)
    if text is None or failed:
        return None, failed
    source = Source(name, text)
    refused = _forbidden(source) or _single(conflict(source)) or _single(another_language(source))
    if refused:
        return None, refused
    hidden = [] if text.isascii() else [match.start() for match in letters.HIDDEN.finditer(text)][::-1]
    builder = Builder(source, hidden)
    whole = _run(builder)
    found = builder.found
    found.extend(_hidden_elsewhere(builder))
    # In the order of the file; what concerns the file as a whole (no line) comes last.
    found.sort(key=lambda finding: (finding.span.line == 0, finding.span.line, finding.span.column))
    read = _mapping(builder, found) if whole else (None, found)
    builder.part()
    return read


def _run(builder: Builder) -> bool:
    """Feed the builder; False where the text could not be read to its end."""
    try:
        builder.run(_events(builder.source.text))
    except Stop:
        return builder.documents > 1 and any(isinstance(value.data, dict) for value in builder.root)
    except yaml.MarkedYAMLError as problem:
        builder.found.extend(_news(builder.found, explain(_failure(builder, problem))))
        return False
    except yaml.YAMLError as problem:
        builder.found.append(Diagnostic("yaml-syntax", f"the text cannot be read: {shown(str(problem))}", builder.last_span(),
                                        help="look at what stands behind this place"))  # fmt: skip
        return False
    except (ValueError, OverflowError):  # the pure parser lets the errors of `chr` through
        builder.found.append(Diagnostic("yaml-encoding", "an escape names no character", builder.last_span(),
                                        help="look at the escapes behind this place: the last character is U+10FFFF"))  # fmt: skip
        return False
    finally:
        builder.found.extend(builder.anchors.late())
    return True


def _news(known: list[Diagnostic], found: list[Diagnostic]) -> list[Diagnostic]:
    """The findings whose cause was not told yet: the same one, or the text that was too long for the parser too."""
    told = {(finding.code, finding.span[:3]) for finding in known}
    cut = {finding.span[3:5] for finding in known if finding.code == "limit-scalar-size"}
    return [each for each in found if (each.code, each.span[:3]) not in told and each.span[1:3] not in cut]


def _events(text: str) -> Iterable[Any]:
    """The events of libyaml, or of PyYAML's own parser where libyaml is missing. Both come one by one."""
    if yaml.__with_libyaml__:
        loader: Any = yaml.CSafeLoader(text)
        return iter(loader.get_event, None)
    return _pure_events(text)


def _pure_events(text: str) -> Iterator[Any]:
    loader: Any = yaml.SafeLoader(text)
    try:
        while True:
            event = loader.get_event()
            yield event
            if isinstance(event, StreamEndEvent):
                return
    finally:
        loader.dispose()


def _failure(builder: Builder, problem: Any) -> Failure:
    text, flows, indents = builder.source.text, [], []
    for frame in builder.stack:
        if text[frame.at : frame.at + 1] in ("{", "["):
            flows.append(frame.at)
        else:
            indents.append(frame.column)
    return Failure(builder.source, problem, flows, indents, builder.last_scalar)


# --- bytes ------------------------------------------------------------------------------------------


def _bytes(place: str) -> bytes | None:
    """The bytes of a regular file, at most one more than allowed; None if it is no longer regular."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(place, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
        return file.read(MAX_BYTES + 1)


def _irregular(mode: int, where: Span) -> Diagnostic:
    names = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
             (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))  # fmt: skip
    what = next((name for test, name in names if test(mode)), "not a regular file")
    return Diagnostic("file-not-regular", f"{shown(where.file)} is {what}", where, help="name a YAML file")


def _decode(data: bytes | str, name: str) -> tuple[str | None, list[Diagnostic]]:
    """The text without its byte order mark, or why there is none."""
    size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        return None, [Diagnostic("limit-file-size", f"the recipe is larger than {MAX_BYTES // 2**20} MiB", Span(name),
                                 help="data belongs into files of its own; say what is the same once (`repeat:`, `slots:`)")]  # fmt: skip
    if isinstance(data, str):
        return data.removeprefix("\ufeff"), []
    other = _other_encoding(data[:4])
    if other is not None:
        return None, [Diagnostic("yaml-encoding", f"the file is {other}, and a recipe is UTF-8", Span(name, 1, 1, 1, 1),
                                 help="save it as UTF-8")]  # fmt: skip
    body = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return body.decode("utf-8"), []
    except UnicodeDecodeError as problem:
        return None, [_not_utf8(body, problem, len(data) - len(body), name)]


def _other_encoding(head: bytes) -> str | None:
    """The name of the encoding if the first four bytes show one that is not UTF-8."""
    if head in (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"):
        return "UTF-32"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16"
    zeros = tuple(byte == 0 for byte in head)
    if zeros in ((False, True, True, True), (True, True, True, False)):
        return "UTF-32 without a byte order mark"
    if zeros in ((False, True, False, True), (True, False, True, False)):
        return "UTF-16 without a byte order mark"
    return None


def _not_utf8(body: bytes, problem: UnicodeDecodeError, mark: int, name: str) -> Diagnostic:
    start = body.rfind(b"\n", 0, problem.start) + 1
    line = body.count(b"\n", 0, problem.start) + 1
    column = len(body[start : problem.start].decode("utf-8")) + 1
    byte = body[problem.start]
    guess = bytes((byte,)).decode("cp1252", "ignore")
    hint = f" (in Windows-1252 this byte is {guess!r})" if guess.isprintable() and guess else ""
    return Diagnostic("yaml-encoding", f"the byte 0x{byte:02x} at offset {problem.start + mark} is not UTF-8",
                      Span(name, line, column, line, column + 1), label=problem.reason, help=f"save the file as UTF-8{hint}")  # fmt: skip


def _forbidden(source: Source) -> list[Diagnostic]:
    """Characters that no recipe holds, the first of each sort. A clean ASCII text costs one scan of its bytes."""
    text = source.text
    if text.isascii():
        raw = text.encode("ascii")
        if len(raw.translate(None, letters.CONTROL_BYTES)) == len(raw) and ("\r" not in text or text.count("\r") == text.count("\r\n")):
            return []
    found: dict[str, Diagnostic] = {}
    if text.startswith("\ufeff"):  # libyaml would swallow it, and every offset would be one too small
        found["\ufeff"] = _character(source, 0, "\ufeff")
    for match in letters.FORBIDDEN.finditer(text):
        character = match[0]
        if character not in found:
            found[character] = _character(source, match.start(), character)
    return list(found.values())


def _character(source: Source, at: int, character: str) -> Diagnostic:
    span, name = source.span(at, at + 1), letters.describe(character)
    if "\ud800" <= character <= "\udfff":
        return Diagnostic("yaml-encoding", f"{name} is half of a surrogate pair, which is no character", span,
                          help="write the whole character")  # fmt: skip
    if letters.is_break(character):
        return Diagnostic("yaml-control-character", f"{name} breaks the line for some readers only", span,
                          help="save the file with line feeds (or CR LF)")  # fmt: skip
    return Diagnostic("yaml-control-character", f"the control character {name} stands in the text", span,
                      label="invisible here", help="delete it")  # fmt: skip


def _hidden_elsewhere(builder: Builder) -> list[Diagnostic]:
    """Invisible characters outside every key and value: comments, or what follows the end of reading."""
    source = builder.source
    found: list[Diagnostic] = []
    lines: set[int] = set()
    for at in sorted(builder.texts.outside + builder.texts.hidden):
        row = source.place(at)[0]
        if row in lines:
            continue
        if len(found) == MAX_HIDDEN:
            found.append(Diagnostic("hidden-text", f"invisible characters stand on more than {MAX_HIDDEN} lines",
                                    source.span(at, at + 1), help="delete them all"))  # fmt: skip
            break
        lines.add(row)
        name = letters.describe(source.text[at])
        before = source.text[source.starts[row - 1] : at]
        comment = before.lstrip().startswith("#") or " #" in before or "\t#" in before
        code = "hidden-text" if comment else "yaml-control-character"
        what = "a comment" if comment else "the text"
        found.append(Diagnostic(code, f"{what} holds {name}", source.span(at, at + 1), label="invisible here",
                                help="delete it: what people see is not what stands here"))  # fmt: skip
    return found


def _mapping(builder: Builder, found: list[Diagnostic]) -> Read:
    """The document if it is a mapping; else what it is, and what a recipe looks like."""
    root = builder.root[0] if builder.root else None
    if root is not None and isinstance(root.data, dict):
        return root, found
    if root is None or root.data is None:
        span = Span(builder.source.file, 1, 1, 1, 1)
        return None, [*found, Diagnostic("yaml-empty", "the file holds no recipe", span, help=EXAMPLE)]
    other = another_language(builder.source, thorough=True)
    if other is not None:
        return None, [other, *found]
    if any(finding.code == "limit-scalar-size" for finding in found):
        return None, found
    if isinstance(root.data, str) and builder.texts.own_line(root.data, root.span):
        return None, found
    what = "a list" if isinstance(root.data, list) else "a single value"
    return None, [*found, Diagnostic("yaml-empty", f"the file holds {what}, and a recipe is a mapping", root.span, help=EXAMPLE)]


def _single(finding: Diagnostic | None) -> list[Diagnostic]:
    return [] if finding is None else [finding]
