"""`save` and `load_model`: a folder gives back the model to the last bit, or says why not and leaves everything alone."""

from __future__ import annotations

import copy
import json
import os
import pickle
import resource
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import assembler
from assembler.assemble import origin
from assembler.weights import folder
from assembler.weights.folder import OlderFolder
from assembler.weights.header import WeightsError, read_header
from tests.recipes.shipped import NAMES, SMALL, batch, path, values
from tests.recipes.test_grafts import CASES

torch.set_num_threads(1)

TIED = {
    "inputs": {"ids": "ids(20) [batch seq]"},
    "nodes": {
        "embed": {"kind": "embedding", "out": 8, "from": "ids"},
        "one": {"kind": "mlp", "from": "embed"},
        "two": {"same": "one", "from": "one"},
        "head": {"kind": "linear", "out": 20, "bias": False, "tie": {"weight": "embed.weight"}, "from": "two"},
    },
    "outputs": {"logits": "head"},
}  # fmt: skip
PLAIN = {"inputs": {"x": "[batch 8]"}, "nodes": {"a": {"kind": "mlp", "from": "x"}, "b": {"kind": "batch_norm", "from": "a"}}, "outputs": {"y": "b"}}


def _same(one: nn.Module, two: nn.Module) -> None:
    first, second = one.state_dict(), two.state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) and first[key].dtype == second[key].dtype for key in first)
    assert [item.requires_grad for item in one.parameters()] == [item.requires_grad for item in two.parameters()]


def _groups(model: nn.Module) -> list[set[str]]:
    """Keys that are one tensor."""
    found: dict[int, set[str]] = {}
    for key, value in model.state_dict(keep_vars=True).items():
        found.setdefault(id(value), set()).add(key)
    return [group for group in found.values() if len(group) > 1]


# --- what comes back ---
@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_comes_back_to_the_last_bit(name: str, tmp_path: Path) -> None:
    model = assembler.build(assembler.load(path(name), SMALL[name]), seed=3)
    with torch.no_grad():
        for parameter in model.parameters():  # no longer as the recipe starts it
            parameter.add_(0.01)
    assembler.save(model, tmp_path / "run")
    assert sorted(os.listdir(tmp_path)) == ["run"]
    found = assembler.load_model(tmp_path / "run")
    _same(model, found)
    assert _groups(model) == _groups(found)
    inputs = batch(name)
    model.eval()
    found.eval()
    with torch.no_grad():
        assert all(torch.equal(one, two) for one, two in zip(values(model(**inputs)), values(found(**inputs)), strict=True))


@pytest.mark.parametrize(("name", "overrides"), [(case[0], case[1]) for case in CASES], ids=lambda item: str(item))
def test_a_grafted_recipe_comes_back(name: str, overrides: list[str], tmp_path: Path) -> None:
    model = assembler.build(assembler.load(path(name), [*(SMALL[name] if name != "digits" else ()), *overrides, "+freeze=true"]), seed=3)
    assembler.save(model, tmp_path / "run")
    _same(model, assembler.load_model(tmp_path / "run"))


def test_what_is_tied_or_shared_stands_once_in_the_file_and_is_one_again(tmp_path: Path) -> None:
    model = assembler.build(TIED, seed=1)
    assembler.save(model, tmp_path / "run")
    assert sorted(read_header(tmp_path / "run" / "model.safetensors").entries) == ["embed.weight", "one.down.bias", "one.down.weight", "one.up.bias", "one.up.weight"]
    found = assembler.load_model(tmp_path / "run")
    assert found.head.weight is found.embed.weight
    assert found.two is found.one
    assert _groups(found) == _groups(model)


