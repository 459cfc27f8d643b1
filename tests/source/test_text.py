"""The reader: what each mistaken file is told and where; what each good file means, and where it stands."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from assembler.source.text import MAX_BYTES, read, read_text
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic

PARSERS = pytest.mark.parametrize("libyaml", [True, False], ids=["libyaml", "pure"])


def told(text: bytes | str) -> list[tuple[str, int, int]]:
    return [(d.code, d.span.line, d.span.column) for d in read_text(text, "f.yaml")[1]]


def written(text: str, span) -> str:
    """What stands in the text at a span."""
    lines = text.split("\n")
    if span.line == span.end_line:
        return lines[span.line - 1][span.column - 1 : span.end_column - 1]
    first, last = lines[span.line - 1][span.column - 1 :], lines[span.end_line - 1][: span.end_column - 1]
    return "\n".join([first, *lines[span.line : span.end_line - 1], last])


def repaired(text: str, finding: Diagnostic) -> str:
    """The text with the finding's fix applied."""
    lines = [0]
    for line in text.split("\n"):
        lines.append(lines[-1] + len(line) + 1)
    for edit in sorted(finding.fix.edits, key=lambda edit: edit.span, reverse=True):
        start, end = lines[edit.span.line - 1] + edit.span.column - 1, lines[edit.span.end_line - 1] + edit.span.end_column - 1
        text = text[:start] + edit.text + text[end:]
    return text


