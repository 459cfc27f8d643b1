"""Signal scale through functions of each element, softmax, and pools."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from assembler.facts.scale.choice import gumbel
from assembler.facts.scale.conv import each, taps
from assembler.facts.scale.join import rest
from assembler.facts.scale.moments import Moments, near, skewed_relu
from assembler.facts.scale.moments_row import largest, softmax_squares, winner
from assembler.facts.scale.part import Part, part, refined
from assembler.facts.scale.place import Run
from assembler.facts.scale.signal import Signal, Unknown, Value, tokens

CURVES = {"relu": 1.0, "leaky_relu": 1.0, "relu6": 1.0}
"""Whose chains fluctuate with finite width beyond the band, and are given more; gelu's and tanh's stay inside it."""


def pointwise(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    fn = at["fn"]
    if fn == "cast" or fn == "identity":
        return x
    if not isinstance(x, Signal):
        return Unknown(f"`{fn}` of a parameter") if not isinstance(x, Unknown) else x
    label = run.fresh.next()
    if fn == "dropout":
        return x.of(_dropped(run, label, item, at["p"]) for item in x.parts)
    if fn == "gumbel":
        return gumbel(run, x)
    if fn == "jitter":
        return x.of(_jittered(run, label, item, at["eps"]) for item in x.parts)
    if fn == "gaussian":
        return x.of(part(item.n, label, item.q) for item in x.parts)._replace(bent=True)
    if fn == "rotary":
        keep = _turned(x.n, x.shape[-1], at)
        turned = x.of(part(item.n, label, item.q, item.c * keep, item.b * keep) for item in x.parts)
        return turned._replace(together=x.together * max(0.0, keep))
    exponent = float(at.get("exponent", 1))
    if fn == "power" and (exponent < 0 or exponent != int(exponent)):
        return Unknown(f"power {exponent:g} of a value that may be negative or zero")
    item = x.parts[0]
    skew = 0.0
    if fn == "relu" and len(x.parts) == 1 and item.v > 0:
        f, skew = skewed_relu(item.m, item.v, x.skew)
        parts: tuple[Part, ...] = (_through(run, label, item, f),)
    else:
        parts = tuple(_through(run, label, item, near(fn, item.m, item.v, exponent)) for item in x.parts)
    v = item.v
    law = (fn, item.m, v, (item.c - item.m**2) / v, (item.b - item.m**2) / v) if len(parts) == 1 and v > 0 else None
    inherited = frozenset().union(*(run.roots.get(atom, ()) for p in x.parts for atom in p.atoms)) if run.roots else frozenset()
    if inherited:
        run.roots[label] = inherited
    return Signal(x.shape, x.roles, parts, CURVES.get(fn, 0.0), x.noise, 1.0, x.ripple, skew, law=law, narrow=_narrow(x, item, parts[0], at), bent=True, early=_early(x, item, parts[0], at))


def _narrow(x: Signal, before: Part, after: Part, at: Mapping[str, Any]) -> float:
    """Of f's covariances only the linear part is as large as they were."""
    if not x.narrow or before.v <= 0 or after.v <= 0:
        return 0.0
    slope = near(at["fn"], before.m, before.v, float(at.get("exponent", 1))).slope
    wide = 1 / max(1, x.width)
    return wide + max(0.0, x.lean - wide) * min(1.0, slope * slope * before.v / after.v) ** 2


def _early(x: Signal, before: Part, after: Part, at: Mapping[str, Any]) -> float:
    if not x.early or after.q <= 0:
        return 0.0
    return x.early * near(at["fn"], before.m, before.v, float(at.get("exponent", 1))).slope ** 2 * before.q / after.q


