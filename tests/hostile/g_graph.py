"""G: the structure of graphs."""

from __future__ import annotations

from tests.hostile.entry import INPUTS, OK, Entry, net

_TOWER = "kind: sequence, from: x, parts: {a: {kind: linear, out: 16}}"


def _repeat(text: str) -> str:
    return net(f"head: {{kind: linear, out: 16, from: x, repeat: {text}}} #~")


ENTRIES = [
    Entry("G01", "a circle of two", net("a: {kind: linear, out: 16, from: b}\nb: {kind: linear, out: 16, from: a}\nhead: {kind: linear, out: 4, from: b}"), "graph-cycle", most=1),
    Entry("G01b", "a node that feeds itself", net("head: {kind: linear, out: 16, from: head} #~"), "graph-cycle", most=2),
    Entry("G01c", "a circle through a container", net("a: {kind: sequence, from: b, parts: {c: {kind: linear, out: 16}}}\nb: {kind: linear, out: 16, from: a}\nhead: {kind: linear, out: 4, from: b}"), "graph-cycle", most=1),
    Entry("G01d", "two circles", net("a: {kind: linear, out: 16, from: a}\nb: {kind: linear, out: 16, from: b}\nhead: {kind: add, from: [a, b]}"), "graph-cycle", most=2),
    Entry("G01e", "a part that reads its own container", net("head: {kind: sequence, from: x, parts: {a: {kind: linear, out: 16, from: head}}} #~"), "graph-cycle", most=2),
    Entry("G02", "a node that nobody reads", net("a: {kind: linear, out: 4, from: x} #~\nhead: {kind: linear, out: 4, from: x}"), "node-unused", most=1),
    Entry("G02b", "a node that nobody reads is judged", net("a: {kind: linear, in: 7, out: 4, from: x} #~\nhead: {kind: linear, out: 4, from: x}"), "shape-mismatch", most=2),
    Entry("G02c", "an output of nothing", INPUTS + "nodes: {head: {kind: linear, out: 4, from: x}}\noutputs: {y: haed} #~\n", "address-unknown", says="head", most=1),
    Entry("G02d", "a dead branch", net("a: {kind: linear, out: 4, from: x}\nb: {kind: linear, out: 4, from: a} #~\nhead: {kind: linear, out: 4, from: x}"), "node-unused", line=None, most=2),
    Entry("G02e", "an input that nobody reads", net("head: {kind: linear, out: 4, from: x}", 'x: "[batch 16]", z: "[batch 3]"'), "input-unused", line=1, most=1),
    Entry("G04", "an input that nothing feeds", net("head: {kind: linear, out: 4} #~"), "port-required", most=2),
    Entry("G04b", "two values for one input", net("head: {kind: linear, out: 4, from: [x, x]} #~"), "place-conflict", says="add", most=1),
    Entry("G04c", "a pattern for one input", net(f"a: {{{_TOWER}, repeat: 3}}\nhead: {{kind: linear, out: 4, from: a.*}} #~"), "address-many", most=1),
    Entry("G05", "one value twice into a join", net("head: {kind: add, from: [x, x]}"), OK),
    Entry("G07", "no outputs", INPUTS + "nodes: {head: {kind: linear, out: 4, from: x}}\n", "outputs-missing", most=1),
    Entry("G07b", "no inputs", "nodes: {head: {kind: linear, out: 4, from: x}}\noutputs: {y: head}\n", "inputs-missing", most=2),
    Entry("G07c", "one node", net("head: {kind: linear, out: 4, from: x}"), OK),
    Entry("G07d", "an input as an output", INPUTS + "nodes: {head: {kind: linear, out: 4, from: x}}\noutputs: {y: head, z: x}\n", OK),
    *(Entry(f"G10{i}", f"repeat {text}", _repeat(text), code, most=2) for i, (text, code) in enumerate(
        (("0", "value-range"), ("-1", "value-range"), ("1.5", "value-type"), ("true", "value-type"), ("1000000000", "limit-nodes"), ("10**9", "expression-syntax"), ("d", "expression-unknown"), ("[1]", "value-type"), ("9999999999999999999", "value-range"), ("1000000000*1000000000", "value-range"))
    )),
    Entry("G10k", "repeat in quotes", _repeat("'3'"), "value-type", says="without quotes", most=1),
    Entry("G10l", "repeat null", net("head: {kind: linear, out: 16, from: x, repeat: } #~"), "missing-value", most=1),
    Entry("G11", "repeats within repeats", net("head: {kind: sequence, from: x, repeat: 1000, parts: {a: {kind: sequence, repeat: 1000, parts: {b: {kind: linear, out: 16, repeat: 1000}}}}} #~"), "limit-nodes", most=2, seconds=0.1),
    Entry("G11b", "forty repeats of two within each other", net("head: {kind: sequence, from: x, parts: {a: " + "{kind: sequence, repeat: 2, parts: {a: " * 25 + "{kind: linear, out: 16}" + "}}" * 25 + "}} #~"), "limit-nodes", most=2, seconds=0.2),
    Entry("G13", "an argument that the slot does not have", net("head: {slot: s, vars: {widht: 3}, from: x} #~", more="slots: {s: {kind: linear, out: width, vars: {width: 4}}}\n"), "argument-unknown", says="width", most=2),
    Entry("G13b", "an argument of another type", net("head: {slot: s, vars: {width: wide}, from: x}", more="slots: {s: {kind: linear, out: 2*width, vars: {width: 4}}}\n"), "value-type", most=2),
    Entry("G13c", "an inner name from outside", net("a: {kind: graph, inputs: {x: '[batch 16]'}, nodes: {b: {kind: linear, out: 4, from: x}}, outputs: {y: b}, from: x}\nhead: {kind: linear, out: 4, from: b} #~"), "address-unknown", most=2),
    Entry("G14", "shared weights of other shapes", net("a: {kind: linear, out: 8, from: x} #~\nhead: {same: a, from: a}"), "shape-mismatch", most=2),
    Entry("G14b", "a circle of sharing", net("a: {same: b, from: x}\nb: {same: a, from: x}\nhead: {kind: add, from: [a, b]}"), "share-cycle", most=2),
    Entry("G14c", "sharing with itself", net("head: {same: head, from: x} #~"), "share-cycle", most=1),
    Entry("G14d", "like itself", net("head: {like: head, from: x} #~"), "share-cycle", most=1),
    Entry("G14e", "sharing with nothing", net("head: {same: haed, from: x} #~"), "share-unknown", most=1),
    Entry("G14f", "a tie of other shapes", net("a: {kind: linear, out: 8, from: x}\nhead: {kind: linear, out: 4, from: a, tie: {weight: a.weight}} #~"), "share-mismatch", most=1),
    Entry("G14g", "a tie to nothing", net("head: {kind: linear, out: 4, from: x, tie: {weight: a.weight}} #~"), "share-unknown", most=1),
    Entry("G14h", "a tie to itself", net("head: {kind: linear, out: 4, from: x, tie: {weight: head.weight}} #~"), "share-cycle", most=1),
    Entry("G14i", "ties in a circle", net("a: {kind: linear, out: 16, from: x, tie: {weight: b.weight}}\nb: {kind: linear, out: 16, from: a, tie: {weight: a.weight}}\nhead: {kind: linear, out: 4, from: b}"), "share-cycle", most=1),
    Entry("G14j", "sharing what contains it", net("head: {kind: sequence, from: x, parts: {a: {same: head}}} #~"), "share-cycle", most=2),
    Entry("G14k", "like what contains it", net("head: {kind: sequence, from: x, parts: {a: {like: head}}} #~"), "share-cycle", most=2),
    Entry("G16", "a slot that nothing fills", net("head: {slot: s, from: x}", more="slots: {s: {accepts: {in: {x: '[... d]'}}}}\n"), "slot-unfilled", most=1),
    Entry("G16b", "a slot that is not there", net("head: {slot: ss, from: x} #~", more="slots: {s: {kind: linear, out: 4}}\n"), "slot-unknown", says="s", most=2),
    Entry("G16c", "a slot filled by itself", net("head: {slot: s, from: x}", more="slots: {s: {slot: s}}\n"), "slot-cycle", most=1),
    Entry("G16d", "two slots filled by each other", net("head: {slot: s, from: x}", more="slots: {s: {slot: t}, t: {slot: s}}\n"), "slot-cycle", most=1),
    Entry("G16e", "a slot within what fills it", net("head: {slot: s, from: x}", more="slots: {s: {kind: sequence, parts: {a: {slot: s}}}}\n"), "slot-cycle", most=1),
    Entry("G17", "a bus in a bus", net("head: {kind: bus, from: x, parts: {a: {kind: bus, parts: {b: {kind: linear}}}}} #~"), "bus-in-bus", most=1),
    Entry("G17b", "a part of another width", net("head: {kind: bus, from: x, parts: {a: {kind: linear, in: 16, out: 24}}} #~"), "shape-mismatch", most=1),
    Entry("G17c", "parts that want to stand before each other", net("head: {kind: bus, from: x, parts: {a: {kind: linear, before: b}, b: {kind: linear, before: a}}} #~"), "order-conflict", most=1),
    Entry("G17d", "a container of nothing", net("head: {kind: sequence, from: x, parts: {}} #~"), "missing-key", most=2),
    Entry("G17e", "a container without parts", net("head: {kind: bus, from: x} #~"), "missing-key", most=2),
    Entry("G17f", "parts of a leaf", net("head: {kind: linear, out: 4, from: x, parts: {a: {kind: linear}}} #~"), "unknown-option", most=2),
    Entry("G18", "a rule that matches nothing", net("head: {kind: linear, out: 4, from: x}") + "rules: {r: {at: haed, set: {out: 5}}} #~\n", "rule-unmatched", most=1),
    Entry("G18b", "two rules that disagree", net("head: {kind: linear, out: 4, from: x}") + "rules: {r: {at: head, set: {out: 5}}, q: {where: {kind: linear}, set: {out: 6}}} #~\n", "rule-conflict", most=1),
    Entry("G18c", "a rule with a pattern that is none", net("head: {kind: linear, out: 4, from: x}") + "rules: {r: {at: '..[', set: {out: 5}}} #~\n", "address-unknown", most=2),
    Entry("G18d", "a rule that sets a target", net("head: {kind: linear, out: 4, from: x}") + "rules: {r: {at: head, set: {_target_: os.system}}} #~\n", "foreign-key", most=2),
    Entry("G18e", "a rule that makes a circle", net("head: {kind: linear, out: 4, from: x}\na: {kind: linear, out: 16, from: x}", outputs="y: head, z: a") + "rules: {r: {at: a, set: {from: a}}} #~\n", "graph-cycle", line=6, most=2),
    Entry("G18f", "a slice with a huge step", net(f"head: {{{_TOWER}, repeat: 3}}") + "rules: {r: {at: 'head.0:999999999:999999999.a', set: {bias: false}}}\n", OK),
    Entry("G19", "grafts", net("head: {kind: linear, out: 4, from: x}") + "grafts: {g: {read: head, write: head, part: {kind: linear}}} #~\n", "missing-key", most=1),
    Entry("G19b", "a norm that is not there", net("head: {kind: linear, out: 16, from: x, norm: mid} #~"), "value-range", most=1),
    Entry("G19c", "copies that read each other", net("a: {kind: linear, out: 16, from: x, repeat: 3}\nhead: {kind: linear, out: 4, from: a.9} #~"), "address-unknown", most=1),
    Entry("G19d", "every copy of very many", net("a: {kind: linear, out: 16, from: x, repeat: 100000}\nhead: {kind: add, from: a.*}"), OK, seconds=2.0),
]
