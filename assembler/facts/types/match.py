"""One node: the types that reach it against the patterns of its ports.

Widths flow forward: an open size takes what reaches it; a size that the options state is held
against it. What cannot be decided here is a claim (an unknown width meets a known one) or a
variable, and the walk in `infer.py` settles those and comes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assembler.facts.types.found import Arrival, Bridge, Claim, Condition, Finding, Match, is_open
from assembler.facts.types.signature import Pattern, Side, Signature
from assembler_schemas.dim import Poly, exact_divide, floor_divide, names, substitute, variables
from assembler_schemas.dim import name as dim_name
from assembler_schemas.expression import Expression, ExpressionError
from assembler_schemas.shape import Dim, Type

FLOATS = frozenset({"float", "f64", "f32", "bf16", "f16"})
INTS = frozenset({"int", "i64", "i32"})
_WHOLE = {"float": FLOATS, "int": INTS, "bool": frozenset({"bool"})}
_SOLVE = "?solve"


def match(signature: Signature, arrivals: Mapping[str, Sequence[Arrival]], sizes: Mapping[str, Dim], stated: frozenset[str], dtype: str | None) -> Match:  # fmt: skip
    """Hold what arrives against the patterns; nothing is decided about sizes that stay open."""
    found = Match(dict(sizes), stated, frozenset(sizes) - stated)
    found.dtype = dtype or "float"
    order: list[tuple[int, Side, int, Arrival]] = []
    for side in signature.inputs:
        edges = arrivals.get(side.port, ())
        if side.many:
            found.sizes["n"] = len(edges)
        for index, arrival in enumerate(edges):
            if arrival.type is None:
                found.unknown = True
                continue
            late = 2 if arrival.follows else 1 if any(is_open(dim) for dim in arrival.type.dims) else 0
            order.append((late, side, index, arrival))
        if not edges and not side.optional:
            found.unknown = True
    if len(order) > 1:
        order.sort(key=lambda item: item[0])
    seen: dict[str, dict[int, Type]] = {}
    for late, side, index, arrival in order:
        assert arrival.type is not None
        follows_unknown = late == 2 and found.unknown  # What it should follow is not known: it says nothing by itself.
        seen.setdefault(side.port, {})[index] = arrival.type if follows_unknown else _meet(found, side, index, arrival, signature.has_parameters)
    found.inputs = {port: tuple(types[i] for i in sorted(types)) for port, types in seen.items()}
    return found


def _meet(found: Match, side: Side, index: int, arrival: Arrival, own: bool) -> Type:
    """One value against one port; the type behind the edge."""
    given = arrival.type
    assert given is not None
    _dtype(found, side, index, given, own)
    count = len(side.dims)
    if len(given.dims) < count or (not side.lead and (len(given.dims) != count or given.lead)):
        found.findings.append(Finding("shape-rank", side.port, index, 0, given, str(side.type)))
        found.unknown = True
        return given
    split = len(given.dims) - count
    if side.lead and not _lead(found, side, index, given, split):
        return given
    if side.vocabulary is not None:
        _vocabulary(found, side, index, given)
    dims = list(given.dims)
    for position, pattern in enumerate(side.dims):
        axis = position - count
        wanted = _bind(found, side, index, axis, pattern, dims[split + position], arrival.follows)
        if wanted is not None:
            dims[split + position] = wanted
    return given._replace(dims=tuple(dims)) if tuple(dims) != given.dims else given


def _dtype(found: Match, side: Side, index: int, given: Type, own: bool) -> None:
    wanted = side.type.dtype
    whole = _WHOLE.get(wanted)
    if given.dtype not in whole if whole is not None else _wide(given.dtype) != wanted:
        found.findings.append(Finding("dtype-mismatch", side.port, index, 0, given, wanted))
        found.unknown = True
    elif wanted == "float":
        mine, theirs = _wide(found.dtype), _wide(given.dtype)
        first = not own and not found.inputs and "dtype" not in found.origin
        if first and mine != theirs:
            found.dtype = given.dtype
        elif mine != theirs:
            found.findings.append(Finding("dtype-mismatch", side.port, index, 0, given, mine))
    if wanted == "float" and not own:
        found.origin.setdefault("dtype", (side.port, index, 0))


def _wide(dtype: str) -> str:
    """The model's own float is float32 unless `build` is told otherwise."""
    return "f32" if dtype == "float" else dtype


def _lead(found: Match, side: Side, index: int, given: Type, split: int) -> bool:
    """The leading axes. False where there are more or fewer of them: then no axis stands for another."""
    row = given.dims[:split]
    if found.lead is None:
        found.lead, found.lead_name = row, given.lead
        found.origin["..."] = (side.port, index, -len(given.dims))
        return True
    if len(row) != len(found.lead) or given.lead != found.lead_name:
        found.findings.append(Finding("shape-rank", side.port, index, 0, given, found.lead, "...", found.origin.get("...")))
        return False
    port, at, first = found.origin["..."]
    for position, (one, two) in enumerate(zip(row, found.lead, strict=True)):
        if one != two:
            _differ(found, side.port, index, position - len(given.dims), one, two, "...", False, (port, at, first + position))
    return True


