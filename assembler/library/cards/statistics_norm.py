"""Normalization by statistics of a batch, or of groups of channels; channels are axis 1."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from assembler_schemas.kind import Definition, Expr, Kind, Module, Options, Parameter, Port, Require, Size, Step, step


class BatchNormOptions(Options):
    eps: float = Field(1e-5, ge=0.0)
    momentum: float = Field(0.1, ge=0.0, le=1.0, description="share of the newest batch in the running statistics")
    affine: bool = Field(True, description="a learned gain and bias for each channel")


class GroupNormOptions(Options):
    groups: Size = Field(description="runs of channels that are normalized together")
    eps: float = Field(1e-5, ge=0.0)
    affine: bool = Field(True, description="a learned gain and bias for each channel")


_PLACES: dict[int | None, tuple[str, ...]] = {2: (), 3: ("length",), 4: ("h", "w")}
"""The axes behind the channels, by rank. Inference finds other ranks out: they do not fit rank 4."""


def _ports(places: tuple[str, ...]) -> dict[str, Any]:
    port = Port(f"[{' '.join(('batch', 'd', *places))}]")
    return {"inputs": {"x": port}, "outputs": {"y": port}}


def _affine(affine: bool, axes: int) -> tuple[dict[str, Parameter], tuple[Step, ...]]:
    """Gain and bias for each channel, and the steps from `normal` to `y`."""
    if not affine:
        return {}, (step("y", "add", "normal"),)
    parameters = {"weight": Parameter(("d",), "ones", writes=True), "bias": Parameter(("d",), "zeros", writes=True)}
    pattern = "d -> d" + " 1" * axes
    return parameters, (
        step("gain", "reshape", "weight", pattern=pattern),
        step("shift", "reshape", "bias", pattern=pattern),
        step("scaled", "multiply", "normal", "gain"),
        step("y", "add", "scaled", "shift"),
    )


def _batch_norm(options: BatchNormOptions, rank: int | None = None) -> Definition:
    places = _PLACES.get(rank, ("h", "w"))
    parameters, affine = _affine(options.affine, len(places))
    arguments: list[tuple[str, Any]] = [("", Expr("d"))]
    for name, usual in (("eps", 1e-5), ("momentum", 0.1), ("affine", True)):
        if getattr(options, name) != usual:
            arguments.append((name, getattr(options, name)))
    values = "*".join(("batch", *places))
    return Definition(
        **_ports(places),
        build=Module("nn.BatchNorm2d" if len(places) == 2 else "nn.BatchNorm1d", tuple(arguments)),
        requires=(
            Require("at_most", "2", values, "in training a channel has more than one value", training=True),
        ),
        parameters={
            **parameters,
            "running_mean": Parameter(("d",), "zeros", buffer=True),
            "running_var": Parameter(("d",), "ones", buffer=True),
            "num_batches_tracked": Parameter((), "zeros", buffer=True, dtype="i64"),
        },
        body=(
            step(
                "normal", "norm", "x",
                kind="batch", eps=options.eps, running_mean="running_mean", running_var="running_var",
            ),
            *affine,
        ),
    )  # fmt: skip


def _group_norm(options: GroupNormOptions, rank: int | None = None) -> Definition:
    places = _PLACES.get(rank, ("h", "w"))
    parameters, affine = _affine(options.affine, len(places))
    groups = options.groups
    arguments: list[tuple[str, Any]] = [("", groups), ("", Expr("d"))]
    for name, usual in (("eps", 1e-5), ("affine", True)):
        if getattr(options, name) != usual:
            arguments.append((name, getattr(options, name)))
    width = "d" if groups == 1 else f"(d//{groups})"
    return Definition(
        **_ports(places),
        build=Module("nn.GroupNorm", tuple(arguments)),
        requires=(
            Require("multiple_of", "d", str(groups), "the channels are cut into groups of equal width"),
            Require("at_most", "2", "*".join(("batch", width, *places)), "there is more than one value to normalize"),
        ),
        parameters=parameters,
        body=(step("normal", "norm", "x", kind="group", groups=groups, eps=options.eps), *affine),
    )


BATCH_NORM = Kind(
    name="batch_norm",
    summary="mean 0 and variance 1 of each channel over the batch; running statistics outside training",
    options=BatchNormOptions,
    define=_batch_norm,
    source="Ioffe and Szegedy 2015, Batch Normalization; torch.nn.BatchNorm1d, torch.nn.BatchNorm2d",
    example="{kind: batch_norm, from: x}",
    by_rank=True,
)

GROUP_NORM = Kind(
    name="group_norm",
    summary="mean 0 and variance 1 of each group of channels",
    options=GroupNormOptions,
    define=_group_norm,
    source="Wu and He 2018, Group Normalization; torch.nn.GroupNorm",
    example="{kind: group_norm, groups: 4, from: x}",
    by_rank=True,
)
