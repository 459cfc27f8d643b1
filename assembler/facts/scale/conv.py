"""Signal scale through convolutions, and the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod, sqrt
from typing import Any

from assembler.facts.scale.choice import code
from assembler.facts.scale.linear import HANIN, seen
from assembler.facts.scale.part import part, refined
from assembler.facts.scale.place import Run
from assembler.facts.scale.signal import Given, Ids, Signal, Unknown, Value, tokens


def gather(run: Run, at: Mapping[str, Any], table: Value, ids: Value) -> Value:
    if not isinstance(table, Given) or not isinstance(ids, Ids):
        return Unknown("rows are taken from what is no parameter, or by ids of unknown frequency")
    if ids.near is not None and ids.near[0] == table.label:
        return code(run, table, ids, ids.near[1])
    same = 1 / max(1, ids.vocabulary)
    keep = 1 - same * (at.get("padding") is not None)
    shape, roles = (*ids.shape, table.shape[-1]), ids.roles + "f"
    label, q, m = run.fresh.next(), table.q * keep, table.mean * keep
    alike, across = (m * m + (q - m * m) * (same if often is None else often) for often in (ids.tokens, ids.samples))
    if ids.tokens is None:
        run.tables[label] = (table.number, max(1, ids.vocabulary))
    return Signal(shape, roles, (part(tokens(shape, roles), label, q, alike, across, m),))


# --- conv ---
def each(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes


@lru_cache(maxsize=1024)
def taps(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> tuple[int, tuple[int, ...]]:
    """Places of the output, and for each tap of the kernel how many of them read an element that exists."""
    out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    counts = []
    for k in range(kernel):
        shift = k * dilation - padding
        first, last = -(shift // stride) if shift < 0 else 0, min(out - 1, (size - 1 - shift) // stride)
        counts.append(max(0, last - first + 1))
    return out, tuple(counts)


def _geometry(at: Mapping[str, Any], shape: tuple[int, ...], kernel: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
    axes = len(kernel)
    columns = (each(at.get(name, usual), axes) for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1)))
    return [taps(*row) for row in zip(shape[-axes:], kernel, *columns, strict=True)]


def conv(run: Run, at: Mapping[str, Any], x: Value, w: Value) -> Value:
    if not isinstance(x, Signal) or not isinstance(w, Given):
        return Unknown("`conv` of what is no value by a parameter")
    kernel = w.shape[2:]
    known = _geometry(at, x.shape, kernel)
    read = prod(sum(counts) / out for out, counts in known)
    both = prod(sum((count / out) ** 2 for count in counts) for out, counts in known)
    shape = (x.shape[0], w.shape[0], *(out for out, _ in known))
    roles = "bf" + "t" * len(kernel)
    label, n = run.fresh.next(), tokens(shape, roles)
    item, channels = refined(x.parts, [x.n], label)[0], w.shape[1]
    q, c, b = (channels * w.var * y for y in (read * item.q, both * item.c, both * item.b))
    k = channels * prod(kernel)
    if w.number in run.often and not w.mean:
        same = seen(run, w.number, item, channels * w.var * read, both / read if read else 0.0)
        return Signal(shape, roles, (same.with_n(n),), 0.0, x.noise + HANIN * x.curve / k, ripple=x.ripple / read if read else 0.0, uneven=w.spread / k)
    m = 0.0
    if w.mean:
        # All k products of a place with the one mean weight: places of one channel as correlated as c.
        taken = channels * read
        own = w.mean**2 * (taken * item.q + channels * read * (read - 1) * item.c + taken * (taken - read) * item.m**2)
        q, c, b, m = q + own, c + own * item.c / max(item.q, 1e-300), b + own * item.b / max(item.q, 1e-300), sqrt(max(own, 0.0))
    return Signal(shape, roles, (part(n, label, q, c, b, m),), 0.0, x.noise + HANIN * x.curve / k, ripple=x.ripple / read, uneven=w.spread / k)


def conv_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, x: Value, w: Value) -> tuple[Signal | None, ...]:
    if not isinstance(x, Signal) or not isinstance(w, Given):
        return None, None
    kernel = w.shape[2:]
    known = _geometry(at, x.shape, kernel)
    sizes = x.shape[-len(kernel) :]
    fan = w.shape[0] / at.get("groups", 1) * w.q
    read = prod(sum(counts) / size for (_, counts), size in zip(known, sizes, strict=True))
    both = prod(sum((count / size) ** 2 for count in counts) for (_, counts), size in zip(known, sizes, strict=True))
    label = run.fresh.next()
    item = refined(g.parts, [g.n], label)[0]
    if w.number in run.often:
        back = seen(run, -1 - w.number, item, fan * read, both / read if read else 0.0).with_n(x.n)
    else:
        back = part(x.n, label, fan * read * item.q, fan * both * item.c)
    return x.even(g, back, label), None
