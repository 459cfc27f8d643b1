"""Addresses: what one text names in `from`, `outputs` and joins."""

from __future__ import annotations

import pytest

from tests.graph.recipes import bad, check, gives, good, outputs, wires

STACK = """
inputs: {x: "[batch seq 8]"}
nodes:
  encoder:
    kind: bus
    repeat: 3
    norm: pre
    from: x
    parts:
      attend: {kind: attention, heads: 2}
      think: {kind: mlp}
"""


def test_a_nodes_address_is_its_only_output() -> None:
    report = good("""
        inputs: {x: "[batch 8]"}
        nodes: {up: {kind: linear, out: 4, from: x}}
        outputs: {y: up, z: up.y}
        """)
    assert gives(report) == {"y": "[batch 4]", "z": "[batch 4]"}


def test_order_of_nodes_means_nothing() -> None:
    report = good("""
        inputs: {x: "[batch 8]"}
        nodes:
          two: {kind: linear, out: 2, from: one}
          one: {kind: linear, out: 4, from: x}
        outputs: {y: two}
        """)
    assert list(wires(report)) == ["one", "two"]


@pytest.mark.parametrize("address", ["encoder.1", "encoder.-2", "encoder.1.y"])
def test_a_single_copy_is_read_as_a_tap(address: str) -> None:
    report = good(STACK + f"outputs: {{last: encoder, middle: {address}}}\n")
    assert report.graph is not None
    assert report.graph.scope.nodes["encoder"].taps == ("1.y",)  # type: ignore[union-attr]
    assert gives(report)["middle"] == "[batch seq 8]"


def test_a_part_of_one_copy_is_read_as_a_tap() -> None:
    report = good(STACK + "outputs: {last: encoder, middle: encoder.-1.think, other: encoder.0.think.y}\n")
    assert report.graph is not None
    assert report.graph.scope.nodes["encoder"].taps == ("2.think", "0.think.y")  # type: ignore[union-attr]


@pytest.mark.parametrize(("pattern", "copies"), [("encoder.*", "012"), ("encoder.0:2", "01"), ("encoder.::2", "02"), ("encoder.1:", "12"), ("encoder.-2:", "12")])
def test_a_pattern_in_a_join_names_each_copy_in_order(pattern: str, copies: str) -> None:
    report = good(STACK + f"  all: {{kind: mean, from: '{pattern}'}}\noutputs: {{y: all}}\n")
    assert wires(report)["all"] == {"x": [f"encoder.{i}.y" for i in copies]}


def test_a_pattern_reaches_parts_of_copies() -> None:
    report = good(STACK + "  all: {kind: concat, from: 'encoder.*.think'}\noutputs: {y: all}\n")
    assert outputs(report)["all"] == "[batch seq 24]"


def test_a_pattern_where_one_value_is_wanted_is_refused() -> None:
    found = bad(STACK + """
  all: {kind: linear, out: 2, from: "encoder.*"}  #~ address-many
outputs: {y: all}
""")
    assert "3" in found.message or "join" in found.help


def test_a_pattern_in_an_output_is_refused() -> None:
    bad(STACK + "outputs: {y: 'encoder.*'}  #~ address-many\n")


@pytest.mark.parametrize("address", ["encoder.3", "encoder.-4", "encoder.7:9", "nothing", "encoder.1.nothing", "x.1", "encoder.1.x"])
def test_an_address_that_names_nothing_is_an_error(address: str) -> None:
    report = check(STACK + f"outputs: {{last: encoder, y: '{address}'}}\n")
    errors = [item for item in report.diagnostics if item.level == "error"]
    assert [item.code for item in errors] in (["address-unknown"], ["port-unknown"]), errors
    assert errors[0].help


def test_a_part_of_all_copies_without_a_number_is_refused() -> None:
    found = bad(STACK + "outputs: {y: encoder.think}  #~ address-many\n")
    assert "encoder.2.think" in found.help


def test_reading_an_input_port_reads_what_feeds_it() -> None:
    report = good("""
        inputs: {x: "[batch 8]"}
        nodes:
          up: {kind: linear, out: 4, from: x}
          down: {kind: linear, out: 2, from: up.x}
          out: {kind: concat, from: [up, down]}
        outputs: {y: out}
        """)
    assert wires(report)["down"] == {"x": [".x"]}


def test_reading_the_input_port_of_a_node_with_a_pre_norm_gives_what_the_norm_reads() -> None:
    report = good("""
        inputs: {x: "[batch 8]"}
        nodes:
          up: {kind: linear, out: 4, norm: pre, from: x}
          down: {kind: linear, out: 2, from: up.x}
          out: {kind: concat, from: [up, down]}
        outputs: {y: out}
        """)
    assert wires(report)["down"] in ({"x": [".x"]}, {"x": ["up_pre_norm.y"]})


def test_reading_input_ports_in_a_circle_is_said() -> None:
    report = check("""
        inputs: {x: "[batch 8]"}
        nodes:
          a: {kind: linear, out: 4, from: b.x}
          b: {kind: linear, out: 2, from: a.x}
          c: {kind: add, from: [a, b, x]}
        outputs: {y: c}
        """)
    assert {item.code for item in report.diagnostics} == {"graph-cycle"}


def test_an_inner_value_of_a_graph_is_read_from_outside() -> None:
    report = good("""
        inputs: {x: "[batch 8]"}
        nodes:
          inner:
            kind: graph
            inputs: {a: "[... d]"}
            nodes:
              up: {kind: linear, out: 4, from: a}
              act: {kind: activation, from: up}
            outputs: {y: act}
            from: x
          out: {kind: concat, from: [inner, inner.up]}
        outputs: {y: out}
        """)
    assert outputs(report)["out"] == "[batch 8]"


def test_several_outputs_and_no_main_one_is_ambiguous_and_lists_them() -> None:
    found = bad("""
        inputs: {x: "[batch 8]"}
        nodes:
          inner:
            kind: graph
            inputs: {a: "[... d]"}
            nodes:
              up: {kind: linear, out: 4, from: a}
              act: {kind: activation, from: a}
            outputs: {one: up, two: act}
            from: x
        outputs:
          y: inner  #~ port-ambiguous
        """)
    assert "inner.one" in found.help
    assert "inner.two" in found.help
