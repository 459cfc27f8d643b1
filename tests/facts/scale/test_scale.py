"""Analysis S against built models: every edge of known architectures and of the shipped recipes inside its band."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from assembler.assemble import check, checked, recipe
from assembler.facts.flow import Flow, flow
from assembler.facts.scale.analysis import Scale, scale
from assembler.facts.scale.why import derivation
from assembler.lab.moments import tried
from tests.facts.scale.scale_cases import SHIPPED, STATIC, Case


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", [*STATIC, *SHIPPED], ids=lambda case: case.name)
def test_every_edge_is_inside_its_band(case: Case) -> None:
    rows = tried(*case.graph(), case.sizes, range(case.seeds))
    assert rows
    assert not [row for row in rows if not row.inside]
    assert not [row for row in rows if row.predicted is None], "nothing here is beyond prediction"


@pytest.mark.parametrize(("init", "seq"), [("normal(0.02)", 512), ("normal(0.1)", 256)])
def test_causal_attention_reads_prefixes_whose_tokens_share_more_than_any_two(init: str, seq: int) -> None:
    """Narrow peri-norm stacks: early tokens were means of few, and are alike."""
    parts = {"attend": {"kind": "attention", "heads": 4, "causal": True, "init": init}, "think": {"kind": "mlp", "init": init}}
    nodes = {"stack": {"kind": "bus", "repeat": 2, "norm": "both", "from": "x", "parts": parts}}
    rows = tried(*checked(recipe({"inputs": {"x": "[batch seq 64]"}, "nodes": nodes, "outputs": {"y": "stack"}})), {"batch": 2, "seq": seq}, range(40, 44))
    assert not [row for row in rows if not row.inside]
    (second,) = [row for row in rows if (row.what, row.address) == ("q", "stack.1.attend.y")]
    assert second.predicted is not None
    assert 1 / 1.25 < second.measured / second.predicted < 1.25


def test_bands_are_those_of_the_contract() -> None:
    """1.3 of values, 1.5 of gradients, where no relu chain is and no attention's q and k."""
    known = _scaled({"inputs": {"x": "[batch 64]"}, "nodes": {"a": {"kind": "linear", "out": 64, "from": "x"}}, "outputs": {"y": "a"}})
    assert {(item.band, item.gradient_band) for item in known[1].values} == {(1.3, 1.5)}
    for case in (*STATIC, *SHIPPED):
        if "relu" not in case.name:
            _, found = _of(case)
            assert max(item.gradient_band for item in found.values) <= 3.0 * 1.9, case.name


def _of(case: Case) -> tuple[Flow, Scale]:
    graph, facts = case.graph()
    unfolded = flow(graph, facts)
    assert unfolded is not None
    return unfolded, scale(unfolded, facts, case.sizes)


def _scaled(source: dict[str, Any], **sizes: int) -> tuple[Flow, Scale]:
    graph, facts = checked(recipe(source))
    unfolded = flow(graph, facts)
    assert unfolded is not None
    return unfolded, scale(unfolded, facts, sizes)


def _one(node: dict[str, Any], x: str = "[batch 64]", **sizes: int) -> Any:
    unfolded, found = _scaled({"inputs": {"x": x}, "nodes": {"a": {**node, "from": "x"}}, "outputs": {"y": "a"}}, **sizes)
    return found.values[unfolded.outputs["y"]], found.values[unfolded.inputs["x"]]


def test_copies_in_a_circle_are_of_no_size_and_no_traceback_where_scales_are_asked_for_beside_the_error() -> None:
    nodes = {"a": {"kind": "linear", "out": 8, "init": {"copy": "b"}, "from": "x"}, "b": {"kind": "linear", "out": 8, "init": {"copy": "a"}, "from": "a"}}
    report = check(recipe({"inputs": {"x": "[batch 8]"}, "nodes": nodes, "outputs": {"y": "b"}}))
    assert report.signals is not None
    assert report.facts is not None
    unfolded = report.signals.flow
    assert scale(unfolded, report.facts).values[unfolded.outputs["y"]].reason == "nobody states how `a.weight` starts"


def test_a_default_linear_map() -> None:
    """(q + 1/n)/3, and n_out/(3 n_in) back."""
    y, x = _one({"kind": "linear", "out": 32})
    assert y.q == pytest.approx((1 + 1 / 64) / 3)
    assert x.g == pytest.approx(32 / (3 * 64))


@pytest.mark.parametrize(
    ("init", "q"),
    [("zero", 0.0), ("xavier", 2 * 64 / 96), ("kaiming", 2.0), ("normal(0.1)", 0.64), ("orthogonal", 1.0), ("trunc_normal(0.1)", 0.64)],
)
def test_starts(init: str, q: float) -> None:
    assert _one({"kind": "linear", "out": 32, "init": init})[0].q == pytest.approx(q)


