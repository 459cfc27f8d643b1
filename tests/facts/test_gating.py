"""Routing plans, to the analyses: which weight learns when, against autograd over some steps; norm states."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from assembler.assemble import checked, recipe
from assembler.facts.norm.analysis import norm
from assembler.facts.zero.analysis import step_by_step, zero
from assembler.lab.moments import tried
from tests.facts.zero.zero_truth import NOISE, fed, flow_of, made, measured, values

torch.set_num_threads(1)

Nodes = dict[str, Any]
EXPERTS = ("a", "b", "c")


def _recipe(options: Nodes, *outputs: str, experts: int = 3, noise: bool = False) -> dict[str, Any]:
    names = EXPERTS[:experts]
    linear = {"kind": "linear", "bias": False, "from": "x"}
    fed_from = {"scores": "r", **({"noise": "n"} if noise else {})}
    nodes: Nodes = {
        "r": {**linear, "out": experts},
        **({"n": {**linear, "out": experts}} if noise else {}),
        "g": {"kind": "gating", **options, "from": fed_from},
        **{name: {**linear, "out": 8} for name in names},
        "y": {"kind": "combine", "from": {"gates": "g", "x": list(names)}},
    }
    return {
        "inputs": {"x": "[3 5 8]"},
        "nodes": nodes,
        "outputs": {f"o{place}": item for place, item in enumerate(outputs or ("y",))},
    }


PLAIN: dict[str, int | str | None] = {"r.weight": 0, "a.weight": 0, "b.weight": 0, "c.weight": 0}
NO_LOSS = {"balance": "none"}
CASES: dict[str, tuple[dict[str, Any], dict[str, str], dict[str, int | str | None]]] = {
    "best two": (_recipe(NO_LOSS), {}, PLAIN),
    "best one": (_recipe({**NO_LOSS, "top_k": 1}), {}, PLAIN),
    "sigmoid": (_recipe({**NO_LOSS, "score": "sigmoid"}), {}, PLAIN),
    "sigmoid and bias": (_recipe({"balance": "bias", "score": "sigmoid"}), {}, PLAIN),
    "capacity": (_recipe({**NO_LOSS, "capacity": 0.8}), {}, PLAIN),
    "temperature": (_recipe({**NO_LOSS, "temperature": 2.0}), {}, PLAIN),
    "noise": (_recipe({**NO_LOSS, "router": "noisy_topk"}, noise=True), {}, {**PLAIN, "n.weight": 0}),
    "noise of zeros, as Shazeer starts": (_recipe({**NO_LOSS, "router": "noisy_topk"}, noise=True), {"[rn].weight": "zeros"}, {**PLAIN, "n.weight": 0}),
    "experts choose": (_recipe({"router": "expert_choice"}), {}, PLAIN),
    "zeros and ones": (_recipe({**NO_LOSS, "weighted": False}), {}, {**PLAIN, "r.weight": None}),
    "dense straight through": (_recipe({**NO_LOSS, "weighted": False, "top_k": 1, "straight_through": "dense"}), {}, PLAIN),
    "winner straight through": (_recipe({**NO_LOSS, "weighted": False, "top_k": 1, "straight_through": "winner"}), {}, PLAIN),
    "experts that write zeros": (_recipe(NO_LOSS), {"[abc].weight": "zeros"}, {**PLAIN, "r.weight": 1}),
    "one expert": (_recipe({**NO_LOSS, "top_k": 1}, experts=1), {}, {"r.weight": None, "a.weight": 0}),
    "one expert by sigmoid": (_recipe({**NO_LOSS, "top_k": 1, "score": "sigmoid"}, experts=1), {}, {"r.weight": 0, "a.weight": 0}),
    "zeros and ones, but a loss": (_recipe({"weighted": False}, "y", "g.balance_loss"), {}, PLAIN),
    "the switch loss alone": (_recipe({}, "g.balance_loss"), {}, {"r.weight": 0}),
    "importance alone": (_recipe({"balance": "importance"}, "g.balance_loss"), {}, {"r.weight": 0}),
    "importance of a router of zeros": (_recipe({"balance": "importance"}, "g.balance_loss"), {"r.weight": "zeros"}, {"r.weight": "noise"}),
    "importance by sigmoid": (_recipe({"balance": "importance", "score": "sigmoid"}, "g.balance_loss"), {}, {"r.weight": 0}),
    "z loss alone": (_recipe({**NO_LOSS, "z_loss": 1.0}, "g.z_loss"), {}, {"r.weight": 0}),
    "the load": (_recipe(NO_LOSS, "g.load"), {}, {"r.weight": None}),
    "the switch loss of one expert": (_recipe({"top_k": 1}, "g.balance_loss", experts=1), {}, {"r.weight": None}),
    "z loss of one expert that scores zero": (_recipe({**NO_LOSS, "top_k": 1, "z_loss": 1.0}, "g.z_loss", experts=1), {"r.weight": "zeros"}, {"r.weight": None}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_who_learns_when(name: str) -> None:
    recipe, start, wanted = CASES[name]
    found = flow_of(recipe, start)
    for said in (zero(found), step_by_step(found)):
        steps = {
            item.address: "noise" if number in said.noise else said.steps[number]
            for number, item in enumerate(found.weights)
            if item.trainable and item.address in wanted
        }
        assert steps == wanted
    rows = measured(found, 3)
    for number, weight in enumerate(found.weights):
        if weight.address in wanted:
            seen = [row[number] or 0.0 for row in rows]
            first = next((place for place, value in enumerate(seen) if value > NOISE), None)
            assert first == (None if wanted[weight.address] == "noise" else wanted[weight.address]), (
                weight.address,
                seen,
            )


@pytest.mark.parametrize(
    ("options", "state"), [({"top_k": 1, "weighted": False}, "simplex(-1)"), ({"weighted": False}, "bounded")], ids=str
)
def test_norm_states_of_a_plan_hold(options: Nodes, state: str) -> None:
    found = flow_of(_recipe({**NO_LOSS, **options}, "y", "g.load"))
    gates = next(use.outputs["gates"] for use in found.uses if use.node.kind.name == "gating")
    assert str(norm(found).states[gates]) == state
    seen = values(found, made(found), fed(found, 0), training=True)[gates]
    assert bool(((seen == 0) | (seen == 1)).all())
    assert state != "simplex(-1)" or bool((seen.sum(-1) == 1).all())


def test_jitter_grows_a_value_as_predicted() -> None:
    def rows(eps: float) -> list[Any]:
        nodes = {
            "h": {"kind": "linear", "out": 64, "from": "x"},
            "j": {"kind": "jitter", "eps": eps, "from": "h"},
            "k": {"kind": "linear", "out": 64, "from": "j"},
        }
        return tried(
            *checked(recipe({"inputs": {"x": "[batch seq 64]"}, "nodes": nodes, "outputs": {"out": "k"}})),
            {"batch": 32, "seq": 16},
            range(3),
        )

    shaken, still = rows(0.9), rows(0.0)
    assert not [row for row in (*shaken, *still) if not row.inside or row.predicted is None]
    q = [next(row.predicted for row in found if (row.what, row.address) == ("q", "j.y")) for found in (shaken, still)]
    assert q[0] == pytest.approx(q[1] * (1 + 0.81 / 3))