# --- A. not a recipe at all -------------------------------------------------------------------------

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
BYTES = [
    ("empty", b"", [("yaml-empty", 1, 1)]),
    ("only comments", b"# a\n\n# b\n", [("yaml-empty", 1, 1)]),
    ("only ---", b"---\n", [("yaml-empty", 1, 1)]),
    ("only null", b"null\n", [("yaml-empty", 1, 1)]),
    ("scalar", b"hello\n", [("yaml-empty", 1, 1)]),
    ("number", b"\n42\n", [("yaml-empty", 2, 1)]),
    ("list", b"- 1\n- 2\n", [("yaml-empty", 1, 1)]),
    ("two documents", b"a: 1\n---\nb: 2\n", [("yaml-multiple-documents", 2, 1)]),
    ("two documents after dots", b"a: 1\n...\nb: 2\n", [("yaml-multiple-documents", 3, 1)]),
    ("an empty document first", b"---\n---\na: 1\n", [("yaml-multiple-documents", 2, 1)]),
    ("BOM", b"\xef\xbb\xbfa: 1\n", []),
    ("BOM twice", b"\xef\xbb\xbf\xef\xbb\xbfa: 1\n", [("yaml-control-character", 1, 1)]),
    ("UTF-16 little endian", "a: 1".encode("utf-16"), [("yaml-encoding", 1, 1)]),
    ("UTF-16 big endian, no BOM", "a: 1".encode("utf-16-be"), [("yaml-encoding", 1, 1)]),
    ("UTF-32", "a: 1".encode("utf-32"), [("yaml-encoding", 1, 1)]),
    ("UTF-32, no BOM", "a: 1".encode("utf-32-le"), [("yaml-encoding", 1, 1)]),
    ("Latin-1", b"a: 1\nb: caf\xe9\n", [("yaml-encoding", 2, 7)]),
    ("overlong form", b"a: \xc0\xaf\n", [("yaml-encoding", 1, 4)]),
    ("surrogate in UTF-8", b"a: \xed\xa0\x80\n", [("yaml-encoding", 1, 4)]),
    ("surrogate escape", b'a: "\\ud800"\n', [("yaml-encoding", 1, 5)]),
    ("NUL", b"a: 1\nb: x\0y\n", [("yaml-control-character", 2, 5)]),
    ("ESC, BEL, DEL", b"a: \x1b[2J\nb: \x07\nc: \x7f\n", [("yaml-control-character", n, 4) for n in (1, 2, 3)]),
    ("C1", "a: \x9b31m\n".encode(), [("yaml-control-character", 1, 4)]),
    ("CR LF", b"a: 1\r\nb:\r\n  c: 2\r\n", []),
    ("lone CR", b"a: 1\rb: 2\n", [("yaml-control-character", 1, 5)]),
    ("NEL", "a: 1\u0085b: 2\n".encode(), [("yaml-control-character", 1, 5)]),
    ("LS", "a: 1\u2028b: 2\n".encode(), [("yaml-control-character", 1, 5)]),
    ("PS in a comment", "a: 1 # x\u2029\n".encode(), [("yaml-control-character", 1, 9)]),
    ("bidi in a name", "a\u202eb: 1\n".encode(), [("yaml-control-character", 1, 1)]),
    ("bidi in a value", "a: b\u202ec\n".encode(), [("yaml-control-character", 1, 5)]),
    ("bidi in a comment", "a: 1  # b\u202ec\n".encode(), [("hidden-text", 1, 10)]),
    ("zero width in quotes", 'a: "b\u200bc"\n'.encode(), [("yaml-control-character", 1, 6)]),
    ("zero width in a block text", "a: |\n  x\n  b # \u200bc\n".encode(), [("yaml-control-character", 3, 7)]),
    ("no newline at the end", b"a: 1  ", []),
    ("a thousand blank lines", b"\n" * 1000 + b"a: 1\n", []),
    ("one long line", b"x" * 2_000_000, [("limit-scalar-size", 1, 1)]),
    ("TOML", b'# t\n[model]\nname = "x"\n', [("yaml-syntax", 2, 1)]),
    ("assignments", b'name = "x"\nwidth = 3\n', [("yaml-syntax", 1, 1)]),
    ("Python", b"import torch\n\nclass A(torch.nn.Module):\n    pass\n", [("yaml-syntax", 1, 1)]),
    ("Markdown fence", b"```yaml\na: 1\n```\n", [("yaml-syntax", 1, 1)]),
    ("Markdown text and fence", b"Here it is:\n```yaml\na: 1\n```\n", [("yaml-syntax", 2, 1)]),
    ("HTML", b"<!DOCTYPE html>\n<html><body>404</body></html>\n", [("yaml-syntax", 1, 1)]),
    ("Git LFS pointer", LFS.encode(), [("yaml-syntax", 1, 1)]),
    ("merge conflict", b"a: 1\n<<<<<<< HEAD\nb: 2\n=======\nb: 3\n>>>>>>> main\n", [("yaml-merge-conflict", 2, 1)]),
    ("Jinja", b"a: {{ d }}\n", [("yaml-template", 1, 4)]),
    ("Jinja in a flow", b"m: {d: {{ d }}, e: 1}\n", [("yaml-template", 1, 8)]),
    ("Jinja in quotes", b'a: "{{ d }}"\n', [("yaml-template", 1, 4)]),
    ("Jinja and more", b"a: {{ d }}-x\n", [("yaml-template", 1, 4)]),
    ("Jinja block", b"{% if x %}\na: 1\n{% endif %}\n", [("yaml-template", 1, 1)]),
    ("shell", b"a: $D\nb: $(pwd)\n", [("yaml-template", 1, 4), ("yaml-template", 2, 4)]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in BYTES], ids=[case[0] for case in BYTES])
def test_bytes_that_are_no_recipe(text, expected):
    assert told(text) == expected


def test_invalid_utf8_names_the_byte_the_offset_and_the_likely_letter():
    finding = read_text(b"\xef\xbb\xbfa: 1\nb: caf\xe9\n", "f")[1][0]
    assert "0xe9 at offset 14" in finding.message
    assert "'é'" in finding.help


@pytest.mark.parametrize("what", ["TOML", "Python", "a Markdown fence", "an HTML or XML page", "a Git LFS pointer"])
def test_another_language_is_named(what):
    messages = [d.message for _, text, _ in BYTES for d in read_text(text, "f")[1]]
    assert any(message.startswith(f"this looks like {what}") for message in messages)


