"""Mixtures of experts beside a dense MLP of equal FLOPs, the seed's loops, and Transformers' block. Writes mixture.md.

    python benchmarks/mixture.py          about eight minutes

Every expert is linear, relu, linear. A step is forward and backward from empty gradients, as in training.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from common import machine, say, table, write
from torch import Tensor, nn
from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

import assembler
from assembler.library.modules import Gating, sparse_combine

Run = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """Tokens, width, an expert's hidden width, experts, experts for each token. `ours`: the most that is allowed."""

    name: str
    tokens: int
    width: int
    hidden: int
    experts: int
    top_k: int
    ours: float


CASES = [
    Case("2048 tokens, d 256, E 8, k 2, hidden 512", 2048, 256, 512, 8, 2, 1.35),
    Case("2048 tokens, d 256, E 64, k 8, hidden 128", 2048, 256, 128, 64, 8, 1.35),
    Case("2048 tokens, d 256, E 64, k 8, hidden 512", 2048, 256, 512, 64, 8, 1.35),
    Case("2048 tokens, d 256, E 64, k 8, hidden 1024", 2048, 256, 1024, 64, 8, 1.35),
    Case("2048 tokens, d 512, E 64, k 2, hidden 1024", 2048, 512, 1024, 64, 2, 1.35),
]
HARD = [
    Case("2048 tokens, d 256, E 8, k 1, hidden 1024", 2048, 256, 1024, 8, 1, 1.2),
    Case("2048 tokens, d 256, E 64, k 1, hidden 1024", 2048, 256, 1024, 64, 1, 2.3),
]


# --- what is compared ---
def mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))


class SparseMoE(nn.Module):
    """The seed's, word for word."""

    def __init__(self, input_dim: int, expert_dim: int, num_experts: int, top_k: int = 2) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.top_k = top_k
        self.gate = nn.Linear(input_dim, num_experts)
        self.experts = nn.ModuleList([mlp(input_dim, expert_dim) for _ in range(num_experts)])

    def forward(self, x: Tensor) -> Tensor:
        gate_logits = self.gate(x)
        gate_probs = F.softmax(gate_logits, dim=-1)
        top_k_probs, top_k_indices = gate_probs.topk(self.top_k, dim=-1)
        top_k_probs = top_k_probs / top_k_probs.sum(dim=-1, keepdim=True)
        output = torch.zeros_like(x)
        for k in range(self.top_k):
            expert_idx = top_k_indices[:, k]
            weight = top_k_probs[:, k]
            for i in range(self.num_experts):
                mask = expert_idx == i
                if mask.any():
                    expert_out = self.experts[i](x[mask])
                    output[mask] += weight[mask].unsqueeze(-1) * expert_out
        return output


class RoutedComposition(nn.Module):
    """The seed's, word for word."""

    def __init__(self, router: nn.Module, experts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.router = router
        self.experts = nn.ModuleList(experts)

    def forward(self, x: Tensor) -> Tensor:
        route_logits = self.router(x)
        route_idx = route_logits.argmax(dim=-1)
        outputs = torch.zeros_like(self.experts[0](x))
        for i, expert in enumerate(self.experts):
            mask = route_idx == i
            if mask.any():
                outputs[mask] = expert(x[mask])
        return outputs


class Mixture(nn.Module):
    """Ours, on the seed's own router and experts."""

    def __init__(self, router: nn.Module, experts: nn.ModuleList, gating: Gating) -> None:
        super().__init__()
        self.router, self.experts, self.gating = router, experts, gating

    def forward(self, x: Tensor) -> Tensor:
        gates, _load, *losses = self.gating(self.router(x))
        out = sparse_combine(x, gates, list(self.experts))
        # What training adds to its loss; here it only has to be computed, backward too.
        return out + torch.stack(losses).sum() if losses else out


class Trained(nn.Module):
    """A built mixture with its losses: what training adds to its own; here it only has to be computed, backward too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        found = self.model(x)
        out: Tensor = found["y"] + found["aux"]
        return out


def built(seed: SparseMoE, case: Case, losses: bool) -> nn.Module:
    """A `moe` as `assembler.build` makes it of a recipe, with the weights of the seed's."""
    node = {"kind": "moe", "experts": case.experts, "top_k": case.top_k, "router": {"kind": "linear"}, "from": "x"}
    node["expert"] = {"kind": "mlp", "hidden": case.hidden, "activation": "relu"}
    node |= {"balance": "switch", "z_loss": 1e-3} if losses else {"balance": "none", "z_loss": 0.0}
    outputs = {"y": "t", "aux": "losses"} if losses else {"y": "t"}
    model = assembler.build(
        assembler.recipe(
            {"name": "mixture", "inputs": {"x": f"[batch {case.width}]"}, "nodes": {"t": node}, "outputs": outputs}
        )
    )
    state = {f"t.router.{key}": value for key, value in seed.gate.state_dict().items()}
    for index, expert in enumerate(seed.experts):
        for name, layer in (("up", expert[0]), ("down", expert[2])):
            state |= {f"t.experts.{index}.{name}.{key}": value for key, value in layer.state_dict().items()}
    model.load_state_dict(state)
    return Trained(model) if losses else model


class NoLoad(Gating):
    """Without the share of each expert, which nobody reads here."""

    def _load(self, kept: Tensor, rows: int) -> Tensor:
        return kept


def qwen(case: Case, way: str) -> nn.Module:
    """Transformers' block. Its experts have three matrices: two thirds of the hidden width, to a multiple of 8."""
    config = Qwen3MoeConfig(
        hidden_size=case.width, moe_intermediate_size=round(case.hidden * 2 / 3 / 8) * 8, num_experts=case.experts,
        num_experts_per_tok=case.top_k, norm_topk_prob=True,
    )  # fmt: skip
    config._experts_implementation = way
    block = Qwen3MoeSparseMoeBlock(config)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=case.width**-0.5)
    return nn.Sequential(nn.Unflatten(0, (1, -1)), block, nn.Flatten(0, 1))


