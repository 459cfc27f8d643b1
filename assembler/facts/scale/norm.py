"""Signal scale through norms and means: what is taken away is the mean over the axes, what is left is scaled."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from typing import Any

from assembler.facts.scale.course import Course, divided
from assembler.facts.scale.moments_row import winner
from assembler.facts.scale.part import Part, mean_square, part, refined
from assembler.facts.scale.place import Run
from assembler.facts.scale.signal import Signal, Unknown, Value, tokens

EPS_F32 = 1.1920929e-07


def _counts(x: Signal, axes: tuple[int, ...]) -> tuple[int, int, int]:
    """Samples, tokens and features that the axes hold."""
    found = [prod(x.shape[axis] for axis in axes if x.roles[axis] == role) for role in "btf"]
    return found[0], found[1], found[2]


def variance(x: Signal, at: Mapping[str, Any]) -> list[float]:
    """What a norm divides by the root of, for each part, without eps."""
    kind = at["kind"]
    if kind in ("rms", "l2"):
        return [item.q for item in x.parts]
    if kind == "layer" and _is_features(x, at):
        return [item.v for item in x.parts]
    whole = refined(x.parts, [x.n], -1)[0]
    return [whole.q - _mean_taken(x, whole, at)] * len(x.parts)


def _is_features(x: Signal, at: Mapping[str, Any]) -> bool:
    axes = at.get("axes", (-1,))
    return x.roles[-1] == "f" if axes == (-1,) else all(x.roles[axis] == "f" for axis in axes)


def _mean_taken(x: Signal, item: Part, at: Mapping[str, Any]) -> float:
    """The second moment of the mean that the norm takes away."""
    kind = at["kind"]
    if kind == "batch":
        samples, n = x.shape[0], item.n
        return (item.q + (n - 1) * item.c + (samples - 1) * n * item.b) / (samples * n)
    if kind == "group":
        return mean_square(item, (item.n, x.shape[1] / at["groups"]))
    _, t, f = _counts(x, at.get("axes", (-1,)))
    return mean_square(item, (t, f))


def placed(x: Signal, at: Mapping[str, Any]) -> Signal:
    """Channels are axis 1 to these norms, and later axes are places."""
    if at["kind"] in ("batch", "group"):
        roles = "bf" + "t" * (len(x.shape) - 2)
        if roles != x.roles:
            n = tokens(x.shape, roles)
            return x._replace(roles=roles, parts=(refined(x.parts, [x.n], -2)[0].with_n(n),))
    return x


def norm(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    if not isinstance(x, Signal):
        return Unknown("a norm of a parameter")
    kind, x = at["kind"], placed(x, at)
    label = run.fresh.next()
    eps = EPS_F32 if at.get("eps") is None else at["eps"]
    if kind == "l2":
        size = prod(x.shape[axis] for axis in at.get("axes", (-1,)))
        return _clean(x, [item.scaled(1 / max(sqrt(size * item.q), eps)) if eps or item.q else item for item in x.parts])
    if x.course is not None and _is_features(x, at) and len(x.parts) == 1 and x.parts[0].v > 0:
        level, early = _levelled(x.parts[0] if kind == "rms" else _centred(x.parts[0]), x.course, eps)
        return _clean(x, [level])._replace(early=x.early + early)
    if kind == "rms":
        return _clean(x, [item.scaled(1 / sqrt(item.q + eps)) if eps or item.q else item for item in x.parts])
    if kind == "layer" and _is_features(x, at):
        return _clean(x, [_centred(item).scaled(1 / sqrt(item.v + eps)) if eps or item.v else _centred(item) for item in x.parts])
    whole = refined(x.parts, [x.n], label)[0]
    taken = _mean_taken(x, whole, at)
    v = whole.q - taken
    if v + eps <= 0:
        return _clean(x, [Part(item.n, 0.0, {}) for item in x.parts])
    if kind == "batch":
        left = whole.b - taken
    else:
        width = x.shape[1] / at["groups"] if kind == "group" else _counts(x, at.get("axes", (-1,)))[2]
        left = (whole.b - whole.m**2) * (1 - 1 / width)
    out = part(whole.n, label, v / (v + eps), (whole.c - taken) / (v + eps), left / (v + eps))
    return _clean(x, list(refined((out,), [item.n for item in x.parts], label)))


def _levelled(item: Part, course: Course, eps: float) -> tuple[Part, float]:
    """Tokens of unlike size, made equal one by one: they correlate more than they did, weighted by size. And `Signal.early`."""
    more = 1 + eps / item.q
    square, pairs, early = divided(course, item.c / item.q, course.beside(eps / item.q))
    return _paired(item, square / (more * item.q), pairs / (more * item.q)), (early - pairs) / square


def _paired(item: Part, gain: float, c: float) -> Part:
    """Grown by so much, and two tokens as alike as c says."""
    size, apart = sqrt(gain), gain * (item.q - item.c)
    nearer = max(-1.0, min(1.0, (c * item.q - gain * item.c) / apart)) if apart > 0 else 0.0
    return Part(item.n, item.m * size, {label: (a * size, max(-1.0, t + (1 - t) * nearer), b) for label, (a, t, b) in item.atoms.items()})


def _centred(item: Part) -> Part:
    return Part(item.n, 0.0, item.atoms)


def _clean(x: Signal, parts: list[Part]) -> Signal:
    """What a norm gives does not remember how much finite widths made its scale fluctuate."""
    return Signal(x.shape, x.roles, tuple(parts), x.curve, 0.0, source=x.source, together=x.together, narrow=x.narrow, bent=x.bent, early=x.early)


FEWEST = 32
"""Values of a channel below which a batch norm's gradient is not predicted: 1 / v has no mean worth the name."""