@pytest.mark.parametrize("text", [b"", b"- 1\n", b"hello\n", b"# only\n"])
def test_a_file_without_a_mapping_is_shown_the_smallest_recipe_which_reads_clean(text):
    tree, found = read_text(text, "f")
    assert tree is None
    example, clean = read_text(found[-1].help.split("\n", 1)[1], "example")
    assert clean == []
    assert set(example.plain()) == {"name", "inputs", "nodes", "outputs"}


# --- B. structure -----------------------------------------------------------------------------------

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
STRUCTURE = [
    ('a: !!python/object/apply:os.system ["x"]\n', [("yaml-tag", 1, 4)]),
    ("a: !!python/object/apply:pathlib.Path [x]\n", [("yaml-tag", 1, 4)]),
    ('a: !Linear {in: 3}\nb: !Ref x\nc: !!int "3"\nd: ! x\n', [("yaml-tag", n, 4) for n in (1, 2, 3, 4)]),
    ("%TAG ! tag:yaml.org,2002:python/\n---\na: !name:os.system\n", [("yaml-tag", 1, 1), ("yaml-tag", 3, 4)]),
    ("%YAML 1.1\n---\na: no\n", [("yaml-tag", 1, 1), ("old-scalar", 3, 4)]),
    ("a: !nope!x 1\n", [("yaml-tag", 1, 4)]),
    (BOMB, [("limit-alias-expansion", 5, 10)]),
    ("a: *nope\n", [("yaml-alias", 1, 4)]),
    ("a: *late\nb: &late 1\n", [("yaml-alias", 1, 4)]),
    ("a: &x 1\nb: &x 2\n", [("yaml-alias", 2, 7)]),
    ("a: &x [*x]\n", [("yaml-alias", 1, 8)]),
    ("a: &x {b: {c: *x}}\n", [("yaml-alias", 1, 15)]),
    ("a: &x 1\nb: {<<: *x}\n<<: [*x]\n", [("yaml-merge-key", 2, 5), ("yaml-merge-key", 3, 1)]),
    ("a: &k b\n*k : 1\n", [("yaml-key-type", 2, 1)]),
    ("a: 1\nb: 2\na: 3\n", [("yaml-duplicate-key", 3, 1)]),
    ('a: 1\n"a": 2\n\'a\': 3\n', [("yaml-duplicate-key", 2, 1), ("yaml-duplicate-key", 3, 1)]),
    ("{b: {a: 1, a: 1}}\n", [("yaml-duplicate-key", 1, 12)]),
    ('1: a\n1: b\n0x1: c\n"1": d\n', [("yaml-key-type", n, 1) for n in (1, 2, 3)]),
    ("? [a, b]\n: 1\n? {a: 1}\n: 2\n~: 3\ntrue: 4\nnull: 5\n1.5: 6\n",
     [("yaml-key-type", n, c) for n, c in ((1, 3), (3, 3), (5, 1), (6, 1), (7, 1), (8, 1))]),
    ("=: 1\na: =\nb: <<\n", []),
    ("a: b#1\nc: d #1\n", []),
    ("x" * 129 + ": 1\n", [("limit-scalar-size", 1, 1)]),
    ("x" * 128 + ": 1\n", []),
    ("a: 1\n" + "x" * 5000 + ": 1\n", [("limit-scalar-size", 2, 1)]),
    ("{" + "x" * 5000 + ": 1}\n", [("limit-scalar-size", 1, 2)]),
    ("a: " + "x" * 10_000 + "\n", []),
    ("a: " + "x" * 10_001 + "\n", [("limit-scalar-size", 1, 4)]),
    ("a: '" + "x" * 10_001 + "'\n", [("limit-scalar-size", 1, 4)]),
    ("a: |\n  " + "x" * 10_001 + "\n", [("limit-scalar-size", 1, 4)]),
]  # fmt: skip