# --- time ---
def step(model: nn.Module, x: Tensor) -> Run:
    leaf, cotangent = x.clone().requires_grad_(), torch.randn(x.shape)

    def run() -> None:
        leaf.grad = None
        model.zero_grad(set_to_none=True)
        model(leaf).backward(cotangent)

    return run


def in_turns(runs: Sequence[Run], unit: Run, times: int) -> tuple[list[float], list[float], float]:
    """Median of the ratios run / unit of one round, for each run; median milliseconds of each, and of the unit.

    Of two steps in a row the second counts: a step of training follows one of the same model, and finds the
    memory that it freed. Seconds of this thread (one thread does all the work): other processes on the machine
    do not count as ours.
    """
    gc.collect()
    rounds = []
    for _ in range(times):
        rounds.append([_second(run) for run in (*runs, unit)])
    middle = [statistics.median(column) * 1e3 for column in zip(*rounds, strict=True)]
    ratios = [statistics.median(row[place] / row[-1] for row in rounds) for place in range(len(runs))]
    return ratios, middle[:-1], middle[-1]


def _second(run: Run) -> float:
    run()
    return _seconds(run)


def _seconds(run: Run) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


# --- the tables ---
def mixtures(case: Case) -> list[str]:
    say(case.name)
    torch.manual_seed(0)
    x = torch.randn(case.tokens, case.width)
    seed = SparseMoE(case.width, case.hidden, case.experts, case.top_k)
    ours, trained = built(seed, case, losses=False), built(seed, case, losses=True)
    torch.testing.assert_close(ours(x), seed(x), rtol=1e-5, atol=1e-5)
    unit = step(mlp(case.width, case.top_k * case.hidden), x)
    grouped = qwen(case, "grouped_mm")
    fast, _, dense = in_turns([step(ours, x), step(trained, x), step(seed, x), step(grouped, x)], unit, 7)
    del grouped
    slow, _, _ = in_turns([step(qwen(case, "eager"), x)], unit, 2)
    shown = [f"{ratio:.2f}" for ratio in (*fast, *slow)]
    return [case.name, f"{case.ours}", *shown, f"{slow[0] / fast[0]:.1f}", f"{dense:.1f}"]


def hard(case: Case) -> list[str]:
    say(case.name)
    torch.manual_seed(0)
    x = torch.randn(case.tokens, case.width)
    seed = RoutedComposition(
        nn.Linear(case.width, case.experts), [mlp(case.width, case.hidden) for _ in range(case.experts)]
    )
    plain = Gating(case.experts, 1, weighted=False)
    ours = Mixture(seed.router, seed.experts, plain)
    torch.testing.assert_close(ours(x), seed(x), rtol=1e-5, atol=1e-5)
    weighted = Mixture(seed.router, seed.experts, Gating(case.experts, 1, renormalize=False))
    winner = Mixture(seed.router, seed.experts, Gating(case.experts, 1, weighted=False, straight_through="winner"))
    unit = step(mlp(case.width, case.hidden), x)
    found, _, dense = in_turns([step(item, x) for item in (ours, weighted, winner, seed)], unit, 7)
    return [case.name, f"{case.ours}", *(f"{ratio:.2f}" for ratio in found), f"{dense:.1f}"]


