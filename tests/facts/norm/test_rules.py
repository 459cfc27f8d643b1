"""The order of norm states, and each rule against what its primitive does to tensors that are what their state says."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from assembler.facts.norm.rules import RULES, Body
from assembler.facts.norm.state import RANDOM, RAW, STREAM, ZERO, State, below, join
from assembler.testing.reference import OPERATIONS, _Run
from assembler_schemas.kind import Definition, Inline, Port, Step, step
from tests.facts.norm.norm_truth import wrong

LN, RMS, L2, SIMPLEX, BOUNDED = (State(kind, (-1,)) for kind in ("ln", "rms", "l2", "simplex", "bounded"))
BOUNDED = State("bounded")
SHAPE = (2, 3, 4, 6)
DEFINITION = Definition({"x": Port("[batch d h w]")}, {}, Inline(""))


# --- the order ---
@pytest.mark.parametrize(
    ("one", "two"),
    [(ZERO, BOUNDED), (LN, RMS), (RMS, RAW), (LN, RAW), (L2, BOUNDED), (SIMPLEX, BOUNDED), (BOUNDED, RAW), (State("bn", (-4, -2, -1)), RAW), (STREAM, RAW), (ZERO, RAW)],
)  # fmt: skip
def test_what_is_one_is_the_other_as_well(one: State, two: State) -> None:
    assert below(one, two)
    assert not below(two, one)
    assert join(one, two) == join(two, one) == two


def test_zero_has_no_unit_root_mean_square() -> None:
    assert not below(ZERO, RMS)
    assert join(ZERO, RMS) == RAW


STATES = [ZERO, RAW, STREAM, *(State(kind, axes, gain, trained) for kind in ("ln", "rms", "l2", "bn", "simplex") for axes in ((-1,), (-2,)) for gain in (0.0, 1.0, 2.0) for trained in (False, True)), BOUNDED, State("bounded", (), 3.0)]  # fmt: skip


def test_join_is_a_least_upper_bound() -> None:
    for one in STATES:
        assert below(one, one)
        for two in STATES:
            both = join(one, two)
            assert both == join(two, one)
            assert below(one, both), (one, two, both)
            for three in STATES:
                assert join(both, three)[:3] == join(one, join(two, three))[:3], (one, two, three)
                if below(one, three) and below(two, three):
                    assert below(both, three), (one, two, three, both)


@pytest.mark.parametrize(
    ("state", "text"),
    [(State("ln", (-1,), 1.0, True), "ln(-1) gain trained"), (LN, "ln(-1)"), (State("ln", (-1,), 0.1, True, True), "ln(-1) gain 0.1, trained, shift trained"), (State("bounded", (), 0.5), "bounded gain 0.5"), (RAW, "raw"), (ZERO, "zero")],
)  # fmt: skip
def test_states_are_printed(state: State, text: str) -> None:
    assert str(state) == text


# --- every rule, against the primitive ---
def _given(draw: random.Random, generator: torch.Generator) -> tuple[State, Tensor]:
    """A tensor that is something, and the state that says so."""
    x = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    axes = draw.choice([(-1,), (-2,), (-1, -2), (-3,), (-3, -2, -1)])
    axes = tuple(sorted(axes))
    gain = draw.choice([1.0, 1.0, 2.0, -0.5])
    centered = (x - x.mean(axes, keepdim=True)) * 3.0 + 0.0
    made: dict[str, tuple[State, Tensor]] = {
        "zero": (ZERO, torch.zeros_like(x)),
        "raw": (RAW, 3 * x + 1),
        "ln": (State("ln", axes, gain), gain * centered / centered.square().mean(axes, keepdim=True).sqrt()),
        "rms": (State("rms", axes, gain), gain * x / x.square().mean(axes, keepdim=True).sqrt()),
        "l2": (State("l2", axes, gain), gain * x / x.square().sum(axes, keepdim=True).sqrt()),
        "bn": (State("bn", (-4, -2, -1)), (x - x.mean((0, 2, 3), keepdim=True)) / x.var((0, 2, 3), keepdim=True, correction=0).sqrt()),
        "simplex": (State("simplex", axes[:1], gain), gain * x.softmax(axes[0])),
        "bounded": (State("bounded", (), abs(gain)), gain * x.tanh()),
    }
    return made[draw.choice(sorted(made))]


def _weight(draw: random.Random, shape: tuple[int, ...], generator: torch.Generator) -> tuple[State, Tensor]:
    gain = draw.choice([None, 0.0, 1.0, -0.5])
    return State("weight", (), gain, True), torch.randn(shape, generator=generator, dtype=torch.float64) if gain is None else torch.full(shape, gain, dtype=torch.float64)


PATTERNS = ["a b c d -> a c b d", "... c d -> ... d c", "... (h e) -> ... h e", "... s (h e) -> ... h s e", "a b c d -> a b (c d)", "a b c d -> a (b c) d", "a b c d -> (a b c d) 1", "... -> ..."]  # fmt: skip
FUNCTIONS = ["relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "softplus", "elu", "leaky_relu", "relu6", "hardswish", "mish", "quick_gelu", "identity", "dropout", "rotary", "power", "gaussian", "jitter", "gumbel"]
SAMPLE = Callable[[random.Random], Step]
STEPS: Mapping[str, SAMPLE] = {
    "add": lambda draw: step("y", "add", *draw.choice([("x",), ("x", "y_"), ("x", "y_", "z"), ("x", "w"), ("x", "y_", "w")]), scale=draw.choice([1, "1/n", 0.5])),
    "multiply": lambda draw: step("y", "multiply", *draw.choice([("x",), ("x", "w"), ("x", "y_"), ("x", "y_", "w")]), scale=draw.choice([1, 2.0, -0.5])),
    "matmul": lambda draw: step("y", "matmul", "x", "square", spec="...i,oi->...o"),
    "blend": lambda draw: step("y", "blend", "x", "y_", weights=draw.choice([(0.3, 0.7), (1.0, 0.0), (0.5, -2.0)])) if draw.random() < 0.6 else step("y", "blend", "pair", "x", "y_", by=draw.choice(["softmax", None])),
    "median": lambda draw: step("y", "median", *draw.choice([("x",), ("x", "y_"), ("x", "y_", "z"), ("x", "y_", "x")])),
    "conv": lambda draw: step("y", "conv", "x", "kernel"),
    "gather": lambda draw: step("y", "gather", "square", "ids"),
    "pointwise": lambda draw: step("y", "pointwise", "x", fn=draw.choice(FUNCTIONS), p=0.5, base=100.0, exponent=draw.choice([2, 3]), eps=0.1),
    "norm": lambda draw: step("y", "norm", "x", kind=draw.choice(["layer", "rms", "l2", "group"]), axes=draw.choice([(-1,), (-2,), (-3, -2, -1)]), eps=1e-30, groups=draw.choice([1, 3])),
    "softmax": lambda draw: step("y", "softmax", "x", axis=draw.choice([-1, -2])),
    "softmax_mix": lambda draw: step("y", "softmax_mix", "q", "q", "x", causal=draw.random() < 0.5, mask=draw.choice([None, "mask"])),
    "reduce": lambda draw: step("y", "reduce", "x", kind=draw.choice(["mean", "sum", "max"]), axes=draw.choice([(-1,), (-2,), (-3,), (-3, -1), None]), keep=draw.random() < 0.5, mask=None),
    "pool": lambda draw: step("y", "pool", "x", kind=draw.choice(["max", "avg"]), kernel=2, stride=2, padding=draw.choice([0, 1])),
    "reshape": lambda draw: step("y", "reshape", "x", pattern=draw.choice(PATTERNS), sizes={"h": 2}),
    "concat": lambda draw: step("y", "concat", *draw.choice([("x", "y_"), ("x", "y_", "z"), ("x",)]), axis=draw.choice([-1, -2, -3]), new=draw.random() < 0.3),
    "select": lambda draw: step("y", "select", "x", axis=draw.choice([-1, -2, -3]), start=0, stop=2),
    "expand": lambda draw: step("y", "expand", "x", like="large"),
    "detach": lambda draw: step("y", "detach", "x"),
    "argmax": lambda draw: step("y", "argmax", "x", axis=draw.choice([-1, -2])),
    "one_hot_max": lambda draw: step("y", "one_hot_max", "x", axis=draw.choice([-1, -2])),
    "nearest": lambda draw: step("y", "nearest", "x", "square"),
    "straight_through": lambda draw: step("y", "straight_through", *draw.choice([("x", "y_"), ("x", "x")])),
    "choose": lambda draw: step("y", "choose", "x", top_k=draw.choice([1, 2]), by=draw.choice(["row", "expert"]), dropout=0.0),
    "crop": lambda draw: step("y", "crop", "x", top_k=2, capacity=draw.choice([0.5, 1.0])),
    "row_mean": lambda draw: step("y", "row_mean", "x"),
    "logsumexp": lambda draw: step("y", "logsumexp", "x"),
    "constant": lambda draw: step("y", "constant", "x", fn=draw.choice(["zeros", "sinusoid"]), width=5, base=100.0),
}  # fmt: skip


def test_every_primitive_has_a_rule_and_a_sample() -> None:
    assert set(RULES) == set(OPERATIONS) == set(STEPS)


@pytest.mark.parametrize("operation", STEPS)
def test_what_a_rule_says_of_the_result_is_so(operation: str) -> None:
    torch.set_num_threads(1)
    seen: Counter[str] = Counter()
    for seed in range(250):
        draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        made = STEPS[operation](draw)
        same = draw.random() < 0.5
        first = _given(draw, generator)
        known: dict[str, tuple[State, Tensor]] = {"x": first}
        for name in ("y_", "z"):
            state, tensor = _given(draw, generator)
            if same and first[0].kind not in ("raw", "zero"):
                state, tensor = first[0], first[1].roll(1 + len(known), -2 if first[0].axes == (-1,) else -1)
            known[name] = state, tensor
        known["w"] = _weight(draw, (), generator)
        known["pair"] = _weight(draw, (6, 2), generator)
        known["square"] = _weight(draw, (6, 6), generator)
        known["kernel"] = _weight(draw, (5, 3, 2, 2), generator)
        known["q"] = RAW, torch.randn(SHAPE, generator=generator, dtype=torch.float64)
        known["ids"] = RAW, torch.randint(6, (2, 3), generator=generator)
        known["large"] = RAW, torch.zeros(5, *SHAPE)
        if operation == "softmax_mix" and made.attributes["mask"]:
            known["mask"] = RAW, torch.tensor([[True, False, True, True], [False] * 4])
        sizes: dict[str, Any] = {"n": len(made.inputs), "d": 6}
        state = RULES[operation](Body(DEFINITION, sizes, known, {}), made, [known[name][0] for name in made.inputs])
        values: dict[str, tuple[Tensor, ...]] = {name: (tensor,) for name, (_, tensor) in known.items()}
        result = OPERATIONS[operation](_Run(made, values, sizes, False), *(known[name][1] for name in made.inputs))
        assert not wrong(state, result), f"seed {seed}: {made} on {[str(known[name][0]) for name in made.inputs]} is said to be {state}: {wrong(state, result)}"
        seen[state.kind] += 1
    assert sum(seen.values()) == 250
    assert operation in ("matmul", "conv", "gather", "logsumexp", "argmax", "nearest") or len(seen) > 1 or operation in ("softmax", "one_hot_max"), seen


def test_batch_norm_is_normed_over_all_but_its_channels_in_training() -> None:
    x = 3 * torch.randn(5, 3, 4, 6, dtype=torch.float64) + 1
    made = step("y", "norm", "x", kind="batch", eps=0.0, running_mean="m", running_var="v")
    state = RULES["norm"](Body(DEFINITION, {}, {}, {}), made, [RAW])
    assert state == State("bn", (-4, -2, -1))
    assert not wrong(state, OPERATIONS["norm"](_Run(made, {}, {}, True), x))


# --- rows of the table, one by one ---
def _rule(operation: str, *operands: State, made: Mapping[str, str] | None = None, **attributes: Any) -> State:
    names = [f"x{i}" for i in range(len(operands))]
    return RULES[operation](Body(DEFINITION, {"n": len(operands)}, {}, made or {}), step("y", operation, *names, **attributes), operands)


TRAINED_ONES, TRAINED_ZEROS = State("weight", (), 1.0, True), State("weight", (), 0.0, True)


def test_a_gain_that_starts_as_ones_is_trained_and_a_bias_of_zeros_moves_the_mean() -> None:
    scaled = _rule("multiply", LN, TRAINED_ONES)
    assert scaled == State("ln", (-1,), 1.0, True)
    assert _rule("add", scaled, TRAINED_ZEROS) == State("ln", (-1,), 1.0, True, True)


def test_a_norm_whose_gain_starts_as_zeros_is_zero_and_still_a_norm() -> None:
    state = _rule("multiply", LN, TRAINED_ZEROS)
    assert state == State("ln", (-1,), 0.0, True)
    assert state.zero
    assert _rule("add", RAW, state) == RAW
    assert _rule("matmul", state, RANDOM) == ZERO


def test_a_sum_is_a_stream_unless_one_side_is_zero() -> None:
    assert _rule("add", RAW, RAW) == STREAM
    assert _rule("add", LN, LN) == STREAM
    assert _rule("add", ZERO, LN) == _rule("add", LN, ZERO) == LN
    assert _rule("add", ZERO, ZERO) == ZERO


def test_a_gate_is_a_product_and_no_stream() -> None:
    assert _rule("add", RAW, RAW, made={"x1": "multiply"}) == RAW


def test_a_bias_of_weights_makes_a_norm_raw_and_leaves_a_stream() -> None:
    assert _rule("add", LN, RANDOM) == RAW
    assert _rule("add", STREAM, RANDOM) == STREAM


def test_rms_of_ln_is_ln_unless_training_may_move_it() -> None:
    assert _rule("norm", LN, kind="rms", axes=(-1,)) == LN
    assert _rule("norm", LN._replace(trained=True), kind="rms", axes=(-1,)) == RMS
    assert _rule("norm", State("ln", (-2,)), kind="rms", axes=(-1,)) == RMS


def test_side_by_side_norms_are_the_norm_of_the_whole() -> None:
    assert _rule("concat", LN, LN, axis=-1) == LN
    assert _rule("concat", LN, RMS, axis=-1) == RMS
    assert _rule("concat", LN, RAW, axis=-1) == RAW
    assert _rule("concat", SIMPLEX, SIMPLEX, axis=-1) == State("bounded")
    assert _rule("concat", SIMPLEX, SIMPLEX, axis=-2) == SIMPLEX


def test_a_mean_of_simplexes_is_one_and_of_norms_is_not() -> None:
    assert _rule("add", SIMPLEX, SIMPLEX, SIMPLEX, scale="1/n") == SIMPLEX
    assert _rule("add", LN, LN, scale="1/n") == RAW
    assert _rule("add", BOUNDED, BOUNDED, scale="1/n") == BOUNDED


def test_heads_are_normed_together_and_not_each() -> None:
    assert _rule("reshape", LN, pattern="... s (h e) -> ... h s e") == State("ln", (-3, -1))
    assert _rule("select", LN, axis=-1, start=0, stop=2) == RAW
    assert _rule("reshape", L2, pattern="a s d -> a (s d)") == State("bounded")


def test_norms_in_series() -> None:
    """The measured facts of norms: LN of LN and RMS of LN are LN, LN of RMS is LN; two independent ones add up to variance 2."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 256), torch.randn(64, 256)

    def ln(value: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(value, value.shape[-1:])

    def rms(value: Tensor) -> Tensor:
        return torch.nn.functional.rms_norm(value, value.shape[-1:])

    assert torch.allclose(ln(ln(x)), ln(x), atol=1e-4)
    assert torch.allclose(rms(ln(x)), ln(x), atol=1e-4)
    assert torch.allclose(ln(rms(x)), ln(x), atol=1e-4)
    assert torch.allclose(rms(rms(x)), rms(x), atol=1e-5)
    both = torch.cat([ln(x), ln(y)], -1)
    assert torch.allclose(ln(both), both, atol=1e-4)
    assert abs(float((ln(x) + ln(y)).var()) - 2.0) < 0.1
    assert abs(float(((ln(x) + ln(y)) / 2).var()) - 0.5) < 0.05
    assert bool((ln(torch.zeros(3, 8)) == 0).all())
    assert torch.allclose(rms(x), math.sqrt(256) * torch.nn.functional.normalize(x, dim=-1), atol=1e-4)


@pytest.mark.parametrize("size", [1e-1, 1e-3, 1e-4])
def test_small_rows_keep_v_of_v_plus_eps(size: float) -> None:
    torch.manual_seed(0)
    x = size * torch.randn(512, 64)
    variance = x.var(-1, correction=0)
    assert torch.allclose(torch.nn.functional.layer_norm(x, (64,)).square().mean(-1), variance / (variance + 1e-5), rtol=1e-3)


def test_a_rotation_keeps_squares_and_no_mean() -> None:
    state, x = LN, torch.nn.functional.layer_norm(torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64), (6,), eps=0.0)
    made = step("y", "pointwise", "x", fn="rotary", base=100.0)
    turned = RULES["pointwise"](Body(DEFINITION, {}, {}, {}), made, [state])
    result = OPERATIONS["pointwise"](_Run(made, {"x": (x,)}, {}, False), x)
    assert turned == RMS
    assert not wrong(turned, result)
    assert wrong(state, result).startswith("mean")
