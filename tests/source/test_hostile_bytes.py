"""Whatever the bytes: diagnostics, never an exception, a hang or a heap. Big inputs run in a process with limits."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.source.scalar import resolve
from assembler.source.text import read_text
from assembler_schemas.codes import CODES

ROOT = Path(__file__).parents[2]

PIECES = [
    "[", "]", "{", "}", ": ", ":", ",", "- ", "\n", "\n  ", " ", " #", "&a ", "*a ", "!x ", "!!int ", "%YAML 1.2\n", "---\n", "...\n",
    "'", '"', "|\n", ">-\n", "? ", "<<: ", "${a}", "{{ b }}", "{% x %}", "$D", "no", "010", "1e400", "1_0", "0x1F", "\t", "@", "`",
    "é", "\u200b", "\u202e", "\ufeff", "\0", "\x85", "\u2028", "\r", "\r\n", "\\ud800", "\\x00", "a", "b: 1", "_target_: x", "hydra: ",
    "dіm", "<<<<<<< x\n", ">>>>>>>", "9" * 25, "\\", '"\\U00110000"', "\ud800", "~", "null", "=", "version: 1.10", "kind: linear", "x:1",
]  # fmt: skip
SEEDS = [
    "name: tiny\ninputs: {x: '[batch 16]'}\nnodes:\n  head: {kind: linear, out: 4*w, from: x}\noutputs: {logits: head}\n",
    "a: &a {b: [1, 2.5, no], c: \"d\\n\"}\ne: *a\nf: |\n  g\n  h\ni: >-\n  j\n",
    "nodes:\n- {kind: mlp, hidden: 64} # note\n-\n  kind: add\n  from: [a, b]\nvars: {width: 64}\n",
]  # fmt: skip


def check(data: bytes | str) -> list:
    """Read and hold every promise about the answer that does not depend on the input."""
    tree, found = read_text(data, "f")
    assert tree is not None or found, data
    if tree is not None:
        assert isinstance(tree.plain(), dict)
    for finding in found:
        assert finding.code in CODES
        assert finding.help, finding
        # what a reader is told must not itself carry what hides or commands
        assert (finding.message + finding.label + finding.span.path).isprintable(), finding
        start, end = finding.span[1:3], finding.span[3:5]
        assert (1, 1) <= start <= end or finding.code == "limit-findings", finding
        for edit in finding.fix.edits if finding.fix else ():
            assert (1, 1) <= edit.span[1:3] <= edit.span[3:5], finding
    return found


def mutant(rng: random.Random) -> str:
    if rng.random() < 0.4:
        return "".join(rng.choices(PIECES, k=rng.randrange(1, 30)))
    text = rng.choice(SEEDS)
    for _ in range(rng.randrange(1, 5)):
        start = rng.randrange(len(text) + 1)
        text = text[:start] + rng.choice(PIECES) + text[start + rng.randrange(4) :]
    return text


@pytest.mark.parametrize("libyaml", [True, False], ids=["libyaml", "pure"])
def test_mutated_yaml_never_raises(libyaml, monkeypatch):
    monkeypatch.setattr(yaml, "__with_libyaml__", libyaml)
    rng = random.Random(f"mutants {libyaml}")
    seen: Counter[str] = Counter()
    for _ in range(5000 if libyaml else 1000):
        text = mutant(rng)
        seen.update({finding.code for finding in check(text)})
    assert len(seen) >= 18, seen  # the mutants reach the reader's findings, not only its first gate


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_never_raise(data):
    check(data)


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from("ab1:{}[],\n -#&*!|>'\"%@`?~\\\t$<.0"), max_size=60))
def test_any_text_of_indicators_never_raises(text):
    check(text)


def test_both_parsers_tell_the_same_codes_for_mutants(monkeypatch):
    """libyaml is missing on some machines; what a recipe is told must not depend on it."""
    rng = random.Random("parsers")
    differ = 0
    for _ in range(600):
        text = mutant(rng)
        monkeypatch.setattr(yaml, "__with_libyaml__", True)
        fast = read_text(text, "f")
        monkeypatch.setattr(yaml, "__with_libyaml__", False)
        pure = read_text(text, "f")
        answers = [(tree and repr(tree.plain()), [d.code for d in found]) for tree, found in (fast, pure)]
        differ += answers[0] != answers[1]
    assert differ <= 12  # the two parsers themselves disagree on a few broken texts


def test_a_safe_fix_removes_its_finding_and_adds_none():
    rng = random.Random("fixes")
    tried: Counter[str] = Counter()
    for _ in range(4000):
        text = mutant(rng)
        found = check(text)
        for finding in found:
            if finding.fix is None or finding.fix.applicability != "safe" or any(d.code == "yaml-syntax" for d in found):
                continue
            before, after = (Counter(d.code for d in each) for each in (found, check(_applied(text, finding))))
            assert after[finding.code] < before[finding.code], (text, finding)
            assert not after - before, (text, finding, after - before)
            tried[finding.code] += 1
    assert {"old-scalar", "confusable-name"} <= set(tried), tried


def _applied(text: str, finding) -> str:
    text = text.removeprefix("\ufeff")
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    for edit in finding.fix.edits:
        at = edit.span
        text = text[: starts[at.line - 1] + at.column - 1] + edit.text + text[starts[at.end_line - 1] + at.end_column - 1 :]
    return text


# --- agreement with PyYAML where 1.1 and 1.2 agree ---------------------------------------------------

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True).filter(lambda name: resolve(name) == (name, ""))
TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"], exclude_characters="\u00ad\u115f\u1160\u3164\uffa0$<{"), max_size=20)
RESOLVER = yaml.SafeLoader("")


def agreed(text: str) -> bool:
    """Whether a text that PyYAML writes without quotes is one for us too, and mixes no alphabets."""
    unquoted = RESOLVER.resolve(yaml.ScalarNode, text, (True, False)).endswith(":str")
    mixed = not text.isascii() and any(c.isascii() and c.isalpha() for c in text)
    return not mixed and (not unquoted or resolve(text) == (text, ""))


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**15), 10**15), st.floats(1e-3, 1e6), NAMES, TEXTS.filter(agreed)
)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=20)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(NAMES, TREES, max_size=5), st.sampled_from([True, False, None]))
def test_plain_data_reads_as_pyyaml_reads_it(data, flow):
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True)
    tree, found = read_text(text, "f")
    assert tree is not None, (text, found)
    assert tree.plain() == yaml.safe_load(text) == data
    assert not [d for d in found if d.level == "error"], (text, found)


# --- big inputs -------------------------------------------------------------------------------------

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
from assembler.source.text import read_text
M = 1_000_000
name, text, code = eval(sys.stdin.read(), {"M": M})
tree, found = read_text(text, "f")
# Not ru_maxrss: that starts with the peak of the process that forked this one.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
assert not any(m in sys.modules for m in ("torch", "hydra", "omegaconf", "pydantic"))
assert (found[0].code if found else None) == code, (found[:1])
print(peak // 1024)
"""

