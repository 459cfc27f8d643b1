"""Where the weights of a built model lie: each once, under its owner's key, with every other name it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from assembler.assemble import Origin, origin
from assembler.facts.flow import Flow, Weight, flow
from assembler.facts.weights import Held, held
from assembler.weights.header import WeightsError


class Place(NamedTuple):
    """One tensor of a `state_dict`, however many keys it has there."""

    held: Held
    names: tuple[str, ...]
    """Every key, the owner's first."""
    tensor: Tensor
    """The parameter or buffer itself."""
    dtype: str = ""
    """What the recipe states for its node; empty where the model's own holds."""
    given: str = ""
    """Address of the node that was handed over and holds it; empty for what the recipe makes."""


class Known(NamedTuple):
    """What a recipe says of its model's weights. Without a recipe (or beyond what is unfolded) there is no flow."""

    origin: Origin | None
    flow: Flow | None

    @property
    def given(self) -> tuple[str, ...]:
        """Addresses of the modules that were handed over."""
        return tuple(use.address for use in self.flow.uses if use.node.kind.name == "given") if self.flow is not None else ()


def bare(model: nn.Module) -> nn.Module:
    """The model that `torch.compile` wraps; any other as it is."""
    inner = model._modules.get("_orig_mod")
    return inner if inner is not None and type(model).__name__ == "OptimizedModule" else model


def known(model: nn.Module, found: Origin | None = None) -> Known:
    """What is known of a model by the recipe it was built from, or by `found`."""
    found = found or origin(model)
    return Known(found, flow(found.graph, found.facts) if found is not None else None)


def places(model: nn.Module, about: Known) -> dict[str, Place]:
    """Every weight by its owner's key, in the order of the `state_dict`. WeightsError where the model is not the recipe's."""
    weights: Mapping[str, Weight] = {item.address: item for item in about.flow.weights} if about.flow is not None else {}
    stated = {item.key: item for item in held(about.flow)} if about.flow is not None else {}
    given = about.given
    groups: dict[int, list[tuple[str, Tensor]]] = {}
    for key, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):  # a foreign module may keep other things there: its own affair
            groups.setdefault(id(value), []).append((key, value))
    found: dict[str, Place] = {}
    for group in groups.values():
        names, tensor = [key for key, _ in group], group[0][1]
        key = next((name for name in names if name in stated), names[0])
        node = next((address for address in given if key.startswith(f"{address}.")), "")
        item = stated.get(key) or _unknown(key, tensor, node)
        if item.shape != tuple(tensor.shape):
            raise WeightsError(f"`{key}` is {list(tensor.shape)} in the model and {list(item.shape)} in its recipe: the model is not built of it")
        dtype = weights[key].node.dtype if key in weights and tensor.is_floating_point() else ""
        found[key] = Place(item, (key, *(name for name in names if name != key)), tensor, dtype or "", node)
    for key in stated:
        if key not in found:
            raise WeightsError(f"the model has no `{key}`, which its recipe asks for: it is not built of it")
    return found


def _unknown(key: str, tensor: Tensor, node: str) -> Held:
    """A weight of which no recipe speaks: its node is the module that holds it, or the one that was handed over."""
    where, _, name = key.rpartition(".")
    if node:
        where, name = node, key[len(node) + 1 :]
    return Held(key, where, "given" if node else "", name, tuple(tensor.shape), "", tensor.requires_grad, not isinstance(tensor, nn.Parameter))