def norm_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> tuple[Signal | Unknown | None, ...]:
    """g / (v + eps). The projections off 1 and off x take 2 / width of it, and the fluctuation of v gives as much back;
    a mean over tokens or samples that is large is taken away."""
    if not isinstance(x, Signal):
        return (None,)
    kind, here = at["kind"], placed(x, at)
    if x.hollow and kind != "batch":
        return (Unknown("a norm of rows that differ much in size: 1 / v is that of the smallest"),)
    eps = EPS_F32 if at.get("eps") is None else at["eps"]
    label = run.fresh.next()
    v = variance(here, at)
    if kind == "l2":
        size = prod(x.shape[axis] for axis in at.get("axes", (-1,)))
        parts = [item.scaled(sqrt(1 + x.ripple) / max(sqrt(size * y), eps)) if y or eps else item for item, y in zip(g.parts, v, strict=True)]
        return (_quiet(g, parts),)
    if kind in ("rms", "layer") and x.course is not None and _is_features(here, at) and len(x.parts) == 1 and v[0] > 0:
        return (_along(g, x.course, v[0], eps),)
    if kind == "rms" or (kind == "layer" and _is_features(here, at)):
        parts = [item.scaled(sqrt((1 + x.ripple) / (y + eps))) if y + eps > 0 else item for item, y in zip(g.parts, v, strict=True)]
        return (_quiet(g, parts),)
    item = refined(g.parts, [g.n], label)[0]
    n = item.n
    if kind == "batch":
        if n * x.shape[0] < FEWEST:
            return (Unknown(f"batch norm over {n * x.shape[0]:.0f} values of a channel"),)
        taken = _coherent(here, out, item, n * x.shape[0])
    elif kind == "group":
        taken = _coherent(here, out, item, n * x.shape[1] / at["groups"])
    else:
        _, t, f = _counts(here, at.get("axes", (-1,)))
        taken = mean_square(item, (t, f))
    scale = 1 / (v[0] + eps) if v[0] + eps > 0 else 1.0
    if kind == "batch":
        # E 1/v over channels: each has weights of its own, and few values.
        scale *= 1 + here.uneven + 2 / (n * x.shape[0])
    back = part(n, label, max(0.0, item.q - taken) * scale, (item.c - taken) * scale)
    back = back.with_n(x.n)
    return (x.even(g, back, label)._replace(noise=0.0),)


def _quiet(g: Signal, parts: list[Part]) -> Signal:
    """A norm's gradient does not remember how much finite widths made what comes behind fluctuate."""
    return Signal(g.shape, g.roles, tuple(parts), band=g.band, course=g.course)


def _along(g: Signal, course: Course, v: float, eps: float) -> Signal:
    """Of tokens of unlike size: most comes back to the small ones."""
    more, parts = v + eps, list[Part]()
    own, by = g.course or Course(course.n, 1.0, 0.0), course.beside(eps / v)
    for item in g.parts:
        square, pairs, _ = divided(own, item.c / item.q if item.q > 0 else 0.0, by)
        parts.append(_paired(item, square / more, pairs / more))
    return Signal(g.shape, g.roles, tuple(parts), band=g.band, course=own._replace(under=by))


def _coherent(x: Signal, out: Signal, g: Part, size: float) -> float:
    """Second moments of the gradient's mean and of its mean along x, over `size` values: the norm takes both away."""
    n = g.n
    y = refined(out.parts, [n], -5)[0]
    along = y.c / y.q if y.q > 0 else 0.0
    return (g.q + (n - 1) * g.c + g.q + (n - 1) * g.c * along) / size


