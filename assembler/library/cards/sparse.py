"""Mixtures: containers that run a part only for the rows that chose it. The graph builder unfolds them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from assembler.library.cards.contain import _unfolded
from assembler.library.cards.gating import GatingOptions
from assembler_schemas.kind import Count, Kind, Options, Size


class MoeOptions(GatingOptions):
    experts: Size | None = Field(None, description="how many, each like `expert`; or parts by name, each with a `count` if it is more than one")
    z_loss: float = Field(0.001, ge=0, description="weight of the router's z-loss (ST-MoE)")
    shared: Count = Field(0, description="experts that every row runs, each like `expert`; or one part")
    jitter: float = Field(0.0, ge=0, lt=1, description="in training the router reads x * U(1 - jitter, 1 + jitter)")


class RouteOptions(Options):
    top_k: Size = Field(1, description="parts that each row runs")
    weighted: bool = Field(True, description="times the router's probability, which is how the router learns")
    straight_through: Literal["dense", "winner"] | None = Field(
        None, description="with `weighted: false`: the gradient of the soft mixture (all parts run), or of the winner's share alone"
    )
    temperature: float = Field(1.0, gt=0, description="of the softmax over the router's scores")
    balance: Literal["switch", "importance", "bias", "none"] = "none"
    balance_weight: float = Field(0.01, ge=0)
    z_loss: float = Field(0.0, ge=0)


class CompeteOptions(Options):
    straight_through: Literal["dense", "winner", "none"] = Field(
        "winner", description="how the selector learns: `dense` as in the soft mixture (all parts run), `winner` by the winner's share, `none` not at all"
    )
    temperature: float = Field(1.0, gt=0, description="of the softmax whose gradient is used")


MOE = Kind(
    name="moe",
    summary="a mixture of experts: each row runs the `top_k` experts that its router scores highest, and sums them by their gates",
    options=MoeOptions,
    define=_unfolded,
    source="Shazeer et al. 2017, Outrageously Large Neural Networks; Fedus et al. 2021, Switch Transformers; Dai et al. 2024, DeepSeekMoE",
    example="{kind: moe, experts: 8, top_k: 2, expert: {kind: mlp, hidden: 128}, from: x}",
    container=True,
)

ROUTE = Kind(
    name="route",
    summary="each row runs the part that a router chose for it",
    options=RouteOptions,
    define=_unfolded,
    source="Fedus et al. 2021, Switch Transformers",
    example="{kind: route, router: {kind: linear}, parts: {a: {kind: mlp}, b: {kind: linear}}, from: x}",
    container=True,
)

COMPETE = Kind(
    name="compete",
    summary="winner takes all: each row runs the part that scores highest, as it is, and the selector learns straight through",
    options=CompeteOptions,
    define=_unfolded,
    source="Bengio et al. 2013, Estimating or Propagating Gradients Through Stochastic Neurons",
    example="{kind: compete, parts: {a: {kind: mlp}, b: {kind: linear}}, from: x}",
    container=True,
)
