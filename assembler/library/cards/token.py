"""Between images, rows of tokens, and one vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from assembler.library.cards.common import sizes
from assembler_schemas.kind import Definition, Expr, Inline, Kind, Module, Options, Parameter, Port, Size, Step, step


class PatchEmbedOptions(Options):
    patch: Size = Field(description="side of a patch, in pixels")
    in_: Size | None = Field(None, alias="in", description="channels of the image")
    out: Size | None = None
    bias: bool = True


_ROWS, _ONE = Port("[... seq d]"), Port("[... d]")


def _patch_embed(options: PatchEmbedOptions) -> Definition:
    init = "uniform(1/sqrt(in*patch*patch))"
    parameters = {"proj.weight": Parameter(("out", "in", "patch", "patch"), init, writes=True)}
    if options.bias:
        parameters["proj.bias"] = Parameter(("out",), init, writes=True)
    arguments = (("", Expr("in")), ("", Expr("out")), ("patch", options.patch))
    return Definition(
        inputs={"x": Port("image [batch in patch*h patch*w]")},
        outputs={"y": Port("[batch h*w out]")},
        build=Module("PatchEmbed", arguments if options.bias else (*arguments, ("bias", False))),
        sizes=sizes(patch=options.patch, in_=options.in_, out=options.out),
        parameters=parameters,
        body=_patch_steps(options),
    )


def _patch_steps(options: PatchEmbedOptions) -> tuple[Step, ...]:
    rows = "rows" if options.bias else "y"
    steps = (
        step("grid", "conv", "x", "proj.weight", stride=options.patch),
        step(rows, "reshape", "grid", pattern="b o h w -> b (h w) o"),
    )
    return (*steps, step("y", "add", "rows", "proj.bias")) if options.bias else steps


def _mean_pool(options: Options) -> Definition:
    return Definition(
        inputs={"x": _ROWS, "mask": Port("mask [... seq]", optional=True, about="true: this token counts")},
        outputs={"y": _ONE},
        build=Module("MeanPool"),
        body=(step("y", "reduce", "x", kind="mean", axes=(-2,), mask="mask"),),
    )


def _cls_token(options: Options) -> Definition:
    return Definition(
        inputs={"x": _ROWS},
        outputs={"y": Port("[... seq+1 d]")},
        build=Module("ClsToken", (("", Expr("d")),)),
        parameters={"weight": Parameter(("d",), "normal(0.02)")},
        body=(
            step("row", "reshape", "weight", pattern="d -> 1 d"),
            step("first", "expand", "row", like="x"),
            step("y", "concat", "first", "x", axis=-2),
        ),
    )


def _cls_pool(options: Options) -> Definition:
    return Definition(
        inputs={"x": _ROWS},
        outputs={"y": _ONE},
        build=Inline("{x}[..., 0, :]"),
        body=(
            step("first", "select", "x", axis=-2, start=0, stop=1),
            step("y", "reshape", "first", pattern="... 1 d -> ... d"),
        ),
    )


def _patch_places(options: Any) -> Mapping[str, str]:
    return {"proj": "the convolution that maps each patch to one vector"}


PATCH_EMBED = Kind(
    name="patch_embed",
    summary="an image cut into square patches, each mapped to one vector; row by row",
    options=PatchEmbedOptions,
    define=_patch_embed,
    source="Dosovitskiy et al. 2021, An Image is Worth 16x16 Words",
    example="{kind: patch_embed, patch: 2, out: 64, from: image}",
    places=_patch_places,
)

MEAN_POOL = Kind(
    name="mean_pool",
    summary="the mean over the tokens, or over those that the mask keeps (zeros if it keeps none)",
    options=Options,
    define=_mean_pool,
    source="Lin et al. 2014, Network In Network (global average pooling)",
    example="{kind: mean_pool, from: x}",
)

CLS_TOKEN = Kind(
    name="cls_token",
    summary="puts one learned vector before the tokens",
    options=Options,
    define=_cls_token,
    source="Devlin et al. 2019, BERT",
    example="{kind: cls_token, from: x}",
)

CLS_POOL = Kind(
    name="cls_pool",
    summary="the first token",
    options=Options,
    define=_cls_pool,
    source="Devlin et al. 2019, BERT",
    example="{kind: cls_pool, from: x}",
)
