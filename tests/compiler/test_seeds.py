"""Each module starts under its own seed: swaps, ties, shares and torch's own random state."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from assembler.compiler.build import build, initialize
from tests.compiler.made import ALL, DIGITS, SHARE, plan_of

torch.set_num_threads(1)


def test_swapping_one_part_leaves_all_other_initial_values_bit_identical() -> None:
    one = build(plan_of(DIGITS), seed=5).state_dict()
    two = build(plan_of(DIGITS.replace("kind: mlp, hidden: 4*width, activation: gelu", "kind: swiglu, hidden: width")), seed=5).state_dict()
    common = [key for key in one if ".think." not in key]
    assert len(common) > 40
    assert all(torch.equal(one[key], two[key]) for key in common)


def test_a_deeper_stack_starts_its_first_copies_as_before() -> None:
    one, two = (build(plan_of(DIGITS.replace("depth: 4", f"depth: {n}")), seed=5).state_dict() for n in (4, 6))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_copies_and_seeds_differ() -> None:
    model = build(plan_of(DIGITS), seed=5)
    other = build(plan_of(DIGITS), seed=6)
    first = model.get_parameter("encoder.0.think.up.weight")
    assert not torch.equal(first, model.get_parameter("encoder.1.think.up.weight"))
    assert not torch.equal(first, other.get_parameter("encoder.0.think.up.weight"))


@pytest.mark.parametrize("name", ALL)
def test_building_leaves_the_global_random_state_as_it_was(name: str) -> None:
    made = plan_of(ALL[name])
    torch.manual_seed(3)
    before = torch.get_rng_state()
    model = build(made, seed=1)
    initialize(model, 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_one_number_is_drawn_from_torch() -> None:
    made = plan_of(DIGITS)
    states = []
    for _ in range(2):
        torch.manual_seed(9)
        states.append(build(made).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))
    torch.manual_seed(9)
    build(made)
    after = torch.get_rng_state()
    torch.manual_seed(9)
    torch.randint(2**63 - 1, ())
    assert torch.equal(torch.get_rng_state(), after)


def test_a_seed_of_its_own_holds_whatever_the_model_starts_under() -> None:
    one, two = (build(plan_of(SHARE), seed=seed) for seed in (1, 2))
    assert torch.equal(one.loop.f.up.weight, two.loop.f.up.weight)
    assert not torch.equal(one.loop.a.q.weight, two.loop.a.q.weight)


def test_the_owner_of_a_tied_parameter_has_the_last_word() -> None:
    tied = build(plan_of(SHARE), seed=4)
    free = build(plan_of(SHARE.replace(", tie: {weight: first.weight}", "")), seed=4)
    assert tied.head.weight is tied.first.weight
    assert torch.equal(tied.first.weight, free.first.weight)
    assert torch.equal(tied.first.bias, free.first.bias)


def test_values_do_not_depend_on_where_a_model_is_constructed() -> None:
    torch.manual_seed(0)
    one = build(plan_of(DIGITS), seed=4)
    torch.manual_seed(1)
    torch.rand(100)
    two = type(one)(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_two_threads_that_build_at_once_do_not_draw_under_one_anothers_seed_nor_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    made, dtypes = plan_of(DIGITS), {1: torch.float32, 2: torch.float64}
    alone = {seed: build(made, seed=seed, dtype=dtype).state_dict() for seed, dtype in dtypes.items()}
    reset = torch.nn.Linear.reset_parameters

    def slow(self: torch.nn.Linear) -> None:
        time.sleep(1e-4)  # lets the other thread in
        reset(self)

    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", slow)
    before = torch.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        together = dict(zip(dtypes, pool.map(lambda seed: build(made, seed=seed, dtype=dtypes[seed]).state_dict(), dtypes), strict=True))
    assert all(torch.equal(value, alone[seed][key]) for seed, found in together.items() for key, value in found.items())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32


def test_a_seed_is_a_whole_number_because_one_and_a_half_would_be_a_seed_of_its_own() -> None:
    with pytest.raises(TypeError, match="integer"):
        build(plan_of(DIGITS), seed=1.5)  # type: ignore[arg-type]
