"""Inference over whole recipes: widths that follow from the graph, run-time sizes, guards, and what is never guessed."""

from __future__ import annotations

import itertools
import random

import pytest
import yaml

from assembler_schemas.dim import show, substitute
from tests.graph.recipes import bad, check, codes, gives, good, kinds, outputs, size

X = 'inputs: {x: "[batch seq 8]"}\n'


# --- open widths ---
def test_a_width_flows_forward() -> None:
    report = good(X + "nodes: {a: {kind: mlp, from: x}, b: {kind: linear, out: 3, from: a}}\noutputs: {y: b}\n")
    assert (size(report, "a", "hidden"), size(report, "b", "in")) == (32, 8)


def test_a_width_is_taken_from_where_it_goes() -> None:
    report = good(X + "nodes: {a: {kind: linear, from: x}, b: {kind: linear, in: 12, out: 3, from: a}}\noutputs: {y: b}\n")
    assert size(report, "a", "out") == 12


def test_a_width_is_taken_through_containers_copies_and_norms() -> None:
    report = good(X + """
nodes:
  a: {kind: linear, from: x}
  s: {kind: bus, repeat: 2, norm: pre, from: a, parts: {p: {kind: mlp}, q: {kind: sequence, parts: {r: {kind: dropout}}}}}
  g: {kind: graph, inputs: {i: "[... w]"}, nodes: {n: {kind: layer_norm, from: i}}, outputs: {y: n}, from: s}
  z: {kind: linear, out: 6, from: x}
  b: {kind: add, from: [g, z]}
outputs: {y: b}
""")
    assert size(report, "a", "out") == 6
    assert size(report, "s.*.p", "hidden") == 24


def test_several_open_widths_in_a_row() -> None:
    report = good(X + """
nodes:
  a: {kind: linear, from: x}
  b: {kind: linear, from: x}
  ab: {kind: add, from: [a, b]}
  c: {kind: linear, out: 5, from: x}
  d: {kind: add, from: [ab, c]}
outputs: {y: d}
""")
    assert (size(report, "a", "out"), size(report, "b", "out")) == (5, 5)


def test_a_width_that_nothing_determines() -> None:
    found = bad(X + "nodes:\n  a: {kind: linear, from: x}  #~ dim-underdetermined\noutputs: {y: a}\n")
    assert "`out` of `a`" in found.message


def test_a_width_that_two_consumers_want_differently_names_both() -> None:
    found = bad(X + """
nodes:
  a: {kind: linear, from: x}  #~ dim-ambiguous
  u: {kind: linear, out: 6, from: x}
  v: {kind: linear, out: 7, from: x}
  b: {kind: add, from: [a, u]}
  c: {kind: add, from: [a, v]}
outputs: {y: b, z: c}
""")
    assert "6 for `b`" in found.message
    assert "7 for `c`" in found.message
    assert sorted(note.span.line for note in found.related) == [7, 8]


def test_a_width_in_every_copy_of_a_repeat() -> None:
    report = good(X + "nodes: {s: {kind: bus, repeat: 3, from: x, parts: {p: {kind: linear}}}}\noutputs: {y: s}\n")
    assert size(report, "s.*.p", "out") == 8


# --- run-time sizes are rigid ---
@pytest.mark.parametrize("other", ["[batch len 8]", "[batch 5 8]", "[seq batch 8]"])
def test_a_run_time_size_equals_no_other_name_and_no_number(other: str) -> None:
    bad(f"""
inputs: {{x: "[batch seq 8]", z: "{other}"}}
nodes:
  a: {{kind: add, from: [x, z]}}  #~ dim-rigid{' dim-rigid' if other.startswith('[seq') else ''}
outputs: {{y: a}}
""")


def test_a_name_in_vars_is_that_number() -> None:
    assert gives(good('vars: {seq: 5}\ninputs: {x: "[batch seq 8]", z: "[batch 5 8]"}\nnodes: {a: {kind: add, from: [x, z]}}\noutputs: {y: a}\n')) == {"y": "[batch 5 8]"}


def test_no_size_of_one_is_broadcast() -> None:
    bad('inputs: {x: "[batch seq 8]", z: "[batch 1 8]"}\nnodes:\n  a: {kind: add, from: [x, z]}  #~ dim-rigid\noutputs: {y: a}\n')
    bad('inputs: {x: "[batch 4 8]", z: "[batch 1 8]"}\nnodes:\n  a: {kind: add, from: [x, z]}  #~ shape-mismatch\noutputs: {y: a}\n')


