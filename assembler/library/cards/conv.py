"""Convolution and pooling over one or two axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from assembler.library.cards.common import sizes
from assembler_schemas.kind import Count, Definition, Expr, Kind, Module, Options, Parameter, Port, Require, Size, step


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


SizePair = Annotated[Size | tuple[Size, Size], BeforeValidator(_as_tuple)]
"""One size for both axes, or `[h, w]`."""

CountPair = Annotated[Count | tuple[Count, Count], BeforeValidator(_as_tuple)]


class Conv1dOptions(Options):
    in_: Size | None = Field(None, alias="in")
    out: Size | None = None
    kernel: Size
    stride: Size = 1
    padding: Count = Field(0, description="zeros on both sides")
    dilation: Size = Field(1, description="distance between two places of the kernel")
    groups: Size = Field(1, description="runs of channels that do not see one another")
    bias: bool = True


class Conv2dOptions(Options):
    in_: Size | None = Field(None, alias="in")
    out: Size | None = None
    kernel: SizePair = Field(description="one size, or [h, w]")
    stride: SizePair = 1
    padding: CountPair = Field(0, description="zeros on all sides")
    dilation: SizePair = Field(1, description="distance between two places of the kernel")
    groups: Size = Field(1, description="runs of channels that do not see one another")
    bias: bool = True


class PoolOptions(Options):
    kernel: SizePair = Field(description="one size, or [h, w]")
    stride: SizePair | None = Field(None, description="as `kernel`")
    padding: CountPair = Field(0, description="at most half the kernel")


def _each(value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else value


def _windows(axes: tuple[str, ...], *numbers: int | tuple[int, ...]) -> str:
    """The axes behind `window(...)`: kernel, stride, padding, dilation, each for all axes or one by one."""
    columns = zip(axes, *(_each(number, len(axes)) for number in numbers), strict=True)
    return " ".join(f"window({', '.join(map(str, column))})" for column in columns)


def _conv(axes: tuple[str, ...]) -> Callable[[Any], Definition]:
    def define(options: Conv1dOptions | Conv2dOptions) -> Definition:
        groups, kernel = options.groups, _each(options.kernel, len(axes))
        columns = "in" if groups == 1 else f"in//{groups}"
        init = f"uniform(1/sqrt({'*'.join((columns, *map(str, kernel)))}))"
        parameters = {"weight": Parameter(("out", columns, *map(str, kernel)), init, writes=True)}
        if options.bias:
            parameters["bias"] = Parameter(("out",), init, writes=True)
        geometry = (options.kernel, options.stride, options.padding, options.dilation)
        cut = "the channels are cut into groups of equal width"
        return Definition(
            inputs={"x": Port(f"[batch in {' '.join(axes)}]")},
            outputs={"y": Port(f"[batch out {_windows(axes, *geometry)}]")},
            build=Module(f"nn.Conv{len(axes)}d", _conv_arguments(options)),
            sizes=sizes(in_=options.in_, out=options.out),
            requires=tuple(Require("multiple_of", width, str(groups), cut) for width in ("in", "out") if groups > 1),
            parameters=parameters,
            body=_conv_steps(options, len(axes)),
        )

    return define


def _conv_arguments(options: Conv1dOptions | Conv2dOptions) -> tuple[tuple[str, Any], ...]:
    stated: list[tuple[str, Any]] = [("", Expr("in")), ("", Expr("out")), ("", options.kernel)]
    for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1), ("bias", True)):
        value = getattr(options, name)
        if value != usual:
            stated.append((name, value))
    return tuple(stated)


def _conv_steps(options: Conv1dOptions | Conv2dOptions, axes: int) -> tuple[Any, ...]:
    geometry = {name: getattr(options, name) for name in ("stride", "padding", "dilation", "groups")}
    if not options.bias:
        return (step("y", "conv", "x", "weight", **geometry),)
    return (
        step("product", "conv", "x", "weight", **geometry),
        step("shift", "reshape", "bias", pattern="o -> o" + " 1" * axes),
        step("y", "add", "product", "shift"),
    )


def _pool(module: str, kind: Literal["max", "avg"]) -> Callable[[Any], Definition]:
    def define(options: PoolOptions) -> Definition:
        stride = options.kernel if options.stride is None else options.stride
        pairs = zip("hw", _each(options.kernel, 2), _each(options.padding, 2), strict=True)
        about = "what a pool pads is at most half its kernel"
        arguments: list[tuple[str, Any]] = [("", options.kernel)]
        if stride != options.kernel:
            arguments.append(("stride", stride))
        if options.padding not in (0, (0, 0)):
            arguments.append(("padding", options.padding))
        return Definition(
            inputs={"x": Port("[batch ch h w]")},
            outputs={"y": Port(f"[batch ch {_windows(('h', 'w'), options.kernel, stride, options.padding, 1)}]")},
            build=Module(module, tuple(arguments)),
            requires=tuple(
                Require("at_most", f"2*{padding}", str(kernel), f"{about} ({axis})")
                for axis, kernel, padding in pairs
                if padding
            ),
            body=(step("y", "pool", "x", kind=kind, kernel=options.kernel, stride=stride, padding=options.padding),),
        )

    return define


CONV1D = Kind(
    name="conv1d",
    summary="a convolution over one axis; channels first",
    options=Conv1dOptions,
    define=_conv(("length",)),
    source="torch.nn.Conv1d",
    example="{kind: conv1d, out: 16, kernel: 3, padding: 1, from: x}",
)

CONV2D = Kind(
    name="conv2d",
    summary="a convolution over two axes; channels first",
    options=Conv2dOptions,
    define=_conv(("h", "w")),
    source="LeCun et al. 1989; torch.nn.Conv2d",
    example="{kind: conv2d, out: 16, kernel: 3, padding: 1, from: x}",
)

MAX_POOL2D = Kind(
    name="max_pool2d",
    summary="the largest value in each window of two axes",
    options=PoolOptions,
    define=_pool("nn.MaxPool2d", "max"),
    source="torch.nn.MaxPool2d",
    example="{kind: max_pool2d, kernel: 2, from: x}",
)

AVG_POOL2D = Kind(
    name="avg_pool2d",
    summary="the mean of each window of two axes",
    options=PoolOptions,
    define=_pool("nn.AvgPool2d", "avg"),
    source="torch.nn.AvgPool2d",
    example="{kind: avg_pool2d, kernel: 2, from: x}",
)
