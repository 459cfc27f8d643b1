"""One entry of the catalogue: how a hostile or mistaken recipe is made, and what must be said of it.

Texts mark the line of the first finding with `#~`; the mark is cut before the recipe is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Make = str | bytes | Callable[[], str | bytes] | None
"""A text, its bytes, or what makes them (for big ones). None: the folder alone."""

OK = "ok"
MARK = re.compile(r"[ \t]*#~[ \t]*$", re.MULTILINE)
RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Entry:
    """`code`: of the first finding, or `ok` for silence. Everything else is rarely stated."""

    id: str
    what: str
    recipe: Make
    code: str
    overrides: Sequence[str] = ()
    files: Mapping[str, Make] = field(default_factory=dict)
    prepare: Callable[[Path], None] | None = None
    """Makes what is no plain file: links, pipes, folders."""
    target: str = RECIPE
    line: int | None = None
    """Of the first finding, where no `#~` can stand in the recipe."""
    place: bool = True
    """False where nothing in a file is to blame."""
    file: str = RECIPE
    """The file that the finding is about."""
    exit: int | None = None
    seconds: float = 1.0
    alone: bool = False
    """In a process of its own: what it leaves behind must not help or harm others."""
    says: str = ""
    """Stands in the message or the help of the first finding."""
    most: int = 50
    """Findings at most: one cause, one diagnostic."""
    long_text: bool = False
    """Many findings: the report for people is to stay short."""
    parses: bool = False
    """The command parses source of its own: what it compiles (and never runs) is not held against it."""
    words: Sequence[str] = ()
    """The command, where it is not `check`."""

    @property
    def forms(self) -> tuple[str, ...]:
        """The formats to ask for: what takes long is asked once, unless its text is in question."""
        if self.words and self.words[0] != "check":
            return ("text",)
        return ("json",) if self.seconds >= 3 and not self.long_text else ("json", "text")

    @property
    def name(self) -> str:
        return f"{self.id}-{re.sub('[^A-Za-z0-9]+', '-', self.what).strip('-').lower()}"[:80]

    def write(self, folder: Path) -> None:
        """Make the recipe and what lies beside it."""
        folder.mkdir(parents=True)
        for name, make in {self.target: self.recipe, **self.files}.items():
            if make is not None:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_bytes(make))
        if self.prepare is not None:
            self.prepare(folder)

    @property
    def expected_line(self) -> int | None:
        if self.line is None and isinstance(self.recipe, str) and (match := MARK.search(self.recipe)):
            return self.recipe[: match.start()].count("\n") + 1
        return self.line


def _bytes(make: Make) -> bytes:
    made = make() if callable(make) else make
    assert made is not None
    return made if isinstance(made, bytes) else MARK.sub("", made).encode("utf-8", "surrogatepass")


# --- recipes with one hole -----------------------------------------------------------------------
INPUTS = 'inputs: {x: "[batch 16]"}\n'
OUTPUTS = "outputs: {y: head}\n"


def net(nodes: str, inputs: str = 'x: "[batch 16]"', outputs: str = "y: head", more: str = "") -> str:
    """A recipe of one-line nodes; `#~` may end any of their lines."""
    lines = "".join(f"  {line}\n" for line in nodes.strip("\n").split("\n"))
    return f"{more}inputs: {{{inputs}}}\nnodes:\n{lines}outputs: {{{outputs}}}\n"


def option(text: str, kind: str = "linear", rest: str = "out: 4, ", inputs: str = 'x: "[batch 16]"') -> str:
    """A recipe of one node, one option of which is in question."""
    return net(f"head: {{kind: {kind}, {rest}from: x, {text}}} #~", inputs)


def size(text: str, variables: str = "d: 16, zero: 0") -> str:
    """A recipe in which one size is in question."""
    return f"vars: {{{variables}}}\n" + net(f"head: {{kind: linear, from: x, out: {text}}} #~")


def value(text: str) -> str:
    """A text as a value of a mapping, on a line of its own."""
    return net(f"head:\n  kind: linear\n  from: x\n  out: {text} #~")


def name(text: str) -> str:
    """A recipe with a node of that name (as YAML spells it)."""
    return f"{INPUTS}nodes:\n  {text}: {{kind: linear, out: 4, from: x}} #~\n  head: {{kind: linear, out: 2, from: x}}\n{OUTPUTS}"


GOOD = net("head: {kind: linear, out: 4, from: x}")

