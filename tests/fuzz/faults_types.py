"""Faults of sizes and dtypes: each comes with the torch call that it would end in, which must raise."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.fuzz.breaking import Broken, Operator, Site, tensor
from tests.fuzz.breaking import known_source as _source
from tests.fuzz.faults_fit import graph_port, mask_wrong, refused, same_shapes, stated_over, tie_shapes
from tests.fuzz.value import Type


def width_off(site: Site) -> Broken | None:
    """A stated `in:` that is one off."""
    found = _source(site, lambda kind: kind.rank > 1 and kind.last is not None)
    if found is None:
        return None
    address, kind = found
    width = max((kind.last or 1) + site.rng.choice((-1, 1)), 1)
    if width == kind.last:
        width += 1
    name = site.rng.choice(("linear", "mlp", "glu", "swiglu"))
    path = site.node({"kind": name, "in": width, "out": 4, "from": address})
    return site.done((*path, "in"), real=lambda: nn.Linear(width, 4)(tensor(site, kind)))


def ids_into_linear(site: Site) -> Broken | None:
    name = site.input("ids(9) [batch 4]")
    path = site.node({"kind": "linear", "out": 3, "from": name})
    return site.done((*path, "from"), real=lambda: nn.Linear(4, 3)(torch.zeros(2, 4, dtype=torch.int64)))


def float_into_embedding(site: Site) -> Broken | None:
    found = _source(site, lambda kind: kind.rank > 1)
    if found is None:
        return None
    path = site.node({"kind": "embedding", "vocab": 9, "out": 3, "from": found[0]})
    return site.done((*path, "from"), real=lambda: nn.Embedding(9, 3)(tensor(site, found[1])))


def wide_float(site: Site) -> Broken | None:
    name = site.input("f64 [batch 4]")
    path = site.node({"kind": "linear", "out": 3, "from": name})
    return site.done((*path, "from"), real=lambda: nn.Linear(4, 3)(torch.zeros(2, 4, dtype=torch.float64)))


def wide_floats_meet(site: Site) -> Broken | None:
    wide, usual = site.input("f64 [batch 4 6]", "bad_wide"), site.input("[batch 4 6]", "bad_usual")
    path = site.node({"kind": "cross_attention", "heads": 2, "from": {"x": usual, "memory": wide}})
    return site.done((*path, "from"), real=lambda: nn.Linear(6, 6)(torch.zeros(2, 4, 6, dtype=torch.float64)))


def rank_low(site: Site) -> Broken | None:
    found = _source(site, lambda kind: kind.rank in (2,) or kind.rank >= 5)
    if found is None:
        found = (site.input("[batch 4]"), Type(()))
    address, kind = found
    path = site.node({"kind": "conv2d", "out": 4, "kernel": 1, "from": address})
    dims = tensor(site, kind) if kind.dims else torch.zeros(2, 4)
    return site.done((*path, "from"), real=lambda: nn.Conv2d(4, 4, 1)(dims))


def rearrange_rank(site: Site) -> Broken | None:
    found = _source(site, lambda kind: kind.rank != 5)
    if found is None:
        return None
    path = site.node({"kind": "rearrange", "pattern": "a b c d e -> a b c (d e)", "from": found[0]})
    return site.done((*path, "from"), real=lambda: tensor(site, found[1]).permute(0, 1, 2, 3, 4))


def heads_off(site: Site) -> Broken | None:
    found = _source(site, lambda kind: kind.rank >= 3 and kind.last is not None and kind.last > 3)
    if found is None:
        return None
    address, kind = found
    heads = next(item for item in (3, 5, 7, 9, 11, 13) if (kind.last or 1) % item)
    path = site.node({"kind": "attention", "heads": heads, "from": address})
    return site.done(
        (*path, "heads"), real=lambda: tensor(site, kind).reshape(-1, kind.last or 1)[:1].reshape(heads, -1)
    )


def groups_off(site: Site) -> Broken | None:
    found = _source(site, lambda kind: kind.rank in (3, 4) and kind.dims[1].number is not None)
    if found is None:
        return None
    address, kind = found
    width = kind.dims[1].number or 1
    groups = next(item for item in (3, 5, 7, 11) if width % item)
    path = site.node({"kind": "group_norm", "groups": groups, "from": address})
    return site.done((*path, "groups"), real=lambda: nn.GroupNorm(groups, width))


def kernel_large(site: Site) -> Broken | None:
    name = site.input("[batch 3 6 5]")
    kind: str = site.rng.choice(("conv2d", "max_pool2d", "avg_pool2d"))
    spec: dict[str, Any] = {"kind": kind, "kernel": site.rng.choice((7, [2, 6], 9)), "from": name}
    if kind == "conv2d":
        spec["out"] = 4
    path = site.node(spec)
    made = {
        "conv2d": nn.Conv2d(3, 4, spec["kernel"]),
        "max_pool2d": nn.MaxPool2d(spec["kernel"]),
        "avg_pool2d": nn.AvgPool2d(spec["kernel"]),
    }[kind]
    return site.done((*path, "kernel"), real=lambda: made(torch.zeros(2, 3, 6, 5)))


def patch_off(site: Site) -> Broken | None:
    name = site.input("image [batch 3 6 9]")
    path = site.node({"kind": "patch_embed", "patch": 2, "out": 4, "from": name})
    return site.done((*path, "patch"), (*path, "from"), real=lambda: torch.zeros(2, 3, 6, 9).reshape(2, 3, 6, 4, 2))


def rigid_number(site: Site) -> Broken | None:
    """A run-time size meets a number."""
    one, two = site.input("[batch runs 4]", "bad_long"), site.input("[batch 9 4]", "bad_short")
    feeds = site.rng.sample((one, two), 2)
    path = site.node({"kind": site.rng.choice(("add", "mean", "multiply")), "from": feeds})
    return site.done((*path, "from"), real=lambda: torch.zeros(2, 5, 4) + torch.zeros(2, 9, 4))


def rigid_rigid(site: Site) -> Broken | None:
    """Two run-time sizes of different names meet."""
    one, two = site.input("[batch runs 4]", "bad_long"), site.input("[batch walks 4]", "bad_short")
    path = site.node({"kind": site.rng.choice(("add", "mean", "gate")), "from": [one, two]})
    if site.at(path)["kind"] == "gate":
        site.at(path)["from"] = {"base": one, "gate": two}
    return site.done((*path, "from"), real=lambda: torch.zeros(2, 5, 4) + torch.zeros(2, 7, 4))


def runtime_parameter(site: Site) -> Broken | None:
    name = site.input("[batch runs]")
    kind = site.rng.choice(("linear", "layer_norm", "mlp"))
    path = site.node({"kind": kind, **({"out": 4} if kind != "layer_norm" else {}), "from": name})
    return site.done((*path, "from"), real=lambda: nn.Linear(5, 4)(torch.zeros(2, 7)))


def concat_unequal(site: Site) -> Broken | None:
    one, two = site.input("[batch 3 4]", "bad_one"), site.input("[batch 5 4]", "bad_two")
    kind = site.rng.choice(("concat", "stack"))
    path = site.node({"kind": kind, "from": [one, two]})
    return site.done((*path, "from"), real=lambda: torch.cat([torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)], -1))


def widths_meet(site: Site) -> Broken | None:
    """Two stated widths meet in a join."""
    one, two = site.input("[batch 3]", "bad_one"), site.input("[batch 5]", "bad_two")
    path = site.node({"kind": site.rng.choice(("add", "multiply", "mean")), "from": [one, two]})
    return site.done(
        (*path, "from"), ("inputs", one), ("inputs", two), real=lambda: torch.zeros(2, 3) + torch.zeros(2, 5)
    )


def competing_widths(site: Site) -> Broken | None:
    """Two readers want different widths of one open size."""
    found = _source(site, lambda kind: kind.rank > 1 and kind.last is not None)
    if found is None:
        return None
    path = site.node({"kind": "linear", "from": found[0]}, "bad_open", read=False)
    one = site.node({"kind": "linear", "in": 5, "out": 4, "from": "bad_open"}, "bad_five")
    two = site.node({"kind": "linear", "in": 6, "out": 4, "from": "bad_open"}, "bad_six")
    return site.done(path, (*one, "in"), (*two, "in"), real=lambda: nn.Linear(6, 4)(torch.zeros(2, 5)))


def open_width(site: Site) -> Broken | None:
    found = _source(site, lambda kind: kind.rank > 1 and kind.last is not None)
    if found is None:
        return None
    path = site.node({"kind": "linear", "from": found[0]})
    return site.done(path)


def vocabulary(site: Site) -> Broken | None:
    name = site.input("ids(50) [batch 4]")
    path = site.node({"kind": "embedding", "vocab": site.rng.choice((49, 20)), "out": 3, "from": name})
    return site.done((*path, "vocab"), (*path, "from"), real=lambda: nn.Embedding(49, 3)(torch.full((2, 4), 49)))


def padding_row(site: Site) -> Broken | None:
    name = site.input("ids(50) [batch 4]")
    path = site.node({"kind": "embedding", "padding": 50, "out": 3, "from": name})
    return site.done((*path, "padding"), real=lambda: nn.Embedding(50, 3, padding_idx=50))


def position_short(site: Site) -> Broken | None:
    name = site.input("[batch 12 4]")
    path = site.node({"kind": "learned_position", "length": 8, "from": name})
    return site.done((*path, "length"), real=lambda: torch.zeros(2, 12, 4) + torch.zeros(8, 4))


def odd_rotary(site: Site) -> Broken | None:
    name = site.input("[batch 12 6]")
    path = site.node({"kind": "attention", "heads": 2, "rotary": True, "from": name})
    return site.done(path, (*path, "heads"), (*path, "rotary"), real=lambda: torch.zeros(2, 3).reshape(2, 1, 2))


_POLICY = {"refused adapter", "open width"}
TYPES = [
    Operator(name, codes, "policy" if name in _POLICY else "run", apply)
    for name, codes, apply in (
        ("stated width one off", ("shape-mismatch",), width_off),
        ("ids into linear", ("dtype-mismatch", "medium-mismatch"), ids_into_linear),
        ("floats into embedding", ("dtype-mismatch", "medium-mismatch"), float_into_embedding),
        ("wide floats into linear", ("dtype-mismatch",), wide_float),
        ("wide floats meet", ("dtype-mismatch",), wide_floats_meet),
        ("too few axes", ("shape-rank",), rank_low),
        ("pattern of another rank", ("shape-rank",), rearrange_rank),
        ("heads do not divide", ("shape-constraint",), heads_off),
        ("groups do not divide", ("shape-constraint",), groups_off),
        ("kernel larger than the input", ("shape-empty",), kernel_large),
        ("patch does not divide", ("shape-constraint",), patch_off),
        ("run-time size meets a number", ("dim-rigid",), rigid_number),
        ("two run-time sizes meet", ("dim-rigid",), rigid_rigid),
        ("parameter of run-time size", ("dim-runtime",), runtime_parameter),
        ("concat of unequal axes", ("shape-mismatch",), concat_unequal),
        ("two widths meet", ("dim-ambiguous", "shape-mismatch"), widths_meet),
        ("two widths compete", ("dim-ambiguous", "shape-mismatch"), competing_widths),
        ("open width", ("dim-underdetermined",), open_width),
        ("vocabulary too large", ("vocabulary-mismatch",), vocabulary),
        ("padding row outside", ("shape-constraint",), padding_row),
        ("positions too few", ("shape-constraint",), position_short),
        ("odd rotary", ("shape-constraint",), odd_rotary),
        ("tie of different shapes", ("share-mismatch",), tie_shapes),
        ("same of different shapes", ("share-mismatch", "shape-mismatch", "adapter-refused"), same_shapes),
        ("wrong mask", ("shape-mismatch", "dtype-mismatch", "medium-mismatch"), mask_wrong),
        ("graph port", ("shape-mismatch",), graph_port),
        ("stated width in a bus", ("shape-mismatch", "adapter-refused"), stated_over),
        ("refused adapter", ("adapter-refused",), refused),
    )
]
