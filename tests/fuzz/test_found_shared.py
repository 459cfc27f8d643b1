"""What random recipes found of modules with several uses: copies of other types, adapters inside, numbers of copies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

import assembler
from assembler.assemble import origin_of
from assembler.facts.count import totals
from assembler.facts.flow import flow
from assembler.facts.weights import held


def spec(nodes: str, **outputs: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(f"inputs: {{x: '[batch seq 12]'}}\nnodes:\n{nodes}")
    return {**found, "outputs": outputs}


def run(recipe: dict[str, Any], x: torch.Tensor | None = None) -> Any:
    torch.set_num_threads(1)
    model = assembler.build(recipe, seed=0).eval()
    return model(torch.ones(2, 3, 12) if x is None else x)


ONE = {
    "a leaf": "  one: {kind: mlp, out: 16, repeat: 3, from: x}",
    "a group": "  one: {kind: sequence, repeat: 3, from: x, parts: {a: {kind: mlp, out: 16}}}",
}


@pytest.mark.parametrize("which", ONE)
def test_one_more_use_of_copies_whose_width_changes_has_for_each_copy_its_own_sizes(which: str) -> None:
    """The second copy was held against the sizes of the first, and said to lie on line 0 between nodes without names."""
    out = run(spec(f"{ONE[which]}\n  two: {{same: one, from: x}}", y="one", z="two"))
    assert torch.equal(out["y"], out["z"])


@pytest.mark.parametrize("which", ONE)
def test_one_more_use_of_a_numbered_copy_has_the_sizes_of_that_copy(which: str) -> None:
    out = run(spec(f"{ONE[which]}\n  two: {{same: one.1, from: one.0}}", y="one.1", z="two"))
    assert torch.equal(out["y"], out["z"])


def test_one_more_use_inside_copies_whose_width_changes_is_of_the_copys_own_module() -> None:
    """An adapter led the second copy back to the width of the first, whose module was not what was called: it raised."""
    parts = "{a: {kind: mlp}, b: {same: a}, c: {kind: linear, out: 16}}"
    recipe = spec(f"  one: {{kind: sequence, repeat: 3, from: x, parts: {parts}}}", y="one")
    report = assembler.check(recipe)
    assert [item.code for item in report.diagnostics] == []
    assert run(recipe).shape == (2, 3, 16)


def test_values_and_ties_inside_copies_whose_width_changes_are_of_the_copys_own_node() -> None:
    parts = "{a: {kind: mlp}, b: {kind: mlp, init: {copy: a}}, c: {kind: linear, out: 16, bias: false}, d: {kind: linear, out: 16}, e: {kind: linear, bias: false, out: 16, tie: {weight: d.weight}}}"
    model = assembler.build(spec(f"  one: {{kind: sequence, repeat: 3, from: x, parts: {parts}}}", y="one"), seed=0)
    for copy in model.one:
        assert torch.equal(copy.a.up.weight, copy.b.up.weight)
        assert copy.e.weight is copy.d.weight
    assert model.one[1].a.up.weight.shape[1] == 16


@pytest.mark.parametrize("repeat", ["", "repeat: 2, "])
@pytest.mark.parametrize("around", ["{wide: %s}", "{bus: {kind: bus, parts: {wide: %s}}}"])
def test_one_more_use_of_a_group_has_the_adapters_of_that_group(around: str, repeat: str) -> None:
    """A write that was bridged unasked in the first use was refused in the second, of the very same widths."""
    wide = "{kind: parallel, join: concat, parts: {a: {kind: dropout}, b: {kind: identity}}}"
    kind = "bus" if around.startswith("{wide") else "sequence"
    recipe = spec(f"  one: {{kind: {kind}, {repeat}from: x, parts: {around % wide}}}\n  two: {{same: one, from: x}}", y="one", z="two")
    assert [item.code for item in assembler.check(recipe).diagnostics] == ["adapter-inserted", "adapter-inserted"]
    out = run(recipe)
    assert torch.equal(out["y"], out["z"])


@pytest.mark.parametrize("use", ["{same: one, from: one}", "{same: one.0, from: one.1}"])
def test_a_use_that_needs_other_sizes_than_its_copy_is_still_refused(use: str) -> None:
    recipe = spec(f"{ONE['a group']}\n  two: {use}", y="one", z="two")
    found = [item for item in assembler.check(recipe).diagnostics if item.level == "error"]
    assert [item.code for item in found] == ["share-mismatch"]
    assert "takes 12, and 16 arrives" in found[0].message


def test_values_that_are_copied_beside_a_node_that_is_fed_nothing_are_no_crash() -> None:
    """Circles of `copy` were looked for in a graph whose sizes were not known: `check` raised KeyError."""
    nodes = "  one: {kind: mlp, from: x}\n  two: {kind: mlp, from: x, init: {copy: one}}\n  bad: {kind: linear, out: 4, from: tow}"
    report = assembler.check(spec(nodes, y="one", z="two", w="bad"))
    assert [item.code for item in report.diagnostics if item.level == "error"] == ["address-unknown"]


@pytest.mark.parametrize("kind", ["mlp", "attention, heads: 2"])
def test_values_copied_to_or_from_a_node_of_unknown_sizes_are_no_misfit(kind: str) -> None:
    """A node that was fed nothing was said to have no parameters, or others than the one it copies."""
    nodes = f"  one: {{kind: {kind}, from: tow}}\n  two: {{kind: {kind}, from: x, init: {{copy: one}}}}\n  three: {{kind: {kind}, from: tow, init: {{copy: two}}}}"
    report = assembler.check(spec(nodes, y="two", z="three"))
    assert [item.code for item in report.diagnostics if item.level == "error"] == ["address-unknown", "address-unknown"]


@pytest.mark.parametrize("init", ["small", "identity", "zero"])
def test_how_a_node_of_unknown_sizes_starts_is_not_judged(init: str) -> None:
    """`small` was said to have no matrix to start."""
    report = assembler.check(spec(f"  one: {{kind: linear, out: 12, from: tow, init: {init}}}", y="one"))
    assert [item.code for item in report.diagnostics if item.level == "error"] == ["address-unknown"]


def test_copies_of_a_broken_container_are_not_also_unknown() -> None:
    nodes = "  one: {kind: sequence, repeat: 3, from: x}\n  two: {kind: add, from: ['one.1:', one.-1]}"
    report = assembler.check(spec(nodes, y="two"))
    assert [item.code for item in report.diagnostics if item.level == "error"] == ["missing-key"]


@pytest.mark.parametrize("word", ["tie: {weight: a.weight}", "init: {copy: a}"])
def test_what_only_lends_to_what_is_not_built_is_not_built(word: str) -> None:
    """The owner of a tied parameter counted, where nobody read either of the two."""
    nodes = f"  a: {{kind: linear, out: 12, from: x}}\n  b: {{kind: linear, out: 12, from: a, {word}}}\n  d: {{kind: linear, out: 12, from: b, {word}}}\n  c: {{kind: linear, out: 4, from: x}}"
    found = origin_of(spec(nodes, y="c"))
    assert [*found.graph.scope.nodes] == ["c"]
    assert totals(found.graph, found.facts) == (52, 52)


def test_moves_into_nodes_that_an_error_took_away_are_not_said_to_lead_nowhere() -> None:
    recipe = {**spec("  x: {kind: identity, from: x}\n  b: {kind: linear, out: 4, from: x}", y="b"), "moved": {"old": "b"}}
    assert [item.code for item in assembler.check(recipe).diagnostics if item.level == "error"] == ["name-taken"]


@pytest.mark.parametrize("part", ["kind: mlp, hidden: no_such", "kind: nothing_like_it"])
@pytest.mark.parametrize("repeat", ["", "repeat: 2, "])
def test_a_stream_that_a_broken_part_writes_is_still_there(part: str, repeat: str) -> None:
    """Readers of `one.z` were said to name nothing, or several copies."""
    nodes = f"  one: {{kind: bus, {repeat}from: {{x: x, z: x}}, parts: {{a: {{kind: mlp}}, b: {{{part}, stream: z}}}}}}"
    report = assembler.check(spec(nodes, y="one", z="one.z"))
    assert len([item for item in report.diagnostics if item.level == "error"]) == 1


@pytest.mark.parametrize("which", ONE)
@pytest.mark.parametrize("at", ["one.::2", "one.1:", "one.0"])
def test_copies_that_a_rule_tells_apart_have_their_counterparts_in_one_more_use(which: str, at: str) -> None:
    """Every copy of the second use was held against the first run of copies."""
    recipe = {**spec(f"{ONE[which]}\n  two: {{same: one, from: x}}", y="one", z="two"), "rules": {"some": {"at": at, "set": {"seed": 3}}}}
    out = run(recipe)
    assert torch.equal(out["y"], out["z"])


def test_a_graft_on_one_copy_of_several_whose_types_differ_is_found_where_it_stands() -> None:
    """Runs of copies and runs of types were taken for one another: `check` raised KeyError."""
    nodes = "  p: {kind: softmax, from: x}\n  one: {kind: bus, repeat: 3, from: p, parts: {a: {kind: dropout}}}"
    recipe = {**spec(nodes, y="one"), "grafts": {"side": {"write": "one.2", "mode": "add", "part": {"kind": "mlp"}}}}
    assert run(recipe).shape == (2, 3, 12)


SEQUENCE = "kind: sequence, parts: {a: {kind: mlp}}"


@pytest.mark.parametrize(
    "nodes",
    [
        "one: {kind: mlp, norm: out, repeat: 2, from: x}\n  two: {same: one, from: x}",
        "one: {kind: mlp, norm: pre, repeat: 2, from: x}\n  two: {same: one.1, repeat: 3, from: x}",
        f"one: {{{SEQUENCE}, norm: both, repeat: 2, from: x}}\n  two: {{same: one, from: x}}\n  three: {{same: one.0, from: x}}",
        "one: {kind: bus, norm: pre, parts: {a: {kind: mlp, repeat: 2}, b: {same: a.1}}, from: x}\n  two: {same: one, from: x}",
        "one: {kind: moe, top_k: 1, experts: {a: {kind: mlp, norm: out}, b: {same: a}}, from: x}\n  two: {same: one, from: x}",
    ],
)
def test_one_more_use_of_copies_with_norms_holds_the_norms_of_the_copies(nodes: str) -> None:
    """They were named after the use, so that nobody knew whose they were; one more use of one copy was normed twice."""
    recipe = spec(f"  {nodes}", y="one", z="two")
    found, model = origin_of(recipe), assembler.build(recipe, seed=0)
    known = flow(found.graph, found.facts)
    assert known is not None
    assert {item.key for item in held(known)} <= model.state_dict().keys()
    assert totals(found.graph, found.facts)[0] == sum(item.numel() for item in model.parameters())
    assert "two_" not in repr(model)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ("one: {kind: mlp, norm: out, from: x}\n  two: {same: one, repeat: 2, from: x}", "`one_out_norm` stands inside it only here"),
        ("one: {kind: mlp, norm: pre, repeat: 2, from: x}\n  two: {same: one, norm_kind: rms_norm, from: x}", "`one_pre_norm` cannot be of kind rms_norm here and layer_norm there"),
        ("one: {kind: mlp, repeat: 2, from: x}\n  two: {kind: bus, norm: pre, parts: {b: {same: one}}, from: x}", "`one_pre_norm` stands inside it only here"),
        ("one: {kind: bus, norm: pre, parts: {a: {kind: mlp}}, from: x}\n  two: {same: one, norm: post, from: x}", "`a_post_norm` stands inside it only here"),
    ],
)
def test_norms_that_the_module_has_not_are_refused_at_one_more_use(nodes: str, said: str) -> None:
    """They were predicted, and dropped when the module was called."""
    found = assembler.check(spec(f"  {nodes}", y="one", z="two"))
    assert [(item.code, said in item.message) for item in found.diagnostics if item.level == "error"] == [("share-mismatch", True)]


@pytest.mark.parametrize("where", ["rules", "vars"])
def test_what_is_said_inside_one_use_of_a_group_cannot_make_another_of_it(where: str) -> None:
    """A rule let the first use hold a swiglu, and the second was predicted as the mlp that it is not."""
    recipe = spec(f"  one: {{{SEQUENCE}, from: x}}\n  two: {{same: one, from: x}}", y="one", z="two")
    if where == "rules":
        recipe["rules"] = {"some": {"at": "one.a", "set": {"kind": "swiglu"}}}
    else:
        recipe["nodes"] = {"one": {"slot": "s", "from": "x"}, "two": {"same": "one", "vars": {"act": "tanh"}, "from": "x"}}
        recipe["slots"] = {"s": {"vars": {"act": "relu"}, "inputs": {"h": "[... d]"}, "nodes": {"a": {"kind": "mlp", "activation": "act", "from": "h"}}, "outputs": {"y": "a"}}}
    said = {"rules": "`a` cannot be of kind mlp here and swiglu there", "vars": "`activation` of `a` cannot be 'tanh' here and 'relu' there"}[where]
    assert [item.message for item in assembler.check(recipe).diagnostics] == [f"`two` is one more use of `one`: {said}"]


@pytest.mark.parametrize("mode", ["add", "gate", "blend"])
def test_a_graft_of_another_width_does_not_decide_the_width_of_its_host(mode: str) -> None:
    """The host's reader wanted 8; the part's 4 was taken for the host's width, and the reader refused it."""
    nodes = "  lin: {kind: linear, from: x}\n  drop: {kind: dropout, from: lin}\n  read: {kind: mlp, in: 8, out: 6, from: drop}\n  side: {kind: linear, out: 4, from: x}"
    recipe = {**spec(nodes, y="read", z="side"), "grafts": {"more": {"write": "drop", "read": "side", "mode": mode, "part": {"kind": "mlp"}}}}
    report = assembler.check(recipe)
    assert [item.code for item in report.diagnostics if "adapter" in item.code or item.level == "error"] == ["adapter-inserted"]
    assert run(recipe)["y"].shape == (2, 3, 6)


