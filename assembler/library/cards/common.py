"""What several cards say alike: stated sizes, probabilities, activations, the linear map."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from assembler_schemas.kind import Parameter, Step, step

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
"""Of being set to zero (dropout)."""

Activation = Literal[
    "relu",
    "gelu",
    "gelu_tanh",
    "silu",
    "tanh",
    "sigmoid",
    "softplus",
    "elu",
    "leaky_relu",
    "relu6",
    "hardswish",
    "mish",
    "quick_gelu",
    "identity",
]


def sizes(**values: int | None) -> dict[str, int]:
    """The sizes that are stated, under the names that port texts use: `in_` is `in`."""
    return {name.rstrip("_"): value for name, value in values.items() if value is not None}


def unless(default: Any, **argument: Any) -> tuple[tuple[str, Any], ...]:
    """A constructor argument that is only written where it differs from the module's default."""
    return tuple((name, value) for name, value in argument.items() if value != default)


def linear_parameters(rows: str, columns: str, bias: bool, at: str = "", writes: bool = False) -> dict[str, Parameter]:
    """What an `nn.Linear` owns: weight `[rows columns]`, bias `[rows]`; `at` is its place, `up.`."""
    init = f"uniform(1/sqrt({columns}))"
    found = {f"{at}weight": Parameter((rows, columns), init, writes)}
    if bias:
        found[f"{at}bias"] = Parameter((rows,), init, writes)
    return found


def linear_steps(output: str, x: str, bias: bool, at: str = "") -> tuple[Step, ...]:
    """`output = x weightᵀ + bias` over the last axis, as `nn.Linear` does."""
    if not bias:
        return (step(output, "matmul", x, f"{at}weight", spec="...i,oi->...o"),)
    product = f"{output}_product"
    return (
        step(product, "matmul", x, f"{at}weight", spec="...i,oi->...o"),
        step(output, "add", product, f"{at}bias"),
    )


def dropout_steps(output: str, x: str, p: float) -> tuple[str, tuple[Step, ...]]:
    """The name of `x` after dropout, and the steps to it: none where nothing is dropped."""
    return (output, (step(output, "pointwise", x, fn="dropout", p=p),)) if p else (x, ())
