"""Random recipes: nothing differs from itself, a lock holds, and a node is never taken for another one when it is renamed."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from assembler.assemble import check, load, origin_of
from assembler.compare.diff import diff
from assembler.compare.lock import lock, read_lock, text_of
from assembler.facts.flow import Flow, Use, flow
from assembler.facts.roles import gathered, roles
from assembler.facts.weights import compare, held, renamed
from assembler.source.recipe import Recipe
from tests.fuzz.generate import generate

SHORT, LONG = range(16), range(16, 316)


def unfolded(recipe: Recipe) -> Flow:
    found = origin_of(recipe)
    made = flow(found.graph, found.facts)
    assert made is not None
    return made


def under_other_names(found: Flow, names: dict[str, str]) -> Flow:
    """The same flow, some names of nodes and containers replaced by fresh ones."""

    def called(address: str, owner: str) -> str:
        return ".".join(names.get(part, part) for part in owner.split(".")) + address[len(owner) :]

    uses: list[Use] = [use._replace(address=called(use.address, use.address)) for use in found.uses]
    weights = tuple(item._replace(address=called(item.address, item.address.removesuffix(f".{item.key}"))) for item in found.weights)
    return found._replace(uses=tuple(uses), weights=weights)


def judge(seed: int, folder: Path) -> None:
    sample = generate(seed)
    path = folder / f"r{seed}.yaml"
    path.write_text(sample.text, encoding="utf-8")
    recipe = load(path, sample.overrides)
    before = unfolded(recipe)
    draw = Random(seed)
    parts = sorted({part for use in before.uses for part in use.address.split(".") if not part.isdigit()})
    for share in (1.0, 0.3, 0.05):
        names = {part: f"{part}_again" for part in parts if draw.random() < share}
        after = under_other_names(before, names)
        found = roles(before, after)
        for one, two in found.pairs.items():
            assert two == ".".join(names.get(part, part) for part in one.split(".")), (seed, share, one, two)
            assert renamed(one, found.moved) == two
        assert found.moved == gathered(found.pairs)
        assert len(found.pairs) == len({*found.pairs.values()})
        survey = compare(held(before), held(after), found.moved)
        assert not survey.changed
        lost = {item.node for item in survey.dropped}
        assert lost.isdisjoint(found.pairs), (seed, lost)
    assert diff(recipe, path, sample.overrides).same
    made = lock(recipe)
    lock_path = folder / f"r{seed}.lock"
    lock_path.write_text(text_of(made), encoding="utf-8")
    assert read_lock(str(lock_path)) == (made, [])
    assert check(path, sample.overrides, frozen=True).ok


@pytest.mark.parametrize("seed", SHORT)
def test_a_random_recipe(seed: int, tmp_path: Path) -> None:
    judge(seed, tmp_path)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", LONG)
def test_a_random_recipe_of_the_long_campaign(seed: int, tmp_path: Path) -> None:
    judge(seed, tmp_path)
