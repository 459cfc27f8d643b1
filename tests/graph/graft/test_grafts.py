"""Grafts end as plain nodes and edges: which, where, fed by what, and what stands in the record."""

from __future__ import annotations

import pytest

from assembler.facts.count import totals
from tests.graph.recipes import bad, check, codes, good, kinds, names, outputs, parameters, rows, wires

HOST = """
inputs: {x: "[batch seq 16]"}
nodes:
  body: {kind: mlp, from: x}
  head: {kind: linear, out: 4, from: body}
outputs: {y: head}
grafts:
"""
STACK = """
inputs: {x: "[batch seq 16]"}
nodes:
  enc: {kind: bus, repeat: 4, norm: pre, from: x, parts: {attend: {kind: attention, heads: 2}, think: {kind: mlp}}}
  final: {kind: layer_norm, from: enc}
  head: {kind: linear, out: 4, from: final}
outputs: {y: head}
grafts:
"""


# --- modes ---
def test_add_stands_between_the_node_and_its_readers():
    report = good(HOST + "  side: {write: body, mode: add, part: {kind: mlp, hidden: 8}}")
    assert wires(report) == {
        "body": {"x": [".x"]},
        "side": {"x": ["body.y"]},
        "side_add": {"x": ["body.y", "side.y"]},
        "head": {"x": ["side_add.y"]},
    }


def test_gate_multiplies_the_host_by_one_plus_the_part():
    report = good(HOST + "  side: {write: body, mode: gate, part: {kind: mlp, hidden: 8}}")
    assert wires(report)["side_gate"] == {"base": ["body.y"], "gate": ["side.y"]}
    node = next(row.node for row in rows(report) if row.address == "side_gate")
    assert node.options.form == "one_plus"  # type: ignore[union-attr]


def test_blend_goes_half_way_unless_it_says_how_far():
    report = good(HOST + "  side: {write: body, mode: blend, part: {kind: mlp, hidden: 8}}")
    assert wires(report)["side_change"] == {"x": ["side_minus.y", "side.y"]}
    assert wires(report)["side_blend"] == {"x": ["body.y", "side_scale.y"]}
    node = next(row.node for row in rows(report) if row.address == "side_scale")
    assert node.options.value == 0.5  # type: ignore[union-attr]


def test_concat_widens_the_readers():
    report = good(HOST + "  side: {write: body, mode: concat, part: {kind: linear, out: 5}}")
    assert outputs(report)["side_concat"] == "[batch seq 21]"
    assert parameters(report) == 2128 + 85 + (21 * 4 + 4)


def test_what_concat_changes_is_held_against_its_readers_again():
    bad("""
        inputs: {x: "[batch 16]"}
        nodes:
          body: {kind: mlp, from: x}
          head: {kind: linear, in: 16, out: 4, from: body}   #~ shape-mismatch
        outputs: {y: head}
        grafts:
          side: {write: body, mode: concat, part: {kind: linear, out: 5}}
    """)


def test_replace_leaves_the_host_without_readers_and_says_nothing_of_it():
    report = good(HOST + "  side: {read: x, write: body, mode: replace, part: {kind: mlp, hidden: 8}}")
    assert wires(report)["head"] == {"x": ["side.y"]}


def test_replace_on_an_input_port_stands_between_two_nodes():
    report = good("""
        inputs: {x: "[batch 16]"}
        nodes:
          body: {kind: mlp, from: x}
          one: {kind: linear, out: 4, from: body}
          two: {kind: linear, out: 4, from: body}
        outputs: {a: one, b: two}
        grafts:
          drop: {write: two.x, mode: replace, part: {kind: dropout}}
    """)
    assert wires(report)["one"] == {"x": ["body.y"]}
    assert wires(report)["two"] == {"x": ["drop.y"]}
    assert wires(report)["drop"] == {"x": ["body.y"]}