def test_what_is_written_onto_a_stream_decides_its_width_where_nothing_else_does() -> None:
    nodes = "  lin: {kind: linear, from: x}\n  one: {kind: bus, parts: {a: {kind: mlp, out: 8}}, from: lin}"
    assert run(spec(nodes, y="one")).shape == (2, 3, 8)


TWO = {
    "inputs by name": ("{kind: sequence, parts: {a: {kind: attention, heads: 2}}, from: {x: x, mask: m}}", "", "`mask` is an input of it only there"),
    "members": ("{kind: parallel, members: 2, join: mean, parts: {a: {kind: mlp}}, from: x}", "members: 3, ", "`a` cannot have 3 copies here and 2 copies there"),
    "an option inside": ("{kind: moe, top_k: 1, experts: 3, expert: {kind: mlp}, from: x}", "top_k: 2, ", "`top_k` of `gating` cannot be 2 here and 1 there"),
    "a dtype": ("{kind: sequence, parts: {a: {kind: mlp}}, from: x}", "dtype: f64, ", "`dtype` of `a` cannot be f64 here and f32 there"),
    "freeze": ("{kind: mlp, from: x}", "freeze: true, ", "`freeze` cannot be true here and false there"),
    "heads": ("{kind: bus, read: 4, parts: {a: {kind: mlp}}, from: x}", "read: 6, ", "`out` of `a_read` cannot be 6 here and 4 there"),
}


