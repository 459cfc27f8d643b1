"""Each basic kind equals torch, or a few lines written here, with the same weights."""

from __future__ import annotations

import copy
import math
import pickle
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from assembler.library import registry
from assembler.testing.built import call, draw, flat, fresh, use
from assembler.testing.sample import Sample, Shape

torch.set_num_threads(1)

State = Mapping[str, Tensor]
Reference = Callable[..., Tensor]


def _vaswani(x: Tensor) -> Tensor:
    d = x.shape[-1]
    rows = [
        [(math.cos if i % 2 else math.sin)(t / 10000 ** ((i - i % 2) / d)) for i in range(d)]
        for t in range(x.shape[-2])
    ]
    return x + torch.tensor(rows)


def _gated(act: Callable[[Tensor], Tensor]) -> Reference:
    def run(s: State, x: Tensor) -> Tensor:
        return (act(x @ s["gate.weight"].T) * (x @ s["up.weight"].T)) @ s["down.weight"].T

    return run


def _layer_norm(s: State, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], s["weight"], s["bias"], 1e-5)


def _mlp(s: State, x: Tensor) -> Tensor:
    hidden = F.gelu(F.linear(x, s["up.weight"], s["up.bias"]))
    return F.linear(hidden, s["down.weight"], s["down.bias"])


def _stacked_mlp(s: State, x: Tensor) -> Tensor:
    """Each member by itself."""
    members, _, hidden = s["down.weight"].shape
    up = [s["up.weight"][i * hidden : (i + 1) * hidden] for i in range(members)]
    shift = [s["up.bias"][i * hidden : (i + 1) * hidden] for i in range(members)]
    each = [F.linear(F.gelu(F.linear(x, up[i], shift[i])), s["down.weight"][i], s["down.bias"][i]) for i in range(members)]
    return torch.stack(each, dim=-2)


def _mlp_relu(s: State, x: Tensor) -> Tensor:
    return F.relu(x @ s["up.weight"].T) @ s["down.weight"].T


def _glu(s: State, x: Tensor) -> Tensor:
    a, b = F.linear(x, s["linear.weight"], s["linear.bias"]).chunk(2, dim=-1)
    return a * torch.sigmoid(b)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": nn.GELU("tanh"),
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "mish": F.mish,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "identity": lambda x: x,
}

_ROW: dict[str, Any] = {"x": (6,)}
_THREE: dict[str, Any] = {"x": [(6,), (6,), (6,)]}

REFERENCES: list[tuple[str, Sample, Reference]] = [
    ("linear", Sample({"out": 5}, _ROW), lambda s, x: F.linear(x, s["weight"], s["bias"])),
    ("linear", Sample({"out": 5, "bias": False}, _ROW), lambda s, x: x @ s["weight"].T),
    ("mlp", Sample({"out": 5}, _ROW), _mlp),
    ("stacked_mlp", Sample({"members": 3, "hidden": 7, "out": 5}, _ROW), _stacked_mlp),
    ("mlp", Sample({"hidden": 7, "activation": "relu", "bias": False}, _ROW), _mlp_relu),
    ("swiglu", Sample({"hidden": 7, "out": 5}, _ROW), _gated(F.silu)),
    ("geglu", Sample({}, _ROW), _gated(F.gelu)),
    ("reglu", Sample({}, _ROW), _gated(F.relu)),
    ("glu", Sample({"out": 5}, _ROW), _glu),
    *[
        ("activation", Sample({"activation": name}, _ROW), lambda s, x, act=act: act(x))
        for name, act in _ACTIVATIONS.items()
    ],
    *[
        ("mlp", Sample({"activation": name}, _ROW), lambda s, x, act=act: _mlp_with(act, s, x))
        for name, act in _ACTIVATIONS.items()
    ],
    ("dropout", Sample({}, {"x": ()}), lambda s, x: x),
    ("embedding", Sample({"vocab": 11, "out": 5}, {"x": ()}), lambda s, x: F.embedding(x, s["weight"])),
    (
        "embedding",
        Sample({"vocab": 4, "out": 5, "padding": 1}, {"x": ()}),
        lambda s, x: F.embedding(x, s["weight"], padding_idx=1),
    ),
    ("learned_position", Sample({"length": 9}, {"x": (7, 6)}), lambda s, x: x + s["weight"][:7]),
    ("sinusoidal_position", Sample({}, {"x": (7, 6)}), lambda s, x: _vaswani(x)),
    ("scale", Sample({"value": 0.5}, _ROW), lambda s, x: x * 0.5),
    ("scale", Sample({"value": 0.5, "learned": True}, _ROW), lambda s, x: x * s["weight"]),
    ("scale", Sample({"learned": True, "channel": True}, _ROW), lambda s, x: x * s["weight"]),
    ("layer_norm", Sample({}, _ROW), _layer_norm),
    ("rms_norm", Sample({}, _ROW), lambda s, x: F.rms_norm(x, (6,), s["weight"])),
    ("rms_norm", Sample({"eps": 0.1, "affine": False}, _ROW), lambda s, x: F.rms_norm(x, (6,), eps=0.1)),
    ("concat", Sample({}, {"x": [(6,), (2,)]}), lambda s, *xs: torch.cat(xs, -1)),
    ("concat", Sample({"axis": -2}, {"x": [(2, 6), (3, 6)]}), lambda s, *xs: torch.cat(xs, -2)),
    ("stack", Sample({}, _THREE), lambda s, *xs: torch.stack(xs, -2)),
    ("stack", Sample({"axis": -1}, {"x": [(), ()]}), lambda s, *xs: torch.stack(xs, -1)),
    ("add", Sample({}, _THREE), lambda s, a, b, c: a + b + c),
    ("multiply", Sample({}, _THREE), lambda s, a, b, c: a * b * c),
    ("mean", Sample({}, _THREE), lambda s, *xs: torch.stack(xs).mean(0)),
    ("softmax", Sample({}, _ROW), lambda s, x: F.softmax(x, -1)),
    ("softmax", Sample({"temperature": 4.0}, _ROW), lambda s, x: F.softmax(x / 4, -1)),
    ("identity", Sample({}, {"x": ()}), lambda s, x: x),
    ("zero", Sample({"out": 3}, _ROW), lambda s, x: torch.zeros(*x.shape[:-1], 3)),
    ("zero", Sample({}, _ROW), lambda s, x: torch.zeros_like(x)),
]


