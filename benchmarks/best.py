"""The fastest forms we know how to write by hand, on the parameters of a model that exists.

Leaves are inlined: functions of torch on parameters, no module is called. The price is that hooks
on leaves do not fire and that the text is no longer how people write models.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Parameters = dict[str, Tensor]


def chain(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Each layer's table of parameters is read, never a tensor kept: survives `load_state_dict(assign=True)`."""
    tables = [module._parameters for module in model.children()]

    def forward(x: Tensor) -> Tensor:
        for table in tables:
            x = F.linear(x, table["weight"], table["bias"])  # type: ignore[arg-type]
        return x

    return forward


def dag(model: nn.Module) -> Callable[[Tensor], Tensor]:
    a_, b_, c_, d_, e_, f_, g_, h_, i_, j_, k_, l_ = (module._parameters for module in model.children())

    def linear(x: Tensor, table: dict[str, Tensor]) -> Tensor:
        return F.linear(x, table["weight"], table["bias"])

    def forward(x: Tensor) -> Tensor:
        a = linear(x, a_)  # type: ignore[arg-type]
        b = linear(x, b_)  # type: ignore[arg-type]
        c = linear(a + b, c_)  # type: ignore[arg-type]
        d = linear(a, d_)  # type: ignore[arg-type]
        del a
        e = linear(c + d, e_)  # type: ignore[arg-type]
        f = linear(F.relu(b), f_)  # type: ignore[arg-type]
        del b
        g = linear(e + f, g_)  # type: ignore[arg-type]
        del e
        h = linear(c * torch.sigmoid(g), h_)  # type: ignore[arg-type]
        del c, g
        i = linear(h + d + f, i_)  # type: ignore[arg-type]
        del d, f
        j = linear(F.relu(i), j_)  # type: ignore[arg-type]
        k = linear(j + h, k_)  # type: ignore[arg-type]
        del j, h
        return linear(k + i + x, l_)  # type: ignore[arg-type]

    return forward


def transformer(model: nn.Module, name: str, heads: int, causal: bool, approximate: str) -> Callable[[Tensor], Tensor]:
    """The blocks under `name`, on a stream x: [batch seq width]."""
    blocks = [[dict(block.get_submodule(part).named_modules()) for part in ("attend_pre_norm", "attend", "think_pre_norm", "think")]
              for block in model.get_submodule(name).children()]  # fmt: skip

    def linear(x: Tensor, module: nn.Module) -> Tensor:
        table = module._parameters
        return F.linear(x, table["weight"], table["bias"])  # type: ignore[arg-type]

    def norm(x: Tensor, module: nn.Module) -> Tensor:
        table = module._parameters
        return F.layer_norm(x, x.shape[-1:], table["weight"], table["bias"])

    def forward(x: Tensor) -> Tensor:
        batch, seq, width = x.shape
        for before, attend, behind, think in blocks:
            h = norm(x, before[""])
            q = linear(h, attend["q"]).view(batch, seq, heads, -1).transpose(1, 2)
            k = linear(h, attend["k"]).view(batch, seq, heads, -1).transpose(1, 2)
            v = linear(h, attend["v"]).view(batch, seq, heads, -1).transpose(1, 2)
            h = F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).reshape(batch, seq, width)
            del q, k, v
            x = x + linear(h, attend["out"])
            h = linear(norm(x, behind[""]), think["up"])
            x = x + linear(F.gelu(h, approximate=approximate), think["down"])
            del h
        return x

    return forward


def digits(model: nn.Module) -> Callable[[Tensor], dict[str, Tensor]]:
    blocks = transformer(model, "encoder", 4, False, "none")
    proj, place = model.get_submodule("patches.proj")._parameters, model.get_submodule("place")._parameters
    final, head = model.get_submodule("final")._parameters, model.get_submodule("head")._parameters

    def forward(image: Tensor) -> dict[str, Tensor]:
        x = F.conv2d(image, proj["weight"], proj["bias"], stride=2).flatten(2).transpose(1, 2)  # type: ignore[arg-type]
        x = blocks(x + place["weight"])  # type: ignore[operator]
        x = F.layer_norm(x, (64,), final["weight"], final["bias"]).mean(dim=1)
        return {"logits": F.linear(x, head["weight"], head["bias"]), "aux_loss": x.new_zeros(())}  # type: ignore[arg-type]

    return forward


def gpt2(model: nn.Module) -> Callable[[Tensor], Tensor]:
    blocks = transformer(model, "stack", 4, True, "tanh")
    embed, place = model.get_submodule("embed")._parameters, model.get_submodule("place")._parameters
    final = model.get_submodule("final")._parameters

    def forward(ids: Tensor) -> Tensor:
        x = F.embedding(ids, embed["weight"])  # type: ignore[arg-type]
        x = blocks(x + place["weight"][: ids.shape[1]])  # type: ignore[index]
        return F.linear(F.layer_norm(x, (256,), final["weight"], final["bias"]), embed["weight"])  # type: ignore[arg-type]

    return forward


def whole(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Of `twins.Transformer`."""
    blocks, final = transformer(model, "encoder", 4, False, "none"), model.get_submodule("final")._parameters

    def forward(x: Tensor) -> Tensor:
        return F.layer_norm(blocks(x), (256,), final["weight"], final["bias"])

    return forward
