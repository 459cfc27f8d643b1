"""Graphs inside graphs: declared inputs, what crosses their borders, and what nobody reads in them; containers by name."""

from __future__ import annotations

from pathlib import Path

import assembler
from tests.graph.recipes import bad, gives, good, inputs, names, outputs, wires

PAIR = """
inputs: {x: "[batch seq 8]", z: TYPE}
nodes:
  g:
    kind: graph
    inputs: {a: "[... d]", b: "[... d]"}
    nodes: {s: {kind: add, from: [a, b]}}
    outputs: {y: s}
    from: {a: x, b: z}EDGE
outputs: {y: g}
"""


def test_names_of_declared_inputs_unify_with_what_arrives() -> None:
    assert inputs(good(PAIR.replace("TYPE", '"[batch seq 8]"').replace("EDGE", "")), "g") == {"a": ["[batch seq 8]"], "b": ["[batch seq 8]"]}


def test_declared_inputs_that_do_not_unify_are_said_at_the_edge() -> None:
    bad(PAIR.replace("TYPE", '"[batch seq 9]"').replace("EDGE", "  #~ dim-ambiguous"))


def test_a_run_time_size_that_differs_at_a_border_is_said_once() -> None:
    """It was once said again by the first node inside."""
    bad(PAIR.replace("TYPE", '"[batch len 8]"').replace("EDGE", "  #~ dim-rigid"))


def test_a_declared_number_and_a_declared_rank_hold() -> None:
    text = """
inputs: {x: "[batch seq 8]"}
nodes:
  g:
    kind: graph
    inputs: {a: TYPE}
    nodes: {s: {kind: mlp, from: a}}
    outputs: {y: s}
    from: x  #~ CODE
outputs: {y: g}
"""
    bad(text.replace("TYPE", '"[b s 16]"').replace("CODE", "shape-mismatch"))
    bad(text.replace("TYPE", '"[b 8]"').replace("CODE", "shape-rank"))
    bad(text.replace("TYPE", '"ids [b s]"').replace("CODE", "dtype-mismatch"))


def test_a_declared_input_that_is_not_fed_is_required() -> None:
    bad(PAIR.replace("TYPE", '"[batch seq 8]"').replace("    from: {a: x, b: z}EDGE", "    from: {a: x}").replace("  g:", "  g:  #~ port-required").replace("outputs: {y: g}", "  h: {kind: add, from: [g, z]}\noutputs: {y: h}"))


def test_a_graph_is_closed_but_a_container_is_not() -> None:
    bad("""
inputs: {x: "[batch 8]"}
nodes:
  a: {kind: mlp, from: x}
  g:
    kind: graph
    inputs: {z: "[... d]"}
    nodes:
      b: {kind: add, from: [z, a]}  #~ address-unknown
    outputs: {y: b}
    from: x
  c: {kind: add, from: [a, g]}
outputs: {y: c}
""")
    report = good("""
inputs: {x: "[batch 8]"}
nodes:
  a: {kind: mlp, from: x}
  s: {kind: sequence, from: x, parts: {p: {kind: sequence, parts: {q: {kind: mlp}, b: {kind: gate, from: {gate: a}}}}}}
outputs: {y: s}
""")
    assert wires(report)["s"] == {"x": [".x"], "a": ["a.y"]}
    assert wires(report, "s.p")["b"] == {"base": ["q.y"], "gate": [".a"]}


def test_what_nobody_reads_is_said_inside_too() -> None:
    """It was once said of the outermost graph only."""
    bad("""
inputs: {x: "[batch 8]"}
nodes:
  g:
    kind: graph
    inputs:
      z: "[... d]"
      k: "[... d]"  #~ input-unused
    nodes:
      a: {kind: mlp, from: z}
      b: {kind: mlp, from: z}  #~ node-unused
    outputs: {y: a}
    from: {z: x, k: x}
outputs: {y: g}
""")