@pytest.mark.parametrize("which", TWO)
def test_one_more_use_cannot_be_another_module_than_the_one_it_names(which: str) -> None:
    """Each was accepted: some were called with what they do not take, the others were not what was predicted."""
    one, more, said = TWO[which]
    recipe = spec(f"  one: {one}\n  two: {{same: one, {more}from: x}}", y="one", z="two")
    if "mask" in one:
        recipe["inputs"]["m"] = "mask [batch seq]"
    found = [item for item in assembler.check(recipe).diagnostics if item.level == "error"]
    assert [(item.code, item.message) for item in found] == [("share-mismatch", f"`two` is one more use of `one`: {said}")]


@pytest.mark.parametrize(
    ("nodes", "code"),
    [
        ("two: {same: one, share: true, from: x}", "share-mismatch"),
        ("two: {same: one.0, tie: {up.weight: one.1.up.weight}, from: x}", "place-conflict"),
        ("two: {same: one.0, parts: {a: {kind: swiglu}}, from: x}", "place-conflict"),
    ],
)
def test_what_one_more_use_cannot_say_is_refused(nodes: str, code: str) -> None:
    """The first two ended in a traceback when they were built; parts beside `same` were dropped in silence."""
    recipe = spec(f"  one: {{kind: mlp, repeat: 2, from: x}}\n  {nodes}", y="one", z="two")
    assert [item.code for item in assembler.check(recipe).diagnostics if item.level == "error"] == [code]


def test_a_graft_in_a_node_that_only_sees_zeros_is_cut_off_and_not_dead_of_itself() -> None:
    """It was an error that asked for another start, which would not help: zeros come in whatever is learned."""
    grafts = {"low": {"read": "one.down.x", "write": "one.down", "mode": "add", "init": "zero", "part": {"kind": "low_rank", "rank": 2}}}
    recipe = {**spec("  nil: {kind: zero, from: x}\n  one: {kind: reglu, hidden: 8, from: nil}", y="one"), "grafts": grafts}
    assert [item.code for item in assembler.check(recipe).diagnostics] == ["cut-parameter"]