def doubling() -> list[list[str]]:
    """Backward alone, at twice the experts and the same tokens."""
    torch.manual_seed(0)
    x, counts = torch.randn(2048, 256), (8, 16, 32, 64)
    rows = []
    models = [
        Mixture(nn.Linear(256, count), nn.ModuleList(mlp(256, 512) for _ in range(count)), Gating(count, 2))
        for count in counts
    ]
    for fewer, more, small, large in zip(counts, counts[1:], models, models[1:], strict=False):
        say(f"{more} experts for {fewer}")
        ratios = []
        for turn in range(13):
            one, two = _backward(small, x), _backward(large, x)
            if turn > 1:
                ratios.append(two / one)
        rows.append([f"{fewer} to {more} experts", "1.5", f"{statistics.median(ratios):.2f}"])
    return rows


def _backward(model: nn.Module, x: Tensor) -> float:
    leaf = x.clone().requires_grad_()
    model.zero_grad(set_to_none=True)
    out = model(leaf).sum()
    return _seconds(out.backward)


def health(case: Case) -> list[str]:
    """The share of a step that goes to the load of each expert: both run in turns, one only differs by it."""
    torch.manual_seed(0)
    x = torch.randn(case.tokens, case.width)
    ours = Mixture(
        nn.Linear(case.width, case.experts),
        nn.ModuleList(mlp(case.width, case.hidden) for _ in range(case.experts)),
        Gating(case.experts, case.top_k),
    )
    without = Mixture(ours.router, ours.experts, NoLoad(case.experts, case.top_k))
    (ratio,), _, _ = in_turns([step(ours, x)], step(without, x), 15)
    mask = torch.zeros(case.tokens, case.experts)
    alone = min(_seconds(lambda: ours.gating._load(mask, case.tokens)) for _ in range(50))
    whole = min(_seconds(step(without, x)) for _ in range(5))
    return [case.name, "1.02", f"{ratio:.3f}", f"{1 + alone / whole:.4f}"]


def main() -> None:
    torch.set_num_threads(1)
    about = (
        f"{machine('torch', 'transformers')}, one thread.\n\n"
        "Written by `benchmarks/mixture.py`: forward and backward, float32, as multiples of a dense MLP of equal FLOPs (hidden\n"
        "width k times an expert's, `hidden`). Experts are separate modules, linear-relu-linear. With 64 experts each gets 256\n"
        "rows: their products are slower than one of 2,048 rows, the more so the narrower the expert (six products of 256 rows\n"
        "and 128 hidden take 1.15 times what the one takes by themselves), and the rows of k experts have to be gathered and summed\n"
        "whatever an expert costs. All in a row run in turns, two steps each, of which the\n"
        "second counts; a figure is the median over rounds of the ratio to the dense MLP of the same round, in CPU time of the one\n"
        "thread. Ours of the first table is `kind: moe` as it is built; ours and the seed's loops hold the same weights and give the same\n"
        "values (asserted)."
    )
    write(
        "mixture.md", "Mixtures of experts", about,
        table(["top-k mixtures", "at most", "ours", "ours, switch and z loss", "the seed's loop", "Qwen3-MoE, grouped", "Qwen3-MoE, eager", "eager / ours", "dense, ms"], [mixtures(case) for case in CASES]),
        table(["hard routing", "at most", "ours", "ours, weighted", "ours, straight-through", "the seed's loop", "dense, ms"], [hard(case) for case in HARD]),
        table(["backward at fixed tokens (d 256, hidden 512, k 2)", "at most", "ratio"], doubling()),
        "The load that each expert got, as an output of every forward: a whole step with it over one without (in turns; its noise is\n"
        "about a hundredth), and what the operation takes by itself, added to the step.\n",
        table(["routing health", "at most", "with / without", "by itself"], [health(case) for case in CASES[:2]]),
    )  # fmt: skip


if __name__ == "__main__":
    main()
