"""The report as text: places, marks, escapes, counts."""

from __future__ import annotations

import io
import itertools
import os
import random
from pathlib import Path

import pytest

from assembler.report import Report
from assembler.report.terminal import Style, style_of, width_of
from assembler.report.text import PRINTED, render
from assembler_schemas.diagnostic import Diagnostic, Edit, Fix, Note
from assembler_schemas.span import Span

FILE = "recipes/tiny.yaml"


def at(line: int, column: int, end: int, file: str = FILE) -> Span:
    return Span(file, line, column, line, end)


def report(*found: Diagnostic, text: str = "", name: str = "tiny") -> Report:
    return Report(name, found, sources={FILE: text})


def one(text: str, span: Span, style: Style | None = None, label: str = "here") -> list[str]:
    return render(report(Diagnostic("value-type", "wrong", span, label), text=text), style).split("\n")


def test_both_ends_stand_in_one_excerpt() -> None:
    text = "\n" * 8 + "  encoder: {kind: mlp, out: 512}\n" + "\n" * 4 + "  head: {kind: linear, in: 768, from: encoder}\n"
    found = Diagnostic(
        "shape-mismatch",
        "`encoder.y` does not fit `head.x`: last dim 512 against 768",
        at(14, 28, 31),
        "768 stated here",
        (Note("`d` is 512 because of this", at(9, 29, 32)),),
        "drop `in: 768`",
    )
    assert str(report(found, text=text)) == (
        "error[shape-mismatch]: `encoder.y` does not fit `head.x`: last dim 512 against 768\n"
        "  --> recipes/tiny.yaml:14:28\n"
        "   |\n"
        " 9 |   encoder: {kind: mlp, out: 512}\n"
        "   |                             --- `d` is 512 because of this\n"
        "14 |   head: {kind: linear, in: 768, from: encoder}\n"
        "   |                            ^^^ 768 stated here\n"
        "   = help: drop `in: 768`\n"
        "\n"
        "tiny: 1 error\n"
    )


def test_an_override_is_its_own_excerpt() -> None:
    span = Span(override="vars.width=96", index=1, line=1, column=12, end_line=1, end_column=14)
    found = Diagnostic("value-range", "96 is too much", at(1, 1, 2), "here", (Note("set here", span), Note("by itself")))
    assert str(report(found, text="a: 1")).split("\n")[:-3] == [
        "error[value-range]: 96 is too much",
        "  --> recipes/tiny.yaml:1:1",
        "   |",
        " 1 | a: 1",
        "   | ^ here",
        "  ::: override 2, on the command line or in Python",
        "   |",
        "   | vars.width=96",
        "   |            -- set here",
        "   = note: by itself",
    ]


def test_a_second_file_gets_its_own_arrow() -> None:
    found = Diagnostic("value-type", "m", at(1, 1, 2), "", (Note("there", at(3, 1, 2, "other.yaml")),))
    lines = render(Report("r", (found,), sources={FILE: "a", "other.yaml": "\n\nb"})).split("\n")
    assert lines[1].strip() == f"--> {FILE}:1:1"
    assert "  ::: other.yaml:3:1" in lines


def test_marks_follow_tabs_and_wide_characters() -> None:
    shown, mark = one("\t漢字: x", at(1, 6, 7))[3:5]
    assert shown == " 1 |     漢字: x"
    assert width_of(mark[: mark.index("^")]) == width_of(shown[: shown.index("x")])


def test_marks_follow_escaped_characters() -> None:
    shown, mark = one("a\u202eb: x", at(1, 6, 7))[3:5]
    assert shown == " 1 | a\\u202eb: x"
    assert mark.index("^") == shown.index("x")


@pytest.mark.parametrize("column", [1, 50, 5_000, 999_999])
@pytest.mark.parametrize("style", [Style(40), Style(80), Style(40, encoding="ascii")])
def test_a_huge_line_is_cut_around_the_mark(column: int, style: Style) -> None:
    line = "y" * (column - 1) + "X" + "z" * 1_000_000
    shown, mark = one(line, at(1, column, column + 1), style)[3:5]
    assert max(map(width_of, (shown,))) <= style.width
    assert shown[mark.index("^")] == "X"


def test_width_holds_for_wide_characters_too() -> None:
    shown, mark = one("漢" * 500 + "X" + "漢" * 500, at(1, 501, 502), Style(40))[3:5]
    assert width_of(shown) <= 40
    assert width_of(mark[: mark.index("^")]) == width_of(shown[: shown.index("X")])


def test_a_span_over_several_lines_is_marked_to_the_end_of_its_first() -> None:
    found = Diagnostic("value-type", "m", Span(FILE, 1, 4, 3, 2), "all this")
    assert str(report(found, text="a: {b: 1,\n c: 2\n}")).split("\n")[4] == "   |    ^^^^^^ all this"


def test_an_empty_span_and_one_beyond_the_line_get_one_mark() -> None:
    for column in (1, 3, 400):
        assert one("ab", at(1, column, column))[4].count("^") == 1


def test_a_file_that_is_gone_still_shows_the_label() -> None:
    lines = str(Report("r", (Diagnostic("value-type", "m", at(3, 1, 2, "no/such/file.yaml"), "the label"),))).split("\n")
    assert lines[1:4] == ["  --> no/such/file.yaml:3:1", "   |", "   | the label"]


def test_an_excerpt_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    assert "pipe.yaml:1:1" in str(Report("r", (Diagnostic("value-type", "m", at(1, 1, 2, str(pipe))),)))


def test_an_excerpt_of_a_folder_is_none(tmp_path: Path) -> None:
    assert "error[" in str(Report("r", (Diagnostic("file-not-regular", "m", at(1, 1, 2, str(tmp_path))),)))


