"""Kinds between media: what logits choose, with a gradient or without, and the nearest of some codes."""

from __future__ import annotations

from pydantic import Field

from assembler.library.cards.common import Probability, unless
from assembler_schemas.kind import Definition, Expr, Inline, Kind, Module, Options, Parameter, Port, Size, Step, step

_LOGITS = {"x": Port("logits [... classes]", about="probabilities do as well where only the largest counts")}


class StraightThroughOptions(Options):
    temperature: float = Field(1.0, gt=0.0, description="of the softmax whose gradient it has: above 1 is flatter")


class GumbelOptions(Options):
    temperature: float = Field(
        1.0, gt=0.0, description="divides the noisy logits: lower is nearer to a choice, and its gradient varies more"
    )
    hard: bool = Field(True, description="one-hot forward, with the gradient of the softmax; else the softmax itself")


class VectorQuantizeOptions(Options):
    codes: Size = Field(description="vectors in the codebook")
    commit: float = Field(0.25, ge=0.0, description="weight of the loss that holds x near its code")
    ema: bool = Field(
        True, description="codes are running means, updated in training; else a parameter that the loss trains"
    )
    decay: Probability = Field(0.99, description="share of the running means that stays at each step (with `ema`)")
    eps: float = Field(1e-5, gt=0.0, description="vectors that are added to each code's count (with `ema`)")


def _argmax(options: Options) -> Definition:
    return Definition(
        inputs=_LOGITS,
        outputs={"y": Port("ids(classes) [...]")},
        build=Inline("{x}.argmax(dim=-1)"),
        body=(step("y", "argmax", "x", axis=-1),),
    )


def _straight_through(options: StraightThroughOptions) -> Definition:
    return Definition(
        inputs=_LOGITS,
        outputs={"y": Port("probs [... classes]")},
        build=Module("StraightThrough", unless(1.0, temperature=options.temperature)),
        body=(*_soft("x", options.temperature), *_hard("x")),
    )


def _gumbel(options: GumbelOptions) -> Definition:
    chosen = _hard("noisy") if options.hard else ()
    return Definition(
        inputs=_LOGITS,
        outputs={"y": Port("probs [... classes]")},
        build=Module(
            "GumbelSoftmax", (*unless(1.0, temperature=options.temperature), *unless(True, hard=options.hard))
        ),
        body=(
            step("noisy", "pointwise", "x", fn="gumbel"),
            *_soft("noisy", options.temperature, "soft" if options.hard else "y"),
            *chosen,
        ),
    )


def _soft(x: str, temperature: float, output: str = "soft") -> tuple[Step, ...]:
    return (step("logits", "multiply", x, scale=1.0 / temperature), step(output, "softmax", "logits", axis=-1))


def _hard(x: str) -> tuple[Step, ...]:
    return (step("hard", "one_hot_max", x, axis=-1), step("y", "straight_through", "hard", "soft"))


def _vector_quantize(options: VectorQuantizeOptions) -> Definition:
    table = Parameter(("codes", "d"), "uniform(1/codes)", writes=not options.ema, buffer=options.ema)
    running = {"cluster_size": Parameter(("codes",), "ones", buffer=True), "embed_sum": table} if options.ema else {}
    arguments = (
        unless(0.25, commit=options.commit),
        unless(True, ema=options.ema),
        unless(0.99, decay=options.decay),
        unless(1e-5, eps=options.eps),
    )
    return Definition(
        inputs={"x": Port("[... d]")},
        outputs={
            "y": Port("[... d]"),
            "index": Port("ids(codes) [...]", about="which code it is"),
            "commit_loss": Port("scalar f32 []", loss=True, about="how far x is from its code; with `ema: false` it trains the codes too"),
        },
        build=Module("VectorQuantize", (("", options.codes), ("", Expr("d")), *(item for group in arguments for item in group))),
        sizes={"codes": options.codes},
        parameters={"codebook": table, **running},
        body=(
            step("index", "nearest", "x", "codebook"),
            step("code", "gather", "codebook", "index"),
            step("y", "straight_through", "code", "x"),
            *_distance("drift", "x", "code", options.commit, "commit_loss" if options.ema else "committed"),
            *(() if options.ema else _distance("error", "code", "x", 1.0, "trained")),
            *(() if options.ema else (step("commit_loss", "add", "committed", "trained"),)),
        ),
        main="y",
    )  # fmt: skip


def _distance(name: str, moves: str, stays: str, weight: float, output: str) -> tuple[Step, ...]:
    """`weight` times the mean squared distance; only `moves` gets a gradient."""
    return (
        step(f"{name}_target", "detach", stays),
        step(f"{name}_minus", "multiply", f"{name}_target", scale=-1.0),
        step(name, "add", moves, f"{name}_minus"),
        step(f"{name}_square", "pointwise", name, fn="power", exponent=2),
        step(f"{name}_mean", "reduce", f"{name}_square", kind="mean", axes=None),
        step(output, "multiply", f"{name}_mean", scale=weight),
    )


ARGMAX = Kind(
    name="argmax",
    summary="the id of the largest entry of the last axis, the first of equal ones; no gradient goes back",
    options=Options,
    define=_argmax,
    source="torch.argmax",
    example="{kind: argmax, from: logits}",
)

STRAIGHT_THROUGH = Kind(
    name="straight_through",
    summary="one-hot of the largest entry, with the gradient of the softmax",
    options=StraightThroughOptions,
    define=_straight_through,
    source="Bengio et al. 2013, Estimating or Propagating Gradients Through Stochastic Neurons",
    example="{kind: straight_through, temperature: 0.5, from: logits}",
)

GUMBEL = Kind(
    name="gumbel",
    summary="a sample of what logits say, with a gradient; outside training the most likely one",
    options=GumbelOptions,
    define=_gumbel,
    source="Jang et al. 2017, Categorical Reparameterization with Gumbel-Softmax; Maddison et al. 2017, The Concrete Distribution",
    example="{kind: gumbel, temperature: 0.5, from: logits}",
)

VECTOR_QUANTIZE = Kind(
    name="vector_quantize",
    summary="the nearest of some learned vectors, which one it is, and the loss that holds x near it",
    options=VectorQuantizeOptions,
    define=_vector_quantize,
    source="van den Oord et al. 2017, Neural Discrete Representation Learning",
    example="{kind: vector_quantize, codes: 512, from: x}",
)
