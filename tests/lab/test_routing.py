"""Probes, verdicts and the watch of `assembler.lab.routing`, on mixtures that are known to be ill or well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from assembler.lab import routing
from assembler.lab.routing.probe import experts
from assembler.library.modules.combine import sparse_combine
from assembler.library.modules.gating import Gating

torch.set_num_threads(1)
WIDTH, EXPERTS = 6, 4


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- mixtures ---
class Mix(nn.Module):
    """A mixture by hand: x [... 6] -> y [... 6], load. `route`: a linear router, or one that is given."""

    def __init__(self, route: nn.Module | None = None, alike: bool = False, **options: Any) -> None:
        super().__init__()
        self.router = route or nn.Linear(WIDTH, EXPERTS, bias=False)
        self.gating = Gating(EXPERTS, **{"top_k": 2, **options})
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(EXPERTS))
        if alike:
            for expert in self.experts:
                expert.load_state_dict(self.experts[0].state_dict())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gates, load, *_ = self.gating(self.router(x))
        return sparse_combine(x, gates, list(self.experts)), load


class Wrapped(nn.Module):
    """Two mixtures with a shared expert each, on a residual stream behind norms: x [batch seq 6] -> y."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.norm = nn.ModuleList(Mix() for _ in range(2)), nn.LayerNorm(WIDTH)
        self.shared = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        for mix in self.mix:
            x = x + mix(self.norm(x))[0] + self.shared(x)
        return x


