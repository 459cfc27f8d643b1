"""Columns of `show`, derivations of `why`, certificates of grafts: what they say, and of which copy."""

from __future__ import annotations

from typing import Any

import pytest

import assembler
from assembler.cli import main
from assembler.facts.scale.analysis import scale
from assembler.report.data import to_data
from assembler.report.signals import columns, why
from assembler.report.walk import walk

STACK: dict[str, Any] = {
    "name": "stack",
    "inputs": {"x": "[batch seq 16]"},
    "nodes": {
        "enc": {"kind": "bus", "repeat": 3, "norm": "pre", "from": "x", "parts": {"think": {"kind": "mlp", "init": "zero"}}},
        "final": {"kind": "layer_norm", "from": "enc"},
        "cut": {"kind": "linear", "out": 4, "freeze": True, "from": "final"},
    },
    "outputs": {"y": "cut"},
}


def checked(**more: Any) -> assembler.Report:
    report = assembler.check({**STACK, **more})
    assert report.ok, report
    return report


def test_a_cell_tells_of_the_first_copy_and_of_the_last_where_they_differ() -> None:
    report = checked()
    assert report.graph is not None
    assert report.facts is not None
    assert report.signals is not None
    rows = walk(report.graph, report.facts)
    found = dict(zip([row.address for row in rows], columns(rows, report.signals, ("norm", "init"), None), strict=True))
    assert found["enc.*.think"] == "zero | zero at the start, uniform(0.25), zeros, learns from step 0 and 1"
    assert found["final"] == "ln(-1) gain trained, shift trained | ones, zeros, learns from step 0"
    assert found["cut"].endswith("uniform(0.25), frozen")
    assert found["enc.*.think_add"] == "raw"
    wide = columns(rows, report.signals, ("scale",), scale(report.signals.flow, report.facts))
    assert wide[[row.address for row in rows].index("enc.*.think_add")].startswith("q 1 (0.769 to 1.3)")


def test_derivations_of_values_and_weights() -> None:
    known = checked().signals
    assert known is not None
    assert why(known, "enc.*.think.down.weight", "init") == [
        "enc.0.think.down.weight starts as zeros",
        "`enc.0.think.down.weight` learns from the first step  (nodes.enc.parts.think)",
    ]
    (line,) = why(known, "enc.1.think.y", "init") or []
    assert line == "`enc.1.think.y` zero, since `enc.1.think.down.weight` starts as zeros  (nodes.enc.parts.think)"
    assert (why(known, "enc.2.think_add", "init") or [])[0].startswith("`enc.2.think_add.y` the same as `x` at the start, bit for bit")
    assert why(known, "enc.7.think", "init") is None
    assert why(known, "final.x", "norm") == why(known, "enc", "norm")


def test_a_graft_is_certified_in_text_and_data() -> None:
    graft = {"side": {"read": "enc", "write": "enc", "mode": "add", "init": "zero", "part": {"kind": "mlp"}}}
    report = checked(grafts=graft)
    (item,) = report.certificates
    assert (item.silent, item.alive) == ("bits", 1)
    assert "graft `side` (add): silent at the start, bit for bit; all of it learns by step 1\n" in str(report)
    assert to_data(report)["grafts"][0]["steps"] == {"side.up.weight": 1, "side.up.bias": 1, "side.down.weight": 0, "side.down.bias": 0}
    loud = checked(grafts={"side": {**graft["side"], "init": None}})
    assert "disturbs the host at the start, first at `side`" in str(loud)


@pytest.mark.parametrize("words", [["why", "r.yaml", "l.y", "--norm"], ["why", "r.yaml", "l.weight", "--init"], ["why", "r.yaml", "l", "--scale"], ["show", "r.yaml", "--norm", "--init", "--scale"]])
def test_the_commands(words: list[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text('name: r\ninputs: {x: "[batch 4]"}\nnodes:\n  l: {kind: linear, out: 4, from: x}\noutputs: {y: l}\n')
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "raw" in said or "uniform(0.5)" in said
    assert main(["why", "r.yaml", "nothing.y", "--norm"]) == 2


def test_why_names_the_values_of_copies_that_share_their_weights() -> None:
    """Only the last copy's value stands under the address of the node: the others have a name too."""
    parts = {"z": {"kind": "zero"}, "a": {"kind": "activation", "activation": "relu"}}
    report = assembler.check({"name": "s", "inputs": {"x": "[batch 8]"}, "nodes": {"loop": {"kind": "sequence", "repeat": 3, "share": True, "from": "x", "parts": parts}}, "outputs": {"y": "loop"}})
    assert report.signals is not None
    assert why(report.signals, "loop.0", "init") == [
        "`loop.a.y` zero, since `loop.z.y` is  (nodes.loop.parts.a)",
        "`loop.z.y` zeros: `zero` makes nothing else  (nodes.loop.parts.z)",
    ]
    assert (why(report.signals, "loop", "init") or [])[0] == "`loop.a.y` zero, since `loop.z.y` is  (nodes.loop.parts.a)"
