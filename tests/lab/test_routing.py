"""The numbers of `assembler.lab.routing` against brute force and closed forms; probes and verdicts on mixtures that are known to be ill or well."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor, nn

import assembler
from assembler.lab import routing
from assembler.lab.routing import metrics
from assembler.lab.routing.__main__ import main
from assembler.lab.routing.probe import experts
from assembler.library.modules.combine import sparse_combine
from assembler.library.modules.gating import Gating
from benchmarks.routing import WAYS, outcome, wrong

torch.set_num_threads(1)
WIDTH, EXPERTS = 6, 4


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- numbers ---
def test_load_counts_what_is_not_zero() -> None:
    gates = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    assert metrics.load(gates, 2).tolist() == [1 / 8, 3 / 8, 1 / 8]
    assert metrics.drop_rate(metrics.load(gates, 2)) == 3 / 8
    assert metrics.unserved(gates) == 1 / 4


@pytest.mark.parametrize(("shares", "violation", "dead", "entropy"), [
    ([0.25, 0.25, 0.25, 0.25], 0.0, 0, 1.0),
    ([0.0, 1.0, 0.0, 0.0], 3.0, 3, 0.0),
    ([0.5, 0.5, 0.0, 0.0], 1.0, 2, 0.5),
    ([0.25, 0.25, 0.0, 0.0], 1.0, 2, 0.5),  # the same, half of it dropped
    ([0.024, 0.026, 0.45, 0.5], 1.0, 1, None),
    ([0.0, 0.0, 0.0, 0.0], -1.0, 4, 0.0),  # everything dropped
    ([1.0], 0.0, 0, 1.0),
])  # fmt: skip
def test_what_a_load_says(shares: list[float], violation: float, dead: int, entropy: float | None) -> None:
    f = torch.tensor(shares)
    assert metrics.max_violation(f) == pytest.approx(violation)
    assert metrics.dead(f) == dead
    assert entropy is None or metrics.load_entropy(f) == pytest.approx(entropy)


def test_entropy_of_the_router() -> None:
    sharp = torch.eye(4) * 100
    assert metrics.token_entropy(metrics.probabilities(sharp)) == pytest.approx(0, abs=1e-6)
    assert metrics.token_entropy(metrics.probabilities(torch.zeros(3, 2, 4))) == pytest.approx(1)
    assert metrics.token_entropy(metrics.probabilities(torch.zeros(3, 4), "sigmoid")) == pytest.approx(1)
    assert metrics.token_entropy(metrics.probabilities(torch.zeros(3, 1))) == 1
    scores = torch.randn(50, 4, generator=_drawn(0))
    for p in (metrics.probabilities(scores, temperature=0.5), metrics.probabilities(scores, "sigmoid")):
        by_hand = [-sum(x * math.log(x) for x in row) / math.log(4) for row in p.tolist()]
        assert metrics.token_entropy(p) == pytest.approx(sum(by_hand) / 50, rel=1e-5)
    assert torch.allclose(metrics.probabilities(scores, temperature=0.5), (2 * scores).softmax(-1))
    assert metrics.squared_logsumexp(torch.zeros(7, 4)) == pytest.approx(math.log(4) ** 2)


def test_switch_loss_near_its_best_says_nothing_of_collapse() -> None:
    """Why load is measured: every row on one expert, and a loss of 1.00 where balanced is 1."""
    gating = Gating(8, top_k=1, renormalize=False, balance="switch", balance_weight=1.0)
    scores = torch.randn(500, 8, generator=_drawn(0)) * 1e-3
    scores[:, 0] += 0.02
    gates, load, loss = gating(scores)
    assert 1 < float(loss) < 1.03
    assert metrics.max_violation(load) == 7
    assert metrics.dead(metrics.load(gates, 1)) == 7


def test_information_of_equal_and_of_independent_labels() -> None:
    a = torch.arange(12) % 4
    assert metrics.mutual_information(a, 7 - 2 * a) == pytest.approx(1)  # other names, the same labels
    assert metrics.mutual_information(torch.arange(12) % 3, torch.arange(12) % 4) == pytest.approx(0, abs=1e-12)
    assert metrics.mutual_information(torch.zeros(12), a) == 0
    assert metrics.mutual_information(torch.zeros(12), torch.ones(12)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_information_against_counting_and_against_scikit_learn(seed: int) -> None:
    a, b = torch.randint(5, (2, 80), generator=_drawn(seed))
    b = torch.where(torch.rand(80, generator=_drawn(seed + 9)) < 0.5, a, b)
    one, two, both = Counter(a.tolist()), Counter(b.tolist()), Counter(zip(a.tolist(), b.tolist(), strict=True))
    shared = sum(n / 80 * math.log(n * 80 / one[x] / two[y]) for (x, y), n in both.items())
    entropies = sum(-n / 80 * math.log(n / 80) for count in (one, two) for n in count.values())
    assert metrics.mutual_information(a, b) == pytest.approx(2 * shared / entropies)
    assert metrics.mutual_information(a, b) == pytest.approx(normalized_mutual_info_score(a, b))


def test_shuffled_labels_are_the_null_of_information() -> None:
    few, many = (torch.randint(8, (rows,), generator=_drawn(1)) for rows in (40, 4000))
    chance, deviation = metrics.shuffled_information(few, few)
    assert 0.1 < chance < 0.5
    assert 0 < deviation < 0.2
    assert metrics.shuffled_information(many, many)[0] < 0.01
    assert metrics.shuffled_information(few, few) == (chance, deviation)


def test_clusters_are_found_as_scikit_learn_finds_them() -> None:
    centres = torch.randn(5, 8, generator=_drawn(0)) * 4
    label = torch.arange(200) % 5
    x = centres[label] + torch.randn(200, 8, generator=_drawn(1))
    found = metrics.clusters(x, 5)
    assert metrics.mutual_information(found, label) == pytest.approx(1)
    cloud = torch.randn(300, 3, generator=_drawn(2))
    found = metrics.clusters(cloud, 6)
    inertia = sum(float((cloud[found == k] - cloud[found == k].mean(0)).square().sum()) for k in range(6))
    assert inertia < 1.05 * KMeans(6, n_init=10, random_state=0).fit(cloud.numpy()).inertia_
    assert metrics.clusters(torch.zeros(9, 2), 3).shape == (9,)  # fewer points than clusters


def test_cka_does_not_see_rotation_scale_or_shift() -> None:
    x, y = torch.randn(2, 300, 5, generator=_drawn(0), dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=_drawn(1), dtype=torch.float64)).Q
    assert metrics.cka(x, 3 * x @ turn + 7) == pytest.approx(1)
    assert metrics.cka(x, y) == pytest.approx(metrics.cka(y, x))
    assert metrics.cka(x, y @ turn) == pytest.approx(metrics.cka(x, y))
    assert metrics.cka(x, y) < 0.05
    assert 0.1 < metrics.cka(x, x + y) < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_cka_against_its_definition_by_gram_matrices(seed: int) -> None:
    x, y = torch.randn(40, 6, generator=_drawn(seed)).double(), torch.randn(40, 3, generator=_drawn(seed + 9)).double()
    centre = torch.eye(40, dtype=torch.float64) - 1 / 40
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    assert metrics.cka(x, y) == pytest.approx(float((k * m).sum() / (k.norm() * m.norm())))


def test_mean_cka_is_over_pairs() -> None:
    outputs = torch.randn(4, 50, 3, generator=_drawn(0))
    pairs = [metrics.cka(outputs[i], outputs[j]) for i, j in itertools.combinations(range(4), 2)]
    assert metrics.mean_cka(outputs) == pytest.approx(sum(pairs) / 6)
    assert min(pairs) <= metrics.mean_cka(outputs, pairs=1) <= max(pairs)
    assert metrics.mean_cka(outputs[:1].expand(3, -1, -1)) == pytest.approx(1)
    assert math.isnan(metrics.mean_cka(outputs[:1]))
    assert metrics.cka(torch.ones(9, 2), torch.zeros(9, 2)) == 1
    assert metrics.cka(torch.ones(9, 2), outputs[0][:9]) == 0


def test_first_choices_and_flips() -> None:
    gates = torch.tensor([[0.0, 0.4, 0.6], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    scores = torch.tensor([[9.0, 1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    choice = metrics.first_choice(gates, scores)
    assert choice.tolist() == [2, -1, 1]
    assert metrics.flip_rate(choice, choice) == 0
    assert metrics.flip_rate(choice, torch.tensor([2, 0, 0])) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="same batch"):
        metrics.flip_rate(choice, choice[:2])


def test_shuffled_gates_are_the_same_rows() -> None:
    gates = torch.rand(3, 5, 4, generator=_drawn(0))
    other = metrics.shuffled(gates)
    assert not torch.equal(other, gates)
    assert torch.equal(other.reshape(-1, 4).sort(0).values, gates.reshape(-1, 4).sort(0).values)


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


# --- the command ---
RECIPE = """
inputs: {x: "[batch seq 8]"}
nodes:
  router: {kind: linear, out: 3, bias: false, from: x}
  gating: {kind: gating, top_k: 2, balance: none, from: router}
  a: {kind: mlp, hidden: 8, from: x}
  b: {kind: mlp, hidden: 16, from: x}
  c: {kind: linear, out: 8, from: x}
  mix: {kind: combine, from: {gates: gating, x: [a, b, c]}}
