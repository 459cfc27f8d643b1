"""Normalization over the last axis, with gain and bias of its own."""

from __future__ import annotations

from pydantic import Field

from assembler.library.cards.common import unless
from assembler_schemas.kind import Definition, Expr, Kind, Module, Options, Parameter, Port, Step, step


class LayerNormOptions(Options):
    eps: float = Field(1e-5, ge=0.0)
    affine: bool = Field(True, description="a learned gain for each channel")
    bias: bool = Field(True, description="and a learned bias; without effect if not affine")


class RmsNormOptions(Options):
    eps: float | None = Field(None, ge=0.0, description="null: the machine epsilon of the dtype")
    affine: bool = Field(True, description="a learned gain for each channel")


def _affine(parameters: tuple[str, ...]) -> tuple[Step, ...]:
    """From `normal` (the normalized x) to y, by the parameters that are there."""
    if not parameters:
        return (step("y", "add", "normal"),)
    if parameters == ("weight",):
        return (step("y", "multiply", "normal", "weight"),)
    return (step("scaled", "multiply", "normal", "weight"), step("y", "add", "scaled", "bias"))


def _layer_norm(options: LayerNormOptions) -> Definition:
    arguments = (
        ("", Expr("d")),
        *unless(1e-5, eps=options.eps),
        *unless(True, elementwise_affine=options.affine),
        *unless(True, bias=options.bias or not options.affine),
    )
    parameters: dict[str, Parameter] = {}
    if options.affine:
        parameters["weight"] = Parameter(("d",), "ones", writes=True)
        if options.bias:
            parameters["bias"] = Parameter(("d",), "zeros", writes=True)
    return Definition(
        inputs={"x": Port("[... d]")},
        outputs={"y": Port("[... d]")},
        build=Module("nn.LayerNorm", arguments),
        parameters=parameters,
        body=(step("normal", "norm", "x", kind="layer", axes=(-1,), eps=options.eps), *_affine(tuple(parameters))),
    )


def _rms_norm(options: RmsNormOptions) -> Definition:
    arguments = (
        ("", Expr("d")),
        *unless(None, eps=options.eps),
        *unless(True, elementwise_affine=options.affine),
    )
    parameters = {"weight": Parameter(("d",), "ones", writes=True)} if options.affine else {}
    return Definition(
        inputs={"x": Port("[... d]")},
        outputs={"y": Port("[... d]")},
        build=Module("nn.RMSNorm", arguments),
        parameters=parameters,
        body=(step("normal", "norm", "x", kind="rms", axes=(-1,), eps=options.eps), *_affine(tuple(parameters))),
    )


LAYER_NORM = Kind(
    name="layer_norm",
    summary="mean 0 and variance 1 over the last axis, then gain and bias",
    options=LayerNormOptions,
    define=_layer_norm,
    source="Ba, Kiros and Hinton 2016, Layer Normalization; torch.nn.LayerNorm",
    example="{kind: layer_norm, from: x}",
)

RMS_NORM = Kind(
    name="rms_norm",
    summary="root mean square 1 over the last axis, then a gain",
    options=RmsNormOptions,
    define=_rms_norm,
    source="Zhang and Sennrich 2019, Root Mean Square Layer Normalization; torch.nn.RMSNorm",
    example="{kind: rms_norm, eps: 1.0e-6, from: x}",
)
