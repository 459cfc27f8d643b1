"""Joins: many values to one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from assembler_schemas.kind import Definition, Inline, Kind, Options, Port, step

_Axis = Annotated[int, Field(ge=-8, le=-1)]


class ConcatOptions(Options):
    axis: _Axis = Field(-1, description="counted from the end: -1 is the last")


class StackOptions(Options):
    axis: _Axis = Field(-2, description="where the new axis stands in the result, counted from the end")


def _names(count: int) -> str:
    """Names for the axes behind the joined one."""
    return "".join(f" e{i}" for i in range(1, count + 1))


def _concat(options: ConcatOptions) -> Definition:
    behind = _names(-options.axis - 1)
    return Definition(
        inputs={"x": Port(f"[... d#{behind}]", many=True)},
        outputs={"y": Port(f"[... sum(d#){behind}]")},
        build=Inline(f"torch.cat([{{x}}], dim={options.axis})"),
        body=(step("y", "concat", "x", axis=options.axis),),
    )


def _stack(options: StackOptions) -> Definition:
    behind = _names(-options.axis - 1)
    return Definition(
        inputs={"x": Port(f"[...{behind}]", many=True)},
        outputs={"y": Port(f"[... n{behind}]")},
        build=Inline(f"torch.stack([{{x}}], dim={options.axis})"),
        body=(step("y", "concat", "x", axis=options.axis, new=True),),
    )


_MANY = {"x": Port("[... d]", many=True)}
_ONE = {"y": Port("[... d]")}


def _add(options: Options) -> Definition:
    return Definition(_MANY, _ONE, Inline("{x}", fold="{a} + {b}"), body=(step("y", "add", "x"),))


def _multiply(options: Options) -> Definition:
    return Definition(_MANY, _ONE, Inline("{x}", fold="{a} * {b}"), body=(step("y", "multiply", "x"),))


def _mean(options: Options) -> Definition:
    return Definition(_MANY, _ONE, Inline("{x} / {=n}", fold="{a} + {b}"), body=(step("y", "add", "x", scale="1/n"),))


CONCAT = Kind(
    name="concat",
    summary="side by side along one axis",
    options=ConcatOptions,
    define=_concat,
    source="torch.cat",
    example="{kind: concat, from: [a, b]}",
)

STACK = Kind(
    name="stack",
    summary="side by side along a new axis",
    options=StackOptions,
    define=_stack,
    source="torch.stack",
    example="{kind: stack, from: [a, b]}",
)

ADD = Kind(
    name="add",
    summary="the sum of values of one shape",
    options=Options,
    define=_add,
    source="torch.add",
    example="{kind: add, from: [a, b]}",
)

MULTIPLY = Kind(
    name="multiply",
    summary="the product, element by element, of values of one shape",
    options=Options,
    define=_multiply,
    source="torch.mul",
    example="{kind: multiply, from: [a, b]}",
)

MEAN = Kind(
    name="mean",
    summary="the mean of values of one shape",
    options=Options,
    define=_mean,
    source="torch.mean",
    example="{kind: mean, from: [a, b]}",
)
