"""Joins of many values, to the analyses: who learns when, what equals what, norm states, sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import assembler
from assembler.adapters.bridges import gradient
from assembler.assemble import checked, recipe
from assembler.facts.flow import Flow
from assembler.facts.norm.analysis import norm
from assembler.facts.zero.analysis import Level, step_by_step, zero
from assembler.lab.moments import tried
from assembler.library import registry
from tests.facts.zero.zero_truth import NOISE, fed, flow_of, made, measured, values

torch.set_num_threads(1)

Nodes = dict[str, Any]


def _linear(fed_from: str, out: int = 6) -> Nodes:
    return {"kind": "linear", "out": out, "from": fed_from}


# --- what is proven of the start ---
def _flow(nodes: Nodes, start: dict[str, str] | None = None) -> Flow:
    return flow_of(
        {
            "inputs": {"x": "[3 5 6]", "z": "[3 5 6]", "p": "probs [3 5 6]", "r": "probs [3 5 6]"},
            "nodes": nodes,
            "outputs": {"out": next(reversed(nodes))},
        },
        start,
    )


TWO: Nodes = {"a": _linear("x"), "b": _linear("z")}


def _select(**options: Any) -> Nodes:
    return {**TWO, "s": _linear("x", 2), "y": {"kind": "select", **options, "from": {"x": ["a", "b"], "scores": "s"}}}


STEPS: dict[str, tuple[Nodes, dict[str, str], dict[str, int | str | None]]] = {
    "blend": ({**TWO, "y": {"kind": "blend", "learned": True, "weight": 0.3, "from": ["a", "b"]}}, {}, {"y.weight": 0, "a.weight": 0, "b.weight": 0}),
    "blend of zeros": ({**TWO, "y": {"kind": "blend", "learned": True, "from": ["a", "b"]}}, {"[ab]\\..*": "zeros"}, {"y.weight": 1, "a.weight": 0, "b.weight": 0}),
    "blend with one that is zero": ({**TWO, "y": {"kind": "blend", "learned": True, "channel": True, "from": ["a", "b"]}}, {"a\\..*": "zeros"}, {"y.weight": 0, "a.weight": 0}),
    "blend of one value twice": ({"a": _linear("x"), "y": {"kind": "blend", "learned": True, "weight": 0.3, "from": ["a", "a"]}}, {}, {"y.weight": "noise", "a.weight": 0}),
    "blend by one": ({**TWO, "y": {"kind": "blend", "weight": 1, "from": ["a", "b"]}}, {}, {"a.weight": 0, "b.weight": None, "b.bias": None}),
    "shares": ({**TWO, "y": {"kind": "multi_blend", "from": ["a", "b", "x"]}}, {}, {"y.weight": 0, "a.weight": 0, "b.weight": 0}),
    "shares of which one is zero": ({**TWO, "y": {"kind": "multi_blend", "mode": "normalised", "weights": [1, 0], "from": ["a", "b"]}}, {}, {"y.weight": 0, "a.weight": 0, "b.weight": 1, "b.bias": 1}),
    "shares of equal values": ({"a": _linear("x"), "y": {"kind": "multi_blend", "weights": [1, 2, 4], "from": ["a", "a", "a"]}}, {}, {"y.weight": "noise", "a.weight": 0}),
    "the share of one": ({"a": _linear("x"), "y": {"kind": "multi_blend", "from": ["a"]}}, {}, {"y.weight": None, "a.weight": 0}),
    "median": ({**TWO, "y": {"kind": "median", "from": ["a", "b", "x"]}}, {}, {"a.weight": 0, "b.weight": 0}),
    "vote": ({**TWO, "v": {"kind": "vote", "from": ["a", "b"]}, "y": {"kind": "add", "from": ["x", "v"]}}, {}, {"a.weight": None, "b.weight": None}),
    "attend": ({**TWO, "y": {"kind": "attend", "from": {"x": ["a", "b"], "query": "z"}}}, {}, {"a.weight": 0, "y.query.weight": 0, "y.query.bias": 0, "y.key.weight": 0}),
    "attend to zeros": ({**TWO, "y": {"kind": "attend", "from": {"x": ["a", "b"], "query": "z"}}}, {"[ab]\\..*": "zeros"}, {"a.weight": 0, "y.query.weight": 1, "y.key.weight": 1}),
    "attend, keys zero": ({**TWO, "y": {"kind": "attend", "from": {"x": ["a", "b"], "query": "z"}}}, {"y.key.*": "zeros"}, {"a.weight": 0, "y.query.weight": 1, "y.key.weight": 0}),
    "attend, both zero": ({**TWO, "y": {"kind": "attend", "bias": False, "from": {"x": ["a", "b"], "query": "z"}}}, {"y\\..*": "zeros"}, {"y.query.weight": None, "y.key.weight": None}),
    "attend to one": ({"a": _linear("x"), "y": {"kind": "attend", "from": {"x": ["a"], "query": "z"}}}, {}, {"a.weight": 0, "y.query.weight": None, "y.key.weight": None}),
    "select": (_select(), {}, {"a.weight": 0, "b.weight": 0, "s.weight": 0}),
    "select dense": (_select(straight_through="dense"), {}, {"a.weight": 0, "b.weight": 0, "s.weight": 0}),
    "select none": (_select(straight_through="none"), {}, {"a.weight": 0, "b.weight": 0, "s.weight": None}),
    "select weighted": (_select(weighted=True), {}, {"a.weight": 0, "b.weight": 0, "s.weight": 0}),
    "select of zeros": (_select(), {"[ab]\\..*": "zeros"}, {"a.weight": 0, "s.weight": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_who_learns_when_is_what_autograd_finds(name: str) -> None:
    nodes, start, wanted = STEPS[name]
    found = _flow(nodes, start)
    said = zero(found)
    rows = measured(found, 4)
    for number, weight in enumerate(found.weights):
        seen = [row[number] or 0.0 for row in rows]
        first = next((place for place, value in enumerate(seen) if value > NOISE), None)
        step = None if number in said.noise else said.steps[number]
        assert first == step, (weight.address, seen)
        assert number in said.noise or any(seen) == (first is not None), "dead is exactly zero"
        if weight.address in wanted:
            assert wanted[weight.address] == ("noise" if number in said.noise else step), weight.address


def test_at_once_and_step_by_step_say_the_same() -> None:
    for nodes, start, _ in STEPS.values():
        found = _flow(nodes, start)
        assert (zero(found).steps, zero(found).noise) == (step_by_step(found).steps, step_by_step(found).noise)


SAME: dict[str, tuple[Nodes, Level | None]] = {
    "blend of the same": ({"kind": "blend", "weight": 0.3, "from": ["x", "x"]}, "math"),
    "learned blend of the same": ({"kind": "blend", "weight": 0.3, "learned": True, "channel": True, "from": ["x", "x"]}, "math"),
    "shares of the same": ({"kind": "multi_blend", "weights": [1, 2, 3], "from": ["x", "x", "x"]}, "math"),
    "shares of the same, normalised": ({"kind": "multi_blend", "mode": "normalised", "from": ["x", "x", "x"]}, "math"),
    "blend of two": ({"kind": "blend", "from": ["x", "z"]}, None),
    "all of one": ({"kind": "blend", "weight": 1, "from": ["x", "z"]}, "bits"),
    "none of one": ({"kind": "blend", "weight": 0, "from": ["z", "x"]}, "bits"),
    "the whole share": ({"kind": "multi_blend", "mode": "normalised", "weights": [0, 2], "from": ["z", "x"]}, "bits"),
    "the whole fixed share": ({"kind": "multi_blend", "learned": False, "weights": [3, 0], "from": ["x", "z"]}, "bits"),
    "a share of one": ({"kind": "multi_blend", "from": ["x"]}, "bits"),
    "median of most": ({"kind": "median", "from": ["x", "z", "x"]}, "bits"),
    "median of half": ({"kind": "median", "from": ["x", "z"]}, None),
    "attend to the same": ({"kind": "attend", "from": {"x": ["x", "x"], "query": "z"}}, "math"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_what_equals_its_input_at_the_start(name: str) -> None:
    node, level = SAME[name]
    found = _flow({"y": node})
    place = found.places["y.y"]
    assert zero(found).same(found.inputs["x"], place) == level
    weights = made(found, torch.float32)
    given = fed(found, 1, torch.float32)
    every = values(found, weights, given, training=False)
    if level == "bits":
        assert torch.equal(every[place], given["x"])
    elif level == "math":
        torch.testing.assert_close(every[place], given["x"], rtol=1e-5, atol=1e-6)
    else:
        assert not torch.allclose(every[place], given["x"])


def test_zeros_stay_zeros() -> None:
    zeros: Nodes = {"o": {"kind": "zero", "from": "x"}}
    for node in ({"kind": "blend", "learned": True}, {"kind": "multi_blend"}, {"kind": "median"}):
        found = _flow({**zeros, "y": {**node, "from": ["o", "o"]}})
        assert zero(found).zero(found.places["y.y"])
        assert norm(found).states[found.places["y.y"]].zero
    found = _flow({**zeros, "y": {"kind": "median", "from": ["o", "x", "o"]}})
    assert zero(found).zero(found.places["y.y"])


NORMS: dict[str, tuple[Nodes, str]] = {
    "blend of probabilities": ({"y": {"kind": "blend", "learned": True, "from": ["p", "r"]}}, "simplex(-1)"),
    "and for each channel": ({"y": {"kind": "blend", "learned": True, "channel": True, "from": ["p", "r"]}}, "bounded"),
    "shares of probabilities": ({"y": {"kind": "multi_blend", "weights": [1, 3], "from": ["p", "r"]}}, "simplex(-1)"),
    "attention to probabilities": ({"y": {"kind": "attend", "from": {"x": ["p", "r"], "query": "x"}}}, "simplex(-1)"),
    "choice of probabilities": ({"s": _linear("x", 2), "y": {"kind": "select", "from": {"x": ["p", "r"], "scores": "s"}}}, "simplex(-1)"),
    "weighted choice": ({"s": _linear("x", 2), "y": {"kind": "select", "weighted": True, "from": {"x": ["p", "r"], "scores": "s"}}}, "bounded"),
    "median of probabilities": ({"y": {"kind": "median", "from": ["p", "r"]}}, "bounded"),
    "votes": ({"y": {"kind": "vote", "from": ["x", "z"]}}, "simplex(-1)"),
    "blend of anything": ({"y": {"kind": "blend", "from": ["x", "p"]}}, "raw"),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_norm_states(name: str) -> None:
    nodes, wanted = NORMS[name]
    found = _flow(nodes)
    assert str(norm(found).states[found.places["y.y"]]) == wanted


# --- how large it is ---
def _wide(fed_from: str, out: int = 64, **more: Any) -> Nodes:
    return {"kind": "linear", "out": out, "from": fed_from, **more}


BASE: Nodes = {
    "c": _wide("x"), "d": _wide("x"), "e": _wide("x"),
    "p": {"kind": "add", "from": ["c", "x"]}, "q": {"kind": "add", "from": ["d", "x"]}, "r": {"kind": "add", "from": ["e", "x"]},
    "s": _wide("x", 3, init="normal(0.15)"),
}  # fmt: skip
SIZED: dict[str, Nodes] = {
    "blend": {"kind": "blend", "weight": 0.9, "learned": True, "channel": True, "from": ["p", "c"]},
    "shares": {"kind": "multi_blend", "weights": [0.7, 0.2, 0.1], "from": ["p", "c", "x"]},
    "normalised shares": {"kind": "multi_blend", "mode": "normalised", "weights": [1, 0, 0.5], "from": ["p", "c", "x"]},
    "median": {"kind": "median", "from": ["c", "d", "e"]},
    "median of two": {"kind": "median", "from": ["c", "d"]},
    "median of what shares": {"kind": "median", "from": ["p", "q", "r"]},
    "vote": {"kind": "vote", "from": ["c", "d", "e"]},
    "vote of what shares": {"kind": "vote", "from": ["p", "q", "p"]},
    "attend": {"kind": "attend", "from": {"x": ["c", "d", "e"], "query": "x"}},
    "attend to what shares": {"kind": "attend", "hidden": 32, "init": "xavier", "from": {"x": ["p", "q", "r"], "query": "x"}},
    "attend sharply": {"kind": "attend", "hidden": 32, "init": "normal(0.3)", "from": {"x": ["c", "d", "e"], "query": "x"}},
    **{f"select {how}": {"kind": "select", "straight_through": how, "from": {"x": ["p", "q", "r"], "scores": "s"}} for how in ("winner", "dense", "none")},
    "select weighted": {"kind": "select", "weighted": True, "from": {"x": ["p", "q", "r"], "scores": "s"}},
}  # fmt: skip


@pytest.mark.parametrize("name", SIZED)
def test_size_and_gradient_are_inside_the_band(name: str) -> None:
    node = SIZED[name]
    names = node["from"]["x"] if isinstance(node["from"], dict) else node["from"]
    needed = {*names, "s"} | {{"p": "c", "q": "d", "r": "e"}.get(item, item) for item in names}
    nodes = {key: item for key, item in BASE.items() if key in needed} | {"y": node, "h": _wide("y")}
    rows = tried(
        *checked(recipe({"inputs": {"x": "[batch seq 64]"}, "nodes": nodes, "outputs": {"out": "h", "scores": "s"}})),
        {"batch": 32, "seq": 16},
        range(3),
    )
    assert not [row for row in rows if not row.inside]
    assert not [row for row in rows if row.predicted is None]


def test_what_chance_decides_is_not_predicted() -> None:
    for node in (
        {"kind": "median", "from": ["bent", "c", "d"]},
        {"kind": "median", "from": ["p", "c", "d"]},
    ):
        rows = tried(
            *checked(
                recipe(
                    {
                        "inputs": {"x": "[batch 64]"},
                        "nodes": {**BASE, "bent": {"kind": "activation", "from": "e"}, "y": node},
                        "outputs": {"out": "y", "u": "s", "v": "q", "w": "r", "t": "p", "s": "bent"},
                    }
                )
            ),
            {"batch": 8},
            [0],
        )
        (row,) = [row for row in rows if (row.what, row.address) == ("q", "y.y")]
        assert row.predicted is None
        assert row.reason


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "estimated"),
        ({"straight_through": "dense"}, "estimated"),
        ({"weighted": True}, "exact"),
        ({"straight_through": "none"}, "exact"),
    ],
)
def test_a_listing_says_where_the_gradient_of_the_scores_is_estimated(options: Nodes, said: str) -> None:
    kind = registry.kind("select")
    assert kind is not None
    assert gradient(kind.define(kind.options.model_validate(options))) == said


@pytest.mark.parametrize("join", ["blend", "median", "attend"])
def test_values_of_very_different_size_are_named(join: str) -> None:
    members = {"x": ["a", "b"], "query": "x"} if join == "attend" else ["a", "b"]
    nodes = {"a": _wide("x"), "b": _wide("x", init="normal(2.0)"), "y": {"kind": join, "from": members}}
    report = assembler.check(recipe({"inputs": {"x": "[batch 64]"}, "nodes": nodes, "outputs": {"y": "y"}}), scale=True)
    assert "branch-mismatch" in {item.code for item in report.diagnostics}
