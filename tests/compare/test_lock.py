"""Locks: what they hold, how they are written and read, and what `--frozen` says beside one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from assembler import cli
from assembler.assemble import RecipeError, check, load, origin_of
from assembler.checks import locked
from assembler.checks.frozen import differences
from assembler.compare.lock import lock, lock_of, place_of, read_lock, stale, text_of, unreadable
from assembler.report.report import Report

RECIPES = sorted(path.stem for path in Path("recipes").glob("*.yaml"))
TEXT = """\
name: small
vars: {width: 8}
inputs: {x: "[batch 4]"}
nodes:
  up: {kind: linear, out: width, from: x}
  act: {kind: activation, from: up}
  head: {kind: linear, out: 3, from: act}
outputs: {y: head}
"""
BRIDGED = """\
inputs: {x: "[batch 16]", pixels: "[batch 24]"}
nodes:
  stream:
    kind: bus
    from: {x: x, pixels: pixels}
    parts:
      see: {kind: activation, from: pixels}
outputs: {features: stream}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(TEXT)
    Path("small.lock").write_text(text_of(lock("small.yaml")))
    return tmp_path


def frozen(*overrides: str, name: str = "small.yaml") -> Report:
    return check(name, overrides, frozen=True)


def said(report: Report) -> list[str]:
    return [item.message for item in report.diagnostics if item.code == "lock-differs"]


# --- what it holds ---
@pytest.mark.parametrize("name", RECIPES)
def test_a_lock_is_read_as_it_was_written_and_is_the_same_each_time(name: str, tmp_path: Path) -> None:
    made = lock(f"recipes/{name}.yaml")
    assert made == lock_of(origin_of(f"recipes/{name}.yaml"))
    path = tmp_path / "any.lock"
    path.write_text(text_of(made))
    assert read_lock(str(path)) == (made, [])
    assert json.loads(path.read_text())["kinds"] == made["kinds"], "it is JSON too"


def test_it_holds_open_sizes_versions_types_norms_and_starts(here: Path) -> None:
    made = lock("small.yaml")
    assert made["kinds"] == {"activation": 1, "linear": 1}
    assert made["nodes"]["head"] == {
        "kind": "linear",
        "sizes": {"in": 8},
        "types": {"x": "[batch 8]", "y": "[batch 3]"},
        "norms": {"y": "raw"},
        "zeros": [],
        "starts": {"weight": "uniform(0.35355339059327373), step 0", "bias": "uniform(0.35355339059327373), step 0"},
    }
    assert made["stated"]["vars.width"] == 8
    assert made["adapters"] == {}


def test_it_holds_adapters_and_why_they_stand_there(here: Path) -> None:
    Path("bridged.yaml").write_text(BRIDGED)
    (adapter,) = lock("bridged.yaml")["adapters"].values()
    assert adapter["kind"] == "linear"
    assert adapter["sizes"] == {"in": 24, "out": 16}
    assert adapter["why"].startswith("adapter for stream.")


def test_like_copies_are_one_entry_with_their_number() -> None:
    nodes = lock("recipes/digits.yaml")["nodes"]
    assert nodes["encoder.*.attend"]["copies"] == 4
    assert len(nodes) == 12


def test_a_name_or_a_description_is_not_locked(here: Path) -> None:
    assert lock(load("small.yaml", ["name=other"]))["fingerprint"] == lock("small.yaml")["fingerprint"]
    assert frozen("name=other").ok


def test_letters_beyond_ascii_are_read_back(tmp_path: Path) -> None:
    made = lock({"inputs": {"x": "[batch 4]"}, "nodes": {"a": {"kind": "linear", "out": 2, "from": "x"}}, "outputs": {"y": "a"}})
    made["stated"]["nodes.a.said"] = "\u00e9 \u2028 \U0001f600 \" \\ \x7f"
    path = tmp_path / "a.lock"
    path.write_text(text_of(made), encoding="utf-8")
    assert read_lock(str(path)) == (made, [])


# --- frozen ---
def test_as_it_was_locked_it_passes_and_without_a_lock_too(here: Path) -> None:
    assert frozen().ok
    Path("small.lock").unlink()
    assert frozen("vars.width=9").ok


def test_an_override_that_moves_locked_values_is_named_with_both_values(here: Path) -> None:
    report = frozen("vars.width=16")
    (item,) = report.diagnostics
    assert item.message == "`vars.width` is 16, locked as 8: by it 3 nodes are not what `small.lock` holds"
    assert (item.span.override, item.label) == ("vars.width=16", "locked as 8")
    assert [note.message for note in item.related][0] == "`up`: the type of `y` is [batch 16], locked as [batch 8]"
    assert item.help.startswith("drop the override")


