"""The catalogue of hostile and mistaken recipes: each gets its diagnostic, and never anything worse.

Never: a traceback, a hang, a big allocation, code that runs, a connection, a write, an import of torch.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from assembler_schemas.codes import CODES
from tests.hostile import (
    a_bytes,
    b_yaml,
    c_scalars,
    d_names,
    e_expressions,
    f_types,
    field_probes,
    g_graph,
    j_files,
    k_overrides,
    l_output,
    performance,
)
from tests.hostile.entry import OK, Entry
from tests.hostile.run import SECRET, SLOW, answers

FAMILIES = (a_bytes, b_yaml, c_scalars, d_names, e_expressions, f_types, g_graph, j_files, k_overrides, l_output, field_probes, performance)
ENTRIES = [entry for family in FAMILIES for entry in family.ENTRIES]
MAX_PEAK = 300 * 1024
"""KiB resident, the interpreter and our imports included."""
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""What no output shows as it is: controls, line breaks of others, and what turns or hides text."""
MAX_TEXT = 200_000
"""Characters of a report for people."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    wanted = {item.callspec.params["entry"].id for item in request.session.items if item.path == request.path and hasattr(item, "callspec")}
    return answers([entry for entry in ENTRIES if entry.id in wanted], tmp_path_factory.mktemp("hostile"))


def test_ids_name_one_entry_each() -> None:
    ids = [entry.id for entry in ENTRIES]
    assert sorted(ids) == sorted(set(ids))
    assert {entry.code for entry in ENTRIES} <= {OK, *CODES}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entry(entry: Entry, found: dict[str, dict[str, Any]]) -> None:
    answer = found[entry.id]
    assert "dead" not in answer, answer
    assert [item for item in answer["seen"] if not (entry.parses and item.startswith("compile "))] == []
    assert answer["left"] == []
    assert not answer["torch"]
    assert answer["peak"] < MAX_PEAK
    code, text, errors = answer["text" if "text" in answer else "json"]
    assert code is not None, "cut off"
    assert code != 70, errors
    assert "Traceback" not in text + errors
    assert SECRET not in text + errors
    assert RAW.search(text + errors) is None, repr(RAW.search(text + errors))
    assert len(text) < MAX_TEXT or "text" not in answer
    assert code == _exit(entry), text
    if "json" in answer:
        _holds_in_json(entry, answer, text)
    slow = max(answer.get("json_seconds", 0), answer.get("text_seconds", 0))
    assert slow < entry.seconds * SLOW


def _exit(entry: Entry) -> int:
    if entry.exit is not None:
        return entry.exit
    return 1 if entry.code != OK and CODES[entry.code].level == "error" else 0


def _holds_in_json(entry: Entry, answer: dict[str, Any], text: str) -> None:
    code, written, _ = answer["json"]
    assert code == _exit(entry)
    assert len(written) <= 5_000_001
    assert written.isascii()
    if entry.exit == 2 and not written:  # the command line itself is wrong
        return
    data = json.loads(written)
    assert SECRET not in written
    every = [item for item in data["diagnostics"] if item["level"] != "note"]
    if entry.code == OK:
        assert every == []
        return
    assert every
    for item in every:
        assert item["level"] != "error" or item["help"] or item["fix"], item
        assert item["message"]
        assert not item["message"].endswith(".")
    first = every[0]
    assert first["code"] == entry.code, every[:3]
    assert f"[{entry.code}]" in text or text == written
    assert len(every) <= entry.most, [(item["code"], item["message"]) for item in every[:8]]
    assert entry.says in first["message"] + " " + first["help"], (first["message"], first["help"])
    _stands(entry, first["span"])


def _stands(entry: Entry, span: dict[str, Any]) -> None:
    """The finding has a place, and it is the right one."""
    if not entry.place:
        return
    if entry.line is None and entry.overrides and "override" in span:
        assert entry.overrides[span["index"]].startswith(span["override"][:30])
        assert span["column"] >= 1
        return
    assert Path(span["file"]).name == entry.file, span
    assert span["line"] >= 1
    assert span["column"] >= 1
    if entry.expected_line is not None:
        assert span["line"] == entry.expected_line, span
