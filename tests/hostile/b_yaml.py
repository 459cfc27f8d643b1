"""B: attacks on the structure of YAML."""

from __future__ import annotations

from tests.hostile.entry import GOOD, OK, Entry, net, option, value

_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
_MERGE = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 7))


def _wide() -> str:
    return "a: &a [" + ", ".join(["1"] * 9_000) + "]\nb: [" + ", ".join(["*a"] * 10_000) + "]\n"


ENTRIES = [
    Entry("B01", "a tag that calls", 'name: !!python/object/apply:os.system ["touch pwned"] #~\n' + GOOD, "yaml-tag"),
    Entry("B02", "a tag that OmegaConf accepts", 'name: !!python/object/apply:pathlib.Path ["pwned"] #~\n' + GOOD, "yaml-tag"),
    Entry("B02b", "a tag that makes an object", "name: !!python/object/new:subprocess.Popen [[touch, pwned]] #~\n" + GOOD, "yaml-tag"),
    Entry("B02c", "a tag that imports", "name: !!python/module:torch #~\n" + GOOD, "yaml-tag"),
    Entry("B04", "a constructor's tag", net("head: !Linear {out: 3, from: x} #~"), "yaml-tag", says="kind: linear"),
    Entry("B04b", "a reference's tag", option("bias: !Ref flag"), "yaml-tag"),
    Entry("B04c", "an integer's tag", option('bias: !!int "3"'), "yaml-tag"),
    Entry("B04d", "a tag on a key", net("!!str head: {kind: linear, out: 4, from: x} #~"), "yaml-tag"),
    Entry("B04e", "an include's tag", "nodes: !include secret.yaml #~\n", "yaml-tag"),
    Entry("B05", "a tag by a directive", "%TAG ! tag:yaml.org,2002:python/ #~\n---\nname: !name:os.system\n" + GOOD, "yaml-tag"),
    Entry("B05b", "a directive for YAML 1.1", "%YAML 1.1 #~\n---\n" + GOOD, "yaml-tag"),
    Entry("B07", "an alias bomb", _BOMB + GOOD, "limit-alias-expansion", seconds=0.1),
    Entry("B08", "a wide alias bomb", _wide, "limit-alias-expansion", seconds=0.3),
    Entry("B09", "an anchor inside itself", "name: &a [*a] #~\n" + GOOD, "yaml-alias"),
    Entry("B09b", "an anchor inside itself, deep", "vars: &a {b: {c: *a}} #~\n" + GOOD, "yaml-alias"),
    Entry("B10", "an alias without its anchor", "vars: {wide: &width 4}\nname: *widht #~\n" + GOOD, "yaml-alias", says="width"),
    Entry("B10b", "an alias before its anchor", "name: *a #~\ndescription: &a text\n" + GOOD, "yaml-alias"),
    Entry("B11", "an anchor twice", "name: &a one\ndescription: &a two #~\n" + GOOD, "yaml-alias"),
    Entry("B12", "an alias of a number", net("head: {kind: linear, out: *w, from: x}", more="vars: {w: &w 4, v: w}\n").replace("v: w", "w2: w").replace(", w2: w", ""), "vars-unused"),
    Entry("B13", "a merge key", net("a: &base {kind: linear, out: 4, from: x}\nhead: {<<: *base} #~"), "yaml-merge-key", says="like"),
    Entry("B13b", "a merge of a list", net("a: &a {kind: linear, out: 4, from: x}\nhead: {<<: [*a, *a]} #~"), "yaml-merge-key"),
    Entry("B13c", "a merge bomb", _MERGE + GOOD, "yaml-merge-key", line=2, seconds=0.3),
    Entry("B14", "a million brackets", lambda: "[" * 1_000_000, "limit-depth", line=1, alone=True, seconds=1.0),
    Entry("B14b", "thirty thousand maps", lambda: "{a: " * 30_000, "limit-depth", line=1, alone=True, seconds=1.0),
    Entry("B14c", "a thousand lists by dashes", lambda: "- " * 1_000 + "a\n", "limit-depth", line=1),
    Entry("B14d", "three hundred steps to the right", lambda: "".join(" " * i + "a:\n" for i in range(300)), "limit-depth", line=65),
    Entry("B14e", "question marks", lambda: "? " * 20_000 + "a\n", "yaml-key-type", line=1, alone=True, most=70),
    Entry("B16", "three hundred thousand keys", lambda: "vars:\n" + "".join(f" k{i}: 1\n" for i in range(300_000)), "limit-nodes", seconds=5.0),
    Entry("B16b", "three hundred thousand items", lambda: "vars: [" + "1," * 300_000 + "]\n", "limit-nodes", seconds=5.0),
    Entry("B17", "a key of a megabyte", lambda: "k" * 1_000_000 + ": 1\n" + GOOD, "limit-scalar-size", line=1),
    Entry("B17a", "a question key of a megabyte", lambda: "? " + "k" * 1_000_000 + "\n: 1\n" + GOOD, "limit-scalar-size", line=1),
    Entry("B17b", "a quoted megabyte", lambda: 'name: "' + "k" * 1_000_000 + '"\n' + GOOD, "limit-scalar-size", line=1),
    Entry("B17c", "a block of a megabyte", lambda: "name: |\n" + "  kkkkkkk\n" * 100_000 + GOOD, "limit-scalar-size", line=1),
    Entry("B17d", "an anchor of a megabyte", lambda: "name: &" + "k" * 1_000_000 + " a\n" + GOOD, OK),
    Entry("B19", "a node twice", net("head: {kind: linear, out: 4, from: x}\nhead: {kind: linear, out: 5, from: x} #~"), "yaml-duplicate-key", says="head"),
    Entry("B19b", "a key twice, once in quotes", option("bias: true, 'bias': false"), "yaml-duplicate-key"),
    Entry("B20", "a number twice as key", "vars: {1: 2, 1: 3} #~\n" + GOOD, "yaml-key-type"),
    Entry("B20b", "a number and its text", 'vars: {1: 2, "1": 3} #~\n' + GOOD, "yaml-key-type"),
    Entry("B20c", "one number in two spellings", "vars: {1: 2, 0x1: 3} #~\n" + GOOD, "yaml-key-type"),
    Entry("B22", "a list as key", "? [a, b] #~\n: 1\n" + GOOD, "yaml-key-type"),
    Entry("B22b", "a mapping as key", "{a: 1}: 2 #~\n" + GOOD, "yaml-key-type"),
    Entry("B22c", "null as key", "~: 1 #~\n" + GOOD, "yaml-key-type"),
    Entry("B22d", "true as key", "true: 1 #~\n" + GOOD, "yaml-key-type"),
    Entry("B22e", "a key that is empty", "vars: {: 1} #~\n" + GOOD, "yaml-syntax"),
    Entry("B23", "a quote left open", 'name: "net #~\n' + GOOD, "yaml-syntax"),
    Entry("B23b", "a bracket left open", net("head: {kind: linear, out: 4, from: [x} #~"), "yaml-syntax"),
    Entry("B23c", "a brace left open", net("head: {kind: linear, out: 4, from: x #~"), "yaml-syntax"),
    Entry("B23d", "bad indentation", "nodes:\n  head:\n    kind: linear\n   out: 4 #~\n", "yaml-syntax"),
    Entry("B23e", "two colons", "name: a: b #~\n" + GOOD, "yaml-syntax", says="quote"),
    Entry("B23f", "no space after a colon", net("head: {kind:linear, out: 4, from: x} #~"), "yaml-syntax", says="space"),
    Entry("B23g", "no space after a colon, on a line", "nodes:\n  head:\n    kind:linear #~\n    out: 4\n", "yaml-syntax", says="space"),
    Entry("B23h", "no comma", net("head: {kind: linear out: 4, from: x} #~"), "yaml-syntax", says="comma"),
    Entry("B25", "an at sign", value("@width"), "yaml-syntax", says="quote"),
    Entry("B25b", "a backtick", value("`width`"), "yaml-syntax", says="quote"),
    Entry("B25c", "a percent sign", value("%width"), "yaml-syntax", says="quote"),
    Entry("B25d", "a star", value("*"), "yaml-syntax", says="quote"),
    Entry("B25e", "an ampersand", value("& width"), "yaml-syntax", says="quote"),
    Entry("B25f", "an exclamation mark", value("! 4"), "yaml-tag"),
    Entry("B26", "an equals sign", value("="), "expression-syntax"),
    Entry("B26b", "two angles", value("<<"), "expression-syntax"),
    Entry("B28", "a hash glued to a word", net("head: {kind: linear, out: 4, from: x#1} #~"), "address-unknown"),
    Entry("B28b", "a hash after a space", "nodes:\n  head:\n    kind: linear\n    out: 4\n    from: x #1\ninputs: {x: '[batch 16]'}\noutputs: {y: head}\n", OK),
]