outputs: {y: mix}
"""


def _command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    return code, *capsys.readouterr()


def test_the_command_probes_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text(RECIPE)
    code, said, _ = _command(capsys, path)
    assert code == 0, said
    assert said.splitlines()[2].startswith("gating    2 of 3  1,025")
    code, said, _ = _command(capsys, path, "+nodes.gating.temperature=0.001", "--json")
    assert code == 1
    assert json.loads(said)["mixtures"][0]["verdict"] == ["saturated router"]
    assert _command(capsys, path, "nodes.gating.top_k=9")[0] == 1  # does not check
    code, said, _ = _command(capsys, path, "inputs.x=[... 8]")  # batches of two rows
    assert code == 0
    assert "too few rows for clusters" in said
    assert "too few rows to compare experts" in said


def test_the_command_judges_a_trained_model_on_real_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text(RECIPE)
    model = assembler.build(path, seed=3)
    with torch.no_grad():
        model.get_parameter("router.weight").mul_(1e-3)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    save_file({"x": torch.randn(50, 20, 8, generator=_drawn(0))}, tmp_path / "inputs.safetensors")
    files = ("--weights", tmp_path / "weights.safetensors", "--inputs", tmp_path / "inputs.safetensors")
    code, said, _ = _command(capsys, path, *files)
    assert code == 1
    assert "flat router" in said
    assert _command(capsys, path, *files[:2])[0] == 0  # drawn inputs: what training brings is not judged
    code, _, said = _command(capsys, path, "--weights", tmp_path / "inputs.safetensors")
    assert code == 2
    assert "cannot be loaded" in said


def test_the_command_refuses_a_recipe_without_a_mixture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text('inputs: {x: "[batch 8]"}\nnodes: {a: {kind: linear, out: 8, from: x}}\noutputs: {y: a}\n')
    code, _, said = _command(capsys, path)
    assert code == 2
    assert "no mixture" in said


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


# --- toy truths ---
def test_the_toy_of_the_benchmark_is_exact_where_it_can_be() -> None:
    """Expert choice is balanced whatever it learns; the same seed is the same run."""
    found = {way: outcome(options, 0, 50) for way, options in WAYS.items()}
    assert found["expert choice"].mixture.max_violation == 0
    assert found["expert choice"].mixture.dead == 0
    assert all(run.mixture.rows == 1024 for run in found.values())
    assert outcome(WAYS["none"], 0, 50) == found["none"]


def test_the_benchmark_says_what_is_wrong() -> None:
    run = outcome(WAYS["expert choice"], 0, 0)
    healthy, ill = (
        run._replace(mixture=replace(run.mixture, verdict=verdict, max_violation=violation, cka=0.1))
        for verdict, violation in (((), 0.0), (("collapse",), 9.0))
    )
    idle = healthy._replace(
        flips=0.9, mixture=replace(healthy.mixture, verdict=("flat router",), max_violation=1.0, cka=0.9)
    )
    fallen = [ill._replace(mixture=replace(ill.mixture, max_violation=violation)) for violation in (7.0, 5.0, 3.0)]
    right = dict(zip(WAYS, ([one] for one in (*fallen, idle, healthy)), strict=True))
    assert wrong(right) == []
    for way, other in (
        ("none", healthy),
        ("none", idle),
        ("bias 5e-3, sigmoid", healthy),
        ("bias 5e-3, sigmoid", ill),
        ("expert choice", idle),
        ("expert choice", ill),
    ):
        assert wrong({**right, way: [other]}), way
