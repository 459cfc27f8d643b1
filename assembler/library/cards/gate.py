"""One value that scales another, element by element."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from assembler_schemas.kind import Definition, Inline, Kind, Options, Port, Step, step

Form = Literal["sigmoid", "tanh", "double_sigmoid", "one_plus"]

_TEXTS: dict[Form, str] = {
    "sigmoid": "{base} * torch.sigmoid({gate})",
    "tanh": "{base} * torch.tanh({gate})",
    "double_sigmoid": "{base} * (2.0 * torch.sigmoid({gate}))",
    "one_plus": "{base} * (1.0 + {gate})",
}

_BODIES: dict[Form, tuple[Step, ...]] = {
    "sigmoid": (step("open", "pointwise", "gate", fn="sigmoid"), step("y", "multiply", "base", "open")),
    "tanh": (step("open", "pointwise", "gate", fn="tanh"), step("y", "multiply", "base", "open")),
    "double_sigmoid": (
        step("open", "pointwise", "gate", fn="sigmoid"),
        step("y", "multiply", "base", "open", scale=2.0),
    ),
    "one_plus": (step("change", "multiply", "base", "gate"), step("y", "add", "base", "change")),
}


class GateOptions(Options):
    form: Form = Field(
        "sigmoid", description="`double_sigmoid` and `one_plus` leave `base` as it is where the gate is zero"
    )


def _gate(options: GateOptions) -> Definition:
    return Definition(
        inputs={"base": Port("[... d]"), "gate": Port("[... d]")},
        outputs={"y": Port("[... d]")},
        build=Inline(_TEXTS[options.form]),
        body=_BODIES[options.form],
    )


GATE = Kind(
    name="gate",
    summary="base * form(gate)",
    options=GateOptions,
    define=_gate,
    source="Hochreiter and Schmidhuber 1997, Long Short-Term Memory",
    example="{kind: gate, from: {base: a, gate: b}}",
)
