"""Findings that pages have no room for: said once, at the smallest place, in words of recipes."""

from __future__ import annotations

import pytest

from assembler.assemble import check
from assembler.graph.build import build
from assembler.graph.rewrite import prune
from assembler.source.parse import parse
from assembler.source.tree import value_of


def found(tmp_path, text):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8")
    return [(item.code, item.message) for item in check(recipe).diagnostics]


def of_node(tmp_path, node, more=""):
    text = f'inputs: {{x: "[batch 16]"}}\nnodes:\n  n: {node}\n{more}outputs: {{f: n}}\n'
    return found(tmp_path, text)


@pytest.mark.parametrize(
    ("node", "code", "message"),
    [
        ("{kind: linear, out: 4, from: 3}", "value-type", "`from` is 3, where an address is wanted"),
        ("{kind: linear, out: 4, from: {x: }}", "missing-value", "`from` has no value"),
        ("{kind: linear, out: [4], from: x}", "value-type", "`out` of `n` is [4], where a whole number is wanted"),
        ("{kind: linear, out: true, from: x}", "value-type", "`out` of `n` is true, where a whole number is wanted"),
        ("{kind: linear, out: 4, bias: 1, from: x}", "value-type", "`bias` of `n` is 1, where true or false is wanted"),
        ("{kind: linear, out: 1_0, from: x}", "value-type", "a whole number is wanted, not '1_0'"),
        ("{kind: mlp, activation: null, from: x}", "value-range", "`activation` cannot be null"),
        ("{kind: linear, out: 4, from: {port: x, adapt: liner}}", "unknown-kind", "there is no adapter `liner`"),
        ("linear", "value-type", "the node `n` is a text, where a mapping is wanted"),
        ("{kind: linear, out: 4, tie: m.weight, from: x}", "value-type", "`tie` of `n` is 'm.weight', where a mapping is wanted"),
        ("{kind: linear, out: 4, vars: 3, from: x}", "value-type", "`vars` is a number, where a mapping is wanted"),
        ("{kind: linear, out: 4, after: m, from: x}", "place-conflict", "`after` says where a part stands in its container, and `n` is a node: the order of nodes means nothing"),
        ("{kind: bus, from: x, parts: {p: {kind: mlp, stream: [z]}}}", "address-unknown", "`stream` names an input of the bus, not ['z']"),
    ],
)
def test_a_wrong_value_is_one_finding_in_words_of_recipes(tmp_path, node, code, message):
    assert of_node(tmp_path, node) == [(code, message)]


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("[3, 3, 3]", "`kernel` of `n` is [3, 3, 3]: it must have 2 entries"),
        ("0", "`kernel` of `n` is 0: it must be at least 1"),
        ("2.5", "`kernel` of `n` is 2.5, where a whole number is wanted"),
        ("[3, 2.5]", "`kernel` of `n` is [3, 2.5], where a whole number is wanted"),
    ],
)
def test_an_option_of_two_types_is_judged_by_the_nearer_one(tmp_path, kernel, message):
    text = f'inputs: {{x: "image [batch 3 8 8]"}}\nnodes: {{n: {{kind: conv2d, out: 4, kernel: {kernel}, from: x}}}}\noutputs: {{f: n}}\n'
    assert [item[1] for item in found(tmp_path, text)] == [message]


@pytest.mark.parametrize("nodes", ["[n]", "", "{n: linear}", "n"])
def test_nodes_of_a_wrong_shape_are_not_called_missing_or_unknown(tmp_path, nodes):
    codes = [item[0] for item in found(tmp_path, f'inputs: {{x: "[batch 16]"}}\nnodes: {nodes}\noutputs: {{f: n}}\n')]
    assert codes == ["missing-value" if not nodes else "value-type"]


def test_outputs_of_a_wrong_shape_are_not_called_missing(tmp_path):
    text = 'inputs: {x: "[batch 16]"}\nnodes: {n: {kind: identity, from: x}}\noutputs: n\n'
    assert [item[0] for item in found(tmp_path, text)] == ["value-type"]


def test_height_and_width_against_one_patch_are_one_finding(tmp_path):
    text = 'inputs: {x: "image [batch 3 8 8]"}\nnodes: {n: {kind: patch_embed, out: 4, patch: 3, from: x}}\noutputs: {f: n}\n'
    assert [item[0] for item in found(tmp_path, text)] == ["shape-constraint"]


