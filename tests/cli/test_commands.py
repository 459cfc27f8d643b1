"""The command line in this process: what each command prints and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assembler import cli
from assembler.commands.check import Checking, checking
from assembler.commands.common import split
from assembler.commands.show import STAGES
from assembler.report.starter import starter

GOOD = """\
name: good
vars: {width: 8}
inputs: {x: "[batch 4]"}
nodes:
  up: {kind: linear, out: width, from: x}
  head: {kind: linear, out: 3, from: up}
outputs: {y: head}
"""
BAD = GOOD.replace("kind: linear, out: 3", "kind: liner, out: 3")
WARNED = GOOD.replace("  head:", "  spare: {kind: linear, out: 2, from: x}\n  head:")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("good", GOOD), ("bad", BAD), ("warned", WARNED), ("tiny", starter("tiny"))):
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["check", "good.yaml"], 0),
        (["check", "bad.yaml"], 1),
        (["check", "warned.yaml"], 0),
        (["check", "--strict", "warned.yaml"], 1),
        (["check", "good.yaml", "bad.yaml"], 1),
        (["check", "nothing.yaml"], 2),
        (["check", "nothing.yaml", "bad.yaml"], 2),
        (["check", "*.yml"], 2),
        (["check", "."], 2),
        (["check"], 2),
        (["check", "vars.width=9"], 2),
        (["check", "good.yaml", "--frozen", "vars.width=9"], 0),
        (["check", "good.yaml", "nope"], 2),
        (["check", "--format", "xml", "good.yaml"], 2),
        (["check", "--form", "json", "good.yaml"], 2),
        (["chek", "good.yaml"], 2),
        ([], 2),
        (["--help"], 0),
        (["check", "--help"], 0),
        (["--version"], 0),
        (["show", "good.yaml"], 0),
        (["show", "bad.yaml"], 1),
        (["show", "good.yaml", "bad.yaml"], 2),
        (["show", "--depth", "0", "good.yaml"], 2),
        (["show", "--depth", "9" * 5_000, "good.yaml"], 2),
        (["why", "good.yaml"], 2),
        (["why", "good.yaml", "head.x"], 0),
        (["why", "good.yaml", "nobody"], 2),
        (["explain"], 0),
        (["explain", "shape-mismatch"], 0),
        (["explain", "../../../etc/passwd"], 2),
        (["kinds"], 0),
        (["kinds", "linear"], 0),
        (["kinds", "liner"], 2),
        (["schema"], 0),
        (["eject", "bad.yaml"], 1),
        (["run", "good.yaml", "--size", "batch=0"], 2),
    ],
)
def test_exit_codes(here: Path, words: list[str], code: int) -> None:
    assert cli.main(words) == code


def test_findings_on_stdout_and_usage_on_stderr(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["check", "bad.yaml"])
    out, err = capsys.readouterr()
    assert "error[unknown-kind]" in out
    assert "bad.yaml:6:" in out
    assert not err
    cli.main(["check"])
    out, err = capsys.readouterr()
    assert not out
    assert "check" in err


def test_json_is_one_report_a_line_even_where_nothing_opens(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--format", "json", "good.yaml", "bad.yaml", "nothing.yaml"]) == 2
    good, bad, gone = map(json.loads, capsys.readouterr().out.splitlines())
    assert good["ok"]
    assert good["version"] == 1
    assert good["recipe"] == "good"
    assert good["model"]["parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    assert not bad["ok"]
    assert bad["diagnostics"][0]["code"] == "unknown-kind"
    assert [item["code"] for item in gone["diagnostics"]] == ["file-not-found"]
    assert gone["model"] is None


def test_one_file_named_twice_is_checked_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["check", "good.yaml", "./good.yaml", str(here / "good.yaml")])
    assert capsys.readouterr().out.count("good: ") == 1


def test_of_many_files_the_one_bad_is_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(30):
        (here / f"r{i}.yaml").write_text(BAD if i == 17 else GOOD)
    assert cli.main(["check", *(f"r{i}.yaml" for i in range(30))]) == 1
    assert capsys.readouterr().out.count(": ok") == 29


def test_an_override_reaches_the_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["check", "--format", "json", "good.yaml", "vars.width=16"])
    assert json.loads(capsys.readouterr().out)["model"]["parameters"] == 4 * 16 + 16 + 16 * 3 + 3


def test_the_starter_is_clean_and_its_own_hints_work(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", "mine"]) == 0
    assert cli.main(["check", "--strict", "mine.yaml"]) == 0
    assert cli.main(["check", "--strict", "mine.yaml", "slots.ffn.kind=swiglu"]) == 0
    assert cli.main(["check", "--strict", "mine.yaml", "vars.width=96"]) == 0
    assert capsys.readouterr().out.startswith("mine: ok, ")


@pytest.mark.parametrize("name", ["good", "../up", "a b", "A", "", "x" * 65, "a\x1b[2J", "con.yaml.yaml"])
def test_new_writes_nothing_over_and_nowhere_else(here: Path, name: str) -> None:
    before = sorted(path.name for path in here.iterdir()), (here / "good.yaml").read_text()
    assert cli.main(["new", name]) == 2
    assert before == (sorted(path.name for path in here.iterdir()), (here / "good.yaml").read_text())


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_can_be_printed(here: Path, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "tiny.yaml", "--stage", stage]) == 0
    out = capsys.readouterr().out
    assert "encoder" in out
    assert len(out.splitlines()) > 5


def test_show_recipe_holds_the_overrides_and_can_be_checked_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["show", "tiny.yaml", "slots.ffn.kind=swiglu", "--stage", "recipe"])
    text = capsys.readouterr().out
    assert "swiglu" in text
    (here / "again.yaml").write_text(text)
    assert cli.main(["check", "--strict", "again.yaml"]) == 0


def test_show_folds_repeats_and_opens_levels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["show", "tiny.yaml", "vars.depth=12"])
    full = capsys.readouterr().out
    assert "bus x12" in full
    assert full.count("attention") == 1
    cli.main(["show", "tiny.yaml", "--depth", "1"])
    assert "attention" not in capsys.readouterr().out


def test_eject_writes_once_and_asks_before_it_replaces(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eject", "good.yaml", "-o", "model.py"]) == 0
    text = (here / "model.py").read_text()
    compile(text, "model.py", "exec")
    assert cli.main(["eject", "good.yaml", "-o", "model.py"]) == 0, "the same text again is no harm"
    (here / "model.py").write_text(text + "# mine\n")
    capsys.readouterr()
    assert cli.main(["eject", "good.yaml", "-o", "model.py"]) == 2
    assert "-# mine" in capsys.readouterr().out
    assert (here / "model.py").read_text().endswith("# mine\n")
    assert cli.main(["eject", "good.yaml", "-o", "model.py", "--force"]) == 0
    assert (here / "model.py").read_text() == text
    assert sorted(path.suffix for path in here.iterdir() if path.name.startswith(".")) == []


def test_a_bug_of_ours_says_so_and_exits_70(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import assembler.assemble

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("\x1b[2Jboom")

    monkeypatch.setattr(assembler.assemble, "check", broken)
    before = set(here.iterdir())
    assert cli.main(["check", "good.yaml"]) == 70
    out, err = capsys.readouterr()
    assert not out
    assert "\x1b" not in err
    assert "boom" in err
    assert "Please report it" in err
    assert set(here.iterdir()) == before


@pytest.mark.parametrize("problem", [RecursionError(), MemoryError(), AssertionError("x")])
def test_every_exception_is_caught(here: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    import assembler.assemble

    def broken(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(assembler.assemble, "check", broken)
    assert cli.main(["check", "good.yaml"]) == 70


def test_control_characters_on_the_command_line_are_escaped(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J\u202e"
    for words in ([evil], ["check", "--" + evil], ["explain", evil], ["kinds", evil], ["check", f"{evil}.yaml"],
                  ["eject", "good.yaml", "-o", f"{evil}.txt"], ["show", "--depth", evil, "good.yaml"]):  # fmt: skip
        assert cli.main(words) == 2, words
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err
        assert "\u202e" not in out + err


@pytest.mark.parametrize(
    ("argument", "is_override"),
    [("a.yaml", False), ("k=v", True), ("+k=v", True), ("~k", True), ("++k=v", True), ("~/a.yaml", False), ("a/b=c", True),
     ("./lr=0.1/a.yaml", False), ("/runs/lr=0.1", False), ("lr=0.1/a.yaml", True)],
)
def test_what_is_an_override(argument: str, is_override: bool) -> None:
    paths, overrides = split([argument])
    assert bool(overrides) == is_override
    assert bool(paths) != is_override


def test_the_name_of_what_was_written_does_not_steer_the_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eject", "good.yaml", "-o", "a\x1bb.py"]) == 0
    assert capsys.readouterr().err == "wrote a\\x1bb.py\n"


def test_a_recipe_in_a_folder_that_a_sweep_named_is_no_override(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "lr=0.1").mkdir()
    (here / "lr=0.1" / "recipe.yaml").write_text((here / "good.yaml").read_text())
    assert cli.main(["check", "lr=0.1/recipe.yaml"]) == 0
    assert ": ok" in capsys.readouterr().out


def test_words_without_options_mean_what_argparse_makes_of_them() -> None:
    words = ["good.yaml", "vars.width=9", "+new=1", "~gone", "", "a b"]
    assert checking(words) == checking(["--", *words]) == Checking(words)


def test_a_file_whose_name_begins_with_a_dash_stands_behind_two_because_argparse_loses_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "-dash.yaml").write_text(GOOD)
    assert cli.main(["check", "--strict", "--", "-dash.yaml", "vars.width=4"]) == 0
    assert capsys.readouterr().out == "good: ok, 35 parameters\n"