def _through(run: Run, label: int, x: Part, f: Moments) -> Part:
    v, mm = x.v, x.m * x.m
    r, s = ((x.c - mm) / v, (x.b - mm) / v) if v > 0 else (1.0, 1.0)
    c, b = f.cross(min(r, 1.0)), f.cross(min(s, 1.0))
    linear = {atom: (a * f.slope, t, w) for atom, (a, t, w) in x.atoms.items()} if f.slope else {}
    return rest(run, label, x.n, f.m, f.q, c, b, linear)


def _dropped(run: Run, label: int, x: Part, p: float) -> Part:
    """Kept with 1 - p and scaled up: what is added has neither memory nor neighbours."""
    if p >= 1:
        return Part(x.n, 0.0, {})
    return rest(run, label, x.n, x.m, x.q / (1 - p), x.c, x.b, dict(x.atoms))


def _jittered(run: Run, label: int, x: Part, eps: float) -> Part:
    """Times factors of mean 1 and variance eps²/3 that no two elements share."""
    return rest(run, label, x.n, x.m, x.q * (1 + eps * eps / 3), x.c, x.b, dict(x.atoms))


def _turned(n: float, d: int, at: Mapping[str, Any]) -> float:
    """What rotary positions leave of the correlation between tokens: the mean of cos((t - t') w) over pairs and pairs of channels."""
    width = at.get("width") or d
    if n <= 1:
        return 1.0
    total = 0.0
    for i in range(width // 2):
        half = at["base"] ** (-2 * i / width) / 2
        wave = math.sin(n * half) / math.sin(half) if abs(math.sin(half)) > 1e-12 else n
        total += (wave * wave - n) / (n * (n - 1))
    return (2 * total + d - width) / d


def pointwise_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> tuple[Signal | None, ...]:
    fn = at["fn"]
    if fn in ("cast", "identity", "gumbel") or not isinstance(x, Signal):
        return (g if isinstance(x, Signal) else None,)
    label = run.fresh.next()
    if fn == "dropout":
        return (g.of(_dropped(run, label, item, at["p"]) for item in g.parts),)
    if fn == "jitter":
        return (g.of(_jittered(run, label, item, at["eps"]) for item in g.parts),)
    if fn == "gaussian":
        return (g.of(part(item.n, label, item.q) for item in g.parts),)
    if fn == "rotary":
        keep = _turned(g.n, g.shape[-1], at)
        return (g.of(part(item.n, label, item.q, item.c * keep) for item in g.parts),)
    parts = []
    for item, y in zip(refined(g.parts, [p.n for p in x.parts], label), x.parts, strict=True):
        # The largest of a window are no mean elements: relu stops hardly any of them.
        m, v = g.law[1:3] if g.law is not None and g.law[0] == "largest" else (y.m, y.v)
        f = skewed_relu(m, v, x.skew)[0] if fn == "relu" and x.skew and v > 0 else near(fn, m, v, float(at.get("exponent", 1)))
        r = (y.c - y.m**2) / y.v if y.v > 0 else 1.0
        linear = {atom: (a * f.slope, t, s) for atom, (a, t, s) in item.atoms.items()}
        open_ = _open(g, f.chi) if fn == "relu" else f.chi
        parts.append(rest(run, label, item.n, 0.0, open_ * item.q, f.cross_slope(min(r, 1.0)) * item.c, 0.0, linear))
    noise = g.noise + 5 * CURVES.get(fn, 0.0) / max(1, x.width)
    law = ("passed", 1.0, open_, 0.0, 0.0) if fn == "relu" else None
    return (g.of(parts)._replace(noise=noise, law=law),)


def _open(g: Signal, chi: float) -> float:
    """How much of a gradient relu lets through. What came along a skip passed the next relu: where this one is shut
    its output is 0, and the next, of 0 plus a branch, is open half the time only."""
    if g.law is None or g.law[0] != "passed":
        return chi
    share, behind = g.law[1], g.law[2]
    both = (behind - (1 - chi) / 2) / behind if behind > 0 else chi
    return (1 - share) * chi + share * max(chi, min(1.0, both))


# --- softmax ---
def _spread(x: Part, role: str) -> tuple[float, float]:
    """Variance along the axis, and how much of it two tokens share."""
    if role == "t":
        return x.q - x.c, 0.0
    return x.v, max(0.0, x.c - x.m**2)


def kappa(s2: float, n: float) -> float:
    """Sum of squares of the softmax of n Gaussians of variance s2; with the covariance of two such rows, the sum of products."""
    e = math.exp(min(s2, 50.0))
    return e / (n - 1 + e)


SLIGHT = 0.1
"""Variance of scores up to which a softmax feels no more of them: their third moment counts for as little as its root cubed."""


def far(x: Signal) -> bool:
    """Whether the softmax of such scores is not that of Gaussian ones."""
    return x.bent and max(item.v for item in x.parts) > SLIGHT


def softmax(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    if not isinstance(x, Signal):
        return Unknown("`softmax` of a parameter")
    if far(x):
        return Unknown("`softmax` of what is far from Gaussian")
    axis = at.get("axis", -1)
    n, role, label = x.shape[axis], x.roles[axis], run.fresh.next()
    parts = []
    for item in x.parts:
        s2, shared = _spread(item, role)
        both = kappa(shared, n) / n
        square = uneven(s2, n, x.ripple)[0]
        parts.append(part(item.n, label, square, min(both, square), min(square, max(1 / n**2, kappa(max(0.0, item.b - item.m**2), n) / n)), 1 / n))
    run.softmaxes[label] = tuple(_spread(item, role)[0] for item in x.parts)
    # Of small scores a softmax is nearly linear: (1 + z) / n.
    return Signal(x.shape, x.roles, tuple(parts), 0.0, x.noise, bent=max(run.softmaxes[label]) > SLIGHT)


def uneven(s2: float, n: int, ripple: float) -> tuple[float, float]:
    """`softmax_squares` over rows whose variance differs from row to row: of two sorts."""
    off = min(0.9, math.sqrt(max(0.0, ripple)))
    found = [softmax_squares(round(s2 * (1 + side), 4), n) for side in ((off, -off) if off else (0.0,))]
    return sum(item[0] for item in found) / len(found), sum(item[1] for item in found) / len(found)


def softmax_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> tuple[Signal | None, ...]:
    """p_i (g_i - sum p g)."""
    if not isinstance(x, Signal):
        return (None,)
    axis = at.get("axis", -1)
    n, role, label = x.shape[axis], x.roles[axis], run.fresh.next()
    law, shared = g.law[:2] if g.law is not None else ("", 0.0)
    parts = []
    for item, y, before in zip(g.parts, out.parts, x.parts, strict=True):
        s2 = _spread(before, role)[0]
        # Where the gradient is that of the largest only, its weight is no mean one; what all have in common is taken away.
        left = winner(round(s2, 2), n).left if law == "largest" else uneven(s2, n, x.ripple)[1]
        left *= 1 - shared if law == "shared" else 1.0
        parts.append(part(item.n, label, left * item.q, min(left, y.c) * item.c))
    return (g.of(parts),)


# --- pools ---
def _windows(at: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[tuple[int, int], float, float]:
    """Places of the output, elements of a window that exist (on average), elements of a window."""
    kernel, stride, padding = (each(at.get(name, 0), 2) for name in ("kernel", "stride", "padding"))
    (h, rows), (w, columns) = (taps(*row) for row in zip(shape[-2:], kernel, stride, padding, strict=True))
    return (h, w), sum(rows) / h * sum(columns) / w, kernel[0] * kernel[1]


def _neighbours(at: Mapping[str, Any], largest: bool) -> float:
    """How much a window has in common with all others: elements shared, as shares of a window; of maxima, the chance that both are one."""
    (kh, kw), (sh, sw) = (each(at[name], 2) for name in ("kernel", "stride"))
    total = 0.0
    for i in range(-((kh - 1) // sh), (kh - 1) // sh + 1):
        for j in range(-((kw - 1) // sw), (kw - 1) // sw + 1):
            shared = (kh - abs(i) * sh) * (kw - abs(j) * sw)
            if i or j:
                total += shared / (2 * kh * kw - shared) if largest else shared / (kh * kw)
    return total


def pool(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    if not isinstance(x, Signal):
        return Unknown("`pool` of a parameter")
    (h, w), inside, k = _windows(at, x.shape)
    shape = (*x.shape[:-2], h, w)
    roles = x.roles[:-2] + "tt"
    n, label = tokens(shape, roles), run.fresh.next()
    item = refined(x.parts, [x.n], label)[0]
    if at["kind"] == "avg":
        if run.pooled:
            return Unknown("an average pool behind one whose windows overlap: neighbours correlate")
        run.pooled = _neighbours(at, False) > 0
        q, c, b = (inside * (item.q + (inside - 1) * item.c) / k**2, (inside / k) ** 2 * item.c, (inside / k) ** 2 * item.b)
        c += (q - c) * _neighbours(at, False) / max(1, n - 1)
        return Signal(shape, roles, (part(n, label, q, c, b, item.m * inside / k),), x.curve, x.noise)
    law = x.law or ("identity", item.m, item.v, _share(item.c, item), _share(item.b, item))
    return Signal(shape, roles, (_largest(n, label, inside, law, _neighbours(at, True)),), x.curve, x.noise)


def _share(c: float, item: Part) -> float:
    return (c - item.m**2) / item.v if item.v > 0 else 1.0


def _winner(k: float, law: tuple[str, float, float, float, float]) -> tuple[float, float]:
    """Mean and variance of the largest of k Gaussians that share a part."""
    _, m, v, shared, _ = law
    top, spread = largest(max(1.0, k))
    shared = min(max(shared, 0.0), 1.0)
    return m + math.sqrt(v * (1 - shared)) * top, v * (shared + (1 - shared) * spread)


def _largest(n: float, label: int, k: float, law: tuple[str, float, float, float, float], near_by: float) -> Part:
    """f(largest) for f that rises (those of gelu's sort nearly do): the largest of k Gaussians, again taken as one."""
    fn, _, v, tokens_r, samples_r = law
    mean, var = _winner(k, law)
    shared = min(max(tokens_r, 0.0), 1.0)
    f = near(fn, mean, var)
    c, b = f.cross(shared * v / var), f.cross(min(max(samples_r, 0.0), 1.0) * v / var)
    c += (f.q - c) * near_by / max(1, n - 1)
    return part(n, label, f.q, c, b, f.m)


def pool_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> tuple[Signal | Unknown | None, ...]:
    if not isinstance(x, Signal):
        return (None,)
    (h, w), inside, k = _windows(at, x.shape)
    label = run.fresh.next()
    item = refined(g.parts, [g.n], label)[0]
    places = x.shape[-2] * x.shape[-1]
    if at["kind"] == "max":
        # Each output's gradient reaches one element; windows that share theirs add up.
        reached = h * w / places
        q, c = reached * (item.q + _neighbours(at, True) * item.c), reached**2 * item.c
    else:
        overlaps = _neighbours(at, False) > 0
        if overlaps and run.pooled:
            return (Unknown("average pools one behind another, whose windows overlap: neighbours correlate"),)
        run.pooled = True
        reached = h * w * inside / places
        q = (reached * item.q + h * w / places * inside * _neighbours(at, False) * item.c) / k**2
        whole = (inside / k) ** 2 * h * w * (item.q + (h * w - 1) * item.c)
        c = (whole - places * q) / (places * (places - 1)) if places > 1 else 0.0
    law = ("largest", *_winner(inside, x.law), 0.0, 0.0) if at["kind"] == "max" and x.law is not None else None
    return (x.even(g, part(x.n, label, q, c), label)._replace(law=law),)
