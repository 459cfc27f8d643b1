"""Modules that are handed over, as the graph has them: ports and sites read, stretches between grafts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

import assembler
from assembler.facts.flow import flow
from assembler.facts.norm.analysis import norm
from assembler.facts.norm.state import read
from assembler.facts.types.why import explain
from assembler.facts.zero.analysis import zero
from assembler.graph.given import handed, site_of
from assembler.library.hosts import card
from tests.graph.recipes import bad, check, good

CARDS = {
    "bert": card({"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 4, "type_vocab_size": 2}),
    "llama": card({"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 4}),
    "resnet": card({"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4], "depths": [1], "layer_type": "basic", "num_channels": 3, "downsample_in_first_stage": False, "downsample_in_bottleneck": False}),
    "convnext": card({"model_type": "convnext", "hidden_sizes": [4], "depths": [1], "patch_size": 4, "num_channels": 3}),
}  # fmt: skip
HEAD = """
    vars: {width: 8}
    inputs: {words: "[batch seq 6]", more: "[batch seq 8]"}
    nodes:
      host: %s
      head: {kind: linear, out: 3, from: host}
    outputs: {out: head, more: more}
"""
NODE = '{kind: given, ports: {in: {x: "[batch seq 6]"}, out: {y: "[batch seq 5]"}}, sites: {a: "l.0 [batch seq 8]", b: "l.1 [batch seq width]", c: "l.2 [batch seq 8]"}, from: words}'
GRAFTED = HEAD % NODE + "    grafts: {%s}\n"


def node(text: str) -> str:
    return HEAD % text


def names(text: str) -> list[str]:
    graph = good(text).graph
    assert graph is not None
    return list(graph.scope.nodes)


# --- what is known of one ---
def test_types_go_through_the_ports_and_names_unify_with_what_feeds_them() -> None:
    report = good(node('{kind: given, ports: {in: {x: "[n m 6]"}, out: {y: "[n m width]"}}, from: words}'))
    assert report.facts is not None
    assert str(report.facts.root.nodes["host"].outputs["y"]) == "[batch seq 8]"
    assert str(report.facts.root.outputs["out"]) == "[batch seq 3]"


def test_nothing_is_claimed_of_what_has_no_body() -> None:
    report = good(node(NODE).replace("from: host}", "from: host}").replace("more: more}", "more: more, site: host.a}"))
    assert report.graph is not None
    assert report.facts is not None
    found = flow(report.graph, report.facts)
    assert found is not None
    known = zero(found)
    assert not any(known.zero(value, "math") for name, value in found.places.items() if name.startswith("host."))
    assert known.same(found.places["host.y"], found.places["host.a"]) is None
    assert str(report).splitlines()[-1] == "model: ok, ? parameters"


def test_two_modules_with_the_same_ports_are_never_taken_for_one() -> None:
    report = good("""
    inputs: {x: "[batch 6]"}
    nodes:
      one: {kind: given, ports: {in: {x: "[batch 6]"}, out: {y: "[batch 6]"}}, from: x}
      two: {kind: given, ports: {in: {x: "[batch 6]"}, out: {y: "[batch 6]"}}, from: x}
      sum: {kind: add, from: [one, two]}
    outputs: {y: sum}
    """)
    assert report.graph is not None
    assert report.facts is not None
    found = flow(report.graph, report.facts)
    assert found is not None
    assert zero(found).same(found.places["one.y"], found.places["two.y"]) is None
    assert list(handed(report.graph)) == ["one", "two"]


def test_a_host_states_its_ports_and_sites_by_its_configuration() -> None:
    report = good("""
    inputs: {ids: "ids(40) [batch seq]", keep: "mask [batch seq]"}
    nodes:
      bert: {kind: given, host: {model_type: bert, hidden_size: 16, num_hidden_layers: 2, vocab_size: 40, type_vocab_size: 2}, freeze: true, from: {input_ids: ids, attention_mask: keep}}
      head: {kind: linear, out: 3, from: bert}
    outputs: {y: head, h: bert.h1}
    """)
    assert report.facts is not None
    assert str(report.facts.root.outputs["y"]) == "[batch seq 3]"
    assert str(report.facts.root.outputs["h"]) == "[batch seq 16]"


def test_norm_states_are_those_that_the_recipe_or_the_configuration_states() -> None:
    report = good("""
    inputs: {ids: "ids(40) [batch seq]"}
    nodes:
      bert: {kind: given, host: {model_type: bert, hidden_size: 16, num_hidden_layers: 2, vocab_size: 40, type_vocab_size: 2}, from: {input_ids: ids}}
      own: {kind: given, ports: {in: {x: "[batch seq 16]"}, out: {y: {type: "[batch seq 16]", norm: rms_norm}}}, sites: {a: {at: l, type: "[batch seq 16]", norm: stream}}, from: bert.h1}
    outputs: {y: own, a: own.a, h: bert.h0_mlp, pooled: bert.pooler_output}
    """)
    assert report.graph is not None
    assert report.facts is not None
    found = flow(report.graph, report.facts)
    assert found is not None
    states = norm(found).states
    assert {name: str(states[found.places[name]]) for name in ("bert.h1", "bert.h0_mlp", "bert.pooler_output", "own.y", "own.a")} == {
        "bert.h1": "ln(-1) gain trained, shift trained", "bert.h0_mlp": "raw", "bert.pooler_output": "bounded", "own.y": "rms(-1) gain trained", "own.a": "stream",
    }  # fmt: skip


def test_every_norm_state_that_a_host_card_states_is_one_that_prints_so() -> None:
    stated = [state for family in CARDS.values() for state in (*family.norms.values(), *(site.norm for site in family.sites.values())) if state]
    assert len(set(stated)) >= 4
    assert [str(read(text)) for text in stated] == stated


# --- stretches ---
def test_a_module_is_one_node_until_a_graft_stands_inside() -> None:
    assert names(node(NODE)) == ["host", "head"]
    assert names(GRAFTED % "side: {write: host.b, mode: add, part: {kind: linear}}") == ["host_b", "side", "side_add", "host", "head"]
    two = "two: {write: host.c, read: host.a, mode: add, part: {kind: linear}}, one: {write: host.a, mode: add, part: {kind: linear}}"
    assert names(GRAFTED % two) == ["host_a", "one", "one_add", "host_c", "two", "two_add", "host", "head"]


def test_whoever_reads_a_site_reads_what_the_graft_made_of_it() -> None:
    report = good(GRAFTED.replace("more: more}", "more: more, site: host.b}") % "side: {write: host.b, mode: add, part: {kind: linear}}")
    assert report.graph is not None
    assert report.graph.scope.outputs["site"] == ("side_add", "y")


def test_a_site_that_there_is_not_is_said_with_those_that_there_are() -> None:
    text = GRAFTED.replace("grafts: {%s}", "grafts: {side: {write: host.d, mode: add, part: {kind: linear}}} #~ address-unknown")
    assert bad(text).help == "there is `y`, `a`, `b`, `c`, `x`"


@pytest.mark.parametrize(
    "grafts",
    [
        "side: {write: host.a, read: host.b, mode: add, part: {kind: linear}}",
        "side: {write: host.b, read: host, mode: add, part: {kind: linear, out: 8}}",
        "side: {write: host.b, read: head, mode: add, part: {kind: linear, out: 8}}",
    ],
)
def test_what_comes_later_cannot_be_read_and_the_order_is_said(grafts: str) -> None:
    found = bad(GRAFTED.replace("grafts: {%s}", f"grafts: {{{grafts}}} #~ graph-cycle"))
    site = "a" if "host.a" in grafts else "b"
    assert found.help == f"a graft inside `host` reads what is there before the module runs, or an earlier site: grafts stand at `{site}`, in this order"


def test_two_modules_that_wait_for_one_another_are_refused() -> None:
    found = check("""
    inputs: {x: "[batch 6]"}
    nodes:
      one: {kind: given, ports: {in: {x: "[batch 6]"}, out: {y: "[batch 6]"}}, sites: {a: "a [batch 6]", b: "b [batch 6]"}, from: x}
      two: {kind: given, ports: {in: {x: "[batch 6]"}, out: {y: "[batch 6]"}}, sites: {a: "a [batch 6]", b: "b [batch 6]"}, from: x}
      sum: {kind: add, from: [one, two]}
    outputs: {y: sum}
    grafts:
      first: {write: one.b, read: two.a, mode: add, part: {kind: linear}}
      second: {write: two.b, read: one.a, mode: add, part: {kind: linear}}
      third: {write: two.a, mode: add, part: {kind: linear}}
      fourth: {write: one.a, mode: add, part: {kind: linear}}
    """)
    assert [item.code for item in found.diagnostics] == ["graph-cycle"]
    assert "neither module can run first" in found.diagnostics[0].message


def test_one_module_may_read_another_that_runs_before_it() -> None:
    text = """
    inputs: {x: "[batch 6]"}
    nodes:
      two: {kind: given, ports: {in: {x: "[batch 6]"}, out: {y: "[batch 6]"}}, sites: {a: "a [batch 6]"}, from: x}
      one: {kind: given, ports: {in: {x: "[batch 6]"}, out: {y: "[batch 6]"}}, sites: {a: "a [batch 6]"}, from: x}
      sum: {kind: add, from: [one, two]}
    outputs: {y: sum}
    grafts:
      first: {write: one.a, mode: add, part: {kind: linear}}
      second: {write: two.a, read: one, mode: add, part: {kind: linear}}
    """
    assert names(text) == ["one_a", "first", "first_add", "one", "second", "two_a", "second_add", "two", "sum"]


def test_an_edge_into_a_module_that_is_parted_is_no_place_for_a_graft() -> None:
    text = GRAFTED.replace("grafts: {%s}", "grafts:\n      one: {write: host.a, mode: add, part: {kind: linear}}\n      two: {write: host.x, mode: add, part: {kind: linear}} #~ graft-place")
    assert bad(text).help == "write it onto the node that gives the value"


def test_silence_and_learning_are_certified_through_a_frozen_module() -> None:
    report = good(GRAFTED.replace("from: words}", "freeze: true, from: words}") % "side: {write: host.b, read: host.a, mode: add, init: zero, part: {kind: mlp, hidden: 4}}")
    (found,) = report.certificates
    assert found.silent == "bits"
    assert dict(found.steps) == {"side.up.weight": 1, "side.up.bias": 1, "side.down.weight": 0, "side.down.bias": 0}


# --- where it may stand ---
@pytest.mark.parametrize(
    "nodes",
    [
        "host: {kind: given, repeat: 2, ports: {in: {x: \"[batch 6]\"}, out: {y: \"[batch 6]\"}}, from: x} #~ unsupported",
        "host: {kind: given, repeat: 2, share: true, ports: {in: {x: \"[batch 6]\"}, out: {y: \"[batch 6]\"}}, from: x} #~ unsupported",
        "host: {kind: sequence, repeat: 2, parts: {f: {kind: given, ports: {in: {x: \"[batch 6]\"}, out: {y: \"[batch 6]\"}}}}, from: x} #~ unsupported",
        "host: {kind: parallel, members: 2, parts: {f: {kind: given, ports: {in: {x: \"[batch 6]\"}, out: {y: \"[batch 6]\"}}}}, from: x} #~ unsupported",
        "host: {kind: moe, experts: 2, top_k: 1, balance: switch, expert: {kind: given, ports: {in: {x: \"[batch 6]\"}, out: {y: \"[batch 6]\"}}}, from: x} #~ unsupported",
    ],
)  # fmt: skip
def test_one_module_has_no_copies_and_is_no_expert(nodes: str) -> None:
    report = check(f'inputs: {{x: "[batch 6]"}}\nnodes:\n  {nodes.partition("#~")[0]}\noutputs: {{y: host}}\n')
    assert "unsupported" in {item.code for item in report.diagnostics}
    assert not report.ok


def test_one_more_use_of_a_module_has_no_sites_of_its_own() -> None:
    text = node(NODE).replace("outputs: {", "outputs: {again: again, ").replace("      head:", "      again: {same: host, from: words}\n      head:")
    assert good(text)
    found = check(text.replace("again: again,", "again: again.a,"))
    assert [item.code for item in found.diagnostics] == ["port-unknown"]


# --- what is wrong with a text ---
PORTS = 'ports: {in: {x: "[batch seq 6]"}, out: {y: "[batch seq 5]"}}'
WRONG = {
    "no ports": ("{kind: given, from: words}", "missing-key"),
    "both": ("{kind: given, " + PORTS + ", host: {model_type: bert, hidden_size: 4, num_hidden_layers: 1, vocab_size: 4, type_vocab_size: 2}, from: words}", "place-conflict"),
    "ports as a list": ("{kind: given, ports: [x, y], from: words}", "value-type"),
    "ports as nothing": ("{kind: given, ports: null, from: words}", "value-type"),
    "a third side": ('{kind: given, ports: {in: {x: "[batch seq 6]"}, inn: {z: "[b]"}, out: {y: "[batch seq 5]"}}, from: words}', "unknown-key"),
    "no inputs": ('{kind: given, ports: {in: {}, out: {y: "[batch seq 5]"}}, from: words}', "missing-key"),
    "no outputs": ('{kind: given, ports: {in: {x: "[batch seq 6]"}}, from: words}', "missing-key"),
    "a type that is none": ('{kind: given, ports: {in: {x: "[batch seq 6]"}, out: {y: "dens [batch seq 5]"}}, from: words}', "port-type-syntax"),
    "a type that is a number": ('{kind: given, ports: {in: {x: 6}, out: {y: "[batch seq 5]"}}, from: words}', "port-type-syntax"),
    "a type without a type": ('{kind: given, ports: {in: {x: {optional: true}}, out: {y: "[batch seq 5]"}}, from: words}', "missing-key"),
    "an optional output": ('{kind: given, ports: {in: {x: "[batch seq 6]"}, out: {y: {type: "[batch seq 5]", optional: true}}}, from: words}', "unknown-key"),
    "optional as a word": ('{kind: given, ports: {in: {x: {type: "[batch seq 6]", optional: perhaps}}, out: {y: "[batch seq 5]"}}, from: words}', "value-type"),
    "a keyword": ('{kind: given, ports: {in: {lambda: "[batch seq 6]"}, out: {y: "[batch seq 5]"}}, from: words}', "name-reserved"),
    "a name that is none": ('{kind: given, ports: {in: {"x y": "[batch seq 6]"}, out: {y: "[batch seq 5]"}}, from: words}', "name-syntax"),
    "a name twice": ('{kind: given, ports: {in: {x: "[batch seq 6]"}, out: {x: "[batch seq 5]"}}, from: words}', "name-taken"),
    "an axis of nothing": ('{kind: given, ports: {in: {x: "[batch seq 6]"}, out: {y: "[batch seq 0]"}}, from: words}', "dim-range"),
    "a size from nowhere": ('{kind: given, ports: {in: {x: "[batch seq 6]"}, out: {y: "[batch seq hidden]"}}, from: words}', "dim-underdetermined"),
    "axes from nowhere": ('{kind: given, ports: {in: {x: "[batch seq 6]"}, out: {y: "[... 5]"}}, from: words}', "dim-underdetermined"),
    "axes of a site from nowhere": ("{kind: given, " + PORTS + ', sites: {a: "l [... 5]"}, from: words}', "dim-underdetermined"),
    "axes that may be missing": ('{kind: given, ports: {in: {x: "[batch seq 6]", z: {type: "[... 5]", optional: true}}, out: {y: "[... 5]"}}, from: {x: words}}', "dim-underdetermined"),
    "a norm that is no word": ("{kind: given, " + PORTS + ', sites: {a: {at: l, type: "[batch seq 8]", norm: 0}}, from: words}', "value-range"),
    "a site without a type": ("{kind: given, " + PORTS + ", sites: {a: encoder.layer.3}, from: words}", "missing-value"),
    "a site of dots": ("{kind: given, " + PORTS + ', sites: {a: ".. [batch seq 8]"}, from: words}', "value-type"),
    "a site of dunders": ("{kind: given, " + PORTS + ', sites: {a: "__class__.__init__ [batch seq 8]"}, from: words}', "value-type"),
    "a site of code": ("{kind: given, " + PORTS + ', sites: {a: "l[0]();x [batch seq 8]"}, from: words}', "value-type"),
    "a site that is a list": ("{kind: given, " + PORTS + ", sites: {a: [l, 0]}, from: words}", "value-type"),
    "a site that is nothing": ("{kind: given, " + PORTS + ", sites: {a: null}, from: words}", "value-type"),
    "two sites at one place": ("{kind: given, " + PORTS + ', sites: {a: "l [batch seq 8]", b: "l [batch seq 8]"}, from: words}', "name-taken"),
    "a site named as a port": ("{kind: given, " + PORTS + ', sites: {x: "l [batch seq 8]"}, from: words}', "name-taken"),
    "an unknown family": ("{kind: given, host: {model_type: brt}, from: words}", "value-range"),
    "a family without its sizes": ("{kind: given, host: {model_type: bert}, from: words}", "missing-key"),
    "a norm that is none": ("{kind: given, " + PORTS + ', sites: {a: {at: l, type: "[batch seq 8]", norm: instance}}, from: words}', "value-range"),
    "a host that is a word": ("{kind: given, host: bert, from: words}", "value-type"),
    "a constant that is an input": ("{kind: given, " + PORTS + ", call: {x: 1}, from: words}", "place-conflict"),
    "a constant with no name": ("{kind: given, " + PORTS + ', call: {"a=b": 1}, from: words}', "name-syntax"),
    "a constant that is a list": ("{kind: given, " + PORTS + ", call: {a: [1]}, from: words}", "value-type"),
    "an init": ("{kind: given, " + PORTS + ", init: xavier, from: words}", "place-conflict"),
    "a seed": ("{kind: given, " + PORTS + ", seed: 3, from: words}", "place-conflict"),
    "a tie": ("{kind: given, " + PORTS + ", tie: {weight: head.weight}, from: words}", "place-conflict"),
    "an option that is none": ("{kind: given, " + PORTS + ", site: {}, from: words}", "unknown-option"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_once_where_it_stands(case: str) -> None:
    text, code = WRONG[case]
    bad(node(f"{text} #~ {code}").replace("    vars: {width: 8}\n", ""))


def test_many_sites_are_read_and_too_many_are_refused_at_once() -> None:
    def text(count: int) -> dict[str, Any]:
        sites = {f"s{number}": f"layers.{number} [batch 8]" for number in range(count)}
        node = {"kind": "given", "ports": {"in": {"x": "[batch 6]"}, "out": {"y": "[batch 8]"}}, "sites": sites, "from": "x"}
        grafts = {f"g{number}": {"write": f"host.s{number}", "mode": "add", "init": "zero", "part": {"kind": "linear"}} for number in range(min(count, 1000))}
        return {"inputs": {"x": "[batch 6]"}, "nodes": {"host": node}, "outputs": {"y": "host"}, "grafts": grafts}

    report = assembler.check(text(300))
    assert report.ok, str(report)
    assert len(report.certificates) == 300
    assert all(item.silent == "bits" for item in report.certificates)
    found = assembler.check(text(10_000))
    assert "limit-nodes" in {item.code for item in found.diagnostics}


def test_why_follows_a_site_to_where_it_is_stated() -> None:
    report = check(GRAFTED % "side: {write: host.b, mode: add, part: {kind: linear}}")
    assert report.graph is not None
    assert report.facts is not None
    assert site_of(report.graph, "host.a") == "host_b.a"
    assert site_of(report.graph, "host.c") == "host.c"
    assert explain(report.graph, report.facts, "host_b.a")[-1] == "    `host_b` (given) states 8  (recipe.yaml:5:96)"


# --- what an input wants of norms ---
WANTS = """
    inputs: {x: "[batch seq 6]"}
    nodes:
      up: {kind: %s, from: x}
      host: {kind: given, ports: {in: {h: {type: "[batch seq 6]", norm: %s}}, out: {y: "[batch seq 6]"}}, from: up}
    outputs: {y: host}