def test_dtypes_come_back_and_are_converted_only_when_asked(tmp_path: Path) -> None:
    recipe = {**PLAIN, "nodes": {"a": {"kind": "mlp", "from": "x", "dtype": "f32"}, "b": {"kind": "linear", "out": 4, "from": "x"}}, "outputs": {"y": "a", "z": "b"}}
    model = assembler.build(recipe, seed=1, dtype=torch.bfloat16)
    assembler.save(model, tmp_path / "run")
    _same(model, assembler.load_model(tmp_path / "run"))
    wide = assembler.load_model(tmp_path / "run", dtype=torch.float64)
    assert (wide.a.up.weight.dtype, wide.b.weight.dtype) == (torch.float32, torch.float64)
    assert torch.equal(wide.b.weight, model.b.weight.double())


def test_buffers_come_back(tmp_path: Path) -> None:
    model = assembler.build(PLAIN, seed=1)
    model(torch.randn(5, 8))
    assembler.save(model, tmp_path / "run")
    found = assembler.load_model(tmp_path / "run")
    assert int(found.b.num_batches_tracked) == 1
    _same(model, found)


def test_training_on_a_mapped_file_leaves_the_file_alone(tmp_path: Path) -> None:
    assembler.save(assembler.build(TIED, seed=1), tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    model = assembler.load_model(tmp_path / "run")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    old = model.embed.weight.detach().clone()
    model(torch.arange(20)[None]).square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.embed.weight, old)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assembler.save(model, tmp_path / "run")  # over the file that it is mapped from
    _same(model, assembler.load_model(tmp_path / "run"))


def test_a_large_model_is_laid_out_on_meta_and_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = assembler.build(TIED, seed=1)
    assembler.save(model, tmp_path / "run")
    monkeypatch.setattr("assembler.compiler.build.ONLY_META", 1)
    found = assembler.load_model(tmp_path / "run")
    _same(model, found)
    assert found.head.weight is found.embed.weight


def test_a_loaded_model_is_one_that_was_built(tmp_path: Path) -> None:
    assembler.save(assembler.build(TIED, seed=1), tmp_path / "run")
    state = torch.get_rng_state()
    found = assembler.load_model(tmp_path / "run")
    assert torch.equal(state, torch.get_rng_state())
    known = origin(found)
    assert known is not None
    assert list(known.graph.scope.nodes) == list(TIED["nodes"])
    _same(found, copy.deepcopy(found))
    _same(found, pickle.loads(pickle.dumps(found)))


def test_a_text_that_only_yaml_1_1_takes_for_one_comes_back(tmp_path: Path) -> None:
    recipe = {**PLAIN, "name": "a", "description": "1e-3", "nodes": {"a": {"kind": "dropout", "p": 1e-5, "from": "x"}}, "outputs": {"y": "a"}}
    assembler.save(assembler.build(recipe), tmp_path / "run")
    assert assembler.load(tmp_path / "run" / "recipe.yaml").tree.plain() == recipe


def test_a_model_whose_part_was_swapped_is_saved_with_the_recipe_that_it_has_now(tmp_path: Path) -> None:
    model = assembler.build(assembler.load(path("digits"), SMALL["digits"]), seed=1)
    assembler.swap(model, "ffn", {"kind": "swiglu"}, seed=2)
    assembler.save(model, tmp_path / "run")
    found = assembler.load_model(tmp_path / "run")
    _same(model, found)
    assert type(found.encoder[0].think) is type(model.encoder[0].think)


def test_a_model_too_large_to_be_unfolded_is_kept_by_names_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assembler.facts.flow.MAX_USES", 2)
    model = assembler.build(TIED, seed=1)
    assembler.save(model, tmp_path / "run")
    assert list(json.loads((tmp_path / "run" / "lock.json").read_text())) == ["weights"]
    found = assembler.load_model(tmp_path / "run")
    _same(model, found)
    assert _groups(model) == _groups(found)
    assert assembler.load_weights(assembler.build(TIED, seed=2), tmp_path / "run").whole


