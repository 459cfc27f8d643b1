"""Findings of scale: nothing is said of the shipped recipes, and what the help says mends what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assembler.assemble import checked, recipe
from assembler.checks.scales import DECADES, check
from assembler.facts.flow import flow
from assembler.facts.model import Facts
from assembler.facts.scale.analysis import scale
from assembler.graph.model import Graph
from assembler.lab.moments import tried
from assembler_schemas.diagnostic import Diagnostic

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


def found(graph: Graph, facts: Facts) -> list[Diagnostic]:
    unfolded = flow(graph, facts)
    assert unfolded is not None
    return check(unfolded, scale(unfolded, facts))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_nothing_is_said_of_the_shipped_recipes(path: Path) -> None:
    assert not found(*checked(path))


def _chain(init: str, activation: str = "relu") -> tuple[Graph, Facts]:
    parts = {"map": {"kind": "linear", "out": 128}, "act": {"kind": "activation", "activation": activation}}
    body: dict[str, Any] = {"kind": "sequence", "repeat": 10, "init": init, "from": "x", "parts": parts}
    return checked(recipe({"inputs": {"x": "[batch 128]"}, "nodes": {"body": body}, "outputs": {"y": "body"}}))


@pytest.mark.parametrize(("init", "activation", "code"), [("default", "relu", "scale-vanish"), ("normal(0.5)", "relu", "scale-explode"), ("normal(0.02)", "tanh", "scale-vanish")])
def test_what_the_help_says_mends_a_chain(init: str, activation: str, code: str) -> None:
    """Before: the found factor is there when measured. After: nothing is found, and nothing is measured."""
    broken = _chain(init, activation)
    (item,) = found(*broken)
    assert item.code == code
    assert not _spread(broken) <= DECADES
    help_ = "kaiming" if activation == "relu" else "xavier"
    assert f"`init: {help_}`" in item.help
    mended = _chain(help_, activation)
    assert not found(*mended)
    assert _spread(mended) <= DECADES


def _spread(recipe: tuple[Graph, Facts]) -> float:
    """The measured factor between the largest and the smallest value, or gradient."""
    rows = tried(*recipe, {"batch": 32}, (0,))
    factors = []
    for what in "qg":
        sizes = [row.measured for row in rows if row.what == what]
        factors.append(max(sizes) / min(sizes))
    return max(factors)


def test_a_norm_mends_a_chain_too() -> None:
    parts = {"map": {"kind": "linear", "out": 128}, "norm": {"kind": "layer_norm"}, "act": {"kind": "activation", "activation": "relu"}}
    body: dict[str, Any] = {"kind": "sequence", "repeat": 10, "from": "x", "parts": parts}
    mended = checked(recipe({"inputs": {"x": "[batch 128]"}, "nodes": {"body": body}, "outputs": {"y": "body"}}))
    assert not found(*mended)
    assert _spread(mended) <= DECADES
