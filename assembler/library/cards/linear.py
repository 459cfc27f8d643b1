"""The linear map."""

from __future__ import annotations

from pydantic import Field

from assembler.library.cards.common import linear_parameters, linear_steps, sizes, unless
from assembler_schemas.kind import Definition, Expr, Kind, Module, Options, Port, Size


class LinearOptions(Options):
    in_: Size | None = Field(None, alias="in")
    out: Size | None = None
    bias: bool = True


def _define(options: LinearOptions) -> Definition:
    return Definition(
        inputs={"x": Port("[... in]")},
        outputs={"y": Port("[... out]")},
        build=Module("nn.Linear", (("", Expr("in")), ("", Expr("out")), *unless(True, bias=options.bias))),
        sizes=sizes(in_=options.in_, out=options.out),
        parameters=linear_parameters("out", "in", options.bias, writes=True),
        body=linear_steps("y", "x", options.bias),
    )


LINEAR = Kind(
    name="linear",
    summary="a linear map of the last axis: y = x Wᵀ + b",
    options=LinearOptions,
    define=_define,
    source="torch.nn.Linear",
    example="{kind: linear, out: 10, from: x}",
)
