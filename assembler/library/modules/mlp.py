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
