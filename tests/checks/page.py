"""Pages of diagnostic codes, read, run and blessed. The convention stands at the top of test_pages.py."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from assembler.assemble import check
from assembler.report.report import Report
from assembler.report.text import render
from assembler_schemas.diagnostic import Edit

PAGES = Path(__file__).parents[2] / "assembler" / "checks" / "pages"
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$\n?", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"[ \t]*#~ ([a-z-]+)[ \t]*$", re.MULTILINE)
TIMES = re.compile(r"<([^<>]*)>\*([0-9]+)")


@dataclass
class Example:
    """A fenced recipe: what is written to disk, and how `check` is called."""

    verdict: str
    body: str
    info: dict[str, str]
    files: dict[str, str]
    output: str | None = None
    """Of a bad one: what `check` prints for it, as the page has it."""
    place: tuple[int, int] | None = None
    """Start and end of that output (the text between its fences) in the page."""
    end: int = 0

    @property
    def main(self) -> str:
        return self.info.get("check", "recipe.yaml")

    @property
    def overrides(self) -> list[str]:
        return shlex.split(self.info.get("overrides", ""))

    @property
    def marks(self) -> list[tuple[str, int, str]]:
        """(file, line, code) of every `#~ code`."""
        every = {"recipe.yaml": self.body, **self.files}
        return [
            (name, text[: m.start()].count("\n") + 1, m[1]) for name, text in every.items() for m in MARK.finditer(text)
        ]

    def texts(self) -> dict[str, bytes]:
        """File -> its bytes, without marks."""
        return {name: self._bytes(text) for name, text in {"recipe.yaml": self.body, **self.files}.items()}

    def _bytes(self, text: str) -> bytes:
        text = MARK.sub("", text)
        if "expand" in self.info:
            text = TIMES.sub(lambda m: m[1].replace("\\n", "\n") * int(m[2]), text)
        if "bytes" in self.info:
            return text.encode("ascii").decode("unicode_escape").encode("latin-1")
        return text.encode()


@dataclass
class Page:
    code: str
    text: str
    title: str
    summary: str
    why: str
    examples: list[Example] = field(default_factory=list)

    def of(self, verdict: str) -> list[Example]:
        return [example for example in self.examples if example.verdict == verdict]


def read_page(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    head = text[: text.find("```")].strip().split("\n\n")
    page = Page(path.stem, text, head[0], head[1] if len(head) > 1 else "", "\n\n".join(head[2:]))
    files: dict[str, dict[str, str]] = {"bad": {}, "good": {}}
    for match in FENCE.finditer(text):
        words = shlex.split(match[1])
        info = dict(word.partition("=")[::2] for word in words[1:])
        if words[:1] == ["text"]:
            bad = page.examples[-1]
            assert bad.verdict == "bad", f"{path.name}: an output stands behind a good recipe"
            assert bad.output is None, f"{path.name}: a bad recipe has two outputs"
            bad.output, bad.place = match[2], (match.start(2), match.end(2))
        elif "file" in info:
            for verdict in [word for word in ("bad", "good") if word in info] or ["bad", "good"]:
                files[verdict][info["file"]] = match[2]
        else:
            verdict = next(word for word in ("bad", "good") if word in info)
            page.examples.append(Example(verdict, match[2], info, dict(files[verdict]), end=match.end()))
    return page


@contextmanager
def folder_of(example: Example, folder: Path) -> Iterator[Path]:
    """The example's files on disk, and that folder as the current one."""
    for name, data in example.texts().items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


def run(example: Example, folder: Path) -> tuple[Report, str]:
    """What `assembler check` finds, and what it prints."""
    with folder_of(example, folder):
        report = check(
            TIMES.sub(lambda m: m[1] * int(m[2]), example.main),
            example.overrides,
            frozen="frozen" in example.info,
            scale="scale" in example.info,
        )
        return report, _shown(render(report), int(example.info.get("lines", 0)))


def _shown(text: str, lines: int) -> str:
    """The whole output, or its first lines and its last one."""
    every = text.splitlines()
    if not lines or len(every) <= lines + 1:
        return text
    return "\n".join([*every[:lines], f"[{len(every) - lines - 1} lines]", every[-1]]) + "\n"


def apply(text: str, edits: tuple[Edit, ...]) -> str:
    """A text with the edits of a fix carried out, last one first."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def offset(line: int, column: int) -> int:
        return starts[line - 1] + column - 1

    places = [(offset(e.span.line, e.span.column), offset(e.span.end_line, e.span.end_column), e.text) for e in edits]
    for start, end, new in sorted(places, reverse=True):
        text = text[:start] + new + text[end:]
    return text
