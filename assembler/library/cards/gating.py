"""Mixtures: from a router's scores to the gates of the experts, and what the gates make of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from assembler.library.cards.common import Probability, sizes, unless
from assembler_schemas.kind import (
    Definition,
    Expr,
    Inline,
    Kind,
    Module,
    Options,
    Parameter,
    Port,
    Require,
    Size,
    Step,
    step,
)


class GatingOptions(Options):
    experts: Size | None = Field(None, description="how many there are; the width of the scores")
    top_k: Size = Field(2, description="experts for each row; with `expert_choice` on average")
    router: Literal["topk", "noisy_topk", "expert_choice"] = Field(
        "topk", description="`noisy_topk`: with learned noise in training; `expert_choice`: experts choose rows"
    )
    score: Literal["softmax", "sigmoid"] = Field("softmax", description="from a router's score to a weight")
    temperature: float = Field(1.0, gt=0.0, description="divides the scores: above 1 is flatter")
    renormalize: bool | None = Field(None, description="a row's gates sum to 1; true if top_k > 1 and the rows choose")
    weighted: bool = Field(True, description="false: gates are 0 or 1")
    straight_through: Literal["dense", "winner"] | None = Field(
        None, description="gradient for a gate of 1: as of the soft mixture (`dense`), or of the winner's weight"
    )
    capacity: float | None = Field(
        None, gt=0.0, description="an expert takes at most ceil(top_k T/experts capacity) of T rows, the first ones"
    )
    balance: Literal["switch", "importance", "bias", "none"] | None = Field(
        None, description="against collapse; `bias` is no loss; `switch`, but `none` with `expert_choice`"
    )
    balance_weight: float = Field(0.01, gt=0.0, description="of the loss `switch` or `importance`")
    bias_rate: float = Field(1e-3, gt=0.0, description="of a step of `balance: bias`")
    z_loss: float = Field(0.0, ge=0.0, description="weight of the mean logsumexp(scores)²")
    expert_dropout: Probability = Field(0.0, description="that an expert is out of the choice in training; top_k stay")

    @model_validator(mode="after")
    def _possible(self) -> GatingOptions:
        for problem in _problems(self):
            raise ValueError(problem)
        return self


def _problems(options: GatingOptions) -> Iterator[str]:
    """Combinations that mean nothing, and what to write instead."""
    if options.renormalize and options.top_k == 1:
        yield "`renormalize: true` with `top_k: 1` makes every gate 1, and the router gets no gradient: leave `renormalize` out"
    if options.renormalize is not None and not options.weighted:
        yield "`weighted: false` gates are 0 or 1, nothing is left to normalize: leave `renormalize` out"
    if options.straight_through and options.weighted:
        yield "`straight_through` is for gates of 0 and 1: say `weighted: false` too, or leave it out: weighted gates have a gradient"
    if options.straight_through and options.top_k != 1:
        yield "`straight_through` is for one expert a row: say `top_k: 1`"
    if options.router == "expert_choice":
        yield from _expert_choice(options)


def _expert_choice(options: GatingOptions) -> Iterator[str]:
    if options.renormalize:
        yield "with `expert_choice` a row may have no expert, its gates cannot sum to 1: leave `renormalize` out"
    if options.straight_through:
        yield "`straight_through` is for one expert a row, with `expert_choice` it has any number: say `router: topk`"
    if options.capacity is not None:
        yield "with `expert_choice` each expert takes ceil(top_k T/experts) rows already: leave `capacity` out"
    if options.balance not in (None, "none"):
        yield f"with `expert_choice` the load is balanced by construction: leave `balance: {options.balance}` out"


def _gating(options: GatingOptions) -> Definition:
    balance = balance_of(options)
    noisy, loss = options.router == "noisy_topk", balance in ("switch", "importance")
    inputs = {"scores": Port("[... experts]", about="a router's, any real numbers")}
    if noisy:
        inputs["noise"] = Port("[... experts]", about="softplus of it is the deviation of the noise in training")
    outputs = {
        "gates": Port("[... experts]", about="0 where an expert is not chosen"),
        "load": Port("f32 [experts]", about="share of the assignments that each expert got, after drops"),
    }
    if loss:
        outputs["balance_loss"] = Port("scalar f32 []", loss=True)
    if options.z_loss:
        outputs["z_loss"] = Port("scalar f32 []", loss=True)
    return Definition(
        inputs=inputs,
        outputs=outputs,
        build=Module("Gating", (("", Expr("experts")), *_arguments(options))),
        sizes=sizes(experts=options.experts),
        requires=(
            Require("at_most", str(options.top_k), "experts", "a row cannot choose more experts than there are"),
        ),
        parameters={"bias": Parameter(("experts",), "zeros", buffer=True)} if balance == "bias" else {},
        body=tuple(_body(options)),
        main="gates",
    )


def balance_of(options: GatingOptions) -> str:
    return options.balance or ("none" if options.router == "expert_choice" else "switch")


def renormalizes(options: GatingOptions) -> bool:
    if options.renormalize is None:
        return options.weighted and options.top_k > 1 and options.router != "expert_choice"
    return options.renormalize


def _arguments(options: GatingOptions) -> tuple[tuple[str, Any], ...]:
    """What the module is told beyond its width; only what differs from its defaults."""
    balance = balance_of(options)
    return (
        *unless(2, top_k=options.top_k),
        *unless("topk", router=options.router),
        *unless("softmax", score=options.score),
        *unless(1.0, temperature=options.temperature),
        *unless(True, renormalize=renormalizes(options) or not options.weighted),
        *unless(True, weighted=options.weighted),
        *unless(None, straight_through=options.straight_through),
        *unless(None, capacity=options.capacity),
        *unless("none", balance=balance),
        *(unless(0.01, balance_weight=options.balance_weight) if balance in ("switch", "importance") else ()),
        *(unless(1e-3, bias_rate=options.bias_rate) if balance == "bias" else ()),
        *unless(0.0, z_loss=options.z_loss),
        *unless(0.0, expert_dropout=options.expert_dropout),
    )


def _body(options: GatingOptions) -> Iterator[Step]:
    balance, logits = balance_of(options), "scores"
    by_expert = options.router == "expert_choice"
    if options.router == "noisy_topk":
        yield step("deviation", "pointwise", "noise", fn="softplus")
        yield step("shake", "pointwise", "deviation", fn="gaussian")
        yield step("shaken", "add", "scores", "shake")
        logits = "shaken"
    if options.temperature != 1.0:
        yield step("logits", "multiply", logits, scale=1.0 / options.temperature)
        logits = "logits"
    yield step("p", "pointwise", logits, fn="sigmoid") if options.score == "sigmoid" else step("p", "softmax", logits)
    worth = "p" if by_expert else logits
    if balance == "bias":
        yield step("worth", "add", "p", "bias")
        worth = "worth"
    by = "expert" if by_expert else "row"
    yield step("chosen", "choose", worth, top_k=options.top_k, by=by, dropout=options.expert_dropout)
    kept = "chosen"
    if options.capacity is not None:
        yield step("kept", "crop", "chosen", top_k=options.top_k, capacity=options.capacity)
        kept = "kept"
    yield from _gate_steps(options, kept)
    yield from _load_steps(options, kept)
    yield from _balance_steps(options, balance)
    if options.z_loss:
        yield step("whole", "logsumexp", "scores")
        yield step("whole_squared", "multiply", "whole", "whole", scale=options.z_loss)
        yield step("z_loss", "reduce", "whole_squared", kind="mean", axes=None)


def _gate_steps(options: GatingOptions, kept: str) -> Iterator[Step]:
    if not options.weighted:
        if options.straight_through is None:
            yield step("gates", "add", kept)
            return
        soft = "p"
        if options.straight_through == "winner":
            yield step("picked", "multiply", "p", kept)
            soft = "picked"
        yield step("gates", "straight_through", kept, soft)
    elif renormalizes(options):
        yield step("picked", "multiply", "p", "chosen")
        yield step("picked_sum", "reduce", "picked", kind="sum", axes=(-1,), keep=True)
        yield step("picked_inverse", "pointwise", "picked_sum", fn="power", exponent=-1.0)
        yield step("gates", "multiply", "p", kept, "picked_inverse")
    else:
        yield step("gates", "multiply", "p", kept)


def _load_steps(options: GatingOptions, kept: str) -> Iterator[Step]:
    yield step("kept_mean", "row_mean", kept)
    if options.router != "expert_choice":
        yield step("load", "multiply", "kept_mean", scale=1.0 / options.top_k)
        return
    yield step("kept_sum", "reduce", "kept_mean", kind="sum", axes=(-1,), keep=True)
    yield step("kept_inverse", "pointwise", "kept_sum", fn="power", exponent=-1.0)
    yield step("load", "multiply", "kept_mean", "kept_inverse")


def _balance_steps(options: GatingOptions, balance: str) -> Iterator[Step]:
    if balance not in ("switch", "importance"):
        return
    share = "p"
    if options.score == "sigmoid":
        yield step("p_sum", "reduce", "p", kind="sum", axes=(-1,), keep=True)
        yield step("p_inverse", "pointwise", "p_sum", fn="power", exponent=-1.0)
        yield step("share", "multiply", "p", "p_inverse")
        share = "share"
    yield step("share_mean", "row_mean", share)
    if balance == "switch":
        yield step("chosen_mean", "row_mean", "chosen")
        yield step("balanced", "multiply", "chosen_mean", "share_mean", scale="experts")
        factor = options.balance_weight / options.top_k
    else:
        yield step("share_middle", "reduce", "share_mean", kind="mean", axes=(-1,), keep=True)
        yield step("share_back", "multiply", "share_middle", scale=-1)
        yield step("share_off", "add", "share_mean", "share_back")
        yield step("balanced", "multiply", "share_off", "share_off", scale="experts")
        factor = options.balance_weight
    yield step("balanced_sum", "reduce", "balanced", kind="sum", axes=(-1,))
    yield step("balance_loss", "multiply", "balanced_sum", scale=factor)


def _combine(options: Options) -> Definition:
    return Definition(
        inputs={"gates": Port("[... n]", about="one for each value of x"), "x": Port("[... d]", many=True)},
        outputs={"y": Port("[... d]")},
        build=Inline("({gates}.unsqueeze(-2) @ torch.stack([{x}], dim=-2)).squeeze(-2)"),
        body=(
            step("values", "concat", "x", axis=-2, new=True),
            step("y", "matmul", "gates", "values", spec="...n,...nd->...d"),
        ),
    )


class JitterOptions(Options):
    eps: float = Field(0.01, ge=0.0, lt=1.0, description="the factor lies between 1 - eps and 1 + eps")


def _jitter(options: JitterOptions) -> Definition:
    return Definition(
        inputs={"x": Port("[...]")},
        outputs={"y": Port("[...]")},
        build=Module("Jitter", (("", options.eps),)),
        body=(step("y", "pointwise", "x", fn="jitter", eps=options.eps),),
    )


GATING = Kind(
    name="gating",
    summary="the routing plan of a mixture: each row's weight of each expert, 0 for those that are not chosen",
    options=GatingOptions,
    define=_gating,
    source="Shazeer et al. 2017, Outrageously Large Neural Networks; Fedus et al. 2021, Switch Transformers; Zoph et al. 2022, "
    "ST-MoE; Zhou et al. 2022, Mixture-of-Experts with Expert Choice Routing; Wang et al. 2024, Auxiliary-Loss-Free Load Balancing",
    example="{kind: gating, top_k: 2, from: {scores: router}}",
)

COMBINE = Kind(
    name="combine",
    summary="the sum of values, each times its gate",
    options=Options,
    define=_combine,
    source="Jacobs et al. 1991, Adaptive Mixtures of Local Experts",
    example="{kind: combine, from: {gates: gates, x: [a, b]}}",
)

JITTER = Kind(
    name="jitter",
    summary="times random factors near 1 in training",
    options=JitterOptions,
    define=_jitter,
    source="Fedus et al. 2021, Switch Transformers",
    example="{kind: jitter, eps: 0.01, from: x}",
)