@pytest.mark.parametrize("first", ["like", "slot"])
def test_a_circle_is_said_once_however_many_enter_it(tmp_path, first):
    more = f"  m: {{{first}: n, from: n}}\n  k: {{{first}: m, from: m}}\n"
    if first == "like":
        codes = [item[0] for item in of_node(tmp_path, "{like: m, from: x}", more)]
    else:
        slots = "slots: {n: {slot: m}, m: {slot: n}}\n"
        codes = [item[0] for item in of_node(tmp_path, "{slot: m, from: x}", more + slots)]
    assert set(codes) == {"share-cycle" if first == "like" else "slot-cycle"}
    assert len(codes) == 1


@pytest.mark.parametrize("use", [{"same": "m"}, {"kind": "linear", "out": 16, "tie": {"weight": "m.weight"}}])
def test_a_node_that_owns_shared_weights_is_kept_though_nobody_reads_it(use):
    tree = {"inputs": {"x": "[batch 16]"}, "nodes": {"n": {**use, "from": "x"}, "m": {"kind": "linear", "out": 16, "from": "x"}, "k": {"kind": "identity", "from": "x"}}, "outputs": {"f": "n"}}  # fmt: skip
    graph, said = build(parse(value_of(tree))[0])
    assert set(prune(graph.scope).nodes) == {"n", "m"}
    assert [(item.code, item.message) for item in said] == [("node-unused", "nobody reads `k`")]


@pytest.mark.parametrize(("key", "value"), [("dtype", "fp16"), ("seed", "abc"), ("freeze", "3")])
def test_what_all_nodes_inherit_is_wrong_once_and_where_it_stands(tmp_path, key, value):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f'inputs: {{x: "[batch 16]"}}\n{key}: {value}\nnodes: {{n: {{kind: mlp, from: x}}, m: {{kind: bus, from: n, parts: {{p: {{kind: mlp}}}}}}}}\noutputs: {{f: m}}\n', encoding="utf-8")
    assert [(item.span.line, item.message.split("`")[1]) for item in check(recipe).diagnostics] == [(2, key)]


def test_a_misspelt_policy_is_told_of_wherever_it_stands(tmp_path):
    assert of_node(tmp_path, "{kind: mlp, from: x}", "adapters: {policy: auto, polcy: never}\n") == [("unknown-key", "`adapters` has no key `polcy`")]


@pytest.mark.parametrize(
    ("kind", "said"),
    [("ReLU", "did you mean `{kind: activation, activation: relu}`?"), ("nn.GELU", "a recipe names registered kinds, not Python paths: did you mean `{kind: activation, activation: gelu}`?"),
     ("FeedForward", "did you mean `mlp`?"), ("ensemble", "did you mean `parallel` with `members: n` and `join: mean`?"), ("Attention", "did you mean `attention`?")],
)  # fmt: skip
def test_a_name_of_pytorch_is_not_corrected_into_another_kind_that_merely_looks_like_it(kind, said):
    recipe = {"inputs": {"x": "[batch 16]"}, "nodes": {"n": {"kind": kind, "from": "x"}}, "outputs": {"f": "n"}}
    assert [item.help for item in check(recipe).diagnostics] == [said]


def test_experts_by_kind_alone_are_not_taken_for_vars(tmp_path):
    recipe = {"inputs": {"x": "[batch 16]"}, "nodes": {"n": {"kind": "moe", "experts": ["mlp"], "from": "x"}}, "outputs": {"f": "n"}}
    assert [item.help for item in check(recipe).diagnostics] == ["`mlp` is a kind: a part is written `{kind: mlp}`"]


def test_a_stream_called_like_what_a_part_reads_outside_is_not_called_unfed(tmp_path):
    cross = {"kind": "cross_attention", "heads": 2, "stream": "b", "from": {"memory": "a"}}
    nodes = {"s": {"kind": "bus", "from": {"a": "a", "b": "b"}, "parts": {"p": {"kind": "mlp"}, "q": cross}}}
    found = check({"inputs": {"a": "[batch n 8]", "b": "[batch m 8]"}, "nodes": nodes, "outputs": {"f": "s"}}).diagnostics
    assert [(item.code, item.span.config) for item in found] == [("name-taken", "nodes.s.from.a")]
