"""Kinds that mend an edge: another order of the axes, a narrow map, a dtype, a stop of the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from assembler.library.cards.common import linear_parameters, linear_steps, sizes
from assembler_schemas.kind import Definition, Expr, Inline, Kind, Module, Options, Port, Size, step


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is_permutation(order: tuple[int, ...]) -> tuple[int, ...]:
    if sorted(order) != list(range(len(order))):
        raise ValueError(f"`order` names each axis 0 to {len(order) - 1} once, and this is {list(order)}")
    return order


class PermuteOptions(Options):
    order: Annotated[
        tuple[int, ...], Field(min_length=1, max_length=16), BeforeValidator(_as_tuple), AfterValidator(_is_permutation)
    ] = Field((0, 2, 1), description="axis i of the result is axis order[i] of x")


class LowRankOptions(Options):
    in_: Size | None = Field(None, alias="in")
    rank: Size = Field(8, description="width between the two maps")
    out: Size | None = None
    bias: bool = Field(False, description="of the second map")


class CastOptions(Options):
    dtype: Literal["f64", "f32", "bf16", "f16"]


_DTYPES = {"f64": "torch.float64", "f32": "torch.float32", "bf16": "torch.bfloat16", "f16": "torch.float16"}


def _permute(options: PermuteOptions) -> Definition:
    axes = [f"axis{i}" for i in range(len(options.order))]
    moved = [axes[i] for i in options.order]
    return Definition(
        inputs={"x": Port(f"[{' '.join(axes)}]")},
        outputs={"y": Port(f"[{' '.join(moved)}]")},
        build=Inline(f"{{x}}.permute({', '.join(map(str, options.order))})"),
        body=(step("y", "reshape", "x", pattern=f"{' '.join(axes)} -> {' '.join(moved)}"),),
    )


def _low_rank(options: LowRankOptions) -> Definition:
    arguments = (("", Expr("in")), ("", Expr("out")), ("rank", options.rank))
    return Definition(
        inputs={"x": Port("[... in]")},
        outputs={"y": Port("[... out]")},
        build=Module("LowRank", (*arguments, ("bias", True)) if options.bias else arguments),
        sizes=sizes(in_=options.in_, rank=options.rank, out=options.out),
        parameters={
            **linear_parameters("rank", "in", False, at="down."),
            **linear_parameters("out", "rank", options.bias, at="up.", writes=True),
        },
        body=(*linear_steps("narrow", "x", False, at="down."), *linear_steps("y", "narrow", options.bias, at="up.")),
    )


def _cast(options: CastOptions) -> Definition:
    return Definition(
        inputs={"x": Port("[...]")},
        outputs={"y": Port(f"{options.dtype} [...]")},
        build=Inline(f"{{x}}.to({_DTYPES[options.dtype]})"),
        body=(step("y", "pointwise", "x", fn="cast", dtype=options.dtype),),
    )


def _detach(options: Options) -> Definition:
    return Definition(
        inputs={"x": Port("[...]")},
        outputs={"y": Port("[...]")},
        build=Inline("{x}.detach()"),
        body=(step("y", "detach", "x"),),
    )


def _low_rank_places(options: Any) -> Mapping[str, str]:
    return {"down": "the map in -> rank", "up": "the map rank -> out"}


PERMUTE = Kind(
    name="permute",
    summary="the axes in another order",
    options=PermuteOptions,
    define=_permute,
    source="torch.permute",
    example="{kind: permute, order: [0, 2, 1], from: x}",
)

LOW_RANK = Kind(
    name="low_rank",
    summary="a linear map through a narrow middle: up(down(x))",
    options=LowRankOptions,
    define=_low_rank,
    source="Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models",
    example="{kind: low_rank, rank: 8, out: 64, from: x}",
    places=_low_rank_places,
)

CAST = Kind(
    name="cast",
    summary="the same numbers in another dtype",
    options=CastOptions,
    define=_cast,
    source="torch.Tensor.to",
    example="{kind: cast, dtype: bf16, from: x}",
)

DETACH = Kind(
    name="detach",
    summary="the same value; no gradient goes back",
    options=Options,
    define=_detach,
    source="torch.Tensor.detach",
    example="{kind: detach, from: x}",
)
