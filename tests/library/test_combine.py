"""Every kernel of a mixture against the sum over all experts: values and gradients, compiled, exported, ejected."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from assembler.compiler import library
from assembler.library.modules import Gating, sparse_combine
from assembler.library.modules.combine import _grouped, _one_by_one

torch.set_num_threads(1)

KERNELS = {"grouped": _grouped, "one by one": _one_by_one}


def dense(rows: Tensor, plan: Tensor, experts: nn.ModuleList) -> Tensor:
    """The meaning: every expert on every row."""
    return torch.einsum("tn,tnd->td", plan, torch.stack([run(rows) for run in experts], dim=-2))


class Mixture(nn.Module):
    """A linear router, `Gating`, and experts that end in a linear map."""

    def __init__(
        self, width: int, out: int, count: int, kernel: Callable[..., Tensor] = sparse_combine, **options: object
    ) -> None:
        super().__init__()
        self.router = nn.Linear(width, count)
        self.gating = Gating(count, **options)  # type: ignore[arg-type]
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, out)) for _ in range(count)
        )
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        gates = self.gating(self.router(rows))[0]
        return self.kernel(rows, gates, self.experts).reshape(*x.shape[:-1], -1)


def gradients(model: Any, x: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """The result, and the gradients of x and of every parameter under a fixed random cotangent."""
    leaf = x.detach().clone().requires_grad_()
    model.zero_grad()
    out = model(leaf)
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(3)))
    return out.detach(), [leaf.grad, *(parameter.grad for parameter in model.parameters())]


def same(found: list[Tensor | None], wanted: list[Tensor | None]) -> None:
    for one, two in zip(found, wanted, strict=True):
        assert one is not None  # an expert without rows has zeros: DistributedDataParallel waits for every parameter
        torch.testing.assert_close(one, torch.zeros_like(one) if two is None else two, rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_kernels_are_equal_forward_and_backward(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9), "experts")
    top_k = data.draw(st.integers(1, count), "top_k")
    tokens, width, out = (
        data.draw(st.integers(1, most), name) for name, most in (("tokens", 23), ("d", 7), ("out", 4))
    )
    capacity = data.draw(st.sampled_from([None, 0.3, 1.0, 1.25]), "capacity")
    seed = data.draw(st.integers(0, 1000), "seed")
    torch.manual_seed(seed)
    model = Mixture(width, out, count, top_k=top_k, renormalize=top_k > 1, capacity=capacity)
    if data.draw(st.booleans(), "collapsed"):
        with torch.no_grad():
            model.router.bias[0] += 50.0  # most experts get no row
    x = torch.randn(tokens, width)
    model.kernel = dense
    value, wanted = gradients(model, x)
    for kernel in KERNELS.values():
        model.kernel = kernel
        found, learned = gradients(model, x)
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-5)
        same(learned, wanted)


@pytest.mark.parametrize("options", [{"router": "expert_choice", "renormalize": False}, {"top_k": 1, "weighted": False, "straight_through": "winner"}, {"score": "sigmoid", "balance": "bias"}], ids=str)  # fmt: skip
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_router_has_the_gradients_of_the_sum(kernel: str, options: dict[str, object]) -> None:
    torch.manual_seed(1)
    model = Mixture(6, 6, 5, dense, **options)
    x = torch.randn(2, 3, 6)
    value, wanted = gradients(model, x)
    model.kernel = KERNELS[kernel]
    if "bias" in dict(model.gating.named_buffers()):
        model.gating.bias.zero_()
    found, learned = gradients(model, x)
    torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-5)
    same(learned, wanted)


def test_dense_straight_through_is_not_for_the_sparse_kernel() -> None:
    """Its gates of zero learn: why a mixture of that sort runs every expert on every row."""
    torch.manual_seed(0)
    model = Mixture(6, 6, 4, dense, top_k=1, weighted=False, straight_through="dense")
    x = torch.randn(9, 6)
    value, wanted = gradients(model, x)
    model.kernel = _grouped
    found, learned = gradients(model, x)
    torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(learned[1], wanted[1], atol=1e-3)  # type: ignore[arg-type]


def test_each_expert_sees_its_own_rows_alone_and_an_idle_one_none() -> None:
    seen: list[list[float]] = []

    def expert(rows: Tensor) -> Tensor:
        seen.append(rows[:, 0].tolist())
        return rows

    x = torch.arange(4.0)[:, None].repeat(1, 2)
    gates = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    out = sparse_combine(x, gates, [expert] * 3)
    assert seen == [[0.0, 1.0], [0.0, 2.0], []]
    assert torch.equal(out, x * gates.sum(1, keepdim=True))
    seen.clear()
    with torch.no_grad():
        assert torch.equal(sparse_combine(x, gates, [expert] * 3), out)
    assert seen == [[0.0, 1.0], [0.0, 2.0]]


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (0,), (2, 0)])
def test_any_leading_axes_and_another_width_out(lead: tuple[int, ...]) -> None:
    experts = nn.ModuleList(nn.Linear(4, 7) for _ in range(3))
    x, gates = torch.randn(*lead, 4), torch.rand(*lead, 3)
    wanted = sum(gates[..., e, None] * run(x) for e, run in enumerate(experts))
    torch.testing.assert_close(sparse_combine(x, gates, list(experts)), wanted)
    with torch.no_grad():
        assert sparse_combine(x, gates, list(experts)).shape == (*lead, 7)


def test_second_derivatives_are_those_of_the_sum() -> None:
    torch.manual_seed(0)
    experts = nn.ModuleList(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)) for _ in range(3)).double()
    gates = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.3, 0.7], [1.0, 0.0, 0.0]], dtype=torch.float64)
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    gates.requires_grad_()
    plan = gates.detach() != 0
    assert torch.autograd.gradgradcheck(
        lambda rows, weight: sparse_combine(rows, weight * plan, list(experts)), (x, gates)
    )


def test_half_precision_experts_take_gates_of_another_dtype() -> None:
    experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(2)).bfloat16()
    x, gates = torch.randn(5, 4, dtype=torch.bfloat16), torch.rand(5, 2)
    out = sparse_combine(x, gates, list(experts))
    assert out.dtype == torch.bfloat16
    wanted = sum(gates[:, e, None] * run(x).float() for e, run in enumerate(experts))
    torch.testing.assert_close(out.float(), wanted, rtol=0.03, atol=0.03)
    gates.requires_grad_()
    torch.autograd.backward(sparse_combine(x, gates, list(experts)).sum())
    torch.testing.assert_close(
        gates.grad, torch.stack([run(x).float().sum(-1) for run in experts], -1), rtol=0.03, atol=0.06
    )


def test_experts_may_change_their_rows_or_pass_them_on_or_ignore_them() -> None:
    constant = nn.Parameter(torch.ones(3))
    experts: list[Any] = [nn.ReLU(inplace=True), nn.Identity(), lambda rows: constant.expand(len(rows), 3)]
    x, gates = torch.randn(5, 3), torch.rand(5, 3)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.autograd.backward(sparse_combine(one, gates, experts).square().sum())
    torch.autograd.backward((gates[:, :1] * two.relu() + gates[:, 1:2] * two + gates[:, 2:] * constant).square().sum())
    torch.testing.assert_close(one.grad, two.grad)
    gradient = torch.func.grad(lambda rows: sparse_combine(rows, gates, experts).square().sum())(x)
    torch.testing.assert_close(gradient, one.grad)


def test_compiles_in_one_graph_for_any_length() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Mixture(6, 6, 3, top_k=2)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for shape in ((2, 7, 6), (3, 5, 6)):
        x = torch.randn(shape)
        value, wanted = gradients(model, x)
        found, learned = gradients(compiled, x)
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-5)
        same(learned, wanted)


def test_exports_strictly_for_any_batch_and_length() -> None:
    torch.manual_seed(0)
    model = Mixture(6, 6, 3, top_k=2).eval()
    shapes = {"x": {0: torch.export.Dim("batch"), 1: torch.export.Dim("seq")}}
    program = torch.export.export(model, (torch.randn(2, 7, 6),), dynamic_shapes=shapes, strict=True)
    for shape in ((3, 4, 6), (2, 9, 6), (1, 1, 6)):
        x = torch.randn(shape)
        torch.testing.assert_close(program.module()(x), model(x), rtol=1e-5, atol=1e-5)


def test_copies_are_equal_bit_for_bit() -> None:
    torch.manual_seed(0)
    model, x = Mixture(6, 6, 5), torch.randn(8, 6)
    assert torch.equal(copy.deepcopy(model)(x), model(x))


def test_its_source_can_be_ejected() -> None:
    """The text that eject would copy, found by the names it uses, runs by itself."""
    source = next(item for item in library.sources() if item.file == "combine.py")
    wanted, todo = set[str](), ["sparse_combine"]
    while todo:
        name = todo.pop()
        if name in source.definitions and name not in wanted:
            wanted.add(name)
            todo.extend(source.definitions[name].uses)
    names: dict[str, object] = {}
    lines = [*source.imports.values(), *(item.text for name, item in source.definitions.items() if name in wanted)]
    exec("\n\n".join(["from __future__ import annotations", *lines]), names)
    x, gates, experts = torch.randn(4, 3), torch.eye(4)[:, :2], [torch.sin, torch.cos]
    assert torch.equal(names["sparse_combine"](x, gates, experts), sparse_combine(x, gates, experts))  # type: ignore[operator]
