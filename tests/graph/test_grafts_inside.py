"""Grafts inside kinds: the host's definition holds the part, and every parameter of the host keeps its key."""

from __future__ import annotations

import pytest

import assembler
from assembler.facts.count import totals
from assembler.facts.flow import flow
from assembler.report.report import Report
from tests.graph.recipes import bad, good, rows

STACK = """
inputs: {x: "[batch seq 16]"}
nodes:
  enc: {kind: bus, repeat: 4, norm: pre, from: x, parts: {attend: {kind: attention, heads: 2, kv_heads: 1}, think: {kind: mlp}}}
  final: {kind: layer_norm, from: enc}
  head: {kind: linear, out: 4, from: final}
outputs: {y: head}
grafts:
"""


def lora(report: Report) -> int:
    """Parameters that a graft inside a kind brought."""
    assert report.graph is not None
    assert report.facts is not None
    every = flow(report.graph, report.facts)
    assert every is not None
    found = [weight.shape for weight in every.weights if ".lora" in weight.address]
    return sum(a * b for a, b in found)


def test_the_host_keeps_its_parameters_and_their_keys():
    plain = flow_keys(STACK.removesuffix("grafts:\n"))
    grafted = flow_keys(
        STACK
        + '  lora: {read: "enc.*.attend.q.x", write: "enc.*.attend.q", mode: add, part: {kind: low_rank, rank: 2}}'
    )
    assert plain <= grafted
    assert grafted - plain == {f"enc.{i}.attend.q.lora.{key}.weight" for i in range(4) for key in ("down", "up")}


def flow_keys(text: str) -> set[str]:
    report = good(text)
    assert report.graph is not None
    assert report.facts is not None
    found = flow(report.graph, report.facts)
    assert found is not None
    return {weight.address for weight in found.weights}


def test_the_record_names_values_in_the_body():
    report = good(
        STACK
        + '  lora: {read: "enc.*.attend.q.x", write: "enc.1:3.attend.q", mode: add, scale: 2, part: {kind: low_rank, rank: 2}}'
    )
    assert report.graph is not None
    matches = report.graph.grafts[0].matches
    assert [match.inside for match in matches] == ["enc.1.attend", "enc.2.attend"]
    assert (matches[0].before, matches[0].after) == ("q.lora.host", "q_row")
    assert matches[0].nodes == ("enc.1.attend.q.lora",)


def test_widths_follow_the_map():
    report = good(
        STACK
        + '  lora: {read: "enc.*.attend.k.x", write: "enc.*.attend.k", mode: add, part: {kind: low_rank, rank: 2}}'
    )
    assert lora(report) == 4 * 2 * (16 + 8)


def test_copies_of_a_single_kind_have_room_inside():
    report = good("""
        inputs: {x: "[batch 16]"}
        nodes: {tower: {kind: mlp, repeat: 3, from: x}}
        outputs: {y: tower}
        grafts:
          lora: {read: tower.1.up.x, write: tower.1.up, mode: add, part: {kind: low_rank, rank: 2}}
    """)
    assert lora(report) == 2 * (16 + 64)
    assert report.graph is not None
    assert report.graph.grafts[0].matches[0].inside == "tower.1"


def test_several_grafts_at_one_map_add_up():
    text = (
        STACK
        + """
  one: {read: enc.0.attend.q.x, write: enc.0.attend.q, mode: add, part: {kind: low_rank, rank: 2}}
  two: {read: enc.0.attend.q.x, write: enc.0.attend.q, mode: add, scale: learned, norm: both, part: {kind: mlp, hidden: 4}}
"""
    )
    node = next(row.node for row in rows(good(text)) if row.address == "enc.0.attend")
    body = {step.output: step for step in node.definition.body}  # type: ignore[union-attr]
    assert body["q_row"].inputs == ("q.two.host", "q.two_scale.y")
    assert body["q.two.host"].inputs == ("q.one.host", "q.one.y")
    assert body["q.two_pre_norm.normal"].inputs == ("x",)


def test_frozen_hosts_and_grafts_that_learn():
    report = good(
        "freeze: true"
        + STACK
        + '  lora: {read: "enc.*.attend.q.x", write: "enc.*.attend.q", mode: add, part: {kind: low_rank, rank: 2}}'
    )
    assert totals(report.graph, report.facts)[1] == 4 * 2 * 32  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "{write: enc.0.attend.q, mode: gate, part: {kind: linear}}   #~ graft-place",
        "{write: enc.0.attend.q, mode: add, norm: post, part: {kind: linear}}   #~ norm-place",
        "{read: x, write: enc.0.attend.q, mode: add, part: {kind: linear}}   #~ graft-place",
        "{write: enc.0.attend.q, mode: add, part: {kind: attention, heads: 2}}   #~ graft-place",
        "{write: enc.0.attend.q, mode: add, part: {kind: activation}}   #~ graft-place",
        "{write: enc.0.attend.q, mode: add, part: {kind: sequence, parts: {a: {kind: linear}}}}   #~ graft-place",
        "{write: enc.0.attend.q, mode: add, part: {kind: linear, init: xavier}}   #~ graft-place",
        "{write: enc.0.attend.q, mode: add, part: {kind: linear, dtype: bf16}}   #~ graft-place",
        "{write: enc.0.attend.q, mode: add, part: {kind: linear, tie: {weight: head.weight}}}   #~ graft-place",
        "{write: enc.0.attend.z, mode: add, part: {kind: linear}}   #~ address-unknown",
    ],
)
def test_one_finding_at_the_line(text: str):
    bad(STACK + "  lora: " + text)


def test_what_a_rule_says_of_a_part_inside_is_not_dropped():
    text = "  lora: {write: enc.0.attend.q, mode: add, part: {kind: linear}}   #~ graft-place"
    bad(STACK + text + "\nrules: {start: {at: enc.0.attend.q.lora, set: {init: xavier}}}")


def test_a_stated_width_that_the_map_does_not_have_is_said_at_the_host():
    bad(
        STACK.replace("think: {kind: mlp}}}", "think: {kind: mlp}}}   #~ shape-constraint")
        + "  lora: {write: enc.0.attend.q, mode: add, part: {kind: linear, out: 7}}"
    )


# --- published counts: r (n_in + n_out) for each map (Hu et al. 2021, tables 2 and 18) ---
def test_lora_counts_are_those_of_the_paper():
    gpt3 = assembler.check(
        "recipes/gpt2.yaml",
        [
            "+grafts=lora",
            "+freeze=true",
            "vars.width=12288",
            "vars.heads=96",
            "vars.depth=96",
            "grafts.lora_q.part.rank=1",
            "grafts.lora_v.part.rank=1",
        ],
    )
    assert totals(gpt3.graph, gpt3.facts)[1] == 4_718_592  # type: ignore[arg-type]
    roberta = assembler.check(
        "recipes/gpt2.yaml", ["+grafts=lora", "+freeze=true"]
    )  # as RoBERTa base: 12 blocks of width 768
    assert totals(roberta.graph, roberta.facts)[1] == 294_912  # type: ignore[arg-type]
