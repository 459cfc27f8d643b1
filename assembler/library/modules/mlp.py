"""Feed-forward parts: the two-layer perceptron and the gated ones. Imports torch only."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MLP(nn.Module):
    """Two linear maps with an activation between (Vaswani et al. 2017): [... in] -> [... out].

    Dropout acts on the hidden values.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        activation: str = "gelu",
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.up = nn.Linear(in_features, hidden_features, bias)
        self.activation = make_activation(activation)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.down = nn.Linear(hidden_features, out_features, bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.dropout(self.activation(self.up(x))))
        return out


class StackedMLP(nn.Module):
    """An ensemble of perceptrons on stacked weights, which is faster than one after another while they are
    small: [... in] -> [... members out]. Member i is an `MLP` with rows i*hidden to (i+1)*hidden of `up`,
    and `down.weight[i]`, `down.bias[i]`. Dropout acts on the hidden values.
    """

    def __init__(
        self,
        members: int,
        in_features: int,
        hidden_features: int,
        out_features: int,
        activation: str = "gelu",
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.members = members
        self.up = nn.Linear(in_features, members * hidden_features, bias)
        self.activation = make_activation(activation)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.down = StackedLinear(members, hidden_features, out_features, bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(self.up(x)))
        out: Tensor = self.down(hidden.unflatten(-1, (self.members, -1)))
        return out


class StackedLinear(nn.Module):
    """Member i of the last axis but one has a linear map of its own: [... members in] -> [... members out]."""

    def __init__(self, members: int, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, out_features, in_features))
        self.bias = nn.Parameter(torch.empty(members, out_features)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As so many `nn.Linear`."""
        bound = self.weight.shape[-1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, *x.shape[-2:]).transpose(0, 1)
        out = torch.bmm(rows, self.weight.mT) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), rows, self.weight.mT)
        return out.transpose(0, 1).reshape(*x.shape[:-1], -1)


class GatedMLP(nn.Module):
    """SwiGLU, GeGLU, ReGLU (Shazeer 2020), by the activation of the gate: [... in] -> [... out].

    Dropout acts on the hidden values.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        activation: str = "silu",
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.gate = nn.Linear(in_features, hidden_features, bias)
        self.up = nn.Linear(in_features, hidden_features, bias)
        self.activation = make_activation(activation)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.down = nn.Linear(hidden_features, out_features, bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.dropout(self.activation(self.gate(x)) * self.up(x)))
        return out


class GLU(nn.Module):
    """One linear map to values a and gates b, then a * sigmoid(b) (Dauphin et al. 2017):
    [... in] -> [... out]."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, 2 * out_features, bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(self.linear(x), dim=-1)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x): the approximation that CLIP and early GPT code use."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def make_activation(name: str) -> nn.Module:
    """The activation of that name; KeyError for any other."""
    if name == "gelu_tanh":
        return nn.GELU(approximate="tanh")
    table: dict[str, type[nn.Module]] = {
        "relu": nn.ReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
        "softplus": nn.Softplus,
        "elu": nn.ELU,
        "leaky_relu": nn.LeakyReLU,
        "relu6": nn.ReLU6,
        "hardswish": nn.Hardswish,
        "mish": nn.Mish,
        "quick_gelu": QuickGELU,
        "identity": nn.Identity,
    }
    return table[name]()
