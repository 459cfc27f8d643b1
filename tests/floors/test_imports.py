"""The floors: nothing imports upward, torch stays where it belongs, `check` starts light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assembler.report.starter import starter

ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join((str(ROOT), str(ROOT / "schemas")))
ENV = {"PYTHONPATH": PYTHONPATH, "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "")}
SOURCES = sorted([*(ROOT / "assembler").rglob("*.py"), *(ROOT / "schemas").rglob("*.py")])


def run(code: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=folder, env=ENV, capture_output=True, text=True, timeout=60, check=False
    )


def test_nothing_imports_upward() -> None:
    """import-linter's contracts in pyproject.toml."""
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as go; go(['--no-cache'])"]
    done = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


TORCH_ROOMS = ("assembler/library/modules/", "assembler/compiler/build.py", "assembler/compiler/measure.py", "assembler/lab/", "assembler/weights/", "assembler/testing/")


def _imports(tree: ast.Module) -> set[str]:
    """Modules that are imported when the code runs; `if TYPE_CHECKING:` does not."""
    found: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            todo.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found.update(item.name.split(".")[0] for item in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
        todo.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_torch_is_imported_in_its_rooms_only(path: Path) -> None:
    imports = _imports(ast.parse(path.read_text()))
    place = path.relative_to(ROOT).as_posix()
    if not place.startswith(TORCH_ROOMS):
        assert "torch" not in imports
    if place.startswith("assembler/library/modules/"):
        outside = imports - set(sys.stdlib_module_names) - {"torch", "assembler"}
        assert not outside, "modules import torch only, so that eject can copy them"


CHECK = "import sys\nfrom assembler.cli import main\ncode = main(sys.argv[1:])\nprint(code, *sorted({m.split('.')[0] for m in sys.modules}))"
HEAVY = {"torch", "numpy", "networkx", "hydra", "omegaconf", "transformers", "sklearn", "antlr4"}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(starter("tiny"))
    (tmp_path / "bad.yaml").write_text(starter("bad").replace("kind: linear", "kind: liner"))
    return tmp_path


@pytest.mark.parametrize("words", [["check", "tiny.yaml"], ["check", "bad.yaml"], ["check", "--format", "json", "tiny.yaml"], ["check", "--format", "sarif", "tiny.yaml"]])
def test_check_without_defaults_imports_no_heavy_library(here: Path, words: list[str]) -> None:
    code, *modules = run(CHECK, here, *words).stdout.split("\n")[-2].split()
    assert code == ("1" if "bad.yaml" in words else "0")
    assert not HEAVY & set(modules)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "tiny.yaml", "vars.width=32"],
        ["sweep", "tiny.yaml", "vars.width=32,64"],
        ["show", "tiny.yaml"],
        ["show", "tiny.yaml", "--stage", "text"],
        ["why", "tiny.yaml", "head.x"],
        ["kinds", "attention"],
        ["schema"],
        ["explain", "shape-mismatch"],
        ["eject", "tiny.yaml"],
    ],
)
def test_nothing_but_run_imports_torch(here: Path, words: list[str]) -> None:
    done = run(CHECK, here, *words)
    code, *modules = done.stdout.split("\n")[-2].split()
    assert code == "0", done.stderr
    assert "torch" not in modules


SPARED = {
    "argparse", "difflib", "html", "assembler.facts.types.why", "assembler.facts.zero.why", "assembler.facts.scale.analysis", "assembler.checks.grafts",
    "assembler.checks.scales", "assembler.adapters.offers", "assembler.report.data", "assembler.report.signals", "assembler.graph.graft.apply", "assembler.compiler.plan",
}  # fmt: skip


def test_a_clean_check_imports_nothing_that_it_does_not_need(here: Path) -> None:
    """As the command: what only a finding, an option or another command needs is not there, and pydantic sought no plugins."""
    code = (
        "import sys\nfrom assembler import cli\n"
        "cli._leave = lambda code: print(code, *sorted(sys.modules))\nsys.argv = ['assembler', 'check', 'tiny.yaml']\ncli.command()\n"
        "from pydantic.plugin import _loader\nprint(_loader._plugins)"
    )
    done = run(code, here)
    *_, modules, plugins = done.stdout.splitlines()
    assert modules.split()[0] == "0", done.stderr
    assert SPARED.intersection(modules.split()) == set()
    assert plugins == "None"


def test_only_the_commands_own_process_is_set_up_for_speed(here: Path) -> None:
    """A program that imports us keeps its collector, its environment and its end."""
    code = (
        "import gc, os, sys\nbefore = gc.get_threshold(), dict(os.environ)\nfrom assembler.cli import main\nimport assembler\n"
        "main(['check', 'tiny.yaml'])\nassembler.check('tiny.yaml')\nprint((gc.get_threshold(), dict(os.environ)) == before, gc.isenabled())"
    )
    assert run(code, here).stdout.splitlines()[-1] == "True True"


def test_a_check_imports_the_cards_of_its_kinds_only(here: Path) -> None:
    code = (
        "import sys\nfrom assembler.cli import main\nmain(['check', 'tiny.yaml'])\n"
        "print(*sorted(m.rsplit('.', 1)[1] for m in sys.modules if m.startswith('assembler.library.cards.')))"
    )
    cards = set(run(code, here).stdout.split("\n")[-2].split())
    assert {"attention", "linear", "norm"} <= cards
    assert not {"conv", "reshape", "pattern", "gating"} & cards


def test_importing_the_package_costs_nothing(here: Path) -> None:
    done = run("import assembler, sys; print(*[m for m in ('torch', 'hydra', 'pydantic', 'yaml') if m in sys.modules])", here)
    assert done.stdout.strip() == ""
    assert done.returncode == 0


def test_modules_beside_a_recipe_are_never_imported(here: Path) -> None:
    """`python -m` puts the current folder first on the path: a `yaml.py` there must not run."""
    for name in ("yaml", "torch", "pydantic", "hydra", "sitecustomize", "usercustomize", "difflib", "json"):
        (here / f"{name}.py").write_text("raise SystemExit('a file beside the recipe was run')\n")
    for words in (["check", "tiny.yaml"], ["check", "tiny.yaml", "vars.width=32"], ["check", "--format", "json", "bad.yaml"]):
        done = subprocess.run(
            [sys.executable, "-m", "assembler", *words], cwd=here, env=ENV, capture_output=True, text=True, timeout=60, check=False
        )
        assert "was run" not in done.stdout + done.stderr
        assert done.returncode == (1 if "bad.yaml" in words else 0), done.stderr
