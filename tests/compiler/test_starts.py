"""Starts in the compiled text: one table, a seed for each parameter, the same values in the ejected file."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import assembler
from assembler.compiler.build import build, initialize
from assembler.compiler.eject import eject
from assembler.compiler.emit import body, emit
from tests.compiler.made import DIGITS, plan_of

torch.set_num_threads(1)

RECIPES = Path(__file__).parents[2] / "recipes"
STACK = """
name: starts
inputs: {x: "[batch seq 16]"}
init: trunc_normal(0.02)
nodes:
  stack: {kind: bus, repeat: 12, norm: both, from: x, parts: {
    attend: {kind: attention, heads: 2, init: {weights: orthogonal, write: zero}},
    think: {kind: mlp, hidden: 32},
    also: {kind: mlp, hidden: 32, init: {copy: think}}}}
  one: {kind: linear, out: 16, init: identity, from: stack}
  shared: {kind: linear, repeat: 3, share: true, out: 16, init: xavier, from: one}
  again: {same: shared, from: shared}
  last: {kind: linear, out: 16, tie: {weight: one.weight}, from: again}
  free: {kind: linear, out: 16, init: default, seed: 3, from: last}
rules: {odd: {at: stack.1:3.think, set: {init: small(0.5)}}}
outputs: {y: free}
"""
DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": lambda x: nn.init.kaiming_normal_(x, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
    "normal(0.02)": lambda x: nn.init.normal_(x, std=0.02),
    "trunc_normal(0.5)": lambda x: nn.init.trunc_normal_(x, std=0.5),
}
KINDS = {
    "linear": ("[batch 16]", "kind: linear, out: 8"),
    "mlp": ("[batch 16]", "kind: mlp, hidden: 8"),
    "swiglu": ("[batch 16]", "kind: swiglu, hidden: 8"),
    "glu": ("[batch 16]", "kind: glu, out: 8"),
    "low_rank": ("[batch 16]", "kind: low_rank, rank: 4, out: 16"),
    "attention": ("[batch seq 16]", "kind: attention, heads: 2, qk_norm: layer_norm"),
    "conv1d": ("[batch 16 length]", "kind: conv1d, out: 8, kernel: 3"),
    "conv2d": ("image [batch 4 8 8]", "kind: conv2d, out: 8, kernel: 3, groups: 2"),
    "patch_embed": ("image [batch 1 8 8]", "kind: patch_embed, patch: 2, out: 8"),
    "embedding": ("ids(9) [batch seq]", "kind: embedding, out: 8"),
    "learned_position": ("[batch seq 16]", "kind: learned_position, length: 9"),
}


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


@pytest.mark.parametrize("mode", DRAWS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_matrix_of_every_kind_starts_as_torch_s_own_function_does(kind: str, mode: str) -> None:
    port, node = KINDS[kind]
    text = f'inputs: {{x: "{port}"}}\nnodes:\n  one: {{{node}, init: {mode}, from: x}}\noutputs: {{y: one}}\n'
    model = build(plan_of(text), seed=7)
    matrices = {address: value for address, value in model.named_parameters() if value.dim() > 1}
    assert matrices
    for address, value in matrices.items():
        torch.manual_seed(int.from_bytes(hashlib.sha256(f"7/{address}".encode()).digest()[:8], "little"))
        assert torch.allclose(value, DRAWS[mode](torch.empty_like(value, requires_grad=False)), rtol=1e-6, atol=0), address
        layer = address.rpartition(".")[0]
        for other, bias in model.named_parameters():
            if other.rpartition(".")[0] == layer and bias.dim() == 1:
                assert torch.count_nonzero(bias) == 0, other
    for address, value in model.named_parameters():
        if "norm.weight" in address:
            assert torch.equal(value, torch.ones_like(value))


def test_the_table_names_copies_by_range() -> None:
    plan = plan_of(STACK)
    assert plan.starts["stack.0:12.attend.q.weight"] == "orthogonal(1.0)"
    assert plan.starts["stack.0:12.attend.out.bias"] == "zeros"
    assert plan.starts["stack.0.think.down.weight"] == plan.starts["stack.3:12.think.down.weight"] == "trunc_normal(0.02)"
    assert plan.starts["stack.1:3.think.down.weight"] == "normal(0.5)"
    assert plan.starts["shared.weight"].startswith("uniform(")
    assert not any(address.startswith(("again", "free", "last.weight")) for address in plan.starts)
    assert len(plan.starts) < 50


def test_built_and_ejected_models_start_alike_bit_for_bit(tmp_path: Path) -> None:
    plan = plan_of(STACK)
    text = eject(plan)
    assert text.endswith(body(emit(plan)))
    assert "STARTS = {" in text
    assert "COPIES = {" in text
    (tmp_path / "ejected_starts.py").write_text(text)
    sys.path.insert(0, str(tmp_path))
    try:
        import ejected_starts  # type: ignore[import-not-found]

        assert same(build(plan, seed=11), ejected_starts.Starts(seed=11))
        assert not same(build(plan, seed=12), ejected_starts.Starts(seed=11))
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("ejected_starts", None)


def test_a_model_on_meta_initialized_later_a_copied_and_a_restarted_one_start_alike() -> None:
    plan = plan_of(STACK)
    model = build(plan, seed=5)
    assert same(initialize(build(plan, device="meta"), 5), model)
    assert same(initialize(copy.deepcopy(build(plan, seed=6)), 5), model)


class _Unread(TorchFunctionMode):
    """Memory that nobody has touched may hold anything: what asks for a value in it would get chance for an answer."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        assert getattr(func, "__name__", "") not in ("any", "all", "item", "__bool__", "max", "min", "qr"), func
        return func(*args, **(kwargs or {}))


