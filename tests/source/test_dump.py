"""What we write as YAML reads back as the same data: PyYAML's own writer knows another YAML than our reader."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.source.dump import to_yaml
from assembler.source.text import read_text


def back(data: dict[str, Any]) -> Any:
    tree, found = read_text(to_yaml(data), "written.yaml")
    assert [item.code for item in found] == []
    assert tree is not None
    return tree.plain()


@pytest.mark.parametrize("text", ["1e-3", "1e3", "0o10", "012", "no", "on", "y", "1_000", "12:30", "=", "", "~", "null", "true", ".5e3", "-1.e2", "0x1F", "a: b", "a #b", "- a", "a\nb", " a ", "*a", "é"])
def test_a_text_stays_a_text(text: str) -> None:
    assert back({"a": text, "list": [text]}) == {"a": text, "list": [text]}


@pytest.mark.parametrize("number", [1e-05, 1e22, 0.1, -0.0, 1, 0, 1e-300, 123456789012345678, True, None])
def test_a_number_stays_a_number(number: Any) -> None:
    found = back({"a": number})["a"]
    assert (found, type(found)) == (number, type(number))


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126, exclude_characters="$<{"), max_size=12))
def test_any_line_of_letters_that_is_no_template_stays_itself(text: str) -> None:
    assert back({"a": text}) == {"a": text}