# --- scale and norm ---
def test_a_fixed_scale_is_a_factor_and_one_is_none():
    report = good(HOST + "  side: {write: body, mode: add, scale: 0.1, part: {kind: mlp, hidden: 8}}")
    assert wires(report)["side_add"] == {"x": ["body.y", "side_scale.y"]}
    assert "side_scale" not in names(
        good(HOST + "  side: {write: body, mode: add, scale: 1, part: {kind: mlp, hidden: 8}}")
    )


def test_a_learned_scale_starts_where_it_says():
    report = good(
        HOST
        + "  side: {write: body, mode: add, scale: {learned: true, value: 0.1, channel: true}, part: {kind: mlp, hidden: 8}}"
    )
    node = next(row.node for row in rows(report) if row.address == "side_scale")
    assert (node.options.value, node.options.learned, node.options.channel) == (0.1, True, True)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("norm", "wired"),
    [
        ("pre", {"side": ["side_pre_norm.y"], "side_add": ["body.y", "side.y"], "head": ["side_add.y"]}),
        ("out", {"side": ["body.y"], "side_add": ["body.y", "side_out_norm.y"], "head": ["side_add.y"]}),
        ("both", {"side": ["side_pre_norm.y"], "side_add": ["body.y", "side_out_norm.y"], "head": ["side_add.y"]}),
        ("post", {"side": ["body.y"], "side_add": ["body.y", "side.y"], "head": ["side_post_norm.y"]}),
    ],
)
def test_norms_stand_at_the_grafts_boundary(norm: str, wired: dict[str, list[str]]):
    report = good(
        HOST + f"  side: {{write: body, mode: add, norm: {norm}, norm_kind: rms_norm, part: {{kind: mlp, hidden: 8}}}}"
    )
    found = wires(report)
    assert {name: found[name]["x"] for name in wired} == wired
    assert all(kind == "rms_norm" for name, kind in kinds(report).items() if name.endswith("norm"))


def test_the_norm_behind_a_part_has_the_parts_width():
    report = check(HOST + "  side: {write: body, mode: add, norm: both, part: {kind: linear, out: 8}}")
    assert outputs(report)["side_out_norm"] == "[batch seq 8]"
    assert [code for code, _ in codes(report)] == ["adapter-inserted"]


# --- widths ---
def test_a_width_that_is_not_the_hosts_is_bridged_both_ways():
    report = check("""
        inputs: {x: "[batch seq 16]", z: "[batch seq 24]"}
        nodes:
          body: {kind: mlp, from: x}
          head: {kind: linear, out: 4, from: body}
        outputs: {y: head}
        grafts:
          side: {read: {port: z, adapt: linear}, write: body, mode: add, part: {kind: mlp, in: 8}}
    """)
    assert [code for code, _ in codes(report)] == ["adapter-inserted", "adapter-inserted"]
    assert parameters(report) == parameters(good(HOST.removesuffix("grafts:\n"))) + (24 * 8 + 8) + (
        8 * 32 + 32 + 32 * 8 + 8
    ) + (8 * 16 + 16)


def test_a_stated_width_that_does_not_fit_asks_for_an_adapter_at_the_write():
    found = bad(HOST + "  side: {write: body, mode: add, part: {kind: linear, out: 8}}   #~ shape-mismatch")
    assert found.help == "drop the stated width, or ask for a projection: `write: {port: ..., adapt: linear}`"


def test_an_edge_may_ask_for_its_adapter():
    report = check(
        HOST
        + "  side: {read: {port: x, detach: true}, write: {port: body, adapt: {kind: low_rank, rank: 2}}, mode: add, part: {kind: linear, out: 8}}"
    )
    assert wires(report)["side"] == {"x": ["side_x_detach.y"]}
    assert kinds(report)["side_add_side_adapter"] == "low_rank"


