"""The report as data and as a tree, of real recipes: complete, folded, capped, counted to the unit."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from assembler.assemble import check
from assembler.report import Report
from assembler.report.data import MAX_BYTES, MAX_NODES, to_data, to_json
from assembler.report.tree import render_facts, render_graph, render_tree
from assembler.report.walk import total, walk
from assembler_schemas.diagnostic import Diagnostic, Edit, Fix, Note
from assembler_schemas.span import Span


def recipe(nodes: dict[str, Any], out: str = "head", **more: Any) -> Report:
    return check({"name": "r", "inputs": {"x": "[batch seq 8]"}, "nodes": nodes, "outputs": {"y": out}} | more)


def bus(count: int, **more: Any) -> dict[str, Any]:
    part = {"kind": "bus", "norm": "pre", "from": "x", "parts": {"think": {"kind": "linear"}}, "repeat": count}
    return {"encoder": part | more, "head": {"kind": "linear", "out": 3, "from": "encoder"}}


def model(report: Report) -> dict[str, Any]:
    assert report.ok, str(report)
    data: dict[str, Any] = json.loads(to_json(report))["model"]
    return data


EACH = 16 + 8 * 8 + 8
HEAD = 8 * 3 + 3


def test_the_keys_are_those_of_version_1() -> None:
    span = Span("f.yaml", 2, 3, 2, 5, "nodes.a")
    override = Span(override="vars.width=96", index=1, line=1, column=1, end_line=1, end_column=5)
    found = Diagnostic("value-type", "m", span, "l", (Note("n", override), Note("o")), "h", Fix((Edit(span, "in"),), "maybe"))
    data = to_data(Report("r", (found,)))
    assert list(data) == ["version", "ok", "recipe", "diagnostics", "model"]
    assert data["version"] == 1
    assert data["model"] is None
    place = {"file": "f.yaml", "line": 2, "column": 3, "end_line": 2, "end_column": 5, "path": "nodes.a"}
    (item,) = data["diagnostics"]
    assert item == {
        "code": "value-type", "level": "error", "message": "m", "span": place, "label": "l",
        "related": [
            {"message": "n", "span": {"override": "vars.width=96", "index": 1, "line": 1, "column": 1, "end_line": 1, "end_column": 5}},
            {"message": "o", "span": {}},
        ],
        "help": "h", "fix": {"applicability": "maybe", "edits": [{"span": place, "text": "in"}]},
    }  # fmt: skip


def test_nodes_are_listed_by_address_copy_after_copy() -> None:
    data = model(recipe(bus(2)))
    assert [name for name in data["nodes"] if name.endswith("think")] == ["encoder.0.think", "encoder.1.think"]
    think = data["nodes"]["encoder.1.think"]
    assert think == {"kind": "linear", "in": {"x": "[batch seq 8]"}, "out": {"y": "[batch seq 8]"}, "parameters": 72}
    assert data["inputs"] == {"x": "[batch seq 8]"}
    assert data["outputs"] == {"y": "[batch seq 3]"}
    assert data["parameters"] == data["trainable"] == 2 * EACH + HEAD
    assert data["parameters"] == sum(node["parameters"] for node in data["nodes"].values())


def test_a_repeat_of_a_million_is_a_range() -> None:
    report = recipe(bus(30_000))
    data = model(report)
    assert len(data["nodes"]) < 20
    assert data["nodes"]["encoder.*.think"]["copies"] == 30_000
    assert "copies" not in data["nodes"]["head"]
    assert sum(node["parameters"] * node.get("copies", 1) for node in data["nodes"].values()) == data["parameters"]
    assert data["parameters"] == 30_000 * EACH + HEAD
    assert len(to_json(report)) < 10_000


def test_shared_copies_count_once_and_have_the_address_without_a_number() -> None:
    data = model(recipe(bus(5, share=True)))
    assert data["parameters"] == EACH + HEAD
    assert "encoder.think" in data["nodes"]


def test_same_and_frozen_weights_are_not_counted_twice() -> None:
    data = model(recipe({
        "a": {"kind": "linear", "out": 8, "from": "x"},
        "b": {"same": "a", "from": "a"},
        "c": {"kind": "linear", "out": 8, "from": "b", "freeze": True},
        "head": {"kind": "linear", "out": 3, "from": "c"},
    }))  # fmt: skip
    assert data["parameters"] == 72 + 72 + HEAD
    assert data["trainable"] == 72 + HEAD
    assert data["nodes"]["b"]["parameters"] == 0
    assert data["nodes"]["b"]["same"] == "a"


def test_a_node_that_no_output_needs_is_shown_and_not_counted() -> None:
    report = recipe({"spare": {"kind": "linear", "out": 5, "from": "x"}, "head": {"kind": "linear", "out": 3, "from": "x"}})
    data = model(report)
    assert data["parameters"] == HEAD
    assert data["nodes"]["spare"]["built"] is False
    assert report.graph is not None
    assert report.facts is not None
    assert "not built" in render_tree(report.graph, report.facts)


def test_an_adapter_is_marked_everywhere() -> None:
    report = recipe({
        "a": {"kind": "linear", "out": 6, "from": "x"},
        "b": {"kind": "linear", "out": 8, "from": "x"},
        "head": {"kind": "gate", "from": {"base": "b", "gate": {"port": "a", "adapt": "linear"}}},
    })  # fmt: skip
    data = model(report)
    (adapter,) = data["adapters"]
    assert data["nodes"][adapter]["parameters"] == 6 * 8 + 8
    assert report.graph is not None
    assert report.facts is not None
    tree = render_tree(report.graph, report.facts)
    assert f"+ {adapter}" in tree
    assert "1 adapter" in tree.split("\n")[0]
    assert "1 adapter" in str(report)


def test_a_tree_folds_copies_and_says_what_each_has() -> None:
    report = recipe(bus(12))
    assert report.graph is not None
    assert report.facts is not None
    tree = render_tree(report.graph, report.facts)
    assert "bus x12" in tree
    assert f"{EACH:,} each" in tree
    assert f"{12 * EACH:,}" in tree
    assert tree.count("think ") == 1
    assert "think" not in render_tree(report.graph, report.facts, 1)
    assert len(render_facts(report.graph, report.facts)) < 5_000
    assert "repeat 12" in render_graph(report.graph)


def test_copies_that_differ_get_a_line_each() -> None:
    rules = {"first": {"at": "encoder.0:2.think", "set": {"bias": False}}}
    report = recipe(bus(6), rules=rules)
    assert report.ok, str(report)
    assert report.graph is not None
    assert report.facts is not None
    rows = walk(report.graph, report.facts)
    assert total(rows)[0] == 6 * EACH - 2 * 8 + HEAD
    assert [row.address for row in rows if row.name == "think"] == ["encoder.0:2.think", "encoder.2:6.think"]
    data = model(report)
    assert data["nodes"]["encoder.1.think"]["parameters"] == 64
    assert data["nodes"]["encoder.2.think"]["parameters"] == 72


def test_a_flood_is_capped_at_five_megabytes_and_counted() -> None:
    found = [Diagnostic("value-type", "x" * 1_000, Span("f", i + 1, 1, i + 1, 2)) for i in range(10_000)]
    text = to_json(Report("r", tuple(found)))
    data = json.loads(text)
    assert len(text) <= MAX_BYTES
    assert data["diagnostics_left_out"] == 10_000 - len(data["diagnostics"])
    assert len(data["diagnostics"]) > 3_000


def test_ten_thousand_findings_fit_whole() -> None:
    found = [Diagnostic("value-type", f"short {i}", Span("f", i + 1, 1, i + 1, 2)) for i in range(10_000)]
    data = json.loads(to_json(Report("r", tuple(found))))
    assert len(data["diagnostics"]) == 10_000


def test_many_written_out_nodes_are_cut_with_a_count() -> None:
    nodes: dict[str, Any] = {"n0": {"kind": "linear", "from": "x", "out": 8}}
    nodes |= {f"n{i}": {"kind": "linear", "from": f"n{i - 1}", "out": 8} for i in range(1, 300)}
    report = recipe(nodes, "n299")
    text = to_json(report, 20_000)
    data = json.loads(text)["model"]
    assert len(text) <= 20_000
    assert data["nodes_left_out"] == 300 - len(data["nodes"])
    assert MAX_NODES > 300


@pytest.mark.parametrize("evil", ["\u2028\u2029", "\x00\x1b[2J", "</script>", '"\\', "\ud800", "漢\u202e", "%0A::error"])
def test_any_text_is_valid_ascii_json(evil: str) -> None:
    report = Report(evil, (Diagnostic("value-type", evil, Span(evil, 1, 1, 1, 2, evil), evil, (Note(evil),), evil),))
    text = to_json(report)
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text)["diagnostics"][0]["message"] == evil


def test_a_worker_can_return_a_report_the_graph_of_which_holds_code() -> None:
    for report in (recipe({"head": {"kind": "linear", "out": 3, "from": "x"}}), recipe({"head": {"kind": "linear", "in": 3, "from": "x"}})):
        again = pickle.loads(pickle.dumps(report))
        assert (again.name, again.ok, again.diagnostics) == (report.name, report.ok, report.diagnostics)
        assert again.graph is again.facts is again.signals is None
        assert copy.deepcopy(report) is report
