"""Section 4: widths that do not fit, and what is put on an edge: asked for or not, named, counted, said."""

from __future__ import annotations

import pytest

from tests.graph.recipes import bad, check, codes, good, kinds, outputs, parameters, rows, size, wires

TOWERS = """
name: two-towers
inputs: {words: "[batch seq 384]", pixels: "[batch patches 192]"}
nodes:
  text:  {kind: mean_pool, from: words}
  image: {kind: mean_pool, from: pixels}
  fuse:  {kind: gate, from: {base: text, gate: {port: image, adapt: mlp}}}
  head:  {kind: linear, out: 10, from: fuse}
outputs: {logits: head}
"""
NARROW = """
inputs: {x: "[batch 8]"}
nodes:
  a: {kind: linear, out: 3, from: x}
  b: {kind: add, from: [x, {port: a, adapt: ADAPT}]}
outputs: {y: b}
"""
WRITE = """
adapters: {policy: POLICY}
inputs: {x: "[batch seq 8]", z: "[batch seq 4]"}
nodes:
  a: {kind: bus, from: x, parts: {p: {kind: identity, from: z}}}
outputs: {y: a}
"""


def test_an_adapter_that_is_asked_for_is_a_node_with_a_name_a_cost_and_a_line() -> None:
    report = good(TOWERS)
    assert kinds(report)["fuse_gate_adapter"] == "mlp"
    assert wires(report)["fuse"] == {"base": ["text.y"], "gate": ["fuse_gate_adapter.y"]}
    assert outputs(report)["fuse_gate_adapter"] == "[batch 384]"
    assert codes(report) == [("adapter-inserted", 7)]
    cost = 192 * 768 + 768 + 768 * 384 + 384
    assert f"{cost:,} parameters" in report.diagnostics[0].message
    assert parameters(report) == cost + 384 * 10 + 10


def test_two_widths_that_compete_name_both_claimants() -> None:
    found = bad(TOWERS.replace("{port: image, adapt: mlp}}}", "image}}  #~ dim-ambiguous"))
    assert "384 from `text`" in found.message
    assert "192 from `image" in found.message


@pytest.mark.parametrize(("word", "kind"), [("linear", "linear"), ("mlp", "mlp"), ("low_rank", "low_rank"), ("{kind: low_rank, rank: 2}", "low_rank"), ("{kind: linear, bias: false}", "linear")])
def test_what_adapt_names_takes_its_widths_from_both_sides(word: str, kind: str) -> None:
    report = good(NARROW.replace("ADAPT", word))
    assert kinds(report)["b_a_adapter"] == kind
    assert (size(report, "b_a_adapter", "in"), size(report, "b_a_adapter", "out")) == (3, 8)


def test_an_adapter_that_is_not_one_is_unknown() -> None:
    bad(NARROW.replace("ADAPT", "liner").replace("liner}]}", "liner}]}  #~ unknown-kind"))


@pytest.mark.parametrize("word", ["linear", "mlp", "{kind: mlp, hidden: 5}", "cast", "{kind: cast, dtype: f32}"])
def test_an_adapter_between_equal_types_is_left_out_with_a_note(word: str) -> None:
    """One with options once stayed, and a cast to what the value already is."""
    report = good(f"""
inputs: {{x: "[batch 8]"}}
nodes:
  a: {{kind: linear, out: 8, from: x}}
  b: {{kind: add, from: [x, {{port: a, adapt: {word}}}]}}
outputs: {{y: b}}
""")
    assert list(kinds(report)) == ["a", "b"]
    assert codes(report) == [("adapter-unneeded", 5)]


# --- policies ---
def test_auto_puts_a_linear_where_a_write_must_fit_the_stream() -> None:
    report = good(WRITE.replace("POLICY", "auto"))
    added = next(row for row in rows(report) if row.adapter)
    assert (added.kind, added.parameters) == ("linear", 4 * 8 + 8)
    assert codes(report)[0][0] == "adapter-inserted"


@pytest.mark.parametrize("policy", ["explicit", "never"])
def test_explicit_and_never_put_none_unasked(policy: str) -> None:
    report = check(WRITE.replace("POLICY", policy))
    assert "adapter-refused" in {item.code for item in report.diagnostics}
    assert policy in next(item.message for item in report.diagnostics if item.code == "adapter-refused")


def test_explicit_allows_what_is_asked_for() -> None:
    good("adapters: {policy: explicit}" + NARROW.replace("ADAPT", "linear"))


def test_never_refuses_what_is_asked_for() -> None:
    """`adapt:` was once obeyed all the same."""
    bad("adapters: {policy: never}" + NARROW.replace("ADAPT}]}", "linear}]}  #~ adapter-refused"))


