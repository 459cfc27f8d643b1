"""Grafts inside kinds: the host's definition holds the part, and every parameter of the host keeps its key."""

from __future__ import annotations

import pytest

import assembler
from assembler.facts.count import totals
from assembler.facts.flow import flow
from assembler.report.report import Report
from tests.graph.recipes import bad, check, good, rows

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
    assert (matches[0].before, matches[0].after) == ("q.lora_host", "q_row")
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
    assert body["q_row"].inputs == ("q.two_host", "q.two_scale.y")
    assert body["q.two_host"].inputs == ("q.one_host", "q.one.y")
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
        "{write: enc.0.attend.q, mode: concat, part: {kind: linear}}   #~ graft-place",
        "{write: enc.0.attend.q, mode: concat, init: zero, part: {kind: linear}}   #~ graft-place",
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


@pytest.mark.parametrize(
    ("keys", "code", "offer"),
    [
        ("mode: gate, form: sigmoid, part: {kind: linear}", "gate-not-silent", "write `form: one_plus`, h * (1 + part), or `form: double_sigmoid`, h * 2σ(part)"),
        ("mode: gate, form: tanh, norm: pre, part: {kind: mlp}", "gate-not-silent", "write `form: one_plus`, h * (1 + part), or `form: double_sigmoid`, h * 2σ(part)"),
        ("mode: blend, scale: 0.3, part: {kind: linear}", "blend-not-silent", "write `scale: learned`: it starts at 0"),
        ("mode: blend, scale: {learned: true, value: 0.3}, part: {kind: linear}", "blend-not-silent", "write `scale: learned`: it starts at 0"),
        ("mode: replace, part: {kind: linear}", "replace-not-silent", "write `mode: add` (h + part) or `mode: blend` (h + a (part - h)): they can start as the host"),
        ("mode: gate, norm: post, part: {kind: linear}", "norm-on-host", "write `norm: out`: the norm stands on the part's side, and its gain starts at 0"),
        ("mode: gate, norm: out, part: {kind: linear, init: zero}", "norm-after-zero", "drop the part's `init`: the norm's gain starts at 0 instead"),
        ("mode: gate, norm: out, norm_kind: {kind: layer_norm, affine: false}, part: {kind: linear}", "no-writing-layer", "write `scale: learned`: it starts at 0, and the part as it likes"),
    ],
)  # fmt: skip
def test_what_can_never_be_silent_outside_cannot_be_inside_and_the_same_form_is_offered(keys: str, code: str, offer: str):
    for at in ("enc.0.attend.q", "enc.0.attend"):
        assert bad(STACK + f"  side: {{write: {at}, init: zero, {keys}}}   #~ {code}").help.endswith(offer)


@pytest.mark.parametrize(
    ("keys", "offer"),
    [
        ("part: {kind: mlp}", "write `mode: add` (h + part) or `mode: blend` (h + a (part - h)): they can start as the host"),
        ("norm: out, part: {kind: linear}", "write `mode: add` (h + part) or `mode: blend` (h + a (part - h)): they can start as the host"),
        ("read: enc.0.attend.q.x, part: {kind: linear}", "write `mode: add` (h + part) or `mode: blend` (h + a (part - h)): they can start as the host"),
        ("part: {kind: scale, learned: true, value: 0.5}", "drop `value`: the factor starts at 1"),
    ],
)
def test_what_replaces_a_value_and_is_not_it_is_refused_where_silence_is_demanded(keys: str, offer: str):
    text = STACK + f"  side: {{write: enc.0.attend.q, mode: replace, init: identity, {keys}}}   #~ replace-not-silent"
    assert bad(text).help == offer


def test_a_factor_of_one_replaces_a_node_silently_too():
    good(STACK + "  side: {write: enc.0.attend, mode: replace, init: identity, part: {kind: scale, learned: true, channel: true}}")