def test_rows_align_from_the_right() -> None:
    assert gives(good('inputs: {x: "[b g seq 8]"}\nnodes: {p: {kind: mean_pool, from: x}, a: {kind: linear, out: 3, from: p}}\noutputs: {y: a}\n')) == {"y": "[b g 3]"}


def test_a_parameter_has_no_run_time_size() -> None:
    bad('inputs: {x: "[batch seq]"}\nnodes:\n  a: {kind: linear, out: 3, from: x}  #~ dim-runtime\noutputs: {y: a}\n')


# --- exact division and guards ---
def test_a_division_of_a_number_is_exact() -> None:
    text = 'inputs: {{x: "image [batch 3 {h} 8]"}}\nnodes:\n  a: {{kind: patch_embed, patch: 4, out: 5, from: x}}{mark}\noutputs: {{y: a}}\n'
    assert gives(good(text.format(h=12, mark=""))) == {"y": "[batch 6 5]"}
    bad(text.format(h=10, mark="  #~ shape-constraint"))


def guards(text: str) -> list[str]:
    report = good(text)
    assert report.facts is not None
    return sorted({f"{show(item.left)} {item.relation} {show(item.right)}" for item in report.facts.guards})


def test_a_division_of_a_run_time_size_is_a_guard_and_a_note() -> None:
    text = 'inputs: {x: "image [batch 3 h 8]"}\nnodes: {a: {kind: patch_embed, patch: 4, out: 5, from: x}}\noutputs: {y: a}\n'
    assert guards(text) == ["h multiple_of 4"]
    assert codes(check(text)) == [("entry-guard", 2)]


@pytest.mark.parametrize(
    ("node", "guard"),
    [("{kind: conv1d, out: 4, kernel: 5, from: x}", "1 at_most length - 4"), ("{kind: conv1d, out: 4, kernel: 5, padding: 2, from: x}", ""),
     ("{kind: conv1d, out: 4, kernel: 3, dilation: 4, from: x}", "1 at_most length - 8")],
)  # fmt: skip
def test_a_window_over_a_run_time_size_has_a_least_size(node: str, guard: str) -> None:
    assert guards(f'inputs: {{x: "[batch 3 length]"}}\nnodes: {{a: {node}}}\noutputs: {{y: a}}\n') == ([guard] if guard else [])


def test_windows_in_a_row_each_have_their_guard() -> None:
    report = good('inputs: {x: "[batch 3 h 32]"}\nnodes: {a: {kind: conv2d, out: 4, kernel: 5, stride: 2, from: x}, b: {kind: max_pool2d, kernel: 3, from: a}}\noutputs: {y: b}\n')
    assert report.facts is not None
    for guard in report.facts.guards:
        assert guard.relation == "at_most"
        for h in range(1, 40):
            rows = (h - 5) // 2 + 1
            wanted = rows >= 1 if guard.address == "a" else (rows - 3) // 3 + 1 >= 1
            assert (substitute(guard.right, {"h": h}) >= 1) == wanted  # type: ignore[operator]


def test_a_window_that_never_fits_is_empty() -> None:
    bad('inputs: {x: "[batch 3 4]"}\nnodes:\n  a: {kind: conv1d, out: 4, kernel: 5, from: x}  #~ shape-empty\noutputs: {y: a}\n')


def test_a_demand_on_a_run_time_size_is_a_guard() -> None:
    assert guards('inputs: {x: "[batch seq 8]"}\nnodes: {a: {kind: learned_position, length: 9, from: x}}\noutputs: {y: a}\n') == ["seq at_most 9"]


# --- dtypes and media ---
@pytest.mark.parametrize(("kind", "node"), [("ids(9) [batch seq]", "{kind: linear, out: 3, from: x}"), ("mask [batch seq]", "{kind: linear, out: 3, from: x}"), ("[batch seq]", "{kind: embedding, vocab: 9, out: 3, from: x}"),
                                            ("bf16 [batch 8]", "{kind: linear, out: 3, from: x}"), ("[batch 8]", "{kind: linear, out: 3, dtype: bf16, from: x}")])  # fmt: skip
def test_dtypes_never_change_in_silence(kind: str, node: str) -> None:
    bad(f'inputs: {{x: "{kind}"}}\nnodes:\n  a: {node}  #~ dtype-mismatch\noutputs: {{y: a}}\n')


