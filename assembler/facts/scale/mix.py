"""Signal scale through attention's softmax: how many tokens a query really reads (contracts 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, NamedTuple

from assembler.facts.scale.course import Course, read, readers
from assembler.facts.scale.moments_row import harmonic_like, rows
from assembler.facts.scale.part import Part, part, refined
from assembler.facts.scale.place import Run
from assembler.facts.scale.signal import Given, Signal, Unknown, Value

WIDE, WIDER, SCORES = 2.5, 3.0, 0.5
"""Bands of gradients: of q and k; behind causal attention whose scores vary by more than SCORES."""


PAIRS = 0.6
"""Of what a prefix has more (`Signal.early`), what the means of two prefixes share: 0.56 where it falls as t^-1/2, 0.69 as t^-1/5."""
MOST = 256.0
"""Variance of scores beyond which nothing is predicted: one token is read, and its score's size is that of single features."""


class Read(NamedTuple):
    """`s2`: variance of the scores along the keys; `one`, `two`: sum of squares of a row of the softmax, of products of two rows."""

    s2: float
    one: float
    two: float
    left: float
    """What a gradient is multiplied by."""
    shared: float
    """Covariance of two queries' scores."""
    a: float
    """Of `Rows`."""
    common: float
    """Of `Course`."""


def scores(at: Mapping[str, Any], q: Part, k: Part, d: int, bias: Value | None) -> tuple[float, float]:
    """Variance of the scores along the keys, and the covariance of two queries' scores."""
    scale = 1 / sqrt(d) if at.get("scale") is None else float(at["scale"])
    factor = scale * scale * d * max(0.0, k.q - k.c)
    more = bias.q if isinstance(bias, Signal) else 0.0
    return factor * q.q + more, factor * max(0.0, q.c)


def _read(at: Mapping[str, Any], s2: float, shared: float, n: int) -> Read:
    if n <= 1 or s2 > MOST:
        return Read(s2, 1.0, 1.0, 0.0, shared, 1.0, 1.0)
    causal, window = bool(at.get("causal")), at.get("window")
    if window is not None and window < n:
        return _windowed(s2, shared, n, window)
    row, both = rows(s2, n, causal), rows(shared, n, causal)
    two = 2 * both.a / (n * (n - 1)) * (n - both.a * harmonic_like(n, both.a)) if causal else both.one
    return Read(s2, row.one, min(1.0, two), row.left, shared, row.a, both.a / row.a)


def _windowed(s2: float, shared: float, n: int, window: int) -> Read:
    """Causal rows while fewer than `window` tokens came before, then rows of `window` each; of two of those with d tokens
    between, window - d are the same."""
    early, late = rows(s2, window, True), rows(s2, window, False)
    share = window / n
    one, left = share * early.one + (1 - share) * late.one, share * early.left + (1 - share) * late.left
    first = _read({"causal": True}, s2, shared, window).two if window > 1 else 0.0
    both = rows(shared, window, False).a if window > 1 else 1.0
    pairs = window * (window - 1) / 2 * first + (n - window) * (window - 1) / 2 * both / (window - 1 + both)
    return Read(s2, one, min(1.0, 2 * pairs / (n * (n - 1))), left, shared, late.a, 1.0)


def _runs_on(at: Mapping[str, Any], n: float) -> bool:
    """Whether each row reads one token more than the row before."""
    return bool(at.get("causal")) and (at.get("window") is None or at["window"] >= n)


def _reads(run: Run, at: Mapping[str, Any], q: Signal, k: Signal) -> tuple[list[Read], int]:
    """For each part of the queries; and how many tokens there are to read. Asked for on the way there and back."""
    of = id(at), id(q), id(k)  # the rows of all uses hold them
    found = run.reads.get(of)
    if found is None:
        n = k.shape[-2]
        key = refined(k.parts, [k.n], -3)[0]
        bias = run.named(at.get("bias"))
        found = run.reads[of] = [_read(at, *scores(at, item, key, q.shape[-1], bias), n) for item in q.parts], n
    return found


def score_variance(run: Run, at: Mapping[str, Any], q: Signal, k: Signal) -> float:
    """The largest of any part of the queries."""
    return max(read.s2 for read in _reads(run, at, q, k)[0])


def softmax_mix(run: Run, at: Mapping[str, Any], q: Value, k: Value, v: Value) -> Value:
    if not (isinstance(q, Signal) and isinstance(k, Signal) and isinstance(v, Signal)):
        return Unknown("attention over what is no value")
    reads, _ = _reads(run, at, q, k)
    most = max(read.s2 for read in reads)
    if most > MOST:
        return Unknown(f"attention whose scores vary by {most:.3g}: few tokens are read, and which ones is chance")
    label = run.fresh.next()
    value = refined(v.parts, [v.n], label)[0]
    keep = 1 - float(at.get("dropout", 0))
    if keep <= 0:
        return Signal((*q.shape[:-1], v.shape[-1]), q.roles, tuple(Part(item.n, 0.0, {}) for item in q.parts))
    spread = value.q - value.c
    first = reads[0].one
    if k.source is not None and k.source is v.source:
        # Keys and values of one source lean together: of Gaussian tokens, the mean that is read moves along the query.
        lean = k.together
        reads = [read._replace(one=min(1.0, read.one + lean * read.s2 * (1 - read.one) ** 2), two=min(1.0, read.two + lean * read.shared * (1 - read.two) ** 2)) for read in reads]
    early = value.q * v.early if at.get("causal") else 0.0
    parts = tuple(
        part(item.n, label, value.c + spread * read.one + early * (1 - read.one) + value.q * read.one * (1 / keep - 1), value.c + spread * read.two + PAIRS * early * (1 - read.two), value.b, value.m)
        for item, read in zip(q.parts, reads, strict=True)
    )
    if _shared(run):
        parts = tuple(_same(run, item.n, value, read, keep) for item, read in zip(q.parts, reads, strict=True))
    found = Signal((*q.shape[:-1], v.shape[-1]), q.roles, parts, 0.0, v.noise, ripple=v.ripple * reads[0].one, narrow=v.narrow)
    if not _runs_on(at, value.n) or len(parts) > 1 or value.n <= 1 or parts[0].q <= 0:
        return found
    course = Course(value.n, reads[0].a, max(0.0, 1 - (value.c + early * (1 - first) + spread * (reads[0].one - first)) / parts[0].q), reads[0].common)
    return found._replace(course=course, ripple=max(0.0, course.inverse() - 1))


