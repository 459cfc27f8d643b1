"""The compiled text, to the last character, for a few small graphs.

`python -m tests.compiler.test_text` writes the golden files anew; read their difference.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from assembler.compiler.allow import check_text
from assembler.compiler.emit import emit
from tests.compiler.made import ALL, DIGITS, TAPS, plan_of

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ALL)
def test_the_text_is_the_golden_one(name: str) -> None:
    assert emit(plan_of(ALL[name])) == (GOLDEN / f"{name}.py.txt").read_text()


@pytest.mark.parametrize("name", ALL)
def test_text_and_probing_text_pass_their_own_allow_list(name: str) -> None:
    plan = plan_of(ALL[name])
    check_text(emit(plan, probe=True), extra=("probe",))


def test_the_plain_text_knows_nothing_of_probes() -> None:
    plan = plan_of(TAPS)
    plain = emit(plan).splitlines()
    assert not any("probe" in line or "_at" in line for line in plain)
    assert [line for line in plain if "def " not in line and "block(" not in line and "self.enc[" not in line and "for " not in line] == [
        line
        for line in emit(plan, probe=True).splitlines()
        if "probe(" not in line and "_at" not in line and "def " not in line and "for " not in line
    ]


def test_containers_with_one_text_are_one_class() -> None:
    text = emit(plan_of(DIGITS.replace("depth: 4", "depth: 9")))
    assert text.count("class ") == 2
    assert "range(9)" in text


def test_compiling_to_text_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from assembler.compiler import emit, eject, plan\n"
        "from assembler.graph.build import build; from assembler.facts.types.infer import infer\n"
        "from assembler.source.parse import parse; from assembler.source.tree import value_of\n"
        "recipe = {'name': 'm', 'inputs': {'x': '[batch 4]'}, 'nodes': {'a': {'kind': 'mlp', 'from': 'x'}}, 'outputs': {'y': 'a'}}\n"
        "graph, _ = build(parse(value_of(recipe))[0])\n"
        "made = plan(graph, infer(graph)); emit(made); eject(made)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for golden, recipe in ALL.items():
        (GOLDEN / f"{golden}.py.txt").write_text(emit(plan_of(recipe)))