def test_a_dense_value_is_no_mask_and_no_cast_is_offered_for_it() -> None:
    found = bad('inputs: {x: "[batch seq 8]", m: "[batch seq]"}\nnodes:\n  a: {kind: mean_pool, from: {x: x, mask: m}}  #~ dtype-mismatch\noutputs: {y: a}\n')
    assert "cast" not in found.help


def test_a_cast_that_is_asked_for_takes_the_dtype_of_where_it_goes() -> None:
    report = good('inputs: {x: "[batch 8]"}\nnodes: {a: {kind: linear, out: 3, dtype: bf16, from: {port: x, adapt: cast}}}\noutputs: {y: a}\n')
    assert outputs(report) == {"a_x_adapter": "dense bf16 [batch 8]", "a": "dense bf16 [batch 3]"}


def test_dtype_is_inherited_from_the_recipe_and_by_norms() -> None:
    report = good('dtype: bf16\ninputs: {x: "bf16 [batch seq 8]"}\nnodes: {a: {kind: bus, norm: both, from: x, parts: {p: {kind: mlp}}}}\noutputs: {y: a}\n')
    assert set(outputs(report).values()) == {"dense bf16 [batch seq 8]"}


def test_more_ids_than_rows() -> None:
    bad('inputs: {x: "ids(10) [batch seq]"}\nnodes:\n  a: {kind: embedding, vocab: 9, out: 3, from: x}  #~ vocabulary-mismatch\noutputs: {y: a}\n')


# --- order never matters ---
ORDER = """
inputs: {x: "[batch seq 8]", z: "[batch seq 4]"}
nodes:
  a: {kind: linear, from: x}
  b: {kind: bus, repeat: 2, from: a, parts: {p: {kind: identity, from: z}, q: {kind: mlp}}}
  c: {kind: linear, out: 6, from: z}
  d: {kind: add, from: [b, c]}
  e: {kind: concat, from: [d, {port: z, adapt: linear}]}
outputs: {y: d}
"""


def test_the_order_of_nodes_changes_neither_facts_nor_adapters() -> None:
    tree = yaml.safe_load(ORDER.replace(", {port: z, adapt: linear}", ", z"))
    tree["outputs"]["e"] = "e"
    seen = set()
    orders = list(itertools.permutations(tree["nodes"]))
    for order in random.Random(0).sample(orders, 12):
        shuffled = {**tree, "nodes": {name: tree["nodes"][name] for name in order}}
        report = check(yaml.safe_dump(shuffled, sort_keys=False))
        seen.add((frozenset(outputs(report).items()), frozenset(kinds(report).items()), frozenset(item.code for item in report.diagnostics)))
    assert len(seen) == 1


@pytest.mark.parametrize("swap", [False, True])
def test_the_order_of_two_claims_does_not_decide(swap: bool) -> None:
    nodes = ["  u: {kind: add, from: [a, b]}", "  v: {kind: add, from: [a, c]}"]
    text = X + "nodes:\n  a: {kind: linear, from: x}  #~ dim-ambiguous\n  b: {kind: linear, out: 6, from: x}\n  c: {kind: linear, out: 7, from: x}\n"
    bad(text + "\n".join(reversed(nodes) if swap else nodes) + "\noutputs: {u: u, v: v}\n")


def test_a_size_that_outgrows_arithmetic_between_two_kinds_is_said_and_not_left_unknown() -> None:
    nodes = "".join(f"  c{i}: {{kind: conv2d, out: 8, kernel: 3, stride: {2 + i % 5}, from: {f'c{i - 1}' if i else 'x'}}}\n" for i in range(40))
    found = check(f'inputs: {{x: "image [batch 3 h w]"}}\nnodes:\n{nodes}outputs: {{y: c39}}\n').diagnostics
    assert [item.code for item in found if item.level == "error"] == ["limit-equations"]


@pytest.mark.parametrize(("x", "z", "pattern", "fits"), [(64, 8, "d*d", True), (64, 64, "d*d", False), (63, 8, "d*d", False), (72, 8, "d*d+d", True), (24, 8, "3*d", True)])
def test_a_size_that_stands_twice_in_a_product_is_no_linear_one(x: int, z: int, pattern: str, fits: bool) -> None:
    inner = f'{{kind: graph, inputs: {{i: "[batch {pattern}]", j: "[batch d]"}}, nodes: {{n: {{kind: concat, from: [i, j]}}}}, outputs: {{y: n}}, from: {{i: x, j: z}}}}'
    assert check(f'inputs: {{x: "[batch {x}]", z: "[batch {z}]"}}\nnodes: {{g: {inner}}}\noutputs: {{y: g}}\n').ok == fits