def _vocabulary(found: Match, side: Side, index: int, given: Type) -> None:
    have = given.vocabulary
    if have is not None and isinstance(side.vocabulary, int) and isinstance(have, int) and have > side.vocabulary:
        found.findings.append(Finding("vocabulary-mismatch", side.port, index, 0, have, side.vocabulary, "ids"))
    if have is None or not isinstance(side.vocabulary, str):
        return
    rows = found.sizes.get(side.vocabulary)
    if rows is None:
        found.sizes[side.vocabulary] = have
        found.origin[side.vocabulary] = (side.port, index, 0)
    elif isinstance(have, int) and isinstance(rows, int) and have > rows:
        found.findings.append(Finding("vocabulary-mismatch", side.port, index, 0, have, rows, side.vocabulary))


def _bind(found: Match, side: Side, index: int, axis: int, pattern: Pattern, actual: Dim, follows: bool) -> Dim | None:
    """One axis. Returns the size behind the edge where that differs from what arrived."""
    if isinstance(pattern, str):
        name = f"{pattern}{index}" if pattern.endswith("#") else pattern
        wanted = found.sizes.get(name)
        if wanted is None:
            found.sizes[name] = actual
            found.origin[name] = (side.port, index, axis)
            return None
        return None if wanted == actual else _differ(found, side.port, index, axis, actual, wanted, name, follows)
    if isinstance(pattern, int):
        return None if pattern == actual else _differ(found, side.port, index, axis, actual, pattern, "", follows)
    free = [name for name in pattern.names if name not in found.sizes]
    if not free:
        wanted = found.value(pattern)
        return None if wanted is None or wanted == actual else _differ(found, side.port, index, axis, actual, wanted, pattern.text, follows)
    if len(free) == 1:
        _solve(found, side.port, index, axis, pattern, free[0], actual)
    return None


def _solve(found: Match, port: str, index: int, axis: int, pattern: Expression, name: str, actual: Dim) -> None:
    """`patch*h = 32`: the one unknown of a pattern; `d*d = 64` too, where all else is numbers."""
    try:
        whole = pattern.evaluate({**found.sizes, name: dim_name(_SOLVE)})
    except ExpressionError:
        return
    rest = substitute(whole, {_SOLVE: 0})
    factor = substitute(whole, {_SOLVE: 1}) - rest
    left = actual - rest
    linear = whole == rest + factor * dim_name(_SOLVE)
    value = _root(whole, actual) if not linear else exact_divide(left, factor) if factor != 0 else None
    if value is None and linear and isinstance(factor, int) and isinstance(left, Poly) and not variables(left):
        value = floor_divide(left, factor)
        found.conditions.append(Condition("multiple_of", left, factor, f"axis {axis} is {pattern.text}"))
    if value is None or (isinstance(value, int) and value < 1):
        found.findings.append(Finding("shape-constraint", port, index, axis, actual, whole, name, None, pattern.text))
        found.unknown = True
        return
    found.sizes[name] = value
    found.origin[name] = (port, index, axis)


def _root(whole: Dim, actual: Dim) -> int | None:
    """The number at which a pattern that grows with its one unknown comes to `actual`."""
    low, high = 0, actual if isinstance(actual, int) and list(names(whole)) == [_SOLVE] else 0
    while low < high:
        middle = (low + high) // 2
        there = substitute(whole, {_SOLVE: middle})
        if there == actual:
            return middle
        low, high = (middle + 1, high) if isinstance(there, int) and isinstance(actual, int) and there < actual else (low, middle)
    return low if substitute(whole, {_SOLVE: low}) == actual else None


def _differ(found: Match, port: str, index: int, axis: int, actual: Dim, wanted: Dim, name: str, follows: bool, other: tuple[str, int, int] | None = None) -> Dim | None:
    """Two sizes that are not the same: unknown, bridged, or wrong."""
    if is_open(actual) or is_open(wanted):
        if axis == -1:
            known, unknown = (wanted, actual) if is_open(actual) else (actual, wanted)
            weak = follows and not is_open(actual)
            found.claims.append(Claim(unknown, known, port, index, weak))
            if is_open(wanted) and name in found.sizes and not is_open(actual) and not weak:
                found.sizes[name] = actual
        else:
            found.equal.append((actual, wanted, port, index))
        return None
    if _same_under(found, actual, wanted):
        return None
    if (follows or name in found.fixed) and axis == -1 and isinstance(actual, int) and isinstance(wanted, int):
        found.bridges.append(Bridge(port, index, Type("dense", "float", (actual,)), Type("dense", "float", (wanted,))))
        return wanted
    rigid = not (isinstance(actual, int) and isinstance(wanted, int))
    other = other or found.origin.get(name)
    rival = other is not None and other[2] == -1 and axis == -1 and name != "..." and name not in found.stated
    code = "dim-rigid" if rigid else "dim-ambiguous" if rival else "shape-mismatch"
    found.findings.append(Finding(code, port, index, axis, actual, wanted, name, other))
    return wanted


def _same_under(found: Match, one: Dim, two: Dim) -> bool:
    """Equal once the divisions that are already demanded are taken as exact."""
    if isinstance(one, int) and isinstance(two, int):
        return False
    exact: dict[str, Dim] = {}
    for condition in found.conditions:
        if condition.relation == "multiple_of" and isinstance(condition.left, Poly) and isinstance(condition.right, int):
            lone = list(names(condition.left))
            if len(lone) == 1 and condition.left == dim_name(lone[0]):
                exact[lone[0]] = condition.right * floor_divide(condition.left, condition.right)
    return bool(exact) and substitute(one, exact) == substitute(two, exact)