def _mlp_with(act: Callable[[Tensor], Tensor], s: State, x: Tensor) -> Tensor:
    return F.linear(act(F.linear(x, s["up.weight"], s["up.bias"])), s["down.weight"], s["down.bias"])


def _case_name(value: Any) -> str:
    if isinstance(value, Sample):
        return "-".join(f"{key}={found}" for key, found in value.options.items())
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
@pytest.mark.parametrize(("name", "sample", "reference"), REFERENCES, ids=_case_name)
def test_equals_torch(name: str, sample: Sample, reference: Reference, lead: Shape) -> None:
    torch.manual_seed(zlib.crc32(name.encode()))
    built = use(name, sample, lead)
    module = built.module().eval()
    state = {key: value.detach().clone().requires_grad_() for key, value in module.state_dict().items()}
    mine = draw(built)
    theirs = fresh(mine)
    (found,) = call(module, built, mine).values()
    expected = reference(state, *flat(theirs))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    if not found.requires_grad:
        assert name == "zero"
        return
    weight = torch.randn_like(found)
    torch.autograd.backward((found * weight).sum())
    torch.autograd.backward((expected * weight).sum())
    for a, b in zip([*flat(mine), *module.parameters()], [*flat(theirs), *state.values()], strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)


def test_every_basic_kind_has_a_reference() -> None:
    files = {"linear", "mlp", "norm", "embed", "mix", "basic"}
    assert {name for name, *_ in REFERENCES} == {name for name, file in registry.STATIC.items() if file in files}


def _module(name: str, options: dict[str, Any], **shapes: Any) -> nn.Module:
    return use(name, Sample(options, shapes)).module()


def test_linear_and_norms_and_embedding_are_the_classes_of_torch() -> None:
    assert type(_module("linear", {"out": 5}, x=(6,))) is nn.Linear
    assert type(_module("layer_norm", {}, x=(6,))) is nn.LayerNorm
    assert type(_module("rms_norm", {}, x=(6,))) is nn.RMSNorm
    assert type(_module("embedding", {"vocab": 3, "out": 5}, x=())) is nn.Embedding
    assert type(_module("dropout", {}, x=())) is nn.Dropout


def test_linear_starts_with_the_very_numbers_of_torch() -> None:
    torch.manual_seed(3)
    mine = _module("linear", {"out": 5}, x=(6,)).state_dict()
    torch.manual_seed(3)
    theirs = nn.Linear(6, 5).state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("name", ["mlp", "swiglu", "geglu", "reglu"])
def test_dropout_acts_on_the_hidden_values_in_training_only(name: str) -> None:
    module = _module(name, {"dropout": 0.5, "hidden": 64}, x=(6,))
    x = torch.randn(6)
    assert not torch.equal(module(x), module(x))
    dropped = module.get_submodule("dropout")
    seen: list[tuple[int, ...]] = []
    dropped.register_forward_hook(lambda m, args, out: seen.append(tuple(out.shape)))
    module.eval()
    assert torch.equal(module(x), module(x))
    assert seen == [(64,), (64,)]


