"""Rewrites the output blocks of pages with what `check` prints now; read the diff before you commit it.

Run it as `python -m tests.checks.bless [CODE ...]`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.checks.page import PAGES, Page, read_page, run


def blessed(page: Page) -> str:
    """The page's text with every output block as it is now; only these change."""
    text, shift = page.text, 0
    for example in page.of("bad"):
        with tempfile.TemporaryDirectory() as folder:
            _, output = run(example, Path(folder))
        if example.place is None:
            start = end = example.end
            output = f"\n```text\n{output}```\n"
        else:
            start, end = example.place
        text = text[: start + shift] + output + text[end + shift :]
        shift += len(output) - (end - start)
    return text


def main(codes: list[str]) -> None:
    for path in sorted(PAGES.glob("*.md")):
        if codes and path.stem not in codes:
            continue
        page = read_page(path)
        text = blessed(page)
        if text != page.text:
            path.write_text(text, encoding="utf-8")
            print(f"blessed {path.name}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
