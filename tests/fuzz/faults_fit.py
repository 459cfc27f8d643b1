"""Faults of what is shared, masked, declared or adapted: sizes that do not fit across two places."""

from __future__ import annotations

import torch
from torch import nn

from tests.fuzz.breaking import Broken, Site, tensor
from tests.fuzz.breaking import known_source as _source
from tests.fuzz.overlays import widened


def tie_shapes(site: Site) -> Broken | None:
    found = _source(site, lambda kind: kind.rank > 1 and kind.last is not None)
    if found is None:
        return None
    owner = site.node({"kind": "linear", "out": 5, "from": found[0]}, "bad_owner")
    path = site.node({"kind": "linear", "out": 6, "tie": {"weight": "bad_owner.weight"}, "from": found[0]})
    width = found[1].last or 1
    real = lambda: nn.functional.linear(torch.zeros(2, width), torch.zeros(5, width), torch.zeros(6))  # noqa: E731
    return site.done((*path, "tie"), owner, real=real)


def same_shapes(site: Site) -> Broken | None:
    one = site.input("[batch 6 3]", "bad_one")
    two = site.node({"kind": "linear", "out": 5, "from": one}, "bad_two", read=False)[-1]
    path = site.node({"kind": "layer_norm", "from": one}, "bad_owner")
    other = site.node({"same": "bad_owner", "from": two})
    return site.done(
        (*other, "same"), ("nodes", "bad_two", "out"), path, real=lambda: nn.LayerNorm(3)(torch.zeros(2, 6, 5))
    )


def mask_wrong(site: Site) -> Broken | None:
    """A mask over another axis, or floats where a mask is wanted."""
    x = site.input("[batch 6 4]", "bad_x")
    name = site.input(site.rng.choice(("mask [batch 5]", "[batch 6]")), "bad_mask")
    path = site.node({"kind": "attention", "heads": 2, "from": {"x": x, "mask": name}})
    real = lambda: torch.zeros(2, 2, 6, 6).masked_fill(torch.zeros(2, 1, 1, 5, dtype=torch.bool), 0.0)  # noqa: E731
    return site.done((*path, "from"), (*path, "from", "mask"), real=real)


def graph_port(site: Site) -> Broken | None:
    """A graph whose declared port does not fit what feeds it."""
    found = _source(site, lambda kind: kind.rank > 1 and kind.last is not None)
    if found is None:
        return None
    address, kind = found
    spec = {
        "inputs": {"x": f"[... {(kind.last or 1) + 1}]"},
        "nodes": {"keep": {"kind": "linear", "out": 4, "from": "x"}},
        "outputs": {"y": "keep"},
        "from": address,
    }
    path = site.node(spec)
    return site.done(
        (*path, "from"), (*path, "inputs", "x"), real=lambda: nn.Linear((kind.last or 1) + 1, 4)(tensor(site, kind))
    )


def stated_over(site: Site) -> Broken | None:
    """A bus part whose stated width is not the stream's: no adapter goes over it."""
    found = _source(site, lambda kind: kind.rank > 1 and kind.last is not None)
    if found is None:
        return None
    address, kind = found
    width = (kind.last or 1) + 1
    path = site.node({"kind": "bus", "parts": {"write": {"kind": "linear", "out": width}}, "from": address})
    return site.done(
        (*path, "parts", "write"),
        real=lambda: (
            tensor(site, kind) + nn.Linear(kind.last or 1, width)(tensor(site, kind)) if width > 2 else _raise()
        ),
    )


def refused(site: Site) -> Broken | None:
    """An adapter that would be put in, under a policy that forbids it."""
    if site.sample.covers["feature", "adapter_auto"] or widened(site.tree):
        return None  # Those would be refused too, and come first.
    asks = "'adapt'" in repr(site.tree)  # `never` refuses those as well, and they come first.
    site.tree["adapters"] = {"policy": "explicit" if asks else site.rng.choice(("never", "explicit"))}
    name = site.input("[batch 4]")
    parts = {
        "both": {
            "kind": "parallel",
            "join": "concat",
            "parts": {"a": {"kind": "activation"}, "b": {"kind": "identity"}},
        }
    }
    path = site.node({"kind": "bus", "parts": parts, "from": name})
    return site.done(path, (*path, "parts", "both"), (*path, "from"), (*path, "parts", "both", "join"))


def _raise() -> None:
    raise ValueError("a stream of one channel broadcasts")