# --- what save refuses ---
@pytest.mark.parametrize("text", ["\ud800", "x" * 30_000], ids=["half", "long"])
def test_a_text_that_no_recipe_file_may_hold_is_refused_in_words(text: str, tmp_path: Path) -> None:
    model = assembler.build({**PLAIN, "description": text})
    with pytest.raises(ValueError, match="cannot be kept in a file"):
        assembler.save(model, tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_a_model_of_which_nobody_knows_the_recipe_wants_one(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(assembler.eject(TIED), "<ejected>", "exec"), names)
    ejected = names["Model"](seed=1)
    with pytest.raises(ValueError, match=r"say `recipe=\.\.\.`"):
        assembler.save(ejected, tmp_path / "run")
    with pytest.raises(WeightsError, match="not built of it"):
        assembler.save(ejected, tmp_path / "run", recipe=PLAIN)
    assert os.listdir(tmp_path) == []
    assembler.save(ejected, tmp_path / "run", recipe=TIED)
    _same(assembler.build(TIED, seed=1), assembler.load_model(tmp_path / "run"))


def test_a_folder_of_others_is_left_alone_and_with_force_only_ours_is_written(tmp_path: Path) -> None:
    model = assembler.build(PLAIN, seed=1)
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match=r"thesis\.tex.*force=True"):
        assembler.save(model, tmp_path)
    assembler.save(model, tmp_path, force=True)
    assert sorted(os.listdir(tmp_path)) == ["lock.json", "model.safetensors", "recipe.yaml", "thesis.tex"]
    assembler.save(model, tmp_path)  # now it is one of ours
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_link_a_file_and_a_folder_without_parent_are_refused(tmp_path: Path) -> None:
    model = assembler.build(PLAIN, seed=1)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(FileExistsError, match="a link or a file"):
            assembler.save(model, tmp_path / name, force=True)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        assembler.save(model, tmp_path / "none" / "run")


def test_a_model_on_meta_has_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"assembler\.initialize"):
        assembler.save(assembler.build(PLAIN, device="meta"), tmp_path / "run")


@pytest.mark.parametrize("broken", ["_write_weights", "_write_text", "_same_recipe", "_lock_text"])
def test_a_failure_in_the_middle_leaves_what_was_there(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = assembler.build(PLAIN, seed=1)
    assembler.save(model, tmp_path / "run")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in os.listdir(tmp_path / "run")}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, broken, full)
    for name in ("run", "new"):
        with pytest.raises(OSError, match="is not saved: No space left on device; what was there is as it was") as caught:
            assembler.save(assembler.build(PLAIN, seed=2), tmp_path / name)
        assert caught.value.errno == 28
    assert os.listdir(tmp_path) == ["run"]
    assert {name: (tmp_path / "run" / name).read_bytes() for name in os.listdir(tmp_path / "run")} == before


FULL = """
import resource, sys, torch, assembler
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = assembler.build({"inputs": {"x": "[batch 64]"}, "nodes": {"a": {"kind": "mlp", "from": "x"}}, "outputs": {"y": "a"}})
try:
    assembler.save(model, sys.argv[1])
except OSError as problem:
    print(problem)
"""


