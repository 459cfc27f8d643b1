"""Weighted means of values: of two, and of many."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from assembler.library.cards.common import Probability, unless
from assembler_schemas.kind import Definition, Expr, Inline, Kind, Module, Options, Parameter, Port, Require, step


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_Weight = Annotated[float, Field(ge=0.0)]
_Weights = Annotated[tuple[_Weight, ...], Field(min_length=1, max_length=4096), BeforeValidator(_as_tuple)]
_MANY, _ONE = {"x": Port("[... d]", many=True)}, {"y": Port("[... d]")}


class BlendOptions(Options):
    weight: Probability = Field(0.5, description="of the first value, used as it is; the second has the rest")
    learned: bool = Field(False, description="the weight is sigmoid of a parameter, and starts at `weight`")
    channel: bool = Field(False, description="a learned weight for each channel (wants `learned: true`)")

    @model_validator(mode="after")
    def _can_be_learned(self) -> BlendOptions:
        if self.channel and not self.learned:
            raise ValueError("`channel: true` is only for a learned weight: say `learned: true` too")
        if self.learned and self.weight in (0.0, 1.0):
            raise ValueError(
                f"a learned weight stays between 0 and 1, and never starts at {self.weight:g}: say `kind: multi_blend, "
                f"mode: normalised, weights: [{self.weight:g}, {1 - self.weight:g}]`, or lay the part on as a graft with `mode: blend`"
            )
        return self


class MultiBlendOptions(Options):
    weights: _Weights | None = Field(
        None, description="one for each value, as they start; only their ratios matter; null: all alike"
    )
    mode: Literal["softmax", "normalised"] = Field(
        "softmax",
        description="shares are softmax(parameter), or |parameter| / sum, where a share of 0 can start and learn",
    )
    learned: bool = Field(True, description="false: the shares stay as they are")

    @model_validator(mode="after")
    def _sum_to_something(self) -> MultiBlendOptions:
        if self.weights is None:
            return self
        if not 0.0 < math.fsum(self.weights) < math.inf:
            raise ValueError("`weights` are all 0: one at least is larger")
        if self.learned and self.mode == "softmax" and 0.0 in self.weights:
            raise ValueError(
                "a softmax gives no value a weight of 0: say `mode: normalised`, or start it at a small number"
            )
        return self


def _blend(options: BlendOptions) -> Definition:
    weight = options.weight
    two = (Require("equal", "n", "2", "`blend` joins two values: say `kind: multi_blend` for more"),)
    if not options.learned:
        return Definition(
            inputs=_MANY,
            outputs=_ONE,
            build=Inline("{x}", fold=f"{weight!r} * {{a}} + {1.0 - weight!r} * {{b}}"),
            requires=two,
            body=(step("y", "blend", "x", weights=(weight, 1.0 - weight)),),
        )
    width = (("width", Expr("d")),) if options.channel else ()
    start = f"constant({math.log(weight / (1.0 - weight))!r})"
    return Definition(
        inputs=_MANY,
        outputs=_ONE,
        build=Module("Blend", (*unless(0.5, start=weight), *width)),
        requires=two,
        parameters={"weight": Parameter(("d",) if options.channel else (), start)},
        body=(step("y", "blend", "weight", "x", by="sigmoid"),),
    )


def _multi_blend(options: MultiBlendOptions) -> Definition:
    weights = options.weights
    shares = None if weights is None else tuple(item / math.fsum(weights) for item in weights)
    about = "" if shares is None else f"`weights` has {len(shares)} numbers, one for each value that is joined"
    requires = () if shares is None else (Require("equal", "n", str(len(shares)), about),)
    if not options.learned:
        return Definition(
            inputs=_MANY,
            outputs=_ONE,
            build=Inline("{x} / {=n}", fold="{a} + {b}") if shares is None else Module("WeightedSum", (("", shares),)),
            requires=requires,
            body=(step("y", "add", "x", scale="1/n") if shares is None else step("y", "blend", "x", weights=shares),),
        )
    normalised = options.mode == "normalised"
    alike = "ones" if normalised else "zeros"
    start = None if shares is None else shares if normalised else tuple(math.log(item) for item in shares)
    return Definition(
        inputs=_MANY,
        outputs=_ONE,
        build=Module(
            "MultiBlend", (("", Expr("n")), *unless(None, start=start), *unless(False, normalised=normalised))
        ),
        requires=requires,
        parameters={"weight": Parameter(("n",), alike if start is None else f"numbers({', '.join(map(repr, start))})")},
        body=(step("y", "blend", "weight", "x", by="share" if normalised else "softmax"),),
    )


BLEND = Kind(
    name="blend",
    summary="the weighted mean of two values: w a + (1 - w) b",
    options=BlendOptions,
    define=_blend,
    source="torch.lerp; learned: Srivastava et al. 2015, Highway Networks (where the weight depends on x)",
    example="{kind: blend, weight: 0.3, learned: true, from: [a, b]}",
)

MULTI_BLEND = Kind(
    name="multi_blend",
    summary="the weighted mean of many values, by shares that sum to 1",
    options=MultiBlendOptions,
    define=_multi_blend,
    source="Peters et al. 2018, Deep Contextualized Word Representations (ELMo's mix of layers)",
    example="{kind: multi_blend, weights: [2, 1, 1], from: [a, b, c]}",
)
