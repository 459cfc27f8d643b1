"""Faults of mixtures and joins: choices that cannot be made, experts that see more than their rows, parts that do not fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.fuzz.breaking import Broken, Operator, Site, known_source
from tests.fuzz.sizes import evaluate

MLP = {"kind": "mlp", "hidden": 4}


def _host(site: Site) -> tuple[str, int] | None:
    """Something with a sequence of rows, and its width."""
    found = known_source(site, lambda kind: kind.rank == 3 and kind.last is not None and kind.last % 2 == 0)
    made = None if found is None else site.sample.made.get(found[0].split(".")[0])
    if found is None or (made is not None and (made.zeros or any(value.zero for value in made.reads))):
        return None  # Zeros would be another fault.
    return found[0], found[1].last or 1


def _mixture(site: Site, bad: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A mixture with one bad expert among good ones, and the path from the node to it."""
    kind = site.rng.choice(("moe", "route", "compete"))
    held = "experts" if kind == "moe" else "parts"
    return {"kind": kind, held: {"good": dict(MLP), "bad": bad}}, (held, "bad")


def too_many(site: Site) -> Broken | None:
    """`top_k` above the number of experts."""
    found = _host(site)
    if found is None:
        return None
    count = site.rng.choice((1, 2, 4))
    spec: dict[str, Any] = {"kind": "moe", "experts": count, "expert": dict(MLP), "top_k": count + 1, "from": found[0]}
    if site.rng.random() < 0.4:
        parts = {f"part_{place}": dict(MLP) for place in range(count)}
        spec = {"kind": "route", "top_k": count + 1, "parts": parts, "from": found[0]}
    path = site.node(spec)
    return site.done((*path, "top_k"), real=lambda: torch.rand(3, count).topk(count + 1, dim=-1))


def mixes_rows(site: Site) -> Broken | None:
    """An expert that looks at other rows: run on those that chose it alone, it would be another function."""
    found = _host(site)
    if found is None:
        return None
    kinds: tuple[dict[str, Any], ...] = (
        {"kind": "attention", "heads": 2},
        {"kind": "sequence", "parts": {"a": dict(MLP), "look": {"kind": "attention", "heads": 1}}},
    )
    bad: dict[str, Any] = site.rng.choice(
        (*kinds, {"kind": "sequence", "parts": {"place": {"kind": "learned_position", "length": 512}, "b": dict(MLP)}})
    )
    inner = (
        ("parts", next(name for name, part in bad["parts"].items() if part["kind"] != "mlp")) if "parts" in bad else ()
    )
    spec, below = _mixture(site, bad)
    path = site.node({**spec, "from": found[0]})
    return site.done((*path, *below, *inner))


def second_input(site: Site) -> Broken | None:
    """An expert that reads something beside its row."""
    found = _host(site)
    if found is None:
        return None
    address, _ = found
    gate: dict[str, Any] = {"kind": "gate", "from": {"gate": address}}
    bad = site.rng.choice((gate, {"kind": "cross_attention", "heads": 2, "from": {"memory": address}}))
    spec, below = _mixture(site, bad)
    path = site.node({**spec, "from": address})
    return site.done((*path, *below), (*path, *below, "from"))


def inside(site: Site) -> Broken | None:
    """A value inside an expert is read: it has the rows that chose the expert, not those of the stream."""
    found = _host(site)
    if found is None:
        return None
    below = site.rng.choice(("experts.0", "experts.-1"))
    site.node({"kind": "moe", "experts": 3, "expert": dict(MLP), "from": found[0]}, "bad_mix")
    path = site.node({"kind": "identity", "from": f"bad_mix.{below}"})
    return site.done((*path, "from"))


def alone_renormalized(site: Site) -> Broken | None:
    found = _host(site)
    if found is None:
        return None
    spec = {"kind": "moe", "experts": 3, "expert": dict(MLP), "top_k": 1, "renormalize": True, "from": found[0]}
    path = site.node(spec)
    return site.done((*path, "renormalize"), (*path, "top_k"))


def drops(site: Site) -> Broken | None:
    """Rows beyond the capacity become zeros, and nothing carries them past."""
    found = _host(site)
    if found is None:
        return None
    spec: dict[str, Any] = {
        "kind": "moe",
        "experts": 3,
        "expert": dict(MLP),
        "capacity": site.rng.choice((0.5, 1.0)),
        "from": found[0],
    }
    path = site.node(spec)
    if site.rng.random() < 0.4:
        site.tree["nodes"]["after_mix"] = {"kind": "activation", "from": path[-1]}
        site.tree["outputs"]["of_after"] = "after_mix"
    return site.done(path, (*path, "capacity"))


def looks_ahead(site: Site) -> Broken | None:
    """Experts that choose among all rows, behind an attention that is causal."""
    found = _host(site)
    if found is None:
        return None
    if "expert_choice" in repr(site.tree):
        return None  # Those would be refused too, and come first.
    site.node({"kind": "attention", "heads": 2, "causal": True, "from": found[0]}, "bad_look")
    path = site.node({"kind": "moe", "experts": 3, "expert": dict(MLP), "router": "expert_choice", "from": "bad_look"})
    return site.done(path, (*path, "router"))


def ties(site: Site) -> Broken | None:
    """A router that starts with equal scores."""
    found = _host(site)
    if found is None:
        return None
    address = found[0]
    if site.rng.random() < 0.5:
        address = str(site.node({"kind": "zero", "from": found[0]}, "bad_zero")[-1])
        spec: dict[str, Any] = {
            "kind": site.rng.choice(("route", "compete")),
            "parts": {"a": dict(MLP), "b": dict(MLP)},
        }
    else:
        router = site.rng.choice(({"kind": "linear", "init": "zero"}, {"kind": "mlp", "init": "zero"}))
        spec = {"kind": "route", "router": router, "parts": {"a": dict(MLP), "b": dict(MLP)}}
    path = site.node({**spec, "from": address})
    return site.done(path, (*path, "router"))