def test_the_padding_row_starts_as_zero_and_gets_no_gradient() -> None:
    module = _module("embedding", {"vocab": 5, "out": 3, "padding": 2}, x=())
    out = module(torch.tensor([2, 1, 2]))
    out.sum().backward()
    assert not out[0].any()
    weight = module.get_parameter("weight")
    assert weight.grad is not None
    assert weight.grad.sum(-1).tolist() == [0, 3, 0, 0, 0]


def test_a_sequence_longer_than_the_learned_table_is_refused() -> None:
    module = _module("learned_position", {"length": 7}, x=(7, 6))
    with pytest.raises(RuntimeError, match="must match"):
        module(torch.randn(2, 8, 6))


def test_sinusoids_keep_their_angles_in_bf16_at_long_lengths() -> None:
    module = _module("sinusoidal_position", {}, x=(4, 8))
    low = module(torch.zeros(3000, 8, dtype=torch.bfloat16))
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.double(), _vaswani(torch.zeros(3000, 8)).double(), rtol=0, atol=4e-3)


def test_a_channel_scale_must_be_learned() -> None:
    kind = registry.kind("scale")
    assert kind is not None
    with pytest.raises(ValidationError, match="learned: true"):
        kind.options.model_validate({"channel": True})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("linear", {"in_features": 6}),
        ("linear", {"in_": 6}),  # the spelling of our Python is no second name of the option
        ("linear", {"out": 0}),
        ("linear", {"out": True}),
        ("linear", {"out": "5"}),
        ("linear", {"out": 2.0}),
        ("linear", {"bias": 1}),
        ("dropout", {"p": 1.5}),
        ("dropout", {"p": float("nan")}),
        ("mlp", {"activation": "swish"}),
        ("concat", {"axis": 0}),
        ("softmax", {"temperature": 0.0}),
        ("sinusoidal_position", {"base": 0.0}),
        ("layer_norm", {"eps": -1.0}),
        ("parallel", {"join": "sum"}),
    ],
)
def test_options_that_are_not_meant_are_refused(name: str, options: dict[str, Any]) -> None:
    kind = registry.kind(name)
    assert kind is not None
    with pytest.raises(ValidationError):
        kind.options.model_validate(options)


def test_sizes_may_be_stated_and_are_then_the_sizes_of_the_definition() -> None:
    kind = registry.kind("mlp")
    assert kind is not None
    definition = kind.define(kind.options.model_validate({"in": 6, "hidden": 7}))
    assert definition.sizes == {"in": 6, "hidden": 7}
    assert definition.defaults == {"hidden": "4*in", "out": "in"}
    assert kind.size_options == {"in", "hidden", "out"}


OURS: list[tuple[str, dict[str, Any]]] = [
    ("mlp", {"dropout": 0.1, "activation": "quick_gelu"}),
    ("swiglu", {}),
    ("glu", {}),
    ("learned_position", {"length": 32}),
    ("sinusoidal_position", {}),
    ("scale", {"learned": True, "channel": True}),
    ("scale", {"learned": True}),
]


@pytest.mark.parametrize(("name", "options"), OURS)
def test_modules_compile_whole_with_dynamic_sizes_and_backward(name: str, options: dict[str, Any]) -> None:
    module = _module(name, options, x=(6,) if "position" not in name else (4, 6)).eval()
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 4, 6), (3, 7, 6)):
        x = torch.randn(shape, requires_grad=True)
        y = torch.empty_like(x).copy_(x.detach()).requires_grad_()
        found, expected = compiled(x), module(y)
        torch.testing.assert_close(found, expected)
        found.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize(("name", "options"), OURS)
def test_modules_export_strictly_with_symbolic_batch_and_length(name: str, options: dict[str, Any]) -> None:
    module = _module(name, options, x=(6,) if "position" not in name else (4, 6)).eval()
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=32)
    exported = torch.export.export(
        module, (torch.randn(2, 4, 6),), dynamic_shapes=({0: batch, 1: length},), strict=True
    ).module()
    x = torch.randn(5, 9, 6)
    torch.testing.assert_close(exported(x), module(x))


@pytest.mark.parametrize(("name", "options"), OURS)
def test_modules_survive_copies_and_bf16(name: str, options: dict[str, Any]) -> None:
    module = _module(name, options, x=(6,) if "position" not in name else (4, 6)).eval()
    x = torch.randn(2, 4, 6)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x), module(x))
    assert module.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("name", "options"), [case for case in OURS if case[0] in ("learned_position", "scale")])
def test_reset_parameters_starts_again(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    module: Any = _module(name, options, x=(6,) if "position" not in name else (4, 6))
    first = copy.deepcopy(module.state_dict())
    nn.init.constant_(module.weight, 9.0)
    torch.manual_seed(1)
    module.reset_parameters()
    assert torch.equal(module.weight, first["weight"])