@PARSERS
@pytest.mark.parametrize(("text", "expected"), STRUCTURE, ids=range(len(STRUCTURE)))
def test_structure(text, expected, libyaml, monkeypatch):
    monkeypatch.setattr(yaml, "__with_libyaml__", libyaml)
    assert told(text) == expected


SYNTAX = [
    ('a: "b\nc: 1\n', 1, 4, "quote"),
    ('name: "digits\nvars: {x: "a"}\nb: 1\n', 1, 7, "quote"),
    ("a: 'it's'\n", 1, 8, "behind the closing quote"),
    ('a: "x" y\n', 1, 8, "behind the closing quote"),
    ('a: "\\q"\n', 1, 5, "no escape"),
    ("nodes:\n  p: {kind: x, out: 3\n  q: {kind: z}\n", 2, 6, "not closed"),
    ("a: [1, 2\nb: 3\n", 1, 4, "not closed"),
    ("a: {b: [1, {c: 2}\n", 1, 8, "not closed"),
    ("a: {", 1, 4, "not closed"),
    ("a: [1, 2}\n", 1, 9, "closed by `}`"),
    ("a: {x: 1]\n", 1, 9, "closed by `]`"),
    ("a: 1\n}\n", 2, 1, "closes nothing"),
    ("a: [1,,2]\n", 1, 7, "before this comma"),
    ("p: {kind: x out: 3}\n", 1, 16, "comma"),
    ("a:\n  b: 1\n c: 2\n", 3, 1, "indented by 1"),
    ("a: 1\n  b: 2\n", 2, 3, "cannot be a key"),
    ("a: 1\n- b\n", 2, 1, "list item"),
    ("- a\nb: 1\n", 2, 1, "key stands among the items"),
    ("a: b: c\n", 1, 5, "second `: `"),
    ("a:1\nb: 2\n", 1, 1, "no space"),
    ("a: 1\nb:2\nc: 3\n", 2, 1, "no space"),
    ("a:1\n", 1, 1, "no space"),
    ("nodes:\n  a:1\n", 2, 3, "no space"),
    ("{kind:linear}\n", 1, 2, "no space"),
    ("a: 1\nkey\nb: 2\n", 2, 1, "neither a key"),
    ("a:\n\tb: 1\n", 2, 1, "tab"),
    ("a:\n  b: 1\n\tc: 2\n", 3, 1, "tab"),
    ("-\tx: 1\n-\ty: 2\n", 1, 2, "tab"),
    ("a: @x\n", 1, 4, "`@`"),
    ("a: `x`\n", 1, 4, "cannot start"),
    ("a: %x\n", 1, 4, "`%`"),
    ("p: {at: *.think, set: 1}\n", 1, 9, "`*`"),
    ("a: &\n", 1, 4, "`&`"),
    ("a: |x\n  t\n", 1, 4, "`|`"),
    ("a: - b\n", 1, 4, "list cannot start"),
]  # fmt: skip


@PARSERS
@pytest.mark.parametrize(("text", "line", "column", "words"), SYNTAX, ids=range(len(SYNTAX)))
def test_syntax_is_told_at_its_cause_with_what_to_do(text, line, column, words, libyaml, monkeypatch):
    monkeypatch.setattr(yaml, "__with_libyaml__", libyaml)
    finding = next(d for d in read_text(text, "f")[1] if d.level == "error")
    assert (finding.code, finding.span.line, finding.span.column) == ("yaml-syntax", line, column)
    assert words in finding.message
    assert finding.help


