"""`assembler explain CODE`: the page of a diagnostic code."""

from __future__ import annotations

import difflib
from pathlib import Path

from assembler_schemas.codes import CODES

PAGES = Path(__file__).parent.parent / "checks" / "pages"


def explain(code: str) -> str | None:
    """The code's page (its table line where it has none), or None for a code that there is not."""
    if code not in CODES:
        return None
    page = PAGES / f"{code}.md"
    if page.is_file():
        return page.read_text(encoding="utf-8")
    return f"# {code}\n\n{CODES[code].level}: {CODES[code].summary}\n"


def nearest_codes(code: str) -> list[str]:
    """At most three codes that look like `code`."""
    return difflib.get_close_matches(code[:64], CODES, n=3, cutoff=0.5)


def render_codes() -> str:
    """Every code with its level and its one line."""
    wide = max(map(len, CODES))
    lines = [f"{name:<{wide}}  {item.level:<7}  {item.summary}" for name, item in CODES.items()]
    return "\n".join([*lines, "", "`assembler explain CODE` shows a page."]) + "\n"
