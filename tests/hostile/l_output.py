"""L: what a recipe says must not rule what shows it."""

from __future__ import annotations

from tests.hostile.entry import GOOD, INPUTS, OK, Entry, name, net

_ESCAPES = '"a\\e[2J\\e]8;;http://example.org\\a\\e]52;c;aGk=\\a\\b\\b\\u202e\\u2028\\r"'

ENTRIES = [
    Entry("L01", "escapes in a description", f"description: {_ESCAPES}\n" + GOOD, OK),
    Entry("L01b", "escapes in a name", f"name: {_ESCAPES}\n" + GOOD, OK),
    Entry("L01c", "escapes in a kind", net(f"head: {{kind: {_ESCAPES}, out: 4, from: x}} #~"), "unknown-kind", most=1),
    Entry("L01d", "escapes in a node's name", name(_ESCAPES), "name-syntax", most=2),
    Entry("L01e", "escapes in an option's name", net(f"head: {{kind: linear, {_ESCAPES}: 4, from: x}} #~"), "unknown-option", most=2),
    Entry("L01f", "escapes in a value", net(f"head: {{kind: linear, out: {_ESCAPES}, from: x}} #~"), "expression-syntax", most=1),
    Entry("L01g", "escapes in an address", net(f"head: {{kind: linear, out: 4, from: {_ESCAPES}}} #~"), "address-unknown", most=1),
    Entry("L01h", "escapes in a port type", net("head: {kind: linear, out: 4, from: x}", f"x: {_ESCAPES}"), "port-type-syntax", line=1, most=1),
    Entry("L01i", "escapes at the top", f"{_ESCAPES}: 1 #~\n" + GOOD, "unknown-key", most=2),
    Entry("L01j", "escapes in a rule", GOOD + f"rules: {{r: {{at: {_ESCAPES}, set: {{out: 3}}}}}} #~\n", "address-unknown", most=2),
    Entry("L01k", "escapes in an activation", net(f"head: {{kind: mlp, activation: {_ESCAPES}, from: x}} #~"), "value-range", most=1),
    Entry("L01l", "escapes in an output", INPUTS + f"nodes: {{head: {{kind: linear, out: 4, from: x}}}}\noutputs: {{{_ESCAPES}: head}} #~\n", "name-syntax", most=2),
    Entry("L01m", "escapes in a default", f"defaults:\n  - {_ESCAPES} #~\n  - _self_\n" + GOOD, "path-outside", most=2),
    Entry("L01n", "escapes in a pattern", net(f"head: {{kind: rearrange, pattern: {_ESCAPES}, from: x}} #~"), "pattern-syntax", most=1),
    Entry("L02", "markup in a name", "name: '<script>alert(1)</script><img onerror=x> --> ]]>'\n" + GOOD, OK),
    Entry("L02b", "a workflow command in a name", 'name: "::error file=a::b\\n::set-output name=x::y"\n' + GOOD, OK),
    Entry("L04", "quotes and separators in a name", 'name: "\\"\\\\ \\u2028 | ` \' , ;"\n' + GOOD, OK),
    Entry("L05", "a diagram's directive in a description", 'description: "%%{init: {}}%% click x call y() URL=javascript:1"\n' + GOOD, OK),
    Entry("L07", "eject shows no code of a name", 'name: "x\\nimport os\\nos.system(1)"\ndescription: \'"""\\nimport os\'\n' + GOOD, OK, words=("eject", "recipe.yaml"), parses=True),
    Entry("L07b", "show with escapes", f"name: {_ESCAPES}\ndescription: {_ESCAPES}\n" + GOOD, OK, words=("show", "recipe.yaml")),
    Entry("L07c", "every stage with escapes", f"name: {_ESCAPES}\n" + GOOD, OK, words=("show", "recipe.yaml", "--stage", "recipe")),
    Entry("L07d", "the graph with escapes", f"name: {_ESCAPES}\n" + GOOD, OK, words=("show", "recipe.yaml", "--stage", "graph")),
    Entry("L07e", "the plan with escapes", f"name: {_ESCAPES}\ndescription: {_ESCAPES}\n" + GOOD, OK, words=("show", "recipe.yaml", "--stage", "plan")),
    Entry("L07f", "the text with escapes", f"name: {_ESCAPES}\ndescription: {_ESCAPES}\n" + GOOD, OK, words=("show", "recipe.yaml", "--stage", "text")),
    Entry("L08", "floats that are hard to spell", net("head: {kind: layer_norm, eps: 5e-324, from: x}"), OK, words=("show", "recipe.yaml", "--stage", "text")),
]
