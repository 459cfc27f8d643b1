"""The wheel, installed in an empty environment away from the checkout, without torch.

That `check` needs no torch is shown by there being none; the ejected file is then run by the
environment of the tests, which has torch and is told to ignore this package.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

# Everything that the package depends on but torch.
LIGHT = ("hydra-core", "omegaconf", "pydantic", "networkx", "PyYAML", "safetensors")

USERS = {
    "conf/mine.yaml": """\
defaults:
  - slots/ffn: swiglu
  - _self_
name: mine
vars: {width: 32}
inputs: {x: "[batch seq 16]"}
nodes:
  up: {kind: linear, out: width, from: x}
  think: {slot: ffn, from: up}
  head: {kind: linear, out: 4, from: think}
outputs: {y: head}
""",
}


def _run(command: list[str], folder: Path, code: int = 0) -> str:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy of what is tracked: a build writes beside its sources.
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    _run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(out), str(source)], out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("empty")
    venv.create(home, with_pip=True)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    _run([*pip, *LIGHT], home)
    _run([*pip, "--no-deps", str(wheel)], home)
    return python


def test_the_wheel_holds_what_is_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in (ROOT / "recipes").rglob("*.yaml"):
        assert f"assembler/recipes/{file.relative_to(ROOT / 'recipes').as_posix()}" in names
    for page in (ROOT / "assembler/checks/pages").glob("*.md"):
        assert f"assembler/checks/pages/{page.name}" in names
    assert {"assembler/py.typed", "assembler_schemas/py.typed", "assembler/recipes/__init__.py"} <= names
    tops = {name.split("/")[0].split("-")[0] for name in names}
    assert tops == {"assembler", "assembler_schemas", "model_assembler"}, "nothing else lands in site-packages"


def test_the_command_works_without_torch(python: Path, tmp_path: Path) -> None:
    command = [str(python.with_name("assembler"))]
    _run([str(python), "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is not None)"], tmp_path)
    _run([*command, "new", "tiny"], tmp_path)
    assert "tiny: ok" in _run([*command, "check", "--strict", "tiny.yaml", "slots.ffn.kind=swiglu"], tmp_path)
    assert "attention" in _run([*command, "show", "tiny.yaml"], tmp_path)
    assert "heads" in _run([*command, "kinds", "attention"], tmp_path)
    assert "shape-mismatch" in _run([*command, "explain", "shape-mismatch"], tmp_path)
    _run([*command, "check", "gone.yaml"], tmp_path, code=2)


def test_shipped_recipes_and_slots_are_found_from_a_users_folder(python: Path, tmp_path: Path) -> None:
    for name, text in USERS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [str(python.with_name("assembler"))]
    assert "mine: ok" in _run([*command, "check", "conf/mine.yaml"], tmp_path)
    assert "mlp" in _run([*command, "show", "conf/mine.yaml", "slots/ffn=mlp"], tmp_path)
    code = "from importlib.resources import files; print(*sorted(p.name for p in files('assembler.recipes').iterdir()))"
    assert "digits.yaml" in _run([str(python), "-c", code], tmp_path)


def test_an_ejected_file_runs_where_there_is_no_assembler(python: Path, tmp_path: Path) -> None:
    command = [str(python.with_name("assembler"))]
    _run([*command, "new", "tiny"], tmp_path)
    _run([*command, "eject", "tiny.yaml", "-o", "model.py"], tmp_path)
    (tmp_path / "use.py").write_text(
        "import sys\n"
        "class Never:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('assembler', 'assembler_schemas'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Never())\n"
        "import torch, model\n"
        "torch.set_num_threads(1)\n"
        "made = [v for v in vars(model).values() if isinstance(v, type) and v.__name__ == 'Tiny'][0]()\n"
        "print(tuple(made(torch.zeros(2, 5, 32)).shape), sum(p.numel() for p in made.parameters()))\n"
    )
    assert _run([sys.executable, "use.py"], tmp_path).strip() == "(2, 10) 102858"