# --- copies ---
def test_one_graft_for_each_copy_with_weights_of_its_own():
    plain = parameters(good(STACK.removesuffix("grafts:\n")))
    report = good(STACK + '  side: {write: "enc.*.think", mode: add, part: {kind: linear, bias: false}}')
    assert parameters(report) == plain + 4 * 16 * 16
    assert "enc.*.side" in names(report)


def test_a_pattern_that_matches_some_copies_cuts_the_repeat():
    report = good(STACK + '  side: {write: "enc.1:3.think", mode: add, part: {kind: linear}}')
    assert [name for name in names(report) if name.endswith("side")] == ["enc.1:3.side"]
    assert [run.count for run in rows(report)[0].node.runs] == [1, 2, 1]  # type: ignore[union-attr]


def test_the_output_of_a_copy_is_what_the_next_one_takes():
    report = good(STACK + "  side: {write: enc.1, mode: gate, part: {kind: mlp, hidden: 8}}")
    assert wires(report, "enc.1")["side_gate"] == {"base": ["think_add.y"], "gate": ["side.y"]}
    inner = next(row.node for row in rows(report) if row.address == "enc.1")
    assert inner.scope.outputs["y"].node == "side_gate"  # type: ignore[union-attr]


def test_an_earlier_copy_can_be_read():
    report = good(STACK + "  side: {read: enc.1, write: enc.3, mode: add, part: {kind: linear}}")
    enc = rows(report)[0].node
    assert enc.links == {"side_x": "1.y"}  # type: ignore[union-attr]
    assert wires(report, "enc.3")["side"] == {"x": [".side_x"]}


def test_a_later_copy_cannot_be_read():
    bad(STACK + "  side: {read: enc.3, write: enc.1, mode: add, part: {kind: linear}}   #~ graph-cycle")
    bad(STACK + "  side: {read: enc, write: enc.1, mode: add, part: {kind: linear}}   #~ graph-cycle")


def test_an_outer_value_is_passed_in():
    report = good(STACK + '  side: {read: x, write: "enc.2:.attend", mode: add, part: {kind: linear}}')
    assert wires(report)["enc"] == {"x": [".x"], "side_x": [".x"]}


def test_a_star_in_read_is_the_copy_where_the_graft_stands():
    report = good(STACK + '  side: {read: "enc.*.attend", write: "enc.*.think", mode: add, part: {kind: linear}}')
    assert wires(report, "enc.*")["side"] == {"x": ["attend.y"]}


def test_the_input_of_a_copy_can_be_written():
    report = good(STACK + "  side: {write: enc.2.x, mode: add, part: {kind: linear}}")
    inside = wires(report, "enc.2")
    assert inside["side"] == {"x": [".x"]}
    assert inside["attend_pre_norm"] == {"x": ["side_add.y"]}
    assert inside["attend_add"]["x"][0] == "side_add.y"


def test_an_input_of_the_recipe_can_be_written():
    report = good(HOST + "  side: {write: x, mode: add, part: {kind: linear}}")
    assert wires(report)["body"] == {"x": ["side_add.y"]}


def test_copies_of_a_single_kind_have_no_room():
    bad("""
        inputs: {x: "[batch 16]"}
        nodes:
          tower: {kind: mlp, repeat: 3, from: x}
        outputs: {y: tower}
        grafts:
          side: {write: tower.1, mode: add, part: {kind: linear}}   #~ graft-place
    """)


def test_grafts_of_a_nested_graph_are_its_own():
    report = good("""
        inputs: {x: "[batch 16]"}
        slots:
          block:
            inputs: {x: "[... 16]"}
            nodes: {think: {kind: mlp, from: x}}
            outputs: {y: think}
            grafts: {side: {write: think, mode: add, part: {kind: linear}}}
        nodes:
          tower: {slot: block, repeat: 2, from: x}
        outputs: {y: tower}
    """)
    assert "tower.*.side_add" in names(report)
    assert report.graph is not None
    assert [match.after for match in report.graph.grafts[0].matches] == ["tower.0.side_add.y", "tower.1.side_add.y"]


