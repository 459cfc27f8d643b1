"""Composing is Hydra's own composing: the same data, key for key, and a finding exactly where Hydra raises."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from assembler.source.override import compose
from tests.source.trees import Forest, forests

FORESTS, COMPOSITIONS = 20, 6
CHUNKS = 17

FEATURES = {
    "package header": r"^# @package",
    "_self_ first": r"defaults:\n  - _self_\n  - ",
    "_self_ in the middle": r"  - (?!_self_).*\n  - _self_\n  - ",
    "_self_ last": r"  - (?!_self_).*\n  - _self_\n[^ ]",
    "optional": r"- optional ",
    "override": r"- override ",
    "group list": r": \[[abc]",
    "absolute group": r"- (optional )?/",
    "package of an entry": r"@",
    "nothing chosen": r": null$",
}


def _hydra(forest: Forest, overrides: list[str]) -> Any:
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf

    search = f"hydra.searchpath=[file://{forest.shipped}]"
    return OmegaConf.to_container(hydra_compose(forest.primary.stem, [*overrides, search]), resolve=False)


def _features(forest: Forest, overrides: list[str]) -> set[str]:
    texts = [path.read_text() for path in sorted(forest.folder.rglob("*.yaml"))]
    text = "\n".join(texts)
    found = {name for name, pattern in FEATURES.items() if re.search(pattern, text, re.MULTILINE)}
    if any("defaults:\n" in text and "_self_" not in text for text in texts):
        found.add("_self_ missing")
    if forest.prefix:
        found.add("one level down")
    for override in overrides:
        key = override.partition("=")[0]
        sort = "group" if key.lstrip("+~").partition("@")[0] in {forest.prefix + g for g in forest.groups} else "key"
        sign = next((s for s in ("++", "+", "~") if override.startswith(s)), "plain")
        found.add(f"{sign} on a {sort}")
    return found


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_equal_to_hydra(tmp_path: Path, chunk: int) -> None:
    from hydra import initialize_config_dir

    composed: Counter[str] = Counter()
    refused = 0
    for forest in forests(tmp_path, FORESTS, seed=chunk):
        with initialize_config_dir(str(forest.folder), version_base="1.3"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(COMPOSITIONS):
                overrides = forest.overrides()
                try:
                    wanted, raised = _hydra(forest, overrides), None
                except Exception as error:
                    wanted, raised = None, error
                got, diagnostics = compose(forest.primary, overrides, search=[forest.shipped])
                errors = [d for d in diagnostics if d.level == "error"]
                where = f"{forest.folder} {overrides}: {raised!r} {errors}"
                assert bool(errors) == (raised is not None), where
                if raised is None:
                    assert got is not None, where
                    # As text: the order of the keys counts, and 1 is not 1.0 or true.
                    assert json.dumps(got.plain()) == json.dumps(wanted), where
                    composed.update(_features(forest, overrides))
                    composed["all"] += 1
                else:
                    refused += 1
    assert composed["all"] >= 30, "most trees fail: the test would compare nothing"
    assert refused >= 10
    missing = [name for name in (*FEATURES, "_self_ missing", "one level down") if not composed[name]]
    assert not missing, f"never composed: {missing}"


def test_every_sort_of_override_is_carried_out_somewhere(tmp_path: Path) -> None:
    # Hydra is not asked here: this holds the generator of the test above to its word.
    carried: Counter[str] = Counter()
    for forest in forests(tmp_path, 60, seed=4):
        for _ in range(COMPOSITIONS):
            overrides = forest.overrides()
            got, diagnostics = compose(forest.primary, overrides, search=[forest.shipped])
            if got is not None and not any(d.level == "error" for d in diagnostics):
                carried.update(_features(forest, overrides))
    for sort in (
        "plain on a key",
        "+ on a key",
        "++ on a key",
        "~ on a key",
        "plain on a group",
        "+ on a group",
        "~ on a group",
    ):
        assert carried[sort] >= 5, (sort, carried)