def test_identity_keeps_what_it_is() -> None:
    y, x = _one({"kind": "linear", "out": 64, "init": "identity"})
    assert (y.q, x.g) == (1.0, 1.0)


def test_values_that_share_a_source_interfere() -> None:
    """x + relu(x) has 2.5, not 1.5, and its gradient too."""
    nodes = {"r": {"kind": "activation", "activation": "relu", "from": "x"}, "s": {"kind": "add", "from": ["x", "r"]}}
    unfolded, found = _scaled({"inputs": {"x": "[batch 64]"}, "nodes": nodes, "outputs": {"y": "s"}})
    assert found.values[unfolded.outputs["y"]].q == pytest.approx(2.5)
    assert found.values[unfolded.inputs["x"]].g == pytest.approx(2.5)


def test_slices_of_one_map_are_independent() -> None:
    """A gated linear unit multiplies two halves of one product: q_a E sigmoid^2."""
    assert _one({"kind": "glu", "out": 64})[0].q == pytest.approx((1 + 1 / 64) / 3 * 0.2683, rel=1e-3)


def test_a_tied_head_knows_its_own_row() -> None:
    nodes = {"e": {"kind": "embedding", "out": 64, "from": "ids"}, "h": {"kind": "linear", "out": 100, "bias": False, "tie": {"weight": "e.weight"}, "from": "e"}}
    unfolded, found = _scaled({"inputs": {"ids": "ids(100) [batch seq]"}, "nodes": nodes, "outputs": {"y": "h"}})
    assert found.values[unfolded.outputs["y"]].q == pytest.approx(64 + 64 * 64 / 100)


def test_dropout_is_that_of_training() -> None:
    assert _one({"kind": "dropout", "p": 0.2})[0].q == pytest.approx(1.25)


def test_what_is_detached_gets_no_gradient() -> None:
    assert _one({"kind": "detach"})[1].g == 0.0


def test_ids_have_no_scale_and_say_so() -> None:
    _, x = _one({"kind": "embedding", "out": 8}, "ids(10) [batch]")
    assert x.q is None
    assert "ids" in x.reason


def test_a_mean_over_tokens_divides_by_their_number() -> None:
    assert _one({"kind": "mean_pool"}, "[batch seq 64]", seq=20)[0].q == pytest.approx(1 / 20)


def test_a_batch_norm_of_few_values_has_no_predicted_gradient() -> None:
    _, x = _one({"kind": "batch_norm"}, "[batch 64]", batch=8)
    assert x.g is None
    assert "8 values" in x.no_gradient


def test_a_derivation_is_short() -> None:
    unfolded, found = _of(SHIPPED[0])
    lines = derivation(unfolded, found, unfolded.places["encoder.3.think.y"])
    assert len(lines) == 4
    assert lines[0].startswith("`encoder.3.think.y` (mlp; up.weight uniform(0.125)")


def test_a_chain_of_a_thousand_nodes_keeps_few_atoms() -> None:
    """A value holds at most eight atoms, so that work grows with nodes and not with their square."""
    nodes: dict[str, Any] = {}
    last = "x"
    for i in range(60):
        nodes |= {f"f{i}": {"kind": "linear", "out": 16, "from": last}, f"s{i}": {"kind": "add", "from": [last, f"f{i}"]}}
        last = f"s{i}"
    unfolded, found = _scaled({"inputs": {"x": "[batch 16]"}, "nodes": nodes, "outputs": {"y": last}})
    exact = 1.0
    for _ in range(60):
        exact += (exact + 1 / 16) / 3
    assert found.values[unfolded.outputs["y"]].q == pytest.approx(exact)


def _named(nodes: dict[str, Any], outputs: dict[str, str], x: str = "[batch seq 16]", **sizes: int) -> dict[str, Any]:
    unfolded, found = _scaled({"inputs": {"x": x}, "nodes": nodes, "outputs": outputs}, **sizes)
    return {name: found.values[number] for name, number in {**unfolded.inputs, **unfolded.places}.items()}


def test_pieces_of_the_gradient_of_a_value_beside_itself_are_independent() -> None:
    found = _named({"k": {"kind": "concat", "from": ["x", "x"]}}, {"y": "k"})
    assert found["x"].g == pytest.approx(2.0)


def test_one_weight_read_twice_makes_the_same_twice() -> None:
    nodes = {"a": {"kind": "linear", "out": 16, "bias": False, "from": "x"}, "b": {"same": "a", "from": "x"}, "s": {"kind": "add", "from": ["a", "b"]}}
    found = _named(nodes, {"y": "s"})
    assert found["s.y"].q == pytest.approx(4 / 3)
    assert found["x"].g == pytest.approx(4 / 3)


