"""`assembler kinds --fits SLOT RECIPE`: what is listed was put there and checked; what is not says why."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import assembler
from assembler.cli import main
from assembler.facts.count import totals
from assembler.weights.candidates import candidates
from assembler.weights.fit import find
from tests.recipes.shipped import path

DIGITS = str(path("digits"))


def test_every_part_that_is_listed_checks_as_an_override_and_has_the_parameters_that_are_shown() -> None:
    recipe = assembler.load(DIGITS)
    found = list(candidates(recipe, find(recipe, "ffn")))
    assert [item.override for item in found if item.now] == ["slots/ffn=mlp"]
    for item in found:
        report = assembler.check(DIGITS, [item.override])
        assert report.ok == item.fits, item
        if item.fits:
            assert report.graph is not None
            assert report.facts is not None
            assert totals(report.graph, report.facts)[0] == item.parameters == item.difference + 202_058  # type: ignore[operator]
        else:
            assert item.remark.endswith(f"[{next(d.code for d in report.diagnostics if d.level == 'error')}]")


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kinds", "--fits", "ffn", DIGITS, "vars.width=32", "vars.depth=1"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert re.fullmatch(r"slot `ffn` of digits: \d+ of \d+ fit", lines[0])
    assert lines[2].split() == ["parameters", "difference"]
    assert lines[3].split() == ["slots/ffn=geglu", "17,706", "+3,936"]
    assert lines[4].split() == ["slots/ffn=mlp", "13,770", "+0", "(now)"]
    assert re.fullmatch(r"\d+ do not fit \(--all says why\)", lines[-2])


def test_what_does_not_fit_says_why_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kinds", "--fits", "ffn", DIGITS, "--all"]) == 0
    assert "  slots.ffn.kind=attention            `attention` needs `heads` [missing-key]" in capsys.readouterr().out.split("\n")


def test_a_part_that_changes_weights_elsewhere_says_which(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "m.yaml"
    recipe.write_text('inputs: {x: "[batch 8]"}\nslots: {body: {kind: linear, out: 6}}\nnodes: {mid: {slot: body, from: x}, head: {kind: linear, out: 3, from: mid}}\noutputs: {y: head}\n')
    assert main(["kinds", "--fits", "body", str(recipe)]) == 0
    assert "slots.body.kind=identity                          27              -48  changes `head.weight`, which is not in the slot: [3 6] became [3 8]" in capsys.readouterr().out


def test_a_slot_that_nothing_fills_yet_lists_what_would_fill_it(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "m.yaml"
    recipe.write_text('inputs: {x: "[batch 8]"}\nslots: {body: {accepts: {out: {"y": "[... 8]"}}}}\nnodes: {mid: {slot: body, from: x}}\noutputs: {y: mid}\n')
    assert main(["kinds", "--fits", "body", str(recipe)]) == 0
    out = capsys.readouterr().out
    assert "slots.body.kind=mlp" in out
    assert "slots.body.kind=argmax" not in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fits", "fnf", DIGITS], "there is no slot `fnf`: did you mean `ffn`? the slots are `ffn`"),
        (["--fits", "ffn"], "kinds --fits SLOT wants one recipe"),
        (["mlp", "linear"], "kinds wants one name, or --fits SLOT RECIPE"),
        (["--all"], "--all goes with --fits SLOT"),
        (["--fits", "ffn", str(path("two_towers"))], "the recipe has no slots"),
        (["--fits", "ffn", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_what_names_nothing_is_a_usage_error_that_lists_what_there_is(words, says, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kinds", *words]) == 2
    out, err = capsys.readouterr()
    assert says in out + err


def test_what_fits_is_found_without_torch() -> None:
    code = f"import sys; from assembler.cli import main; main(['kinds', '--fits', 'ffn', {DIGITS!r}]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=path("digits").parents[1], env={**os.environ, "PYTHONPATH": ".:schemas"})
