"""Rearrange patterns against einops, and what is said of those that cannot be meant."""

from __future__ import annotations

import math
import random
from typing import Any

import einops
import pytest
import torch
from pydantic import ValidationError

from assembler.library import registry
from assembler.library.cards.pattern import PatternError, parse
from assembler.testing.built import dim_size, read_port, use
from assembler.testing.sample import Sample
from assembler_schemas.kind import Inline

torch.set_num_threads(1)


def _random_axes(draw: random.Random, names: list[str]) -> list[list[str]]:
    """The names in a random order, in random brackets, with axes of one here and there."""
    order = draw.sample(names, len(names))
    axes: list[list[str]] = []
    for name in order:
        if axes and axes[-1] and draw.random() < 0.4:
            axes[-1].append(name)
        else:
            axes.append([name])
    while draw.random() < 0.3:
        axes.insert(draw.randint(0, len(axes)), [])
    return axes


def _text(axes: list[list[str]], rest: bool) -> str:
    words = [("1" if not a else a[0] if len(a) == 1 else f"({' '.join(a)})") for a in axes]
    return " ".join(["..."] * rest + words)


def _random_case(seed: int) -> tuple[str, dict[str, int], dict[str, int], list[list[str]], bool]:
    draw = random.Random(seed)
    names = list("abcdefg"[: draw.randint(1, 6)])
    known = {name: draw.randint(1, 4) for name in names}
    left, right, rest = _random_axes(draw, names), _random_axes(draw, names), draw.random() < 0.4
    stated = {name: known[name] for axis in left if len(axis) > 1 for name in draw.sample(axis, len(axis) - 1)}
    if draw.random() < 0.3:
        stated = {name: known[name] for name in names if name in stated or draw.random() < 0.5}
    return f"{_text(left, rest)} -> {_text(right, rest)}", stated, known, left, rest


@pytest.mark.parametrize("block", range(20))
def test_random_patterns_equal_einops_forward_and_in_shape(block: int) -> None:
    for seed in range(block * 25, block * 25 + 25):
        pattern, stated, known, left, rest = _random_case(seed)
        shape = tuple(math.prod(known[name] for name in axis) for axis in left)
        open_sizes = {name: size for name, size in known.items() if name not in stated}
        sample = Sample({"pattern": pattern, "sizes": stated}, {"x": shape}, open_sizes)
        for lead in [(), (2,), (2, 3)] if rest else [()]:
            built = use("rearrange", sample, lead)
            x = torch.arange(math.prod((*lead, *shape))).reshape(*lead, *shape)
            y = built.module()(x)
            assert torch.equal(y, einops.rearrange(x, pattern, **stated)), (pattern, stated)
            assert tuple(y.shape) == built.output_shape("y")


def test_gradients_go_back_to_where_they_came_from() -> None:
    sample = Sample({"pattern": "b (h p) d -> b h (p d)", "sizes": {"p": 2}}, {"x": (2, 6, 5)}, {"h": 3})
    x = torch.randn(2, 6, 5, requires_grad=True)
    y = use("rearrange", sample).module()(x)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, einops.rearrange(weight, "b h (p d) -> b (h p) d", p=2))


@pytest.mark.parametrize(
    ("pattern", "sizes", "text"),
    [
        ("b c d -> b c d", {}, "{x}"),
        ("b (h p) d -> b h (p d)", {"p": 2}, "{x}.unflatten(1, (-1, 2)).flatten(2, 3)"),
        ("b s (h e) -> b h s e", {"h": 4}, "{x}.unflatten(2, (4, -1)).transpose(1, 2)"),
        ("... s (h e) -> ... h s e", {"h": 4}, "{x}.unflatten(-1, (4, -1)).transpose(-3, -2)"),
        ("b c h w -> b (h w) c", {}, "{x}.permute(0, 2, 3, 1).flatten(1, 2)"),
        ("... c h w -> ... (h w) c", {}, "{x}.movedim((-2, -1, -3), (-3, -2, -1)).flatten(-3, -2)"),
        ("b 1 d 1 -> 1 b d", {}, "{x}.squeeze((1, 3)).unsqueeze(0)"),
    ],
)
def test_the_text_is_what_one_would_write_by_hand(pattern: str, sizes: dict[str, int], text: str) -> None:
    kind = registry.kind("rearrange")
    assert kind is not None
    build = kind.define(kind.options.model_validate({"pattern": pattern, "sizes": sizes})).build
    assert isinstance(build, Inline)
    assert build.text == text