# --- several at one place ---
def test_sums_need_no_order_and_read_the_value_itself():
    report = good(
        HOST
        + "  one: {write: body, mode: add, part: {kind: linear}}\n  two: {write: body, mode: add, part: {kind: linear}}"
    )
    found = wires(report)
    assert found["two"] == {"x": ["body.y"]}
    assert found["two_add"] == {"x": ["one_add.y", "two.y"]}
    assert found["head"] == {"x": ["two_add.y"]}


def test_after_reads_what_the_one_before_made():
    report = good(
        HOST
        + "  two: {write: body, mode: gate, after: one, part: {kind: linear}}\n  one: {write: body, mode: add, part: {kind: linear}}"
    )
    found = wires(report)
    assert found["two"] == {"x": ["one_add.y"]}
    assert found["two_gate"] == {"base": ["one_add.y"], "gate": ["two.y"]}


def test_after_in_a_circle_and_after_nothing():
    bad(
        HOST
        + "  one: {write: body, mode: add, after: two, part: {kind: linear}}   #~ order-conflict\n  two: {write: body, mode: add, after: one, part: {kind: linear}}"
    )
    bad(HOST + "  one: {write: body, mode: add, after: too, part: {kind: linear}}   #~ address-unknown")


def test_readers_of_a_written_node_read_the_merged_value_in_whatever_order_they_are_stated():
    first = "  far: {read: body, write: head, mode: add, part: {kind: linear}}"
    second = "  side: {write: body, mode: add, part: {kind: linear}}"
    for text in (f"{first}\n{second}", f"{second}\n{first}"):
        assert wires(good(HOST + text))["far"] == {"x": ["side_add.y"]}


# --- rules, freeze, names ---
def test_rules_without_at_are_about_the_recipes_own_nodes():
    text = (
        HOST
        + "  side: {write: body, mode: add, part: {kind: mlp, hidden: 8, activation: relu}}\nrules: {tanh: {where: {kind: mlp}, set: {activation: tanh}}}"
    )
    report = good(text)
    found = {row.address: row.node.options.activation for row in rows(report) if kinds(report)[row.address] == "mlp"}  # type: ignore[union-attr]
    assert found == {"body": "tanh", "side": "relu"}


def test_a_rule_with_an_address_reaches_a_graft():
    report = good(
        HOST
        + "  side: {write: body, mode: add, part: {kind: mlp, hidden: 8}}\nrules: {wide: {at: side, set: {hidden: 4}}}"
    )
    assert parameters(report) == parameters(
        good(HOST + "  side: {write: body, mode: add, part: {kind: mlp, hidden: 4}}")
    )


def test_a_graft_learns_though_the_host_is_frozen():
    report = good("freeze: true" + HOST + "  side: {write: body, mode: add, scale: learned, part: {kind: linear}}")
    assert totals(report.graph, report.facts)[1] == 16 * 16 + 16 + 1  # type: ignore[arg-type]


def test_a_part_can_be_anything_that_a_node_can_be():
    report = good(
        STACK
        + """  deep:
    write: enc.1.think
    mode: add
    part: {kind: bus, repeat: 2, norm: pre, parts: {think: {kind: mlp, hidden: 8}}}
  slotted: {write: head, mode: add, part: {slot: tail}}
slots: {tail: {kind: sequence, parts: {a: {kind: linear}, b: {kind: activation}}}}
"""
    )
    assert "enc.1.deep.*.think" in names(report)
    assert "slotted.b" in names(report)


def test_several_values_go_to_the_ports_by_name():
    report = good(
        STACK + "  look: {read: {x: enc, memory: x}, write: enc, mode: add, part: {kind: cross_attention, heads: 2}}"
    )
    assert wires(report)["look"] == {"x": ["enc.y"], "memory": [".x"]}