def test_what_one_use_of_a_graph_reads_is_read() -> None:
    good("""
inputs: {x: "[batch 8]"}
slots: {block: {inputs: {z: "[... d]"}, nodes: {a: {kind: mlp, from: z}, b: {kind: mlp, from: z}}, outputs: {y: a}}}
nodes:
  one: {slot: block, from: x}
  two: {slot: block, from: one}
  out: {kind: add, from: [two, two.b]}
outputs: {y: out}
""")


def test_a_mapping_with_nodes_and_no_kind_is_a_graph() -> None:
    report = good('inputs: {x: "[batch 8]"}\nnodes: {g: {inputs: {z: "[... d]"}, nodes: {a: {kind: mlp, from: z}}, outputs: {y: a}, from: x}}\noutputs: {y: g}\n')
    assert names(report) == ["g", "g.a"]


# --- containers take inputs by name ---
DECODER = """
inputs: {x: "[batch seq 8]", m: "[batch mem 6]", k: "mask [batch mem]"}
nodes:
  decoder:
    kind: bus
    repeat: 2
    norm: pre
    from: {x: x, memory: m, memory_mask: k}
    parts:
      attend: {kind: attention, heads: 2, causal: true}
      cross: {kind: cross_attention, heads: 2, from: {mask: memory_mask}}
      think: {kind: mlp}
outputs: {y: decoder}
"""


def test_other_inputs_reach_each_copy_and_each_part_with_a_port_of_that_name() -> None:
    report = good(DECODER)
    wired = wires(report, "decoder.*")
    assert wired["cross"] == {"x": ["cross_pre_norm.y"], "memory": [".memory"], "mask": [".memory_mask"]}
    assert wired["attend"] == {"x": ["attend_pre_norm.y"]}


def test_an_input_that_reaches_nobody_is_an_error() -> None:
    bad(DECODER.replace("memory_mask: k}", "memory_mask: k, extra: k}  #~ port-unreached"))


def test_it_is_a_warning_where_only_a_slots_filler_lacks_the_port() -> None:
    found = bad("""
inputs: {x: "[batch seq 8]", m: "mask [batch seq]"}
slots: {f: {kind: mlp}}
nodes:
  a: {kind: bus, from: {x: x, mask: m}, parts: {p: {slot: f}}}  #~ input-unreached-slot
outputs: {y: a}
""")
    assert found.level == "warning"


def test_the_label_of_the_first_input_of_a_container_is_free() -> None:
    assert wires(good(DECODER.replace("{x: x, memory", "{stream: x, memory")))["decoder"]["x"] == [".x"]


def test_parallel_joins_what_all_parts_make_of_one_input() -> None:
    report = good('inputs: {x: "[batch 8]"}\nnodes: {p: {kind: parallel, join: concat, from: x, parts: {a: {kind: linear, out: 3}, b: {kind: linear, out: 4}}}}\noutputs: {y: p}\n')
    assert wires(report, "p") == {"a": {"x": [".x"]}, "b": {"x": [".x"]}, "join": {"x": ["a.y", "b.y"]}}
    assert outputs(report)["p"] == "[batch 7]"


# --- a recipe file as a node, a part, a slot's filler ---
def test_a_recipe_file_fills_a_slot_and_is_swapped_by_one_word(tmp_path: Path) -> None:
    (tmp_path / "slots" / "block").mkdir(parents=True)
    block = 'name: block\nvars: {w: 3}\ninputs: {z: "[... d]"}\nnodes: {a: {kind: mlp, hidden: w, from: z}}\noutputs: {y: a}\n'
    (tmp_path / "slots" / "block" / "wide.yaml").write_text(block)
    (tmp_path / "slots" / "block" / "plain.yaml").write_text("kind: mlp\nhidden: 4\n")
    (tmp_path / "r.yaml").write_text("""
defaults: [slots/block: plain, _self_]
inputs: {x: "[batch 8]"}
nodes:
  node: {slot: block, from: x}
  bus: {kind: bus, from: node, parts: {part: {slot: block}}}
outputs: {y: bus}
""")
    plain, wide = assembler.check(tmp_path / "r.yaml"), assembler.check(tmp_path / "r.yaml", ["slots/block=wide"])
    assert plain.ok, str(plain)
    assert wide.ok, str(wide)
    assert names(wide) == ["node", "node.a", "bus", "bus.part", "bus.part.a", "bus.part_add"]
    assert gives(wide) == gives(plain) == {"y": "[batch 8]"}


