"""K: overrides and the command line."""

from __future__ import annotations

from tests.hostile.entry import GOOD, OK, Entry, net

_NET = net("a: {kind: linear, out: d, from: x}\nhead: {kind: linear, out: 4, from: a}", more="vars: {d: 16}\n")


def _entry(number: str, what: str, code: str, *overrides: str, **more: object) -> Entry:
    return Entry(f"K{number}", what, _NET, code, overrides=overrides, **{"most": 3, **more})  # type: ignore[arg-type]


ENTRIES = [
    _entry("01", "a kind misspelled", "unknown-kind", "nodes.head.kind=liner", says="linear"),
    _entry("01b", "a node that is not there", "override-unknown", "nodes.nope.out=3"),
    _entry("01c", "a key misspelled", "override-unknown", "nodes.head.ou=3", says="out"),
    _entry("01d", "no key", "override-syntax", "=3"),
    _entry("01e", "a value of another type", "value-type", "nodes.head.out=[4]"),
    _entry("01f", "a width that does not fit", "shape-mismatch", "+nodes.head.in=7"),
    _entry("02", "a node added", "node-unused", "+nodes.z={kind: linear, out: 3, from: x}"),
    _entry("02b", "a node deleted that is read", "address-unknown", "~nodes.a"),
    _entry("02c", "adding what is there", "override-conflict", "+nodes.head.out=3"),
    _entry("02d", "deleting what is not there", "override-unknown", "~nodes.nope"),
    _entry("02e", "forcing", OK, "++nodes.head.out=3"),
    _entry("02f", "deleting everything", "nodes-missing", "~nodes"),
    _entry("04", "a sweep", "override-sweep", "vars.d=1,2"),
    _entry("04b", "a sweep of a billion, shuffled", "override-sweep", "vars.d=shuffle(range(1,1000000000))"),
    _entry("04c", "a range", "override-sweep", "vars.d=range(1,1000000000)"),
    _entry("04d", "ten sweeps", "override-sweep", *(f"+vars.k{i}=range(100)" for i in range(10)), most=12),
    _entry("04e", "a glob", "override-sweep", "vars.d=glob(*)"),
    _entry("05", "a float for a size", "value-type", "vars.d=1e3", most=3),
    _entry("05b", "no for a flag", "value-type", "+nodes.head.bias=no"),
    _entry("05c", "null for a size", "dim-underdetermined", "nodes.head.out=null"),
    _entry("05d", "a list with a mapping", "value-type", "nodes.head.out=[1,2,{x:3}]"),
    _entry("05e", "a ratio", "expression-syntax", "nodes.head.out=1:2"),
    _entry("05f", "twenty digits", "limit-int-digits", "nodes.head.out=11111111111111111111"),
    _entry("05g", "five thousand digits", "limit-int-digits", "nodes.head.out=" + "9" * 5000),
    _entry("05h", "infinity", "value-type", "nodes.head.out=inf"),
    _entry("06", "an interpolation", "interpolation", "nodes.head.out=${oc.env:HOSTILE}"),
    _entry("06b", "an interpolation as a key", "interpolation", "${oc.env:HOSTILE}=3"),
    _entry("06c", "hydra's own", "foreign-key", "hydra.run.dir=pwned"),
    _entry("06d", "hydra's search path", "foreign-key", "hydra.searchpath=[file:///]"),
    _entry("06e", "a target", "foreign-key", "+nodes.head._target_=os.system"),
    _entry("06f", "hydra's job logging", "foreign-key", "hydra/job_logging=custom"),
    _entry("06g", "a group out of the folder", "path-outside", "+slots/ffn=../../secret"),
    _entry("06h", "a cast of an expression", "override-syntax", "vars.d=eval(1)"),
    _entry("07", "quotes", "expression-syntax", "nodes.head.out='a b'"),
    _entry("07b", "an equals sign in a value", "override-syntax", "nodes.head.out=a=b"),
    _entry("07c", "a line break", "override-syntax", "nodes.head.out=4\n5"),
    _entry("07d", "a megabyte", "limit-scalar-size", "nodes.head.out=" + "d" * 100_000),
    Entry("K07e", "two thousand overrides", _NET, "limit-nodes", overrides=("vars.d=16",) * 2_000, most=2000, seconds=6.0, place=False),
    _entry("07f", "unicode", "override-syntax", "nodes.head.out=größe"),
    _entry("07g", "a quote left open", "override-syntax", "nodes.head.out='4"),
    _entry("07h", "a bracket left open", "override-syntax", "nodes.head.out=[4"),
    _entry("07i", "ten thousand brackets", "limit-scalar-size", "nodes.head.out=" + "[" * 10_000, seconds=5.0),
    _entry("07j", "a thousand brackets, closed", "limit-depth", "nodes.head.out=" + "[" * 1_000 + "]" * 1_000, seconds=5.0),
    _entry("07k", "an escape", "yaml-control-character", "nodes.head.out=\x1b[2J4"),
    _entry("07l", "a bidi override", "yaml-control-character", "nodes.head.kind=lin\u202eear"),
    _entry("07m", "a tilde that is a home", "override-syntax", "~/secret=3"),
    _entry("07n", "a long key", "unknown-key", "+" + "k" * 5_000 + "=3"),
    _entry("07o", "a deep key", "limit-depth", "+" + ".".join(["k"] * 500) + "=3"),
    _entry("08", "one key twice", "override-repeated", "vars.d=8", "vars.d=16"),
    Entry("K08b", "a var that five hundred places use", "vars: {d: 16}\n" + net("\n".join(f"n{i}: {{kind: linear, out: d, from: {'x' if not i else f'n{i - 1}'}}}" for i in range(500)), outputs="y: n499"), OK, overrides=("vars.d=32",)),
    Entry("K09", "no recipe", GOOD, OK, words=("check",), exit=2),
    Entry("K09b", "an option that is not there", GOOD, OK, words=("check", "recipe.yaml", "--nope"), exit=2),
    Entry("K09c", "a command that is not there", GOOD, OK, words=("chekc\x1b[2J", "recipe.yaml"), exit=2),
    Entry("K11", "a file twice", GOOD, OK, words=("show", "recipe.yaml")),
    Entry("K11b", "an address with escapes", GOOD, OK, words=("why", "recipe.yaml", "head\x1b[2J.x"), exit=2),
    Entry("K11c", "a code with escapes", GOOD, OK, words=("explain", "a\x1b[2J\u202e"), exit=2),
    Entry("K11d", "a kind with a path", GOOD, OK, words=("kinds", "../../etc/passwd"), exit=2),
]
