"""What analysis S says of one value: its moments and its gradient's, each with the band in which it is promised."""

from __future__ import annotations

import math
from typing import NamedTuple

from assembler.facts.scale.signal import Ids, Signal, Unknown, Value

FORWARD_BAND = 1.3
LARGEST = 1e76
"""Second moments beyond it are beyond float32."""
BEYOND = "beyond what float32 holds"
WIDEST = 9.0
"""A band beyond it promises nothing."""


class Estimate(NamedTuple):
    """What is predicted of one value. None where nothing is: `reason` says why, `no_gradient` of the gradient."""

    q: float | None = None
    """Second moment of an element."""
    c: float | None = None
    """Mean product of the same channel at two tokens of a sample; None without tokens."""
    m: float | None = None
    """Root of the mean square of a token's mean over its features."""
    g: float | None = None
    """Second moment of an element of the gradient."""
    cg: float | None = None
    band: float = 1.0
    """q is promised between q / band and q * band."""
    gradient_band: float = 1.0
    reason: str = ""
    no_gradient: str = ""
    size: int = 0
    """How many elements it has."""
    doubt: float = 0.0
    """Relative standard deviation of q as one initialisation shows it: what all samples share is drawn once for each feature."""
    gradient_doubt: float = 0.0
    """The same of g: how many rows choose an expert hangs on its router's weights, so g is the mean over initialisations (or over
    the experts of one), and any single expert may be far from it."""


def estimate(found: Value, g: Signal | Unknown | None, gradient_doubt: float) -> Estimate:
    """Of a value and the gradient that reaches it."""
    if isinstance(found, Unknown):
        return Estimate(reason=found.reason, no_gradient=found.reason)
    if isinstance(found, Ids):
        return Estimate(reason="no number of its own: ids or a mask", no_gradient="no gradient: ids or a mask")
    assert isinstance(found, Signal)
    q, c = found.q, found.c if found.n > 1 else None
    band = FORWARD_BAND * math.exp(2 * math.sqrt(found.noise)) if found.noise else FORWARD_BAND
    doubt = math.sqrt(2 / max(1, found.width)) * found.b / q if q > 0 else 0.0
    size = math.prod(found.shape)
    if g is None:
        return Estimate(q, c, found.m, 0.0, 0.0 if c is not None else None, band, size=size, doubt=doubt)
    reason = g.reason if isinstance(g, Unknown) else _beyond(g)
    if reason or isinstance(g, Unknown):
        return Estimate(q, c, found.m, None, None, band, no_gradient=reason, size=size, doubt=doubt)
    wide = g.band * math.exp(2 * math.sqrt(g.noise)) if g.noise else g.band
    return Estimate(q, c, found.m, g.q, g.c if c is not None else None, band, wide, "", "", size, doubt, gradient_doubt)


def _beyond(g: Signal) -> str:
    """Why nothing is promised of a gradient."""
    if not g.q < LARGEST:
        return BEYOND
    return "only a loss over the batch reaches it" if g.band > WIDEST else ""