def test_every_node_of_a_graft_says_so():
    report = good(HOST + "  side: {write: body, mode: add, scale: learned, norm: both, part: {kind: mlp, hidden: 8}}")
    causes = {row.address: row.node.cause for row in rows(report) if row.address.startswith("side")}
    assert causes == {
        "side_pre_norm": "pre norm of graft side",
        "side": "graft side",
        "side_out_norm": "out norm of graft side",
        "side_scale": "scale of graft side",
        "side_add": "add of graft side",
    }


# --- what cannot stand ---
@pytest.mark.parametrize(
    "text",
    [
        "side: {write: boddy, mode: add, part: {kind: linear}}   #~ address-unknown",
        "side: {write: body.z, mode: add, part: {kind: linear}}   #~ address-unknown",
        "side: {write: body, mode: ad, part: {kind: linear}}   #~ value-range",
        "side: {write: body, mode: multi_blend, part: {kind: linear}}   #~ value-range",
        "side: {write: body, mode: add, form: sigmoid, part: {kind: linear}}   #~ place-conflict",
        "side: {write: body, mode: add, scale: lerned, part: {kind: linear}}   #~ value-type",
        "side: {write: body, mode: add, init: small, part: {kind: linear}}   #~ value-range",
        "side: {write: body, mode: add, wirte: body, part: {kind: linear}}   #~ unknown-key",
        "side: {write: body, part: {kind: linear}}   #~ missing-key",
        "side: {write: body, mode: add, part: linear}   #~ value-type",
        "side: {write: body, mode: add, part: {kind: linear, from: x}}   #~ place-conflict",
        "side: {write: body, mode: add, part: {kind: embedding, vocab: 9}}   #~ dtype-mismatch",
        "side: {read: {z: x}, write: body, mode: add, part: {kind: linear}}   #~ port-unknown",
        "side: {read: nobody, write: body, mode: add, part: {kind: linear}}   #~ address-unknown",
        "side: {read: head, write: body, mode: add, part: {kind: linear}}   #~ graph-cycle",
        "head: {write: body, mode: add, part: {kind: linear}}   #~ name-taken",
        "side: {write: [body, head], mode: add, part: {kind: linear}}   #~ value-type",
    ],
)
def test_one_finding_at_the_line(text: str):
    bad(HOST + "  " + text)


def test_the_inside_of_a_module_with_two_uses_takes_no_graft():
    bad("""
        inputs: {x: "[batch 16]"}
        nodes:
          a: {kind: sequence, parts: {think: {kind: mlp}}, from: x}
          b: {same: a, from: a}
        outputs: {y: b}
        grafts:
          side: {write: a.think, mode: add, part: {kind: linear}}   #~ graft-place
    """)


def test_a_pattern_with_several_places_in_one_scope_names_each_after_its_place():
    report = good(STACK + '  side: {write: "enc.*.*", mode: add, part: {kind: linear}}')
    assert [name for name in names(report) if "side" in name] == [
        "enc.*.side_attend",
        "enc.*.side_attend_add",
        "enc.*.side_think",
        "enc.*.side_think_add",
    ]


@pytest.mark.parametrize("names", [("one", "two"), ("two", "one")])
@pytest.mark.parametrize("inner", ["body.up", "body.x"])
def test_a_part_that_is_another_use_of_a_node_keeps_grafts_out_of_it(names: tuple[str, str], inner: str):
    grafts = {
        "one": f"  one: {{write: {inner}, mode: add, part: {{kind: linear}}}}"
        + ("   #~ graft-place" if inner == "body.up" else ""),
        "two": "  two: {write: head, mode: add, part: {same: body}, read: x}",
    }
    host = HOST.replace("out: 4", "out: 16")
    text = host + "\n".join(grafts[name] for name in names)
    if inner == "body.up":
        bad(text)
    else:
        good(text)
