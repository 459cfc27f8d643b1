"""Signal scale through a routing plan: which experts are chosen hangs on the scores, and is not predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assembler.facts.scale_place import Run
from assembler.facts.scale_signal import Signal, Unknown, Value


def choose(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    return x if isinstance(x, Unknown) else Unknown("gates: which experts are chosen hangs on the scores")


def crop(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    return x if isinstance(x, Unknown) else Unknown("gates: how many rows are dropped hangs on the scores")


def row_mean(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    return x if isinstance(x, Unknown) else Unknown("a mean over samples")


def logsumexp(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    return x if isinstance(x, Unknown) else Unknown("a logsumexp")


def no_gradient(
    run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value
) -> tuple[Signal | Unknown | None, ...]:
    """Of a value that is not predicted nobody asks the gradient."""
    return (Unknown("the gradient of a mean over samples") if isinstance(x, Signal) else None,)
