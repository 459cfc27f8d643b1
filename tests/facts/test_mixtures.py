"""Analysis Z of mixtures, ensembles, joins and bridges against autograd of the models that are built; grafts beside them."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from torch import nn

import assembler
from assembler.compiler.build import build, probed
from assembler.compiler.plan import plan
from assembler.facts.flow import flow
from assembler.facts.signals import value_at
from assembler.facts.zero.analysis import Zero, zero

WIDE, STEPS, NOISE = 6, 3, 1e-9
ROWS = 96
"""So many that every expert is chosen by some."""
PARTS: tuple[dict[str, Any], ...] = (
    {"kind": "mlp", "hidden": 5},
    {"kind": "mlp", "hidden": 5, "init": "zero"},
    {"kind": "linear", "out": WIDE},
    {"kind": "linear", "out": WIDE, "init": "zero", "bias": False},
    {"kind": "swiglu", "hidden": 4, "norm": "pre"},
    {"kind": "scale", "learned": True},
    {"kind": "identity"},
    {"kind": "zero"},
    {"kind": "linear", "out": WIDE, "freeze": True},
    {
        "kind": "sequence",
        "parts": {"a": {"kind": "linear", "out": WIDE}, "cut": {"kind": "detach"}, "b": {"kind": "mlp", "hidden": 4}},
    },
    {"kind": "vector_quantize", "codes": 4, "ema": False},
)
JOINS: tuple[Any, ...] = (
    *("add", "mean", "median", "vote", "multiply", "multi_blend"),
    *({"kind": "attend", "hidden": 3}, {"kind": "attend", "bias": False}, {"kind": "multi_blend", "mode": "normalised"}),
    *({"kind": "select"}, {"kind": "select", "straight_through": "dense"}, {"kind": "select", "straight_through": "none"}, {"kind": "select", "weighted": True}),
)  # fmt: skip
MOE: tuple[dict[str, Any], ...] = (
    {}, {"top_k": 1}, {"score": "sigmoid", "balance": "bias"}, {"router": "noisy_topk"}, {"router": "expert_choice"}, {"balance": "importance"},
    {"balance": "none", "z_loss": 0.0}, {"renormalize": False, "temperature": 2.0}, {"shared": {"kind": "linear", "out": WIDE}, "capacity": 1.0},
    {"top_k": 1, "weighted": False, "straight_through": "dense"}, {"top_k": 1, "weighted": False, "straight_through": "winner"},
    {"top_k": 1, "weighted": False, "balance": "none", "z_loss": 0.0}, {"jitter": 0.1}, {"score": "sigmoid", "top_k": 1},
)  # fmt: skip
ROUTE: tuple[dict[str, Any], ...] = (
    {}, {"top_k": 2}, {"weighted": False}, {"weighted": False, "straight_through": "dense"}, {"weighted": False, "straight_through": "winner"},
    {"router": {"kind": "mlp", "hidden": 4, "bias": False}}, {"balance": "switch", "z_loss": 0.01}, {"router": {"kind": "linear", "bias": False, "freeze": True}},
)  # fmt: skip
BRIDGES: tuple[dict[str, Any], ...] = (
    {"kind": "straight_through", "temperature": 2.0},
    {"kind": "gumbel", "temperature": 2.0},
    {"kind": "gumbel", "hard": False, "temperature": 2.0},
    {"kind": "vector_quantize", "codes": 4},
    {"kind": "vector_quantize", "codes": 4, "ema": False},
)


def recipe(seed: int) -> dict[str, Any]:
    """One mixture, ensemble or choice between two maps; every sort comes round once in eight seeds."""
    rng = random.Random(seed)
    parts = {name: copy.deepcopy(rng.choice(PARTS)) for name in ("one", "two", "three")[: rng.randint(2, 3)]}
    parts["one"] = copy.deepcopy(rng.choice(PARTS[:6]))  # Of zeros alone not much is to be said.
    think: dict[str, Any] = {"from": "h"}
    more: dict[str, Any] = {}
    match seed % 8:
        case 0 | 1:
            named = rng.random() < 0.5
            held = (
                {"experts": {name: {**part, "count": rng.randint(1, 2)} for name, part in parts.items()}}
                if named
                else {"experts": 3, "expert": parts["one"]}
            )
            think |= {"kind": "moe", **held, **copy.deepcopy(rng.choice(MOE))}
        case 2 | 3:
            think |= {"kind": "route", "parts": parts, **copy.deepcopy(rng.choice(ROUTE))}
        case 4:
            think |= {"kind": "compete", "parts": parts, "straight_through": rng.choice(("winner", "dense", "none"))}
        case 5 | 6:
            join = copy.deepcopy(rng.choice(JOINS))
            members = rng.choice((None, 2))
            think |= {"kind": "parallel", "join": join, "parts": parts, **({"members": members} if members else {})}
            if isinstance(join, dict) and join["kind"] == "select":
                more["s"] = {"kind": "linear", "out": len(parts) * (members or 1), "bias": False, "from": "x"}
                think["from"] = {"x": "h", "scores": "s"}
        case _:
            think |= copy.deepcopy(rng.choice(BRIDGES))
    nodes = {"h": {"kind": "linear", "out": WIDE, "bias": False, "from": "x"}, **more, "think": think}
    if rng.random() < 0.4:
        nodes["think"] = (
            {
                "kind": "bus",
                "from": "h",
                "parts": {"write": {key: item for key, item in think.items() if key != "from"}},
            }
            if "s" not in more
            else think
        )
    nodes["head"] = {"kind": "linear", "out": 3, "from": "think", **({"init": "zero"} if rng.random() < 0.25 else {})}
    return {
        "name": "mixed",
        "inputs": {"x": f"[4 {ROWS} {WIDE}]"},
        "nodes": nodes,
        "outputs": {"y": "head", "aux": "losses"},
    }


def said(spec: dict[str, Any]) -> tuple[dict[str, int | None], set[str]] | None:
    """For each trainable parameter the step of its first gradient, and those whose gradient cancels."""
    report = assembler.check(spec)
    if (
        report.graph is None
        or report.facts is None
        or any(
            item.level == "error" and item.code not in ("dead-parameter", "norm-after-zero")
            for item in report.diagnostics
        )
    ):
        return None
    found = flow(report.graph, report.facts)
    assert found is not None
    told: Zero = zero(found)
    steps = {
        item.address: told.steps[number]
        for number, item in enumerate(found.weights)
        if item.trainable and not item.buffer
    }
    return steps, {found.weights[number].address for number in told.noise}


def built(spec: dict[str, Any], seed: int) -> nn.Module:
    report = assembler.check(spec)
    assert report.graph is not None
    assert report.facts is not None
    return build(
        plan(report.graph, report.facts), seed=seed, dtype=torch.float64
    )  # also of what is refused: it is held to its word


def measured(model: nn.Module, seed: int) -> dict[str, list[float]]:
    """The largest gradient of each trainable parameter at each of the first steps of SGD."""
    torch.manual_seed(seed)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    rows: dict[str, list[float]] = {name: [] for name in trained}
    factors = torch.randn(4, ROWS, 3, dtype=torch.float64)
    for step in range(STEPS):
        model.zero_grad()
        given = model(3 * torch.randn(4, ROWS, WIDE, dtype=torch.float64))
        (given["y"] * factors).sum().add(given["aux"]).backward()
        with torch.no_grad():
            for name, value in trained.items():
                rows[name].append(0.0 if value.grad is None else float(value.grad.abs().max()))
                if value.grad is not None:
                    value.sub_(0.05 / (1 + 0.37 * step) * value.grad / max(1.0, float(value.grad.norm())))
    return rows


@pytest.mark.parametrize("seed", range(96))
def test_first_gradient_steps_are_those_of_the_built_model(seed: int) -> None:
    torch.set_num_threads(1)
    spec = recipe(seed)
    told = said(spec)
    assert told is not None, assembler.check(spec)
    steps, noise = told
    rows = measured(built(spec, seed), seed)
    assert rows.keys() == steps.keys()
    largest = max([1.0, *(row[0] for row in rows.values())])
    wrong = []
    for name, row in rows.items():
        if name in noise:
            if row[0] > NOISE * largest:
                wrong.append(f"{name} should cancel: {row}")
            continue
        wanted = steps[name] if (steps[name] or 0) < STEPS else None
        first = next((step for step, value in enumerate(row) if value != 0.0), None)
        if first != wanted:
            wrong.append(f"{name}: said {wanted}, measured {first}: {row}")
    assert wrong == []


def test_the_recipes_hold_every_verdict() -> None:
    seen: dict[int | str | None, int] = {}
    for seed in range(96):
        told = said(recipe(seed))
        assert told is not None
        for name, step in told[0].items():
            verdict = "noise" if name in told[1] else step
            seen[verdict] = seen.get(verdict, 0) + 1
    assert all(seen.get(verdict, 0) >= 5 for verdict in (0, 1, None)), seen


# --- grafts beside them ---
HOSTS: dict[str, dict[str, Any]] = {
    "moe": {"kind": "moe", "experts": 3, "expert": {"kind": "mlp", "hidden": 5}},
    "moe_shared": {
        "kind": "moe",
        "experts": {"a": {"kind": "mlp"}, "b": {"kind": "linear", "out": WIDE}},
        "shared": {"kind": "mlp"},
    },
    "route": {"kind": "route", "parts": {"a": {"kind": "mlp"}, "b": {"kind": "linear", "out": WIDE}}},
    "compete": {"kind": "compete", "parts": {"a": {"kind": "mlp"}, "b": {"kind": "linear", "out": WIDE}}},
    "members": {"kind": "parallel", "members": 3, "join": "mean", "parts": {"a": {"kind": "mlp"}}},
    "attend": {
        "kind": "parallel",
        "members": 2,
        "join": {"kind": "attend", "hidden": 4},
        "parts": {"a": {"kind": "mlp"}, "b": {"kind": "linear", "out": WIDE}},
    },
}


def hosted(kind: str, grafts: dict[str, Any] | None = None) -> dict[str, Any]:
    nodes = {
        "think": {**copy.deepcopy(HOSTS[kind]), "from": "x"},
        "head": {"kind": "linear", "out": 3, "from": "think"},
    }
    more = {"grafts": grafts} if grafts else {}
    return {
        "name": "host",
        "inputs": {"x": f"[batch seq {WIDE}]"},
        "nodes": nodes,
        "outputs": {"y": "head", "aux": "losses"},
        **more,
    }


@pytest.mark.parametrize("kind", HOSTS)
@pytest.mark.parametrize(
    "keys",
    [
        {"mode": "add", "init": "zero"},
        {"mode": "gate", "init": "zero"},
        {"mode": "add", "scale": "learned", "init": "zero"},
        {"mode": "blend", "scale": "learned", "init": "zero"},
    ],
)
def test_a_silent_graft_leaves_its_host_as_it_was(kind: str, keys: dict[str, Any]) -> None:
    grafts = {"side": {"write": "think", "part": {"kind": "mlp", "hidden": 4}, **keys}}
    report = assembler.check(hosted(kind, grafts))
    assert report.ok, report
    assert report.certificates[0].silent == "bits"
    host, grafted = assembler.build(hosted(kind), seed=3).eval(), assembler.build(hosted(kind, grafts), seed=3).eval()
    x = torch.randn(4, 9, WIDE)
    one, two = host(x), grafted(x)
    assert torch.equal(one["y"], two["y"])
    assert torch.equal(one["aux"], two["aux"])
    two["y"].square().sum().backward()
    assert any(
        value.grad is not None and value.grad.any()
        for name, value in grafted.named_parameters()
        if name.startswith("side")
    )


# --- upcycling ---
def upcycled(more: dict[str, Any]) -> dict[str, Any]:
    """A dense part beside a mixture whose experts are copies of it."""
    expert = {"kind": "mlp", "hidden": 8, "init": {"copy": "dense"}}
    nodes = {
        "dense": {"kind": "mlp", "hidden": 8, "from": "x"},
        "think": {"kind": "moe", "experts": 4, "expert": expert, "from": "x", **more},
    }
    return {
        "name": "upcycled",
        "inputs": {"x": f"[batch seq {WIDE}]"},
        "nodes": nodes,
        "outputs": {"dense": "dense", "y": "think", "aux": "losses"},
    }


@pytest.mark.parametrize("more", [{}, {"top_k": 3}, {"score": "sigmoid", "renormalize": True}])
def test_experts_that_are_copies_of_one_make_what_it_makes(more: dict[str, Any]) -> None:
    spec = upcycled(more)
    report = assembler.check(spec)
    assert report.ok, report
    given = assembler.build(spec, seed=0)(torch.randn(3, 7, WIDE))
    torch.testing.assert_close(given["y"], given["dense"], rtol=1e-5, atol=1e-5)


def test_without_renormalising_the_copies_make_less() -> None:
    spec = upcycled({"renormalize": False})
    report = assembler.check(spec)
    assert report.signals is not None
    one, two = (value_at(report.signals.flow, name) for name in ("dense", "think.mix"))
    assert one is not None
    assert two is not None
    assert report.signals.zero.same(one, two) is None  # and it is not said that they are the same
    given = assembler.build(spec, seed=0)(torch.randn(3, 7, WIDE))
    torch.testing.assert_close(given["y"], 0.5 * given["dense"], rtol=0.1, atol=0.05)  # 2 of 4 alike: about half


# --- grafts inside them ---
SEQUENCE = {"kind": "sequence", "parts": {"one": {"kind": "mlp", "hidden": 5}, "two": {"kind": "linear", "out": WIDE}}}
LOW_RANK = {"kind": "low_rank", "rank": 2}


def inside(think: dict[str, Any], graft: dict[str, Any] | None = None) -> dict[str, Any]:
    nodes = {"think": {**copy.deepcopy(think), "from": "x"}, "head": {"kind": "linear", "out": 3, "from": "think"}}
    grafts = (
        {"grafts": {"side": {"mode": "add", "init": "zero", "part": {"kind": "mlp", "hidden": 4}, **graft}}}
        if graft
        else {}
    )
    return {
        "name": "host",
        "inputs": {"x": f"[batch seq {WIDE}]"},
        "nodes": nodes,
        "outputs": {"y": "head", "aux": "losses"},
        **grafts,
    }


@pytest.mark.parametrize(
    ("think", "graft"),
    [
        (HOSTS["moe"], {"write": "think.experts.*.up", "part": LOW_RANK}),
        (HOSTS["moe"], {"write": "think.experts.1.down", "read": "think.experts.1.down.x", "part": LOW_RANK}),
        (HOSTS["moe"], {"write": "think.router", "part": {"kind": "linear"}}),
        (HOSTS["route"], {"write": "think.a.up", "part": LOW_RANK}),
        (HOSTS["members"], {"write": "think.a.*.up", "part": LOW_RANK}),
        (HOSTS["attend"], {"write": "think.join.query", "part": LOW_RANK}),
        (HOSTS["attend"], {"write": "think.a"}),
        ({**HOSTS["moe"], "expert": SEQUENCE}, {"write": "think.experts.*.one"}),
        ({**HOSTS["moe"], "expert": SEQUENCE}, {"write": "think.experts.0"}),
        ({**HOSTS["moe"], "expert": SEQUENCE}, {"write": "think.experts.*.two.x"}),
        ({**HOSTS["moe"], "expert": {"kind": "mlp", "hidden": 5, "norm": "pre"}}, {"write": "think.experts.*"}),
        ({**HOSTS["members"], "parts": {"a": SEQUENCE}}, {"write": "think.a.*.one", "read": "x"}),
    ],
)  # fmt: skip
def test_a_graft_inside_an_expert_is_silent_and_then_does_the_same_on_fewer_rows(
    think: dict[str, Any], graft: dict[str, Any]
) -> None:
    if think is HOSTS["attend"] and graft["write"] == "think.a":
        think = {**think, "members": None}
    spec = inside({key: item for key, item in think.items() if item is not None}, graft)
    report = assembler.check(spec)
    assert report.ok, report
    host, model = (
        assembler.build(item, seed=1).eval()
        for item in (inside({key: item for key, item in think.items() if item is not None}), spec)
    )
    x = torch.randn(4, 9, WIDE)
    assert torch.equal(host(x)["y"], model(x)["y"])
    known = dict(host.named_parameters())
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name not in known:
                value.normal_(0.0, 0.5)
    assert report.graph is not None
    assert report.facts is not None
    dense = probed(plan(report.graph, report.facts, dense=True), model, lambda address, value: None).eval()
    torch.testing.assert_close(model(x)["y"], dense(x)["y"], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(model(x)["y"], host(x)["y"], atol=1e-4)


@pytest.mark.parametrize("mode", ["add", "gate", "replace"])
@pytest.mark.parametrize(
    ("think", "graft", "code"),
    [
        (HOSTS["route"], {"write": "think.a"}, "graft-place"),
        (HOSTS["route"], {"write": "think.a.x"}, "graft-place"),
        (HOSTS["compete"], {"write": "think.b", "read": "x"}, "graft-place"),
        (HOSTS["moe_shared"], {"write": "think.a"}, "graft-place"),
        (HOSTS["moe"], {"write": "think.experts.*"}, "graft-place"),
        (HOSTS["moe"], {"write": "think.experts"}, "address-many"),
        ({**HOSTS["moe"], "expert": SEQUENCE}, {"write": "think.experts.*.one", "read": "x"}, "graft-place"),
        ({**HOSTS["moe"], "expert": SEQUENCE}, {"write": "think.experts.1.two", "read": "think.experts.0.one"}, "graft-place"),
        ({**HOSTS["members"], "parts": {"a": SEQUENCE}}, {"write": "think.a.1.two", "read": "think.a.0.one"}, "graft-place"),
        (HOSTS["moe"], {"write": "head", "read": "think.experts.0"}, "expert-inside"),
    ],
)  # fmt: skip
def test_a_graft_that_would_bring_other_rows_to_an_expert_is_refused(
    think: dict[str, Any], graft: dict[str, Any], code: str, mode: str
) -> None:
    report = assembler.check(
        inside(think, {**graft, "mode": mode, "init": None} if mode == "replace" else {**graft, "mode": mode})
    )
    assert [item.code for item in report.diagnostics if item.level == "error"] == [code]