def test_an_excerpt_is_read_from_disk(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    lines = str(Report("r", (Diagnostic("value-type", "m", at(2, 1, 2, str(file))),))).split("\n")
    assert lines[3] == " 2 | b: 2"


HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2066\u200b\x08\r\n\u2028\u0085\x00\ud800\x1b]52;c;aGk=\x07"


@pytest.mark.parametrize("style", [Style(), Style(60, True), Style(encoding="ascii")])
def test_nothing_of_a_recipe_steers_the_terminal(style: Style) -> None:
    """Every text that a recipe can reach, printed with everything that a terminal obeys."""
    found = Diagnostic(
        "value-type", f"m{HOSTILE}", Span(f"f{HOSTILE}", 1, 1, 1, 2), f"l{HOSTILE}",
        (Note(f"n{HOSTILE}"), Note(f"o{HOSTILE}", Span(override=f"k={HOSTILE}", column=1, end_column=3))),
        f"h{HOSTILE}", Fix((Edit(at(1, 1, 2), HOSTILE),)),
    )  # fmt: skip
    text = render(Report(f"r{HOSTILE}", (found,), sources={f"f{HOSTILE}": f"a{HOSTILE}"}), style)
    if style.colour:
        import re

        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    bad = {char for char in text if char != "\n" and (ord(char) < 32 or 127 <= ord(char) < 160 or not char.isprintable())}
    assert not bad
    if style.encoding:
        assert text.isascii()


def test_html_is_inert() -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>]]>--></pre>\"'&"
    page = report(Diagnostic("value-type", evil, at(1, 1, 2), evil), text=evil, name=evil)._repr_html_()
    assert page.startswith("<pre ")
    inside = page.removeprefix('<pre style="line-height:1.25">').removesuffix("</pre>")
    assert "<" not in inside
    assert ">" not in inside


def test_fifty_are_printed_and_the_rest_counted() -> None:
    found = [Diagnostic("value-type", f"m{i}", at(i + 1, 1, 2)) for i in range(10_000)]
    found += [Diagnostic("node-unused", f"w{i}", at(i + 1, 1, 2)) for i in range(3)]
    text = str(report(*found))
    assert text.count("error[") == PRINTED
    assert "… and 9950 errors, 3 warnings more" in text
    assert text.endswith("tiny: 10000 errors, 3 warnings\n")


def test_a_message_of_a_megabyte_is_cut_with_a_count() -> None:
    text = str(report(Diagnostic("graph-cycle", "x" * 1_000_000, at(1, 1, 2))))
    assert "998000 more characters" in text
    assert len(text) < 5_000


def test_a_finding_with_thousands_of_places_is_short() -> None:
    notes = tuple(Note("and here", at(i + 2, 1, 2)) for i in range(5_000))
    text = str(report(Diagnostic("graph-cycle", "m", at(1, 1, 2), "", notes), text="x\n" * 6_000))
    assert "4989 more places are not shown" in text
    assert text.count("\n") < 50


def test_order_is_by_level_then_place_whatever_the_order_of_finding() -> None:
    found = [
        Diagnostic("node-unused", "w", at(1, 1, 2)),
        Diagnostic("value-type", "b", at(9, 1, 2)),
        Diagnostic("value-type", "a", at(2, 7, 8)),
        Diagnostic("value-type", "a", at(2, 3, 4)),
        Diagnostic("adapter-inserted", "n", at(1, 1, 2)),
        Diagnostic("override-syntax", "o", Span(override="x", index=3)),
        Diagnostic("value-type", "z", at(1, 1, 2, "b.yaml")),
    ]
    wanted = str(report(*found))
    for _ in range(20):
        random.shuffle(found)
        assert str(report(*found)) == wanted
    levels = [item.level for item in report(*found).diagnostics]
    assert [key for key, _ in itertools.groupby(levels)] == ["error", "warning", "note"]


def test_the_same_finding_twice_is_one() -> None:
    found = Diagnostic("value-type", "m", at(1, 1, 2))
    assert report(found, found).counts == {"error": 1, "warning": 0, "note": 0}


def test_ok_means_no_errors() -> None:
    assert report(Diagnostic("node-unused", "w")).ok
    assert not report(Diagnostic("value-type", "w")).ok
    assert str(Report("tiny")) == "tiny: ok\n"


class _Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def test_colour_only_on_a_terminal_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert style_of(_Terminal()).colour
    assert not style_of(io.StringIO()).colour
    monkeypatch.setenv("NO_COLOR", "")
    assert style_of(_Terminal()).colour, "an empty NO_COLOR asks for nothing"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not style_of(_Terminal()).colour
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not style_of(_Terminal()).colour


def test_a_terminal_one_column_wide_gets_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((1, 1)))
    terminal = _Terminal()
    terminal.fileno = lambda: 1  # type: ignore[method-assign]
    assert style_of(terminal).width == 40


def test_a_fix_without_help_is_told() -> None:
    found = Diagnostic("value-type", "m", at(1, 1, 2), fix=Fix((Edit(at(1, 1, 2), "in"),)))
    assert "   = help: write `in` there" in str(report(found, text="x")).split("\n")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that opens and cannot be read is had from Linux")
def test_a_file_that_opens_and_cannot_be_read_is_told_of_without_its_lines() -> None:
    where = Span("/proc/self/mem", 1, 1, 1, 2)
    assert render(Report("m", (Diagnostic("file-unreadable", "wrong", where),))).startswith("error[file-unreadable]: wrong\n  --> /proc/self/mem:1:1")