def test_a_line_that_moves_locked_values_is_named(here: Path) -> None:
    Path("small.yaml").write_text(TEXT.replace("out: 3", "out: 5"))
    (item,) = frozen().diagnostics
    assert (item.span.line, item.label) == (7, "locked as 3")


def test_each_of_two_values_is_charged_with_what_it_moved(here: Path) -> None:
    assert said(frozen("vars.width=16", "nodes.act.activation=relu", "nodes.head.out=5")) == []  # no `activation` to override
    report = frozen("vars.width=16", "+nodes.act.activation=relu", "nodes.head.out=5")
    assert said(report) == [
        "`vars.width` is 16, locked as 8: by it 3 nodes are not what `small.lock` holds",
        "`nodes.head.out` is 5, locked as 3: by it 1 node is not what `small.lock` holds",
    ]


def test_values_that_move_something_only_together_are_charged_together(here: Path) -> None:
    """Either one alone put back leaves the other's width."""
    Path("small.yaml").write_text(TEXT.replace("width: 8", "width: 8, more: 0").replace("out: width", "out: width+more"))
    Path("small.lock").write_text(text_of(lock("small.yaml")))
    (message,) = said(frozen("vars.width=9", "vars.more=2"))
    assert message == "`vars.width` and 1 more, together, are not what was locked: by it 3 nodes are not what `small.lock` holds"


def test_a_part_that_was_swapped_is_one_cause(here: Path) -> None:
    for name in ("digits.yaml", "slots"):
        source = Path(__file__).parents[2] / "recipes" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, name)
    Path("digits.lock").write_text(text_of(lock("digits.yaml")))
    (item,) = frozen("slots/ffn=moe", name="digits.yaml").diagnostics
    assert item.span.override == "slots/ffn=moe"
    assert item.related[0].message == "`slots.ffn.kind` is moe, locked as mlp"


def test_a_value_that_moves_nothing_locked_is_allowed(here: Path) -> None:
    assert frozen("+nodes.act.activation=relu").ok
    assert stale("small.yaml", ["+nodes.act.activation=relu"]) == ["nodes.act.activation"]


def test_an_adapter_that_is_locked_is_accepted_and_any_other_is_not(here: Path) -> None:
    Path("bridged.yaml").write_text(BRIDGED)
    assert [item.code for item in frozen(name="bridged.yaml").diagnostics] == ["adapter-unasked"]
    Path("bridged.lock").write_text(text_of(lock("bridged.yaml")))
    assert frozen(name="bridged.yaml").ok
    Path("bridged.yaml").write_text(BRIDGED.replace("batch 16", "batch 24"))
    (item,) = frozen(name="bridged.yaml").diagnostics
    assert item.code == "lock-differs"
    assert any("is gone, an adapter of kind `linear`" in note.message for note in item.related)


def test_what_no_value_moved_was_moved_by_the_library(here: Path) -> None:
    held = lock("small.yaml")
    held["kinds"]["linear"] = 7
    held["nodes"]["up"]["starts"]["weight"] = "uniform(0.9), step 0"
    Path("small.lock").write_text(text_of(held | {"fingerprint": locked.fingerprint(held)}))
    (item,) = frozen().diagnostics
    assert item.message == "no value of the recipe moved it, and the version of `linear` is 1, locked as 7: not what `small.lock` holds"
    assert [note.message for note in item.related] == ["`up`: the start of `weight` is uniform(0.5), step 0, locked as uniform(0.9), step 0"]


def test_where_the_recipe_as_it_was_locked_does_not_check_that_is_said(here: Path) -> None:
    """It was locked with a kind that is gone, say."""
    held = lock("small.yaml")
    held["stated"]["nodes.act.kind"] = "bent"
    Path("small.yaml").write_text(TEXT.replace("out: 3", "out: width-3"))
    held["nodes"]["up"]["starts"]["weight"] = "uniform(0.9), step 0"
    Path("small.lock").write_text(text_of(held | {"fingerprint": locked.fingerprint(held)}))
    messages = said(frozen())
    assert messages[1].startswith("`nodes.head.out` is width-3, locked as 3: by it 1 node is not")
    assert messages[0].startswith("with all values as they were locked the recipe does not check, and `up`: the start of `weight`")


