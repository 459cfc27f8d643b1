"""Composing a recipe: files, packages, swaps, removed entries, places, and what is said when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from assembler.source.override import compose
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic

ROOT = Path(__file__).resolve().parents[2]

DIGITS = """
    defaults:
      - slots/ffn: mlp
      - _self_
    name: digits
    vars: {width: 64, depth: 4}
    nodes:
      patches: {kind: patch_embed, patch: 2, out: width, from: image}
      encoder:
        kind: bus
        norm: pre
        from: patches
        parts:
          attend: {kind: attention, heads: 4}
          think: {slot: ffn}
    outputs: {logits: encoder}
"""
FILES = {
    "digits": DIGITS,
    "slots/ffn/mlp": "kind: mlp\nhidden: 4*width\nactivation: gelu\n",
    "slots/ffn/moe": "kind: moe\nexperts: 8\nexpert: {kind: mlp, hidden: 2*width}\n",
}

Composed = tuple[Value | None, list[Diagnostic]]


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, FILES)


def plain(composed: Composed) -> Any:
    tree, diagnostics = composed
    assert tree is not None, diagnostics
    assert not [d for d in diagnostics if d.level == "error"], diagnostics
    return tree.plain()


def codes(composed: Composed) -> list[str]:
    return [d.code for d in composed[1]]


def at(tree: Value | None, path: str) -> Value:
    for key in path.split("."):
        assert tree is not None
        tree = tree.get(key)
    assert tree is not None
    return tree


# --- files and packages ---


def test_a_group_lands_at_its_key_before_the_recipe_itself(folder: Path) -> None:
    got = plain(compose(folder / "digits.yaml"))
    assert list(got) == ["slots", "name", "vars", "nodes", "outputs"]
    assert got["slots"] == {"ffn": {"kind": "mlp", "hidden": "4*width", "activation": "gelu"}}


def test_choosing_another_file_of_a_group_leaves_nothing_of_the_first(folder: Path) -> None:
    got = plain(compose(folder / "digits.yaml", ["slots/ffn=moe", "vars.width=96"]))
    assert got["slots"]["ffn"] == {"kind": "moe", "experts": 8, "expert": {"kind": "mlp", "hidden": "2*width"}}
    assert got["vars"]["width"] == 96


def test_the_recipes_folder_comes_before_the_search_path(folder: Path, tmp_path: Path) -> None:
    shipped = write(tmp_path / "shipped", {"slots/ffn/mlp": "kind: other\n", "slots/ffn/swiglu": "kind: swiglu\n"})
    recipe = folder / "digits.yaml"
    assert plain(compose(recipe, search=[shipped]))["slots"]["ffn"]["kind"] == "mlp"
    assert plain(compose(recipe, ["slots/ffn=swiglu"], search=[shipped]))["slots"]["ffn"] == {"kind": "swiglu"}


def test_a_recipe_composes_the_same_inside_somebodys_application(tmp_path: Path) -> None:
    alone = write(tmp_path / "alone", FILES)
    app = write(tmp_path / "app", {
        **{f"model/{name}": text for name, text in FILES.items()},
        "config": "defaults:\n  - model: digits\n  - _self_\nseed: 3\n",
    })  # fmt: skip
    for mine, theirs in (([], []), (["slots/ffn=moe", "vars.width=8"], ["model/slots/ffn=moe", "model.vars.width=8"])):
        wanted = plain(compose(alone / "digits.yaml", mine))
        got = plain(compose(app / "config.yaml", theirs))
        assert json.dumps(got["model"]) == json.dumps(wanted)
        assert got["seed"] == 3


def test_a_shipped_recipe_under_a_key_of_the_users(tmp_path: Path) -> None:
    shipped = write(tmp_path / "shipped", FILES)
    app = write(tmp_path / "app", {"config": "defaults:\n  - /digits@model\n  - _self_\nseed: 3\n"})
    got = plain(compose(app / "config.yaml", ["slots/ffn@model.slots.ffn=moe"], search=[shipped]))
    assert json.dumps(got["model"]) == json.dumps(plain(compose(shipped / "digits.yaml", ["slots/ffn=moe"])))


def test_a_package_header_is_honoured_even_without_defaults(tmp_path: Path) -> None:
    write(tmp_path, {"a": "# @package model\nname: a\n", "b": "# @package model x\nname: b\n"})
    assert plain(compose(tmp_path / "a.yaml")) == {"model": {"name": "a"}}
    assert codes(compose(tmp_path / "b.yaml")) == ["defaults-syntax"]


def test_an_empty_folder_name_is_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    tree, diagnostics = compose("digits.yaml", ["slots/ffn=moe"])
    assert not diagnostics
    assert at(tree, "slots.ffn.experts").span.file == "slots/ffn/moe.yaml"


# --- places ---


def test_every_value_keeps_its_place_and_its_layer(folder: Path) -> None:
    tree, _ = compose(folder / "digits.yaml", ["nodes.encoder.parts.attend.heads=8"])
    hidden = at(tree, "slots.ffn.hidden")
    assert (hidden.span.file, hidden.span.line, hidden.span.column, hidden.layer) == (
        str(folder / "slots/ffn/mlp.yaml"), 2, 9, 0,
    )  # fmt: skip
    width = at(tree, "vars.width")
    assert (width.span.file, width.span.line, width.layer) == (str(folder / "digits.yaml"), 5, 1)
    heads = at(tree, "nodes.encoder.parts.attend.heads")
    assert (heads.span.override, heads.span.index, heads.layer) == ("nodes.encoder.parts.attend.heads=8", 0, 2)
    assert heads.span.override[heads.span.column - 1 : heads.span.end_column - 1] == "8"
    assert heads.key.override is not None
    assert heads.key.override[heads.key.column - 1 : heads.key.end_column - 1] == "heads"


def test_one_file_at_two_keys_is_two_layers(tmp_path: Path) -> None:
    write(tmp_path, {"g/a": "u: 1\n", "main": "defaults:\n  - g@p: a\n  - g@q: a\n  - _self_\nv: 2\n"})
    tree, _ = compose(tmp_path / "main.yaml")
    assert [at(tree, path).layer for path in ("p.u", "q.u", "v")] == [0, 1, 2]


# --- a swap means replace ---


def test_a_swap_drops_the_options_of_what_it_replaces_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, {
        "g/a": "# @package _global_\nnodes:\n  head: {kind: mlp, from: x, norm: pre, hidden: 8, tie: {weight: e}, vars: {a: 1}}\n",
        "main": "defaults:\n  - g: a\n  - _self_\nnodes:\n  head: {kind: linear, out: 3}\n",
    })  # fmt: skip
    tree, (note,) = compose(tmp_path / "main.yaml")
    assert tree is not None
    assert tree.plain()["nodes"]["head"] == {"kind": "linear", "from": "x", "norm": "pre", "out": 3}
    assert (note.code, note.level) == ("swap-dropped", "note")
    assert all(f"`{name}`" in note.message for name in ("hidden", "tie", "vars"))
    assert (Path(note.span.file).name, note.span.line) == ("main.yaml", 5)
    assert (Path(note.related[0].span.file).name, note.related[0].span.line) == ("a.yaml", 3)


def test_the_overrides_are_one_layer_whatever_their_order(folder: Path) -> None:
    recipe = folder / "digits.yaml"
    overrides = ["slots.ffn.hidden=7", "slots.ffn.kind=swiglu", "+slots.ffn.dropout=0.1"]
    for order in (overrides, overrides[::-1]):
        tree, notes = compose(recipe, order)
        assert at(tree, "slots.ffn").plain() == {"kind": "swiglu", "hidden": 7, "dropout": 0.1}
        assert [d.code for d in notes] == ["swap-dropped"]
        assert "`activation`" in notes[0].message
        assert "hidden" not in notes[0].message


def test_a_swap_keeps_what_the_same_layer_wrote_deeper_down(folder: Path) -> None:
    tree, notes = compose(
        folder / "digits.yaml", ["slots/ffn=moe", "slots.ffn.kind=route", "slots.ffn.expert.hidden=3"]
    )
    assert at(tree, "slots.ffn").plain() == {"kind": "route", "expert": {"hidden": 3}}
    assert "`experts`, `expert.kind`" in notes[0].message


def test_a_slot_replaced_by_a_kind_is_a_swap(folder: Path) -> None:
    tree, notes = compose(folder / "digits.yaml", ["+nodes.encoder.parts.think.kind=mlp"])
    assert at(tree, "nodes.encoder.parts.think").plain() == {"kind": "mlp"}
    assert not notes  # nothing but the slot itself went


@pytest.mark.parametrize(
    "override", ["slots.ffn.kind=mlp", "slots.ffn.hidden=3", "vars.width=3", "nodes.encoder.from=x"]
)
def test_nothing_is_dropped_where_nothing_is_swapped(folder: Path, override: str) -> None:
    tree, notes = compose(folder / "digits.yaml", [override])
    assert not notes
    assert set(at(tree, "slots.ffn").plain()) == {"kind", "hidden", "activation"}


def test_names_that_only_look_like_keys_are_no_swap(tmp_path: Path) -> None:
    # A var, a port and a node may be called `kind` or `slot`.
    write(
        tmp_path,
        {
            "main": """
        vars: {kind: one, width: 2}
        nodes:
          slot: {kind: add, from: {like: a, x: b}}
          like: {kind: add, from: a}
    """
        },
    )
    overrides = ["vars.kind=two", "nodes.slot.from.like=c"]
    tree, notes = compose(tmp_path / "main.yaml", overrides)
    assert not notes
    assert at(tree, "vars").plain() == {"kind": "two", "width": 2}
    assert at(tree, "nodes.slot.from").plain() == {"like": "c", "x": "b"}


def test_a_graph_without_its_kind_can_be_swapped_away(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"main": "nodes:\n  a:\n    nodes: {b: {kind: linear, from: x}}\n    outputs: {out: b}\n    from: x\n"},
    )
    tree, notes = compose(tmp_path / "main.yaml", ["+nodes.a.kind=mlp"])
    assert at(tree, "nodes.a").plain() == {"from": "x", "kind": "mlp"}
    assert [d.code for d in notes] == ["swap-dropped"]


# --- null removes ---


def test_null_removes_named_things_and_no_options(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "main": """
        slots: {ffn: null, other: {kind: mlp}}
        nodes:
          a: null
          b: {kind: bus, bias: null, parts: {c: null, d: {kind: linear, bias: null}}}
        rules: {r: null}
        grafts: {g: null}
        vars: {nodes: null}
    """
        },
    )
    assert plain(compose(tmp_path / "main.yaml")) == {
        "slots": {"other": {"kind": "mlp"}},
        "nodes": {"b": {"kind": "bus", "bias": None, "parts": {"d": {"kind": "linear", "bias": None}}}},
        "rules": {}, "grafts": {}, "vars": {"nodes": None},
    }  # fmt: skip


def test_null_in_a_later_layer_removes_what_an_earlier_one_wrote(folder: Path) -> None:
    got = plain(compose(folder / "digits.yaml", ["nodes.encoder.parts.attend=null"]))
    assert list(got["nodes"]["encoder"]["parts"]) == ["think"]


# --- what is wrong with a defaults list ---


@pytest.mark.parametrize(("entry", "code", "line"), [
    ("- slots/fnn: mlp", "defaults-unknown", 2),
    ("- slots/ffn: mpl", "defaults-unknown", 2),
    ("- nothing", "defaults-unknown", 2),
    ("- slots/ffn: 3", "defaults-syntax", 2),
    ("- slots/ffn: {a: b}", "defaults-syntax", 2),
    ("- slots/ffn: [mlp, 3]", "defaults-syntax", 2),
    ("- {slots/ffn: mlp, slots/x: y}", "defaults-syntax", 2),
    ("- {}", "defaults-syntax", 2),
    ("- 3", "defaults-syntax", 2),
    ("- [a]", "defaults-syntax", 2),
    ("- optionl slots/ffn: mlp", "defaults-syntax", 2),
    ("- slots/ffn@a..b: mlp", "defaults-syntax", 2),
    ("- _self_@x", "defaults-syntax", 2),
    ("- slots/ffn: _self_", "defaults-syntax", 2),
    ("- ???", "defaults-syntax", 2),
    ("- slots/ffn: ${oc.env:HOME}", "interpolation", 2),
    ("- slots/ffn: ${x", "interpolation", 2),
    ("- ${x}: mlp", "interpolation", 2),
    ("- slots/ffn@${x}: mlp", "interpolation", 2),
    ("- ${x}", "interpolation", 2),
    ("- hydra/launcher: x", "foreign-key", 2),
    ("- override hydra/job_logging: none", "foreign-key", 2),
    ("- slots/ffn@hydra.x: mlp", "foreign-key", 1),
    ("- slots/ffn: ../../secret", "path-outside", 2),
    ("- ../secret", "path-outside", 2),
    ("- /etc/passwd", "path-outside", 2),
    ("- slots/ffn: /etc/passwd", "path-outside", 2),
    ("- ~/x", "path-outside", 2),
    ("- file:///x", "path-outside", 2),
    ("- slots/ffn: 'C:\\x'", "path-syntax", 2),
    ("- slots/ffn: NUL", "path-syntax", 2),
    ("- slots/ffn: a.yaml:x", "path-syntax", 2),
    ("- 'slots/ffn: mlp '", "path-syntax", 2),
    ("- slots/ffn: ???", "missing-value", 2),
    ("- _self_", "defaults-conflict", 3),
    ("- override slots/ffn: mlp", "defaults-unknown", 2),
])  # fmt: skip
def test_a_bad_defaults_entry_is_said_at_its_place(tmp_path: Path, entry: str, code: str, line: int) -> None:
    write(tmp_path, FILES)
    write(tmp_path, {"main": f"defaults:\n  {entry}\n  - _self_\nname: x\n"})
    tree, diagnostics = compose(tmp_path / "main.yaml")
    errors = [d for d in diagnostics if d.level == "error"]
    assert [d.code for d in errors] == [code], errors
    assert tree is None or code == "foreign-key"
    assert errors[0].span.line == line
    assert errors[0].span.column > 0


def test_several_missing_files_are_found_at_once(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    write(tmp_path, {"main": "defaults:\n  - slots/ffn: mpl\n  - one\n  - two\n  - _self_\nname: x\n"})
    diagnostics = compose(tmp_path / "main.yaml", search=[])[1]
    assert [(d.code, d.span.line) for d in diagnostics] == [("defaults-unknown", n) for n in (2, 3, 4)]
    assert "did you mean `mlp`?" in diagnostics[0].help
    assert "`mlp`, `moe`" in diagnostics[0].help


@pytest.mark.parametrize("layout", [
    "defaults:\n  - slots/ffn: mlp\nname: x\n",
    "defaults:\n- slots/ffn: mlp\n- slots/ffn@other: moe # why\nname: x\n",
    "defaults:\n  - slots/ffn:\n      - mlp\n\nname: x\n",
    "defaults: [slots/ffn: mlp]\nname: x\n",
    "defaults:   [ {slots/ffn: mlp}, {slots/ffn@o: moe} ]\nname: x\n",
])  # fmt: skip
def test_the_fix_for_a_missing_self_changes_nothing_but_the_warning(tmp_path: Path, layout: str) -> None:
    write(tmp_path, FILES)
    recipe = tmp_path / "main.yaml"
    recipe.write_text(layout)
    before, (warning,) = compose(recipe)
    assert (warning.code, warning.level) == ("defaults-self", "warning")
    assert warning.fix is not None
    (edit,) = warning.fix.edits
    lines = layout.split("\n")
    line = lines[edit.span.line - 1]
    lines[edit.span.line - 1] = line[: edit.span.column - 1] + edit.text + line[edit.span.column - 1 :]
    recipe.write_text("\n".join(lines))
    after, diagnostics = compose(recipe)
    assert not diagnostics
    assert before is not None
    assert after is not None
    assert json.dumps(before.plain()) == json.dumps(after.plain())


def test_lists_that_lead_back_to_themselves_are_shown_whole(tmp_path: Path) -> None:
    write(tmp_path, {
        "a": "defaults:\n  - b\n  - _self_\nu: 1\n",
        "b": "defaults:\n  - c\n  - _self_\nu: 1\n",
        "c": "defaults:\n  - a\n  - a\n  - _self_\nu: 1\n",
    })  # fmt: skip
    tree, (found,) = compose(tmp_path / "a.yaml")
    assert tree is None
    assert found.code == "defaults-conflict"
    assert "`a` -> `b` -> `c` -> `a`" in found.message
    assert len(found.related) == 2


def test_lists_that_double_at_every_step_are_refused_and_not_awaited(tmp_path: Path) -> None:
    names = {f"f{i}": f"defaults:\n  - f{i + 1}\n  - f{i + 1}\n  - _self_\nu: {i}\n" for i in range(40)}
    write(tmp_path, {**names, "f40": "u: 1\n"})
    assert codes(compose(tmp_path / "f0.yaml")) == ["limit-nodes"]


def test_what_is_wrong_in_a_composed_file_is_said_with_its_name(folder: Path) -> None:
    (folder / "slots/ffn/bad.yaml").write_text("kind: mlp\nhidden: !!python/object/apply:os.system [x]\n")
    tree, (found,) = compose(folder / "digits.yaml", ["slots/ffn=bad"])
    assert tree is None
    assert (found.code, found.span.file, found.span.line) == ("yaml-tag", str(folder / "slots/ffn/bad.yaml"), 2)


def test_a_list_over_a_mapping_names_both_places(tmp_path: Path) -> None:
    write(tmp_path, {"g/a": "u: [1]\n", "main": "defaults:\n  - g: a\n  - _self_\ng: {u: {v: 1}}\n"})
    (found,) = compose(tmp_path / "main.yaml")[1]
    assert found.code == "value-type"
    assert (Path(found.span.file).name, Path(found.related[0].span.file).name) == ("main.yaml", "a.yaml")


@pytest.mark.parametrize("text", ["hydra: {run: {dir: x}}\n", "hydra:\n  searchpath: [file:///x]\nname: x\n"])
def test_hydras_own_keys_in_a_file_are_refused(tmp_path: Path, text: str) -> None:
    write(
        tmp_path,
        {"main": text, "g/a": "# @package _global_\n" + text, "other": "defaults:\n  - g: a\n  - _self_\nname: x\n"},
    )
    assert codes(compose(tmp_path / "main.yaml")) == ["foreign-key"]
    assert codes(compose(tmp_path / "other.yaml")) == ["foreign-key"]


# --- what composing leaves behind, and what moves it ---


def _run(code: str, **environment: str) -> Any:
    import os

    paths = os.pathsep.join([str(ROOT), str(ROOT / "schemas")])
    done = subprocess.run(
        [sys.executable, "-B", "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_hydra_is_imported_only_for_defaults_or_overrides(tmp_path: Path) -> None:
    write(tmp_path, {"plain": "name: x\nnodes: {a: {kind: linear}}\n"})
    loaded = _run(f"""
        import json, sys
        from assembler.source.override import apply, compose
        tree, _ = compose({str(tmp_path / "plain.yaml")!r})
        apply(tree, [])
        first = sorted({{m.split(".")[0] for m in sys.modules}} & {{"hydra", "omegaconf", "antlr4", "torch"}})
        compose({str(tmp_path / "plain.yaml")!r}, ["name=y"])
        second = sorted({{m.split(".")[0] for m in sys.modules}} & {{"hydra", "omegaconf", "torch"}})
        print(json.dumps([first, second]))
    """)
    assert loaded == [[], ["hydra", "omegaconf"]]


def test_nothing_is_written_opened_for_writing_run_or_connected(folder: Path) -> None:
    seen = _run(f"""
        import json, os, sys
        import assembler.source.defaults
        seen = []
        def hook(event, args):
            if event.startswith(("socket.", "subprocess.", "os.system", "os.remove", "os.rename", "os.mkdir", "shutil.")):
                seen.append(event)
            if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                seen.append(str(args))
        sys.addaudithook(hook)
        from assembler.source.override import compose
        for overrides in ([], ["slots/ffn=moe", "vars.width=3"], ["slots/ffn=x", "a=b", "c", "~d"]):
            compose({str(folder / "digits.yaml")!r}, overrides)
        print(json.dumps(seen))
    """)
    assert seen == []


def test_the_environment_moves_nothing(folder: Path) -> None:
    (folder / "digits.yaml").write_text((folder / "digits.yaml").read_text().replace("  - _self_\n", ""))
    code = f"""
        import json
        from assembler.source.override import compose
        tree, diagnostics = compose({str(folder / "digits.yaml")!r}, ["slots/ffn=moe"])
        print(json.dumps([tree.plain(), [d.code for d in diagnostics]]))
    """
    loud = {"SELF_WARNING_AS_ERROR": "1", "HYDRA_FULL_ERROR": "1", "HYDRA_MAIN_MODULE": "x.y", "HYDRA_VERSION_BASE": "1.1",
            "OMEGACONF_X": "1", "PYTHONWARNINGS": "error"}  # fmt: skip
    assert _run(code) == _run(code, **loud)


def test_the_hosts_hydra_is_left_as_it_was(folder: Path) -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.version import VersionBase, getbase

    assert not GlobalHydra.instance().is_initialized()
    with initialize_config_dir(str(folder), version_base="1.2"):
        before, hydra = getbase(), GlobalHydra.instance().hydra
        assert plain(compose(folder / "digits.yaml", ["slots/ffn=moe"]))
        assert getbase() == before
        assert GlobalHydra.instance().hydra is hydra
        assert hydra_compose("digits").slots.ffn.kind == "mlp"
    assert not GlobalHydra.instance().is_initialized()
    assert VersionBase.instance().version_base == before


def test_the_hosts_version_base_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Under 1.1 Hydra itself would put the header's `_group_` in place of the group's own key.
    from hydra.version import VersionBase
    from packaging.version import Version

    write(tmp_path, {"g/a": "# @package _group_\nu: 1\n", "main": "defaults:\n  - g: a\n  - _self_\nv: 2\n"})
    for base in (Version("1.1"), Version("1.2"), VersionBase.instance().version_base):
        monkeypatch.setattr(VersionBase.instance(), "version_base", base)
        assert plain(compose(tmp_path / "main.yaml")) == {"_group_": {"u": 1}, "v": 2}
        assert VersionBase.instance().version_base is base


def test_hydra_is_asked_without_an_omegaconf_of_the_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from omegaconf import OmegaConf

    made: list[Any] = []
    create = OmegaConf.create
    monkeypatch.setattr(OmegaConf, "create", lambda *a, **k: made.append(a) or create(*a, **k))
    assert plain(compose(folder / "digits.yaml", ["slots/ffn=moe"]))
    assert made, "Hydra makes one of the choices, to resolve interpolations"
    assert "kind" not in repr(made)
    assert "hidden" not in repr(made)


def test_a_recipe_whose_file_is_not_there_is_the_readers_finding(tmp_path: Path) -> None:
    tree, diagnostics = compose(tmp_path / "no.yaml", ["a=b"])
    assert tree is None
    assert [d.code for d in diagnostics] == ["file-not-found"]


@pytest.mark.parametrize("name", ["my recipe (1)", "übung", "_self_", "a.b"])
def test_a_recipe_may_have_any_name(folder: Path, name: str) -> None:
    (folder / f"{name}.yaml").write_text((folder / "digits.yaml").read_text())
    assert plain(compose(folder / f"{name}.yaml", ["slots/ffn=moe"]))["slots"]["ffn"]["kind"] == "moe"
