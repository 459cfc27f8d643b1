"""From ids to vectors, and what tells a sequence its order."""

from __future__ import annotations

from pydantic import Field

from assembler.library.cards.common import sizes, unless
from assembler_schemas.kind import Count, Definition, Expr, Kind, Module, Options, Parameter, Port, Require, Size, step


class EmbeddingOptions(Options):
    vocab: Size | None = Field(None, description="rows of the table; as many as there are ids if not stated")
    out: Size | None = None
    padding: Count | None = Field(None, description="a row that starts as zero and stays so")


class LearnedPositionOptions(Options):
    length: Size | None = Field(None, description="positions in the table; the sequence's length where that is fixed")


class SinusoidalPositionOptions(Options):
    base: float = Field(10000.0, gt=0.0, description="the slowest angle turns once in 2 pi base positions")


def _embedding(options: EmbeddingOptions) -> Definition:
    requires: tuple[Require, ...] = ()
    if options.padding is not None:
        requires = (Require("at_most", str(options.padding + 1), "vocab", "the padding row is one of the table"),)
    return Definition(
        inputs={"x": Port("ids(vocab) [...]")},
        outputs={"y": Port("[... out]")},
        build=Module(
            "nn.Embedding", (("", Expr("vocab")), ("", Expr("out")), *unless(None, padding_idx=options.padding))
        ),
        sizes=sizes(vocab=options.vocab, out=options.out),
        requires=requires,
        parameters={"weight": Parameter(("vocab", "out"), "normal(1.0)")},
        body=(step("y", "gather", "weight", "x", padding=options.padding),),
    )


def _learned_position(options: LearnedPositionOptions) -> Definition:
    return Definition(
        inputs={"x": Port("[... seq d]")},
        outputs={"y": Port("[... seq d]")},
        build=Module("LearnedPosition", (("", Expr("length")), ("", Expr("d")))),
        sizes=sizes(length=options.length),
        defaults={"length": "seq"},
        requires=(Require("at_most", "seq", "length", "each position has a row of its own"),),
        parameters={"weight": Parameter(("length", "d"), "normal(0.02)")},
        body=(
            step("rows", "select", "weight", axis=-2, stop="seq"),
            step("y", "add", "x", "rows"),
        ),
    )


def _sinusoidal_position(options: SinusoidalPositionOptions) -> Definition:
    return Definition(
        inputs={"x": Port("[... seq d]")},
        outputs={"y": Port("[... seq d]")},
        build=Module("SinusoidalPosition", unless(10000.0, base=options.base)),
        requires=(Require("multiple_of", "d", "2", "each angle has a sine and a cosine"),),
        body=(
            step("code", "constant", "x", fn="sinusoid", base=options.base),
            step("y", "add", "x", "code"),
        ),
    )


EMBEDDING = Kind(
    name="embedding",
    summary="a row of a learned table for each id",
    options=EmbeddingOptions,
    define=_embedding,
    source="torch.nn.Embedding",
    example="{kind: embedding, out: 64, from: text}",
)

LEARNED_POSITION = Kind(
    name="learned_position",
    summary="adds a learned vector to each position",
    options=LearnedPositionOptions,
    define=_learned_position,
    source="Gehring et al. 2017, Convolutional Sequence to Sequence Learning",
    example="{kind: learned_position, length: 1024, from: x}",
)

SINUSOIDAL_POSITION = Kind(
    name="sinusoidal_position",
    summary="adds sines and cosines of the position, computed for any length",
    options=SinusoidalPositionOptions,
    define=_sinusoidal_position,
    source="Vaswani et al. 2017, Attention Is All You Need, 3.5",
    example="{kind: sinusoidal_position, from: x}",
)
