"""Sweeps: the variants are Hydra's, their number is known before they are made, and each is judged as if it were alone."""

from __future__ import annotations

import csv
import gc
import io
import json
import random
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

import assembler
from assembler.assemble import RecipeError
from assembler.cli import main
from assembler.compare.sweep import Sweep, Variant
from assembler.compare.sweep_table import csv_lines, harmless_cell, json_lines, plain_cell, put
from assembler.report import Report
from assembler.report.data import to_json
from assembler.source.sweeps import Axis, TooMany, grid
from assembler.source.variants import MOST, Variants
from assembler_schemas.diagnostic import Diagnostic
from tests.fuzz.generate import generate

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
TINY = """\
defaults:
  - slots/ffn: mlp
  - _self_
name: tiny
vars: {width: 8, heads: 2}
inputs: {x: "[batch seq width]"}
nodes:
  attend: {kind: attention, heads: heads, from: x}
  think: {slot: ffn, from: attend}
outputs: {y: think}
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    return Path("tiny.yaml")


def axes(*arguments: str, group: tuple[str, ...] = ()) -> list[list[str]]:
    found, wrong = grid(arguments, lambda key: list(group) if "/" in key else [], 10_000)
    assert not wrong, wrong
    return [list(axis.overrides) for axis in found.axes]


# --- which variants ---
@pytest.mark.parametrize(
    "arguments",
    [
        ["vars.width=64,128", "nodes.a.norm=pre,both"],
        ["vars.width=range(1,5)", "vars.depth=range(10,0,-3)", "nodes.a.p=range(0,1,0.1)", "vars.x=range(3)"],
        ["name='a,b'", "name2='a,b',\"c d\",e\\,f", "+slots/ffn=mlp,moe"],
        ["vars.x=choice(1,[2,3],{a:4})", "vars.y=sort(3,1,2)", "vars.z=sort(range(1,5),reverse=true)", "vars.w=tag(t,choice(a,b))"],
        ["vars.x=int(1.0,2.0)", "vars.y=float(choice(1,2))", "vars.z=true,null,1e-3,-4"],
        ["vars.x=1", "~nodes.a", "++vars.y=3,4"],
    ],
)
def test_the_variants_are_those_of_hydras_own_sweeper(arguments: list[str]) -> None:
    parser = OverridesParser.create()
    (theirs,) = BasicSweeper.split_arguments(parser.parse_overrides(arguments), None)
    found, wrong = grid(arguments, lambda key: [], 100_000)
    assert not wrong

    def parsed(variants: Any) -> list[list[Any]]:
        return [[(item.type, item.key_or_group, item.value()) for item in parser.parse_overrides(list(texts))] for texts in variants]

    assert parsed(found) == parsed(theirs)
    assert found.size == len(theirs)


def test_a_glob_takes_the_files_of_a_group() -> None:
    group = ("mlp", "mlp_tanh", "moe")
    assert axes("slots/ffn=glob(*)", group=group) == [["slots/ffn=mlp", "slots/ffn=mlp_tanh", "slots/ffn=moe"]]
    assert axes("slots/ffn=glob([m*],exclude=*_*)", group=group) == [["slots/ffn=mlp", "slots/ffn=moe"]]


def test_what_is_shuffled_stays_in_its_order() -> None:
    assert axes("vars.x=shuffle(3,1,2)", "vars.y=shuffle(range(1,4))") == [["vars.x=3", "vars.x=1", "vars.x=2"], ["vars.y=1", "vars.y=2", "vars.y=3"]]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("vars.x=interval(0,1)", "names no list of values: any value of an interval"),
        ("vars.x=range(1,2,0)", "names no list of values: values without end"),
        ("vars.x=[1,choice(2,3)]", "names no list of values"),
        ("vars.x=shuffle([1,2,3])", "names no list of values: a shuffled or chosen value"),
        ("vars.x=range(5,5)", "is a sweep over no values"),
        ("slots/ffn=glob(q*)", "is a sweep over no values"),
        ("vars.x=1,", "cannot be parsed"),
        ("hydra.job=1,2", "would steer Hydra"),
        ("vars._target_=a,b", "would run code"),
    ],
)
def test_what_names_no_variants_is_refused(argument: str, said: str, tiny: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        assembler.sweep(tiny, ["vars.width=8,16", argument])
    (found,) = caught.value.report.diagnostics
    assert said in found.message
    assert found.span.index == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vars.x=shuffle(range(1,1000000000))"], "asks for 999999999 variants, more than 10000"),
        (["vars.a=range(100)"] * 10, f"asks for {' x '.join(['100'] * 10)} = {10**20} variants"),
        (["vars.x=range(0,1,1e-9)"], "asks for 1000000000 variants"),
        ([f"vars.x=range(0,1{'0' * 30})"], f"asks for 1{'0' * 30} variants"),
    ],
)
def test_too_many_variants_are_counted_and_never_made(arguments: list[str], said: str, tiny: Path) -> None:
    with pytest.raises(TooMany, match=said.replace("(", "\\(")):
        assembler.sweep(tiny, arguments)


def test_the_limit_is_the_callers(tiny: Path) -> None:
    assert len(assembler.sweep(tiny, ["vars.width=range(8,16,2)"], limit=4)) == 4
    with pytest.raises(TooMany):
        assembler.sweep(tiny, ["vars.width=range(8,18,2)"], limit=4)


# --- each as if it were alone ---
def same(source: Path | dict[str, Any], arguments: list[str]) -> int:
    """Every variant against a check of its own; how many there are."""
    count = 0
    for overrides, report in assembler.sweep(source, arguments):
        alone = assembler.check(source, overrides)
        assert report.diagnostics == alone.diagnostics, overrides
        assert to_json(report) == to_json(alone), overrides
        count += 1
    return count


SHIPPED = {
    "gpt2": ["slots/ffn=glob(*)", "vars.width=24,30,96", "vars.depth=1,2", "nodes.stack.norm=pre,both"],
    "bert": ["vars.width=24,25", "vars.heads=1,12", "+nodes.pool.dtype=bf16,f32"],
    "experts": ["vars.width=32,33", "vars.experts=1,4", "nodes.nothing=1"],
    "vit": ["slots/ffn=mlp,nowhere,swiglu", "vars.depth=0,2"],
    "two_towers": ["~vars.width", "name=a,b"],
    "resnet50": ["slots/block=basic,bottleneck", "name=x"],
}


@pytest.mark.parametrize("name", SHIPPED)
def test_variants_of_shipped_recipes_are_judged_as_if_alone(name: str) -> None:
    assert same(RECIPES / f"{name}.yaml", SHIPPED[name]) > 1


def paths(tree: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from paths(value, f"{prefix}.{key}" if prefix else str(key))
    elif not isinstance(tree, list):
        yield prefix


@pytest.mark.parametrize("start", range(0, 40, 10))
def test_variants_of_random_recipes_are_judged_as_if_alone(start: int, tmp_path: Path) -> None:
    """Values that a recipe wants and others, at random places: most variants are wrong in some way."""
    draw, count = random.Random(start), 0
    for seed in range(start, start + 10):
        sample = generate(seed)
        path = tmp_path / f"r{seed}.yaml"
        path.write_text(sample.text, encoding="utf-8")
        places = [item for item in paths(sample.tree) if all(part.isidentifier() for part in item.split("."))]
        chosen = draw.sample(places, min(2, len(places)))
        values = ["1", "8", "true", "null", "pre", "x"]
        count += same(path, [*sample.overrides, *(f"{place}={','.join(draw.sample(values, 3))}" for place in chosen)])
    assert count >= 50


def test_a_mapping_is_swept_too() -> None:
    tree = {"vars": {"width": 8}, "inputs": {"x": "[batch 4]"}, "nodes": {"a": {"kind": "linear", "out": "width", "from": "x"}}, "outputs": {"y": "a"}}
    found = assembler.sweep(tree, ["vars.width=8,0"])
    assert [(variant.overrides, variant.report.ok) for variant in found] == [(("vars.width=8",), True), (("vars.width=0",), False)]
    assert same(tree, ["vars.width=8,0,x"]) == 3  # type: ignore[arg-type]


def test_null_entries_of_files_are_there_for_overrides(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(TINY.replace("nodes:\n", "nodes:\n  gone: null\n"))
    assert same(path, ["++nodes.gone.kind=identity,linear", "++nodes.gone.from=x"]) == 2


def test_warnings_of_the_files_stand_in_every_variant(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(TINY.replace("  - _self_\n", "").replace("heads: 2", "heads: 2, old: yes"))
    reports = [variant.report for variant in assembler.sweep(path, ["vars.width=8,16"])]
    assert [sorted({item.code for item in report.diagnostics} & {"defaults-self", "old-scalar"}) for report in reports] == [["defaults-self", "old-scalar"]] * 2
    assert same(path, ["vars.width=8,16", "slots/ffn=mlp,swiglu"]) == 4


def test_a_new_choice_of_files_leaves_earlier_variants_alone(tiny: Path) -> None:
    """Merging stamps layers into trees: each choice has trees of its own."""
    assert same(tiny, ["vars.width=8,16", "slots/ffn=mlp,swiglu,mlp", "slots.ffn.dropout=0.1,0.2"]) == 12


# --- what is kept ---
def test_the_files_are_read_once(tiny: Path) -> None:
    found = assembler.sweep(tiny, ["vars.width=8,16"])
    tiny.unlink()
    assert [variant.report.ok for variant in found] == [True, True]


def test_no_variant_is_kept_and_none_is_checked_before_it_is_asked_for(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = assembler.sweep(tiny, ["vars.width=range(2,2002,2)"])
    asked = []
    real = found._check
    monkeypatch.setattr(found, "_check", lambda overrides: asked.append(overrides) or real(overrides))
    variants = iter(found)
    first = weakref.ref(next(variants).report)
    next(variants)
    gc.collect()
    assert len(asked) == 2
    assert first() is None


def test_what_is_passed_is_gone_without_the_collector(tiny: Path) -> None:
    """It hardly runs while variants are checked: what a variant leaves in circles would stay."""
    variants = iter(assembler.sweep(tiny, ["vars.width=range(2,200,2)"]))
    for _ in range(3):
        next(variants)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            next(variants)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_choices_of_files_that_are_kept_are_bounded(tiny: Path) -> None:
    folder = Path("slots/act")
    folder.mkdir(parents=True)
    for number in range(MOST + 10):
        (folder / f"a{number}.yaml").write_text("kind: identity\n")
    variants = Variants(tiny)
    for number in range(MOST + 10):
        variants.read([f"+slots/act=a{number}"])
    assert len(variants._bases) == MOST


# --- tables ---
ARGUMENTS = ["slots/ffn=mlp,nope", "vars.width=8,9"]


def test_the_table_as_text(tiny: Path) -> None:
    assert str(assembler.sweep(tiny, ["slots/ffn=mlp,moe", "vars.width=8,9", "name=x"])) == (
        "slots/ffn  vars.width       parameters  verdict\n"
        "mlp        8                       840  ok\n"
        "mlp        9                         -  1 error: shape-constraint: `in` of `attend` is 9, which is not a multiple of `heads` = 2: the width is cut into heads of equal width\n"
        "moe        8                     2,592  ok, 912 active, 1 warning\n"
        "moe        9                         -  1 error: shape-constraint: `in` of `attend` is 9, which is not a multiple of `heads` = 2: the width is cut into heads of equal width\n"
        "4 variants: 2 ok, 2 with errors\n"
    )


def test_operations_are_counted_at_the_sizes_that_are_given(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "tiny.yaml", "slots/ffn=mlp,swiglu", "--size", "batch=1", "--size", "seq=10"]) == 0
    assert capsys.readouterr().out == (
        "slots/ffn       parameters                  flops  verdict\n"
        "mlp                    840                 18,560  ok\n"
        "swiglu               1,056                 23,680  ok\n"
        "2 variants: 2 ok\n"
    )
    assert main(["sweep", "tiny.yaml", "name=a,b", "--size", "batch=1", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["flops"] == "32*seq*seq + 1536*seq"
    assert main(["sweep", "tiny.yaml", "name=a,b", "--size", "batch=x"]) == 2


def lines(sweep: Sweep, form: Any) -> str:
    found: list[str] = []
    put(sweep, form, found.append)
    return "".join(found)


def test_the_table_as_json_lines(tiny: Path) -> None:
    found = [json.loads(line) for line in lines(assembler.sweep(tiny, ARGUMENTS), json_lines()).splitlines()]
    assert [(item["overrides"], item["ok"], item["parameters"], item["first"] and item["first"]["code"]) for item in found] == [
        (["slots/ffn=mlp", "vars.width=8"], True, 840, None),
        (["slots/ffn=mlp", "vars.width=9"], False, None, "shape-constraint"),
        (["slots/ffn=nope", "vars.width=8"], False, None, "override-unknown"),
        (["slots/ffn=nope", "vars.width=9"], False, None, "shape-constraint"),
    ]


def test_the_table_as_csv(tiny: Path) -> None:
    found = list(csv.reader(io.StringIO(lines(found := assembler.sweep(tiny, ARGUMENTS), csv_lines(found)))))
    assert found[0] == ["slots/ffn", "vars.width", "verdict", "errors", "warnings", "parameters", "trainable", "active", "flops", "code", "message", "place"]
    assert found[1] == ["mlp", "8", "ok", "0", "0", "840", "840", "", "32*batch*seq*seq + 1536*batch*seq", "", "", ""]
    assert [row[:3] + row[9:10] for row in found[2:]] == [["mlp", "9", "error", "shape-constraint"], ["nope", "8", "error", "override-unknown"], ["nope", "9", "error", "shape-constraint"]]


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\r=x", "'=x", "'", "''", "-"])
def test_no_spreadsheet_runs_a_cell(text: str) -> None:
    assert harmless_cell(text) == f"'{text}"
    assert plain_cell(harmless_cell(text)) == text


@pytest.mark.parametrize("text", ["-4", "+1e-3", "mlp", "", "a=b", "1", "-inf"])
def test_numbers_and_words_stay_as_they_are_in_csv(text: str) -> None:
    assert harmless_cell(text) == plain_cell(text) == text


@given(st.text(st.characters(blacklist_categories=("Cs",))))
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_from_csv_and_json(text: str) -> None:
    report = Report("r", (Diagnostic("value-type", text),))
    variant = Variant((f"name={text}", "a=1"), report)
    grid_of = type("Grid", (), {"axes": (Axis("name", ("name=1", "name=2")), Axis("a", ("a=1",)))})
    (row,) = csv.reader(io.StringIO(csv_lines(grid_of).row(variant), newline=""))  # type: ignore[arg-type]
    assert [plain_cell(row[0]), plain_cell(row[9])] == [text, text]
    data = json.loads(json_lines().row(variant))
    assert (data["overrides"][0], data["first"]["message"]) == (f"name={text}", text)


# --- the command ---
def test_the_command_says_by_its_code_whether_all_check(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "tiny.yaml", "vars.width=8,16"]) == 0
    assert capsys.readouterr().out.endswith("2 variants: 2 ok\n")
    assert main(["sweep", "tiny.yaml", "vars.width=8,9", "--format", "csv"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["sweep", "tiny.yaml", "vars.width=range(100)", "--limit", "99", "--format", "json"]) == 2
    assert capsys.readouterr() == ("", "assembler: the sweep asks for 100 variants, more than 99; --limit N allows more\n")
    assert main(["sweep", "gone.yaml", "vars.width=8,16"]) == 2
    assert "file-not-found" in capsys.readouterr().out
    assert main(["sweep", "tiny.yaml", "vars.width=interval(1,2)"]) == 1
    assert "override-sweep" in capsys.readouterr().out
    assert main(["sweep", "tiny.yaml"]) == 2