def test_an_address_that_starts_with_a_star_is_quoted_up_to_the_comma():
    text = "p: {at: *.think, set: 1}\n"
    assert repaired(text, read_text(text, "f")[1][0]) == 'p: {at: "*.think", set: 1}\n'


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("nodes:\n  p: {kind: x, out: 3\n  q: {kind: z}\n", {"nodes": {"p": {"kind": "x", "out": 3}, "q": {"kind": "z"}}}),
        ("p: {kind: x out: 3}\n", {"p": {"kind": "x", "out": 3}}),
        ("a: 1\nb:2\nc: 3\n", {"a": 1, "b": 2, "c": 3}),
        ('a: "b\nc: 1\n', {"a": "b", "c": 1}),
        ("a: b: c # d\n", {"a": "b: c"}),
        ("a:\n\tb: 1\n", {"a": {"b": 1}}),
        ("a: @x, y  # z\n", {"a": "@x, y"}),
        ("a: [1, 2}\n", {"a": [1, 2]}),
        ('a: "\\q"\n', {"a": "\\q"}),
        ("a: ${width}\n", {"a": "width"}),
        ("a: *nop\nb: &nope 1\n", {"a": "*nop", "b": 1}),
        ("dіm: 1\n", {"dim": 1}),
    ],
)
def test_the_fix_mends_the_text(text, tree):
    finding = next(d for d in read_text(text, "f")[1] if d.fix)
    if finding.fix.edits[0].text == "*nope":  # a near anchor is proposed before quotes are
        assert repaired(text, finding).startswith("a: *nope")
        return
    assert read_text(repaired(text, finding), "f")[0].plain() == tree


# --- C, D. scalars, names ---------------------------------------------------------------------------

WORDS = [
    ("bias: no\n", {"bias": "no"}, [("old-scalar", 1, 7)]),
    ("on: 1\n'off': 2\n", {"on": 1, "off": 2}, [("old-scalar", 1, 1)]),
    ("a: 010\nb: 08\n", {"a": 10, "b": 8}, [("old-scalar", 1, 4), ("old-scalar", 2, 4)]),
    ("a: 12:30:45\nb: 1_000\nc: 0b11\n", {"a": "12:30:45", "b": "1_000", "c": "0b11"}, [("old-scalar", n, 4) for n in (1, 2, 3)]),
    ("a: 'no'\nb: \"010\"\n", {"a": "no", "b": "010"}, []),
    ("a: 2024-01-01\nb: 1e-3\nc: 0o10\n", {"a": "2024-01-01", "b": 0.001, "c": 8}, []),
    ("a: 1e3\nb: 64.0\nc: true\n", {"a": 1000.0, "b": 64.0, "c": True}, []),
    ("version: 1.10\neps: 1.10\n", {"version": 1.1, "eps": 1.1}, [("version-number", 1, 10)]),
    ("eps: 1.10\nversion: 1.10\n", {"version": 1.1, "eps": 1.1}, [("version-number", 2, 10)]),
    ("p: 1e-400\nq: 1e400\n", {"p": 0.0, "q": "1e400"}, [("value-range", 1, 4), ("value-range", 2, 4)]),
    ("a: " + "9" * 20 + "\n", {"a": "9" * 20}, [("limit-int-digits", 1, 4)]),
    ("a:\nb: ~\nc: ''\n", {"a": None, "b": None, "c": ""}, []),
    ("a: ${oc.env:HOME}\n", {"a": "${oc.env:HOME}"}, [("interpolation", 1, 4)]),
    ("a: x ${b} y\n", {"a": "x ${b} y"}, [("interpolation", 1, 6)]),
    ("a: '${${b}}'\nc: ${d\n", {"a": "${${b}}", "c": "${d"}, [("interpolation", 1, 5), ("interpolation", 2, 4)]),
    ("${a}: 1\n", {"${a}": 1}, [("interpolation", 1, 1)]),
    ('a: "\\x24{b}"\n', {"a": "${b}"}, [("interpolation", 1, 4)]),
    ("description: costs $5, {{not}} a $template, {0.__class__} %n\n",
     {"description": "costs $5, {{not}} a $template, {0.__class__} %n"}, []),
    ("a: 1 # ${b} {{ c }}\n", {"a": 1}, []),
    ("_target_: torch.nn.Linear\nb: {_args_: [1], _partial_: true, _convert_: all, _recursive_: false}\n", {"b": {}},
     [("foreign-key", 1, 1), ("foreign-key", 2, 5), ("foreign-key", 2, 18), ("foreign-key", 2, 35), ("foreign-key", 2, 51)]),
    ("hydra: {run: {dir: x}}\nnodes: {hydra: {kind: linear}}\n", {"nodes": {"hydra": {"kind": "linear"}}}, [("foreign-key", 1, 1)]),
    ("hydra/launcher: x\n", {}, [("foreign-key", 1, 1)]),
    ("dіm: 3\n", {"dim": 3}, [("confusable-name", 1, 1)]),
    ("ｋｉｎｄ: x\n", {"kind": "x"}, [("confusable-name", 1, 1)]),
    ("kind: lіnear\n", {"kind": "lіnear"}, [("confusable-name", 1, 7)]),
    ("out: 4*wіdth + 1\n", {"out": "4*wіdth + 1"}, [("confusable-name", 1, 6)]),
    ("name: модель\ndescription: сетьA из слоёв – 10² ≈ x\n", {"name": "модель", "description": "сетьA из слоёв – 10² ≈ x"}, []),
    ("имя: 1\n", {"имя": 1}, []),
    ('a: "\\0\\e[2J"\n', {"a": "\0\x1b[2J"}, []),
    ('"a\\0": 1\n', {"a": 1}, [("yaml-control-character", 1, 1)]),
]  # fmt: skip


