"""The executable meaning of the primitives: runs a card's body with torch.

docs/primitives.md says the same in words. Written for plainness, from arithmetic where that is
short, so that it does not share its mistakes with the modules it is compared to.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from assembler.testing.reference_shape import reshape
from assembler_schemas.kind import Definition, Step

Inputs = Mapping[str, Tensor | Sequence[Tensor]]
Values = dict[str, tuple[Tensor, ...]]


def run_body(
    definition: Definition,
    sizes: Mapping[str, int],
    parameters: Mapping[str, Tensor],
    inputs: Inputs,
    training: bool = False,
) -> dict[str, Tensor]:
    """What the body gives at each output port.

    `sizes`: a number for each size of the definition (`n` too, for a `many` port);
    `parameters`: by their keys on the card, buffers too; `inputs`: by port, a list for a `many`
    port, optional ones may be missing. KeyError for a step that reads what is not there.
    """
    values: Values = {name: (value,) for name, value in parameters.items()}
    values |= {name: (value,) if isinstance(value, Tensor) else tuple(value) for name, value in inputs.items()}
    for step in definition.body:
        run = _Run(step, values, sizes, training)
        operands = [value for name in step.inputs for value in values[name]]
        values[step.output] = (OPERATIONS[step.op](run, *operands),)
    return {name: values[name][0] for name in definition.outputs if name in values}


_ARITHMETIC: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.USub: operator.neg,
}


def number(text: Any, sizes: Mapping[str, int]) -> Any:
    """A number, or the value of a text over sizes: `1/sqrt(head_dim)`. KeyError for an unknown size,
    ValueError for what is no such text."""
    if not isinstance(text, str):
        return text
    return _evaluate(ast.parse(re.sub(r"\bin\b", "in_", text), mode="eval").body, sizes)


def _evaluate(node: ast.AST, sizes: Mapping[str, int]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return sizes["in" if node.id == "in_" else node.id]
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_evaluate(node.left, sizes), _evaluate(node.right, sizes))
    if isinstance(node, ast.UnaryOp):
        return _ARITHMETIC[type(node.op)](_evaluate(node.operand, sizes))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        return _FUNCTIONS[node.func.id](*(_evaluate(argument, sizes) for argument in node.args))
    raise ValueError(f"not a number over sizes: {ast.dump(node)}")


def _window(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


_FUNCTIONS: dict[str, Callable[..., float]] = {"sqrt": math.sqrt, "floor": operator.floordiv, "window": _window}


class _Run:
    """One step while it runs: its attributes with sizes filled in, and values by name."""

    def __init__(self, step: Step, values: Values, sizes: Mapping[str, int], training: bool) -> None:
        self.step, self.values, self.sizes, self.training = step, values, sizes, training

    def get(self, name: str, default: Any = None) -> Any:
        return self.step.attributes.get(name, default)

    def number(self, name: str, default: Any = None) -> Any:
        """An attribute that is a number, or a list with one for each axis."""
        found = self.get(name, default)
        if isinstance(found, (list, tuple)):
            return tuple(number(item, self.sizes) for item in found)
        return number(found, self.sizes)

    def value(self, name: str) -> Tensor | None:
        """The value that the attribute names; None where it is not fed."""
        source = self.get(name)
        return self.values[source][0] if source in self.values else None


def _matmul(run: _Run, a: Tensor, b: Tensor) -> Tensor:
    return torch.einsum(run.get("spec"), a, b)


def _add(run: _Run, *xs: Tensor) -> Tensor:
    scale: float = run.number("scale", 1)
    out = xs[0]
    for x in xs[1:]:
        out = out + x
    return out * scale


def _multiply(run: _Run, *xs: Tensor) -> Tensor:
    scale: float = run.number("scale", 1)
    out = xs[0]
    for x in xs[1:]:
        out = out * x
    return out * scale


def _blend(run: _Run, *xs: Tensor) -> Tensor:
    by, weights = run.get("by"), run.get("weights")
    if weights is not None:
        return _add(run, *(x * w for x, w in zip(xs, weights, strict=True)))
    w, *values = xs
    if by == "sigmoid":
        w = torch.stack((1 / (1 + torch.exp(-w)), 1 / (1 + torch.exp(w))), -1)
    elif by == "softmax":
        w = _shares(torch.exp(w - w.amax(-1, keepdim=True).detach()))
    elif by == "share":
        w = _shares(torch.where(w < 0, -w, w))
    assert w.shape[-1] == len(values)
    return _add(run, *(w[..., i] * x for i, x in enumerate(values)))


def _shares(w: Tensor) -> Tensor:
    return w / w.sum(-1, keepdim=True)


def _median(run: _Run, *xs: Tensor) -> Tensor:
    """By counting: the value of which fewer than half are smaller, and at least half no larger."""
    every = torch.stack(xs)
    smaller = (every[None] < every[:, None]).sum(1)
    no_larger = (every[None] <= every[:, None]).sum(1)
    middle = (len(xs) + 1) // 2
    place = ((smaller < middle) & (no_larger >= middle)).float().argmax(0, keepdim=True)
    return every.gather(0, place)[0]


def _layer(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    centered = x - x.mean(axes, keepdim=True)
    return centered / (centered.square().mean(axes, keepdim=True) + eps).sqrt()


def _batch_norm(run: _Run, x: Tensor, eps: float) -> Tensor:
    if run.training:
        return _layer(x, tuple(axis for axis in range(x.dim()) if axis != 1), eps)
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean, var = run.value("running_mean"), run.value("running_var")
    assert mean is not None
    assert var is not None
    return (x - mean.view(shape)) / (var.view(shape) + eps).sqrt()


def _norm(run: _Run, x: Tensor) -> Tensor:
    kind, axes, eps = run.get("kind"), tuple(run.get("axes", (-1,))), run.get("eps")
    if kind == "layer":
        return _layer(x, axes, eps)
    if kind == "rms":
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        return x / (x.square().mean(axes, keepdim=True) + eps).sqrt()
    if kind == "l2":
        return x / x.square().sum(axes, keepdim=True).sqrt().clamp(min=eps)
    if kind == "batch":
        return _batch_norm(run, x, eps)
    if kind == "group":
        split = x.reshape(x.shape[0], run.number("groups"), -1, *x.shape[2:])
        return _layer(split, tuple(range(2, split.dim())), eps).flatten(1, 2)
    raise ValueError(f"norm kind {kind!r}")


def _rotary(x: Tensor, base: float, width: int | None) -> Tensor:
    if width is not None:
        return torch.cat((_rotary(x[..., :width], base, None), x[..., width:]), -1)
    half = x.shape[-1] // 2
    rate = base ** (-2 * torch.arange(half, dtype=torch.float64) / x.shape[-1])
    angle = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * rate
    turn = torch.complex(angle.cos(), angle.sin())
    turned = torch.complex(x[..., :half].double(), x[..., half:].double()) * turn
    return torch.cat((turned.real, turned.imag), -1).to(x.dtype)


DTYPES = {"f64": torch.float64, "f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}

POINTWISE: dict[str, Callable[[_Run, Tensor], Tensor]] = {
    "relu": lambda run, x: torch.relu(x),  # not `clamp`: its derivative at zero is 1
    "gelu": lambda run, x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda run, x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda run, x: x * torch.sigmoid(x),
    "tanh": lambda run, x: torch.tanh(x),
    "sigmoid": lambda run, x: 1 / (1 + torch.exp(-x)),
    "softplus": lambda run, x: torch.log1p(torch.exp(x)),
    "elu": lambda run, x: torch.where(x > 0, x, torch.expm1(x)),
    "leaky_relu": lambda run, x: torch.where(x > 0, x, 0.01 * x),
    "relu6": lambda run, x: F.relu6(x),
    "hardswish": lambda run, x: x * (x + 3).clamp(0, 6) / 6,
    "mish": lambda run, x: x * torch.tanh(torch.log1p(torch.exp(x))),
    "quick_gelu": lambda run, x: x * torch.sigmoid(1.702 * x),
    "identity": lambda run, x: x,
    "dropout": lambda run, x: F.dropout(x, run.number("p"), run.training),
    "power": lambda run, x: x ** run.number("exponent"),
    "gaussian": lambda run, x: x * torch.randn_like(x) if run.training else torch.zeros_like(x),
    "jitter": lambda run, x: x * (1 + run.number("eps") * (2 * torch.rand_like(x) - 1)) if run.training else x,
    "gumbel": lambda run, x: x - torch.empty_like(x).exponential_().log() if run.training else x,
    "cast": lambda run, x: x.to(DTYPES[run.get("dtype")]),
    "rotary": lambda run, x: _rotary(x, run.get("base"), run.number("width")),
}


def _pointwise(run: _Run, x: Tensor) -> Tensor:
    return POINTWISE[run.get("fn")](run, x)


def _softmax(run: _Run, x: Tensor) -> Tensor:
    weight = torch.exp(x - x.amax(run.get("axis", -1), keepdim=True).detach())
    return weight / weight.sum(run.get("axis", -1), keepdim=True)


def _softmax_mix(run: _Run, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups = q.shape[-3] // k.shape[-3]
    k, v = k.repeat_interleave(groups, -3), v.repeat_interleave(groups, -3)
    scale = 1 / math.sqrt(q.shape[-1]) if run.get("scale") is None else run.number("scale")
    score = q @ k.transpose(-1, -2) * scale
    bias, mask = run.value("bias"), run.value("mask")
    score = score if bias is None else score + bias
    allowed = torch.ones(score.shape[-2:], dtype=torch.bool)
    allowed = allowed.tril() if run.get("causal", False) else allowed
    allowed = allowed if run.get("window") is None else allowed.triu(1 - run.number("window"))
    allowed = allowed if mask is None else allowed & mask[..., None, None, :]
    weight = torch.softmax(score.masked_fill(~allowed, torch.finfo(score.dtype).min), -1)
    weight = torch.where(allowed.any(-1, keepdim=True), weight, 0.0)
    return F.dropout(weight, run.number("dropout", 0.0), run.training) @ v


def _gather(run: _Run, table: Tensor, ids: Tensor) -> Tensor:
    padding = run.number("padding")
    rows = table[ids]
    return rows if padding is None else torch.where((ids == padding)[..., None], rows.detach(), rows)


def _conv(run: _Run, x: Tensor, weight: Tensor) -> Tensor:
    conv = F.conv1d if weight.dim() == 3 else F.conv2d
    stride, padding, dilation = run.number("stride", 1), run.number("padding", 0), run.number("dilation", 1)
    return conv(x, weight, None, stride, padding, dilation, run.number("groups", 1))


def _pool(run: _Run, x: Tensor) -> Tensor:
    window = (run.number("kernel"), run.number("stride"), run.number("padding", 0))
    out: Tensor = F.max_pool2d(x, *window) if run.get("kind") == "max" else F.avg_pool2d(x, *window)
    return out


def _reduce(run: _Run, x: Tensor) -> Tensor:
    keep, mask = run.get("keep", False), run.value("mask")
    axes = tuple(range(x.dim()) if run.get("axes") is None else run.get("axes"))
    if run.get("kind") == "max":
        return x.amax(axes, keepdim=keep)
    counts = torch.ones_like(x)
    if mask is not None:
        counts = counts * mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim()))
    total = (x * counts).sum(axes, keepdim=keep)
    if run.get("kind") == "sum":
        return total
    return total / counts.sum(axes, keepdim=keep).clamp(min=1)


def _reshape(run: _Run, x: Tensor) -> Tensor:
    sizes = {name: number(value, run.sizes) for name, value in run.get("sizes", {}).items()}
    return reshape(x, run.get("pattern"), sizes)


def _concat(run: _Run, *xs: Tensor) -> Tensor:
    return torch.stack(xs, run.get("axis")) if run.get("new", False) else torch.cat(xs, run.get("axis"))


def _select(run: _Run, x: Tensor) -> Tensor:
    axis, start, stop = run.get("axis"), run.number("start", 0), run.number("stop")
    stop = x.shape[axis] if stop is None else stop
    return x.narrow(axis, start, stop - start)


def _expand(run: _Run, x: Tensor) -> Tensor:
    like = run.value("like")
    assert like is not None
    return x.expand(like.shape[: like.dim() - x.dim()] + x.shape)


def _first_largest(x: Tensor, axis: int) -> Tensor:
    """Where the largest entry along the axis is, the first of equal ones; the axis stays, as one of one."""
    places = torch.arange(x.shape[axis]).view(-1, *[1] * (x.dim() - 1 - axis % x.dim()))
    largest = x.detach() == x.detach().amax(axis, keepdim=True)
    return torch.where(largest, places, x.shape[axis]).amin(axis, keepdim=True)


def _argmax(run: _Run, x: Tensor) -> Tensor:
    axis = run.get("axis", -1)
    return _first_largest(x, axis).squeeze(axis)


def _one_hot_max(run: _Run, x: Tensor) -> Tensor:
    axis = run.get("axis", -1)
    places = torch.arange(x.shape[axis]).view(-1, *[1] * (x.dim() - 1 - axis % x.dim()))
    return (places == _first_largest(x, axis)).to(x.dtype)


def _nearest(run: _Run, x: Tensor, table: Tensor) -> Tensor:
    return (x.detach()[..., None, :] - table.detach()).square().sum(-1).argmin(-1)


def _constant(run: _Run, *like: Tensor) -> Tensor:
    if run.get("fn") == "zero":
        return torch.zeros(())
    (x,) = like
    if run.get("fn") == "zeros":
        return torch.zeros(*x.shape[:-1], run.number("width"), dtype=x.dtype)
    seq, d = x.shape[-2:]
    code = torch.zeros(seq, d, dtype=torch.float64)
    for column in range(0, d, 2):
        angle = torch.arange(seq, dtype=torch.float64) * run.get("base") ** (-column / d)
        code[:, column], code[:, column + 1] = angle.sin(), angle.cos()
    return code.to(x.dtype)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _choose(run: _Run, x: Tensor) -> Tensor:
    rows, k = _rows(x.detach()), run.number("top_k")
    stays = torch.ones(rows.shape[1], dtype=torch.bool)
    if run.training and run.number("dropout", 0.0):
        draw = torch.rand(rows.shape[1])
        stays = (draw >= run.number("dropout")) | (draw >= draw.sort().values[-k])
    worth = rows.masked_fill(~stays, -math.inf)
    if run.get("by") == "row":
        chosen = torch.zeros_like(rows)
        for row, places in enumerate(worth.argsort(dim=1, descending=True)[:, :k].tolist()):
            chosen[row, places] = 1.0
    else:
        chosen = torch.zeros_like(rows)
        for place, taken in enumerate(rows.argsort(dim=0, descending=True)[: math.ceil(k * rows.shape[0] / rows.shape[1])].t().tolist()):
            chosen[taken, place] = float(stays[place])
    return chosen.reshape(x.shape)


def _crop(run: _Run, x: Tensor) -> Tensor:
    rows = _rows(x).clone()
    room = math.ceil(run.number("top_k") * rows.shape[0] / rows.shape[1] * run.number("capacity") - 1e-9)
    for place in range(rows.shape[1]):
        rows[rows[:, place].nonzero().flatten()[room:], place] = 0.0
    return rows.reshape(x.shape)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "matmul": _matmul,
    "add": _add,
    "multiply": _multiply,
    "blend": _blend,
    "median": _median,
    "norm": _norm,
    "pointwise": _pointwise,
    "softmax_mix": _softmax_mix,
    "softmax": _softmax,
    "gather": _gather,
    "conv": _conv,
    "pool": _pool,
    "reshape": _reshape,
    "concat": _concat,
    "select": _select,
    "expand": _expand,
    "detach": lambda run, x: x.detach(),
    "argmax": _argmax,
    "one_hot_max": _one_hot_max,
    "nearest": _nearest,
    "straight_through": lambda run, hard, soft: hard.detach() + (soft - soft.detach()),
    "reduce": _reduce,
    "constant": _constant,
    "choose": _choose,
    "crop": _crop,
    "row_mean": lambda run, x: _rows(x).sum(0) / max(1, _rows(x).shape[0]),
    "logsumexp": lambda run, x: x.exp().sum(-1, keepdim=True).log(),
}