def test_views_stay_views() -> None:
    sample = Sample({"pattern": "b s (h e) -> b h s e", "sizes": {"h": 2}}, {"x": (2, 3, 8)}, {"e": 4})
    x = torch.randn(2, 3, 8)
    assert use("rearrange", sample).module()(x).data_ptr() == x.data_ptr()


def test_ports_carry_products_so_that_division_is_exact() -> None:
    kind = registry.kind("rearrange")
    assert kind is not None
    options = {"pattern": "b  (h p) d->b h ( p d )", "sizes": {"p": 2}}
    definition = kind.define(kind.options.model_validate(options))
    assert definition.inputs["x"].type == "[b h*p d]"
    assert definition.outputs["y"].type == "[b h p*d]"
    assert definition.sizes == {"p": 2}
    assert dim_size(read_port(definition.outputs["y"].type).dims[2], {"p": 2, "d": 5}) == 10


@pytest.mark.parametrize(
    ("pattern", "sizes", "message"),
    [
        ("", {}, "two sides with one `->`"),
        ("a b", {}, "two sides with one `->`"),
        ("a -> b -> c", {}, "two sides with one `->`"),
        ("a -> ", {}, "no axis on the right"),
        (" -> a", {}, "no axis on the left"),
        ("a b -> a", {}, "axis `b` is missing on the right: no axis may be dropped"),
        ("a -> a b", {}, "axis `b` is missing on the left: no axis may be repeated"),
        ("a a -> a", {}, "axis `a` stands twice on the left"),
        ("a b -> a (b a)", {}, "axis `a` stands twice on the right"),
        ("(a b -> a b", {}, r"`\(` without `\)` on the left"),
        ("a b) -> a b", {}, r"`\)` without `\(` on the left"),
        ("((a b) c) -> a b c", {}, "a bracket inside a bracket on the left"),
        ("a () -> a", {}, "an empty bracket on the left: an axis of one is written `1`"),
        ("a ... -> ... a", {}, "`...` may only come first on the left"),
        ("(... a) -> a", {}, "`...` may only come first on the left"),
        ("... a -> a", {}, "`...` begins both sides or neither"),
        ("a 2 -> a 2", {}, "`2` on the left: give the axis a name"),
        ("A b -> b A", {}, "`A` on the left is not the name of an axis"),
        ("a, b -> b a", {}, "`,` on the left is not the name of an axis"),
        ("_a -> _a", {}, "`_a` on the left is not the name of an axis"),
        ("а -> а", {}, "is not the name of an axis"),  # noqa: RUF001 - a Cyrillic letter
        ("a_b -> 2_b", {}, "`2_b` on the right is not the name of an axis"),
        ("(h p) -> h p", {}, "can be split in many ways: say the size of `h` or `p` under `sizes`"),
        ("(a b c) -> a b c", {"b": 2}, "say the size of `a` or `c` under `sizes`"),
        ("a b -> b a", {"c": 2}, "`sizes` names `c`, which is no axis of the pattern"),
        ("a " * 300 + "-> a", {}, "longer than 500 characters"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused_by_name(pattern: str, sizes: dict[str, int], message: str) -> None:
    kind = registry.kind("rearrange")
    assert kind is not None
    with pytest.raises(ValidationError, match=message) as caught:
        kind.options.model_validate({"pattern": pattern, "sizes": sizes})
    (error,) = caught.value.errors()
    assert isinstance(error["ctx"]["error"], PatternError)


@pytest.mark.parametrize("options", [{}, {"pattern": 3}, {"pattern": "a -> a", "sizes": {"a": 0}}])
def test_options_that_are_not_meant_are_refused(options: dict[str, Any]) -> None:
    kind = registry.kind("rearrange")
    assert kind is not None
    with pytest.raises(ValidationError):
        kind.options.model_validate(options)


def test_equal_options_are_equal_and_hashable() -> None:
    kind = registry.kind("rearrange")
    assert kind is not None
    raw = {"pattern": "(h p) (q w) -> h p q w", "sizes": {"p": 2, "q": 3}}
    a, b = kind.options.model_validate(raw), kind.options.model_validate({**raw, "sizes": {"q": 3, "p": 2}})
    assert a == b
    assert hash(a) == hash(b)
    assert kind.size_options == {"sizes"}


def test_a_pattern_prints_as_it_is_read() -> None:
    assert str(parse("...  (h p)1 d->... h (p 1 d)")) == "... (h p) 1 d -> ... h (p d)"
    assert str(parse("(a) -> 1 a")) == "a -> 1 a"
