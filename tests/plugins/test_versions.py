"""Kinds in several versions: old recipes keep their meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import assembler
from assembler.cli import main
from assembler.library import registry
from assembler.report.schema import to_schema

torch.set_num_threads(1)
X = torch.arange(4.0).reshape(1, 4)


@pytest.fixture(autouse=True)
def twice() -> None:
    @assembler.kind("x: [... d] -> y: [... d]", name="twice")
    class Added(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x

    @assembler.kind("x: [... d] -> y: [... d]", name="twice", version=2)
    class Multiplied(nn.Module):
        def __init__(self, factor: float = 2.5) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor


def recipe(kind: str, **node: Any) -> dict[str, Any]:
    return {"inputs": {"x": "[batch 4]"}, "slots": {"part": {"kind": kind, **node}}, "nodes": {"a": {"slot": "part", "from": "x"}}, "outputs": {"y": "a"}}


@pytest.mark.parametrize(("kind", "factor"), [("twice", 2.5), ("twice@1", 2.0), ("twice@2", 2.5)])
def test_a_recipe_says_which_version_it_means(kind: str, factor: float) -> None:
    assert torch.equal(assembler.build(recipe(kind))(X), X * factor)


def test_an_override_may_choose_a_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("inputs: {x: '[batch 4]'}\nslots:\n  part: {kind: twice}\nnodes:\n  a: {slot: part, from: x}\noutputs: {y: a}\n")
    assert torch.equal(assembler.build(assembler.load(path, ["slots.part.kind=twice@1"]))(X), X * 2)
    assert torch.equal(assembler.build(assembler.load(path))(X), X * 2.5)
    assert main(["show", str(path), "slots.part.kind=twice@1", "--stage", "recipe"]) == 0
    assert "kind: twice@1" in capsys.readouterr().out


def test_options_are_those_of_the_version() -> None:
    assert assembler.check(recipe("twice@2", factor=3.0)).ok
    assert [item.code for item in assembler.check(recipe("twice@1", factor=3.0)).diagnostics] == ["unknown-option"]


@pytest.mark.parametrize(
    ("kind", "message", "help"),
    [
        ("twice@3", "`twice` has no version 3", "there is `twice@1`, `twice@2`; `twice` alone means the newest"),
        ("twice@", "`twice` has no version ''", "there is `twice@1`, `twice@2`; `twice` alone means the newest"),
        ("linear@2", "`linear` has no version 2", "there is `linear@1`; `linear` alone means the newest"),
    ],
)
def test_an_unknown_version_lists_those_there_are(kind: str, message: str, help: str) -> None:
    (found,) = assembler.check(recipe(kind)).diagnostics
    assert (found.code, found.message, found.help) == ("unknown-version", message, help)


def test_a_version_of_no_kind_is_an_unknown_kind() -> None:
    (found,) = assembler.check(recipe("twyce@1")).diagnostics
    assert (found.code, found.help) == ("unknown-kind", "did you mean `twice`?")


def test_what_was_recorded_can_be_pinned_while_a_folder_is_read() -> None:
    with registry.pinned({"twice": 1}):
        old = assembler.build(recipe("twice"))
    assert torch.equal(old(X), X * 2)
    assert torch.equal(assembler.build(recipe("twice"))(X), X * 2.5)


def test_a_recipe_that_was_read_under_a_pin_is_read_anew_without() -> None:
    loaded = assembler.recipe({"inputs": {"x": "[batch 4]"}, "nodes": {"a": {"kind": "twice", "from": "x"}}, "outputs": {"y": "a"}})
    with registry.pinned({"twice": 1}):
        assert torch.equal(assembler.build(loaded)(X), X * 2)
    assert torch.equal(assembler.build(loaded)(X), X * 2.5)


def test_the_schema_knows_every_version() -> None:
    schema = to_schema()
    assert "factor" in schema["definitions"]["kind_twice"]["properties"]
    assert "factor" not in schema["definitions"]["kind_twice@1"]["properties"]


def test_the_catalogue_says_which_versions_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kinds", "twice@1"]) == 0
    assert "version 1 of twice@1, twice@2" in capsys.readouterr().out


def test_a_node_of_an_older_version_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("inputs: {x: '[batch 4]'}\nnodes:\n  a: {kind: twice, from: x}\n  b: {kind: twice@1, from: a}\noutputs: {y: b}\n")
    assert main(["show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[1] for line in shown.split("\n") if line.startswith(("  a ", "  b "))] == ["twice", "twice@1"]


# --- locks and folders ---
def test_a_lock_holds_the_version_that_the_plain_name_means_and_says_where_another_stands() -> None:
    source = {"inputs": {"x": "[batch 4]"}, "nodes": {"a": {"kind": "twice", "from": "x"}, "b": {"kind": "twice@1", "from": "a"}}, "outputs": {"y": "b"}}
    held = assembler.lock(source)
    assert held["kinds"] == {"twice": 2}
    assert {address: node["kind"] for address, node in held["nodes"].items()} == {"a": "twice", "b": "twice@1"}


def test_a_folder_that_was_saved_under_version_1_means_version_1(tmp_path: Path) -> None:
    class Stretched(nn.Module):
        def __init__(self, d: int, offset: float = 0.0) -> None:
            super().__init__()
            self.weight, self.offset = nn.Parameter(torch.empty(d)), offset
            self.reset_parameters()

        def reset_parameters(self) -> None:
            nn.init.uniform_(self.weight)

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight + self.offset

    class Offset(Stretched):
        def __init__(self, d: int) -> None:
            super().__init__(d, 1.0)

    assembler.kind("x: [... d] -> y: [... d]", name="stretched", parameters={"weight": "d"})(Stretched)
    source = {"inputs": {"x": "[batch 4]"}, "nodes": {"a": {"kind": "stretched", "from": "x"}}, "outputs": {"y": "a"}}
    model = assembler.build(source)
    assembler.save(model, tmp_path / "saved")
    assembler.kind("x: [... d] -> y: [... d]", name="stretched", version=2, parameters={"weight": "d"})(Offset)
    assert torch.equal(assembler.load_model(tmp_path / "saved")(X), model(X))
