"""Signal scale through what only moves elements, repeats them, or makes them from nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import cos, prod, sin, sqrt
from typing import Any

from assembler.facts.scale.part import Part, few, merged, part, refined, window
from assembler.facts.scale.place import Run, broadcast, fit, signal_of
from assembler.facts.scale.signal import Given, Ids, Signal, Unknown, Value, tokens
from assembler.library.cards import pattern as patterns

_parse = lru_cache(maxsize=1024)(patterns.parse)


# --- reshape ---
def reshape(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    if isinstance(x, Unknown):
        return x
    roles = "f" * len(x.shape) if isinstance(x, Given) else x.roles
    shape, moved = _reshaped(at["pattern"], at.get("sizes", ()), x.shape, roles)
    if isinstance(x, Given):
        return x._replace(shape=shape)
    if isinstance(x, Ids):
        return x._replace(shape=shape, roles=moved)
    return _again(run, x, shape, moved)


def _again(run: Run, x: Signal, shape: tuple[int, ...], roles: str) -> Signal:
    """The same elements in another shape. Tokens that become features or samples are no tokens any more."""
    n = tokens(shape, roles)
    if n == x.n:
        return x.moved(shape, roles)
    label = run.fresh.next()
    item = refined(x.parts, [x.n], label)[0]
    return Signal(shape, roles, (part(n, label, item.q, item.c if n > 1 else item.b, item.b, item.m),), x.curve, x.noise, x.band, x.ripple, bent=x.bent)


@lru_cache(maxsize=4096)
def _reshaped(pattern: str, sizes: tuple[tuple[str, int], ...], shape: tuple[int, ...], roles: str) -> tuple[tuple[int, ...], str]:
    parsed = _parse(pattern)
    cut = len(shape) - len(parsed.left)
    size, role = dict(sizes), {}
    for names, whole, old in zip(parsed.left, shape[cut:], roles[cut:], strict=True):
        open_names = [name for name in names if name not in size]
        if open_names:
            size[open_names[0]] = whole // prod(size[name] for name in names if name in size)
        role.update(dict.fromkeys(names, old))
    right = [(prod(size[name] for name in names), _joined([role[name] for name in names if size[name] > 1] or [role[name] for name in names])) for names in parsed.right]
    moved = roles[:cut] + "".join(old for _, old in right)
    if "f" not in moved and any(role[name] == "f" for name in parsed.right[-1]):
        moved = moved[:-1] + "f"  # A row with its one channel: places are features now.
    return (*shape[:cut], *(whole for whole, _ in right)), moved


def _joined(roles: Sequence[str]) -> str:
    """Of axes that become one: one of several roles counts as features, samples with tokens as samples."""
    found = set(roles)
    return found.pop() if len(found) == 1 else "f" if "f" in found or not found else "b"


def reshape_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> tuple[Signal | None, ...]:
    if not isinstance(x, Signal):
        return (None,)
    back = _again(run, g, x.shape, x.roles)
    return (_cut(run, back, x),)


def _cut(run: Run, g: Signal, x: Signal) -> Signal:
    return g if len(g.parts) == len(x.parts) else g._replace(parts=refined(g.parts, [item.n for item in x.parts], run.fresh.next()))


# --- concat and select ---
def concat(run: Run, at: Mapping[str, Any], *xs: Value) -> Value:
    known = [x for x in xs if isinstance(x, Signal)]
    if all(isinstance(x, Given) for x in xs):
        return _given(run, at, [x for x in xs if isinstance(x, Given)])
    if not known or not all(isinstance(x, (Signal, Given)) for x in xs):
        return Unknown("`concat` of values without moments")
    values = [x if isinstance(x, Signal) else signal_of(x, x.shape, known[0].roles[-len(x.shape) :]) for x in xs if isinstance(x, (Signal, Given))]
    axis, new = at["axis"], at.get("new", False)
    if not new and known[0].roles[axis] == "t" and known[0].roles.count("t") == 1:
        return _in_row(values, axis)
    return _side_by_side(run, values, axis, new)


def _given(run: Run, at: Mapping[str, Any], xs: list[Given]) -> Given:
    mean, q = sum(x.mean for x in xs) / len(xs), sum(x.q for x in xs) / len(xs)
    return Given(_shape([x.shape for x in xs], at["axis"], at.get("new", False)), mean, q - mean**2, label=run.fresh.next())


def _shape(shapes: Sequence[tuple[int, ...]], axis: int, new: bool) -> tuple[int, ...]:
    longest = max(len(item) for item in shapes)
    shape = list(next(item for item in shapes if len(item) == longest))
    if new:
        shape.insert(axis % (len(shape) + 1), len(shapes))
    else:
        shape[axis] = sum(item[axis] for item in shapes)
    return tuple(shape)


def _in_row(values: list[Signal], axis: int) -> Signal:
    """Tokens of several sorts one after another: each keeps what is known of it."""
    every = [item for x in values for item in x.parts]
    parts = tuple(_alone(item, every) if item.n == 1 else item for item in every)
    merge = parts if len(parts) <= 8 else (merged(parts, -4),)
    q = sum(x.n * x.q for x in values)
    noise = sum(x.n * x.q * x.noise for x in values) / q if q > 0 else 0.0
    first = max(values, key=lambda x: x.n)
    return Signal(_shape([x.shape for x in values], axis, False), first.roles, merge, first.curve, noise)


def _alone(item: Part, every: list[Part]) -> Part:
    """A single token: its correlations are with the tokens of other sorts, and what they do not hold has none."""
    held = {label for other in every if other is not item for label in other.atoms}
    return Part(item.n, item.m, {label: (a, t if label in held else 0.0, b) for label, (a, t, b) in item.atoms.items()})


def _side_by_side(run: Run, values: list[Signal], axis: int, new: bool) -> Signal:
    """Features side by side, or values along a new axis: the mean of them, weighted by width."""
    shape = _shape([x.shape for x in values], axis, new)
    first = values[0]
    roles = first.roles
    if new:
        at = axis % len(shape)
        roles = roles[:at] + "f" + roles[at:]
    weights = [1.0 if new else float(x.shape[axis]) for x in values]
    total = sum(weights)
    label, n = run.fresh.next(), tokens(shape, roles)
    items = [refined(x.parts, [x.n], label)[0] for x in values]
    q, c, b, m = (sum(w * getattr(item, name) for w, item in zip(weights, items, strict=True)) / total for name in ("q", "c", "b", "m"))
    noise = sum(w * item.q * x.noise for w, item, x in zip(weights, items, values, strict=True)) / (total * q) if q > 0 else 0.0
    if new:
        run.stacks[label] = (axis if axis < 0 else axis - len(shape), tuple(_product(a, b) for i, a in enumerate(items) for b in items[:i]))
    return Signal(shape, roles, (part(n, label, q, max(c, m * m), max(b, m * m), m),), max(x.curve for x in values), noise, bent=any(x.bent for x in values))


def _product(a: Part, b: Part) -> float:
    """The mean product of two values, element by element."""
    return a.m * b.m + sum(size * b.atoms[label][0] for label, (size, _, _) in a.atoms.items() if label in b.atoms)


def concat_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, *xs: Value) -> tuple[Signal | None, ...]:
    found: list[Signal | None] = []
    axis, start = at["axis"], 0.0
    row = not at.get("new", False) and out.roles[axis] == "t" and out.roles.count("t") == 1
    for x in xs:
        if not isinstance(x, Signal):
            found.append(None)
            start += 1 if at.get("new", False) else x.shape[axis] if isinstance(x, Given) else 0
            continue
        wide = x.n if row else 1.0 if at.get("new", False) else x.shape[axis]
        # What two features, or two tokens, do not share is independent: the pieces of a gradient do not add up as one.
        parts: Sequence[Part] = [_piece(run, item, int(start), int(start + wide), row) for item in (window(g.parts, start, start + wide) if row else g.parts)]
        start += wide
        found.append(x.reached(g, refined(parts, [item.n for item in x.parts], run.fresh.next())))
    return tuple(found)


def _piece(run: Run, item: Part, start: int, stop: int, row: bool) -> Part:
    atoms: dict[int, tuple[float, float, float]] = {}
    for label, (a, t, b) in item.atoms.items():
        own = _slice(run, label, start, stop)
        if row and t > 0:
            common_, rest = t, 1 - t
            atoms[label] = (a * sqrt(common_), 1.0, min(1.0, b / common_))
            atoms[own] = (a * sqrt(rest), 0.0, 0.0)
        else:
            atoms[own] = (a, t, b)
    return Part(item.n, item.m, few(atoms, run.fresh))


def select(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    if isinstance(x, Unknown):
        return x
    axis, start = at["axis"], at.get("start", 0)
    stop = x.shape[axis] if at.get("stop") is None else at["stop"]
    shape = list(x.shape)
    shape[axis] = stop - start
    if not isinstance(x, Signal):
        return x._replace(shape=tuple(shape))
    if x.roles[axis] == "t" and x.roles.count("t") == 1:
        return x._replace(shape=tuple(shape), parts=tuple(window(x.parts, start, stop)))
    if x.roles[axis] == "f" and stop - start < x.shape[axis]:
        x = x.of(Part(item.n, item.m, {_slice(run, label, start, stop): atom for label, atom in item.atoms.items()}) for item in x.parts)
    return _again(run, x, tuple(shape), x.roles)


def _slice(run: Run, label: int, start: int, stop: int) -> int:
    key = (label, start, stop)
    if key not in run.slices:
        run.slices[key] = run.fresh.next()
    return run.slices[key]


def select_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> tuple[Signal | None, ...]:
    """Nothing reaches what was not selected."""
    if not isinstance(x, Signal):
        return (None,)
    axis, label = at["axis"], run.fresh.next()
    start = at.get("start", 0)
    if x.roles[axis] == "t" and x.roles.count("t") == 1:
        stop = start + out.shape[axis]
        row = [Part(start, 0.0, {})] * (start > 0) + list(g.parts) + [Part(x.n - stop, 0.0, {})] * (x.n > stop)
        return (x.reached(g, refined(row, [item.n for item in x.parts], label)),)
    share = out.shape[axis] / x.shape[axis]
    item = refined(g.parts, [g.n], label)[0]
    pairs = share if x.roles[axis] != "t" else share * share
    back = part(x.n, label, item.q * share, item.c * pairs)
    return (x.even(g, back, label),)


# --- expand, detach, constant ---
def expand(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    like = run.named(at.get("like"))
    if isinstance(x, Unknown) or isinstance(like, Unknown) or like is None or isinstance(like, Given):
        return Unknown("repeated along a value that is not known") if not isinstance(x, Unknown) else x
    shape = (*like.shape[: len(like.shape) - len(x.shape)], *x.shape)
    roles = like.roles if len(like.roles) == len(shape) else like.roles[: len(shape) - len(x.shape)] + "f" * len(x.shape)
    if isinstance(x, Ids):
        return x._replace(shape=shape, roles=roles)
    return broadcast(run, signal_of(x, shape, roles), shape, roles)


def expand_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value) -> tuple[Signal | None, ...]:
    return (fit(run, g, x) if isinstance(x, Signal) else None,)


def detach(run: Run, at: Mapping[str, Any], x: Value) -> Value:
    return x


def nothing_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, *xs: Value) -> tuple[Signal | None, ...]:
    return (None,) * len(xs)


def constant(run: Run, at: Mapping[str, Any], *xs: Value) -> Value:
    if at["fn"] == "zero":
        return Signal((), "", (Part(1, 0.0, {}),))
    x = xs[0]
    if not isinstance(x, Signal):
        return Unknown(f"`{at['fn']}` along a value that is not known")
    if at["fn"] == "zeros":
        return Signal((*x.shape[:-1], at["width"]), x.roles, (Part(x.n, 0.0, {}),))
    seq, d = x.shape[-2:]
    m, c = _sinusoid(seq, d, float(at["base"]))
    b = (0.5 + (seq - 1) * c) / seq
    return Signal((seq, d), "tf", (part(seq, run.fresh.next(), 0.5, c, b, m),))


@lru_cache(maxsize=256)
def _sinusoid(seq: int, d: int, base: float) -> tuple[float, float]:
    """The position code: root of the mean square of a row's mean, and what two positions share."""
    speeds = [base ** (-column / d) for column in range(0, d, 2)]
    # At most 64 positions, evenly spaced, stand for all.
    step = max(1, seq // 64)
    rows = range(0, seq, step)
    square = sum((sum(sin(t * w) + cos(t * w) for w in speeds) / d) ** 2 for t in rows) / len(rows)
    shared = 0.0
    for w in speeds:
        wave = sin(seq * w / 2) / sin(w / 2)
        shared += 0.5 * (wave * wave - seq) / (seq * (seq - 1)) if seq > 1 else 0.5
    return sqrt(square), max(square, shared / len(speeds))
