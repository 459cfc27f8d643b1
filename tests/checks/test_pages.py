"""Every page of `assembler explain` is a test: its recipes are run, its output is compared to the last character.

A page, `assembler/checks/pages/<code>.md`:

    # code

    error: its line in the table of codes

    Why we refuse it, in two or three plain sentences.

    ```yaml bad          the recipe, run as `recipe.yaml` in a folder of its own
    ```text              exactly what `assembler check recipe.yaml` prints for it
    ```yaml good         a recipe that passes without errors or warnings

A bad recipe carries `#~ code` on the line at which the finding must point, which no blessing can
change; the mark is taken out before the recipe is run. A page may hold several bad and good ones.
Words behind `bad` and `good`:

    overrides="a=1 b=2"   given on the command line (shell quoting)
    frozen                `--frozen`
    check=other.yaml      what is checked instead of `recipe.yaml`
    at=file, at=override  the finding points at no line: at a file as a whole, at an override
    expand                `<text>*n` in the recipe stands for n times the text, `\\n` for a line break
    bytes                 `\\xff` in the recipe stands for that byte
    lines=6               only the first lines and the last one of the output are kept

```yaml file=slots/ffn/mlp.yaml``` is one more file, for every recipe behind it (with `bad` or
`good` beside it, for those only).

    python -m tests.checks.bless      rewrites the output blocks, and nothing else
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from assembler.report.report import Report
from assembler_schemas.codes import CODES
from assembler_schemas.diagnostic import Diagnostic
from tests.checks.bless import blessed
from tests.checks.page import PAGES, Example, apply, read_page, run

FILES = sorted(PAGES.glob("*.md"))
CASES = [(path.stem, i) for path in FILES for i in range(len(read_page(path).of("bad")))]


def bad(code: str, index: int) -> Example:
    return read_page(PAGES / f"{code}.md").of("bad")[index]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_page_has_its_parts(path):
    page = read_page(path)
    assert page.title == f"# {page.code}"
    assert page.summary == f"{CODES[page.code].level}: {CODES[page.code].summary}", "the page and codes.py disagree"
    assert 40 <= len(page.why) <= 600, "say in two or three sentences why this is so"
    assert page.of("bad"), "a page has a bad recipe"
    assert page.of("good"), "a page has a good recipe"
    for example in page.examples:
        assert example.body.count("\n") <= 16, "show it with a smaller recipe"


@pytest.mark.parametrize(("code", "index"), CASES)
def test_a_bad_recipe_prints_what_the_page_says(code, index, tmp_path):
    example = bad(code, index)
    report, output = run(example, tmp_path)
    assert report.diagnostics, "nothing was found"
    assert report.diagnostics[0].code == code
    assert output == example.output, "if the new output is better: python -m tests.checks.bless"


@pytest.mark.parametrize(("code", "index"), CASES)
def test_a_finding_points_at_the_line_that_is_marked(code, index, tmp_path):
    example = bad(code, index)
    report, _ = run(example, tmp_path)
    span = next(item.span for item in report.diagnostics if item.code == code)
    place = example.info.get("at", "line")
    if place == "override":
        assert span.override in example.overrides
    elif place == "file":
        assert (span.line, span.override) == (0, None)
    else:
        assert [(span.file, span.line, code)] == example.marks, "mark the line with `#~ code`"
    assert place == "line" or not example.marks


@pytest.mark.parametrize(("code", "index"), CASES)
def test_one_cause_gives_one_error(code, index, tmp_path):
    example = bad(code, index)
    if "lines" in example.info:
        pytest.skip("the page is about very many findings")
    report, _ = run(example, tmp_path)
    others = [item.code for item in report.diagnostics if item.code != code]
    assert not others, "what follows from a cause is a note on it"


@pytest.mark.parametrize(("code", "index"), CASES)
def test_a_message_is_worded_as_we_word_them(code, index, tmp_path):
    report, _ = run(bad(code, index), tmp_path)
    for item in report.diagnostics:
        texts = [item.message, item.label, item.help, *(note.message for note in item.related)]
        for text in texts:
            assert not text.endswith("."), text
            assert text[:1] in "`'\"" or text[:1] == text[:1].lower() or text.startswith(("U+", "YAML")), text
            assert "\n" not in text or item.code in ("yaml-empty", "slot-mismatch"), text
        assert item.message, item.code


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_good_recipe_passes(path, tmp_path):
    for number, example in enumerate(read_page(path).of("good")):
        report, output = run(example, tmp_path / str(number))
        assert not [item for item in report.diagnostics if item.level != "note"], output
        assert path.stem not in {item.code for item in report.diagnostics}, output
        assert report.ok


@pytest.mark.parametrize(("code", "index"), CASES)
def test_a_fix_mends_its_finding_and_breaks_nothing_else(code, index, tmp_path):
    example = bad(code, index)
    report, _ = run(example, tmp_path / "before")
    for number, item in enumerate(report.diagnostics):
        if item.fix is not None:
            after = _mended(example, item, tmp_path / f"after{number}")
            left = Counter((other.code, other.message) for other in after.diagnostics)
            left.subtract(Counter((other.code, other.message) for other in report.diagnostics if other is not item))
            assert not +left, f"the fix of {item.code} leaves or makes findings"


def _mended(example: Example, item: Diagnostic, folder: Path) -> Report:
    """The report after the fix of one finding: in the files, or in the overrides."""
    assert item.fix is not None
    mended = Example(example.verdict, example.body, dict(example.info), dict(example.files))
    files = {name: data.decode() for name, data in mended.texts().items()}
    overrides = list(mended.overrides)
    for edit in item.fix.edits:
        if edit.span.override is not None:
            overrides[edit.span.index] = apply(overrides[edit.span.index], (edit,))
    for name in files:
        files[name] = apply(
            files[name], tuple(e for e in item.fix.edits if e.span.override is None and e.span.file == name)
        )
    mended.body, mended.files = files.pop("recipe.yaml"), files
    mended.info = {key: value for key, value in mended.info.items() if key not in ("bytes", "expand")}
    mended.info["overrides"] = " ".join(map(_shell, overrides))
    return run(mended, folder)[0]


def _shell(text: str) -> str:
    import shlex

    return shlex.quote(text)


def test_blessing_changes_output_blocks_only(tmp_path):
    path = PAGES / "unknown-kind.md"
    page = read_page(path)
    stale = tmp_path / path.name
    stale.write_text(page.text.replace("unknown kind\n", "something else\n"), encoding="utf-8")
    assert blessed(read_page(stale)) == page.text


def test_a_careless_blessing_is_caught_by_the_mark(tmp_path):
    page = tmp_path / "unknown-kind.md"
    page.write_text((PAGES / page.name).read_text(encoding="utf-8").replace("#~ unknown-kind", ""), encoding="utf-8")
    assert read_page(page).of("bad")[0].marks == []
