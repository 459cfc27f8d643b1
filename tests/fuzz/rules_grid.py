"""Rules of the kinds over images and channels: convolutions, pools, patches, statistics norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fuzz.draw import Draw
from tests.fuzz.rules_row import Given, only_float
from tests.fuzz.sizes import Size, exact, size, times, window
from tests.fuzz.value import Choice, Options, Rule, Type, Value


def pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def divisors(number: int, most: int = 4) -> list[int]:
    return [item for item in range(2, most + 1) if number % item == 0]


# --- convolutions ---
def _conv_choice(kind: str, axes: int) -> Callable[..., Choice | None]:
    def choose(draw: Draw, x: Value, scope: Any) -> Choice | None:
        if not x.type.is_float or x.type.rank != axes + 2 or x.type.dims[1].number is None:
            return None
        width = x.type.dims[1].number
        options: Options = {"out": draw.width(), "kernel": draw.pick((1, 2, 3))}
        if axes == 2 and draw.chance(0.25):
            options["kernel"] = [draw.pick((1, 2, 3)), draw.pick((1, 2, 3))]
        if draw.wants(kind, "in"):
            options["in"] = width
        for name, p, values in (("stride", 0.25, (2, 3)), ("padding", 0.4, (1, 2)), ("dilation", 0.15, (2,))):
            if draw.wants(kind, name, p):
                value = draw.pick(values)
                options[name] = [value, draw.pick(values)] if axes == 2 and draw.chance(0.3) else value
        groups = divisors(width)
        if groups and draw.wants(kind, "groups", 0.15):
            options["groups"] = draw.pick(groups)
            options["out"] = options["groups"] * draw.pick((1, 2, 3))
        return Choice(options, {})

    return choose


def _slide(dims: tuple[Size, ...], options: Options, stride: Any) -> list[Size]:
    columns = zip(
        dims,
        pair(options["kernel"]),
        pair(stride),
        pair(options.get("padding", 0)),
        pair(options.get("dilation", 1)),
        strict=False,
    )
    return [window(*column) for column in columns]


def _conv_out(axes: int) -> Callable[[Options, Given], Type | None]:
    def out(options: Options, given: Given) -> Type | None:
        kind = only_float(given, ranks=range(axes + 2, axes + 3))
        if kind is None or kind.dims[1].number is None:
            return None
        width, groups = kind.dims[1].number, options.get("groups", 1)
        if options.get("in", width) != width or width % groups or options["out"] % groups:
            return None
        dims = _slide(kind.dims[2:], options, options.get("stride", 1))
        return kind.dense(kind.dims[0], size(options["out"]), *dims)

    return out


def _conv(kind: str, axes: int) -> Rule:
    names = ("in", "out", "kernel", "stride", "padding", "dilation", "groups")
    return Rule(
        kind,
        _conv_choice(kind, axes),
        _conv_out(axes),
        {"bias": (False,)},
        dict.fromkeys(names, ("stated",)),
        names,
        own=True,
    )


# --- pools ---
def _pool_choice(kind: str) -> Callable[..., Choice | None]:
    def choose(draw: Draw, x: Value, scope: Any) -> Choice | None:
        if not x.type.is_float or x.type.rank != 4:
            return None
        options: Options = {"kernel": draw.pick((1, 2, 2, 3, [2, 3], [1, 2]))}
        if draw.wants(kind, "stride", 0.3):
            options["stride"] = draw.pick((1, 2, [2, 1]))
        if min(pair(options["kernel"])) >= 2 and draw.wants(kind, "padding", 0.25):
            options["padding"] = draw.pick((1, [1, 0]))
        return Choice(options, {})

    return choose


def _pool_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, ranks=range(4, 5))
    if kind is None or any(
        2 * p > k for p, k in zip(pair(options.get("padding", 0)), pair(options["kernel"]), strict=True)
    ):
        return None
    return kind.dense(
        kind.dims[0], kind.dims[1], *_slide(kind.dims[2:], options, options.get("stride", options["kernel"]))
    )


def _pool(kind: str) -> Rule:
    names = ("kernel", "stride", "padding")
    return Rule(
        kind, _pool_choice(kind), _pool_out, {}, dict.fromkeys(names, ("stated",)), names, dtypes=("f32", "f64")
    )


# --- patches ---
def _patch_choice(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if not x.type.is_float or x.type.rank != 4 or x.type.dims[1].number is None:
        return None
    fit = [patch for patch in (2, 4, 1) if all(exact(dim, patch) is not None for dim in x.type.dims[2:])]
    if not fit:
        return None
    options: Options = {"patch": draw.pick(fit[:2]), "out": draw.width()}
    if draw.wants("patch_embed", "in"):
        options["in"] = x.type.dims[1].number
    return Choice(options, {})


def _patch_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, ranks=range(4, 5))
    if kind is None or kind.dims[1].number is None or options.get("in", kind.dims[1].number) != kind.dims[1].number:
        return None
    rows, columns = (exact(dim, options["patch"]) for dim in kind.dims[2:])
    return kind.dense(kind.dims[0], times(rows, columns), size(options["out"])) if rows and columns else None


# --- statistics norms ---
def _channels(draw: Draw, x: Value, scope: Any) -> Choice | None:
    good = x.type.is_float and x.type.rank in (2, 3, 4) and x.type.dims[1].number is not None
    return Choice({}, {}) if good and draw.positive(x.type.dims[0], 2) else None


def _groups(draw: Draw, x: Value, scope: Any) -> Choice | None:
    if _channels(draw, x, scope) is None:
        return None
    width = x.type.dims[1].number or 1
    return Choice({"groups": draw.pick([1, *divisors(width, 8)])}, {})


def _channels_out(options: Options, given: Given) -> Type | None:
    kind = only_float(given, ranks=range(2, 5))
    if kind is None or kind.dims[1].number is None or kind.dims[1].number % options.get("groups", 1):
        return None
    return Type(kind.dims, "dense", kind.dtype)


RULES = [
    _conv("conv1d", 1),
    _conv("conv2d", 2),
    _pool("max_pool2d"),
    _pool("avg_pool2d"),
    Rule(
        "patch_embed", _patch_choice, _patch_out, {"bias": (False,)},
        {"patch": ("stated",), "in": ("stated",), "out": ("stated",)}, ("patch", "in", "out"), own=True,
    ),
    Rule("batch_norm", _channels, _channels_out, {"eps": (0.001,), "momentum": (0.3,), "affine": (False,)}, own=True),
    Rule("group_norm", _groups, _channels_out, {"eps": (0.001,), "affine": (False,)}, {"groups": ("stated",)}, ("groups",), own=True),
]  # fmt: skip