BIG = [
    ("open brackets", "'[' * M", "limit-depth"),
    ("open mappings", "'{a: ' * 30_000", "limit-depth"),
    ("open lists", "'- ' * M", "limit-depth"),
    ("open block mappings", "''.join(' ' * i + 'a:\\n' for i in range(2000))", "limit-depth"),
    ("many keys", "''.join(f'k{i}: 1\\n' for i in range(300_000))", "limit-nodes"),
    ("many keys in a flow", "'{' + ','.join(f'k{i}: 1' for i in range(300_000)) + '}'", "limit-nodes"),
    ("wide alias bomb", "'a: &a [' + 'x,' * 10_000 + ']\\nb: [' + '*a,' * 10_000 + ']'", "limit-alias-expansion"),
    ("long key", "'k' * M + ': 1'", "limit-scalar-size"),
    ("long second key", "'a: 1\\n' + 'k' * M + ': 1'", "limit-scalar-size"),
    ("long quoted text", "'a: \"' + 'k' * M + '\"'", "limit-scalar-size"),
    ("long block text", "'a: |\\n' + '  kk\\n' * 250_000", "limit-scalar-size"),
    ("long line", "'x' * 2 * M", "limit-scalar-size"),
    ("5 000 digits", "'a: ' + '9' * 5000", "limit-int-digits"),
    ("50 000 hexadecimal digits", "'a: 0x' + 'f' * 50_000", "limit-int-digits"),
    ("3 000 parts in base 60", "'a: 1' + ':59' * 3000", "limit-int-digits"),
    ("5 MB", "'a: 1\\n' * M", "limit-file-size"),
    ("blank lines", "'\\n' * 4 * M + 'a: 1'", None),
    ("spaces", "' ' * 4 * M", "yaml-empty"),
    ("comments", "'#\\n' * 2 * M", "yaml-empty"),
    ("the same key again", "'a: 1\\n' * 500_000", "yaml-duplicate-key"),
    ("tags", "'a: [' + '!x 1,' * 150_000 + ']'", "yaml-tag"),
    ("undefined aliases", "'a: [' + '*x,' * 180_000 + ']'", "yaml-alias"),
    ("near anchors", "''.join(f'{chr(97 + i % 26)}{i}: &anchor{i} 1\\n' for i in range(5000)) + 'z: [' + ','.join(f'*anchr{i}' for i in range(5000)) + ']'",
     "yaml-alias"),
    ("interpolations", "'a: [' + \"'${x}',\" * 150_000 + ']'", "interpolation"),
    ("interpolations in a flow", "'a: [\\n' + '${x},\\n' * 300_000 + ']'", "interpolation"),
    ("unclosed templates", "'a: [' + ','.join([\"'\" + '{{' * 4900 + \"'\"] * 400) + ']'", None),
    ("invisible comments", "'# \\u200b\\n' * 500_000 + 'a: 1'", "hidden-text"),
    ("NULs", "'\\0' * 4 * M", "yaml-control-character"),
    ("quotes", "'\"' * M", "yaml-syntax"),
    ("an unclosed quote", "'a: \"' + 'x\\n' * M", "yaml-syntax"),
    ("conflict markers", "'<<<<<<<\\n' * 500_000", "yaml-merge-conflict"),
    ("a comment between tag and value", "'a: &x ' + '#\\n' * M + ' b'", None),
    ("class without an end", "'- [\\nclass ' + 'a' * 2 * M", "yaml-syntax"),
    ("tables of TOML", "'[a]\\n' * M", "yaml-syntax"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code"), [case[1:] for case in BIG], ids=[case[0] for case in BIG])
def test_big_inputs_stay_within_memory_and_time(text, code):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "schemas")])
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], input=f"('', {text}, {code!r})", capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": paths}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 300
