"""The shipped grafts on the shipped recipes: clean, and as many parameters as the papers count."""

from __future__ import annotations

import pytest

import assembler
from assembler.facts.count import totals

CASES = [
    ("gpt2", ["+grafts=lora"], 124_439_808, 12 * 2 * 8 * (768 + 768)),
    ("llama", ["+grafts=lora"], 6_738_415_616, 32 * 2 * 8 * (4096 + 4096)),
    ("digits", ["+grafts=side_expert"], 202_058, 64 * 32 + 32 + 32 * 64 + 64),
    ("digits", ["+grafts=[side_expert,bottleneck]"], 202_058, 64 * 32 + 32 + 32 * 64 + 64 + 4 * 2 * (2 * 64 * 16 + 16 + 64)),
    ("bert", ["+grafts=bottleneck"], 109_482_240, 12 * 2 * (2 * 768 * 16 + 16 + 768)),
    ("vit", ["+grafts=bottleneck"], 86_567_656, 12 * 2 * (2 * 768 * 16 + 16 + 768)),
    ("translate", ["+grafts=bottleneck"], None, 4 * 2 * (2 * 256 * 16 + 16 + 256)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "overrides", "host", "grafts"), CASES, ids=lambda item: str(item))
def test_a_shipped_graft_is_clean_and_learns_alone(name: str, overrides: list[str], host: int | None, grafts: int):
    report = assembler.check(f"recipes/{name}.yaml", [*overrides, "+freeze=true"])
    assert [item.code for item in report.diagnostics if item.level != "note"] == []
    assert report.graph is not None
    assert report.facts is not None
    every, learned = totals(report.graph, report.facts)
    assert learned == grafts
    assert host is None or every == host + grafts