def _shared(run: Run) -> bool:
    """Whether a weight of the use that runs is used elsewhere too."""
    return bool(run.often) and any(isinstance(value, Given) and value.number in run.often for value in run.row)


def _same(run: Run, n: float, v: Part, read: Read, keep: float) -> Part:
    """Atom by atom, for models that use a weight twice: attentions that read alike make the same of the same."""
    atoms = {}
    for label, (a, t, b) in v.atoms.items():
        one, two = t + (1 - t) * read.one + read.one * (1 / keep - 1), t + (1 - t) * read.two
        if one > 0:
            atoms[run.image("mix", label)] = (a * sqrt(one), max(-1.0, min(1.0, two / one)), min(1.0, b / one))
    return Part(n, v.m, atoms)


def softmax_mix_back(run: Run, at: Mapping[str, Any], g: Signal, out: Signal, q: Value, k: Value, v: Value) -> tuple[Signal | Unknown | None, ...]:
    assert isinstance(q, Signal)
    assert isinstance(k, Signal)
    assert isinstance(v, Signal)
    reads, n = _reads(run, at, q, k)
    label, other = run.fresh.next(), run.fresh.next()
    total = g.n
    item = refined(g.parts, [total], label)[0]
    key, value = refined(k.parts, [k.n], label)[0], refined(v.parts, [v.n], label)[0]
    query = refined(q.parts, [q.n], label)[0]
    weight = sum(p.n * p.q for p in g.parts)
    # Of the read that the gradient comes from: a part without gradient says nothing of keys and values.
    shares = [p.n * p.q / weight if weight > 0 else p.n / total for p in g.parts]
    mean = reads[0] if len(reads) == 1 else Read(*(sum(share * r[i] for share, r in zip(shares, reads, strict=True)) for i in range(7)))
    if mean.s2 > SCORES and _shared(run):
        return (Unknown("attention of large scores whose weights are used more than once: queries, keys and values are not independent"),) * 3
    one = mean.one / max(1e-9, 1 - float(at.get("dropout", 0)))
    heads = q.shape[-3] / k.shape[-3] if len(q.shape) > 2 else 1.0
    band = WIDER if at.get("causal") and mean.s2 > SCORES else 1.0

    # Positions whose gradient a norm behind made large are those that read evenly.
    causal, even, pairs = _runs_on(at, n) and total > 1, 1.0, item.c
    if causal and g.course is not None and item.q > 0:
        even, pairs = read(g.course, item.c / item.q, mean.a)
        pairs *= item.q
    gv = heads * total / n * (one * even * item.q + (total - 1) * mean.two * pairs)
    cv = (heads * total * (item.q + (total - 1) * item.c) - n * gv) / (n * (n - 1)) if n > 1 else 0.0
    scale = 1 / q.shape[-1] if at.get("scale") is None else float(at["scale"]) ** 2
    spread = scale * v.shape[-1] * max(0.0, value.q - value.c)
    keys = max(0.0, key.q - key.c)
    # Keys and values of one source: the sum over tokens of (g v) k holds its covariance, of so many dimensions.
    both = k.together if k.source is not None and k.source is v.source else 0.0
    parts = []
    for p, r in zip(refined(g.parts, [p.n for p in q.parts], label), reads, strict=True):
        parts.append(part(p.n, label, (r.left + both * (1 - r.one) ** 2) * p.q * even * spread * keys, (r.two * (1 - r.two) + both * (1 - r.two) ** 2) * p.c * spread * keys))
    gq = q.reached(g, parts, max(band, WIDE))._replace(course=None)
    square = mean.left * query.q * item.q * even + (total - 1) * mean.two * (1 - mean.two) * max(0.0, query.c * item.c)
    gk = k.even(g, part(k.n, other, heads * total / n * square * spread), other, max(band, WIDE))._replace(course=None)
    back = v.even(g, part(v.n, label, gv, cv), label, band)._replace(course=readers(k.n, mean.a, mean.common) if causal else None)
    if item.q > 0 and gv > 0 and _shared(run):
        same = min(1.0, max(-1.0, cv / gv))
        less = pairs / item.c if item.c else 1.0
        sizes = {at: a * a * (one * even + (total - 1) * mean.two * t * less) for at, (a, t, _) in item.atoms.items()}
        whole = sum(max(0.0, size) for size in sizes.values())
        if whole > 0:
            atoms = {run.image("read", at): (sqrt(size / whole * gv), same, 0.0) for at, size in sizes.items() if size > 0}
            back = back.of(refined((Part(v.n, 0.0, atoms),), [p.n for p in v.parts], label))
    bias = run.named(at.get("bias"))
    if isinstance(bias, Signal):
        ds = mean.left / n * item.q * v.shape[-1] * max(0.0, value.q - value.c)
        samples = (len(q.shape) > 3 and q.shape[0]) or 1
        run.extra[at["bias"]] = bias.of((part(bias.n, other, ds * samples),))._replace(band=WIDE)
    return gq, gk, back
