"""Feed-forward parts: the two-layer perceptron and the gated ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from assembler.library.cards.common import (
    Activation,
    Probability,
    dropout_steps,
    linear_parameters,
    linear_steps,
    sizes,
    unless,
)
from assembler_schemas.kind import Definition, Expr, Kind, Module, Options, Parameter, Port, Size, step

_INPUTS = {"x": Port("[... in]")}
_OUTPUTS = {"y": Port("[... out]")}
_DEFAULTS = {"hidden": "4*in", "out": "in"}
_SIZES: tuple[tuple[str, Any], ...] = (("", Expr("in")), ("", Expr("hidden")), ("", Expr("out")))


class MlpOptions(Options):
    in_: Size | None = Field(None, alias="in")
    hidden: Size | None = Field(None, description="width between the two maps; 4*in if not stated")
    out: Size | None = Field(None, description="as `in` if nothing else decides it")
    activation: Activation = "gelu"
    dropout: Probability = Field(0.0, description="on the hidden values")
    bias: bool = True


def _mlp(options: MlpOptions) -> Definition:
    hidden, dropped = dropout_steps("dropped", "hidden_values", options.dropout)
    return Definition(
        inputs=_INPUTS,
        outputs=_OUTPUTS,
        build=Module(
            "MLP",
            (
                *_SIZES,
                *unless("gelu", activation=options.activation),
                *unless(0.0, dropout=options.dropout),
                *unless(True, bias=options.bias),
            ),
        ),
        sizes=sizes(in_=options.in_, hidden=options.hidden, out=options.out),
        defaults=_DEFAULTS,
        parameters={
            **linear_parameters("hidden", "in", options.bias, at="up."),
            **linear_parameters("out", "hidden", options.bias, at="down.", writes=True),
        },
        body=(
            *linear_steps("raised", "x", options.bias, at="up."),
            step("hidden_values", "pointwise", "raised", fn=options.activation),
            *dropped,
            *linear_steps("y", hidden, options.bias, at="down."),
        ),
    )


class StackedMlpOptions(MlpOptions):
    members: Size = Field(description="how many perceptrons")


def _stacked(options: StackedMlpOptions) -> Definition:
    hidden, dropped = dropout_steps("dropped", "hidden_values", options.dropout)
    shifts = {"down.bias": Parameter(("members", "out"), "uniform(1/sqrt(hidden))", writes=True, stacked=True)} if options.bias else {}
    product = "y" if not options.bias else "lowered"
    return Definition(
        inputs=_INPUTS,
        outputs={"y": Port("[... members out]")},
        build=Module(
            "StackedMLP",
            (
                ("", Expr("members")),
                *_SIZES,
                *unless("gelu", activation=options.activation),
                *unless(0.0, dropout=options.dropout),
                *unless(True, bias=options.bias),
            ),
        ),
        sizes=sizes(members=options.members, in_=options.in_, hidden=options.hidden, out=options.out),
        defaults=_DEFAULTS,
        parameters={
            **linear_parameters("members*hidden", "in", options.bias, at="up."),
            "down.weight": Parameter(("members", "out", "hidden"), "uniform(1/sqrt(hidden))", writes=True, stacked=True),
            **shifts,
        },
        body=(
            *linear_steps("raised", "x", options.bias, at="up."),
            step("apart", "reshape", "raised", pattern="... (n h) -> ... n h", sizes={"n": "members"}),
            step("hidden_values", "pointwise", "apart", fn=options.activation),
            *dropped,
            step(product, "matmul", hidden, "down.weight", spec="...nh,noh->...no"),
            *([step("y", "add", product, "down.bias")] if options.bias else []),
        ),
    )


class GatedOptions(Options):
    in_: Size | None = Field(None, alias="in")
    hidden: Size | None = Field(None, description="width between the maps; 4*in if not stated")
    out: Size | None = Field(None, description="as `in` if nothing else decides it")
    bias: bool = False
    dropout: Probability = Field(0.0, description="on the hidden values")


def _gated(activation: str) -> Callable[[GatedOptions], Definition]:
    def define(options: GatedOptions) -> Definition:
        bias = options.bias
        hidden, dropped = dropout_steps("dropped", "hidden_values", options.dropout)
        return Definition(
            inputs=_INPUTS,
            outputs=_OUTPUTS,
            build=Module(
                "GatedMLP",
                (
                    *_SIZES,
                    ("activation", activation),
                    *unless(0.0, dropout=options.dropout),
                    *unless(False, bias=bias),
                ),
            ),
            sizes=sizes(in_=options.in_, hidden=options.hidden, out=options.out),
            defaults=_DEFAULTS,
            parameters={
                **linear_parameters("hidden", "in", bias, at="gate."),
                **linear_parameters("hidden", "in", bias, at="up."),
                **linear_parameters("out", "hidden", bias, at="down.", writes=True),
            },
            body=(
                *linear_steps("gated", "x", bias, at="gate."),
                step("opened", "pointwise", "gated", fn=activation),
                *linear_steps("raised", "x", bias, at="up."),
                step("hidden_values", "multiply", "opened", "raised"),
                *dropped,
                *linear_steps("y", hidden, bias, at="down."),
            ),
        )

    return define


class GluOptions(Options):
    in_: Size | None = Field(None, alias="in")
    out: Size | None = Field(None, description="as `in` if nothing else decides it")
    bias: bool = True


def _glu(options: GluOptions) -> Definition:
    return Definition(
        inputs=_INPUTS,
        outputs=_OUTPUTS,
        build=Module("GLU", (("", Expr("in")), ("", Expr("out")), *unless(True, bias=options.bias))),
        sizes=sizes(in_=options.in_, out=options.out),
        defaults={"out": "in"},
        parameters=linear_parameters("2*out", "in", options.bias, at="linear.", writes=True),
        body=(
            *linear_steps("both", "x", options.bias, at="linear."),
            step("value", "select", "both", axis=-1, stop="out"),
            step("door", "select", "both", axis=-1, start="out"),
            step("open", "pointwise", "door", fn="sigmoid"),
            step("y", "multiply", "value", "open"),
        ),
    )


def _mlp_places(options: Any) -> Mapping[str, str]:
    return {"up": "the map in -> hidden", "down": "the map hidden -> out"}


def _gated_places(options: Any) -> Mapping[str, str]:
    return {
        "gate": "the map in -> hidden that goes through the activation",
        "up": "the map in -> hidden that is gated",
        "down": "the map hidden -> out",
    }


def _glu_places(options: Any) -> Mapping[str, str]:
    return {"linear": "the map in -> 2*out: values, then gates"}


MLP = Kind(
    name="mlp",
    summary="two linear maps with an activation between: down(act(up(x)))",
    options=MlpOptions,
    define=_mlp,
    source="Vaswani et al. 2017, Attention Is All You Need, 3.3",
    example="{kind: mlp, hidden: 256, activation: gelu, from: x}",
    places=_mlp_places,
)

STACKED_MLP = Kind(
    name="stacked_mlp",
    summary="an ensemble of small perceptrons in one: every member reads x, on weights that are stacked",
    options=StackedMlpOptions,
    define=_stacked,
    source="Lakshminarayanan et al. 2017, Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
    example="{kind: stacked_mlp, members: 64, hidden: 32, out: 10, from: x}",
)

SWIGLU = Kind(
    name="swiglu",
    summary="a gated feed-forward: down(silu(gate(x)) * up(x))",
    options=GatedOptions,
    define=_gated("silu"),
    source="Shazeer 2020, GLU Variants Improve Transformer",
    example="{kind: swiglu, hidden: 172, from: x}",
    places=_gated_places,
)

GEGLU = Kind(
    name="geglu",
    summary="a gated feed-forward: down(gelu(gate(x)) * up(x))",
    options=GatedOptions,
    define=_gated("gelu"),
    source="Shazeer 2020, GLU Variants Improve Transformer",
    example="{kind: geglu, hidden: 172, from: x}",
    places=_gated_places,
)

REGLU = Kind(
    name="reglu",
    summary="a gated feed-forward: down(relu(gate(x)) * up(x))",
    options=GatedOptions,
    define=_gated("relu"),
    source="Shazeer 2020, GLU Variants Improve Transformer",
    example="{kind: reglu, hidden: 172, from: x}",
    places=_gated_places,
)

GLU = Kind(
    name="glu",
    summary="one linear map to values and gates: a * sigmoid(b)",
    options=GluOptions,
    define=_glu,
    source="Dauphin et al. 2017, Language Modeling with Gated Convolutional Networks; torch.nn.functional.glu",
    example="{kind: glu, out: 64, from: x}",
    places=_glu_places,
)
