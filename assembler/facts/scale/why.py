"""Why a value is as large as it is: the estimate and where it comes from, in lines."""

from __future__ import annotations

from collections.abc import Sequence

from assembler.facts.flow import Flow
from assembler.facts.scale.analysis import Scale
from assembler.facts.scale.estimate import Estimate

HOPS = 3
LARGE = 0.25
"""Relative deviation of a gradient from which it is said that it is a mean."""


def shown(item: Estimate) -> str:
    """`q 3.4 (2.6 to 4.4), c 0.2, g 0.01 (0.007 to 0.015)`; of what is not predicted, the reason."""
    if item.q is None:
        return f"not predicted: {item.reason}"
    words = [f"q {_with_band(item.q, item.band)}"]
    if item.c is not None:
        words.append(f"c {item.c:.3g}")
    words.append(f"g not predicted: {item.no_gradient}" if item.g is None else f"g {_with_band(item.g, item.gradient_band)}{', a mean: how many rows choose this expert is chance' if item.gradient_doubt > LARGE else ''}")
    return ", ".join(words)


def _with_band(value: float, band: float) -> str:
    return f"{value:.3g} ({value / band:.3g} to {value * band:.3g})" if value else "0"


def derivation(flow: Flow, scale: Scale, value: int) -> Sequence[str]:
    """One line for the value, and at most HOPS more for what it is made from: each time the largest input."""
    lines = []
    for _ in range(HOPS + 1):
        maker = flow.makers[value]
        if maker < 0:
            name = next(name for name, item in flow.inputs.items() if item == value)
            lines.append(f"input `{name}`: {shown(scale.values[value])}")
            break
        use = flow.uses[maker]
        starts = ", ".join(f"{key} {flow.weights[number].init}" for key, number in use.weights.items() if not flow.weights[number].buffer)
        port = next(port for port, item in use.outputs.items() if item == value)
        lines.append(f"`{use.address}.{port}` ({use.node.kind.name}{'; ' + starts if starts else ''}): {shown(scale.values[value])}")
        before = [item for values in use.inputs.values() for item in values]
        if not before:
            break
        value = max(before, key=lambda item: scale.values[item].q or 0.0)
    return lines
