"""The numbers of `assembler.lab.routing` against brute force, closed forms and scikit-learn."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from assembler.lab.routing import metrics
from assembler.library.modules.gating import Gating

torch.set_num_threads(1)


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
