"""Recipes that are to cost much: each is judged, or refused from arithmetic, within seconds."""

from __future__ import annotations

from tests.hostile.entry import INPUTS, OK, Entry, net

HEAD = INPUTS + "nodes:\n"


def chain(count: int, text: str = "kind: linear, out: 16", backwards: bool = False) -> str:
    lines = [f"  n{i}: {{{text}, from: {'x' if i == 0 else f'n{i - 1}'}}}\n" for i in range(count)]
    return HEAD + "".join(reversed(lines) if backwards else lines) + f"outputs: {{y: n{count - 1}}}\n"


def fan(count: int, text: str, join: str = "add") -> str:
    """Many nodes that read one input, and a join that reads them all."""
    lines = "".join(f"  n{i}: {{{text.replace('#', str(i))}}}\n" for i in range(count))
    every = ", ".join(f"n{i}" for i in range(count))
    return f"{HEAD}{lines}  s: {{kind: {join}, from: [{every}]}}\noutputs: {{y: s}}\n"


def circle(count: int) -> str:
    return HEAD + "".join(f"  n{i}: {{kind: linear, out: 16, from: n{(i - 1) % count}}}\n" for i in range(count)) + "outputs: {y: n9}\n"


def slots(count: int) -> str:
    """Each slot holds the one before it twice."""
    doubled = "".join(f"  s{i}: {{kind: sequence, parts: {{a: {{slot: s{i - 1}}}, b: {{slot: s{i - 1}}}}}}}\n" for i in range(1, count + 1))
    return f"{INPUTS}slots:\n  s0: {{kind: linear, out: 16}}\n{doubled}nodes: {{t: {{slot: s{count}, from: x}}}}\noutputs: {{y: t}}\n"


def slot_chain(count: int) -> str:
    inner = "".join(f"  s{i}: {{kind: sequence, parts: {{a: {{slot: s{i - 1}}}}}}}\n" for i in range(1, count + 1))
    return f"{INPUTS}slots:\n  s0: {{kind: linear, out: 16}}\n{inner}nodes: {{t: {{slot: s{count}, from: x}}}}\noutputs: {{y: t}}\n"


def nested(count: int) -> str:
    return f"{HEAD}  t: {{kind: sequence, from: x, parts: {{a: {'{kind: sequence, parts: {a: ' * count}{{kind: linear, out: 16}}{'}}' * count}}}}}\noutputs: {{y: t}}\n"


def doubling(count: int) -> str:
    """Widths that double at each step, of a size that only a run knows."""
    lines = "".join(f"  n{i}: {{kind: concat, from: [n{i - 1}, n{i - 1}]}}\n" for i in range(1, count))
    return f'inputs: {{x: "[batch d]"}}\nnodes:\n  n0: {{kind: concat, from: [x, x]}}\n{lines}outputs: {{y: n{count - 1}}}\n'


def open_widths(count: int) -> str:
    """Widths that nothing states, tied to one another by joins of joins."""
    lines = "".join(f"  l{i}: {{kind: linear, from: x}}\n  c{i}: {{kind: concat, from: [l{i - 1}, l{i - 1}]}}\n  e{i}: {{kind: add, from: [c{i}, l{i}]}}\n" for i in range(1, count))
    return f"{HEAD}  l0: {{kind: linear, from: x}}\n{lines}outputs: {{y: e{count - 1}}}\n"


def many_lengths(count: int) -> str:
    inputs = ", ".join(f'x{i}: "[batch s{i} 16]"' for i in range(count))
    return f"inputs: {{{inputs}}}\nnodes:\n  s: {{kind: concat, axis: -2, from: [{', '.join(f'x{i}' for i in range(count))}]}}\noutputs: {{y: s}}\n"


def rules(count: int) -> str:
    nodes = "".join(f"  n{i}: {{kind: linear, out: 16, from: {'x' if i == 0 else f'n{i - 1}'}}}\n" for i in range(count))
    return HEAD + nodes + "rules:\n" + "".join(f"  r{i}: {{where: {{kind: linear, out: {i + 100}}}, set: {{out: 32}}}}\n" for i in range(count)) + f"outputs: {{y: n{count - 1}}}\n"


def copies_apart(count: int) -> str:
    every = "".join(f"  r{i}: {{at: t.{i * 40}, set: {{norm: pre}}}}\n" for i in range(count))
    return f"{HEAD}  t: {{kind: sequence, from: x, repeat: 100000, parts: {{a: {{kind: linear, out: 16}}}}}}\nrules:\n{every}outputs: {{y: t}}\n"


