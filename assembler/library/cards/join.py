"""Joins of many values that pick or weigh by what the values are: median, vote, attend, select."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from assembler.library.cards.common import linear_parameters, linear_steps, unless
from assembler_schemas.kind import Definition, Expr, Inline, Kind, Module, Options, Port, Size, Step, step

_MANY, _ONE = {"x": Port("[... d]", many=True)}, {"y": Port("[... d]")}


class AttendOptions(Options):
    hidden: Size | None = Field(None, description="width of queries and keys; that of the values if not stated")
    bias: bool = Field(True, description="of the map of the query; on the keys' it would change nothing")


class SelectOptions(Options):
    straight_through: Literal["dense", "winner", "none"] = Field(
        "winner",
        description="how the scores learn: `dense`, as those of the softmax mixture; `winner`, by the winner's "
        "probability alone; `none`, not at all. Without effect if weighted",
    )
    weighted: bool = Field(False, description="times the winner's softmax probability, by which the scores learn")

    @model_validator(mode="after")
    def _one_way_to_learn(self) -> SelectOptions:
        if self.weighted and "straight_through" in self.model_fields_set and self.straight_through != "none":
            raise ValueError("`weighted: true` is how the scores learn: leave out `straight_through`")
        return self


def _median(options: Options) -> Definition:
    return Definition(
        inputs=_MANY,
        outputs=_ONE,
        build=Inline("torch.stack([{x}]).median(dim=0).values"),
        body=(step("y", "median", "x"),),
    )


def _vote(options: Options) -> Definition:
    return Definition(
        inputs={"x": Port("logits [... d]", many=True, about="or any values of which the largest counts")},
        outputs={"y": Port("probs [... d]")},
        build=Module("Vote"),
        body=(
            step("values", "concat", "x", axis=-2, new=True),
            step("votes", "one_hot_max", "values", axis=-1),
            step("y", "reduce", "votes", kind="mean", axes=(-2,)),
        ),
    )


def _attend(options: AttendOptions) -> Definition:
    return Definition(
        inputs={**_MANY, "query": Port("[... q]", about="what asks; in a `parallel`, what its parts read")},
        outputs=_ONE,
        build=Module(
            "Attend", (("", Expr("q")), ("", Expr("d")), ("", Expr("hidden")), *unless(True, bias=options.bias))
        ),
        sizes={} if options.hidden is None else {"hidden": options.hidden},
        defaults={"hidden": "d"},
        parameters={
            **linear_parameters("hidden", "q", options.bias, at="query."),
            **linear_parameters("hidden", "d", False, at="key."),
        },
        body=(
            *linear_steps("asked", "query", options.bias, at="query."),
            step("values", "concat", "x", axis=-2, new=True),
            *linear_steps("keys", "values", False, at="key."),
            step("products", "matmul", "keys", "asked", spec="...nh,...h->...n"),
            step("scores", "multiply", "products", scale="1/sqrt(hidden)"),
            step("weights", "reshape", "scores", pattern="... n -> ... 1 n"),
            step("y", "blend", "weights", "x", by="softmax"),
        ),
    )


def _select(options: SelectOptions) -> Definition:
    passes = None if options.weighted or options.straight_through == "none" else options.straight_through
    arguments = (*unless("winner", straight_through=passes), *unless(False, weighted=options.weighted))
    return Definition(
        inputs={**_MANY, "scores": Port("[... n]", about="one for each value")},
        outputs=_ONE,
        build=Module("Select", arguments),
        body=(step("largest", "one_hot_max", "scores"), *_picked(passes, options.weighted)),
    )


def _picked(passes: str | None, weighted: bool) -> tuple[Step, ...]:
    """From `largest`, the hard choice, to y."""
    row = {"pattern": "... n -> ... 1 n"}
    soft = step("soft", "softmax", "scores")
    if weighted:
        return (
            soft,
            step("row", "reshape", "largest", **row),
            step("chosen", "blend", "row", "x"),
            step("share", "reduce", "soft", kind="max", axes=(-1,), keep=True),
            step("y", "multiply", "chosen", "share"),
        )
    if passes is None:
        return (step("row", "reshape", "largest", **row), step("y", "blend", "row", "x"))
    own = () if passes == "dense" else (step("own", "multiply", "largest", "soft"),)
    return (
        soft,
        *own,
        step("gates", "straight_through", "largest", own[0].output if own else "soft"),
        step("row", "reshape", "gates", **row),
        step("y", "blend", "row", "x"),
    )


def _attend_places(options: Any) -> Mapping[str, str]:
    return {"query": "the map of the query", "key": "the map of the values to keys"}


MEDIAN = Kind(
    name="median",
    summary="element by element the middle one of the values; of an even number the lower of the two in the middle",
    options=Options,
    define=_median,
    source="torch.median; Yin et al. 2018, Byzantine-Robust Distributed Learning (coordinate-wise median)",
    example="{kind: median, from: [a, b, c]}",
)

VOTE = Kind(
    name="vote",
    summary="the share of the values whose largest entry it is; no gradient goes back",
    options=Options,
    define=_vote,
    source="Hansen and Salamon 1990, Neural Network Ensembles",
    example="{kind: vote, from: [a, b, c]}",
)

ATTEND = Kind(
    name="attend",
    summary="the values weighted, row by row, by how well each fits a query: softmax(q . k_i / sqrt(hidden)) x_i",
    options=AttendOptions,
    define=_attend,
    source="Bahdanau et al. 2015; Vaswani et al. 2017; over members' outputs: Goyal et al. 2021, Recurrent Independent Mechanisms",
    example="{kind: attend, hidden: 32, from: {x: [a, b, c], query: h}}",
    places=_attend_places,
)

SELECT = Kind(
    name="select",
    summary="in each row the one value with the largest score; all are evaluated",
    options=SelectOptions,
    define=_select,
    source="Bengio et al. 2013, Estimating or Propagating Gradients Through Stochastic Neurons; Fedus et al. 2021 (weighted)",
    example="{kind: select, from: {x: [a, b], scores: s}}",
)
