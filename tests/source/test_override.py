"""Overrides: what they do to a tree, what they are typed as, and the caret under what is wrong with them."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler import assemble
from assembler.source import grammar, hydra_bridge
from assembler.source.override import apply
from assembler.source.tree import Value, value_of
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import Span

TREE = {
    "name": "tiny",
    "vars": {"width": 64, "heads": 4},
    "nodes": {
        "head": {"kind": "linear", "out": 10, "bias": None, "from": "encoder"},
        "encoder": {"kind": "bus", "parts": {"think": {"slot": "ffn"}}, "from": ["a", "b"]},
    },
}


def tree() -> Value:
    return value_of(TREE, Span("tiny.yaml", 1, 1, 1, 2))


def one(override: str) -> Diagnostic:
    """The only finding of one override, which must leave the tree as it was."""
    before = tree()
    after, diagnostics = apply(before, [override])
    assert after.plain() == before.plain()
    (found,) = diagnostics
    return found


def caret(found: Diagnostic) -> str:
    """What stands above the caret."""
    assert found.span.override is not None
    return found.span.override[found.span.column - 1 : found.span.end_column - 1]


def changed(*overrides: str) -> Any:
    after, diagnostics = apply(tree(), overrides)
    assert not diagnostics, diagnostics
    return after.plain()


# --- what they do ---


def test_only_the_touched_path_is_copied() -> None:
    before = tree()
    after, _ = apply(before, ["nodes.head.out=3"])
    assert before.plain()["nodes"]["head"]["out"] == 10
    assert after.plain()["nodes"]["head"]["out"] == 3
    assert after.get("vars") is before.get("vars")
    assert after.data["nodes"].data["encoder"] is before.data["nodes"].data["encoder"]
    assert after.data["nodes"].data["head"].data["from"] is before.data["nodes"].data["head"].data["from"]


def test_no_overrides_give_the_very_tree() -> None:
    before = tree()
    assert apply(before, []) == (before, [])


def test_a_second_apply_is_a_later_layer() -> None:
    first, _ = apply(tree(), ["nodes.head.kind=mlp", "+nodes.head.hidden=3"])
    second, notes = apply(first, ["nodes.head.kind=linear"])
    assert second.plain()["nodes"]["head"] == {"kind": "linear", "from": "encoder"}
    assert [n.code for n in notes] == ["swap-dropped"]


@pytest.mark.parametrize(("override", "path", "value"), [
    ("vars.width=96", "vars.width", 96),
    ("vars.width=1e3", "vars.width", 1000.0),
    ("vars.width=no", "vars.width", "no"),
    ("vars.width=null", "vars.width", None),
    ("vars.width=010", "vars.width", "010"),
    ("vars.width=true", "vars.width", True),
    ("vars.width=", "vars.width", ""),
    ("vars.width=1:2", "vars.width", "1:2"),
    ("vars.width=two words", "vars.width", "two words"),
    ("vars.width='4*(a+b)'", "vars.width", "4*(a+b)"),
    ("vars.width=\"é, ${'\"".replace("${", ""), "vars.width", "é, '"),
    ("vars.width=4*a", "vars.width", "4*a"),
    ("vars.width=int(3.7)", "vars.width", 3),
    ("nodes.encoder.from.1=c", "nodes.encoder.from", ["a", "c"]),
    ("nodes.encoder.from=c", "nodes.encoder.from", "c"),
    ("nodes.encoder.from=[c]", "nodes.encoder.from", ["c"]),
    ("+vars.new=[1,2,{x: 3}]", "vars.new", [1, 2, {"x": 3}]),
    ("+a.b.c=1", "a.b.c", 1),
    ("++name.x=1", "name.x", 1),
    ("++vars.width=1", "vars.width", 1),
    ("+nodes.head.bias=true", "nodes.head.bias", True),
    ("+nodes.new={kind: linear, out: 3}", "nodes.new", {"kind": "linear", "out": 3}),
    ("nodes.head={out: 3}", "nodes.head.out", 3),
])  # fmt: skip
def test_values_are_typed_and_placed_as_hydra_does(override: str, path: str, value: Any) -> None:
    got = changed(override)
    for key in path.split("."):
        got = got[key]
    assert got == value
    assert type(got) is type(value)


def test_a_missing_mark_inside_a_mapping_leaves_what_is_there() -> None:
    # Hydra merges `???` as "say nothing"; set alone it is a value like any other.
    assert changed("vars={width: ???, heads: 8}")["vars"] == {"width": 64, "heads": 8}
    assert changed("vars.width=???")["vars"]["width"] == "???"


def test_deleting_takes_the_key_away() -> None:
    assert "width" not in changed("~vars.width")["vars"]
    assert "width" not in changed("~vars.width=64")["vars"]
    assert list(changed("nodes.head=null")["nodes"]) == ["encoder"]


# --- what is wrong with them ---


@pytest.mark.parametrize(("override", "code", "above"), [
    ("nodes.haed.out=3", "override-unknown", "haed"),
    ("nodes.nope.dim=3", "override-unknown", "nope"),
    ("vars.new=3", "override-unknown", "new"),
    ("name.x=3", "override-unknown", "x"),
    ("nodes.encoder.from.7=c", "override-unknown", "7"),
    ("+nodes.encoder.from.x=c", "override-unknown", "x"),
    ("~nodes.nope", "override-unknown", "nope"),
    ("~nodes.head.bias", "override-unknown", "bias"),
    ("~vars.width=65", "override-conflict", "65"),
    ("+vars.width=3", "override-conflict", "vars.width"),
    ("~nodes.encoder.from.0", "override-syntax", "nodes.encoder.from.0"),
    ("slots/ffn=moe", "override-unknown", "slots/ffn"),
    ("name@x=moe", "override-unknown", "name"),
    ("nodes.head=[1]", "value-type", "[1]"),
    ("nodes.encoder.from={x: a}", "value-type", "{x: a}"),
    ("vars.width", "override-syntax", ""),
    ("", "override-syntax", ""),
    ("=3", "override-syntax", "="),
    ("vars.width=4*(a+b)", "override-syntax", "("),
    ("name=image [batch 8]", "override-syntax", "["),
    ("name=a=b", "override-syntax", "="),
    ("name='x", "override-syntax", "'"),
    ("name=é", "override-syntax", "é"),
    ("naïve=3", "override-syntax", "ï"),
    ("name=a\nb", "override-syntax", "\n"),
    ("vars. width=3", "override-syntax", "."),
    ("vars.width=1,2", "override-sweep", "1,2"),
    ("vars.width=choice(1,2)", "override-sweep", "choice(1,2)"),
    ("vars.width=[range(1,3)]", "override-sweep", "[range(1,3)]"),
    ("vars.width=interval(0,1)", "override-sweep", "interval(0,1)"),
    ("vars.width=glob(*)", "override-sweep", "glob(*)"),
    ("vars.width=shuffle([1,2])", "override-sweep", "shuffle([1,2])"),
    ("hydra.run.dir=x", "foreign-key", "hydra.run.dir"),
    ("hydra=x", "foreign-key", "hydra"),
    ("hydra/launcher=x", "foreign-key", "hydra/launcher"),
    ("+x@hydra.y=z", "foreign-key", "x"),
    ("+nodes.head._target_=os.system", "foreign-key", "_target_"),
    ("+nodes.x={_target_: os.system}", "foreign-key", "{_target_: os.system}"),
    ("name=${oc.env:HOME}", "interpolation", "${"),
    ("name='${x}'", "interpolation", "${"),
    ("+${x}=3", "interpolation", "${"),
    ("+nodes.x={1: 2}", "yaml-key-type", "{1: 2}"),
    ("+nodes.x={null: 2}", "yaml-key-type", "{null: 2}"),
    ("vars.width=12345678901234567890", "limit-int-digits", "12345678901234567890"),
    ("vars.width=" + "9" * 5000, "limit-int-digits", "9" * 5000),
    ("name='a\x1bb'", "yaml-control-character", "\x1b"),
    ("name='\u202e'", "yaml-control-character", "\u202e"),
    ("name='\udc80'", "yaml-encoding", "\udc80"),
    ("+" + "a." * 100 + "b=1", "limit-depth", "a." * 100 + "b"),
])  # fmt: skip
def test_a_bad_override_is_said_with_a_caret_in_it(override: str, code: str, above: str) -> None:
    found = one(override)
    assert found.code == code
    assert found.span.override == override
    assert (found.span.index, found.span.line) == (0, 1)
    assert caret(found) == above


def test_the_place_on_the_command_line_is_kept() -> None:
    _, diagnostics = apply(tree(), ["vars.width=3", "vars.x=1", "name=${x}"])
    assert sorted((d.span.index, d.code) for d in diagnostics) == [(1, "override-unknown"), (2, "interpolation")]


@pytest.mark.parametrize(("override", "help"), [
    ("vars.width=4*(a+b)", "vars.width='4*(a+b)'"),
    ("name=it's", 'name="it\'s"'),
    ("nodes.haed.out=3", "did you mean `head`?"),
    ("vars.new=3", "+vars.new=3"),
    ("+vars.width=3", "drop the `+`: vars.width=3"),
    ("vars.width=1,2", "vars.width=[1,2]"),
])  # fmt: skip
def test_the_help_shows_what_to_write(override: str, help: str) -> None:
    assert help in one(override).help


@pytest.mark.parametrize("override", ["vars.width=4*(a+b)", "name=image [batch 8]", "+vars.width=3", "+name=f(x)"])
def test_what_the_fix_writes_can_be_carried_out(override: str) -> None:
    found = one(override)
    assert found.fix is not None
    (edit,) = found.fix.edits
    fixed = override[: edit.span.column - 1] + edit.text + override[edit.span.end_column - 1 :]
    assert all(d.code != "override-syntax" for d in apply(tree(), [fixed])[1])


def test_a_sweep_is_counted_and_never_expanded() -> None:
    started = time.process_time()
    assert "999999999 values" in one("vars.width=range(1,1000000000)").message
    assert "999999999 values" in one("vars.width=shuffle(range(1,1000000000))").message
    assert "without end" in one("vars.width=range(1,2,0)").message
    assert time.process_time() - started < 5  # expanding one of them would take minutes


def test_shuffling_never_touches_the_hosts_random_numbers() -> None:
    random.seed(3)
    before = random.getstate()
    one("vars.width=shuffle([1,2,3])")
    assert random.getstate() == before


def test_the_same_key_twice_is_a_warning_and_the_last_one_wins() -> None:
    after, (found,) = apply(tree(), ["vars.width=1", "name=x", "vars.width=2"])
    assert after.plain()["vars"]["width"] == 2
    assert (found.code, found.level, found.span.index) == ("override-repeated", "warning", 2)
    assert [note.span.index for note in found.related] == [0]
    assert not apply(tree(), ["~vars.width", "+vars.width=2"])[1]


def test_masses_of_overrides_are_refused_and_not_awaited() -> None:
    after, diagnostics = apply(tree(), [f"+vars.w{i}={i}" for i in range(10_000)])
    assert [d.code for d in diagnostics] == ["limit-nodes"]
    assert len(after.plain()["vars"]) == 2 + grammar.MAX_COUNT
    assert one("name=" + "x" * 1_000_000).code == "limit-scalar-size"
    assert one("x" * 1_000_000).code == "limit-scalar-size"
    assert one("name=" + "[" * 5000).code == "limit-depth"


def test_a_list_of_thousands_is_read_in_one_pass() -> None:
    # Hydra's own visitor looks each element up from the front.
    assert changed("+vars.x=[" + "1," * 4000 + "1]")["vars"]["x"] == [1] * 4001


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.from_regex(r"[+~]{0,3}[a-z./@0-9]{0,12}=?[-a-z0-9 '\"\[\]{}(),:$=\\+*]{0,20}", fullmatch=True),
    )
)
def test_no_text_raises(text: str) -> None:
    before = tree()
    after, diagnostics = apply(before, [text])
    assert before.plain() == TREE
    for found in diagnostics:
        assert found.code in grammar_codes()
        assert found.span.override == text
        assert 1 <= found.span.column <= len(text) + 1
    assert diagnostics or isinstance(after.plain(), dict)


def grammar_codes() -> set[str]:
    return {
        "override-syntax", "override-unknown", "override-conflict", "override-sweep", "foreign-key", "interpolation",
        "yaml-key-type", "yaml-control-character", "yaml-encoding", "limit-depth", "limit-int-digits", "value-type",
        "swap-dropped",
    }  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.from_regex(r"[-a-z0-9 '\"\[\]{},:=\\+*._]{0,16}", fullmatch=True))
def test_what_is_parsed_is_what_hydra_parses(value: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    text = f"+key={value}"
    try:
        parsed = OverridesParser.create().parse_rule(text, "override")
        wanted = None if parsed.is_sweep_override() else parsed.value()
    except (HydraException, ValueError):
        wanted = None
    found, diagnostics = grammar.commands([text])
    if diagnostics:
        assert wanted is None or diagnostics[0].code in ("yaml-key-type", "limit-int-digits"), (wanted, diagnostics)
    else:
        assert repr(found[0].value) == repr(wanted)  # as text: nan is not nan


PLAIN = st.from_regex(
    r"\+{0,3}[A-Za-z_]{1,4}([./][A-Za-z0-9_]{1,4}){0,2}=(-?[0-9]{1,6}|-?[0-9]{1,3}(\.[0-9]{0,4})?([eE][-+]?[0-9]{1,3})?|[A-Za-z0-9_]{1,5}|null|True|nan|-inf|on)",
    fullmatch=True,
)


@settings(max_examples=300, deadline=None)
@given(text=PLAIN)
def test_plain_overrides_are_read_as_the_grammar_reads_them(text: str) -> None:
    found = hydra_bridge._plain(text)
    if found is not None:
        asked = hydra_bridge._parse_tree(text)
        assert found == asked
        assert (type(found._value), repr(found._value)) == (type(asked._value), repr(asked._value))


def test_the_plain_overrides_of_a_sweep_need_no_grammar() -> None:
    assert all(hydra_bridge._plain(text) is not None for text in ("vars.width=96", "vars.shift=-4", "vars.zero=0", "slots/ffn=mlp", "nodes.a.norm=pre", "+a.p=0.1", "++a=1e-05", "a=-2.5e3"))
    assert not any(hydra_bridge._plain(text) for text in ("a=null", "a=true", "a=nan", "a=-0", "a=1.", "a=.5", "a=007", "+++a=1", "~a", "a.b/c=d", "a=b,c", "a='b'"))


def test_one_override_that_is_not_in_a_list_is_no_list_of_letters() -> None:
    with pytest.raises(TypeError, match=r"write \['vars.width=96'\]"):
        assemble.check("recipe.yaml", "vars.width=96")