def test_the_policy_of_a_graph_inside_is_its_own() -> None:
    """It was once read and forgotten."""
    inner = """
inputs: {x: "[batch 8]"}
nodes:
  g:
    kind: graph
    adapters: {policy: never}
    inputs: {z: "[... d]"}
    nodes:
      a: {kind: linear, out: 3, from: z}
      b: {kind: add, from: [z, {port: a, adapt: linear}]}  #~ adapter-refused
    outputs: {y: b}
    from: x
outputs: {y: g}
"""
    bad(inner)
    good(inner.replace("policy: never", "policy: explicit").replace("  #~ adapter-refused", ""))
    bad("adapters: {policy: never}" + inner.replace("    adapters: {policy: never}\n", ""))


def test_frozen_wants_every_adapter_to_be_asked_for() -> None:
    assert "adapter-unasked" in {item.code for item in check(WRITE.replace("POLICY", "auto"), frozen=True).diagnostics}
    assert check(NARROW.replace("ADAPT", "linear"), frozen=True).ok


def test_a_width_that_the_recipe_states_is_never_bridged_unasked() -> None:
    bad("""
inputs: {x: "[batch seq 8]"}
nodes:
  a:
    kind: bus
    from: x
    parts:
      p: {kind: linear, out: 4}  #~ shape-mismatch
outputs: {y: a}
""")


def test_a_second_use_of_a_module_gets_the_width_it_takes() -> None:
    report = good("""
inputs: {x: "[batch 8]", z: "[batch 4]"}
nodes:
  one: {kind: linear, out: 8, from: x}
  two: {same: one, from: z}
  sum: {kind: add, from: [one, two]}
outputs: {y: sum}
""")
    assert kinds(report)["two_x_adapter"] == "linear"
    assert outputs(report)["two_x_adapter"] == "[batch 8]"


def test_an_unasked_adapter_works_in_the_dtype_of_what_it_bridges() -> None:
    """Its weights were once float32 whatever arrived, and the model failed when it ran."""
    report = good("""
inputs: {x: "bf16 [batch seq 8]", z: "bf16 [batch seq 4]"}
nodes:
  a: {kind: bus, dtype: bf16, from: x, parts: {p: {kind: identity, from: z}}}
outputs: {y: a}
""")
    assert {str(kind) for kind in outputs(report).values()} == {"dense bf16 [batch seq 8]", "dense bf16 [batch seq 4]"}


@pytest.mark.parametrize("rank", ['"[batch 4 8]"', '"[batch 8 4]"'])
def test_a_difference_in_rank_never_gets_an_adapter(rank: str) -> None:
    report = check(f"""
inputs: {{x: "[batch 8]", z: {rank}}}
nodes: {{b: {{kind: add, from: [x, z]}}}}
outputs: {{y: b}}
""")
    assert [item.code for item in report.diagnostics] == ["shape-rank"]


@pytest.mark.parametrize(
    ("like", "options"), [("[batch seq 8]", "axis: -2, "), ("[batch 8 length]", "axis: -1, "), ("[batch 8 h w]", "axis: [-2, -1], "), ("[batch seq 7]", "")]
)
def test_a_value_that_lacks_axes_is_offered_those_of_the_other_where_it_fits(like: str, options: str) -> None:
    """Told to take the mean over the tokens, nobody could write FiLM, squeeze and excite or adaptive norms."""
    nodes = "nodes: {b: {kind: multiply, from: [x, z]}}\noutputs: {y: b}\n"
    (finding,) = check(f"inputs: {{x: '{like}', z: '[batch 8]'}}\n{nodes}").diagnostics
    offer = f"put a node `{{kind: expand, {options}from: {{x: z, like: x}}}}` between"
    assert finding.code == "shape-rank"
    assert (offer in finding.help) == bool(options)
    if options:
        node = offer.partition("`")[2].partition("`")[0]
        good(f"inputs: {{x: '{like}', z: '[batch 8]'}}\nnodes: {{e: {node}, b: {{kind: multiply, from: [x, e]}}}}\noutputs: {{y: b}}\n")


def test_an_axis_of_one_is_not_broadcast_and_the_help_says_what_is_meant() -> None:
    (finding,) = check("""
inputs: {x: "[batch seq 8]", z: "[batch 1 8]"}
nodes: {b: {kind: multiply, from: [x, z]}}
outputs: {y: b}
""").diagnostics
    assert finding.help == "nothing is broadcast: feed what has no such axis to a node `{kind: expand, from: {x: ..., like: ...}}`"


def test_an_adapter_inside_something_frozen_is_frozen() -> None:
    """One that was put in unasked once trained in a model whose recipe says `freeze: true`."""
    for text in ("freeze: true\n" + WRITE, WRITE.replace("{kind: bus,", "{kind: bus, freeze: true,")):
        report = good(text.replace("POLICY", "auto"))
        assert sum(row.trainable or 0 for row in rows(report)) == 0