"""


@pytest.mark.parametrize(("kind", "wanted"), [("layer_norm", "layer_norm"), ("rms_norm", "rms_norm"), ("layer_norm", "rms_norm"), ("softmax", "bounded"), ("activation, activation: tanh", "bounded")])
def test_an_input_that_gets_the_norm_it_wants_or_a_stronger_one_says_nothing(kind: str, wanted: str) -> None:
    good(WANTS % (kind, wanted))


def test_an_input_that_wants_a_norm_is_told_what_it_gets_and_how_to_mend_it() -> None:
    found = bad(WANTS.replace("from: up}", "from: up}    #~ norm-mismatch") % ("rms_norm", "layer_norm"))
    assert found.message == "`host.h` wants what comes out of a layer norm, and gets `rms(-1) gain trained`"
    assert found.help == "put one between them: `normed: {kind: layer_norm, from: up}`, and read `normed` there; if a mean near zero will do, say `norm: rms_norm`"
    bad(WANTS.replace("from: up}", "from: up}    #~ norm-mismatch") % ("linear, out: 6", "bounded"))
    straight = WANTS.replace("from: up}", "from: x}    #~ norm-mismatch").replace("{y: host}", "{y: host, z: up}") % ("identity", "rms_norm")
    assert bad(straight).help == "put one between them: `normed: {kind: rms_norm, from: x}`, and read `normed` there"


def test_each_input_that_wants_a_norm_is_judged_by_itself() -> None:
    found = check("""
    inputs: {x: "[batch 6]"}
    nodes:
      n: {kind: layer_norm, from: x}
      host: {kind: given, ports: {in: {a: {type: "[batch 6]", norm: rms_norm}, b: {type: "[batch 6]", norm: layer_norm}, c: {type: "[batch 6]", norm: bounded, optional: true}}, out: {y: "[batch 6]"}}, from: {a: x, b: x}}
    outputs: {y: host, z: n}
    """).diagnostics
    assert [item.message.split()[0] for item in found] == ["`host.a`", "`host.b`"]


def test_no_input_wants_a_stream() -> None:
    assert bad(WANTS.replace("from: up}", "from: up}    #~ value-range") % ("linear, out: 6", "stream")).help == "one of layer_norm, rms_norm, bounded"
