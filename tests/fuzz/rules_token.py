"""Rules of the kinds over tokens, of joins, and of those that move axes about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fuzz.draw import Draw
from tests.fuzz.rules_attention import mask_for as _mask
from tests.fuzz.rules_row import Given, only_float
from tests.fuzz.sizes import Size, exact, plus, size, times
from tests.fuzz.value import Choice, Inputs, Options, Rule, Type, Value

# `scope` offers: partners(test, but) -> values; ask(type) -> a new recipe input or None;
# twin(x) -> a value of the type of x that does not exist yet (made when the node is added).


# --- tokens ---
def _pool_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or x.type.rank < 3:
        return None
    inputs: Inputs = {}
    if draw.wants("mean_pool", "mask", 0.15) and (mask := _mask(draw, scope, x.type.dims[:-1])):
        inputs["mask"] = [mask]
    return Choice({}, inputs)


def _pool_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, ranks=range(3, 9))
    if kind is None or ("mask" in given and given["mask"][0] != Type(kind.dims[:-1], "mask", "bool")):
        return None
    return kind.dense(*kind.dims[:-2], kind.dims[-1])


def _token_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    return Choice({}, {}) if x.type.is_float and x.type.rank >= 3 and x.type.last is not None else None


def _first_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    return Choice({}, {}) if x.type.is_float and x.type.rank >= 3 else None


def _token_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, ranks=range(3, 9))
    return kind.with_last(plus(kind.dims[-2], 1), kind.dims[-1]) if kind is not None and kind.last is not None else None


def _learned_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or x.type.rank < 3:
        return None
    stated = x.type.last is None or draw.wants("learned_tokens", "out", 0.4)
    return Choice({"length": draw.pick((1, 2, 3, 5)), **({"out": draw.width()} if stated else {})}, {})


def _learned_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, ranks=range(3, 9))
    out = None if kind is None else options.get("out", kind.last)
    return None if kind is None or out is None else kind.dense(*kind.dims[:-2], size(options["length"]), size(out))


def _expand_choice(draw: Draw, like: Value, scope: Any) -> Choice | None:
    """What is fed is what has the axes: there is hardly anything that lacks no axis of something else."""
    if not like.type.is_float or not scope.joins or like.type.rank < 3:
        return None
    fits = [
        (x, axis)
        for x in scope.partners(lambda kind: kind.is_float and kind.dtype == like.type.dtype and 2 <= kind.rank < like.type.rank, but=like)
        for more in (like.type.rank - x.type.rank,)
        for axis in (tuple(range(-more - end, -end)) for end in (0, 1))
        if _expand_out({"axis": list(axis)}, {"x": [x.type], "like": [like.type]}) is not None
    ]
    usual = [fit for fit in fits if fit[1] == (-2,)]
    if not fits:
        return None
    x, axis = draw.pick(usual if usual and not draw.wants("expand", "axis", 0.3) else fits)
    return Choice({} if axis == (-2,) else {"axis": axis[0] if len(axis) == 1 else list(axis)}, {"x": [x]})


def _expand_out(options: Options, given: Given) -> Type | None:
    """The axes of `like` that `axis` names among those of x, which are otherwise equal; the last own one need not be."""
    if "x" not in given:
        return None
    x, like, axis = given["x"][0], given["like"][0], options.get("axis", -2)
    new = [axis] if isinstance(axis, int) else axis
    if not x.is_float or x.dtype != like.dtype or like.rank != x.rank + len(new):
        return None
    own = iter(x.dims)
    found = [like.dims[place] if place - like.rank in new else next(own) for place in range(like.rank)]
    last = max(place for place in range(like.rank) if place - like.rank not in new)
    same = all(found[place] == like.dims[place] for place in range(like.rank) if place != last)
    return x.dense(*found) if same else None


# --- joins ---
def _gate_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float:
        return None
    if "gate" in scope.passed:
        return Choice({}, {})
    if not scope.joins:
        return None
    like = scope.partners(lambda kind: kind[0] == x.type.dims and kind.dtype == x.type.dtype, but=x)
    return Choice({}, {"gate": [draw.pick(like) if like else scope.twin(x)]})


def _gate_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, "base")
    if (
        kind is None
        or "gate" not in given
        or (given["gate"][0].dims, given["gate"][0].dtype) != (kind.dims, kind.dtype)
    ):
        return None
    return Type(kind.dims, "dense", kind.dtype)


def _others(draw: Draw, x: Value, scope: Any, test: Callable[[Type], bool]) -> list[Value]:
    """One to three other values for a join."""
    like = scope.partners(lambda kind: kind.is_float and kind.dtype == x.type.dtype and test(kind), but=x)
    found = draw.shuffled(like)[: draw.pick((1, 1, 2, 3))]
    return found or [scope.twin(x)]


def like_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or not scope.joins:
        return None
    return Choice({}, {"x": _others(draw, x, scope, lambda kind: kind.dims == x.type.dims)})


def joined(options: Options, given: Given) -> Type | None:
    first = given["x"][0]
    if (
        not first.is_float
        or not first.rank
        or any((kind.dims, kind.dtype) != (first.dims, first.dtype) for kind in given["x"])
    ):
        return None
    return Type(first.dims, "dense", first.dtype)


def _concat_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or not scope.joins or x.type.rank < 2:
        return None
    axis = draw.pick(range(-x.type.rank + 1, -1)) if x.type.rank > 2 and draw.wants("concat", "axis", 0.3) else -1
    dims = x.type.dims
    place = len(dims) + axis

    def fits(kind: Type) -> bool:
        return kind.rank == len(dims) and all(
            a == b or i == place for i, (a, b) in enumerate(zip(kind.dims, dims, strict=True))
        )

    return Choice({} if axis == -1 else {"axis": axis}, {"x": _others(draw, x, scope, fits)})


def _concat_out(options: Options, given: Given) -> Type | None:
    first, axis = given["x"][0], options.get("axis", -1)
    place = first.rank + axis
    if not first.is_float or place < 1:
        return None
    total = size(0)
    for kind in given["x"]:
        if kind.dtype != first.dtype or kind.rank != first.rank:
            return None
        if any(a != b for i, (a, b) in enumerate(zip(kind.dims, first.dims, strict=True)) if i != place):
            return None
        total = plus(total, kind.dims[place])
    return first.dense(*first.dims[:place], total, *first.dims[place + 1 :])


def _stack_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or not scope.joins or x.type.rank > 4:
        return None
    options = {"axis": draw.pick((-1, -3) if x.type.rank >= 3 else (-1,))} if draw.wants("stack", "axis", 0.3) else {}
    return Choice(options, {"x": _others(draw, x, scope, lambda kind: kind.dims == x.type.dims)})


def _stack_out(options: Options, given: Given) -> Type | None:
    first, place = given["x"][0], given["x"][0].rank + 1 + options.get("axis", -2)
    if joined({}, given) is None or place < 1:
        return None
    return first.dense(*first.dims[:place], size(len(given["x"])), *first.dims[place:])


# --- moving axes ---
def _flatten_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or x.type.rank < 2:
        return None
    starts = [start for start in (0, 2, 3, 3) if start < x.type.rank]
    return Choice({"start": draw.pick(starts)} if draw.wants("flatten", "start", 0.4) else {}, {})


def _flatten_out(options: Options, given: Given) -> Type | None:
    kind, start = given["x"][0], options.get("start", 1)
    if not kind.is_float or kind.rank <= start:
        return None
    joined = size(1)
    for dim in kind.dims[start:]:
        joined = times(joined, dim)
    return kind.dense(*kind.dims[:start], joined)


_PATTERNS: dict[int, tuple[str, ...]] = {
    2: ("b d -> b 1 d", "b (h p) -> b h p", "... d -> ... d 1"),
    3: ("b n d -> b d n", "b (h p) d -> b h (p d)", "b n (h p) -> b n h p", "b n (p h) -> b (n p) h", "b n d -> b (n d)", "... n d -> ... d n"),
    4: ("b c h w -> b (h w) c", "b c h w -> b h w c", "b n h p -> b n (h p)", "b (p c) h w -> b c (h p) w"),
}  # fmt: skip


def rearranged(pattern: str, sizes: dict[str, int], kind: Type) -> Type | None:
    """What a pattern makes of a type; a bracket on the left holds one given size and one open one."""
    left, right = (_axes(side) for side in pattern.split("->"))
    known: dict[str, Size] = {name: size(number) for name, number in sizes.items()}
    lead: tuple[Size, ...] = ()
    dims = kind.dims
    if left[0] == ["..."]:
        cut = len(dims) - (len(left) - 1)
        if cut < 1:
            return None
        lead, dims, left = dims[:cut], dims[cut:], left[1:]
    if len(left) != len(dims):
        return None
    for names, dim in zip(left, dims, strict=True):
        given = [name for name in names if name in sizes]
        rest = [name for name in names if name not in sizes]
        if len(rest) > 1 or len(given) > 1:
            return None
        quotient = exact(dim, sizes[given[0]]) if given else dim
        if quotient is None:
            return None
        if rest:
            known[rest[0]] = quotient
    found: list[Size] = []
    for names in right:
        if names == ["..."]:
            found.extend(lead)
            continue
        product = size(1)
        for name in names:
            product = times(product, size(1) if name == "1" else known[name])
        found.append(product)
    return kind.dense(*found)


def _axes(side: str) -> list[list[str]]:
    found: list[list[str]] = []
    inside = False
    for word in side.replace("(", " ( ").replace(")", " ) ").split():
        if word == "(":
            found.append([])
            inside = True
        elif word == ")":
            inside = False
        elif inside:
            found[-1].append(word)
        else:
            found.append([word])
    return found


def _rearrange_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float:
        return None
    for pattern in draw.shuffled(_PATTERNS.get(x.type.rank, ())):
        sizes = {"p": 2} if "(h p)" in pattern.split("->")[0] or "(p " in pattern.split("->")[0] else {}
        if rearranged(pattern, sizes, x.type) is not None:
            return Choice({"pattern": pattern, **({"sizes": sizes} if sizes else {})}, {})
    return None


def _rearrange_out(options: Options, given: Given) -> Type | None:
    kind = given["x"][0]
    return rearranged(options["pattern"], options.get("sizes", {}), kind) if kind.is_float else None


_ORDERS: dict[int, tuple[list[int], ...]] = {
    2: ([0, 1],),
    3: ([0, 2, 1],),
    4: ([0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2]),
}


def _permute_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or x.type.rank not in _ORDERS:
        return None
    order = draw.pick(_ORDERS[x.type.rank])
    stated = order != [0, 2, 1] or draw.wants("permute", "order", 0.2)
    return Choice({"order": list(order)} if stated else {}, {})


def _permute_out(options: Options, given: Given) -> Type | None:
    kind, order = given["x"][0], options.get("order", [0, 2, 1])
    return kind.dense(*(kind.dims[i] for i in order)) if kind.is_float and kind.rank == len(order) else None


_STATED = ("stated",)
RULES = [
    Rule("mean_pool", _pool_choice, _pool_out, extra=("mask",)),
    Rule("cls_token", _token_choice, _token_out, own=True),
    Rule("cls_pool", _first_choice, _pool_out),
    Rule("learned_tokens", _learned_choice, _learned_out, {}, {"length": _STATED, "out": _STATED}, ("length", "out"), own=True),
    Rule("expand", _expand_choice, _expand_out, {}, {"axis": _STATED}, first="like", extra=("x",)),
    Rule("gate", _gate_choice, _gate_out, {"form": ("tanh", "double_sigmoid", "one_plus")}, first="base", extra=("gate",)),
    Rule("add", like_choice, joined, many=True),
    Rule("multiply", like_choice, joined, many=True),
    Rule("mean", like_choice, joined, many=True),
    Rule("concat", _concat_choice, _concat_out, {}, {"axis": _STATED}, many=True),
    Rule("stack", _stack_choice, _stack_out, {}, {"axis": _STATED}, many=True),
    Rule("flatten", _flatten_choice, _flatten_out, {}, {"start": _STATED}),
    Rule("rearrange", _rearrange_choice, _rearrange_out, {}, {"pattern": _STATED, "sizes": _STATED}),
    Rule("permute", _permute_choice, _permute_out, {}, {"order": _STATED}),
]  # fmt: skip