@PARSERS
@pytest.mark.parametrize(("text", "tree", "expected"), WORDS, ids=range(len(WORDS)))
def test_scalars_and_names(text, tree, expected, libyaml, monkeypatch):
    monkeypatch.setattr(yaml, "__with_libyaml__", libyaml)
    value, found = read_text(text, "f")
    assert [(d.code, d.span.line, d.span.column) for d in found] == expected
    assert value.plain() == tree


def test_interpolations_that_break_a_flow_mapping_are_all_told():
    text = "p: {a: ${b}, c: 1}\n# ${no}\nq: {d: ${oc.env:HOME}}\n"
    assert told(text) == [("interpolation", 1, 8), ("interpolation", 3, 8)]


def test_the_environment_is_never_read(monkeypatch):
    monkeypatch.setenv("SECRET_OF_TEST", "hunter2")
    tree, found = read_text("a: ${oc.env:SECRET_OF_TEST}\nb: $SECRET_OF_TEST\n", "f")
    assert "hunter2" not in repr(tree) + repr(found)


def test_a_warning_fix_removes_the_warning_and_keeps_the_value():
    text = "a: no\non: {b: [1_000, 010]}\n"
    tree, found = read_text(text, "f")
    for finding in reversed(found):
        assert finding.fix.applicability == "safe"
        text = repaired(text, finding)
    assert text == 'a: "no"\n"on": {b: ["1_000", 10]}\n'
    again, none = read_text(text, "f")
    assert none == []
    assert again.plain() == tree.plain()


def test_a_duplicate_key_shows_both_places():
    finding = read_text("nodes:\n  a: 1\n  b: 2\n  a: 3\n", "f")[1][0]
    assert (finding.span.line, finding.span.path) == (4, "nodes.a")
    assert [(note.span.line, note.span.column) for note in finding.related] == [(2, 3)]


def test_many_mistakes_are_told_at_once_in_the_order_of_the_file():
    text = "a: !x 1\na: 2\nb: ${c}\nd: {{ e }}\n_target_: f\nno: 1\ng: *h\n"
    assert [code for code, _, _ in told(text)] == [
        "yaml-tag", "yaml-duplicate-key", "interpolation", "yaml-template", "foreign-key", "old-scalar", "yaml-alias",
    ]  # fmt: skip


def test_findings_carry_the_key_path():
    text = "nodes:\n  a:\n    parts: [{x: no}, {x: [1, off]}]\n"
    assert [d.span.path for d in read_text(text, "f")[1]] == ["nodes.a.parts.0.x", "nodes.a.parts.1.x.1"]


# --- spans ------------------------------------------------------------------------------------------

