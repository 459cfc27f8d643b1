"""Probes on which the nearest peers were found wrong: each is accepted or refused here for the right reason."""

from __future__ import annotations

from tests.hostile.entry import OK, Entry, net, size

ENTRIES = [
    Entry("P01", "a stride-2 convolution added to its own input", net("a: {kind: conv2d, kernel: 3, stride: 2, padding: 1, out: 3, from: x}\nhead: {kind: add, from: [a, x]} #~", 'x: "[batch 3 h w]"'), "dim-rigid", most=2),
    Entry("P02", "one symbol into two widths", net("a: {kind: linear, in: 7, out: 4, from: x} #~\nb: {kind: linear, in: 9, out: 4, from: x}\nhead: {kind: add, from: [a, b]}", 'x: "[batch d]"'), "dim-rigid", most=2),
    Entry("P02b", "one inferred width into two", net("e: {kind: linear, from: x}\na: {kind: linear, in: 7, out: 4, from: e}\nb: {kind: linear, in: 9, out: 4, from: e}\nhead: {kind: add, from: [a, b]}"), "dim-ambiguous", most=2),
    Entry("P03", "a wrong width", net("a: {kind: linear, out: 512, from: x}\nhead: {kind: linear, in: 768, out: 4, from: a} #~"), "shape-mismatch", says="a", most=1),
    Entry("P06", "a norm of another width", net("a: {kind: linear, out: 512, from: x}\nhead: {kind: layer_norm, in: 768, from: a} #~"), "unknown-option", most=1),
    Entry("P06b", "a norm takes any width", net("a: {kind: linear, out: 512, from: x}\nhead: {kind: layer_norm, from: a}"), OK),
    Entry("P07", "a name and its number are one width", net("a: {kind: linear, out: d_model, from: x}\nb: {kind: linear, out: 512, from: x}\nhead: {kind: add, from: [a, b]}", more="vars: {d_model: 512}\n"), OK),
    Entry("P08", "floats and integers added", net("head: {kind: add, from: [x, z]} #~", 'x: "f32 [batch 16]", z: "i64 [batch 16]"'), "dtype-mismatch", most=1),
    Entry("P09", "an unknown kind is never an identity", net("head: {kind: fancy_norm, from: x} #~"), "unknown-kind", most=1),
    Entry("P10", "a power is no expression", size("d**3"), "expression-syntax"),
    Entry("P10b", "a huge power does not hang", size("9**9**9**9"), "expression-syntax", seconds=0.2),
    Entry("P11", "a later open axis hides no earlier mismatch", net("head: {kind: graph, inputs: {z: '[10 any]'}, nodes: {a: {kind: activation, from: z}}, outputs: {y: a}, from: x} #~", 'x: "[3 7]"'), "shape-mismatch", most=1),
    Entry("P12", "axes count, not only ranks", net("head: {kind: add, from: [x, z]} #~", 'x: "[batch time 16]", z: "[time batch 16]"'), "dim-rigid", most=2),
    Entry("P13", "a type that only might fit is refused", net("head: {kind: graph, inputs: {z: 'ids(50) [batch seq]'}, nodes: {a: {kind: embedding, out: 4, from: z}}, outputs: {y: a}, from: x} #~", 'x: "ids(60) [batch seq]"'), "vocabulary-mismatch", most=1),
]
