"""`make demo`: the main job runs, learns, and ejects the same numbers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import assembler

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("digits_example", EXAMPLES / "digits.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_main_job_ends_well_and_says_what_it_does() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "schemas")]), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, "examples/digits.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("torch was not needed", "202,058 -> 266,314", "adapter", "epoch 25/25", "equal to the last bit"):
        assert text in done.stdout


def test_the_main_job_checks_before_torch_is_imported() -> None:
    """Parts 1 to 4 in a process of their own: no torch in it at the end."""
    code = (
        "import sys, runpy; part = runpy.run_path('examples/digits.py', run_name='part')\n"
        "for step in ('check_a_recipe', 'swap_a_slot', 'mend_a_width', 'read_a_broken_recipe'): part[step]()\n"
        "assert 'torch' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "schemas")])}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_digits_are_split_the_same_way_every_time_and_never_overlap() -> None:
    module = _module()
    first, second = module.load_data(), module.load_data()
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))
    images, labels, test_images, test_labels = first
    assert (len(images), len(test_images)) == (1797 - module.HELD_OUT, module.HELD_OUT)
    assert len(images) == len(labels)
    assert len(test_images) == len(test_labels)
    assert set(labels.tolist()) == set(test_labels.tolist()) == set(range(10))


def test_each_mistake_of_the_broken_recipe_is_found_with_its_own_code_and_line() -> None:
    report = assembler.check(EXAMPLES / "broken.yaml")
    lines = (EXAMPLES / "broken.yaml").read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, 1) if "#" in line and number > 1}
    found = {(item.code, item.span.line) for item in report.diagnostics if item.level == "error"}
    assert {line for _, line in found} == marked
    assert {code for code, _ in found} >= {"address-unknown", "unknown-option", "unknown-kind", "shape-constraint"}


def test_every_file_of_the_examples_is_in_their_table() -> None:
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for file in EXAMPLES.iterdir():
        if file.is_file() and file.name != "README.md":
            assert f"({file.name})" in table