def bus(count: int, norm: str = "pre") -> str:
    parts = ", ".join(f"a{i}: {{kind: linear}}" for i in range(count))
    return f"{HEAD}  p: {{kind: bus, norm: {norm}, from: x, parts: {{{parts}}}}}\noutputs: {{y: p}}\n"


def rounds(count: int) -> str:
    """Widths that each follow from the next one: the last is stated."""
    lines = "".join(f"  c{i}: {{kind: concat, from: [l{i + 1}, z]}}\n  a{i}: {{kind: add, from: [c{i}, l{i}]}}\n" for i in range(count - 1))
    layers = "".join(f"  l{i}: {{kind: linear, from: x}}\n" for i in range(count))
    end = f"  z: {{kind: linear, out: 2, from: x}}\n  k: {{kind: linear, out: 7, from: x}}\n  e: {{kind: add, from: [l{count - 1}, k]}}\n"
    return f"{HEAD}{layers}{lines}{end}  s: {{kind: concat, from: [{', '.join(f'a{i}' for i in range(count - 1))}, e]}}\noutputs: {{y: s}}\n"


def shared_groups(count: int) -> str:
    lines = "".join(f"  g{i}: {{kind: sequence, from: x, parts: {{a: {{kind: linear, out: 16}}}}}}\n  h{i}: {{same: g{i}, from: x}}\n" for i in range(count))
    return f"{HEAD}{lines}  s: {{kind: add, from: [{', '.join(f'h{i}' for i in range(count))}]}}\noutputs: {{y: s}}\n"


def slot_uses(count: int) -> str:
    lines = "".join(f"  g{i}: {{slot: f, vars: {{w: {i + 1}}}, from: {'x' if i == 0 else f'g{i - 1}'}}}\n" for i in range(count))
    return f"{INPUTS}slots: {{f: {{kind: mlp, hidden: 4*w, vars: {{w: 16}}}}}}\nnodes:\n{lines}outputs: {{y: g{count - 1}}}\n"