def test_a_file_that_grows_beyond_the_limit_leaves_nothing_half_written(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "is not saved" in done.stdout
    assert "what was there is as it was" in done.stdout
    assert "None" not in done.stdout
    assert os.listdir(tmp_path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20_000


# --- what load_model refuses ---
@pytest.fixture
def run(tmp_path: Path) -> Path:
    assembler.save(assembler.build(PLAIN, seed=1), tmp_path / "run")
    return tmp_path / "run"


def _lock(run: Path, **changes: Any) -> None:
    made = json.loads((run / "lock.json").read_text())
    (run / "lock.json").write_text(json.dumps({**made, **changes}))


def test_another_file_of_weights_is_seen_by_its_hash_or_its_size(run: Path) -> None:
    other = bytearray((run / "model.safetensors").read_bytes())
    other[-1] ^= 1
    (run / "model.safetensors").write_bytes(other)
    with pytest.raises(WeightsError, match="is not the file that was saved: it has the sha256"):
        assembler.load_model(run)
    assembler.load_model(run, verify=False)
    _lock(run, weights={"bytes": 1, "sha256": ""})
    with pytest.raises(WeightsError, match="bytes long, not 1"):
        assembler.load_model(run, verify=False)


def test_nan_is_refused_unless_it_is_wanted(tmp_path: Path) -> None:
    model = assembler.build(PLAIN, seed=1)
    with torch.no_grad():
        model.a.up.weight[0, 0] = float("nan")
    assembler.save(model, tmp_path / "run")
    with pytest.raises(WeightsError, match=r"(?s)NaN or infinity.*a\.up\.weight: 1 of 256 elements"):
        assembler.load_model(tmp_path / "run")
    assert torch.isnan(assembler.load_model(tmp_path / "run", allow_nonfinite=True).a.up.weight).sum() == 1


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.yaml", "lock.json"])
def test_a_folder_that_lacks_a_file_says_which(name: str, run: Path) -> None:
    (run / name).unlink()
    with pytest.raises(WeightsError, match=f"lacks {name}"):
        assembler.load_model(run)


def test_a_file_that_was_cut_off_is_refused(run: Path) -> None:
    data = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(data[:-4])
    with pytest.raises(WeightsError, match="is cut off"):
        assembler.load_model(run)


def test_a_recipe_that_means_other_weights_is_told_apart(run: Path) -> None:
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text.replace("[batch 8]", "[batch 9]"))
    with pytest.raises(WeightsError, match=r"a\.up\.weight: \[32 8\] became \[36 9\]"):
        assembler.load_model(run)
    (run / "recipe.yaml").write_text(text.replace("mlp", "mpl"))
    with pytest.raises(assembler.RecipeError):
        assembler.load_model(run)


def test_a_folder_of_an_older_release_says_what_differs_and_loads_what_still_fits(run: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assembler.load_model(run)
    kinds = json.loads((run / "lock.json").read_text())["kinds"]
    _lock(run, kinds={**kinds, "mlp": 0})
    with pytest.warns(OlderFolder, match="`mlp` was version 0 and is 1"):
        found = assembler.load_model(run)
    _same(found, assembler.build(PLAIN, seed=1))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "{}", '{"weights": 1}', '{"weights": {"bytes": "1", "sha256": ""}}', '{"weights": {}, "weights": {}}', "[" * 10_000, '{"weights": NaN}', "\ufeff{}", "9" * 5_000],
    ids=["empty", "list", "open", "bare", "number", "text", "twice", "deep", "nan", "mark", "digits"],
)  # fmt: skip
def test_a_lock_that_is_none_is_refused(text: str, run: Path) -> None:
    (run / "lock.json").write_text(text)
    with pytest.raises(WeightsError, match=r"lock\.json"):
        assembler.load_model(run)


def test_a_folder_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="load_weights"):
        assembler.load_model(tmp_path / "none")


def test_a_moved_part_of_an_old_folder_is_found_by_the_recipe(run: Path) -> None:
    recipe = (run / "recipe.yaml").read_text()
    text = recipe.replace("  a:\n", "  think:\n").replace("from: a\n", "from: think\n")
    (run / "recipe.yaml").write_text(text)
    with pytest.raises(WeightsError, match=r"did these move.*\n  a: think"):
        assembler.load_model(run)
    (run / "recipe.yaml").write_text(text + "moved: {a: think}\n")
    assert torch.equal(assembler.load_model(run).think.up.weight, assembler.build(PLAIN, seed=1).a.up.weight)


def test_a_recipe_that_wants_far_more_than_the_file_holds_is_refused_before_it_is_laid_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assembler.save(assembler.build(PLAIN, seed=0), tmp_path / "run")
    place = tmp_path / "run" / "recipe.yaml"
    place.write_text(place.read_text().replace("kind: mlp", "kind: mlp, hidden: 2000000" if "{kind: mlp" in place.read_text() else "kind: mlp\n    hidden: 2000000"))
    monkeypatch.setattr(folder, "build", None)
    with pytest.raises(WeightsError, match=r"holds \d+ numbers, and the recipe beside it has 34,000,0\d\d parameters"):
        assembler.load_model(tmp_path / "run")