def test_what_is_wrong_inside_a_container_is_said_beside_what_is_wrong_with_its_options() -> None:
    bad("""
        inputs: {x: "[batch 16]"}
        nodes:
          stack:
            kind: sequence
            from: x
            depth: 3    #~ unknown-option
            parts:
              a: {kind: linear, units: 16}    #~ unknown-option
              b: {kind: lienar, out: 16}    #~ unknown-kind
              c: {kind: dropout}
        outputs: {y: stack.c}
        """)


def test_a_container_whose_stream_is_named_takes_no_second_one_by_another_name() -> None:
    bad("""
        inputs: {a: "[batch 16]", b: "[batch 16]"}
        nodes:
          stack:
            kind: sequence
            from: {like: a, x: b}    #~ port-unreached
            parts:
              one: {kind: linear, out: 16}
        outputs: {y: stack}
        """)


def test_a_start_of_a_parameter_that_is_tied_to_nothing_is_no_second_finding() -> None:
    bad("""
        inputs: {x: "[batch 16]"}
        nodes:
          one: {kind: linear, out: 16, from: x, init: identity, tie: {weight: nobody.weight}}    #~ share-unknown
        outputs: {y: one}
        """)


def test_what_should_follow_an_unknown_width_decides_none() -> None:
    """A graft's part gave its host a width that nobody knew, because of an input whose type is not readable."""
    bad("""
        inputs:
          x: "[batch seq 8"    #~ port-type-syntax
          side: "[batch seq 4]"
        nodes:
          look: {kind: attention, heads: 4, from: x}
          head: {kind: linear, in: 8, out: 3, from: look}
        grafts:
          one: {read: side, write: look, mode: gate, part: {kind: mlp}}
        outputs: {y: head}
        """)


def test_a_broken_part_leaves_open_what_its_join_gives() -> None:
    """The sizes of the other parts were summed, and counted, as if it did not stand there."""
    bad("""
        inputs: {x: "[batch 16]"}
        nodes:
          both:
            kind: parallel
            join: concat
            from: x
            parts:
              one: {kind: linear, out: 16}
              two: {kind: lienar, out: 16}    #~ unknown-kind
          head: {kind: linear, in: 32, out: 4, from: both}
        outputs: {y: head}
        """)


def test_a_width_that_one_reader_states_is_not_decided_by_copies_that_could_take_any() -> None:
    """The first copy takes 16 and gives 8, the second takes 8: 8 was taken for the width of what feeds the first."""
    report = good("""
        inputs: {x: "[batch 3]"}
        nodes:
          one: {kind: linear, from: x}
          two: {kind: linear, in: 16, out: 4, from: one}
          row: {kind: linear, out: 8, repeat: 2, from: one}
        outputs: {y: two, z: row}
        """)
    assert outputs(report)["one"] == "[batch 16]"


def test_parts_of_a_bus_with_a_wrong_option_are_still_parts_of_a_bus() -> None:
    """`norm: post` and `stream` stand in a bus only, and were refused as if the parts stood in none."""
    bad("""
        inputs: {x: "[batch 16]", z: "[batch 16]"}
        nodes:
          stack:
            kind: bus
            from: {x: x, z: z}
            depth: 3    #~ unknown-option
            parts:
              a: {kind: linear, norm: post}
              b: {kind: linear, stream: z}
        outputs: {y: stack}
        """)