class Of(nn.Module):
    """A router of one's own."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.function(x)
        return made


def _data(rows: int = 400) -> tuple[Tensor, Tensor]:
    label = torch.arange(rows) % EXPERTS
    return torch.eye(WIDTH)[label] * 4 + torch.randn(rows, WIDTH, generator=_drawn(5)) * 0.3, label


def _sum(made: Any) -> Tensor:
    value: Tensor = (made[0] if isinstance(made, tuple) else made).square().mean()
    return value


@pytest.mark.parametrize("inside", [False, True])
def test_each_expert_is_told_apart_whatever_surrounds_it(inside: bool) -> None:
    torch.manual_seed(0)
    model = Wrapped() if inside else Mix()
    x = torch.randn(5, 7, WIDTH)
    with torch.no_grad():
        found = experts(model, "mix.0.gating" if inside else "gating", {"x": x})
        rows = model.norm(x).reshape(-1, WIDTH) if isinstance(model, Wrapped) else x.reshape(-1, WIDTH)
        mix = model.mix[0] if isinstance(model, Wrapped) else model
        assert isinstance(mix, Mix)
        assert found.inputs is not None
        assert found.outputs is not None
        assert torch.equal(found.inputs, rows)
        for expert, output in zip(mix.experts, found.outputs, strict=True):
            assert torch.allclose(expert(rows), output, atol=1e-6)


def test_experts_that_cannot_be_told_apart_are_said_to_be_so() -> None:
    class Bent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gating, self.maps = Gating(EXPERTS), nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(EXPERTS))

        def forward(self, x: Tensor) -> Tensor:
            mixed = sparse_combine(x, self.gating(x[..., :EXPERTS])[0], list(self.maps))
            return nn.functional.layer_norm(mixed, (WIDTH,))

    found = routing.report(Bent(), _data()[0])["gating"]
    assert found.cka is None
    assert found.notes == ("the experts cannot be told apart: their container is not their weighted sum",)


def test_a_mixture_that_follows_its_labels_is_healthy() -> None:
    x, label = _data()
    model = Mix(Of(lambda x: x[..., :EXPERTS]), top_k=1, renormalize=False)
    with torch.no_grad():
        target = model(x)[0]
    found = routing.report(model, x, label, loss=lambda made: (made[0] - target).square().mean() + 1e-3)["gating"]
    assert found.information == pytest.approx(1)
    assert found.information_of == "labels"
    assert found.shuffle is not None
    assert found.shuffle > 10
    assert found.load == (0.25,) * 4
    assert found.dropped == found.unserved == 0
    assert found.verdict == (), found
    assert routing.report(model, x)["gating"].information == pytest.approx(1)  # clusters of the inputs are the labels
    assert routing.report(model, x)["gating"].information_of == "clusters"


@pytest.mark.parametrize(("route", "options", "verdict"), [
    (lambda x: x[..., :1] * 0 + torch.tensor([9.0, 0, 0, 0]), {"top_k": 1, "renormalize": False}, {"collapse", "saturated router", "no specialisation"}),
    (lambda x: x[..., :4] * 1e-3, {}, {"flat router"}),
    (lambda x: x[..., :4] * 1e3, {}, {"saturated router"}),
    (lambda x: torch.randn(len(x), 4, generator=_drawn(3)), {}, {"no specialisation"}),
])  # fmt: skip
def test_each_illness_has_its_word(route: Any, options: Mapping[str, Any], verdict: set[str]) -> None:
    torch.manual_seed(1)
    x, label = _data()
    assert set(routing.report(Mix(Of(route), **options), x, label)["gating"].verdict) == verdict


def test_equal_experts_are_not_specialised_however_well_they_are_chosen() -> None:
    x, label = _data()
    found = routing.report(Mix(Of(lambda x: x[..., :EXPERTS]), alike=True), x, label, loss=_sum)["gating"]
    assert found.cka == pytest.approx(1)
    assert found.shuffle == pytest.approx(1, rel=1e-4)
    assert found.information is not None
    assert found.information > 0.5
    assert found.verdict == ("no specialisation",)


def test_what_matters_but_not_by_the_labels_is_noted() -> None:
    x, label = _data()
    model = Mix(Of(lambda x: x[..., :EXPERTS]), top_k=1, renormalize=False)
    with torch.no_grad():
        target = model(x)[0]
    other = label[torch.randperm(len(label), generator=_drawn(0))]
    found = routing.report(model, x, other, loss=lambda made: (made[0] - target).square().mean() + 1e-3)["gating"]
    assert found.verdict == ("no specialisation",)
    assert found.notes[0].startswith("who gets which row matters")
    assert found.notes[0].endswith("but not by labels")


def test_a_report_is_asked_by_name_and_needs_a_batch() -> None:
    with pytest.raises(KeyError):
        routing.report(Mix(), _data()[0])["mixing"]
    with pytest.raises(ValueError, match="no batch"):
        routing.report(Mix(), [])


def test_flips_are_none_without_a_step_and_all_where_the_router_turns() -> None:
    x, label = _data()
    model = Mix(nn.Linear(WIDTH, EXPERTS))
    first = routing.report(model, x, label)
    assert routing.report(model, x, label, before=first)["gating"].flips == 0
    with torch.no_grad():
        assert isinstance(model.router, nn.Linear)
        model.router.weight.neg_()
        model.router.bias.neg_()
    turned = routing.report(model, x, label, before=first)
    assert turned["gating"].flips == 1
    assert "thrashing" in turned["gating"].verdict


def test_drops_and_rows_without_an_expert_are_reported() -> None:
    x, _ = _data()
    found = routing.report(
        Mix(Of(lambda x: x[..., :1] * 0 + torch.tensor([2.0, 0, 0, 0])), top_k=1, renormalize=False, capacity=1.0), x
    )["gating"]
    assert found.dropped == pytest.approx(0.75)
    assert found.unserved == pytest.approx(0.75)
    assert found.max_violation == 3
    assert "collapse" in found.verdict


def test_a_probe_leaves_no_trace() -> None:
    torch.manual_seed(0)
    model = Mix(balance="bias", top_k=1, renormalize=False).train()
    model.experts[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    routing.report(model, _data()[0], _data()[1], loss=_sum)
    assert model.training
    assert model.gating.training
    assert not model.experts[0].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(item.grad is None for item in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_labels_may_be_of_the_batch_of_rows_or_of_several_batches() -> None:
    torch.manual_seed(0)
    model, x = Wrapped(), torch.randn(6, 50, WIDTH)
    label = torch.arange(6) % 3
    coarse = routing.report(model, x, label)
    assert coarse == routing.report(model, x, label[:, None].expand(6, 50))
    assert [mixture.name for mixture in coarse.mixtures] == ["mix.0.gating", "mix.1.gating"]
    assert coarse["mix.1.gating"].rows == 300
    several = routing.report(model, [x[:2], x[2:]], [label[:2], label[2:]])
    assert several["mix.0.gating"].load == coarse["mix.0.gating"].load
    assert several["mix.0.gating"].information == pytest.approx(coarse["mix.0.gating"].information)
    with pytest.raises(ValueError, match="do not fit"):
        routing.report(model, x, torch.zeros(5))
    with pytest.raises(ValueError, match="labels for"):
        routing.report(model, [x, x], label)


def test_few_rows_are_not_judged_by_their_load() -> None:
    found = routing.report(Mix(Of(lambda x: x[..., :1] * 0 + torch.tensor([2.0, 1, 0, 0]))), _data(20)[0])["gating"]
    assert found.dead == 2
    assert "collapse" not in found.verdict
    assert any("too few rows" in note for note in found.notes)


def test_before_training_only_the_start_is_judged() -> None:
    x, _ = _data()
    flat = Mix(Of(lambda x: x[..., :4] * 1e-3), alike=True)
    assert not routing.report(flat, x).healthy
    assert routing.report(flat, x, trained=False).healthy


def test_a_model_without_a_mixture_is_refused() -> None:
    with pytest.raises(ValueError, match="no mixture"):
        routing.report(nn.Linear(2, 2), torch.ones(1, 2))
    with pytest.raises(ValueError, match="no mixture"), routing.watch(nn.Linear(2, 2)):
        pass


def test_a_report_prints_and_is_data() -> None:
    torch.manual_seed(0)
    found = routing.report(Wrapped(), _data()[0].reshape(40, 10, WIDTH), loss=_sum)
    lines = str(found).splitlines()
    assert " ".join(lines[0].split()) == "mixture experts rows MaxVio dead H(load) H(p) lse² NMI CKA shuffle verdict"
    assert lines[2].startswith("mix.0.gating   2 of 4   400")
    data = json.loads(found.to_json())
    assert data["mixtures"][0]["load"] == list(found.mixtures[0].load)
    assert data["mixtures"][0]["flips"] is None
    assert "choice" not in data["mixtures"][0]
    assert data["healthy"] is found.healthy
    assert data["limits"]["max_violation"] == 1


# --- watching ---
def test_watching_adds_up_the_loads_of_a_loop() -> None:
    torch.manual_seed(0)
    model, seen = Mix(), []
    with routing.watch(model) as health:
        for rows in (10, 30, 60):
            seen.append((rows, model(torch.randn(rows, WIDTH))[1]))
        found = health.report()["gating"]
        assert found.rows == 100
        assert torch.allclose(torch.tensor(found.load), sum(rows * load for rows, load in seen) / torch.tensor(100.0))
        assert health.report().mixtures == ()
        model(torch.randn(5, WIDTH))
        assert health.report()["gating"].rows == 5
    assert not model.gating._forward_hooks


def test_watching_sees_a_collapse() -> None:
    model = Mix(Of(lambda x: x[..., :1] * 0 + torch.tensor([9.0, 8.0, 0, 0])))
    with routing.watch(model) as health:
        model(_data()[0])
        assert health.report()["gating"].verdict == ("collapse",)


def test_a_compiled_model_is_watched_from_its_first_call() -> None:
    torch.manual_seed(0)
    model = Mix()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with routing.watch(compiled) as health:  # type: ignore[arg-type]
        for _ in range(3):
            load = compiled(_data()[0])[1]
        found = health.report()["gating"]
    assert found.rows == 1200
    assert found.load == pytest.approx(load.tolist())