# --- a map that another one takes the place of ---
NEW = "  new: {read: enc.0.think.down.x, write: enc.0.think.down, mode: replace, part: {kind: low_rank, rank: 2}}"


def test_the_map_is_gone_and_the_new_one_stands_where_it_stood():
    node = next(row.node for row in rows(good(STACK + NEW)) if row.address == "enc.0.think")
    definition = node.definition  # type: ignore[union-attr]
    assert set(definition.parameters) == {"up.weight", "up.bias", "down.new.down.weight", "down.new.up.weight"}
    assert not [step for step in definition.body if "down.weight" in step.inputs or "down.bias" in step.inputs]
    assert lora(good(STACK + NEW.replace("new:", "lora:"))) == 2 * (64 + 16)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (NEW + "\n  old: {write: enc.0.think.down, mode: add, part: {kind: linear}}", "graft-conflict"),
        ("  old: {write: enc.0.think.down, mode: add, part: {kind: linear}}\n" + NEW.replace("mode", "after: old, mode"), "graft-conflict"),
    ],
)  # fmt: skip
def test_nothing_is_replaced_unread_that_another_graft_made(text: str, code: str):
    assert [item.code for item in check(STACK + text).diagnostics if item.level == "error"] == [code]


def test_what_names_a_map_that_is_no_more_is_told():
    bad(STACK.replace("head: {kind: linear, out: 4,", "head: {kind: linear, out: 4, in: 16,").replace("{kind: mlp}", "{kind: mlp, init: zero}") + NEW + "   #~ place-conflict")
    assert [item.code for item in check(STACK.replace("{kind: mlp}", "{kind: mlp, tie: {down.bias: final.bias}}") + NEW).diagnostics] == ["share-unknown"]


# --- several at one map ---
def test_a_graft_of_the_graph_around_reads_what_the_graph_inside_has_made():
    """As outside kinds: each graph's own grafts are put in before those that are laid onto it."""
    report = good("""
        inputs: {x: "[batch 16]"}
        slots:
          block:
            inputs: {x: "[... 16]"}
            nodes: {think: {kind: mlp, from: x}}
            outputs: {y: think}
            grafts: {own: {write: think.up, mode: gate, part: {kind: linear}}}
        nodes:
          tower: {slot: block, from: x}
        outputs: {y: tower}
        grafts:
          one: {write: tower.think.up, mode: add, part: {kind: linear}}
          two: {write: tower.think.up, mode: add, part: {kind: linear}}
    """)
    node = next(row.node for row in rows(report) if row.address == "tower.think")
    body = {step.output: step for step in node.definition.body}  # type: ignore[union-attr]
    assert [branch.after for branch in node.definition.branches] == [False, True, False]  # type: ignore[union-attr]
    assert body["up.two.y_product"].inputs[0] == body["up.one.y_product"].inputs[0] == "up.one_host"
    assert body["up.own.y_product"].inputs[0] == "up.own_host"


@pytest.mark.parametrize("order", ["a_scale a", "a a_scale"])
def test_a_factor_of_a_graft_and_another_graft_cannot_have_one_name(order: str):
    grafts = {"a": "mode: add, scale: learned", "a_scale": "mode: add"}
    text = "".join(f"  {name}: {{write: enc.0.attend.q, {grafts[name]}, part: {{kind: linear}}}}\n" for name in order.split())
    assert [item.code for item in check(STACK + text).diagnostics] == ["name-taken"]


def test_a_norm_behind_the_merge_is_a_graft_of_its_own():
    side = "  side: {write: enc.0.attend.q, mode: gate, part: {kind: linear}"
    behind = "  behind: {write: enc.0.attend.q, mode: replace, after: side, part: {kind: layer_norm}}"
    assert "`mode: replace, after: side, part: {kind: layer_norm}`" in bad(STACK + side + ", norm: post}   #~ norm-place").help
    good(STACK + side + "}\n" + behind)


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
