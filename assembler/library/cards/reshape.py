"""The same elements in another shape."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from assembler.library.cards import pattern as patterns
from assembler_schemas.kind import Definition, Inline, Kind, Options, Port, Size, step


def _checked(text: str) -> str:
    patterns.parse(text)
    return text


class FlattenOptions(Options):
    start: int = Field(1, ge=0, le=15, description="axes before this one stay")


class RearrangeOptions(Options):
    pattern: Annotated[str, AfterValidator(_checked)] = Field(
        description="both shapes, `b (h p) d -> b h (p d)`: brackets join axes, `...` may come first"
    )
    sizes: dict[str, Size] = Field(default_factory=dict, description="what a bracket on the left is split into")

    @model_validator(mode="after")
    def _can_be_split(self) -> RearrangeOptions:
        patterns.check_sizes(patterns.parse(self.pattern), self.sizes)
        return self

    def __hash__(self) -> int:
        return hash((self.pattern, tuple(sorted(self.sizes.items()))))


def _flatten(options: FlattenOptions, rank: int | None = None) -> Definition:
    if rank is None:
        return Definition({"x": Port("[...]")}, {"y": Port("[...]")}, Inline("{x}"))
    start = options.start
    # Fewer axes than `start` needs: the definition has one more, and inference finds that they do not fit.
    axes = ["batch", *(f"axis{i}" for i in range(1, max(rank, start + 1)))]
    stay, join = axes[:start], axes[start:]
    joined = f"({' '.join(join)})" if len(join) > 1 else join[0]
    pattern = f"{' '.join(axes)} -> {' '.join((*stay, joined))}"
    return Definition(
        inputs={"x": Port(f"[{' '.join(axes)}]")},
        outputs={"y": Port(f"[{' '.join((*stay, '*'.join(join)))}]")},
        build=Inline(f"{{x}}.flatten({start})"),
        body=(step("y", "reshape", "x", pattern=pattern),),
    )


def _rearrange(options: RearrangeOptions) -> Definition:
    pattern = patterns.parse(options.pattern)
    return Definition(
        inputs={"x": Port(pattern.port(pattern.left))},
        outputs={"y": Port(pattern.port(pattern.right))},
        build=Inline("{x}" + patterns.method_text(pattern, options.sizes)),
        sizes=dict(options.sizes),
        body=(step("y", "reshape", "x", pattern=str(pattern), sizes=dict(options.sizes)),),
    )


FLATTEN = Kind(
    name="flatten",
    summary="joins the axes from `start` on to one",
    options=FlattenOptions,
    define=_flatten,
    source="torch.flatten",
    example="{kind: flatten, from: x}",
    by_rank=True,
)

REARRANGE = Kind(
    name="rearrange",
    summary="splits, moves and joins axes, by a pattern",
    options=RearrangeOptions,
    define=_rearrange,
    source="Rogozhnikov 2022, Einops",
    example='{kind: rearrange, pattern: "b (h p) d -> b h (p d)", sizes: {p: 2}, from: x}',
)