TEXT = """\
# é comment
name: "dé"   # quoted
'quoted key': |
  two
  lines

list:
- 1
- {a: b, c: [1, 2]}
nested:
  deep: &anchor
    x: plain text
    y_: 'single'

  again: *anchor
tagged: &t [1]
empty:
last: é x
"""


def walk(tree: Value):
    todo = [("", tree)]
    while todo:
        key, value = todo.pop()
        yield key, value
        todo.extend(value.items())
        todo.extend(("", item) for item in (value.data if isinstance(value.data, list) else ()))


@PARSERS
def test_every_key_and_value_knows_its_place(libyaml, monkeypatch):
    monkeypatch.setattr(yaml, "__with_libyaml__", libyaml)
    tree, found = read_text(TEXT, "f.yaml")
    assert found == []
    places = {key: (written(TEXT, value.key), written(TEXT, value.span)) for key, value in walk(tree) if key}
    assert places == {
        "name": ("name", '"dé"'),
        "quoted key": ("'quoted key'", "|\n  two\n  lines"),
        "list": ("list", "- 1\n- {a: b, c: [1, 2]}"),
        "a": ("a", "b"),
        "c": ("c", "[1, 2]"),
        "nested": ("nested", "deep: &anchor\n    x: plain text\n    y_: 'single'\n\n  again: *anchor"),
        "deep": ("deep", "x: plain text\n    y_: 'single'"),
        "x": ("x", "plain text"),
        "y_": ("y_", "'single'"),
        "again": ("again", "*anchor"),
        "tagged": ("tagged", "[1]"),
        "empty": ("empty", ""),
        "last": ("last", "é x"),
    }
    assert all(value.span.file == "f.yaml" for _, value in walk(tree))
    assert (tree.span.line, tree.span.column, tree.key.line) == (2, 1, 0)


def test_a_value_seen_before_has_its_own_place():
    tree, _ = read_text("a: {k: x1}\nb: {k: x1}\nc: {k: 'x1', longer: x1}\n", "f")
    places = [(v.key[1:5], v.span[1:5]) for _, m in tree.items() for _, v in m.items()]
    assert places == [
        ((1, 5, 1, 6), (1, 8, 1, 10)),
        ((2, 5, 2, 6), (2, 8, 2, 10)),
        ((3, 5, 3, 6), (3, 8, 3, 12)),
        ((3, 14, 3, 20), (3, 22, 3, 24)),
    ]


def test_a_text_over_two_lines_is_never_taken_for_one_seen_on_one():
    tree, _ = read_text("a: one two\nb: one\n  two\n", "f")
    assert [value.span[1:5] for _, value in tree.items()] == [(1, 4, 1, 11), (2, 4, 3, 6)]


def test_lines_and_columns_after_cr_lf_and_bom():
    tree, _ = read_text(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: 2\r\n", "f")
    assert [tree.get("a").span[1:5], tree.get("b").get("c").key[1:5]] == [(1, 4, 1, 5), (3, 3, 3, 4)]


def test_anchors_share_within_the_budget():
    tree, found = read_text("a: &a {x: 1}\nb: *a\nc: [*a, *a]\nd: &s 3\ne: *s\n", "f")
    assert found == []
    assert tree.plain() == {"a": {"x": 1}, "b": {"x": 1}, "c": [{"x": 1}, {"x": 1}], "d": 3, "e": 3}


def test_aliases_cannot_nest_deeper_than_what_is_written_out():
    chain = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100))
    assert told(chain) == [("limit-depth", 64, 12)]


def test_an_anchor_on_a_refused_key_is_no_cycle():
    assert [code for code, _, _ in told("? &k [x]\n: 3\nb: *k\n")] == ["yaml-key-type"]


def test_depth_64_is_read_and_65_refused():
    assert told("a: " + "[" * 63 + "]" * 63) == []
    assert told("a: " + "[" * 64 + "]" * 64) == [("limit-depth", 1, 67)]


# --- files ------------------------------------------------------------------------------------------


def codes(path, **more) -> list[str]:
    tree, found = read(path, **more)
    assert tree is None
    return [d.code for d in found]


