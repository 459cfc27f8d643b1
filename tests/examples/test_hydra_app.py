"""A Hydra application with a recipe for a model, each run in a process of its own: Hydra is a singleton."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "examples" / "hydra_app" / "app.py"
PAGE = (ROOT / "docs" / "hydra.md").read_text(encoding="utf-8")


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "schemas")]), "HYDRA_FULL_ERROR": "0", "COLUMNS": "200"}
    return subprocess.run([sys.executable, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)


def app(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run(APP, *words, cwd=cwd)


def test_it_trains_and_saves_a_model_that_loads_without_the_application(tmp_path: Path) -> None:
    done = app("hydra.run.dir=here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "patches: ok, 26,474 parameters" in done.stdout
    accuracy = re.search(r"held-out accuracy ([\d.]+) %; saved in (.*)", done.stdout)
    assert accuracy is not None
    assert float(accuracy[1]) > 75
    assert Path(accuracy[2]) == tmp_path / "here"
    code = (
        "import assembler, torch; model = assembler.load_model('here/model').eval()\n"
        "print(tuple(model(torch.zeros(2, 1, 8, 8))['logits'].shape))"
    )
    assert run("-c", code, cwd=tmp_path).stdout == "(2, 10)\n"
    saved = (tmp_path / "here" / "model" / "recipe.yaml").read_text(encoding="utf-8")
    assert "${" not in saved


def test_a_multirun_swaps_what_fills_a_slot(tmp_path: Path) -> None:
    done = app("-m", "model/slots/ffn=mlp,swiglu,moe", "train.epochs=1", "hydra.sweep.dir=many", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"patches: ok, (.*)", done.stdout)
    assert found == ["26,474 parameters", "28,202 parameters", "43,562 parameters, 26,794 active"]
    assert sorted(path.name for path in (tmp_path / "many").glob("*/model")) == ["model"] * 3


def test_a_shipped_recipe_takes_shipped_slots_rules_and_grafts(tmp_path: Path) -> None:
    words = ["slots/ffn@model.slots.ffn=swiglu", "+rules@model.rules=[peri]", "+grafts@model.grafts=side_expert"]
    done = app("--config-name", "shipped", *words, "model.vars.depth=4", "train.epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "graft `side` (gate): silent at the start, bit for bit" in done.stdout
    assert "digits: ok, " in done.stdout


@pytest.mark.parametrize(
    ("override", "finding"),
    [
        ("+model.nodes.head.in=48", "error[shape-mismatch]: `pool.y` does not fit `head.x`: last dim 32 against 48\n  --> model.nodes.head.in\n   |\n   | in: 48\n   |     ^^ 48 stated here\n"),
        ("model.nodes.head.kind=liner", "  --> model.nodes.head.kind\n   |\n   | kind: liner\n   |       ^^^^^"),
        ("model.vars.width=${widht}", "error[interpolation]: `${widht}` cannot be resolved: Interpolation key 'widht' not found\n  --> model.vars.width\n"),
        ("model.vars.width=???", "error[missing-value]: `???`: a value is wanted, and none was given\n  --> model.vars.width\n"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_at_the_key_of_the_configuration_and_hydra_prints_it_whole(override: str, finding: str, tmp_path: Path) -> None:
    done = app(override, cwd=tmp_path)
    assert done.returncode == 1
    assert finding in done.stderr
    assert done.stderr.count("error[") == 1
    assert "Error executing job with overrides" in done.stderr
    assert not list(tmp_path.rglob("model"))


def test_what_hydra_refuses_it_refuses_in_its_own_words(tmp_path: Path) -> None:
    typed = app("train.epochs=many", cwd=tmp_path)
    assert "Value 'many' of type 'str' could not be converted to Integer" in typed.stderr
    unknown = app("model.nodes.head.in=48", cwd=tmp_path)
    assert "Key 'in' is not in struct" in unknown.stderr


def test_the_package_leaves_hydra_and_its_resolvers_alone(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("a: 1\nhydra: {output_subdir: null, run: {dir: .}}\n", encoding="utf-8")
    (tmp_path / "app.py").write_text(ALONE, encoding="utf-8")
    done = run("app.py", ROOT / "recipes" / "digits.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"before": False, "imported": False, "used": False, "inside": "266,314", "same": True, "version": True}


ALONE = '''
import json, sys
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.config_store import ConfigStore
from hydra.version import VersionBase
from omegaconf import OmegaConf
import hydra
said = {"before": GlobalHydra.instance().is_initialized()}
stored, resolvers = repr(ConfigStore.instance().repo), set(OmegaConf._get_resolvers() if hasattr(OmegaConf, "_get_resolvers") else [])
import assembler
said["imported"] = GlobalHydra.instance().is_initialized()
recipe = sys.argv.pop()
assembler.check(recipe, ["slots/ffn=swiglu"])
said["used"] = GlobalHydra.instance().is_initialized()
assert repr(ConfigStore.instance().repo) == stored
@hydra.main(version_base="1.2", config_path="conf", config_name="config")
def main(cfg):
    running, version = GlobalHydra.instance().hydra, str(VersionBase.instance().version_base)
    found = assembler.check(assembler.load(recipe, ["slots/ffn=swiglu"]))
    said["inside"] = str(found).split("ok, ")[1].split()[0]
    said["same"] = GlobalHydra.instance().hydra is running and HydraConfig.get().job.name == "app"
    said["version"] = str(VersionBase.instance().version_base) == version
main()
print(json.dumps(said))
'''


def test_every_override_that_the_page_and_the_example_show_is_one_that_works() -> None:
    """The commands in the head of the example are the page's."""
    head = ast.get_docstring(ast.parse(APP.read_text(encoding="utf-8"))) or ""
    commands = [line.split("  ")[0].strip() for line in head.splitlines() if line.strip().startswith("python app.py")]
    commands = [" ".join(line.split()) for line in commands]
    assert commands
    assert all(line in PAGE for line in commands), commands
