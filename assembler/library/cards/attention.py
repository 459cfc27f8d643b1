"""Attention: to oneself, and to a memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from assembler.library.cards.common import Probability, linear_parameters, linear_steps, sizes, unless
from assembler_schemas.kind import Definition, Expr, Kind, Module, Options, Parameter, Port, Require, Size, Step, step


class CrossAttentionOptions(Options):
    heads: Size
    kv_heads: Size | None = Field(None, description="heads of keys and values, each shared by several; as `heads`")
    head_dim: Size | None = Field(None, description="in // heads")
    in_: Size | None = Field(None, alias="in")
    memory_in: Size | None = Field(None, description="width of the memory")
    out: Size | None = Field(None, description="as `in` if nothing else decides it")
    scale: float | None = Field(None, gt=0.0, description="of the scores; 1/sqrt(head_dim)")
    qk_norm: Literal["layer_norm", "rms_norm"] | None = Field(None, description="a norm over each head's q and k")
    bias: bool = Field(True, description="of q, k and v")
    out_bias: bool | None = Field(None, description="of the output map; as `bias`")
    dropout: Probability = Field(0.0, description="of a weight of the softmax")


class AttentionOptions(Options):
    heads: Size
    kv_heads: Size | None = Field(None, description="heads of keys and values, each shared by several; as `heads`")
    head_dim: Size | None = Field(None, description="in // heads")
    in_: Size | None = Field(None, alias="in")
    out: Size | None = Field(None, description="as `in` if nothing else decides it")
    causal: bool = Field(False, description="a token looks at itself and at earlier ones only")
    window: Size | None = Field(None, description="how many tokens it looks at, itself and those right before it; all (wants `causal: true`)")
    rotary: bool = Field(False, description="rotary positions on q and k")
    rotary_base: float = Field(10000.0, gt=0.0, description="without effect unless rotary")
    rotary_dim: Size | None = Field(None, description="channels of each head that turn, the first ones; all (wants `rotary: true`)")
    scale: float | None = Field(None, gt=0.0, description="of the scores; 1/sqrt(head_dim)")
    qk_norm: Literal["layer_norm", "rms_norm"] | None = Field(None, description="a norm over each head's q and k")
    bias: bool = Field(True, description="of q, k and v")
    out_bias: bool | None = Field(None, description="of the output map; as `bias`")
    dropout: Probability = Field(0.0, description="of a weight of the softmax")

    @model_validator(mode="after")
    def _part_of_what_is_asked(self) -> AttentionOptions:
        if self.window is not None and not self.causal:
            raise ValueError("`window` counts earlier tokens: say `causal: true` too")
        if self.rotary_dim is not None and not self.rotary:
            raise ValueError("`rotary_dim` is only for rotary positions: say `rotary: true` too")
        return self


_Any = AttentionOptions | CrossAttentionOptions


def _attention(options: AttentionOptions) -> Definition:
    rotary = (("rotary_base", options.rotary_base), *unless(None, rotary_dim=options.rotary_dim)) if options.rotary else ()
    causal = (("causal", True), *unless(None, window=options.window)) if options.causal else ()
    return Definition(
        inputs={
            "x": Port("[... seq in]"),
            "mask": Port("mask [... seq]", optional=True, about="true: this token may be looked at"),
            "bias": Port("[heads seq seq]", optional=True, about="added to the scores"),
        },
        outputs={"y": Port("[... seq out]")},
        build=Module("Attention", (("", Expr("in")), ("", Expr("out")), *_arguments(options), *causal, *rotary)),
        sizes=_sizes(options) | sizes(in_=options.in_, out=options.out, window=options.window, rotary_dim=options.rotary_dim),
        defaults=_DEFAULTS,
        requires=_requires(options, options.rotary, options.rotary_dim),
        parameters=_parameters(options, "in"),
        body=_body(options, "x", _causal(options), _rotary(options)),
    )


def _cross_attention(options: CrossAttentionOptions) -> Definition:
    return Definition(
        inputs={
            "x": Port("[... seq in]"),
            "memory": Port("[... mem memory_in]", about="what is looked at"),
            "mask": Port("mask [... mem]", optional=True, about="true: this place of the memory may be looked at"),
            "bias": Port("[heads seq mem]", optional=True, about="added to the scores"),
        },
        outputs={"y": Port("[... seq out]")},
        build=Module(
            "CrossAttention",
            (("", Expr("in")), ("", Expr("memory_in")), ("", Expr("out")), *_arguments(options)),
        ),
        sizes=_sizes(options) | sizes(in_=options.in_, memory_in=options.memory_in, out=options.out),
        defaults=_DEFAULTS,
        requires=_requires(options),
        parameters=_parameters(options, "memory_in"),
        body=_body(options, "memory"),
    )


_DEFAULTS = {"head_dim": "in//heads", "out": "in"}


def _sizes(options: _Any) -> dict[str, int]:
    kv_heads = options.heads if options.kv_heads is None else options.kv_heads
    return sizes(heads=options.heads, kv_heads=kv_heads, head_dim=options.head_dim)


def _arguments(options: _Any) -> tuple[tuple[str, Any], ...]:
    """What the module is told beyond its widths; only what differs from its defaults."""
    stated: list[tuple[str, Any]] = [("heads", options.heads)]
    if options.kv_heads not in (None, options.heads):
        stated.append(("kv_heads", options.kv_heads))
    if options.head_dim is not None:
        stated.append(("head_dim", options.head_dim))
    if options.scale is not None:
        stated.append(("scale", options.scale))
    if options.qk_norm is not None:
        stated.append(("qk_norm", options.qk_norm))
    if not options.bias:
        stated.append(("bias", False))
    if options.out_bias not in (None, options.bias):
        stated.append(("out_bias", options.out_bias))
    if options.dropout:
        stated.append(("dropout", options.dropout))
    return tuple(stated)


def _requires(options: _Any, rotary: bool = False, rotary_dim: int | None = None) -> tuple[Require, ...]:
    found = []
    if options.head_dim is None:
        found.append(Require("multiple_of", "in", "heads", "the width is cut into heads of equal width"))
    if options.kv_heads is not None:
        found.append(Require("multiple_of", "heads", "kv_heads", "each head of keys serves equally many heads"))
    if rotary_dim is not None:
        found.append(Require("at_most", "rotary_dim", "head_dim", "rotary positions turn channels of a head"))
    if rotary:
        turned = "head_dim" if rotary_dim is None else "rotary_dim"
        found.append(Require("multiple_of", turned, "2", "rotary positions turn pairs of channels"))
    return tuple(found)


def _parameters(options: _Any, memory: str) -> dict[str, Parameter]:
    out_bias = options.bias if options.out_bias is None else options.out_bias
    found = {
        **linear_parameters("heads*head_dim", "in", options.bias, at="q."),
        **linear_parameters("kv_heads*head_dim", memory, options.bias, at="k."),
        **linear_parameters("kv_heads*head_dim", memory, options.bias, at="v."),
    }
    for head in ("q", "k") if options.qk_norm else ():
        found[f"{head}_norm.weight"] = Parameter(("head_dim",), "ones")
        if options.qk_norm == "layer_norm":
            found[f"{head}_norm.bias"] = Parameter(("head_dim",), "zeros")
    return {**found, **linear_parameters("out", "heads*head_dim", out_bias, at="out.", writes=True)}


def _causal(options: AttentionOptions) -> dict[str, Any]:
    return {"causal": options.causal, **dict(unless(None, window=options.window))}


def _rotary(options: AttentionOptions) -> dict[str, Any]:
    return {"base": options.rotary_base, **dict(unless(None, width=options.rotary_dim))} if options.rotary else {}


def _body(options: _Any, memory: str, causal: Mapping[str, Any] = {}, rotary: Mapping[str, Any] = {}) -> tuple[Step, ...]:
    out_bias = options.bias if options.out_bias is None else options.out_bias
    reads = {**causal, **dict(unless(None, scale=options.scale)), "mask": "mask", "bias": "bias", "dropout": options.dropout}
    return (
        *_head_steps("q", "x", options, "heads", rotary),
        *_head_steps("k", memory, options, "kv_heads", rotary),
        *linear_steps("v_row", memory, options.bias, at="v."),
        step("v", "reshape", "v_row", pattern="... s (h e) -> ... h s e", sizes={"h": "kv_heads"}),
        step("mixed", "softmax_mix", "q", "k", "v", **reads),
        step("joined", "reshape", "mixed", pattern="... h s e -> ... s (h e)"),
        *linear_steps("y", "joined", out_bias, at="out."),
    )


def _head_steps(name: str, x: str, options: _Any, heads: str, rotary: Mapping[str, Any]) -> tuple[Step, ...]:
    """From the rows of `x` to `name`, [... heads seq head_dim]: a linear map, a norm, a rotation."""
    cut = step(f"{name}_cut", "reshape", f"{name}_row", pattern="... s (h e) -> ... h s e", sizes={"h": heads})
    steps, last = [*linear_steps(f"{name}_row", x, options.bias, at=f"{name}."), cut], cut.output
    if options.qk_norm:
        layer = options.qk_norm == "layer_norm"
        kind, eps = ("layer", 1e-5) if layer else ("rms", None)
        steps.append(step(f"{name}_normal", "norm", last, kind=kind, axes=(-1,), eps=eps))
        steps.append(step(f"{name}_scaled", "multiply", f"{name}_normal", f"{name}_norm.weight"))
        last = f"{name}_scaled"
        if layer:
            steps.append(step(f"{name}_shifted", "add", last, f"{name}_norm.bias"))
            last = f"{name}_shifted"
    turn = step(name, "pointwise", last, fn="rotary", **rotary) if rotary else step(name, "add", last)
    return (*steps, turn)


def _places(options: Any) -> Mapping[str, str]:
    return {
        "q": "the map to queries",
        "k": "the map to keys",
        "v": "the map to values",
        "out": "the map of the joined heads to the output",
    }


ATTENTION = Kind(
    name="attention",
    summary="each token looks at the others: softmax(q kᵀ / sqrt(head_dim)) v in several heads",
    options=AttentionOptions,
    define=_attention,
    source="Vaswani et al. 2017, Attention Is All You Need; rotary: Su et al. 2021; kv_heads: Ainslie et al. 2023; "
    "qk_norm: Henry et al. 2020; window: Beltagy et al. 2020",
    example="{kind: attention, heads: 4, causal: true, from: x}",
    places=_places,
)

CROSS_ATTENTION = Kind(
    name="cross_attention",
    summary="each token looks at a memory of its own width and length",
    options=CrossAttentionOptions,
    define=_cross_attention,
    source="Vaswani et al. 2017, Attention Is All You Need, 3.2.3",
    example="{kind: cross_attention, heads: 4, from: {x: x, memory: memory}}",
    places=_places,
)
