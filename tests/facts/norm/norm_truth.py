"""Whether a tensor is what a norm state says of it."""

from __future__ import annotations

import torch

from assembler.facts.norm.analysis import State


def wrong(state: State, value: torch.Tensor, tolerance: float = 1e-5, kept: float = 1.0) -> str:
    """What is not so, or "".

    kept: the least v / (v + eps) of the norm that the value comes from, v a row's own variance.
    """
    x = value.detach().double()
    gain = state.gain or 0.0
    if state.zero:
        return "" if bool((x == 0).all()) else f"{x.abs().max():.3g} is not zero"
    if state.kind == "bounded":
        return "" if float(x.abs().max()) <= abs(gain) * (1 + tolerance) + tolerance else f"{x.abs().max():.6g} is beyond {gain:.6g}"
    if state.kind == "simplex":
        total = x.sum(state.axes)
        if float((x * gain).min()) < -tolerance * gain**2:
            return "an element has the other sign"
        return "" if torch.allclose(total, torch.full_like(total, gain), atol=tolerance * max(1.0, abs(gain))) else f"sums to {total.min():.6g} .. {total.max():.6g}"
    if state.kind in ("ln", "bn") and float(x.mean(state.axes).abs().max()) > tolerance * max(1.0, abs(gain)):
        return f"mean {x.mean(state.axes).abs().max():.3g}"
    if state.kind in ("ln", "bn", "rms", "l2"):
        squares = x.square()
        size = squares.sum(state.axes) if state.kind == "l2" else squares.mean(state.axes)
        low, high = gain**2 * (kept - tolerance), gain**2 * (1 + tolerance)
        return "" if float(size.min()) >= low and float(size.max()) <= high else f"square {size.min():.6g} .. {size.max():.6g}, not {gain**2:.6g}"
    return ""
