"""What a recipe promises of how its weights start, held against a model whose weights came from elsewhere.

A promise is what somebody wrote because they rely on it: `init: zero`, `identity`, `copy`, and what a graft needs to
be silent. Random starts, and what a kind does of itself (the ones of a norm), are none.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from assembler.assemble import Origin
from assembler.facts.flow import Weight
from assembler.lab.starts import Started, measure_starts
from assembler.weights.places import Known

EXACT = frozenset(["zeros", "ones", "eye", "constant", "numbers", "copy"])


def broken(model: nn.Module, about: Known, keys: Collection[str]) -> tuple[Started, ...]:
    """The promises about the weights `keys` (or about copies of them) that do not hold now."""
    if about.origin is None or about.flow is None:
        return ()
    asked = [weight for weight in promised(about.origin, about.flow.weights) if weight.address in keys or weight.init[5:-1] in keys]
    if not asked:
        return ()
    return tuple(row for row in measure_starts(model, about.flow._replace(weights=tuple(asked))) if not row.holds)


def promised(origin: Origin, weights: Collection[Weight]) -> list[Weight]:
    """The weights of whose start the recipe says something exact."""
    silent = {node for graft in origin.graph.grafts if graft.init for match in graft.matches for node in match.nodes}
    return [weight for weight in weights if weight.init.partition("(")[0] in EXACT and _said(weight, silent)]


def _said(weight: Weight, silent: Collection[str]) -> bool:
    if "copy" in weight.node.init and weight.init.startswith("copy("):
        return True
    write = weight.node.init.get("write", "")
    if weight.writes and (write in ("zero", "identity")):
        return True
    card = weight.node.definition.parameters.get(weight.key)
    if card is not None and card.stated:
        return True  # laid into the node by a graft
    owner = weight.address.removesuffix(f".{weight.key}")
    return owner in silent and (weight.writes or card is None or weight.init.partition("(")[0] != card.init.partition("(")[0])
