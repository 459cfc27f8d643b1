"""Codes, pages and the source hold together: each code has its page, each page its code, each code is emitted."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

import assembler_schemas
from assembler.report.explain import explain, render_codes
from assembler_schemas.codes import CODES
from assembler_schemas.diagnostic import Diagnostic
from tests.checks.page import PAGES

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"[a-z]+(?:-[a-z]+)*\Z")


@cache
def source() -> str:
    """The text of every module but the table of codes itself."""
    files = [*(ROOT / "assembler").rglob("*.py"), *Path(assembler_schemas.__file__).parent.rglob("*.py")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.name != "codes.py")


@pytest.mark.parametrize("code", CODES)
def test_a_code_has_a_page(code):
    assert (PAGES / f"{code}.md").is_file(), f"write assembler/checks/pages/{code}.md"


@pytest.mark.parametrize("page", sorted(path.stem for path in PAGES.iterdir()))
def test_a_page_has_a_code(page):
    assert page in CODES


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_emitted_by_the_source(code):
    assert f'"{code}"' in source(), "no check emits it: remove it from the table, or write the check"


@pytest.mark.parametrize("code", CODES)
def test_a_code_and_its_line_are_worded_as_we_word_them(code):
    summary = CODES[code].summary
    assert CODE.match(code)
    assert summary[0].islower() or summary.startswith(("YAML", "`", "--", "reading")), summary
    assert not summary.endswith("."), summary
    assert len(summary) <= 90, summary


def test_the_source_makes_diagnostics_of_known_codes_only():
    made = set(
        re.findall(
            r'(?:Diagnostic|Finding|Conflict|\.say|\.report|\.wrong|\.fault)\(\s*"([a-z]+(?:-[a-z]+)+)"', source()
        )
    )
    assert len(made) > 80
    assert made <= set(CODES)


def test_an_unknown_code_cannot_be_made():
    with pytest.raises(KeyError):
        Diagnostic("no-such-code", "nothing")


def test_explain_shows_the_page_of_every_code():
    for code in CODES:
        assert explain(code) == (PAGES / f"{code}.md").read_text(encoding="utf-8")
        assert code in render_codes()