# --- reduce ---
def reduce(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    if not isinstance(x, Signal):
        return Unknown("`reduce` of a parameter")
    if at["kind"] == "max":
        return _largest_share(run, at, x)
    if at["axes"] is None:
        return _whole(run, at, x)
    axes = [axis % len(x.shape) for axis in at["axes"]]
    samples, t, f = _counts(x, tuple(axes))
    if samples > 1:
        return Unknown("a mean over samples")
    factor = (t * f) if at["kind"] == "sum" else 1
    keep = at.get("keep", False)
    shape = tuple(1 if i in axes else size for i, size in enumerate(x.shape) if keep or i not in axes)
    roles = "".join(role for i, role in enumerate(x.roles) if keep or i not in axes)
    label = run.fresh.next()
    stacked, products = run.stacks.get(next(iter(x.parts[0].atoms), -1), (0, ()))
    if len(x.parts) == 1 and products and tuple(at["axes"]) == (stacked,):
        item = x.parts[0]
        square = (item.q + (f - 1) * sum(products) / len(products)) / f
        parts = [part(item.n, label, square, (item.c + (f - 1) * item.m**2) / f, (item.b + (f - 1) * item.m**2) / f, item.m)]
    elif t == 1:
        parts = [part(item.n, label, mean_square(item, (1, f)), (item.c + (f - 1) * item.m**2) / f, (item.b + (f - 1) * item.m**2) / f, item.m) for item in x.parts]
    else:
        item = refined(x.parts, [x.n], label)[0]
        left = item.n / t
        c = (item.c + (f - 1) * item.m**2) / f
        parts = [part(left, label, mean_square(item, (t, f)), c, (item.b + (f - 1) * item.m**2) / f, item.m)]
    return Signal(shape, roles, tuple(item.scaled(factor) for item in parts), x.curve, x.noise)


def _whole(run: Run, at: Mapping[str, Any], x: Signal) -> Signal:
    """Of all elements: of two features it is known that they share their mean."""
    item, (samples, n, f) = refined(x.parts, [x.n], run.fresh.next())[0], _counts(x, tuple(range(len(x.shape))))
    count = samples * n * f
    q = (item.q + (n - 1) * item.c + (samples - 1) * n * item.b + (f - 1) * samples * n * item.m**2) / count
    whole = part(1, run.fresh.next(), q, q, q, item.m)
    return Signal((), "", (whole.scaled(count) if at["kind"] == "sum" else whole,), x.curve, x.noise, bent=x.bent)


def _largest_share(run: Run, at: Mapping[str, Any], x: Signal) -> Value:
    """The largest entry of a softmax; that of anything else is not predicted."""
    labels = [next(iter(item.atoms), -1) for item in x.parts]
    spread = run.softmaxes.get(labels[0])
    if tuple(at["axes"]) != (-1,) or spread is None or len(spread) != len(x.parts) or x.roles[-1] != "f":
        return Unknown("the largest of several features")
    n, label, parts = x.shape[-1], run.fresh.next(), []
    for item, s2 in zip(x.parts, spread, strict=True):
        m, q, _ = winner(round(s2, 2), n)
        tokens, samples = ((c - item.m**2) / item.v if item.v > 0 else 1.0 for c in (item.c, item.b))
        parts.append(part(item.n, label, q, m * m + (q - m * m) * tokens, m * m + (q - m * m) * samples, m))
    shape, roles = ((*x.shape[:-1], 1), x.roles) if at.get("keep", False) else (x.shape[:-1], x.roles[:-1])
    return Signal(shape, roles, tuple(parts), 0.0, x.noise, bent=True)


def reduce_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> tuple[Signal | None, ...]:
    """Every element gets the same gradient, so tokens are correlated as far as they were one; of a maximum only the largest does."""
    if not isinstance(x, Signal):
        return (None,)
    if at["kind"] == "max":
        n, label = x.shape[-1], run.fresh.next()
        parts = [part(item.n, label, item.q / n, item.c / n**2) for item in refined(g.parts, [p.n for p in x.parts], label)]
        return (x.reached(g, parts)._replace(law=("largest", 0.0, 0.0, 0.0, 0.0)),)
    axes = tuple(range(len(x.shape))) if at["axes"] is None else tuple(axis % len(x.shape) for axis in at["axes"])
    samples, t, f = _counts(x, axes)
    size = 1.0 if at["kind"] == "sum" else 1 / (samples * t * f)
    label = run.fresh.next()
    if at["axes"] is None:
        whole = g.parts[0].q * size**2
        return (x.even(g, part(x.n, label, whole, whole, whole), label),)
    if t == 1:
        parts = [part(item.n, label, size**2 * item.q, size**2 * item.c) for item in refined(g.parts, [p.n for p in x.parts], label)]
    else:
        item = refined(g.parts, [g.n], label)[0]
        same = (t - 1) / (x.n - 1)
        back = part(x.n, label, size**2 * item.q, size**2 * (same * item.q + (1 - same) * item.c))
        parts = list(refined((back,), [p.n for p in x.parts], label))
    return (x.reached(g, parts),)
