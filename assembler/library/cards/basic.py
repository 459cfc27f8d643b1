"""Kinds of one value that are hardly more than a function."""

from __future__ import annotations

from pydantic import Field, model_validator

from assembler.library.cards.common import Activation, Probability, sizes
from assembler_schemas.kind import Definition, Expr, Inline, Kind, Module, Options, Parameter, Port, Size, step

_ANY_IN, _ANY_OUT = {"x": Port("[...]")}, {"y": Port("[...]")}
_ROW_IN, _ROW_OUT = {"x": Port("[... d]")}, {"y": Port("[... d]")}

_TEXTS = {
    "gelu_tanh": 'F.gelu({x}, approximate="tanh")',
    "tanh": "torch.tanh({x})",
    "sigmoid": "torch.sigmoid({x})",
    "quick_gelu": "{x} * torch.sigmoid(1.702 * {x})",
    "identity": "{x}",
}


class ActivationOptions(Options):
    activation: Activation = "gelu"


class DropoutOptions(Options):
    p: Probability = Field(0.5, description="that an element is set to zero in training")


class ScaleOptions(Options):
    value: float = Field(1.0, description="the factor, or where it starts")
    learned: bool = False
    channel: bool = Field(False, description="a learned factor for each channel (wants `learned: true`)")

    @model_validator(mode="after")
    def _channels_are_learned(self) -> ScaleOptions:
        if self.channel and not self.learned:
            raise ValueError("`channel: true` is only for a learned factor: say `learned: true` too")
        return self


class SoftmaxOptions(Options):
    temperature: float = Field(1.0, gt=0.0, description="divides x: above 1 is flatter")


class ZeroOptions(Options):
    in_: Size | None = Field(None, alias="in")
    out: Size | None = Field(None, description="as `in` if nothing else decides it")


def _activation(options: ActivationOptions) -> Definition:
    name = options.activation
    return Definition(
        inputs=_ROW_IN,
        outputs=_ROW_OUT,
        build=Inline(_TEXTS.get(name, f"F.{name}({{x}})")),
        body=(step("y", "pointwise", "x", fn=name),),
    )


def _dropout(options: DropoutOptions) -> Definition:
    return Definition(
        inputs=_ANY_IN,
        outputs=_ANY_OUT,
        build=Module("nn.Dropout", (("p", options.p),)),
        body=(step("y", "pointwise", "x", fn="dropout", p=options.p),),
    )


def _scale(options: ScaleOptions) -> Definition:
    value = options.value
    if not options.learned:
        return Definition(
            inputs=_ROW_IN,
            outputs=_ROW_OUT,
            build=Inline(f"{{x}} * {value!r}"),
            body=(step("y", "multiply", "x", scale=value),),
        )
    width = (("width", Expr("d")),) if options.channel else ()
    return Definition(
        inputs=_ROW_IN,
        outputs=_ROW_OUT,
        build=Module("Scale", (("", value), *width)),
        parameters={"weight": Parameter(("d",) if options.channel else (), f"constant({value!r})", writes=True)},
        body=(step("y", "multiply", "x", "weight"),),
    )


def _softmax(options: SoftmaxOptions) -> Definition:
    plain = options.temperature == 1.0
    return Definition(
        inputs=_ROW_IN,
        outputs={"y": Port("probs [... d]")},
        build=Inline(f"torch.softmax({{x}}{'' if plain else f' / {options.temperature!r}'}, dim=-1)"),
        body=(
            step("logits", "multiply", "x", scale=1.0 / options.temperature),
            step("y", "softmax", "logits", axis=-1),
        ),
    )


def _identity(options: Options) -> Definition:
    return Definition(_ANY_IN, _ANY_OUT, Inline("{x}"), body=(step("y", "add", "x"),))


def _zero(options: ZeroOptions) -> Definition:
    return Definition(
        inputs={"x": Port("[... in]")},
        outputs={"y": Port("[... out]")},
        build=Inline("{x}.new_zeros({x}.shape[:-1] + ({=out},))"),
        sizes=sizes(in_=options.in_, out=options.out),
        defaults={"out": "in"},
        body=(step("y", "constant", "x", fn="zeros", width="out"),),
    )


ACTIVATION = Kind(
    name="activation",
    summary="a non-linear function of each element",
    options=ActivationOptions,
    define=_activation,
    source="torch.nn.functional; gelu: Hendrycks and Gimpel 2016, silu: Elfwing et al. 2018, mish: Misra 2019",
    example="{kind: activation, activation: relu, from: x}",
)

DROPOUT = Kind(
    name="dropout",
    summary="sets elements to zero at random in training, and scales up the others",
    options=DropoutOptions,
    define=_dropout,
    source="Srivastava et al. 2014, Dropout; torch.nn.Dropout",
    example="{kind: dropout, p: 0.1, from: x}",
)

SCALE = Kind(
    name="scale",
    summary="times a factor: fixed, learned, or learned for each channel",
    options=ScaleOptions,
    define=_scale,
    source="Touvron et al. 2021, Going deeper with Image Transformers (LayerScale)",
    example="{kind: scale, value: 0.1, learned: true, channel: true, from: x}",
)

SOFTMAX = Kind(
    name="softmax",
    summary="probabilities along the last axis",
    options=SoftmaxOptions,
    define=_softmax,
    source="torch.softmax",
    example="{kind: softmax, from: logits}",
)

IDENTITY = Kind(
    name="identity",
    summary="the value itself; what fills an empty slot in a chain",
    options=Options,
    define=_identity,
    source="torch.nn.Identity",
    example="{kind: identity, from: x}",
)

ZERO = Kind(
    name="zero",
    summary="zeros; what fills an empty slot on a residual stream",
    options=ZeroOptions,
    define=_zero,
    source="torch.zeros",
    example="{kind: zero, from: x}",
)