def test_an_error_of_the_recipe_comes_before_its_lock(here: Path) -> None:
    assert [item.code for item in frozen("nodes.head.out=-3").diagnostics] == ["dim-range"]


def test_rows_that_fold_otherwise_are_held_against_the_one_that_was() -> None:
    before, now = lock("recipes/digits.yaml"), lock(load("recipes/digits.yaml"))
    row = now["nodes"].pop("encoder.*.attend")
    now["nodes"] |= {"encoder.0:3.attend": row | {"copies": 3}, "encoder.3.attend": {**row, "norms": {"y": "zero"}, "copies": 1}}
    assert [str(item) for item in differences(before, now)] == [
        "`encoder.0:3.attend`: the number of copies is 3, locked as 4",
        "`encoder.3.attend`: the number of copies is 1, locked as 4",
        "`encoder.3.attend`: the norm state of `y` is zero, locked as raw",
    ]


# --- hostile locks ---
def _edited(edit: dict[str, Any]) -> str:
    return json.dumps({**json.loads(text_of(lock("small.yaml"))), **edit})


HOSTILE = {
    "empty": ("", "yaml-empty"),
    "a list": ("[1, 2]", "yaml-empty"),
    "not UTF-8": (b"\xff\xfe{}", "yaml-encoding"),
    "open": ('{"lock": 1', "yaml-syntax"),
    "deep": ("[" * 100_000, "limit-depth"),
    "deep mapping": ('{"lock": ' * 100, "limit-depth"),
    "large": ('{"lock": 1, "x": "' + "a" * 5_000_000 + '"}', "limit-file-size"),
    "digits": ('{"lock": ' + "9" * 100 + "}", "limit-int-digits"),
    "twice": ('{"lock": 1, "lock": 1}', "yaml-duplicate-key"),
    "tag": ("lock: !!python/object/apply:os.system [id]", "yaml-tag"),
    "no version": ("{}", "lock-broken"),
    "another version": ('{"lock": 2}', "lock-broken"),
    "a boolean for a version": ('{"lock": true}', "lock-broken"),
    "no nodes": ('{"lock": 1, "recipe": "x", "fingerprint": "0", "kinds": {}, "adapters": {}, "stated": {}}', "lock-broken"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_lock_is_a_finding(here: Path, name: str) -> None:
    text, code = HOSTILE[name]
    Path("small.lock").write_bytes(text if isinstance(text, bytes) else text.encode())
    report = frozen()
    assert not report.ok
    assert report.diagnostics[0].code == code


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        ({"nodes": {}}, "`nodes` is not a list"),
        ({"nodes": [3]}, "in `nodes`, an entry is not a mapping"),
        ({"nodes": [{"at": "up", "kind": 3}]}, "in `nodes`, `kind` is not a text"),
        ({"kinds": {"linear": "1"}}, "in `kinds`, the version of a kind is not a whole number"),
        ({"kinds": {"linear": True}}, "in `kinds`, the version of a kind is not a whole number"),
        ({"adapters": [{"at": "a", "kind": "linear", "sizes": {"in": {}}, "why": ""}]}, "in `adapters`, `sizes` holds something else than numbers and texts"),
        ({"recipe": 5}, "`recipe` is not a text"),
        ({"nodes": []}, "its fingerprint is not that of what it holds"),
        ({"stated": [["a"]]}, "in `stated`, an entry is not a path and its value"),
        ({"stated": [["a", 1], ["a", 2]]}, "in `stated`, `a` stands twice"),
    ],
)
def test_a_lock_whose_entries_have_another_type_is_broken(here: Path, edit: dict[str, Any], why: str) -> None:
    Path("small.lock").write_text(_edited(edit))
    (item,) = frozen().diagnostics
    assert item.code == "lock-broken"
    assert item.message == f"this is no lock that can be read: {why}"
    assert item.span.line == 1


def test_a_lock_that_is_a_link_is_not_followed(here: Path) -> None:
    Path("small.lock").rename("elsewhere.lock")
    Path("small.lock").symlink_to("elsewhere.lock")
    assert [item.code for item in frozen().diagnostics] == ["lock-broken"]


@pytest.mark.parametrize("path", ["nodes", "nodes.up.out.deep", "", ".", "..", "vars.width.x", ".".join(["a"] * 400), "inputs"])
def test_a_hostile_path_of_a_lock_is_only_a_value_that_was(here: Path, path: str) -> None:
    held = lock("small.yaml")
    held["stated"] = {path: [[[[1]]]]}
    Path("small.lock").write_text(text_of(held))
    assert frozen().ok, "nothing has moved"
    report = frozen("vars.width=9")
    assert {item.code for item in report.diagnostics} == {"lock-differs"}


