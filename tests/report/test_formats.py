"""Findings for machines: GitHub workflow commands and SARIF. Whatever a recipe says comes out whole, and steers nothing."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.assemble import check
from assembler.cli import main
from assembler.report import Report
from assembler.report.github import to_github
from assembler.report.sarif import to_sarif, uri
from assembler_schemas.diagnostic import Diagnostic, Edit, Fix, Note
from assembler_schemas.span import Span

SPAN = Span("a.yaml", 2, 3, 2, 5, "nodes.a")
OVERRIDE = Span(override="vars.width=9,6", index=1, line=1, column=1, end_line=1, end_column=5)
NASTY = "q\" b\\ p% c: k, \u2028 '`<&>` ::error::x ##[set-output]"
BAD = """\
inputs: {x: "[batch 16]"}
nodes:
  head: {kind: liner, out: 4, from: x}
outputs: {y: head}
"""


def finding(text: str = "m", span: Span = SPAN, **more: Any) -> Report:
    return Report("r", (Diagnostic("value-type", text, span, **more),))


# --- GitHub: actions/toolkit, and how the runner reads it ---
COMMAND = re.compile(r"::(error|warning|notice) ([^:]*(?:,[^:]*)*)::(.*)\Z")


def unescaped(text: str) -> str:
    return text.replace("%2C", ",").replace("%3A", ":").replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")


def commands(report: Report) -> list[tuple[str, dict[str, str], str]]:
    """As the runner reads a log: a line at a time, properties between commas, their values unescaped."""
    found = []
    for line in to_github(report).splitlines():
        match = COMMAND.match(line)
        assert match, line
        level, properties, message = match.groups()
        pairs = (item.partition("=") for item in properties.split(","))
        found.append((level, {name: unescaped(value) for name, _, value in pairs}, unescaped(message)))
    return found


def test_an_annotation_says_where_and_what() -> None:
    report = finding("a: b, c", related=(Note("the other end", Span("b.yaml", 1, 1, 1, 2)), Note("why")), help="do this\nor that")
    assert to_github(report) == (
        "::error file=a.yaml,line=2,endLine=2,col=3,endColumn=5,title=value-type::"
        "a: b, c%0Athe other end (b.yaml:1:1)%0Awhy%0Ahelp: do this%0Aor that\n"
    )


@pytest.mark.parametrize(("code", "level"), [("value-type", "error"), ("old-scalar", "warning"), ("swap-dropped", "notice")])
def test_levels_are_those_of_the_runner(code: str, level: str) -> None:
    assert commands(Report("r", (Diagnostic(code, "m"),)))[0][0] == level


def test_a_clean_recipe_annotates_nothing() -> None:
    assert to_github(Report("::error::x")) == ""


def test_columns_go_with_one_line_only() -> None:
    (item,) = commands(finding(span=SPAN._replace(end_line=4)))
    assert item[1] == {"file": "a.yaml", "line": "2", "endLine": "4", "title": "value-type"}


def test_what_an_override_does_is_in_no_file() -> None:
    (item,) = commands(finding(span=OVERRIDE))
    assert item[1:] == ({"title": "value-type"}, "m\nin the override 'vars.width=9,6'")


def test_no_letter_of_a_recipe_ends_a_command_or_begins_another() -> None:
    (item,) = commands(finding(NASTY + "\n::error file=evil::boo\r", SPAN._replace(file="d:,=%/a b.yaml")))
    assert item[1]["file"] == "d:,=%/a b.yaml"
    assert item[2].startswith(NASTY.replace("\u2028", "\\u2028"))


@given(text=st.text(), file=st.text(min_size=1))
@settings(max_examples=150, deadline=None)
def test_any_text_is_one_command(text: str, file: str) -> None:
    written = to_github(finding(text, SPAN._replace(file=file)))
    assert written.count("\n") == 1
    ((_, properties, message),) = commands(finding(text, SPAN._replace(file=file)))
    assert set(properties) == {"file", "line", "endLine", "col", "endColumn", "title"}
    assert all(char == "\n" or (unicodedata.category(char)[0] != "C" and unicodedata.category(char) not in ("Zl", "Zp")) for char in message)
    if text.isprintable() and len(text) < 2000:
        assert message == text


# --- SARIF 2.1.0 ---
def log(*reports: Report, **more: Any) -> dict[str, Any]:
    text = to_sarif([("model.yaml", report) for report in reports], "1.2", **more)
    assert text.isascii()
    data: dict[str, Any] = json.loads(text)
    holds(data)
    return data


def holds(data: dict[str, Any]) -> None:
    """What the standard demands of the parts that we write (OASIS, sections 3.13 to 3.57)."""
    assert (set(data), data["version"]) == ({"$schema", "version", "runs"}, "2.1.0")
    for run in data["runs"]:
        assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
        rules = run["tool"]["driver"]["rules"]
        assert len({rule["id"] for rule in rules}) == len(rules)
        assert all(type(item["executionSuccessful"]) is bool for item in run["invocations"])
        for rule in rules:
            assert all(rule[key]["text"] for key in ("shortDescription", "fullDescription", "help"))
            assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            assert result["level"] in ("none", "note", "warning", "error")
            assert result["message"]["text"]
            assert len(result["locations"]) == 1
            places = [*result["locations"], *result.get("relatedLocations", [])]
            regions = [place["physicalLocation"] for place in places if "physicalLocation" in place]
            for fix in result.get("fixes", []):
                assert fix["artifactChanges"]
                for change in fix["artifactChanges"]:
                    assert change["replacements"]
                    regions += [{"artifactLocation": change["artifactLocation"], "region": item["deletedRegion"]} for item in change["replacements"]]
            for place in regions:
                # A URI reference: no space, no backslash, no `:` that would begin a scheme.
                assert re.fullmatch(r"(file:///)?[A-Za-z0-9_.~/%+@-]*", place["artifactLocation"]["uri"])
                region = place.get("region", {"startLine": 1})
                assert region["startLine"] >= 1
                assert (region["startLine"], region.get("startColumn", 1)) <= (region.get("endLine", 1 << 40), region.get("endColumn", 1 << 40))


def test_a_result_has_its_rule_place_notes_and_fix() -> None:
    report = finding("m", label="l", related=(Note("n", Span("b.yaml", 1, 1, 1, 2)), Note("o"), Note("p", OVERRIDE)), help="h", fix=Fix((Edit(SPAN, "in"),)))
    (run,) = log(report)["runs"]
    (rule,) = run["tool"]["driver"]["rules"]
    assert (rule["id"], rule["shortDescription"]["text"]) == ("value-type", "a value of the wrong type")
    assert rule["help"]["markdown"].startswith("# value-type\n")
    region = {"startLine": 2, "startColumn": 3, "endLine": 2, "endColumn": 5}
    assert run["results"] == [{
        "ruleId": "value-type", "ruleIndex": 0, "level": "error", "message": {"text": "m\nhelp: h"},
        "locations": [{
            "physicalLocation": {"artifactLocation": {"uri": "a.yaml"}, "region": region},
            "logicalLocations": [{"fullyQualifiedName": "nodes.a", "kind": "member"}],
        }],
        "relatedLocations": [
            {"id": 0, "message": {"text": "n"}, "physicalLocation": {"artifactLocation": {"uri": "b.yaml"}, "region": {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 2}}},
            {"id": 1, "message": {"text": "o"}}, {"id": 2, "message": {"text": "p"}},
        ],
        "fixes": [{"description": {"text": "mends it"}, "artifactChanges": [
            {"artifactLocation": {"uri": "a.yaml"}, "replacements": [{"deletedRegion": region, "insertedContent": {"text": "in"}}]},
        ]}],
    }]  # fmt: skip


def test_a_finding_about_an_override_is_placed_in_its_recipe_and_offers_no_edit_of_a_file() -> None:
    (result,) = log(finding(span=OVERRIDE, fix=Fix((Edit(OVERRIDE, "x"),))))["runs"][0]["results"]
    assert result["locations"] == [{"physicalLocation": {"artifactLocation": {"uri": "model.yaml"}}}]
    assert result["message"]["text"] == "m (in the override 'vars.width=9,6')"
    assert "fixes" not in result


def test_several_recipes_are_one_run_and_share_rules() -> None:
    other = Report("s", (Diagnostic("old-scalar", "o", SPAN), Diagnostic("value-type", "p", SPAN)))
    (run,) = log(finding(), other)["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["value-type", "old-scalar"]
    assert [(item["ruleIndex"], item["message"]["text"]) for item in run["results"]] == [(0, "m"), (0, "p"), (1, "o")]


def test_what_does_not_fit_is_counted() -> None:
    many = Report("r", tuple(Diagnostic("value-type", f"m{number}", SPAN) for number in range(100)))
    (run,) = log(many, limit=5_000)["runs"]
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    kept = len(run["results"])
    assert 0 < kept < 100
    assert note == {"level": "warning", "message": {"text": f"{100 - kept} more findings are left out"}}


@pytest.mark.parametrize(
    ("file", "there"),
    [("a/b.yaml", "a/b.yaml"), ("a b:c.yaml", "a%20b%3Ac.yaml"), ("é\u2028.yaml", "%C3%A9%E2%80%A8.yaml"), ("/tmp/a b.yaml", "file:///tmp/a%20b.yaml"), ("x\udcff.yaml", "x%FF.yaml")],
)
def test_the_name_of_a_file_is_a_uri(file: str, there: str) -> None:
    assert uri(file) == there


@given(text=st.text(min_size=1), file=st.text(st.characters(blacklist_characters="/\\\0", blacklist_categories=("Cs",)) | st.sampled_from("\udc80\udcff"), min_size=1))
@settings(max_examples=150, deadline=None)
def test_any_text_is_valid_and_comes_back_from_sarif(text: str, file: str) -> None:
    (result,) = log(finding(text, SPAN._replace(file=file)))["runs"][0]["results"]
    assert result["message"]["text"] == text
    assert unquote(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], errors="surrogateescape") == file


def test_half_of_a_pair_in_a_name_is_still_a_uri() -> None:
    assert uri("a\ud800b.yaml") == "a%ED%A0%80b.yaml"


# --- the command ---
def test_the_command_writes_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(BAD)
    Path("good.yaml").write_text(BAD.replace("liner", "linear"))
    assert main(["check", "bad.yaml", "good.yaml", "--format", "github"]) == 1
    assert capsys.readouterr().out == (
        "::error file=bad.yaml,line=3,endLine=3,col=16,endColumn=21,title=unknown-kind::there is no kind `liner`%0Ahelp: did you mean `linear`?\n"
    )
    assert main(["check", "bad.yaml", "good.yaml", "--format", "sarif"]) == 1
    data = json.loads(capsys.readouterr().out)
    holds(data)
    assert [result["ruleId"] for result in data["runs"][0]["results"]] == ["unknown-kind"]
    assert main(["check", "good.yaml", "--format", "sarif"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["results"] == []
    assert main(["check", "gone.yaml", "--format", "sarif"]) == 2
    holds(json.loads(capsys.readouterr().out))


def test_the_edits_of_a_fix_mend_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    text = "descripton: small\n" + BAD.replace("liner", "linear")
    path.write_text(text)
    report = check(path)
    data = json.loads(to_sarif([(str(path), report)], "1"))
    (result,) = data["runs"][0]["results"]
    (change,) = result["fixes"][0]["artifactChanges"]
    (edit,) = change["replacements"]
    lines = text.split("\n")
    region, line = edit["deletedRegion"], lines[edit["deletedRegion"]["startLine"] - 1]
    lines[region["startLine"] - 1] = line[: region["startColumn"] - 1] + edit["insertedContent"]["text"] + line[region["endColumn"] - 1 :]
    path.write_text("\n".join(lines))
    assert check(path).ok
