"""How plugins come in: `--use`, entry points, and what is said where one does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import assembler
from assembler.cli import main
from assembler.library import entry_points, registry

Package = Callable[..., Path]
RECIPE = "inputs: {x: '[batch 16]'}\nnodes:\n  part: {kind: running_gate, out: 4, from: x}\noutputs: {y: part}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "gated.yaml"
    path.write_text(RECIPE)
    return str(path)


# --- --use ---
@pytest.mark.parametrize("words", [["check"], ["show"], ["show", "--stage", "text"], ["eject"], ["run"]])
def test_every_command_that_reads_a_recipe_takes_use(package: Package, recipe: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    package()
    assert main([*words, recipe]) == 1
    assert main([*words, "--use", "acme.kinds", recipe]) == 0
    assert main([*words, recipe, "--use=acme.kinds", "nodes.part.out=5"]) == 0


def test_why_kinds_and_schema_take_use_too(package: Package, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    package()
    assert main(["kinds", "running_gate", "--use", "acme.kinds"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("running_gate: A map behind a squashing function\ndeclared by acme.kinds:RunningGate\n")
    assert "unknown" in shown
    assert main(["why", recipe, "part.y", "--use", "acme.kinds"]) == 0
    assert main(["schema", "--use", "acme.kinds"]) == 0
    assert '"kind_running_gate"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("acme.nothing", "there is no module `acme.nothing`"),
        ("acmeless", "the current folder is not searched"),
        ("acme", "`acme` declares no kind"),
        ("acme.broken", "`acme.broken` cannot be imported: ZeroDivisionError: division by zero, at "),
        ("acme.leaves", "`acme.leaves` cannot be imported: SystemExit: 3"),
        ("acme.lacking", "`acme.lacking` cannot be imported: ModuleNotFoundError: No module named 'acme_not_there'"),
        ("acme.twice", "ValueError: a kind named `running_gate` exists already (version 1, declared by `acme.kinds:RunningGate`)"),
        ("../acme", "--use wants a module"),
        ("os;print", "--use wants a module"),
        ("", "--use wants a module"),
    ],
)
def test_a_module_that_brings_no_kinds_is_bad_usage(package: Package, recipe: str, module: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = package()
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "leaves.py").write_text("raise SystemExit(3)\n")
    (folder / "lacking.py").write_text("import acme_not_there\n")
    (folder / "twice.py").write_text((folder / "kinds.py").read_text().replace("class RunningGate", "class Other").replace('"in"}', '"in"}, name="running_gate"'))
    if module == "acme.twice":
        assert main(["check", recipe, "--use", "acme.kinds"]) == 0
    assert main(["check", recipe, "--use", module]) == 2
    assert why in capsys.readouterr().err


def test_the_folder_of_a_command_is_never_searched(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "r.yaml").write_text(RECIPE)
    root = str(Path(assembler.__file__).parents[1])
    program = f"import sys; sys.path[:0] = [{root!r}, {root + '/schemas'!r}]; sys.argv[0] = 'assembler'; import runpy; runpy.run_module('assembler', run_name='__main__', alter_sys=False)"
    done = subprocess.run([sys.executable, "-P", "-c", program, "check", "r.yaml", "--use", "mine"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no module `mine`" in done.stderr


def test_commands_that_read_no_recipe_take_no_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--use", "acme.kinds"]) == 2
    assert "unrecognized arguments: --use" in capsys.readouterr().err


# --- entry points ---
def test_a_kind_that_an_installed_package_offers_is_found_by_its_name(package: Package, recipe: str) -> None:
    package(offers={"running_gate": "acme.kinds"})
    assert registry.kind("running_gate") is None
    assert assembler.check(recipe).ok
    assert registry.registered() == {"running_gate@1": "acme.kinds:RunningGate"}
    assert assembler.check(recipe, ["nodes.part.kind=running_gate@1"]).ok


def test_an_offer_is_imported_only_when_its_very_kind_is_named(package: Package, tmp_path: Path) -> None:
    package(text="raise SystemExit('imported')\n", offers={"running_gate": "acme.kinds"})
    report = assembler.check({"inputs": {"x": "[batch 4]"}, "nodes": {"a": {"kind": "runing_gate", "from": "x"}, "b": {"kind": "linear", "out": 2, "from": "x"}}, "outputs": {"y": "b"}})
    assert report.diagnostics[0].help == "did you mean `running_gate`? (acme-kinds 1.2 brings it)"
    assert "acme.kinds" not in sys.modules


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 / 0\n", "acme-kinds 1.2 offers it, but `acme.kinds` cannot be imported: ZeroDivisionError: division by zero"),
        ("raise SystemExit(1)\n", "acme-kinds 1.2 offers it, but `acme.kinds` cannot be imported: SystemExit: 1"),
        ("", "acme-kinds 1.2 offers it, but `acme.kinds` registers no kind of that name"),
    ],
)
def test_an_offer_that_is_not_kept_is_a_finding_about_the_kind(package: Package, recipe: str, text: str, why: str) -> None:
    package(text=text, offers={"running_gate": "acme.kinds"})
    (found,) = assembler.check(recipe).diagnostics
    assert (found.code, found.help) == ("unknown-kind", why)


def test_two_packages_that_offer_one_kind_are_not_chosen_between(package: Package, recipe: str) -> None:
    package(offers={"running_gate": "acme.kinds"})
    package("acme_other", offers={"running_gate": "acme_other.kinds"})
    (found,) = assembler.check(recipe).diagnostics
    assert "both offer it: choose one by `--use`" in found.help
    assert main(["check", recipe, "--use", "acme_other.kinds"]) == 0


def test_a_norm_may_be_offered_too(package: Package) -> None:
    text = "import assembler\nfrom torch import nn\n@assembler.kind('x: [... d] -> y: [... d]')\nclass HalfNorm(nn.Module):\n    def forward(self, x):\n        return x / 2\n"
    package(text=text, offers={"half_norm": "acme.kinds"})
    assert assembler.check({"inputs": {"x": "[batch 4]"}, "nodes": {"a": {"kind": "linear", "out": 2, "norm": "pre", "norm_kind": "half_norm", "from": "x"}}, "outputs": {"y": "a"}}).ok


def test_no_plugin_is_imported_where_none_is_wanted(package: Package, recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    package(offers={"running_gate": "acme.kinds"})
    assert main(["check", recipe, "--no-plugins"]) == 1
    assert "acme.kinds" not in sys.modules


def test_the_catalogue_lists_what_is_offered(package: Package, capsys: pytest.CaptureFixture[str]) -> None:
    package(offers={"running_gate": "acme.kinds"})
    assert main(["kinds"]) == 0
    assert "offered by installed packages, imported when a recipe names one\n  running_gate  acme-kinds 1.2  acme.kinds\n" in capsys.readouterr().out
    assert "acme.kinds" not in sys.modules
    assert main(["kinds", "running_gate"]) == 0


def test_a_clean_check_looks_for_no_entry_points(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("inputs: {x: '[batch 16]'}\nvars: {word: linear}\nnodes:\n  part: {kind: word, out: 4, from: x}\noutputs: {y: part}\n")
    root = str(Path(assembler.__file__).parents[1])
    program = f"import sys; sys.path[:0] = [{root!r}, {root + '/schemas'!r}]\nfrom assembler.cli import main\nfrom assembler.library import entry_points\ncode = main(['check', 'r.yaml'])\nsys.exit(code or entry_points._table.cache_info().currsize)"
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode == 0


def test_whoever_checks_recipes_of_strangers_in_python_can_close_the_door(package: Package, recipe: str) -> None:
    package(offers={"running_gate": "acme.kinds"})
    entry_points.close()
    assert [item.code for item in assembler.check(recipe).diagnostics] == ["unknown-kind"]