def test_a_file_is_read_and_spans_show_its_name(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes(b"a: 1\n")
    assert read(path)[0].get("a").span.file == str(path)
    assert read(str(path), name="recipes/r.yaml")[0].get("a").span.file == "recipes/r.yaml"


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "r.yaml").write_bytes(b"a: 1\n")
    (tmp_path / "link.yaml").symlink_to("r.yaml")
    assert read(tmp_path / "link.yaml")[0].plain() == {"a": 1}


def test_what_is_no_file_is_refused_unopened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the address of a socket is short
        server.bind("socket")
        monkeypatch.setattr(os, "open", None)
        for path in (tmp_path, tmp_path / "fifo", tmp_path / "socket", "/dev/zero"):
            assert codes(path) == ["file-not-regular"]


def test_a_file_that_is_not_there_or_cannot_be_read(tmp_path, monkeypatch):
    assert codes(tmp_path / "none.yaml") == ["file-not-found"]
    (tmp_path / "tiny.yaml").write_text("a: 1")
    monkeypatch.chdir(tmp_path)
    assert [d.help for d in read("tiny")[1]] == ["did you mean `tiny.yaml`?"]
    assert [d.help for d in read("tin")[1]] == ["check the path and its ending"]
    assert codes("a\0b") == ["file-unreadable"]
    assert codes("x" * 5000) == ["file-unreadable"]
    (tmp_path / "loop").symlink_to("loop")
    assert codes(tmp_path / "loop") == ["file-unreadable"]
    (tmp_path / "r.yaml").write_bytes(b"a: 1\n")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert codes(tmp_path / "r.yaml") == ["file-unreadable"]


def test_a_pipe_put_in_the_place_of_a_file_after_the_look_does_not_block(tmp_path, monkeypatch):
    (tmp_path / "r.yaml").write_bytes(b"a: 1\n")
    os.mkfifo(tmp_path / "fifo")
    look = os.stat(tmp_path / "r.yaml")
    monkeypatch.setattr(os, "stat", lambda *_, **__: look)
    assert codes(tmp_path / "fifo") == ["file-not-regular"]


def test_a_huge_file_is_refused_after_the_limit(tmp_path):
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole: no disk is used, and reading it whole would not end
    assert codes(path) == ["limit-file-size"]


def test_the_limit_counts_bytes():
    assert [d.code for d in read_text("é" * (MAX_BYTES // 2 + 1), "f")[1]] == ["limit-file-size"]
    assert read_text(b"a: 1\n".ljust(MAX_BYTES), "f")[0].plain() == {"a": 1}


def test_reading_imports_the_standard_library_yaml_and_the_ground_floor_only():
    root = Path(__file__).parents[2]
    code = """
import sys
import assembler.source.text as text
text.read_text("a: [1, no]", "f")
heavy = {"torch", "hydra", "omegaconf", "pydantic", "networkx", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    paths = os.pathsep.join([str(root), str(root / "schemas")])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": paths}, timeout=60)


@PARSERS
def test_an_escape_beyond_unicode_is_told_by_both_parsers(libyaml, monkeypatch):
    monkeypatch.setattr(yaml, "__with_libyaml__", libyaml)
    assert [d.code for d in read_text('a: "\\U00110000"\n', "f")[1]] == ["yaml-encoding"]


@PARSERS
def test_a_surrogate_escape_never_reaches_the_tree(libyaml, monkeypatch):
    """The pure parser accepts it, and everything that prints the value would raise later."""
    monkeypatch.setattr(yaml, "__with_libyaml__", libyaml)
    tree, found = read_text('a: "x\\ud800"\n', "f")
    assert [d.code for d in found] == ["yaml-encoding"]
    repr(tree).encode()


def test_findings_end_with_a_finding_of_their_own():
    found = read_text("a: [" + "!x 1," * 20_000 + "]", "f")[1]
    assert len(found) == 10_001
    assert found[-1].code == "limit-findings"