def test_laying_out_a_model_reads_no_value_because_trunc_normal_would_draw_forever() -> None:
    with _Unread():
        build(plan_of(STACK), values=False)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_the_rounding_of_single(dtype: torch.dtype) -> None:
    plan = plan_of(STACK)
    half, single = build(plan, seed=5, dtype=dtype), build(plan, seed=5)
    for address, value in half.named_parameters():
        if not address.startswith("free"):
            assert torch.equal(value, single.get_parameter(address).to(dtype)), address


def test_building_leaves_the_global_random_state_as_it_was() -> None:
    plan = plan_of(STACK)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build(plan, seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_another_start_of_one_part_leaves_all_others_as_they_were() -> None:
    one = build(plan_of(DIGITS), seed=5).state_dict()
    two = build(plan_of(DIGITS.replace("kind: attention,", "kind: attention, init: {weights: xavier, write: zero},")), seed=5).state_dict()
    assert list(one) == list(two)
    assert {key for key in one if not torch.equal(one[key], two[key])} == {key for key in one if ".attend." in key}
    three = build(plan_of(DIGITS.replace("kind: mlp,", "kind: mlp, init: zero,")), seed=5).state_dict()
    assert {key for key in one if not torch.equal(one[key], three[key])} == {key for key in one if ".think.down" in key}


def test_a_recipe_that_states_no_init_pays_nothing() -> None:
    plan = plan_of(DIGITS)
    assert plan.starts == {}
    assert "STARTS" not in emit(plan)
    assert "_each" not in emit(plan)


def test_same_share_tie_and_copies_have_one_start() -> None:
    model = build(plan_of(STACK), seed=5)
    eye = torch.eye(16)
    assert torch.equal(model.get_parameter("one.weight"), eye)
    assert model.get_parameter("last.weight") is model.get_parameter("one.weight")
    assert torch.count_nonzero(model.get_parameter("last.bias")) == 0
    assert model.get_submodule("again") is model.get_submodule("shared")
    for i in range(12):
        for name in ("up.weight", "up.bias", "down.weight", "down.bias"):
            assert torch.equal(model.get_parameter(f"stack.{i}.also.{name}"), model.get_parameter(f"stack.{i}.think.{name}"))
    assert not torch.equal(model.get_parameter("stack.0.also.up.weight"), model.get_parameter("stack.1.also.up.weight"))


def test_a_node_that_nobody_reads_is_there_when_its_values_are_copied() -> None:
    text = """
inputs: {x: "[batch 16]"}
nodes:
  teacher: {kind: linear, out: 16, init: orthogonal, from: x}
  pupil: {kind: linear, out: 16, init: {copy: teacher}, from: x}
outputs: {y: pupil}
"""
    model = build(plan_of(text), seed=5)
    assert torch.equal(model.get_parameter("pupil.weight"), model.get_parameter("teacher.weight"))


def test_gpt2_by_an_override_starts_as_published() -> None:
    small = ["vars.width=32", "vars.depth=3", "vars.heads=2", "vars.vocab=100", "+init.weights='normal(0.02)'"]
    model = assembler.build(assembler.load(RECIPES / "gpt2.yaml", overrides=small), seed=0)
    for address, value in model.state_dict().items():
        if value.dim() > 1:
            assert 0.018 < float(value.std()) < 0.022, address
        elif address.endswith("bias"):
            assert torch.count_nonzero(value) == 0, address
        else:
            assert torch.equal(value, torch.ones_like(value)), address


@pytest.mark.parametrize(
    ("port", "node"),
    [
        ("[batch 16]", "kind: linear"),
        ("[batch 16]", "kind: linear, bias: false"),
        ("[batch 4 length]", "kind: conv1d, out: 4, kernel: 5, padding: 4, dilation: 2"),
        ("image [batch 4 6 8]", "kind: conv2d, out: 4, kernel: [1, 3], padding: [0, 1], groups: 4"),
        ("image [batch 4 6 8]", "kind: conv2d, out: 4, kernel: 1, groups: 2"),
        ("[batch 16]", "kind: scale, value: 0.5, learned: true"),
        ("[batch 16]", "kind: scale, value: 0.5, learned: true, channel: true"),
    ],
)
def test_an_identity_gives_out_what_it_takes_bit_for_bit(port: str, node: str) -> None:
    text = f'inputs: {{x: "{port}"}}\nnodes:\n  one: {{{node}, init: identity, from: x}}\noutputs: {{y: one}}\n'.replace("kind: linear", "kind: linear, out: 16")
    model = build(plan_of(text), seed=7)
    x = torch.randn({"[batch 16]": (3, 16), "[batch 4 length]": (3, 4, 11)}.get(port, (3, 4, 6, 8)))
    assert torch.equal(model(x), x)
