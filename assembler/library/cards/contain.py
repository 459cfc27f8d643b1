"""Containers: they take parts, and the graph builder unfolds them into plain nodes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from assembler_schemas.kind import Definition, Kind, Options, Size

Join = Literal["add", "mean", "concat", "stack", "multiply", "gate", "blend", "multi_blend", "median", "vote", "attend", "select"]
"""Kinds that make one value of what the parts of a `parallel` give."""


class ParallelOptions(Options):
    join: Join | dict[str, Any] = Field(
        "add", description="how the parts' outputs become one: the name of a join, or a mapping with its `kind` and options"
    )
    members: Size | None = Field(None, description="so many of each part, side by side, each with weights and a start of its own: an ensemble")


class BusOptions(Options):
    read: Size | None = Field(None, description="each part reads so many features of the stream, through a linear map of its own: a read head")
    write: Literal["linear", "zero"] | None = Field(
        None, description="each part writes through a linear map of its own, to the stream's width: a write head; `zero`: that starts as zeros"
    )


def _unfolded(options: Options) -> Definition:
    raise TypeError("a container has no definition of its own: the graph builder unfolds it")


GRAPH = Kind(
    name="graph",
    summary="nodes with inputs and outputs of their own, used as one node; a recipe file is one",
    options=Options,
    define=_unfolded,
    example="{kind: graph, inputs: {x: '[... d]'}, nodes: {think: {kind: mlp, from: x}}, outputs: {y: think}, from: x}",
    container=True,
)

SEQUENCE = Kind(
    name="sequence",
    summary="parts one after another: each takes what the one before gives",
    options=Options,
    define=_unfolded,
    source="torch.nn.Sequential",
    example="{kind: sequence, parts: {up: {kind: linear, out: 64}, act: {kind: activation}}, from: x}",
    container=True,
)

PARALLEL = Kind(
    name="parallel",
    summary="parts that all read one input; their outputs are joined",
    options=ParallelOptions,
    define=_unfolded,
    source="Szegedy et al. 2015, Going Deeper with Convolutions",
    example="{kind: parallel, join: concat, parts: {a: {kind: linear, out: 8}, b: {kind: linear, out: 8}}, from: x}",
    container=True,
)

BUS = Kind(
    name="bus",
    summary="a residual stream: each part reads it and adds to it, x = x + part(x)",
    options=BusOptions,
    define=_unfolded,
    source="He et al. 2016, Deep Residual Learning for Image Recognition; "
    "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
    example="{kind: bus, norm: pre, parts: {attend: {kind: attention, heads: 4}, think: {kind: mlp}}, from: x}",
    container=True,
)
