"""E: expressions in sizes."""

from __future__ import annotations

from tests.hostile.entry import Entry, net, size

_WORDS = "expression-syntax"
_NOT = (
    "'__import__(\"os\").system(\"touch pwned\")'", "d.__class__", "'d[0]'", "'(lambda: 1)()'", "'[i for i in x]'", "f(3)", "d if d else 1",
    "d = 64", "d == 64", "d*4;", "'d*4 # x'", "d×4", "d·4", "4d", "d 4", "d**3", "9**9**9", "d @ 2", "d % 4", "~ d", "not d", "d <= 4", "d and 4",
    "'\"64\"'", "0x10*d", "1e3*d", "d*4.0", "d*", "'*d'", "(d", "d)", "()", "'d, 4'", "d\\4", "d/2/", "d?4:2", "'f\"{d}\"'", "d*(", "'  '",
)  # fmt: skip

ENTRIES = [
    *(Entry(f"E02{i:02}", f"not an expression {i}", size(text), _WORDS, seconds=0.2) for i, text in enumerate(_NOT)),
    Entry("E04", "ten thousand factors", lambda: size("2" + "*2" * 4_990), "expression-limit", line=4, seconds=0.2),
    Entry("E04b", "five thousand minus signs", size("'" + "-" * 5000 + "d'"), "expression-limit", seconds=0.2),
    Entry("E04c", "three hundred parentheses", size("(" * 300 + "d" + ")" * 300), "expression-limit", seconds=0.2),
    Entry("E04d", "twenty parentheses", size("(" * 20 + "d" + ")" * 20), "expression-limit"),
    Entry("E04e", "an expression of a megabyte", lambda: size("d" + "+d" * 500_000), "limit-scalar-size", line=4),
    Entry("E04f", "a name of nine thousand letters", lambda: size("d" * 9000), "expression-limit", line=4),
    Entry("E05", "over zero", size("d/0"), "expression-division"),
    Entry("E05b", "over zero, whole", size("d//0"), "expression-division"),
    Entry("E05c", "over a var that is zero", size("d//zero"), "expression-division", says="zero"),
    Entry("E05d", "over a difference that is zero", size("d/(d-d)"), "expression-division"),
    Entry("E05e", "a remainder", size("d//3"), "expression-division", says="3"),
    Entry("E07", "a size of nothing", size("d-16"), "dim-range", says="d = 16"),
    Entry("E07b", "a negative size", size("d-20"), "dim-range"),
    Entry("E07c", "a size too large", size("d*2147483647"), "dim-range"),
    Entry("E07d", "a power tower by hand", size("99999999*99999999*99999999*99999999*99999999"), "dim-range", seconds=0.2),
    Entry("E08", "a name misspelled", size("widht", "width: 16"), "expression-unknown", says="width"),
    Entry("E08b", "a run-time size as a width", net("head: {kind: linear, from: x, out: seq} #~", 'x: "[batch seq 16]"'), "expression-unknown"),
    Entry("E08c", "a var that is a word", size("d*2", "d: wide"), "value-type"),
    Entry("E08d", "a var that is a list", "vars: {d: [1, 2]} #~\n" + net("head: {kind: linear, from: x, out: d}"), "value-type"),
    Entry("E08e", "an inner var hides an outer one", net("head: {kind: graph, vars: {d: 8}, inputs: {x: '[batch 16]'}, nodes: {a: {kind: linear, out: d, from: x}}, outputs: {y: a}, from: x} #~\nb: {kind: linear, out: d, from: head}", more="vars: {d: 16}\n", outputs="y: b"), "vars-shadow"),
    Entry("E09", "vars in a circle", "vars: {a: b+1, b: c+1, c: a+1} #~\n" + net("head: {kind: linear, from: x, out: a}"), "vars-cycle", says="c"),
    Entry("E09b", "a var of itself", "vars: {a: a+1} #~\n" + net("head: {kind: linear, from: x, out: a}"), "vars-cycle"),
    Entry("E10", "forty doublings", "vars:\n  p0: 1\n" + "".join(f"  p{i}: p{i - 1}+p{i - 1}\n" for i in range(1, 41)) + net("head: {kind: linear, from: x, out: p40} #~"), "dim-range", seconds=0.1),
    Entry("E10b", "forty doublings that nobody uses", "vars:\n  p0: 1\n" + "".join(f"  p{i}: p{i - 1}+p{i - 1}\n" for i in range(1, 41)) + net("head: {kind: linear, from: x, out: 2}"), "vars-unused", line=42, seconds=0.1),
    Entry("E10c", "forty squarings", "vars:\n  p0: 3\n" + "".join(f"  p{i}: p{i - 1}*p{i - 1}\n" for i in range(1, 41)) + net("head: {kind: linear, from: x, out: p40}"), "dim-range", seconds=0.2),
    Entry("E13", "a number in quotes is a text", size('"64"'), "value-type", says="without quotes"),
    Entry("E14", "a run-time size as a parameter's", net("head: {kind: linear, out: 4, from: x} #~", 'x: "[batch seq width]"'), "dim-runtime"),
    Entry("E14b", "a run-time length as a table's", net("head: {kind: learned_position, from: x} #~", 'x: "[batch seq 16]"'), "dim-runtime"),
]