def unknown_join(site: Site) -> Broken | None:
    found = _host(site)
    if found is None:
        return None
    word = site.rng.choice(("sum", "avg", "linear", "medium"))
    join = site.rng.choice((word, {"kind": word}))
    path = site.node({"kind": "parallel", "join": join, "parts": {"a": dict(MLP), "b": dict(MLP)}, "from": found[0]})
    return site.done((*path, "join"), (*path, "join", "kind"))


def wrong_number(site: Site) -> Broken | None:
    """A join of two values among three parts, or of one member alone."""
    found = _host(site)
    if found is None:
        return None
    join = site.rng.choice(("gate", "blend"))
    parts = {name: dict(MLP) for name in ("a", "b", "c")}
    path = site.node({"kind": "parallel", "join": join, "parts": parts, "from": found[0]})
    return site.done((*path, "join"), path)


def wrong_weights(site: Site) -> Broken | None:
    """Weights for more or fewer values than are joined."""
    found = _host(site)
    if found is None:
        return None
    address, width = found
    count = site.rng.choice((1, 3, 4))
    weights = [1.0] * count
    if site.rng.random() < 0.5:
        path = site.node({"kind": "multi_blend", "weights": weights, "from": [address, address]})
        lines = ((*path, "weights"), (*path, "from"))
    else:
        join = {"kind": "multi_blend", "weights": weights}
        path = site.node({"kind": "parallel", "join": join, "parts": {"a": dict(MLP), "b": dict(MLP)}, "from": address})
        lines = ((*path, "join"), (*path, "join", "weights"))
    return site.done(*lines, real=lambda: torch.rand(count) @ torch.rand(2, width))


def wrong_scores(site: Site) -> Broken | None:
    """A router of its own that gives scores for other experts than there are."""
    found = _host(site)
    if found is None:
        return None
    word = site.rng.choice(("router", "selector"))
    kind = "route" if word == "router" else "compete"
    spec = {
        "kind": kind,
        word: {"kind": "linear", "out": 5},
        "parts": {"a": dict(MLP), "b": dict(MLP)},
        "from": found[0],
    }
    path = site.node(spec)
    real = lambda: torch.rand(3, 5) @ torch.rand(2, 4)  # noqa: E731
    return site.done((*path, word), (*path, word, "out"), real=real)


def interfaces_differ(site: Site) -> Broken | None:
    """Experts of two widths."""
    found = _host(site)
    if found is None:
        return None
    _, width = found
    kind = site.rng.choice(("moe", "route", "compete"))
    parts = {"one": {"kind": "linear", "out": width + 1}, "two": {"kind": "linear", "out": width + 2}}
    path = site.node({"kind": kind, "experts" if kind == "moe" else "parts": parts, "from": found[0]})
    held = "experts" if kind == "moe" else "parts"
    real = lambda: torch.stack([nn.Linear(4, 5)(torch.zeros(4)), nn.Linear(4, 6)(torch.zeros(4))])  # noqa: E731
    return site.done(path, (*path, held, "two"), (*path, held, "one"), real=real)


def expert_repeats(site: Site) -> Broken | None:
    found = _host(site)
    if found is None:
        return None
    spec, below = _mixture(site, {**MLP, "repeat": 2})
    path = site.node({**spec, "from": found[0]})
    return site.done((*path, *below), (*path, *below, "repeat"))


def dtype_of_codes(site: Site) -> Broken | None:
    """Ids of a choice go where floats are wanted."""
    found = known_source(site, lambda kind: kind.rank >= 3 and kind.last is not None and kind.last > 1)
    if found is None:
        return None
    site.node({"kind": "argmax", "from": found[0]}, "bad_choice", read=False)
    path = site.node({"kind": "linear", "out": 3, "from": "bad_choice"})
    rows = tuple(evaluate(dim, site.sample.sizes[0]) for dim in found[1].dims[:-1])
    real = lambda: nn.Linear(rows[-1], 3)(torch.zeros(rows, dtype=torch.int64))  # noqa: E731
    return site.done((*path, "from"), real=real)


MIXED = [
    Operator("top_k above the experts", ("value-range",), "run", too_many),
    Operator("expert that mixes rows", ("expert-mixes-rows",), "policy", mixes_rows),
    Operator("expert with a second input", ("expert-input",), "policy", second_input),
    Operator("value inside an expert", ("expert-inside",), "structure", inside),
    Operator("one gate, renormalized", ("value-range",), "policy", alone_renormalized),
    Operator("capacity off a residual", ("capacity-drops",), "policy", drops),
    Operator("choice that looks ahead", ("choice-looks-ahead",), "policy", looks_ahead),
    Operator("router of zeros", ("router-tie",), "policy", ties),
    Operator("unknown join", ("value-range", "unknown-kind"), "structure", unknown_join),
    Operator("wrong number of parts", ("port-required", "shape-constraint"), "structure", wrong_number),
    Operator("weights that do not match", ("shape-constraint",), "run", wrong_weights),
    Operator("scores that do not match", ("value-range",), "run", wrong_scores),
    Operator("experts of two widths", ("shape-mismatch", "dim-ambiguous"), "run", interfaces_differ),
    Operator("expert in a row", ("place-conflict",), "structure", expert_repeats),
    Operator("ids where floats are wanted", ("shape-mismatch", "dtype-mismatch"), "run", dtype_of_codes),
]  # fmt: skip
