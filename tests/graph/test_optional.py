"""Optional inputs: what may be left out reaches only ports that may stay unfed, through every border."""

from __future__ import annotations

import pytest

from tests.graph.recipes import bad, good

X = """
inputs:
  x: "[batch seq 8]"
  m: {type: "mask [batch seq]", optional: true}
nodes:
"""


def test_an_optional_input_feeds_an_optional_port() -> None:
    good(X + "  a: {kind: attention, heads: 2, from: {x: x, mask: m}}\noutputs: {y: a}\n")


def test_it_passes_through_containers_and_copies_by_name() -> None:
    good(X + """
  a: {kind: bus, repeat: 2, norm: pre, from: {x: x, mask: m}, parts: {a: {kind: attention, heads: 2}, t: {kind: sequence, parts: {u: {kind: attention, heads: 2, from: {mask: mask}}}}}}
  p: {kind: mean_pool, from: {x: a, mask: m}}
outputs: {y: p}
""")


E = X.replace('m: {type: "mask [batch seq]"', 'm: {type: "[batch seq 8]"')


@pytest.mark.parametrize(
    "node",
    [
        "{kind: linear, out: 2, from: m}",
        "{kind: add, from: [x, m]}",
        "{kind: bus, from: {x: x, memory: m}, parts: {a: {kind: cross_attention, heads: 2}}}",
        "{kind: cross_attention, heads: 2, repeat: 2, from: {x: x, memory: m}}",
        "{kind: linear, out: 8, repeat: 2, from: m}",
        "{kind: sequence, from: m, parts: {a: {kind: mlp}}}",
        "{kind: linear, out: 2, norm: pre, from: m}",
        "{kind: bus, from: x, parts: {a: {kind: cross_attention, heads: 2, from: {memory: m}}}}",
        "{kind: bus, from: x, parts: {a: {kind: sequence, parts: {b: {kind: cross_attention, heads: 2, from: {memory: m}}}}}}",
        "{kind: concat, from: [x, {port: m, detach: true}]}",
    ],
)
def test_it_cannot_reach_a_port_that_must_be_fed(node: str) -> None:
    """This was once accepted, and the model failed on None when it ran."""
    found = bad(E + f"""  b: {node}  #~ port-required
  c: {{kind: identity, from: x}}
outputs: {{y: b, z: c}}
""")
    assert found.related[0].span.line == 4, "the place where the input is said to be optional"


def test_it_cannot_be_an_output() -> None:
    bad(E + """  a: {kind: linear, out: 2, from: x}
outputs:
  y: a
  z: m  #~ port-required
""")


def test_it_cannot_feed_an_input_that_a_graph_declares_required() -> None:
    bad(X + """  g:
    kind: graph
    inputs: {z: "[... s d]", m: "mask [... s]"}
    nodes: {a: {kind: attention, heads: 2, from: {x: z, mask: m}}}
    outputs: {y: a}
    from: {z: x, m: m}  #~ port-required
outputs: {y: g}
""")


def test_a_graphs_own_optional_input_need_not_be_fed() -> None:
    inner = """  g:
    kind: graph
    inputs: {z: "[... s d]", k: {type: "mask [... s]", optional: true}}
    nodes: {a: {kind: attention, heads: 2, from: {x: z, mask: k}}}
    outputs: {y: a}
    from: FROM
outputs: {y: g}
"""
    good(X.replace('  m: {type: "mask [batch seq]", optional: true}\n', "") + inner.replace("FROM", "x"))
    good(X + inner.replace("FROM", "{z: x, k: m}"))


def test_a_graphs_own_optional_input_cannot_reach_a_port_that_must_be_fed() -> None:
    """Its type was once unknown, and so was that of everything behind it, without a word."""
    bad("""
inputs: {x: "[batch seq 8]"}
nodes:
  g:
    kind: graph
    inputs: {z: "[... s d]", k: {type: "[... s e]", optional: true}}
    nodes:
      a: {kind: linear, out: 3, from: k}  #~ port-required
      b: {kind: concat, from: [a, z]}
    outputs: {y: b}
    from: x
outputs: {y: g}
""")


def test_what_a_graph_hands_through_stays_optional() -> None:
    bad(X + """  g:
    kind: graph
    inputs: {z: "[... s d]", k: {type: "mask [... s]", optional: true}}
    nodes: {a: {kind: attention, heads: 2, from: {x: z, mask: k}}}
    outputs: {y: a, mask: k}
    from: {z: x, k: m}
outputs:
  y: g.y
  z: g.mask  #~ port-required
""")