def test_one_kernel_read_twice_makes_the_same_twice() -> None:
    nodes = {"a": {"kind": "conv2d", "out": 4, "kernel": 1, "bias": False, "from": "x"}, "b": {"same": "a", "from": "x"}, "s": {"kind": "add", "from": ["a", "b"]}}
    found = _named(nodes, {"y": "s"}, "[batch 4 8 8]")
    assert found["s.y"].q == pytest.approx(4 / 3)
    assert found["x"].g == pytest.approx(4 / 3)


def test_factors_that_hold_one_value_several_times_are_not_predicted() -> None:
    found = _named({"a": {"kind": "multiply", "from": ["x", "x"]}, "b": {"kind": "multiply", "from": ["a", "x"]}}, {"y": "b"})
    assert found["a.y"].q == pytest.approx(3.0)
    assert found["b.y"].q is None
    assert found["x"].g is None
    assert "factors" in found["x"].no_gradient


def test_a_softmax_of_what_is_far_from_gaussian_is_not_predicted() -> None:
    found = _named({"a": {"kind": "activation", "activation": "relu", "from": "x"}, "b": {"kind": "softmax", "from": "a"}}, {"y": "b"})
    assert "Gaussian" in found["b.y"].reason


def test_a_softmax_of_scores_that_hardly_vary_does_not_ask_how_they_are_spread() -> None:
    """(1 + z) / n: of relu's values too, which are far from Gaussian."""
    nodes = {
        "a": {"kind": "linear", "out": 24, "init": "normal(0.05)", "from": "x"},
        "b": {"kind": "activation", "activation": "relu", "from": "a"},
        "c": {"kind": "softmax", "from": "b"},
    }
    rows = tried(*checked(recipe({"inputs": {"x": "[batch 32]"}, "nodes": nodes, "outputs": {"y": "c"}})), {"batch": 256})
    assert not [row for row in rows if row.predicted is None or not row.inside]


def test_an_image_of_one_channel_laid_out_is_a_row_of_features() -> None:
    found = _named({"a": {"kind": "flatten", "from": "x"}, "b": {"kind": "softmax", "from": "a"}}, {"y": "b"}, "image [batch 1 8 8]")
    assert found["b.y"].c is None
    assert found["b.y"].m == pytest.approx(1 / 64)


def test_an_average_pool_behind_one_that_overlaps_is_not_predicted() -> None:
    nodes = {"a": {"kind": "avg_pool2d", "kernel": 3, "stride": 1, "from": "x"}, "b": {"kind": "avg_pool2d", "kernel": 2, "from": "a"}}
    found = _named(nodes, {"y": "b"}, "[batch 4 16 16]")
    assert found["a.y"].q == pytest.approx(1 / 9)
    assert "overlap" in found["b.y"].reason


def test_scores_that_vary_too_much_are_told_and_their_attention_is_not_predicted() -> None:
    nodes = {"s": {"kind": "scale", "value": 6.0, "from": "x"}, "a": {"kind": "attention", "heads": 2, "init": "xavier", "from": "s"}}
    unfolded, found = _scaled({"inputs": {"x": "[batch seq 16]"}, "nodes": nodes, "outputs": {"y": "a"}})
    assert [item.s2 for item in found.scores] == [pytest.approx(1296.0)]
    assert "1.3e+03" in found.values[unfolded.outputs["y"]].reason


ATTENTIONS = [
    Case(
        f"{'causal ' * causal}attention of scores {value}^4",
        {
            "inputs": {"x": "[batch seq 16]"},
            "nodes": {"s": {"kind": "scale", "value": value, "from": "x"}, "a": {"kind": "attention", "heads": 2, "causal": causal, "init": "xavier", "from": "s"}},
            "outputs": {"y": "a"},
        },
        {"batch": 4, "seq": 64},
        seeds=12,
    )
    for causal in (False, True)
    for value in (1.0, 1.41, 1.7, 2.4, 4.0)
]
"""Narrow, so that keys and values of one source lean together; scores of variance 1 to 256, where e^s2 is no estimate."""


@pytest.mark.parametrize("case", ATTENTIONS, ids=lambda case: case.name)
def test_attention_over_few_features_and_of_large_scores(case: Case) -> None:
    rows = tried(*case.graph(), case.sizes, range(case.seeds))
    assert not [row for row in rows if row.predicted is None or not row.inside]


def test_the_gradient_of_queries_over_a_long_memory_does_not_vanish() -> None:
    """W_k C W_v' g: the covariance C of what is read keeps it at 1 / width, where 1 / length was predicted."""
    nodes = {"a": {"kind": "cross_attention", "heads": 2, "from": {"x": "x", "memory": "memory"}}}
    found = []
    for length in (256, 4096):
        unfolded, known = _scaled({"inputs": {"x": "[batch seq 16]", "memory": "[batch mem 16]"}, "nodes": nodes, "outputs": {"y": "a"}}, mem=length)
        found.append(known.values[unfolded.inputs["x"]].g or 0.0)
    assert found[1] > 0.8 * found[0]
