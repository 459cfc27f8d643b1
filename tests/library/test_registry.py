"""The registry: what it imports, and what it never does."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace

import pytest

from assembler.library import registry
from assembler_schemas.kind import Definition, Inline, Kind, Options, Port


def _imported(code: str) -> set[str]:
    """The modules that are there after the code ran in a fresh process."""
    program = textwrap.dedent(code) + "\nimport sys\nprint(' '.join(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    return set(done.stdout.split())


def test_naming_one_kind_imports_its_card_file_only() -> None:
    found = _imported("from assembler.library import registry; assert registry.kind('linear').name == 'linear'")
    cards = {name for name in found if name.startswith("assembler.library.cards.")}
    assert cards == {"assembler.library.cards.linear", "assembler.library.cards.common"}


def test_no_card_imports_torch_or_a_module() -> None:
    found = _imported("from assembler.library import registry\nfor name in registry.names(): registry.kind(name)")
    assert "assembler.library.cards.attention" in found
    assert not {name for name in found if name.split(".")[0] == "torch" or name.startswith("assembler.library.modules")}


def test_names_and_nearest_import_no_card() -> None:
    found = _imported("from assembler.library import registry; registry.names(); registry.nearest('lineer')")
    assert not {name for name in found if name.startswith("assembler.library.cards")}


def test_every_name_of_the_table_is_the_name_of_its_kind() -> None:
    for name in registry.STATIC:
        kind = registry.kind(name)
        assert kind is not None
        assert kind.name == name
        assert kind.container == (registry.STATIC[name] in ("contain", "sparse"))


@pytest.mark.parametrize("name", ["", "Linear", "os", "assembler.library.cards.linear", "common", "../linear", "nope"])
def test_a_name_that_is_not_in_the_table_is_none_and_reaches_no_import(name: str) -> None:
    before = set(sys.modules)
    assert registry.kind(name) is None
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("lineer", "linear"), ("swi_glu", "swiglu"), ("layernorm", "layer_norm"), ("Attention", "attention")],
)
def test_the_nearest_name_comes_first(wrong: str, right: str) -> None:
    assert registry.nearest(wrong)[0] == right


def test_nothing_is_near_to_a_word_of_another_world() -> None:
    assert registry.nearest("xylophone") == []


def _kind(name: str) -> Kind:
    port = {"x": Port("[... d]")}
    return Kind(name, "twice", Options, lambda options: Definition(port, {"y": Port("[... d]")}, Inline("{x} + {x}")))


@pytest.fixture
def twice() -> Iterator[Kind]:
    card = _kind("twice")
    registry.register(card)
    yield card
    registry.unregister("twice")


def test_a_registered_kind_is_found_by_name(twice: Kind) -> None:
    assert registry.kind("twice") is twice
    assert "twice" in registry.names()
    assert registry.nearest("twise") == ["twice"]


def test_a_kind_may_be_registered_again_but_not_replaced(twice: Kind) -> None:
    registry.register(twice)
    with pytest.raises(ValueError, match="exists already"):
        registry.register(_kind("twice"))
    assert registry.kind("twice") is twice


@pytest.fixture
def versions() -> Iterator[tuple[Kind, Kind]]:
    cards = replace(_kind("twice"), version=2), _kind("twice")
    for card in cards:
        registry.register(card)
    yield cards
    registry.unregister("twice")


def test_the_plain_name_means_the_newest_version_in_whatever_order_they_come(versions: tuple[Kind, Kind]) -> None:
    newest, first = versions
    assert registry.kind("twice") is newest
    assert registry.kind("twice@1") is first
    assert registry.kind("twice@2") is newest
    assert registry.kind("twice@3") is None
    assert registry.kind("twice@01") is None
    assert registry.versions("twice") == [1, 2]
    assert registry.versions("linear") == [1]
    assert registry.kind("linear@1") is registry.kind("linear")
    assert registry.names().count("twice") == 1


def test_a_pin_holds_inside_and_only_for_the_plain_name(versions: tuple[Kind, Kind]) -> None:
    newest, first = versions
    with registry.pinned({"twice": 1, "linear": 7}):
        assert registry.kind("twice") is first
        assert registry.kind("twice@2") is newest
        assert registry.kind("linear") is None
    assert registry.kind("twice") is newest


def test_forgetting_one_version_leaves_the_others(versions: tuple[Kind, Kind]) -> None:
    registry.unregister("twice@2")
    assert registry.kind("twice") is versions[1]
    assert registry.kind("twice@2") is None


def test_a_kind_declared_again_at_the_same_place_replaces_itself() -> None:
    registry.register(_kind("twice"), "notebook:Twice")
    again = _kind("twice")
    registry.register(again, "notebook:Twice")
    assert registry.kind("twice") is again
    with pytest.raises(ValueError, match="declared by `notebook:Twice`"):
        registry.register(_kind("twice"), "other:Twice")
    registry.unregister("twice")
    assert registry.kind("twice") is None


@pytest.mark.parametrize("name", ["Twice", "twice@2", "acme.twice", "", "1twice"])
def test_a_name_that_no_recipe_could_spell_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a kind"):
        registry.register(_kind(name))


def test_a_built_in_kind_cannot_be_replaced() -> None:
    with pytest.raises(ValueError, match="exists already"):
        registry.register(_kind("linear"))
    with pytest.raises(KeyError):
        registry.unregister("linear")
