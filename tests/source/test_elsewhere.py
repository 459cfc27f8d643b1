"""Names of PyTorch, Keras, Transformers and the papers: a recipe that uses one is told what it is called here."""

from __future__ import annotations

import re

import pytest

import assembler
from assembler.library import registry
from assembler.source import elsewhere
from assembler.source.recipe import PLACE_KEYS


def _help(kind: str, option: str, value: object) -> str:
    node = {"kind": kind, option: value, "from": "x"}
    tree = {"name": "m", "inputs": {"x": "[batch seq 32]"}, "nodes": {"a": node}, "outputs": {"y": "a"}}
    return next(item.help for item in assembler.check(assembler.recipe(tree)).diagnostics if item.code in ("unknown-option", "unknown-kind", "value-range"))


def test_every_name_that_is_offered_exists() -> None:
    cards = [card for name in registry.names() if (card := registry.kind(name)) is not None]
    options = {name for card in cards for name in card.option_names} | PLACE_KEYS | {"parts"}
    assert {ours for found in elsewhere.OPTIONS.values() for ours in found} <= options
    named = {word for text in elsewhere.KINDS.values() for word in re.findall(r"`([^`]*)`", text)}
    words = {word for word in named if ":" not in word}
    assert {word for word in words if registry.kind(word) is None} == set()


def test_keys_are_spelled_as_they_are_looked_up() -> None:
    for table in (elsewhere.KINDS, elsewhere.OPTIONS, elsewhere.KEYS, elsewhere.VALUES):
        assert [word for word in table if word != elsewhere.plain(word)] == []


def test_no_kind_of_ours_is_among_the_names_of_others() -> None:
    ours = {elsewhere.plain(name) for name in registry.names()}
    assert ours & elsewhere.KINDS.keys() == set()


@pytest.mark.parametrize(
    ("kind", "option", "ours"),
    [
        ("attention", "num_heads", "heads"), ("attention", "is_causal", "causal"), ("attention", "rope", "rotary"), ("linear", "out_features", "out"),
        ("linear", "units", "out"), ("mlp", "hidden_size", "hidden"), ("mlp", "intermediate_size", "hidden"), ("embedding", "embedding_dim", "out"),
        ("embedding", "num_embeddings", "vocab"), ("dropout", "rate", "p"), ("conv2d", "filters", "out"), ("conv2d", "kernel_size", "kernel"),
        ("layer_norm", "epsilon", "eps"), ("moe", "num_experts_per_tok", "top_k"), ("concat", "dim", "axis"), ("activation", "fn", "activation"),
        ("linear", "inputs", "from"), ("mlp", "depth", "repeat"),
    ],
)  # fmt: skip
def test_an_option_by_another_name(kind: str, option: str, ours: str) -> None:
    assert _help(kind, option, 8) == f"here it is called `{ours}`"


def test_a_choice_by_another_name() -> None:
    assert _help("activation", "activation", "swish") == "here it is called `silu`"
    assert _help("mlp", "activation", "gelu_new") == "here it is called `gelu_tanh`"


def test_a_fix_does_not_write_an_option_twice() -> None:
    tree = {"name": "m", "inputs": {"x": "[batch 32]"}, "nodes": {"a": {"kind": "linear", "out": 8, "units": 8, "from": "x"}}, "outputs": {"y": "a"}}
    (found,) = assembler.check(assembler.recipe(tree)).diagnostics
    assert (found.help, found.fix) == ("here it is called `out`", None)


def test_nodes_by_another_name_are_one_finding() -> None:
    with pytest.raises(assembler.RecipeError) as refused:
        assembler.recipe({"inputs": {"x": "[batch 4]"}, "layers": {"a": {"kind": "linear", "out": 2, "from": "x"}}, "outputs": {"y": "a"}})
    assert [(item.code, item.help) for item in refused.value.report.diagnostics] == [("unknown-key", "here it is called `nodes`")]
