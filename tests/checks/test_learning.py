"""What is said of parameters that never learn, or late, and of what nothing is said."""

from __future__ import annotations

from typing import Any

import pytest

import assembler
from assembler.checks.learning import check
from assembler.facts.flow import flow
from assembler.facts.zero import why
from assembler.facts.zero.analysis import zero
from assembler.graph.rewrite import prune
from assembler_schemas.diagnostic import Diagnostic
from tests.fuzz.generate import generate
from tests.fuzz.oracle import check_text
from tests.recipes import shipped


def found(report: assembler.Report) -> list[Diagnostic]:
    assert report.graph is not None
    assert report.facts is not None
    unfolded = flow(report.graph._replace(scope=prune(report.graph.scope)), report.facts)
    assert unfolded is not None
    return check(unfolded, zero(unfolded))


def said(nodes: dict[str, Any], out: str = "y") -> list[tuple[str, str]]:
    """Code and message of what is said of nodes over `x`."""
    report = assembler.check(assembler.recipe({"name": "r", "inputs": {"x": "[batch seq 16]"}, "nodes": nodes, "outputs": {"out": out}}))
    return [(item.code, item.message) for item in found(report)]


# --- nothing ---
@pytest.mark.parametrize("name", shipped.NAMES)
def test_nothing_is_said_of_a_shipped_recipe(name: str) -> None:
    assert found(assembler.check(shipped.path(name))) == []


def test_no_error_in_random_recipes() -> None:
    """What they say in so many words, a `detach` or a `zero`, is a warning."""
    codes: set[str] = set()
    for seed in range(150):
        sample = generate(seed)
        codes |= {item.code for item in found(check_text(sample.text, sample.overrides))}
    assert codes <= {"cut-parameter", "late-parameter"}


ADDED = {"think": {"kind": "mlp", "init": "zero", "from": "x"}, "y": {"kind": "add", "from": ["x", "think"]}}


def test_nothing_is_said_of_a_silent_branch() -> None:
    assert said(ADDED) == []


def test_nothing_is_said_of_frozen_parameters() -> None:
    assert said({"a": {"kind": "linear", "out": 16, "from": "x", "freeze": True}, "b": {"kind": "detach", "from": "a"}, "y": {"kind": "linear", "out": 4, "from": "b"}}) == []


def test_the_bias_of_keys_is_noise_and_not_dead() -> None:
    assert said({"y": {"kind": "attention", "heads": 2, "from": "x"}}) == []


# --- something ---
def test_copies_of_a_block_are_one_finding() -> None:
    block = {"think": {"kind": "mlp", "init": "zero"}, "small": {"kind": "scale", "value": 0.0, "learned": True}}
    stack = {"kind": "bus", "repeat": 3, "from": "x", "parts": {"branch": {"kind": "sequence", "parts": block}}}
    assert said({"y": stack}) == [
        ("dead-parameter", "`y.*.branch.think.up.weight` and 4 more never have a gradient: `y.0.branch.small.weight` starts as zeros, and no gradient ever moves it"),
    ]  # fmt: skip


def test_two_zeros_that_hold_each_other_are_one_finding() -> None:
    every = said({"think": {"kind": "mlp", "init": "zero", "from": "x"}, "last": {"kind": "linear", "init": "zero", "bias": False, "from": "think"}, "y": {"kind": "add", "from": ["x", "last"]}})
    assert [code for code, _ in every] == ["dead-parameter"]


def test_two_causes_are_two_findings() -> None:
    pair = {f"{name}{place}": node for place in (1, 2) for name, node in {
        "think": {"kind": "mlp", "init": "zero", "from": "x"}, "small": {"kind": "scale", "value": 0.0, "learned": True, "from": f"think{place}"},
    }.items()}  # fmt: skip
    every = said({**pair, "y": {"kind": "add", "from": ["x", "small1", "small2"]}})
    assert [code for code, _ in every] == ["dead-parameter", "dead-parameter"]


def test_a_norm_of_a_layer_that_starts_at_zero() -> None:
    every = said({"think": {"kind": "mlp", "init": "zero", "from": "x"}, "calm": {"kind": "rms_norm", "from": "think"}, "y": {"kind": "add", "from": ["x", "calm"]}})
    assert every == [("norm-after-zero", "`calm` norms a value that starts as zeros: after one step it is at full strength")]


def test_a_norm_behind_a_sum_with_zeros_is_none_of_it() -> None:
    assert said({**ADDED, "sum": ADDED["y"], "y": {"kind": "layer_norm", "from": "sum"}}) == []


def test_zeros_that_stay_are_no_danger_to_a_norm() -> None:
    every = said({"none": {"kind": "zero", "from": "x"}, "calm": {"kind": "layer_norm", "from": "none"}, "y": {"kind": "add", "from": ["x", "calm"]}})
    assert every == [("cut-parameter", "`calm.weight` never has a gradient: `none` gives zeros, whatever is learned")]


def test_what_stands_behind_a_weight_is_looked_at_once_for_all_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each copy of a stack that nobody reads asked anew what holds its gradients back: 1000 copies took 19 s."""
    looked = 0
    inside = why.Reader._inside

    def counted(self: why.Reader, use: int, name: str) -> object:
        nonlocal looked
        looked += 1
        return inside(self, use, name)

    monkeypatch.setattr(why.Reader, "_inside", counted)
    nodes = {"n": {"kind": "mlp", "repeat": 100, "from": "x"}, "y": {"kind": "linear", "out": 3, "from": "x"}}
    assert assembler.check({"inputs": {"x": "[batch 8]"}, "nodes": nodes, "outputs": {"y": "y"}}).ok
    assert looked <= 5 * 100
