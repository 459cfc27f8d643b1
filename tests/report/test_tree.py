"""`show`: what stands at the foot of the tree."""

from __future__ import annotations

import assembler
from assembler.report.tree import render_facts, render_tree


def test_conditions_on_run_time_sizes_are_spelled_as_recipes_spell_sizes() -> None:
    report = assembler.check({
        "name": "guarded",
        "inputs": {"x": "[batch 2*seq 8]"},
        "nodes": {"pos": {"kind": "learned_position", "length": 16, "from": "x"}},
        "outputs": {"y": "pos"},
    })
    assert report.graph is not None
    assert report.facts is not None
    wanted = "2*seq is at most 16 (each position has a row of its own)"
    assert render_tree(report.graph, report.facts).splitlines()[-1] == f"  at run time  {wanted}"
    assert f"guard: {wanted}" in render_facts(report.graph, report.facts).splitlines()
