"""Which files a composition may open: nothing outside the recipe's folder and the search path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assembler.source import paths
from assembler.source.override import compose
from assembler_schemas.span import NOWHERE
from tests.source.test_compose import FILES, codes, plain, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "recipes", FILES)


@pytest.mark.parametrize(("name", "code"), [
    ("slots/ffn/mlp", None), ("/digits", None), ("a.b", None), ("a-b_c", None), ("_x", None), ("a+b", None), ("3", None),
    ("..", "path-outside"), ("a/../b", "path-outside"), ("../x", "path-outside"), ("..\\x", "path-outside"),
    ("~", "path-outside"), ("~root/x", "path-outside"), ("/etc/passwd", "path-outside"),
    ("https://x/y", "path-outside"), ("pkg://a", "path-outside"), ("file:///x", "path-outside"),
    ("", "path-syntax"), ("/", "path-syntax"), ("a//b", "path-syntax"), ("a/", "path-syntax"), ("//a", "path-syntax"),
    (".", "path-syntax"), ("./a", "path-syntax"), (".hidden", "path-syntax"), ("a/.git/b", "path-syntax"),
    ("a\\b", "path-syntax"), ("\\\\host\\share", "path-syntax"), ("C:x", "path-syntax"), ("C:\\x", "path-syntax"),
    ("a.yaml:x", "path-syntax"), ("a::$DATA", "path-syntax"), ("a.", "path-syntax"), ("a ", "path-syntax"),
    ("a./b", "path-syntax"), ("CON", "path-syntax"), ("nul", "path-syntax"), ("aux.yaml", "path-syntax"),
    ("Com1.x.y", "path-syntax"), ("a/lpt9/b", "path-syntax"), ("a b", "path-syntax"), ("a\nb", "path-syntax"),
    ("a\0b", "path-syntax"), ("e\u0301", "path-syntax"), ("\u00e9", "path-syntax"), ("m\u200blp", "path-syntax"),
    ("\uff0e\uff0e/x", "path-syntax"), ("a" * 600, "path-syntax"), ("a*", "path-syntax"), ("$HOME", "path-syntax"),
])  # fmt: skip
def test_a_name_is_plain_on_every_system_or_refused(name: str, code: str | None) -> None:
    found = paths.check_relative(name, NOWHERE, "name")
    assert (found.code if found else None) == code


def test_names_are_checked_before_anything_is_looked_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "secret.yaml").write_text("name: secret\n")
    write(folder, {"main": "defaults:\n  - ../secret\n  - _self_\nname: x\n"})
    asked: list[str] = []
    resolve = paths.Root.resolve
    monkeypatch.setattr(paths.Root, "resolve", lambda root, name: asked.append(name) or resolve(root, name))  # type: ignore[func-returns-value]
    tree, diagnostics = compose(folder / "main.yaml")
    assert tree is None
    assert [d.code for d in diagnostics] == ["path-outside"]
    assert not [name for name in asked if "secret" in name]


def test_only_the_exact_spelling_is_found_whatever_the_file_system_folds(folder: Path) -> None:
    root = paths.roots(str(folder), [])[0]
    assert root.resolve("slots/ffn/mlp.yaml") == os.path.realpath(folder / "slots/ffn/mlp.yaml")
    for name in (
        "Slots/ffn/mlp.yaml",
        "slots/FFN/mlp.yaml",
        "slots/ffn/MLP.yaml",
        "slots/ffn/mlp",
        "slots/ffn/../ffn/mlp.yaml",
    ):
        assert root.resolve(name) is None


@pytest.mark.parametrize("what", ["file", "folder", "chain"])
def test_a_link_that_leads_outside_is_refused_and_not_read(folder: Path, what: str) -> None:
    outside = write(folder.parent / "outside", {"far": "kind: far\n"})
    if what == "file":
        (folder / "slots/ffn/far.yaml").symlink_to(outside / "far.yaml")
    elif what == "folder":
        (folder / "slots/far").symlink_to(outside)
    else:
        (folder / "slots/ffn/step.yaml").symlink_to(outside / "far.yaml")
        (folder / "slots/ffn/far.yaml").symlink_to(folder / "slots/ffn/step.yaml")
    entry = "slots/far: far" if what == "folder" else "slots/ffn: far"
    write(folder, {"main": f"defaults:\n  - {entry}\n  - _self_\nname: x\n"})
    tree, (found,) = compose(folder / "main.yaml")
    assert tree is None
    assert found.code == "path-outside"
    assert (found.span.file, found.span.line) == (str(folder / "main.yaml"), 2)
    if what != "folder":
        tree, (found,) = compose(folder / "digits.yaml", ["slots/ffn=far"])
        assert tree is None
        assert (found.code, found.span.override) == ("path-outside", "slots/ffn=far")


def test_links_that_stay_inside_hard_links_and_a_linked_root_are_fine(folder: Path) -> None:
    (folder / "slots/ffn/soft.yaml").symlink_to("mlp.yaml")
    (folder / "slots/also").symlink_to(folder / "slots/ffn")
    os.link(folder / "slots/ffn/moe.yaml", folder / "slots/ffn/hard.yaml")
    root = folder.parent / "root"
    root.symlink_to(folder)
    recipe = root / "digits.yaml"
    assert plain(compose(recipe, ["slots/ffn=soft"]))["slots"]["ffn"]["kind"] == "mlp"
    assert plain(compose(recipe, ["slots/ffn=hard"]))["slots"]["ffn"]["kind"] == "moe"
    assert plain(compose(recipe, ["+slots/also=moe"]))["slots"]["also"]["kind"] == "moe"


def test_a_recipe_that_is_itself_a_link_composes_where_it_was_named(folder: Path) -> None:
    elsewhere = write(folder.parent / "elsewhere", {"x": (folder / "digits.yaml").read_text()})
    (folder / "linked.yaml").symlink_to(elsewhere / "x.yaml")
    assert plain(compose(folder / "linked.yaml"))["slots"]["ffn"]["kind"] == "mlp"


def test_only_yaml_files_are_options(folder: Path) -> None:
    for name in ("a.yml", "b.json", "c.py", ".yaml", "d.yaml.bak"):
        (folder / "slots/ffn" / name).write_text("kind: x\n")
    assert paths.roots(str(folder), [])[0].options("slots/ffn") == ["mlp", "moe"]
    for name in ("a", "b", "c", "d.yaml.bak"):
        assert codes(compose(folder / "digits.yaml", [f"slots/ffn={name}"])) == ["override-unknown"]
    assert plain(compose(folder / "digits.yaml", ["slots/ffn=moe.yaml"]))["slots"]["ffn"]["kind"] == "moe"


def test_what_is_no_file_is_no_option(folder: Path) -> None:
    (folder / "slots/ffn/dir.yaml").mkdir()
    os.mkfifo(folder / "slots/ffn/pipe.yaml")
    (folder / "slots/ffn/loop.yaml").symlink_to("loop.yaml")
    (folder / "slots/ffn/dangling.yaml").symlink_to("nowhere.yaml")
    for name in ("dir", "pipe", "loop", "dangling"):
        _, (found,) = compose(folder / "digits.yaml", [f"slots/ffn={name}"])
        assert found.code in ("override-unknown", "file-unreadable", "file-not-regular"), name


def test_a_file_above_the_cap_is_refused_after_one_byte_more(folder: Path) -> None:
    big = folder / "slots/ffn/big.yaml"
    with big.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it all would never end
    tree, (found,) = compose(folder / "digits.yaml", ["slots/ffn=big"])
    assert tree is None
    assert found.code == "limit-file-size"


def test_reading_follows_no_last_link(tmp_path: Path) -> None:
    write(tmp_path, {"a": "name: a\n"})
    (tmp_path / "link.yaml").symlink_to("a.yaml")
    data, fault = paths.read_capped(str(tmp_path / "link.yaml"), "link.yaml")
    assert data is None
    assert fault is not None
    assert fault.code == "file-unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said(folder: Path) -> None:
    (folder / "slots/ffn/moe.yaml").chmod(0)
    assert codes(compose(folder / "digits.yaml", ["slots/ffn=moe"])) == ["file-unreadable"]


def test_looking_for_groups_stops_in_a_big_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MAX_PROBES", 5)
    write(tmp_path, {f"g{i}/h/a": "u: 1\n" for i in range(20)})
    assert len(paths.roots(str(tmp_path), [])[0].groups()) <= 5


def test_the_shipped_recipes_are_searched_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.shipped().is_dir()
    shipped = write(tmp_path / "shipped", {"slots/ffn/mine": "kind: mine\n"})
    monkeypatch.setattr("assembler.source.override.shipped", lambda: shipped)
    write(tmp_path / "user", {"main": "defaults:\n  - slots/ffn: mine\n  - _self_\nname: x\n"})
    assert plain(compose(tmp_path / "user" / "main.yaml"))["slots"]["ffn"]["kind"] == "mine"