ENTRIES = [
    Entry("Q01", "twenty thousand nodes", lambda: chain(20_000), OK, seconds=3.0, alone=True),
    Entry("Q01b", "twenty thousand nodes, the last one first", lambda: chain(20_000, backwards=True), OK, seconds=3.0),
    Entry("Q01c", "twenty thousand activations", lambda: chain(20_000, "kind: activation"), OK, seconds=3.0),
    Entry("Q01d", "forty thousand nodes", lambda: chain(40_000, "kind: activation"), "limit-nodes", seconds=5.0, alone=True, most=2),
    Entry("Q02", "a circle of a thousand", lambda: circle(1_000), "graph-cycle", most=1),
    Entry("Q02b", "a circle of twenty thousand", lambda: circle(20_000), "graph-cycle", most=1, seconds=3.0),
    Entry("Q03", "a hundred thousand copies", net("head: {kind: linear, out: 16, from: x, repeat: 100000}"), OK, seconds=5.0, alone=True),
    Entry("Q03b", "fifty thousand copies with a norm", net("head: {kind: bus, norm: pre, from: x, repeat: 50000, parts: {a: {kind: linear}}}"), OK, seconds=5.0, alone=True),
    Entry("Q03c", "copies that rules tell apart", lambda: copies_apart(1_000), OK, seconds=3.0),
    Entry("Q04", "slots that double forty times", lambda: slots(40), "limit-nodes", line=44, seconds=0.2, most=1),
    Entry("Q04b", "slots three hundred deep", lambda: slot_chain(300), "limit-depth", most=1),
    Entry("Q05", "three hundred parts within each other", lambda: nested(300), "limit-depth", line=3, most=1),
    Entry("Q05b", "twenty-five parts within each other", lambda: nested(25), OK),
    Entry("Q06", "five thousand inputs of one sum", lambda: fan(5_000, "kind: linear, out: 16, from: x"), OK, seconds=2.0),
    Entry("Q06b", "ten thousand inputs", lambda: "inputs: {" + ", ".join(f'x{i}: "[batch 16]"' for i in range(10_000)) + "}\nnodes:\n  s: {kind: add, from: [" + ", ".join(f"x{i}" for i in range(10_000)) + "]}\noutputs: {y: s}\n", OK, seconds=2.0),
    Entry("Q07", "ten thousand unknown kinds", lambda: fan(10_000, "kind: liner#, out: 16, from: x"), "unknown-kind", line=3, most=10_001, seconds=4.0, long_text=True),
    Entry("Q07b", "ten thousand unknown options", lambda: fan(10_000, "kind: linear, outt#: 16, from: x"), "unknown-option", line=3, most=20_000, seconds=4.0),
    Entry("Q07l", "thirty thousand unknown options of one node", lambda: net("head: {kind: linear, out: 4, from: x, " + ", ".join(f"k{i}: 1" for i in range(30_000)) + "}"), "unknown-option", most=20_000, seconds=4.0, long_text=True),
    Entry("Q06c", "five hundred patterns that name ten thousand copies each", lambda: 'inputs: {x: "[batch 16]"}\nnodes:\n  n: {kind: bus, repeat: 10000, from: x, parts: {a: {kind: mlp}}}\n' + "".join(f'  m{i}: {{kind: mean, from: "n.*"}}\n' for i in range(500)) + "outputs: {y: m0}\n", "limit-nodes", line=24, most=1, seconds=3.0),
    Entry("Q07c", "ten thousand unknown addresses", lambda: fan(10_000, "kind: linear, out: 16, from: xx#"), "address-unknown", line=3, most=10_001, seconds=4.0),
    Entry("Q07d", "ten thousand widths that do not fit", lambda: fan(10_000, "kind: linear, in: 17, out: 16, from: x"), "shape-mismatch", line=3, most=20_000, seconds=4.0, long_text=True),
    Entry("Q07e", "ten thousand unknown keys", lambda: "".join(f"nodes{i}: 1\n" for i in range(10_000)) + net("head: {kind: linear, out: 4, from: x}"), "unknown-key", line=1, most=10_001, seconds=4.0),
    Entry("Q07f", "ten thousand unknown vars", lambda: fan(10_000, "kind: linear, out: v#, from: x"), "expression-unknown", line=3, most=10_001, seconds=4.0),
    Entry("Q07g", "five thousand misspelled vars among five thousand", lambda: "vars: {" + ", ".join(f"width{i}: 16" for i in range(5_000)) + "}\n" + fan(5_000, "kind: linear, out: widht#, from: x"), "expression-unknown", line=4, most=20_001, seconds=4.0),
    Entry("Q07h", "five thousand slots misspelled among five thousand", lambda: "slots: {" + ", ".join(f"part{i}: {{kind: linear}}" for i in range(5_000)) + "}\n" + fan(5_000, "slot: patr#, from: x"), "slot-unknown", line=4, most=20_001, seconds=4.0),
    Entry("Q07i", "five thousand sharings of nothing", lambda: fan(5_000, "same: nn#, from: x"), "share-unknown", line=3, most=20_001, seconds=4.0),
    Entry("Q07j", "five thousand ties to nothing", lambda: fan(5_000, "kind: linear, out: 16, from: x, tie: {weight: nn#.weight}"), "share-unknown", line=3, most=20_001, seconds=4.0),
    Entry("Q07k", "twenty thousand nodes that nobody reads", lambda: chain(1).replace("outputs", "".join(f"  m{i}: {{kind: linear, out: 16, from: x}}\n" for i in range(20_000)) + "outputs"), "node-unused", line=4, most=20_000, seconds=4.0, long_text=True),
    Entry("Q08", "sizes that double sixty-four times", lambda: doubling(64), "limit-equations", most=1),
    Entry("Q08b", "open widths tied to one another", lambda: open_widths(64), "dim-underdetermined", most=200),
    Entry("Q08c", "three thousand lengths in a row", lambda: many_lengths(3_000), "limit-equations", most=1),
    Entry("Q08d", "two hundred lengths in a row", lambda: many_lengths(200), OK),
    Entry("Q09", "a thousand rules for a thousand nodes", lambda: rules(1_000), "rule-unmatched", most=1_001, seconds=4.0),
    Entry("Q09b", "three thousand rules for three thousand nodes", lambda: rules(3_000), "rule-unmatched", line=3004, most=3_001, seconds=5.0),
    Entry("Q10", "a bus of ten thousand parts", lambda: bus(10_000), OK, seconds=4.0, alone=True),
    Entry("Q10b", "a parallel of ten thousand parts", lambda: bus(10_000).replace("kind: bus, norm: pre", "kind: parallel, join: add").replace("{kind: linear}", "{kind: linear, out: 16}"), OK, seconds=3.0),
    Entry("Q11", "five thousand nodes like the one before", lambda: HEAD + "  n0: {kind: linear, out: 16, from: x}\n" + "".join(f"  n{i}: {{like: n{i - 1}, from: n{i - 1}}}\n" for i in range(1, 5_000)) + "outputs: {y: n4999}\n", "slot-cycle", most=1, seconds=5.0),
    Entry("Q11b", "a circle of five thousand shared nodes", lambda: HEAD + "".join(f"  n{i}: {{same: n{(i + 1) % 5_000}, from: x}}\n" for i in range(5_000)) + "outputs: {y: n4999}\n", "slot-cycle", most=1, seconds=5.0),
    Entry("Q12", "a chain of twenty thousand vars", lambda: "vars:\n  p0: 16\n" + "".join(f"  p{i}: p{i - 1}\n" for i in range(1, 20_000)) + net("head: {kind: linear, out: p19999, from: x}"), OK, seconds=2.0),
    Entry("Q12b", "a circle of twenty thousand vars", lambda: "vars:\n" + "".join(f"  p{i}: p{(i + 1) % 20_000}\n" for i in range(20_000)) + net("head: {kind: linear, out: p1, from: x}"), "vars-cycle", most=2, seconds=2.0),
    Entry("Q14", "sixty widths that each follow from the next", lambda: rounds(60), OK),
    Entry("Q14b", "three thousand groups used twice", lambda: shared_groups(3_000), OK, seconds=3.0),
    Entry("Q14c", "ten thousand uses of one slot with arguments", lambda: slot_uses(10_000), OK, seconds=8.0),
    Entry("Q14d", "ten thousand nodes that nothing feeds", lambda: HEAD + "".join(f"  g{i}: {{kind: linear, out: 16}}\n" for i in range(10_000)) + "  s: {kind: linear, out: 4, from: x}\noutputs: {y: s}\n", "port-required", line=3, most=10_000, seconds=2.0),
    Entry("Q14e", "ten thousand outputs of copies", lambda: HEAD + "  g: {kind: linear, out: 16, from: x, repeat: 10000}\noutputs: {" + ", ".join(f"y{i}: g.{i}" for i in range(10_000)) + "}\n", OK, seconds=2.0),
    Entry("Q14f", "copies that each make a row longer", 'inputs: {x: "[batch seq 16]"}\n' + "nodes:\n  head: {kind: sequence, from: x, repeat: 20000, parts: {a: {kind: cls_token}}} #~\noutputs: {y: head}\n", "limit-equations", most=1, seconds=3.0),
    Entry("Q14g", "five thousand sums of themselves", lambda: HEAD + "  n0: {kind: add, from: [x, x]}\n" + "".join(f"  n{i}: {{kind: add, from: [n{i - 1}, n{i - 1}]}}\n" for i in range(1, 5_000)) + "outputs: {y: n4999}\n", OK, seconds=2.0),
    Entry("Q13", "ten to the twelve parameters", net("a: {kind: linear, out: 1000000, from: x}\nhead: {kind: linear, out: 1000000, from: a} #~"), "budget-exceeded", most=1, seconds=0.2),
    Entry("Q13b", "a weight of two to the sixty-two", net("a: {kind: linear, out: 2147483647, from: x}\nhead: {kind: linear, out: 2147483647, from: a} #~"), "budget-exceeded", most=1, seconds=0.2),
    Entry("Q13c", "a table of two thousand million rows", net("head: {kind: embedding, vocab: 2147483647, out: 2147483647, from: x} #~", 'x: "ids(2147483647) [batch seq]"'), "budget-exceeded", most=1, seconds=0.2),
    Entry("Q13d", "a kernel of ten thousand by ten thousand", net("head: {kind: conv2d, kernel: 10000, padding: 9999, out: 20000, from: x} #~", 'x: "[batch 16 8 8]"'), "budget-exceeded", most=1, seconds=0.2),
    Entry("Q13e", "copies of much", net("head: {kind: linear, out: 16000, in: 16000, from: a, repeat: 100000} #~\na: {kind: linear, out: 16000, from: x}"), "budget-exceeded", most=1, seconds=0.2),
    Entry("Q13f", "much that nobody reads", net("a: {kind: linear, out: 2147483647, from: x}\nb: {kind: linear, out: 2147483647, from: a}\nhead: {kind: linear, out: 4, from: x}"), "budget-exceeded", most=3, seconds=0.2),
]
