"""One value for many places: along axes that another value has, or learned and the same for every row of a batch."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from assembler.library.cards.common import sizes
from assembler_schemas.kind import Definition, Expr, Inline, Kind, Module, Options, Parameter, Port, Size, step

Axis = Annotated[int, Field(ge=-8, le=-1)]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class ExpandOptions(Options):
    axis: Annotated[Axis | tuple[Axis, ...], BeforeValidator(_as_tuple)] = Field(
        -2, description="the axes that it gets, counted from the end of the result: -2 is the tokens', [-2, -1] an image's"
    )

    @model_validator(mode="after")
    def _each_once(self) -> ExpandOptions:
        if not self.axes or len(set(self.axes)) < len(self.axes):
            raise ValueError("`axis` names each axis once, and at least one")
        return self

    @property
    def axes(self) -> tuple[int, ...]:
        return (self.axis,) if isinstance(self.axis, int) else self.axis


class LearnedTokensOptions(Options):
    length: Size = Field(description="how many vectors")
    out: Size | None = Field(None, description="their width; that of x if nothing else decides it")


def _expand(options: ExpandOptions) -> Definition:
    """The last axes of the result are new, `like`'s, or own, x's; the last own one may be of another size than `like`'s."""
    depth = max(-axis for axis in options.axes)
    new = [-place in options.axes for place in range(depth, 0, -1)]
    if all(new):
        new = [False, *new]
    last = len(new) - 1 - new[::-1].index(False)
    names = {True: _named("seq", sum(new)), False: _named("d", len(new) - sum(new))}
    result = [names[fresh].pop(0) for fresh in new]
    like = [*result[:last], "e", *result[last + 1 :]]
    own = [name for name, fresh in zip(result, new, strict=True) if not fresh]
    ones = ["1" if fresh else name for name, fresh in zip(result, new, strict=True)]
    turned = [*like[:last], *like[last + 1 :]]
    return Definition(
        inputs={
            "x": Port(_row(own)),
            "like": Port(_row(like), about="what has the axes; its values count for nothing"),
        },
        outputs={"y": Port(_row(result))},
        build=Inline(_text(new, last)),
        body=(
            step("spread", "reshape", "x", pattern=_pattern(own, ones)),
            step("features_last", "reshape", "like", pattern=_pattern(like, [*turned, "e"])),
            step("zeros", "constant", "features_last", fn="zeros", width=result[last]),
            step("places", "reshape", "zeros", pattern=_pattern([*turned, result[last]], result)),
            step("y", "add", "places", "spread"),
        ),
    )


def _named(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}{place}" for place in range(1, count + 1)]


def _row(axes: list[str]) -> str:
    return f"[... {' '.join(axes)}]"


def _pattern(left: list[str], right: list[str]) -> str:
    return f"... {' '.join(left)} -> ... {' '.join(right)}"


def _text(new: list[bool], last: int) -> str:
    """`{x}[..., None, :].expand(*{like}.shape[:-1], -1)`: where there is an axis already, and what is behind it."""
    first = new.index(True)
    index = ", ".join("None" if fresh else ":" for fresh in new[first:])
    behind = len(new) - 1 - last
    rest = f", *{{like}}.shape[-{behind}:]" if behind else ""
    return f"{{x}}[..., {index}].expand(*{{like}}.shape[:-{behind + 1}], -1{rest})"


def _learned_tokens(options: LearnedTokensOptions) -> Definition:
    return Definition(
        inputs={"x": Port("[... seq d]", about="what says how many rows there are; its values count for nothing")},
        outputs={"y": Port("[... length out]")},
        build=Module("LearnedTokens", (("", Expr("length")), ("", Expr("out")))),
        sizes=sizes(length=options.length, out=options.out),
        defaults={"out": "d"},
        parameters={"weight": Parameter(("length", "out"), "normal(0.02)")},
        body=(step("y", "expand", "weight", like="x"),),
    )


EXPAND = Kind(
    name="expand",
    summary="a value repeated along axes that another one has and it lacks: one vector for all tokens",
    options=ExpandOptions,
    define=_expand,
    source="torch.Tensor.expand",
    example="{kind: expand, from: {x: sentence, like: tokens}}",
)

LEARNED_TOKENS = Kind(
    name="learned_tokens",
    summary="learned vectors, the same for every row of the batch: latents, queries, prompts",
    options=LearnedTokensOptions,
    define=_learned_tokens,
    source="Jaegle et al. 2021, Perceiver; Carion et al. 2020, DETR (object queries); Lester et al. 2021 (prompts)",
    example="{kind: learned_tokens, length: 16, out: 64, from: x}",
)
