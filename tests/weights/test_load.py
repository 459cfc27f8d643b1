"""`load_weights`: what fits is loaded, what does not is said, and while anything is wrong nothing is written."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import assembler
from assembler.weights.header import WeightsError
from assembler.weights.report import Loaded, WeightsMismatch
from tests.recipes.shipped import SMALL, batch, path, values
from tests.weights.broken import HEADS, made

torch.set_num_threads(1)


def stack(part: str = "think", kind: str = "mlp", name: str = "stack", **more: Any) -> dict[str, Any]:
    """A small residual stack with a head."""
    parts = {"attend": {"kind": "attention", "heads": 2}, part: {"kind": kind}}
    return {
        "inputs": {"x": "[batch seq 8]"},
        "nodes": {name: {"kind": "bus", "repeat": 3, "norm": "pre", "from": "x", "parts": parts}, "head": {"kind": "linear", "out": 5, "from": name}},
        "outputs": {"y": "head"},
    } | more  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return assembler.build(stack(), seed=1)


@pytest.fixture(scope="module")
def run(trained: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "run"
    assembler.save(trained, folder)
    return folder


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def _equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def _refused(model: nn.Module, *words: Any, **more: Any) -> str:
    """What is said; and nothing was written."""
    before = _state(model)
    with pytest.raises(WeightsError) as caught:
        assembler.load_weights(model, *words, **more)
    assert _equal(before, _state(model))
    return str(caught.value)


# --- what fits ---
@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_the_same_recipe_takes_everything(file: str, run: Path, trained: nn.Module) -> None:
    model = assembler.build(stack(), seed=2)
    parameters = list(model.parameters())
    found = assembler.load_weights(model, run / file)
    assert found.whole
    assert len(found.kept) == len(trained.state_dict())
    assert _equal(_state(model), _state(trained))
    assert all(one is two for one, two in zip(parameters, model.parameters(), strict=True))


def test_a_model_without_a_recipe_is_filled_by_names_and_shapes(tmp_path: Path) -> None:
    one, two = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    save_file(one.state_dict(), tmp_path / "w.safetensors")
    assert assembler.load_weights(two, tmp_path / "w.safetensors").whole
    assert _equal(_state(one), _state(two))


def test_a_compiled_model_is_filled_as_the_one_inside(run: Path, trained: nn.Module) -> None:
    model = assembler.build(stack(), seed=2)
    assembler.load_weights(torch.compile(model), run)
    assert _equal(_state(model), _state(trained))


# --- after a swap ---
def test_after_a_swap_everything_else_is_kept(run: Path, trained: nn.Module) -> None:
    model = assembler.build(stack(kind="swiglu"), seed=2)
    text = _refused(model, run)
    assert "stack.*.think.up.weight: mlp became swiglu (3 copies)" in text
    assert ["stack.*.think", "6", "3", "6"] in [line.split() for line in text.splitlines()]
    before = _state(model)
    found = assembler.load_weights(model, run, strict=False)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key] if ".think." in key else trained.state_dict()[key])
    assert {item.node for item in found.new} == {item.after.node for item in found.changed} == {f"stack.{copy}.think" for copy in range(3)}
    assert len(found.kept) + len(found.changed) + len(found.new) == len(model.state_dict())


def test_other_shapes_are_told_with_both(run: Path) -> None:
    model = assembler.build(stack(nodes={**stack()["nodes"], "head": {"kind": "linear", "out": 6, "from": "stack"}}), seed=2)
    text = _refused(model, run / "model.safetensors")
    assert "head.weight: [5 8] became [6 8]" in text
    assert "nothing was loaded" in text


# --- what moved ---
RENAMED = {
    "a container": (stack(name="trunk"), {"stack": "trunk"}),
    "a part of every copy": (stack(part="ffn"), {"stack.*.think": "stack.*.ffn", "stack.*.think_pre_norm": "stack.*.ffn_pre_norm"}),
}


@pytest.mark.parametrize("what", RENAMED)
@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_what_was_renamed_is_guessed_offered_and_taken_when_said(what: str, file: str, run: Path, trained: nn.Module) -> None:
    recipe, moved = RENAMED[what]
    model = assembler.build(recipe, seed=2)
    with pytest.raises(WeightsMismatch) as caught:
        assembler.load_weights(model, run / file)
    assert "did these move" in str(caught.value)
    offered = dict(caught.value.loaded.suggested)
    assert offered == moved
    found = assembler.load_weights(model, run / file, moved=offered)
    assert found.whole
    assert sorted(map(torch.sum, _state(model).values())) == sorted(map(torch.sum, _state(trained).values()))
    told = assembler.build({**recipe, "moved": moved}, seed=2)
    assert assembler.load_weights(told, run / file).whole
    assert _equal(_state(told), _state(model))


@pytest.mark.parametrize(
    ("moved", "says"),
    [({"nothing": "head"}, "stands at `nothing`"), ({"head": "nothing"}, "stands at `nothing`"), ({"stack.*": "stack"}, "the same number"), ({"stack.-1": "stack.0"}, "counts copies")],
)
def test_a_move_that_means_nothing_is_an_error(moved: dict[str, str], says: str, run: Path) -> None:
    assert says in _refused(assembler.build(stack(), seed=2), run, moved=moved)


def test_parts_that_swapped_names_swap_weights(tmp_path: Path) -> None:
    def two(first: str, second: str, **more: Any) -> dict[str, Any]:
        nodes = {first: {"kind": "linear", "out": 8, "from": "x"}, second: {"kind": "linear", "out": 8, "from": first}}
        return {"inputs": {"x": "[batch 8]"}, "nodes": nodes, "outputs": {"y": second}, **more}

    one = assembler.build(two("a", "b"), seed=1)
    assembler.save(one, tmp_path / "run")
    other = assembler.build(two("b", "a", moved={"a": "b", "b": "a"}), seed=2)
    assert assembler.load_weights(other, tmp_path / "run" / "model.safetensors").whole
    assert torch.equal(other.a.weight, one.b.weight)
    assert torch.equal(other.b.weight, one.a.weight)


# --- parts of a file ---
def test_a_part_is_loaded_by_a_selector_and_all_else_stays(run: Path, trained: nn.Module) -> None:
    model = assembler.build(stack(kind="swiglu"), seed=2)
    before = _state(model)
    found = assembler.load_weights(model, run, only="stack.*.attend")
    assert found.whole
    assert len(found.kept) == 3 * 8
    assert set(found.left) == {key for key in trained.state_dict() if ".attend." not in key}
    for key, value in model.state_dict().items():
        assert torch.equal(value, trained.state_dict()[key] if ".attend." in key else before[key])


def test_a_selector_that_names_nothing_lists_what_there_is(run: Path) -> None:
    assert "selects no weight of the model; it has stack, head" in _refused(assembler.build(stack(), seed=2), run, only="encoder")


def test_what_is_selected_and_missing_is_still_an_error(run: Path) -> None:
    assert "stack.*.ffn" in _refused(assembler.build(stack(part="ffn", kind="swiglu"), seed=2), run, only=["stack.*.attend", "stack.*.ffn"])


# --- tied weights ---
def tied(tie: bool) -> dict[str, Any]:
    more = {"tie": {"weight": "embed.weight"}} if tie else {}
    nodes = {"embed": {"kind": "embedding", "out": 4, "from": "ids"}, "head": {"kind": "linear", "out": 9, "bias": False, "from": "embed", **more}}
    return {"inputs": {"ids": "ids(9) [batch seq]"}, "nodes": nodes, "outputs": {"y": "head"}}


def test_a_tied_weight_may_stand_in_a_file_under_any_of_its_names_or_under_all(tmp_path: Path) -> None:
    table = torch.randn(9, 4)
    for number, keys in enumerate((["embed.weight"], ["head.weight"], ["embed.weight", "head.weight"])):
        file = tmp_path / f"{number}.safetensors"
        save_file({key: table.clone() for key in keys}, file)
        model = assembler.build(tied(True), seed=1)
        assert assembler.load_weights(model, file).whole
        assert model.head.weight is model.embed.weight
        assert torch.equal(model.embed.weight, table)


def test_two_values_for_one_weight_are_an_error(tmp_path: Path) -> None:
    save_file({"embed.weight": torch.zeros(9, 4), "head.weight": torch.ones(9, 4)}, tmp_path / "w.safetensors")
    assert "are one weight in the model (`embed.weight`) and differ" in _refused(assembler.build(tied(True), seed=1), tmp_path / "w.safetensors")
    model = assembler.build(tied(False), seed=1)
    assert assembler.load_weights(model, tmp_path / "w.safetensors").whole
    assert torch.equal(model.head.weight, torch.ones(9, 4))


def test_a_file_that_notes_a_tie_fills_both_places_of_a_model_that_has_two(tmp_path: Path) -> None:
    save_file({"embed.weight": torch.ones(9, 4)}, tmp_path / "w.safetensors", metadata={"format": "pt", "head.weight": "embed.weight"})
    model = assembler.build(tied(False), seed=1)
    assert assembler.load_weights(model, tmp_path / "w.safetensors").whole
    assert torch.equal(model.head.weight, model.embed.weight)
    assert model.head.weight is not model.embed.weight


def test_a_tied_weight_is_selected_by_any_of_its_names(tmp_path: Path) -> None:
    save_file({"embed.weight": torch.ones(9, 4)}, tmp_path / "w.safetensors")
    model = assembler.build(tied(True), seed=1)
    assert assembler.load_weights(model, tmp_path / "w.safetensors", only="head").whole
    assert torch.equal(model.embed.weight, torch.ones(9, 4))


# --- a host and its grafts ---
@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_a_host_takes_its_weights_and_the_grafts_on_it_stay_silent(file: str, tmp_path: Path) -> None:
    host = assembler.build(assembler.load(path("gpt2"), SMALL["gpt2"]), seed=1).eval()
    assembler.save(host, tmp_path / "run")
    model = assembler.build(assembler.load(path("gpt2"), [*SMALL["gpt2"], "+grafts=lora"]), seed=2).eval()
    assert "stack.*.attend.q.lora_q.down.weight: [8 32] (2 copies)" in _refused(model, tmp_path / "run" / file)
    found = assembler.load_weights(model, tmp_path / "run" / file, strict=False)
    assert {item.key for item in found.new} == {key for key in model.state_dict() if "lora_" in key}
    assert found.changed == found.dropped == found.broken == ()
    with torch.no_grad():
        assert torch.equal(values(model(**batch("gpt2")))[0], values(host(**batch("gpt2")))[0])


# --- bad values ---
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_not_finite_is_named_and_taken_only_when_asked(value: float, dtype: torch.dtype, tmp_path: Path) -> None:
    model = assembler.build(tied(False), seed=1, dtype=dtype)
    weights = {key: item.clone() for key, item in model.state_dict().items()}
    weights["head.weight"][2, 1] = value
    save_file(weights, tmp_path / "w.safetensors")
    assert "head.weight: 1 of 36 elements" in _refused(model, tmp_path / "w.safetensors")
    assembler.load_weights(model, tmp_path / "w.safetensors", allow_nonfinite=True)
    assert not torch.isfinite(model.head.weight).all()


def test_finite_numbers_whose_sum_is_not_are_taken(tmp_path: Path) -> None:
    model = assembler.build(tied(False), seed=1)
    save_file({"embed.weight": torch.full((9, 4), 3e38), "head.weight": torch.zeros(9, 4)}, tmp_path / "w.safetensors")
    assert assembler.load_weights(model, tmp_path / "w.safetensors").whole


def test_another_dtype_is_converted_only_when_asked(tmp_path: Path) -> None:
    model = assembler.build(tied(False), seed=1)
    save_file({"embed.weight": torch.ones(9, 4, dtype=torch.bfloat16), "head.weight": torch.ones(9, 4, dtype=torch.float64)}, tmp_path / "w.safetensors")
    text = _refused(model, tmp_path / "w.safetensors")
    assert "embed.weight: bfloat16 in the file, float32 in the model" in text
    assembler.load_weights(model, tmp_path / "w.safetensors", cast=True)
    assert model.embed.weight.dtype == torch.float32
    save_file({"embed.weight": torch.ones(9, 4, dtype=torch.int32), "head.weight": torch.ones(9, 4)}, tmp_path / "w.safetensors")
    assert "int32 in the file" in _refused(model, tmp_path / "w.safetensors", cast=True)


@pytest.mark.parametrize("name", HEADS)
def test_a_file_that_is_no_weights_changes_nothing(name: str, tmp_path: Path) -> None:
    assert HEADS[name][1] in _refused(assembler.build(tied(False), seed=1), made(name, tmp_path))


def test_a_model_on_meta_cannot_be_loaded_into(run: Path) -> None:
    with pytest.raises(WeightsError, match=r"assembler\.initialize"):
        assembler.load_weights(assembler.build(stack(), device="meta"), run)


def test_a_folder_whose_recipe_no_longer_checks_points_to_the_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("nodes: {a: {kind: no_such}}\n")
    (tmp_path / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    assert "name " + str(tmp_path / "model.safetensors") in _refused(assembler.build(stack(), seed=2), tmp_path)
    assert "assembler.save" in _refused(assembler.build(stack(), seed=2), tmp_path.parent)


# --- what the recipe promises of the start ---
def test_promises_of_the_recipe_that_hold_no_more_are_listed_and_no_others(tmp_path: Path) -> None:
    recipe = stack(grafts={"side": {"write": "stack.*.attend", "mode": "add", "init": "zero", "part": {"kind": "mlp", "hidden": 4}}})
    fresh, model = assembler.build(recipe, seed=1), assembler.build(recipe, seed=2)
    assembler.save(fresh, tmp_path / "fresh")
    assert assembler.load_weights(model, tmp_path / "fresh").broken == ()
    trained = copy.deepcopy(fresh)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1)
    assembler.save(trained, tmp_path / "trained")
    found = assembler.load_weights(model, tmp_path / "trained")
    assert found.whole
    assert {item.address for item in found.broken} == {key for key in model.state_dict() if "side" in key and ".down." in key}
    assert "no longer as the recipe starts them" in str(found)
    host = assembler.load_weights(assembler.build(recipe, seed=2), tmp_path / "trained", only="head")
    assert host.broken == ()


def test_a_copy_that_is_none_any_more_is_a_broken_promise(tmp_path: Path) -> None:
    nodes = {"a": {"kind": "linear", "out": 8, "from": "x"}, "b": {"kind": "linear", "out": 8, "init": {"copy": "a"}, "from": "a"}}
    recipe = {"inputs": {"x": "[batch 8]"}, "nodes": nodes, "outputs": {"y": "b"}}
    model, other = assembler.build(recipe, seed=1), assembler.build(recipe, seed=2)
    assembler.save(other, tmp_path / "run")
    assert [item.address for item in assembler.load_weights(model, tmp_path / "run", only="a").broken] == ["b.weight", "b.bias"]
    assert assembler.load_weights(model, tmp_path / "run").broken == ()


def test_the_report_is_a_value_that_prints(run: Path) -> None:
    found = assembler.load_weights(assembler.build(stack(), seed=2), run)
    assert isinstance(found, Loaded)
    assert str(found) == f"{run / 'model.safetensors'}: {len(found.kept)} of {len(found.kept)} weights fit"