# --- the command ---
def test_the_command_writes_refuses_and_checks(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.lock").unlink()
    assert cli.main(["lock", "--check", "small.yaml"]) == 2
    assert cli.main(["lock", "small.yaml"]) == 0
    assert Path("small.lock").read_text() == text_of(lock("small.yaml"))
    assert cli.main(["lock", "--check", "small.yaml"]) == 0
    assert cli.main(["lock", "small.yaml"]) == 0
    capsys.readouterr()
    assert cli.main(["lock", "small.yaml", "vars.width=9"]) == 2
    out, err = capsys.readouterr()
    assert '+  ["vars.width", 9],' in out
    assert "--force replaces it" in err
    assert cli.main(["lock", "--check", "small.yaml", "vars.width=9"]) == 1
    assert cli.main(["lock", "--check", "small.yaml", "+nodes.act.activation=relu"]) == 1
    assert "nothing moved" in capsys.readouterr().err
    assert cli.main(["lock", "--force", "small.yaml", "vars.width=9"]) == 0
    assert cli.main(["check", "--frozen", "small.yaml"]) == 1
    assert cli.main(["check", "--frozen", "small.yaml", "vars.width=9"]) == 0
    assert cli.main(["lock"]) == 2
    assert cli.main(["lock", "nothing.yaml"]) == 2


def test_a_recipe_that_does_not_check_is_not_locked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.yaml").write_text(TEXT.replace("kind: activation", "kind: activatio"))
    assert cli.main(["lock", "--force", "small.yaml"]) == 1
    assert "error[unknown-kind]" in capsys.readouterr().out
    with pytest.raises(RecipeError):
        lock("small.yaml")


def test_a_graph_that_is_not_unfolded_is_not_locked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("deep.yaml").write_text('inputs: {x: "[batch 4]"}\nnodes:\n  a: {kind: activation, repeat: 20001, from: x}\noutputs: {y: a}\n')
    assert cli.main(["lock", "deep.yaml"]) == 2
    assert "more than 20,000 uses" in capsys.readouterr().err
    Path("deep.lock").write_text(Path("small.lock").read_text())
    (item,) = [item for item in frozen(name="deep.yaml").diagnostics if item.level == "error"]
    assert item.code == "lock-differs", "what cannot be held against a lock does not pass"


def test_an_address_may_be_longer_than_a_key_of_a_recipe(here: Path) -> None:
    made = lock("small.yaml")
    made["nodes"]["n" * 400] = made["nodes"]["head"]
    made["stated"]["n" * 400] = 3
    Path("long.lock").write_text(text_of(made | {"fingerprint": locked.fingerprint(made)}))
    held, found = read_lock("long.lock")
    assert held is not None, found
    assert held["nodes"] == made["nodes"]


def test_a_lock_that_could_not_be_read_again_is_not_written(here: Path) -> None:
    made = lock("small.yaml")
    made["stated"]["nodes.a"] = "a" * 5_000_000
    refused = unreadable(text_of(made))
    assert refused is not None
    assert refused.code == "limit-file-size"
    assert unreadable(text_of(lock("small.yaml"))) is None


def test_the_lock_lies_beside_its_recipe() -> None:
    assert place_of("a/b.c/digits.yaml") == "a/b.c/digits.lock"


def test_a_hostile_lock_does_not_make_the_check_hang(here: Path) -> None:
    """Values of the lock are put back into the recipe and tried: thousands of nodes, copies, levels of graphs."""
    stated = lock("small.yaml")["stated"]
    many = {key: value for number in range(2_000) for key, value in ((f"nodes.n{number}.kind", "mlp"), (f"nodes.n{number}.from", "x"))}
    copies = {f"nodes.n{number}.{key}": value for number in range(7) for key, value in (("kind", "mlp"), ("from", "x"), ("repeat", 19_000))}
    deep = {"nodes.a." * depth + key: value for depth in range(1, 31) for key, value in (("kind", "graph"), ("from", "x"))}
    for more in (many, copies, deep):
        held = lock("small.yaml")
        held["stated"] = {**stated, **more}
        Path("small.lock").write_text(text_of(held))
        (item,) = [item for item in frozen("vars.width=9").diagnostics if item.level == "error"]
        assert item.code == "lock-differs"
