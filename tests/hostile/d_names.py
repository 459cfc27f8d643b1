"""D: names, keys and spelling."""

from __future__ import annotations

from tests.hostile.entry import GOOD, OK, Entry, name, net, option, value

_RESERVED = ("self", "code", "graph", "forward", "training", "to", "type", "double", "half", "register_buffer", "dump_patches", "class", "lambda", "add_module", "losses")
_CODE = ("'x; import os'", '"x\\nimport os"', "'x\"\"\"'", "'x{y}'", "x%s", "'x\\'", "'x);print(1'", "__class__", "__init__", "_parameters", "T_destination", "'{0.__class__}'", "Head", "1head", "he-ad", "he.ad", "he/ad", "'he ad'", '"he\'ad"', "📦", "''", "'..'", "'a[0]'")

ENTRIES = [
    Entry("D01", "an unknown key at the top", GOOD + "node: {} #~\n", "unknown-key", says="nodes"),
    Entry("D01b", "a key of another tool", GOOD + "layers: [] #~\n", "unknown-key"),
    Entry("D01c", "hydra at the top", GOOD + "hydra: {searchpath: [file:///]} #~\n", "foreign-key"),
    Entry("D01d", "a target", net("head: {_target_: os.system, from: x} #~"), "foreign-key", says="kind"),
    Entry("D02", "a kind misspelled", net("head: {kind: liner, out: 4, from: x} #~"), "unknown-kind", says="linear", most=1),
    Entry("D02b", "a kind with a capital", net("head: {kind: Linear, out: 4, from: x} #~"), "unknown-kind", says="linear", most=1),
    Entry("D02c", "a kind by its import path", net("head: {kind: torch.nn.Linear, out: 4, from: x} #~"), "unknown-kind", says="linear", most=1),
    Entry("D02d", "a kind of a megabyte less", net(f"head: {{kind: {'k' * 9000}, out: 4, from: x}} #~"), "unknown-kind", most=1),
    Entry("D02e", "a kind that is a path", net("head: {kind: ../../etc/passwd, out: 4, from: x} #~"), "unknown-kind", most=1),
    Entry("D02f", "a kind that is a list", net("head: {kind: [linear], out: 4, from: x} #~"), "value-type", most=2),
    Entry("D02g", "a module of ours as a kind", net("head: {kind: common, out: 4, from: x} #~"), "unknown-kind", most=1),
    Entry("D04", "an option of another kind", option("heads: 4"), "unknown-option", most=1),
    Entry("D04b", "an option misspelled", option("bais: true"), "unknown-option", says="bias", most=1),
    Entry("D04c", "PyTorch's name of an option", net("head: {kind: linear, out_features: 4, from: x} #~"), "unknown-option", says="out", most=1),
    Entry("D05", "an unknown output", net("a: {kind: linear, out: 4, from: x}\nhead: {kind: linear, out: 4, from: a.output} #~"), "port-unknown", says="y", most=1),
    Entry("D05b", "three steps into a leaf", net("a: {kind: linear, out: 4, from: x}\nhead: {kind: linear, out: 4, from: a.b.c} #~"), "port-unknown", most=1),
    Entry("D05c", "an unknown input", net("head: {kind: linear, out: 4, from: {z: x}} #~"), "port-unknown", says="x", most=2),
    Entry("D05d", "an address with two dots", net("head: {kind: linear, out: 4, from: x..y} #~"), "address-unknown", most=1),
    Entry("D05e", "an address of five thousand characters", net(f"head: {{kind: linear, out: 4, from: {'x.' * 2500}x}} #~"), "address-unknown", most=1),
    Entry("D05f", "a number as address", net("head: {kind: linear, out: 4, from: 3} #~"), "value-type", most=2),
    *(Entry(f"D08{i:02}", f"reserved {word}", name(word), "name-reserved", most=2) for i, word in enumerate(_RESERVED)),
    *(Entry(f"D10{i:02}", f"no name {i}", name(word), "name-syntax", most=3) for i, word in enumerate(_CODE)),
    Entry("D07", "a name of five thousand characters", name("n" * 5000), "limit-scalar-size", most=3),
    Entry("D07b", "a name of a hundred characters", name("n" * 100), "name-syntax", most=3),
    Entry("D07c", "an interpolation as a name", name("'${y}'"), "interpolation", most=3),
    Entry("D07d", "a Cyrillic letter in a name", net("hеad: {kind: linear, out: 4, from: x} #~"), "confusable-name"),
    Entry("D07e", "a Cyrillic letter in an option", net("head: {kind: linear, оut: 4, from: x} #~"), "confusable-name"),
    Entry("D07f", "a Cyrillic letter in a kind", net("head: {kind: lineаr, out: 4, from: x} #~"), "confusable-name"),
    Entry("D07g", "an output that is no name", net("head: {kind: linear, out: 4, from: x}", outputs="'a b': head").replace("head}\n", "head} #~\n").replace("from: x} #~", "from: x}"), "name-syntax"),
    Entry("D07h", "an input that is no name", net("head: {kind: linear, out: 4, from: x}", inputs='x: "[batch 16]", "a;b": "[batch 16]"'), "name-syntax", line=1, most=3),
    Entry("D07i", "a var that is no name", "vars: {'a-b': 1} #~\n" + GOOD, "name-syntax", most=3),
    Entry("D07j", "an input and a node of one name", net("x: {kind: linear, out: 4, from: x} #~\nhead: {kind: linear, out: 4, from: x}"), "name-taken", most=4),
    Entry("D11", "a description that would end a docstring", 'description: \'a """ b \\ c\'\n' + GOOD, OK),
    Entry("D11b", "a description of two lines", "description: |\n  one\n  two\n" + GOOD, OK),
    Entry("D11c", "a description with an escape", 'description: "a\\nb\\tc\\e[2J"\n' + GOOD, OK),
    Entry("D13", "a pinned kind", net("head: {kind: linear@99, out: 4, from: x} #~"), "unknown-version", most=1),
    Entry("D13b", "a pin without a number", net("head: {kind: linear@, out: 4, from: x} #~"), "unknown-version", most=1),
    Entry("D13c", "the latest", net("head: {kind: linear@latest, out: 4, from: x} #~"), "unknown-version", most=1),
    Entry("D13d", "a recipe of the future", "recipe: 999 #~\n" + GOOD, "unknown-version", most=1),
    Entry("D13e", "a recipe of version true", "recipe: true #~\n" + GOOD, "unknown-version", most=1),
    *(
        Entry(f"D16{i}", f"interpolation {i}", value(f"'{text}'"), "interpolation", says="vars")
        for i, text in enumerate(("${oc.env:HOSTILE}", "${oc.decode:${oc.env:HOSTILE}}", "${hydra:runtime.cwd}", "${width}", "${oc.create:{_target_: os.system}}", "${now:%Y}"))
    ),
    Entry("D17", "an interpolation in an interpolation", value("'${${a}}'"), "interpolation", seconds=0.1),
    Entry("D17b", "an interpolation left open", value("'${'"), "interpolation", seconds=0.1),
    Entry("D17c", "twenty doubling interpolations", "vars:\n  k0: a\n  k1: '${k0}${k0}' #~\n" + "".join(f"  k{i}: '${{k{i - 1}}}${{k{i - 1}}}'\n" for i in range(2, 21)) + GOOD, "interpolation", seconds=0.2),
    Entry("D17d", "ten thousand openings", value("'" + "${" * 4999 + "'"), "interpolation", seconds=0.2),
    Entry("D19", "a dtype that is not there", option("dtype: float128"), "value-range"),
    Entry("D19b", "a device", option("device: cuda:9"), "unknown-option"),
    Entry("D19c", "a device with a command", option('device: "cpu; rm"'), "unknown-option"),
    Entry("D19d", "an init with a tag", option("init: !!x a"), "yaml-tag"),
    Entry("D19e", "an init that is not there", option("init: magic"), "value-range"),
    Entry("D19f", "an activation that is code", option("activation: __import__", "mlp", ""), "value-range"),
    Entry("D19g", "an activation by its path", option("activation: torch.nn.functional.relu", "mlp", ""), "value-range"),
    Entry("D19h", "seed out of range", option("seed: -1"), "value-range"),
    Entry("D19i", "freeze as a number", option("freeze: 1"), "value-type"),
    Entry("D20", "format bait in a description", "description: '{0.__class__.__mro__} %n%n {{7*7}}'\n" + GOOD, OK),
    Entry("D20b", "format bait in a name", "name: '{0.__class__} %s%n'\n" + GOOD, OK),
    Entry("D20c", "format bait in a kind", net("head: {kind: '{0.__class__}%n', out: 4, from: x} #~"), "unknown-kind", says="{0.__class__}%n"),
    Entry("D20d", "markup in a kind", net("head: {kind: '<script>alert(1)</script>', out: 4, from: x} #~"), "unknown-kind"),
]
